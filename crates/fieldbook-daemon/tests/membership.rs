//! Who is let in, and how far: devices that slept, whose membership ran out, and that were removed. Over
//! real QUIC on loopback, with hand-made certificates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fieldbook_daemon::CourierEvent;
use fieldbook_daemon::control::{Ask, ask};
use fieldbook_depot::Depot;
use fieldbook_net::quic;
use fieldbook_net::tls::TransportKey;
use fieldbook_proto::DepotId;
use fieldbook_proto::certificate::{Certificate, Role};
use fieldbook_proto::session::{Hello, Limits, Side, TransportSecret};

mod team;
use team::{Device, Running, answer, certificate, device, keys, start};

/// Long ago.
const PAST: u64 = 1_000_000_000;

/// A coordinator that has rotated the transport secret five times: epochs 6 to 1, secrets 16 to 11.
fn coordinator() -> Device {
    let coordinator = device(1, 1, 0);
    coordinator.knows(&[(6, 16), (5, 15), (4, 14), (3, 13), (2, 12), (1, 11)]);
    coordinator
}

/// What a device gets back, byte for byte, that greets with this secret and certificate.
fn greeted(daemon: &Running, seed: u8, secret: u8, certificate: Certificate) -> Vec<u8> {
    answer(&daemon.address, seed, |binding| hello(secret, certificate, &binding))
}

fn hello(secret: u8, certificate: Certificate, binding: &[u8; 32]) -> Vec<u8> {
    let hello = Hello {
        version: 1,
        features: 0,
        depot: DepotId::from_bytes([9; 16]),
        known: 0,
        head: 0,
        certificate,
    };
    hello.seal(&TransportSecret::new(1, [secret; 32]), Side::Client, binding)
}

#[test]
fn a_device_that_slept_through_five_epochs_gets_in_when_it_dials() {
    let (coordinator, sleeper) = (coordinator(), device(2, 1, 11));
    let news = coordinator.add(0, 20, 1_300);
    let written = sleeper.add(1_000, 5, 1_300);
    let daemon = start(&coordinator);
    let (summary, _) = sleeper.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert!(news.iter().all(|id| sleeper.knows_entry(id)));
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));
    daemon.stop();
}

#[test]
fn of_two_secrets_of_one_epoch_either_lets_in() {
    let coordinator = coordinator();
    coordinator.knows(&[(6, 16), (6, 26), (5, 15)]);
    let daemon = start(&coordinator);
    for (seed, secret) in [(2, 16), (3, 26), (4, 15)] {
        let member = device(seed, 1, 0);
        member.knows(&[(6, secret)]);
        assert!(member.sync(&daemon.address).0.unwrap().in_step, "secret {secret}");
    }
    daemon.stop();
}

#[test]
fn a_removed_device_gets_not_one_byte_whatever_it_still_knows() {
    let coordinator = coordinator();
    coordinator.add(0, 20, 1_300);
    coordinator.hears_of_the_removal_of(3);
    let daemon = start(&coordinator);
    assert!(!greeted(&daemon, 2, 11, certificate(1, 2, Role::Monitor)).is_empty(), "the test can tell");
    for secret in [11, 13, 15, 16] {
        let got = greeted(&daemon, 3, secret, certificate(1, 3, Role::Monitor));
        assert_eq!(got, b"", "with secret {secret}, of an old epoch or the present one");
    }
    assert_eq!(greeted(&daemon, 3, 16, certificate(1, 2, Role::Monitor)), b"", "with another's certificate");
    assert_eq!(greeted(&daemon, 3, 16, certificate(3, 3, Role::Monitor)), b"", "with one of its own making");
    let forged = certificate(1, 2, Role::Monitor);
    let forged = Certificate::new(
        fieldbook_proto::certificate::CertificateBody { role: Role::Coordinator, ..forged.body().clone() },
        [7; 64],
    );
    assert_eq!(greeted(&daemon, 2, 16, forged), b"", "with a forged one");
    // And the whole program of it learns nothing either.
    let removed = device(3, 1, 16);
    let (summary, events) = removed.sync(&daemon.address);
    assert!(summary.is_none());
    assert!(matches!(&events[..], [CourierEvent::Trying(_), CourierEvent::Failed { answered: false, .. }]));
    assert_eq!(removed.depot.head().unwrap(), 0);
    daemon.stop();
}

