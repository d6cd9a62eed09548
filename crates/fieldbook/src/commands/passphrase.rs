//! `fieldbook passphrase`

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fieldbook_vault::passphrase::{Language, MAX_WORDS, MIN_WORDS, WORDS};
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{DuressState, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::interrupt::Hidden;
use crate::passphrase::{self, New, Secret};

/// Bytes of a key file that is made here.
const KEY_FILE_LEN: usize = 64;

/// The vault's passphrase.
#[derive(Debug, Subcommand)]
pub enum PassphraseCommand {
    /// Change it; nothing but the key slot is written
    Change(ChangeArgs),
    /// Draw words by chance, in your language
    Suggest(SuggestArgs),
    /// Make a file of random bytes, to be needed besides the passphrase
    KeyFile(KeyFileArgs),
}

/// Draw words by chance.
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// en, ru, uk or be [default: as your system is set]
    #[arg(long, value_name = "LANGUAGE", value_parser = language)]
    language: Option<Language>,
    /// How many, 5 to 24
    #[arg(long, default_value_t = WORDS as u8, value_parser = clap::value_parser!(u8).range(MIN_WORDS as i64..=MAX_WORDS as i64))]
    words: u8,
}

/// Make a key file.
///
/// Then `fieldbook --key-file FILE init`, or `fieldbook passphrase change --new-key-file FILE`. Whoever loses the file
/// loses the vault: keep a copy where the vault is not.
#[derive(Debug, Args)]
pub struct KeyFileArgs {
    /// The file, which must not exist
    file: PathBuf,
}

fn language(code: &str) -> Result<Language, String> {
    Language::from_code(code).ok_or_else(|| "en, ru, uk or be".to_owned())
}

/// Change the passphrase.
///
/// Copies and backups of the vault from before keep the old one.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Take the new passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// From now on this file is needed besides it [default: the one that was needed before]
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// From now on no file is needed
    #[arg(long, conflicts_with = "new_key_file")]
    no_key_file: bool,
    /// Take a passphrase that could be guessed
    #[arg(long)]
    weak_passphrase: bool,
}

pub fn run(command: PassphraseCommand, global: &Global) -> Result<(), Failure> {
    match command {
        PassphraseCommand::Change(args) => change(args, global),
        PassphraseCommand::Suggest(args) => suggest(&args, global),
        PassphraseCommand::KeyFile(args) => key_file(&args.file, global),
    }
}

fn suggest(args: &SuggestArgs, global: &Global) -> Result<(), Failure> {
    let language = args.language.unwrap_or_else(passphrase::language);
    let words = passphrase::suggest(language, usize::from(args.words))?;
    global
        .ui
        .emit(json!({"event": "suggested", "language": language.code(), "passphrase": words.as_str()}))?;
    global.ui.say(words.as_str())
}

fn key_file(path: &Path, global: &Global) -> Result<(), Failure> {
    let mut bytes = Zeroizing::new([0; KEY_FILE_LEN]);
    getrandom::fill(&mut *bytes)
        .map_err(|_| Failure::failed("no-randomness", "the system gives no random numbers"))?;
    let doing = "the key file cannot be made";
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage("file-exists", "there is a file of that name already")
            .hint("it was not touched: if it is a vault's key file, that vault is lost without it. Give another name"),
        _ => Failure::io(doing)(error),
    })?;
    file.write_all(&*bytes).and_then(|()| file.sync_all()).map_err(Failure::io(doing))?;
    global.ui.emit(json!({"event": "key-file", "file": path, "bytes": KEY_FILE_LEN}))?;
    global.ui.say(format_args!("Made {}.", crate::sanitise::line(&path.to_string_lossy())))
}

fn change(args: ChangeArgs, global: &Global) -> Result<(), Failure> {
    // Also between the questions, and while the slot is made, which takes seconds.
    let _hidden = Hidden::for_questions(&global.ui);
    let (mut agent, own) = Agent::open_asking(global)?;
    let before = global.passphrase.key_file().filter(|_| !args.no_key_file).map(Path::to_owned);
    let new = New {
        file: args.new_passphrase_file,
        what: "new passphrase",
        key_file: args.new_key_file.or(before),
        weak: args.weak_passphrase,
    };
    let new = new.read(&global.ui)?;
    let other_key_file = key_of(&new) != key_of(&own);
    let (own, new_typed) = (own.as_str().into(), new.as_str().into());
    agent.call::<()>(&Request::ChangePassphrase { own, new: new_typed })?;
    let duress = other_key_file && agent.call::<DuressState>(&Request::HasDuress)?.other_key_file;
    global.ui.emit(json!({"event": "passphrase-changed"}))?;
    global.ui.say("The passphrase is changed. Copies and backups from before keep the old one.")?;
    if other_key_file {
        global.ui.say(match key_of(&new) {
            Some(_) => {
                "From now on the vault opens with the key file too, and not without: `--key-file FILE`."
            }
            None => "From now on no key file is needed, and with one it does not open.",
        })?;
    }
    if duress {
        global.ui.warn(
            "duress-key-file",
            "the duress passphrase still goes with the key file of before, or with none: set it anew with `fieldbook duress \
             set`; the decoy stays",
        );
    }
    Ok(())
}

/// What a key file adds to a passphrase.
fn key_of(secret: &Secret) -> Option<&str> {
    secret.split_once('\n').map(|(_, key)| key)
}
