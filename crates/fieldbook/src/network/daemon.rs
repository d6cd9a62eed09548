//! The daemon's process: the job from standard input, then listen until told to stop.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldbook_daemon::relay::RelaySettings;
use fieldbook_daemon::{Calls, Carriers, DaemonError, DaemonOptions, Dialling, Veiling, Ways, run_daemon_on};
use fieldbook_depot::{Depot, DepotKey, SqlDepot};
use serde_json::json;

use super::job::{self, Job, Task};
use crate::agent::process::keep_files_private;
use crate::agent::protocol::Network;
use crate::confine::{self, Role};
use crate::error::{Failure, Kind};
use crate::ui::Ui;
use crate::watch::{Beside, GONE, Watch};
use crate::wipe::InUse;

/// Runs the daemon.
///
/// # Errors
/// It cannot listen, another one runs, or the depot cannot be used.
pub fn run(ui: &Ui) -> Result<(), Failure> {
    keep_files_private();
    let orders = rustix::stdio::stdin();
    let mut orders = File::from(orders.try_clone_to_owned().map_err(Failure::io("the job cannot be read"))?);
    let Job { network, task } = job::read(&mut orders)?;
    let _in_use = InUse::of_depot(&network.depot);
    let depot_key = job::depot_key(&network)?;
    let (mut task, relay) = match task {
        Task::RelayListen { .. } => (task, true),
        task => (task, false),
    };
    let served = Served::of(&mut task, &network.depot, &depot_key)?;
    // Kept to the end: the depot's files stay those that this process may open again.
    let _held = served.local.clone();
    if runs(&network.lock) {
        return Err(DaemonError::InUse.into());
    }
    let vault = network.depot.parent().unwrap_or(Path::new("."));
    let mut watch = Watch::start(vault, Beside::Daemon)?;
    confine::enforce(&role(&network, &task, &served)?);
    watch.hear_signals();
    let as_json = ui.json();
    watch.end_without_it(move |line| log(line, as_json));
    if relay {
        // It is a part of a relay, and does not stay without the rest.
        super::courier::end_with_the_parent(orders);
    }
    let (listen, carriers, (unveiled, only_found), control, calls) = match task {
        Task::Listen {
            address,
            udp,
            tcp,
            unveiled,
            control,
            with,
            known,
            lan,
            only_found,
            proxy,
            only_proxy,
            limit,
            ..
        } => {
            let ways = super::courier::ways(proxy.as_deref(), only_proxy)?;
            let dialling = Dialling { ways, limit, ..Dialling::default() };
            let calls = Calls { with, known, lan, dialling };
            (address, Carriers { udp, tcp }, (unveiled, only_found && lan), control, calls)
        }
        Task::RelayListen { listen, unveiled, no_tcp, control, .. } => {
            (listen, Carriers { udp: true, tcp: !no_tcp }, (unveiled, false), control, Calls::default())
        }
        _ => return Err(Failure::failed("internal", "this job is not a daemon's")),
    };
    let memory: Arc<dyn Depot> = served.local.clone();
    let depot = served.open(&network.depot, relay, ui.json())?;
    let listen = match listen {
        None if relay => {
            // The relay's policy says where.
            Some(RelaySettings::load(depot.as_ref())?.ok_or_else(super::relay::no_policy)?.listen)
        }
        listen => listen,
    };
    let listen = listen.as_deref().map_or(Ok(Vec::new()), addresses)?;
    if calls.lan && (matches!(calls.dialling.ways, Ways::Only(_)) || unveiled) {
        let message = "LAN discovery sends by other ways than a proxy, and shows where this device listens";
        return Err(Failure::new(Kind::Usage, "usage", message));
    }
    if calls.lan && listen.iter().all(|address| address.ip().is_loopback()) {
        let message = "who listens on this machine alone cannot be found by others";
        return Err(Failure::new(Kind::Usage, "bad-address", message)
            .hint("leave --listen out, or give one of this machine's addresses in the network, or 0.0.0.0"));
    }
    let options = DaemonOptions {
        depot_key,
        depot_path: network.depot,
        listen,
        carriers,
        calls: calls.clone(),
        control_socket: control,
        lock_path: network.lock,
        relay,
        veil: Veiling { unveiled_too: unveiled, only_heard: only_found, memory: Some(memory) },
    };
    let json = ui.json();
    let mut told = Ok(());
    let listening = |bound: &[SocketAddr]| {
        // The control socket is there, and nobody was heard yet.
        confine::no_more_sockets();
        told = tell(bound, (words_of(carriers), unveiled), &calls.with, calls.known, ui)
            .and_then(|()| if calls.lan { tell_of_lan(ui) } else { Ok(()) });
    };
    let ended = run_daemon_on(|_| Ok(depot), options, listening, move |line: &str| log(line, json));
    told?;
    if watch.is_gone() {
        // Whatever restarts services starts it again.
        return Err(Failure::failed("watch-gone", GONE));
    }
    Ok(ended?)
}