#[test]
fn a_removed_device_that_listens_cannot_open_what_is_said_to_it() {
    // It knows all that it knew before the rotation; whoever dials has the new secret.
    let removed = device(3, 1, 15);
    removed.add(0, 3, 1_300);
    let daemon = start(&removed);
    let member = device(2, 1, 0);
    member.knows(&[(6, 16), (5, 15)]);
    member.add(1_000, 5, 1_300);
    let (summary, events) = member.sync(&daemon.address);
    assert!(summary.is_none());
    let tries = events.iter().filter(|event| matches!(event, CourierEvent::Trying(_))).count();
    assert_eq!(tries, 1, "nothing is said under an older secret");
    assert_eq!((removed.depot.peers().unwrap(), removed.depot.head().unwrap()), (vec![], 3));
    // Before the rotation has reached the member, the removal alone keeps it from going on.
    member.knows(&[(5, 15)]);
    member.hears_of_the_removal_of(3);
    let (summary, _) = member.sync(&daemon.address);
    assert!(summary.is_none());
    assert_eq!((removed.depot.head().unwrap(), member.depot.head().unwrap()), (3, 5));
    daemon.stop();
}

#[test]
fn a_late_device_that_dials_delivers_and_fetches_its_renewal_and_later_the_rest() {
    let (coordinator, late) = (coordinator(), device(2, 1, 11));
    let daemon = start(&coordinator);
    late.add(0, 3, 1_300);
    late.sync(&daemon.address).0.unwrap();

    let news = coordinator.add(100, 20, 1_300);
    let written = late.add(1_000, 5, 1_300);
    late.runs_out(2, PAST);
    let (summary, events) = late.sync(&daemon.address);
    let us = Limits { us: true, peer: false };
    let summary = summary.unwrap();
    assert_eq!((summary.limits, summary.in_step, summary.received), (us, false, 0), "no renewal yet");
    assert!(events.iter().any(|event| matches!(event, CourierEvent::RanOut { not_after: PAST })));
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));

    coordinator.depot.address_to(&keys(2).1.device_id(), &news[7..8]).unwrap();
    assert_eq!(late.sync(&daemon.address).0.unwrap().received, 1);
    assert_eq!(news.iter().filter(|id| late.knows_entry(id)).collect::<Vec<_>>(), [&news[7]]);

    late.runs_out(2, u64::MAX);
    let (summary, events) = late.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert!(!events.iter().any(|event| matches!(event, CourierEvent::Repairing)));
    assert!(news.iter().all(|id| late.knows_entry(id)));
    daemon.stop();
}

#[test]
fn a_late_device_that_is_dialled_is_told_no_more() {
    let (coordinator, late) = (coordinator(), device(2, 1, 0));
    late.knows(&[(6, 16)]);
    late.runs_out(2, PAST);
    let written = late.add(1_000, 5, 1_300);
    let news = coordinator.add(100, 20, 1_300);
    coordinator.depot.address_to(&keys(2).1.device_id(), &news[..2]).unwrap();
    let daemon = start(&late);
    let (summary, events) = coordinator.sync(&daemon.address);
    assert_eq!(summary.unwrap().limits, Limits { us: false, peer: true });
    assert!(events.iter().any(|event| matches!(event, CourierEvent::PeerRanOut { not_after: PAST })));
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));
    assert_eq!(news.iter().filter(|id| late.knows_entry(id)).count(), 2);
    late.runs_out(2, u64::MAX);
    assert!(coordinator.sync(&daemon.address).0.unwrap().in_step);
    daemon.stop();
}

/// Greets as member 2, says nothing more, and tells how the connection ended.
fn end_of_an_idle_session(daemon: &Running, meanwhile: impl FnOnce()) -> String {
    let key = TransportKey::new(&[2 ^ 0x80; 32], &keys(2).1.transport).unwrap();
    let target = daemon.address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = quic::dialler(&key, target, None).unwrap();
        let (connection, channel) = quic::dial(&endpoint, target, Duration::from_secs(10)).await.unwrap();
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        writer.write_all(&hello(16, certificate(1, 2, Role::Monitor), &channel.binding)).await.unwrap();
        // A length of two bytes, then the box.
        let mut greeting = [0; 338];
        reader.read_exact(&mut greeting).await.unwrap();
        meanwhile();
        connection.closed().await.to_string()
    })
}

#[test]
fn a_running_session_ends_when_the_daemon_is_nudged_after_a_removal() {
    let coordinator = coordinator();
    let daemon = start(&coordinator);
    // An idle session would be given up after a minute; this one ends at the nudge.
    let closed = end_of_an_idle_session(&daemon, || {
        let nudged = ask(&daemon.control, Ask::Nudge).unwrap().unwrap();
        assert_eq!(nudged.sessions_now, 1, "a nudge alone ends nothing");
        coordinator.hears_of_the_removal_of(2);
        ask(&daemon.control, Ask::Nudge).unwrap();
    });
    assert_eq!(closed, "closed by peer: 0", "and no reason is given");
    // Left alone it would have been given up as silent, and the client could not tell the difference.
    let log = daemon.stop();
    assert!(matches!(&log[..], [line] if line.contains("broke off") && !line.contains("silent")), "{log:?}");
}
