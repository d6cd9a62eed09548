//! `fieldbook lock`

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use fieldbook_vault::Layout;
use rustix::process::Signal;
use serde_json::json;

use crate::agent::client::{Agent, left_of};
use crate::agent::place::Place;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::wipe::{Release, await_release, kill};

/// How long an agent has to close the vault by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// And then to end; and once more, when it was killed.
const ENDING: Duration = Duration::from_secs(2);

/// Close the vault: what `unlock` keeps open, and what a command in another window has open.
///
/// The keys leave memory with the process that held them. A command that was at work is broken off; what it had saved
/// is saved.
#[derive(Debug, Args)]
pub struct LockArgs {}

pub fn run(_: LockArgs, global: &Global) -> Result<(), Failure> {
    let (was_open, ended) = now(&left_of(global)?)?;
    global.ui.emit(json!({"event": "locked", "already": !was_open && !ended, "ended": ended}))?;
    global.ui.say(match (was_open, ended) {
        (_, true) => "Locked. A command that had the vault open was broken off; what it had saved is saved.",
        (true, false) => "Locked.",
        (false, false) => "It was locked already.",
    })
}

/// Locks the vault. Whether an agent had it open for all, and whether a command had it that was broken off.
///
/// # Errors
/// It could not be closed, or what was forgotten is not gone for good yet.
pub fn now(vault: &Path) -> Result<(bool, bool), Failure> {
    let place = Place::of(vault)?;
    let (told, answers) = mpsc::channel();
    let asked = place.clone();
    thread::spawn(move || {
        let locked = Agent::running(&asked).and_then(|running| match running {
            Some(mut agent) => {
                let process = agent.process();
                agent.call::<()>(&Request::Lock).map(|()| (true, process))
            }
            None => Ok((false, None)),
        });
        let _ = told.send(locked);
    });
    // One that does not answer is ended.
    let locked = answers.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill(&place.agent());
        Ok((true, None))
    });
    // It answers when the vault is closed. The keys have left memory when its process has.
    if let Ok((_, Some(process))) = &locked
        && !process.is_gone_after(Some(ENDING))
    {
        process.send(Signal::KILL);
        if !process.is_gone_after(Some(ENDING)) {
            return Err(still_open());
        }
    }
    let others = await_release(&Layout::new(vault).lock());
    let (was_open, _) = locked?;
    if others == Release::Held {
        return Err(still_open());
    }
    Ok((was_open, others == Release::Ended))
}

fn still_open() -> Failure {
    Failure::new(Kind::InUse, "still-open", "another program has the vault open and could not be ended").hint(
        "close the other windows of fieldbook, then `fieldbook lock` again; turn the device off if you must",
    )
}
