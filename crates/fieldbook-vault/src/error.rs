//! What can go wrong with a vault, in words for its user. Exit codes and hints are the client's matter.

use std::fmt;
use std::io;

use fieldbook_depot::DepotError;
use fieldbook_proto::codec::DecodeError;
use fieldbook_report::{InputError, ReportError};
use fieldbook_seal::SealError;

/// Why an act on a vault was not done. Whatever was saved before stays saved.
#[derive(Debug)]
pub enum VaultError {
    /// There is no vault in the directory.
    NoVault,
    /// There is a vault in the directory already.
    AlreadyExists,
    /// Another process has the vault open.
    InUse,
    /// No key slot opens with this passphrase.
    WrongPassphrase,
    /// A name that is empty, too long, or has control characters.
    BadName,
    /// A work factor outside the allowed range was asked for.
    WorkFactor,
    /// A file of the vault is damaged or was tampered with.
    Damaged(String),
    /// A newer Fieldbook wrote this vault.
    NewerVersion,
    /// The device belongs to no team yet.
    NoTeam,
    /// The device belongs to a team already.
    AlreadyInTeam,
    /// Only a coordinator can do this.
    NotCoordinator,
    /// The certificate or roster received does not stand.
    Untrusted(String),
    /// No report has an id that begins so.
    NoSuchReport(String),
    /// No entry has an id that begins so.
    NoSuchEntry(String),
    /// The report has no such attachment.
    NoSuchAttachment(String),
    /// More than one id begins so.
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// How many ids begin so.
        matches: usize,
    },
    /// Required fields are empty.
    Incomplete {
        /// Their names.
        missing: Vec<String>,
    },
    /// What was typed does not fit the template.
    Input(InputError),
    /// The report's document refused the change, or is damaged.
    Report(ReportError),
    /// A change is larger than an entry can carry.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Part of an attachment has not arrived yet.
    NotArrived {
        /// Parts that are here.
        have: usize,
        /// Parts in all.
        of: usize,
    },
    /// Sealing failed.
    Seal(SealError),
    /// The depot failed.
    Depot(DepotError),
    /// The vault's database failed.
    Database(rusqlite::Error),
    /// The disk, or a file named by the user.
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        source: io::Error,
    },
    /// The system gave no random bytes.
    Randomness,
}

impl VaultError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVault => f.write_str("there is no vault here"),
            Self::AlreadyExists => f.write_str("there is a vault here already"),
            Self::InUse => f.write_str("the vault is open in another process"),
            Self::WrongPassphrase => f.write_str("the passphrase does not open this vault"),
            Self::BadName => {
                write!(f, "a name has 1 to {} bytes and no control characters", crate::vault::NAME_MAX)
            }
            Self::WorkFactor => write!(
                f,
                "the work factor must be between {} and {}",
                crate::slots::WORK_FACTOR_MIN,
                crate::slots::WORK_FACTOR_MAX
            ),
            Self::Damaged(what) => write!(f, "the vault is damaged or was tampered with: {what}"),
            Self::NewerVersion => f.write_str("this vault was written by a newer version of the program"),
            Self::NoTeam => f.write_str("this device belongs to no team yet"),
            Self::AlreadyInTeam => f.write_str("this device belongs to a team already"),
            Self::NotCoordinator => f.write_str("only a coordinator's device can do this"),
            Self::Untrusted(why) => write!(f, "what the other device sent cannot be trusted: {why}"),
            Self::NoSuchReport(prefix) => write!(f, "no report here has an id that begins with \"{prefix}\""),
            Self::NoSuchEntry(prefix) => write!(f, "no entry here has an id that begins with \"{prefix}\""),
            Self::NoSuchAttachment(prefix) => {
                write!(f, "the report has no attachment whose id or name is \"{prefix}\"")
            }
            Self::Ambiguous { prefix, matches } => {
                write!(f, "{matches} ids begin with \"{prefix}\"")
            }
            Self::Incomplete { missing } => {
                write!(f, "the report lacks what its template requires: {}", missing.join(", "))
            }
            Self::Input(error) => error.fmt(f),
            Self::Report(error) => error.fmt(f),
            Self::TooLarge { what, limit } => write!(f, "{what} is larger than {limit} bytes"),
            Self::NotArrived { have, of } => {
                write!(f, "only {have} of the attachment's {of} parts have arrived")
            }
            Self::Seal(error) => error.fmt(f),
            Self::Depot(error) => error.fmt(f),
            Self::Database(error) => write!(f, "the vault's store failed: {error}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Randomness => f.write_str("the system gave no random bytes"),
        }
    }
}

impl std::error::Error for VaultError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input(error) => Some(error),
            Self::Report(error) => Some(error),
            Self::Seal(error) => Some(error),
            Self::Depot(error) => Some(error),
            Self::Database(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for VaultError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::damaged("its store does not read back"),
            _ => Self::Database(error),
        }
    }
}

impl From<DepotError> for VaultError {
    fn from(error: DepotError) -> Self {
        match error {
            DepotError::Damaged(what) => Self::Damaged(what),
            DepotError::NewerVersion { .. } => Self::NewerVersion,
            // The key came out of a slot that opened: it is the file that is wrong.
            DepotError::WrongKey | DepotError::Missing => {
                Self::Damaged("one of its stores is missing or does not open with its key".to_owned())
            }
            other => Self::Depot(other),
        }
    }
}

impl From<SealError> for VaultError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<ReportError> for VaultError {
    fn from(error: ReportError) -> Self {
        Self::Report(error)
    }
}

impl From<InputError> for VaultError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<DecodeError> for VaultError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}
