//! The `fieldbook` program. One page: what was typed goes to its command, what went wrong to the user.

mod agent;
mod args;
mod aside;
mod bundle;
mod commands;
mod confine;
mod demo;
mod doctor;
mod editor;
mod error;
mod exports;
mod global;
mod interrupt;
mod memory;
mod met;
mod network;
mod output;
mod pairing;
mod passphrase;
mod pipe;
mod process;
mod progress;
mod qr;
mod relay;
mod sanitise;
mod sheets;
mod span;
mod suspend;
mod sync;
mod tty;
mod ui;
mod watch;
mod wipe;
mod wrap;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::Cli;
use error::Failure;
use ui::Ui;

fn main() -> ExitCode {
    quiet_panics();
    agent::process::close_to_others();
    wipe::is_no_end();
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
    let failure = usage(error);
    Ui::new(true, true).fail(&failure);
    ExitCode::from(failure.kind.exit())
}

/// What is wrong, without the usage lines that follow it for a person.
fn usage(error: &clap::Error) -> Failure {
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a command or an option is missing".to_owned()
        }
        _ => {
            let text = error.render().to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or(&text);
            let text = text.split("\n\nFor more information").next().unwrap_or(text);
            text.trim().trim_start_matches("error: ").to_owned()
        }
    };
    Failure::usage("usage", message).hint("`fieldbook --help` and `fieldbook COMMAND --help` explain each")
}

/// A panic message may quote what a report says: only the place is told.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        // What is written on the screen goes before anything is said.
        let was_ours = editor::terminal::give_back();
        aside::leave();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "error: internal error at {place}; what was reported as saved is saved"
        );
        // Another thread would go on drawing, on what is not its screen any more.
        if was_ours {
            std::process::exit(i32::from(error::Kind::Failed.exit()));
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Failure {
        usage(&Cli::try_parse_from(line.split(' ')).expect_err("not understood"))
    }

    #[test]
    fn a_program_is_told_what_is_wrong_and_not_a_page_of_usage() {
        assert_eq!(said("fieldbook bogus").message, "unrecognized subcommand 'bogus'");
        let missing = said("fieldbook finish").message;
        assert!(missing.contains("<ID>") && !missing.contains("Usage:"), "{missing}");
        let format = said("fieldbook export a --out D --format pdf").message;
        assert!(format.contains("[possible values: html, md, json, csv]"), "{format}");
        for line in ["fieldbook", "fieldbook daemon", "fieldbook recover"] {
            let failure = said(line);
            assert!(failure.message.contains("missing") && failure.hint.is_some(), "{failure:?}");
        }
    }
}
