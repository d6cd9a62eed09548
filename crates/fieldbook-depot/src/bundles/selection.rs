//! Which entries go into a bundle, and in which order: reports before pieces of films.

use std::collections::HashSet;

use fieldbook_proto::bundle::{RECORD_OVERHEAD, part_len};
use fieldbook_proto::session::limits::SMALL_ENTRY_MAX;
use fieldbook_proto::{DeviceId, EntryId};

use super::BundleError;
use crate::{Arrival, Beyond, Depot, Source, State};

/// Ids that are read at a time.
const PAGE: usize = 2_048;
/// Arrivals are read by number: their bytes are not read.
const ANY_SIZE: u64 = u64::MAX >> 1;

/// Everything held that arrived after one position and not after another.
#[derive(Debug, Clone)]
pub(super) struct Selection<'a> {
    /// After this position.
    pub since: u64,
    /// Up to this one.
    pub head: u64,
    /// Not what this device is known to hold.
    pub except: Option<Except<'a>>,
}

/// What a device is known to hold.
#[derive(Debug, Clone)]
pub(super) struct Except<'a> {
    /// It brought it itself.
    pub device: DeviceId,
    /// It said so at the last sync.
    pub beyond: Option<Beyond>,
    /// It wrote it, or signed for it.
    pub held: &'a HashSet<EntryId>,
}

/// A place in the order in which a selection is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The small entries come first.
    pub large: bool,
    /// After this position.
    pub after: u64,
}

/// What a selection will take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub entries: u64,
    pub parts: u32,
    /// Of all files together.
    pub bytes: u64,
}

impl Selection<'_> {
    /// Goes through the ids from `place` on; `each` is told where to go on after each of them.
    pub fn each(
        &self,
        depot: &dyn Depot,
        mut place: Place,
        mut each: impl FnMut(&Arrival, Place) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        loop {
            let page = depot.arrivals(place.after, PAGE, ANY_SIZE)?;
            let mut ended = page.is_empty();
            for arrival in page {
                if arrival.position > self.head {
                    ended = true;
                    break;
                }
                place.after = arrival.position;
                if place.large == (arrival.size > SMALL_ENTRY_MAX) && self.takes(&arrival) {
                    each(&arrival, place)?;
                }
            }
            match (ended, place.large) {
                (false, _) => {}
                (true, false) => place = Place { large: true, after: self.since },
                (true, true) => return Ok(()),
            }
        }
    }

    fn takes(&self, arrival: &Arrival) -> bool {
        let theirs = self.except.as_ref().is_some_and(|except| {
            arrival.from == Source::Peer(except.device)
                || except.held.contains(&arrival.id)
                || except.beyond.as_ref().is_some_and(|said| said.holds(arrival.position).is_some())
        });
        arrival.state == State::Held && !theirs
    }

    /// How much is left from `place` on, in parts of at most `limit` bytes.
    pub fn plan(&self, depot: &dyn Depot, place: Place, limit: u64) -> Result<Plan, BundleError> {
        let mut plan = Plan::default();
        let mut records = 0;
        self.each(depot, place, |arrival, _| {
            if !fits(records, arrival.size as usize, limit) {
                plan.parts += 1;
                plan.bytes += part_len(records);
                records = 0;
            }
            plan.entries += 1;
            records += (RECORD_OVERHEAD + arrival.size as usize) as u64;
            Ok(())
        })?;
        if records > 0 {
            plan.parts += 1;
            plan.bytes += part_len(records);
        }
        Ok(plan)
    }
}

/// Whether an entry has room in a part that has so many bytes of records.
pub(super) fn fits(records: u64, entry: usize, limit: u64) -> bool {
    records == 0 || part_len(records + (RECORD_OVERHEAD + entry) as u64) <= limit
}

/// What is remembered per destination of the last bundle that was written for it.
pub(super) fn sent_setting(label: &str) -> String {
    format!("bundle-sent {label}")
}

/// The position up to which the last bundle for `label` went; 0 if there was none.
pub(super) fn sent(depot: &dyn Depot, label: &str) -> Result<u64, BundleError> {
    let stored = depot.setting(&sent_setting(label))?.unwrap_or_default();
    Ok(stored.try_into().map_or(0, u64::from_be_bytes))
}

/// The bytes of an entry, if they are still here.
pub(super) fn bytes(depot: &dyn Depot, id: &EntryId) -> Result<Option<Vec<u8>>, BundleError> {
    Ok(match depot.get(id)? {
        crate::Lookup::Held(bytes) => Some(bytes),
        crate::Lookup::Gone | crate::Lookup::Unknown => None,
    })
}
