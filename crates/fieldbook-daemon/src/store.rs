//! A depot as a session sees it, with what it remembers of the peer.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fieldbook_depot::{Depot, DepotError, Incoming, Lookup, PeerRecord, Source, State, lacks, set_lacks};
use fieldbook_net::session::{SessionStore, Stored};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{
    Arrival, Decline, Event, Fingerprint, HIDDEN_CURSORS_LEN, HiddenCursors, Lacks, Peer, PeerDepot,
    Remembered, Span, Stretches,
};
use fieldbook_proto::{DepotId, DeviceId, EntryId};

use crate::carry::{self, Bringer, Carry, Load};
use crate::counts::Counts;
use crate::declined;
use crate::error::DaemonError;
use crate::gaps::{Gaps, Place};
use crate::identity::{self, Identity};

/// Arrivals are read by number, not by size: their bytes are not read.
const ANY_SIZE: u64 = u64::MAX >> 1;
/// How often a snapshot is tried while another process writes.
const SNAPSHOT_TRIES: usize = 8;

/// Ids that the depot is asked for at once.
const IDS_AT_ONCE: usize = 4_096;

/// Where the cursors of unnamed devices lie in the depot.
const HIDDEN: &str = "hidden-cursors";
/// Entries of an unnamed peer that a session remembers as its own; beyond, they are offered back to it.
const RECEIVED_MAX: usize = 1 << 17;
/// Ids of the past of an unnamed peer that a session remembers; beyond, the two stay different.
const UNNAMED_PAST_MAX: usize = 1 << 17;
/// Ids of declined entries that a session remembers; beyond, the two stay different.
const DECLINED_MAX: usize = 1 << 17;
/// One session at a time changes the cursors of unnamed devices. Another process may do so at the same time:
/// then one of the two positions is lost, and the next sync offers more than it need.
static HIDDEN_CURSORS: Mutex<()> = Mutex::new(());

/// The depot behind one session.
pub(crate) struct DepotStore {
    depot: Arc<dyn Depot>,
    identity: Identity,
    address: Option<String>,
    peer: Option<Box<Peer>>,
    /// What came from a peer of which no name is kept, so that it is not sent back. Gone with the session.
    received: HashSet<EntryId>,
    /// What such a peer knows and no longer holds, and this depot never knew. Gone with the session, too.
    past: BTreeSet<EntryId>,
    /// What this device declined in this session. With `past` it counts as known in what is compared.
    declined: BTreeSet<EntryId>,
    /// Up to where in the depot's order neither of the two has anything that arrived.
    counted_at: u64,
    /// Bytes of offered entries that are taken, and have not come yet.
    promised: u64,
    /// The peer says that this device's membership has run out, and sends what is addressed to it.
    limited: bool,
    /// The peer refused something of ours: what it "holds" is then not everything. Of a peer with a name it is known
    /// which.
    refused: bool,
    /// What the peer lacks, as the depot has it.
    lacks: Lacks,
    /// What it was found to lack in this session.
    lacking: Stretches,
    /// What it holds beyond, for people.
    gaps: Gaps,
    /// The authority by which the peer was judged last, as it lies in the depot.
    judged_by: Option<Vec<u8>>,
    /// What comes is counted here.
    counts: Counts,
}

impl DepotStore {
    /// `address` is where the peer was reached, if this device dialled.
    pub fn new(depot: Arc<dyn Depot>, identity: &Identity, address: Option<String>) -> Self {
        Self {
            depot,
            identity: identity.clone(),
            address,
            peer: None,
            received: HashSet::new(),
            past: BTreeSet::new(),
            declined: BTreeSet::new(),
            counted_at: 0,
            promised: 0,
            limited: false,
            refused: false,
            lacks: Lacks::default(),
            lacking: Stretches::default(),
            gaps: Gaps::default(),
            judged_by: None,
            counts: Counts::default(),
        }
    }

