//! The daemon: listens, serves a session to each device of the team, and stops when told.
//!
//! Strangers cost little: no more than a few handshakes run at a time, an address must prove itself
//! first when many come, and whoever is not of the team gets no byte of an answer.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fieldbook_depot::{DepotKey, SqlDepot};
use fieldbook_net::quic::{self, Endpoint, Incoming, VarInt};
use fieldbook_proto::session::{Event, Side};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::connection;
use crate::control::{self, Controlled, DaemonStatus};
use crate::error::DaemonError;
use crate::identity::{self, Identity};
use crate::met::Met;
use crate::store::now_ms;
use crate::strangers::{Stranger, Strangers};

/// Sessions at a time; more wait or are turned away.
const SESSIONS_MAX: usize = 64;
/// Handshakes at a time, beyond which an address must first show that it receives our answers.
const HANDSHAKES_FREE: usize = 16;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long running sessions may take to come to a safe point when the daemon stops. They are safe at
/// any point; this only spares the other side a repetition.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What a daemon needs.
#[derive(Debug)]
pub struct DaemonOptions {
    /// The depot's file.
    pub depot_path: PathBuf,
    /// Its key.
    pub depot_key: DepotKey,
    /// Where to listen; port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// The control socket's file, in a directory that only its owner can enter.
    pub control_socket: PathBuf,
    /// Locked while a daemon runs for this vault.
    pub lock_path: PathBuf,
}

struct State {
    depot: Arc<SqlDepot>,
    listening: Vec<String>,
    since_ms: i64,
    stop: Notify,
    sessions: Arc<Semaphore>,
    handshakes: Semaphore,
    strangers: Arc<Strangers>,
    met: Arc<Met>,
    done: AtomicU64,
    failed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    log: Box<dyn Fn(&str) + Send + Sync>,
}

impl Controlled for State {
    fn status(&self) -> DaemonStatus {
        let now = SESSIONS_MAX - self.sessions.available_permits().min(SESSIONS_MAX);
        DaemonStatus {
            v: control::VERSION,
            pid: std::process::id(),
            listening: self.listening.clone(),
            since_ms: self.since_ms,
            sessions_now: now as u64,
            sessions_done: self.done.load(Relaxed),
            sessions_failed: self.failed.load(Relaxed),
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
        }
    }

    fn stop(&self) {
        self.stop.notify_one();
    }

    /// Sessions read the depot as they go, and each new one reads who is believed. What runs with a device
    /// that was removed meanwhile ends here, also when it is idle.
    fn nudge(&self) {
        let authority = match identity::authority(self.depot.as_ref()) {
            Ok(authority) => authority,
            Err(error) => return (self.log)(&format!("nobody can be judged: {error}")),
        };
        self.met.end(|peer| !identity::stands(&authority, peer));
    }
}

/// Runs until it is told to stop (control socket, SIGTERM, SIGINT). `listening` hears the bound
/// addresses once; `log` gets a line a session: counts, and short device ids where this device keeps those;
/// never a name, an address or a title.
///
/// # Errors
/// [`DaemonError::InUse`], [`DaemonError::NoTeam`]; the depot, an address or the control socket
/// cannot be used.
pub fn run_daemon(
    options: DaemonOptions,
    listening: impl FnOnce(&[SocketAddr]),
    log: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(), DaemonError> {
    let _lock = lock(&options.lock_path)?;
    let depot = Arc::new(SqlDepot::open(&options.depot_path, &options.depot_key)?);
    let identity = Identity::load(depot.as_ref())?;
    let runtime = connection::runtime()?;
    let result = runtime.block_on(async {
        let mut endpoints = Vec::new();
        for address in &options.listen {
            endpoints.push(quic::listener(&identity.transport, *address)?);
        }
        drop(identity);
        let bound: Vec<SocketAddr> =
            endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect();
        let state = Arc::new(State {
            depot,
            listening: bound.iter().map(SocketAddr::to_string).collect(),
            since_ms: now_ms(),
            stop: Notify::new(),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            handshakes: Semaphore::new(HANDSHAKES_FREE),
            strangers: Arc::default(),
            met: Arc::default(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            log: Box::new(log),
        });
        let controlled: Arc<dyn Controlled> = state.clone();
        let _socket = control::serve(&options.control_socket, Arc::downgrade(&controlled))
            .map_err(DaemonError::io("the control socket cannot be made"))?;
        let signals = signals()?;
        listening(&bound);
        for endpoint in &endpoints {
            tokio::spawn(accept(endpoint.clone(), state.clone()));
        }
        tokio::select! {
            () = state.stop.notified() => {}
            () = signals => {}
        }
        for endpoint in &endpoints {
            endpoint.set_server_config(None);
        }
        // Whoever holds all permits knows that no session runs.
        let all = u32::try_from(SESSIONS_MAX).unwrap_or(u32::MAX);
        let _ = timeout(STOP_PATIENCE, state.sessions.acquire_many(all)).await;
        for endpoint in &endpoints {
            endpoint.close(VarInt::from_u32(0), b"");
            let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn accept(endpoint: Endpoint, state: Arc<State>) {
    while let Some(incoming) = endpoint.accept().await {
        if state.handshakes.available_permits() == 0 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        // Ignored, not refused: a device of the team tries again by itself after a moment.
        let Some(stranger) = state.strangers.enter(incoming.remote_address().ip()) else {
            incoming.ignore();
            continue;
        };
        let Ok(permit) = state.sessions.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            serve(incoming, stranger, &state).await;
            drop(permit);
        });
    }
}

async fn serve(incoming: Incoming, stranger: Stranger, state: &State) {
    let shaken = async {
        let _permit = state.handshakes.acquire().await;
        timeout(HANDSHAKE_PATIENCE, incoming.into_future()).await
    };
    let Ok(Ok(connection)) = shaken.await else {
        state.failed.fetch_add(1, Relaxed);
        return;
    };
    // Read anew each time: the agent may have learnt of a removal, or of a new coordinator.
    let identity = match Identity::load(state.depot.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return (state.log)(&format!("no session can be served: {error}")),
    };
    let Ok(channel) = quic::channel(&connection) else { return };
    let mut who = "a stranger".to_owned();
    let mut stranger = Some(stranger);
    let mut running = None;
    let mut on_event = |event: &Event| match event {
        Event::Met(peer) => {
            stranger = None;
            running = Some(state.met.enter(peer.as_ref().clone(), connection.clone()));
            who = if identity.names(peer) {
                format!("{} {}", peer.device.body().role.word(), peer.device.id().short())
            } else {
                "another device of the team".to_owned()
            };
        }
        Event::Limited(limits) if limits.us => who += " (to it, our membership has run out)",
        Event::Limited(_) => who += " (its membership has run out)",
        _ => {}
    };
    let (summary, result) =
        connection::session(&connection, channel, Side::Server, &identity, &state.depot, None, &mut on_event)
            .await;
    state.received.fetch_add(summary.received, Relaxed);
    state.sent.fetch_add(summary.sent, Relaxed);
    let counts = format!("{} in, {} out", summary.received, summary.sent);
    match result {
        Ok(()) => {
            state.done.fetch_add(1, Relaxed);
            (state.log)(&format!("session with {who}: {counts}"));
        }
        Err(error) => {
            state.failed.fetch_add(1, Relaxed);
            (state.log)(&format!("session with {who} broke off: {counts}: {error}"));
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
