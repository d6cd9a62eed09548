//! The sync session of two depots: a state machine without IO. Specified in `protocol/session.md`.
//!
//! [`Engine`] is one side of one session over one reliable, ordered stream of bytes. It has no socket, no
//! clock, no store and no randomness: bytes of the peer go in by [`Engine::receive`], and [`Engine::poll`]
//! says what to do next: send bytes, ask the store something, take note of an event. Each question is
//! answered once, questions of a kind in their order; questions of different kinds may be worked on at
//! the same time. What is not polled is not produced, so the caller's pace bounds the memory.
//!
//! The loop of a caller, here with a store that answers at once:
//!
//! ```
//! use fieldbook_proto::session::{Engine, Output, PeerDepot, SessionError, Span};
//! # trait Connection { fn can_write(&self) -> bool; fn write(&mut self, b: &[u8]); fn read(&mut self) -> Option<Vec<u8>>; }
//! # trait Store {
//! #   fn store(&mut self, b: &[(fieldbook_proto::EntryId, bytes::Bytes)])
//! #       -> (Vec<fieldbook_proto::EntryId>, Vec<(fieldbook_proto::EntryId, fieldbook_proto::session::Decline)>);
//! #   fn declined(&mut self, ids: &[fieldbook_proto::EntryId], sizes: &[u32], unknown: &[fieldbook_proto::EntryId])
//! #       -> Vec<(fieldbook_proto::EntryId, fieldbook_proto::session::Decline)>;
//! #   fn unknown(&self, ids: &[fieldbook_proto::EntryId]) -> Vec<fieldbook_proto::EntryId>;
//! #   fn arrivals(&self, after: u64, max: usize) -> Vec<fieldbook_proto::session::Arrival>;
//! #   fn addressed(&self, device: &fieldbook_proto::DeviceId) -> Vec<fieldbook_proto::session::Arrival>;
//! #   fn entries(&self, ids: &[fieldbook_proto::EntryId]) -> Vec<Option<bytes::Bytes>>;
//! #   fn totals(&self) -> (u64, u64);
//! #   fn remembered(&self, depot: &fieldbook_proto::DepotId) -> fieldbook_proto::session::Remembered;
//! #   fn snapshot(&self, past: Option<PeerDepot>) -> (fieldbook_proto::session::Fingerprint, u64);
//! #   fn spans(&self, peer: &PeerDepot, span: Span, parts: u16) -> Vec<fieldbook_proto::session::Fingerprint>;
//! #   fn ids(
//! #       &self, peer: &PeerDepot, span: Span, after: Option<fieldbook_proto::EntryId>, max: usize,
//! #   ) -> Vec<fieldbook_proto::EntryId>;
//! #   fn known(&self, ids: &[fieldbook_proto::EntryId]) -> Vec<fieldbook_proto::session::Arrival>;
//! #   fn note_past(&mut self, peer: &PeerDepot, ids: &[fieldbook_proto::EntryId]);
//! #   fn note(&mut self, event: fieldbook_proto::session::Event);
//! # }
//! fn drive(
//!     engine: &mut Engine,
//!     connection: &mut impl Connection,
//!     depot: &mut impl Store,
//! ) -> Result<(), SessionError> {
//!     while !engine.is_finished() {
//!         while let Some(output) = engine.poll(connection.can_write())? {
//!             match output {
//!                 Output::Send(bytes) => connection.write(&bytes),
//!                 // `store` returns when the entries are durable: the peer is told so.
//!                 Output::Store(batch) => {
//!                     let (refused, declined) = depot.store(&batch);
//!                     engine.stored(&refused, &declined)?;
//!                 }
//!                 Output::FindUnknown { ids, sizes } => {
//!                     let unknown = depot.unknown(&ids);
//!                     let declined = depot.declined(&ids, &sizes, &unknown);
//!                     engine.unknown(&unknown, &declined)?;
//!                 }
//!                 Output::ReadArrivals { after, max_entries } => {
//!                     engine.arrivals(depot.arrivals(after, max_entries))?;
//!                 }
//!                 Output::ReadAddressed { device } => engine.addressed(depot.addressed(&device))?,
//!                 Output::ReadEntries { ids } => engine.entries(depot.entries(&ids))?,
//!                 Output::ReadTotals => {
//!                     let (known, head) = depot.totals();
//!                     engine.totals(known, head)?;
//!                 }
//!                 Output::ReadCursor { depot: of } => engine.cursor(depot.remembered(&of))?,
//!                 Output::TakeSnapshot { past } => {
//!                     let (fingerprint, head) = depot.snapshot(past);
//!                     engine.snapshot(fingerprint, head)?;
//!                 }
//!                 Output::ReadSpans { peer, span, parts } => {
//!                     engine.spans(depot.spans(&peer, span, parts))?;
//!                 }
//!                 Output::ReadIds { peer, span, after, max_entries } => {
//!                     engine.ids(depot.ids(&peer, span, after, max_entries))?;
//!                 }
//!                 Output::FindKnown { ids } => engine.known(&depot.known(&ids))?,
//!                 Output::NotePast { peer, ids } => {
//!                     depot.note_past(&peer, &ids);
//!                     engine.past_noted()?;
//!                 }
//!                 Output::Event(event) => depot.note(event),
//!             }
//!         }
//!         if engine.wants_input() {
//!             match connection.read() {
//!                 Some(bytes) => engine.receive(&bytes),
//!                 None => engine.closed()?,
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Where to look: `hello` proves the team, `frame` is what follows on the wire, `outgoing` and `incoming`
//! are the two halves of the transfer, `padding` hides how much it was, `check` compares at the end, `reconcile` finds out what differs,
//! `engine` joins them.

