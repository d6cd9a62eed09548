//! The courier: one sync with the first device that answers, then its process ends.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldbook_depot::{DepotKey, SqlDepot};
use fieldbook_net::quic;
use fieldbook_net::session::SessionFailure;
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{Event, SessionError, Side, Summary};

use crate::connection;
use crate::error::DaemonError;
use crate::identity::Identity;

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the endpoint may take to send that the connection is closed. QUIC would stay for three more
/// timeouts to answer stragglers; a process that ends need not.
const LAST_WORD: Duration = Duration::from_millis(20);

/// What a courier tells while it works. Addresses are what the user gave or what was remembered.
#[derive(Debug, Clone)]
pub enum CourierEvent {
    /// An address is tried now.
    Trying(String),
    /// A device of the team answered.
    Met {
        /// Where.
        address: String,
        /// Which.
        device: DeviceId,
        /// In which role.
        role: Role,
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
    /// Entries that the other side has made durable, so far.
    Sent(u64),
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
    },
}

/// Syncs with the first of `addresses` that leads to a device of the team. `None`: none did; each was
/// reported by [`CourierEvent::Failed`].
///
/// # Errors
/// The depot cannot be used, or the device has no team.
pub fn run_courier(
    depot_path: &Path,
    depot_key: &DepotKey,
    addresses: &[String],
    mut tell: impl FnMut(CourierEvent) + Send,
) -> Result<Option<Summary>, DaemonError> {
    let depot = Arc::new(SqlDepot::open(depot_path, depot_key)?);
    let identity = Identity::load(depot.as_ref())?;
    let runtime = connection::runtime()?;
    let done = runtime.block_on(async {
        for address in addresses {
            if let Some(summary) = try_address(address, &identity, &depot, &mut tell).await {
                return Some(summary);
            }
        }
        None
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done)
}

async fn try_address(
    address: &str,
    identity: &Identity,
    depot: &Arc<SqlDepot>,
    tell: &mut (impl FnMut(CourierEvent) + Send),
) -> Option<Summary> {
    let failed = |why: String, answered: bool, tell: &mut dyn FnMut(CourierEvent)| {
        tell(CourierEvent::Failed { address: address.to_owned(), why, answered });
    };
    tell(CourierEvent::Trying(address.to_owned()));
    let targets: Vec<SocketAddr> = match tokio::net::lookup_host(address).await {
        Ok(targets) => targets.collect(),
        Err(error) => {
            failed(unresolved(address, &error), false, tell);
            return None;
        }
    };
    for target in targets {
        let dialled = async {
            let endpoint = quic::dialler(&identity.transport, target)?;
            let (connection, channel) = quic::dial(&endpoint, target, PATIENCE).await?;
            Ok::<_, quic::QuicError>((endpoint, connection, channel))
        };
        let (endpoint, connection, channel) = match dialled.await {
            Ok(dialled) => dialled,
            Err(error) => {
                failed(error.to_string(), false, tell);
                continue;
            }
        };
        let (mut answered, mut peer_until, mut held) = (false, 0, 0);
        let mut on_event = |event: &Event| match event {
            Event::Met(peer) => {
                answered = true;
                peer_until = peer.device.body().not_after;
                let (device, role) = (peer.device.id(), peer.device.body().role);
                tell(CourierEvent::Met { address: address.to_owned(), device, role });
            }
            Event::Limited(limits) if limits.us => {
                tell(CourierEvent::RanOut { not_after: identity.certificate.body().not_after });
            }
            Event::Limited(_) => tell(CourierEvent::PeerRanOut { not_after: peer_until }),
            Event::Held(ids) => {
                held += ids.len() as u64;
                tell(CourierEvent::Sent(held));
            }
            Event::Repairing => tell(CourierEvent::Repairing),
            _ => {}
        };
        let (summary, result) = connection::session(
            &connection,
            channel,
            Side::Client,
            identity,
            depot,
            Some(address.to_owned()),
            &mut on_event,
        )
        .await;
        let _ = tokio::time::timeout(LAST_WORD, endpoint.wait_idle()).await;
        match result {
            Ok(()) => return Some(summary),
            Err(error) => failed(why(&error, answered), answered, tell),
        }
    }
    None
}

/// The resolver's own words ("Name or service not known") help nobody.
fn unresolved(address: &str, error: &io::Error) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match error.kind() {
        io::ErrorKind::InvalidInput => format!("the address cannot be understood: {error}"),
        _ => format!("no device of the name \"{host}\" can be found: it is mistyped, or there is no network"),
    }
}

/// A server that does not know us closes without a word: say what that usually means.
fn why(error: &SessionFailure, answered: bool) -> String {
    match error {
        SessionFailure::Session(SessionError::Cut) | SessionFailure::Connection(_) if !answered => {
            "it closed the connection without a word: it is of another team, or does not accept this device"
                .to_owned()
        }
        error => error.to_string(),
    }
}
