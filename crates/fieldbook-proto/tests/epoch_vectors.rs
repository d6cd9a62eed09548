//! Runs `protocol/vectors/epoch/`: which epoch is current, and which may follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
#[allow(dead_code, reason = "these payloads are lines of text")]
mod reader;

use fieldbook_proto::DeviceId;
use fieldbook_proto::epoch::{DeskClaim, SecretClaim, current, in_order, may_follow};
use reader::{Vector, from_hex, vectors};

/// The lines of the payload, each in words.
fn lines(vector: &Vector) -> Vec<Vec<&str>> {
    vector.payload.lines().filter(|line| !line.is_empty()).map(|line| line.split(' ').collect()).collect()
}

fn stands(vector: &Vector, word: &str) -> bool {
    match word {
        "stands" => true,
        "removed" => false,
        _ => panic!("{}: {word}", vector.file),
    }
}

fn desk(vector: &Vector) -> String {
    let lines = lines(vector);
    let place = current(lines.iter().map(|line| DeskClaim {
        speaks: stands(vector, line[0]),
        epoch: line[1].parse().unwrap(),
        recipient: line[2],
    }));
    place.map_or_else(|| "none".to_owned(), |place| (place + 1).to_string())
}

fn transport(vector: &Vector) -> String {
    let lines = lines(vector);
    let bytes = |hex: &str| -> [u8; 32] { from_hex(hex).try_into().unwrap() };
    let secrets: Vec<[u8; 32]> = lines.iter().map(|line| bytes(line[3])).collect();
    let claims: Vec<SecretClaim<'_>> = lines
        .iter()
        .zip(&secrets)
        .map(|(line, secret)| SecretClaim {
            stands: stands(vector, line[0]),
            epoch: line[1].parse().unwrap(),
            issuer: DeviceId::from_bytes(bytes(line[2])),
            secret,
        })
        .collect();
    let places: Vec<String> = in_order(&claims).into_iter().map(|place| (place + 1).to_string()).collect();
    places.join(" ")
}

fn jump(vector: &Vector) -> String {
    let lines = lines(vector);
    let verdicts = lines.iter().map(|line| {
        let [highest, epoch] = [line[0], line[1]].map(|number| number.parse().unwrap());
        if may_follow(highest, epoch) { "ok" } else { "too-far" }
    });
    verdicts.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_epoch_vector_ends_as_it_says() {
    for vector in vectors("epoch") {
        let got = match vector.field("of") {
            "desk" => desk(&vector),
            "transport" => transport(&vector),
            "jump" => jump(&vector),
            other => panic!("{}: {other}", vector.file),
        };
        assert_eq!(got, vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
        // Nothing depends on the order in which a device has learned of them.
        if vector.field("of") == "desk" {
            let mut turned = lines(&vector);
            turned.reverse();
            let payload: Vec<String> = turned.iter().map(|line| line.join(" ")).collect();
            let reversed = Vector {
                file: vector.file.clone(),
                fields: vector.fields.clone(),
                payload: payload.join("\n"),
            };
            let place: usize = desk(&reversed).parse().unwrap();
            assert_eq!((turned.len() + 1 - place).to_string(), got, "{}", vector.file);
        }
    }
}
