//! `fieldbook team`

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fieldbook_proto::pairing::{ADDRESSES_MAX, Code};
use fieldbook_vault::{Member, TeamInfo};
use serde_json::{Value, json};

use super::membership;
use super::recovery::{self, Split};
use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{INVITATION_MAX_S, Invitation, Request};
use crate::error::Failure;
use crate::exports;
use crate::global::Global;
use crate::network::{self, reachable};
use crate::output::NewFile;
use crate::pairing::{self, Line};
use crate::qr;
use crate::sanitise::line;
use crate::span::Span;
use crate::ui::time;

#[derive(Debug, Subcommand)]
pub enum TeamCommand {
    /// Found a team; this device becomes its first coordinator
    Create(CreateArgs),
    /// Invite a device: prints a one-time code and waits for the device
    Invite(InviteArgs),
    /// List the members that this device knows
    People,
    /// Remove a device from the team
    Remove(membership::RemoveArgs),
    /// Make a monitor a coordinator, or a coordinator a monitor
    Role(membership::RoleArgs),
    /// List the desks: the coordinators who read together
    Desks,
    /// Give this device's desk a name
    NameDesk(membership::NameDeskArgs),
    /// Who admitted, removed, shared, sealed or forgot, and when
    Log,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The team's name
    name: String,
    /// Make recovery sheets, for example 2of3: two of three are needed
    #[arg(long, value_name = "KofN")]
    recovery: Option<Split>,
    /// Write the sheets as text files into this directory [default: show them here]
    #[arg(long, value_name = "DIR", requires = "recovery")]
    out: Option<PathBuf>,
}

/// Invite a device: prints a one-time code and waits for the device.
///
/// Say the code to the person over a channel you trust, such as a call; or, with --qr or --code-file, hand over a long
/// code that nobody can guess. It admits one device, once; three wrong guesses end it. The command waits until then.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// What the device may do
    #[arg(long, value_enum)]
    role: RoleArg,
    /// The coordinator gets a desk of its own, with monitors of its own: neither desk reads the other's reports
    #[arg(long)]
    new_desk: bool,
    /// Where to wait for the device; port 0 is any free one. May be given several times
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:0")]
    listen: Vec<String>,
    /// How long the code is good for, such as 30m, 48h or 7d; at most 14d
    #[arg(long, value_name = "TIME", default_value = "48h")]
    expires: Span,
    /// Show a long code, as a QR code and as text, in place of words
    #[arg(long)]
    qr: bool,
    /// Write a long code to a new file that only you can read, for a memory stick
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// The device takes the place of this member (its name, or the beginning of its id), which is removed as lost
    #[arg(long, value_name = "DEVICE")]
    replaces: Option<String>,
    /// Do not ask whether both screens show the same check words
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Writes reports
    Monitor,
    /// Receives and reads reports, publishes, admits devices
    Coordinator,
    /// Carries sealed reports it cannot read
    Relay,
}

pub fn run(command: TeamCommand, global: &Global) -> Result<(), Failure> {
    match command {
        TeamCommand::Create(args) => create(args, global),
        TeamCommand::Invite(args) => invite(args, global),
        TeamCommand::People => people(global),
        TeamCommand::Remove(args) => membership::remove(args, global),
        TeamCommand::Role(args) => membership::role(args, global),
        TeamCommand::Desks => membership::desks(global),
        TeamCommand::NameDesk(args) => membership::name_desk(args, global),
        TeamCommand::Log => membership::log(global),
    }
}

fn create(args: CreateArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let team: TeamInfo = agent.call(&Request::CreateTeam { name: args.name })?;
    global.ui.emit(json(&team)?)?;
    global
        .ui
        .say(format_args!("Founded the team \"{}\"; this device is its coordinator.", line(&team.name)))?;
    match args.recovery {
        Some(split) => recovery::create(split, args.out.as_deref(), false, &mut agent, global)?,
        None => global.ui.note(
            "If this device is lost, so is what only it can read. `fieldbook recovery create` makes sheets of \
             paper that bring it back.",
        ),
    }
    global.ui.note("Next: `fieldbook team invite --role monitor`.");
    Ok(())
}

