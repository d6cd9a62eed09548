//! Taking in whoever connects: strangers first, then a session to each device of the team.
//!
//! Strangers cost little, whatever the carrier: a bounded number at a time ([`crate::strangers`]), one term
//! for the handshake and one for the whole hello, and whoever is not of the team gets no byte of an answer.
//! By UDP an address must prove itself first when many come; by TCP it has.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fieldbook_depot::Depot;
use fieldbook_net::channel::{Channel, Way};
use fieldbook_net::gauge::Gauge;
use fieldbook_net::limit::Limit;
use fieldbook_net::quic::{self, Endpoint, Incoming};
use fieldbook_net::secured::{Acceptor, Secured};
use fieldbook_net::session::SessionFailure;
use fieldbook_net::signals::Hub;
use fieldbook_net::tcp;
use fieldbook_proto::session::{Event, Side};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout, timeout_at};

use crate::connection::{self, How, Link};
use crate::counts::{Counts, Moved};
use crate::dial::Dialling;
use crate::ending::{Ending, Why, only_looked, report, who};
use crate::identity::{self, Identity};
use crate::met::{Met, Seen};
use crate::strangers::{Stranger, Strangers};
use crate::veiled::Veiled;

/// Sessions with devices of the team at a time; beyond, whoever comes is turned away and tries again. Many of them
/// stay.
const SESSIONS_MAX: usize = 512;
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
    pub strangers: Arc<Strangers>,
    pub met: Arc<Met>,
    pub done: AtomicU64,
    pub failed: AtomicU64,
    /// By all sessions, those that run among them.
    pub moved: Arc<Moved>,
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
    own_failures: Seldom,
    full: Seldom,
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
    /// How a session of a daemon goes, whoever began it. `address`: where the peer was dialled, if that is to be remembered.
    pub fn how(&self, address: Option<String>, gauge: &Arc<Gauge>, counts: &Counts) -> How {
        How {
            address,
            staying: Some(self.hub.signals()),
            limit: self.limit.clone(),
            gauge: Some(gauge.clone()),
            patience: self.patience,
            counts: counts.clone(),
        }
    }

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
            strangers: Arc::default(),
            met: Arc::default(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            moved: Arc::default(),
            log,
            own_failures: Seldom::default(),
            full: Seldom::default(),
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
        let ending = Arc::<Ending>::default();
        let stranger = if incoming.remote_address_validated() {
            serving.strangers.enter(incoming.remote_address().ip(), ending.clone())
        } else if let Some(stranger) = serving.strangers.enter_unproven() {
            Some(stranger)
        } else {
            // It comes again at once, and has shown then that it receives our answers.
            let _ = incoming.retry();
            continue;
        };
        // Ignored, not refused: a device of the team tries again by itself after a moment.
        let Some(stranger) = stranger else {
            incoming.ignore();
            continue;
        };
        let serving = serving.clone();
        tokio::spawn(async move {
            match shake_quic(incoming, stranger, ending, &serving).await {
                Some((link, stranger)) => converse(link, stranger, &serving).await,
                None => drop(serving.failed.fetch_add(1, Relaxed)),
            }
        });
    }
}

async fn shake_quic(
    incoming: Incoming,
    stranger: Stranger,
    ending: Arc<Ending>,
    serving: &Serving,
) -> Option<(Link, Stranger)> {
    let shaken = tokio::select! {
        shaken = timeout(serving.strangers.term(), incoming.into_future()) => shaken,
        () = ending.ended() => return None,
    };
    let connection = shaken.ok()?.ok()?;
    // Whoever has answered our handshake is where it says.
    let stranger = match stranger.is_proven() {
        true => stranger,
        false => serving.strangers.enter(connection.remote_address().ip(), ending.clone())?,
    };
    stranger.shaken();
    let channel = quic::channel(&connection).ok()?;
    Some((Link::quic(connection, channel).ended_by(ending), stranger))
}

