//! The veil between daemons and couriers: secrets of other times, and what is kept on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use fieldbook_daemon::{Carriers, CourierEvent, Way};
use fieldbook_depot::Depot as _;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::codec::Writer;

mod team;
use team::{Device, certificate, device, start_by};

const UDP: Carriers = Carriers { udp: true, tcp: false };

/// A relay that has heard of the first secret only.
fn relay() -> Device {
    let relay = device(3, 1, 11);
    relay.depot.set_setting("certificate", Some(&certificate(1, 3, Role::Relay).encode())).unwrap();
    relay
}

fn met_by(events: &[CourierEvent]) -> Option<Way> {
    events.iter().find_map(|event| match event {
        CourierEvent::Met { way, .. } => Some(*way),
        _ => None,
    })
}

#[test]
fn a_relay_that_has_slept_is_reached_behind_the_veil_by_whoever_knows_it_and_by_nobody_else() {
    let (coordinator, relay) = (device(1, 1, 0), relay());
    coordinator.knows(&[(3, 13), (2, 12), (1, 11)]);
    let news = coordinator.add(0, 5, 1_300);
    let daemon = start_by(&relay, UDP);
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.is_none() && met_by(&events).is_none(), "{events:?}");
    let mut relays = Writer::new();
    relays.u32(1).bytes(&certificate(1, 3, Role::Relay).encode());
    coordinator.depot.set_setting("relays", Some(&relays.finish())).unwrap();
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert_eq!(met_by(&events), Some(Way::Quic));
    assert!(news.iter().all(|id| relay.knows_entry(id)));
    // Who listens there and is no relay that this device knows is told nothing, whatever secret it has.
    daemon.stop();
    let other = device(4, 1, 11);
    let daemon = start_by(&other, UDP);
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.is_none() && met_by(&events).is_none(), "{events:?}");
    daemon.stop();
}

#[test]
fn a_daemon_learns_of_a_new_secret_while_it_runs() {
    let (coordinator, monitor) = (device(1, 1, 11), device(2, 1, 12));
    let daemon = start_by(&coordinator, UDP);
    assert!(monitor.sync(&daemon.address).0.is_none());
    coordinator.knows(&[(2, 12), (1, 11)]);
    fieldbook_daemon::control::ask(&daemon.control, fieldbook_daemon::control::Ask::Nudge).unwrap();
    let (summary, events) = monitor.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert_eq!(met_by(&events), Some(Way::Quic));
    daemon.stop();
}

#[test]
fn what_the_veil_keeps_looks_the_same_whoever_came() {
    let kept = |met: usize| {
        let coordinator = device(1, 1, 5);
        let monitors: Vec<Device> = (0..met).map(|n| device(2 + u8::try_from(n).unwrap(), 1, 5)).collect();
        let daemon = start_by(&coordinator, UDP);
        monitors.iter().for_each(|monitor| assert!(monitor.sync(&daemon.address).0.is_some()));
        daemon.stop();
        coordinator.depot.setting("veil").unwrap().expect("a memory")
    };
    let (nobody, three) = (kept(0), kept(3));
    assert_eq!((nobody.len(), three.len()), (32_768, 32_768));
    for memory in [nobody, three] {
        let zeros = memory.iter().filter(|byte| **byte == 0).count();
        assert!((64..192).contains(&zeros), "{zeros} of 32,768 bytes are zero");
    }
}
