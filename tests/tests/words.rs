//! What people are told keeps to what is so.

use std::fs;
use std::path::Path;

use fieldbook_tests::{Machine, free_port, pair, team_of_two};
use serde_json::{Value, json};

use crate::making::{film, finished};
use crate::reading::word_of_delivery;
use crate::relay::{delivery, relay_of, runs};

fn device(machine: &Machine) -> String {
    machine.json(&["status"])[0]["device"]["id"].as_str().expect("an id").to_owned()
}

fn attention(machine: &Machine, id: &str) -> Vec<String> {
    let why = delivery(machine, id)["attention"].clone();
    serde_json::from_value(why).expect("reasons")
}

#[test]
fn what_only_a_removed_relay_has_is_only_here_and_goes_to_another() {
    let (coordinator, monitor) = team_of_two();
    let seized = relay_of(&coordinator, &[]);
    let at = runs(&seized);
    let id = finished(&monitor, "Nobody has fetched it");
    monitor.ok(&["sync", "--with", &at.address]);
    assert_eq!(word_of_delivery(&monitor, &id), "carried");
    at.ends();
    coordinator.ok(&["team", "remove", &device(&seized), "--lost", "--yes"]);
    let other = relay_of(&coordinator, &[]);
    // The monitor hears of it by stick.
    let stick = tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory");
    let files = stick.path().to_str().expect("UTF-8");
    coordinator.ok(&["bundle", "write", files, "--older", "1"]);
    monitor.ok(&["bundle", "read", files]);
    let now = delivery(&monitor, &id);
    assert_eq!((&now["word"], &now["relays"]), (&"only here".into(), &json!([])), "{now}");
    assert_eq!(monitor.json(&["status"])[0]["only_here"], 1);
    let doctor = monitor.run(&["doctor", "--with", "127.0.0.1:1"]).exits(14).out();
    assert!(doctor.contains("1 finished report exists only here"), "{doctor}");
    let at = runs(&other);
    let said = monitor.ok(&["sync", "--with", &at.address]).out();
    // A monitor knows no names of relays.
    assert!(said.starts_with("Synced with the relay at "), "{said}");
    assert!(said.contains("1 report: on the relay, the last since 20"), "{said}");
    let now = delivery(&monitor, &id);
    assert_eq!((&now["word"], &now["relays"][0]["device"]), (&"carried".into(), &device(&other).into()));
    at.ends();
}

#[test]
fn one_attachment_that_a_relay_declines_hides_no_other_report_and_blames_none() {
    let (coordinator, monitor) = team_of_two();
    let relay = relay_of(&coordinator, &["--total", "4M", "--per-device", "4M"]);
    let at = runs(&relay);
    // What was declined may end a sync with another code.
    let sync = || monitor.run(&["sync", "--with", &at.address]);
    let one = monitor.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    monitor.ok(&["attach", &one, &monitor.file("film.mp4", film(1, 6 << 20))]);
    monitor.ok(&["finish", &one, "--incomplete"]);
    sync();
    let two = finished(&monitor, "Two");
    sync();
    let three = finished(&monitor, "Three, never offered");
    let states = |id| (word_of_delivery(&monitor, id), attention(&monitor, id));
    let (word, why) = states(&one);
    assert!(word == "only here" && why.len() == 1 && why[0].contains("the relay is full"), "{word}: {why:?}");
    assert_eq!(states(&two), ("carried".to_owned(), Vec::new()));
    assert!(delivery(&monitor, &two)["relays"][0]["time_ms"].as_i64() > Some(1_490_000_000_000));
    assert_eq!(states(&three), ("only here".to_owned(), Vec::new()), "it was never offered");
    let list = monitor.ok(&["list"]).out();
    let marked: Vec<&str> = list.lines().filter(|line| line.contains("needs attention")).collect();
    assert!(marked.len() == 1 && marked[0].starts_with(&one[..8]), "{list}");
    // Another sync forgets none of it.
    sync();
    assert_eq!(states(&two), ("carried".to_owned(), Vec::new()));
    assert_eq!(states(&three), ("carried".to_owned(), Vec::new()));
    // With room all of it arrives.
    relay.ok(&["relay", "set", "--total", "100M", "--per-device", "100M"]);
    sync();
    assert_eq!(states(&one), ("carried".to_owned(), Vec::new()));
    at.ends();
}

