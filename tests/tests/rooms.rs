//! Relays that are full, or gone: who learns of it, and in which words.

use fieldbook_tests::{Machine, Running, free_port, pair, team_of_two, wait_for};
use serde_json::{Value, json};

use crate::making::{finished, stick, text, with_film};
use crate::reading::word_of_delivery;
use crate::relay::{delivery, relay_of, runs};

fn device(machine: &Machine) -> String {
    machine.json(&["status"])[0]["device"]["id"].as_str().expect("an id").to_owned()
}

/// A check of `doctor`.
fn check(said: &[Value], name: &str) -> Value {
    said.iter().find(|line| line["check"] == name).cloned().unwrap_or_default()
}

#[test]
fn that_the_only_known_relay_was_removed_is_named_wherever_it_is_the_reason() {
    let (coordinator, monitor) = team_of_two();
    let seized = relay_of(&coordinator, &[]);
    let at = runs(&seized);
    let id = finished(&monitor, "Nobody has fetched it");
    monitor.ok(&["sync", "--with", &at.address]);
    let address = at.address.clone();
    at.ends();
    let removed = coordinator.ok(&["team", "remove", &device(&seized), "--lost", "--yes"]).out();
    assert!(removed.contains("Removed the relay \"Relay\"") && !removed.contains("drafts"), "{removed}");
    let files = stick();
    coordinator.ok(&["bundle", "write", text(files.path()), "--older", "1"]);
    monitor.ok(&["bundle", "read", text(files.path())]);

    let now = delivery(&monitor, &id);
    assert_eq!((&now["word"], &now["removed"][0]["device"]), (&"only here".into(), &device(&seized).into()));
    let held = "the relay held it and was removed from the team: sync with another relay";
    assert!(now["attention"][0].as_str().is_some_and(|why| why.starts_with(held)), "{now}");
    assert!(monitor.ok(&["show", &id]).out().contains(held));
    assert_eq!(monitor.json(&["status"])[0]["removed_held"], 1);
    let status = monitor.ok(&["status"]).out();
    assert!(
        status.contains("1 of these reports was on its way, and whoever held it was removed"),
        "{status}"
    );
    assert!(status.contains("; it was removed from the team since"), "{status}");

    let gone = format!("the relay at {address} was removed from your team, and this device has met no other");
    let error = monitor.fails(14, &["sync"]);
    assert_eq!(error["code"], "removed");
    assert!(error["message"].as_str().is_some_and(|why| why.starts_with(&gone)), "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("by stick")), "{error}");
    let doctor = monitor.run(&["--json", "doctor"]).exits(14).lines();
    assert_eq!(
        (&check(&doctor, "address")["verdict"], &check(&doctor, "address")["found"]),
        (&"bad".into(), &gone.into())
    );
    assert!(check(&doctor, "removed")["found"].as_str().is_some_and(|found| found.contains("only here now")));
    let daemon = monitor.start(&["daemon", "--with", "known"]);
    let said = wait_for("a warning", || Some(daemon.err()).filter(|err| err.contains("warning")));
    assert!(said.contains(&format!("nobody is dialled: the relay at {address} was removed")), "{said}");
    drop(daemon);

    // Another relay ends it.
    let other = relay_of(&coordinator, &[]);
    let at = runs(&other);
    monitor.ok(&["sync", "--with", &at.address]);
    let now = delivery(&monitor, &id);
    assert_eq!(
        (&now["word"], &now["removed"], &now["attention"]),
        (&"carried".into(), &json!([]), &json!([]))
    );
    let doctor = monitor.run(&["--json", "doctor"]).exits(0).lines();
    assert_eq!(check(&doctor, "removed"), Value::Null);
    at.ends();
    // What is not tried is named when the rest is not there.
    let error = monitor.fails(14, &["sync"]);
    let not_tried = format!("Not tried: the relay at {address}, which was removed from your team");
    assert!(error["message"].as_str().is_some_and(|why| why.ends_with(&not_tried)), "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("`fieldbook doctor` says")), "{error}");
}

#[test]
fn beside_a_full_relay_nothing_is_in_step_and_what_stays_is_counted_by_whose_it_is() {
    let (coordinator, monitor) = team_of_two();
    let other = Machine::with_vault("Other");
    pair(&coordinator, &other, "monitor");
    let relay = relay_of(&coordinator, &["--total", "4M", "--per-device", "4M"]);
    let at = runs(&relay);
    with_film(&other, 1, 6 << 20);
    let carrier = monitor.daemon();
    other.ok(&["sync", "--with", carrier.address()]);
    drop(carrier);
    with_film(&monitor, 2, 6 << 20);
    let said = monitor.run(&["--json", "sync", "--with", &at.address]).exits(3);
    let synced = said.lines().into_iter().find(|line| line["event"] == "synced").expect("a sync");
    let all = synced["traffic"]["declined_by_peer"]["full"].as_u64().expect("a number");
    let own = synced["declined_by_peer_own"]["full"].as_u64().expect("a number");
    assert!(0 < own && own < all, "{synced}");
    let whose = |own: u64, all: u64| {
        let entries = if own == 1 { "entry" } else { "entries" };
        format!(
            "the relay is full: {own} {entries} of this device's own and {} that it carries for others (",
            all - own
        )
    };
    let said = said.error()["message"].as_str().expect("words").to_owned();
    assert!(said.starts_with(&whose(own, all)), "{said}");

    let words = format!("it is full: {own} ");
    assert!(monitor.ok(&["status"]).out().contains(&words));
    let doctor = monitor.run(&["--json", "doctor"]).exits(0).lines();
    let room = check(&doctor, "room");
    assert!(room["found"].as_str().is_some_and(|found| found.contains(&words)), "{room}");
    assert!(room["do"].as_str().is_some_and(|to_do| to_do.contains("`fieldbook relay set` there")), "{room}");
    let doctor = relay.run(&["--json", "doctor"]).exits(1).lines();
    assert_eq!(check(&doctor, "room")["verdict"], "bad", "{doctor:?}");

    let mut laptop = monitor.start(&["daemon", "--with", &at.address]);
    laptop.object_with("with");
    let connection = wait_for("at rest", || {
        let status = monitor.json(&["status"]).remove(0);
        Some(status["daemon"]["connections"][0].clone()).filter(|one| one["state"] == "rests")
    });
    assert_eq!(connection["declined"]["own"]["full"], own, "{connection}");
    let status = monitor.ok(&["status"]).out();
    assert!(status.contains(": at rest; it is full: ") && !status.contains("in step"), "{status}");
    at.ends();
}

#[test]
fn a_share_that_was_derived_or_chosen_comes_back_with_the_total() {
    let (coordinator, _monitor) = team_of_two();
    let relay = relay_of(&coordinator, &["--total", "400M"]);
    let set = |how: &[&str]| {
        let said = relay.json(&[&["relay", "set"][..], how].concat()).remove(0);
        said["device_bytes"].as_u64().expect("a number") >> 20
    };
    assert_eq!(["40M", "400M"].map(|total| set(&["--total", total])), [16, 100]);
    assert_eq!(set(&["--per-device", "200M"]), 200);
    assert_eq!(["40M", "400M"].map(|total| set(&["--total", total])), [40, 200]);
}

#[test]
fn a_relay_is_invited_and_spoken_of_as_a_relay_and_writes_no_reports() {
    let (coordinator, _monitor) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let invite = ["team", "invite", "--listen", &address, "--yes", "--role"];
    for (role, how) in [("relay", "`fieldbook relay init "), ("monitor", "`fieldbook join ")] {
        let mut invitation = Running::start(coordinator.command(&[&invite[..], &[role]].concat()));
        let said = wait_for("what to do", || Some(invitation.err()).filter(|said| said.contains("Waiting;")));
        assert!(said.contains(how), "{said}");
        invitation.kill();
    }
    let relay = relay_of(&coordinator, &[]);
    for verb in [
        &["new", "--template", "detention", "--set", "date=2017-03-25"][..],
        &["finish", "--all"],
        &["import", &relay.file("reports.jsonl", r#"{"template":"detention","fields":{"date":"2017"}}"#)],
    ] {
        let said = relay.run(&[&["--json"][..], verb].concat());
        assert!(said.code != 0 && said.err().contains("this device is a relay"), "{verb:?}: {said:?}");
    }
    assert_eq!(relay.json(&["status"])[0]["drafts"], 0);
    // Its operator's coordinator is asked about a relay, not about a person.
    let asked = coordinator.run(&["team", "remove", "Relay"]).exits(4);
    assert!(asked.err().contains("Remove the relay \"Relay\""), "{asked:?}");
    assert!(
        !asked.err().contains("drafts") && asked.err().contains("when devices synced with it"),
        "{asked:?}"
    );
}

#[test]
fn a_bundle_for_a_device_leaves_out_what_it_signed_for_although_the_two_never_met() {
    let (coordinator, monitor) = team_of_two();
    let relay = relay_of(&coordinator, &[]);
    let at = runs(&relay);
    finished(&monitor, "By the relay");
    monitor.ok(&["sync", "--with", &at.address]);
    coordinator.ok(&["sync", "--with", &at.address]);
    coordinator.ok(&["sync", "--with", &at.address]);
    monitor.ok(&["sync", "--with", &at.address]);
    let id = finished(&monitor, "Not yet");
    let written = |how: &[&str]| {
        let files = stick();
        let said = monitor.json(&[&["bundle", "write", text(files.path())][..], how].concat());
        let entries = said.last().expect("an end")["entries"].as_u64().expect("a number");
        (files, entries)
    };
    let (_all, everything) = written(&[]);
    let (files, needed) = written(&["--for", "Coordination"]);
    // Beside the new report only what nobody signs for.
    assert!(needed < everything && needed > 0, "{needed} of {everything}");
    coordinator.ok(&["bundle", "read", text(files.path())]);
    assert_eq!(coordinator.show(&id)["summary"]["id"], id.as_str());
    assert_eq!(word_of_delivery(&monitor, &id), "only here");
    at.ends();
}

#[test]
fn a_doctor_is_no_failed_sync_at_the_other_side() {
    let (coordinator, monitor) = team_of_two();
    let mut daemon = coordinator.daemon();
    let said = monitor.run(&["--json", "doctor", "--with", daemon.address()]).exits(0).lines();
    assert_eq!(said.iter().filter(|line| line["outcome"] == "met").count(), 2, "{said:?}");
    for _ in 0..2 {
        let line = daemon.process.object_with("text")["text"].to_string();
        assert!(line.contains("looked whether this device can be reached"), "{line}");
    }
    let status = coordinator.json(&["daemon", "status"]).remove(0);
    assert_eq!((&status["sessions_failed"], &status["sessions_done"]), (&0.into(), &0.into()), "{status}");
    monitor.ok(&["sync", "--with", daemon.address()]);
    wait_for("a sync", || {
        let status = coordinator.json(&["daemon", "status"]).remove(0);
        assert_eq!(status["sessions_failed"], 0, "{status}");
        (status["sessions_done"] == 1).then_some(())
    });
}
