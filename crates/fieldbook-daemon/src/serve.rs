//! Taking in whoever connects: strangers first, then a session to each device of the team.
//!
//! Strangers cost little, whatever the carrier: a few of one address at a time ([`crate::strangers`]), one term
//! for the handshake and one for the whole hello, and whoever is not of the team gets no byte of an answer.
//! By UDP an address must prove itself first when many come; by TCP it has.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fieldbook_depot::Depot;
use fieldbook_net::channel::Way;
use fieldbook_net::limit::Limit;
use fieldbook_net::quic::{self, Endpoint, Incoming};
use fieldbook_net::secured::Acceptor;
use fieldbook_net::session::SessionFailure;
use fieldbook_net::signals::Hub;
use fieldbook_net::tcp;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{Event, Side};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::connection::{self, How, Link};
use crate::dial::Dialling;
use crate::identity::{self, Identity};
use crate::met::Met;
use crate::strangers::{Stranger, Strangers};

/// Sessions with devices of the team at a time; beyond, whoever comes is turned away and tries again. Many of them
/// stay.
const SESSIONS_MAX: usize = 512;
/// Connections at a time that have not shown yet that they are of the team. They have places of their own:
/// strangers keep no device of the team out of a session.
const NEWCOMERS_MAX: usize = 256;
/// Handshakes by UDP at a time, beyond which an address must first show that it receives our answers.
const HANDSHAKES_FREE: usize = 16;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Before connections are accepted again when the system has no room for one more.
const BREATH: Duration = Duration::from_millis(50);

/// What all connections of a daemon share.
pub(crate) struct Serving {
    pub depot: Arc<dyn Depot>,
    pub hub: Arc<Hub>,
    /// Shared by all sessions.
    pub limit: Option<Arc<Limit>>,
    /// For how long nothing may move in any of them.
    pub patience: Duration,
    sessions: Arc<Semaphore>,
    newcomers: Arc<Semaphore>,
    handshakes: Semaphore,
    strangers: Arc<Strangers>,
    pub met: Arc<Met>,
    pub done: AtomicU64,
    pub failed: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
    own_failures: Seldom,
}

/// Something that is done once in ten seconds at most.
#[derive(Default)]
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() > Duration::from_secs(10));
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Serving {
    pub fn new(
        depot: Arc<dyn Depot>,
        Dialling { limit, patience, .. }: Dialling,
        log: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self {
            depot,
            hub: Arc::default(),
            patience,
            limit: limit.map(|limit| Arc::new(Limit::new(limit))),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            newcomers: Arc::new(Semaphore::new(NEWCOMERS_MAX)),
            handshakes: Semaphore::new(HANDSHAKES_FREE),
            strangers: Arc::default(),
            met: Arc::default(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            log,
            own_failures: Seldom::default(),
        }
    }

    /// Connections that are being served.
    pub fn now(&self) -> usize {
        SESSIONS_MAX - self.sessions.available_permits().min(SESSIONS_MAX)
    }

    /// Waits until none is.
    pub async fn idle(&self) {
        // Whoever holds all permits knows that no session runs.
        let all = u32::try_from(SESSIONS_MAX).unwrap_or(u32::MAX);
        let _ = self.sessions.acquire_many(all).await;
    }

    /// Calls that wait for their next try wait no longer.
    pub fn retry(&self) {
        self.hub.hurry();
    }

    /// Looks into the depot, and ends what runs with devices that are believed no more.
    pub fn nudge(&self) {
        self.hub.news();
        let authority = match identity::authority(self.depot.as_ref()) {
            Ok(authority) => authority,
            Err(error) => return (self.log)(&format!("nobody can be judged: {error}")),
        };
        self.met.end(|peer| !identity::stands(&authority, peer));
    }
}

/// Takes in whoever comes by UDP.
pub(crate) async fn accept_quic(endpoint: Endpoint, serving: Arc<Serving>) {
    while let Some(incoming) = endpoint.accept().await {
        if serving.handshakes.available_permits() == 0 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        // Ignored, not refused: a device of the team tries again by itself after a moment.
        let Some(stranger) = serving.strangers.enter(incoming.remote_address().ip()) else {
            incoming.ignore();
            continue;
        };
        let Ok(permit) = serving.newcomers.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let serving = serving.clone();
        tokio::spawn(async move {
            match shake_quic(incoming, &serving).await {
                Some(link) => converse(link, (stranger, permit), &serving).await,
                None => drop(serving.failed.fetch_add(1, Relaxed)),
            }
        });
    }
}

async fn shake_quic(incoming: Incoming, serving: &Serving) -> Option<Link> {
    let _permit = serving.handshakes.acquire().await;
    let connection = timeout(HANDSHAKE_PATIENCE, incoming.into_future()).await.ok()?.ok()?;
    let channel = quic::channel(&connection).ok()?;
    Some(Link::quic(connection, channel))
}

/// Takes in whoever comes by TCP.
pub(crate) async fn accept_tcp(listener: TcpListener, acceptor: Acceptor, serving: Arc<Serving>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(BREATH).await;
            continue;
        };
        let leave = Arc::new(Notify::new());
        let Some(stranger) = serving.strangers.enter_proven(from.ip(), leave.clone()) else { continue };
        let Ok(permit) = serving.newcomers.clone().try_acquire_owned() else { continue };
        let (serving, acceptor) = (serving.clone(), acceptor.clone());
        tokio::spawn(async move {
            match shake_tcp(stream, &acceptor, leave).await {
                Some(link) => converse(link, (stranger, permit), &serving).await,
                None => drop(serving.failed.fetch_add(1, Relaxed)),
            }
        });
    }
}