#[test]
fn a_policy_that_cannot_be_leaves_the_code_as_it_was() {
    let (coordinator, _monitor) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let mut invitation =
        coordinator.start(&["team", "invite", "--listen", &address, "--yes", "--role", "relay"]);
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let relay = Machine::new("Relay");
    let listen = format!("127.0.0.1:{}", free_port());
    let how = ["relay", "init", &code, "--at", &address, "--yes", "--work-factor", "15", "--listen", &listen];
    for (policy, blamed) in [
        (&["--total", "1M"][..], "--total"),
        (&["--total", "100M", "--per-device", "1M"], "one device may bring less"),
        (&["--keep", "1d", "--floor", "2d"], "never dropped"),
    ] {
        let error = relay.fails(2, &[&how[..], policy].concat());
        assert!(error["message"].as_str().is_some_and(|why| why.contains(blamed)), "{policy:?}: {error}");
    }
    relay.json(&how);
    assert!(invitation.ends().success(), "{}", invitation.err());
    assert_eq!(relay.json(&["relay", "status"]).len(), 1);
}

#[test]
fn a_relay_that_cannot_run_says_why_in_words() {
    let (coordinator, _monitor) = team_of_two();
    let relay = Machine::with_vault("Relay without a policy");
    pair(&coordinator, &relay, "relay");
    let said = relay.run(&["relay", "run"]);
    assert_ne!(said.code, 0);
    assert!(!said.err().contains('{') && said.err().contains("error: "), "{said:?}");
    assert!(relay.run(&["--json", "relay", "run"]).error()["message"].is_string());
}

#[test]
fn two_devices_of_one_name_are_told_apart_by_their_ids() {
    let (coordinator, _monitor) = team_of_two();
    for _ in 0..2 {
        pair(&coordinator, &Machine::with_vault("Twin"), "monitor");
    }
    let error = coordinator.fails(2, &["team", "remove", "twin", "--yes"]);
    assert_eq!(error["code"], "ambiguous-name");
    assert_eq!(error["message"], "2 devices are called \"twin\"");
}

/// `bundle read`: what it says to a person.
fn read(machine: &Machine, from: &[&str], code: i32) -> String {
    let said = machine.run(&[&["bundle", "read"], from].concat()).exits(code);
    said.out() + &said.err()
}

#[test]
fn a_bad_spot_in_a_photograph_costs_one_entry_and_what_cannot_be_opened_is_no_other_file() {
    let (coordinator, monitor) = team_of_two();
    let id = monitor.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    monitor.ok(&["attach", &id, &monitor.file("film.mp4", film(7, 3 << 20))]);
    monitor.ok(&["finish", &id, "--incomplete"]);
    let stick = tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory");
    let files = stick.path().to_str().expect("UTF-8");
    monitor.ok(&["bundle", "write", files]);
    let file = fs::read_dir(files).expect("files").next().expect("one").expect("a file").path();
    let good = fs::read(&file).expect("its bytes");
    let mut bad = good.clone();
    let middle = good.len() / 2;
    bad[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&file, bad).expect("written");
    fs::write(stick.path().join("notes.txt"), "tomorrow at ten").expect("written");
    let said = read(&coordinator, &[files], 3);
    assert!(said.contains("; damaged: 1 of ") && said.contains("; 1 entry is incomplete"), "{said}");
    assert!(!said.contains("refused") && said.contains("1 other file is no bundle of your team"), "{said}");
    fs::write(&file, good).expect("written");
    // A file that the system does not give, whoever asks.
    let closed = "/sys/bus/cpu/uevent";
    if Path::new(closed).exists() {
        let said = read(&coordinator, &[files, closed], 3);
        assert!(said.contains("uevent: ") && said.contains("1 file cannot be read; everything"), "{said}");
        assert!(read(&coordinator, &[closed], 3).contains("1 file cannot be read"));
    }
    read(&coordinator, &[files], 0);
    let all: Vec<Value> = coordinator.json(&["list"]);
    assert_eq!(all.len(), 1);
}
