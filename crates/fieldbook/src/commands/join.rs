//! `fieldbook join`

use clap::Args;
use fieldbook_proto::pairing::Code;
use serde_json::json;

use crate::agent::client::Agent;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::pairing::{self, Line};
use crate::sanitise::line;

/// Join a team with the one-time code of an invitation.
///
/// Both screens then show the same four check words: compare them with the coordinator, by voice.
/// A code works once and soon expires, so it may stand on the command line; with - it is read from
/// standard input instead.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The code; - reads it from standard input
    code: String,
    /// Where the inviting device waits, if not where the code says
    #[arg(long, value_name = "HOST:PORT")]
    at: Vec<String>,
    /// The check words were compared, or nobody can: go on
    #[arg(long)]
    yes: bool,
}

pub fn run(args: JoinArgs, global: &Global) -> Result<(), Failure> {
    if !args.yes && !global.ui.may_ask() {
        return Err(Failure::cannot_ask(
            "the check words must be compared by a person",
            "--yes when that is done otherwise",
        ));
    }
    args.at.iter().try_for_each(|address| network::check_address(address, "--at"))?;
    let mut agent = Agent::open(global)?;
    let text = if args.code == "-" { global.ui.ask_line("Code: ")? } else { args.code };
    let code: Code = text.parse().map_err(|error| Failure::usage("bad-code", format!("{error}")))?;
    let addresses = if args.at.is_empty() { code.addresses().to_vec() } else { args.at };
    if addresses.is_empty() {
        return Err(Failure::usage("no-address", "the code does not say where the inviting device waits")
            .hint("give the whole code, with the part after @, or --at HOST:PORT"));
    }
    let mut process = Line::dial(&addresses)?;
    let paired = pairing::join(&mut agent, &mut process, text, args.yes, global)?;
    global.ui.emit(json!({
        "event": "joined", "device": paired.device, "name": paired.name, "role": paired.role, "team": paired.team
    }))?;
    global.ui.say(format_args!("Joined the team \"{}\" as {}.", line(&paired.team), line(&paired.role)))
}
