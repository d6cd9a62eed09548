//! `fieldbook unlock`

use clap::Args;
use fieldbook_daemon::control::Ask;
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::{Request, Stay};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::span::Span;

/// A decoy is locked again after so many seconds without a command, unless `--for` says otherwise.
const DECOY_IDLE_S: u64 = 15 * 60;

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
    let place = Place::of(&vault)?;
    // Of an agent that was started just now.
    let locks_before_sleep = if let Some(mut agent) = Agent::running(&place)? {
        // What is written now would go into the wrong one.
        if agent.call::<bool>(&Request::IsDecoy)? && !args.decoy {
            return Err(Failure::new(Kind::InUse, "decoy-open", "the decoy is open, not the vault")
                .hint("`fieldbook lock` first"));
        }
        None
    } else {
        if args.decoy && network::ask(&place, Ask::Status)?.is_some() {
            return Err(Failure::new(Kind::InUse, "daemon-runs", "a daemon of the vault runs").hint(
                "`fieldbook daemon stop` first: beside a decoy it would tell that there is another vault",
            ));
        }
        // A decoy that stays open by mistake takes what was meant for the vault.
        let idle_s = args.idle.map(Span::seconds).or(args.decoy.then_some(DECOY_IDLE_S));
        Some(global.passphrase.open(&vault, &global.ui, |passphrase| {
            Agent::unlock(&vault, passphrase, Stay { idle_s }, args.decoy, &global.ui)
        })?)
    };
    let already = locks_before_sleep.is_none();
    if already && args.decoy {
        return Err(Failure::new(Kind::InUse, "unlocked", "the vault is unlocked already")
            .hint("`fieldbook lock` first, then `fieldbook unlock --decoy`"));
    }
    let word = json!({"event": "unlocked", "already": already, "locks_before_sleep": locks_before_sleep});
    global.ui.emit(word)?;
    global.ui.say(match (already, args.decoy) {
        (true, _) if args.idle.is_some() => {
            "It was unlocked already, and stays so as it was: `fieldbook lock` first, for `--for` to count."
        }
        (true, _) => "It was unlocked already.",
        (false, true) => {
            "The DECOY is open: what is written now goes there. `fieldbook lock` locks it again; after 15 minutes without a \
             command it locks by itself."
        }
        (false, false) if locks_before_sleep == Some(true) => {
            "Unlocked. `fieldbook lock` locks it again; it also locks before this computer sleeps."
        }
        (false, false) => {
            "Unlocked. `fieldbook lock` locks it again: do so before this computer sleeps, because it does not say when it \
             does."
        }
    })
}