async fn shake_tcp(stream: TcpStream, acceptor: &Acceptor, leave: Arc<Notify>) -> Option<Link> {
    let stream = tcp::prepared(stream).ok()?;
    let (stream, channel) = tokio::select! {
        shaken = acceptor.accept(stream, HANDSHAKE_PATIENCE) => shaken.ok()?,
        () = leave.notified() => return None,
    };
    Some(Link::stream(stream, channel, Way::Tcp, leave))
}

/// One session with whoever shook hands.
async fn converse(link: Link, newcomer: (Stranger, OwnedSemaphorePermit), serving: &Serving) {
    // Read anew each time: the agent may have learnt of a removal, or of a new coordinator.
    let identity = match Identity::load(serving.depot.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return (serving.log)(&format!("no session can be served: {error}")),
    };
    let mut who = None;
    let mut newcomer = Some(newcomer);
    let mut running = None;
    let ending = link.ending();
    let own_role = identity.certificate.body().role;
    let mut on_event = |event: &Event| match event {
        Event::Met(peer) => {
            newcomer = None;
            let Ok(place) = serving.sessions.clone().try_acquire_owned() else { return ending.end() };
            running = Some((place, serving.met.enter(peer.as_ref().clone(), ending.clone())));
            who = Some(if own_role == Role::Relay {
                // Whoever runs it need not be of the team, and others read its system's log: it is told how many
                // come, and not who.
                "a device of the team".to_owned()
            } else if identity.names(peer) {
                format!("{} {}", peer.device.body().role.word(), peer.device.id().short())
            } else {
                "another device of the team".to_owned()
            });
        }
        Event::Limited(limits) => {
            if let Some(who) = &mut who {
                *who += if limits.us {
                    " (to it, our membership has run out)"
                } else {
                    " (its membership has run out)"
                };
            }
        }
        _ => {}
    };
    let way = link.way.word();
    let staying = Some(serving.hub.signals());
    let how = How { address: None, staying, limit: serving.limit.clone(), patience: serving.patience };
    let (summary, result) =
        connection::session(link, Side::Server, &identity, &serving.depot, how, &mut on_event).await;
    drop((newcomer, running));
    serving.received.fetch_add(summary.received, Relaxed);
    serving.sent.fetch_add(summary.sent, Relaxed);
    // Whoever was never met is counted: a line for each could be asked for without end.
    let Some(who) = who else {
        serving.failed.fetch_add(1, Relaxed);
        // That this device's own depot fails must be known, and once in a while is enough.
        if let Err(error @ SessionFailure::Store(_)) = &result
            && serving.own_failures.is_due()
        {
            (serving.log)(&format!("no session can be served: {error}"));
        }
        return;
    };
    let counts = format!("by {way}: {} in, {} out", summary.received, summary.sent);
    match result {
        Ok(()) => {
            serving.done.fetch_add(1, Relaxed);
            (serving.log)(&format!("session with {who} {counts}"));
        }
        Err(error) => {
            serving.failed.fetch_add(1, Relaxed);
            (serving.log)(&format!("session with {who} broke off {counts}: {error}"));
        }
    }
}
