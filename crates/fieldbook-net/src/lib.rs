//! Carriers: how two devices reach each other.
//!
//! [`quic`] is tried first, behind the [`veil`]. [`secured`] is TLS over any stream of bytes, which [`tcp`], [`socks`] (TCP through
//! a proxy), both behind the veil, too, and [`pipe`] (standard input and output) provide. All have the TLS 1.3 raw public keys of
//! [`tls`] and prove the same [`channel`]. [`session`] moves bytes between a carrier and the sans-IO
//! session of [`fieldbook_proto::session`]; the depot behind it is a trait, for this crate cannot name
//! one, nor a vault or a report. What goes wrong is said in the words of [`plain`].

pub mod channel;
pub mod gauge;
pub mod lan;
pub mod limit;
pub mod pipe;
pub mod plain;
pub mod quic;
pub mod secured;
pub mod session;
pub mod signals;
pub mod socks;
pub mod tcp;
pub mod tls;
pub mod tries;
pub mod veil;
