//! `fieldbook duress`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{DuressState, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::interrupt::Hidden;
use crate::passphrase::New;

/// A second passphrase, to be given up when somebody forces you: it opens a decoy, and destroys the keys of this vault.
#[derive(Debug, Subcommand)]
pub enum DuressCommand {
    /// Set it, or change it. Then write into the decoy: `fieldbook unlock --decoy`
    Set(SetArgs),
    /// Take it back; the decoy becomes unreadable
    Remove,
    /// Say whether one is set
    Show,
}

/// Set the duress passphrase.
///
/// Whoever opens the vault with it, you too, destroys what is in it: only the decoy is left. A decoy is a vault of its
/// own, and an empty one convinces nobody: write harmless reports into it with `fieldbook unlock --decoy`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Take the duress passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    duress_passphrase_file: Option<PathBuf>,
    /// The name of the decoy's device [default: this device's]
    #[arg(long)]
    name: Option<String>,
    /// Take a passphrase that could be guessed
    #[arg(long)]
    weak_passphrase: bool,
}

pub fn run(command: DuressCommand, global: &Global) -> Result<(), Failure> {
    match command {
        DuressCommand::Set(args) => set(args, global),
        DuressCommand::Remove => {
            let was_set: bool = Agent::open(global)?.call(&Request::RemoveDuress)?;
            global.ui.emit(json!({"event": "duress-removed", "was_set": was_set}))?;
            global.ui.say(if was_set {
                "There is no duress passphrase any more, and the decoy cannot be read."
            } else {
                "No duress passphrase was set."
            })
        }
        DuressCommand::Show => {
            let DuressState { set, other_key_file } = Agent::open(global)?.call(&Request::HasDuress)?;
            global.ui.emit(json!({"event": "duress", "set": set, "other_key_file": other_key_file}))?;
            global.ui.say(match (set, other_key_file) {
                (false, _) => "No duress passphrase is set.",
                (true, false) => "A duress passphrase is set.",
                (true, true) => {
                    "A duress passphrase is set, but the key file was changed since: it opens only with the key file of \
                     before, or with none if there was none. Set it anew with `fieldbook duress set`; the decoy stays."
                }
            })
        }
    }
}

fn set(args: SetArgs, global: &Global) -> Result<(), Failure> {
    let _hidden = Hidden::for_questions(&global.ui);
    let (mut agent, own) = Agent::open_asking(global)?;
    // Whoever gives the key file to every command gives it under duress too.
    let key_file = global.passphrase.key_file().map(std::path::Path::to_owned);
    let (file, weak) = (args.duress_passphrase_file, args.weak_passphrase);
    let new = New { file, what: "duress passphrase", key_file, weak };
    let duress = new.read(&global.ui)?;
    let request =
        Request::SetDuress { own: own.as_str().into(), duress: duress.as_str().into(), name: args.name };
    let made: bool = agent.call(&request)?;
    global.ui.emit(json!({"event": "duress-set", "decoy_made": made}))?;
    global.ui.say(
        "The duress passphrase is set. Whoever opens the vault with it, you too, destroys what is in it.",
    )?;
    if made {
        global.ui.note(
            "The decoy is empty. Fill it: `fieldbook lock`, `fieldbook unlock --decoy`, write, `fieldbook lock`.\n\
             Your shell may keep these commands in its history: see the handbook, \"A raid, and when somebody forces you\".",
        );
    }
    Ok(())
}
