//! The sending half: which entries go, in which order, asked for or not, and what was acknowledged.
//! It is one file because a mark is right only if every lane of the pipeline is seen.
//!
//! Work comes in *passes* over this side's arrival order: small entries first, then large ones. Towards a relay that
//! has no more room for this device, what it wrote itself goes in either before what it carries for others. Nobody
//! else is shown which is which. Within a pass everything moves in the order of arrival through one pipeline,
//!
//! ```text
//! page of arrivals ─► undecided ─► to_offer ─► offered ─► queue ─► loading ─► loaded ─► unacked
//!                              └──────────── unasked ─────┘
//! ```
//!
//! so the oldest thing that is still in it tells how far the peer's cursor may move (a *mark*).
//!
//! While large entries are under way, small ones that arrive *overtake* them: they take a lane of their own
//! through the pipeline, and marks do not move by them. The small pass that follows skips what has overtaken.

mod acks;
mod moved;
mod offers;
mod overtake;

use std::collections::VecDeque;

use bytes::Bytes;

use super::Arrival;
use super::decline::Declined;
use super::error::SessionError;
use super::frame::{Frame, encode_entries};
use super::lacks::Lacks;
use super::limits::{
    ADDRESSED_MAX, ENTRIES_FRAME_MAX, ENTRY_OVERHEAD, MARK_BYTES, MARK_ENTRIES, OFFER_IDS_MAX,
    OVERTAKE_BYTES, PAGE, READ_BYTES, READ_ENTRIES, SMALL_ENTRY_MAX, STEP_LEAST, UNACKED_BYTES_MAX,
    UNACKED_ENTRIES_MAX, UNASKED_MAX,
};
pub(super) use acks::Settled;

use crate::limits::{ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};
use crate::{DeviceId, EntryId};

/// What the sending half wants done.
pub(super) enum Act {
    /// A frame. Offers and marks will be answered: the engine counts round trips by them.
    Send(Bytes),
    SendOffer(Bytes),
    SendMark(Bytes),
    ReadArrivals {
        after: u64,
        max_entries: usize,
    },
    ReadEntries(Vec<EntryId>),
    ReadAddressed,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    position: u64,
    id: EntryId,
    size: u32,
    /// The peer asked for it, after an offer.
    asked: bool,
}

impl Item {
    /// What is outside the limits of an entry is never sent: [`Outgoing::entries`] drops it.
    fn told_size(&self) -> u32 {
        let (least, most) = (ENTRY_SEALED_MIN as u32, ENTRY_SEALED_MAX as u32);
        self.size.clamp(least, most)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Entries up to [`SMALL_ENTRY_MAX`].
    Small,
    /// The larger ones among what the small pass went over, up to `until`.
    Large { until: u64 },
    /// Everything that is held, offered from the beginning.
    Repair,
    /// What the comparison has found missing on the other side, as long as it goes on.
    Differences,
    /// What is addressed to the peer, and nothing else: its membership has run out.
    Addressed,
    /// Nothing to do.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Undecided,
    Unasked,
    Offered,
}

/// The sending half of a session.
pub(super) struct Outgoing {
    peer: DeviceId,
    /// The peer gets what is addressed to it. Then this side's order is never read, and no mark moves.
    limited: bool,
    /// The peer's set is empty: there is nothing to ask it.
    peer_is_empty: bool,
    /// Offers tell sizes, and the peer may decline.
    sized: bool,
    /// What came from the peer goes back to it all the same up to here: perhaps it has lost its depot.
    resend_until: u64,
    /// Some of that is among what is undecided.
    resends: bool,
    /// The peer may say what it knows and no longer holds.
    told_dropped: bool,
    /// The peer has read up to here, and does not hold all of it: what goes again up to here is offered.
    again_until: u64,
    /// What it lacks of that.
    lacks: Lacks,

