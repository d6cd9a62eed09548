//! What a network process is given on its standard input, and what it says on its standard output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agent::protocol::Network;

/// The one frame on the standard input (see `agent/wire.rs`). The arguments say nothing of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The depot and its key.
    pub network: Network,
    /// What to do.
    pub task: Task,
}

/// What a network process does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Listen until stopped.
    Listen {
        /// Where, host:port; port 0 is any free one.
        address: String,
        /// The control socket.
        control: PathBuf,
    },
    /// Sync once with the first address that answers.
    Sync {
        /// In the order in which they are tried.
        addresses: Vec<String>,
    },
}

/// What a courier says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Said {
    /// A device of the team answered.
    Connected {
        /// Where.
        address: String,
        /// Its id.
        device: String,
    },
    /// One address did not answer, or is not of the team.
    Failed {
        /// Where.
        address: String,
        /// Why, in words.
        why: String,
        /// Whether somebody answered.
        answered: bool,
    },
    /// The sync is complete: both sides hold the same.
    Synced(Traffic),
}

/// What went over the line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Entries sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Entries received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
}
