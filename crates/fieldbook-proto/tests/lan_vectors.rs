//! Runs `protocol/vectors/lan/`: which datagrams are beacons, and what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use fieldbook_proto::encode_hex;
use fieldbook_proto::lan::{Beacon, HourKey, LEN, Mark, Salt, hours};
use fieldbook_proto::session::TransportSecret;
use reader::{Vector, folder, to_hex_lines, vectors};

const SECRET: [u8; 32] = [0x44; 32];
/// The last second of an hour.
const TIME: u64 = 1_790_002_799;

/// What a reader whose clock says `time` hears.
fn open(vector: &Vector) -> Option<(Salt, Beacon)> {
    let secret = TransportSecret::new(1, vector.hex("secret").try_into().unwrap());
    let time = vector.field("time").parse().unwrap();
    hours(time).iter().find_map(|hour| HourKey::of(&secret, *hour).open(&vector.bytes()))
}

fn marks(heard: &[Mark]) -> String {
    if heard.is_empty() {
        return "none".to_owned();
    }
    heard.iter().map(|mark| encode_hex(mark)).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_vector_ends_in_its_class() {
    for vector in vectors("lan") {
        match (open(&vector), vector.field("expect")) {
            (None, "no-beacon") => {}
            (Some((salt, beacon)), "beacon") => {
                assert_eq!(encode_hex(&salt), vector.field("salt"), "{}", vector.file);
                assert_eq!(encode_hex(&beacon.address), vector.field("address"), "{}", vector.file);
                assert_eq!(beacon.port.to_string(), vector.field("port"), "{}", vector.file);
                assert_eq!(marks(&beacon.heard), vector.field("heard"), "{}", vector.file);
            }
            (found, expect) => panic!("{}: {expect}, and found {found:?}", vector.file),
        }
    }
}

/// The format once more, from its page alone: any content.
fn sealed(secret: [u8; 32], hour: u64, salt: Salt, content: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 lan v1 hour");
    let hour = *hasher.update(&secret).update(&hour.to_be_bytes()).finalize().as_bytes();
    let key = *blake3::keyed_hash(&hour, &salt).as_bytes();
    let mut sealed = content.to_vec();
    let cipher = ChaCha20Poly1305::new(Key::from_slice(&key));
    let tag = cipher.encrypt_in_place_detached(&Nonce::default(), b"", &mut sealed).unwrap();
    [&salt[..], &sealed, &tag].concat()
}

fn content(version: u8, address: [u8; 16], port: u16, count: u8, heard: &[Mark]) -> Vec<u8> {
    let mut content = vec![version];
    content.extend(address);
    content.extend(port.to_be_bytes());
    content.push(count);
    content.extend(heard.concat());
    content.resize(96, 0);
    content
}

fn v4() -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 7]
}

fn heard(number: u8) -> Vec<Mark> {
    (1..=number).map(|n| [n; 8]).collect()
}

#[test]
fn the_page_alone_makes_the_same_beacons() {
    let hour = hours(TIME)[0];
    let key = HourKey::of(&TransportSecret::new(1, SECRET), hour);
    let beacon = Beacon { address: v4(), port: 4040, heard: heard(3) };
    let bytes = content(1, v4(), 4040, 3, &heard(3));
    assert_eq!(sealed(SECRET, hour, [5; 16], &bytes), key.seal([5; 16], &beacon));
}

#[test]
#[ignore = "writes protocol/vectors/lan"]
fn write_the_lan_vectors() {
    let folder = folder("lan");
    std::fs::create_dir_all(&folder).unwrap();
    let write =
        |name: &str, expect: &str, cause: &str, time: u64, fields: &[(&str, String)], datagram: &[u8]| {
            let secret = encode_hex(&SECRET);
            let mut text = format!("expect: {expect}\ncause: {cause}\nsecret: {secret}\ntime: {time}\n");
            for (name, value) in fields {
                text += &format!("{name}: {value}\n");
            }
            std::fs::write(folder.join(name), format!("{text}\n{}", to_hex_lines(datagram))).unwrap();
        };
    let hour = hours(TIME)[0];
    let salt: Salt = std::array::from_fn(|n| n as u8 * 17);
    let mut six = [0; 16];
    six[..2].copy_from_slice(&[0xfe, 0x80]);
    six[15] = 9;
    for (name, cause, time, address, port, number) in [
        ("good-alone.txt", "nobody was heard yet", TIME, v4(), 4040, 0),
        ("good-full.txt", "as many as fit were heard", TIME, v4(), 65_535, 8),
        ("good-address-6.txt", "an address of IPv6", TIME, six, 4040, 2),
        ("good-no-port.txt", "its sender does not listen", TIME, v4(), 0, 1),
        ("good-hour-before.txt", "made in the hour before the reader's", TIME + 3_600, v4(), 4040, 1),
        ("good-hour-after.txt", "made in the hour after the reader's", TIME - 3_600, v4(), 4040, 1),
    ] {
        let fields = [
            ("salt", encode_hex(&salt)),
            ("address", encode_hex(&address)),
            ("port", port.to_string()),
            ("heard", marks(&heard(number))),
        ];
        let bytes = content(1, address, port, number, &heard(number));
        write(name, "beacon", cause, time, &fields, &sealed(SECRET, hour, salt, &bytes));
    }
    let good = sealed(SECRET, hour, salt, &content(1, v4(), 4040, 2, &heard(2)));
    let bad = |name: &str, cause: &str, time: u64, datagram: &[u8]| {
        write(name, "no-beacon", cause, time, &[], datagram);
    };
    for (name, at) in [
        ("altered-salt.txt", 0),
        ("altered-content.txt", 16),
        ("altered-padding.txt", 111),
        ("altered-tag.txt", LEN - 1),
    ] {
        let mut altered = good.clone();
        altered[at] ^= 1;
        bad(name, "one bit", TIME, &altered);
    }
    bad("cut.txt", "without its last byte", TIME, &good[..LEN - 1]);
    bad("extended.txt", "one byte more", TIME, &[&good[..], &[0]].concat());
    bad("empty.txt", "nothing", TIME, &[]);
    bad("two-hours-late.txt", "made two hours before the reader's", TIME + 7_200, &good);
    bad("two-hours-early.txt", "made two hours after the reader's", TIME - 7_200, &good);
    let other = sealed([0x45; 32], hour, salt, &content(1, v4(), 4040, 0, &[]));
    bad("other-secret.txt", "of another epoch or team", TIME, &other);
    for (name, cause, bytes) in [
        ("version.txt", "another version", content(2, v4(), 4040, 0, &[])),
        ("too-many.txt", "more were heard than a beacon can say", content(1, v4(), 4040, 9, &heard(8))),
        ("padding.txt", "something behind the last mark", content(1, v4(), 4040, 1, &heard(2))),
    ] {
        bad(name, cause, TIME, &sealed(SECRET, hour, salt, &bytes));
    }
}
