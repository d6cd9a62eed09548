//! The receiving half: checks entries against their ids, hands them to the store in batches, and
//! acknowledges what the store has made durable.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Event;
use super::decline::{Decline, Declined};
use super::error::{Fault, SessionError};
use super::frame::{Frame, WireEntry};
use super::limits::{
    ADDRESSED_MAX, BATCH_BYTES, BATCH_ENTRIES, BATCHES_IN_FLIGHT, ID_PREFIX, KNOWN_PLAUSIBLE, OFFERED_MAX,
    PAST_MAX, PAST_WAITING, REFUSED_PENDING_MAX, UNSTORED_BYTES_MAX, VAIN_SLACK,
};
use super::progress::Moved;
use super::wanted::Wanted;
use crate::EntryId;

/// Entries on their way to the store.
#[derive(Default)]
struct Batch {
    entries: Vec<(EntryId, Bytes)>,
    /// Of each entry its number in this session, from 0, and its size.
    numbers: Vec<(EntryId, u64, u32)>,
    /// Numbers of the entries that were refused before they came to the store.
    refused: Vec<u64>,
    /// How many entries had been received when the batch was closed.
    end: u64,
    bytes: usize,
}

/// An offer that the store is looking up.
struct Lookup {
    ids: Vec<EntryId>,
    /// Of each its size; empty when the peer does not tell.
    sizes: Vec<u32>,
}

/// The receiving half of a session.
#[derive(Default)]
pub(super) struct Incoming {
    received: u64,
    received_bytes: u64,
    refused: u64,
    brought: u64,
    filling: Batch,
    in_flight: VecDeque<Batch>,
    unstored_bytes: usize,
    /// The first so many entries are durable or refused.
    settled: u64,
    /// Those of them that the store keeps.
    kept: u64,
    kept_bytes: u64,
    acked: u64,
    refused_unacked: Vec<u64>,
    declined: Declined,
    declined_unacked: Vec<(u64, Decline)>,
    /// Marks, each with the number of entries received before it, and whether it is worth noting.
    marks: VecDeque<(u64, u64, bool)>,
    mark: u64,
    received_at_mark: u64,
    /// An end was marked since entries or offers came last.
    end_noted: bool,
    /// The cursor is worth noting: entries came, or nothing follows. Else a peer could have us write for each of its
    /// marks.
    cursor_due: bool,
    cursor: Option<u64>,
    ended: bool,
    /// Offers whose ids the store is looking up.
    checks: VecDeque<Lookup>,
    checks_asked: usize,
    checking: usize,
    has_offered: bool,
    /// Ids offered so far, and how many may be in vain.
    offered: u64,
    vain_max: u64,
    /// The peer has limited us: it may offer what is addressed to us, and nothing else.
    limited: bool,
    /// What the peer knows and no longer holds: for the store to remember.
    past: Vec<EntryId>,
    past_asked: bool,
    past_named: usize,
    /// Wanted and not yet here.
    wanted: Wanted,
    tells_dropped: bool,
}

impl Incoming {
    /// `known` is how many ids the peer says that it knows; it sends what is wanted in any order, or not.
    pub(super) fn new(known: u64, any_order: bool) -> Self {
        let vain_max = 2 * known.min(KNOWN_PLAUSIBLE) + VAIN_SLACK;
        Self { vain_max, wanted: Wanted::new(any_order), ..Self::default() }
    }

    /// The peer is told what is known here and no longer held.
    pub(super) const fn telling_dropped(mut self, tells: bool) -> Self {
        self.tells_dropped = tells;
        self
    }

    /// The peer judges that our membership has run out.
    pub(super) const fn limit(&mut self) {
        self.limited = true;
    }

    /// Both sides agree and stay together: what comes from now on is judged anew.
    pub(super) const fn rest(&mut self) {
        self.has_offered = false;
        self.offered = self.received;
    }

    /// Entries received so far, refused ones included.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of these entries.
    pub(super) const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// What the store keeps of what came, and what is on the way.
    pub(super) fn moved(&self) -> Moved {
        let batches = self.in_flight.iter().chain([&self.filling]);
        let unstored = batches.map(|batch| batch.numbers.len() as u64).sum::<u64>();
        Moved {
            entries: self.kept,
            bytes: self.kept_bytes,
            of_entries: self.kept + unstored + self.wanted.len() as u64,
            of_bytes: self.kept_bytes + self.unstored_bytes as u64 + self.wanted.bytes(),
            exact: self.ended,
        }
    }

