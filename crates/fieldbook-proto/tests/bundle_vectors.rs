//! Runs `protocol/vectors/bundle/`, and can write it anew:
//! `cargo test -p fieldbook-proto --test bundle_vectors -- --ignored`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use std::collections::BTreeMap;

use fieldbook_proto::bundle::{
    BLOCK_LEN, BODY_LEN, Head, PartReader, PartReport, PartWriter, RECORD_OVERHEAD, VERSION, seal_block,
};
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{BundleId, EntryId, encode_hex};

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

#[test]
fn every_vector_ends_in_its_class_with_its_entries() {
    let vectors = reader::vectors("bundle");
    let own: BTreeMap<&str, Vec<u8>> = vectors
        .iter()
        .filter(|vector| !vector.fields.contains_key("base"))
        .map(|vector| (vector.file.as_str(), vector.bytes()))
        .collect();
    for vector in &vectors {
        let base = vector.fields.get("base").unwrap_or(&vector.file);
        let edits = if base == &vector.file { "" } else { &vector.payload };
        let file = edited(own[base.as_str()].clone(), edits);
        let (ids, report) = read(secrets(&vector.hex("secrets")), &file);
        let name = &vector.file;
        assert_eq!(class(&report), vector.field("expect"), "{name}: {}", vector.field("cause"));
        assert_eq!(ids, vector.field("entries"), "{name}");
        for (field, found) in counts(&report) {
            assert_eq!(found.to_string(), vector.field(field), "{name}: {field}");
        }
    }
}

fn edited(mut file: Vec<u8>, edits: &str) -> Vec<u8> {
    for line in edits.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        let numbers: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
        let block = |number: usize| number * BLOCK_LEN..(number + 1) * BLOCK_LEN;
        match (what, &numbers[..]) {
            ("flip", [at]) => file[*at] ^= 1,
            ("cut", [len]) => file.truncate(*len),
            ("add", [len]) => file.resize(file.len() + len, 0),
            ("drop", [number]) => drop(file.drain(block(*number))),
            ("twice", [number]) => {
                let again = file[block(*number)].to_vec();
                let at = block(*number).end;
                file.splice(at..at, again);
            }
            ("swap", [one, other]) => {
                let (first, second) = (file[block(*one)].to_vec(), file[block(*other)].to_vec());
                file[block(*one)].copy_from_slice(&second);
                file[block(*other)].copy_from_slice(&first);
            }
            _ => panic!("what is {line:?}?"),
        }
    }
    file
}

fn secrets(one_after_the_other: &[u8]) -> Vec<TransportSecret> {
    one_after_the_other.chunks(32).map(|secret| TransportSecret::new(1, secret.try_into().unwrap())).collect()
}

/// The ids of the bytes that come out, in hexadecimal, "-" for none; those that are not what they say left out.
fn read(secrets: Vec<TransportSecret>, file: &[u8]) -> (String, PartReport) {
    let mut reader = PartReader::new(secrets);
    let mut entries = Vec::new();
    for block in file.chunks(BLOCK_LEN) {
        reader.block(block, &mut entries);
    }
    let good = entries.iter().filter(|(id, sealed)| EntryId::of(sealed) == *id);
    let ids: Vec<String> = good.map(|(id, _)| id.to_string()).collect();
    (if ids.is_empty() { "-".to_owned() } else { ids.join(" ") }, reader.finish())
}

fn class(report: &PartReport) -> &'static str {
    if report.is_whole() {
        "whole"
    } else if report.newer > 0 {
        "newer"
    } else if !report.is_bundle() {
        "foreign"
    } else if report.is_torn() {
        "torn"
    } else {
        "damaged"
    }
}

