//! Drives the sans-IO session of [`fieldbook_proto::session`] over any pair of byte streams.
//!
//! Three parties work at the same time and wait for each other only through the engine: the caller's
//! task reads and decides, a writer task sends, and a thread of its own talks to the store, whose
//! calls block on the disk. What the engine does not ask for is not read, so memory stays bounded.
//! It is one file because what the three may do at the same time is seen only where all of them are.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc as blocking};
use std::thread;
use std::time::Duration;

use crate::gauge::Gauge;
use crate::limit::Limit;
use crate::signals::Signals;
use bytes::{Bytes, BytesMut};
use fieldbook_proto::session::{
    Arrival, Decline, Engine, Event, Fingerprint, Output, PeerDepot, Remembered, SessionError, Side, Span,
    Summary,
};
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Bytes read at once.
const READ_LEN: usize = 128 * 1024;
/// Bytes written at once: each is progress.
const WRITE_LEN: usize = 64 * 1024;
/// What is said in one go is written in one piece, up to so much: where one frame ends and the next begins would show in
/// the records of TLS, and padding would hide nothing.
const TOGETHER: usize = 64 * 1024;
/// Pieces that wait to be written: entries come in frames of up to a quarter of a MiB.
const WRITES_WAITING: usize = 8;
/// While so many events wait to be noted by the store, nothing more is read.
const NOTES_WAITING: usize = 64;
/// A session in which nothing moves for so long is given up.
const STALL: Duration = Duration::from_secs(60);
/// A line that is slower than this many bytes a second is given up while a large entry is on it: carriers take some MiB
/// at once, and the other side says nothing before all of it is there.
const SLOWEST: u64 = 4 * 1024;
/// A session that goes on and in which nothing moves for so long is given up, whatever the other side says: see
/// [`Engine::movement`].
pub const STANDSTILL: Duration = Duration::from_secs(300);
/// So many bytes of entries that went onto the line are progress; what else is said is shorter.
const PROGRESS_LEN: usize = 16 * 1024;
/// Two that stay together look into the depot, and ask after each other, about so often: between half of it and
/// one and a half, so that it makes no clock for whoever watches the line.
const PULSE: Duration = Duration::from_secs(30);
/// A peer that stays and answers nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(110);
/// Where both sides pad, the first that a side sends of its depot goes not sooner than so long after it has heard from where on:
/// whether there was something to read does not show.
const fn lead_of(side: Side) -> Duration {
    match side {
        Side::Client => Duration::from_millis(20),
        // The client's has come by then, and is acknowledged by this and not by chance before.
        Side::Server => Duration::from_millis(35),
    }
}
/// Where both sides pad, `Done` is said not sooner than so long after the other side has said that nothing follows: whether
/// there was something to store does not show as long as storing it takes less. More than the 25 ms after which QUIC acknowledges
/// by itself, so that it always does.
pub const TURN: Duration = Duration::from_millis(60);
/// Where both sides pad, a side ends its half not sooner than so long after its last words: whether there was something to
/// remember of the other side, which is done in between, does not show as a packet of its own or none.
const PARTING: Duration = Duration::from_millis(20);
/// How long the other side may take to hear our last words, and between two of its own.
pub const FAREWELL: Duration = Duration::from_secs(5);
/// How long a peer may take to show that it is of the team.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bad entries.
    pub refused: Vec<EntryId>,
    /// Good ones that it does not take now, and those that it knew and no longer holds ([`Decline::Dropped`]).
    pub declined: Vec<(EntryId, Decline)>,
    /// How many were new: then the session goes on.
    pub added: usize,
}

