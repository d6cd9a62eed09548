//! Carriers: how two devices reach each other. QUIC first ([`quic`]), with TLS 1.3 raw public keys
//! ([`tls`]). This crate moves frames between a socket and the sans-IO session of
//! [`fieldbook_proto::session`]; it cannot name a depot, a vault or a report.

pub mod quic;
pub mod tls;
