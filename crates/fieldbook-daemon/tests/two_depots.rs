//! A daemon and a courier over real QUIC on loopback, with hand-made certificates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use fieldbook_daemon::{Carriers, CourierEvent, DaemonError, DaemonOptions, run_daemon};
use fieldbook_depot::Depot;
use fieldbook_proto::DepotId;
use fieldbook_proto::certificate::{Certificate, Role};
use fieldbook_proto::session::{Hello, Side, TransportSecret};

mod team;
use team::{answer, certificate, device, keys, start};

#[test]
fn entries_go_both_ways_once_and_later_only_what_is_new() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    coordinator.add(0, 20, 1_300);
    monitor.add(1_000, 1_000, 2_048);
    monitor.add(5_000, 3, 900_000);
    let daemon = start(&coordinator);

    let (first, _) = monitor.sync(&daemon.address);
    let first = first.unwrap();
    assert!(first.in_step);
    assert_eq!((first.sent, first.received), (1_003, 20));
    assert_eq!(coordinator.depot.fingerprint().unwrap(), monitor.depot.fingerprint().unwrap());
    assert_eq!(monitor.depot.peers().unwrap()[0].holds_position, monitor.depot.head().unwrap());

    monitor.add(9_000, 10, 2_048);
    let again = monitor.sync(&daemon.address).0.unwrap();
    assert!(again.in_step);
    assert_eq!((again.sent, again.received), (10, 0));

    let nothing = monitor.sync(&daemon.address).0.unwrap();
    assert!(nothing.in_step);
    assert_eq!((nothing.sent, nothing.received), (0, 0));
    // The client ends a moment before the daemon has counted.
    let status = team::wait_for_status(&daemon, |status| status.sessions_done == 3);
    assert_eq!(status.received, 1_013);
    daemon.stop();
}

#[test]
fn two_monitors_carry_for_each_other_and_keep_no_name() {
    let (here, there) = (device(2, 1, 5), device(3, 1, 5));
    here.add(0, 1_000, 1_300);
    there.add(5_000, 1_000, 1_300);
    let daemon = start(&here);
    let first = there.sync(&daemon.address).0.unwrap();
    assert!(first.in_step);
    assert_eq!((first.sent, first.received), (1_000, 1_000), "nothing is sent back");
    there.add(9_000, 10, 2_048);
    here.add(8_000, 5, 2_048);
    let (again, events) = there.sync(&daemon.address);
    let again = again.unwrap();
    assert_eq!((again.sent, again.received, again.in_step), (10, 5, true), "only what is new");
    assert!(again.round_trips <= 2, "{again:?}");
    assert!(events.iter().any(|event| matches!(event, CourierEvent::Met { device: None, .. })), "{events:?}");
    let log = daemon.stop();
    assert!(log.iter().any(|line| line.contains("another device of the team")), "{log:?}");
    for (own, other, seed) in [(&here, &there, 3), (&there, &here, 2)] {
        let peers = own.depot.peers().unwrap();
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].device, peers[0].address.as_deref()), (None, None));
        assert_eq!(peers[0].holds_position, own.depot.head().unwrap(), "and it knows that all is carried");
        let bytes = own.everything();
        let id = keys(seed).1.device_id();
        for word in
            [&id.as_bytes()[..], id.short().as_bytes(), &keys(seed).1.transport, &keys(seed).1.signing]
        {
            assert!(!bytes.windows(word.len()).any(|window| window == word));
        }
        assert_eq!(other.depot.head().unwrap(), own.depot.head().unwrap());
    }

    // A coordinator is named, at both ends.
    let coordinator = device(1, 1, 5);
    let daemon = start(&coordinator);
    assert!(here.sync(&daemon.address).0.unwrap().in_step);
    daemon.stop();
    let names = |device: &team::Device| -> Vec<_> {
        device.depot.peers().unwrap().into_iter().filter_map(|peer| peer.device).collect()
    };
    assert_eq!(names(&here), [keys(1).1.device_id()]);
    assert_eq!(names(&coordinator), [keys(2).1.device_id()]);
    assert!(here.everything().windows(32).any(|window| window == keys(1).1.device_id().as_bytes()));
}

#[test]
fn how_many_monitors_were_met_cannot_be_seen() {
    let here = device(2, 1, 5);
    here.add(0, 3, 1_300);
    let daemon = start(&here);
    let mut shapes = Vec::new();
    for seed in 3..9 {
        let other = device(seed, 1, 5);
        assert!(other.sync(&daemon.address).0.unwrap().in_step);
        shapes.push(here.shape());
    }
    daemon.stop();
    assert_eq!(shapes.first(), shapes.last(), "the tables hold as many rows, of the same length");
}

#[test]
fn who_is_not_of_the_team_gets_no_entry_and_no_word() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 20, 1_300);
    let daemon = start(&coordinator);
    // The right secret but a certificate that it signed itself; a true certificate without the secret.
    for stranger in [device(3, 3, 5), device(2, 1, 6)] {
        let (summary, events) = stranger.sync(&daemon.address);
        assert!(summary.is_none());
        assert!(
            matches!(&events[..], [CourierEvent::Trying(_), CourierEvent::Failed { answered: false, .. }]),
            "{events:?}"
        );
        assert_eq!(stranger.depot.head().unwrap(), 0);
    }
    daemon.stop();
}

#[test]
fn a_stranger_receives_not_one_byte_and_a_member_does() {
    let coordinator = device(1, 1, 5);
    let daemon = start(&coordinator);
    let say = |seed, certificate: Certificate, secret| {
        answer(&daemon.address, seed, |binding| {
            let depot = DepotId::from_bytes([9; 16]);
            let hello = Hello { version: 1, features: 0, depot, known: 0, head: 0, certificate };
            hello.seal(&TransportSecret::new(1, [secret; 32]), Side::Client, &binding)
        })
    };
    let member = || certificate(1, 2, Role::Monitor);
    assert!(!say(2, member(), 5).is_empty(), "the test can tell");
    assert_eq!(say(2, member(), 6), b"", "without the team's secret");
    assert_eq!(say(3, certificate(3, 3, Role::Monitor), 5), b"", "with a certificate of its own making");
    assert_eq!(say(3, member(), 5), b"", "with another device's certificate");
    assert_eq!(answer(&daemon.address, 2, |_| vec![0x16; 600]), b"", "with noise");
    daemon.stop();
}

#[test]
fn a_second_daemon_is_refused_and_nobody_there_is_said() {
    let coordinator = device(1, 1, 5);
    let daemon = start(&coordinator);
    let options = DaemonOptions {
        depot_path: coordinator.path(),
        depot_key: coordinator.key.clone(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        calls: fieldbook_daemon::Calls::default(),
        carriers: Carriers::default(),
        control_socket: coordinator.dir.path().join("other"),
        lock_path: coordinator.dir.path().join("lock.net"),
        relay: false,
        veil: fieldbook_daemon::Veiling::default(),
    };
    assert!(matches!(run_daemon(options, |_| {}, |_| {}), Err(DaemonError::InUse)));
    daemon.stop();
    // Where nobody listens: the port of before may be another test's by now.
    let (summary, events) = device(2, 1, 5).sync("127.0.0.1:9");
    assert!(summary.is_none());
    assert!(
        matches!(&events[..], [CourierEvent::Trying(_), CourierEvent::Failed { answered: false, .. }]),
        "{events:?}"
    );
}