/// What a session needs of a depot. Calls may block; all come from one thread, in the engine's order.
pub trait SessionStore: Send {
    /// Whatever the store fails with.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes entries durable before it returns; which were refused or declined, and how many were new. See [`Engine::stored`] for what
    /// follows for the set that is compared.
    ///
    /// # Errors
    /// The store's.
    fn store(&mut self, batch: &[(EntryId, Bytes)]) -> Result<Stored, Self::Error>;
    /// Which of these entries, all unknown, it does not take now, in the order given. Those that it does take it
    /// has promised to take: they will come.
    ///
    /// # Errors
    /// The store's.
    fn declined(&mut self, offered: &[(EntryId, u32)]) -> Result<Vec<(EntryId, Decline)>, Self::Error>;
    /// How many ids it knows, and the last position of its order.
    ///
    /// # Errors
    /// The store's.
    fn totals(&mut self) -> Result<(u64, u64), Self::Error>;
    /// Which of these, all known, it no longer holds.
    ///
    /// # Errors
    /// The store's.
    fn dropped(&mut self, known: &[EntryId]) -> Result<Vec<EntryId>, Self::Error>;
    /// Which of these were never known.
    ///
    /// # Errors
    /// The store's.
    fn unknown(&mut self, ids: &[EntryId]) -> Result<Vec<EntryId>, Self::Error>;
    /// What arrived after a position: `max_entries`, unless there are fewer.
    ///
    /// # Errors
    /// The store's.
    fn arrivals(&mut self, after: u64, max_entries: usize) -> Result<Vec<Arrival>, Self::Error>;
    /// What is addressed to this device, as far as it is known here.
    ///
    /// # Errors
    /// The store's.
    fn addressed(&mut self, device: &DeviceId) -> Result<Vec<Arrival>, Self::Error>;
    /// The bytes of entries; `None` for what is no longer held.
    ///
    /// # Errors
    /// The store's.
    fn entries(&mut self, ids: &[EntryId]) -> Result<Vec<Option<Bytes>>, Self::Error>;
    /// What is remembered of earlier sessions with that depot.
    ///
    /// # Errors
    /// The store's.
    fn remembered(&mut self, depot: &DepotId) -> Result<Remembered, Self::Error>;
    /// Fingerprint and last position, at one moment: of all known ids, and of what is noted as the past of a
    /// peer's depot.
    ///
    /// # Errors
    /// The store's.
    fn snapshot(&mut self, past: Option<PeerDepot>) -> Result<(Fingerprint, u64), Self::Error>;
    /// The fingerprints of the parts of a span of the set that is compared with a peer.
    ///
    /// # Errors
    /// The store's.
    fn spans(&mut self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, Self::Error>;
    /// The ids of that set in a span, rising, from the next after `after`.
    ///
    /// # Errors
    /// The store's.
    fn ids(
        &mut self,
        peer: &PeerDepot,
        span: Span,
        after: Option<EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, Self::Error>;
    /// What is known of ids of that set, one arrival each; what is not known is not held.
    ///
    /// # Errors
    /// The store's.
    fn known(&mut self, ids: &[EntryId]) -> Result<Vec<Arrival>, Self::Error>;
    /// Remembers what a peer's depot knows and no longer holds.
    ///
    /// # Errors
    /// The store's.
    fn note_past(&mut self, peer: &PeerDepot, ids: &[EntryId]) -> Result<(), Self::Error>;
    /// Takes note of what is to be remembered: who was met, cursors, what the peer holds.
    ///
    /// # Errors
    /// The store's.
    fn note(&mut self, event: &Event) -> Result<(), Self::Error>;
    /// Whether the peer still stands. Asked before anything else is done for it, so that a removal that
    /// this device learns of ends the sessions that run.
    ///
    /// # Errors
    /// The store's.
    fn peer_stands(&mut self) -> Result<bool, Self::Error>;
}

/// Why a session ended before its end. What was acknowledged before is durable on the other side.
#[derive(Debug)]
pub enum SessionFailure {
    /// The protocol: whose fault it is, [`SessionError::party`] tells.
    Session(SessionError),
    /// The connection.
    Connection(io::Error),
    /// This side's store, in its words.
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// The other device was removed from the team while the session ran.
    Removed,
    /// Nothing was heard for a minute, or no hello came within ten seconds.
    Stalled,
    /// The other side spoke, and nothing moved for so long.
    NoProgress(Duration),
}

impl fmt::Display for SessionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Connection(error) => write!(f, "the connection broke: {error}"),
            Self::Store(error) => write!(f, "this device's depot failed: {error}"),
            Self::Removed => f.write_str("the other device was removed from the team meanwhile"),
            Self::Stalled => f.write_str("the other side went silent"),
            Self::NoProgress(patience) => {
                write!(f, "nothing moved for {} seconds, though the other side is there", patience.as_secs())
            }
        }
    }
}

