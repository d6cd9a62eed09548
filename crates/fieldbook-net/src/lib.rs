//! Carriers: how two devices reach each other. QUIC first ([`quic`]), with TLS 1.3 raw public keys
//! ([`tls`]). [`session`] moves bytes between a carrier and the sans-IO session of
//! [`fieldbook_proto::session`]; the depot behind it is a trait, for this crate cannot name one, nor a
//! vault or a report.

pub mod quic;
pub mod session;
pub mod tls;
