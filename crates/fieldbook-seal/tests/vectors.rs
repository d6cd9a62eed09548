//! Runs `protocol/vectors/entry/` and `padding/`, and can write the entries anew.
//!
//! Writing (`cargo test -p fieldbook-seal --test vectors -- --ignored`) draws fresh file keys, so
//! every file changes; it is needed only when the format does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use std::io::{Read, Write};

use fieldbook_proto::certificate::{DeviceKeys, Recipient};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::{DeskId, DeviceId, EntryId, ReportId, encode_hex};
use fieldbook_seal::padding::padded_len;
use fieldbook_seal::{
    Audience, DeviceSecret, Header, Kind, OpenError, ReadingIdentity, SealedEntry, decrypt, seal,
};
use reader::{Vector, folder, to_hex_lines, vectors};

fn run(vector: &Vector) -> &'static str {
    let identity = ReadingIdentity::parse(vector.field("identity")).unwrap();
    let keys = DeviceKeys {
        signing: vector.hex("signing").try_into().unwrap(),
        transport: vector.hex("transport").try_into().unwrap(),
        recipient: Recipient::parse(vector.field("recipient")).unwrap(),
    };
    let Ok(sealed) = SealedEntry::parse(vector.bytes()) else { return "not-an-entry" };
    let opened = match decrypt(&sealed, &[&identity]).and_then(|entry| entry.verify(&keys)) {
        Ok(opened) => opened,
        Err(OpenError::NotForUs) => return "not-for-us",
        Err(OpenError::Damaged { why }) => return why.class(),
    };
    let header = opened.header();
    assert_eq!(header.device, keys.device_id());
    assert_eq!(encode_hex(opened.body()), vector.field("body"), "{}", vector.file);
    assert_eq!(opened.id().to_string(), vector.field("id"), "{}", vector.file);
    assert_eq!(header.kind.word(), vector.field("kind"), "{}", vector.file);
    assert_eq!(header.sequence.to_string(), vector.field("sequence"), "{}", vector.file);
    assert_eq!(header.time_ms.to_string(), vector.field("time"), "{}", vector.file);
    let report = header.report.map_or("none".into(), |id| id.to_string());
    assert_eq!(report, vector.field("report"), "{}", vector.file);
    "ok"
}

#[test]
fn every_entry_vector_ends_as_it_says() {
    for vector in vectors("entry") {
        assert_eq!(run(&vector), vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
    }
}

#[test]
fn every_padding_vector_ends_as_it_says() {
    for vector in vectors("padding") {
        for line in vector.payload.lines() {
            let (len, padded) = line.split_once(' ').unwrap();
            assert_eq!(padded_len(len.parse().unwrap()).to_string(), padded, "{}: {len}", vector.file);
        }
    }
}

// Writing.

const IDENTITY_SEED: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const LABEL: &[u8] = b"fieldbook entry v1\0";

/// The author of the vectors: fixed keys, and the identity of age's own documentation.
fn author() -> DeviceSecret {
    let stored = [&[1][..], &[0x11; 32], &[0x22; 32], IDENTITY_SEED.as_bytes()].concat();
    DeviceSecret::from_bytes(&stored).unwrap()
}

fn header() -> Header {
    Header {
        kind: Kind::Report,
        device: author().id(),
        sequence: 2,
        previous: Some(EntryId::from_bytes([0x33; 32])),
        time_ms: 1_790_000_000_000,
        report: Some(ReportId::from_bytes([0x44; 16])),
        audience: Audience {
            desk: Some((DeskId::from_bytes([0x55; 16]), 3)),
            readers: vec![DeviceId::from_bytes([0x66; 32])],
            attachment: None,
        },
    }
}

fn open_with_age(sealed: &[u8], identity: &ReadingIdentity) -> Vec<u8> {
    let key: age::x25519::Identity = identity.to_text().parse().unwrap();
    let mut plaintext = Vec::new();
    let decryptor = age::Decryptor::new_buffered(sealed).unwrap();
    decryptor.decrypt(std::iter::once(&key as _)).unwrap().read_to_end(&mut plaintext).unwrap();
    plaintext
}

fn seal_with_age(plaintext: &[u8], identity: &ReadingIdentity) -> Vec<u8> {
    let key: age::x25519::Recipient = identity.recipient().as_str().parse().unwrap();
    let mut bytes = Vec::new();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&key as _)).unwrap();
    let mut writer = encryptor.wrap_output(&mut bytes).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A plaintext made by hand, signed by the author whatever it says.