const fn counts(report: &PartReport) -> [(&'static str, u64); 6] {
    [
        ("blocks", report.blocks),
        ("good", report.good),
        ("damaged", report.damaged),
        ("misplaced", report.misplaced),
        ("cut", report.cut),
        ("impossible", report.impossible),
    ]
}

const SECRET: [u8; 32] = [0x33; 32];
const OLDER: [u8; 32] = [0x32; 32];
const BUNDLE: BundleId = BundleId::from_bytes([0x77; 16]);

fn entry(seed: u64, len: usize) -> (EntryId, Vec<u8>) {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    (EntryId::of(&bytes), bytes)
}

/// Small entries, one that lies across two blocks, one across three, one that ends with its block.
fn part() -> Vec<u8> {
    let mut out = Vec::new();
    let mut salt = 0_u64;
    let mut salts = || {
        salt += 1;
        Ok::<_, ()>(*blake3::hash(&salt.to_le_bytes()).as_bytes())
    };
    let mut writer = PartWriter::new(TransportSecret::new(1, SECRET), BUNDLE, 0);
    let to_the_end = 4 * BODY_LEN
        - [2_000, 1_024, 15_000, 30_000].iter().map(|len| RECORD_OVERHEAD + len).sum::<usize>()
        - RECORD_OVERHEAD;
    for (seed, len) in [2_000, 1_024, 15_000, 30_000, to_the_end, 3_000].into_iter().enumerate() {
        let (id, sealed) = entry(seed as u64, len);
        writer.add(&id, &sealed, &mut salts, &mut out).unwrap();
    }
    writer.finish(true, &mut salts, &mut out).unwrap();
    out
}

/// A small entry, one that lies across four blocks, a small one.
fn long() -> Vec<u8> {
    let mut out = Vec::new();
    let mut salt = 100_u64;
    let mut salts = || {
        salt += 1;
        Ok::<_, ()>(*blake3::hash(&salt.to_le_bytes()).as_bytes())
    };
    let mut writer = PartWriter::new(TransportSecret::new(1, SECRET), BUNDLE, 0);
    for (seed, len) in [(30, 1_100), (31, 3 * BODY_LEN), (32, 1_200)] {
        let (id, sealed) = entry(seed, len);
        writer.add(&id, &sealed, &mut salts, &mut out).unwrap();
    }
    writer.finish(true, &mut salts, &mut out).unwrap();
    out
}

fn forged(change: impl FnOnce(&mut Head), body: &[u8]) -> Vec<u8> {
    salted(&[0x55; 32], change, body)
}

fn salted(salt: &[u8; 32], change: impl FnOnce(&mut Head), body: &[u8]) -> Vec<u8> {
    let mut head = Head {
        version: VERSION,
        bundle: BUNDLE,
        part: 0,
        number: 0,
        last: true,
        last_part: true,
        first: if body.is_empty() { None } else { Some(0) },
        used: u16::try_from(body.len()).unwrap(),
    };
    change(&mut head);
    let mut out = Vec::new();
    seal_block(&TransportSecret::new(1, SECRET), salt, &head, body, &mut out);
    out
}

fn record(len: u32, (id, sealed): &(EntryId, Vec<u8>)) -> Vec<u8> {
    [&len.to_be_bytes()[..], id.as_bytes(), sealed].concat()
}

#[test]
#[ignore = "writes protocol/vectors/bundle anew"]
fn write_the_vectors() {
    let good = part();
    let now = encode_hex(&SECRET);
    let write = |name: &str, cause: &str, secrets: &str, file: &[u8], base: Option<&str>, payload: &str| {
        let (ids, report) = read(self::secrets(&reader::from_hex(secrets)), file);
        let mut text = format!("expect: {}\ncause: {cause}\n", class(&report));
        text += &base.map(|base| format!("base: {base}\n")).unwrap_or_default();
        text += &format!("secrets: {secrets}\nentries: {ids}\n");
        for (field, number) in counts(&report) {
            text += &format!("{field}: {number}\n");
        }
        text += &format!("\n{payload}");
        std::fs::write(reader::folder("bundle").join(format!("{name}.txt")), text).unwrap();
    };
    let own = |name: &str, cause: &str, file: &[u8]| {
        write(name, cause, &now, file, None, &reader::to_hex_lines(file));
    };
    own("good", "six entries in five blocks", &good);
    let older = encode_hex(&OLDER);
    let base = Some("good.txt");
    write("older-secret", "the second of the reader's secrets", &format!("{older} {now}"), &good, base, "");
    write("wrong-secret", "the reader has other secrets", &older, &good, base, "");
    let edits: [(&str, &str, &str); 16] = [
        ("salt-altered", "a bit of a salt", "flip 16384"),
        ("head-altered", "a bit of a head", "flip 16420"),
        ("head-tag-altered", "the last bit of a head", "flip 16459"),
        ("body-altered", "a bit of a body: the head still opens", "flip 20000"),
        ("body-tag-altered", "the last bit of a block", "flip 32767"),
        ("first-byte-altered", "the first bit of the file", "flip 0"),
        ("torn-between-blocks", "the file ends with a block that is not the last", "cut 65536"),
        ("torn-in-a-block", "the last byte is missing", "cut 81919"),
        ("torn-in-the-first", "less than a head", "cut 40"),
        ("torn-to-nothing", "an empty file", "cut 0"),
        ("extended", "a zero byte follows", "add 1"),
        ("extended-by-a-block", "a block of zeros follows", "add 16384"),
        ("reordered", "two blocks are exchanged", "swap 1 2"),
        ("dropped", "a block is missing, the others moved up", "drop 1"),
        ("dropped-first", "the first block is missing", "drop 0"),
        ("repeated", "a block stands there twice", "twice 0"),
    ];
    for (name, cause, edit) in edits {
        write(name, cause, &now, &edited(good.clone(), edit), base, &format!("{edit}\n"));
    }
    let (one, two) = (entry(20, 1_100), entry(21, 1_200));
    own("empty", "no entry", &forged(|_| {}, &[]));
    own(
        "not-the-last-part",
        "a whole part that others follow",
        &forged(|head| (head.part, head.last_part) = (3, false), &record(1_100, &one)),
    );
    own("version", "version 2", &forged(|head| head.version = 2, &[]));
    own("flags", "flag 4", &unknown_flag());
    own("flag-alone", "the last part, not the last block", &forged(|head| head.last = false, &[]));
    own("used", "more bytes than a body has", &forged(|head| head.used = 16_293, &[]));
    own("first", "a record that begins behind the last byte", &forged(|head| head.first = Some(0), &[]));
    for (name, cause, len) in [
        ("length-huge", "a record of 4 GiB", u32::MAX),
        ("length-above", "a record of 1,245,185 bytes", 1_245_185),
        ("length-below", "a record of 1,023 bytes", 1_023),
    ] {
        let body = [record(1_100, &one), record(len, &two)].concat();
        own(name, cause, &forged(|_| {}, &body));
    }
    let body = [record(1_100, &one), record(1_245_184, &two)].concat();
    own("length-most", "a record of 1,245,184 bytes that does not go on", &forged(|_| {}, &body));
    let body = [record(1_100, &(one.0, entry(22, 1_100).1)), record(1_200, &two)].concat();
    own("other-bytes", "an entry whose bytes are not what its id names", &forged(|_| {}, &body));
    let long = long();
    own("long", "an entry in four blocks, between two small ones", &long);
    for (name, cause, edit) in [
        (
            "long-block-altered",
            "a bit of the second of its blocks: what goes on with it is skipped",
            "flip 20000",
        ),
        ("long-block-dropped", "the second of its blocks is missing", "drop 1"),
    ] {
        write(name, cause, &now, &edited(long.clone(), edit), Some("long.txt"), &format!("{edit}\n"));
    }
    let on = |number: u32, first: Option<u16>, last, body: &[u8]| {
        let salt = blake3::hash(&(200 + number).to_le_bytes());
        let change = |head: &mut Head| {
            (head.number, head.first, head.last, head.last_part) = (number, first, last, last);
        };
        salted(salt.as_bytes(), change, body)
    };
    let nothing_begun = [
        on(0, Some(0), false, &record(1_100, &one)),
        on(1, None, false, &[7; 500]),
        on(2, None, false, &[7; 500]),
        on(3, Some(9), true, &[&[7; 9][..], &record(1_200, &two)].concat()),
    ];
    own("nothing-begun", "two blocks and nine bytes that go on with no record", &nothing_begun.concat());
    let body = [&[0; 9][..], &record(1_200, &two)].concat();
    own(
        "skipped",
        "the first block, with bytes before its first record",
        &forged(|head| head.first = Some(9), &body),
    );
}

/// Made by hand: `Head` has no place for it.
fn unknown_flag() -> Vec<u8> {
    use chacha20poly1305::aead::{Aead, KeyInit};
    use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
    let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 bundle v1 block");
    hasher.update(&SECRET).update(&[0x55; 32]);
    let cipher = ChaCha20Poly1305::new(Key::from_slice(hasher.finalize().as_bytes()));
    let head = [&[1, 7][..], BUNDLE.as_bytes(), &[0; 6], &[0xff, 0xff, 0, 0]].concat();
    let mut body_nonce = [0; 12];
    body_nonce[0] = 1;
    [
        vec![0x55; 32],
        cipher.encrypt(&Nonce::default(), &head[..]).unwrap(),
        cipher.encrypt(&Nonce::from(body_nonce), &vec![0; BODY_LEN][..]).unwrap(),
    ]
    .concat()
}
