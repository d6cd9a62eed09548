//! `fieldbook safeguards`

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::json;
use crate::agent::client::Agent;
use crate::agent::protocol::{Request, Safeguards};
use crate::error::Failure;
use crate::global::Global;
use crate::ui::time;

/// What protects this vault while it is locked: how it is wiped, and when its keys are destroyed.
///
/// What is chosen here stands in the vault's directory unencrypted, because it applies without the passphrase: who
/// seizes the device can see it, and who copies the disk first loses nothing by it.
#[derive(Debug, Args)]
pub struct SafeguardsArgs {
    /// Whether `fieldbook wipe` asks for the passphrase, or wipes at once; then the signal USR1 wipes too
    #[arg(long, value_name = "HOW")]
    wipe: Option<Wipe>,
    /// Destroy the keys when nobody has unlocked for so many days, at least 3; `never` ends that. A clock that is
    /// wrong by as many days destroys them too
    #[arg(long, value_name = "DAYS", value_parser = days)]
    dead_man: Option<u16>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wipe {
    /// `wipe` asks for the passphrase
    Asks,
    /// `wipe` asks nothing
    AtOnce,
}

fn days(text: &str) -> Result<u16, String> {
    match text.strip_suffix('d').unwrap_or(text) {
        "never" => Ok(0),
        number => match number.parse() {
            Ok(0) | Err(_) => Err("a number of days, or `never`".to_owned()),
            Ok(days) => Ok(days),
        },
    }
}

pub fn run(args: SafeguardsArgs, global: &Global) -> Result<(), Failure> {
    let request = Request::Safeguards {
        wipe_unasked: args.wipe.map(|wipe| matches!(wipe, Wipe::AtOnce)),
        dead_man_days: args.dead_man,
    };
    let safeguards: Safeguards = Agent::open(global)?.call(&request)?;
    let object: Value = json(&safeguards)?;
    global.ui.emit(object)?;
    global.ui.say(if safeguards.wipe_unasked {
        "`fieldbook wipe` destroys this vault at once and asks nothing; the signal USR1 does the same."
    } else {
        "`fieldbook wipe` asks for the passphrase while the vault is locked."
    })?;
    global.ui.say(match safeguards.dead_man_ms {
        Some(day) => format!(
            "The keys are destroyed when nobody unlocks for {} days: on {}, by this device's clock.",
            safeguards.dead_man_days,
            time(day)
        ),
        None => "The keys are not destroyed by themselves.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_a_number_or_never() {
        assert_eq!((days("30"), days("30d"), days("never")), (Ok(30), Ok(30), Ok(0)));
        for bad in ["0", "", "-1", "70000", "soon"] {
            assert!(days(bad).is_err(), "{bad}");
        }
    }
}
