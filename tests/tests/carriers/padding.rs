//! What somebody learns of a sync who counts the bytes on the line, with the real program.

use std::net::SocketAddr;

use fieldbook_net::veil::stream::PADDING_MAX;
use fieldbook_tests::link::{Link, Weather};
use fieldbook_tests::{Machine, team_of_two, wait_for};
use serde_json::{Value, json};

use super::synced;
use super::tcp::daemon_by_tcp;
use crate::reading::ids;

/// The letters of the four languages.
const LETTERS: [(&str, &str); 4] = [
    ("en", "abcdefghijklmnopqrstuvwxyz"),
    ("ru", "абвгдежзийклмнопрстуфхцчшщъыьэюяё"),
    ("uk", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"),
    ("be", "абвгдеёжзійклмнопрстуўфхцчшыьэюя"),
];

/// Words of six letters on average that no compression finds anything in: worse than any text that somebody writes.
fn narrative(letters: &str, words: usize, seed: u64) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let mut random = seed;
    let mut roll = |sides: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % sides
    };
    let mut text = String::new();
    for _ in 0..words {
        for _ in 0..3 + roll(7) {
            text.push(letters[roll(letters.len())]);
        }
        text.push(' ');
    }
    text
}

fn write(machine: &Machine, narrative: &str) {
    let report = json!({"template": "detention", "fields": {"date": "2017-03-25", "narrative": narrative}});
    let file = machine.file("reports.jsonl", report.to_string() + "\n");
    machine.ok(&["import", &file]);
    machine.ok(&["finish", "--all", "--incomplete"]);
}

/// What the link has carried since it was asked last, once both sides have said their last word.
fn carried(link: &Link) -> (u64, u64) {
    wait_for("the end of the connection", || link.is_at_rest().then_some(()));
    link.take_streamed()
}

fn sync(machine: &Machine, address: &str) -> Value {
    synced(&machine.run(&["--json", "sync", "--with", address]).exits(0))["traffic"].clone()
}

#[test]
fn nobody_who_counts_the_bytes_tells_what_was_reported() {
    let (a, b) = team_of_two();
    let (_daemon, address) = daemon_by_tcp(&a);
    let link = Link::start(address.parse::<SocketAddr>().expect("an address"), Weather::default());
    // What the team consists of.
    sync(&b, &link.address());
    carried(&link);
    let mut seen = Vec::new();
    let mut look = |what: String| {
        let traffic = sync(&b, &link.address());
        assert_eq!(traffic["in_step"], true, "{traffic}");
        let bytes = carried(&link);
        let number = |name: &str| traffic[name].as_u64().expect("a number");
        seen.push((what, bytes, number("sent_bytes"), number("received_bytes"), number("padding")));
    };
    look("nothing".to_owned());
    let mut reports = 0;
    for (language, letters) in LETTERS {
        for words in [300, 900] {
            write(&b, &narrative(letters, words, 1));
            look(format!("{words} {language}"));
            reports += 1;
            // The receipt, if there is one, and what the coordinator writes.
            assert_eq!(ids(&a).len(), reports);
            look(format!("back after {words} {language}"));
        }
    }
    write(&a, &narrative(LETTERS[1].1, 900, 2));
    write(&b, &narrative(LETTERS[3].1, 900, 3));
    look("both".to_owned());
    let sent = |at: usize| seen[at].2;
    assert!(sent(1) < sent(3) && sent(3) < sent(7), "the reports differ: {seen:?}");
    // The first words of each side are before anything that anybody wrote, and no two connections need have them of one length.
    for side in 0..2 {
        let lens: Vec<u64> = link.openings().iter().map(|opening| opening[side]).collect();
        let (least, most) = (lens.iter().min().expect("a sync"), lens.iter().max().expect("a sync"));
        assert!(*least > 1_000 && most - least <= PADDING_MAX as u64, "{lens:?}");
    }
    let (_, first, ..) = &seen[0];
    for (what, bytes, ..) in &seen {
        assert_eq!(bytes, first, "{what}, and nothing. {seen:#?}");
    }
}
