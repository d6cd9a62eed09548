//! The shared log: every act on the depot in one order, the same for all processes on the bucket.
//!
//! A segment is an object whose name is its number, written by a put that only creates: of several processes
//! that try the same number one wins, and the others read what it wrote, do it, and try the next. What is
//! written is done by every process on its own replica, in the order of the log, so that all give the same
//! answers. Threads that write at the same time share a segment: whoever comes first writes for all who wait.
//!
//! An act counts when its segment is stored. When the answer to a put is lost, the act may be stored or not;
//! the caller is told that it failed, and the next look at the log tells which.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fieldbook_depot::{Depot as _, DepotError, Lookup, PeerDepot, PutSummary, SqlDepot};

use crate::objects::{AT_ONCE, Created, Objects};
use crate::op::{OPS_MAX, ObjectName, Op, SEGMENT_MAX, Segment, weight};
use crate::seal::{OVERHEAD_MAX, Sealer};

/// A share of [`SEGMENT_MAX`] that is filled with the acts of several callers; one alone may be larger.
const SHARED_SEGMENT: usize = 1 << 20;

/// What an act has brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Put(PutSummary),
    /// How many entries it changed, and the objects that nobody needs any more.
    Dropped(usize, Vec<ObjectName>),
    Count(usize),
    Done,
}

/// Why an act was not written.
#[derive(Debug, Clone)]
pub(crate) enum NotWritten {
    /// A fence came in between: objects that were written before it do not count.
    Fenced,
    /// The bucket does not answer; it may have been written all the same.
    Away(String),
    /// The log does not read back.
    Damaged(String),
    /// Another failure.
    Failed(String),
}

impl From<NotWritten> for DepotError {
    fn from(error: NotWritten) -> Self {
        match error {
            NotWritten::Fenced => Self::Busy,
            NotWritten::Away(why) => Self::Away(why),
            NotWritten::Damaged(what) => Self::Damaged(what),
            NotWritten::Failed(what) => Self::Io(std::io::Error::other(what)),
        }
    }
}

