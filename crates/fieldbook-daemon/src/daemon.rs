//! The daemon: listens by UDP (QUIC) and TCP at the same port, serves a session to each device of the team,
//! and stops when told. Who is let in, and how, is in [`crate::serve`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fieldbook_depot::{Depot, DepotError, DepotKey, SqlDepot};
use fieldbook_net::channel::Way;
use fieldbook_net::quic::{self, Endpoint, Guise, QuicError, VarInt};
use fieldbook_net::secured::Acceptor;
use fieldbook_net::tcp;
use fieldbook_net::tls::TransportKey;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::board::Board;
use crate::calls::{self, Calls};
use crate::connection;
use crate::control::{self, Controlled, DaemonStatus};
use crate::error::DaemonError;
use crate::identity::Identity;
use crate::lan::Lan;
use crate::relay::{Keeper, RelayStatus};
use crate::serve::{self, Serving};
use crate::store::now_ms;
use crate::veiled::{Veiled, Veiling};

/// How many free ports are tried until one is found that is free for UDP and for TCP.
const PORTS: usize = 64;
/// How long running sessions may take to come to a safe point when the daemon stops, those of devices that dialled
/// and then those that were dialled. They are safe at any point; this only spares the other side a repetition.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How long each endpoint may take then to say that it is gone.
const ENDPOINT_PATIENCE: Duration = Duration::from_secs(1);

/// What a daemon needs.
#[derive(Debug)]
pub struct DaemonOptions {
    /// The depot's file.
    pub depot_path: PathBuf,
    /// Its key.
    pub depot_key: DepotKey,
    /// Where to listen, if anywhere; port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// By what.
    pub carriers: Carriers,
    /// Whom to dial and stay with.
    pub calls: Calls,
    /// The control socket's file, in a directory that only its owner can enter.
    pub control_socket: PathBuf,
    /// Locked while a daemon runs for this vault.
    pub lock_path: PathBuf,
    /// It is a relay: it looks after what it holds, by the policy in its depot.
    pub relay: bool,
    /// How it is behind the veil.
    pub veil: Veiling,
}

/// What a daemon listens by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carriers {
    /// QUIC.
    pub udp: bool,
    /// TLS over TCP, at the same port, behind the veil as well.
    pub tcp: bool,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { udp: true, tcp: true }
    }
}

struct State {
    listening: Vec<String>,
    carriers: Vec<String>,
    since_ms: i64,
    stop: Notify,
    serving: Arc<Serving>,
    board: Arc<Board>,
    veiled: Option<Arc<Veiled>>,
    lan: Option<Arc<Lan>>,
}

impl Controlled for State {
    fn status(&self) -> DaemonStatus {
        let serving = &self.serving;
        let (connections, connections_more) = serving.met.connections();
        let lan_visits = self.lan.as_ref().map_or(0, |lan| lan.visits());
        DaemonStatus {
            v: control::VERSION,
            pid: std::process::id(),
            listening: self.listening.clone(),
            carriers: self.carriers.clone(),
            since_ms: self.since_ms,
            sessions_now: (serving.now() + self.board.connected() + lan_visits) as u64,
            sessions_done: serving.done.load(Relaxed),
            sessions_failed: serving.failed.load(Relaxed),
            received: serving.moved.received(),
            sent: serving.moved.sent(),
            relay: RelayStatus::of(serving.depot.as_ref()).ok().flatten(),
            calls: self.board.all(),
            connections,
            connections_more,
            veil: self.veiled.as_ref().map(|veiled| veiled.status()),
            confinement: control::confinement(),
            lan: self.lan.as_ref().map(|lan| lan.status()),
        }
    }

    fn stop(&self) {
        self.stop.notify_one();
    }

    /// Sessions read the depot as they go, and each new one reads who is believed. What runs with a device
    /// that was removed meanwhile ends here, also when it is idle.
    fn nudge(&self) {
        // Before anybody is sent away: whoever was removed is not told any more that this device is here.
        if let Some(lan) = &self.lan {
            lan.renew();
        }
        self.serving.nudge();
        self.serving.retry();
        if let Some(veiled) = &self.veiled {
            veiled.renew();
        }
    }
}

