//! What goes wrong on a connection, in words of our own.
//!
//! Whoever is at the other end can send words when it closes a connection, and libraries add theirs, with
//! addresses of manuals: none of it is shown or logged.

use std::io;

use quinn::{ConnectionError, ReadError, WriteError};

/// The same error, without anybody else's words.
pub fn plain(error: &io::Error) -> io::Error {
    let kind = lost(error).map_or_else(|| error.kind(), kind);
    io::Error::new(kind, words(kind))
}

/// Why a QUIC connection was lost or did not come about.
pub(crate) const fn quic(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::TimedOut => "nobody answered in time",
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            "who answers there hung up"
        }
        ConnectionError::Reset => "who answers there does not know the connection any more",
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            "who answers there does not speak as a device does"
        }
        ConnectionError::LocallyClosed => "it was ended on this side",
        ConnectionError::CidsExhausted => "too many connections",
    }
}

fn words(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::TimedOut => "nothing came any more",
        Kind::ConnectionAborted => "the other side hung up",
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof | Kind::NotConnected => {
            "it was cut, by the other side or on the way"
        }
        Kind::ConnectionRefused => "nobody listens there",
        Kind::InvalidData => "what came was damaged on the way, or is not from a device",
        Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::NetworkDown => {
            "there is no network, or no way from it to there"
        }
        _ => "the network failed",
    }
}

fn kind(error: &ConnectionError) -> io::ErrorKind {
    io::Error::from(error.clone()).kind()
}

/// The connection error that a stream's stands for.
fn lost(error: &io::Error) -> Option<&ConnectionError> {
    let inner = error.get_ref()?;
    if let Some(ReadError::ConnectionLost(lost)) = inner.downcast_ref() {
        return Some(lost);
    }
    if let Some(WriteError::ConnectionLost(lost)) = inner.downcast_ref() {
        return Some(lost);
    }
    inner.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_words_are_repeated() {
        let close = || {
            ConnectionError::ApplicationClosed(quinn::ApplicationClose {
                error_code: 0_u32.into(),
                reason: b"Ivan at 192.0.2.7"[..].into(),
            })
        };
        let tls = "peer closed without close_notify: https://docs.rs/rustls/latest";
        for error in [
            io::Error::from(close()),
            io::Error::from(ReadError::ConnectionLost(close())),
            io::Error::from(WriteError::ConnectionLost(close())),
            io::Error::new(io::ErrorKind::UnexpectedEof, tls),
            io::Error::other("Ivan"),
        ] {
            let said = plain(&error).to_string();
            assert!(!said.contains("Ivan") && !said.contains("http"), "{said}");
        }
        assert!(!quic(&close()).contains("Ivan"));
        let silent = plain(&ReadError::ConnectionLost(ConnectionError::TimedOut).into());
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut, "silence is not taken for a hang-up");
    }
}
