//! `fieldbook unlock`

use std::str::FromStr;

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

/// A vault is locked again after so long without a command, unless `--for` says otherwise.
pub const IDLE: Span = Span::of_minutes(30);
/// And a decoy: one that stays open by mistake takes what was meant for the vault.
const DECOY_IDLE: Span = Span::of_minutes(15);

/// When a vault that is open locks by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// After so long without a command.
    After(Span),
    /// Not for want of use.
    Never,
}

impl FromStr for Idle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            _ => text.parse().map(Self::After).map_err(|why: String| format!("{why}, or never")),
        }
    }
}

/// Keep the vault open for commands, until `lock` or until it has not been used for a while.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Lock again after so long without a command, such as 10m or 8h; `never` leaves it to `lock` [default: 30m]
    #[arg(long = "for", value_name = "TIME|never")]
    idle: Option<Idle>,
    /// Open the decoy instead, with this vault's own passphrase, to write into it: see `fieldbook duress`
    #[arg(long)]
    decoy: bool,
}

pub fn run(args: UnlockArgs, global: &Global) -> Result<(), Failure> {
    let vault = existing(global)?;
    let place = Place::of(&vault)?;
    let idle = args.idle.unwrap_or(Idle::After(if args.decoy { DECOY_IDLE } else { IDLE }));
    let idle_s = match idle {
        Idle::After(span) => Some(span.seconds()),
        Idle::Never => None,
    };
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
        Some(global.passphrase.open(&vault, &global.ui, |passphrase| {
            Agent::unlock(&vault, passphrase, Stay { idle_s }, args.decoy, &global.ui)
        })?)
    };
    let already = locks_before_sleep.is_none();
    if already && args.decoy {
        return Err(Failure::new(Kind::InUse, "unlocked", "the vault is unlocked already")
            .hint("`fieldbook lock` first, then `fieldbook unlock --decoy`"));
    }
    global.ui.emit(json!({
        "event": "unlocked", "already": already, "locks_before_sleep": locks_before_sleep,
        "idle_s": if already { None } else { idle_s },
    }))?;
    if already {
        return global.ui.say(match args.idle {
            Some(_) => {
                "It was unlocked already, and stays so as it was: `fieldbook lock` first, for `--for` to count."
            }
            None => "It was unlocked already.",
        });
    }
    let what = if args.decoy { "The DECOY is open: what is written now goes there." } else { "Unlocked." };
    let by_itself = match idle {
        Idle::After(span) => format!("after {span} without a command it locks by itself"),
        Idle::Never => "nothing but that does, however long nobody uses it".to_owned(),
    };
    let asleep = if locks_before_sleep == Some(true) {
        "It also locks before this computer sleeps."
    } else {
        "Lock it yourself before this computer sleeps: here the program is not told when it does."
    };
    global.ui.say(format_args!("{what} `fieldbook lock` locks it again; {by_itself}. {asleep}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_locks_by_itself_unless_the_word_for_it_is_given() {
        assert_eq!("never".parse(), Ok(Idle::Never));
        assert_eq!("30m".parse(), Ok(Idle::After(IDLE)));
        for bad in ["", "0m", "Never", "none", "30"] {
            assert!(bad.parse::<Idle>().unwrap_err().contains("never"), "{bad}");
        }
    }
}