    /// Counts what comes.
    pub fn counting(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// The peer, if it was met and this device keeps no name of it.
    fn unnamed(&self) -> Option<&Peer> {
        self.peer.as_deref().filter(|peer| !self.identity.names(peer))
    }

    fn hidden_cursors(&self) -> Result<HiddenCursors, DaemonError> {
        let stored = self.depot.setting(HIDDEN)?;
        if let Some(cursors) = stored.as_deref().and_then(HiddenCursors::from_bytes) {
            return Ok(cursors);
        }
        let mut random = [0; HIDDEN_CURSORS_LEN];
        fill(&mut random)?;
        HiddenCursors::from_bytes(&random).ok_or(DaemonError::Damaged("hidden cursors"))
    }

    /// What only spares work, and could not be noted because the disk is full, is not noted: the next session
    /// does that work again. So a device that can take nothing more still gives what it holds.
    fn unless_full<T: Default>(noted: Result<T, DepotError>) -> Result<T, DepotError> {
        match noted {
            Err(DepotError::Full) => Ok(T::default()),
            noted => noted,
        }
    }

    fn set_cursor(&self, depot: &DepotId, position: u64) -> Result<(), DaemonError> {
        let Some(peer) = self.unnamed() else {
            return Ok(Self::unless_full(self.depot.set_peer_cursor(&self.order(depot), position))?);
        };
        let mut random = [0; 13];
        fill(&mut random)?;
        let _one = HIDDEN_CURSORS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursors = self.hidden_cursors()?;
        cursors.set(&peer.device.id(), depot, position, random);
        Ok(Self::unless_full(self.depot.set_setting(HIDDEN, Some(cursors.as_bytes())))?)
    }

    fn arrival(&self, known: fieldbook_depot::Arrival) -> Arrival {
        let from = match known.from {
            Source::Peer(device) => Some(device),
            Source::Unnamed => {
                self.unnamed().filter(|_| self.received.contains(&known.id)).map(|peer| peer.device.id())
            }
            Source::Own | Source::Bundle => None,
        };
        Arrival {
            position: known.position,
            id: known.id,
            size: known.size,
            from,
            own: known.from == Source::Own,
            held: known.state == State::Held,
        }
    }

    /// The name under which a cursor in the peer's order is kept. A depot's name is the peer's own word:
    /// together with the device, which was proven, nobody moves the cursor of another's depot.
    fn order(&self, depot: &DepotId) -> DepotId {
        let device = self.peer.as_ref().map(|peer| peer.device.id());
        let device = device.as_ref().map_or(&[][..], |device| device.as_bytes());
        let hash = EntryId::of(&[device, depot.as_bytes()].concat());
        let mut name = [0; DepotId::LEN];
        name.copy_from_slice(&hash.as_bytes()[..DepotId::LEN]);
        DepotId::from_bytes(name)
    }

    /// Remembers the peer. `holds` never falls: the depot sees to it. Of those without a name only that there
    /// was one, when last, and what some of them hold.
    fn record(&self, holds: u64) -> Result<(), DepotError> {
        let Some(peer) = &self.peer else { return Ok(()) };
        if self.unnamed().is_some() {
            return Self::unless_full(self.depot.record_peer(PeerRecord {
                device: None,
                role: Role::Monitor,
                depot: DepotId::from_bytes([0; DepotId::LEN]),
                address: None,
                last_sync_ms: now_ms(),
                holds_position: holds,
            }));
        }
        Self::unless_full(self.depot.record_peer(PeerRecord {
            device: Some(peer.device.id()),
            role: peer.device.body().role,
            depot: peer.depot,
            address: self.address.clone(),
            last_sync_ms: now_ms(),
            holds_position: holds,
        }))
    }
}

impl DepotStore {
    /// Judges entries one after the other, each with those before it taken.
    fn judge(
        &self,
        entries: impl Iterator<Item = (EntryId, u32)>,
    ) -> Result<Vec<(EntryId, Decline)>, DaemonError> {
        let carry = Carry::of(self.depot.as_ref())?;
        let named = self.peer.as_deref().filter(|_| self.unnamed().is_none()).map(|peer| peer.device.id());
        let coordinator = named.as_ref().is_some_and(|id| self.identity.authority.is_coordinator(id));
        // The renewal above all. Anybody can say that ours is due; whoever can renew it is a coordinator.
        let carry = if coordinator && self.limited { carry.of_any_size() } else { carry };
        let load = Load::of(self.depot.as_ref(), named.map(Source::Peer))?.with(self.promised);
        let bringer = if coordinator { Bringer::Coordinator } else { Bringer::Device };
        let left = carry.judge_all(entries, load, bringer);
        Ok(left.into_iter().map(|(id, why)| (id, carry::decline(why))).collect())
    }

