//! `fieldbook lock`

use clap::Args;
use fieldbook_vault::Layout;
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::wipe::{Release, await_release};

/// Close the vault: what `unlock` keeps open, and what a command in another window has open.
///
/// The keys leave memory with the process that held them. A command that was at work is broken off; what it had saved
/// is saved.
#[derive(Debug, Args)]
pub struct LockArgs {}

pub fn run(_: LockArgs, global: &Global) -> Result<(), Failure> {
    let vault = existing(global)?;
    let running = Agent::running(&Place::of(&vault)?)?;
    let was_open = running.is_some();
    if let Some(mut agent) = running {
        agent.call::<()>(&Request::Lock)?;
    }
    let others = await_release(&Layout::new(&vault).lock());
    if others == Release::Held {
        return Err(Failure::new(Kind::InUse, "still-open", "another program has the vault open and could not be ended")
            .hint("close the other windows of fieldbook, then `fieldbook lock` again; turn the device off if you must"));
    }
    let ended = others == Release::Ended;
    global.ui.emit(json!({"event": "locked", "already": !was_open && !ended, "ended": ended}))?;
    global.ui.say(match (was_open, ended) {
        (_, true) => "Locked. A command that had the vault open was broken off; what it had saved is saved.",
        (true, false) => "Locked.",
        (false, false) => "It was locked already.",
    })
}
