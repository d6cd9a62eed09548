//! The relays that this device knows, and what follows from knowing one: it may be spoken to in an epoch that
//! is over.
//!
//! A relay only listens. It hears of a new transport epoch from a coordinator who dials it, and the coordinator
//! who made the epoch would be refused by it, because it proves to be of the team by a secret that the relay
//! does not have yet. So to a relay, and to nobody else, a device that is hung up on tries its earlier
//! secrets, the newest first. A removed device that knows one of them learns nothing by it: the other end has
//! proven the relay's own key before anything is said, and what is said goes to that key alone.

use std::io;

use fieldbook_depot::Depot;
use fieldbook_net::session::SessionFailure;
use fieldbook_proto::certificate::{Authority, Certificate, Role};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::limits::CERTIFICATE_MAX;
use fieldbook_proto::session::{Peer, SessionError};

use crate::error::DaemonError;
use crate::identity::Identity;

/// What this device's vault knows: a coordinator's knows the relays of its desk. See [`read`].
const KNOWN: &str = "relays";
/// What the network processes met.
const MET: &str = "relays-met";
/// Relays of which a certificate is kept.
const KEPT: usize = 16;
/// How many earlier epochs are tried.
pub(crate) const EPOCHS_BACK: usize = 8;

/// Keeps the certificate of a relay that was met.
pub(crate) fn note(depot: &dyn Depot, peer: &Peer) -> Result<(), DaemonError> {
    if peer.device.body().role != Role::Relay {
        return Ok(());
    }
    let mut met = read(depot, MET)?;
    if met.first() == Some(&peer.certificate) {
        return Ok(());
    }
    met.retain(|known| known.device_id() != peer.device.id());
    met.insert(0, peer.certificate.clone());
    met.truncate(KEPT);
    let mut writer = Writer::new();
    writer.u32(u32::try_from(met.len()).unwrap_or(0));
    for certificate in &met {
        writer.bytes(&certificate.encode());
    }
    Ok(depot.set_setting(MET, Some(&writer.finish()))?)
}

/// Whether this is the transport key of a relay that stands.
fn is_relays(depot: &dyn Depot, authority: &Authority, key: &[u8; 32]) -> bool {
    keys(depot, authority).contains(key)
}

/// The transport keys of the relays that stand.
pub(crate) fn keys(depot: &dyn Depot, authority: &Authority) -> Vec<[u8; 32]> {
    // What does not read back only costs the try.
    let known = [KNOWN, MET].into_iter().filter_map(|setting| read(depot, setting).ok()).flatten();
    let stand = known.filter(|certificate| {
        certificate.body().role == Role::Relay && authority.judge(certificate, 0).is_ok()
    });
    stand.map(|certificate| certificate.body().keys.transport).collect()
}

/// A list of certificates: their number (4), then each with its length before it.
fn read(depot: &dyn Depot, setting: &str) -> Result<Vec<Certificate>, DaemonError> {
    let Some(stored) = depot.setting(setting)? else { return Ok(Vec::new()) };
    let damaged = |_| DaemonError::Damaged("list of relays");
    let mut reader = Reader::new(&stored);
    let number = reader.count("relays", 1 << 10).map_err(damaged)?;
    let certificates = (0..number).map(|_| {
        let bytes = reader.bytes("certificate", CERTIFICATE_MAX).map_err(damaged)?;
        Certificate::decode(bytes).map_err(|_| DaemonError::Damaged("list of relays"))
    });
    certificates.collect()
}

/// Whether the next try may speak in the epoch before the one that is `back` before the newest: the other side hung
/// up before it was met, is a relay by the key that it has just proven, and there is an earlier epoch.
pub(crate) fn may_go_back(
    failure: &SessionFailure,
    back: usize,
    identity: &Identity,
    depot: &dyn Depot,
    key: &[u8; 32],
) -> bool {
    hung_up(failure) && speaks_earlier(back, identity, depot, key)
}

/// Whether whoever hung up is a relay, by the key that it has just proven, to which an earlier epoch may be spoken.
pub(crate) fn speaks_earlier(back: usize, identity: &Identity, depot: &dyn Depot, key: &[u8; 32]) -> bool {
    let earlier = identity.secrets.len().saturating_sub(1).min(EPOCHS_BACK);
    back < earlier && is_relays(depot, &identity.authority, key)
}

/// Whether the other side hung up before it had said anything, as one does that cannot open the hello.
fn hung_up(failure: &SessionFailure) -> bool {
    match failure {
        SessionFailure::Session(SessionError::Cut) => true,
        SessionFailure::Connection(error) => error.kind() != io::ErrorKind::TimedOut,
        _ => false,
    }
}