    fn note_declined(&mut self, declined: &[(EntryId, Decline)]) {
        let room = DECLINED_MAX.saturating_sub(self.declined.len());
        self.declined.extend(declined.iter().take(room).map(|(id, _)| *id));
    }

    /// Ids that count as known in what is compared with this peer, beside those of the depot.
    fn counted(&self, span: Span) -> impl Iterator<Item = &EntryId> {
        let span = span.lowest()..=span.highest();
        let declined = self.declined.range(span.clone()).filter(|id| !self.past.contains(id));
        self.past.range(span).chain(declined)
    }

    /// What is read of the depot and of what counts beside it, at a moment when nothing came; and the end of
    /// the order then.
    fn steady<T>(&mut self, read: impl Fn(&Self) -> Result<T, DaemonError>) -> Result<(T, u64), DaemonError> {
        let mut head = self.depot.head()?;
        for _ in 0..SNAPSHOT_TRIES {
            self.forget_what_is_known()?;
            let found = read(self)?;
            let after = self.depot.head()?;
            if after == head {
                return Ok((found, head));
            }
            head = after;
        }
        // Never still: the check will say that it could not compare.
        Ok((read(self)?, head))
    }

    /// Another session may have brought what was declined or past in this one. Each id was unknown when it was noted:
    /// so it lies among what arrived since this was looked at last. Looked at is whichever is less: a peer must not
    /// make much of it with little.
    fn forget_what_is_known(&mut self) -> Result<(), DaemonError> {
        let head = self.depot.head()?;
        let counted = (self.past.len() + self.declined.len()) as u64;
        if head.saturating_sub(self.counted_at) > counted {
            let ids: Vec<EntryId> = self.counted(Span::WHOLE).copied().collect();
            for page in ids.chunks(IDS_AT_ONCE) {
                for arrival in self.depot.known(page)? {
                    self.past.remove(&arrival.id);
                    self.declined.remove(&arrival.id);
                }
            }
            self.counted_at = head;
        }
        while self.counted_at < head {
            let arrivals = self.depot.arrivals(self.counted_at, IDS_AT_ONCE, ANY_SIZE)?;
            for arrival in &arrivals {
                self.past.remove(&arrival.id);
                self.declined.remove(&arrival.id);
            }
            self.counted_at = arrivals.last().map_or(head, |last| last.position);
        }
        Ok(())
    }

