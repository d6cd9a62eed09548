//! Runs `protocol/vectors/session/`, and can write it anew. (It is one file because what writes the vectors and what
//! judges them share the devices and the words.)
//! `cargo test -p fieldbook-proto --test session_vectors -- --ignored`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use bytes::{Bytes, BytesMut};
use ed25519_dalek::{Signer, SigningKey};
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use fieldbook_proto::session::limits::{
    FEATURE_DECLINE, FEATURE_LIVE, FEATURE_PADDING, FEATURE_RECONCILE, FEATURES, ID_SHORT,
};
use fieldbook_proto::session::{
    Arrival, Comparison, DIGEST_LEN, Decline, Engine, Fault, Fingerprint, Frame, Hello, Limits, Output, Part,
    Remembered, SessionError, Setup, ShortId, Side, Span, TransportSecret, WireEntry, short,
};
use fieldbook_proto::{DepotId, DeskId, EntryId, TeamId, encode_hex};

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;
use reader::Vector;

#[test]
fn every_vector_ends_in_its_class() {
    for vector in reader::vectors("session") {
        let class = match vector.field("kind") {
            "frame" => class_of_frame(&vector),
            "hello" => class_of_hello(&vector),
            "conversation" => class_of_conversation(&vector),
            kind => panic!("{}: unknown kind {kind}", vector.file),
        };
        assert_eq!(class, vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
    }
}

fn class_of_frame(vector: &Vector) -> &'static str {
    let bytes = vector.bytes();
    let mut input = BytesMut::from(&bytes[..]);
    match Frame::take(&mut input) {
        Ok(Some(frame)) => {
            assert_eq!(frame.encode(), bytes, "{}: one encoding", vector.file);
            "ok"
        }
        Ok(None) => "incomplete",
        Err(fault) => class_of_fault(fault),
    }
}

fn class_of_hello(vector: &Vector) -> &'static str {
    // One secret, or several one after the other, newest first.
    let secrets: Vec<_> = vector.hex("secret").chunks(32).map(|s| s.try_into().unwrap()).collect();
    let secrets: Vec<_> = secrets.into_iter().map(|secret| TransportSecret::new(1, secret)).collect();
    let binding = vector.hex("binding").try_into().unwrap();
    match Hello::open(&vector.bytes(), &secrets, Side::Client, &binding) {
        Some(_) => "ok",
        None => "not-of-the-team",
    }
}

fn class_of_conversation(vector: &Vector) -> &'static str {
    let setup = Setup {
        side: Side::Server,
        secrets: vec![TransportSecret::new(1, vector.hex("secret").try_into().unwrap())],
        binding: vector.hex("binding").try_into().unwrap(),
        certificate: Certificate::decode(&vector.hex("certificate")).unwrap(),
        authority: Authority::decode(&vector.hex("authority")).unwrap(),
        peer_transport_key: vector.hex("peer-key").try_into().unwrap(),
        now: vector.field("now").parse().unwrap(),
        depot: DepotId::from_bytes([2; 16]),
        known: 0,
        head: 0,
    };
    let (failed, sent, limits) = converse(setup, &vector.bytes());
    let limited = match (limits.peer, limits.us) {
        (false, false) => "nobody",
        (true, false) => "client",
        (false, true) => "server",
        (true, true) => "both",
    };
    assert_eq!(limited, vector.field("limited"), "{}", vector.file);
    match (failed, sent) {
        (None, _) => "ok",
        (Some(SessionError::Fault(fault)), _) => class_of_fault(fault),
        (Some(error), sent) => {
            assert_eq!(sent, 0, "{}: a stranger got an answer", vector.file);
            match error {
                SessionError::NotOfTheTeam => "not-of-the-team",
                SessionError::Certificate(_) => "certificate",
                SessionError::WrongTransportKey => "wrong-key",
                error => panic!("{}: {error}", vector.file),
            }
        }
    }
}