impl From<DepotError> for NotWritten {
    fn from(error: DepotError) -> Self {
        match error {
            DepotError::Away(why) => Self::Away(why),
            DepotError::Damaged(what) => Self::Damaged(what),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What a process says that has read another log than there is now. It writes nothing more.
const FORKED: &str = "the log in the bucket does not go on from what was read before: it was altered, or its server \
                      let two processes create the same object";

type Answer = Result<Vec<Outcome>, NotWritten>;

/// Acts of one caller that wait to be written together.
struct Waiting {
    ops: Vec<Op>,
    fence: Option<u64>,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Waiting {
    fn weight(&self) -> usize {
        self.ops.iter().map(weight).sum()
    }

    fn tell(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
    }
}

/// How far this process has read and done the log.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The last segment.
    pub number: u64,
    /// The hash of its object.
    pub hash: [u8; 32],
    /// The last segment with a fence.
    pub fence: u64,
    /// The last segment that is in a checkpoint.
    pub checkpoint: u64,
    /// Bytes of the segments since.
    pub bytes_since: u64,
}

struct Reader {
    place: Place,
    looked: Option<Instant>,
    /// Why this process must not go on.
    broken: Option<String>,
}

pub(crate) struct Log {
    pub objects: Objects,
    pub sealer: Sealer,
    /// Where this process may put a file for a moment.
    pub folder: PathBuf,
    pub replica: SqlDepot,
    pub writing_checkpoint: AtomicBool,
    waiting: Mutex<Vec<Waiting>>,
    reader: Mutex<Reader>,
    fence: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(number: u64) -> String {
    format!("log/{number:016x}")
}

/// Milliseconds since 1970 by this machine's clock.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Log {
    pub fn new(objects: Objects, sealer: Sealer, folder: PathBuf, replica: SqlDepot, place: Place) -> Self {
        Self {
            objects,
            sealer,
            folder,
            replica,
            writing_checkpoint: AtomicBool::new(false),
            waiting: Mutex::default(),
            fence: AtomicU64::new(place.fence),
            reader: Mutex::new(Reader { place, looked: None, broken: None }),
        }
    }

    /// The last fence that this process has seen.
    pub fn fence(&self) -> u64 {
        self.fence.load(SeqCst)
    }

    /// Looks whether others have written. Whoever waits for another's look that began later than its own
    /// question has its answer.
    pub fn look(&self) -> Result<(), DepotError> {
        let asked = Instant::now();
        let mut reader = self.reader()?;
        if reader.looked.is_some_and(|looked| looked >= asked) {
            return Ok(());
        }
        let began = Instant::now();
        self.catch_up(&mut reader)?;
        reader.looked = Some(began);
        Ok(())
    }

    /// Where this process is, while nothing moves.
    pub fn still<T>(&self, act: impl FnOnce(&Place) -> Result<T, DepotError>) -> Result<T, DepotError> {
        act(&self.reader()?.place)
    }

    /// Where this process is, if nothing moves just now.
    pub fn place(&self) -> Option<Place> {
        self.reader.try_lock().ok().map(|reader| reader.place.clone())
    }

    fn reader(&self) -> Result<MutexGuard<'_, Reader>, DepotError> {
        let reader = lock(&self.reader);
        match &reader.broken {
            Some(why) => Err(DepotError::Damaged(why.clone())),
            None => Ok(reader),
        }
    }

    /// Writes acts, all in one segment, and does them: what they brought about. With `fence`, only if that is
    /// still the last one.
    pub fn append(&self, ops: Vec<Op>, fence: Option<u64>) -> Answer {
        let answer = Arc::new(Mutex::new(None));
        let mine = Waiting { ops, fence, answer: answer.clone() };
        let readable = mine.ops.iter().all(crate::op::readable);
        if !readable || mine.weight() > SEGMENT_MAX || mine.ops.len() > OPS_MAX {
            return Err(NotWritten::Failed("too much was to be written at once".to_owned()));
        }
        lock(&self.waiting).push(mine);
        loop {
            let mut reader = self.reader()?;
            if let Some(answer) = lock(&answer).take() {
                return answer;
            }
            let batch = self.next_batch();
            self.write(&mut reader, batch);
        }
    }

    /// The first of those who wait, and as many more as fit.
    fn next_batch(&self) -> Vec<Waiting> {
        let mut waiting = lock(&self.waiting);
        let (mut bytes, mut ops, mut take) = (0, 0, 0);
        for one in waiting.iter() {
            bytes += one.weight();
            ops += one.ops.len();
            if take > 0 && (bytes > SHARED_SEGMENT || ops > OPS_MAX) {
                break;
            }
            take += 1;
        }
        waiting.drain(..take).collect()
    }

    fn write(&self, reader: &mut Reader, mut batch: Vec<Waiting>) {
        if let Err(error) = self.try_write(reader, &mut batch) {
            let error = NotWritten::from(error);
            batch.iter().for_each(|one| one.tell(Err(error.clone())));
        }
    }

    fn try_write(&self, reader: &mut Reader, batch: &mut Vec<Waiting>) -> Result<(), DepotError> {
        loop {
            batch.retain(|one| {
                let passed = one.fence.is_none_or(|fence| fence == reader.place.fence);
                if !passed {
                    one.tell(Err(NotWritten::Fenced));
                }
                passed
            });
            if batch.is_empty() {
                return Ok(());
            }
            let segment = Segment {
                number: reader.place.number + 1,
                previous: reader.place.hash,
                written_ms: now_ms(),
                ops: batch.iter().flat_map(|one| one.ops.iter().cloned()).collect(),
            };
            let name = name_of(segment.number);
            let object = Bytes::from(self.sealer.seal(&name, &segment.encode())?);
            if self.objects.create(&name, object.clone())? == Created::There {
                let there = self.objects.get(&name, SEGMENT_MAX + OVERHEAD_MAX)?;
                // Perhaps our own, of a try whose answer was lost.
                if there.ok_or_else(missing)? != object {
                    self.catch_up(reader)?;
                    continue;
                }
            }
            let mut outcomes = self.do_all(reader, &segment, &object)?.into_iter();
            for one in batch.drain(..) {
                one.tell(Ok(outcomes.by_ref().take(one.ops.len()).collect()));
            }
            return Ok(());
        }
    }

    /// Reads and does what stands in the log beyond this process's place.
    fn catch_up(&self, reader: &mut Reader) -> Result<(), DepotError> {
        let mut ahead = 1;
        let mut hole = false;
        loop {
            let next = reader.place.number + 1;
            let names: Vec<String> = (next..next + ahead).map(name_of).collect();
            let found = self.objects.get_all(&names, SEGMENT_MAX + OVERHEAD_MAX)?;
            let there = found.iter().take_while(|object| object.is_some()).count();
            if there == 0 && (hole || found.iter().any(Option::is_some)) {
                // A segment is written by someone who has read the one before; that one was not there a moment
                // ago, and must be now.
                if ahead == 1 {
                    return Err(missing());
                }
                (ahead, hole) = (1, true);
                continue;
            }
            for object in found.iter().take(there).flatten() {
                let number = reader.place.number + 1;
                let segment = self.read(number, object)?;
                if segment.previous != reader.place.hash {
                    reader.broken = Some(FORKED.to_owned());
                    return Err(DepotError::Damaged(FORKED.to_owned()));
                }
                self.do_all(reader, &segment, object)?;
            }
            hole = found.iter().skip(there).any(Option::is_some);
            if there < names.len() && !hole {
                return Ok(());
            }
            ahead = if hole { 1 } else { AT_ONCE as u64 };
        }
    }

    fn read(&self, number: u64, object: &[u8]) -> Result<Segment, DepotError> {
        let name = name_of(number);
        let content = self.sealer.open(&name, object).map_err(|error| error.of("a part of the log"))?;
        // It was sealed by a program that has the key: what does not decode is of another version.
        let segment = Segment::decode(&content).map_err(|_| crate::seal::newer())?;
        if segment.number == number { Ok(segment) } else { Err(missing()) }
    }

    /// Does the acts of a segment on the replica. When that fails half-way, the replica is worth nothing.
    fn do_all(
        &self,
        reader: &mut Reader,
        segment: &Segment,
        object: &[u8],
    ) -> Result<Vec<Outcome>, DepotError> {
        let mut outcomes = Vec::with_capacity(segment.ops.len());
        for op in &segment.ops {
            match op {
                Op::Fence => {
                    reader.place.fence = segment.number;
                    self.fence.store(segment.number, SeqCst);
                }
                Op::Checkpointed(number) => {
                    reader.place.checkpoint = reader.place.checkpoint.max(*number);
                    reader.place.bytes_since = 0;
                }
                _ => {}
            }
            match self.act(op) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    let what = "this process's own index failed; start it again, the bucket is not touched";
                    reader.broken = Some(format!("{what} ({error})"));
                    return Err(error);
                }
            }
        }
        reader.place.number = segment.number;
        reader.place.hash = *blake3::hash(object).as_bytes();
        reader.place.bytes_since += object.len() as u64;
        Ok(outcomes)
    }

