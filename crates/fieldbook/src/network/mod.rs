//! What runs beside the network: processes that hold a depot key or nothing, and never a content key.

pub mod job;
pub mod pair;

use std::path::Path;

/// Where this device's daemon can be reached, if one runs.
pub fn daemon_addresses(_vault: &Path) -> Vec<String> {
    Vec::new()
}

/// Tells a running daemon that there is something new to carry.
pub fn nudge(_vault: &Path) {}
