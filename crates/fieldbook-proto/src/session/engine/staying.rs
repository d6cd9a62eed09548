//! Two sides that stay together after the verdict: waking, leaving, asking whether the other is there.

#[cfg(doc)]
use super::super::Output;
use super::super::frame::Frame;
use super::super::outgoing::Outgoing;
use super::super::progress::Progress;
use super::{Engine, Phase};

impl Engine {
    /// Something new lies in the depot: it is read and sent as soon as may be. Costs one
    /// [`Output::ReadArrivals`] if there is nothing.
    pub const fn wake(&mut self) {
        self.woken = true;
    }

    /// Ends a session of two sides that stay together as soon as nothing is under way.
    pub const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Both sides stay together, and nothing is under way: nothing need be heard of the peer for long.
    pub fn is_at_rest(&self) -> bool {
        let settled = self.outgoing.as_ref().is_some_and(Outgoing::is_settled);
        self.live && settled && !self.moved && self.incoming.is_over() && !self.snapshot_asked
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress::of(self.outgoing.as_ref(), &self.incoming, self.is_at_rest())
    }

    /// Asks a peer that stays whether it is still there. Its answer shows as input and nowhere else.
    pub fn ping(&mut self) {
        if self.live && self.control.is_empty() {
            self.say_ping(false);
        }
    }

    /// Is no part of what is padded: it always has the same size.
    pub(super) fn say_ping(&mut self, answer: bool) {
        let bytes = Frame::Ping { answer }.encode();
        self.padding.not_counting(&bytes);
        self.say(bytes.into());
    }

    /// What arrived in the depot goes out; after our `Done` not before the verdict.
    pub(super) fn follow_depot(&mut self) {
        let may = self.phase == Phase::Transfer && !self.check.has_spoken() && !self.snapshot_asked;
        if let Some(outgoing) = self.outgoing.as_mut().filter(|_| self.woken && may) {
            // In a session that ends, the check finds what came.
            self.woken = !outgoing.wake(self.live && !self.moved);
        }
        if self.leaving && self.is_at_rest() {
            self.phase = Phase::Finished;
        }
    }
}