/// The hello, and then one frame after the other.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut len = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut pieces = Vec::new();
    while let Some((piece, rest)) = bytes.split_at_checked(len).filter(|(piece, _)| !piece.is_empty()) {
        pieces.push(piece);
        bytes = rest;
        len = bytes.get(1..5).map_or(0, |len| 5 + u32::from_be_bytes(len.try_into().unwrap()) as usize);
    }
    assert!(bytes.is_empty(), "whole frames");
    pieces
}

/// A server with an empty depot hears `bytes`. What it failed with, how many bytes it sent, and whose
/// membership has run out.
fn converse(setup: Setup, bytes: &[u8]) -> (Option<SessionError>, usize, Limits) {
    let mut engine = Engine::with_features(setup, FEATURES | FEATURE_PADDING).unwrap();
    let mut known = Vec::new();
    let mut past = Vec::new();
    let mut sent = 0;
    for piece in pieces(bytes) {
        engine.receive(piece);
        loop {
            let output = match engine.poll(true) {
                Ok(Some(output)) => output,
                Ok(None) => break,
                Err(error) => return (Some(error), sent, engine.summary().limits),
            };
            match output {
                Output::Send(bytes) => sent += bytes.len(),
                Output::Store(batch) => {
                    known.extend(batch.iter().map(|(id, _)| *id));
                    engine.stored(&[], &[]).unwrap();
                }
                Output::FindUnknown { ids, .. } => engine.unknown(&ids, &[]).unwrap(),
                Output::ReadArrivals { .. } => engine.arrivals(Vec::new()).unwrap(),
                Output::ReadAddressed { .. } => engine.addressed(Vec::new()).unwrap(),
                Output::ReadEntries { .. } => panic!("it has none"),
                Output::ReadTotals => engine.totals(0, 0).unwrap(),
                Output::ReadCursor { .. } => engine.cursor(Remembered::default()).unwrap(),
                Output::TakeSnapshot { past: with } => {
                    let past = with.iter().flat_map(|_| past.iter());
                    engine.snapshot(known.iter().chain(past).copied().collect(), 0).unwrap();
                }
                Output::ReadSpans { span, parts, .. } => {
                    let part = |part: Span| known.iter().copied().filter(|id| part.contains(id)).collect();
                    engine.spans(span.parts(parts).map(part).collect()).unwrap();
                }
                Output::ReadIds { span, after, .. } => {
                    known.sort_unstable();
                    let inside = known.iter().copied().filter(|id| span.contains(id));
                    engine.ids(inside.filter(|id| after.is_none_or(|after| *id > after)).collect()).unwrap();
                }
                Output::FindKnown { ids } => engine.known(&held_nowhere(&ids)).unwrap(),
                Output::NotePast { ids, .. } => {
                    past.extend(ids);
                    engine.past_noted().unwrap();
                }
                Output::Event(_) => {}
            }
        }
    }
    (None, sent, engine.summary().limits)
}

/// The server of these conversations has dropped the bytes of all that it stored.
fn held_nowhere(ids: &[EntryId]) -> Vec<Arrival> {
    ids.iter()
        .map(|id| Arrival { position: 1, id: *id, size: 0, from: None, own: false, held: false })
        .collect()
}

const fn class_of_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::UnknownFrame => "unknown-frame",
        Fault::FrameTooLong => "too-long",
        Fault::Malformed => "malformed",
        Fault::OutOfPhase => "out-of-phase",
        Fault::Unsolicited => "unsolicited",
        Fault::TooManyOffers => "too-many-offers",
        Fault::MoreThanKnown => "more-than-known",
        Fault::Endless => "endless",
        Fault::Unasked => "unasked",
        Fault::FalseAcknowledgement => "false-acknowledgement",
        Fault::TooMuchPadding => "too-much-padding",
        Fault::ImpossiblePosition => "impossible-position",
    }
}

const SECRET: [u8; 32] = [0x33; 32];
const BINDING: [u8; 32] = [0x44; 32];

fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: SigningKey::from_bytes(&[seed ^ 0x80; 32]).verifying_key().to_bytes(),
        recipient: Recipient::parse("age1tw7xyev2z3rw83w7tdlrrepy9c9nnv86l5c078zqkf5uasdy86jp6sg7py7a")
            .unwrap(),
    };
    (signing, keys)
}

