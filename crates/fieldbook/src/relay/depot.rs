//! Questions to a relay's depot: a process that has the depot's key, and no other, answers them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use fieldbook_vault::DeviceInfo;

use crate::agent::client::Agent;
use crate::agent::protocol::{Network, Request};
use crate::agent::wire;
use crate::error::Failure;
use crate::interrupt;
use crate::network::job::{Job, Task};
use crate::network::relay::{Ask, Said};
use crate::sanitise::line;

/// Asks.
///
/// # Errors
/// This device is no relay, or its depot cannot be used.
pub fn ask(agent: &mut Agent, what: Ask) -> Result<Said, Failure> {
    let network: Network = agent.call(&Request::Network)?;
    let doing = "the process for the depot cannot be started";
    let program = std::env::current_exe().map_err(Failure::io(doing))?;
    let mut child = Command::new(program)
        .args(["internal", "relay"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(Failure::io(doing))?;
    let _guard = interrupt::Child::watch(&child);
    // Its input stays open while it works: it ends when this command does.
    let mut to = child.stdin.take().ok_or_else(|| Failure::failed("internal", doing))?;
    wire::write(&mut to, &Job { network, task: Task::Relay(what) }).map_err(Failure::io(doing))?;
    let from = child.stdout.take().ok_or_else(|| Failure::failed("internal", doing))?;
    let mut said = String::new();
    BufReader::new(from).read_line(&mut said).map_err(Failure::io("the process for the depot is gone"))?;
    drop(to);
    child.wait().map_err(Failure::io("the process for the depot is gone"))?;
    match serde_json::from_str(&said) {
        Ok(Said::Failed(failure)) => Err(failure),
        Ok(said) => Ok(said),
        Err(_) => Err(Failure::failed("process-gone", "the process for the depot ended before it was done")),
    }
}

/// That this vault's device is a relay.
///
/// # Errors
/// It is not.
pub fn must_be_relay(device: &DeviceInfo) -> Result<(), Failure> {
    match device.role.as_deref() {
        Some("relay") => Ok(()),
        Some(role) => Err(Failure::failed("no-relay", format!("this device is in its team as {}, not as a relay", line(role)))
            .hint("a relay is a device of its own: make another vault with `fieldbook --vault DIR relay init CODE`")),
        None => Err(Failure::failed("no-relay", "this device is in no team yet")
            .hint("ask a coordinator for a code (`fieldbook team invite --role relay`), then `fieldbook relay init CODE`")),
    }
}
