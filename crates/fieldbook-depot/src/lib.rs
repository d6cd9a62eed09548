//! What a device carries: sealed entries, its own and others', and what it needs to sync them.
//!
//! A depot keeps the ids of everything it ever knew, in the order of their arrival, and the bytes of
//! what it still holds. Bytes may go (retention, `forget`, quarantine); ids never do, so what was
//! dropped on purpose is not fetched again. [`Depot`] is the trait, [`SqlDepot`] the backend for devices
//! and small relays: one SQLCipher file that several processes may have open at the same time.
//!
//! This crate never opens an entry, never sees a content key, and cannot name a report. It owns no
//! clock and no socket.
//!
//! ```
//! use fieldbook_depot::{Depot, DepotKey, Incoming, Lookup, Source, SqlDepot};
//! use fieldbook_proto::{DepotId, EntryId};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("depot");
//! # let sealed = vec![7; 2048];
//! let depot = SqlDepot::create(&path, &DepotKey::new([1; 32]), DepotId::from_bytes([2; 16]))?;
//! let id = EntryId::of(&sealed);
//! let put = depot.put(&[Incoming { id, bytes: &sealed, from: Source::Own }])?;
//! assert_eq!(put.added, 1);
//! assert_eq!(depot.get(&id)?, Lookup::Held(sealed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to look: `depot` is the trait and its values, `sql` the backend, `rows` how it reads a row, `schema` its
//! tables and their migrations, `compared` what reconciliation asks, `accounts` what retention and quotas ask,
//! `anew` a depot under another name, `beyond` what others said of this device's own entries, `lacking` what they lack of everything, `judged` an entry that was looked at, `replica` the tables as a process's
//! own copy, [`bundles`] how entries travel in files, [`cipher`] how an encrypted database is opened (the vault's
//! too), `error` what can
//! go wrong.

mod accounts;
mod addressed;
mod anew;
mod beyond;
pub mod bundles;
pub mod cipher;
mod compared;
mod depot;
mod error;
mod judged;
mod lacking;
mod replica;
mod rows;
mod schema;
mod sql;

pub use beyond::{Beyond, Stretch};
pub use depot::{
    Acknowledged, Arrival, ArrivalWithBytes, Depot, DepotKey, Held, Incoming, Lookup, Mark, PeerRecord,
    PutSummary, Quarantined, Refusal, Source, State, Stats,
};
pub use error::DepotError;
pub use fieldbook_proto::session::{Fingerprint, PeerDepot, Span};
pub use judged::Judged;
pub use lacking::{lacks, set_lacks};
pub use sql::SqlDepot;
