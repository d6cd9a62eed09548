//! Differences that no cursor shows, between a daemon and a courier over real QUIC on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fieldbook_daemon::CourierEvent;
use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::{DepotId, EntryId};

mod team;
use team::{Device, device, keys, start};

/// `of` believes that it has read all of the order of the device with this number, which believes it too.
fn skip(of: &Device, from: &Device, other: u8) {
    let position = from.depot.head().unwrap();
    let record = from.depot.peers().unwrap().remove(0);
    from.depot.record_peer(fieldbook_depot::PeerRecord { holds_position: position, ..record }).unwrap();
    let name = EntryId::of(&[&keys(other).1.device_id().as_bytes()[..], &[other; 16]].concat());
    let name = DepotId::from_bytes(*name.as_bytes().first_chunk().unwrap());
    assert!(of.depot.peer_cursor(&name).unwrap() < position, "the test knows the name of the cursor");
    of.depot.set_peer_cursor(&name, position).unwrap();
}

fn compared(events: &[CourierEvent]) -> bool {
    events.iter().any(|event| matches!(event, CourierEvent::Repairing))
}

#[test]
fn a_few_entries_that_the_cursor_has_passed_are_found_both_ways_and_the_next_session_finds_nothing() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    coordinator.add(0, 3_000, 1_100);
    let daemon = start(&coordinator);
    assert!(monitor.sync(&daemon.address).0.unwrap().in_step);

    let there = coordinator.add(10_000, 7, 1_300);
    let here = monitor.add(20_000, 5, 1_300);
    skip(&monitor, &coordinator, 1);
    skip(&coordinator, &monitor, 2);
    let (summary, events) = monitor.sync(&daemon.address);
    let summary = summary.unwrap();
    assert!(summary.in_step && compared(&events));
    assert_eq!((summary.sent, summary.received), (5, 7));
    assert!(there.iter().all(|id| matches!(monitor.depot.get(id), Ok(Lookup::Held(_)))));
    assert!(here.iter().all(|id| matches!(coordinator.depot.get(id), Ok(Lookup::Held(_)))));

    let (summary, events) = monitor.sync(&daemon.address);
    assert!(summary.unwrap().in_step && !compared(&events));
    daemon.stop();
}

#[test]
fn what_a_peer_has_dropped_is_not_fetched_and_costs_one_comparison_only() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    let dropped = coordinator.add(0, 1_500, 1_100);
    let held = coordinator.add(5_000, 60, 1_100);
    assert_eq!(coordinator.depot.forget(&dropped).unwrap(), 1_500);
    monitor.add(8_000, 40, 1_100);
    let daemon = start(&coordinator);

    let (summary, events) = monitor.sync(&daemon.address);
    let summary = summary.unwrap();
    assert!(summary.in_step && compared(&events));
    assert_eq!((summary.sent, summary.received), (40, 60));
    assert!(held.iter().all(|id| monitor.knows_entry(id)));
    assert!(!dropped.iter().any(|id| monitor.knows_entry(id)), "it was never here, and may still come");
    for _ in 0..2 {
        let (summary, events) = monitor.sync(&daemon.address);
        assert!(summary.unwrap().in_step && !compared(&events));
    }
    daemon.stop();

    // Somebody else has them, and delivers them.
    let daemon = start(&monitor);
    let other = device(3, 1, 5);
    assert_eq!(other.add(0, 1_500, 1_100), dropped);
    let summary = other.sync(&daemon.address).0.unwrap();
    assert!(summary.in_step);
    assert_eq!((summary.sent, summary.received), (1_500, 100));
    assert!(dropped.iter().all(|id| matches!(monitor.depot.get(id), Ok(Lookup::Held(_)))));
    daemon.stop();

    // They are not forced on the coordinator again, and nothing is to be compared.
    let daemon = start(&coordinator);
    let (summary, events) = monitor.sync(&daemon.address);
    let summary = summary.unwrap();
    assert!(summary.in_step && !compared(&events));
    assert_eq!((summary.sent, summary.received), (0, 0));
    assert!(dropped.iter().all(|id| coordinator.depot.get(id).unwrap() == Lookup::Gone));
    daemon.stop();
}