/// It has the depot, the way to its control socket, and the network.
fn role<'a>(network: &'a Network, task: &'a Task, served: &Served) -> Result<Role<'a>, Failure> {
    // Made by the vault, and needed from now on.
    let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(&network.lock);
    lock.map_err(Failure::io("the daemon's lock file cannot be used"))?;
    let control = match task {
        Task::Listen { control, .. } | Task::RelayListen { control, .. } => control.parent(),
        _ => None,
    };
    let writes = served.work(&network.depot)?.into_iter().collect();
    Ok(Role::Carrier { depot: &network.depot, reads: Vec::new(), writes, network: true, control })
}

/// The depot that is served.
struct Served {
    local: Arc<SqlDepot>,
    #[cfg(feature = "bucket")]
    bucket: Option<super::bucket::Bucket>,
}

impl Served {
    fn of(task: &mut Task, depot: &Path, key: &DepotKey) -> Result<Self, Failure> {
        let local = Arc::new(SqlDepot::open(depot, key)?);
        #[cfg(feature = "bucket")]
        let bucket = match task {
            Task::Listen { bucket, .. } => bucket.take(),
            Task::RelayListen { bucket, .. } => {
                let remembered = |named: std::path::PathBuf| super::bucket::read(&named, false);
                match bucket.take() {
                    Some(bucket) => Some(bucket),
                    None => super::relay::in_bucket(local.as_ref())?.map(remembered).transpose()?,
                }
            }
            _ => None,
        };
        #[cfg(not(feature = "bucket"))]
        if matches!(task, Task::RelayListen { .. }) {
            super::relay::in_bucket(local.as_ref())?;
        }
        Ok(Self {
            local,
            #[cfg(feature = "bucket")]
            bucket,
        })
    }

    /// The directory that it works in, if it is in a bucket.
    #[cfg(feature = "bucket")]
    fn work(&self, depot: &Path) -> Result<Option<PathBuf>, Failure> {
        let vault = depot.parent().filter(|_| self.bucket.is_some());
        vault.map(super::bucket::work).transpose()
    }

    #[cfg(not(feature = "bucket"))]
    fn work(&self, _: &Path) -> Result<Option<PathBuf>, Failure> {
        Ok(None)
    }

    #[cfg(not(feature = "bucket"))]
    fn open(self, _: &Path, _: bool, _: bool) -> Result<Arc<dyn Depot>, Failure> {
        Ok(self.local)
    }

    /// Opens the bucket, if there is one; the vault's depot is then kept in step with it.
    #[cfg(feature = "bucket")]
    fn open(self, path: &Path, relay: bool, json: bool) -> Result<Arc<dyn Depot>, Failure> {
        use super::in_step;

        let Some(bucket) = self.bucket else { return Ok(self.local) };
        let depot = bucket.open(path.parent().unwrap_or(Path::new(".")))?;
        in_step::adopt(self.local.as_ref(), &depot)?;
        let depot = Arc::new(depot);
        in_step::keep(
            self.local,
            Arc::downgrade(&depot),
            relay,
            move || {
                if relay {
                    // The agent looks at once at what came.
                    let _ = Ui::new(json, true).emit(json!({"event": "in-step"}));
                }
            },
            move |line| log(line, json),
        );
        Ok(depot)
    }
}

