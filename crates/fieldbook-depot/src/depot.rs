//! The depot as its users see it, whatever stores it.

use std::fmt;

use fieldbook_proto::certificate::Role;
#[cfg(doc)]
use fieldbook_proto::session::limits::{ADDRESSED_MAX, PAST_MAX};
use fieldbook_proto::session::{Fingerprint, PeerDepot, Span};
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use zeroize::Zeroizing;

use crate::DepotError;

/// The key of a depot's file: 32 random bytes. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct DepotKey(Zeroizing<[u8; 32]>);

impl DepotKey {
    /// Takes the key's bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's bytes, for the pipe to a network process and for the cipher.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DepotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DepotKey(secret)")
    }
}

/// Where an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This device's vault.
    Own,
    /// A peer, over a connection on which it proved to be this device.
    Peer(DeviceId),
    /// A peer of which this device keeps no name.
    Unnamed,
    /// A bundle: nobody vouches for who carried it.
    Bundle,
}

/// What a depot still has of an entry that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its bytes.
    Held,
    /// The id only: the bytes were dropped on purpose.
    Gone,
    /// The id only: the entry was bad, see [`Depot::quarantined`].
    Quarantined,
}

/// An entry that is offered to a depot.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The id it was announced by. The depot checks it.
    pub id: EntryId,
    /// The sealed bytes.
    pub bytes: &'a [u8],
    /// Who offers it.
    pub from: Source,
}

/// Why an offered entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The bytes are not those that the id names. The id stays unknown: the true entry may still come.
    WrongId,
    /// The bytes are shorter or longer than any sealed entry. The id is known from now on, so that it is
    /// not fetched again.
    WrongSize,
}

impl Refusal {
    /// The reason in words, as [`Quarantined::reason`] shows it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::WrongId => "its bytes are not those that its id names",
            Self::WrongSize => "its size is outside the limits of an entry",
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutSummary {
    /// Entries that are new here and now durable.
    pub added: usize,
    /// Entries that were known already, held or not. Nothing changed for them.
    pub already_known: usize,
    /// Entries that were not taken, and why. They are listed by [`Depot::quarantined`].
    pub refused: Vec<(EntryId, Refusal)>,
}

/// The answer to a request for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its bytes.
    Held(Vec<u8>),
    /// Known, but its bytes were dropped or quarantined.
    Gone,
    /// Never known here.
    Unknown,
}

/// A known entry in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in this depot's arrival order: from 1, rising, never reused.
    pub position: u64,
    /// Its id.
    pub id: EntryId,
    /// Size of its sealed bytes, also when they are no longer held.
    pub size: u32,
    /// Who brought it first.
    pub from: Source,
    /// Whether its bytes are still here.
    pub state: State,
}

/// An arrival with its bytes, if they are held.
pub type ArrivalWithBytes = (Arrival, Option<Vec<u8>>);

/// An entry that was refused or set aside, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its id, or the id that it claimed.
    pub id: EntryId,
    /// Who brought it.
    pub from: Source,
    /// Why, in words.
    pub reason: String,
}

/// What this depot remembers of another device that it synced with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The device. None stands for all those together of which this one keeps no name.
    pub device: Option<DeviceId>,
    /// Its role, as its certificate said last.
    pub role: Role,
    /// Its depot. A device that recreated its depot has a new one.
    pub depot: DepotId,
    /// Where it was reached last, as `host:port`. `None` leaves what was recorded before.
    pub address: Option<String>,
    /// When the last sync ended, in milliseconds since 1970 by this device's clock.
    pub last_sync_ms: i64,
    /// The position in this depot's arrival order up to which the peer has acknowledged everything as
    /// durable. Never falls while the peer's depot is the same one.
    pub holds_position: u64,
}

/// What is held of what one device brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A moment by which entries had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Everything up to this position had come by then.
    pub position: u64,
    /// When, in the time of whoever noted it.
    pub time_ms: u64,
}

/// What a relay said that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The relay.
    pub device: DeviceId,
    /// Everything of this depot up to this position.
    pub position: u64,
    /// When it said so first, in milliseconds since 1970 by this device's clock.
    pub time_ms: i64,
}

/// Counts and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries ever known.
    pub known: u64,
    /// Entries whose bytes are here.
    pub held: u64,
    /// Sum of the sizes of what is held, in bytes.
    pub held_bytes: u64,
    /// Known entries whose bytes were dropped on purpose.
    pub gone: u64,
    /// Known entries that were set aside.
    pub quarantined: u64,
}

