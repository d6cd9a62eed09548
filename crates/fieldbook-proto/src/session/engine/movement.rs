//! Whether a session goes on: a number that rises with what moves, and with nothing else that a peer can say.

use super::super::frame::ENTRIES;
use super::super::limits::{PAGE, PROGRESS_BYTES, PROGRESS_TURNS};
use super::super::outgoing::Outgoing;
use super::super::reconcile::Reconcile;
use super::Engine;

/// More than the largest frame counts for while it comes in.
const STEP: u64 = 1 << 10;

impl Engine {
    /// Bytes of the oldest entry that the other side has not acknowledged: until all of it is there nothing is heard
    /// of it.
    pub fn oldest_unacknowledged(&self) -> u64 {
        self.outgoing.as_ref().map_or(0, Outgoing::oldest_unacked)
    }

    /// Rises when the other side made an entry durable, ids were settled, or a comparison has got further; by less
    /// when more came of entries of which the rest is still to come. Repeated marks and claims, and pings, do not
    /// count; nor do entries that came: whether they are new, the store knows. It says nothing of a session at
    /// rest, and falls there.
    pub fn movement(&self) -> u64 {
        let pages = |ids: u64| ids / PAGE as u64;
        let outgoing = self.outgoing.as_ref();
        let sent = outgoing.map_or(0, |outgoing| outgoing.acked() + pages(outgoing.answered()));
        let received = pages(self.incoming.named()) + self.incoming.brought();
        let compared = self.reconcile.as_ref().map_or(0, |reconcile| {
            // Where nothing is listed yet, it goes down level by level; not without end.
            reconcile.turns().min(PROGRESS_TURNS)
        });
        let settled = self.reconcile.as_ref().map_or(self.walks, Reconcile::walks).settled();
        let begun = u64::from(self.peer.is_some()) + u64::from(outgoing.is_some_and(Outgoing::end_marked));
        let steps = begun + u64::from(outgoing.is_some()) + sent + received + compared + settled;
        steps * STEP + self.coming_in() / PROGRESS_BYTES
    }

    /// Bytes of entries whose frame is not here in full.
    fn coming_in(&self) -> u64 {
        let entries = self.outgoing.is_some() && self.input.first() == Some(&ENTRIES);
        if entries { self.input.len() as u64 } else { 0 }
    }
}
