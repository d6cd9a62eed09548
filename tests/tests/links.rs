//! Bad links: real devices that talk through a link which loses, delays, narrows and interrupts. Everything
//! arrives, nothing goes twice.

use std::net::SocketAddr;
use std::time::Duration;

use fieldbook_tests::link::{Link, Only, Weather};
use fieldbook_tests::{Daemon, Machine, team_of_two};
use serde_json::Value;

use crate::reading::ids;

/// Syncs that may break off on such links before one comes through.
const TRIES: usize = 20;

fn write_reports(machine: &Machine, number: usize) -> Vec<String> {
    let lines: Vec<String> = (0..number)
        .map(|number| {
            let report = serde_json::json!({
                "template": "detention",
                "fields": {"date": "2017-03-25", "narrative": format!("Report {number}. ").repeat(40)},
            });
            report.to_string() + "\n"
        })
        .collect();
    let file = machine.file("reports.jsonl", lines.concat());
    machine.ok(&["import", &file]);
    machine.ok(&["finish", "--all", "--incomplete"]);
    let mut all = ids(machine);
    all.sort();
    all
}

fn link(daemon: &Daemon, weather: Weather) -> Link {
    Link::start(daemon.address().parse::<SocketAddr>().expect("an address"), weather)
}

/// Syncs until a sync comes to its end: how often it took, and how many entries were acknowledged in all.
fn sync_until_done(machine: &Machine, address: &str) -> (usize, u64, Value) {
    let mut held = 0;
    for tries in 1..=TRIES {
        let done = machine.run(&["--json", "sync", "--with", address]);
        if done.code == 0 {
            let synced = done.lines().into_iter().find(|line| line["event"] == "synced").expect("a sync");
            held += synced["traffic"]["sent"].as_u64().expect("a number");
            return (tries, held, synced);
        }
        assert_eq!(done.code, 14, "{done:?}");
    }
    panic!("{TRIES} syncs, and none came through");
}

/// What came to the coordinator, and in how many entries.
fn arrived(coordinator: &Machine) -> (Vec<String>, u64) {
    let mut all = ids(coordinator);
    all.sort();
    (all, coordinator.json(&["status"])[0]["depot_entries"].as_u64().expect("a number"))
}

#[test]
fn a_third_of_everything_is_lost() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    let link = link(&daemon, Weather { loss: 30, only: Some(Only::Udp), ..Weather::default() });
    let written = write_reports(&b, 20);
    sync_until_done(&b, &link.address());
    assert_eq!(arrived(&a).0, written);
    assert!(link.lost() >= 10, "{} datagrams lost", link.lost());
}

#[test]
fn by_satellite_and_by_telephone_line() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    let delay = Duration::from_millis(300);
    for (delay, rate, only) in [(delay, 0, Only::Udp), (delay, 0, Only::Tcp), (delay / 6, 8_000, Only::Udp)] {
        let weather = Weather { delay, rate, only: Some(only), ..Weather::default() };
        let link = link(&daemon, weather);
        let written = write_reports(&b, 10);
        let (tries, ..) = sync_until_done(&b, &link.address());
        assert_eq!(arrived(&a).0, written, "{weather:?}");
        assert_eq!(tries, 1, "{weather:?}: slow is no reason to break off");
    }
}

#[test]
fn a_link_that_comes_and_goes_carries_each_part_once() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    // 4 MiB do not fit between two interruptions.
    let weather = Weather { rate: 800_000, lasts: Some(1_600_000), ..Weather::default() };
    let link = link(&daemon, weather);
    let mut noise = vec![0; 4 << 20];
    getrandom::fill(&mut noise).expect("random bytes");
    let photo = b.file("photo.jpg", &noise);
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["attach", &id, &photo]);
    b.ok(&["finish", &id, "--incomplete"]);
    let own = b.json(&["status"])[0]["depot_entries"].as_u64().expect("a number");
    sync_until_done(&b, &link.address());
    assert_eq!(ids(&a), std::slice::from_ref(&id));
    let out = a.path("photo");
    a.ok(&["attachment", &id, "photo.jpg", "--out", out.to_str().expect("a path")]);
    assert_eq!(std::fs::read(&out).expect("the file"), noise);
    // Each part was sent until it was acknowledged, and then no more: what is lost with each interruption is what
    // was under way.
    let (sent, size) = (link.bytes_there(), noise.len() as u64);
    assert!(sent < size * 3, "{sent} bytes for {size}, {own} entries");
}
