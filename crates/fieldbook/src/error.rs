//! The one place where anything that went wrong becomes a kind, an exit code, words and a hint.
//!
//! Libraries below know nothing of terminals; what they report is turned into a [`Failure`] here or
//! in `agent/refusal.rs`. A failure crosses the agent's socket unchanged.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// What sort of failure it is. Each kind has one exit code, and no other code is ever used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was tried and did not work.
    Failed,
    /// The command line or the input was not understood.
    Usage,
    /// Some of it was done; the message says what was not.
    Partial,
    /// An answer or a passphrase is needed and nobody may be asked.
    CannotAsk,
    /// There is no vault in the directory.
    NoVault,
    /// Another process has the vault open.
    InUse,
    /// The passphrase does not open the vault.
    WrongPassphrase,
    /// Clashes wait for a person's decision.
    Clashes,
    /// No other device could be reached; the work is safe here.
    Unreachable,
    /// The export was refused, and nothing was written.
    ExportRefused,
    /// Data is damaged or was tampered with.
    Damaged,
    /// Two versions of the program, or of the data, do not go together.
    Version,
    /// The vault is a copy, or an older state of one: it can be read, and signs nothing.
    Copy,
    /// The person pressed Ctrl-C.
    Interrupted,
}

impl Kind {
    /// All kinds, in the order of their exit codes.
    pub const ALL: [Self; 14] = [
        Self::Failed,
        Self::Usage,
        Self::Partial,
        Self::CannotAsk,
        Self::NoVault,
        Self::InUse,
        Self::WrongPassphrase,
        Self::Clashes,
        Self::Unreachable,
        Self::ExportRefused,
        Self::Damaged,
        Self::Version,
        Self::Copy,
        Self::Interrupted,
    ];

    /// The exit code of the process.
    pub const fn exit(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::CannotAsk => 4,
            Self::NoVault => 10,
            Self::InUse => 11,
            Self::WrongPassphrase => 12,
            Self::Clashes => 13,
            Self::Unreachable => 14,
            Self::ExportRefused => 15,
            Self::Damaged => 16,
            Self::Version => 17,
            Self::Copy => 18,
            Self::Interrupted => 130,
        }
    }

    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::CannotAsk => "cannot-ask",
            Self::NoVault => "no-vault",
            Self::InUse => "in-use",
            Self::WrongPassphrase => "wrong-passphrase",
            Self::Clashes => "clashes",
            Self::Unreachable => "unreachable",
            Self::ExportRefused => "export-refused",
            Self::Damaged => "damaged",
            Self::Version => "version",
            Self::Copy => "copy",
            Self::Interrupted => "interrupted",
        }
    }

    /// The meaning, as the help prints it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed; the message says why",
            Self::Usage => "the command line or the input was not understood",
            Self::Partial => "partly done; the message says what was not",
            Self::CannotAsk => "locked, or an answer is needed, and nobody may be asked (--no-input)",
            Self::NoVault => "no vault here",
            Self::InUse => "another process has the vault open",
            Self::WrongPassphrase => "wrong passphrase",
            Self::Clashes => "clashes wait for a person",
            Self::Unreachable => "nobody could be reached; the work is safe here",
            Self::ExportRefused => "export refused, nothing was written",
            Self::Damaged => "damaged or tampered with",
            Self::Copy => "this vault is a copy: it can be read, and finishes and sends nothing new",
            Self::Version => "versions of program or data do not go together",
            Self::Interrupted => "interrupted (Ctrl-C)",
        }
    }
}

/// Why a command did not do what was asked: for the person, and for the program that called it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// The exact cause, as a word that never changes: for programs.
    pub code: String,
    /// What happened, in plain words.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It was tried and did not work.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, code, message)
    }

    /// The command line or the input was not understood.
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, message)
    }

    /// Nobody may be asked, and `flag` is what would have made asking unnecessary.
    pub fn cannot_ask(message: impl Into<String>, flag: &str) -> Self {
        Self::new(Kind::CannotAsk, "cannot-ask", message).hint(format!("give {flag}"))
    }

    /// The disk, a pipe or a file named by the user.
    pub fn io(doing: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.to_string();
        move |error| Self::failed("io", format!("{doing}: {}", plain(&error)))
    }

    /// A file that the user named and that cannot be read. `name` is sanitised.
    pub fn input(name: &str) -> impl FnOnce(io::Error) -> Self {
        Self::file(Kind::Usage, "input-unreadable", format!("{name} cannot be read"))
    }

    /// A file that the user named. `what` names it, sanitised, and says what cannot be done with it.
    pub fn file(kind: Kind, code: &'static str, what: String) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let failure = Self::new(kind, code, format!("{what}: {}", plain(&error)));
            match advice(&error) {
                "" => failure,
                hint => failure.hint(hint),
            }
        }
    }

    /// Reads what [`Failure::to_json`] made.
    pub fn from_json(said: &serde_json::Value) -> Option<Self> {
        Self::deserialize(said.get("error")?).ok()
    }

    /// The object that `--json` puts on stderr.
    pub fn to_json(&self) -> serde_json::Value {
        json!({"v": 1, "error": {
            "code": self.code,
            "kind": self.kind.word(),
            "exit": self.kind.exit(),
            "message": self.message,
            "hint": self.hint,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What the system says, in words and without its numbers.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "you are not allowed to".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "a part of its path is not a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not a text in UTF-8".to_owned(),
        _ => {
            let text = error.to_string();
            text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
        }
    }
}

/// What to do about it; "" when that is not known.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "check the name and the directory that you are in; directories are not made"
        }
        io::ErrorKind::PermissionDenied => "check who may read and write there (`ls -l`)",
        io::ErrorKind::IsADirectory => "name a file",
        io::ErrorKind::StorageFull => "make room and try again",
        io::ErrorKind::ReadOnlyFilesystem => "name a place that can be written",
        _ => "",
    }
}

/// The table of exit codes for the long help.
pub fn exit_code_table() -> String {
    let mut table = String::from("Exit codes:\n    0  done\n");
    for kind in Kind::ALL {
        table.push_str(&format!("  {:>3}  {}\n", kind.exit(), kind.meaning()));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_the_documented_ones_and_no_two_kinds_share_one() {
        let codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.exit()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 130]);
        for kind in Kind::ALL {
            assert!(exit_code_table().contains(kind.meaning()));
        }
    }

    #[test]
    fn the_word_in_json_is_the_word_on_the_socket() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }

    #[test]
    fn the_system_speaks_plainly_and_names_the_file() {
        let failure = Failure::input("report.json")(io::Error::from_raw_os_error(2));
        assert_eq!(failure.message, "report.json cannot be read: no such file or directory");
        assert!(failure.hint.is_some() && failure.kind.exit() == 2);
        assert_eq!(plain(&io::Error::from_raw_os_error(111)), "Connection refused");
    }

    #[test]
    fn a_failure_survives_the_socket_and_names_its_exit_code_in_json() {
        let failure = Failure::new(Kind::WrongPassphrase, "wrong-passphrase", "no").hint("try again");
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
        let json = failure.to_json();
        assert_eq!(json["v"], 1);
        assert_eq!(json["error"]["exit"], 12);
        assert_eq!(json["error"]["hint"], "try again");
        assert_eq!(Failure::failed("x", "y").to_json()["error"]["hint"], serde_json::Value::Null);
    }
}
