//! Where the passphrase comes from: a file, an open descriptor, a command, or a person.
//!
//! Never the command line and never the value of an environment variable: both can be read by
//! other processes and stay in histories. Precedence: flag, then `FIELDBOOK_PASSPHRASE_FILE`, then
//! the terminal. A vault that is unlocked needs none of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fieldbook_vault::Passphrase;
use fieldbook_vault::passphrase::{Language, Reason, WORDS, generate, judge, tidied};
use zeroize::Zeroizing;

use crate::aside::Aside;
use crate::error::{Failure, Kind};
use crate::interrupt;
use crate::ui::Ui;

/// Longest first line that is taken for a passphrase, in bytes.
const LINE_MAX: usize = 4 * 1024;

/// Sizes of a key file, in bytes: any file that never changes will do, if it is not one that others have.
const KEY_FILE: std::ops::RangeInclusive<u64> = 32..=1 << 20;

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
    /// One of these, and a key file besides: the second factor.
    WithKeyFile(Box<Source>, PathBuf),
}

impl Source {
    /// The passphrase of the vault in `vault`; `what`: the words before "the vault", where a person is asked.
    ///
    /// # Errors
    /// The source cannot be read or holds no passphrase; or a person would have to be asked and
    /// may not be.
    fn read(&self, what: &str, vault: &Path, ui: &Ui) -> Result<Secret, Failure> {
        match self {
            Self::Terminal => ask(&format!("Passphrase {what} the vault {}: ", quoted(vault)), ui),
            Self::WithKeyFile(source, file) => with_key_file(&source.read(what, vault, ui)?, file),
            other => other.read_silently(ui),
        }
    }

    /// This with a key file.
    pub fn with_key_file(self, file: Option<PathBuf>) -> Self {
        match file {
            Some(file) => Self::WithKeyFile(Box::new(self), file),
            None => self,
        }
    }

    /// The key file, if there is one.
    pub fn key_file(&self) -> Option<&Path> {
        match self {
            Self::WithKeyFile(_, file) => Some(file),
            _ => None,
        }
    }

    /// Where what is typed comes from, whether or not there is a key file.
    pub fn typed(&self) -> &Self {
        match self {
            Self::WithKeyFile(source, _) => source.typed(),
            source => source,
        }
    }

    /// Opens the vault in `vault` with the passphrase. A person who mistypes is asked again, so that
    /// what is typed next does not end in a shell and its history.
    ///
    /// # Errors
    /// The source cannot be read or holds no passphrase; or a person would have to be asked and may not be; as `open`.
    pub fn open<T>(
        &self,
        vault: &Path,
        ui: &Ui,
        open: impl FnMut(&Secret) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.open_to("for", vault, ui, open)
    }