/// Takes in whoever comes by TCP: behind the veil, or in plain TLS where that is taken, too.
pub(crate) async fn accept_tcp(
    listener: TcpListener,
    acceptor: Acceptor,
    veiled: Arc<Veiled>,
    serving: Arc<Serving>,
) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(BREATH).await;
            continue;
        };
        let ending = Arc::<Ending>::default();
        let Some(stranger) = serving.strangers.enter(from.ip(), ending.clone()) else { continue };
        let (serving, acceptor, veiled) = (serving.clone(), acceptor.clone(), veiled.clone());
        tokio::spawn(async move {
            let shaking = shake_tcp(stream, from.ip(), &acceptor, &veiled, serving.strangers.term());
            let shaken = tokio::select! {
                shaken = shaking => shaken,
                () = ending.ended() => None,
            };
            match shaken {
                Some((stream, channel)) => {
                    stranger.shaken();
                    let link = Link::stream(stream, channel, Way::Tcp, ending);
                    converse(link.coming_from(from.ip()), stranger, &serving).await;
                }
                None => drop(serving.failed.fetch_add(1, Relaxed)),
            }
        });
    }
}

/// Whoever is not of the team hears nothing, and for as long as the term is whatever they send.
async fn shake_tcp(
    stream: TcpStream,
    from: IpAddr,
    acceptor: &Acceptor,
    veiled: &Veiled,
    term: Duration,
) -> Option<(Secured, Channel)> {
    let until = tokio::time::Instant::now() + term;
    let stream = tcp::prepared(stream).ok()?;
    let taken = timeout_at(until, veiled.take_in(stream, from)).await.ok()?.ok()?;
    let shaken = acceptor.accept(taken.stream, until.saturating_duration_since(tokio::time::Instant::now()));
    let shaken = shaken.await.ok()?;
    taken.known.note();
    Some(shaken)
}

/// One session with whoever shook hands.
async fn converse(link: Link, stranger: Stranger, serving: &Serving) {
    // Read anew each time: the agent may have learnt of a removal, or of a new coordinator.
    let identity = match Identity::load(serving.depot.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return (serving.log)(&format!("no session can be served: {error}")),
    };
    let mut met = None;
    let mut stranger = Some(stranger);
    let mut running = None;
    let is_met = AtomicBool::new(false);
    let (way, ending, gauge) = (link.way, link.ending(), Arc::new(Gauge::default()));
    let from = link.from();
    let mut on_event = |event: &Event| match event {
        Event::Met(peer) => {
            stranger = None;
            is_met.store(true, Relaxed);
            met = Some(who(&identity, peer));
            let Ok(place) = serving.sessions.clone().try_acquire_owned() else {
                if serving.full.is_due() {
                    (serving.log)(&format!(
                        "{SESSIONS_MAX} sessions run, which is all that may: devices of the team are turned away"
                    ));
                }
                return ending.end(Why::Full);
            };
            let seen = Seen::new(&identity, peer, None, way, gauge.clone()).at(from);
            let entered = serving.met.enter(peer.as_ref().clone(), ending.clone(), seen);
            running = entered.map(|session| (place, session));
        }
        Event::Limited(limits) => {
            if let Some(who) = &mut met {
                *who += if limits.us {
                    " (to it, our membership has run out)"
                } else {
                    " (its membership has run out)"
                };
            }
        }
        _ => {}
    };
    let counts = Counts::among(&serving.moved);
    let how = serving.how(None, &gauge, &counts);
    let session = connection::session(link, Side::Server, &identity, &serving.depot, how, &mut on_event);
    let (_, result) = tokio::select! {
        done = session => done,
        never = serving.strangers.put_out_unless(|| is_met.load(Relaxed), &ending) => match never {},
    };
    drop((stranger, running));
    // Whoever was never met is counted: a line for each could be asked for without end.
    let Some(who) = met else {
        serving.failed.fetch_add(1, Relaxed);
        // That this device's own depot fails must be known, and once in a while is enough.
        if let Err(error @ SessionFailure::Store(_)) = &result
            && serving.own_failures.is_due()
        {
            (serving.log)(&format!("no session can be served: {error}"));
        }
        return;
    };
    let why = ending.why();
    if only_looked(&counts, &result, why) {
        return (serving.log)(&format!("{who} looked whether this device can be reached, by {}", way.word()));
    }
    let (well, line) = report(&who, way, &counts, &result, why);
    if well { &serving.done } else { &serving.failed }.fetch_add(1, Relaxed);
    // Who is turned away comes again and again: it was said that all is full.
    if !matches!(why, Some(Why::Full | Why::Lingering)) {
        (serving.log)(&line);
    }
}