fn certificate(issuer: u8, subject: u8, role: Role) -> Certificate {
    certificate_until(issuer, subject, role, 2_000)
}

fn certificate_until(issuer: u8, subject: u8, role: Role, not_after: u64) -> Certificate {
    let (signer, issuer) = keys(issuer);
    let body = CertificateBody {
        team: TeamId::from_bytes([0x77; 16]),
        keys: keys(subject).1,
        role,
        desk: DeskId::from_bytes([0x55; 16]),
        admitted: 1_000,
        not_after,
        issuer: issuer.device_id(),
        serial: 0,
    };
    let signature = signer.sign(&body.signed_bytes()).to_bytes();
    Certificate::new(body, signature)
}

fn hello(certificate: Certificate) -> Hello {
    Hello { version: 1, features: 0, depot: DepotId::from_bytes([1; 16]), known: 0, head: 5, certificate }
}

fn sealed(hello: &Hello) -> Vec<u8> {
    hello.seal(&TransportSecret::new(1, SECRET), Side::Client, &BINDING)
}

fn write(name: &str, expect: &str, kind: &str, cause: &str, fields: &[(&str, String)], payload: &[u8]) {
    let mut text = format!("expect: {expect}\ncause: {cause}\nkind: {kind}\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\n");
    }
    text += &format!("\n{}", reader::to_hex_lines(payload));
    std::fs::write(reader::folder("session").join(format!("{name}.txt")), text).unwrap();
}

fn wire(number: u32) -> WireEntry {
    let mut bytes = vec![0; 1_100];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let id = EntryId::of(&bytes);
    WireEntry { prefix: *id.as_bytes().first_chunk().unwrap(), bytes: Bytes::from(bytes) }
}

fn id(number: u32) -> EntryId {
    EntryId::of(&wire(number).bytes)
}

#[test]
#[ignore = "writes protocol/vectors/session anew"]
fn write_the_vectors() {
    write_frames();
    write_hellos();
    write_conversations();
}

