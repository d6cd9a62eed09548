//! How a connection is ended from outside, why, and the line of the log that says how a session went.

use std::sync::OnceLock;

use fieldbook_net::channel::Way;
use fieldbook_net::session::SessionFailure;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{Peer, SessionError};
use tokio::sync::Notify;

use crate::counts::Counts;
use crate::identity::Identity;

/// Why a connection was ended by this side, in the midst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its device was removed from the team.
    Removed,
    /// The same device has newer connections.
    Newer,
    /// The same device has connections that were told to end and have not gone yet.
    Lingering,
    /// As many sessions run as may.
    Full,
    /// This side makes its connections anew.
    Renewed,
    /// Another connection with the same device stands, which was not needed twice.
    Twin,
    /// It had not shown that it is of the team when its time was over, or others needed its place.
    Stranger,
}

impl Why {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Removed => "the other device was removed from the team meanwhile",
            Self::Newer => "it made room for a newer connection of the same device",
            Self::Lingering => "earlier connections of the same device have not gone yet",
            Self::Full => "no more sessions have room now",
            Self::Renewed => "connections are made anew",
            Self::Twin => "another connection with the same device stands",
            Self::Stranger => "it made room for others before the other side was known to be of the team",
        }
    }

    /// Whether nothing went wrong.
    pub const fn is_in_order(self) -> bool {
        matches!(self, Self::Newer | Self::Renewed | Self::Twin)
    }
}

/// Ends a connection from outside, without a word. The first reason counts.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    why: OnceLock<Why>,
    told: Notify,
}

impl Ending {
    /// Ends it now.
    pub fn end(&self, why: Why) {
        if self.why.set(why).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// Why it was ended, if it was.
    pub fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// Waits until it is.
    pub async fn ended(&self) {
        // Made before the look, so that nothing is missed between the two.
        let told = self.told.notified();
        if self.why.get().is_none() {
            told.await;
        }
    }
}

/// How the log calls a device that was met.
pub(crate) fn who(identity: &Identity, peer: &Peer) -> String {
    if identity.certificate.body().role == Role::Relay {
        // Whoever runs it need not be of the team, and others read its system's log: it is told how many
        // come, and not who.
        "a device of the team".to_owned()
    } else if identity.names(peer) {
        format!("{} {}", peer.device.body().role.word(), peer.device.id().short())
    } else {
        "another device of the team".to_owned()
    }
}

/// Whether a device of the team said hello, heard that it was met, and closed in order: as `doctor` does. What was
/// cut off ends without a farewell.
pub(crate) fn only_looked(counts: &Counts, result: &Result<(), SessionFailure>, why: Option<Why>) -> bool {
    let nothing = counts.received() == 0 && counts.sent() == 0;
    why.is_none() && nothing && matches!(result, Err(SessionFailure::Session(SessionError::Cut)))
}

/// Whether a session went well, and the line that says how it went.
pub(crate) fn report(
    who: &str,
    way: Way,
    counts: &Counts,
    result: &Result<(), SessionFailure>,
    why: Option<Why>,
) -> (bool, String) {
    let moved = format!("by {}: {} in, {} out", way.word(), counts.received(), counts.sent());
    match (why, result) {
        (Some(why), _) if why.is_in_order() => {
            (true, format!("session with {who} ended {moved}: {}", why.words()))
        }
        (Some(why), _) => (false, format!("session with {who} broke off {moved}: {}", why.words())),
        (None, Ok(())) => (true, format!("session with {who} {moved}")),
        (None, Err(error)) => (false, format!("session with {who} broke off {moved}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_of_the_end_before_or_after_and_the_first_reason_counts() {
        let ending = Arc::new(Ending::default());
        let waiting = tokio::spawn({
            let ending = ending.clone();
            async move { ending.ended().await }
        });
        tokio::task::yield_now().await;
        ending.end(Why::Newer);
        ending.end(Why::Removed);
        waiting.await.unwrap();
        ending.ended().await;
        assert_eq!(ending.why(), Some(Why::Newer));
    }

    #[test]
    fn what_was_moved_is_said_whatever_ended_it() {
        let counts = Counts::default();
        counts.add_received(3);
        counts.add_sent(2);
        let cut: Result<(), _> = Err(SessionFailure::Stalled);
        let (well, line) = report("X", Way::Tcp, &counts, &cut, Some(Why::Newer));
        assert!(well && line.contains("3 in, 2 out") && line.contains("newer"), "{line}");
        assert!(!line.contains("removed"), "{line}");
        let (well, line) = report("X", Way::Tcp, &counts, &cut, Some(Why::Removed));
        assert!(!well && line.contains("broke off") && line.contains("removed"), "{line}");
    }
}
