//! Runs `protocol/vectors/veil-stream/`: which streams begin as they should, and what is said in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use std::collections::BTreeMap;

use fieldbook_net::veil::boxes::{HeaderKey, Salt};
use fieldbook_net::veil::stream::{Begun, FIRST, Opener, PAYLOAD_MAX, dial};
use fieldbook_proto::encode_hex;
use fieldbook_proto::session::TransportSecret;
use reader::{Vector, folder, to_hex_lines, vectors};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::cipher::{AeadKey, Iv};

const SECRET: [u8; 32] = [0x33; 32];
const TIME: u32 = 1_790_000_000;

fn salt(bytes: &[u8]) -> Salt {
    let (time, random) = bytes.split_first_chunk().unwrap();
    Salt::new(u32::from_be_bytes(*time), random.try_into().unwrap())
}

/// What a reader finds: its class, and what it knows then.
fn read(
    secret: &[u8; 32],
    dialler: Option<Salt>,
    stream: &[u8],
) -> (&'static str, BTreeMap<&'static str, String>) {
    let secret = TransportSecret::new(1, *secret);
    let nothing = ("no-stream", BTreeMap::new());
    let Some((first, rest)) = stream.split_first_chunk::<FIRST>() else { return nothing };
    let (mut opener, theirs) = match dialler {
        None => {
            let hidden = HeaderKey::stream_to_listener(&secret);
            let Some(begun) = Begun::read(&secret, &hidden, first) else { return nothing };
            let theirs = begun.salt();
            (begun.answer(salt(&[0; 10]), &[]).unwrap().1, theirs)
        }
        Some(dialler) => {
            let theirs = HeaderKey::stream_to_dialler(&secret, dialler).read(first).unwrap().salt;
            let (_, mut opener) = dial(&secret, dialler, &[]).unwrap();
            if opener.open(&mut first.clone()).is_err() {
                return nothing;
            }
            (opener, theirs)
        }
    };
    let padding = if opener.needs() == 18 { 0 } else { opener.needs() };
    let (said, damaged) = said(&mut opener, rest);
    let found = BTreeMap::from([
        ("salt", encode_hex(theirs.as_bytes())),
        ("padding", padding.to_string()),
        ("said-length", said.len().to_string()),
        ("said-blake3", blake3::hash(&said).to_hex().to_string()),
    ]);
    (if damaged { "damaged" } else { "stream" }, found)
}

fn said(opener: &mut Opener, rest: &[u8]) -> (Vec<u8>, bool) {
    let (mut rest, mut said) = (rest.to_vec(), Vec::new());
    while rest.len() >= opener.needs() {
        let mut next: Vec<u8> = rest.drain(..opener.needs()).collect();
        match opener.open(&mut next) {
            Ok(range) => said.extend_from_slice(&next[range.unwrap_or_default()]),
            Err(_) => return (said, true),
        }
    }
    (said, false)
}

fn reader_of(vector: &Vector) -> Option<Salt> {
    match vector.field("to") {
        "listener" => None,
        "dialler" => Some(salt(&vector.hex("dialler"))),
        to => panic!("{}: {to}", vector.file),
    }
}

#[test]
fn every_vector_ends_in_its_class() {
    let vectors = vectors("veil-stream");
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let secret = vector.hex("secret").try_into().unwrap();
        let (class, found) = read(&secret, reader_of(&vector), &vector.bytes());
        assert_eq!(class, vector.field("expect"), "{}", vector.file);
        for (name, value) in found {
            assert_eq!(value, vector.field(name), "{}: {name}", vector.file);
        }
    }
}

/// The format once more, from its page alone: pieces under a key, each with its counter.
struct Page {
    key: Box<dyn rustls::quic::PacketKey>,
    counter: u64,
}

fn derive(context: &str, material: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    *hasher.update(&SECRET).update(material).finalize().as_bytes()
}

