//! The caller's answers to what the engine asked.

use bytes::Bytes;

#[cfg(doc)]
use super::super::Output;
use super::super::check::{Claim, Next};
use super::super::decline::Decline;
use super::super::error::SessionError;
use super::super::fingerprint::Fingerprint;
use super::super::frame::Frame;
use super::super::{Arrival, Remembered};
use super::Engine;
use crate::EntryId;

impl Engine {
    /// Answers [`Output::ReadTotals`]: how many ids the depot knows, and the last position of its arrival order. Now
    /// the server says its hello.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn totals(&mut self, known: u64, head: u64) -> Result<(), SessionError> {
        let owed = self.owed_hello.take().filter(|_| std::mem::take(&mut self.totals_asked));
        let (secret, limited) = owed.ok_or(SessionError::Misused("totals that were not asked for"))?;
        (self.setup.known, self.setup.head) = (known, head);
        if limited {
            // How much is known here is more than such a peer is told.
            self.say_hello(&secret, known.min(1), 0);
            self.say(Frame::Limited.encode().into());
        } else {
            self.say_hello(&secret, known, head);
        }
        Ok(())
    }

    /// Answers [`Output::ReadCursor`].
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn cursor(&mut self, remembered: Remembered) -> Result<(), SessionError> {
        let Remembered { position, lacks, own_first } = remembered;
        let peer = self.peer.as_ref().filter(|_| self.cursor_asked);
        let head = peer.ok_or(SessionError::Misused("a cursor that was not asked for"))?.head;
        self.cursor_asked = false;
        self.recorded = lacks;
        self.own_first = own_first;
        // The peer's order is shorter than what was read of it: it is another order, begin anew.
        let position = if position > head { 0 } else { position };
        self.say(Frame::Since { position }.encode().into());
        Ok(())
    }

    /// Answers the oldest [`Output::Store`]: the batch is durable, but for what is `refused` or `declined`. From
    /// now on the store counts what it declined as known, when it is asked for the set that is compared in this
    /// session: the two then differ in nothing else. What it knew and no longer holds is told as [`Decline::Dropped`].
    ///
    /// # Errors
    /// [`SessionError::Misused`] when there was no such batch.
    pub fn stored(
        &mut self,
        refused: &[EntryId],
        declined: &[(EntryId, Decline)],
    ) -> Result<(), SessionError> {
        self.incoming.stored(refused, declined)
    }

    /// Answers the oldest [`Output::FindUnknown`]: those ids that the depot never knew, in the order asked, and
    /// those of them that it declines: see [`Engine::stored`]. Only if sizes were told it may decline. Those that
    /// it knows and no longer holds stand among the declined, as [`Decline::Dropped`].
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked, or for other ids, or in another order.
    pub fn unknown(
        &mut self,
        unknown: &[EntryId],
        declined: &[(EntryId, Decline)],
    ) -> Result<(), SessionError> {
        let want = self.incoming.unknown(unknown, declined)?;
        self.say(want.encode().into());
        Ok(())
    }

    /// Answers [`Output::ReadArrivals`]: in order, fewer than asked only at the end of the order.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked, or they are out of order.
    pub fn arrivals(&mut self, page: Vec<Arrival>) -> Result<(), SessionError> {
        match self.outgoing.as_mut() {
            Some(outgoing) => outgoing.arrivals(page),
            None => Err(SessionError::Misused("arrivals that were not asked for")),
        }
    }

    /// Answers [`Output::ReadAddressed`]: those that the depot knows, at most [`ADDRESSED_MAX`] of them, in
    /// any order.
    ///
    /// [`ADDRESSED_MAX`]: super::super::limits::ADDRESSED_MAX
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn addressed(&mut self, entries: Vec<Arrival>) -> Result<(), SessionError> {
        match self.outgoing.as_mut() {
            Some(outgoing) => outgoing.addressed(entries),
            None => Err(SessionError::Misused("addressed entries that were not asked for")),
        }
    }

    /// Answers [`Output::ReadSpans`]: the fingerprint of each part, in order.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked, or for another number of parts.
    pub fn spans(&mut self, fingerprints: Vec<Fingerprint>) -> Result<(), SessionError> {
        match self.reconcile.as_mut() {
            Some(reconcile) => reconcile.spans(fingerprints),
            None => Err(SessionError::Misused("spans that were not asked for")),
        }
    }

    /// Answers [`Output::ReadIds`]: rising, fewer than asked only at the end of the span.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked, or they are out of order or of another span.
    pub fn ids(&mut self, ids: Vec<EntryId>) -> Result<(), SessionError> {
        match self.reconcile.as_mut() {
            Some(reconcile) => reconcile.ids(ids),
            None => Err(SessionError::Misused("ids that were not asked for")),
        }
    }

    /// Answers [`Output::FindKnown`]: those ids that are known, in any order. An id that is not, but was noted
    /// for this peer, counts as known and not held; its position does not matter.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn known(&mut self, known: &[Arrival]) -> Result<(), SessionError> {
        let outgoing = self.outgoing.as_mut().filter(|_| std::mem::take(&mut self.known_asked));
        outgoing.ok_or(SessionError::Misused("known ids that were not asked for"))?.differ(known);
        Ok(())
    }

    /// Answers [`Output::NotePast`].
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn past_noted(&mut self) -> Result<(), SessionError> {
        self.incoming.past_noted()
    }

    /// Answers [`Output::ReadEntries`]: the bytes of each, in the order asked; `None` for what is not held.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked, or for another number of entries.
    pub fn entries(&mut self, entries: Vec<Option<Bytes>>) -> Result<(), SessionError> {
        match self.outgoing.as_mut() {
            Some(outgoing) => outgoing.entries(entries),
            None => Err(SessionError::Misused("entries that were not asked for")),
        }
    }

    /// Whether both sides pad, and the other one said that nothing follows: see [`Engine::speaks_last`].
    pub const fn has_heard_all(&self) -> bool {
        self.padding.is_on() && self.incoming.is_ended()
    }

    /// Whether a snapshot whose last position is this would be answered with the `Done`. A caller that does not want to show
    /// how long its store took passes it in a fixed time after [`Engine::has_heard_all`], and before any later answer.
    pub fn speaks_last(&self, head: u64) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| head <= outgoing.covered())
    }

    /// Answers [`Output::TakeSnapshot`]: fingerprint and last position at one and the same moment.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when it was not asked.
    pub fn snapshot(&mut self, fingerprint: Fingerprint, head: u64) -> Result<(), SessionError> {
        let asked = std::mem::take(&mut self.snapshot_asked);
        let outgoing = self.outgoing.as_mut().filter(|_| asked);
        let outgoing = outgoing.ok_or(SessionError::Misused("a snapshot that was not asked for"))?;
        // Something came while the snapshot was taken: it says nothing any more, and is taken again.
        if !self.incoming.is_over() || !outgoing.end_marked() {
            return Ok(());
        }
        self.claimed = fingerprint.count;
        match self.check.snapshot(fingerprint, head, outgoing.covered(), self.incoming.received()) {
            Next::SendMore => {
                outgoing.reopen();
                self.gathering = self.padding.is_on();
            }
            Next::Say(Claim { received, fingerprint, busy }) => {
                self.gathering = false;
                // All was settled before the snapshot was asked for, so its acknowledgement went first.
                self.say(Frame::Done { received, fingerprint, busy }.encode().into());
                self.padding.done();
            }
        }
        Ok(())
    }
}
