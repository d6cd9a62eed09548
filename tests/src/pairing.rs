//! How a device comes into a team.

use serde_json::Value;

use crate::{Machine, free_port};

/// `team invite` on one machine and `join` on the other, over loopback.
pub fn pair(coordinator: &Machine, newcomer: &Machine, role: &str) -> Value {
    pair_with(coordinator, newcomer, &["--role", role])
}

/// The same, as the first coordinator of a desk of its own.
pub fn pair_new_desk(coordinator: &Machine, newcomer: &Machine) -> Value {
    pair_with(coordinator, newcomer, &["--role", "coordinator", "--new-desk"])
}

fn pair_with(coordinator: &Machine, newcomer: &Machine, how: &[&str]) -> Value {
    let address = format!("127.0.0.1:{}", free_port());
    let mut invitation =
        coordinator.start(&[&["team", "invite", "--listen", &address, "--yes"], how].concat());
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let joined = newcomer.json(&["join", &code, "--at", &address, "--yes"]);
    let end = invitation.ends();
    assert!(end.success(), "the invitation failed: {}", invitation.err());
    joined.last().cloned().unwrap_or_default()
}

/// A coordinator with a team, and a monitor in it.
pub fn team_of_two() -> (Machine, Machine) {
    let (coordination, monitor) = (Machine::with_vault("Coordination"), Machine::with_vault("Monitor"));
    coordination.ok(&["team", "create", "Minsk 2017"]);
    pair(&coordination, &monitor, "monitor");
    (coordination, monitor)
}
