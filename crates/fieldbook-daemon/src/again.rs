//! When a daemon that stays with a peer offers again what the peer did not take, and asks again for what it did not give:
//! in a new session, for in one session nothing is offered twice.
//!
//! Each try costs a handshake, so the pause doubles from ten minutes up to a day. It starts anew when something shows that
//! the peer has changed: less was left in a session than in the one before, or it took something new after it had
//! declined something.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fieldbook_net::signals::Signals;
use fieldbook_proto::session::{Decline, Event};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::ending::{Ending, Why};

/// After the first session in which something was left.
const LEAST: Duration = Duration::from_secs(10 * 60);
/// The longest pause.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left with one peer, over all sessions with it.
#[derive(Debug, Default)]
pub(crate) struct Again {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Entries that were left in this session, and in the one before.
    left: u64,
    left_before: Option<u64>,
    /// All was offered that there was at its beginning.
    rested: bool,
    /// Something was left, and later, when something new came, that was taken.
    has_room: bool,
    /// The pause before the next try; none as long as nothing was left.
    pause: Option<Duration>,
    /// Since when something is left in this session.
    since: Option<Instant>,
}

impl Again {
    /// A session begins.
    pub fn begin(&self) {
        self.change(|state| {
            // One that was cut before anything was left says nothing of what there was.
            state.left_before = Some(state.left).filter(|left| *left > 0).or(state.left_before);
            (state.left, state.since, state.rested, state.has_room) = (0, None, false, false);
        });
    }

    /// Something happened in it.
    pub fn note(&self, event: &Event) {
        let left = match event {
            // What is too large for it stays so.
            Event::DeclinedByPeer(left) => {
                left.iter().filter(|(_, why)| *why != Decline::Size).count() as u64
            }
            Event::GoneAtPeer(entries) => *entries,
            Event::Held(_) => return self.change(State::took),
            Event::AtRest { .. } => return self.change(State::rests),
            _ => return,
        };
        if left > 0 {
            self.change(|state| {
                state.left += left;
                state.since.get_or_insert_with(Instant::now);
            });
        }
    }

    /// Ends the session when it is time for a new one, or when all are begun anew.
    pub async fn renews(&self, signals: &mut Signals, ending: &Ending) -> Infallible {
        tokio::select! {
            () = signals.renew() => {}
            () = self.due() => {}
        }
        ending.end(Why::Renewed);
        std::future::pending().await
    }

    /// Waits until it is time for a new session.
    pub async fn due(&self) {
        loop {
            let changed = self.changed.notified();
            match self.at() {
                None => changed.await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn at(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.since?;
        since.checked_add(state.pause.unwrap_or(LEAST))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

impl State {
    /// The peer has stored something.
    fn took(&mut self) {
        if self.left > 0 && self.rested && !self.has_room {
            self.has_room = true;
            self.pause = Some(LEAST);
            self.since = Some(Instant::now());
        }
    }

    /// All was offered: what was left is compared with the last time.
    fn rests(&mut self) {
        self.rested = true;
        let Some(before) = self.left_before.take() else {
            if self.left > 0 {
                self.pause.get_or_insert(LEAST);
            }
            return;
        };
        self.pause = match (self.left, self.pause) {
            (0, _) => None,
            (left, Some(pause)) if left >= before && !self.has_room => Some((2 * pause).min(MOST)),
            _ => Some(LEAST),
        };
    }
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::EntryId;

    use super::*;

    const REST: Event = Event::AtRest { agreed: true };

    fn full(entries: u8) -> Event {
        Event::DeclinedByPeer((0..entries).map(|n| (EntryId::of(&[n]), Decline::Full)).collect())
    }

    fn session(again: &Again, events: &[Event]) -> Option<u64> {
        again.begin();
        events.iter().for_each(|event| again.note(event));
        let state = again.state.lock().unwrap();
        state.since.map(|_| state.pause.unwrap_or(LEAST).as_secs() / 60)
    }

    #[test]
    fn the_pause_doubles_up_to_a_day_and_starts_anew_when_the_peer_has_changed() {
        let again = Again::default();
        assert_eq!(session(&again, &[REST]), None);
        let pauses: Vec<_> = (0..10).filter_map(|_| session(&again, &[full(3), REST])).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1_280, 1_440, 1_440]);
        // It was cut, and says nothing.
        assert_eq!(session(&again, &[]), None);
        assert_eq!(session(&again, &[full(3), REST]), Some(1_440));
        assert_eq!(session(&again, &[full(2), REST]), Some(10), "it took one of them");
        assert_eq!(session(&again, &[full(2), REST]), Some(20));
        assert_eq!(session(&again, &[full(4), REST]), Some(40), "two more that it does not take");
        let took = Event::Held(vec![EntryId::of(&[9])]);
        assert_eq!(session(&again, &[full(4), REST, took.clone()]), Some(10), "it has room");
        assert_eq!(session(&again, &[full(4), REST]), Some(20));
        assert_eq!(session(&again, &[took, REST]), None, "all was taken");
        assert_eq!(session(&again, &[Event::GoneAtPeer(1), REST]), Some(10));
        assert_eq!(session(&again, &[Event::GoneAtPeer(1), REST]), Some(20));
        let large = Event::DeclinedByPeer(vec![(EntryId::of(&[1]), Decline::Size)]);
        assert_eq!(session(&again, &[large, REST]), None, "what is too large stays so");
    }
}
