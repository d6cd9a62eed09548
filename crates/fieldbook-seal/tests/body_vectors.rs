//! Runs `protocol/vectors/body/`, and can write them anew
//! (`cargo test --workspace --test body_vectors -- --ignored`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[allow(dead_code, reason = "these vectors need a part of it")]
#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use fieldbook_proto::certificate::{Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use fieldbook_proto::codec::DecodeError;
use fieldbook_proto::{DeskId, DeviceId, EntryId, ReportId, TeamId};
use fieldbook_seal::body::{
    Announcement, DeskEpoch, Forget, ForgetItem, Grant, Notice, Receipt, Share, TransportEpoch,
};
use reader::{folder, to_hex_lines, vectors};

/// Decodes a body of this kind and encodes it again.
fn again(kind: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(match kind {
        "certificate" => Announcement::decode(bytes)?.encode(),
        "grant" => Grant::decode(bytes)?.encode().to_vec(),
        "receipt" => Receipt::decode(bytes)?.encode(),
        "notice" => Notice::decode(bytes)?.encode(),
        "forget" => Forget::decode(bytes)?.encode(),
        "share" => Share::decode(bytes)?.encode(),
        other => panic!("no body of kind {other}"),
    })
}

fn class(outcome: &Result<Vec<u8>, DecodeError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(DecodeError::Truncated { .. }) => "truncated",
        Err(DecodeError::TooLong { .. }) => "too-long",
        Err(DecodeError::Invalid { .. }) => "invalid",
        Err(DecodeError::Trailing { .. }) => "trailing",
    }
}

