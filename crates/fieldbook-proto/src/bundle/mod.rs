//! Entries in files, for a stick that is carried by hand. Specified in `protocol/bundle.md`.
//!
//! A *bundle* is what one act of writing makes: one or more *parts*, each a file of blocks of one size. A
//! block stands alone: it has a key of its own, says where it belongs and where the first record in it
//! begins, so that a damaged or missing one costs the entries in it and no others. To whoever lacks the
//! team's transport secret every byte of a part is random.
//!
//! ```
//! use fieldbook_proto::bundle::{BLOCK_LEN, PartReader, PartWriter};
//! use fieldbook_proto::session::TransportSecret;
//! use fieldbook_proto::{BundleId, EntryId};
//!
//! let secret = TransportSecret::new(1, [7; 32]);
//! let sealed = vec![5; 2_000];
//! let mut random = 0;
//! let mut salts = || {
//!     random += 1; // From the system's randomness, of course.
//!     Ok::<_, ()>([random; 32])
//! };
//! let mut file = Vec::new();
//! let mut part = PartWriter::new(secret.clone(), BundleId::from_bytes([1; 16]), 0);
//! part.add(&EntryId::of(&sealed), &sealed, &mut salts, &mut file)?;
//! part.finish(true, &mut salts, &mut file)?;
//!
//! let mut reader = PartReader::new(vec![secret]);
//! let mut entries = Vec::new();
//! for block in file.chunks(BLOCK_LEN) {
//!     reader.block(block, &mut entries);
//! }
//! assert!(reader.finish().is_whole());
//! assert_eq!(entries, [(EntryId::of(&sealed), sealed)]);
//! # Ok::<(), ()>(())
//! ```
//!
//! Where to look: `block` is one block, sealed and opened, `writer` and `reader` are the records that run
//! through the blocks of a part.

mod block;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use block::{BLOCK_LEN, BODY_LEN, HEAD_LEN, Head, Opened, SALT_LEN, open_block, open_head, seal_block};
pub use reader::{NAMED_MAX, PartReader, PartReport, SeenPart};
pub use writer::{PartWriter, RECORD_OVERHEAD, part_len};

/// The version that this module writes, and the highest that it reads.
pub const VERSION: u8 = 1;
