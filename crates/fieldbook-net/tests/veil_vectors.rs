//! Runs `protocol/vectors/veil/`: which datagrams are boxes, whose, and what is in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use fieldbook_net::veil::boxes::{BoxKey, Header, HeaderKey, Salt, is_size};
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

/// As a listener, or as a dialler with the salt that the vector gives: the header and the content.
fn open(vector: &Vector) -> Option<(Header, Vec<u8>)> {
    let secret = TransportSecret::new(1, vector.hex("secret").try_into().unwrap());
    let mut datagram = vector.bytes();
    if !is_size(datagram.len()) {
        return None;
    }
    let (header, key) = match vector.field("to") {
        "listener" => {
            let header = HeaderKey::to_listener(&secret).read(&datagram)?;
            (header, BoxKey::to_listener(&secret, header.salt)?)
        }
        "dialler" => {
            let own = salt(&vector.hex("dialler"));
            let header = HeaderKey::to_dialler(&secret, own).read(&datagram)?;
            (header, BoxKey::to_dialler(&secret, header.salt, own)?)
        }
        to => panic!("{}: {to}", vector.file),
    };
    let content = key.open(header.counter, &mut datagram)?;
    Some((header, datagram[content].to_vec()))
}

#[test]
fn every_vector_ends_in_its_class() {
    for vector in vectors("veil") {
        match (open(&vector), vector.field("expect")) {
            (None, "no-box") => {}
            (Some((header, content)), "box") => {
                assert_eq!(encode_hex(header.salt.as_bytes()), vector.field("salt"), "{}", vector.file);
                assert_eq!(header.counter.to_string(), vector.field("counter"), "{}", vector.file);
                let hash = blake3::hash(&content).to_hex().to_string();
                assert_eq!((content.len().to_string().as_str(), hash.as_str()), {
                    (vector.field("content-length"), vector.field("content-blake3"))
                });
            }
            (found, expect) => panic!("{}: {expect}, and found {found:?}", vector.file),
        }
    }
}

/// The format once more, from its page alone: any plaintext in a box to the listener.
fn boxed(plain: &[u8], salt: Salt, counter: u64) -> Vec<u8> {
    let derive = |context: &str, material: &[u8]| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        *hasher.update(&SECRET).update(material).finalize().as_bytes()
    };
    let key = derive("fieldbook 2026 veil v1 box to the listener", salt.as_bytes());
    let cipher = TLS13_AES_256_GCM_SHA384.tls13().unwrap().quic.unwrap();
    let key = cipher.packet_key(AeadKey::from(key), Iv::from([0; 12]));
    let mut body = plain.to_vec();
    let tag = key.encrypt_in_place(counter, b"", &mut body).unwrap();
    let header = [&salt.as_bytes()[..], &counter.to_be_bytes()[3..]].concat();
    let hidden = derive("fieldbook 2026 veil v1 header to the listener", b"");
    let mask = blake3::keyed_hash(&hidden, tag.as_ref());
    let header: Vec<u8> = header.iter().zip(mask.as_bytes()).map(|(byte, mask)| byte ^ mask).collect();
    [&header[..], &body, tag.as_ref()].concat()
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 256) as u8).collect()
}

fn sealed(to_dialler: Option<Salt>, salt: Salt, counter: u64, content: &[u8], size: usize) -> Vec<u8> {
    let secret = TransportSecret::new(1, SECRET);
    let (key, header_key) = match to_dialler {
        None => (BoxKey::to_listener(&secret, salt), HeaderKey::to_listener(&secret)),
        Some(dialler) => {
            (BoxKey::to_dialler(&secret, salt, dialler), HeaderKey::to_dialler(&secret, dialler))
        }
    };
    let mut out = Vec::new();
    key.unwrap().seal(&header_key, Header { salt, counter }, content, size, &mut out).unwrap();
    out
}

#[test]
fn the_page_alone_makes_the_same_boxes() {
    let salt = Salt::new(TIME, [9; 6]);
    let mut plain = content(40);
    plain.push(0x80);
    plain.resize(128 - 31, 0);
    assert_eq!(boxed(&plain, salt, 77), sealed(None, salt, 77, &content(40), 128));
}

