//! A daemon and a courier over real QUIC on loopback, with hand-made certificates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_daemon::control::{Ask, ask};
use fieldbook_daemon::{CourierEvent, DaemonError, DaemonOptions, run_courier, run_daemon};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_net::quic;
use fieldbook_net::tls::TransportKey;
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::session::{Hello, Side, Summary, TransportSecret};
use fieldbook_proto::{DepotId, DeskId, EntryId, TeamId};
use tempfile::TempDir;

struct Device {
    dir: TempDir,
    key: DepotKey,
    depot: SqlDepot,
}

fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let transport = SigningKey::from_bytes(&[seed ^ 0x80; 32]);
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: transport.verifying_key().to_bytes(),
        recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap(),
    };
    (signing, keys)
}

fn certificate(issuer: u8, subject: u8, role: Role) -> Certificate {
    let (signer, issuer_keys) = keys(issuer);
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        keys: keys(subject).1,
        role,
        desk: DeskId::from_bytes([8; 16]),
        admitted: 1,
        not_after: u64::MAX,
        issuer: issuer_keys.device_id(),
    };
    let signature = signer.sign(&body.signed_bytes()).to_bytes();
    Certificate::new(body, signature)
}

/// A device of the team whose coordinator is 1: `issuer` signed it, `secret` is what it knows.
fn device(seed: u8, issuer: u8, secret: u8) -> Device {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([seed; 32]);
    let depot = SqlDepot::create(&dir.path().join("depot"), &key, DepotId::from_bytes([seed; 16])).unwrap();
    let role = if seed == 1 { Role::Coordinator } else { Role::Monitor };
    let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    depot.set_setting("transport-seed", Some(&[seed ^ 0x80; 32])).unwrap();
    depot.set_setting("certificate", Some(&certificate(issuer, seed, role).encode())).unwrap();
    depot.set_setting("authority", Some(&authority.encode())).unwrap();
    let secrets = Writer::new().u32(1).u32(1).raw(&[secret; 32]).finish();
    depot.set_setting("transport-secrets", Some(&secrets)).unwrap();
    Device { dir, key, depot }
}

impl Device {
    fn path(&self) -> PathBuf {
        self.depot.path().to_owned()
    }

    fn add(&self, from: usize, count: usize, size: usize) {
        let entries: Vec<Vec<u8>> = (from..from + count)
            .map(|n| n.to_be_bytes().iter().copied().cycle().take(size).collect())
            .collect();
        let batch: Vec<Incoming<'_>> = entries
            .iter()
            .map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own })
            .collect();
        assert_eq!(self.depot.put(&batch).unwrap().added, count);
    }

    fn sync(&self, address: &str) -> (Option<Summary>, Vec<CourierEvent>) {
        let mut events = Vec::new();
        let summary =
            run_courier(&self.path(), &self.key, &[address.to_owned()], |event| events.push(event)).unwrap();
        (summary, events)
    }
}

struct Running {
    address: String,
    control: PathBuf,
    thread: JoinHandle<Result<(), DaemonError>>,
}

fn start(device: &Device) -> Running {
    let control = device.dir.path().join("control");
    let options = DaemonOptions {
        depot_path: device.path(),
        depot_key: device.key.clone(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        control_socket: control.clone(),
        lock_path: device.dir.path().join("lock.net"),
    };
    let (sender, bound) = mpsc::channel();
    let thread = thread::spawn(move || run_daemon(options, |bound| sender.send(bound[0]).unwrap(), |_| {}));
    Running { address: bound.recv().unwrap().to_string(), control, thread }
}

impl Running {
    fn stop(self) {
        assert!(ask(&self.control, Ask::Stop).unwrap().is_some());
        self.thread.join().unwrap().unwrap();
    }
}

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
    let status = ask(&daemon.control, Ask::Status).unwrap().unwrap();
    assert_eq!((status.sessions_done, status.received), (3, 1_013));
    daemon.stop();
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

/// What a client that says `hello` over a true connection gets back, byte for byte.
fn answer(address: &str, seed: u8, hello: impl FnOnce([u8; 32]) -> Vec<u8>) -> Vec<u8> {
    let public = keys(seed).1.transport;
    let key = TransportKey::new(&[seed ^ 0x80; 32], &public).unwrap();
    let target = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = quic::dialler(&key, target).unwrap();
        let (connection, channel) = quic::dial(&endpoint, target, Duration::from_secs(10)).await.unwrap();
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        writer.write_all(&hello(channel.binding)).await.unwrap();
        let mut got = vec![0; 1_000];
        let len = reader.read(&mut got).await.unwrap_or_default().unwrap_or_default();
        got.truncate(len);
        got
    })
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
        control_socket: coordinator.dir.path().join("other"),
        lock_path: coordinator.dir.path().join("lock.net"),
    };
    assert!(matches!(run_daemon(options, |_| {}, |_| {}), Err(DaemonError::InUse)));
    let address = daemon.address.clone();
    daemon.stop();
    let (summary, events) = device(2, 1, 5).sync(&address);
    assert!(summary.is_none());
    assert!(
        matches!(&events[..], [CourierEvent::Trying(_), CourierEvent::Failed { answered: false, .. }]),
        "{events:?}"
    );
}
