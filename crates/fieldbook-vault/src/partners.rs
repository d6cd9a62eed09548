//! Whom this device has met, how it stands with each, and what each did not take.

use std::collections::{BTreeMap, HashMap};

use fieldbook_depot::{Beyond, Depot, PeerRecord};
use fieldbook_proto::session::Decline;
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::params;

use crate::error::VaultError;
use crate::store;
use crate::vault::Vault;
use crate::views::{DeclinedView, Partners, PeerView, ReasonsView};

/// What people are told of a device of which this one keeps no name.
const UNNAMED: &str = "another device of the team";

/// Ids that are told of what a device holds: what is beyond is written on the stick once more.
const KNOWN_TO_HOLD_MAX: i64 = 200_000;

/// By the reason, how many entries each device did not take at the last sync, as the network processes noted it.
pub(crate) type DeclinedBy = BTreeMap<String, BTreeMap<String, u64>>;

impl Vault {
    /// Whom this device can sync with.
    ///
    /// # Errors
    /// The vault's or the depot's store failed.
    pub fn partners(&self) -> Result<Partners, VaultError> {
        let (peers, invited_to) = (self.met()?, self.invited_to()?);
        Ok(Partners { in_team: self.team.is_some(), peers, invited_to })
    }

    /// Whom this device has met.
    pub(crate) fn met(&self) -> Result<Vec<PeerView>, VaultError> {
        let names = self.names()?;
        let paths = self.paths()?;
        let is_out = |device: &DeviceId| self.team.as_ref().is_some_and(|team| team.authority.is_out(device));
        let records = self.depot.peers()?;
        let mut declined = self.declined(&records)?;
        Ok(records
            .into_iter()
            .map(|peer| PeerView {
                name: peer
                    .device
                    .as_ref()
                    .map_or_else(|| UNNAMED.to_owned(), |device| names.peer(device, peer.role)),
                role: if peer.device.is_some() { peer.role.word().to_owned() } else { String::new() },
                device: peer.device.map(|device| device.to_string()).unwrap_or_default(),
                removed: peer.device.as_ref().is_some_and(is_out),
                declined: peer.device.and_then(|device| declined.remove(&device)).unwrap_or_default(),
                address: peer.address,
                path: peer.device.and_then(|device| paths.get(&device.to_string()).cloned()),
                last_sync_ms: peer.last_sync_ms,
            })
            .collect())
    }

    /// Entries that a device wrote itself or signed for, beyond those up to which it holds everything.
    ///
    /// # Errors
    /// The vault's or the depot's store failed.
    pub fn known_to_hold(&self, device: &DeviceId) -> Result<Vec<EntryId>, VaultError> {
        let peer = self.depot.peers()?.into_iter().find(|peer| peer.device.as_ref() == Some(device));
        let holds = peer.map_or(0, |peer| peer.holds_position);
        let mut statement = self.db.prepare_cached(
            "SELECT id FROM entry WHERE position > ?2
                 AND (device = ?1 OR id IN (SELECT entry FROM receipt WHERE device = ?1))
             ORDER BY position LIMIT ?3",
        )?;
        let holds = i64::try_from(holds).unwrap_or(i64::MAX);
        let ids = statement.query_map(params![device.as_bytes(), holds, KNOWN_TO_HOLD_MAX], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
        ids.map(|id| Ok(EntryId::from_bytes(store::array(&id?, "an entry id")?))).collect()
    }

    /// Who did not take everything at the last sync.
    pub(crate) fn declined_by(&self) -> Result<DeclinedBy, VaultError> {
        let stored = self.depot.setting("declined-by")?;
        Ok(stored.and_then(|stored| serde_json::from_slice(&stored).ok()).unwrap_or_default())
    }

    /// What each did not take, and how much of it this device wrote itself.
    fn declined(&self, peers: &[PeerRecord]) -> Result<HashMap<DeviceId, DeclinedView>, VaultError> {
        let by = self.declined_by()?;
        let mut declined = HashMap::new();
        if by.is_empty() {
            return Ok(declined);
        }
        let beyond = Beyond::all(&self.depot)?;
        for peer in peers {
            let Some(device) = peer.device else { continue };
            let Some(reasons) = by.get(&device.to_string()) else { continue };
            let number = |why: &str| reasons.get(why).copied().unwrap_or(0);
            let all = ReasonsView {
                full: number("full"),
                share: number("share"),
                size: number("size"),
                other: number("other"),
            };
            // Who said nothing of own entries declined none of them.
            let said = beyond.iter().find(|said| said.device == device && said.depot == peer.depot);
            let own = said.map_or(Ok(ReasonsView::default()), |said| self.own_declined(said, peer))?;
            declined.insert(device, DeclinedView { all, own });
        }
        Ok(declined)
    }

    /// What a device declined and has not taken since of what this notebook wrote itself.
    fn own_declined(&self, said: &Beyond, peer: &PeerRecord) -> Result<ReasonsView, VaultError> {
        let mut own = ReasonsView::default();
        let mut statement = self.db.prepare_cached(
            "SELECT position FROM entry
             WHERE position > ?2 AND (device = ?1 OR device IN (SELECT id FROM former_device))",
        )?;
        let least = i64::try_from(peer.holds_position).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![self.me.as_bytes(), least])?;
        while let Some(row) = rows.next()? {
            let position = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            match said.why_not(position) {
                Some(Decline::Full) => own.full += 1,
                Some(Decline::Share) => own.share += 1,
                Some(Decline::Size) => own.size += 1,
                Some(Decline::Other(_)) => own.other += 1,
                Some(Decline::Dropped) | None => {}
            }
        }
        Ok(own)
    }

    /// The way of the last sync with each device, as the network processes noted it.
    fn paths(&self) -> Result<BTreeMap<String, String>, VaultError> {
        let stored = self.depot.setting("ways")?.unwrap_or_default();
        Ok(serde_json::from_slice(&stored).unwrap_or_default())
    }

    /// The addresses that came with the admission, unless whoever admitted this device was removed since: who listens
    /// there now, nobody knows.
    pub(crate) fn invited_to(&self) -> Result<Vec<String>, VaultError> {
        let inviter = self.depot.setting("addresses-of")?;
        let inviter =
            inviter.and_then(|bytes| <[u8; DeviceId::LEN]>::try_from(bytes).ok()).map(DeviceId::from_bytes);
        let is_out = |device: &DeviceId| self.team.as_ref().is_some_and(|team| team.authority.is_out(device));
        if inviter.as_ref().is_some_and(is_out) {
            return Ok(Vec::new());
        }
        let stored = self.depot.setting("addresses")?.unwrap_or_default();
        Ok(serde_json::from_slice(&stored).unwrap_or_default())
    }
}
