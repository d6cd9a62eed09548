//! Why a network process could not do its work.

use std::fmt;
use std::io;

use fieldbook_depot::DepotError;
use fieldbook_net::quic::QuicError;

/// Why a daemon or courier ended. What lies in the depot is safe.
#[derive(Debug)]
pub enum DaemonError {
    /// The device belongs to no team yet, so nobody may talk to it.
    NoTeam,
    /// A daemon runs for this vault already.
    InUse,
    /// A setting of the depot does not read back.
    Damaged(&'static str),
    /// The depot failed.
    Depot(DepotError),
    /// The network failed.
    Network(QuicError),
    /// The lock, the control socket or a standard stream failed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl DaemonError {
    pub(crate) const fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTeam => f.write_str("this device belongs to no team yet"),
            Self::InUse => f.write_str("a daemon runs for this vault already"),
            Self::Damaged(what) => {
                write!(f, "the depot is damaged or was tampered with: its {what} does not read back")
            }
            Self::Depot(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for DaemonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Depot(error) => Some(error),
            Self::Network(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<DepotError> for DaemonError {
    fn from(error: DepotError) -> Self {
        Self::Depot(error)
    }
}

impl From<QuicError> for DaemonError {
    fn from(error: QuicError) -> Self {
        Self::Network(error)
    }
}