fn write_frames() {
    let good = [
        ("limited", Frame::Limited),
        ("since", Frame::Since { position: 5 }),
        ("entries", Frame::Entries(vec![wire(1), wire(2)])),
        ("offer", Frame::Offer(vec![id(1), id(2)])),
        ("want", Frame::Want(vec![true, false, true, false, false, false, false, false, true])),
        ("gone", Frame::Gone(vec![id(1)])),
        ("ack", Frame::Ack { count: 7, refused: vec![] }),
        ("ack-refused", Frame::Ack { count: 7, refused: vec![0, 3] }),
        ("mark", Frame::Mark { position: 5, end: false }),
        ("mark-end", Frame::Mark { position: 5, end: true }),
        ("done", Frame::Done { received: 2, fingerprint: [id(1), id(2)].into_iter().collect(), busy: false }),
        ("compare", Frame::Compare(comparison())),
        ("compare-end", Frame::Compare(Comparison::default())),
        ("past", Frame::Past(vec![id(1), id(2)])),
        ("sized-offer", Frame::SizedOffer(vec![(id(1), 1_100), (id(2), 1_024)])),
        ("answer", Frame::Answer { wanted: vec![true, false, false], declined: vec![(1, Decline::Full)] }),
        (
            "answer-dropped",
            Frame::Answer { wanted: vec![true, false, false], declined: vec![(2, Decline::Dropped)] },
        ),
        (
            "settled-dropped",
            Frame::Settled { count: 2, refused: vec![], declined: vec![(1, Decline::Dropped)] },
        ),
        ("ping", Frame::Ping { answer: false }),
        ("pad", Frame::Pad { len: 100 }),
        ("pad-empty", Frame::Pad { len: 0 }),
        ("ping-answer", Frame::Ping { answer: true }),
        (
            "settled",
            Frame::Settled {
                count: 7,
                refused: vec![0, 3],
                declined: vec![(1, Decline::Share), (4, Decline::Size), (6, Decline::Other(9))],
            },
        ),
    ];
    for (name, frame) in good {
        write(&format!("frame-good-{name}"), "ok", "frame", name, &[], &frame.encode());
    }
    let raw = |kind: u8, payload: &[u8]| {
        [&[kind][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
    };
    let cut = |frame: Vec<u8>, by: usize| frame[..frame.len() - by].to_vec();
    let entry =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &[0; 8], bytes].concat();
    let listed = |ids: Vec<ShortId>| Part::List { span: Span::WHOLE, ids };
    let compare =
        |lacks: Vec<Vec<bool>>, parts: Vec<Part>| Frame::Compare(Comparison { lacks, parts }).encode();
    let one = |first, last, count| Part::Sums { span: span(first, last), sums: vec![[7; DIGEST_LEN]; count] };
    let mut unused = compare(vec![vec![true]], vec![]);
    *unused.last_mut().unwrap() = 0b11;
    let mut kind = compare(vec![], vec![one(0, 9, 1)]);
    kind[7] = 3;
    let mut upside_down = compare(vec![], vec![one(0, 9, 1)]);
    upside_down[8] = 1;
    let bad: [(&str, &str, &str, Vec<u8>); 45] = [
        ("type-0", "unknown-frame", "type 0", raw(0, &[])),
        ("type-255", "unknown-frame", "type 255", raw(255, &[])),
        ("ping-long", "too-long", "a Ping of 2 bytes", raw(15, &[0, 0])),
        ("pad-long", "too-long", "16,385 bytes announced", vec![16, 0, 0, 64, 1]),
        ("pad-other", "malformed", "a byte that is not zero", raw(16, &[0, 0, 1])),
        ("ping-flags", "malformed", "flag 2", raw(15, &[2])),
        ("sized-offer-none", "malformed", "no id", raw(12, &[])),
        (
            "sized-offer-small",
            "malformed",
            "a size of 1,023 bytes",
            raw(12, &[&[7; 32][..], &[0, 0, 3, 255]].concat()),
        ),
        ("sized-offer-ragged", "malformed", "an id without a size", raw(12, &[7; 32])),
        ("answer-none", "malformed", "nothing is declined", raw(13, &[0, 1, 1])),
        ("answer-wanted", "malformed", "a wanted entry is declined", raw(13, &[0, 1, 1, 0, 0, 1])),
        ("answer-beyond", "malformed", "an offset beyond the offer", raw(13, &[0, 1, 0, 0, 1, 1])),
        ("answer-reason", "malformed", "reason 0", raw(13, &[0, 1, 0, 0, 0, 0])),
        ("settled-none", "malformed", "nothing is declined", raw(14, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0])),
        (
            "settled-both",
            "malformed",
            "an entry that is refused and declined",
            raw(14, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1]),
        ),
        ("compare-short", "malformed", "no number of answers", raw(10, &[0])),
        ("compare-long", "too-long", "65,537 bytes announced", vec![10, 0, 1, 0, 1]),
        ("compare-unused-bits", "malformed", "a flag beyond the count", unused),
        ("compare-kind", "malformed", "a part of kind 3", kind),
        ("compare-upside-down", "malformed", "a span whose last number is below its first", upside_down),
        (
            "compare-overlap",
            "malformed",
            "spans that overlap",
            compare(vec![], vec![one(0, 9, 1), one(9, 12, 1)]),
        ),
        (
            "compare-falling",
            "malformed",
            "spans that fall",
            compare(vec![], vec![one(5, 9, 1), one(0, 4, 1)]),
        ),
        ("compare-narrow", "malformed", "three sums of two numbers", compare(vec![], vec![one(0, 1, 3)])),
        ("compare-many", "malformed", "257 sums", compare(vec![], vec![one(0, 1_000, 257)])),
        (
            "compare-list-falling",
            "malformed",
            "a list that falls",
            compare(vec![], vec![listed(vec![[2; ID_SHORT], [1; ID_SHORT]])]),
        ),
        (
            "compare-list-outside",
            "malformed",
            "an id outside the span of its list",
            compare(vec![], vec![Part::List { span: span(0, 9), ids: vec![[1; ID_SHORT]] }]),
        ),
        (
            "compare-cut",
            "malformed",
            "half a digest",
            raw(10, &cut(compare(vec![], vec![one(0, 9, 1)]), 8)[5..]),
        ),
        ("past-none", "malformed", "no id", raw(11, &[])),
        ("limited-long", "too-long", "a Limited of 1 byte", raw(9, &[0])),
        ("since-long", "too-long", "a Since of 9 bytes", raw(1, &[0; 9])),
        ("since-short", "malformed", "a Since of 7 bytes", raw(1, &[0; 7])),
        ("since-beyond", "malformed", "position 2^63", raw(1, &(1_u64 << 63).to_be_bytes())),
        ("length-huge", "too-long", "a length of 4 GiB, nothing behind it", vec![2, 0xff, 0xff, 0xff, 0xff]),
        ("cut", "incomplete", "the last byte is missing", cut(Frame::Offer(vec![id(1)]).encode(), 1)),
        ("entries-none", "malformed", "no entry", raw(2, &[])),
        ("entries-small", "malformed", "an entry of 1,023 bytes", raw(2, &entry(&[7; 1_023]))),
        (
            "entries-beyond",
            "malformed",
            "an entry that ends beyond the frame",
            raw(2, &cut(entry(&[7; 1_100]), 1)),
        ),
        ("offer-none", "malformed", "no id", raw(3, &[])),
        ("offer-ragged", "malformed", "an id and a half", raw(3, &[7; 48])),
        ("offer-many", "too-long", "4,097 ids announced", vec![3, 0, 2, 0, 32]),
        ("want-none", "malformed", "count 0", raw(4, &[0, 0])),
        ("want-unused-bits", "malformed", "a flag beyond the count", raw(4, &[0, 1, 0b11])),
        (
            "ack-falling",
            "malformed",
            "offsets that fall",
            raw(6, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 1]),
        ),
        ("mark-flags", "malformed", "flag 2", raw(7, &[2, 0, 0, 0, 0, 0, 0, 0, 5])),
        ("done-flags", "malformed", "flag 2", raw(8, &[&[2][..], &[0; 48]].concat())),
    ];
    for (name, expect, cause, bytes) in bad {
        write(&format!("frame-{name}"), expect, "frame", cause, &[], &bytes);
    }
}

