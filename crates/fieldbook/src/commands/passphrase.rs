//! `fieldbook passphrase`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::protocol::Request;
use crate::agent::wire::Hex;
use crate::error::Failure;
use crate::global::Global;
use crate::passphrase::{New, Secret};

/// The vault's passphrase.
#[derive(Debug, Subcommand)]
pub enum PassphraseCommand {
    /// Change it; nothing but the key slot is written
    Change(ChangeArgs),
}

/// Change the passphrase.
///
/// Copies and backups of the vault from before keep the old one.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Take the new passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

pub fn run(command: PassphraseCommand, global: &Global) -> Result<(), Failure> {
    let PassphraseCommand::Change(args) = command;
    let vault = existing(global)?;
    let mut agent = Agent::open(global)?;
    let own = global.passphrase.read(&vault, &global.ui)?;
    let new = New { file: args.new_passphrase_file, what: "new passphrase" }.read(&global.ui)?;
    let bytes = |secret: &Secret| Hex::new(secret.as_bytes().to_vec());
    agent.call::<()>(&Request::ChangePassphrase { own: bytes(&own), new: bytes(&new) })?;
    global.ui.emit(json!({"event": "passphrase-changed"}))?;
    global.ui.say("The passphrase is changed. Copies and backups from before keep the old one.")
}
