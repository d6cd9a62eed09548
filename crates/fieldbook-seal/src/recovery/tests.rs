//! The vectors of `protocol/vectors/recovery/`, those of SLIP-39 among them, and splitting.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[allow(dead_code, reason = "some of it is for other sections")]
#[path = "../../../../protocol/vectors/reader.rs"]
mod reader;
use reader::Vector;

const CLASSES: [&str; 10] = [
    "good",
    "word",
    "length",
    "checksum",
    "malformed",
    "several-groups",
    "another-set",
    "duplicate",
    "too-few",
    "do-not-fit",
];

/// The class in which the vector ends, and the secret or the number that goes with it.
fn outcome(vector: &Vector) -> (&'static str, Option<String>) {
    let passphrase = vector.fields.get("passphrase");
    let mut shares = Vec::new();
    for line in vector.payload.lines() {
        // The standard's vectors have a passphrase, and some have a shorter secret.
        match match passphrase {
            Some(_) => share::numbers(line).and_then(|numbers| Share::from_numbers(&numbers)),
            None => Share::parse(line),
        } {
            Ok(share) => shares.push(share),
            Err(ShareError::UnknownWord { position, .. }) => return ("word", Some(position.to_string())),
            Err(ShareError::Length { .. }) => return ("length", None),
            Err(ShareError::Checksum { suspect }) => return ("checksum", suspect.map(|at| at.to_string())),
            Err(ShareError::Malformed) => return ("malformed", None),
            Err(ShareError::SeveralGroups) => return ("several-groups", None),
        }
    }
    match combine_value(&shares, passphrase.map_or(b"", |text| text.as_bytes())) {
        Ok(secret) => ("good", Some(fieldbook_proto::encode_hex(&secret))),
        Err(CombineError::TooFew { needed, .. }) => ("too-few", Some(needed.to_string())),
        Err(CombineError::AnotherSet { .. }) => ("another-set", None),
        Err(CombineError::Duplicate { .. }) => ("duplicate", None),
        Err(CombineError::DoNotFit) => ("do-not-fit", None),
    }
}

#[test]
fn every_vector_ends_as_it_says() {
    let mut seen = BTreeSet::new();
    for vector in reader::vectors("recovery") {
        let (class, detail) = outcome(&vector);
        assert_eq!(class, vector.field("expect"), "{}: {detail:?}", vector.file);
        seen.insert(class);
        for name in ["secret", "position", "needed"] {
            if let Some(expected) = vector.fields.get(name) {
                assert_eq!(detail.as_deref(), Some(expected.as_str()), "{}: {name}", vector.file);
            }
        }
        if let Some(identity) = vector.fields.get("identity") {
            keys_are(&vector, identity);
        }
    }
    assert_eq!(seen, BTreeSet::from(CLASSES), "each class has a vector");
}

/// The vector's sheets through the door that the program uses, and what follows from the secret.
fn keys_are(vector: &Vector, identity: &str) {
    let shares: Vec<Share> = vector.payload.lines().map(|line| Share::parse(line).unwrap()).collect();
    let secret = combine(&shares).unwrap();
    assert_eq!(*secret.identity().to_text(), identity, "{}", vector.file);
    assert_eq!(secret.identity().recipient().as_str(), vector.field("recipient"), "{}", vector.file);
    let stored = secret.paper_device().to_bytes();
    let seeds = [vector.hex("signing"), vector.hex("transport")].concat();
    assert_eq!(&stored[1..65], seeds, "{}", vector.file);
    assert_eq!(&stored[65..], identity.as_bytes(), "{}", vector.file);
}

/// Not random, and different at every call.
fn fill(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut counter = u64::from(seed) << 32;
    move |bytes| {
        for chunk in bytes.chunks_mut(32) {
            counter += 1;
            chunk.copy_from_slice(&blake3::hash(&counter.to_be_bytes()).as_bytes()[..chunk.len()]);
        }
    }
}

#[test]
fn only_sensible_numbers_of_sheets_are_split() {
    let secret = RecoverySecret::from_bytes(&[1; 32]);
    for (threshold, shares) in [(0, 0), (0, 3), (1, 1), (1, 3), (3, 2), (2, 17), (17, 17)] {
        assert!(secret.split(threshold, shares, fill(1)).is_err(), "{threshold} of {shares}");
    }
    for (threshold, shares) in [(2, 2), (2, 16), (16, 16)] {
        let sheets = secret.split(threshold, shares, fill(1)).unwrap();
        assert_eq!(sheets.len(), shares);
        assert_eq!(sheets[0].threshold(), threshold);
        let numbers: Vec<usize> = sheets.iter().map(Share::number).collect();
        assert_eq!(numbers, (1..=shares).collect::<Vec<_>>());
    }
}

