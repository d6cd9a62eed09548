//! The courier: one sync with the first device that answers, then its process ends.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fieldbook_depot::{Depot, DepotKey, SqlDepot};
use fieldbook_net::channel::Way;
use fieldbook_net::gauge::Gauge;
use fieldbook_net::limit::Limit;
use fieldbook_net::session::{STANDSTILL, SessionFailure};
use fieldbook_net::{pipe, secured};
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{Event, Progress, SessionError, Side, Summary};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::connection::{self, How, Link};
use crate::counts::Counts;
use crate::dial::{self, Caller, Dialling, Reached, Road, Tried, Ways};
use crate::error::DaemonError;
use crate::identity::Identity;
use crate::relays;

/// How long the endpoint may take to send that the connection is closed. QUIC would stay for three more
/// timeouts to answer stragglers; a process that ends need not, and whoever started it waits for its end.
const LAST_WORD: Duration = Duration::from_millis(5);
/// How long the other end of a pipe may take to begin: somebody may have to type a password for ssh first.
const PIPE_PATIENCE: Duration = Duration::from_secs(180);
/// How often it is told how far a sync is.
const PACE: Duration = Duration::from_millis(250);
/// What stands for the address of whoever is at the other end of a pipe.
pub const PIPE: &str = "the pipe";

/// What a courier tells while it works. Addresses are what the user gave or what was remembered.
#[derive(Debug, Clone)]
pub enum CourierEvent {
    /// An address is tried now.
    Trying(String),
    /// A device of the team answered.
    Met {
        /// Where.
        address: String,
        /// Which; none if this device keeps no name of it.
        device: Option<DeviceId>,
        /// In which role.
        role: Role,
        /// The way that led there.
        way: Way,
        /// The ways to this address that had led nowhere.
        tried: Vec<Tried>,
    },
    /// To the device that answered, this device's membership has run out. Everything goes to it all the
    /// same, and what is addressed to this device comes back: the renewal, if it was written already.
    RanOut {
        /// Last second of validity of the certificate that was shown, in seconds since 1970.
        not_after: u64,
    },
    /// The membership of the device that answered has run out: it got only what is addressed to it.
    PeerRanOut {
        /// Last second of validity of its certificate, in seconds since 1970.
        not_after: u64,
    },
    /// How far it is, four times a second: from the first quarter of one on, as long as something is under way.
    Progress(Progress),
    /// The check found a difference: it is found out what is missing where.
    Repairing,
    /// An address did not lead to a complete sync.
    Failed {
        /// Which.
        address: String,
        /// Why, in words.
        why: String,
        /// Whether a device of the team answered before it failed.
        answered: bool,
        /// The ways that were tried, one by one.
        tried: Vec<Tried>,
    },
}

