//! `fieldbook join`

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use fieldbook_proto::pairing::Code;
use fieldbook_vault::{DeviceInfo, VaultError};
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{Paired, Request};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::pairing::{self, Line};
use crate::sanitise::line;

/// More than the longest code, in bytes.
const CODE_MAX: u64 = 8 * 1024;

/// Join a team with the one-time code of an invitation.
///
/// Both screens then show the same four check words: compare them with the coordinator, by voice.
/// A code of words works once and soon expires, so it may stand on the command line. Without one, the code is asked
/// for; a long code belongs there, or into a file, and not on the command line, where other programs can read it.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The code; - reads it from standard input; without it you are asked
    code: Option<String>,
    /// Read the code from a file
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    file: Option<PathBuf>,
    /// Where the inviting device waits, if not where the code says. May be given several times
    #[arg(long, value_name = "HOST:PORT")]
    at: Vec<String>,
    /// This vault is a copy of another one: make it a device of its own first, although it is in a team
    #[arg(long)]
    new_device: bool,
    /// The check words were compared, or nobody can: go on
    #[arg(long)]
    yes: bool,
}

pub fn run(args: JoinArgs, global: &Global) -> Result<(), Failure> {
    let paired = join(&args, global)?;
    global.ui.emit(json!({
        "event": "joined", "device": paired.device, "name": paired.name, "role": paired.role, "team": paired.team
    }))?;
    global.ui.say(format_args!("Joined the team \"{}\" as {}.", line(&paired.team), line(&paired.role)))
}

/// Joins, and says nothing of it.
pub(super) fn join(args: &JoinArgs, global: &Global) -> Result<Paired, Failure> {
    if !args.yes && !global.ui.may_ask() {
        return Err(Failure::cannot_ask(
            "the check words must be compared by a person",
            "--yes when that is done otherwise",
        ));
    }
    args.at.iter().try_for_each(|address| network::check_address(address, "--at"))?;
    let mut agent = Agent::open(global)?;
    // Before anybody is called.
    let device: DeviceInfo = agent.call(&Request::Device)?;
    let is_copy = device.copy.as_deref().is_some_and(|copy| copy != "new-device");
    if device.team.is_some() && !is_copy && !args.new_device {
        return Err(VaultError::AlreadyInTeam.into());
    }
    if is_copy || args.new_device {
        global.ui.note(
            "This vault becomes a new device when the coordinator's screen shows the same words. What it had finished \
             stays the old device's and is delivered; drafts stay drafts, under new ids.",
        );
    }
    let text = read_code(args, global)?;
    let code: Code = text.parse().map_err(|error| Failure::usage("bad-code", format!("{error}")))?;
    let addresses = if args.at.is_empty() { code.addresses() } else { args.at.as_slice() };
    if addresses.is_empty() {
        return Err(Failure::usage("no-address", "the code does not say where the inviting device waits")
            .hint("give the whole code, with the part after @, or --at HOST:PORT"));
    }
    first_that_answers(&mut agent, addresses, (&text, &code), (args.new_device, args.yes), global)
}

fn read_code(args: &JoinArgs, global: &Global) -> Result<Zeroizing<String>, Failure> {
    let from: Box<dyn Read> = match (&args.code, &args.file) {
        (Some(code), _) if code != "-" => return Ok(Zeroizing::new(code.clone())),
        (_, Some(path)) => {
            let name = format!("\"{}\"", line(&path.to_string_lossy()));
            let unreadable =
                Failure::file(Kind::Usage, "code-unreadable", format!("the file {name} cannot be read"));
            Box::new(File::open(path).map_err(unreadable)?)
        }
        (None, None) => {
            if !global.ui.may_ask() {
                return Err(Failure::cannot_ask(
                    "the code of the invitation is missing",
                    "--file FILE, or - for standard input",
                ));
            }
            return Ok(Zeroizing::new(global.ui.ask_line("Code: ")?));
        }
        // A person who types it ends it with the line; the first line counts for a program too.
        (Some(_), None) => return Ok(Zeroizing::new(global.ui.ask_line("Code: ")?)),
    };
    let mut text = Zeroizing::new(String::new());
    let read = from.take(CODE_MAX + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => not_a_code("it is not text"),
        _ => Failure::io("the code cannot be read")(error),
    })?;
    if read as u64 > CODE_MAX { Err(not_a_code("the file is too long")) } else { Ok(text) }
}

fn not_a_code(why: &str) -> Failure {
    Failure::usage("bad-code", format!("the file holds no code: {why}"))
}

/// Tries the addresses in their order, until somebody there answers as an inviting device does.
fn first_that_answers(
    agent: &mut Agent,
    addresses: &[String],
    (text, code): (&str, &Code),
    how: (bool, bool),
    global: &Global,
) -> Result<Paired, Failure> {
    let mut last = None;
    for address in addresses {
        let mut process = match Line::dial(address, code) {
            Ok(process) => process,
            Err(failure) if failure.kind == Kind::Unreachable => {
                last = Some(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if let Some(paired) = pairing::join(agent, &mut process, text, how, global)? {
            return Ok(paired);
        }
        let why = format!(
            "what answers at {} is not an inviting device, or it is not waiting any more",
            line(address)
        );
        last =
            Some(Failure::new(Kind::Unreachable, "no-inviter", why).hint(
                "ask whether `team invite` still waits, and at which address; this try gave nothing away",
            ));
    }
    Err(last.unwrap_or_else(|| Failure::failed("internal", "no address was tried")))
}