fn plaintext(header: &[u8], body: &[u8]) -> Vec<u8> {
    let signed = Writer::new().bytes(header).bytes(body).finish();
    let signature = author().sign(&[LABEL, &signed].concat());
    [b"FBENTRY1", signed.as_slice(), &signature].concat()
}

fn padded(mut plaintext: Vec<u8>, len: usize) -> Vec<u8> {
    plaintext.resize(len, 0);
    plaintext
}

#[test]
#[ignore = "writes protocol/vectors/entry anew"]
fn write_the_entry_vectors() {
    let (author, desk) = (author(), ReadingIdentity::generate());
    let body = b"\x00\x00what was seen";
    let good = seal(&header(), body, &author, &[desk.recipient()]).unwrap().into_bytes();
    let plain = open_with_age(&good, &desk);
    let header_len = u32::from_be_bytes(plain[8..12].try_into().unwrap()) as usize;
    let head = plain[12..12 + header_len].to_vec();
    let end = 12 + header_len + 4 + body.len() + 64;
    let exact = plain[..end].to_vec();

    let write = |name: &str,
                 expect: &str,
                 cause: &str,
                 identity: &ReadingIdentity,
                 bytes: &[u8],
                 body: &[u8]| {
        let keys = author.keys();
        let mut text = format!("expect: {expect}\ncause: {cause}\nidentity: {}\n", *identity.to_text());
        text +=
            &format!("signing: {}\ntransport: {}\n", encode_hex(&keys.signing), encode_hex(&keys.transport));
        text += &format!("recipient: {}\n", keys.recipient.as_str());
        if expect == "ok" {
            text += &format!("id: {}\nkind: report\nsequence: 2\ntime: 1790000000000\n", EntryId::of(bytes));
            text += &format!("report: {}\nbody: {}\n", "44".repeat(16), encode_hex(body));
        }
        std::fs::write(folder("entry").join(format!("{name}.txt")), text + "\n" + &to_hex_lines(bytes))
            .unwrap();
    };
    let sealed = |name: &str, expect: &str, cause: &str, plaintext: &[u8]| {
        write(name, expect, cause, &desk, &seal_with_age(plaintext, &desk), &[]);
    };
    let altered = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let signed = |name: &str, cause: &str, header: &[u8]| {
        sealed(name, "layout", cause, &padded(plaintext(header, body), 1024));
    };

    write("good", "ok", "nothing is wrong", &desk, &good, body);
    let long = vec![0x77; 2_000];
    let second = ReadingIdentity::generate();
    let shared = seal(&header(), &long, &author, &[second.recipient(), desk.recipient()]).unwrap();
    write(
        "good-two-recipients",
        "ok",
        "opened by the second of two recipients",
        &desk,
        shared.as_bytes(),
        &long,
    );
    let empty = seal(&header(), b"", &author, &[desk.recipient()]).unwrap();
    write("good-empty-body", "ok", "a body of no bytes", &desk, empty.as_bytes(), b"");

    write("foreign-recipient", "not-for-us", "sealed to somebody else", &second, &good, &[]);
    let stanza = good.windows(10).position(|w| w == b"-> X25519 ").unwrap() + 10;
    let share = good[stanza];
    let mut other_share = good.clone();
    other_share[stanza] = if share == b'A' { b'B' } else { b'A' };
    write("stanza-altered", "not-for-us", "the ephemeral share was altered", &desk, &other_share, &[]);
    write(
        "payload-altered",
        "ciphertext",
        "the last byte was altered",
        &desk,
        &altered(&good, good.len() - 1),
        &[],
    );
    write("truncated", "ciphertext", "the last 17 bytes are missing", &desk, &good[..good.len() - 17], &[]);
    write("extended", "ciphertext", "a byte follows the age file", &desk, &[&good[..], &[0]].concat(), &[]);
    write("too-small", "not-an-entry", "fewer than 1024 bytes", &desk, &good[..1023], &[]);
    write("not-age", "not-an-entry", "another first line", &desk, &altered(&good, 0), &[]);

    sealed("magic-altered", "magic", "the plaintext begins FBENTRY0", &altered(&plain, 7));
    sealed(
        "plaintext-cut-in-the-header",
        "layout",
        "the plaintext ends after 1000 bytes of a longer header",
        &{
            let mut bytes = padded(plain[..12].to_vec(), 1000);
            bytes[8..12].copy_from_slice(&2_000_u32.to_be_bytes());
            padded(bytes, 1024)
        },
    );
    sealed("header-too-long", "layout", "a header of 4097 bytes", &{
        let whole = plaintext(&vec![1; 4_097], body);
        let len = padded_len(whole.len());
        padded(whole, len)
    });
    signed("header-version", "header version 2", &altered_to(&head, 0, 2));
    signed("header-kind", "kind 11", &altered_to(&head, 1, 11));
    signed("header-trailing", "a byte follows the header's last field", &[&head[..], &[0]].concat());
    signed("header-option", "the flag of the previous entry is 2", &altered_to(&head, 42, 2));
    let mut zeroth = head.clone();
    zeroth[34..42].fill(0);
    signed("sequence-zero", "sequence 0", &zeroth);
    let mut first = head.clone();
    first[41] = 1;
    signed("previous-of-the-first", "sequence 1 with a previous entry", &first);
    let orphan = [&head[..42], &[0], &head[75..]].concat();
    signed("previous-missing", "sequence 2 without a previous entry", &orphan);
    let mut twice = head.clone();
    let readers = head.len() - 1 - 32 - 4;
    twice[readers + 3] = 2;
    twice.splice(readers + 4..readers + 4, [0x66; 32]);
    signed("readers-not-ascending", "the same reader twice", &twice);
    let mut crowd = head.clone();
    crowd[readers + 3] = 65;
    signed("readers-too-many", "65 readers announced", &crowd);
    sealed("body-beyond-the-end", "layout", "the body's length exceeds what is there", &{
        let mut bytes = plain.clone();
        bytes[12 + header_len..16 + header_len].copy_from_slice(&1_024_u32.to_be_bytes());
        bytes
    });
    sealed("body-too-long", "layout", "a body of 1 MiB and a byte announced", &{
        let mut bytes = plain.clone();
        bytes[12 + header_len..16 + header_len].copy_from_slice(&((1_u32 << 20) + 1).to_be_bytes());
        bytes
    });
    sealed(
        "padding-not-zero",
        "padding",
        "the last byte of the padding is 1",
        &altered(&plain, plain.len() - 1),
    );
    sealed("padding-short", "padding", "1023 bytes where 1024 are due", &padded(exact.clone(), 1023));
    sealed("padding-long", "padding", "1025 bytes where 1024 are due", &padded(exact.clone(), 1025));
    sealed(
        "padding-of-a-longer-entry",
        "padding",
        "a permitted length, but not this entry's",
        &padded(exact, 1152),
    );
    sealed("device-other", "device", "well signed by the author, in another device's name", &{
        padded(plaintext(&altered(&head, 2), body), 1024)
    });
    sealed(
        "signature-altered",
        "signature",
        "the signature's last byte was altered",
        &altered(&plain, end - 1),
    );
    sealed("body-altered", "signature", "the body's last byte was altered", &altered(&plain, end - 65));
    sealed("header-altered", "signature", "the claimed time was altered", &altered(&plain, 12 + 82));
}

fn altered_to(bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] = value;
    bytes
}