fn invite(args: InviteArgs, global: &Global) -> Result<(), Failure> {
    let expires_s = args.expires.seconds();
    if expires_s > INVITATION_MAX_S {
        return Err(
            Failure::usage("expires-late", "a code is good for 14 days at most").hint("--expires 14d")
        );
    }
    if args.new_desk && !matches!(args.role, RoleArg::Coordinator) {
        return Err(Failure::usage("new-desk", "a new desk begins with its coordinator")
            .hint("--role coordinator --new-desk; that coordinator then invites the desk's monitors"));
    }
    let file = args.code_file.as_deref().map(NewFile::begin).transpose()?;
    let mut agent = Agent::open(global)?;
    let long = args.qr || args.code_file.is_some();
    let (mut process, reachable) = Line::listen(&args.listen, expires_s, long)?;
    let mut addresses = reachable::for_another_device(reachable);
    addresses.truncate(ADDRESSES_MAX);
    let role = match args.role {
        RoleArg::Monitor => "monitor",
        RoleArg::Coordinator if args.new_desk => {
            global.ui.warn(
                "admits-and-removes",
                "the new coordinator reads nothing of your desk, and you nothing of theirs; but they can admit \
                 devices to the team, and remove devices from it, yours among them",
            );
            "coordinator"
        }
        RoleArg::Coordinator => {
            global.ui.warn(
                "reads-everything-new",
                "the new coordinator will be able to read everything that is written to the desk from now on",
            );
            "coordinator"
        }
        RoleArg::Relay => "relay",
    };
    let new_desk = args.new_desk;
    let request = Request::Invite {
        role: role.to_owned(),
        addresses: addresses.clone(),
        expires_s,
        long,
        new_desk,
        replaces: args.replaces.clone(),
    };
    // No code is made that could not be handed over.
    let noted = args.code_file.as_deref().map(|path| exports::begin(&mut agent, path, "code")).transpose()?;
    let invitation = match agent.call::<Invitation>(&request) {
        Ok(invitation) => invitation,
        Err(failure) => {
            noted.into_iter().for_each(|noted| noted.nothing(&mut agent));
            return Err(failure);
        }
    };
    // Before anybody sees the code.
    let code = invitation.code.parse::<Code>();
    process.veil(&code.map_err(|error| Failure::failed("internal", format!("{error}")))?)?;
    let mut event = json!({
        "role": role, "new_desk": new_desk, "listen": addresses, "expires_ms": invitation.expires_ms
    });
    match (file, &args.code_file, noted) {
        (Some(mut file), Some(path), Some(noted)) => {
            writeln!(file, "{}", invitation.code).map_err(Failure::io("the code cannot be written"))?;
            noted.done(&mut agent, vec![file.keep()?])?;
            event["code_file"] = Value::from(path.to_string_lossy());
        }
        _ => event["code"] = Value::from(invitation.code.as_str()),
    }
    global.ui.emit(event)?;
    global
        .ui
        .say(format_args!("One-time code for a {role}, good until {}:\n", time(invitation.expires_ms)))?;
    show_code(&invitation.code, &args, global)?;
    let sync_at = network::daemon_addresses(&global.vault);
    let paired = pairing::wait_for_device(&mut agent, &mut process, args.yes, &sync_at, global)?;
    network::nudge(&global.vault);
    global.ui.emit(json!({
        "event": "admitted", "device": paired.device, "name": paired.name, "role": paired.role,
        "replaced": paired.replaced
    }))?;
    global.ui.say(format_args!(
        "Admitted \"{}\" as {} ({}).",
        line(&paired.name),
        paired.role,
        render::short(&paired.device)
    ))?;
    match &paired.replaced {
        Some(removed) => membership::replaced(removed, global),
        None => Ok(()),
    }
}

/// The code for a person: words or letters, a QR code, or the name of the file that it is in.
fn show_code(code: &str, args: &InviteArgs, global: &Global) -> Result<(), Failure> {
    if args.qr {
        match qr::terminal(code) {
            Some(drawn) => global.ui.say(drawn)?,
            None => global.ui.warn("no-qr", "the code is too long for a QR code"),
        }
    }
    let join = if matches!(args.role, RoleArg::Relay) { "fieldbook relay init" } else { "fieldbook join" };
    let how = match &args.code_file {
        Some(file) => {
            let file = line(&file.to_string_lossy());
            global.ui.say(format_args!("    in the file {file}\n"))?;
            format!("`{join} --file FILE`. Afterwards the file is worthless")
        }
        None => {
            global.ui.say(format_args!("    {code}\n"))?;
            if args.qr {
                format!("`{join}`, and type the code when it asks")
            } else {
                format!("`{join} CODE`")
            }
        }
    };
    global.ui.note(format_args!("On the other device: {how}. Waiting; Ctrl-C ends the invitation."));
    Ok(())
}

fn people(global: &Global) -> Result<(), Failure> {
    let members: Vec<Member> = Agent::open(global)?.call(&Request::People)?;
    for member in members {
        global.ui.emit(json(&member)?)?;
        let me = if member.me { "  (this device)" } else { "" };
        global.ui.say(format_args!(
            "{}  {}  {}  {}  certified until {}{me}",
            render::short(&member.device),
            line(&member.role),
            line(&member.label),
            line(&member.state),
            time(i64::try_from(member.not_after.saturating_mul(1000)).unwrap_or(i64::MAX))
        ))?;
    }
    Ok(())
}
