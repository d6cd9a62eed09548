//! What a relay drops: the bytes of what need not be kept here any more. Ids stay, so that nothing comes back.
//!
//! Two rules. What is older than the longest term goes. And what a monitor brought goes sooner, once every
//! coordinator that syncs here has said that it holds it. What coordinators brought is for others, who may
//! sleep for months: it has the longest term, and so has what came by bundle or from another relay, of which
//! nobody can tell here whose it is. Nothing younger than the floor goes, whatever the rules say.

use std::collections::HashSet;

use fieldbook_depot::{Depot, Mark, Source, State};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, EntryId};
use serde::{Deserialize, Serialize};

use super::{RelaySettings, lived};
use crate::error::DaemonError;
use crate::identity;

/// Entries that are looked at in one go.
const STEP: usize = 4_096;
/// Entries that are dropped in one transaction, so that nobody waits long.
const DROP: usize = 512;
/// Arrivals are read by number, not by size.
const ANY_SIZE: u64 = u64::MAX >> 1;

/// Entries and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many.
    pub entries: u64,
    /// How large.
    pub bytes: u64,
}

impl Dropped {
    fn count(&mut self, size: u32) {
        self.entries += 1;
        self.bytes += u64::from(size);
    }
}

/// What was dropped, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Older than the longest term.
    pub aged: Dropped,
    /// Held by every coordinator that syncs here, for long enough.
    pub received: Dropped,
}

impl Collected {
    /// Both together.
    pub fn all(&self) -> Dropped {
        Dropped {
            entries: self.aged.entries + self.received.entries,
            bytes: self.aged.bytes + self.received.bytes,
        }
    }
}

/// Up to where each rule has been carried out, so that it is not looked at again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Swept {
    aged: u64,
    received: u64,
}

/// Looks at everything, and drops what is due; with `dry_run` only counts it.
///
/// # Errors
/// The depot's; what was dropped before stays dropped. [`DaemonError::NoTeam`].
pub fn collect_all(
    depot: &dyn Depot,
    settings: &RelaySettings,
    dry_run: bool,
) -> Result<Collected, DaemonError> {
    collect(depot, settings, &mut Swept::default(), dry_run, &|| false)
}

/// Goes on from where it came to the last time. `ended` is asked now and then.
pub(super) fn collect(
    depot: &dyn Depot,
    settings: &RelaySettings,
    swept: &mut Swept,
    dry_run: bool,
    ended: &dyn Fn() -> bool,
) -> Result<Collected, DaemonError> {
    let (marks, now) = (depot.marks()?, lived(depot)?);
    let older = |term_s: u64| older_than(&marks, now, term_s.max(settings.floor_s));
    let aged = older(settings.keep_s);
    let received = older(settings.keep_received_s).min(held_by_all(depot)?);
    let monitors = monitors(depot)?;
    let mut collected = Collected::default();
    let mut due: Vec<EntryId> = Vec::new();
    let mut after = match (aged > swept.aged, received > swept.received) {
        (true, true) => swept.aged.min(swept.received),
        (true, false) => swept.aged,
        (false, true) => swept.received,
        (false, false) => return Ok(collected),
    };
    let last = aged.max(received);
    while after < last {
        if ended() {
            return Ok(collected);
        }
        let arrivals = depot.arrivals(after, STEP, ANY_SIZE)?;
        let Some(end) = arrivals.last() else { break };
        after = end.position;
        for arrival in arrivals.iter().filter(|arrival| arrival.state == State::Held) {
            let of_a_monitor = matches!(arrival.from, Source::Peer(device) if monitors.contains(&device));
            if arrival.position <= aged {
                collected.aged.count(arrival.size);
            } else if arrival.position <= received && of_a_monitor {
                collected.received.count(arrival.size);
            } else {
                continue;
            }
            due.push(arrival.id);
        }
        if !dry_run {
            for ids in due.chunks(DROP) {
                depot.forget(ids)?;
            }
        }
        due.clear();
    }
    if !dry_run {
        *swept = Swept { aged: aged.max(swept.aged), received: received.max(swept.received) };
    }
    Ok(collected)
}

/// The last position of which it is certain that everything up to it is older than this.
fn older_than(marks: &[Mark], now_ms: u64, term_s: u64) -> u64 {
    let term_ms = term_s.saturating_mul(1_000);
    let old = |mark: &&Mark| mark.time_ms.saturating_add(term_ms) <= now_ms;
    marks.iter().rev().find(old).map_or(0, |mark| mark.position)
}

/// The last position up to which every standing coordinator that has synced here holds everything; 0 if none
/// has. One that never syncs here gets what it reads on another way, or asks for it before the longest term.
pub(super) fn held_by_all(depot: &dyn Depot) -> Result<u64, DaemonError> {
    let authority = identity::authority(depot)?;
    let coordinators = depot.peers()?.into_iter().filter(|peer| {
        peer.device.is_some_and(|device| authority.is_coordinator(&device) && peer.role == Role::Coordinator)
    });
    Ok(coordinators.map(|peer| peer.holds_position).min().unwrap_or(0))
}

fn monitors(depot: &dyn Depot) -> Result<HashSet<DeviceId>, DaemonError> {
    let monitors = depot.peers()?.into_iter().filter(|peer| peer.role == Role::Monitor);
    Ok(monitors.filter_map(|peer| peer.device).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_for_older_than_it_is() {
        let marks =
            [(3, 1_000), (5, 2_000), (9, 9_000)].map(|(position, time_ms)| Mark { position, time_ms });
        for (now, term, expected) in [
            (1_999, 1, 0),
            (2_000, 1, 3),
            (3_000, 1, 5),
            (9_999, 1, 5),
            (10_000, 1, 9),
            (10_000, u64::MAX, 0),
        ] {
            assert_eq!(older_than(&marks, now, term), expected, "{now} {term}");
        }
        assert_eq!(older_than(&[], 10_000, 0), 0);
        // The relay's own time went back: nothing is old until it has caught up.
        assert_eq!(older_than(&marks, 0, 0), 0);
    }
}
