//! What was sent so far, and what will be.

use super::super::decline::Declined;
use super::super::progress::Moved;
use super::{Outgoing, Pass};

impl Outgoing {
    /// What the peer holds of what this side sent, and what is under way to it or will be.
    pub(in super::super) fn moved(&self) -> Moved {
        Moved {
            entries: self.held,
            bytes: self.held_bytes,
            of_entries: self.held + self.unacked.len() as u64 + self.waiting,
            of_bytes: self.held_bytes + self.unacked_bytes + self.waiting_bytes,
            exact: self.knows_all(),
        }
    }

    /// Bytes of the entries that the peer declined, as the depot says.
    pub(in super::super) const fn declined_bytes(&self) -> Declined {
        self.declined_bytes
    }

    pub(super) fn no_longer_waits(&mut self, size: u32) {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(u64::from(size));
    }

    /// Everything of this pass was looked at and answered, and no other pass is known to follow.
    fn knows_all(&self) -> bool {
        let asked = !self.undecided.is_empty()
            || !self.to_offer.is_empty()
            || !self.offered.is_empty()
            || !self.overtaking_offer.is_empty();
        let follows = match self.pass {
            Pass::Small => self.first_carried.is_some() || self.first_large.is_some(),
            Pass::Large { .. } => self.first_carried.is_some(),
            Pass::Repair | Pass::Differences | Pass::Addressed | Pass::Over => false,
        };
        (self.page_end || self.pass == Pass::Over) && !asked && !follows && !self.overtakers
    }
}