    fn act(&self, op: &Op) -> Result<Outcome, DepotError> {
        let replica = &self.replica;
        Ok(match op {
            Op::Put(items) => {
                let judged: Vec<_> = items.iter().map(crate::op::Item::judged).collect();
                Outcome::Put(replica.put_judged(&judged)?)
            }
            Op::Forget(ids) => {
                let names = self.names(ids)?;
                Outcome::Dropped(replica.forget(ids)?, names)
            }
            Op::Quarantine(id, reason) => {
                let names = self.names(&[*id])?;
                Outcome::Dropped(usize::from(replica.quarantine(id, reason)?), names)
            }
            Op::Setting(name, value) => {
                replica.set_setting(name, value.as_deref())?;
                Outcome::Done
            }
            Op::Cursor(depot, position) => {
                replica.set_peer_cursor(depot, *position)?;
                Outcome::Done
            }
            Op::Peer(peer) => {
                replica.record_peer(peer.clone())?;
                Outcome::Done
            }
            Op::Address(device, ids) => {
                replica.address_to(device, ids)?;
                Outcome::Done
            }
            Op::Past(device, depot, ids) => {
                Outcome::Count(replica.note_past(&PeerDepot { device: *device, depot: *depot }, ids)?)
            }
            Op::Time(time_ms, apart_ms) => {
                replica.note_time(*time_ms, *apart_ms)?;
                Outcome::Done
            }
            Op::Fence | Op::Checkpointed(_) => Outcome::Done,
        })
    }

    fn names(&self, ids: &[fieldbook_proto::EntryId]) -> Result<Vec<ObjectName>, DepotError> {
        let mut names = Vec::new();
        for id in ids {
            if let Lookup::Held(name) = self.replica.get(id)?
                && let Ok(name) = name.try_into()
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn missing() -> DepotError {
    DepotError::Damaged("a part of the log is missing from the bucket".to_owned())
}
