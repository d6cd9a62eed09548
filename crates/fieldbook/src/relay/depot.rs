//! Questions to a relay's depot: a process that has the depot's key, and no other, answers them.

use fieldbook_vault::DeviceInfo;

use crate::agent::client::Agent;
use crate::agent::protocol::{Network, Request};
use crate::error::Failure;
use crate::network::job::{Job, Task};
use crate::network::relay::{Ask, Said};
use crate::network::working::Working;
use crate::sanitise::line;

/// Asks.
///
/// # Errors
/// This device is no relay, or its depot cannot be used.
pub fn ask(agent: &mut Agent, what: Ask) -> Result<Said, Failure> {
    let network: Network = agent.call(&Request::Network)?;
    let words = ("the process for the depot cannot be started", "the process for the depot is gone");
    let mut working = Working::start("relay", &Job { network, task: Task::Relay(what) }, words)?;
    let said = working.line()?.unwrap_or_default();
    working.end()?;
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
