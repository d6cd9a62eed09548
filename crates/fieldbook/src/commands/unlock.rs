//! `fieldbook unlock`

use clap::Args;
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Stay;
use crate::error::Failure;
use crate::global::Global;
use crate::span::Span;

/// Keep the vault open for commands, until `lock` or until it has not been used for a while.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Lock again after so long without a command, such as 30m or 8h [default: only with `lock`]
    #[arg(long = "for", value_name = "TIME")]
    idle: Option<Span>,
}

pub fn run(args: UnlockArgs, global: &Global) -> Result<(), Failure> {
    let vault = existing(global)?;
    let already = Agent::running(&Place::of(&vault)?)?.is_some();
    if !already {
        let idle_s = args.idle.map(Span::seconds);
        global.passphrase.open(&vault, &global.ui, |passphrase| {
            Agent::unlock(&vault, passphrase, Stay { idle_s }, &global.ui)
        })?;
    }
    global.ui.emit(json!({"event": "unlocked", "already": already}))?;
    global.ui.say(if already {
        "It was unlocked already."
    } else {
        "Unlocked. `fieldbook lock` locks it again."
    })
}
