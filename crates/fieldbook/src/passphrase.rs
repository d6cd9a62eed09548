//! Where the passphrase comes from: a file, an open descriptor, a command, or a person.
//!
//! Never the command line and never the value of an environment variable: both can be read by
//! other processes and stay in histories. Precedence: flag, then `FIELDBOOK_PASSPHRASE_FILE`, then
//! the terminal. A vault that is unlocked needs none of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::error::{Failure, Kind};
use crate::interrupt;
use crate::ui::Ui;

/// Longest first line that is taken for a passphrase, in bytes.
const LINE_MAX: usize = 4 * 1024;

/// A passphrase with fewer characters is called short.
const SHORT: usize = 12;

/// How often a person may mistype.
const TRIES: u32 = 3;

/// A passphrase on its way to the agent; wiped when dropped.
pub type Secret = Zeroizing<String>;

/// Where the passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--passphrase-file`: its first line.
    File(PathBuf),
    /// `--passphrase-fd`: the first line of an open descriptor.
    Descriptor(u32),
    /// The credential that the system's service manager gave to this process: as a file, but the manager sees
    /// to who can read it.
    Credential(PathBuf),
    /// `--passphrase-command`: the first line it prints.
    Command(String),
    /// A person at the terminal.
    Terminal,
}

impl Source {
    /// The passphrase of the vault in `vault`.
    ///
    /// # Errors
    /// The source cannot be read or holds no passphrase; or a person would have to be asked and
    /// may not be.
    pub fn read(&self, vault: &Path, ui: &Ui) -> Result<Secret, Failure> {
        match self {
            Self::Terminal => ask(&format!("Passphrase for the vault {}: ", quoted(vault)), ui),
            other => other.read_silently(ui),
        }
    }

    /// Opens the vault in `vault` with the passphrase. A person who mistypes is asked again, so that
    /// what is typed next does not end in a shell and its history.
    ///
    /// # Errors
    /// As [`Source::read`] and `open`.
    pub fn open<T>(
        &self,
        vault: &Path,
        ui: &Ui,
        mut open: impl FnMut(&Secret) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let tries = if *self == Self::Terminal { TRIES } else { 1 };
        for _ in 1..tries {
            match open(&self.read(vault, ui)?) {
                Err(failure) if failure.kind == Kind::WrongPassphrase => ui.note("That does not open it."),
                done => return done,
            }
        }
        open(&self.read(vault, ui)?)
    }

    /// For a service: nobody sits there, so what would be asked is the credential `passphrase` in `directory`
    /// (systemd's `LoadCredential=`), if there is one.
    pub fn or_credential(self, directory: Option<PathBuf>) -> Self {
        match (self, directory.map(|directory| directory.join("passphrase"))) {
            (Self::Terminal, Some(path)) if path.is_file() => Self::Credential(path),
            (source, _) => source,
        }
    }

    /// A passphrase for a vault that is being made: a person types it twice.
    ///
    /// # Errors
    /// As [`Source::read`]; the two lines differ; nothing was typed.
    pub fn read_new(&self, vault: &Path, ui: &Ui) -> Result<Secret, Failure> {
        if *self != Self::Terminal {
            return self.read_silently(ui);
        }
        ask_twice(&format!("New passphrase for the vault {}: ", quoted(vault)), ui)
    }

    fn read_silently(&self, ui: &Ui) -> Result<Secret, Failure> {
        match self {
            Self::Terminal => Err(Failure::failed("internal", "the terminal is not a silent source")),
            Self::File(path) => {
                let name = format!("the passphrase file {}", quoted(path));
                let file = File::open(path).map_err(unreadable(&name))?;
                warn_if_others_can_read(&file, &name, ui);
                first_line(file, &name)
            }
            Self::Credential(path) => {
                let name = "the credential \"passphrase\"";
                first_line(File::open(path).map_err(unreadable(name))?, name)
            }
            Self::Descriptor(number) => {
                let name = format!("descriptor {number}");
                // Opening /dev/fd/N gives a descriptor of our own without unsafe code.
                let file = File::open(format!("/dev/fd/{number}")).map_err(unreadable(&name))?;
                first_line(file, &name)
            }
            Self::Command(command) => from_command(command),
        }
    }
}

/// A further passphrase, beside the one that opens the vault.
#[derive(Debug)]
pub struct New {
    /// Its first line is taken; a person is asked if there is none.
    pub file: Option<PathBuf>,
    /// What it is called.
    pub what: &'static str,
}

