//! The limits of a session. Those that a peer can see are part of the protocol.

use crate::limits::ENTRY_SEALED_MAX;

/// The version of the session that this module speaks.
pub const VERSION: u8 = 1;

/// The bit of the hello's features that stands for range-based reconciliation. It is used when both set it.
pub const FEATURE_RECONCILE: u32 = 1;

/// The bit for offers that tell sizes, and for entries that are declined. Only together with reconciliation, which
/// finds again what was declined.
pub const FEATURE_DECLINE: u32 = 2;

/// The bit of a side that stays when both are in step, and pushes what arrives.
pub const FEATURE_LIVE: u32 = 4;

/// The bit of a side that says, of what it is offered, what it knows and no longer holds. Only together with declining.
pub const FEATURE_DROPPED: u32 = 8;

/// The bit of a side that pads what it sends, see `padding`.
pub const FEATURE_PADDING: u32 = 16;

/// The optional parts of a session that ends when both sides are in step.
pub const FEATURES: u32 = FEATURE_RECONCILE | FEATURE_DECLINE | FEATURE_DROPPED;

/// Most transport secrets that a device keeps, and tries on an incoming hello. Two may be of one epoch.
pub const EPOCHS_MAX: usize = 64;

/// Most entries that a device whose membership has run out is offered: what is addressed to it.
pub const ADDRESSED_MAX: usize = 1_024;

/// Most ids in one `Offer`, `Want` or `Gone`.
pub const OFFER_IDS_MAX: usize = 4_096;

/// Most ids that a side may have offered without the matter being settled: refused by the other side,
/// sent, or declared gone.
pub const OFFERED_MAX: usize = 4 * OFFER_IDS_MAX;

/// Largest payload of an `Entries` frame that holds more than one entry, in bytes.
pub const ENTRIES_FRAME_MAX: usize = 256 * 1024;

/// What an entry takes in an `Entries` frame beside its bytes: its length and the first bytes of its id.
pub const ENTRY_OVERHEAD: usize = 4 + ID_PREFIX;

/// How many bytes of an entry's id stand before it in an `Entries` frame.
pub const ID_PREFIX: usize = 8;

/// Largest payload of any frame, in bytes: one entry of the largest size.
pub const FRAME_MAX: usize = ENTRY_SEALED_MAX + ENTRY_OVERHEAD;

/// Entries up to this size (in bytes) travel before all larger ones.
pub const SMALL_ENTRY_MAX: u32 = 64 * 1024;

/// Up to so many bytes a side sends unasked, in the hope that nothing of it is known to the other.
pub const UNASKED_MAX: u64 = 256 * 1024;

/// Largest payload of a `Compare` frame, in bytes.
pub const COMPARE_FRAME_MAX: usize = 64 * 1024;

/// Most digests for one span in a `Compare` frame.
pub const SUMS_MAX: usize = 256;

/// Most ids in one list of a `Compare` frame.
pub const LIST_IDS_MAX: usize = 256;

/// How many bytes of an id stand in a list. Nobody finds a second entry whose id begins with the same ones.
pub const ID_SHORT: usize = 16;

/// Most ids that a peer may name in a session, and a depot remembers of it, as known there and no longer held.
pub const PAST_MAX: usize = 1 << 20;

/// Largest payload of a `Pad` frame, in bytes.
pub const PAD_FRAME_MAX: usize = 16 * 1024;

/// What a side sends is padded to at least so much: a report of 900 words in any of the languages fits with all that is
/// said around it.
pub const PADDED_LEAST: u64 = 16 * 1024;

/// Up to here each class is twice the one before.
pub const PADDED_DOUBLES_UP_TO: u64 = 256 * 1024;

/// Beyond, there are so many classes between one power of two and the next.
pub const PADDED_STEPS: u64 = 8;

/// So much of a class is kept, when all entries were sent, for acknowledgements and the `Done`.
pub const PADDING_KEPT: u64 = 1024;

