//! Small entries that arrive while large ones are under way, and overtake them.

use super::super::Arrival;
use super::super::error::SessionError;
use super::super::limits::{PAGE, SMALL_ENTRY_MAX};
use super::{Item, Manner, Outgoing, Pass};

impl Outgoing {
    /// Something arrived in the depot. False if it has to wait until the present pass is over.
    pub(in super::super) fn wake(&mut self, at_rest: bool) -> bool {
        match self.pass {
            _ if self.limited => false,
            // What is sent unasked is little: what came since waits for the next pass.
            Pass::Small if self.manner == Manner::Unasked => false,
            Pass::Small => {
                self.page_end = false;
                self.stale_page = self.page_asked;
                true
            }
            Pass::Large { .. } if self.sized => {
                self.overtakers = true;
                self.stale_page |= self.page_overtakes;
                true
            }
            Pass::Over if at_rest => {
                self.reopen();
                // The peer was told that nothing follows. If so it is, it need not be told again.
                self.unheard = true;
                true
            }
            _ => false,
        }
    }

    /// Where to look for what overtakes: after what this pass goes over, and what was looked at.
    pub(super) fn overtakers_from(&self) -> u64 {
        let until = if let Pass::Large { until } = self.pass { until } else { self.scanned };
        self.overtaken.max(until)
    }

    pub(super) fn overtake(&mut self, page: &[Arrival]) -> Result<(), SessionError> {
        self.overtakers = page.len() >= PAGE || std::mem::take(&mut self.stale_page);
        for arrival in page {
            if arrival.position <= self.overtakers_from() {
                return Err(SessionError::Misused("arrivals out of order"));
            }
            self.overtaken = arrival.position;
            let Arrival { position, id, size, .. } = *arrival;
            let ours = !(arrival.from == Some(self.peer) && position > self.resend_until);
            if arrival.held && ours && size <= SMALL_ENTRY_MAX {
                self.overtaking_offer.push_back(Item { position, id, size, asked: false });
            }
        }
        Ok(())
    }

    pub(super) fn overtakes(&self, item: &Item) -> bool {
        matches!(self.pass, Pass::Large { until } if item.position > until)
    }

    /// The oldest thing that is under way, among what lies up to there.
    pub(super) fn oldest_until(&self, until: u64) -> Option<&Item> {
        let within = |item: &&Item| item.position <= until;
        let loaded = self.loaded.iter().map(|(item, _)| item).find(within);
        loaded
            .or_else(|| self.loading.iter().find(within))
            .or_else(|| self.queue.front().filter(within))
            .or_else(|| self.offered.iter().find_map(|ids| ids.first().filter(within)))
            .or_else(|| self.to_offer.front().filter(within))
            .or_else(|| self.undecided.front().filter(within))
    }
}
