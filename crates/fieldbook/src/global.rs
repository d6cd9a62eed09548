//! The options that every command has: as typed ([`GlobalArgs`]) and ready for use ([`Global`]).

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::error::Failure;
use crate::passphrase::{self, Source};
use crate::ui::Ui;

/// The options as typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// The vault's directory [default: $FIELDBOOK_VAULT, else "notebook" among your data files]
    #[arg(long, global = true, value_name = "DIR")]
    vault: Option<PathBuf>,
    /// Take the passphrase from the first line of a file [default: $FIELDBOOK_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Take the passphrase from the first line of an open file descriptor
    #[arg(long, global = true, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// Take the passphrase from the first line that a command prints (run by sh)
    #[arg(long, global = true, value_name = "CMD")]
    passphrase_command: Option<String>,
    /// A file that is needed besides the passphrase, for example on a stick [default: $FIELDBOOK_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON Lines for programs; errors as one JSON object on stderr
    #[arg(long, global = true)]
    json: bool,
    /// Never ask; exit with 4 and name the missing flag instead
    #[arg(long, global = true)]
    no_input: bool,
}

/// The options ready for use.
#[derive(Debug)]
pub struct Global {
    /// The vault's directory, as named; it need not exist.
    pub vault: PathBuf,
    /// Where the passphrase comes from, if one is needed.
    pub passphrase: Source,
    /// How to speak.
    pub ui: Ui,
}

impl GlobalArgs {
    /// How to speak, even if the rest is not understood.
    pub const fn ui(&self) -> Ui {
        Ui::new(self.json, self.no_input)
    }

    /// Checks the options and fills in the environment's.
    ///
    /// # Errors
    /// Two passphrase sources, or no vault directory can be told.
    pub fn ready(self) -> Result<Global, Failure> {
        let ui = self.ui();
        let from_environment = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let vault = self.vault.or_else(|| from_environment("FIELDBOOK_VAULT")).or_else(default_vault);
        let Some(vault) = vault else {
            return Err(Failure::usage(
                "no-directory",
                "it cannot be told where the vault is: HOME is not set",
            )
            .hint("name the directory with --vault or FIELDBOOK_VAULT"));
        };
        let passphrase = passphrase::choose(
            self.passphrase_file,
            self.passphrase_fd,
            self.passphrase_command,
            from_environment("FIELDBOOK_PASSPHRASE_FILE"),
        )?;
        let key_file = self.key_file.or_else(|| from_environment("FIELDBOOK_KEY_FILE"));
        Ok(Global { vault, passphrase: passphrase.with_key_file(key_file), ui })
    }
}

/// A name that any program could have chosen.
fn default_vault() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data =
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("notebook"))
}