impl std::error::Error for SessionFailure {}

impl From<SessionError> for SessionFailure {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

enum Question {
    Ask(Output),
    Note(Event),
}

enum Answer {
    Stored(Stored),
    Noted,
    Unknown(Vec<EntryId>, Vec<(EntryId, Decline)>),
    Arrivals(Vec<Arrival>),
    Addressed(Vec<Arrival>),
    Entries(Vec<Option<Bytes>>),
    Totals(u64, u64),
    Remembered(Remembered),
    Snapshot(Fingerprint, u64),
    Spans(Vec<Fingerprint>),
    Ids(Vec<EntryId>),
    Known(Vec<Arrival>),
    PastNoted,
    Removed,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// What a session that stays needs beside its streams.
#[derive(Debug)]
pub struct Staying {
    /// What it hears from the other sessions.
    pub signals: Signals,
    /// Whether the session has to find out by itself that the peer is gone. QUIC does it beneath.
    pub pings: bool,
}

/// On what terms a session runs.
#[derive(Debug)]
pub struct Terms {
    /// It stays when both are in step, if the engine was made to.
    pub staying: Option<Staying>,
    /// How fast it may be. What the other side sends is slowed down by not being read: what the carrier's windows
    /// hold (some MiB) comes at once.
    pub limit: Option<Arc<Limit>>,
    /// Where it shows how far it is.
    pub gauge: Option<Arc<Gauge>>,
    /// For how long nothing may move, unless both rest.
    pub patience: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { staying: None, limit: None, gauge: None, patience: STANDSTILL }
    }
}

/// What the writer has done.
#[derive(Debug, Default)]
struct Written {
    piece: Notify,
    /// Bytes of pieces that are long enough to be of entries.
    entries: AtomicU64,
}

/// When something moved last.
struct Progress {
    patience: Duration,
    at: Instant,
    heard: u64,
    written: u64,
    /// Entries that were new to the store.
    added: bool,
}

impl Progress {
    /// Looks whether something moved. Two that rest need not.
    fn look(&mut self, engine: &Engine, written: &Written, resting: bool) -> Result<(), SessionFailure> {
        let (now, sent) = (engine.movement(), written.entries.load(Relaxed));
        let more_written = sent >= self.written + PROGRESS_LEN as u64;
        let added = std::mem::take(&mut self.added);
        if resting || engine.peer().is_none() || added || now > self.heard || more_written {
            (self.at, self.heard, self.written) = (Instant::now(), now, sent);
        }
        if self.at.elapsed() < self.patience + grace(engine) {
            Ok(())
        } else {
            Err(SessionFailure::NoProgress(self.patience))
        }
    }
}

/// Runs a session to its end. `on_event` hears of everything, in order; the store has been asked to
/// note it by then. The streams are finished, not closed: that is the carrier's matter.
///
/// # Errors
/// [`SessionFailure`]; `summary` then says what was moved all the same.
pub async fn run_session<R, W, S>(
    mut engine: Engine,
    mut reader: R,
    writer: W,
    store: S,
    terms: Terms,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> (Summary, Result<(), SessionFailure>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
    S: SessionStore + 'static,
{
    let written = Arc::new(Written::default());
    let (pieces, mut writing) = start_writer(writer, written.clone(), terms.limit.clone());
    let (questions, answers) = start_store(store);
    let result =
        drive(&mut engine, &mut reader, &pieces, questions, answers, (terms, &written), on_event).await;
    let result = match result {
        Ok(passed) => {
            if engine.hears_out() {
                read_out(&mut reader).await;
            }
            if engine.is_padded() {
                sleep_until(passed + PARTING).await;
            }
            drop(pieces);
            // The other side writes its padding as well, and neither waits for the other to read.
            let written = tokio::select! {
                written = timeout(STALL, &mut writing.0) => written,
                never = async { read_out(&mut reader).await; std::future::pending().await } => never,
            };
            match written {
                Ok(Ok(Err(error))) => Err(SessionFailure::Connection(error)),
                Ok(_) => Ok(()),
                Err(_) => Err(SessionFailure::Stalled),
            }
        }
        // Not another word, whatever was about to be said: the other side may have been removed.
        Err(failure) => Err(failure),
    };
    (engine.summary(), result)
}

/// Reads what the other side still says after the end of a session, which is padding, until it has said all.
pub async fn read_out(reader: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; READ_LEN];
    let all = async { while let Ok(Ok(1..)) = timeout(FAREWELL, reader.read(&mut buffer)).await {} };
    // One that drips does not keep us.
    let _ = timeout(STALL, all).await;
}

/// Hands a piece to the writer, and notes when. One that ended has an error to tell: the session's end asks it.
fn pass(pieces: &mpsc::Sender<Bytes>, piece: Bytes, at: &mut Instant) -> Result<(), SessionFailure> {
    *at = Instant::now();
    let passed = pieces.try_send(piece);
    passed.map_err(|_| SessionFailure::Connection(io::ErrorKind::BrokenPipe.into()))
}

async fn drive<R: AsyncRead + Unpin>(
    engine: &mut Engine,
    reader: &mut R,
    pieces: &mpsc::Sender<Bytes>,
    questions: blocking::Sender<Question>,
    mut answers: mpsc::UnboundedReceiver<Answer>,
    (terms, written): (Terms, &Written),
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> Result<Instant, SessionFailure> {
    let gone = |what: &str| SessionFailure::Store(format!("{what} ended").into());
    let Terms { mut staying, limit, gauge, patience } = terms;
    let mut progress = Progress { patience, at: Instant::now(), heard: 0, written: 0, added: false };
    let mut buffer = vec![0; if limit.is_some() { Limit::PIECE } else { READ_LEN }];
    let mut read_from = Instant::now();
    // One term for all of the hello: a stranger does not gain time by sending it byte by byte.
    let hello_until = Instant::now() + HELLO_PATIENCE;
    let mut moved = Instant::now();
    let mut heard = Instant::now();
    let mut pulse = Instant::now() + jittered(PULSE);
    // Events that the store has not taken note of yet.
    let mut notes: usize = 0;
    // When the first `Done` may be said, and the answer that leads to it.
    let (mut turn, mut kept) = (None::<Instant>, None::<Answer>);
    // When the first of the transfer may go, and that it went.
    let (mut lead, mut leads) = (None::<Instant>, false);
    let mut together = BytesMut::new();
    // When the last of what was said went.
    let mut passed = Instant::now();
    loop {
        while let Some(output) = engine.poll(pieces.capacity() > 0)? {
            if engine.may_begin() {
                lead.get_or_insert(heard + lead_of(engine.side()));
            }
            if !leads && engine.has_begun() && matches!(output, Output::Send(_)) {
                leads = true;
                // What stands before it waits for nothing.
                if !together.is_empty() {
                    pass(pieces, together.split().freeze(), &mut passed)?;
                }
            }
            match output {
                Output::Send(piece) if together.is_empty() && piece.len() >= TOGETHER => {
                    pass(pieces, piece, &mut passed)?
                }
                Output::Send(piece) => {
                    together.extend_from_slice(&piece);
                    if together.len() >= TOGETHER {
                        pass(pieces, together.split().freeze(), &mut passed)?;
                    }
                }
                Output::Event(event) => {
                    notes += 1;
                    questions.send(Question::Note(event.clone())).map_err(|_| gone("its thread"))?;
                    on_event(&event);
                }
                question => questions.send(Question::Ask(question)).map_err(|_| gone("its thread"))?,
            }
        }
        let waits = leads && lead > Some(Instant::now()) && !engine.is_finished();
        if !together.is_empty() && !waits {
            // There was room for it when it was polled.
            pass(pieces, together.split().freeze(), &mut passed)?;
        }
        if let Some(gauge) = &gauge {
            gauge.set(engine.progress());
        }
        if engine.has_heard_all() {
            turn.get_or_insert(heard + TURN);
        }
        if engine.is_finished() {
            // The last notes are taken before anybody is told that the session is over.
            drop(questions);
            while let Some(answer) = answers.recv().await {
                match answer {
                    Answer::Failed(error) => return Err(SessionFailure::Store(error)),
                    Answer::Removed => return Err(SessionFailure::Removed),
                    _ => {}
                }
            }
            return Ok(passed);
        }
        let resting = engine.is_at_rest();
        progress.look(engine, written, resting)?;
        let pings = staying.as_ref().is_some_and(|staying| staying.pings);
        let until = match (engine.peer(), resting) {
            (None, _) => hello_until,
            (Some(_), false) => (moved + STALL).min(progress.at + patience) + grace(engine),
            (Some(_), true) if pings => heard + SILENCE,
            // The connection beneath notices.
            (Some(_), true) => pulse + STALL,
        };
        let may_read = read_from <= Instant::now();
        let step = async {
            tokio::select! {
                answer = answers.recv() => {
                    moved = Instant::now();
                    let answer = answer.ok_or_else(|| gone("its thread"))?;
                    match &answer {
                        Answer::Stored(Stored { added: 1.., .. }) => {
                            progress.added = true;
                            if let Some(staying) = &staying {
                                staying.signals.tell();
                            }
                        }
                        Answer::Noted => {
                            notes -= 1;
                            return Ok(());
                        }
                        _ => {}
                    }
                    // What was true before this answer is not any more.
                    kept.take().map_or(Ok(()), |kept| take(engine, kept))?;
                    match &answer {
                        Answer::Snapshot(_, head) if turn > Some(Instant::now()) && engine.speaks_last(*head) => {
                            kept = Some(answer);
                            Ok(())
                        }
                        _ => take(engine, answer),
                    }
                }
                () = sleep_until(lead.unwrap_or(moved)), if waits => Ok(()),
                () = sleep_until(turn.unwrap_or(moved)), if kept.is_some() => {
                    moved = Instant::now();
                    kept.take().map_or(Ok(()), |kept| take(engine, kept))
                }
                () = written.piece.notified() => {
                    moved = Instant::now();
                    Ok(())
                }
                () = sleep_until(read_from), if !may_read => Ok(()),
                read = reader.read(&mut buffer), if may_read && notes < NOTES_WAITING && engine.wants_input() => {
                    moved = Instant::now();
                    heard = moved;
                    match read {
                        Ok(0) => engine.closed().map_err(SessionFailure::from),
                        Ok(len) => {
                            read_from = limit.as_ref().map_or(moved, |limit| limit.count(len));
                            engine.receive(&buffer[..len]);
                            Ok(())
                        }
                        Err(error) => Err(SessionFailure::Connection(error)),
                    }
                }
                leave = news(&mut staying) => {
                    if leave { engine.leave() } else { engine.wake() }
                    Ok(())
                }
                () = sleep_until(pulse), if resting => {
                    pulse = Instant::now() + jittered(PULSE);
                    moved = Instant::now();
                    engine.wake();
                    if pings { engine.ping() }
                    Ok(())
                }
                room = pieces.reserve(), if pieces.capacity() == 0 => match room {
                    Ok(_) => { moved = Instant::now(); Ok(()) }
                    Err(_) => Err(SessionFailure::Connection(io::ErrorKind::BrokenPipe.into())),
                },
            }
        };
        if let Ok(done) = timeout_at(until, step).await {
            done?;
        } else {
            progress.look(engine, written, resting)?;
            return Err(SessionFailure::Stalled);
        }
    }
}

/// How long the oldest entry on the line may take to arrive, beside everything else.
fn grace(engine: &Engine) -> Duration {
    Duration::from_secs(engine.oldest_unacknowledged() / SLOWEST)
}

/// For a session that does not stay there are no news.
async fn news(staying: &mut Option<Staying>) -> bool {
    match staying {
        Some(staying) => staying.signals.news_or_leave().await,
        None => std::future::pending().await,
    }
}

/// Between half of it and one and a half. No secret hangs on it.
fn jittered(about: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    about / 2 + about.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

fn take(engine: &mut Engine, answer: Answer) -> Result<(), SessionFailure> {
    match answer {
        Answer::Stored(stored) => engine.stored(&stored.refused, &stored.declined)?,
        Answer::Noted => {}
        Answer::Unknown(ids, declined) => engine.unknown(&ids, &declined)?,
        Answer::Arrivals(arrivals) => engine.arrivals(arrivals)?,
        Answer::Addressed(entries) => engine.addressed(entries)?,
        Answer::Entries(entries) => engine.entries(entries)?,
        Answer::Totals(known, head) => engine.totals(known, head)?,
        Answer::Remembered(remembered) => engine.cursor(remembered)?,
        Answer::Snapshot(fingerprint, head) => engine.snapshot(fingerprint, head)?,
        Answer::Spans(fingerprints) => engine.spans(fingerprints)?,
        Answer::Ids(ids) => engine.ids(ids)?,
        Answer::Known(arrivals) => engine.known(&arrivals)?,
        Answer::PastNoted => engine.past_noted()?,
        Answer::Removed => return Err(SessionFailure::Removed),
        Answer::Failed(error) => return Err(SessionFailure::Store(error)),
    }
    Ok(())
}

/// A task that writes pieces in order and finishes the stream when no more can come.
fn start_writer<W: AsyncWrite + Unpin + Send + 'static>(
    mut writer: W,
    written: Arc<Written>,
    limit: Option<Arc<Limit>>,
) -> (mpsc::Sender<Bytes>, Writing) {
    let at_once = if limit.is_some() { Limit::PIECE } else { WRITE_LEN };
    let (sender, mut pieces) = mpsc::channel::<Bytes>(WRITES_WAITING);
    let task = tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            for part in piece.chunks(at_once) {
                writer.write_all(part).await?;
                // On a slow line one piece takes minutes, and all is well.
                if piece.len() >= PROGRESS_LEN {
                    written.entries.fetch_add(part.len() as u64, Relaxed);
                }
                written.piece.notify_one();
                if let Some(limit) = &limit {
                    writer.flush().await?;
                    limit.pass(part.len()).await;
                }
            }
            // Else the end of it may stay with a carrier that encrypts piece by piece.
            writer.flush().await?;
        }
        writer.shutdown().await
    });
    (sender, Writing(task))
}