    /// Of a peer without a name nothing is noted.
    fn note_gap(&mut self, note: impl FnOnce(&mut Gaps, &Place<'_>)) {
        let mut gaps = std::mem::take(&mut self.gaps);
        if let Some(peer) = self.peer.as_deref().filter(|peer| self.identity.names(peer)) {
            note(
                &mut gaps,
                &Place { depot: self.depot.as_ref(), peer, holds: self.lacks.holds(), now_ms: now_ms() },
            );
        }
        self.gaps = gaps;
    }

    /// What the depot says that this peer lacks.
    fn recorded_lacks(&self) -> Result<Lacks, DaemonError> {
        let named = self.peer.as_deref().filter(|_| self.unnamed().is_none());
        let device = named.map(|peer| peer.device.id());
        let record = self.depot.peers()?.into_iter().find(|record| record.device == device);
        let holds = record.map_or(0, |record| record.holds_position);
        match named {
            Some(peer) => Ok(lacks(self.depot.as_ref(), &peer.device.id(), &peer.depot, holds)?),
            None => Ok(Lacks::nothing_up_to(holds)),
        }
    }

    /// The peer has not got these, whatever of the order it has settled.
    fn lacking(&mut self, ids: &[EntryId]) -> Result<(), DaemonError> {
        if self.unnamed().is_none() {
            for known in self.depot.known(ids)? {
                self.lacking.add(known.position, known.position);
            }
        }
        Ok(())
    }

    /// The peer has settled everything up to here. What it lacks of it holds up nothing: it alone is offered again.
    fn settled(&mut self, settled: u64) -> Result<(), DepotError> {
        let Some(peer) = &self.peer else { return Ok(()) };
        let mut lacks = self.lacks.clone();
        lacks.settle(settled, &self.lacking);
        if lacks == self.lacks {
            return Ok(());
        }
        // First what is lacking, then how far the rest has come.
        Self::unless_full(set_lacks(self.depot.as_ref(), &peer.device.id(), &peer.depot, &lacks))?;
        self.record(lacks.holds())?;
        self.lacks = lacks;
        Ok(())
    }

    /// Which of these are known and no longer held.
    fn not_held(&self, ids: &[EntryId]) -> Result<Vec<EntryId>, DaemonError> {
        let known = self.depot.known(ids)?.into_iter();
        Ok(known.filter(|known| known.state != State::Held).map(|known| known.id).collect())
    }
}

fn with_all<'a>(mut sum: Fingerprint, ids: impl IntoIterator<Item = &'a EntryId>) -> Fingerprint {
    ids.into_iter().for_each(|id| sum.add(id));
    sum
}

fn fill(bytes: &mut [u8]) -> Result<(), DaemonError> {
    getrandom::fill(bytes)
        .map_err(|_| DaemonError::io("the system gives no random bytes")(std::io::ErrorKind::Other.into()))
}

/// Milliseconds since 1970 by this device's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl SessionStore for DepotStore {
    type Error = DaemonError;

