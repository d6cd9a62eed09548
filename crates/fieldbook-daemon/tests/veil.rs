//! The veil between daemons and couriers: secrets of other times, and what is kept on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::{Carriers, CourierEvent, Way};
use fieldbook_depot::Depot as _;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::codec::Writer;

mod team;
use team::{Device, certificate, device, start_by};

const UDP: Carriers = Carriers { udp: true, tcp: false };
const TCP: Carriers = Carriers { udp: false, tcp: true };

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
    a_relay_that_has_slept_is_reached(UDP, Way::Quic);
}

#[test]
fn by_tcp_too_a_relay_that_has_slept_is_reached_by_whoever_knows_it_and_by_nobody_else() {
    a_relay_that_has_slept_is_reached(TCP, Way::Tcp);
}

fn a_relay_that_has_slept_is_reached(carriers: Carriers, way: Way) {
    let (coordinator, relay) = (device(1, 1, 0), relay());
    coordinator.knows(&[(3, 13), (2, 12), (1, 11)]);
    let news = coordinator.add(0, 5, 1_300);
    let daemon = start_by(&relay, carriers);
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.is_none() && met_by(&events).is_none(), "{events:?}");
    let mut relays = Writer::new();
    relays.u32(1).bytes(&certificate(1, 3, Role::Relay).encode());
    coordinator.depot.set_setting("relays", Some(&relays.finish())).unwrap();
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert_eq!(met_by(&events), Some(way));
    assert!(news.iter().all(|id| relay.knows_entry(id)));
    // Who listens there and is no relay that this device knows is told nothing, whatever secret it has.
    daemon.stop();
    let other = device(4, 1, 11);
    let daemon = start_by(&other, carriers);
    let (summary, events) = coordinator.sync(&daemon.address);
    assert!(summary.is_none() && met_by(&events).is_none(), "{events:?}");
    daemon.stop();
}

#[test]
fn a_daemon_learns_of_a_new_secret_while_it_runs() {
    a_new_secret_is_learnt(UDP, Way::Quic);
    a_new_secret_is_learnt(TCP, Way::Tcp);
}

fn a_new_secret_is_learnt(carriers: Carriers, way: Way) {
    let (coordinator, monitor) = (device(1, 1, 11), device(2, 1, 12));
    let daemon = start_by(&coordinator, carriers);
    assert!(monitor.sync(&daemon.address).0.is_none());
    coordinator.knows(&[(2, 12), (1, 11)]);
    fieldbook_daemon::control::ask(&daemon.control, fieldbook_daemon::control::Ask::Nudge).unwrap();
    let (summary, events) = monitor.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert_eq!(met_by(&events), Some(way));
    daemon.stop();
}

#[test]
fn what_the_veil_keeps_looks_the_same_whoever_came() {
    let kept = |met: usize, carriers| {
        let coordinator = device(1, 1, 5);
        let monitors: Vec<Device> = (0..met).map(|n| device(2 + u8::try_from(n).unwrap(), 1, 5)).collect();
        let daemon = start_by(&coordinator, carriers);
        monitors.iter().for_each(|monitor| assert!(monitor.sync(&daemon.address).0.is_some()));
        daemon.stop();
        coordinator.depot.setting("veil").unwrap().expect("a memory")
    };
    for memory in [kept(0, UDP), kept(3, UDP), kept(0, TCP), kept(3, TCP)] {
        assert_eq!(memory.len(), 32_768);
        let zeros = memory.iter().filter(|byte| **byte == 0).count();
        assert!((64..192).contains(&zeros), "{zeros} of 32,768 bytes are zero");
    }
}

/// Whoever is not of the team has a stranger's place for a stranger's term, whatever it sends and however slowly, and
/// hears nothing; and is let go in the same way.
#[test]
fn by_tcp_all_strangers_have_the_same_time_and_hear_nothing() {
    let (coordinator, monitor) = (device(1, 1, 11), device(2, 1, 11));
    let daemon = start_by(&coordinator, TCP);
    let beginnings: [&[u8]; 5] = [&[], &[7; 1], &[7; 127], &[7; 128], &[7; 50_000]];
    let began = Instant::now();
    let mut streams: Vec<TcpStream> = beginnings
        .iter()
        .cycle()
        .take(40)
        .map(|beginning| {
            let mut stream = TcpStream::connect(&daemon.address).unwrap();
            stream.write_all(beginning).unwrap();
            stream
        })
        .collect();
    let mut drip = streams.pop().unwrap().try_clone().unwrap();
    let dripping = thread::spawn(move || {
        // As long as anybody reads it.
        while began.elapsed() < Duration::from_secs(60) && drip.write_all(&[7]).is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
        began.elapsed()
    });
    let written = monitor.add(0, 5, 1_300);
    assert!(monitor.sync(&daemon.address).0.unwrap().in_step);
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));
    for mut stream in streams {
        let mut heard = Vec::new();
        // In order, not with a reset, which would tell how much was read.
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard.is_empty() && began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert!(dripping.join().unwrap() < Duration::from_secs(60), "whoever drips is let go");
    daemon.stop();
}
