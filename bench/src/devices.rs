//! Devices of one team with their depots and nothing else, and daemons that serve one.

use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_daemon::control::{Ask, ask};
use fieldbook_daemon::{
    Carriers, CourierEvent, DaemonOptions, Outcome, Side, Ways, examine, run_courier, run_daemon, run_pipe,
};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::session::Summary;
use fieldbook_proto::{DepotId, DeskId, EntryId, TeamId};
use tempfile::TempDir;

use crate::sample;

/// Number of the device that is a relay.
pub const RELAY: u16 = 9_999;

/// A device.
pub struct Device {
    pub dir: TempDir,
    pub key: DepotKey,
    pub depot: SqlDepot,
}

fn seed(number: u16, of: u8) -> [u8; 32] {
    let mut seed = [of; 32];
    seed[..2].copy_from_slice(&number.to_le_bytes());
    seed
}

/// A device's signing key and its public keys.
pub fn keys(number: u16) -> Result<(SigningKey, DeviceKeys), Box<dyn Error>> {
    let signing = SigningKey::from_bytes(&seed(number, 1));
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: SigningKey::from_bytes(&seed(number, 2)).verifying_key().to_bytes(),
        recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).map_err(|e| format!("{e:?}"))?,
    };
    Ok((signing, keys))
}

/// Device 1 founded the team and certified the others.
pub fn certificate(number: u16) -> Result<Certificate, Box<dyn Error>> {
    let (founder, founder_keys) = keys(1)?;
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        keys: keys(number)?.1,
        role: match number {
            1 => Role::Coordinator,
            RELAY => Role::Relay,
            _ => Role::Monitor,
        },
        desk: DeskId::from_bytes([8; 16]),
        admitted: 1,
        not_after: u64::MAX,
        issuer: founder_keys.device_id(),
        serial: 0,
    };
    let signature = founder.sign(&body.signed_bytes()).to_bytes();
    Ok(Certificate::new(body, signature))
}

/// The key of a device's depot.
pub fn depot_key(number: u16) -> DepotKey {
    DepotKey::new(seed(number, 3))
}

impl Device {
    /// The device of a number.
    pub fn new(number: u16) -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let key = depot_key(number);
        let mut name = [0; 16];
        name[..2].copy_from_slice(&number.to_le_bytes());
        let depot = SqlDepot::create(&dir.path().join("depot"), &key, DepotId::from_bytes(name))?;
        let authority = Authority::new(certificate(1)?).map_err(|e| format!("{e:?}"))?;
        let mut secrets = Writer::new();
        secrets.u32(1).u32(1).raw(&[5; 32]);
        depot.set_setting("transport-seed", Some(&seed(number, 2)))?;
        depot.set_setting("certificate", Some(&certificate(number)?.encode()))?;
        depot.set_setting("authority", Some(&authority.encode()))?;
        depot.set_setting("transport-secrets", Some(&secrets.finish()))?;
        Ok(Self { dir, key, depot })
    }

    /// Puts entries of its own, numbered from `from`, into its depot.
    pub fn add(&self, from: u64, count: u64, len: usize) -> Result<(), Box<dyn Error>> {
        const BATCH: u64 = 1_000;
        let end = from + count;
        for first in (from..end).step_by(BATCH as usize) {
            let entries: Vec<Vec<u8>> =
                (first..end.min(first + BATCH)).map(|n| sample::noise(n, len)).collect();
            let batch: Vec<_> = entries
                .iter()
                .map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own })
                .collect();
            self.depot.put(&batch)?;
        }
        Ok(())
    }

    /// As [`Device::add`], for entries that are too large to be many at a time.
    pub fn add_one_by_one(&self, count: u64, len: usize) -> Result<(), Box<dyn Error>> {
        (0..count).try_for_each(|number| self.add(number, 1, len))
    }

    /// One session over the network, from the moment at which the other side is known.
    pub fn sync(&self, address: &str) -> Result<(Duration, Summary), Box<dyn Error>> {
        let mut met = None;
        let addresses = [address.to_owned()];
        let done = run_courier(self.depot.path(), &self.key, &addresses, Ways::Straight, |event| {
            watch(&mut met, &event);
        })?;
        finished(met, done)
    }

    /// How long after `start` this device had met whoever is at an address; then it hangs up.
    pub fn meet(&self, address: &str, start: Instant) -> Result<Duration, Box<dyn Error>> {
        let mut met = None;
        examine(self.depot.path(), &self.key, &[address.to_owned()], Ways::Straight, |examined| {
            if matches!(examined.outcome, Outcome::Met { .. }) {
                met = met.or(Some(start.elapsed()));
            }
        })?;
        Ok(met.ok_or("nobody was met")?)
    }

    /// One session over a pipe.
    pub fn sync_by_pipe(&self, other: &Self) -> Result<(Duration, Summary), Box<dyn Error>> {
        let (from_server, to_client) = std::io::pipe()?;
        let (from_client, to_server) = std::io::pipe()?;
        let ends: (OwnedFd, OwnedFd) = (from_client.into(), to_client.into());
        let (path, key) = (other.depot.path().to_owned(), other.key.clone());
        let serving = thread::spawn(move || run_pipe(&path, &key, Side::Server, ends, None, |_| {}).is_ok());
        let mut met = None;
        let ends = (from_server.into(), to_server.into());
        let done = run_pipe(self.depot.path(), &self.key, Side::Client, ends, None, |event| {
            watch(&mut met, &event)
        })?;
        let times = finished(met, done);
        match serving.join() {
            Ok(true) => times,
            _ => Err("the side that answers failed".into()),
        }
    }
}

fn watch(met: &mut Option<Instant>, event: &CourierEvent) {
    if matches!(event, CourierEvent::Met { .. }) {
        *met = Some(Instant::now());
    }
}

fn finished(met: Option<Instant>, done: Option<Summary>) -> Result<(Duration, Summary), Box<dyn Error>> {
    let met = met.ok_or("nobody was met")?;
    Ok((met.elapsed(), done.ok_or("no sync")?))
}

/// A daemon in a thread of its own.
pub struct Daemon {
    pub address: String,
    control: PathBuf,
    thread: thread::JoinHandle<bool>,
}

impl Daemon {
    /// Serves a device's depot.
    pub fn start(device: &Device, carriers: Carriers) -> Result<Self, Box<dyn Error>> {
        Self::start_in(device.dir.path(), &device.key, carriers)
    }

    /// Serves the depot in a folder.
    pub fn start_in(dir: &Path, key: &DepotKey, carriers: Carriers) -> Result<Self, Box<dyn Error>> {
        let control = dir.join("control");
        let options = DaemonOptions {
            depot_path: dir.join("depot"),
            depot_key: key.clone(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            calls: fieldbook_daemon::Calls::default(),
            carriers,
            control_socket: control.clone(),
            lock_path: dir.join("lock.net"),
            relay: false,
            veil: fieldbook_daemon::Veiling::default(),
        };
        let (sender, bound) = mpsc::channel();
        let thread = thread::spawn(move || {
            let tell = |bound: &[SocketAddr]| {
                // Nobody waits any more if it cannot be told.
                let _ = sender.send(bound.first().copied());
            };
            run_daemon(options, tell, |_| {}).is_ok()
        });
        let address = bound.recv()?.ok_or("nothing is bound")?;
        Ok(Self { address: address.to_string(), control, thread })
    }

    /// Ends it.
    pub fn stop(self) -> Result<(), Box<dyn Error>> {
        ask(&self.control, Ask::Stop)?;
        self.thread.join().map_err(|_| "the daemon failed")?;
        Ok(())
    }
}