fn span(first: u64, last: u64) -> Span {
    Span::new(first, last).unwrap()
}

/// One of every kind of part, and answers to two lists.
fn comparison() -> Comparison {
    let mut ids = vec![short(&id(1)), short(&id(2))];
    ids.sort_unstable();
    let half = u64::MAX / 2;
    let own: Fingerprint = [id(1), id(2)].into_iter().collect();
    let sums = vec![Fingerprint::default().digest(), own.digest()];
    let mut parts = vec![Part::Sums { span: span(0, 9), sums }];
    parts.push(Part::List { span: span(10, 10), ids: vec![] });
    parts.push(Part::List {
        span: span(half, u64::MAX),
        ids: ids.into_iter().filter(|id| id[0] > 0x7f).collect(),
    });
    Comparison { lacks: vec![vec![true, false, true], vec![false; 9]], parts }
}

fn write_hellos() {
    let fields = [("secret", encode_hex(&SECRET)), ("binding", encode_hex(&BINDING))];
    let good = sealed(&hello(certificate(1, 2, Role::Monitor)));
    write("hello-good", "ok", "hello", "a client's hello", &fields, &good);
    let mut altered = good.clone();
    altered[100] ^= 1;
    let mut prefix = good.clone();
    prefix[1] ^= 1;
    let other_side = hello(certificate(1, 2, Role::Monitor)).seal(
        &TransportSecret::new(1, SECRET),
        Side::Server,
        &BINDING,
    );
    let version = Hello { version: 0, ..hello(certificate(1, 2, Role::Monitor)) };
    let cases = [
        ("altered", "one bit of the box", altered),
        ("length", "one bit of the length", prefix),
        ("reflected", "sealed as a server's", other_side),
        ("cut", "the last byte is missing", good[..good.len() - 1].to_vec()),
        ("extended", "a byte follows", [&good[..], &[0]].concat()),
        ("version", "version 0", sealed(&version)),
    ];
    for (name, cause, bytes) in cases {
        write(&format!("hello-{name}"), "not-of-the-team", "hello", cause, &fields, &bytes);
    }
    let after = |newer: usize| encode_hex(&[vec![0x34; 32 * newer], SECRET.to_vec()].concat());
    for (name, expect, cause, newer) in [
        ("old-secret", "ok", "under the last of 64 secrets", 63),
        ("forgotten-secret", "not-of-the-team", "under the last of 65 secrets", 64),
    ] {
        let fields = [("secret", after(newer)), fields[1].clone()];
        write(&format!("hello-{name}"), expect, "hello", cause, &fields, &good);
    }
    for (at, name) in ["secret", "binding"].into_iter().enumerate() {
        let mut other = fields.clone();
        other[at].1 = encode_hex(&[0x34; 32]);
        write(
            &format!("hello-{name}"),
            "not-of-the-team",
            "hello",
            &format!("another {name}"),
            &other,
            &good,
        );
    }
}

