//! The vault: what this device may *read*, encrypted on disk, and the only holder of content keys.
//!
//! A vault is opened with a passphrase, belongs to one thread, and offers one method per act of its
//! user: write a report, finish it, take in what others sent, resolve a clash. Entries go out
//! through the *depot* beside it ([`fieldbook_depot`]), which carries sealed bytes and nothing else.
//! This crate never speaks to a network (it cannot name one) and writes no plaintext outside the
//! encrypted store.
//!
//! ```no_run
//! use fieldbook_vault::{CreateOptions, Passphrase, Vault, VaultError};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), VaultError> {
//! let passphrase = Passphrase::new("six words that nobody else knows".to_owned());
//! let dir = Path::new("notebook");
//! Vault::create(dir, &passphrase, &CreateOptions { name: "Monitor".into(), work_factor: None })?;
//! let vault = Vault::open(dir, &passphrase)?;
//! assert!(vault.list(&Default::default())?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Where to look: `slots`, `keyfile` and `rekey` keep the keys, `store` is the schema, `outgoing` turns saves into sealed
//! entries, `absorb` takes in what others wrote, `delivery` knows who holds what. [`passphrase`] makes, judges and reads
//! passphrases, `duress` changes them and makes a decoy, `twin` keeps the pair of stores that is not open from telling what
//! it is, `wipe` destroys the keys, and `rules` says when. `place` notices a copied directory, `rejoin` makes a copy a new device,
//! `backup` writes and restores backups. `unfinished` keeps
//! what somebody is writing and has not saved; `once` remembers what was done, for whoever has to ask again.

mod absorb;
mod addenda;
mod attachments;
mod backup;
mod clashes;
mod consent;
mod delivery;
mod durable;
mod duress;
mod entry_files;
mod error;
mod exports;
mod findings;
mod forgetting;
mod gaps;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod hostile;
mod keyfile;
mod layout;
mod merge;
mod names;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod need_to_know;
mod notes;
mod once;
mod outgoing;
mod partners;
mod parts;
pub mod passphrase;
mod place;
mod problems;
mod rejoin;
mod rekey;
mod reports;
mod resend;
mod rules;
mod sealing;
mod shares;
mod slots;
mod standing;
mod status;
mod store;
mod team;
mod twin;
mod unarrived;
mod unfinished;
mod vault;
mod verify;
mod views;
mod wipe;

pub use addenda::AddendumText;
pub use attachments::PART_LEN;
pub use error::VaultError;
pub use exports::{EXPORTS_MAX, ExportRecord, ExportedFile};
pub use fieldbook_depot::DepotKey;
pub use findings::{ChainView, Finding, Problem, Verified, WaitingView};
pub use layout::Layout;
pub use merge::{InProcess, MergeRefusal, MergeRequest, Merged, Merger, decode_answer, encode_answer};
pub use notes::NoteText;
pub use once::Once;
pub use passphrase::Passphrase;
pub use rejoin::CopyState;
pub use rules::{DEAD_MAN_MIN_DAYS, Rules};
pub use sealing::SealConsent;
pub use slots::{WORK_FACTOR_MAX, WORK_FACTOR_MIN};
pub use standing::Standing;
pub use team::Resemblance;
pub use unfinished::{KeptText, OpenedText, SavedText, Written, text_mark};
pub use vault::{CreateOptions, Vault};
pub use views::*;
pub use wipe::{destroy_keys, is_there, keys_are_destroyed, remove_rest, room_for_a_vault};
