//! Devices that stay in touch by themselves, told to the real program: behind a router, locked, killed.

use std::net::{TcpListener, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use fieldbook_tests::{Machine, Running, team_of_two, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::making::finished_plain as finished;
use crate::reading::ids;
use crate::relay::{relay_of, runs};

/// A daemon that dials and does not listen.
fn calling(machine: &Machine, address: &str) -> Running {
    let mut daemon = machine.start(&["daemon", "--with", address]);
    daemon.object_with("with");
    daemon
}

fn held(machine: &Machine) -> u64 {
    machine.json(&["carry"])[0]["held_bytes"].as_u64().expect("a number")
}

#[test]
fn a_laptop_behind_a_router_delivers_by_itself_and_a_locked_one_is_given_what_is_for_it() {
    let (a, b) = team_of_two();
    let desk = a.daemon_with(&["--no-tcp"]);
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
    let agent = |arguments: &[u8]| arguments.windows(7).any(|word| word == b"\0agent\0");
    assert!(!b.processes().iter().any(|process| agent(&process.arguments)), "{:?}", b.processes());
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
    wait_for("no session at the desk", || {
        (a.json(&["daemon", "status"])[0]["sessions_now"].as_u64() == Some(0)).then_some(())
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

/// Whoever took a relay away and listens at its address.
struct Seized {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Seized {
    fn at(address: &str) -> Self {
        let (tcp, udp) = wait_for("the relay's port", || {
            Some((TcpListener::bind(address).ok()?, UdpSocket::bind(address).ok()?))
        });
        tcp.set_nonblocking(true).expect("a socket");
        udp.set_nonblocking(true).expect("a socket");
        Self { tcp, udp }
    }

    /// Whether anybody has called since it was asked last.
    fn was_called(&self) -> bool {
        let mut called = false;
        while self.tcp.accept().is_ok() {
            called = true;
        }
        while self.udp.recv(&mut [0; 2048]).is_ok() {
            called = true;
        }
        called
    }
}

#[test]
fn a_relay_that_was_removed_is_called_no_more() {
    let (a, b) = team_of_two();
    let relay = relay_of(&a, &[]);
    let at = runs(&relay);
    let address = at.address.clone();
    let desk = a.daemon();
    for with in [&address, desk.address()] {
        b.ok(&["sync", "--with", with]);
    }
    let calls = |b: &Machine| b.json(&["daemon", "status"]).remove(0)["calls"].clone();
    let connected = |calls: &Value, address: &str| {
        calls.as_array().is_some_and(|calls| {
            calls.iter().any(|call| call["address"] == address && call["connected_ms"].is_i64())
        })
    };
    let known = || {
        let daemon = b.start(&["daemon", "--with", "known"]);
        wait_for("the daemon", || {
            let status = b.run(&["--json", "daemon", "status"]);
            (status.code == 0 && connected(&status.lines()[0]["calls"], desk.address())).then_some(())
        });
        daemon
    };
    let mut laptop = known();
    wait_for("both", || connected(&calls(&b), &address).then_some(()));
    at.ends();
    let seized = Seized::at(&address);
    wait_for("a call, for nobody knows yet", || {
        finished(&b);
        seized.was_called().then_some(())
    });

    let people = a.json(&["team", "people"]);
    let id = people.iter().find(|one| one["role"] == "relay").expect("the relay")["device"].as_str();
    a.ok(&["team", "remove", id.expect("an id"), "--yes"]);
    wait_for("the monitor hears of it", || {
        b.ok(&["status"]);
        let calls = calls(&b);
        let there = calls.as_array().expect("a list").iter().any(|call| call["address"] == address.as_str());
        (!there).then_some(())
    });
    // A call that was under way is over.
    sleep(Duration::from_secs(1));
    seized.was_called();
    for _ in 0..3 {
        let id = finished(&b);
        wait_for("the report at the desk", || ids(&a).contains(&id).then_some(()));
    }
    laptop.kill();
    let mut laptop = known();
    b.ok(&["sync"]);
    b.run(&["doctor"]);
    assert!(!seized.was_called(), "by a daemon that ran, one that starts, a sync, or doctor");
    laptop.kill();
    // Who asks for it is warned, and may.
    let said = b.run(&["sync", "--with", &address]);
    assert!(said.err().contains("Warning") && said.err().contains("removed from your team"), "{said:?}");
    assert!(seized.was_called(), "the test can tell");
    // A daemon that is told to dial it does not do so by itself, and says it.
    let mut laptop = b.start(&["daemon", "--with", &address]);
    let status = wait_for("the daemon's word", || {
        let status = b.run(&["daemon", "status"]);
        status.out().contains("was removed from your team").then(|| status.out())
    });
    assert!(status.contains("sync --with"), "{status}");
    seized.was_called();
    sleep(Duration::from_secs(2));
    assert!(!seized.was_called());
    laptop.signal(Signal::TERM);
    laptop.ends();
}
