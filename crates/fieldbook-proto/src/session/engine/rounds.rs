//! Counts round trips.

use std::collections::VecDeque;

/// How many answers this side had to wait for, one after the other: what is sent belongs to the round
/// that runs, and an answer begins the round after that in which it was asked.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) now: u64,
    pub(super) offers: VecDeque<u64>,
    pub(super) mark: u64,
    pub(super) compare: Option<u64>,
}

impl Rounds {
    pub(super) fn answered(&mut self, asked: u64) {
        self.now = self.now.max(asked + 1);
    }

    pub(super) fn wanted(&mut self) {
        let asked = self.offers.pop_front().unwrap_or_default();
        self.answered(asked);
    }
}