impl Page {
    /// A box to the listener around any plaintext, and what seals on.
    fn begin(plain: &[u8], salt: Salt, counter: u64) -> (Self, Vec<u8>) {
        let key = derive("fieldbook 2026 veil v1 stream to the listener", salt.as_bytes());
        let cipher = TLS13_AES_256_GCM_SHA384.tls13().unwrap().quic.unwrap();
        let key = cipher.packet_key(AeadKey::from(key), Iv::from([0; 12]));
        let mut body = plain.to_vec();
        let tag = key.encrypt_in_place(counter, b"", &mut body).unwrap();
        let header = [&salt.as_bytes()[..], &counter.to_be_bytes()[3..]].concat();
        let hidden = derive("fieldbook 2026 veil v1 stream header to the listener", b"");
        let mask = blake3::keyed_hash(&hidden, tag.as_ref());
        let header: Vec<u8> = header.iter().zip(mask.as_bytes()).map(|(byte, mask)| byte ^ mask).collect();
        (Self { key, counter: 1 }, [&header[..], &body, tag.as_ref()].concat())
    }

    fn padded(content: &[u8]) -> Vec<u8> {
        let mut plain = [content, &[0x80]].concat();
        plain.resize(FIRST - 31, 0);
        plain
    }

    fn piece(&mut self, beside: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut body = plain.to_vec();
        let tag = self.key.encrypt_in_place(self.counter, beside, &mut body).unwrap();
        self.counter += 1;
        [&body, tag.as_ref()].concat()
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 256) as u8).collect()
}

fn ours() -> Salt {
    Salt::new(TIME, [1, 2, 3, 4, 5, 6])
}

/// What a dialler with this secret sends.
fn dialled(secret: [u8; 32], padding: &[u8], payloads: &[&[u8]]) -> Vec<u8> {
    let (mut sealer, _) = dial(&TransportSecret::new(1, secret), ours(), padding).unwrap();
    let mut out = Vec::new();
    payloads.iter().for_each(|payload| sealer.seal(payload, &mut out).unwrap());
    out
}

#[test]
fn the_page_alone_makes_the_same_streams() {
    let (mut page, begin) = Page::begin(&Page::padded(&[0, 40]), ours(), 0);
    let padding = content(40);
    let pieces = [
        page.piece(&padding, &[0, 5]),
        page.piece(&[], b"hello"),
        page.piece(&[], &[0, 1]),
        page.piece(&[], b"x"),
    ];
    let by_the_page = [&begin[..], &padding, &pieces.concat()].concat();
    assert_eq!(by_the_page, dialled(SECRET, &padding, &[b"hello", b"x"]));
}