    /// Entries that came because they were unknown here and wanted.
    pub(super) const fn brought(&self) -> u64 {
        self.brought
    }

    /// Ids that were offered, or named as past.
    pub(super) const fn named(&self) -> u64 {
        self.offered + self.past_named as u64
    }

    /// Entries that were refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Entries that were declined, offered or received.
    pub(super) const fn declined(&self) -> Declined {
        self.declined
    }

    /// The peer said that nothing follows, everything that it sent is settled, nothing is being looked up.
    pub(super) fn is_over(&self) -> bool {
        self.ended
            && self.settled == self.received
            && self.checks.is_empty()
            && self.wanted.is_empty()
            && self.past.is_empty()
            && !self.past_asked
    }

    /// The peer said that nothing follows.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// The peer may begin anew, after an end, with a repair.
    pub(super) const fn reopen(&mut self) {
        self.ended = false;
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.unstored_bytes < UNSTORED_BYTES_MAX
            && self.past.len() < PAST_WAITING
            && self.filling.refused.len() + self.refused_unacked.len() + self.declined_unacked.len()
                < REFUSED_PENDING_MAX
    }

    /// Takes the entries of a frame.
    pub(super) fn entries(
        &mut self,
        entries: Vec<WireEntry>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        (self.ended, self.end_noted) = (false, false);
        for entry in entries {
            self.entry(entry, events)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: WireEntry, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let id = EntryId::of(&entry.bytes);
        let expected = self.wanted.take(&id, &entry.prefix);
        if expected.is_none() && (self.limited || self.has_offered || !self.wanted.is_empty()) {
            return Err(Fault::Unsolicited);
        }
        let number = self.received;
        self.received += 1;
        self.received_bytes += entry.bytes.len() as u64;
        let named = match expected {
            Some(expected) => id == expected,
            None => id.as_bytes()[..ID_PREFIX] == entry.prefix,
        };
        self.brought += u64::from(named && expected.is_some());
        if named {
            let batch = &mut self.filling;
            batch.bytes += entry.bytes.len();
            self.unstored_bytes += entry.bytes.len();
            batch.numbers.push((id, number, u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX)));
            batch.entries.push((id, entry.bytes));
        } else {
            self.refused += 1;
            self.filling.refused.push(number);
            events.push_back(Event::Refused { claimed: entry.prefix });
        }
        self.filling.end = self.received;
        Ok(())
    }

    /// Takes a mark of the peer.
    pub(super) fn mark(&mut self, position: u64, end: bool) -> Result<(), Fault> {
        if position < self.mark {
            return Err(Fault::ImpossiblePosition);
        }
        if end && (!self.wanted.is_empty() || !self.checks.is_empty()) {
            return Err(Fault::OutOfPhase);
        }
        let says = self.received > self.received_at_mark || (end && !self.end_noted);
        self.received_at_mark = self.received;
        self.end_noted |= end;
        self.mark = position;
        self.ended = end;
        // Marks without entries between them say the same as the last of them.
        let before = self.marks.pop_back_if(|(count, ..)| *count == self.received);
        let says = says || before.is_some_and(|(.., says)| says);
        self.marks.push_back((self.received, position, says));
        self.settle();
        Ok(())
    }

    /// Takes an offer; the store must be asked which of it is unknown. `sizes` may be empty.
    pub(super) fn offer(&mut self, ids: Vec<EntryId>, sizes: Vec<u32>) -> Result<(), Fault> {
        if self.checking + self.wanted.len() + ids.len() > OFFERED_MAX {
            return Err(Fault::TooManyOffers);
        }
        self.offered += ids.len() as u64;
        let beyond = self.limited && self.offered > ADDRESSED_MAX as u64;
        if beyond || self.offered.saturating_sub(self.received) > self.vain_max {
            return Err(Fault::MoreThanKnown);
        }
        (self.ended, self.end_noted) = (false, false);
        self.has_offered = true;
        self.checking += ids.len();
        self.checks.push_back(Lookup { ids, sizes });
        Ok(())
    }

    /// Ids that the store must be asked for, each offer once.
    pub(super) fn next_check(&mut self) -> Option<(Vec<EntryId>, Vec<u32>)> {
        let Lookup { ids, sizes } = self.checks.get(self.checks_asked)?;
        self.checks_asked += 1;
        Some((ids.clone(), sizes.clone()))
    }