    pass: Pass,
    manner: Manner,
    scanned: u64,
    page_asked: bool,
    /// How many were asked for.
    page_size: usize,
    page_end: bool,
    /// What is this side's own goes before what it carries.
    own_first: bool,
    /// What is carried goes, too, and not only what is this side's own.
    carrying: bool,
    /// The first carried entry that was left for the pass that follows.
    first_carried: Option<u64>,
    /// This side's own entries went before up to here, in the small passes.
    own_until: u64,
    first_large: Option<u64>,
    /// Small entries up to here have overtaken, if that is beyond what is covered.
    overtaken: u64,
    /// There may be more that overtake.
    overtakers: bool,
    /// Whether the page that was asked for is theirs.
    page_overtakes: bool,
    /// Something arrived since it was asked for.
    stale_page: bool,
    overtaking_offer: VecDeque<Item>,
    overtaking: VecDeque<Item>,
    /// Their bytes since a large entry went.
    overtaking_run: u64,
    /// Both sides agreed, and nothing was found since that must be said.
    unheard: bool,
    covered: u64,

    undecided: VecDeque<Item>,
    undecided_bytes: u64,
    to_offer: VecDeque<Item>,
    offered: VecDeque<Vec<Item>>,
    /// Ids that were offered and are not settled.
    open: usize,
    has_offered: bool,
    /// Ids of which the other side is told that they are known here and no longer held.
    past: VecDeque<EntryId>,
    queue: VecDeque<Item>,
    loading: VecDeque<Item>,
    loaded: VecDeque<(Item, Option<Bytes>)>,
    loaded_bytes: u64,
    unacked: VecDeque<(Item, u32)>,
    unacked_bytes: u64,

    sent: u64,
    sent_bytes: u64,
    acked: u64,
    answered: u64,
    refused: u64,
    /// What the peer holds of what was sent.
    held: u64,
    held_bytes: u64,
    /// What will be sent: everything in the pipeline from `queue` to `loaded`, by the sizes of its items.
    waiting: u64,
    waiting_bytes: u64,
    declined: Declined,
    declined_bytes: Declined,
    /// The first position of those, and of what this side could not give: the peer does not hold what lies there.
    not_held_at: Option<u64>,
    /// What this side could not give, and nobody has taken note of yet.
    not_given: Vec<EntryId>,
    marked: u64,
    entries_at_mark: u64,
    bytes_at_mark: u64,
    /// Marks that were sent, each with the number of entries sent before it.
    marks: VecDeque<(u64, u64)>,
    end_marked: bool,
}

impl Outgoing {
    /// `since` is how far the peer says it has read, `head` the end of the arrival order as the peer
    /// knows it from our hello.
    pub(super) fn new(peer: DeviceId, peer_known: u64, since: u64, head: u64) -> Self {
        // A cursor beyond the end is one into an order that no longer exists.
        let since = if since > head { 0 } else { since };
        Self {
            peer,
            limited: false,
            peer_is_empty: peer_known == 0,
            sized: false,
            resend_until: if since == 0 { head } else { 0 },
            resends: false,
            told_dropped: false,
            again_until: 0,
            lacks: Lacks::default(),
            pass: Pass::Small,
            manner: Manner::Undecided,
            scanned: since,
            page_asked: false,
            page_size: 0,
            page_end: false,
            own_first: false,
            carrying: true,
            first_carried: None,
            own_until: 0,
            first_large: None,
            overtaken: 0,
            overtakers: false,
            page_overtakes: false,
            stale_page: false,
            overtaking_offer: VecDeque::new(),
            overtaking: VecDeque::new(),
            overtaking_run: 0,
            unheard: false,
            covered: since,
            undecided: VecDeque::new(),
            undecided_bytes: 0,
            to_offer: VecDeque::new(),
            offered: VecDeque::new(),
            open: 0,
            has_offered: false,
            past: VecDeque::new(),
            queue: VecDeque::new(),
            loading: VecDeque::new(),
            loaded: VecDeque::new(),
            loaded_bytes: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            sent: 0,
            sent_bytes: 0,
            acked: 0,
            answered: 0,
            refused: 0,
            declined: Declined::default(),
            declined_bytes: Declined::default(),
            held: 0,
            held_bytes: 0,
            waiting: 0,
            waiting_bytes: 0,
            not_held_at: None,
            not_given: Vec::new(),
            marked: since,
            entries_at_mark: 0,
            bytes_at_mark: 0,
            marks: VecDeque::from([(0, since)]),
            end_marked: false,
        }
    }

