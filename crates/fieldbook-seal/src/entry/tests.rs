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
    let opened = decrypt(&first, &[&desk]).unwrap().verify(&author.keys()).unwrap();
    let digest = opened.digest();
    let signed = opened.into_signed();
    assert_eq!(signed.digest(), digest);
    let second = seal_signed(&signed, &[newcomer.recipient()]).unwrap();
    let opened = decrypt(&second, &[&newcomer]).unwrap().verify(&author.keys()).unwrap();
    assert_eq!(opened.body(), b"body");
    assert_eq!(opened.digest(), digest);
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

#[test]
fn two_ciphertexts_of_one_signed_entry_have_one_digest() {
    let (author, desk) = (device(), ReadingIdentity::generate());
    let signed = sign(&header(author.id()), b"body", &author).unwrap();
    let digest = |signed: &SignedEntry| {
        let sealed = seal_signed(signed, &[desk.recipient()]).unwrap();
        (sealed.id(), decrypt(&sealed, &[&desk]).unwrap().verify(&author.keys()).unwrap().digest())
    };
    let ((first, one), (second, two)) = (digest(&signed), digest(&signed));
    assert_ne!(first, second);
    assert_eq!(one, two);
    assert_eq!(one, *blake3::hash(&signed.plaintext).as_bytes());
    let other = sign(&header(author.id()), b"bodx", &author).unwrap();
    assert_ne!(digest(&other).1, one);
}

#[test]
fn what_an_entry_claims_can_be_read_before_its_author_is_known() {
    let (author, desk) = (device(), ReadingIdentity::generate());
    let sealed = seal(&header(author.id()), b"body", &author, &[desk.recipient()]).unwrap();
    assert_eq!(decrypt(&sealed, &[&desk]).unwrap().claimed_body(), b"body");
}

#[test]
fn padded_recipients_hide_how_many_there_are_and_who_comes_first() {
    let author = device();
    let signed = sign(&header(author.id()), b"body", &author).unwrap();
    let readers: Vec<ReadingIdentity> =
        (0..ENTRY_RECIPIENTS_MAX).map(|_| ReadingIdentity::generate()).collect();
    let recipients: Vec<Recipient> = readers.iter().map(ReadingIdentity::recipient).collect();
    let stanzas = |count: usize, multiple| {
        let sealed = seal_padded(&signed, &recipients[..count], multiple).unwrap();
        for reader in [&readers[0], &readers[count - 1]] {
            assert!(decrypt(&sealed, &[reader]).is_ok(), "the first and the last open it");
        }
        sealed.as_bytes().windows(10).filter(|w| w == b"-> X25519 ").count()
    };
    assert_eq!(
        [1, 2, 15, 16, 17, 48, 49, 64].map(|count| stanzas(count, 16)),
        [16, 16, 16, 16, 32, 48, 64, 64]
    );
    assert_eq!([stanzas(5, 0), stanzas(5, 1)], [5, 5]);
    assert_eq!(stanzas(50, 60), 60);
    assert_eq!(stanzas(61, 60), 64, "never more than an entry may have");
    assert!(matches!(seal_padded(&signed, &[], 16), Err(SealError::NoRecipient)));

    // The first recipient is not the first stanza each time: its place says nothing.
    let first = |sealed: &SealedEntry| {
        let mut text = String::from_utf8_lossy(sealed.as_bytes()).into_owned();
        let second = text.match_indices("\n-> ").nth(1).unwrap().0;
        let end = text.find("\n--- ").unwrap();
        text.replace_range(second..end, "");
        text.truncate(text.find("\n--- ").unwrap());
        text
    };
    let opens_first = (0..64)
        .filter(|_| {
            let sealed = seal_padded(&signed, &recipients[..1], 16).unwrap();
            // With only its first stanza left, the MAC fails if we are that stanza; else nothing fits.
            let mut bytes = first(&sealed).into_bytes();
            let rest = sealed.as_bytes().windows(5).position(|w| w == b"\n--- ").unwrap();
            bytes.extend_from_slice(&sealed.as_bytes()[rest..]);
            !matches!(decrypt(&SealedEntry::parse(bytes).unwrap(), &[&readers[0]]), Err(OpenError::NotForUs))
        })
        .count();
    assert!(opens_first < 32, "the first recipient was the first stanza {opens_first} times of 64");
}
