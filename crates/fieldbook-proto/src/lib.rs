//! The protocol of Fieldbook, pure: bytes in, values and bytes out.
//!
//! Identifiers, the binary encoding, certificates, the sync session, bundles and pairing live here.
//! This crate never does IO, owns no clock and no randomness, and cannot name a report: time and
//! random bytes are passed in by whoever runs it. Each module is specified by the page of the same
//! name in `protocol/`.
//!
//! ```
//! use fieldbook_proto::{EntryId, codec::Reader};
//!
//! let id = EntryId::of(b"sealed bytes");
//! assert_eq!(id.to_string().parse(), Ok(id));
//! assert!(Reader::new(&[0, 0]).u32("length").is_err());
//! ```

pub mod bundle;
pub mod certificate;
pub mod codec;
pub mod epoch;
mod id;
pub mod lan;
pub mod limits;
pub mod pairing;
pub mod session;

pub use id::{AttachmentId, BundleId, DepotId, DeskId, DeviceId, EntryId, ParseIdError, ReportId, TeamId};
pub use id::{decode_hex, encode_hex};
