//! Devices that stay in touch by themselves, told to the real program: behind a router, locked, killed.

use std::thread::sleep;
use std::time::Duration;

use fieldbook_tests::{Machine, Running, team_of_two, wait_for};
use serde_json::Value;

/// A daemon that dials and does not listen.
fn calling(machine: &Machine, address: &str) -> Running {
    let mut daemon = machine.start(&["daemon", "--with", address]);
    daemon.object_with("with");
    daemon
}

fn ids(machine: &Machine) -> Vec<String> {
    machine.reports().iter().filter_map(|report| report["id"].as_str().map(str::to_owned)).collect()
}

fn held(machine: &Machine) -> u64 {
    machine.json(&["carry"])[0]["held_bytes"].as_u64().expect("a number")
}

fn finished(machine: &Machine) -> String {
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

#[test]
fn a_laptop_behind_a_router_delivers_by_itself_and_a_locked_one_is_given_what_is_for_it() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    let mut laptop = calling(&b, desk.address());
    let id = finished(&b);
    // Nobody syncs.
    wait_for("the report at the desk", || ids(&a).contains(&id).then_some(()));
    let status = b.json(&["daemon", "status"]).remove(0);
    assert_eq!(status["listening"], Value::Array(Vec::new()));
    assert_eq!(status["calls"][0]["path"], "quic");
    assert!(status["calls"][0]["connected_ms"].is_i64(), "{status}");
    assert!(b.ok(&["daemon", "status"]).out().contains("connected"), "a person is told, too");
    // The laptop's vault is closed: only its daemon runs, and that has no key to open anything.
    let received = |machine: &Machine| machine.json(&["carry"])[0]["held_bytes"].as_u64();
    let before = received(&b);
    assert!(b.processes().len() <= 1, "{:?}", b.processes());
    a.ok(&["ask", &id, "Which station was it?"]);
    wait_for("the question in the locked laptop", || (received(&b) > before).then_some(()));
    drop(desk);
    laptop.kill();
    // Nobody is there any more, and the laptop has it.
    let history = b.ok(&["show", &id]).out();
    assert!(history.contains("Which station was it?"), "{history}");
}

#[test]
fn a_daemon_that_is_killed_again_and_again_never_sends_twice_what_is_durable() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    // Not compressible, and no part like another.
    let mut film = vec![0; 24 << 20];
    blake3::Hasher::new().update(b"film").finalize_xof().fill(&mut film);
    b.ok(&["attach", &id, &b.file("film.mp4", &film)]);
    b.ok(&["finish", &id, "--incomplete"]);
    let start = held(&a);
    let mut cut_short = 0;
    for patience in [150, 200, 250, 300, 400] {
        let mut laptop = calling(&b, desk.address());
        sleep(Duration::from_millis(patience));
        laptop.kill();
        cut_short += usize::from((1 << 20..film.len() as u64).contains(&(held(&a) - start)));
    }
    // Whatever was under way is stored, or gone with its connection.
    wait_for("quiet", || {
        let before = held(&a);
        sleep(Duration::from_millis(300));
        (held(&a) == before).then_some(())
    });
    let before = held(&a);
    let done = b.json(&["sync", "--with", desk.address()]);
    let synced = done.iter().find(|object| object["event"] == "synced").expect("it says so");
    println!("cut in the midst {cut_short} times of 5, {} bytes were left", held(&a) - before);
    assert_eq!(Some(held(&a) - before), synced["traffic"]["sent_bytes"].as_u64(), "{synced}");
    assert_eq!(synced["traffic"]["in_step"], true);
    let out = a.path("out.mp4");
    a.ok(&["attachment", &id, "film.mp4", "--out", out.to_str().expect("UTF-8")]);
    assert!(std::fs::read(out).expect("there") == film);
}

#[test]
fn what_a_device_carries_is_its_owners_choice_and_said_at_the_sync() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    let said = a.ok(&["carry", "--reports-only"]).out();
    assert!(said.contains("no attachments"), "{said}");
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["attach", &id, &b.file("film.mp4", vec![7; 300_000])]);
    b.ok(&["finish", &id, "--incomplete"]);
    let said = b.run(&["sync", "--with", desk.address()]).exits(3).err();
    assert!(said.contains("Coordination does not carry entries this large: 1 entry ("), "{said}");
    assert_eq!(ids(&a), std::slice::from_ref(&id), "the report is there");
    assert!(a.ok(&["carry", "--everything"]).out().contains("carries everything"));
    let said = b.ok(&["sync", "--with", desk.address()]).out();
    assert!(said.contains("sent 1 entry"), "{said}");
}
