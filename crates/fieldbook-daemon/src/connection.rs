//! One session over one connection of any carrier, from the handshake to a clean end.

use std::sync::Arc;
use std::time::Duration;

use fieldbook_depot::Depot;
use fieldbook_net::channel::{Channel, Way};
use fieldbook_net::limit::Limit;
use fieldbook_net::quic::{Connection, VarInt};
use fieldbook_net::secured::Secured;
use fieldbook_net::session::{SessionFailure, Staying, Terms, run_session};
use fieldbook_net::signals::Signals;
use fieldbook_proto::DeviceId;
use fieldbook_proto::session::limits::{FEATURE_LIVE, FEATURES};
use fieldbook_proto::session::{Engine, Event, Setup, Side, Summary};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::error::DaemonError;
use crate::identity::Identity;
use crate::store::{DepotStore, now_ms};
use crate::{declined, relays, ways};

/// How long the other side may take to hear our last words.
const FAREWELL: Duration = Duration::from_secs(5);
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
    ending: Ending,
}

pub(crate) enum Carrier {
    Quic(Connection),
    Stream(Box<Secured>),
}

/// Ends a connection from outside, without a word.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    Quic(Connection),
    Stream(Arc<Notify>),
}

impl Ending {
    /// Ends it now.
    pub fn end(&self) {
        match self {
            Self::Quic(connection) => connection.close(VarInt::from_u32(0), b""),
            Self::Stream(told) => told.notify_one(),
        }
    }
}

impl Link {
    pub fn quic(connection: Connection, channel: Channel) -> Self {
        let ending = Ending::Quic(connection.clone());
        Self { way: Way::Quic, channel, carrier: Carrier::Quic(connection), ending }
    }

    /// `leave` ends it from outside.
    pub fn stream(stream: Secured, channel: Channel, way: Way, leave: Arc<Notify>) -> Self {
        Self { way, channel, carrier: Carrier::Stream(Box::new(stream)), ending: Ending::Stream(leave) }
    }

    /// The key that the peer proved to hold.
    pub fn peer_key(&self) -> [u8; 32] {
        self.channel.peer_key
    }

    /// How it can be ended by somebody else.
    pub fn ending(&self) -> Ending {
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
    /// For how long nothing may move.
    pub patience: Duration,
}

/// Runs a session on an established connection. With `staying` it goes on when both are in step, if
/// the peer wants that, too.
pub(crate) async fn session(
    link: Link,
    side: Side,
    identity: &Identity,
    depot: &Arc<dyn Depot>,
    how: How,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>) {
    let Link { way, channel, carrier, ending } = link;
    let nothing = |failure| (Summary::default(), Err(failure));
    let How { address, staying, limit, patience } = how;
    let features = if staying.is_some() { FEATURES | FEATURE_LIVE } else { FEATURES };
    let pings = way != Way::Quic;
    let terms = Terms { staying: staying.map(|signals| Staying { signals, pings }), limit, patience };
    // A depot beyond the network is asked here whether others have added to it, and may take its time.
    let prepared = tokio::task::block_in_place(|| setup(depot.as_ref(), identity, side, channel));
    let engine = match prepared {
        Ok(setup) => match Engine::with_features(setup, features) {
            Ok(engine) => engine,
            Err(error) => return nothing(error.into()),
        },
        Err(error) => return nothing(SessionFailure::Store(error.into())),
    };
    let store = DepotStore::new(depot.clone(), identity, address);
    let mut met: Option<DeviceId> = None;
    let mut heard = |event: &Event| {
        if let Event::Met(peer) = event
            && identity.names(peer)
        {
            met = Some(peer.device.id());
            // Only a help for the next time: a failure of it is no failure of the session.
            let _ = relays::note(depot.as_ref(), peer);
        }
        on_event(event);
    };
    let done = match carrier {
        Carrier::Quic(connection) => over_quic(&connection, side, engine, store, terms, &mut heard).await,
        Carrier::Stream(stream) => {
            let told = async {
                match &ending {
                    Ending::Stream(told) => told.notified().await,
                    Ending::Quic(_) => std::future::pending().await,
                }
            };
            // What is dropped here says nothing more.
            tokio::select! {
                done = over_stream(*stream, engine, store, terms, &mut heard) => done,
                () = told => nothing(SessionFailure::Removed),
            }
        }
    };
    if let Some(device) = met {
        // Only a help for people: a failure of it is no failure of the session.
        tokio::task::block_in_place(|| {
            let _ = ways::note(depot.as_ref(), &device, way);
            if done.1.is_ok() {
                let _ = declined::note(depot.as_ref(), &device, done.0.declined_by_peer);
            }
        });
    }
    done
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
        let _ = match side {
            Side::Client => timeout(FAREWELL, reader.read_to_end(0)).await.map(drop),
            Side::Server => timeout(FAREWELL, connection.closed()).await.map(drop),
        };
    }
    connection.close(VarInt::from_u32(0), b"");
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
        let _ = timeout(FAREWELL, reader.read(&mut [0; 1])).await;
    }
    (summary, result)
}

pub(crate) fn setup(
    depot: &dyn Depot,
    identity: &Identity,
    side: Side,
    channel: Channel,
) -> Result<Setup, DaemonError> {
    Ok(Setup {
        side,
        secrets: identity.secrets.clone(),
        binding: channel.binding,
        certificate: identity.certificate.clone(),
        authority: identity.authority.clone(),
        peer_transport_key: channel.peer_key,
        now: u64::try_from(now_ms() / 1000).unwrap_or(0),
        depot: depot.depot_id(),
        known: depot.fingerprint()?.count,
        head: depot.head()?,
    })
}
