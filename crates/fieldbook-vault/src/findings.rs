//! What `status` and `verify` tell of what is wrong, missing or waits: plain values that can travel to a client.

use serde::{Deserialize, Serialize};

/// An entry that was not accepted, a fault in a chain, something that is missing, or something that this
/// device could not do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// `altered`, `forged`, `refused`, `misdirected`, `forked`, `replaced`, `duplicated`, `older-copy`,
    /// `missing` or `set-aside`.
    pub class: String,
    /// The entry, if it is about one.
    pub entry: Option<String>,
    /// The device that made it.
    pub device: Option<String>,
    /// The same, as this device calls it.
    pub who: Option<String>,
    /// Whether a signature proves that it was this device; else the entry only names it.
    pub proven: bool,
    /// Its place in that device's chain.
    pub sequence: Option<u64>,
    /// What is wrong.
    pub reason: String,
    /// What follows from it, and what to do.
    pub consequence: String,
    /// Over whose connection the entry came here, as this device calls it. Whoever only carries is not at
    /// fault.
    pub brought_by: Option<String>,
    /// When it was noticed; 0 if that is not known.
    pub time_ms: i64,
}

impl Problem {
    /// Whether somebody did what no honest device does, or two copies of one device are at work; else
    /// something is missing or was left.
    pub fn tampered(&self) -> bool {
        !matches!(self.class.as_str(), "missing" | "set-aside")
    }
}

/// Entries that wait for the same thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitingView {
    /// For what.
    pub reason: String,
    /// The device that their headers name; nothing proves it yet.
    pub device: Option<String>,
    /// The same, as this device calls it.
    pub who: Option<String>,
    /// How many.
    pub entries: usize,
    /// The lowest and the highest of their numbers in that device's chain.
    pub numbers: Option<(u64, u64)>,
    /// Since when the first of them waits; 0 if that is not known.
    pub since_ms: i64,
    /// Whether it is as it should be that they wait, and may be for ever.
    pub expected: bool,
}

/// What is known of one device's chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChainView {
    /// The device.
    pub device: String,
    /// What this device calls it.
    pub who: String,
    /// Places at which an entry is known.
    pub entries: usize,
    /// The lowest number that is known.
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// Runs of numbers at which nothing is known, from and to. What is missing is only that part of them
    /// which is not for others and was not dropped on purpose.
    pub gaps: Vec<(u64, u64)>,
}

/// A line of what `verify` found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// What is known of one device's chain.
    Chain(ChainView),
    /// Something wrong, or missing.
    Problem(Problem),
    /// Entries that wait.
    Waiting(WaitingView),
}

/// What `verify` looked at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verified {
    /// Sealed entries whose bytes were read and compared with their ids.
    pub entries: usize,
    /// Those of them that this device could open and whose signatures it checked.
    pub opened: usize,
    /// Those that were checked when they came and open with a key that this device does not keep at hand:
    /// parts of attachments.
    pub known: usize,
    /// Those for others.
    pub for_others: usize,
    /// Problems that show tampering, or two copies of one device.
    pub tampered: usize,
    /// What is missing, or could not be done.
    pub missing: usize,
    /// Entries that wait for something that should come.
    pub waiting: usize,
}