/// Syncs with the first of `addresses` that leads to a device of the team, by the ways that may be taken.
/// `None`: none did; each was reported by [`CourierEvent::Failed`].
///
/// # Errors
/// The depot cannot be used, or the device has no team.
pub fn run_courier(
    depot_path: &Path,
    depot_key: &DepotKey,
    addresses: &[String],
    dialling: impl Into<Dialling>,
    tell: impl FnMut(CourierEvent) + Send,
) -> Result<Option<Summary>, DaemonError> {
    let depot: Arc<dyn Depot> = Arc::new(SqlDepot::open(depot_path, depot_key)?);
    let identity = Identity::load(depot.as_ref())?;
    let Dialling { ways, limit, patience } = dialling.into();
    let runtime = connection::runtime()?;
    let done = runtime.block_on(async {
        let limit = limit.map(|limit| Arc::new(Limit::new(limit)));
        let mut courier = Courier { identity, depot, limit, patience, tell };
        for address in addresses {
            if let Some(summary) = courier.try_address(address, ways).await? {
                return Ok(Some(summary));
            }
        }
        Ok(None)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Syncs with whoever is at the other end of two pipes, as the side that asks or the side that answers.
/// `None`: it was no device of the team; [`CourierEvent::Failed`] says more.
///
/// # Errors
/// As [`run_courier`].
pub fn run_pipe(
    depot_path: &Path,
    depot_key: &DepotKey,
    side: Side,
    (input, output): (OwnedFd, OwnedFd),
    limit: Option<NonZeroU64>,
    tell: impl FnMut(CourierEvent) + Send,
) -> Result<Option<Summary>, DaemonError> {
    let depot: Arc<dyn Depot> = Arc::new(SqlDepot::open(depot_path, depot_key)?);
    let identity = Identity::load(depot.as_ref())?;
    let runtime = connection::runtime()?;
    let done = runtime.block_on(async {
        let limit = limit.map(|limit| Arc::new(Limit::new(limit)));
        let mut courier = Courier { identity, depot, limit, patience: STANDSTILL, tell };
        courier.try_pipe(side, input, output).await
    });
    // The thread that reads may wait for ever for a pipe that nobody closes.
    runtime.shutdown_background();
    done
}

struct Courier<T> {
    identity: Identity,
    depot: Arc<dyn Depot>,
    limit: Option<Arc<Limit>>,
    patience: Duration,
    tell: T,
}

impl<T: FnMut(CourierEvent) + Send> Courier<T> {
    async fn try_address(&mut self, address: &str, ways: Ways) -> Result<Option<Summary>, DaemonError> {
        (self.tell)(CourierEvent::Trying(address.to_owned()));
        let mut tried = Vec::new();
        let mut answered = false;
        let mut roads: Vec<Road> = dial::roads(address, ways, &mut tried).await;
        roads.reverse();
        let caller = Caller::new(&self.identity, self.depot.as_ref());
        let mut back = 0;
        while let Some(road) = roads.pop() {
            let Some(reached) = dial::reach(&road, &caller, &mut tried).await else {
                continue;
            };
            let Reached { link, endpoint } = reached;
            let (way, key) = (link.way, link.peer_key());
            let (summary, result, met) = self.talk(link, Side::Client, address, &tried, back).await;
            if let Some(endpoint) = endpoint {
                let _ = tokio::time::timeout(LAST_WORD, endpoint.wait_idle()).await;
            }
            answered |= met;
            match result {
                Ok(()) => return Ok(Some(summary)),
                Err(SessionFailure::Store(error)) => return Err(own(error)),
                Err(failure)
                    if !met
                        && relays::may_go_back(&failure, back, &self.identity, self.depot.as_ref(), &key) =>
                {
                    back += 1;
                    roads.push(road);
                }
                Err(failure) => {
                    back = 0;
                    // Some networks let a handshake through and then nothing more.
                    if way == Way::Quic && went_silent(&failure) {
                        roads.extend(road.by_tcp());
                    }
                    tried.push(Tried { way: Some(way), why: why(&failure, met) });
                }
            }
        }
        self.failed(address, answered, tried);
        Ok(None)
    }

    async fn try_pipe(
        &mut self,
        side: Side,
        input: OwnedFd,
        output: OwnedFd,
    ) -> Result<Option<Summary>, DaemonError> {
        (self.tell)(CourierEvent::Trying(PIPE.to_owned()));
        let stream = pipe::join_pipe(input, output);
        let key = &self.identity.transport;
        let secured = match side {
            Side::Client => secured::connect(key, stream, PIPE_PATIENCE).await,
            Side::Server => match secured::Acceptor::new(key) {
                Ok(acceptor) => acceptor.accept(stream, PIPE_PATIENCE).await,
                Err(error) => Err(error.into()),
            },
        };
        let tried = |why: String| vec![Tried { way: Some(Way::Stdio), why }];
        let link = match secured {
            Ok((stream, channel)) => Link::stream(stream, channel, Way::Stdio, Arc::default()),
            Err(error) => {
                self.failed(PIPE, false, tried(error.to_string()));
                return Ok(None);
            }
        };
        let (summary, result, met) = self.talk(link, side, PIPE, &[], 0).await;
        match result {
            Ok(()) => Ok(Some(summary)),
            Err(SessionFailure::Store(error)) => Err(own(error)),
            Err(failure) => {
                self.failed(PIPE, met, tried(why(&failure, met)));
                Ok(None)
            }
        }
    }

    fn failed(&mut self, address: &str, answered: bool, tried: Vec<Tried>) {
        let (address, why) = (address.to_owned(), dial::in_words(&tried));
        (self.tell)(CourierEvent::Failed { address, why, answered, tried });
    }

    /// One session, in the epoch that is so many before the newest; also whether a device of the team answered.
    async fn talk(
        &mut self,
        link: Link,
        side: Side,
        address: &str,
        tried: &[Tried],
        back: usize,
    ) -> (Summary, Result<(), SessionFailure>, bool) {
        let Self { identity, depot, limit, patience, tell } = self;
        let identity = &identity.in_epoch(back);
        let way = link.way;
        let remembered = (way != Way::Stdio).then(|| address.to_owned());
        let gauge = Arc::new(Gauge::default());
        let how = How {
            address: remembered,
            staying: None,
            limit: limit.clone(),
            gauge: Some(gauge.clone()),
            counts: Counts::default(),
            patience: *patience,
        };
        // The session tells of events, and beside it the clock of how far it is: never both at a time.
        let tell = Mutex::new(tell);
        let tell = |event: CourierEvent| (tell.lock().unwrap_or_else(PoisonError::into_inner))(event);
        let (mut answered, mut peer_until) = (false, 0);
        let mut on_event = |event: &Event| match event {
            Event::Met(peer) => {
                answered = true;
                peer_until = peer.device.body().not_after;
                let device = identity.names(peer).then(|| peer.device.id());
                let role = peer.device.body().role;
                tell(CourierEvent::Met {
                    address: address.to_owned(),
                    device,
                    role,
                    way,
                    tried: tried.to_vec(),
                });
            }
            Event::Limited(limits) if limits.us => {
                tell(CourierEvent::RanOut { not_after: identity.certificate.body().not_after });
            }
            Event::Limited(_) => tell(CourierEvent::PeerRanOut { not_after: peer_until }),
            Event::Repairing => tell(CourierEvent::Repairing),
            _ => {}
        };
        let done = {
            let mut session = pin!(connection::session(link, side, identity, depot, how, &mut on_event));
            let mut clock = interval_at(tokio::time::Instant::now() + PACE, PACE);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = Progress::default();
            loop {
                tokio::select! {
                    done = &mut session => break done,
                    _ = clock.tick() => {
                        let now = gauge.read();
                        if now != told || now.sent.left() + now.received.left() > 0 {
                            tell(CourierEvent::Progress(now));
                            told = now;
                        }
                    }
                }
            }
        };
        (done.0, done.1, answered)
    }
}

/// This device's own depot failed: no other address mends that.
fn own(error: Box<dyn std::error::Error + Send + Sync>) -> DaemonError {
    match error.downcast::<DaemonError>() {
        Ok(error) => *error,
        Err(error) => DaemonError::io("the depot cannot be asked")(io::Error::other(error)),
    }
}

/// Whether the network, rather than the other side, seems to have ended it.
pub(crate) fn went_silent(failure: &SessionFailure) -> bool {
    match failure {
        SessionFailure::Stalled => true,
        SessionFailure::Connection(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// A server that does not know us closes without a word: say what that usually means.
pub(crate) fn why(error: &SessionFailure, answered: bool) -> String {
    match error {
        SessionFailure::Session(SessionError::Cut) | SessionFailure::Connection(_) if !answered => {
            "it closed the connection without a word: it is of another team, or does not accept this device, or cannot serve now: try again later"
                .to_owned()
        }
        error => error.to_string(),
    }
}