/// A store of sealed entries. Every method may be called from several threads and, for a backend on
/// disk, while other processes use the same depot.
///
/// All methods fail with the errors of the backend: [`DepotError::Damaged`], [`DepotError::Busy`],
/// [`DepotError::Full`], [`DepotError::Io`], [`DepotError::Database`].
pub trait Depot: Send + Sync {
    /// The name of this depot and of its arrival order.
    fn depot_id(&self) -> DepotId;

    /// Takes a batch in one transaction: when this returns, what was added is durable, in the batch's
    /// order. Each id is checked against its bytes and each size against the limits; a bad entry is
    /// refused, listed, and does not stop the others. Entries that are known, held or not, are left as
    /// they are, so that repeating a batch changes nothing and nothing dropped comes back.
    ///
    /// # Errors
    /// The backend's; then nothing of the batch was taken.
    fn put(&self, batch: &[Incoming<'_>]) -> Result<PutSummary, DepotError>;

    /// The bytes of an entry.
    ///
    /// # Errors
    /// The backend's.
    fn get(&self, id: &EntryId) -> Result<Lookup, DepotError>;

    /// The bytes of several entries, in the order of their ids. A backend beyond the network asks for many at
    /// once.
    ///
    /// # Errors
    /// The backend's.
    fn get_all(&self, ids: &[EntryId]) -> Result<Vec<Lookup>, DepotError> {
        ids.iter().map(|id| self.get(id)).collect()
    }

    /// Which of these ids this depot never knew, in the order given.
    ///
    /// # Errors
    /// The backend's.
    fn unknown(&self, ids: &[EntryId]) -> Result<Vec<EntryId>, DepotError>;

    /// The position of an entry in the arrival order, if it is known.
    ///
    /// # Errors
    /// The backend's.
    fn position(&self, id: &EntryId) -> Result<Option<u64>, DepotError>;

    /// Known entries after position `after`, in order: at most `max_entries`, and as many as have
    /// at most `max_bytes` of held bytes together, but at least one if there is any.
    ///
    /// # Errors
    /// The backend's.
    fn arrivals(&self, after: u64, max_entries: usize, max_bytes: u64) -> Result<Vec<Arrival>, DepotError>;

    /// As [`Depot::arrivals`], with the bytes of those that are held.
    ///
    /// # Errors
    /// The backend's.
    fn arrivals_with_bytes(
        &self,
        after: u64,
        max_entries: usize,
        max_bytes: u64,
    ) -> Result<Vec<ArrivalWithBytes>, DepotError>;

    /// The last position given out, 0 in an empty depot.
    ///
    /// # Errors
    /// The backend's.
    fn head(&self) -> Result<u64, DepotError>;

    /// The fingerprint of all known ids. Costs the same whatever their number.
    ///
    /// # Errors
    /// The backend's.
    fn fingerprint(&self) -> Result<Fingerprint, DepotError>;

    /// Of these ids those that are known, in any order.
    ///
    /// # Errors
    /// The backend's.
    fn known(&self, ids: &[EntryId]) -> Result<Vec<Arrival>, DepotError>;

    /// Remembers that a peer's depot knows these entries and no longer holds them, as far as they are unknown
    /// here: only in comparisons with that depot do they count as known. They stay unknown, and are taken from
    /// whoever has them. Of each device at most [`PAST_MAX`] are kept, and those of its present depot only.
    /// How many were new.
    ///
    /// # Errors
    /// The backend's; then nothing was remembered.
    fn note_past(&self, peer: &PeerDepot, ids: &[EntryId]) -> Result<usize, DepotError>;

    /// The fingerprint of the set that is compared with a peer's depot: all known ids, and those of
    /// [`Depot::note_past`]. Costs the same whatever their number.
    ///
    /// # Errors
    /// The backend's.
    fn compared(&self, peer: &PeerDepot) -> Result<Fingerprint, DepotError>;

    /// The fingerprints of the parts of a span of that set, see [`Span::parts`]. Costs a walk over the entries
    /// that are new since it was asked last, and then little, whatever their number.
    ///
    /// # Errors
    /// The backend's.
    fn spans(&self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, DepotError>;

    /// The ids of that set in a span, rising, at most `max_entries`, from the next after `after`.
    ///
    /// # Errors
    /// The backend's.
    fn ids_in(
        &self,
        peer: &PeerDepot,
        span: Span,
        after: Option<&EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, DepotError>;

    /// Drops the bytes of these entries and remembers that they are gone. How many had bytes.
    ///
    /// # Errors
    /// The backend's; then nothing was dropped.
    fn forget(&self, ids: &[EntryId]) -> Result<usize, DepotError>;

    /// Sets a bad entry aside: its bytes are dropped, its id and the reason stay. False if the id is not
    /// known here.
    ///
    /// # Errors
    /// The backend's.
    fn quarantine(&self, id: &EntryId, reason: &str) -> Result<bool, DepotError>;

    /// What was refused or set aside, the latest last; of the refused only the latest thousand are kept.
    ///
    /// # Errors
    /// The backend's.
    fn quarantined(&self) -> Result<Vec<Quarantined>, DepotError>;

    /// A small piece of state by name, for example the transport key.
    ///
    /// # Errors
    /// The backend's.
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, DepotError>;

    /// Sets a piece of state, or removes it. Durable on return.
    ///
    /// # Errors
    /// The backend's.
    fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), DepotError>;

    /// How far this device has read into the arrival order of another depot; 0 if never.
    ///
    /// # Errors
    /// The backend's.
    fn peer_cursor(&self, peer: &DepotId) -> Result<u64, DepotError>;

    /// Remembers how far this device has read into the arrival order of another depot.
    ///
    /// # Errors
    /// The backend's.
    fn set_peer_cursor(&self, peer: &DepotId, position: u64) -> Result<(), DepotError>;

    /// The devices that this depot synced with, the latest first.
    ///
    /// # Errors
    /// The backend's.
    fn peers(&self) -> Result<Vec<PeerRecord>, DepotError>;

    /// Remembers a device, in the place of what was known of it; see [`PeerRecord`] for what is kept.
    ///
    /// # Errors
    /// The backend's.
    fn record_peer(&self, peer: PeerRecord) -> Result<(), DepotError>;

    /// Notes that these entries are for this device alone or above all: a device whose membership has run
    /// out may fetch them, and nothing else. A depot cannot tell by itself, so the vault that made them
    /// says it, before or after they are put in. Of each device the latest [`ADDRESSED_MAX`] are kept.
    ///
    /// # Errors
    /// The backend's.
    fn address_to(&self, device: &DeviceId, ids: &[EntryId]) -> Result<(), DepotError>;

    /// What was noted for this device by [`Depot::address_to`], the latest last; whether it is known or
    /// held here is another question.
    ///
    /// # Errors
    /// The backend's.
    fn addressed_to(&self, device: &DeviceId) -> Result<Vec<EntryId>, DepotError>;

    /// What is held of what this source brought. Costs the same whatever the number of entries.
    ///
    /// # Errors
    /// The backend's.
    fn held_by(&self, source: Source) -> Result<Held, DepotError>;

    /// The same for every source of which anything is held, the largest first.
    ///
    /// # Errors
    /// The backend's.
    fn held_by_each(&self) -> Result<Vec<(Source, Held)>, DepotError>;

    /// Notes that everything which is known now had come by this time. The caller's time must not go back; a
    /// note that follows the last by less than `apart_ms`, or that says nothing new, is not kept. Of very many
    /// notes the older ones are thinned out.
    ///
    /// # Errors
    /// The backend's.
    fn note_time(&self, time_ms: u64, apart_ms: u64) -> Result<(), DepotError>;

    /// What was noted by [`Depot::note_time`], oldest first.
    ///
    /// # Errors
    /// The backend's.
    fn marks(&self) -> Result<Vec<Mark>, DepotError>;

    /// The position of the first entry whose bytes are here; none in a depot that holds nothing.
    ///
    /// # Errors
    /// The backend's.
    fn first_held(&self) -> Result<Option<u64>, DepotError>;

    /// When relays said up to where they hold everything, as [`Depot::record_peer`] learnt it, in the order of
    /// positions. Of each relay the latest few hundred are kept, of its present depot only.
    ///
    /// # Errors
    /// The backend's.
    fn acknowledged(&self) -> Result<Vec<Acknowledged>, DepotError>;

    /// Bytes that the disk has free for what is put here, as far as its owner may use them, with the room of what
    /// was dropped and that the depot uses again; none where the room
    /// is somebody else's and nobody can tell.
    ///
    /// # Errors
    /// The disk's.
    fn room_on_disk(&self) -> Result<Option<u64>, DepotError>;

    /// Counts and sizes. Costs the same whatever the number of entries.
    ///
    /// # Errors
    /// The backend's.
    fn stats(&self) -> Result<Stats, DepotError>;
}