fn write_conversations() {
    let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    let fields = [
        ("secret", encode_hex(&SECRET)),
        ("binding", encode_hex(&BINDING)),
        ("authority", encode_hex(&authority.encode())),
        ("certificate", encode_hex(&certificate(1, 1, Role::Coordinator).encode())),
        ("peer-key", encode_hex(&keys(2).1.transport)),
    ];
    let tell = |name: &str, expect: &str, cause: &str, client: (Certificate, u32, &str), frames: &[Frame]| {
        let (certificate, now, limited) = client;
        let mut bytes = sealed(&hello(certificate));
        bytes.extend(frames.iter().flat_map(Frame::encode));
        let mut fields = fields.to_vec();
        fields.extend([("now", now.to_string()), ("limited", limited.to_owned())]);
        write(&format!("conversation-{name}"), expect, "conversation", cause, &fields, &bytes);
    };
    let say = |name: &str, expect: &str, cause: &str, certificate: Certificate, frames: &[Frame]| {
        tell(name, expect, cause, (certificate, 1_500, "nobody"), frames);
    };
    let member = || certificate(1, 2, Role::Monitor);
    let compared = |name: &str, expect: &str, cause: &str, features: u32, frames: &[Frame]| {
        let mut bytes = sealed(&Hello { features, ..hello(member()) });
        bytes.extend(frames.iter().flat_map(Frame::encode));
        let mut fields = fields.to_vec();
        fields.extend([("now", "1500".to_owned()), ("limited", "nobody".to_owned())]);
        write(&format!("conversation-{name}"), expect, "conversation", cause, &fields, &bytes);
    };
    say("stranger", "certificate", "its issuer is unknown", certificate(3, 2, Role::Monitor), &[]);
    say("other-key", "wrong-key", "another device's certificate", certificate(1, 4, Role::Monitor), &[]);

    let since = Frame::Since { position: 0 };
    let mark = |position, end| Frame::Mark { position, end };
    let fingerprint: Fingerprint = [id(1), id(2)].into_iter().collect();
    let done = |received| Frame::Done { received, fingerprint, busy: false };
    let after_since: Vec<(&str, &str, &str, Vec<Frame>)> = vec![
        (
            "good",
            "ok",
            "two entries unasked",
            vec![Frame::Entries(vec![wire(1), wire(2)]), mark(2, true), done(0)],
        ),
        (
            "good-offered",
            "ok",
            "two entries offered, one gone",
            vec![
                Frame::Offer(vec![id(1), id(2)]),
                Frame::Entries(vec![wire(1)]),
                Frame::Gone(vec![id(2)]),
                mark(2, true),
            ],
        ),
        (
            "altered-entry",
            "ok",
            "an entry that does not match its id is dropped, the session goes on",
            vec![Frame::Entries(vec![WireEntry { prefix: [0; 8], ..wire(1) }, wire(2)]), mark(2, true)],
        ),
        ("since-twice", "out-of-phase", "a second Since", vec![since.clone()]),
        ("done-early", "out-of-phase", "Done before a Mark with end", vec![done(0)]),
        ("done-false", "out-of-phase", "Done that received what was not sent", vec![mark(0, true), done(1)]),
        (
            "end-early",
            "out-of-phase",
            "end while an offer is open",
            vec![Frame::Offer(vec![id(1)]), mark(1, true)],
        ),
        (
            "unsolicited",
            "unsolicited",
            "an entry that was not wanted, after an Offer",
            vec![Frame::Offer(vec![id(1)]), Frame::Entries(vec![wire(2)])],
        ),
        ("want-unasked", "unasked", "a Want without an Offer", vec![Frame::Want(vec![true])]),
        ("gone-unasked", "unasked", "a Gone of what was not wanted", vec![Frame::Gone(vec![id(1)])]),
        (
            "ack-false",
            "false-acknowledgement",
            "an Ack of what was not sent",
            vec![Frame::Ack { count: 1, refused: vec![] }],
        ),
        ("mark-falls", "impossible-position", "a position that falls", vec![mark(5, false), mark(4, false)]),
    ];
    for (name, expect, cause, frames) in after_since {
        let frames = [vec![since.clone()], frames].concat();
        say(name, expect, cause, member(), &frames);
    }
    let late = || certificate_until(1, 2, Role::Monitor, 1_499);
    let delivery = [since.clone(), Frame::Entries(vec![wire(1), wire(2)]), mark(2, true)];
    let limited = |frames: &[Frame]| [&[Frame::Limited], frames].concat();
    tell("late", "ok", "the client's certificate has run out", (late(), 1_500, "client"), &delivery);
    tell("last-second", "ok", "the last second of the certificate", (late(), 1_499, "nobody"), &delivery);
    tell("late-both", "ok", "both certificates have run out", (late(), 2_001, "nobody"), &delivery);
    let asked = [&delivery[..1], &[Frame::Offer(vec![id(1), id(2)])], &delivery[1..]].concat();
    let limits = || (member(), 1_500, "server");
    tell("limited", "ok", "the client limits the server", limits(), &limited(&asked));
    let cause = "the client limits the server, and sends what nobody wanted";
    tell("limited-unsolicited", "unsolicited", cause, limits(), &limited(&delivery));
    let twice = limited(&limited(&asked));
    tell("limited-twice", "out-of-phase", "a second Limited", limits(), &twice);
    say("limited-late", "out-of-phase", "Limited after Since", member(), &[since.clone(), Frame::Limited]);
    say("no-since", "out-of-phase", "a Mark before the Since", member(), &[mark(0, true)]);

    // The client knows a third entry, which it has dropped.
    let done = |ids: &[EntryId]| {
        let fingerprint = ids.iter().copied().collect();
        Frame::Done { received: 0, fingerprint, busy: false }
    };
    let three = [id(1), id(2), id(3)];
    let mut listed: Vec<ShortId> = three.iter().map(short).collect();
    listed.sort_unstable();
    let list = Frame::Compare(Comparison {
        lacks: vec![],
        parts: vec![Part::List { span: Span::WHOLE, ids: listed }],
    });
    let whole = || {
        let parts = vec![Part::Sums { span: Span::WHOLE, sums: vec![[7; DIGEST_LEN]; 16] }];
        Frame::Compare(Comparison { lacks: vec![], parts })
    };
    // Both entries lie in a list of their own.
    let settled = Frame::Compare(Comparison {
        lacks: vec![vec![false], vec![false]],
        parts: vec![Part::Sums { span: span(0, 100), sums: vec![[7; DIGEST_LEN]] }],
    });
    let last = Frame::Compare(Comparison::default());
    let differing = [since, Frame::Entries(vec![wire(1), wire(2)]), mark(2, true), done(&three)];
    let reconciling: Vec<(&str, &str, &str, Vec<Frame>)> = vec![
        (
            "good-compared",
            "ok",
            "two entries, and one that was dropped: a list, the dropped one named as past, both equal",
            vec![list.clone(), Frame::Past(vec![id(3)]), mark(2, true), done(&three)],
        ),
        ("good-compared-nothing", "ok", "the first turn is the last", vec![last.clone(), mark(2, true)]),
        ("compare-after-the-end", "out-of-phase", "a turn after the last", vec![last.clone(), whole()]),
        (
            "compare-end-early",
            "out-of-phase",
            "a Mark with end during the turns",
            vec![whole(), mark(2, true)],
        ),
        (
            "compare-settled",
            "unasked",
            "a span for which the turn before had no sums",
            vec![whole(), settled],
        ),
        ("compare-unanswered", "unasked", "no answer to the lists of the turn before", vec![whole(), last]),
        (
            "past-after-the-end",
            "out-of-phase",
            "Past after a Mark with end",
            vec![Frame::Compare(Comparison::default()), mark(2, true), Frame::Past(vec![id(3)])],
        ),
    ];
    for (name, expect, cause, frames) in reconciling {
        let frames = [differing.to_vec(), frames].concat();
        compared(name, expect, cause, FEATURE_RECONCILE, &frames);
    }
    let early = [&differing[..3], &[whole()]].concat();
    compared("compare-early", "out-of-phase", "a Compare before the Dones", FEATURE_RECONCILE, &early);
    let past = [&differing[..2], &[Frame::Past(vec![id(3)])]].concat();
    compared("past-early", "out-of-phase", "a Past before the Dones", FEATURE_RECONCILE, &past);
    let sized = [
        Frame::Since { position: 0 },
        Frame::SizedOffer(vec![(id(1), u32::try_from(wire(1).bytes.len()).unwrap())]),
    ];
    let taken = [&sized[..], &[Frame::Entries(vec![wire(1)]), mark(1, true)]].concat();
    let both = FEATURE_RECONCILE | FEATURE_DECLINE;
    compared("good-sized", "ok", "an entry offered with its size", both, &taken);
    compared("sized-without-the-bit", "out-of-phase", "sizes without the bit", FEATURE_RECONCILE, &sized);
    compared("sized-without-reconciliation", "out-of-phase", "the bit alone", FEATURE_DECLINE, &sized);
    let answer = Frame::Answer { wanted: vec![false], declined: vec![(0, Decline::Full)] };
    let unasked = [&sized[..1], &[answer]].concat();
    let ping = [&sized[..1], &[Frame::Ping { answer: false }]].concat();
    compared("ping-early", "out-of-phase", "a Ping before both stay", both | FEATURE_LIVE, &ping);
    let pad = |len| Frame::Pad { len };
    let padded = [
        sized[0].clone(),
        Frame::Entries(vec![wire(1), wire(2)]),
        mark(2, true),
        pad(13_000),
        Frame::Done { received: 0, fingerprint, busy: false },
        pad(900),
    ];
    compared("good-padded", "ok", "padding after the entries and after the Done", FEATURE_PADDING, &padded);
    compared("pad-without-the-bit", "out-of-phase", "padding without the bit", both, &padded);
    let early = [pad(0), sized[0].clone()];
    compared("pad-early", "out-of-phase", "padding before the Since", FEATURE_PADDING, &early);
    let much = [&sized[..1], &[pad(16_384), pad(16_384), pad(0), pad(100)]].concat();
    compared("pad-much", "too-much-padding", "more padding than may be", FEATURE_PADDING, &much);
    compared("answer-unasked", "unasked", "an Answer without an offer", both, &unasked);
    let settled = Frame::Settled { count: 1, refused: vec![], declined: vec![(0, Decline::Full)] };
    let false_settled = [&sized[..1], &[settled]].concat();
    compared("settled-false", "false-acknowledgement", "declined what was not sent", both, &false_settled);
    let without = [differing.to_vec(), vec![list]].concat();
    compared("compare-without-the-bit", "out-of-phase", "a Compare without the bit", 0, &without);
}