#[test]
fn sheets_of_one_secret_made_twice_are_two_sets() {
    let secret = RecoverySecret::from_bytes(&[1; 32]);
    let (first, second) = (secret.split(2, 3, fill(1)).unwrap(), secret.split(2, 3, fill(2)).unwrap());
    let mixed = [first[0].clone(), second[1].clone()];
    assert_eq!(combine(&mixed).err(), Some(CombineError::AnotherSet { share: 2 }));
    // Were their numbers the same by chance, the digest would still tell.
    let mut forged = second[1].clone();
    forged.set = first[0].set;
    assert_eq!(combine(&[first[0].clone(), forged]).err(), Some(CombineError::DoNotFit));
}

#[test]
fn errors_say_what_to_look_at() {
    let secret = RecoverySecret::from_bytes(&[1; 32]);
    let shares = secret.split(3, 5, fill(1)).unwrap();
    let said = combine(&shares[..1]).err().map(|error| error.to_string());
    assert_eq!(said.as_deref(), Some("3 different sheets are needed, 2 more than were given"));
    let words = shares[0].words();
    let wrong = words.replacen(words.split(' ').nth(6).unwrap(), "nonsense", 1);
    let said = Share::parse(&wrong).err().map(|error| error.to_string());
    assert_eq!(said.as_deref(), Some("word 7, \"nonsense\", is not a word of recovery sheets"));
    let two = format!("{}\n{}", *words, *shares[1].words());
    assert_eq!(Share::parse(&two).err(), Some(ShareError::Length { found: 66 }));
    assert_eq!(Share::parse("").err(), Some(ShareError::Length { found: 0 }));
}

#[test]
fn nothing_secret_is_printed_by_debug() {
    let secret = RecoverySecret::from_bytes(&[1; 32]);
    let share = secret.split(2, 2, fill(1)).unwrap().remove(0);
    assert_eq!(format!("{secret:?}"), "RecoverySecret");
    let printed = format!("{share:?}");
    assert!(printed.starts_with("Share(1 of set ") && printed.len() < 24, "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_threshold_of_the_sheets_gives_the_secret_and_fewer_do_not(
        bytes in any::<[u8; 32]>(),
        (shares, threshold) in (2_usize..=16).prop_flat_map(|n| (Just(n), 2..=n)),
        seed in any::<u8>(),
        order in any::<u64>(),
    ) {
        let secret = RecoverySecret::from_bytes(&bytes);
        let mut sheets = secret.split(threshold, shares, fill(seed)).unwrap();
        sheets.sort_by_key(|share| *blake3::hash(&(order ^ share.number() as u64).to_be_bytes()).as_bytes());
        sheets.truncate(threshold);
        let typed: Vec<Share> = sheets.iter().map(|share| Share::parse(&share.words()).unwrap()).collect();
        let again = combine(&typed).unwrap();
        prop_assert_eq!(again.identity().to_text(), secret.identity().to_text());
        let few = combine(&typed[1..]).err();
        prop_assert_eq!(few, Some(CombineError::TooFew { given: threshold - 1, needed: threshold }).filter(|_| threshold > 1));
    }

    #[test]
    fn one_wrong_word_is_found_and_two_are_noticed(
        bytes in any::<[u8; 32]>(),
        (at, other) in (0_usize..33, 0_usize..33),
        (by, by_other) in (1_u16..1_024, 1_u16..1_024),
    ) {
        let share = RecoverySecret::from_bytes(&bytes).split(2, 2, fill(3)).unwrap().remove(0);
        let mut numbers = share::numbers(&share.words()).unwrap();
        numbers[at] ^= by;
        let found = Share::from_numbers(&numbers).err();
        prop_assert_eq!(found, Some(ShareError::Checksum { suspect: Some(at + 1) }));
        prop_assume!(at != other);
        numbers[other] ^= by_other;
        let found = Share::from_numbers(&numbers).err();
        prop_assert!(matches!(found, Some(ShareError::Checksum { .. })), "{found:?}");
    }

    #[test]
    fn whatever_is_typed_is_read_without_a_panic(text in "\\PC{0,200}", numbers in prop::collection::vec(0_u16..1_024, 0..60)) {
        let _ = Share::parse(&text);
        let _ = Share::from_numbers(&numbers);
    }
}
