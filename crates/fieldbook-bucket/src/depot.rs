//! The depot over a bucket: the trait's questions are answered from this process's replica, its acts go
//! through the log, the bytes of entries are objects.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fieldbook_depot::{
    Acknowledged, Arrival, ArrivalWithBytes, Depot, DepotError, DepotKey, Fingerprint, Held, Incoming,
    Judged, Lookup, Mark, PeerDepot, PeerRecord, PutSummary, Quarantined, Source, Span, Stats,
};
use fieldbook_proto::limits::ENTRY_SEALED_MAX;
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use object_store::ObjectStore;

use crate::checkpoint::{self, CheckpointRule};
use crate::log::{Log, NotWritten, Outcome};
use crate::objects::{Created, Objects};
use crate::op::{ITEMS_MAX, Item, ObjectName, Op};
use crate::seal::{Sealer, newer, random};

/// The object that names the depot.
const MARK: &str = "depot";
const MARK_VERSION: u8 = 1;
/// Entries of which is remembered that the bucket did not give them.
pub(crate) const LOST_MAX: usize = 1_000;
pub(crate) const ALTERED: &str = "the bucket gives other bytes than were stored";
const MISSING: &str = "the bucket no longer has its bytes";

/// A depot in a bucket, which other processes may have open too, anywhere. Dropping it leaves nothing behind.
pub struct BucketDepot {
    pub(crate) log: Arc<Log>,
    depot: DepotId,
    rule: CheckpointRule,
    /// What the bucket did not give when it was asked last, and why.
    lost: Mutex<BTreeMap<EntryId, &'static str>>,
}

impl fmt::Debug for BucketDepot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketDepot").field("depot", &self.depot).finish_non_exhaustive()
    }
}

pub(crate) fn entry_name(name: &ObjectName) -> String {
    format!("e/{:02x}/{:032x}", name[0], u128::from_be_bytes(*name))
}

impl BucketDepot {
    /// Makes an empty depot below `prefix`, where none may be. In `folder` this process keeps files without a
    /// name while it runs.
    ///
    /// # Errors
    /// [`DepotError::AlreadyExists`]; [`DepotError::Io`] when the bucket's server does not keep the rule that a
    /// put can be told to create only; [`DepotError::Away`]; the disk's.
    pub fn create(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        key: &DepotKey,
        folder: &Path,
        depot: DepotId,
    ) -> Result<Self, DepotError> {
        let (objects, sealer) = (Objects::new(store, prefix)?, Sealer::new(key));
        let mark = [&[MARK_VERSION][..], depot.as_bytes()].concat();
        let mark = Bytes::from(sealer.seal(MARK, &mark)?);
        if objects.create(MARK, mark.clone())? == Created::There
            && objects.get(MARK, 4_096)?.is_none_or(|there| there != mark)
        {
            return Err(DepotError::AlreadyExists);
        }
        Self::begin(objects, sealer, folder, depot, mark)
    }

    /// Opens the depot below `prefix`.
    ///
    /// # Errors
    /// [`DepotError::Missing`]; [`DepotError::WrongKey`]; [`DepotError::NewerVersion`]; [`DepotError::Damaged`];
    /// [`DepotError::Io`] when the bucket's server does not keep the rule that a put can be told to create only;
    /// [`DepotError::Away`]; the disk's.
    pub fn open(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        key: &DepotKey,
        folder: &Path,
    ) -> Result<Self, DepotError> {
        let (objects, sealer) = (Objects::new(store, prefix)?, Sealer::new(key));
        let mark = objects.get(MARK, 4_096)?.ok_or(DepotError::Missing)?;
        let content = sealer.open(MARK, &mark).map_err(|_| DepotError::WrongKey)?;
        let depot = match content.split_first() {
            Some((&MARK_VERSION, depot)) => depot.try_into().map(DepotId::from_bytes).map_err(|_| newer())?,
            _ => return Err(newer()),
        };
        Self::begin(objects, sealer, folder, depot, mark)
    }