/// Says where it listens: from now on it can be reached.
fn tell(
    bound: &[SocketAddr],
    ((words, names), unveiled): ((&str, &[&str]), bool),
    with: &[String],
    known: bool,
    ui: &Ui,
) -> Result<(), Failure> {
    for address in bound {
        let address = address.to_string();
        ui.emit(json!({
            "event": "listening", "listening": address, "address": address, "carriers": names,
            "unveiled": unveiled,
        }))?;
        let plain = plain_words(unveiled, words);
        ui.say(format_args!(
            "Listening on {address} ({words}{plain}). `fieldbook daemon stop` or Ctrl-C ends it."
        ))?;
    }
    if bound.iter().any(|address| address.ip().is_unspecified()) {
        // It has no power any more to ask the system which they are.
        ui.say("`fieldbook daemon status` says at which addresses others reach it.")?;
    }
    if !with.is_empty() || known {
        let mut whom: Vec<String> = with.iter().map(|address| crate::sanitise::line(address)).collect();
        whom.extend(known.then(|| "whom this device reached before".to_owned()));
        ui.emit(json!({"event": "calling", "with": with, "known": known}))?;
        ui.say(format_args!("Staying in touch with {}.", whom.join(", ")))?;
    }
    Ok(())
}

/// Says that it can be seen in this network.
fn tell_of_lan(ui: &Ui) -> Result<(), Failure> {
    ui.emit(json!({"event": "lan", "port": fieldbook_daemon::LAN_PORT}))?;
    ui.say(format_args!(
        "Looking for your team in this network, at port {} by UDP. Others here who know Fieldbook can see that it runs on this machine, not whose it is.",
        fieldbook_daemon::LAN_PORT
    ))
}

/// What is taken without the veil, by the words for what it listens by.
pub fn plain_words(unveiled: bool, by: &str) -> &'static str {
    match by {
        _ if !unveiled => "",
        "UDP" | "UDP only" => ", plain QUIC too",
        "TCP" | "TCP only" => ", plain TLS too",
        _ => ", plain QUIC and TLS too",
    }
}

const fn words_of(carriers: Carriers) -> (&'static str, &'static [&'static str]) {
    match carriers {
        Carriers { udp: true, tcp: false } => ("UDP", &["quic"]),
        Carriers { udp: false, tcp: true } => ("TCP", &["tcp"]),
        _ => ("UDP and TCP", &["quic", "tcp"]),
    }
}

/// A line a session: short device ids and counts.
fn log(line: &str, json: bool) {
    let ui = Ui::new(json, true);
    // A reader that went away does not stop the daemon.
    let _ = ui.emit(json!({"event": "log", "text": line}));
    ui.note(crate::sanitise::line(line));
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    super::resolve(text).map_err(|error| {
        let message = format!("{} is not an address: {error}", crate::sanitise::line(text));
        Failure::new(Kind::Usage, "bad-address", message)
            .hint("for example --listen 0.0.0.0:4040, or 127.0.0.1:0 for any free port of this machine")
    })
}

/// Whether a daemon runs for this vault: it holds the lock for as long as it lives.
pub fn runs(lock: &Path) -> bool {
    let file = std::fs::File::options().write(true).open(lock);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(addresses("127.0.0.1:0").unwrap(), [SocketAddr::from(([127, 0, 0, 1], 0))]);
        for bad in ["127.0.0.1", "", ":::", "1.2.3.4:99999"] {
            assert_eq!(addresses(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn a_held_lock_means_that_a_daemon_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock.net");
        assert!(!runs(&path));
        let file = std::fs::File::create(&path).unwrap();
        assert!(!runs(&path));
        file.lock().unwrap();
        assert!(runs(&path));
    }
}
