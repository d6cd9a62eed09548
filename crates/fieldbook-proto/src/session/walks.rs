//! How much of this side's set of ids a peer may have read in one session.
//!
//! A comparison reads the set as often as the other side finds a difference, and whether it tells the truth shows
//! only in what gets settled by it. So there is a budget: for the size of the set with the number of levels on
//! which it is cut, and for everything that is settled or moved. Both sides of an honest session stay far
//! below it, whatever differs; who finds every sum different, for ever, is cut off after a few seconds' work.

use super::fingerprint::Fingerprint;
use super::limits::{WALK_AGAIN, WALK_BITS, WALK_LEAST, WALK_SETTLED};
use super::span::Span;

/// A store need not read the ids of a whole 4,096th of all ids: it may keep their sum.
const SUMMED: u32 = u64::BITS - 12;

/// The budget of a session, over all its comparisons.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walks {
    /// Ids and sums that may be read.
    allowed: u64,
    spent: u64,
    /// The size of the set that was allowed for.
    known: u64,
    /// Ids of it that were settled, each counted once in a session.
    settled: u64,
    /// Entries that had moved when the last comparison began.
    moved: Option<u64>,
}

impl Default for Walks {
    fn default() -> Self {
        Self { allowed: WALK_LEAST, spent: 0, known: 0, settled: 0, moved: None }
    }
}

/// For a set of this size: each of its ids on each of the levels.
fn for_known(known: u64) -> u64 {
    known.saturating_mul(u64::from(known.max(2).ilog2())) / WALK_BITS
}

/// What it takes to sum up a part in which so many ids lie.
fn cost(part: Span, count: u64) -> u64 {
    let low = (1_u64 << SUMMED) - 1;
    let even = part.first() & low == 0 && part.last() & low == low;
    let sums = (part.last() >> SUMMED) - (part.first() >> SUMMED) + 1;
    1 + if even { count.min(sums) } else { count }
}

impl Walks {
    /// A comparison begins, of so many ids, after so many entries have come or gone in the session.
    pub(super) fn begin(&mut self, known: u64, moved: u64) {
        if known > self.known {
            self.allowed = self.allowed.saturating_add(for_known(known) - for_known(self.known));
            self.known = known;
        }
        // Two that stay compare again when something that moved left a difference, for as long as they stay.
        if self.moved.is_none_or(|before| moved > before) {
            self.moved = Some(moved);
            self.allowed = self.allowed.saturating_add(WALK_AGAIN);
        }
    }

    /// These parts were summed up.
    pub(super) fn sums(&mut self, span: Span, own: &[Fingerprint]) {
        let parts = span.parts(u16::try_from(own.len()).unwrap_or(u16::MAX));
        self.spend(parts.zip(own).map(|(part, own)| cost(part, own.count)).sum());
    }

    /// So much was read.
    pub(super) const fn spend(&mut self, ids: u64) {
        self.spent = self.spent.saturating_add(ids);
    }

    /// So many ids were read, and are settled: they were listed, or matched with a list.
    pub(super) fn settle(&mut self, ids: u64) {
        self.spend(ids + 1);
        let new = ids.min(self.known.saturating_sub(self.settled));
        self.settled += new;
        self.allowed = self.allowed.saturating_add(WALK_SETTLED * new);
    }

    /// Ids that were settled so far.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    /// Nothing more is read for this peer.
    pub(super) const fn is_over(&self) -> bool {
        self.spent > self.allowed
    }

    /// What was spent of what is allowed.
    #[cfg(test)]
    pub(super) const fn spent_of(&self) -> (u64, u64) {
        (self.spent, self.allowed)
    }
}