impl New {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Source::read_new`].
    pub fn read(self, ui: &Ui) -> Result<Secret, Failure> {
        match self.file {
            Some(path) => Source::File(path).read_silently(ui),
            None => ask_twice(&format!("The {}: ", self.what), ui),
        }
    }
}

fn ask_twice(prompt: &str, ui: &Ui) -> Result<Secret, Failure> {
    let first = ask(prompt, ui)?;
    let second = ask("The same once more: ", ui)?;
    if *first != *second {
        return Err(Failure::usage("passphrases-differ", "the two passphrases are not the same")
            .hint("run the command again; nothing was made"));
    }
    if first.is_empty() {
        return Err(empty("the answer"));
    }
    Ok(first)
}

fn from_command(command: &str) -> Result<Secret, Failure> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(unreadable("the passphrase command"))?;
    let _guard = interrupt::Child::watch(&child);
    let line = match child.stdout.take() {
        Some(mut stdout) => {
            let line = first_line(&mut stdout, "the passphrase command");
            // Password stores keep notes below the passphrase: a command that may not finish them fails.
            let mut rest = Zeroizing::new([0u8; LINE_MAX]);
            while matches!(stdout.read(&mut *rest), Ok(1..)) {}
            line
        }
        None => Err(empty("the passphrase command")),
    };
    let status = child.wait().map_err(unreadable("the passphrase command"))?;
    if !status.success() {
        // It may have printed half a line, or none.
        return Err(Failure::failed(
            "passphrase-command",
            format!("the passphrase command failed ({status}); its output was not used"),
        ));
    }
    line
}

/// The first line without its line end; other spaces belong to the passphrase.
fn first_line(mut from: impl Read, name: &str) -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LINE_MAX + 1));
    let mut one = Zeroizing::new([0u8; 1]);
    // Bounded, without reallocation that would leave copies behind, and reading no further than
    // the line: what follows on a pipe may be the report (`--passphrase-fd 0 --from -`).
    while bytes.len() <= LINE_MAX && bytes.last() != Some(&b'\n') {
        match from.read(&mut *one) {
            Ok(0) => break,
            Ok(_) => bytes.push(one[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(name)(error)),
        }
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if line.len() > LINE_MAX {
        return Err(Failure::usage(
            "passphrase-too-long",
            format!("the first line of {name} is longer than {LINE_MAX} bytes"),
        ));
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| {
        Failure::usage("passphrase-not-text", format!("the first line of {name} is not UTF-8"))
    })?;
    if text.is_empty() {
        return Err(empty(name));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn ask(prompt: &str, ui: &Ui) -> Result<Secret, Failure> {
    let flag = "--passphrase-file FILE, --passphrase-fd N or --passphrase-command CMD";
    if ui.no_input() {
        return Err(Failure::cannot_ask("the vault is locked and --no-input forbids asking", flag));
    }
    let _echo = interrupt::Echo::remember();
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|_| Failure::cannot_ask("the vault is locked and there is no terminal to ask on", flag))
}

fn warn_if_others_can_read(file: &File, name: &str, ui: &Ui) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = file.metadata() else { return };
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        ui.warn(
            "passphrase-file-readable",
            format!("other users of this machine can read {name} (chmod 600 it)"),
        );
    }
}

fn unreadable(name: &str) -> impl FnOnce(io::Error) -> Failure {
    Failure::file(Kind::Usage, "passphrase-unreadable", format!("{name} cannot be read"))
}

fn empty(name: &str) -> Failure {
    Failure::usage("passphrase-empty", format!("{name} holds no passphrase"))
}

fn quoted(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    format!("\"{}\"", crate::sanitise::line(&path.to_string_lossy()))
}

/// Why a new passphrase is easy to guess, if that can be told without a dictionary.
pub fn weakness(passphrase: &str) -> Option<&'static str> {
    let letters = passphrase.trim_matches(|c: char| !c.is_alphabetic());
    if passphrase.chars().count() < SHORT {
        Some("a short passphrase is guessed quickly when the device is seized")
    } else if letters.chars().all(char::is_alphabetic) {
        Some("a passphrase of a single word is guessed quickly when the device is seized")
    } else {
        None
    }
}

/// What the flags and the environment say; `None` in `environment` when the variable is unset.
///
/// # Errors
/// More than one flag was given.
pub fn choose(
    file: Option<PathBuf>,
    descriptor: Option<u32>,
    command: Option<String>,
    environment: Option<PathBuf>,
) -> Result<Source, Failure> {
    let mut given =
        [file.map(Source::File), descriptor.map(Source::Descriptor), command.map(Source::Command)]
            .into_iter()
            .flatten();
    let source = match (given.next(), environment) {
        (Some(source), _) => source,
        (None, Some(path)) => Source::File(path),
        (None, None) => Source::Terminal,
    };
    match given.next() {
        None => Ok(source),
        Some(_) => Err(Failure::new(
            Kind::Usage,
            "two-passphrase-sources",
            "give one of --passphrase-file, --passphrase-fd and --passphrase-command",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Result<String, String> {
        first_line(bytes, "it").map(|line| line.to_string()).map_err(|failure| failure.code)
    }

    #[test]
    fn the_first_line_counts_and_its_spaces_with_it() {
        assert_eq!(line(b"correct horse"), Ok("correct horse".into()));
        assert_eq!(line(b"  two spaces \t\nsecond line\n"), Ok("  two spaces \t".into()));
        assert_eq!(line(b"from windows\r\n"), Ok("from windows".into()));
        assert_eq!(line("пароль\n".as_bytes()), Ok("пароль".into()));
    }

    #[test]
    fn what_is_no_passphrase_is_refused() {
        assert_eq!(line(b""), Err("passphrase-empty".into()));
        assert_eq!(line(b"\nsecond"), Err("passphrase-empty".into()));
        assert_eq!(line(b"\xff\xfe\n"), Err("passphrase-not-text".into()));
        assert_eq!(line(&[b'a'; LINE_MAX + 1]), Err("passphrase-too-long".into()));
        assert_eq!(line(&[b'a'; LINE_MAX]).map(|l| l.len()), Ok(LINE_MAX));
        let endless = first_line(io::repeat(b'a'), "it").map_err(|failure| failure.code);
        assert_eq!(endless.map(|l| l.len()), Err("passphrase-too-long".into()));
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_two_flags_are_a_mistake() {
        let path = || Some(PathBuf::from("p"));
        assert_eq!(choose(None, Some(3), None, path()), Ok(Source::Descriptor(3)));
        assert_eq!(choose(None, None, None, path()), Ok(Source::File("p".into())));
        assert_eq!(choose(None, None, None, None), Ok(Source::Terminal));
        assert_eq!(choose(path(), Some(3), None, None).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn a_service_takes_its_credential_unless_it_was_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let there = || Some(dir.path().to_owned());
        assert_eq!(Source::Terminal.or_credential(there()), Source::Terminal, "there is none");
        fs::write(dir.path().join("passphrase"), "six words\n").unwrap();
        let source = Source::Terminal.or_credential(there());
        let read = source.read(Path::new("v"), &Ui::new(true, true)).unwrap();
        assert_eq!(read.as_str(), "six words");
        assert_eq!(Source::Descriptor(3).or_credential(there()), Source::Descriptor(3));
        assert_eq!(Source::Terminal.or_credential(None), Source::Terminal);
    }

    #[test]
    fn a_command_that_fails_gives_no_passphrase() {
        let ui = Ui::new(true, true);
        let read =
            |command: &str| Source::Command(command.into()).read(Path::new("v"), &ui).map(|s| s.to_string());
        assert_eq!(read("printf 'six words\\nmore\\n'").unwrap(), "six words");
        assert_eq!(read("echo half; exit 3").unwrap_err().code, "passphrase-command");
    }

    #[test]
    fn a_short_passphrase_and_a_single_word_are_called_weak() {
        for weak in ["", "hunter2", "zebra canoe", "Extraordinarily2017!", "несправядлівасць", "123456789012"]
        {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for good in ["zebra canoe lantern of A", "zebra-canoe-lantern", "k8#pL0zt4Qwe"] {
            assert_eq!(weakness(good), None, "{good}");
        }
    }

    #[test]
    fn no_input_is_an_error_that_names_the_flag() {
        let failure = Source::Terminal.read(Path::new("v"), &Ui::new(false, true)).unwrap_err();
        assert_eq!(failure.kind.exit(), 4);
        assert!(failure.hint.unwrap().contains("--passphrase-file"));
    }
}
