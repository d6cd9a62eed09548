//! What a relay drops: the bytes of what need not be kept here any more. Ids stay, so that nothing comes back.
//!
//! Two rules. What is older than the longest term goes, and what a monitor brought goes sooner; both only once
//! every coordinator of the team has said that it holds it. What coordinators brought is for others, who may
//! sleep for months: it has the longest term, and so has what came by bundle or from another relay, of which
//! nobody can tell here whose it is. Nothing younger than the floor goes, whatever the rules say. A single entry that a
//! coordinator has no room for, say, stays by itself: what lies behind it goes.
//!
//! A coordinator who never comes must not close the relay to everybody. So when it is full, and only then, what
//! is older than the longest term goes although one of them lacks it: the oldest first, and no more than makes
//! a tenth of the room.

use std::collections::HashSet;

use fieldbook_depot::{Depot, Mark, Source, State, lacks};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::Stretches;
use fieldbook_proto::{DeviceId, EntryId};
use serde::{Deserialize, Serialize};

use super::{RelaySettings, lived};
use crate::carry::disk_for_others;
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
    /// Older than the longest term, and held by every coordinator unless the relay was full.
    pub aged: Dropped,
    /// Brought by a monitor and held by every coordinator, for long enough.
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

/// Up to where each rule has been carried out, so that it is not looked at again, but for what was `left` because some
/// coordinator lacked it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Swept {
    aged: u64,
    received: u64,
    left: Stretches,
}

/// What every standing coordinator of the team holds.
pub(super) struct HeldByAll {
    /// Everything up to here,
    until: u64,
    /// but for this.
    lacking: Stretches,
}

impl HeldByAll {
    fn has(&self, position: u64) -> bool {
        position <= self.until && self.lacking.at(position).is_none()
    }

