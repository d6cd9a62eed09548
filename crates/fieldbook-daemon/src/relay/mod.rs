//! A relay: a depot that others' sealed entries pass through, run by somebody who need not be of the team.
//!
//! It is an ordinary depot with a policy: how much it takes, from each device and in total, and how long it
//! keeps what. The policy lies in the depot's settings, so that every process finds the same one. `retention`
//! drops what need not be kept, `keeper` sees to it while the relay runs, `status` is what its operator sees:
//! counts, sizes and ages.

mod keeper;
mod retention;
mod status;

pub(crate) use keeper::Keeper;
pub use retention::{Collected, Dropped, collect_all};
pub use status::{LastLost, RelayStatus, Synced, note_lost};

use std::time::Duration;

use fieldbook_depot::Depot;
use fieldbook_proto::session::limits::SMALL_ENTRY_MAX;
use serde::{Deserialize, Serialize};

use crate::carry::Carry;
use crate::error::DaemonError;

/// Where the policy lies in the depot: a JSON object.
const SETTING: &str = "relay";
/// How long the relay has run in all, in milliseconds, as a decimal number. Ages are counted in this time: a
/// clock that is set wrong, or a machine that was off, makes nothing look old.
const LIVED: &str = "relay-lived";

const DAY_S: u64 = 24 * 60 * 60;

/// A relay's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaySettings {
    /// Where it listens, as `host:port`.
    pub listen: String,
    /// Bytes that it holds at most.
    pub total_bytes: u64,
    /// Bytes that it holds at most of what one device brought.
    pub device_bytes: u64,
    /// Where that number comes from.
    #[serde(default)]
    pub share: Share,
    /// What is older than this, and every coordinator holds, is dropped, in seconds.
    pub keep_s: u64,
    /// What a monitor brought, and every coordinator holds, is dropped when it is older than
    /// this, in seconds.
    pub keep_received_s: u64,
    /// Nothing younger than this is dropped, in seconds.
    pub floor_s: u64,
}

/// Where one device's share comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Written by a version that did not note it.
    #[default]
    NotNoted,
    /// It follows from the total.
    OfTotal,
    /// The operator said so many bytes. It counts as far as the total allows, and again when the total grows.
    Chosen(u64),
}

impl RelaySettings {
    /// Where a relay listens if nobody says otherwise.
    pub const LISTEN: &'static str = "0.0.0.0:4040";
    /// How long it keeps everything.
    pub const KEEP_S: u64 = 365 * DAY_S;
    /// How long it keeps what has arrived.
    pub const KEEP_RECEIVED_S: u64 = 30 * DAY_S;
    /// What is younger is never dropped.
    pub const FLOOR_S: u64 = 7 * DAY_S;

    /// The least floor. Tests of the program live faster than a relay.
    pub const FLOOR_LEAST_S: u64 = if cfg!(debug_assertions) { 1 } else { DAY_S };

    /// The total, or what the disk has room for, if that is less.
    fn total_on(&self, held: u64, disk_for_others: Option<u64>) -> u64 {
        disk_for_others.map_or(self.total_bytes, |free| self.total_bytes.min(held.saturating_add(free)))
    }

    /// How many bytes must go until there is room again; 0 unless the relay is full. The last tenth is what
    /// reports go into, so that is what there must be.
    fn excess(&self, held: u64, disk_for_others: Option<u64>) -> u64 {
        let total = self.total_on(held, disk_for_others);
        let full = held.saturating_add(u64::from(SMALL_ENTRY_MAX)) > total;
        if full { held.saturating_sub(total - total / 10) } else { 0 }
    }

    /// The quotas for a disk with so much room: half of it, and a quarter of that for one device.
    pub fn quotas(free: u64) -> (u64, u64) {
        let total = (free / 2).max(64 << 20);
        (total, Self::share_of(total))
    }

