//! What a peer took of this device's own entries while it did not take everything, noted entry by entry, and what it
//! no longer holds of them: the position up to which it has everything stops at the first one that it declined, and
//! says nothing of those behind it, nor of what it dropped.

use std::collections::HashMap;

use fieldbook_depot::{Beyond, Depot, DepotError, Source};
use fieldbook_proto::EntryId;
use fieldbook_proto::session::{Arrival, Decline, Peer};

/// Own entries that are remembered in case the peer declines one later in the session; what is beyond is looked up when
/// it was taken.
const REMEMBERED_MAX: usize = 1 << 16;

/// Where it is noted.
pub(crate) struct Place<'a> {
    pub depot: &'a dyn Depot,
    /// Of which a name is kept.
    pub peer: &'a Peer,
    /// Up to where it holds everything.
    pub holds: u64,
    pub now_ms: i64,
}

/// What is known of one session.
#[derive(Default)]
pub(crate) struct Gaps {
    /// Own entries that were read to be sent or offered, by position. What is carried for others takes no room.
    own: HashMap<EntryId, u64>,
    /// There were more of them.
    more: bool,
    /// The peer took these before anything was declined.
    took: Vec<u64>,
    /// Something was declined or refused: from now on it is noted entry by entry.
    open: bool,
    /// What it had declined in earlier sessions is no longer what is kept.
    renewed: bool,
}

impl Gaps {
    /// These were read: some of them are sent or offered.
    pub fn read(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals.iter().filter(|arrival| arrival.own && arrival.held) {
            if self.own.len() < REMEMBERED_MAX {
                self.own.insert(arrival.id, arrival.position);
            } else {
                self.more = true;
            }
        }
    }

    /// The peer holds these, or knew them.
    pub fn took(&mut self, ids: &[EntryId], place: &Place<'_>) {
        // It only helps people: a failure of it is no failure of the session.
        let Ok(took) = self.positions(ids, place.depot) else { return };
        if self.open {
            let _ = self.write(took, &[], place);
            return;
        }
        let room = REMEMBERED_MAX.saturating_sub(self.took.len());
        self.took.extend(took.into_iter().take(room));
    }

    /// The peer does not take these now.
    pub fn declined(&mut self, declined: &[(EntryId, Decline)], place: &Place<'_>) {
        self.open = true;
        let took = std::mem::take(&mut self.took);
        let _ = self.write(took, declined, place);
    }

    /// The peer refused something, or was not given it, and will not be said to hold everything.
    pub fn left(&mut self, place: &Place<'_>) {
        self.declined(&[], place);
    }

    /// The peer knows these and no longer holds them.
    pub fn dropped(&mut self, ids: &[EntryId], place: &Place<'_>) {
        let Ok(dropped) = self.positions(ids, place.depot) else { return };
        let _ = Self::change(place, |beyond| beyond.drop(&dropped, place.now_ms), dropped.is_empty());
    }

    /// Where the own ones among these lie, rising.
    fn positions(&mut self, ids: &[EntryId], depot: &dyn Depot) -> Result<Vec<u64>, DepotError> {
        let mut positions = Vec::new();
        let mut others = Vec::new();
        for id in ids {
            match self.own.remove(id) {
                Some(position) => positions.push(position),
                None => others.push(*id),
            }
        }
        if self.more && !others.is_empty() {
            let known = depot.known(&others)?.into_iter().filter(|known| known.from == Source::Own);
            positions.extend(known.map(|known| known.position));
        }
        positions.sort_unstable();
        Ok(positions)
    }

    fn write(
        &mut self,
        took: Vec<u64>,
        declined: &[(EntryId, Decline)],
        place: &Place<'_>,
    ) -> Result<(), DepotError> {
        let held: Vec<u64> = took.into_iter().filter(|position| *position > place.holds).collect();
        let why: HashMap<EntryId, Decline> = declined.iter().copied().collect();
        let ids: Vec<EntryId> = why.keys().copied().collect();
        let known = if ids.is_empty() { Vec::new() } else { place.depot.known(&ids)? };
        let own = known.iter().filter(|known| known.from == Source::Own && known.position > place.holds);
        let mut left: Vec<(u64, Decline)> =
            own.filter_map(|known| Some((known.position, *why.get(&known.id)?))).collect();
        left.sort_unstable();
        let renews = !declined.is_empty() && !self.renewed;
        self.renewed |= renews;
        let nothing = held.is_empty() && left.is_empty() && !renews;
        let note = |beyond: &mut Beyond| {
            if renews {
                beyond.declined.clear();
            }
            beyond.decline(&left);
            beyond.hold(&held, place.now_ms);
        };
        Self::change(place, note, nothing)
    }

    fn change(place: &Place<'_>, note: impl FnOnce(&mut Beyond), nothing: bool) -> Result<(), DepotError> {
        if nothing {
            return Ok(());
        }
        let Place { depot, peer, holds, .. } = *place;
        let before = Beyond::all(depot)?.into_iter();
        let mut beyond = before
            .filter(|beyond| beyond.depot == peer.depot)
            .find(|beyond| beyond.device == peer.device.id())
            .unwrap_or_else(|| Beyond::nothing(peer.device.id(), peer.depot));
        note(&mut beyond);
        beyond.store(depot, holds)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, Incoming, SqlDepot};
    use fieldbook_proto::DepotId;

    use super::*;
    use crate::store::tests::peer;

    #[test]
    fn what_is_carried_takes_no_room_from_what_is_remembered_of_own_entries() {
        let dir = tempfile::tempdir().unwrap();
        let key = DepotKey::new([1; 32]);
        let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
        let own = [7_u8, 8].map(|number| {
            let bytes = vec![number; 1_100];
            let id = EntryId::of(&bytes);
            depot.put(&[Incoming { id, bytes: &bytes, from: Source::Own }]).unwrap();
            id
        });
        let met = peer(1, DepotId::from_bytes([2; 16]));
        let record = fieldbook_depot::PeerRecord {
            device: Some(met.device.id()),
            role: met.device.body().role,
            depot: met.depot,
            address: None,
            last_sync_ms: 1,
            holds_position: 0,
        };
        depot.record_peer(record).unwrap();
        let place = Place { depot: &depot, peer: &met, holds: 0, now_ms: 5 };
        let carried: Vec<Arrival> = (3..3 + REMEMBERED_MAX as u64)
            .map(|position| Arrival {
                position,
                id: EntryId::of(&position.to_be_bytes()),
                size: 1_100,
                from: None,
                own: false,
                held: true,
            })
            .collect();
        let mut gaps = Gaps::default();
        gaps.read(&carried);
        gaps.read(&[Arrival { position: 1, id: own[0], own: true, ..carried[0] }]);
        let ids: Vec<EntryId> = carried.iter().map(|arrival| arrival.id).collect();
        ids.chunks(4_096).for_each(|ids| gaps.took(ids, &place));
        gaps.took(&own[..1], &place);
        gaps.declined(&[(own[1], Decline::Full)], &place);
        let said = Beyond::all(&depot).unwrap().remove(0);
        assert_eq!((said.holds(1), said.why_not(2)), (Some(5), Some(Decline::Full)));
        assert_eq!(said.held.len(), 1, "nothing of what is carried");
    }
}
