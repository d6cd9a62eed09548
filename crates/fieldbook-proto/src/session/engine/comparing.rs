//! The comparison as the engine sees it: what the store is asked for it, what comes of it, and how much of it there
//! may be.

use super::super::Output;
use super::super::error::{Fault, SessionError};
use super::super::frame::Frame;
use super::super::limits::PAGE;
use super::super::reconcile::{Ask, Reconcile};
use super::Engine;

impl Engine {
    /// A peer that has the set of ids read again and again, and nothing comes of it, is cut off.
    pub(super) fn bounds_walks(&self) -> Result<(), SessionError> {
        let walks = self.reconcile.as_ref().map_or(self.walks, Reconcile::walks);
        if walks.is_over() { Err(Fault::Endless.into()) } else { Ok(()) }
    }

    /// What the comparison wants done next.
    pub(super) fn compare_on(&mut self, can_send: bool) -> Option<Output> {
        let reconcile = self.reconcile.as_mut()?;
        let (outgoing, peer) = (self.outgoing.as_mut()?, self.peer.as_ref()?.depot());
        match reconcile.next_question() {
            Some(Ask::Spans { span, parts }) => return Some(Output::ReadSpans { peer, span, parts }),
            Some(Ask::Ids { span, after, max_entries }) => {
                return Some(Output::ReadIds { peer, span, after, max_entries });
            }
            None => {}
        }
        if !self.known_asked && outgoing.takes_differences() {
            let ids = reconcile.take_differences(PAGE);
            if !ids.is_empty() {
                self.known_asked = true;
                return Some(Output::FindKnown { ids });
            }
        }
        if can_send && let Some(message) = reconcile.take_message() {
            self.rounds.compare = Some(self.rounds.now);
            return Some(Output::Send(Frame::Compare(message).encode().into()));
        }
        if reconcile.is_over() && !self.known_asked {
            outgoing.no_more_differ();
        }
        None
    }
}
