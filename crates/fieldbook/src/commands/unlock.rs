//! `fieldbook unlock`

use clap::Args;
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Stay;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::span::Span;

/// Keep the vault open for commands, until `lock` or until it has not been used for a while.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Lock again after so long without a command, such as 30m or 8h [default: only with `lock`]
    #[arg(long = "for", value_name = "TIME")]
    idle: Option<Span>,
    /// Open the decoy instead, with this vault's own passphrase, to write into it: see `fieldbook duress`
    #[arg(long)]
    decoy: bool,
}

pub fn run(args: UnlockArgs, global: &Global) -> Result<(), Failure> {
    let vault = existing(global)?;
    let already = Agent::running(&Place::of(&vault)?)?.is_some();
    if !already {
        let idle_s = args.idle.map(Span::seconds);
        global.passphrase.open(&vault, &global.ui, |passphrase| {
            Agent::unlock(&vault, passphrase, Stay { idle_s }, args.decoy, &global.ui)
        })?;
    } else if args.decoy {
        return Err(Failure::new(Kind::InUse, "unlocked", "the vault is unlocked already")
            .hint("`fieldbook lock` first, then `fieldbook unlock --decoy`"));
    }
    global.ui.emit(json!({"event": "unlocked", "already": already}))?;
    global.ui.say(if already {
        "It was unlocked already."
    } else {
        "Unlocked. `fieldbook lock` locks it again."
    })
}
