//! `fieldbook lock`

use clap::Args;
use serde_json::json;

use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;

/// Close a vault that `unlock` keeps open. The keys leave memory with the process that held them.
#[derive(Debug, Args)]
pub struct LockArgs {}

pub fn run(_: LockArgs, global: &Global) -> Result<(), Failure> {
    let vault = existing(global)?;
    let running = Agent::running(&Place::of(&vault)?)?;
    let was_open = running.is_some();
    if let Some(mut agent) = running {
        agent.call::<()>(&Request::Lock)?;
    }
    global.ui.emit(json!({"event": "locked", "already": !was_open}))?;
    global.ui.say(if was_open { "Locked." } else { "It was locked already." })
}