#[test]
#[ignore = "writes protocol/vectors/veil"]
fn write_the_veil_vectors() {
    let (ours, theirs) = (Salt::new(TIME, [1, 2, 3, 4, 5, 6]), Salt::new(TIME - 90_000, [7; 6]));
    let folder = folder("veil");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, expect: &str, cause: &str, fields: &[(&str, String)], datagram: &[u8]| {
        let mut text = format!("expect: {expect}\ncause: {cause}\nsecret: {}\n", encode_hex(&SECRET));
        for (name, value) in fields {
            text += &format!("{name}: {value}\n");
        }
        std::fs::write(folder.join(name), format!("{text}\n{}", to_hex_lines(datagram))).unwrap();
    };
    let good = |salt: Salt, counter: u64, content: &[u8]| {
        vec![
            ("salt", encode_hex(salt.as_bytes())),
            ("counter", counter.to_string()),
            ("content-length", content.len().to_string()),
            ("content-blake3", blake3::hash(content).to_hex().to_string()),
        ]
    };
    let to = |whom: &str| vec![("to", whom.to_owned())];
    let to_dialler =
        |dialler: Salt| vec![("to", "dialler".to_owned()), ("dialler", encode_hex(dialler.as_bytes()))];
    for (name, cause, len, size, counter) in [
        ("good-empty.txt", "no content", 0, 128, 0),
        ("good-small.txt", "the longest content of the smallest box", 96, 128, 1),
        ("good-middle.txt", "one byte more than the smallest box holds", 97, 512, 2),
        ("good-first.txt", "as long as a first packet of QUIC", 1_200, 1_232, 0xff_ffff_ffff),
        ("good-full.txt", "as long as can be", 1_420, 1_452, 70_000),
        ("good-loose.txt", "a box that is larger than it had to be", 5, 1_452, 3),
    ] {
        let content = content(len);
        let fields = [to("listener"), good(ours, counter, &content)].concat();
        write(name, "box", cause, &fields, &sealed(None, ours, counter, &content, size));
    }
    let answer = sealed(Some(ours), theirs, 5, &content(300), 512);
    let fields = [to_dialler(ours), good(theirs, 5, &content(300))].concat();
    write("good-answer.txt", "box", "an answer", &fields, &answer);
    let ends = sealed(None, ours, 4, &[1, 0x80, 0, 0], 128);
    let fields = [to("listener"), good(ours, 4, &[1, 0x80, 0, 0])].concat();
    write("good-ends-in-padding.txt", "box", "a content that looks like padding at its end", &fields, &ends);

    let small = sealed(None, ours, 1, &content(50), 128);
    let bad = |name: &str, cause: &str, to: Vec<(&str, String)>, datagram: &[u8]| {
        write(name, "no-box", cause, &to, datagram);
    };
    for (name, at) in [
        ("altered-time.txt", 0),
        ("altered-random.txt", 9),
        ("altered-counter.txt", 14),
        ("altered-content.txt", 15),
        ("altered-padding.txt", 100),
        ("altered-tag.txt", 127),
    ] {
        let mut altered = small.clone();
        altered[at] ^= 1;
        bad(name, "one bit", to("listener"), &altered);
    }
    bad("cut.txt", "without its last byte", to("listener"), &small[..127]);
    bad("extended.txt", "one byte more", to("listener"), &[&small[..], &[0]].concat());
    bad("empty.txt", "nothing", to("listener"), &[]);
    bad("reflected.txt", "sent back to whoever sealed it", to_dialler(ours), &small);
    bad(
        "other-dialler.txt",
        "an answer to another",
        to_dialler(Salt::new(TIME, [1, 2, 3, 4, 5, 7])),
        &answer,
    );
    let mut other = small.clone();
    other.copy_from_slice(&{
        let secret = TransportSecret::new(1, [0x34; 32]);
        let mut out = Vec::new();
        let key = BoxKey::to_listener(&secret, ours).unwrap();
        let header = Header { salt: ours, counter: 1 };
        key.seal(&HeaderKey::to_listener(&secret), header, &content(50), 128, &mut out).unwrap();
        out
    });
    bad("other-secret.txt", "of another epoch or team", to("listener"), &other);
    bad("no-end.txt", "nothing but zeros in it", to("listener"), &boxed(&[0; 97], ours, 6));
    let mut wrong = vec![0; 97];
    wrong[40] = 0x40;
    bad("wrong-end.txt", "the content ends in another byte", to("listener"), &boxed(&wrong, ours, 7));
    let mut size = content(200);
    size.push(0x80);
    bad("size.txt", "a good box of a length that boxes do not have", to("listener"), &boxed(&size, ours, 8));
}
