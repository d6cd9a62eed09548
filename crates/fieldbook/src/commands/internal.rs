//! Processes that the program starts for itself. What they need comes on standard input, never in
//! the arguments: keys because others could read them, and the rest so that a list of processes
//! tells little.

use clap::Subcommand;

use crate::agent;
use crate::error::Failure;
use crate::network;
use crate::ui::Ui;
use crate::watch;

#[derive(Debug, Subcommand)]
pub enum InternalCommand {
    /// The vault's process
    Agent,
    /// The agent's worker, which merges what others wrote
    Merge,
    /// The depot's process that stays
    DaemonRun,
    /// The depot's process for one sync
    Courier,
    /// The depot's process that writes and reads files on a stick
    Bundle,
    /// The depot's process that answers a relay's operator
    Relay,
    /// The connection of one pairing, which has no key
    Pair,
    /// What destroys the keys on a signal, or when the day has come
    Watch,
}

pub fn run(command: InternalCommand, ui: &Ui) -> Result<(), Failure> {
    match command {
        InternalCommand::Agent => agent::process::run(),
        InternalCommand::Merge => agent::worker::run(),
        InternalCommand::DaemonRun => network::daemon::run(ui),
        InternalCommand::Courier => network::courier::run(),
        InternalCommand::Bundle => network::bundle::run(),
        InternalCommand::Relay => network::relay::run(),
        InternalCommand::Pair => network::pair::run(),
        InternalCommand::Watch => watch::run(),
    }
}
