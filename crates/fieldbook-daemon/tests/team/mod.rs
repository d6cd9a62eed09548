//! Devices of a team whose coordinator is 1, with hand-made certificates, and their daemons on loopback.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_daemon::control::{Ask, DaemonStatus, ask};
use fieldbook_daemon::{
    Calls, Carriers, CourierEvent, DaemonError, DaemonOptions, Ways, run_courier, run_daemon,
};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot, cipher};
use fieldbook_net::quic;
use fieldbook_net::tls::TransportKey;
use fieldbook_proto::certificate::{
    Act, Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Removal, Role,
};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::session::Summary;
use fieldbook_proto::{DepotId, DeskId, EntryId, TeamId};
use rusqlite::types::ValueRef;
use tempfile::TempDir;

pub struct Device {
    pub dir: TempDir,
    pub key: DepotKey,
    pub depot: SqlDepot,
}

pub fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let transport = SigningKey::from_bytes(&[seed ^ 0x80; 32]);
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: transport.verifying_key().to_bytes(),
        recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap(),
    };
    (signing, keys)
}

pub fn certificate(issuer: u8, subject: u8, role: Role) -> Certificate {
    certificate_until(issuer, subject, role, u64::MAX)
}

pub fn certificate_until(issuer: u8, subject: u8, role: Role, not_after: u64) -> Certificate {
    let (signer, issuer_keys) = keys(issuer);
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        keys: keys(subject).1,
        role,
        desk: DeskId::from_bytes([8; 16]),
        admitted: 1,
        not_after,
        issuer: issuer_keys.device_id(),
        serial: 0,
    };
    let signature = signer.sign(&body.signed_bytes()).to_bytes();
    Certificate::new(body, signature)
}

/// The coordinator removes this device.
fn removal(device: u8) -> Removal {
    let (coordinator, coordinator_keys) = keys(1);
    let mut removal = Removal {
        team: TeamId::from_bytes([7; 16]),
        issuer: coordinator_keys.device_id(),
        sequence: 5,
        device: keys(device).1.device_id(),
        act: Act::Removed,
        cut: 3,
        cut_entry: None,
        keeps: Vec::new(),
        honours: Vec::new(),
        time_s: 2,
        signature: [0; 64],
    };
    removal.signature = coordinator.sign(&removal.signed_bytes()).to_bytes();
    removal
}

/// A device of the team whose coordinator is 1: `issuer` signed it, `secret` is what it knows.
pub fn device(seed: u8, issuer: u8, secret: u8) -> Device {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([seed; 32]);
    let depot = SqlDepot::create(&dir.path().join("depot"), &key, DepotId::from_bytes([seed; 16])).unwrap();
    let role = if seed == 1 { Role::Coordinator } else { Role::Monitor };
    let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    depot.set_setting("transport-seed", Some(&[seed ^ 0x80; 32])).unwrap();
    depot.set_setting("certificate", Some(&certificate(issuer, seed, role).encode())).unwrap();
    depot.set_setting("authority", Some(&authority.encode())).unwrap();
    let device = Device { dir, key, depot };
    device.knows(&[(1, secret)]);
    device
}

impl Device {
    /// Its transport secrets from now on, newest first: epoch and secret.
    pub fn knows(&self, secrets: &[(u32, u8)]) {
        let mut writer = Writer::new();
        writer.u32(u32::try_from(secrets.len()).unwrap());
        for (epoch, secret) in secrets {
            writer.u32(*epoch).raw(&[*secret; 32]);
        }
        self.depot.set_setting("transport-secrets", Some(&writer.finish())).unwrap();
    }

    /// Its membership runs out then, in seconds since 1970.
    pub fn runs_out(&self, seed: u8, not_after: u64) {
        let role = if seed == 1 { Role::Coordinator } else { Role::Monitor };
        let certificate = certificate_until(1, seed, role, not_after);
        self.depot.set_setting("certificate", Some(&certificate.encode())).unwrap();
    }

    /// It learns that a device was removed.
    pub fn hears_of_the_removal_of(&self, device: u8) {
        let mut authority = Authority::decode(&self.depot.setting("authority").unwrap().unwrap()).unwrap();
        assert!(authority.add_removal(removal(device)).unwrap());
        self.depot.set_setting("authority", Some(&authority.encode())).unwrap();
    }

    pub fn knows_entry(&self, id: &EntryId) -> bool {
        self.depot.position(id).unwrap().is_some()
    }

    pub fn path(&self) -> PathBuf {
        self.depot.path().to_owned()
    }