    /// The same, with other words between "Passphrase" and "the vault": whoever types it has to know what for.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_to<T>(
        &self,
        what: &str,
        vault: &Path,
        ui: &Ui,
        mut open: impl FnMut(&Secret) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let is_asked = *self.typed() == Self::Terminal;
        let _hidden = (is_asked && !ui.no_input()).then(interrupt::Hidden::begin);
        let tries = if is_asked { TRIES } else { 1 };
        for _ in 1..tries {
            match open(&self.read(what, vault, ui)?) {
                Err(failure) if failure.kind == Kind::WrongPassphrase => ui.note("That does not open it."),
                done => return done,
            }
        }
        open(&self.read(what, vault, ui)?)
    }

    /// For a service: nobody sits there, so what would be asked is the credential `passphrase` in `directory`
    /// (systemd's `LoadCredential=`), if there is one.
    pub fn or_credential(self, directory: Option<PathBuf>) -> Self {
        match (self, directory.map(|directory| directory.join("passphrase"))) {
            (Self::Terminal, Some(path)) if path.is_file() => Self::Credential(path),
            (Self::WithKeyFile(source, file), Some(path)) => {
                Self::WithKeyFile(Box::new(source.or_credential(path.parent().map(Path::to_owned))), file)
            }
            (source, _) => source,
        }
    }

    /// A passphrase for a vault that is being made: a person takes one that was drawn, or types one of their own, twice.
    ///
    /// # Errors
    /// As [`Source::open`]; the two lines differ; nothing was typed; it can be guessed, and `weak` is not set.
    pub fn read_new(&self, vault: &Path, weak: bool, ui: &Ui) -> Result<Secret, Failure> {
        let typed = match self.typed() {
            Self::Terminal => choose_new(&format!("passphrase for the vault {}", quoted(vault)), weak, ui)?,
            source => strong_enough(source.read_silently(ui)?, weak, ui)?,
        };
        match self.key_file() {
            Some(file) => with_key_file(&typed, file),
            None => Ok(typed),
        }
    }

    fn read_silently(&self, ui: &Ui) -> Result<Secret, Failure> {
        match self {
            Self::Terminal => Err(Failure::failed("internal", "the terminal is not a silent source")),
            Self::WithKeyFile(source, file) => with_key_file(&source.read_silently(ui)?, file),
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
    /// The key file that belongs to it.
    pub key_file: Option<PathBuf>,
    /// It may be one that can be guessed.
    pub weak: bool,
}

impl New {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Source::read_new`].
    pub fn read(self, ui: &Ui) -> Result<Secret, Failure> {
        let typed = match self.file {
            Some(path) => strong_enough(Source::File(path).read_silently(ui)?, self.weak, ui)?,
            None => choose_new(self.what, self.weak, ui)?,
        };
        match self.key_file {
            Some(file) => with_key_file(&typed, &file),
            None => Ok(typed),
        }
    }
}

/// Refuses what can be guessed, and says why; with `weak` it only says so.
fn strong_enough(typed: Secret, weak: bool, ui: &Ui) -> Result<Secret, Failure> {
    let strength = judge(&typed);
    if strength.is_enough() {
        return Ok(typed);
    }
    let reasons: Vec<&str> = strength.reasons().iter().map(reason).collect();
    let why = match &reasons[..] {
        [] => "it could be guessed when the device is seized".to_owned(),
        reasons => reasons.join("; "),
    };
    if weak {
        ui.warn("weak-passphrase", format_args!("{why}; six words by chance are better"));
        return Ok(typed);
    }
    Err(Failure::usage("weak-passphrase", format!("this passphrase is too easy to guess: {why}")).hint(
        "take six words by chance: without a source of your own you are offered some; `fieldbook passphrase suggest` \
         draws more; --weak-passphrase takes it all the same",
    ))
}

fn reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::TooShort => "it is too short",
        Reason::CommonPassword => {
            "it is, or is built on, a password, a name or a saying that everybody tries first"
        }
        Reason::OneWord => "it is a single word",
        Reason::FewWords => "it is too few words",
        Reason::Sentence => "it is a sentence, in which one word gives away the next",
        Reason::Sequence => "letters or digits stand in their order",
        Reason::Repeated => "it repeats itself",
        Reason::Date => "it is built on a date or a year",
        Reason::KeyboardWalk => "it follows neighbouring keys",
        Reason::LayoutSwap => "typing a known word under another keyboard layout is tried first",
        Reason::Substitution => "signs in place of letters are tried first",
        _ => "it could be guessed when the device is seized",
    }
}

/// Six words by chance, in this language.
///
/// # Errors
/// The system has no randomness.
pub fn suggest(language: Language, words: usize) -> Result<Secret, Failure> {
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes);
    generate(language, words, &mut random)
        .map_err(|_| Failure::failed("no-randomness", "the system gives no random numbers"))
}

/// The language of the words that are offered: the user's, if it has a list.
pub fn language() -> Language {
    let named = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(std::env::var_os);
    let first = named.into_iter().find(|value| !value.is_empty());
    first.and_then(|value| Language::from_code(&value.to_string_lossy())).unwrap_or(Language::English)
}

fn with_key_file(typed: &Secret, file: &Path) -> Result<Secret, Failure> {
    let name = format!("the key file {}", quoted(file));
    let opened = File::open(file).map_err(unreadable(&name))?;
    // As much as may come: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(KEY_FILE.end() + 2).unwrap_or(0)));
    opened.take(KEY_FILE.end() + 1).read_to_end(&mut bytes).map_err(unreadable(&name))?;
    if !KEY_FILE.contains(&(bytes.len() as u64)) {
        let message =
            format!("{name} does not have {} bytes to {} KiB", KEY_FILE.start(), KEY_FILE.end() >> 10);
        return Err(Failure::usage("key-file-size", message)
            .hint("`fieldbook passphrase key-file FILE` makes a good one"));
    }
    let both = Passphrase::new(typed.to_string()).with_factor(&bytes);
    std::str::from_utf8(both.as_bytes())
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| Failure::failed("internal", "a passphrase is not text"))
}

/// Offers a passphrase that was drawn; a person takes it, or types another one.
fn choose_new(what: &str, weak: bool, ui: &Ui) -> Result<Secret, Failure> {
    let flag = "--passphrase-file FILE, --passphrase-fd N or --passphrase-command CMD";
    if !ui.may_ask() {
        return Err(Failure::cannot_ask("a new passphrase is needed and nobody may be asked", flag));
    }
    let drawn = suggest(language(), WORDS)?;
    let _aside = Aside::begin(ui);
    ui.note(format_args!(
        "Six words, drawn by chance:\n\n    {}\n\nPress Enter to take them as the {what}, or type one of your own. Nobody can \
         bring back a forgotten one, and these words are shown only now.",
        drawn.as_str()
    ));
    let mut tries = TRIES;
    let chosen = loop {
        let first = ask("Passphrase: ", ui)?;
        if first.is_empty() {
            // What chance drew is as strong as it is, also if it looks like something.
            break drawn;
        }
        tries -= 1;
        match strong_enough(first, weak, ui) {
            Ok(first) => break tidied(&first),
            Err(failure) if tries == 0 => return Err(failure),
            // Asked again here, so that what is typed next does not end in a shell and its history.
            Err(failure) => ui.note(format_args!(
                "{}. Press Enter for the six words, or type another one.",
                failure.message
            )),
        }
    };
    let chosen = tidied(&chosen);
    let mut tries = TRIES;
    while tidied(&ask("Type it once more: ", ui)?) != chosen {
        tries -= 1;
        if tries == 0 {
            return Err(Failure::usage("passphrases-differ", "the two passphrases are not the same").hint(
                "run the command again: nothing was made, and the words that were shown are worth nothing",
            ));
        }
        ui.note("That is not the same.");
    }
    Ok(chosen)
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
    let _hidden = interrupt::Hidden::begin();
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::new(Kind::Interrupted, "interrupted", "interrupted"),
        _ => Failure::cannot_ask("the vault is locked and there is no terminal to ask on", flag),
    })
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
        let read = source.read("for", Path::new("v"), &Ui::new(true, true)).unwrap();
        assert_eq!(read.as_str(), "six words");
        assert_eq!(Source::Descriptor(3).or_credential(there()), Source::Descriptor(3));
        assert_eq!(Source::Terminal.or_credential(None), Source::Terminal);
    }

    #[test]
    fn a_command_that_fails_gives_no_passphrase() {
        let ui = Ui::new(true, true);
        let read = |command: &str| {
            Source::Command(command.into()).read("for", Path::new("v"), &ui).map(|s| s.to_string())
        };
        assert_eq!(read("printf 'six words\\nmore\\n'").unwrap(), "six words");
        assert_eq!(read("echo half; exit 3").unwrap_err().code, "passphrase-command");
    }

    #[test]
    fn what_can_be_guessed_is_refused_with_its_reasons_unless_that_is_wanted() {
        let ui = Ui::new(true, true);
        let judged = |typed: &str, weak| strong_enough(Zeroizing::new(typed.to_owned()), weak, &ui);
        for weak in
            ["", "hunter2", "zebra canoe", "Extraordinarily2017!", "пароль123", "gfhjkm123", "минск2017"]
        {
            let failure = judged(weak, false).unwrap_err();
            assert_eq!((failure.code.as_str(), failure.kind), ("weak-passphrase", Kind::Usage), "{weak}");
            assert!(judged(weak, true).is_ok());
        }
        for language in Language::ALL {
            assert_eq!(suggest(language, WORDS).unwrap().split(' ').count(), WORDS);
        }
    }

    #[test]
    fn a_key_file_belongs_to_whatever_is_typed() {
        let dir = tempfile::tempdir().unwrap();
        let ui = Ui::new(true, true);
        let path = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let typed = Source::File(path("typed", b"six words\n"));
        let source = typed.clone().with_key_file(Some(path("key", &[7; 64])));
        let read = source.read("for", Path::new("v"), &ui).unwrap();
        assert!(read.starts_with("six words\n") && read.len() == "six words\n".len() + 64);
        assert_eq!(source.typed(), &typed);
        for (name, bytes) in [("short", vec![7; 31]), ("long", vec![7; (1 << 20) + 1])] {
            let source = typed.clone().with_key_file(Some(path(name, &bytes)));
            assert_eq!(source.read("for", Path::new("v"), &ui).unwrap_err().code, "key-file-size");
        }
        let gone = typed.with_key_file(Some(dir.path().join("gone")));
        assert_eq!(gone.read("for", Path::new("v"), &ui).unwrap_err().code, "passphrase-unreadable");
    }

    #[test]
    fn no_input_is_an_error_that_names_the_flag() {
        let failure = Source::Terminal.read("for", Path::new("v"), &Ui::new(false, true)).unwrap_err();
        assert_eq!(failure.kind.exit(), 4);
        assert!(failure.hint.unwrap().contains("--passphrase-file"));
    }
}
