//! Bundles: what a depot holds, in files on a stick, and back. The format is `fieldbook_proto::bundle`.
//!
//! Any depot of the team writes them and any reads them, in any order, any number of times. Nothing of
//! this needs a content key, and nothing of it speaks to a network.
//!
//! Where to look: `selection` says which entries go into a bundle, `write` makes the files, `part_file` one
//! of them, `unfinished` is what is remembered of a bundle that was interrupted, `read` takes the files in,
//! `stick` says which files and `look` how much of each, `left` is what does not come in.

mod error;
mod left;
mod look;
mod part_file;
mod read;
mod selection;
mod stick;
mod unfinished;
mod write;

use fieldbook_proto::session::TransportSecret;
use zeroize::Zeroizing;

use crate::Depot;

pub use error::BundleError;
pub use left::{Judge, Left, LeftBy, Why, take_all};
pub use read::{FileReport, MissingParts, ReadEvent, ReadSummary, read_bundles};
pub use stick::NotLooked;
pub use write::{Target, WriteEvent, WriteOptions, Written, write_bundle};

/// Longest part, in bytes: just below 2 GiB, which every file system and every program can hold.
pub const PART_LEN_MAX: u64 = (1 << 31) - fieldbook_proto::bundle::BLOCK_LEN as u64;

/// The shortest that a part can be limited to: the largest entry has room in it.
pub const PART_LEN_MIN: u64 = 2 << 20;

/// The team's transport secrets as this device's vault has left them in the depot, newest first.
fn secrets(depot: &dyn Depot) -> Result<Vec<TransportSecret>, BundleError> {
    let stored = Zeroizing::new(depot.setting("transport-secrets")?.ok_or(BundleError::NoTeam)?);
    let secrets = TransportSecret::decode_list(&stored);
    secrets.map_err(|_| crate::DepotError::damaged("its transport secrets do not read back").into())
}

/// Random bytes from the system.
fn random<const N: usize>() -> Result<[u8; N], BundleError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| BundleError::NoRandomness)?;
    Ok(bytes)
}
