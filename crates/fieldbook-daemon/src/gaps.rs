//! What a peer took of this device's own entries while it did not take everything, noted entry by entry: the
//! position up to which it holds everything stops at the first one that it declined, and says nothing of those
//! behind it.

use std::collections::HashMap;

use fieldbook_depot::{Beyond, Depot, DepotError, Source};
use fieldbook_proto::EntryId;
use fieldbook_proto::session::{Decline, Peer};

/// Entries that are remembered in case the peer declines one later in the session; what is beyond is learnt in
/// the next, in which it is offered again.
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
    /// The peer took these before anything was declined.
    took: Vec<EntryId>,
    /// Something was declined or refused: from now on it is noted entry by entry.
    open: bool,
    /// What it had declined in earlier sessions is no longer what is kept.
    renewed: bool,
}

impl Gaps {
    /// The peer holds these, or knew them.
    pub fn took(&mut self, ids: &[EntryId], place: &Place<'_>) {
        if self.open {
            self.note(ids, &[], place);
            return;
        }
        let room = REMEMBERED_MAX - self.took.len();
        self.took.extend(ids.iter().take(room));
    }

    /// The peer does not take these now.
    pub fn declined(&mut self, declined: &[(EntryId, Decline)], place: &Place<'_>) {
        self.open = true;
        let took = std::mem::take(&mut self.took);
        self.note(&took, declined, place);
    }

    /// The peer refused something, and will not be said to hold everything.
    pub fn refused(&mut self, place: &Place<'_>) {
        self.declined(&[], place);
    }

    /// It only helps people: a failure of it is no failure of the session.
    fn note(&mut self, took: &[EntryId], declined: &[(EntryId, Decline)], place: &Place<'_>) {
        let _ = self.write(took, declined, place);
    }

    fn write(
        &mut self,
        took: &[EntryId],
        declined: &[(EntryId, Decline)],
        place: &Place<'_>,
    ) -> Result<(), DepotError> {
        let Place { depot, peer, holds, now_ms } = *place;
        let own = |ids: &[EntryId]| -> Result<HashMap<EntryId, u64>, DepotError> {
            let known = depot.known(ids)?.into_iter();
            let own = known.filter(|known| known.from == Source::Own && known.position > holds);
            Ok(own.map(|known| (known.id, known.position)).collect())
        };
        let mut held: Vec<u64> = own(took)?.into_values().collect();
        held.sort_unstable();
        let why: HashMap<EntryId, Decline> = declined.iter().copied().collect();
        let ids: Vec<EntryId> = why.keys().copied().collect();
        let mut left: Vec<(u64, Decline)> =
            own(&ids)?.into_iter().filter_map(|(id, at)| Some((at, *why.get(&id)?))).collect();
        left.sort_unstable();
        let renews = !declined.is_empty() && !self.renewed;
        self.renewed |= renews;
        if held.is_empty() && left.is_empty() && !renews {
            return Ok(());
        }
        let before = Beyond::all(depot)?.into_iter();
        let mut beyond = before
            .filter(|beyond| beyond.depot == peer.depot)
            .find(|beyond| beyond.device == peer.device.id())
            .unwrap_or_else(|| Beyond::nothing(peer.device.id(), peer.depot));
        if renews {
            beyond.declined.clear();
        }
        beyond.decline(&left);
        beyond.hold(&held, now_ms);
        beyond.store(depot, holds)
    }
}