    /// Adds entries of its own; their ids.
    pub fn add(&self, from: usize, count: usize, size: usize) -> Vec<EntryId> {
        let entries: Vec<Vec<u8>> = (from..from + count)
            .map(|n| n.to_be_bytes().iter().copied().cycle().take(size).collect())
            .collect();
        let batch: Vec<Incoming<'_>> = entries
            .iter()
            .map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own })
            .collect();
        assert_eq!(self.depot.put(&batch).unwrap().added, count);
        batch.iter().map(|incoming| incoming.id).collect()
    }

    fn rows(&self) -> Vec<(String, Vec<Vec<u8>>)> {
        let db = cipher::open_database(&self.path(), self.key.as_bytes(), false).unwrap();
        let mut tables =
            db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
        let tables: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let mut all = Vec::new();
        for table in tables {
            let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            let mut found = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                let mut bytes = Vec::new();
                for column in 0..columns {
                    if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column).unwrap() {
                        bytes.extend_from_slice(value);
                    }
                    bytes.push(b'\n');
                }
                found.push(bytes);
            }
            all.push((table, found));
        }
        all
    }

    /// Every byte in every table of its depot.
    pub fn everything(&self) -> Vec<u8> {
        self.rows().into_iter().flat_map(|(_, rows)| rows.concat()).collect()
    }

    /// The tables, each with the lengths of its rows.
    pub fn shape(&self) -> Vec<(String, Vec<usize>)> {
        self.rows().into_iter().map(|(table, rows)| (table, rows.iter().map(Vec::len).collect())).collect()
    }

    pub fn sync(&self, address: &str) -> (Option<Summary>, Vec<CourierEvent>) {
        self.sync_by(Ways::Straight, address)
    }

    pub fn sync_by(&self, ways: Ways, address: &str) -> (Option<Summary>, Vec<CourierEvent>) {
        let mut events = Vec::new();
        let summary =
            run_courier(&self.path(), &self.key, &[address.to_owned()], ways, |event| events.push(event))
                .unwrap();
        (summary, events)
    }
}

pub struct Running {
    pub address: String,
    pub control: PathBuf,
    log: mpsc::Receiver<String>,
    thread: JoinHandle<Result<(), DaemonError>>,
}

pub fn start(device: &Device) -> Running {
    start_by(device, Carriers::default())
}

pub fn start_by(device: &Device, carriers: Carriers) -> Running {
    start_with(device, carriers, Calls::default())
}

pub fn start_with(device: &Device, carriers: Carriers, calls: Calls) -> Running {
    run(device, SocketAddr::from(([127, 0, 0, 1], 0)), carriers, calls)
}

pub fn start_at(device: &Device, address: SocketAddr, carriers: Carriers) -> Running {
    run(device, address, carriers, Calls::default())
}

fn run(device: &Device, address: SocketAddr, carriers: Carriers, calls: Calls) -> Running {
    let control = device.dir.path().join("control");
    let options = DaemonOptions {
        depot_path: device.path(),
        depot_key: device.key.clone(),
        listen: vec![address],
        carriers,
        calls,
        control_socket: control.clone(),
        lock_path: device.dir.path().join("lock.net"),
        relay: false,
        // What is said to a daemon is looked at in plain QUIC and plain TLS; devices sync behind the veil.
        veil: fieldbook_daemon::Veiling { unveiled_too: true, ..fieldbook_daemon::Veiling::default() },
    };
    let (sender, bound) = mpsc::channel();
    let (logger, log) = mpsc::channel();
    let say = move |line: &str| drop(logger.send(line.to_owned()));
    let thread = thread::spawn(move || run_daemon(options, |bound| sender.send(bound[0]).unwrap(), say));
    Running { address: bound.recv().unwrap().to_string(), control, log, thread }
}

impl Running {
    /// Stops it; what it logged.
    pub fn stop(self) -> Vec<String> {
        assert!(ask(&self.control, Ask::Stop).unwrap().is_some());
        self.thread.join().unwrap().unwrap();
        self.log.iter().collect()
    }
}

/// What a client that says `hello` over a true connection gets back, byte for byte.
pub fn answer(address: &str, seed: u8, hello: impl FnOnce([u8; 32]) -> Vec<u8>) -> Vec<u8> {
    let public = keys(seed).1.transport;
    let key = TransportKey::new(&[seed ^ 0x80; 32], &public).unwrap();
    let target = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = quic::dialler(&key, target, None).unwrap();
        let (connection, channel) = quic::dial(&endpoint, target, Duration::from_secs(10)).await.unwrap();
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        writer.write_all(&hello(channel.binding)).await.unwrap();
        let mut got = vec![0; 1_000];
        let len = reader.read(&mut got).await.unwrap_or_default().unwrap_or_default();
        got.truncate(len);
        got
    })
}

/// Asks until it is as wanted.
pub fn wait_for_status(daemon: &Running, wanted: impl Fn(&DaemonStatus) -> bool) -> DaemonStatus {
    for _ in 0..3_000 {
        let status = ask(&daemon.control, Ask::Status).unwrap().unwrap();
        if wanted(&status) {
            return status;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {:?}", ask(&daemon.control, Ask::Status))
}