/// Highest position in an arrival order. Stores keep positions in signed 64-bit integers.
pub const POSITION_MAX: u64 = i64::MAX as u64;

/// Most entries sent and not yet acknowledged. Local: the other side never relies on it.
pub(super) const UNACKED_ENTRIES_MAX: usize = 8_192;
/// Most bytes sent and not yet acknowledged. Local.
pub(super) const UNACKED_BYTES_MAX: u64 = 8 << 20;
/// Received and not yet durable: beyond it no input is taken. Local.
pub(super) const UNSTORED_BYTES_MAX: usize = 4 << 20;
/// Refused and not yet reported to the peer: beyond it no input is taken. Local; with the entries of one
/// frame it stays below what an `Ack` can name.
pub(super) const REFUSED_PENDING_MAX: usize = 4_096;
/// A batch for the store is full with so many entries or bytes. Local.
pub(super) const BATCH_ENTRIES: usize = 1_000;
pub(super) const BATCH_BYTES: usize = 2 << 20;
/// Batches that the store may have before it answered. Local.
pub(super) const BATCHES_IN_FLIGHT: usize = 2;
/// Entry bytes are read from the store in pieces of about so much, and so much ahead. Local.
pub(super) const READ_BYTES: u64 = 1 << 20;
pub(super) const READ_ENTRIES: usize = 512;
/// Arrivals are read so many at a time. Local.
pub(super) const PAGE: usize = 2_048;
/// So many bytes of small entries overtake large ones in a row; then one large one goes. Local.
pub(super) const OVERTAKE_BYTES: u64 = 4 << 20;
/// A mark is sent after so many entries or bytes, so that a cut costs no more. Local.
pub(super) const MARK_ENTRIES: u64 = 1_000;
pub(super) const MARK_BYTES: u64 = 2 << 20;
/// A session begins with marks and frames of small entries that are this short, and they grow with what it has
/// sent: where the link is cut every few seconds, something is gained before. Local.
pub(super) const STEP_LEAST: u64 = 8 * 1024;
/// Control frames waiting to be sent: beyond so many bytes no input is taken. Local.
pub(super) const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// How often a side sends what arrived meanwhile before it says that it is busy. Local.
pub(super) const ROUNDS_MAX: u32 = 16;
/// A span with so many ids or fewer is listed, others are cut into so many parts. Local.
pub(super) const LIST_UP_TO: u64 = 32;
pub(super) const CUT_INTO: u16 = 16;
/// The first cut is finer in a large set, which saves a turn. Local.
pub(super) const FIRST_CUT_MAX: u16 = 256;
/// Turns of a reconciliation: this many, and one more for each so many ids known here. Local, but an honest side needs
/// far fewer.
pub(super) const TURNS_LEAST: u64 = 64;
pub(super) const IDS_A_TURN: u64 = 256;
/// So many bytes of entries are progress, on a line that is slow. Local.
pub(super) const PROGRESS_BYTES: u64 = 16 * 1024;
/// Turns of a comparison that are progress though nothing is settled by them: levels. Local.
pub(super) const PROGRESS_TURNS: u64 = 32;
/// What may be read of the set of ids in a session, in ids and sums of ids: this much,
pub(super) const WALK_LEAST: u64 = 1 << 18;
/// for each id known here one for so many bits of their number,
pub(super) const WALK_BITS: u64 = 2;
/// for each id that gets settled,
pub(super) const WALK_SETTLED: u64 = 64;
/// and for each comparison before which an entry came or went. Local, but an honest side needs a fraction of it.
pub(super) const WALK_AGAIN: u64 = 1 << 14;
/// Past ids that wait for the store: beyond so many no input is taken. Local.
pub(super) const PAST_WAITING: usize = 1 << 16;
/// An honest side offers no more in vain than twice what it says that it knows, once by the cursor and once after the
/// comparison, and some that arrive meanwhile; and nobody knows more than this. Local.
pub(super) const VAIN_SLACK: u64 = 1 << 17;
pub(super) const KNOWN_PLAUSIBLE: u64 = 1 << 24;