    fn store(&mut self, batch: &[(EntryId, Bytes)]) -> Result<Stored, DaemonError> {
        let sizes = batch.iter().map(|(id, bytes)| (*id, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        self.promised = self.promised.saturating_sub(sizes.clone().map(|(_, size)| u64::from(size)).sum());
        let mut declined = self.judge(sizes)?;
        if !declined.is_empty() {
            let ids: Vec<EntryId> = declined.iter().map(|(id, _)| *id).collect();
            let unknown: HashSet<EntryId> = self.depot.unknown(&ids)?.into_iter().collect();
            declined.retain(|(id, _)| unknown.contains(id));
        }
        let left: HashSet<EntryId> = declined.iter().map(|(id, _)| *id).collect();
        let from = match &self.peer {
            None => Source::Bundle,
            Some(_) if self.unnamed().is_some() => {
                if self.received.len() < RECEIVED_MAX {
                    self.received.extend(batch.iter().map(|(id, _)| *id));
                }
                Source::Unnamed
            }
            Some(peer) => Source::Peer(peer.device.id()),
        };
        let taken = batch.iter().filter(|(id, _)| !left.contains(id));
        let incoming: Vec<Incoming<'_>> =
            taken.map(|(id, bytes)| Incoming { id: *id, bytes, from }).collect();
        let mut dropped = Vec::new();
        let (refused, added) = match self.depot.put(&incoming) {
            Ok(put) => {
                self.counts.add_received(incoming.len().saturating_sub(put.refused.len()));
                if put.already_known > 0 {
                    let ids: Vec<EntryId> = incoming.iter().map(|entry| entry.id).collect();
                    dropped = self.not_held(&ids)?;
                }
                (put.refused.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), put.added)
            }
            // Nothing of it was taken, and the peer keeps it.
            Err(DepotError::Full) => {
                let ids: Vec<EntryId> = incoming.iter().map(|entry| entry.id).collect();
                declined.extend(self.depot.unknown(&ids)?.into_iter().map(|id| (id, Decline::Full)));
                self.note_declined(&declined);
                return Ok(Stored { declined, ..Stored::default() });
            }
            Err(error) => return Err(error.into()),
        };
        for Incoming { id, .. } in &incoming {
            self.past.remove(id);
            self.declined.remove(id);
        }
        self.note_declined(&declined);
        declined.extend(dropped.into_iter().map(|id| (id, Decline::Dropped)));
        Ok(Stored { refused, declined, added })
    }

    /// A depot beyond the network is asked here whether others have added to it, and may take its time.
    fn totals(&mut self) -> Result<(u64, u64), DaemonError> {
        Ok((self.depot.fingerprint()?.count, self.depot.head()?))
    }

    fn dropped(&mut self, known: &[EntryId]) -> Result<Vec<EntryId>, DaemonError> {
        self.not_held(known)
    }

    fn declined(&mut self, offered: &[(EntryId, u32)]) -> Result<Vec<(EntryId, Decline)>, DaemonError> {
        let declined = self.judge(offered.iter().copied())?;
        self.note_declined(&declined);
        let mut next = declined.iter().peekable();
        for (id, size) in offered {
            if next.next_if(|(declined, _)| declined == id).is_none() {
                self.promised += u64::from(*size);
            }
        }
        Ok(declined)
    }

    fn unknown(&mut self, ids: &[EntryId]) -> Result<Vec<EntryId>, DaemonError> {
        Ok(self.depot.unknown(ids)?)
    }

    fn arrivals(&mut self, after: u64, max_entries: usize) -> Result<Vec<Arrival>, DaemonError> {
        let arrivals = self.depot.arrivals(after, max_entries, ANY_SIZE)?;
        let arrivals: Vec<Arrival> = arrivals.into_iter().map(|known| self.arrival(known)).collect();
        self.gaps.read(&arrivals);
        Ok(arrivals)
    }

    fn addressed(&mut self, device: &DeviceId) -> Result<Vec<Arrival>, DaemonError> {
        let mut known = Vec::new();
        for id in self.depot.addressed_to(device)? {
            // Noted for it, and perhaps not here yet.
            if let Some(position) = self.depot.position(&id)? {
                known.extend(self.depot.arrivals(position.saturating_sub(1), 1, ANY_SIZE)?);
            }
        }
        Ok(known.into_iter().map(|known| self.arrival(known)).collect())
    }

    fn entries(&mut self, ids: &[EntryId]) -> Result<Vec<Option<Bytes>>, DaemonError> {
        let found = self.depot.get_all(ids)?;
        let held = found.into_iter().map(|found| match found {
            Lookup::Held(bytes) => Some(Bytes::from(bytes)),
            Lookup::Gone | Lookup::Unknown => None,
        });
        Ok(held.collect())
    }

    fn remembered(&mut self, depot: &DepotId) -> Result<Remembered, DaemonError> {
        if let Some(peer) = self.unnamed() {
            let position = self.hidden_cursors()?.get(&peer.device.id(), depot);
            return Ok(Remembered { position, ..Remembered::default() });
        }
        let position = self.depot.peer_cursor(&self.order(depot))?;
        let relay = self.peer.as_deref().filter(|peer| peer.device.body().role == Role::Relay);
        let own_first = match relay {
            // What others gave to this device must not take the room that its own reports need.
            Some(relay) => declined::had_no_room(self.depot.as_ref(), &relay.device.id())?,
            None => false,
        };
        Ok(Remembered { position, lacks: Some(self.lacks.clone()), own_first })
    }

    fn snapshot(&mut self, past: Option<PeerDepot>) -> Result<(Fingerprint, u64), DaemonError> {
        // Everything that was promised has come, or is gone.
        self.promised = 0;
        self.steady(|store| match &past {
            Some(peer) => Ok(with_all(store.depot.compared(peer)?, store.counted(Span::WHOLE))),
            None => Ok(store.depot.fingerprint()?),
        })
    }

    fn spans(&mut self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, DaemonError> {
        let spans = self.steady(|store| {
            let sums = store.depot.spans(peer, span, parts)?;
            let with_counted = |(sum, part)| with_all(sum, store.counted(part));
            Ok(sums.into_iter().zip(span.parts(parts)).map(with_counted).collect())
        })?;
        Ok(spans.0)
    }

    fn ids(
        &mut self,
        peer: &PeerDepot,
        span: Span,
        after: Option<EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, DaemonError> {
        self.forget_what_is_known()?;
        let mut ids = self.depot.ids_in(peer, span, after.as_ref(), max_entries)?;
        ids.extend(self.counted(span).filter(|id| after.is_none_or(|after| **id > after)));
        // Another session may have brought it this moment.
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(max_entries);
        Ok(ids)
    }

    fn known(&mut self, ids: &[EntryId]) -> Result<Vec<Arrival>, DaemonError> {
        let known = self.depot.known(ids)?;
        let found: HashSet<EntryId> = known.iter().map(|arrival| arrival.id).collect();
        let missed = ids.iter().filter(|id| !found.contains(*id));
        let missed =
            missed.map(|id| Arrival { position: 0, id: *id, size: 0, from: None, own: false, held: false });
        let known: Vec<Arrival> = known.into_iter().map(|known| self.arrival(known)).collect();
        self.gaps.read(&known);
        Ok(known.into_iter().chain(missed).collect())
    }

    fn note_past(&mut self, peer: &PeerDepot, ids: &[EntryId]) -> Result<(), DaemonError> {
        if self.unnamed().is_none() {
            Self::unless_full(self.depot.note_past(peer, ids))?;
            return Ok(());
        }
        let known: HashSet<EntryId> = self.depot.known(ids)?.iter().map(|arrival| arrival.id).collect();
        for id in ids.iter().filter(|id| !known.contains(*id)) {
            if self.past.len() < UNNAMED_PAST_MAX {
                self.past.insert(*id);
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Result<(), DaemonError> {
        match event {
            Event::Met(peer) => {
                self.peer = Some(peer.clone());
                self.record(0)?;
                self.lacks = self.recorded_lacks()?;
                Ok(())
            }
            Event::Limited(limits) => {
                self.limited = limits.us;
                Ok(())
            }
            Event::RefusedByPeer(ids) => {
                self.refused = true;
                self.note_gap(Gaps::left);
                self.lacking(ids)
            }
            Event::NotGiven(ids) => {
                self.note_gap(Gaps::left);
                self.lacking(ids)
            }
            Event::DroppedByPeer(ids) => {
                self.note_gap(|gaps, place| gaps.dropped(ids, place));
                Ok(())
            }
            Event::Held(ids) | Event::Knows(ids) => {
                self.note_gap(|gaps, place| gaps.took(ids, place));
                Ok(())
            }
            Event::DeclinedByPeer(declined) => {
                self.note_gap(|gaps, place| gaps.declined(declined, place));
                let ids: Vec<EntryId> = declined.iter().map(|(id, _)| *id).collect();
                self.lacking(&ids)
            }
            // What it settled says nothing of what it declined in an earlier session, which lies before.
            Event::PeerHolds { after, settled, .. }
                if *after <= self.lacks.holds() && self.unnamed().is_none() =>
            {
                Ok(self.settled(*settled)?)
            }
            Event::PeerHolds { after, position, .. } if !self.refused && *after <= self.lacks.holds() => {
                self.record(*position)?;
                self.lacks.raise(*position);
                Ok(())
            }
            Event::CursorAdvanced { depot, position } => self.set_cursor(depot, *position),
            _ => Ok(()),
        }
    }

    /// Judges anew only when the authority is another than at the last judgement.
    fn peer_stands(&mut self) -> Result<bool, DaemonError> {
        let Some(peer) = &self.peer else { return Ok(true) };
        let stored = self.depot.setting("authority")?;
        if stored == self.judged_by {
            return Ok(true);
        }
        let stands = identity::stands(&identity::authority(self.depot.as_ref())?, peer);
        if stands {
            self.judged_by = stored;
        }
        Ok(stands)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod tests;