/// Runs on the depot in the file that the options name, see [`run_daemon_on`].
///
/// # Errors
/// As [`run_daemon_on`].
pub fn run_daemon(
    options: DaemonOptions,
    listening: impl FnOnce(&[SocketAddr]),
    log: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(), DaemonError> {
    let open = |options: &DaemonOptions| -> Result<Arc<dyn Depot>, DepotError> {
        Ok(Arc::new(SqlDepot::open(&options.depot_path, &options.depot_key)?))
    };
    run_daemon_on(open, options, listening, log)
}

/// Runs on the depot that `open` gives, until it is told to stop (control socket, SIGTERM, SIGINT). `listening` hears the bound
/// addresses once; `log` gets a line a session: counts, and short device ids where this device keeps those;
/// never a name, an address or a title.
///
/// # Errors
/// [`DaemonError::InUse`], [`DaemonError::NoTeam`]; the depot, an address or the control socket
/// cannot be used.
pub fn run_daemon_on(
    open: impl FnOnce(&DaemonOptions) -> Result<Arc<dyn Depot>, DepotError>,
    options: DaemonOptions,
    listening: impl FnOnce(&[SocketAddr]),
    log: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(), DaemonError> {
    let _lock = lock(&options.lock_path)?;
    let depot = open(&options)?;
    let identity = Identity::load(depot.as_ref())?;
    let log: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(log);
    let _keeper = match options.relay {
        true => Some(Keeper::start(depot.clone(), log.clone())?),
        false => None,
    };
    let runtime = connection::runtime()?;
    let veiled = match !options.listen.is_empty() {
        true => Some(Arc::new(Veiled::begin(options.veil, &depot, &identity.secrets, log.clone())?)),
        false => None,
    };
    let remembering = veiled.clone();
    let result = runtime.block_on(async {
        let mut endpoints = Vec::new();
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        for address in &options.listen {
            let guise = veiled.as_ref().map_or(Guise::Unveiled, |veiled| veiled.guise());
            let (at, endpoint, listener) = bind(*address, options.carriers, &identity.transport, &guise)?;
            bound.push(at);
            endpoints.extend(endpoint);
            listeners.extend(listener);
        }
        let acceptor = Acceptor::new(&identity.transport).map_err(QuicError::from)?;
        let serving = Arc::new(Serving::new(depot, options.calls.dialling, log));
        let looks = options.calls.lan && options.carriers.udp;
        let lan = looks.then(|| Lan::new(serving.clone(), &bound, veiled.clone(), &identity.secrets));
        drop(identity);
        let names = [(options.carriers.udp, Way::Quic), (options.carriers.tcp, Way::Tcp)];
        let names = names.into_iter().filter(|(on, _)| *on).map(|(_, way)| way.word().to_owned());
        let state = Arc::new(State {
            listening: bound.iter().map(SocketAddr::to_string).collect(),
            carriers: names.collect(),
            since_ms: now_ms(),
            stop: Notify::new(),
            serving,
            board: Arc::default(),
            veiled,
            lan,
        });
        let controlled: Arc<dyn Controlled> = state.clone();
        let _socket = control::serve(&options.control_socket, Arc::downgrade(&controlled))
            .map_err(DaemonError::io("the control socket cannot be made"))?;
        let signals = signals()?;
        listening(&bound);
        for endpoint in &endpoints {
            tokio::spawn(serve::accept_quic(endpoint.clone(), state.serving.clone()));
        }
        let accepting: Vec<_> = listeners
            .into_iter()
            .zip(state.veiled.iter().cycle())
            .map(|(listener, veiled)| {
                let (acceptor, serving) = (acceptor.clone(), state.serving.clone());
                tokio::spawn(serve::accept_tcp(listener, acceptor, veiled.clone(), serving))
            })
            .collect();
        let keeping = state.veiled.clone().map(|veiled| tokio::spawn(veiled.keep()));
        let nearby = state.lan.clone().map(|lan| tokio::spawn(lan.run()));
        let calling =
            tokio::spawn(calls::call_all(options.calls, state.serving.clone(), state.board.clone()));
        tokio::select! {
            () = state.stop.notified() => {}
            () = signals => {}
        }
        state.serving.hub.leave();
        // Whoever is visited from now on would not hear that this device leaves.
        state.lan.iter().for_each(|lan| lan.leave());
        for endpoint in &endpoints {
            endpoint.set_server_config(None);
        }
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        let _ = timeout(STOP_PATIENCE, state.serving.idle()).await;
        let _ = timeout(STOP_PATIENCE, state.board.quiet()).await;
        if let Some(lan) = &state.lan {
            let _ = timeout(STOP_PATIENCE, lan.quiet()).await;
        }
        calling.abort();
        nearby.iter().for_each(tokio::task::JoinHandle::abort);
        keeping.iter().for_each(tokio::task::JoinHandle::abort);
        for endpoint in &endpoints {
            endpoint.close(VarInt::from_u32(0), b"");
            let _ = timeout(ENDPOINT_PATIENCE, endpoint.wait_idle()).await;
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    if let Some(veiled) = remembering {
        veiled.remember();
    }
    result
}

/// Both carriers at one address and port.
fn bind(
    address: SocketAddr,
    carriers: Carriers,
    key: &TransportKey,
    guise: &Guise,
) -> Result<(SocketAddr, Option<Endpoint>, Option<TcpListener>), DaemonError> {
    let cannot = |error: io::Error| DaemonError::from(QuicError::Socket(error));
    let mut tries = if address.port() == 0 { PORTS } else { 1 };
    loop {
        tries -= 1;
        let listener = carriers.tcp.then(|| tcp::listener(address)).transpose().map_err(cannot)?;
        let at = listener.as_ref().map_or(Ok(address), TcpListener::local_addr).map_err(cannot)?;
        match carriers.udp.then(|| quic::listener(key, at, guise.clone())).transpose() {
            // The port that TCP was given is another's by UDP: any other will do.
            Err(QuicError::Socket(error)) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error.into()),
            Ok(None) => return Ok((at, None, listener)),
            Ok(Some(endpoint)) => {
                let at = endpoint.local_addr().map_err(cannot)?;
                return Ok((at, Some(endpoint), listener));
            }
        }
    }
}

fn lock(path: &Path) -> Result<File, DaemonError> {
    let doing = "the daemon's lock file cannot be used";
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(DaemonError::io(doing))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DaemonError::InUse),
        Err(TryLockError::Error(error)) => Err(DaemonError::io(doing)(error)),
    }
}

fn signals() -> Result<impl Future<Output = ()>, DaemonError> {
    use tokio::signal::unix::{SignalKind, signal};
    let doing = "signals cannot be heard";
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::io(doing))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::io(doing))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
