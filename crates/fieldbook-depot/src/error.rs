//! What can go wrong with a depot, or with any encrypted database of this house.

use std::fmt;
use std::io;

/// Why an act on a depot was not done. What was durable before stays so.
#[derive(Debug)]
pub enum DepotError {
    /// There is no file at the path.
    Missing,
    /// There is a file at the path already.
    AlreadyExists,
    /// The key does not open the file, or its first page is damaged: the two look the same.
    WrongKey,
    /// The file is damaged or was tampered with.
    Damaged(String),
    /// A newer Fieldbook wrote the file.
    NewerVersion {
        /// The version of the file's schema.
        found: i64,
        /// The highest version that this program knows.
        known: i64,
    },
    /// The program was built without SQLCipher, so nothing would be encrypted.
    NotEncrypting,
    /// Another process kept the database locked for longer than the waiting time.
    Busy,
    /// The disk is full.
    Full,
    /// The place beyond the network where the depot lies is out of reach at present; why, in words. What was
    /// acknowledged is stored there.
    Away(String),
    /// The disk, or the file's permissions.
    Io(io::Error),
    /// Any other failure of the database.
    Database(rusqlite::Error),
}

impl fmt::Display for DepotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the store's file is missing"),
            Self::AlreadyExists => f.write_str("the store's file exists already"),
            Self::WrongKey => {
                f.write_str("the key does not open the store, or the store's first page is damaged")
            }
            Self::Damaged(what) => write!(f, "the store is damaged or was tampered with: {what}"),
            Self::NewerVersion { found, known } => write!(
                f,
                "the store was written by a newer version of the program (its version is {found}, this program knows {known})"
            ),
            Self::NotEncrypting => {
                f.write_str("this program was built without SQLCipher and would encrypt nothing")
            }
            Self::Busy => f.write_str("another process kept the store locked for too long"),
            Self::Full => f.write_str("the disk is full"),
            Self::Away(why) => {
                write!(f, "the relay's store is away ({why}); nothing is lost, and it is tried again later")
            }
            Self::Io(error) => write!(f, "the store could not be read or written: {error}"),
            Self::Database(error) => write!(f, "the store failed: {error}"),
        }
    }
}

impl std::error::Error for DepotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl DepotError {
    pub(crate) fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

impl From<io::Error> for DepotError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::AlreadyExists => Self::AlreadyExists,
            io::ErrorKind::StorageFull => Self::Full,
            _ => Self::Io(error),
        }
    }
}

impl From<rusqlite::Error> for DepotError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Sql;
        use rusqlite::ErrorCode as Code;
        match &error {
            // A value of another type or length than the schema stores: the file is not what we wrote.
            Sql::FromSqlConversionFailure(..)
            | Sql::IntegralValueOutOfRange(..)
            | Sql::InvalidColumnType(..) => {
                return Self::damaged("it holds an impossible value");
            }
            Sql::QueryReturnedNoRows => return Self::damaged("a row that always exists is missing"),
            _ => {}
        }
        // The index of the write-ahead log could not grow.
        if error
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Self::Full;
        }
        match error.sqlite_error_code() {
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::damaged("a page does not read back"),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            Some(Code::DiskFull) => Self::Full,
            _ => Self::Database(error),
        }
    }
}