/// The writer task, which ends with whoever waits for it: when a session is given up from outside, nothing
/// more is said.
struct Writing(JoinHandle<io::Result<()>>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A thread that asks the store; it ends when nobody can ask it any more.
fn start_store<S: SessionStore + 'static>(
    mut store: S,
) -> (blocking::Sender<Question>, mpsc::UnboundedReceiver<Answer>) {
    let (questions, asked) = blocking::channel();
    // Unbounded, but the engine has only a few questions open at a time.
    let (answers, answered) = mpsc::unbounded_channel();
    let failed = answers.clone();
    let started = thread::Builder::new().name("depot".to_owned()).spawn(move || {
        for question in asked {
            let answer = match question {
                Question::Note(event) => match store.note(&event) {
                    Ok(()) => Answer::Noted,
                    Err(error) => Answer::Failed(error.into()),
                },
                Question::Ask(output) => match ask(&mut store, output) {
                    Ok(Some(Answer::Removed)) => {
                        // Nothing more is done for it, whatever was asked already.
                        let _ = answers.send(Answer::Removed);
                        break;
                    }
                    Ok(Some(answer)) => answer,
                    Ok(None) => continue,
                    Err(error) => Answer::Failed(error.into()),
                },
            };
            if answers.send(answer).is_err() {
                break;
            }
        }
    });
    if let Err(error) = started {
        let _ = failed.send(Answer::Failed(error.into()));
    }
    (questions, answered)
}

