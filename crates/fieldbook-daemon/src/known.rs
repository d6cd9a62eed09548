//! Where devices were met, and whether they still belong there.
//!
//! Whoever dials proves by the handshake which device calls, and from where. So an address at which a device was
//! met that was removed from the team since, a relay that was seized, say, is not dialled any more by itself.

use std::collections::BTreeSet;

use fieldbook_depot::Depot;

use crate::error::DaemonError;
use crate::identity;

/// The addresses at which devices were met, by what the team says of those devices now.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// At least one that stands.
    pub standing: BTreeSet<String>,
    /// None that stands.
    pub removed: BTreeSet<String>,
}

impl Known {
    /// As it is now.
    ///
    /// # Errors
    /// The depot's; the device has no team.
    pub fn of(depot: &dyn Depot) -> Result<Self, DaemonError> {
        let authority = identity::authority(depot)?;
        let mut known = Self::default();
        for peer in depot.peers()? {
            let (Some(address), Some(device)) = (peer.address, peer.device) else { continue };
            let of_it = if authority.is_out(&device) { &mut known.removed } else { &mut known.standing };
            of_it.insert(address);
        }
        known.removed.retain(|address| !known.standing.contains(address));
        Ok(known)
    }

    /// Whether only a removed device was met at an address. When that cannot be read, nobody is dialled: a
    /// session could not be judged either.
    pub fn is_removed(depot: &dyn Depot, address: &str) -> bool {
        Self::of(depot).map_or(true, |known| known.removed.contains(address))
    }
}
