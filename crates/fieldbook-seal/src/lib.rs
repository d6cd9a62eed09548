//! Sealed entries: what a vault writes, signs, pads and encrypts, and how a reader opens it.
//!
//! An entry is a standard age file (`protocol/entry.md`), so whoever holds a recipient's identity
//! can open it with stock tools. This crate never does IO, owns no clock, and keeps nothing: keys
//! and times come from the caller. Its one source of randomness is the age crate, which draws file
//! keys, nonces and new identities from the operating system.
//!
//! The types say what was checked: a [`SealedEntry`] is of the right size and shape, an
//! [`UnverifiedEntry`] was decrypted and is well formed, an [`OpenedEntry`] was signed by the
//! device that its header names.
//!
//! ```
//! use fieldbook_seal::{Audience, DeviceSecret, Header, Kind, ReadingIdentity, decrypt, seal};
//!
//! let monitor = DeviceSecret::generate([1; 32], [2; 32]); // seeds: 32 bytes from the system each
//! let desk = ReadingIdentity::generate();
//! let header = Header {
//!     kind: Kind::Report,
//!     device: monitor.id(),
//!     sequence: 1,
//!     previous: None,
//!     time_ms: 1_790_000_000_000,
//!     report: None,
//!     audience: Audience::default(),
//! };
//! let sealed = seal(&header, b"what was seen", &monitor, &[desk.recipient()])?;
//!
//! let opened = decrypt(&sealed, &[&desk])?.verify(&monitor.keys())?;
//! assert_eq!(opened.body(), b"what was seen");
//! assert!(decrypt(&sealed, &[monitor.identity()]).is_err()); // its author cannot read it back
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod body;
mod device;
mod entry;
mod header;
mod identity;
pub mod padding;
pub mod recovery;

pub use device::{DeviceSecret, SecretError};
pub use entry::{
    Damage, NotAnEntry, OpenError, OpenedEntry, SealError, SealedEntry, SignedEntry, UnverifiedEntry,
    decrypt, seal, seal_padded, seal_signed, sign,
};
pub use header::{Audience, HEADER_MAX, Header, Kind};
pub use identity::{ReadingIdentity, RecipientError, check_recipient};
