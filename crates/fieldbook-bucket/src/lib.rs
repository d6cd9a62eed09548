//! The depot over an S3-compatible bucket: for relays of which several processes serve at the same time, on
//! one machine or on many, and none of which keeps anything.
//!
//! Entries are objects; a shared log says in which order they came, what was dropped, and what the relay
//! remembers of its peers. Every process does the log on a replica of its own, and so all have one depot id,
//! one arrival order and one fingerprint: a device may be served by another process each time. The format, and
//! what the bucket's provider learns, is in `protocol/bucket.md`; why it is so, in `docs/decisions/0018`.
//!
//! Like the depot in a file, this crate never opens an entry and has no content key.
//!
//! Where to look: [`BucketDepot`] in `depot` is the trait, `log` the shared order, `op` what stands in it,
//! `checkpoint` how a start is made short, `sweep` what removes what nobody needs, `lost` what gives up what the bucket lost, `objects` the bucket and what
//! is done when it does not answer, `seal` how the log is hidden from the provider, `config` which bucket.

mod checkpoint;
mod config;
mod depot;
mod log;
mod lost;
mod objects;
mod op;
mod seal;
mod sweep;

pub use checkpoint::CheckpointRule;
pub use config::{BucketConfig, CREDENTIALS_MAX, ConfigError, Credentials};
pub use depot::BucketDepot;
pub use lost::GivenUp;
pub use object_store::ObjectStore;
