//! What a session needs to know of the connection beneath it, whatever the carrier.

/// TLS wants a name to dial; it is not sent (SNI is off) and not checked (raw keys).
pub(crate) const NO_NAME: &str = "peer.invalid";
pub(crate) const BINDING_LABEL: &[u8] = b"EXPORTER-fieldbook session v1";

/// What the channel has proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The Ed25519 key that the peer proved to hold.
    pub peer_key: [u8; 32],
    /// The same 32 bytes on both sides, and on no other connection (RFC 8446 section 7.5).
    pub binding: [u8; 32],
}

/// The way that the bytes of a session go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// QUIC, straight to the other device.
    Quic,
    /// TLS over TCP, straight to the other device.
    Tcp,
    /// TLS over TCP, through a SOCKS5 proxy such as Tor's.
    Socks,
    /// TLS over standard input and output.
    Stdio,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Quic, Self::Tcp, Self::Socks, Self::Stdio];

    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Socks => "socks",
            Self::Stdio => "stdio",
        }
    }

    /// The way of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.word() == word)
    }
}
