//! The sync session.

mod fingerprint;

pub use fingerprint::Fingerprint;
