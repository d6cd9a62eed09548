//! One session over one QUIC connection, from the handshake to a clean end.

use std::sync::Arc;
use std::time::Duration;

use fieldbook_depot::{Depot, SqlDepot};
use fieldbook_net::quic::{Channel, Connection, VarInt};
use fieldbook_net::session::{SessionFailure, run_session};
use fieldbook_proto::session::{Engine, Event, Setup, Side, Summary};
use tokio::time::timeout;

use crate::error::DaemonError;
use crate::identity::Identity;
use crate::store::{DepotStore, now_ms};

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

/// Runs a session on an established connection.
pub(crate) async fn session(
    connection: &Connection,
    channel: Channel,
    side: Side,
    identity: &Identity,
    depot: &Arc<SqlDepot>,
    address: Option<String>,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>) {
    let nothing = |failure| (Summary::default(), Err(failure));
    let engine = match setup(depot, identity, side, channel) {
        Ok(setup) => match Engine::new(setup) {
            Ok(engine) => engine,
            Err(error) => return nothing(error.into()),
        },
        Err(error) => return nothing(SessionFailure::Store(error.to_string())),
    };
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
    let store = DepotStore::new(depot.clone(), identity, address);
    let (summary, result) = run_session(engine, &mut reader, writer, store, on_event).await;
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

fn setup(
    depot: &Arc<SqlDepot>,
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
