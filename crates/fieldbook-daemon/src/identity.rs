//! What a device shows and believes on the network, read from the depot's settings.

use fieldbook_depot::Depot;
use fieldbook_net::tls::TransportKey;
use fieldbook_proto::certificate::{Authority, Certificate, Role};
use fieldbook_proto::session::{Peer, TransportSecret};
use zeroize::Zeroizing;

use crate::error::DaemonError;

/// Whom this device believes, as its vault has learnt last.
///
/// # Errors
/// As [`Identity::load`].
pub(crate) fn authority(depot: &dyn Depot) -> Result<Authority, DaemonError> {
    let authority = depot.setting("authority")?.ok_or(DaemonError::NoTeam)?;
    Authority::decode(&authority).map_err(|_| DaemonError::Damaged("authority"))
}

/// By what the team proves itself, the newest first.
///
/// # Errors
/// As [`Identity::load`].
pub(crate) fn secrets(depot: &dyn Depot) -> Result<Vec<TransportSecret>, DaemonError> {
    let secrets = Zeroizing::new(depot.setting("transport-secrets")?.ok_or(DaemonError::NoTeam)?);
    TransportSecret::decode_list(&secrets).map_err(|_| DaemonError::Damaged("transport secrets"))
}

/// Whether a device that was met still stands. Whether its certificate has run out meanwhile is no matter.
pub(crate) fn stands(authority: &Authority, peer: &Peer) -> bool {
    authority.judge(&peer.certificate, 0).is_ok()
}

/// The network side of a device: no key of it can open or write an entry.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its TLS raw public key.
    pub transport: TransportKey,
    /// Its membership.
    pub certificate: Certificate,
    /// Whom it believes.
    pub authority: Authority,
    /// Proof of the team, newest epoch first.
    pub secrets: Vec<TransportSecret>,
}

impl Identity {
    /// Whether this device keeps the name of one that it meets. Two monitors exchange what they carry and
    /// write down nothing of each other: who finds one must not find the others.
    pub(crate) fn names(&self, peer: &Peer) -> bool {
        let known = |certificate: &Certificate| {
            self.authority.is_coordinator(&certificate.device_id()) || certificate.body().role == Role::Relay
        };
        known(&self.certificate) || known(&peer.certificate)
    }

    /// The same device, which proves to be of the team by the secret of so many epochs ago.
    pub(crate) fn in_epoch(&self, back: usize) -> Self {
        Self { secrets: self.secrets.iter().skip(back).cloned().collect(), ..self.clone() }
    }

    /// Reads it. Done anew for every session, so that a change of team takes effect at once.
    ///
    /// # Errors
    /// [`DaemonError::NoTeam`] before the device has joined a team; [`DaemonError::Damaged`] when a
    /// setting does not read back; the depot's.
    pub fn load(depot: &dyn Depot) -> Result<Self, DaemonError> {
        let certificate = depot.setting("certificate")?.ok_or(DaemonError::NoTeam)?;
        let certificate =
            Certificate::decode(&certificate).map_err(|_| DaemonError::Damaged("certificate"))?;
        let authority = authority(depot)?;
        let secrets = secrets(depot)?;
        let seed = Zeroizing::new(depot.setting("transport-seed")?.unwrap_or_default());
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(seed.as_slice().try_into().map_err(|_| DaemonError::Damaged("transport key"))?);
        let transport = TransportKey::new(&seed, &certificate.body().keys.transport)
            .map_err(|_| DaemonError::Damaged("transport key"))?;
        Ok(Self { transport, certificate, authority, secrets })
    }
}
