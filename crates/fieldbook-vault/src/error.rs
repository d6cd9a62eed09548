//! What can go wrong with a vault, in words for its user. Exit codes and hints are the client's matter.

use std::fmt;
use std::io;

use fieldbook_depot::DepotError;
use fieldbook_proto::codec::DecodeError;
use fieldbook_report::{InputError, ReportError};
use fieldbook_seal::SealError;
use fieldbook_seal::recovery::{CombineError, SplitError};

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
    /// Two passphrases of one vault that could be taken for each other.
    SamePassphrase,
    /// More places of exports than are remembered.
    TooManyExports,
    /// What only the real vault may do, and this is its decoy.
    InDecoy,
    /// There is no decoy.
    NoDecoy,
    /// Keys are not destroyed after so few days.
    TooFewDays,
    /// The keys were destroyed: by a wipe, or because nobody unlocked the vault for as long as its owner had set.
    KeysDestroyed,
    /// A name that is empty, too long, or has control characters.
    BadName,
    /// A work factor outside the allowed range was asked for.
    WorkFactor,
    /// A file of the vault is damaged or was tampered with.
    Damaged(String),
    /// A newer Fieldbook wrote this vault.
    NewerVersion,
    /// The vault lies in another place than it was used in last, and may be a copy: it signs nothing until its
    /// person has said which it is.
    Moved,
    /// Another copy of this vault has gone on writing: this one signs nothing any more.
    Superseded,
    /// A directory that was to take a vault holds something else.
    NotEmpty(String),
    /// The device belongs to no team yet.
    NoTeam,
    /// The device belongs to a team already.
    AlreadyInTeam,
    /// Only a coordinator can do this.
    NotCoordinator,
    /// A relay carries what others write.
    RelayWritesNothing,
    /// The certificate or roster received does not stand.
    Untrusted(String),
    /// No device has this label, or an id that begins so.
    NoSuchDevice(String),
    /// The device was removed from the team.
    Removed,
    /// Everybody who reads for this device's desk was removed from the team.
    DeskClosed,
    /// An entry would have been sealed to the device that writes it: a fault of the program.
    SealedToItself,
    /// The device was removed by a coordinator junior to it, whom this names.
    RemovedByJunior(String),
    /// Reports can be shared with standing coordinators only.
    NotAReader(String),
    /// Only a coordinator of the report's desk can do this.
    OtherDesk,
    /// What somebody who is to be forgotten still stands in.
    StillNamed {
        /// Names of fields.
        places: Vec<String>,
    },
    /// The device cannot have that role.
    RoleChange,
    /// No report has an id that begins so.
    NoSuchReport(String),
    /// This device wrote the report and sealed it: it cannot be read here any more.
    Sealed {
        /// The beginning of its id.
        report: String,
        /// When, in milliseconds since 1970.
        time_ms: i64,
    },
    /// A text of the report was written and not saved.
    Unfinished {
        /// The beginning of the report's id.
        report: String,
    },
    /// Somebody has a text of the report open to write in.
    BeingWritten {
        /// The beginning of the report's id.
        report: String,
    },
    /// A text of the report was written and not saved, and cannot be.
    CannotGoOn {
        /// The beginning of the report's id.
        report: String,
        /// Why.
        why: Box<VaultError>,
    },
    /// Two people gave a long text apart, and nobody has decided.
    TextClashes {
        /// Its name.
        field: String,
    },
    /// What was written and what somebody else changed meanwhile are longer together than a text can be.
    MergedTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// No text of a report that is written at length has this name.
    NoSuchText {
        /// As asked.
        field: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The report is not one that can be sealed here, and why.
    CannotSeal(&'static str),
    /// Not enough coordinators have signed for all of a report.
    NotConfirmed {
        /// Who has.
        have: Vec<String>,
        /// Who has not, as far as this device knows.
        missing: Vec<String>,
        /// How many are asked for.
        needed: u32,
    },
    /// No entry has an id that begins so.
    NoSuchEntry(String),
    /// The report has no such attachment.
    NoSuchAttachment(String),
    /// The report has no such question or note.
    NoSuchNote(String),
    /// No question of the report waits for an answer.
    NoQuestion,
    /// Several questions wait, and none was named.
    WhichQuestion {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A monitor wants to write in a report of somebody else.
    NotYourReport,
    /// More than one device is called so.
    SameName {
        /// The name.
        name: String,
        /// How many are called so.
        matches: usize,
    },
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
    /// Recovery sheets in a number that cannot be.
    Split(SplitError),
    /// Recovery sheets that do not go together.
    Combine(CombineError),
    /// The desk has recovery sheets already.
    HasRecovery,
    /// None of the entries here is one that these sheets bring a team back with.
    NoCharter,
    /// Recovery sheets of another team.
    OtherSheets,
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

    pub(crate) fn untrusted(why: impl fmt::Display) -> Self {
        Self::Untrusted(why.to_string())
    }

    /// Whether it is about one report, certificate or device, so that the rest can go on without it; not
    /// about the store or the vault.
    pub(crate) const fn is_about_one_thing(&self) -> bool {
        matches!(
            self,
            Self::Untrusted(_)
                | Self::Seal(_)
                | Self::TooLarge { .. }
                | Self::Report(_)
                | Self::Input(_)
                | Self::NoSuchDevice(_)
        )
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
            Self::SamePassphrase => f.write_str("the two passphrases could be taken for each other"),
            Self::TooManyExports => {
                write!(f, "{} places of exports are remembered, and no more", crate::exports::EXPORTS_MAX)
            }
            Self::InDecoy => f.write_str("the decoy is open, to write into it, and can do nothing else"),
            Self::NoDecoy => f.write_str("no duress passphrase is set, so there is no decoy"),
            Self::TooFewDays => {
                write!(f, "the keys are not destroyed after fewer than {} days", crate::rules::DEAD_MAN_MIN_DAYS)
            }
            Self::KeysDestroyed => f.write_str(
                "the keys of this vault are destroyed: somebody wiped it, or nobody unlocked it for as many days as its owner had \
                 set",
            ),
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
            Self::Moved => f.write_str(
                "this vault's files were copied or moved since it was used last; while two copies may exist, it can be read, and finishes and sends nothing new",
            ),
            Self::Superseded => f.write_str(
                "another copy of this vault has gone on writing; this one can be read, and finishes and sends nothing new",
            ),
            Self::NotEmpty(dir) => write!(f, "{dir} is not empty"),
            Self::NoTeam => f.write_str("this device belongs to no team yet"),
            Self::AlreadyInTeam => f.write_str("this device belongs to a team already"),
            Self::NotCoordinator => f.write_str("only a coordinator's device can do this"),
            Self::RelayWritesNothing => {
                f.write_str("this device is a relay: it carries what others write, and finishes nothing of its own")
            }
            Self::Untrusted(why) => write!(f, "what the other device sent cannot be trusted: {why}"),
            Self::NoSuchDevice(typed) => write!(f, "no device of the team is called \"{typed}\""),
            Self::DeskClosed => f.write_str(
                "nobody can read what this device sends: all coordinators of its desk were removed from the team. \
                 Nothing was sent, and nothing is lost: reports stay on this device as they are",
            ),
            Self::SealedToItself => f.write_str(
                "a fault of this program: it would have sealed an entry to its own author. Nothing was written",
            ),
            Self::NotAReader(label) => {
                write!(f, "\"{label}\" is not another coordinator: reports are shared with coordinators only")
            }
            Self::OtherDesk => {
                f.write_str("the report belongs to another desk, and only a coordinator there can do this")
            }
            Self::StillNamed { places } => {
                write!(f, "the person can still be found in: {}", places.join(", "))
            }
            Self::RoleChange => {
                f.write_str("a relay keeps its role, and a device that was made a monitor's stays one")
            }
            Self::Removed => f.write_str("this device was removed from the team"),
            Self::RemovedByJunior(by) => {
                write!(f, "\"{by}\", who was admitted later, removed this device from the team")
            }
            Self::NoSuchReport(prefix) => write!(f, "no report here has an id that begins with \"{prefix}\""),
            Self::Sealed { report, .. } => write!(
                f,
                "report {report} is sealed: this device gave up the power to read or change it, and cannot get it back"
            ),
            Self::Unfinished { report } => {
                write!(f, "a text of report {report} was written and is not saved in it yet")
            }
            Self::BeingWritten { report } => {
                write!(f, "a text of report {report} is open in a window, to be written in")
            }
            Self::CannotGoOn { report, why } => {
                write!(f, "a text of report {report} was written and not saved, and cannot be saved: {why}")
            }
            Self::TextClashes { field } => {
                write!(f, "two people wrote \"{field}\" apart: it has to be decided first which it is")
            }
            Self::MergedTooLarge { limit } => write!(
                f,
                "somebody else changed this text meanwhile, and both together are longer than {limit} bytes; nothing was saved"
            ),
            Self::NoSuchText { field, known } => {
                write!(f, "\"{field}\" is no long text of this kind of report")?;
                write!(f, "; those are: {}", known.join(", "))
            }
            Self::CannotSeal(why) => write!(f, "this cannot be sealed: {why}"),
            Self::NotConfirmed { have, missing, needed } => {
                let names = |names: &[String]| match names {
                    [] => "nobody".to_owned(),
                    names => names.join(", "),
                };
                write!(
                    f,
                    "not confirmed by enough coordinators ({} of {needed}): received in full by {}; no word yet from {}",
                    have.len(),
                    names(have),
                    names(missing)
                )
            }
            Self::NoSuchEntry(prefix) => write!(f, "no entry here has an id that begins with \"{prefix}\""),
            Self::NoSuchAttachment(prefix) => {
                write!(f, "the report has no attachment whose id or name is \"{prefix}\"")
            }
            Self::NoSuchNote(typed) => {
                write!(f, "the report has no question or note with the id \"{typed}\"")
            }
            Self::NoQuestion => f.write_str("no question of this report waits for an answer"),
            Self::WhichQuestion { ids } => {
                write!(f, "several questions wait for an answer: {}", ids.join(", "))
            }
            Self::NotYourReport => {
                f.write_str("another device wrote this report; only a coordinator can write in it too")
            }
            Self::SameName { name, matches } => {
                write!(f, "{matches} devices are called \"{name}\"")
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
            Self::Split(error) => error.fmt(f),
            Self::Combine(error) => error.fmt(f),
            Self::HasRecovery => f.write_str("the desk has recovery sheets already"),
            Self::NoCharter => f.write_str("no entry here says which team these sheets belong to"),
            Self::OtherSheets => f.write_str("these sheets are another team's"),
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
            Self::Split(error) => Some(error),
            Self::Combine(error) => Some(error),
            Self::Seal(error) => Some(error),
            Self::Depot(error) => Some(error),
            Self::Database(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            Self::CannotGoOn { why, .. } => Some(why),
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

impl From<SplitError> for VaultError {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

impl From<CombineError> for VaultError {
    fn from(error: CombineError) -> Self {
        Self::Combine(error)
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