mod check;
mod comparison;
mod decline;
mod engine;
mod error;
mod fingerprint;
mod frame;
mod hello;
mod hidden;
mod incoming;
mod lacks;
pub mod limits;
mod outgoing;
mod padding;
mod progress;
mod reconcile;
mod span;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_decline;
#[cfg(test)]
mod tests_limited;
#[cfg(test)]
mod tests_live;
#[cfg(test)]
mod tests_network;
#[cfg(test)]
mod tests_padding;
#[cfg(test)]
mod tests_progress;
#[cfg(test)]
mod tests_reconcile;
#[cfg(test)]
mod tests_walks;
mod walks;
mod wanted;

use bytes::Bytes;

pub use comparison::{Comparison, Part, ShortId, short};
pub use decline::{Decline, Declined};
pub use engine::Engine;
pub use error::{Fault, Party, SessionError};
pub use fingerprint::Fingerprint;
pub use frame::{Frame, WireEntry};
pub use hello::{HELLO_STEP, Hello, TransportSecret};
pub use hidden::{HIDDEN_CURSORS_LEN, HiddenCursors};
pub use lacks::{Lacks, Stretches};
pub use progress::{Moved, Progress};
pub use span::{DIGEST_LEN, Span};

use crate::certificate::{Authority, Certificate, CertifiedDevice};
use crate::{DepotId, DeviceId, EntryId};

/// Which end of the connection this is. After the hellos both do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It connected, and speaks first.
    Client,
    /// It was connected to.
    Server,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a session begins with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This end.
    pub side: Side,
    /// The team's transport secrets, newest first; two may be of one epoch. A client uses the first and
    /// no other; a server tries up to [`limits::EPOCHS_MAX`].
    pub secrets: Vec<TransportSecret>,
    /// 32 bytes that both ends of this connection share and no other connection has (TLS exporter).
    pub binding: [u8; 32],
    /// This device's certificate.
    pub certificate: Certificate,
    /// Whom this device believes.
    pub authority: Authority,
    /// The key that the peer proved to the channel.
    pub peer_transport_key: [u8; 32],
    /// Seconds since 1970, to judge the peer's certificate by.
    pub now: u64,
    /// This device's depot.
    pub depot: DepotId,
    /// How many ids the depot knows. A server is asked for it when it knows its client: [`Output::ReadTotals`].
    pub known: u64,
    /// The last position of the depot's arrival order. As `known`.
    pub head: u64,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The device, judged. One whose certificate has run out may deliver and fetch its renewal all the
    /// same: see [`CertifiedDevice::expired`] and [`Limits`].
    pub device: CertifiedDevice,
    /// What was judged, so that it can be judged anew while the session runs.
    pub certificate: Certificate,
    /// Its depot, and so its arrival order.
    pub depot: DepotId,
    /// How many ids it knew at the beginning.
    pub known: u64,
    /// The last position of its arrival order at the beginning.
    pub head: u64,
    /// The epoch of the transport secret that both share.
    pub epoch: u32,
}