    /// How many it does not have, of the first so many.
    pub fn missing(&self, head: u64) -> u64 {
        let until = self.until.min(head);
        let lacking = self.lacking.as_slice().iter().filter(|(first, _)| *first <= until);
        lacking.map(|(first, last)| (*last).min(until) - first + 1).sum::<u64>() + (head - until)
    }
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
    let held = held_by_all(depot)?;
    let (aged, received) =
        (older(settings.keep_s).min(held.until), older(settings.keep_received_s).min(held.until));
    // What must go although not every coordinator holds it.
    let mut excess = settings.excess(depot.stats()?.held_bytes, disk_for_others(depot)?);
    let pressed = if excess > 0 { older(settings.keep_s) } else { 0 };
    let monitors = monitors(depot)?;
    let mut collected = Collected::default();
    let mut due: Vec<EntryId> = Vec::new();
    let begins = [(aged.max(pressed), swept.aged), (received, swept.received)].into_iter();
    let begins = begins.filter(|(until, from)| until > from).map(|(_, from)| from);
    let last = aged.max(received).max(pressed);
    let mut begin = begins.min().unwrap_or(last);
    if excess > 0 {
        // Of what was left the oldest goes first now.
        begin = begin.min(swept.left.as_slice().first().map_or(last, |(first, _)| first.saturating_sub(1)));
    }
    let left = swept.left.as_slice().iter().map(|(first, end)| (first.saturating_sub(1), (*end).min(begin)));
    let mut spans: Vec<(u64, u64)> = left.chain([(begin, last)]).filter(|(after, end)| after < end).collect();
    spans.reverse();
    let mut still_left = Stretches::default();
    while let Some((mut after, end_of_span)) = spans.pop() {
        if ended() {
            return Ok(collected);
        }
        let arrivals = depot.arrivals(after, STEP, ANY_SIZE)?;
        let Some(end) = arrivals.last() else { continue };
        after = end.position;
        if after < end_of_span {
            spans.push((after, end_of_span));
        }
        for arrival in arrivals.iter().filter(|arrival| arrival.state == State::Held) {
            if arrival.position > end_of_span {
                break;
            }
            let of_a_monitor = matches!(arrival.from, Source::Peer(device) if monitors.contains(&device));
            let held = held.has(arrival.position);
            if !held && arrival.position <= aged.max(received) {
                still_left.add(arrival.position, arrival.position);
            }
            if arrival.position <= aged && held {
                collected.aged.count(arrival.size);
            } else if arrival.position <= received && of_a_monitor && held {
                collected.received.count(arrival.size);
            } else if arrival.position <= pressed && excess > 0 {
                collected.aged.count(arrival.size);
            } else {
                continue;
            }
            excess = excess.saturating_sub(u64::from(arrival.size));
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
        // A new coordinator lacks everything: what was left before is looked at again when it has synced.
        swept.left.as_slice().iter().for_each(|(first, end)| still_left.add((*first).max(last + 1), *end));
        *swept =
            Swept { aged: aged.max(swept.aged), received: received.max(swept.received), left: still_left };
    }
    Ok(collected)
}

/// The last position of which it is certain that everything up to it is older than this.
fn older_than(marks: &[Mark], now_ms: u64, term_s: u64) -> u64 {
    let term_ms = term_s.saturating_mul(1_000);
    let old = |mark: &&Mark| mark.time_ms.saturating_add(term_ms) <= now_ms;
    marks.iter().rev().find(old).map_or(0, |mark| mark.position)
}

/// What every standing coordinator of the team holds; nothing as long as one has never synced here. Whose desk an entry
/// is for cannot be told here, so all of them count.
pub(super) fn held_by_all(depot: &dyn Depot) -> Result<HeldByAll, DaemonError> {
    let authority = identity::authority(depot)?;
    let peers = depot.peers()?;
    let mut held = HeldByAll { until: 0, lacking: Stretches::default() };
    for (number, device) in authority.coordinators().keys().enumerate() {
        let Some(peer) = peers.iter().find(|peer| peer.device == Some(*device)) else {
            return Ok(HeldByAll { until: 0, lacking: Stretches::default() });
        };
        let lacks = lacks(depot, device, &peer.depot, peer.holds_position)?;
        held.until = if number == 0 { lacks.until() } else { held.until.min(lacks.until()) };
        lacks.stretches().iter().for_each(|(first, last)| held.lacking.add(*first, *last));
    }
    Ok(held)
}

fn monitors(depot: &dyn Depot) -> Result<HashSet<DeviceId>, DaemonError> {
    let monitors = depot.peers()?.into_iter().filter(|peer| peer.role == Role::Monitor);
    Ok(monitors.filter_map(|peer| peer.device).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, Incoming, PeerRecord, SqlDepot, set_lacks};
    use fieldbook_proto::DepotId;
    use fieldbook_proto::certificate::Authority;
    use fieldbook_proto::session::Lacks;

    use super::super::set_lived;
    use super::*;
    use crate::store::tests::{certificate, coordinator};

    /// Twenty entries of 100 kB, all older than every term; two coordinators.
    fn a_year_later(dir: &std::path::Path, total_bytes: u64) -> (SqlDepot, RelaySettings) {
        let id = DepotId::from_bytes([1; 16]);
        let depot = SqlDepot::create(&dir.join("d"), &DepotKey::new([1; 32]), id).unwrap();
        let mut authority = Authority::new(certificate(1)).unwrap();
        authority.add_coordinator(coordinator(2)).unwrap();
        depot.set_setting("authority", Some(&authority.encode())).unwrap();
        for number in 0..20 {
            let bytes = vec![number; 100_000];
            let from = Source::Peer(certificate(4).device_id());
            depot.put(&[Incoming { id: EntryId::of(&bytes), bytes: &bytes, from }]).unwrap();
        }
        depot.note_time(1_000, 0).unwrap();
        set_lived(&depot, 10_000_000).unwrap();
        let settings = RelaySettings {
            listen: RelaySettings::LISTEN.to_owned(),
            share: crate::relay::Share::OfTotal,
            total_bytes,
            device_bytes: total_bytes,
            keep_s: 3,
            keep_received_s: 3,
            floor_s: 1,
        };
        (depot, settings)
    }

    fn syncs(depot: &SqlDepot, seed: u8, holds_position: u64) {
        let record = PeerRecord {
            device: Some(certificate(seed).device_id()),
            role: Role::Coordinator,
            depot: DepotId::from_bytes([seed; 16]),
            address: None,
            last_sync_ms: 1,
            holds_position,
        };
        depot.record_peer(record).unwrap();
    }

    #[test]
    fn what_a_coordinator_lacks_is_not_dropped_for_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let (depot, settings) = a_year_later(dir.path(), 100_000_000);
        let due = |dry_run| collect_all(&depot, &settings, dry_run).unwrap().all().entries;
        assert_eq!(due(true), 0, "nobody has come");
        syncs(&depot, 1, 20);
        assert_eq!(due(true), 0, "one of the two has not come");
        syncs(&depot, 2, 7);
        assert_eq!(due(true), 7);
        // As the keeper does it, which remembers how far it came.
        let mut swept = Swept::default();
        let mut keeps = || collect(&depot, &settings, &mut swept, false, &|| false).unwrap().all().entries;
        assert_eq!((keeps(), keeps()), (7, 0));
        syncs(&depot, 2, 9);
        assert_eq!((keeps(), keeps()), (2, 0));
    }

