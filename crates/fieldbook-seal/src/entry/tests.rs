//! Entries, good and bad.

use super::*;
use crate::header::{Audience, Kind};
use fieldbook_proto::DeviceId;

fn device() -> DeviceSecret {
    DeviceSecret::generate([1; 32], [2; 32])
}

fn header(device: DeviceId) -> Header {
    Header {
        kind: Kind::Report,
        device,
        sequence: 1,
        previous: None,
        time_ms: 1_790_000_000_000,
        report: None,
        audience: Audience::default(),
    }
}

/// Encrypts any plaintext, well formed or not.
fn encrypt(plaintext: &[u8], identity: &ReadingIdentity) -> SealedEntry {
    let key = AgeRecipient::parse(&identity.recipient()).unwrap();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(key.as_age())).unwrap();
    let mut bytes = Vec::new();
    let mut writer = encryptor.wrap_output(&mut bytes).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap();
    SealedEntry::parse(bytes).unwrap()
}

fn class(result: Result<UnverifiedEntry, OpenError>, keys: &DeviceKeys) -> &'static str {
    match result.and_then(|entry| entry.verify(keys)) {
        Ok(_) => "ok",
        Err(OpenError::NotForUs) => "not for us",
        Err(OpenError::Damaged { why }) => why.class(),
    }
}

#[test]
fn a_header_made_of_stanzas_is_refused_before_they_are_tried() {
    let (author, desk) = (device(), ReadingIdentity::generate());
    let many: Vec<Recipient> = (1..ENTRY_RECIPIENTS_MAX)
        .map(|_| ReadingIdentity::generate().recipient())
        .chain([desk.recipient()])
        .collect();
    let sealed = seal(&header(author.id()), b"body", &author, &many).unwrap();
    assert_eq!(class(decrypt(&sealed, &[&desk]), &author.keys()), "ok");

    let mut bytes = sealed.into_bytes();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let stanza = b"\n-> X25519 AAAA\nBBBB".repeat(ENTRY_RECIPIENTS_MAX);
    bytes.splice(first..first, stanza);
    let sealed = SealedEntry::parse(bytes).unwrap();
    assert_eq!(class(decrypt(&sealed, &[&desk]), &author.keys()), "layout");
}

#[test]
fn each_recipient_opens_it_and_its_author_does_not() {
    let (author, desk, reader) = (device(), ReadingIdentity::generate(), ReadingIdentity::generate());
    let recipients = [desk.recipient(), reader.recipient(), desk.recipient()];
    let sealed = seal(&header(author.id()), b"body", &author, &recipients).unwrap();
    for identity in [&desk, &reader] {
        let opened =
            decrypt(&sealed, &[author.identity(), identity]).unwrap().verify(&author.keys()).unwrap();
        assert_eq!((opened.body(), opened.header()), (b"body".as_slice(), &header(author.id())));
        assert_eq!(opened.id(), EntryId::of(sealed.as_bytes()));
    }
    assert!(matches!(decrypt(&sealed, &[author.identity()]), Err(OpenError::NotForUs)));
    let stanzas = sealed.as_bytes().windows(10).filter(|w| w == b"-> X25519 ").count();
    assert_eq!(stanzas, 2, "a recipient given twice counts once");
}

#[test]
fn a_signed_entry_is_sealed_again_for_others_as_its_author_wrote_it() {
    let (author, desk, newcomer) = (device(), ReadingIdentity::generate(), ReadingIdentity::generate());
    let first = seal(&header(author.id()), b"body", &author, &[desk.recipient()]).unwrap();
    let signed = decrypt(&first, &[&desk]).unwrap().verify(&author.keys()).unwrap().into_signed();
    let second = seal_signed(&signed, &[newcomer.recipient()]).unwrap();
    let opened = decrypt(&second, &[&newcomer]).unwrap().verify(&author.keys()).unwrap();
    assert_eq!(opened.body(), b"body");
    assert_ne!(first.id(), second.id());
}

#[test]
fn limits_hold_on_the_way_in() {
    let (author, desk) = (device(), ReadingIdentity::generate().recipient());
    let head = header(author.id());
    let body = vec![7; ENTRY_BODY_MAX + 1];
    assert!(matches!(
        seal(&head, &body, &author, std::slice::from_ref(&desk)),
        Err(SealError::BodyTooLarge { len }) if len == ENTRY_BODY_MAX + 1
    ));
    let many: Vec<_> = (0..65).map(|_| ReadingIdentity::generate().recipient()).collect();
    let largest = seal(&head, &body[1..], &author, &many[..64]).unwrap();
    assert!(largest.as_bytes().len() <= ENTRY_SEALED_MAX, "the largest entry is within the limit");
    assert!(matches!(seal(&head, b"", &author, &many), Err(SealError::TooManyRecipients { count: 65 })));
    assert!(matches!(seal(&head, b"", &author, &[]), Err(SealError::NoRecipient)));
    let other = DeviceSecret::generate([9; 32], [2; 32]);
    assert!(matches!(seal(&head, b"", &other, &[desk]), Err(SealError::OtherDevice)));
}

#[test]
fn what_is_no_entry_is_refused_unread() {
    assert_eq!(SealedEntry::parse(vec![0; 100]), Err(NotAnEntry::TooSmall));
    assert_eq!(SealedEntry::parse(vec![0; ENTRY_SEALED_MAX + 1]), Err(NotAnEntry::TooLarge));
    assert_eq!(SealedEntry::parse(vec![0; 2_000]), Err(NotAnEntry::NotAge));
}

#[test]
fn a_plaintext_has_exactly_one_form() {
    let (author, desk) = (device(), ReadingIdentity::generate());
    let signed = sign(&header(author.id()), b"body", &author).unwrap().plaintext;
    let padded = |bytes: &[u8], len: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(len, 0);
        bytes
    };
    let good = padded(&signed, 1024);
    let open = |plaintext: &[u8]| class(decrypt(&encrypt(plaintext, &desk), &[&desk]), &author.keys());
    let altered = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(open(&good), "ok");
    assert_eq!(open(&padded(&signed, 1023)), "padding");
    assert_eq!(open(&padded(&signed, 1025)), "padding");
    assert_eq!(open(&padded(&signed, 1152)), "padding", "permitted, but for a longer entry");
    assert_eq!(open(&altered(1023)), "padding");
    assert_eq!(open(&altered(0)), "magic");
    assert_eq!(open(&altered(8)), "layout", "a header of 16 MiB");
    assert_eq!(open(&altered(14)), "device", "the device stands from offset 14 on");
    assert_eq!(open(&altered(signed.len() - 1)), "signature");
    assert_eq!(open(&altered(signed.len() - 65)), "signature", "the last byte of the body");
}

#[test]
fn another_devices_keys_do_not_verify() {
    let (author, desk) = (device(), ReadingIdentity::generate());
    let other = DeviceSecret::generate([3; 32], [4; 32]);
    let sealed = seal(&header(author.id()), b"body", &author, &[desk.recipient()]).unwrap();
    assert_eq!(class(decrypt(&sealed, &[&desk]), &other.keys()), "device");
}
