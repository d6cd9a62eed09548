//! What a relay's operator sees: counts, sizes, ages and room. Never a name, an address or an id of a device.

use fieldbook_depot::{Depot, Source};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::limits::ENTRY_SEALED_MAX;
use fieldbook_proto::session::limits::SMALL_ENTRY_MAX;
use serde::{Deserialize, Serialize};

use super::retention::{Dropped, held_by_all};
use super::{RelaySettings, lived};
use crate::carry::DISK_RESERVE;
use crate::error::DaemonError;
use crate::store::now_ms;

/// What was dropped last, and when: a JSON object.
pub(super) const COLLECTED: &str = "relay-collected";

/// What a bucket has lost: a JSON object.
const LOST: &str = "relay-lost";

/// How a relay stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its policy.
    pub policy: RelaySettings,
    /// Entries held.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries whose bytes were dropped; their ids are remembered.
    pub gone: u64,
    /// Entries that were damaged.
    pub damaged: u64,
    /// Bytes that it can still take: what the policy leaves, or the disk without what is kept free there, if that
    /// is less.
    pub room: u64,
    /// Bytes that the disk has free; none of a relay whose depot is in a bucket.
    pub disk_free: Option<u64>,
    /// Whether it takes nothing more, but for what coordinators bring.
    pub full: bool,
    /// Whether it takes no more large entries, as those of attachments are: the last tenth is for small ones.
    pub full_for_attachments: bool,
    /// Devices of which it holds something.
    pub devices: u64,
    /// Bytes that it holds of the one that brought most.
    pub most_of_one_device: u64,
    /// Devices that synced with it, since it was made.
    pub synced: Synced,
    /// Entries that have come and that not every coordinator holds, as far as is known here.
    pub not_collected: u64,
    /// How old the oldest entry is at most that it holds, in seconds during which the relay ran.
    pub oldest_s: Option<u64>,
    /// What was dropped last.
    pub last_dropped: Option<LastDropped>,
    /// What its bucket has lost; none of a relay that has no bucket.
    #[serde(default)]
    pub lost: Option<LastLost>,
}

/// Entries that a bucket has lost for good, and when that was found last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLost {
    /// How many in all.
    pub entries: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
}

/// Takes note of so many more entries that the bucket has lost.
///
/// # Errors
/// The depot's.
pub fn note_lost(depot: &dyn Depot, entries: u64) -> Result<(), DaemonError> {
    let entries = lost(depot)?.map_or(0, |lost| lost.entries).saturating_add(entries);
    let lost = LastLost { entries, time_ms: now_ms() };
    Ok(depot.set_setting(LOST, serde_json::to_vec(&lost).ok().as_deref())?)
}

fn lost(depot: &dyn Depot) -> Result<Option<LastLost>, DaemonError> {
    let stored = depot.setting(LOST)?;
    Ok(stored.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// Devices by their role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Coordinators.
    pub coordinators: u64,
    /// Monitors.
    pub monitors: u64,
    /// Other relays.
    pub relays: u64,
    /// The last sync of any, in milliseconds since 1970.
    pub last_ms: Option<i64>,
}

/// What was dropped, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDropped {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What.
    #[serde(flatten)]
    pub dropped: Dropped,
}

impl RelayStatus {
    /// Reads it from the depot; none if this is not a relay's. Costs little, whatever the number of entries.
    ///
    /// # Errors
    /// The depot's; [`DaemonError::Damaged`].
    pub fn of(depot: &dyn Depot) -> Result<Option<Self>, DaemonError> {
        let Some(policy) = RelaySettings::load(depot)? else { return Ok(None) };
        let (stats, disk_free) = (depot.stats()?, depot.room_on_disk()?);
        let on_disk = |kept: u64| disk_free.map_or(u64::MAX, |free| free.saturating_sub(kept));
        let in_policy = policy.total_bytes.saturating_sub(stats.held_bytes);
        // Small entries may use a part of what is kept free on the disk.
        let (room, room_for_small) =
            (in_policy.min(on_disk(DISK_RESERVE)), in_policy.min(on_disk(DISK_RESERVE / 2)));
        let each = depot.held_by_each()?;
        let of_devices = || each.iter().filter(|(source, _)| matches!(source, Source::Peer(_)));
        let mut synced = Synced::default();
        for peer in depot.peers()? {
            match peer.role {
                Role::Coordinator => synced.coordinators += 1,
                Role::Monitor => synced.monitors += 1,
                Role::Relay => synced.relays += 1,
            }
            synced.last_ms = synced.last_ms.max(Some(peer.last_sync_ms));
        }
        let last = depot.setting(COLLECTED)?;
        Ok(Some(Self {
            entries: stats.held,
            bytes: stats.held_bytes,
            gone: stats.gone,
            damaged: stats.quarantined,
            room,
            disk_free,
            full: room_for_small < u64::from(SMALL_ENTRY_MAX),
            full_for_attachments: in_policy < policy.total_bytes / 10 + ENTRY_SEALED_MAX as u64
                || room < ENTRY_SEALED_MAX as u64,
            devices: of_devices().count() as u64,
            most_of_one_device: of_devices().map(|(_, held)| held.bytes).max().unwrap_or(0),
            synced,
            not_collected: held_by_all(depot)?.missing(depot.head()?),
            oldest_s: oldest(depot)?,
            last_dropped: last.and_then(|json| serde_json::from_slice(&json).ok()),
            lost: lost(depot)?,
            policy,
        }))
    }
}

fn oldest(depot: &dyn Depot) -> Result<Option<u64>, DaemonError> {
    let Some(first) = depot.first_held()? else { return Ok(None) };
    let now = lived(depot)?;
    // It came after the last mark below it. Before the first mark was the beginning.
    let marks = depot.marks()?;
    let before = marks.iter().rev().find(|mark| mark.position < first).map_or(0, |mark| mark.time_ms);
    Ok(Some(now.saturating_sub(before) / 1_000))
}