    /// The share of one device that follows from a total: a quarter, and enough for some photographs.
    pub fn share_of(total: u64) -> u64 {
        (total / 4).max(16 << 20).min(total)
    }

    /// Another total; one device's share with it.
    pub fn set_total(&mut self, total: u64) {
        let follows = self.device_bytes == Self::share_of(self.total_bytes);
        self.share = match self.share {
            Share::NotNoted if follows => Share::OfTotal,
            Share::NotNoted => Share::Chosen(self.device_bytes),
            noted => noted,
        };
        self.total_bytes = total;
        self.device_bytes = match self.share {
            Share::Chosen(chosen) => chosen.min(total),
            Share::OfTotal | Share::NotNoted => Self::share_of(total),
        };
    }

    /// Another share of one device, which stays when the total changes.
    pub fn choose_share(&mut self, bytes: u64) {
        self.device_bytes = bytes;
        self.share = Share::Chosen(bytes);
    }

    /// The policy of a depot; none if it is not a relay's.
    ///
    /// # Errors
    /// The depot's; [`DaemonError::Damaged`].
    pub fn load(depot: &dyn Depot) -> Result<Option<Self>, DaemonError> {
        let Some(stored) = depot.setting(SETTING)? else { return Ok(None) };
        let settings = serde_json::from_slice(&stored);
        settings.map(Some).map_err(|_| DaemonError::Damaged("relay's policy"))
    }

    /// Makes it the depot's, for this process and all others.
    ///
    /// # Errors
    /// The depot's.
    pub fn store(&self, depot: &dyn Depot) -> Result<(), DaemonError> {
        let json = serde_json::to_vec(self).map_err(|_| DaemonError::Damaged("relay's policy"))?;
        let (total, per_device) = (Some(self.total_bytes), Some(self.device_bytes));
        // What sessions judge by. First, so that there is no relay without a limit.
        Carry { total, per_device, largest: None, reports_only: false }.set(depot)?;
        Ok(depot.set_setting(SETTING, Some(&json))?)
    }

    /// What is wrong with it, in words.
    pub fn fault(&self) -> Option<&'static str> {
        if self.total_bytes < 2 << 20 {
            return Some(
                "it would hold less than 2M in all (--total): a piece of a photograph alone can have 1M",
            );
        }
        if self.device_bytes > self.total_bytes {
            return Some("one device may bring more than the relay takes in all");
        }
        if self.device_bytes < 2 << 20 {
            return Some("one device may bring less than 2M: a piece of a photograph alone can have 1M");
        }
        if self.floor_s < Self::FLOOR_LEAST_S {
            return Some("what is younger than a day would be dropped");
        }
        if self.keep_s < self.floor_s || self.keep_received_s < self.floor_s {
            return Some("something would be dropped that is younger than what is never dropped");
        }
        if self.keep_s < self.keep_received_s {
            return Some("what has arrived would be kept for longer than what has not");
        }
        None
    }

    /// The shortest term, by which the keeper paces itself.
    fn shortest(&self) -> Duration {
        Duration::from_secs(self.floor_s.min(self.keep_received_s).min(self.keep_s))
    }

    /// A part of the shortest term, between a second and `longest`.
    pub fn pace(&self, part: u32, longest: Duration) -> Duration {
        (self.shortest() / part).clamp(Duration::from_secs(1), longest)
    }
}

/// How long the relay has run in all, in milliseconds.
///
/// # Errors
/// The depot's; [`DaemonError::Damaged`].
pub fn lived(depot: &dyn Depot) -> Result<u64, DaemonError> {
    let Some(stored) = depot.setting(LIVED)? else { return Ok(0) };
    let number = std::str::from_utf8(&stored).ok().and_then(|text| text.parse().ok());
    number.ok_or(DaemonError::Damaged("age"))
}

fn set_lived(depot: &dyn Depot, lived_ms: u64) -> Result<(), DaemonError> {
    Ok(depot.set_setting(LIVED, Some(lived_ms.to_string().as_bytes()))?)
}