    /// The store's answer to the oldest question: which ids it never knew, and which of these are declined, or known
    /// and dropped, both in the order of the offer.
    pub(super) fn unknown(
        &mut self,
        unknown: &[EntryId],
        declined: &[(EntryId, Decline)],
    ) -> Result<Frame, SessionError> {
        if self.checks_asked == 0 {
            return Err(SessionError::Misused("unknown ids that were not asked for"));
        }
        let Some(Lookup { ids, sizes }) = self.checks.pop_front() else {
            return Err(SessionError::Misused("unknown ids that were not asked for"));
        };
        self.checks_asked -= 1;
        self.checking = self.checking.saturating_sub(ids.len());
        let (mut unknown, mut declined) = (unknown.iter().peekable(), declined.iter().peekable());
        let (mut flags, mut left) = (Vec::with_capacity(ids.len()), Vec::new());
        for (offset, id) in (0_u16..).zip(ids) {
            let size = sizes.get(usize::from(offset)).copied().unwrap_or(0);
            let mut wanted = unknown.next_if(|next| **next == id).is_some();
            let dropped = declined.next_if(|next| !wanted && **next == (id, Decline::Dropped));
            if dropped.is_some() && self.tells_dropped && !sizes.is_empty() {
                left.push((offset, Decline::Dropped));
            }
            if wanted && let Some((_, why)) = declined.next_if(|(next, _)| *next == id) {
                wanted = false;
                self.declined.add(*why);
                left.push((offset, *why));
            }
            flags.push(wanted && self.wanted.add(id, size));
        }
        if unknown.next().is_some() || declined.next().is_some() {
            return Err(SessionError::Misused("unknown ids that were not offered, or in another order"));
        }
        if !left.is_empty() && sizes.is_empty() {
            return Err(SessionError::Misused("entries declined towards a peer that cannot be told"));
        }
        Ok(if left.is_empty() { Frame::Want(flags) } else { Frame::Answer { wanted: flags, declined: left } })
    }

    /// The peer no longer holds what was wanted next.
    pub(super) fn gone(&mut self, ids: &[EntryId]) -> Result<(), Fault> {
        for id in ids {
            if !self.wanted.give_up(id) {
                return Err(Fault::Unasked);
            }
        }
        Ok(())
    }

    /// Takes ids that the peer knows and no longer holds.
    pub(super) fn past(&mut self, ids: Vec<EntryId>) -> Result<(), Fault> {
        self.past_named += ids.len();
        if self.past_named > PAST_MAX {
            return Err(Fault::MoreThanKnown);
        }
        self.past.extend(ids);
        Ok(())
    }

    /// Ids for the store to remember: all that came while it remembered the ones before.
    pub(super) fn next_past(&mut self) -> Option<Vec<EntryId>> {
        if self.past_asked || self.past.is_empty() {
            return None;
        }
        self.past_asked = true;
        Some(std::mem::take(&mut self.past))
    }

    /// The store has remembered them.
    pub(super) fn past_noted(&mut self) -> Result<(), SessionError> {
        if !std::mem::take(&mut self.past_asked) {
            return Err(SessionError::Misused("nothing was to be remembered"));
        }
        Ok(())
    }

    /// The next batch for the store: at once when it has none, else when one is full, so that batches
    /// grow as long as the store is busy.
    pub(super) fn next_batch(&mut self) -> Option<Vec<(EntryId, Bytes)>> {
        if self.filling.entries.is_empty() {
            return None;
        }
        let full = self.filling.entries.len() >= BATCH_ENTRIES || self.filling.bytes >= BATCH_BYTES;
        let room = if full { BATCHES_IN_FLIGHT } else { 1 };
        if self.in_flight.len() >= room {
            return None;
        }
        let mut batch = std::mem::take(&mut self.filling);
        let entries = std::mem::take(&mut batch.entries);
        self.in_flight.push_back(batch);
        Some(entries)
    }

