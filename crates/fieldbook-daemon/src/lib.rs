//! The depot's processes: the daemon, which listens and serves, and the courier, which makes one sync.
//!
//! They speak to the network and hold the depot's key and the transport key. They never have a content
//! key or a word of plaintext in their memory: this crate cannot name the vault, the sealing crate, a
//! report or automerge.
//!
//! Where to look: `calls` stays with whom a daemon dials, `carry` says what the device takes for others,
//! `connection` is one session over any carrier, `store` the depot behind it, `identity` what the device shows and
//! believes, `dial` which ways a courier takes, `serve` how a daemon takes in whoever connects, `examine` what
//! stands in a way, `strangers` who waits at the door and `met` who is being served, `ending` how a connection is ended
//! from outside, `veiled` how a daemon keeps itself behind the veil, `lan` how devices in one network
//! find each other, [`relay`] what a relay does besides, `relays` how one is spoken to,
//! [`control`] the daemon's socket.

mod again;
mod board;
mod calls;
mod carry;
mod chance;
mod connection;
pub mod control;
mod counts;
mod courier;
mod daemon;
mod declined;
mod dial;
mod ending;
mod error;
mod examine;
mod gaps;
mod identity;
mod known;
mod lan;
mod met;
pub mod relay;
mod relays;
mod serve;
mod store;
mod strangers;
mod veiled;
mod ways;

pub use calls::Calls;
pub use carry::{Bringer, Carry, DISK_RESERVE, Load, judge_bundle};
pub use courier::{CourierEvent, PIPE, run_courier, run_pipe};
pub use daemon::{Carriers, DaemonOptions, run_daemon, run_daemon_on};
pub use dial::{Dialling, Tried, Ways};
pub use error::DaemonError;
pub use examine::{Examined, Outcome, examine};
pub use fieldbook_net::channel::Way;
pub use fieldbook_net::lan::PORT as LAN_PORT;
pub use fieldbook_net::socks::{NoProxy, Proxy};
pub use fieldbook_proto::session::{Declined, Moved, Side};
pub use identity::Identity;
pub use veiled::Veiling;