/// What is not taken of an offer, in its order.
fn in_order(
    offered: &[EntryId],
    declined: Vec<(EntryId, Decline)>,
    dropped: Vec<EntryId>,
) -> Vec<(EntryId, Decline)> {
    if dropped.is_empty() {
        return declined;
    }
    let dropped = dropped.into_iter().map(|id| (id, Decline::Dropped));
    let why: HashMap<EntryId, Decline> = declined.into_iter().chain(dropped).collect();
    offered.iter().filter_map(|id| Some((*id, *why.get(id)?))).collect()
}

fn ask<S: SessionStore>(store: &mut S, output: Output) -> Result<Option<Answer>, S::Error> {
    if !store.peer_stands()? {
        return Ok(Some(Answer::Removed));
    }
    Ok(Some(match output {
        Output::Store(batch) => Answer::Stored(store.store(&batch)?),
        Output::FindUnknown { ids, sizes } => {
            let unknown = store.unknown(&ids)?;
            let mut next = unknown.iter().peekable();
            let offered = ids.iter().copied().zip(sizes);
            let (new, known): (Vec<_>, Vec<_>) =
                offered.partition(|(id, _)| next.next_if(|next| *next == id).is_some());
            let declined = if new.is_empty() { Vec::new() } else { store.declined(&new)? };
            let known: Vec<EntryId> = known.into_iter().map(|(id, _)| id).collect();
            let dropped = if known.is_empty() { Vec::new() } else { store.dropped(&known)? };
            Answer::Unknown(unknown, in_order(&ids, declined, dropped))
        }
        Output::ReadArrivals { after, max_entries } => Answer::Arrivals(store.arrivals(after, max_entries)?),
        Output::ReadAddressed { device } => Answer::Addressed(store.addressed(&device)?),
        Output::ReadEntries { ids } => Answer::Entries(store.entries(&ids)?),
        Output::ReadTotals => {
            let (known, head) = store.totals()?;
            Answer::Totals(known, head)
        }
        Output::ReadCursor { depot } => Answer::Remembered(store.remembered(&depot)?),
        Output::TakeSnapshot { past } => {
            let (fingerprint, head) = store.snapshot(past)?;
            Answer::Snapshot(fingerprint, head)
        }
        Output::ReadSpans { peer, span, parts } => Answer::Spans(store.spans(&peer, span, parts)?),
        Output::ReadIds { peer, span, after, max_entries } => {
            Answer::Ids(store.ids(&peer, span, after, max_entries)?)
        }
        Output::FindKnown { ids } => Answer::Known(store.known(&ids)?),
        Output::NotePast { peer, ids } => {
            store.note_past(&peer, &ids)?;
            Answer::PastNoted
        }
        Output::Send(_) | Output::Event(_) => return Ok(None),
    }))
}