    /// The oldest batch is durable, but for the entries that the store refused or declined.
    pub(super) fn stored(
        &mut self,
        refused: &[EntryId],
        declined: &[(EntryId, Decline)],
    ) -> Result<(), SessionError> {
        let batch = self.in_flight.pop_front().ok_or(SessionError::Misused("a batch that was not given"))?;
        self.unstored_bytes = self.unstored_bytes.saturating_sub(batch.bytes);
        let mut numbers = batch.refused;
        for id in refused {
            let found = batch.numbers.iter().filter(|(entry, ..)| entry == id).map(|(_, number, _)| *number);
            let before = numbers.len();
            numbers.extend(found);
            self.refused += (numbers.len() - before) as u64;
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut left: Vec<(u64, Decline)> = Vec::new();
        for (id, why) in declined {
            let found = batch.numbers.iter().filter(|(entry, ..)| entry == id);
            left.extend(found.map(|(_, number, _)| (*number, *why)));
        }
        left.sort_unstable();
        left.dedup_by_key(|(number, _)| *number);
        left.retain(|(number, _)| numbers.binary_search(number).is_err());
        // It is no more and no less than known to whoever does not ask.
        left.retain(|(_, why)| self.tells_dropped || *why != Decline::Dropped);
        let declined = left.iter().filter(|(_, why)| *why != Decline::Dropped);
        declined.for_each(|(_, why)| self.declined.add(*why));
        for (_, number, size) in batch.numbers {
            let not = numbers.binary_search(&number).is_ok()
                || left.binary_search_by_key(&number, |(number, _)| *number).is_ok();
            if !not {
                self.kept += 1;
                self.kept_bytes += u64::from(size);
            }
        }
        self.declined_unacked.extend(left);
        self.refused_unacked.extend(numbers);
        self.settled = batch.end;
        self.settle();
        Ok(())
    }

    /// Refused entries need no store; what is settled moves the cursor.
    fn settle(&mut self) {
        if self.in_flight.is_empty() && self.filling.entries.is_empty() && !self.filling.refused.is_empty() {
            self.refused_unacked.append(&mut self.filling.refused);
            self.settled = self.filling.end;
        }
        while let Some((_, position, says)) = self.marks.pop_front_if(|(count, ..)| *count <= self.settled) {
            self.cursor = Some(position);
            self.cursor_due |= says;
        }
    }

    /// The acknowledgement that is due, if any. A peer that knows nothing of declining is told that the entry was
    /// refused: it must not take it for held.
    pub(super) fn take_ack(&mut self, may_decline: bool) -> Option<Frame> {
        self.settle();
        if self.settled == self.acked {
            return None;
        }
        let offset = |number: &u64| u32::try_from(number.saturating_sub(self.acked)).unwrap_or(u32::MAX);
        if !may_decline && !self.declined_unacked.is_empty() {
            self.refused_unacked.extend(self.declined_unacked.drain(..).map(|(number, _)| number));
            self.refused_unacked.sort_unstable();
        }
        let refused = self.refused_unacked.iter().map(offset).collect();
        let declined: Vec<_> =
            self.declined_unacked.iter().map(|(number, why)| (offset(number), *why)).collect();
        self.refused_unacked.clear();
        self.declined_unacked.clear();
        self.acked = self.settled;
        let count = self.settled;
        Some(if declined.is_empty() {
            Frame::Ack { count, refused }
        } else {
            Frame::Settled { count, refused, declined }
        })
    }

    /// The peer's position up to which everything is durable here, if it moved and it is time to note it: at the
    /// end of a check whatever moved it.
    pub(super) const fn take_cursor(&mut self, checked: bool) -> Option<u64> {
        if !checked && !self.cursor_due {
            return None;
        }
        let cursor = self.cursor.take();
        self.cursor_due &= cursor.is_none();
        cursor
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::OFFER_IDS_MAX;
    use super::*;

    #[test]
    fn offers_in_vain_end_even_if_the_peer_says_that_it_knows_everything() {
        for (known, most) in [(0, 200_000), (1_000_000, 2_200_000), (u64::MAX, 40_000_000)] {
            let mut incoming = Incoming::new(known, true);
            let ids = vec![EntryId::from_bytes([1; 32]); OFFER_IDS_MAX];
            let mut offered = 0;
            while incoming.offer(ids.clone(), Vec::new()).is_ok() {
                offered += OFFER_IDS_MAX as u64;
                assert!(offered < most, "still taking offers");
                assert!(incoming.next_check().is_some());
                incoming.unknown(&[], &[]).unwrap();
            }
            assert_eq!(incoming.offer(ids, Vec::new()), Err(Fault::MoreThanKnown));
            assert!(offered >= 2 * known.min(KNOWN_PLAUSIBLE), "an honest peer may");
        }
    }
}
