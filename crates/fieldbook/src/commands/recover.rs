//! `fieldbook recover`

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::agent::wire::Hex;
use crate::error::Failure;
use crate::exports;
use crate::global::Global;
use crate::output::NewFile;
use crate::sanitise::line;

const EXPLAIN: &str = include_str!("recover.txt");

/// Open everything without Fieldbook.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct RecoverArgs {
    /// Print how to open entries with stock tools, step by step
    #[arg(long)]
    explain: bool,
    #[command(subcommand)]
    command: Option<RecoverCommand>,
}

#[derive(Debug, Subcommand)]
enum RecoverCommand {
    /// Save the desk's reading identity for stock `age` (coordinators only)
    Identity(IdentityArgs),
}

#[derive(Debug, Args)]
struct IdentityArgs {
    /// The file to write; it must not exist [default: standard output, if that is not a terminal]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: RecoverArgs, global: &Global) -> Result<(), Failure> {
    match args.command {
        Some(RecoverCommand::Identity(args)) => identity(args, global),
        None => {
            global.ui.emit(json!({"text": EXPLAIN}))?;
            global.ui.say(EXPLAIN.trim_end())
        }
    }
}

fn identity(args: IdentityArgs, global: &Global) -> Result<(), Failure> {
    if args.out.is_none() && std::io::stdout().is_terminal() {
        return Err(
            Failure::usage("secret-on-screen", "a secret is not shown on a screen").hint("give --out FILE")
        );
    }
    let mut agent = Agent::open(global)?;
    let identity: Hex = agent.call(&Request::DeskIdentity)?;
    let place = match args.out {
        Some(out) => {
            let mut file = NewFile::begin(&out)?;
            let noted = exports::begin(&mut agent, &out, "identity")?;
            file.write_all(&identity.0)
                .and_then(|()| file.write_all(b"\n"))
                .map_err(Failure::io("the file cannot be written"))?;
            noted.done(&mut agent, vec![file.keep()?])?;
            global.ui.emit(json!({"event": "identity-exported", "out": out.to_string_lossy()}))?;
            global.ui.say(format_args!(
                "Saved the desk's reading identity as {} (only you can read the file).",
                line(&out.to_string_lossy())
            ))?;
            line(&out.to_string_lossy())
        }
        None => {
            let text = String::from_utf8_lossy(&identity.0);
            global.ui.emit(json!({"identity": text}))?;
            global.ui.say(text)?;
            "it".to_owned()
        }
    };
    global.ui.warn(
        "identity-exported",
        format_args!("whoever has {place} can read every report of your desk. Destroy it when you are done"),
    );
    Ok(())
}
