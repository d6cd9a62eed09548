//! How far a session is: what is settled, and what is known to come.
//!
//! An entry counts when it is durable: a sent one when the peer has said so, a received one when this side's store
//! has. What is only offered counts nowhere, because it may be there already. What was refused or declined counts
//! no more.

use super::incoming::Incoming;
use super::outgoing::Outgoing;

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Entries that are durable where they were to go.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those, and all that are known to go.
    pub of_entries: u64,
    /// Their bytes. What is still to be received counts with the size that the peer has told.
    pub of_bytes: u64,
    /// Nothing else is known that may follow. False: there are at least so many.
    pub exact: bool,
}

impl Moved {
    /// Entries that are known to go and are not there yet.
    pub const fn left(&self) -> u64 {
        self.of_entries.saturating_sub(self.entries)
    }
}

/// Both directions, since the session began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// From this side to the peer.
    pub sent: Moved,
    /// From the peer.
    pub received: Moved,
    /// Both sides agree and stay together, and nothing is under way.
    pub at_rest: bool,
}

impl Progress {
    pub(super) fn of(outgoing: Option<&Outgoing>, incoming: &Incoming, at_rest: bool) -> Self {
        let sent = outgoing.map(Outgoing::moved).unwrap_or_default();
        Self { sent, received: incoming.moved(), at_rest }
    }
}