    #[test]
    fn what_one_coordinator_lacks_stays_and_what_lies_behind_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (depot, settings) = a_year_later(dir.path(), 100_000_000);
        syncs(&depot, 1, 20);
        syncs(&depot, 2, 4);
        let lacks = |gaps: &[(u64, u64)], until| {
            let (device, its) = (certificate(2).device_id(), DepotId::from_bytes([2; 16]));
            let mut lacking = Stretches::default();
            gaps.iter().for_each(|(first, last)| lacking.add(*first, *last));
            let mut lacks = Lacks::nothing_up_to(4);
            lacks.settle(until, &lacking);
            set_lacks(&depot, &device, &its, &lacks).unwrap();
        };
        lacks(&[(5, 5), (9, 10)], 15);
        assert_eq!(held_by_all(&depot).unwrap().missing(20), 5 + 3);
        let mut swept = Swept::default();
        let held = || {
            let all = depot.arrivals(0, 20, ANY_SIZE).unwrap().into_iter();
            all.filter(|it| it.state == State::Held).map(|it| it.position).collect::<Vec<_>>()
        };
        let mut keeps = || collect(&depot, &settings, &mut swept, false, &|| false).unwrap().all().entries;
        assert_eq!((keeps(), keeps()), (12, 0));
        assert_eq!(held(), [5, 9, 10, 16, 17, 18, 19, 20]);
        // It has room for some of it again.
        lacks(&[(10, 10)], 18);
        assert_eq!((keeps(), keeps()), (5, 0));
        assert_eq!(held(), [10, 19, 20]);
        syncs(&depot, 2, 20);
        lacks(&[], 20);
        assert_eq!((keeps(), held().len()), (3, 0));
    }

    #[test]
    fn what_a_coordinator_never_takes_goes_when_there_is_no_room_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let (depot, settings) = a_year_later(dir.path(), 2_000_000);
        [1, 2].into_iter().for_each(|seed| syncs(&depot, seed, 0));
        let (device, its) = (certificate(2).device_id(), DepotId::from_bytes([2; 16]));
        let mut lacking = Stretches::default();
        lacking.add(1, 20);
        let mut lacks = Lacks::default();
        lacks.settle(20, &lacking);
        set_lacks(&depot, &device, &its, &lacks).unwrap();
        syncs(&depot, 1, 20);
        let roomy = RelaySettings { total_bytes: 100_000_000, ..settings.clone() };
        let mut swept = Swept::default();
        let mut keeps =
            |settings| collect(&depot, settings, &mut swept, false, &|| false).unwrap().aged.entries;
        assert_eq!((keeps(&roomy), keeps(&roomy)), (0, 0));
        assert_eq!((keeps(&settings), keeps(&settings)), (2, 0), "a tenth");
        let left = depot.arrivals(0, 20, ANY_SIZE).unwrap();
        assert!(left.iter().all(|arrival| (arrival.state == State::Held) == (arrival.position > 2)));
    }

    #[test]
    fn a_full_relay_drops_the_oldest_of_what_is_too_old_and_no_more_than_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let (depot, settings) = a_year_later(dir.path(), 2_000_000);
        syncs(&depot, 1, 20);
        let mut swept = Swept::default();
        let mut keeps = || collect(&depot, &settings, &mut swept, false, &|| false).unwrap().aged.entries;
        assert_eq!((keeps(), keeps()), (2, 0), "a tenth");
        let left = depot.arrivals(0, 20, ANY_SIZE).unwrap();
        assert!(left.iter().all(|arrival| (arrival.state == State::Held) == (arrival.position > 2)));
        let young = RelaySettings { keep_s: 100_000, ..settings };
        assert_eq!(collect_all(&depot, &young, true).unwrap().all().entries, 0);
    }

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
