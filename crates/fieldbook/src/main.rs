//! The `fieldbook` program. One page: what was typed goes to its command, what went wrong to the user.

mod agent;
mod args;
mod commands;
mod demo;
mod error;
mod global;
mod interrupt;
mod network;
mod output;
mod pairing;
mod passphrase;
mod sanitise;
mod span;
mod sync;
mod ui;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use error::Failure;
use ui::Ui;

fn main() -> ExitCode {
    quiet_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let ui = cli.global.ui();
    match commands::run(cli.command, cli.global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.fail(&failure);
            ExitCode::from(failure.kind.exit())
        }
    }
}

/// Help and version go to stdout; a command line that is not understood is a failure like any other.
fn not_understood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if !error.use_stderr() || !json {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { error::Kind::Usage.exit() } else { 0 });
    }
    let failure = Failure::usage("usage", error.render().to_string().trim().to_owned());
    Ui::new(true, true).fail(&failure);
    ExitCode::from(failure.kind.exit())
}

/// A panic message may quote what a report says: only the place is told.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "error: internal error at {place}; what was reported as saved is saved"
        );
    }));
}