#[test]
fn every_body_vector_ends_as_it_says() {
    for vector in vectors("body") {
        let bytes = vector.bytes();
        let outcome = again(vector.field("kind"), &bytes);
        assert_eq!(class(&outcome), vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
        if let Ok(encoded) = outcome {
            assert!(encoded == bytes, "{}: it has another encoding", vector.file);
        }
    }
}

const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

fn certificate() -> Certificate {
    let keys = DeviceKeys {
        signing: [0x11; 32],
        transport: [0x22; 32],
        recipient: Recipient::parse(RECIPIENT).unwrap(),
    };
    let body = CertificateBody {
        team: TeamId::from_bytes([0x77; 16]),
        keys,
        role: Role::Monitor,
        desk: DeskId::from_bytes([0x55; 16]),
        admitted: 1_000,
        not_after: 2_000,
        issuer: DeviceId::from_bytes([0x66; 32]),
        serial: 0,
    };
    Certificate::new(body, [0x99; 64])
}

fn write(name: &str, kind: &str, expect: &str, cause: &str, bytes: &[u8]) {
    assert_eq!(class(&again(kind, bytes)), expect, "{name}");
    let text = format!("expect: {expect}\ncause: {cause}\nkind: {kind}\n\n{}", to_hex_lines(bytes));
    std::fs::create_dir_all(folder("body")).unwrap();
    std::fs::write(folder("body").join(format!("{name}.txt")), text).unwrap();
}

#[test]
#[ignore = "writes protocol/vectors/body anew"]
fn write_the_body_vectors() {
    let (report, device) = (ReportId::from_bytes([0x44; 16]), DeviceId::from_bytes([0x66; 32]));
    let (entry, other) = (EntryId::from_bytes([0x33; 32]), ReportId::from_bytes([0x45; 16]));
    let recipient = Recipient::parse(RECIPIENT).unwrap();

    let announcement = Announcement { certificate: certificate(), label: "Vitebsk-3".into() };
    let bytes = announcement.encode();
    write("certificate-good", "certificate", "ok", "with a label", &bytes);
    write(
        "certificate-truncated",
        "certificate",
        "truncated",
        "its last byte is missing",
        &bytes[..bytes.len() - 1],
    );
    write("certificate-extended", "certificate", "trailing", "a byte follows", &[&bytes[..], &[0]].concat());
    let label = |label: String| Announcement { label, ..announcement.clone() }.encode();
    write("certificate-no-label", "certificate", "ok", "without a label", &label(String::new()));
    write(
        "certificate-label-long",
        "certificate",
        "too-long",
        "a label of 129 bytes",
        &label("x".repeat(129)),
    );
    write(
        "certificate-label-control",
        "certificate",
        "invalid",
        "a line feed in the label",
        &label("a\nb".into()),
    );

    let grant = Grant {
        transport: Some(TransportEpoch { epoch: 2, secret: [0xaa; 32].into(), without: vec![device] }),
        desk: Some(DeskEpoch {
            desk: DeskId::from_bytes([0x55; 16]),
            epoch: 3,
            recipient: recipient.clone(),
            name: "Brest".into(),
            readers: vec![device],
            identity: Some(IDENTITY.to_owned().into()),
        }),
        recovery: Some(recipient.clone()),
        charter: Some(vec![0x88; 40].into()),
        removals: Vec::new(),
        coordinators: vec![announcement.clone()],
    };
    let bytes = grant.encode().to_vec();
    write("grant-good", "grant", "ok", "everything but removals", &bytes);
    write("grant-empty", "grant", "ok", "nothing in it", &Grant::default().encode());
    write("grant-version", "grant", "invalid", "version 2", &[&[2], &bytes[1..]].concat());
    write(
        "grant-flag",
        "grant",
        "invalid",
        "the flag of the transport epoch is 2",
        &[&[1, 2], &bytes[2..]].concat(),
    );
    let mut many = bytes.clone();
    many[38..42].copy_from_slice(&4_097_u32.to_be_bytes());
    write("grant-without-many", "grant", "too-long", "4097 removed devices announced", &many);

    let receipt = Receipt { time_ms: 1_790_000_000_000, ids: vec![entry; 2], sequences: vec![4, 7] };
    let bytes = receipt.encode();
    write("receipt-good", "receipt", "ok", "two entries and their places", &bytes);
    write("receipt-cut", "receipt", "truncated", "a place is cut off", &bytes[..bytes.len() - 1]);
    write(
        "receipt-extended",
        "receipt",
        "trailing",
        "three places for two entries",
        &[&bytes[..], &[0; 8]].concat(),
    );
    let receipt = Receipt { sequences: Vec::new(), ..receipt }.encode();
    write("receipt-first-version", "receipt", "ok", "two entries without their places", &receipt);
    let mut many = receipt;
    many[8..12].copy_from_slice(&16_385_u32.to_be_bytes());
    write("receipt-many", "receipt", "too-long", "16385 entries announced", &many);

    let notice = |notice: Notice| notice.encode();
    write("notice-sealed", "notice", "ok", "a report was sealed", &notice(Notice::Sealed { report }));
    let shared = Notice::Shared { reports: vec![report, other], with: vec![device] };
    write("notice-shared", "notice", "ok", "two reports were shared with one device", &notice(shared));
    let told = Notice::Told { what: vec![[0xbb; 32]], devices: vec![device] };
    write("notice-told", "notice", "ok", "a device was told something", &notice(told));
    write("notice-unknown", "notice", "invalid", "a notice of an unknown kind", &[4]);

    let item = ForgetItem { report: Some(report), entries: vec![entry], replaced_by: Some(other) };
    let carried = ForgetItem { report: None, entries: vec![entry], replaced_by: None };
    let forget = |items| Forget { items }.encode();
    write(
        "forget-good",
        "forget",
        "ok",
        "a report, and an entry alone",
        &forget(vec![item.clone(), carried.clone()]),
    );
    let mut many = forget(vec![carried]);
    many[6..10].copy_from_slice(&16_385_u32.to_be_bytes());
    write("forget-many", "forget", "too-long", "16385 entries announced", &many);
    let bytes = forget(vec![item]);
    write("forget-truncated", "forget", "truncated", "its last byte is missing", &bytes[..bytes.len() - 1]);

    let share = Share { author: certificate(), return_recipient: Some(recipient), changes: vec![0x85; 50] };
    write("share-good", "share", "ok", "with a return recipient", &share.encode());
    let sealed = Share { return_recipient: None, ..share.clone() };
    write("share-sealed", "share", "ok", "of a report that nobody can be answered for", &sealed.encode());
    let bytes = share.encode();
    write("share-extended", "share", "trailing", "a byte follows the changes", &[&bytes[..], &[0]].concat());
}
