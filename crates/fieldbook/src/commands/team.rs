//! `fieldbook team`

use clap::{Args, Subcommand, ValueEnum};
use fieldbook_vault::{Member, TeamInfo};
use serde_json::json;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{Invitation, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::pairing::{self, Line};
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
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The team's name
    name: String,
}

/// Invite a device: prints a one-time code and waits for the device.
///
/// Say the code to the person over a channel you trust, such as a call. It admits one device, once;
/// three wrong guesses end it.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// What the device may do
    #[arg(long, value_enum)]
    role: RoleArg,
    /// Where to wait for the device; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:0")]
    listen: String,
    /// How long the code is good for, such as 30m, 48h or 7d
    #[arg(long, value_name = "TIME", default_value = "48h")]
    expires: Span,
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
    }
}

fn create(args: CreateArgs, global: &Global) -> Result<(), Failure> {
    let team: TeamInfo = Agent::open(global)?.call(&Request::CreateTeam { name: args.name })?;
    global.ui.emit(json(&team)?)?;
    global
        .ui
        .say(format_args!("Founded the team \"{}\"; this device is its coordinator.", line(&team.name)))?;
    global.ui.note("Next: `fieldbook team invite --role monitor`.");
    Ok(())
}

fn invite(args: InviteArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let (mut process, addresses) = Line::listen(&args.listen, args.expires.seconds())?;
    let role = match args.role {
        RoleArg::Monitor => "monitor",
        RoleArg::Coordinator => {
            global.ui.warn(
                "reads-everything",
                "the new coordinator will be able to read everything that the desk has received so far",
            );
            "coordinator"
        }
        RoleArg::Relay => "relay",
    };
    let request = Request::Invite {
        role: role.to_owned(),
        addresses: addresses.clone(),
        expires_s: args.expires.seconds(),
    };
    let invitation: Invitation = agent.call(&request)?;
    global.ui.emit(json!({
        "code": invitation.code, "role": role, "listen": addresses, "expires_ms": invitation.expires_ms
    }))?;
    global.ui.say(format_args!(
        "One-time code for a {role}, good until {}:\n\n    {}\n",
        time(invitation.expires_ms),
        invitation.code
    ))?;
    global.ui.note("On the other device: `fieldbook join CODE`. Waiting; Ctrl-C ends the invitation.");
    let sync_at = network::daemon_addresses(&global.vault);
    let paired = pairing::wait_for_device(&mut agent, &mut process, args.yes, &sync_at, global)?;
    global.ui.emit(json!({
        "event": "admitted", "device": paired.device, "name": paired.name, "role": paired.role
    }))?;
    global.ui.say(format_args!(
        "Admitted \"{}\" as {} ({}).",
        line(&paired.name),
        paired.role,
        render::short(&paired.device)
    ))
}

fn people(global: &Global) -> Result<(), Failure> {
    let members: Vec<Member> = Agent::open(global)?.call(&Request::People)?;
    for member in members {
        global.ui.emit(json(&member)?)?;
        let me = if member.me { "  (this device)" } else { "" };
        global.ui.say(format_args!(
            "{}  {}  {}  certified until {}{me}",
            render::short(&member.device),
            line(&member.role),
            line(&member.label),
            time(i64::try_from(member.not_after.saturating_mul(1000)).unwrap_or(i64::MAX))
        ))?;
    }
    Ok(())
}
