//! One session over one connection of any carrier, from the handshake to a clean end.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fieldbook_depot::Depot;
use fieldbook_net::channel::{Channel, Way};
use fieldbook_net::gauge::Gauge;
use fieldbook_net::limit::Limit;
use fieldbook_net::plain::plain;
use fieldbook_net::quic::{self, Connection, VarInt};
use fieldbook_net::secured::Secured;
use fieldbook_net::session::{FAREWELL, SessionFailure, Staying, Terms, read_out, run_session};
use fieldbook_net::signals::Signals;
use fieldbook_proto::DeviceId;
use fieldbook_proto::session::limits::{FEATURE_LIVE, FEATURE_PADDING, FEATURES};
use fieldbook_proto::session::{Declined, Engine, Event, Setup, Side, Summary};
use tokio::time::timeout;

use crate::counts::Counts;
use crate::ending::Ending;
use crate::error::DaemonError;
use crate::identity::Identity;
use crate::store::{DepotStore, now_ms};
use crate::{declined, relays, ways};

/// How long a peer that shook hands may take to open its stream.
const OPENING: Duration = Duration::from_secs(10);

/// What sessions run on: the same for a daemon and a courier.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, DaemonError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::io("the network cannot be used"))
}

/// An established connection.
pub(crate) struct Link {
    /// The way that it goes.
    pub way: Way,
    pub channel: Channel,
    pub carrier: Carrier,
    ending: Arc<Ending>,
    from: Option<IpAddr>,
}

pub(crate) enum Carrier {
    Quic(Connection),
    Stream(Box<Secured>),
}

impl Link {
    pub fn quic(connection: Connection, channel: Channel) -> Self {
        let from = Some(connection.remote_address().ip().to_canonical());
        Self { way: Way::Quic, channel, carrier: Carrier::Quic(connection), ending: Arc::default(), from }
    }

    /// `ending` ends it from outside.
    pub fn stream(stream: Secured, channel: Channel, way: Way, ending: Arc<Ending>) -> Self {
        Self { way, channel, carrier: Carrier::Stream(Box::new(stream)), ending, from: None }
    }

    /// The same, which this ends from outside.
    pub fn ended_by(self, ending: Arc<Ending>) -> Self {
        Self { ending, ..self }
    }

    /// The same, whose other end is there.
    pub fn coming_from(self, from: IpAddr) -> Self {
        Self { from: Some(from.to_canonical()), ..self }
    }

    /// Where the other end is, if the way shows it.
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// The key that the peer proved to hold.
    pub fn peer_key(&self) -> [u8; 32] {
        self.channel.peer_key
    }

    /// How it can be ended by somebody else.
    pub fn ending(&self) -> Arc<Ending> {
        self.ending.clone()
    }
}

/// How a session is run.
#[derive(Debug)]
pub(crate) struct How {
    /// Where the peer was reached, if this device dialled.
    pub address: Option<String>,
    /// It goes on when both are in step.
    pub staying: Option<Signals>,
    /// It may be no faster.
    pub limit: Option<Arc<Limit>>,
    /// Where it shows how far it is.
    pub gauge: Option<Arc<Gauge>>,
    /// What it moves is counted here, as it moves.
    pub counts: Counts,
    /// For how long nothing may move.
    pub patience: Duration,
}

/// Runs a session on an established connection. With `staying` it goes on when both are in step, if
/// the peer wants that, too. When it is ended from outside, the link's [`Ending`] says why, and the failure is any.
pub(crate) async fn session(
    link: Link,
    side: Side,
    identity: &Identity,
    depot: &Arc<dyn Depot>,
    how: How,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>) {
    let Link { way, channel, carrier, ending, .. } = link;
    let nothing = |failure| (Summary::default(), Err(failure));
    let How { address, staying, limit, gauge, counts, patience } = how;
    let features = FEATURES | FEATURE_PADDING | if staying.is_some() { FEATURE_LIVE } else { 0 };
    let pings = way != Way::Quic;
    let terms = Terms { staying: staying.map(|signals| Staying { signals, pings }), limit, gauge, patience };
    // A depot beyond the network is asked here whether others have added to it, and may take its time.
    let prepared = tokio::task::block_in_place(|| setup(depot.as_ref(), identity, side, channel));
    let engine = match prepared {
        Ok(setup) => match Engine::with_features(setup, features) {
            Ok(engine) => engine,
            Err(error) => return nothing(error.into()),
        },
        Err(error) => return nothing(SessionFailure::Store(error.into())),
    };
    let store = DepotStore::new(depot.clone(), identity, address).counting(counts.clone());
    let quic = match &carrier {
        Carrier::Quic(connection) => Some(connection.clone()),
        Carrier::Stream(_) => None,
    };
    let mut notes =
        Notes { depot: depot.as_ref(), way, met: None, way_noted: false, declined: Declined::default() };
    let mut heard = |event: &Event| {
        match event {
            Event::Met(peer) => {
                if let Some(connection) = &quic {
                    quic::open_window(connection);
                }
                if identity.names(peer) {
                    notes.met = Some(peer.device.id());
                    // Only a help for the next time: a failure of it is no failure of the session.
                    let _ = relays::note(depot.as_ref(), peer);
                }
            }
            Event::Held(ids) => counts.add_sent(ids.len()),
            _ => {}
        }
        notes.take(event);
        on_event(event);
    };
    let running = async {
        match carrier {
            Carrier::Quic(connection) => over_quic(&connection, side, engine, store, terms, &mut heard).await,
            Carrier::Stream(stream) => over_stream(*stream, engine, store, terms, &mut heard).await,
        }
    };
    // What is dropped here says nothing more.
    let (summary, result) = tokio::select! {
        done = running => done,
        () = ending.ended() => nothing(SessionFailure::Connection(io::ErrorKind::ConnectionAborted.into())),
    };
    if let Some(connection) = quic {
        connection.close(VarInt::from_u32(0), b"");
    }
    notes.at_the_end(result.is_ok().then_some(summary.declined_by_peer));
    // The other side's words, and those of libraries, go no further.
    let result = result.map_err(|failure| match failure {
        SessionFailure::Connection(error) => SessionFailure::Connection(plain(&error)),
        failure => failure,
    });
    (summary, result)
}

