//! What opens and what does not, and the vectors.

use super::*;

#[test]
fn an_object_opens_under_its_own_name_and_key_only() {
    let sealer = Sealer::new(&DepotKey::new([1; 32]));
    let object = sealer.seal("log/1", b"content").unwrap();
    assert_eq!(sealer.open("log/1", &object).unwrap().as_slice(), b"content");
    assert_eq!(sealer.open("log/2", &object), Err(OpenError::Altered));
    assert_eq!(Sealer::new(&DepotKey::new([2; 32])).open("log/1", &object), Err(OpenError::Altered));
    assert_eq!(sealer.seal("log/1", b"").unwrap().len(), sealer.seal("log/1", &[1; 500]).unwrap().len());
    for at in 0..object.len() {
        let mut altered = object.clone();
        altered[at] ^= 0x80;
        assert!(sealer.open("log/1", &altered).is_err(), "byte {at}");
        assert!(sealer.open("log/1", &object[..at]).is_err(), "cut at {at}");
    }
}

#[path = "../../../../protocol/vectors/reader.rs"]
mod reader;

use crate::op::Segment;

#[test]
fn every_vector_ends_in_its_class() {
    let vectors = reader::vectors("bucket");
    assert!(vectors.len() >= 7);
    for vector in vectors {
        let key = DepotKey::new(vector.hex("key").try_into().unwrap());
        let object = vector.bytes();
        let opened = Sealer::new(&key).open(vector.field("name"), &object);
        let class = match &opened {
            Err(OpenError::Altered) => "altered",
            Err(OpenError::Newer) => "newer",
            Ok(content) => match Segment::decode(content) {
                Err(_) => "newer",
                Ok(segment) if segment.encode() != **content => "not canonical",
                Ok(segment) => {
                    assert_eq!(segment.number.to_string(), vector.field("number"), "{}", vector.file);
                    assert_eq!(segment.ops.len().to_string(), vector.field("acts"), "{}", vector.file);
                    assert_eq!(fieldbook_proto::encode_hex(content), vector.field("content"));
                    "good"
                }
            },
        };
        assert_eq!(class, vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
    }
}

/// Every kind of act once.
fn segment() -> Segment {
    use fieldbook_depot::{PeerRecord, Refusal, Source};
    use fieldbook_proto::certificate::Role;
    use fieldbook_proto::{DepotId, DeviceId, EntryId};

    use crate::op::{Item, Op};

    let id = |n: u8| EntryId::from_bytes([n; 32]);
    let (device, depot) = (DeviceId::from_bytes([0xd1; 32]), DepotId::from_bytes([0xde; 16]));
    let item = |n, from, found| Item { id: id(n), size: 1_245, from, found };
    let peer = |device, address: Option<&str>| {
        let (address, role) = (address.map(str::to_owned), Role::Monitor);
        Op::Peer(PeerRecord { device, role, depot, address, last_sync_ms: -1, holds_position: 7 })
    };
    let ops = vec![
        Op::Put(vec![
            item(1, Source::Own, Ok([0xa1; 16])),
            item(2, Source::Bundle, Ok([0xa2; 16])),
            item(3, Source::Unnamed, Err(Refusal::WrongId)),
            item(4, Source::Peer(device), Err(Refusal::WrongSize)),
        ]),
        Op::Forget(vec![id(1)]),
        Op::Quarantine(id(2), "it does not open".to_owned()),
        Op::Setting("name".to_owned(), Some(vec![1, 2])),
        Op::Setting("name".to_owned(), None),
        Op::Cursor(depot, 300),
        peer(Some(device), Some("192.0.2.7:4040")),
        peer(None, None),
        Op::Address(device, vec![id(1), id(2)]),
        Op::Past(device, depot, vec![id(5)]),
        Op::Fence,
        Op::Checkpointed(512),
        Op::Time(86_400_000, 3_600_000),
    ];
    Segment { number: 513, previous: [0x99; 32], written_ms: 1_490_400_000_000, ops }
}

#[test]
#[ignore = "writes protocol/vectors/bucket anew"]
fn write_the_bucket_vectors() {
    let (key, name) = ([0x44; 32], "log/0000000000000201");
    let sealer = Sealer::new(&DepotKey::new(key));
    let content = segment().encode();
    let good = sealer.seal_with(&[0x55; 32], name, &content).unwrap();
    let empty = Segment { ops: Vec::new(), ..segment() }.encode();
    let mut unknown = empty.clone();
    *unknown.last_mut().unwrap() = 1;
    unknown.push(0x7f);
    let edit = |at: usize, value: u8| {
        let mut object = good.clone();
        object[at] ^= value;
        object
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/vectors/bucket");
    std::fs::create_dir_all(folder).unwrap();
    let write = |file: &str,
                 expect: &str,
                 cause: &str,
                 name: &str,
                 object: &[u8],
                 content: &[u8],
                 acts: &str| {
        let (key, hex) = (fieldbook_proto::encode_hex(&key), fieldbook_proto::encode_hex(object));
        let content = fieldbook_proto::encode_hex(content);
        let text = format!(
            "expect: {expect}\ncause: {cause}\nkey: {key}\nname: {name}\nnumber: 513\nacts: {acts}\ncontent: {content}\n\n{hex}\n"
        );
        std::fs::write(format!("{folder}/{file}.txt"), text).unwrap();
    };
    let seal = |content: &[u8]| sealer.seal_with(&[0x56; 32], name, content).unwrap();
    write("good", "good", "each kind of act once", name, &good, &content, "13");
    write("empty", "good", "a segment without an act", name, &seal(&empty), &empty, "0");
    write("moved", "altered", "under another name", "log/0000000000000202", &good, &content, "13");
    write("salt", "altered", "a bit of the salt", name, &edit(1, 1), &content, "13");
    write("box", "altered", "a bit of the box", name, &edit(40, 1), &content, "13");
    write("cut", "altered", "the last byte is missing", name, &good[..good.len() - 1], &content, "13");
    write("version", "newer", "an object of version 2", name, &edit(0, 3), &content, "13");
    write("act", "newer", "an act that is not known", name, &seal(&unknown), &unknown, "1");
}