#[test]
#[ignore = "writes protocol/vectors/veil-stream"]
fn write_the_veil_stream_vectors() {
    let folder = folder("veil-stream");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, expect: &str, cause: &str, dialler: Option<Salt>, stream: &[u8]| {
        let mut text = format!("expect: {expect}\ncause: {cause}\nsecret: {}\n", encode_hex(&SECRET));
        text += &match dialler {
            None => "to: listener\n".to_owned(),
            Some(dialler) => format!("to: dialler\ndialler: {}\n", encode_hex(dialler.as_bytes())),
        };
        let (class, found) = read(&SECRET, dialler, stream);
        assert_eq!(class, expect, "{name}");
        found.iter().for_each(|(name, value)| text += &format!("{name}: {value}\n"));
        std::fs::write(folder.join(name), format!("{text}\n{}", to_hex_lines(stream))).unwrap();
    };
    let good = dialled(SECRET, &content(40), &[b"client hello", b"and on"]);
    let listener =
        |name: &str, expect: &str, cause: &str, stream: &[u8]| write(name, expect, cause, None, stream);
    listener("good.txt", "stream", "two records after padding", &good);
    listener("good-no-padding.txt", "stream", "no padding", &dialled(SECRET, &[], &[b"x"]));
    listener(
        "good-most-padding.txt",
        "stream",
        "1,024 bytes of padding",
        &dialled(SECRET, &content(1_024), &[b"x"]),
    );
    listener(
        "good-long.txt",
        "stream",
        "the longest record",
        &dialled(SECRET, &[], &[&content(PAYLOAD_MAX)]),
    );
    listener("good-only-a-box.txt", "stream", "nothing but the box yet", &good[..FIRST]);
    listener("good-cut-in-padding.txt", "stream", "cut in the padding", &good[..FIRST + 39]);
    listener("good-cut-in-length.txt", "stream", "cut in the second length", &good[..FIRST + 40 + 46 + 17]);
    listener("good-cut-in-record.txt", "stream", "cut in the second record", &good[..good.len() - 1]);
    let theirs = Salt::new(TIME - 90_000, [7; 6]);
    let begun = Begun::read(
        &TransportSecret::new(1, SECRET),
        &HeaderKey::stream_to_listener(&TransportSecret::new(1, SECRET)),
        good.first_chunk().unwrap(),
    );
    let (mut sealer, _) = begun.unwrap().answer(theirs, &content(7)).unwrap();
    let mut answer = Vec::new();
    sealer.seal(b"server hello", &mut answer).unwrap();
    write("good-answer.txt", "stream", "an answer", Some(ours()), &answer);

    let other = Salt::new(TIME, [1, 2, 3, 4, 5, 7]);
    write("other-dialler.txt", "no-stream", "an answer to another", Some(other), &answer);
    write("reflected.txt", "no-stream", "sent back to whoever sealed it", Some(ours()), &good);
    listener("answer-to-the-listener.txt", "no-stream", "an answer sent to a listener", &answer);
    listener("other-secret.txt", "no-stream", "of another epoch or team", &dialled([0x34; 32], &[], &[b"x"]));
    listener("empty.txt", "no-stream", "nothing", &[]);
    listener("cut-in-the-box.txt", "no-stream", "127 bytes", &good[..FIRST - 1]);
    listener(
        "plain-tls.txt",
        "no-stream",
        "as TLS begins",
        &[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &content(200)].concat(),
    );
    for (name, class, at) in [
        ("altered-time.txt", "no-stream", 0),
        ("altered-random.txt", "no-stream", 9),
        ("altered-counter.txt", "no-stream", 14),
        ("altered-content.txt", "no-stream", 15),
        ("altered-tag.txt", "no-stream", 127),
        ("altered-padding.txt", "damaged", FIRST),
        ("altered-length.txt", "damaged", FIRST + 40),
        ("altered-record.txt", "damaged", FIRST + 40 + 18),
        ("altered-second-record.txt", "damaged", good.len() - 1),
    ] {
        let mut altered = good.clone();
        altered[at] ^= 1;
        listener(name, class, "one bit", &altered);
    }
    let second = FIRST + 40 + 46;
    let skipped = [&good[..FIRST + 40], &good[second..]].concat();
    listener("skipped.txt", "damaged", "without the first record", &skipped);
    let repeated = [&good[..second], &good[FIRST + 40..]].concat();
    listener("repeated.txt", "damaged", "the first record once more", &repeated);
    for (name, cause, counter, announced) in [
        ("box-counter.txt", "a counter that is not 0", 1, &[0, 0][..]),
        ("box-padding.txt", "1,025 bytes of padding", 0, &[4, 1]),
        ("box-short.txt", "a content of one byte", 0, &[0]),
        ("box-long.txt", "a content of three bytes", 0, &[0, 0, 0]),
    ] {
        listener(name, "no-stream", cause, &Page::begin(&Page::padded(announced), ours(), counter).1);
    }
    for (name, cause, len) in [
        ("length-zero.txt", "a record of nothing", [0, 0]),
        ("length-beyond.txt", "a record of 17,409 bytes", [0x44, 1]),
    ] {
        let (mut page, begin) = Page::begin(&Page::padded(&[0, 0]), ours(), 0);
        listener(name, "damaged", cause, &[&begin[..], &page.piece(&[], &len)].concat());
    }
}
