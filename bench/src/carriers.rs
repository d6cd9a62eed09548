//! The same session over QUIC, over TCP and over a pipe, between two depots, in one run.
//!
//! Timed is the session: from the moment at which the client knows whom it met until the courier has nothing
//! more to do, when everything is durable on the other side. What comes before (QUIC's head start above all)
//! is not a matter of bytes.

use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_daemon::control::{Ask, ask};
use fieldbook_daemon::{
    Carriers, CourierEvent, DaemonOptions, Side, Ways, run_courier, run_daemon, run_pipe,
};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use fieldbook_proto::codec::Writer;
use fieldbook_proto::session::Summary;
use fieldbook_proto::{DepotId, DeskId, EntryId, TeamId};
use tempfile::TempDir;

use crate::sample;

/// Entries of the first session, and their size in bytes.
const ENTRIES: usize = 10_000;
const SIZE: usize = 1_900;
/// How many more come later, and how often that is repeated.
const NEW: usize = 10;
const ROUNDS: usize = 9;

pub fn run() -> Result<(), Box<dyn Error>> {
    println!(
        "One session of {ENTRIES} entries of {SIZE} bytes, then of {NEW} more (median of {ROUNDS}), durable on arrival"
    );
    println!("| carrier | {ENTRIES} entries | against QUIC | {NEW} new | round trips |");
    println!("|---|---|---|---|---|");
    let mut first = None;
    for (name, way) in [("QUIC", By::Quic), ("TLS over TCP", By::Tcp), ("TLS over a pipe", By::Pipe)] {
        let (bulk, ten, round_trips) = measure(way)?;
        let quic = *first.get_or_insert(bulk);
        println!(
            "| {name} | {:.0} ms | {:.2} | {:.1} ms | {round_trips} |",
            bulk.as_secs_f64() * 1e3,
            bulk.as_secs_f64() / quic.as_secs_f64(),
            ten.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum By {
    Quic,
    Tcp,
    Pipe,
}

fn measure(by: By) -> Result<(Duration, Duration, u64), Box<dyn Error>> {
    let (coordinator, monitor) = (Device::new(1)?, Device::new(2)?);
    let daemon = match by {
        By::Quic => Some(Daemon::start(&coordinator, Carriers { udp: true, tcp: false })?),
        By::Tcp => Some(Daemon::start(&coordinator, Carriers { udp: false, tcp: true })?),
        By::Pipe => None,
    };
    let session = || match &daemon {
        Some(daemon) => monitor.sync(&daemon.address),
        None => monitor.sync_by_pipe(&coordinator),
    };
    monitor.add(0, ENTRIES)?;
    let (bulk, summary) = session()?;
    if summary.sent != ENTRIES as u64 || !summary.in_step {
        return Err(format!("only {} arrived", summary.sent).into());
    }
    let mut times = Vec::new();
    let mut round_trips = 0;
    for round in 0..ROUNDS {
        monitor.add(ENTRIES + round * NEW, NEW)?;
        let (time, summary) = session()?;
        round_trips = summary.round_trips;
        times.push(time);
    }
    if let Some(daemon) = daemon {
        daemon.stop()?;
    }
    Ok((bulk, sample::median(&mut times), round_trips))
}

struct Device {
    dir: TempDir,
    key: DepotKey,
    depot: SqlDepot,
}

fn keys(seed: u8) -> Result<(SigningKey, DeviceKeys), Box<dyn Error>> {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: SigningKey::from_bytes(&[seed ^ 0x80; 32]).verifying_key().to_bytes(),
        recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).map_err(|e| format!("{e:?}"))?,
    };
    Ok((signing, keys))
}

/// Device 1 founded the team and certified the others.
fn certificate(seed: u8) -> Result<Certificate, Box<dyn Error>> {
    let (founder, founder_keys) = keys(1)?;
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        keys: keys(seed)?.1,
        role: if seed == 1 { Role::Coordinator } else { Role::Monitor },
        desk: DeskId::from_bytes([8; 16]),
        admitted: 1,
        not_after: u64::MAX,
        issuer: founder_keys.device_id(),
        serial: 0,
    };
    let signature = founder.sign(&body.signed_bytes()).to_bytes();
    Ok(Certificate::new(body, signature))
}

impl Device {
    fn new(seed: u8) -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let key = DepotKey::new([seed; 32]);
        let depot = SqlDepot::create(&dir.path().join("depot"), &key, DepotId::from_bytes([seed; 16]))?;
        let authority = Authority::new(certificate(1)?).map_err(|e| format!("{e:?}"))?;
        let mut secrets = Writer::new();
        secrets.u32(1).u32(1).raw(&[5; 32]);
        depot.set_setting("transport-seed", Some(&[seed ^ 0x80; 32]))?;
        depot.set_setting("certificate", Some(&certificate(seed)?.encode()))?;
        depot.set_setting("authority", Some(&authority.encode()))?;
        depot.set_setting("transport-secrets", Some(&secrets.finish()))?;
        Ok(Self { dir, key, depot })
    }

    fn add(&self, from: usize, count: usize) -> Result<(), Box<dyn Error>> {
        let entries: Vec<Vec<u8>> = (from..from + count).map(|n| sample::noise(n as u64, SIZE)).collect();
        let batch: Vec<_> = entries
            .iter()
            .map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own })
            .collect();
        self.depot.put(&batch)?;
        Ok(())
    }

    fn sync(&self, address: &str) -> Result<(Duration, Summary), Box<dyn Error>> {
        let mut met = None;
        let addresses = [address.to_owned()];
        let done = run_courier(self.depot.path(), &self.key, &addresses, Ways::Straight, |event| {
            watch(&mut met, &event);
        })?;
        finished(met, done)
    }

    fn sync_by_pipe(&self, other: &Self) -> Result<(Duration, Summary), Box<dyn Error>> {
        let (from_server, to_client) = std::io::pipe()?;
        let (from_client, to_server) = std::io::pipe()?;
        let ends: (OwnedFd, OwnedFd) = (from_client.into(), to_client.into());
        let (path, key) = (other.depot.path().to_owned(), other.key.clone());
        let serving = thread::spawn(move || run_pipe(&path, &key, Side::Server, ends, |_| {}).is_ok());
        let mut met = None;
        let ends = (from_server.into(), to_server.into());
        let done =
            run_pipe(self.depot.path(), &self.key, Side::Client, ends, |event| watch(&mut met, &event))?;
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

struct Daemon {
    address: String,
    control: std::path::PathBuf,
    thread: thread::JoinHandle<bool>,
}

impl Daemon {
    fn start(device: &Device, carriers: Carriers) -> Result<Self, Box<dyn Error>> {
        let control = device.dir.path().join("control");
        let options = DaemonOptions {
            depot_path: device.depot.path().to_owned(),
            depot_key: device.key.clone(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            calls: fieldbook_daemon::Calls::default(),
            carriers,
            control_socket: control.clone(),
            lock_path: device.dir.path().join("lock.net"),
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

    fn stop(self) -> Result<(), Box<dyn Error>> {
        ask(&self.control, Ask::Stop)?;
        self.thread.join().map_err(|_| "the daemon failed")?;
        Ok(())
    }
}