impl Peer {
    /// The peer's depot, as it is named to a store.
    pub const fn depot(&self) -> PeerDepot {
        PeerDepot { device: self.device.id(), depot: self.depot }
    }
}

/// A depot of a device that was met. Its name is the device's own word, the device is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerDepot {
    /// Whose.
    pub device: DeviceId,
    /// Which.
    pub depot: DepotId,
}

/// Whose membership has run out, as far as this session goes. Such a device delivers all that it has, and
/// gets what is addressed to it, its renewal above all, and nothing else; nothing is compared at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// This device's own, as the peer judges.
    pub us: bool,
    /// The peer's, as this device judges. A device whose own membership has run out by its own clock
    /// limits nobody: the clock is wrong, or it has no standing to judge.
    pub peer: bool,
}

/// An entry in this side's arrival order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From 1, rising.
    pub position: u64,
    /// Its id.
    pub id: EntryId,
    /// Size of its sealed bytes.
    pub size: u32,
    /// The device that it came from; `None` if from nobody in particular.
    pub from: Option<DeviceId>,
    /// This device wrote it itself.
    pub own: bool,
    /// Whether its bytes are there.
    pub held: bool,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes to the peer, after all earlier ones.
    Send(Bytes),
    /// Make these entries durable; their ids are those of their bytes. Answer with [`Engine::stored`].
    Store(Vec<(EntryId, Bytes)>),
    /// Which of these ids did the depot never know, and which of those does it decline? Answer with
    /// [`Engine::unknown`].
    FindUnknown {
        /// At most [`limits::OFFER_IDS_MAX`].
        ids: Vec<EntryId>,
        /// Of each the size of its sealed bytes, as the peer says. Empty when the peer is of an earlier version,
        /// and cannot be told that an entry is declined.
        sizes: Vec<u32>,
    },
    /// What arrived after this position? Answer with [`Engine::arrivals`].
    ReadArrivals {
        /// Exclusive.
        after: u64,
        /// Give so many, unless there are fewer.
        max_entries: usize,
    },
    /// The bytes of these entries, about a MiB together. Answer with [`Engine::entries`].
    ReadEntries {
        /// Which.
        ids: Vec<EntryId>,
    },
    /// Which entries are addressed to this device? Answer with [`Engine::addressed`]. Asked in the place of
    /// all arrivals when the peer's membership has run out.
    ReadAddressed {
        /// The peer.
        device: DeviceId,
    },
    /// How many ids does the depot know, and where does its arrival order end? Asked of a server, when it has judged
    /// its client: whoever is not of the team costs the store nothing. Answer with [`Engine::totals`].
    ReadTotals,
    /// What is remembered of earlier sessions with that depot? Answer with [`Engine::cursor`].
    ReadCursor {
        /// The peer's depot.
        depot: DepotId,
    },
    /// Fingerprint and last position of this side's depot, at one moment. Answer with [`Engine::snapshot`].
    TakeSnapshot {
        /// The set is that of all known ids, and of those that were noted for this peer by
        /// [`Output::NotePast`] and are not known; `None`: of the known ones.
        past: Option<PeerDepot>,
    },
    /// The fingerprints of the parts of a span of the set that is compared with this peer: as in
    /// [`Output::TakeSnapshot`]. Answer with [`Engine::spans`].
    ReadSpans {
        /// With whom.
        peer: PeerDepot,
        /// Of which ids.
        span: Span,
        /// Into how many parts it is cut, see [`Span::parts`].
        parts: u16,
    },
    /// The ids of the same set in a span, rising. Answer with [`Engine::ids`].
    ReadIds {
        /// With whom it is compared.
        peer: PeerDepot,
        /// Where.
        span: Span,
        /// From the next after this one.
        after: Option<EntryId>,
        /// Give so many, unless there are fewer.
        max_entries: usize,
    },
    /// What is known of these? Answer with [`Engine::known`].
    FindKnown {
        /// Ids of the set that is compared.
        ids: Vec<EntryId>,
    },
    /// Remember that this peer knows these entries and no longer has their bytes, as far as they are unknown
    /// here. They stay unknown and are taken from whoever has them; only in comparisons with this peer they
    /// count as known on this side. Answer with [`Engine::past_noted`].
    NotePast {
        /// Who.
        peer: PeerDepot,
        /// Some ten thousand at most.
        ids: Vec<EntryId>,
    },
    /// Something to take note of. Needs no answer.
    Event(Event),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer is of the team.
    Met(Box<Peer>),
    /// The membership of one of the two has run out. Comes when it is known, right after [`Event::Met`] or
    /// not much later, with all that is known by then.
    Limited(Limits),
    /// The peer has made these entries durable, or had them.
    Held(Vec<EntryId>),
    /// The peer was offered these and did not ask for them: it knows them. If it is of an earlier version it may have
    /// dropped them again; else it would have said so ([`Event::DroppedByPeer`]).
    Knows(Vec<EntryId>),
    /// The peer refused these entries.
    RefusedByPeer(Vec<EntryId>),
    /// These entries are in order, and the peer does not take them now. They are offered again in the next
    /// session.
    DeclinedByPeer(Vec<(EntryId, Decline)>),
    /// The peer knows these entries and no longer holds them: it does not take them again.
    DroppedByPeer(Vec<EntryId>),
    /// The peer was not given these entries, because this side could not read them. They may be there the next time.
    NotGiven(Vec<EntryId>),
    /// The peer has settled everything in this side's arrival order between these positions: it holds it, or
    /// refused it ([`Event::RefusedByPeer`]), or knows it and dropped it, or it was not for it. What it has declined, or was
    /// not given, lies beyond.
    PeerHolds {
        /// In this side's arrival order, exclusive. Of what lies before, this session says nothing.
        after: u64,
        /// In this side's arrival order.
        position: u64,
        /// Up to here it has settled everything but for what it has declined, or was not given.
        settled: u64,
    },
    /// Everything of the peer up to here is durable on this side: remember it.
    CursorAdvanced {
        /// The peer's depot.
        depot: DepotId,
        /// In its arrival order.
        position: u64,
    },
    /// The peer sent an entry whose bytes are not those that it named. It was dropped.
    Refused {
        /// The first bytes of the id that it named.
        claimed: [u8; limits::ID_PREFIX],
    },
    /// The peer has not given so many entries that it had offered and this side wanted: it holds them no longer, or
    /// cannot read them now.
    GoneAtPeer(u64),
    /// The check found a difference: now it is found out in what. With a peer that does not know how to, both
    /// sides offer everything.
    Repairing,
    /// The check has come to a verdict, and both sides stay: from now on each pushes what arrives in its depot. Comes
    /// again after each time that something moved.
    AtRest {
        /// Both know the same entries, but for what was declined.
        agreed: bool,
    },
    /// And they differ still: an entry was refused, or one side remembers no more of what the other has dropped.
    StillDifferent,
}

