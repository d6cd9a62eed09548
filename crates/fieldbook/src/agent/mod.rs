//! The agent: the vault's process, and how the client talks to it.
//!
//! The client never opens a vault. It asks an agent: the one that `unlock` left running, through its
//! socket ([`place`]), or a child started for this one command, through its standard input and output.
//! Both speak the same [`protocol`], so there is one path whatever runs. An agent has no network.

pub mod client;
mod copies;
mod pairing;
pub mod place;
pub mod process;
pub mod protocol;
mod publication;
mod recovery;
mod refusal;
mod server;
mod service;
pub mod typed;
pub mod wire;
pub mod worker;
pub mod writing;
