//! The depot's processes: the daemon, which listens and serves, and the courier, which makes one sync.
//!
//! They speak to the network and hold the depot's key and the transport key. They never have a content
//! key or a word of plaintext in their memory: this crate cannot name the vault, the sealing crate, a
//! report or automerge.
//!
//! Where to look: `connection` is one session over QUIC, `store` the depot behind it, `identity` what
//! the device shows and believes, `met` who is being served, [`control`] the daemon's socket.

mod connection;
pub mod control;
mod courier;
mod daemon;
mod error;
mod identity;
mod met;
mod store;
mod strangers;

pub use courier::{CourierEvent, run_courier};
pub use daemon::{DaemonOptions, run_daemon};
pub use error::DaemonError;
pub use identity::Identity;