    /// As [`Outgoing::new`], for a peer whose membership has run out. It is offered only what is addressed
    /// to it, and its cursor stays where it is: after the renewal it gets all the rest.
    pub(super) fn limited(peer: DeviceId, since: u64, head: u64) -> Self {
        let mut outgoing = Self { limited: true, ..Self::new(peer, 1, since, head) };
        outgoing.begin(Pass::Addressed, 0);
        outgoing.manner = Manner::Offered;
        outgoing
    }

    /// The peer may decline entries, so it is told their sizes.
    pub(super) const fn telling_sizes(mut self, sized: bool) -> Self {
        self.sized = sized;
        self
    }

    /// The peer says what it knows and no longer holds.
    pub(super) const fn told_dropped(mut self, told: bool) -> Self {
        self.told_dropped = told;
        self
    }

    /// Begins where the peer lacks something, whatever it has read, and goes over what it holds.
    pub(super) fn with_lacks(mut self, lacks: Option<Lacks>) -> Self {
        if let Some(lacks) = lacks.filter(|lacks| lacks.holds() < self.covered) {
            let holds = lacks.holds();
            self.again_until = self.covered;
            self.lacks = lacks.within(self.covered);
            self.scanned = self.lacks.skip(holds).0;
            self.covered = holds;
            self.marks = VecDeque::from([(0, holds)]);
        }
        self
    }

    /// What is this side's own goes before what it carries.
    pub(super) const fn own_first(mut self, own_first: bool) -> Self {
        self.own_first = own_first;
        self.carrying = !own_first;
        self
    }

    /// Entries sent so far.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Entries that were acknowledged, however.
    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    /// Ids that were offered and answered.
    pub(super) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Bytes of these entries.
    pub(super) const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Bytes of the oldest entry that is not settled.
    pub(super) fn oldest_unacked(&self) -> u64 {
        self.unacked.front().map_or(0, |(_, size)| u64::from(*size))
    }

    /// Entries that the peer refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Entries that the peer declined.
    pub(super) const fn declined(&self) -> Declined {
        self.declined
    }

    /// Everything up to here was considered. Of what is not for the peer nothing has to be.
    pub(super) const fn covered(&self) -> u64 {
        if self.limited { u64::MAX } else { self.covered }
    }

    /// Whether the caller is still to answer something.
    pub(super) fn awaits_store(&self) -> bool {
        self.page_asked || !self.loading.is_empty()
    }

    /// Whether the peer was told that nothing follows.
    pub(super) const fn end_marked(&self) -> bool {
        self.end_marked
    }

    /// Goes on with what arrived since.
    pub(super) fn reopen(&mut self) {
        self.begin(Pass::Small, self.covered);
    }

    /// Both sides agree and stay together.
    pub(super) const fn rest(&mut self) {
        self.has_offered = false;
        self.peer_is_empty = false;
    }

    /// Everything that was sent is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.end_marked && self.unacked.is_empty()
    }

    /// Offers everything from the beginning.
    pub(super) fn repair(&mut self) {
        self.begin(Pass::Repair, 0);
        self.manner = Manner::Offered;
    }

    /// Offers what [`Outgoing::differ`] names, until [`Outgoing::no_more_differ`].
    pub(super) fn differences(&mut self) {
        self.begin(Pass::Differences, 0);
        self.manner = Manner::Offered;
    }