/// What a store remembers of earlier sessions with a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// How far this device has read in the peer's arrival order ([`Event::CursorAdvanced`]).
    pub position: u64,
    /// What the peer lacks of this side's order ([`Event::PeerHolds`]); `None` if that is not kept. It is offered again
    /// although the peer's cursor has passed it, as what it declined, and nothing else that lies before is.
    pub lacks: Option<Lacks>,
    /// What this device wrote goes before what it carries for others. It shows the peer which is which.
    pub own_first: bool,
}

/// What a session has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Both sides know the same entries. False until the end.
    pub in_step: bool,
    /// They do but for the entries that one has declined in this session.
    pub in_step_but_for_declined: bool,
    /// Entries that the peer had offered and did not give ([`Event::GoneAtPeer`]).
    pub gone_at_peer: u64,
    /// Entries that this side declined.
    pub declined: Declined,
    /// Entries that the peer declined.
    pub declined_by_peer: Declined,
    /// Their bytes.
    pub declined_by_peer_bytes: Declined,
    /// The check came to a verdict. False if one side's depot changed too fast to be compared, or if the
    /// session was limited.
    pub compared: bool,
    /// Whose membership has run out.
    pub limits: Limits,
    /// Entries sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Sent entries that the peer refused.
    pub refused_by_peer: u64,
    /// Entries received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Received entries that were refused.
    pub refused: u64,
    /// Bytes that this side sent for nothing but to hide how much it sent.
    pub padding: u64,
    /// How many answers this side had to wait for, one after the other. Waits for room to send, until
    /// earlier entries are acknowledged, do not count.
    pub round_trips: u64,
}
