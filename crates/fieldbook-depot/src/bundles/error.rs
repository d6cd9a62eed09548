//! Why a bundle was not written or read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::DepotError;

/// Why a bundle was not written, or not read. What the depot holds is safe.
#[derive(Debug)]
pub enum BundleError {
    /// The device belongs to no team yet: there is no secret to write or read with.
    NoTeam,
    /// The device does not have a transport secret that old.
    NoSuchSecret {
        /// How many steps back there are.
        oldest: usize,
    },
    /// Something of the name is there already.
    Exists(PathBuf),
    /// One file was named, and several parts are needed.
    NeedsDirectory {
        /// How many.
        parts: u32,
    },
    /// There is not enough room. Nothing was written.
    NoRoom {
        /// Bytes that the bundle needs.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk became full all the same. What was written can be read.
    Full {
        /// Bytes that are there.
        written: u64,
    },
    /// A file could not be used.
    File {
        /// What could not be done, for example "be written".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The system gave no random bytes.
    NoRandomness,
    /// The depot failed.
    Depot(DepotError),
}

impl BundleError {
    pub(super) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTeam => f.write_str("this device belongs to no team yet"),
            Self::NoSuchSecret { oldest } => {
                write!(f, "this device knows the team's last {oldest} changes of members and none before")
            }
            Self::Exists(path) => write!(f, "{} exists already", path.display()),
            Self::NeedsDirectory { parts } => write!(f, "the bundle needs {parts} files"),
            Self::NoRoom { need, free } => {
                write!(f, "the bundle needs {need} bytes, and {free} are free; nothing was written")
            }
            Self::Full { written } => {
                write!(f, "there is no room left; the {written} bytes that were written can be read")
            }
            Self::File { doing, path, source } => {
                write!(f, "{} cannot {doing}: {source}", path.display())
            }
            Self::NoRandomness => f.write_str("the system gives no random bytes"),
            Self::Depot(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BundleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Depot(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DepotError> for BundleError {
    fn from(error: DepotError) -> Self {
        Self::Depot(error)
    }
}
