//! What the peer has settled: made durable, refused, declined; and up to where it holds everything.

use std::collections::VecDeque;

use super::super::Event;
use super::super::decline::Decline;
use super::super::error::Fault;
use super::{Item, Outgoing};
use crate::EntryId;

/// Up to where the peer has settled this side's order in a session.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Settled {
    /// Up to here it holds everything.
    pub holds: u64,
    /// Up to here it was offered everything, and did not get what was declined or could not be given.
    pub settled: u64,
}

impl Outgoing {
    pub(super) fn decline(&mut self, declined: &[(Item, Decline)], events: &mut VecDeque<Event>) {
        if declined.is_empty() {
            return;
        }
        let mut dropped = Vec::new();
        let mut left = Vec::new();
        for (item, why) in declined {
            if self.told_dropped && *why == Decline::Dropped {
                dropped.push(item.id);
                continue;
            }
            left.push((item.id, *why));
            self.declined.add(*why);
            self.declined_bytes.add_many(*why, u64::from(item.size));
            self.not_held_at = Some(self.not_held_at.map_or(item.position, |at| at.min(item.position)));
        }
        if !dropped.is_empty() {
            events.push_back(Event::DroppedByPeer(dropped));
        }
        if !left.is_empty() {
            events.push_back(Event::DeclinedByPeer(left));
        }
    }

    /// The peer holds the first `count` entries, but for the refused and the declined ones.
    pub(in super::super) fn ack(
        &mut self,
        count: u64,
        refused: &[u32],
        declined: &[(u32, Decline)],
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        let fresh = count.checked_sub(self.acked).ok_or(Fault::FalseAcknowledgement)?;
        let fresh = usize::try_from(fresh).map_err(|_| Fault::FalseAcknowledgement)?;
        // Both rise, so their last elements are the largest.
        let last = refused.last().max(declined.last().map(|(offset, _)| offset));
        let beyond = last.is_some_and(|last| *last as usize >= fresh);
        if fresh == 0 || fresh > self.unacked.len() || beyond {
            return Err(Fault::FalseAcknowledgement);
        }
        let (mut held, mut refused_ids, mut left) = (Vec::with_capacity(fresh), Vec::new(), Vec::new());
        let mut next_refused = refused.iter().peekable();
        let mut next_declined = declined.iter().peekable();
        for (offset, (item, size)) in self.unacked.drain(..fresh).enumerate() {
            self.unacked_bytes = self.unacked_bytes.saturating_sub(u64::from(size));
            if next_refused.next_if(|refused| **refused as usize == offset).is_some() {
                refused_ids.push(item.id);
            } else if let Some((_, why)) = next_declined.next_if(|(at, _)| *at as usize == offset) {
                left.push((item, *why));
            } else {
                self.held += 1;
                self.held_bytes += u64::from(size);
                held.push(item.id);
            }
        }
        self.acked = count;
        self.refused += refused_ids.len() as u64;
        if !held.is_empty() {
            events.push_back(Event::Held(held));
        }
        if !refused_ids.is_empty() {
            events.push_back(Event::RefusedByPeer(refused_ids));
        }
        self.decline(&left, events);
        Ok(())
    }

    /// The position up to which the peer holds everything that it was offered in this session, if that is news.
    pub(in super::super) fn peer_holds(&mut self) -> Option<Settled> {
        let mut holds = None;
        while let Some((_, position)) = self.marks.front().filter(|(sent, _)| *sent <= self.acked) {
            holds = Some(*position);
            self.marks.pop_front();
        }
        holds.map(|position| self.settled_up_to(position))
    }

    /// After the check has found that the peer knows everything but for what it did not get in this session:
    /// the position up to which it holds everything.
    pub(in super::super) fn holds_all(&self) -> Option<Settled> {
        (!self.limited).then(|| self.settled_up_to(self.covered))
    }

    /// Entries that this side could not give since it was asked last.
    pub(in super::super) fn take_not_given(&mut self) -> Vec<EntryId> {
        std::mem::take(&mut self.not_given)
    }

    fn settled_up_to(&self, settled: u64) -> Settled {
        let holds = settled.min(self.not_held_at.map_or(u64::MAX, |at| at.saturating_sub(1)));
        Settled { holds, settled }
    }
}