/// What people are told later of a device that was met, written down while the session runs: one that stays may
/// run for weeks, and end with the power.
struct Notes<'a> {
    depot: &'a dyn Depot,
    way: Way,
    /// The device, if this one keeps its name.
    met: Option<DeviceId>,
    way_noted: bool,
    declined: Declined,
}

impl Notes<'_> {
    /// Only a help for people: a failure of it is no failure of the session.
    fn take(&mut self, event: &Event) {
        let Some(device) = self.met else { return };
        let before = self.declined.total();
        if let Event::DeclinedByPeer(declined) = event {
            declined.iter().for_each(|(_, why)| self.declined.add(*why));
        }
        let rests = matches!(event, Event::AtRest { .. });
        let first = before == 0 && self.declined.total() > 0;
        // The depot has a record of the device once something has come of the meeting.
        let way = !self.way_noted && !matches!(event, Event::Met(_) | Event::Limited(_));
        if !(rests || first || way) {
            return;
        }
        tokio::task::block_in_place(|| {
            if way {
                self.way_noted = ways::note(self.depot, &device, self.way).is_ok();
            }
            if rests || first {
                let _ = declined::note(self.depot, &device, self.declined);
            }
        });
    }

    fn at_the_end(self, declined: Option<Declined>) {
        let Some(device) = self.met else { return };
        tokio::task::block_in_place(|| {
            let _ = ways::note(self.depot, &device, self.way);
            if let Some(declined) = declined {
                let _ = declined::note(self.depot, &device, declined);
            }
        });
    }
}

async fn over_quic(
    connection: &Connection,
    side: Side,
    engine: Engine,
    store: DepotStore,
    terms: Terms,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>) {
    let nothing = |failure| (Summary::default(), Err(failure));
    let streams = async {
        match side {
            Side::Client => connection.open_bi().await,
            Side::Server => connection.accept_bi().await,
        }
    };
    let (writer, mut reader) = match timeout(OPENING, streams).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(error)) => return nothing(SessionFailure::Connection(error.into())),
        Err(_) => return nothing(SessionFailure::Stalled),
    };
    let (summary, result) = run_session(engine, &mut reader, writer, store, terms, on_event).await;
    if result.is_ok() {
        // Each side has finished its stream; whoever dialled closes once it has heard the other end.
        match side {
            Side::Client => read_out(&mut reader).await,
            Side::Server => drop(timeout(FAREWELL, connection.closed()).await),
        }
    }
    (summary, result)
}

async fn over_stream(
    stream: Secured,
    engine: Engine,
    store: DepotStore,
    terms: Terms,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>) {
    let (mut reader, writer) = tokio::io::split(stream);
    let (summary, result) = run_session(engine, &mut reader, writer, store, terms, on_event).await;
    if result.is_ok() {
        // Each side has said that this was all. Both hear the other's end before they hang up: what is
        // closed with bytes unread can take with it what was just sent.
        read_out(&mut reader).await;
    }
    (summary, result)
}

pub(crate) fn setup(
    depot: &dyn Depot,
    identity: &Identity,
    side: Side,
    channel: Channel,
) -> Result<Setup, DaemonError> {
    // Whoever connects is a stranger still, and costs the depot nothing: it is asked later.
    let (known, head) = match side {
        Side::Client => (depot.fingerprint()?.count, depot.head()?),
        Side::Server => (0, 0),
    };
    Ok(Setup {
        side,
        secrets: identity.secrets.clone(),
        binding: channel.binding,
        certificate: identity.certificate.clone(),
        authority: identity.authority.clone(),
        peer_transport_key: channel.peer_key,
        now: u64::try_from(now_ms() / 1000).unwrap_or(0),
        depot: depot.depot_id(),
        known,
        head,
    })
}
