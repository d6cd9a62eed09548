//! The depot's processes: the daemon, which listens and serves, and the courier, which makes one sync.
//!
//! They speak to the network and hold the depot's key and the transport key. They never have a content
//! key or a word of plaintext in their memory: this crate cannot name the vault, the sealing crate, a
//! report or automerge.

pub mod control;
mod error;

pub use error::DaemonError;