    fn begin(
        objects: Objects,
        sealer: Sealer,
        folder: &Path,
        depot: DepotId,
        mark: Bytes,
    ) -> Result<Self, DepotError> {
        // All rests on it. Where it is not kept, this writes what was there.
        if objects.create(MARK, mark)? == Created::New {
            let what = "the bucket's server does not know puts that only create (If-None-Match), so several \
                        relays could overwrite each other: use another server";
            return Err(DepotError::Io(std::io::Error::new(std::io::ErrorKind::Unsupported, what)));
        }
        let (replica, place) = checkpoint::load(&objects, &sealer, folder, depot)?;
        let log = Arc::new(Log::new(objects, sealer, folder.to_owned(), replica, place));
        log.look()?;
        let made = Self { log, depot, rule: CheckpointRule::default(), lost: Mutex::default() };
        checkpoint::when_due(&made.log, made.rule);
        Ok(made)
    }

    /// Says when checkpoints are written.
    #[must_use]
    pub fn with_checkpoints(mut self, rule: CheckpointRule) -> Self {
        self.rule = rule;
        self
    }

    /// Says how long a call tries a bucket that does not answer until it fails with [`DepotError::Away`]; 5
    /// seconds if nothing is said.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.log.objects.set_patience(patience);
        self
    }

    /// Writes a checkpoint now, so that the next process starts faster.
    ///
    /// # Errors
    /// The backend's.
    pub fn checkpoint(&self) -> Result<(), DepotError> {
        checkpoint::write(&self.log, |_| true).map(drop)
    }

    pub(crate) fn lost(&self) -> MutexGuard<'_, BTreeMap<EntryId, &'static str>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, ops: Vec<Op>) -> Result<Vec<Outcome>, DepotError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.log.append(ops, None)?;
        checkpoint::when_due(&self.log, self.rule);
        Ok(outcomes)
    }

    /// Removes objects that nobody needs. What fails here is found by [`BucketDepot::sweep`].
    fn remove(&self, names: &[ObjectName]) {
        let _ = self.log.objects.each(names, |objects, name| {
            let _ = objects.delete(&entry_name(name));
            Ok(())
        });
    }

    /// One try of [`Depot::put`]: good entries become objects, then one segment says so.
    fn try_put(&self, judged: &[Judged<'_>]) -> Result<Option<PutSummary>, DepotError> {
        let fence = self.log.fence();
        let good: Vec<EntryId> =
            judged.iter().filter(|one| one.refusal.is_none()).map(|one| one.id).collect();
        let mut names: HashMap<EntryId, ObjectName> = HashMap::new();
        for id in self.log.replica.unknown(&good)? {
            names.insert(id, random()?);
        }
        let mut summary = PutSummary::default();
        let (mut items, mut upload) = (Vec::new(), HashMap::new());
        for one in judged {
            let found = match (one.refusal, names.get(&one.id)) {
                (Some(refusal), _) => Err(refusal),
                (None, Some(name)) => {
                    upload.insert(*name, one.stored);
                    Ok(*name)
                }
                (None, None) => {
                    summary.already_known += 1;
                    continue;
                }
            };
            items.push(Item { id: one.id, size: one.size, from: one.from, found });
        }
        if items.is_empty() {
            return Ok(Some(summary));
        }
        let upload: Vec<(ObjectName, &[u8])> = upload.into_iter().collect();
        self.log.objects.each(&upload, |objects, (name, bytes)| {
            objects.put(&entry_name(name), Bytes::copy_from_slice(bytes))
        })?;
        let ops = items.chunks(ITEMS_MAX).map(|items| Op::Put(items.to_vec())).collect();
        let outcomes = match self.log.append(ops, Some(fence)) {
            Ok(outcomes) => outcomes,
            Err(NotWritten::Fenced) => {
                self.remove(&upload.iter().map(|(name, _)| *name).collect::<Vec<_>>());
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        for outcome in outcomes {
            if let Outcome::Put(put) = outcome {
                summary.added += put.added;
                summary.already_known += put.already_known;
                summary.refused.extend(put.refused);
            }
        }
        // Another process was faster with some of them: its objects count.
        let mut spare = Vec::new();
        for (id, name) in &names {
            if self.log.replica.get(id)? != Lookup::Held(name.to_vec()) {
                spare.push(*name);
            }
        }
        self.remove(&spare);
        checkpoint::when_due(&self.log, self.rule);
        Ok(Some(summary))
    }

    /// The bytes under a name that the replica gave for an entry.
    fn fetch(&self, id: &EntryId, name: &[u8]) -> Result<Option<Vec<u8>>, DepotError> {
        let mut name: ObjectName = name.try_into().map_err(|_| newer())?;
        for _ in 0..2 {
            let bytes = self.log.objects.get(&entry_name(&name), ENTRY_SEALED_MAX)?;
            let why = match bytes {
                Some(bytes) if EntryId::of(&bytes) == *id => {
                    self.lost().remove(id);
                    return Ok(Some(bytes.into()));
                }
                Some(_) => ALTERED,
                None => MISSING,
            };
            // Perhaps another process has dropped it meanwhile.
            self.log.look()?;
            match self.log.replica.get(id)? {
                Lookup::Held(now) if now == name => {}
                Lookup::Held(now) => {
                    name = now.try_into().map_err(|_| newer())?;
                    continue;
                }
                Lookup::Gone | Lookup::Unknown => return Ok(None),
            }
            if self.log.objects.get(MARK, 4_096)?.is_none() {
                // Not one object is lost but all: whoever asks must not believe that everything is gone.
                return Err(DepotError::Damaged("the bucket was emptied, or is another one".to_owned()));
            }
            let mut lost = self.lost();
            if lost.len() < LOST_MAX || lost.contains_key(id) {
                lost.insert(*id, why);
            }
            return Ok(None);
        }
        Ok(None)
    }

    fn fetch_lookup(&self, id: &EntryId) -> Result<Lookup, DepotError> {
        match self.log.replica.get(id)? {
            Lookup::Held(name) => Ok(self.fetch(id, &name)?.map_or(Lookup::Gone, Lookup::Held)),
            other => Ok(other),
        }
    }
}

fn in_chunks(ids: &[EntryId], op: impl Fn(Vec<EntryId>) -> Op) -> Vec<Op> {
    ids.chunks(ITEMS_MAX).map(|ids| op(ids.to_vec())).collect()
}

impl Depot for BucketDepot {
    fn depot_id(&self) -> DepotId {
        self.depot
    }

    fn put(&self, batch: &[Incoming<'_>]) -> Result<PutSummary, DepotError> {
        let judged: Vec<_> = batch.iter().map(Judged::of).collect();
        loop {
            if let Some(summary) = self.try_put(&judged)? {
                return Ok(summary);
            }
        }
    }

    fn get(&self, id: &EntryId) -> Result<Lookup, DepotError> {
        self.fetch_lookup(id)
    }

    fn get_all(&self, ids: &[EntryId]) -> Result<Vec<Lookup>, DepotError> {
        self.log.objects.each(ids, |_, id| self.fetch_lookup(id))
    }

    fn unknown(&self, ids: &[EntryId]) -> Result<Vec<EntryId>, DepotError> {
        self.log.replica.unknown(ids)
    }

    fn position(&self, id: &EntryId) -> Result<Option<u64>, DepotError> {
        self.log.replica.position(id)
    }

    fn arrivals(&self, after: u64, max_entries: usize, max_bytes: u64) -> Result<Vec<Arrival>, DepotError> {
        self.log.replica.arrivals(after, max_entries, max_bytes)
    }

    fn arrivals_with_bytes(
        &self,
        after: u64,
        max_entries: usize,
        max_bytes: u64,
    ) -> Result<Vec<ArrivalWithBytes>, DepotError> {
        let named = self.log.replica.arrivals_with_bytes(after, max_entries, max_bytes)?;
        self.log.objects.each(&named, |_, (arrival, name)| {
            let bytes = name.as_ref().map(|name| self.fetch(&arrival.id, name)).transpose()?;
            Ok((*arrival, bytes.flatten()))
        })
    }

    /// Looks first whether other processes have added to the order: a device that has just been served by one
    /// may come to another.
    fn head(&self) -> Result<u64, DepotError> {
        self.log.look()?;
        self.log.replica.head()
    }

    fn fingerprint(&self) -> Result<Fingerprint, DepotError> {
        self.log.replica.fingerprint()
    }

    fn known(&self, ids: &[EntryId]) -> Result<Vec<Arrival>, DepotError> {
        self.log.replica.known(ids)
    }

    fn note_past(&self, peer: &PeerDepot, ids: &[EntryId]) -> Result<usize, DepotError> {
        let outcomes = self.append(in_chunks(ids, |ids| Op::Past(peer.device, peer.depot, ids)))?;
        Ok(outcomes.iter().map(|outcome| if let Outcome::Count(noted) = outcome { *noted } else { 0 }).sum())
    }

    fn compared(&self, peer: &PeerDepot) -> Result<Fingerprint, DepotError> {
        self.log.replica.compared(peer)
    }

    fn spans(&self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, DepotError> {
        self.log.replica.spans(peer, span, parts)
    }

    fn ids_in(
        &self,
        peer: &PeerDepot,
        span: Span,
        after: Option<&EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, DepotError> {
        self.log.replica.ids_in(peer, span, after, max_entries)
    }

    fn forget(&self, ids: &[EntryId]) -> Result<usize, DepotError> {
        let mut dropped = 0;
        for outcome in self.append(in_chunks(ids, Op::Forget))? {
            if let Outcome::Dropped(count, names) = outcome {
                dropped += count;
                self.remove(&names);
            }
        }
        Ok(dropped)
    }

    fn quarantine(&self, id: &EntryId, reason: &str) -> Result<bool, DepotError> {
        self.log.look()?;
        if self.log.replica.position(id)?.is_none() {
            return Ok(false);
        }
        let reason = reason.chars().take(500).collect();
        for outcome in self.append(vec![Op::Quarantine(*id, reason)])? {
            if let Outcome::Dropped(_, names) = outcome {
                self.remove(&names);
            }
        }
        Ok(true)
    }

    /// Also what the bucket did not give when it was asked last.
    fn quarantined(&self) -> Result<Vec<Quarantined>, DepotError> {
        let mut bad = self.log.replica.quarantined()?;
        let lost = self.lost().clone();
        let ids: Vec<EntryId> = lost.keys().copied().collect();
        let known: HashMap<EntryId, Source> =
            self.log.replica.known(&ids)?.into_iter().map(|arrival| (arrival.id, arrival.from)).collect();
        bad.extend(lost.into_iter().map(|(id, why)| Quarantined {
            id,
            from: known.get(&id).copied().unwrap_or(Source::Unnamed),
            reason: why.to_owned(),
        }));
        Ok(bad)
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, DepotError> {
        self.log.replica.setting(name)
    }

    fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), DepotError> {
        self.append(vec![Op::Setting(name.to_owned(), value.map(<[u8]>::to_vec))]).map(drop)
    }

    fn peer_cursor(&self, peer: &DepotId) -> Result<u64, DepotError> {
        self.log.replica.peer_cursor(peer)
    }

    fn set_peer_cursor(&self, peer: &DepotId, position: u64) -> Result<(), DepotError> {
        self.append(vec![Op::Cursor(*peer, position)]).map(drop)
    }

    fn peers(&self) -> Result<Vec<PeerRecord>, DepotError> {
        self.log.replica.peers()
    }

    fn record_peer(&self, peer: PeerRecord) -> Result<(), DepotError> {
        self.append(vec![Op::Peer(peer)]).map(drop)
    }

    fn address_to(&self, device: &DeviceId, ids: &[EntryId]) -> Result<(), DepotError> {
        self.append(in_chunks(ids, |ids| Op::Address(*device, ids))).map(drop)
    }

    fn addressed_to(&self, device: &DeviceId) -> Result<Vec<EntryId>, DepotError> {
        self.log.replica.addressed_to(device)
    }

    fn held_by(&self, source: Source) -> Result<Held, DepotError> {
        self.log.replica.held_by(source)
    }

    fn held_by_each(&self) -> Result<Vec<(Source, Held)>, DepotError> {
        self.log.replica.held_by_each()
    }

    /// Nothing is written where the note would not be kept: a segment stays for ever.
    fn note_time(&self, time_ms: u64, apart_ms: u64) -> Result<(), DepotError> {
        let (head, last) = (self.log.replica.head()?, self.log.replica.marks()?.last().copied());
        if last.is_some_and(|last| last.position >= head || time_ms < last.time_ms.saturating_add(apart_ms)) {
            return Ok(());
        }
        self.append(vec![Op::Time(time_ms, apart_ms)]).map(drop)
    }

    fn marks(&self) -> Result<Vec<Mark>, DepotError> {
        self.log.replica.marks()
    }

    fn first_held(&self) -> Result<Option<u64>, DepotError> {
        self.log.replica.first_held()
    }

    fn acknowledged(&self) -> Result<Vec<Acknowledged>, DepotError> {
        self.log.replica.acknowledged()
    }

    /// The provider's room.
    fn room_on_disk(&self) -> Result<Option<u64>, DepotError> {
        Ok(None)
    }

    fn stats(&self) -> Result<Stats, DepotError> {
        self.log.replica.stats()
    }
}