    /// Whether there is room for another page of differences.
    pub(super) fn takes_differences(&self) -> bool {
        self.to_offer.len() + self.queue.len() + self.past.len() < PAGE
    }

    /// These are known here and not to the other side.
    pub(super) fn differ(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            if arrival.held {
                self.consider(arrival);
            } else {
                self.past.push_back(arrival.id);
            }
        }
        self.decide();
    }

    /// The comparison is at its end.
    pub(super) fn no_more_differ(&mut self) {
        self.page_end |= self.pass == Pass::Differences;
    }

    fn begin(&mut self, pass: Pass, after: u64) {
        self.carrying = !self.own_first;
        self.first_carried = None;
        self.pass = pass;
        self.manner = Manner::Undecided;
        self.scanned = after;
        self.page_end = false;
        self.first_large = if matches!(pass, Pass::Large { .. }) { self.first_large } else { None };
        self.end_marked = false;
        self.unheard = false;
        self.overtakers = false;
        if self.sized && matches!(pass, Pass::Large { .. }) {
            // Nothing large is sent in vain.
            self.manner = Manner::Offered;
        }
    }

    /// Goes over what is carried, after what is this side's own.
    fn carry(&mut self, first: u64) {
        let (first_large, overtakers) = (self.first_large, self.overtakers);
        if self.pass == Pass::Small {
            self.own_until = self.scanned;
        }
        self.begin(self.pass, first.saturating_sub(1));
        (self.first_large, self.overtakers, self.carrying) = (first_large, overtakers, true);
    }

    /// The next thing to do; frames only if `can_send`.
    pub(super) fn poll(&mut self, can_send: bool) -> Option<Act> {
        self.end_pass();
        if can_send && let Some(frame) = self.next_frame() {
            return Some(frame);
        }
        let queued = !self.queue.is_empty() || !self.overtaking.is_empty();
        if self.loading.is_empty() && self.loaded_bytes < READ_BYTES && queued {
            return Some(Act::ReadEntries(self.load()));
        }
        let overtakers = self.overtaking_offer.len() + self.overtaking.len();
        if self.overtakers && !self.page_asked && overtakers < PAGE {
            self.page_asked = true;
            self.page_overtakes = true;
            return Some(Act::ReadArrivals { after: self.overtakers_from(), max_entries: PAGE });
        }
        let waiting = self.undecided.len() + self.to_offer.len() + self.queue.len();
        let reads = !matches!(self.pass, Pass::Over | Pass::Differences);
        if reads && !self.page_end && !self.page_asked && waiting < PAGE {
            self.page_asked = true;
            if self.limited {
                return Some(Act::ReadAddressed);
            }
            self.page_size = PAGE;
            if matches!(self.pass, Pass::Small | Pass::Large { .. }) {
                let (after, open) = self.lacks.skip(self.scanned);
                self.scanned = after;
                self.page_size = usize::try_from(open).unwrap_or(PAGE).min(PAGE);
            }
            return Some(Act::ReadArrivals { after: self.scanned, max_entries: self.page_size });
        }
        None
    }

    fn next_frame(&mut self) -> Option<Act> {
        // A mark that is due goes before what is loaded already: after a cut it decides what goes again.
        if self.pass != Pass::Over
            && !self.loaded.is_empty()
            && let Some(frame) = self.mark_frame()
        {
            return Some(Act::SendMark(frame));
        }
        if let Some(frame) = self.entries_frame() {
            return Some(Act::Send(frame));
        }
        if let Some(frame) = self.past_frame() {
            return Some(Act::Send(frame));
        }
        if let Some(frame) = self.mark_frame() {
            return Some(Act::SendMark(frame));
        }
        self.offer_frame().map(Act::SendOffer)
    }

    /// The pipeline of a pass must be empty before the next begins: marks rely on one order.
    fn end_pass(&mut self) {
        if !self.page_end || self.oldest().is_some() || self.page_overtakes {
            return;
        }
        if let (Pass::Small | Pass::Large { .. }, Some(first)) = (self.pass, self.first_carried) {
            self.carry(first);
            return;
        }
        match (self.pass, self.first_large) {
            (Pass::Small, Some(first)) => {
                self.begin(Pass::Large { until: self.scanned }, first.saturating_sub(1));
            }
            (Pass::Over, _) => {}
            (Pass::Addressed, _) => self.pass = Pass::Over,
            (Pass::Large { until }, _) => self.finish(until),
            (Pass::Small | Pass::Repair, _) => self.finish(self.scanned),
            // The comparison says nothing of what arrived since.
            (Pass::Differences, _) => self.pass = Pass::Over,
        }
    }

    fn finish(&mut self, until: u64) {
        self.covered = self.covered.max(until);
        self.pass = Pass::Over;
        if self.overtaken > self.covered || self.overtakers {
            // Past what has overtaken, to what large things lie there.
            let unheard = self.unheard;
            self.reopen();
            self.unheard = unheard;
        }
    }

    fn oldest(&self) -> Option<&Item> {
        let loaded = self.loaded.front().map(|(item, _)| item);
        loaded
            .or_else(|| self.loading.front())
            .or_else(|| self.overtaking.front())
            .or_else(|| self.queue.front())
            .or_else(|| self.overtaking_offer.front())
            .or_else(|| self.offered.front().and_then(|ids| ids.first()))
            .or_else(|| self.to_offer.front())
            .or_else(|| self.undecided.front())
    }

    /// A page of arrivals, shorter than asked at the end of the order.
    pub(super) fn arrivals(&mut self, page: Vec<Arrival>) -> Result<(), SessionError> {
        if self.limited || !std::mem::take(&mut self.page_asked) {
            return Err(SessionError::Misused("arrivals that were not asked for"));
        }
        if std::mem::take(&mut self.page_overtakes) {
            return self.overtake(&page);
        }
        self.page_end = page.len() < self.page_size && !std::mem::take(&mut self.stale_page);
        let passes = matches!(self.pass, Pass::Small | Pass::Large { .. });
        for arrival in page {
            if arrival.position <= self.scanned {
                return Err(SessionError::Misused("arrivals out of order"));
            }
            if let Pass::Large { until } = self.pass
                && arrival.position >= until
            {
                self.page_end = true;
                if arrival.position > until {
                    break;
                }
            }
            self.scanned = arrival.position;
            if !passes || self.lacks.is_open(arrival.position) {
                self.consider(&arrival);
            }
        }
        if passes {
            // What lies between here and there needs no answer.
            self.scanned = self.lacks.skip(self.scanned).0;
        }
        self.decide();
        Ok(())
    }

    /// Everything that is addressed to the peer. Small entries go first; marks do not depend on the order.
    pub(super) fn addressed(&mut self, mut entries: Vec<Arrival>) -> Result<(), SessionError> {
        if !self.limited || !std::mem::take(&mut self.page_asked) {
            return Err(SessionError::Misused("addressed entries that were not asked for"));
        }
        entries.truncate(ADDRESSED_MAX);
        entries.sort_by_key(|entry| entry.size > SMALL_ENTRY_MAX);
        entries.iter().for_each(|entry| self.consider(entry));
        self.page_end = true;
        self.decide();
        Ok(())
    }

    fn consider(&mut self, arrival: &Arrival) {
        let Arrival { position, id, size, .. } = *arrival;
        if !arrival.held {
            return;
        }
        if !matches!(self.pass, Pass::Repair | Pass::Differences | Pass::Addressed) {
            if arrival.from == Some(self.peer) && position > self.resend_until {
                return;
            }
            let large = size > SMALL_ENTRY_MAX;
            match self.pass {
                Pass::Small if large => {
                    self.first_large.get_or_insert(position);
                    return;
                }
                Pass::Small if position <= self.overtaken => return,
                Pass::Large { .. } if !large => return,
                _ => {}
            }
            match self.pass {
                Pass::Small | Pass::Large { .. } if !self.carrying && !arrival.own => {
                    self.first_carried.get_or_insert(position);
                    return;
                }
                Pass::Small if self.carrying && arrival.own && position <= self.own_until => return,
                Pass::Large { .. } if self.carrying && self.own_first && arrival.own => return,
                _ => {}
            }
        }
        self.unheard = false;
        self.resends |= arrival.from == Some(self.peer);
        self.undecided_bytes += u64::from(size);
        self.undecided.push_back(Item { position, id, size, asked: false });
    }

    fn decide(&mut self) {
        if self.manner == Manner::Undecided {
            let again = self.undecided.front().is_some_and(|item| item.position <= self.again_until);
            if again {
                self.manner = Manner::Offered;
            } else if self.peer_is_empty && !self.has_offered {
                self.manner = Manner::Unasked;
            } else if self.resends {
                // Most likely it has all of it.
                self.manner = Manner::Offered;
            } else if self.undecided_bytes > UNASKED_MAX || (self.has_offered && !self.undecided.is_empty()) {
                self.manner = Manner::Offered;
            } else if self.page_end && !self.undecided.is_empty() {
                // Where large entries follow, a question more is no loss; and after a cut in their midst what
                // went before them is not sent again.
                // The same where marks cannot move, because what is carried lies before.
                let held_up = self.first_carried.is_some() && self.undecided_bytes > 2 * STEP_LEAST;
                let ask = self.sized && (self.first_large.is_some() || held_up);
                self.manner = if ask { Manner::Offered } else { Manner::Unasked };
            }
        }
        let next = match self.manner {
            Manner::Undecided => return,
            Manner::Unasked => {
                self.waiting += self.undecided.len() as u64;
                self.waiting_bytes += self.undecided_bytes;
                &mut self.queue
            }
            Manner::Offered => &mut self.to_offer,
        };
        next.append(&mut self.undecided);
        (self.undecided_bytes, self.resends) = (0, false);
    }

    fn load(&mut self) -> Vec<EntryId> {
        // Now and then a large one goes, however many overtake.
        let large =
            self.overtaking.is_empty() || (self.overtaking_run >= OVERTAKE_BYTES && !self.queue.is_empty());
        let from = if large { &mut self.queue } else { &mut self.overtaking };
        let mut bytes = 0;
        while let Some(item) = from.front() {
            let size = u64::from(item.size);
            if self.loading.len() >= READ_ENTRIES || (bytes > 0 && bytes + size > READ_BYTES) {
                break;
            }
            bytes += size;
            self.loading.extend(from.pop_front());
        }
        self.overtaking_run = if large { 0 } else { self.overtaking_run + bytes };
        self.loading.iter().map(|item| item.id).collect()
    }

    /// The bytes of the entries that were asked for, in that order; `None` for what is no longer held.
    pub(super) fn entries(&mut self, entries: Vec<Option<Bytes>>) -> Result<(), SessionError> {
        if entries.len() != self.loading.len() {
            return Err(SessionError::Misused("another number of entries than asked for"));
        }
        for (item, bytes) in self.loading.drain(..).zip(entries) {
            // What no peer may take cannot be sent.
            let bytes = bytes.filter(|bytes| (ENTRY_SEALED_MIN..=ENTRY_SEALED_MAX).contains(&bytes.len()));
            self.loaded_bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
            self.loaded.push_back((item, bytes));
        }
        Ok(())
    }

    fn entries_frame(&mut self) -> Option<Bytes> {
        if let Some(gone) = self.gone_frame() {
            return Some(gone);
        }
        let most = usize::try_from(self.step()).unwrap_or(usize::MAX).min(ENTRIES_FRAME_MAX);
        let mut frame = Vec::new();
        let mut payload = 0;
        while let Some((_, Some(bytes))) = self.loaded.front() {
            let len = bytes.len();
            let full = !frame.is_empty() && payload + ENTRY_OVERHEAD + len > most;
            let ahead = self.unacked.len() >= UNACKED_ENTRIES_MAX
                || (!self.unacked.is_empty() && self.unacked_bytes + len as u64 > UNACKED_BYTES_MAX);
            if full || ahead {
                break;
            }
            let Some((item, Some(bytes))) = self.loaded.pop_front() else { break };
            payload += ENTRY_OVERHEAD + len;
            self.loaded_bytes = self.loaded_bytes.saturating_sub(len as u64);
            self.unacked_bytes += len as u64;
            self.unacked.push_back((item, u32::try_from(len).unwrap_or(u32::MAX)));
            self.no_longer_waits(item.size);
            self.sent += 1;
            self.sent_bytes += len as u64;
            self.open = self.open.saturating_sub(usize::from(item.asked));
            frame.push((item.id, bytes));
        }
        if frame.is_empty() { None } else { Some(encode_entries(&frame)) }
    }

    /// Entries that vanished between offer and transfer. Nobody waits for those that were not offered. They may be
    /// there again the next time, as in a bucket: so the peer is not taken to hold what lies there, and the next
    /// session begins before it.
    fn gone_frame(&mut self) -> Option<Bytes> {
        let mut gone = Vec::new();
        while let Some((item, None)) = self.loaded.front().map(|(item, bytes)| (*item, bytes.as_ref())) {
            let position = item.position;
            if item.asked && gone.len() == OFFER_IDS_MAX {
                break;
            }
            self.not_held_at = Some(self.not_held_at.map_or(position, |at| at.min(position)));
            self.not_given.push(item.id);
            if item.asked {
                gone.push(item.id);
                self.open = self.open.saturating_sub(1);
            }
            self.no_longer_waits(item.size);
            self.loaded.pop_front();
        }
        if gone.is_empty() { None } else { Some(Frame::Gone(gone).encode().into()) }
    }

    /// How much may be lost by a cut: a part of what this session has brought over.
    fn step(&self) -> u64 {
        (self.sent_bytes / 4).max(STEP_LEAST)
    }

    fn mark_frame(&mut self) -> Option<Bytes> {
        let due = self.sent - self.entries_at_mark >= MARK_ENTRIES
            || self.sent_bytes - self.bytes_at_mark >= self.step().min(MARK_BYTES);
        if !due && self.pass != Pass::Over {
            return None;
        }
        let end = self.pass == Pass::Over && !self.end_marked && self.oldest().is_none();
        if end && self.unheard {
            // As was said before: nothing follows.
            self.end_marked = true;
            return None;
        }
        let before = |first: Option<u64>| first.map_or(u64::MAX, |first| first.saturating_sub(1));
        let position = match (self.oldest(), self.pass) {
            _ if self.limited => self.marked,
            (_, Pass::Repair | Pass::Differences | Pass::Addressed) => self.marked,
            (_, Pass::Over) => self.covered,
            (oldest, Pass::Small) => {
                let safe = oldest.map_or(self.scanned, |item| item.position.saturating_sub(1));
                safe.min(before(self.first_large)).min(before(self.first_carried))
            }
            (_, Pass::Large { until }) => {
                // What overtakes lies beyond, and holds no mark up.
                let safe = self.oldest_until(until);
                safe.map_or(self.scanned, |item| item.position.saturating_sub(1))
                    .min(before(self.first_carried))
            }
        };
        if !(end || (due && position > self.marked)) {
            return None;
        }
        self.marked = self.marked.max(position);
        self.entries_at_mark = self.sent;
        self.bytes_at_mark = self.sent_bytes;
        self.end_marked = end;
        self.marks.push_back((self.sent, position));
        Some(Frame::Mark { position: self.marked, end }.encode().into())
    }
}
