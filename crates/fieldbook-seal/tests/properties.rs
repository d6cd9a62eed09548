//! What holds for every entry, whatever its body and whichever byte somebody alters.
#![allow(clippy::expect_used, reason = "a test may stop")]

use fieldbook_proto::DeviceId;
use fieldbook_seal::padding::padded_len;
use fieldbook_seal::{
    Audience, DeviceSecret, Header, Kind, OpenError, ReadingIdentity, SealedEntry, decrypt, seal,
};
use proptest::prelude::*;

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

/// The bytes after the age header: nonce, then the encrypted plaintext in chunks of 64 KiB with a
/// tag each. The header's own length varies at random (age adds a grease stanza).
fn payload_len(sealed: &SealedEntry) -> usize {
    let bytes = sealed.as_bytes();
    let mac = bytes.windows(5).position(|w| w == b"\n--- ").expect("an age header ends in a MAC") + 1;
    let line = bytes[mac..].iter().position(|b| *b == b'\n').expect("the MAC's line ends") + 1;
    bytes.len() - mac - line
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_altered_byte_is_refused_and_never_panics(
        body in proptest::collection::vec(any::<u8>(), 0..3_000),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let author = DeviceSecret::generate([1; 32], [2; 32]);
        let desk = ReadingIdentity::generate();
        let sealed = seal(&header(author.id()), &body, &author, &[desk.recipient()]).unwrap();
        let mut bytes = sealed.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let opened = SealedEntry::parse(bytes).map(|sealed| {
            decrypt(&sealed, &[&desk]).and_then(|entry| entry.verify(&author.keys()))
        });
        prop_assert!(!matches!(opened, Ok(Ok(_))), "byte {at} was altered and the entry still opened");
    }

    #[test]
    fn a_cut_entry_is_refused_and_never_panics(cut in any::<prop::sample::Index>()) {
        let author = DeviceSecret::generate([1; 32], [2; 32]);
        let desk = ReadingIdentity::generate();
        let mut bytes = seal(&header(author.id()), b"body", &author, &[desk.recipient()]).unwrap().into_bytes();
        bytes.truncate(cut.index(bytes.len()));
        let opened = SealedEntry::parse(bytes).map(|sealed| decrypt(&sealed, &[&desk]).map(|_| ()));
        prop_assert!(!matches!(opened, Ok(Ok(()))));
    }

    #[test]
    fn bytes_from_anywhere_are_refused_and_never_panic(
        rest in proptest::collection::vec(any::<u8>(), 1_024..4_000),
    ) {
        let desk = ReadingIdentity::generate();
        let bytes = [b"age-encryption.org/v1\n".as_slice(), &rest].concat();
        let sealed = SealedEntry::parse(bytes).unwrap();
        let refused = matches!(decrypt(&sealed, &[&desk]), Err(OpenError::Damaged { .. } | OpenError::NotForUs));
        prop_assert!(refused);
    }

    #[test]
    fn the_encrypted_length_tells_the_padding_bucket_and_nothing_else(len in 0_usize..200_000) {
        let author = DeviceSecret::generate([1; 32], [2; 32]);
        let desk = ReadingIdentity::generate();
        let head = header(author.id());
        let body = vec![7; len];
        // Magic, two lengths, the header of this test (58 bytes), body, signature.
        let bucket = padded_len(8 + 4 + 58 + 4 + len + 64);
        let sealed = seal(&head, &body, &author, &[desk.recipient()]).unwrap();
        prop_assert_eq!(payload_len(&sealed), 16 + bucket + 16 * bucket.div_ceil(64 * 1024));
    }
}
