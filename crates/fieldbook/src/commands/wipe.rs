//! `fieldbook wipe`

use clap::Args;
use fieldbook_vault::{Layout, Rules, keys_are_destroyed};
use serde_json::json;

use crate::agent::client::{Agent, left_of};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::passphrase::Source;
use crate::wipe;

/// Destroy the vault: first its keys, at once and for good, then its files.
///
/// While the vault is locked this asks for its passphrase, unless `fieldbook safeguards --wipe at-once` was given before:
/// then it asks nothing, and the signal USR1 to the agent or the daemon does the same. Nobody can bring back what was
/// not sent to others. If it was cut off, give it again: it asks for no passphrase then, which would open nothing.
#[derive(Debug, Args)]
pub struct WipeArgs {
    /// Do not ask whether this is meant
    #[arg(long)]
    yes: bool,
}

pub fn run(args: WipeArgs, global: &Global) -> Result<(), Failure> {
    let vault = left_of(global)?;
    let layout = Layout::new(&vault);
    if Rules::of(&layout).wipe_unasked {
        // Nothing is asked.
    } else if keys_are_destroyed(&layout) {
        let question = "The keys of this vault are destroyed already. This removes its files. Go on?";
        if !args.yes && !global.ui.confirm(question, "--yes")? {
            return Err(Failure::new(Kind::Interrupted, "not-wiped", "its files are still there"));
        }
    } else {
        // Whoever sits before an open vault can do anything with it.
        let mut open = Agent::running(&Place::of(&vault)?)?;
        // Only to whoever knows the vault's own passphrase, as somebody proved who opened the decoy from beside.
        let decoy = open.as_mut().map(|agent| agent.call::<bool>(&Request::IsDecoy)).transpose()?;
        let what = if decoy == Some(true) {
            "The decoy is open. This destroys the vault AND the decoy for good: what no other device has is lost."
        } else {
            "This destroys the vault for good: what no other device has is lost."
        };
        // Whoever has to type the passphrase has no word to say before it, which would show.
        let is_asked_for =
            open.is_none() && *global.passphrase.typed() == Source::Terminal && global.ui.may_ask();
        if is_asked_for && !args.yes {
            // By the prompt itself, too: what is beside it may not be seen.
            global.ui.note(format_args!("{what} Its passphrase destroys it; Ctrl-C leaves it as it is."));
        } else if !args.yes && !global.ui.confirm(&format!("{what} Go on?"), "--yes")? {
            return Err(Failure::new(Kind::Interrupted, "not-wiped", "nothing was destroyed")
                .hint("if it is meant: `fieldbook wipe`, and y"));
        }
        if open.is_none() {
            let asked = global
                .passphrase
                .open_to("to DESTROY", &vault, &global.ui, |passphrase| Agent::wipe(&vault, passphrase));
            asked.map_err(|failure| match failure.kind {
                Kind::WrongPassphrase => failure.hint(
                    "check the keyboard layout and the vault's directory. If the power failed during an earlier `fieldbook \
                     wipe`, no passphrase may open it any more: then remove its directory by hand",
                ),
                _ => failure,
            })?;
        }
    }
    let wiped = wipe::everything(&vault)?;
    global.ui.emit(json!({
        "event": "wiped",
        "keys_ms": u64::try_from(wiped.keys.as_millis()).unwrap_or(u64::MAX),
        "left": wiped.left,
    }))?;
    global.ui.say("Wiped.")?;
    if !wiped.left.is_empty() {
        global.ui.note(format_args!(
            "The directory holds files that are not the vault's; they were left: {}",
            crate::sanitise::line(&wiped.left.join(", "))
        ));
    }
    Ok(())
}
