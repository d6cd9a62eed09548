//! `fieldbook team remove`, `role`, `desks`, `name-desk` and `log`

use clap::{Args, ValueEnum};
use fieldbook_vault::{ActView, DeskView, Member, RemovalSummary};
use serde_json::Value;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::sanitise::line;
use crate::ui::{count, time};

/// Remove a device from the team: it can connect to nobody and read nothing that is written later.
///
/// The transport secret changes, and with a coordinator the desk's key. What the device could read until now
/// stays readable to whoever has it. The coordinators whom it admitted stay; with --lost only those that --keep names.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Its name, or the beginning of its id
    #[arg(value_name = "DEVICE")]
    device: String,
    /// It was lost or taken: whoever has it now is not the person it was given to
    #[arg(long)]
    lost: bool,
    /// Keep this coordinator, whom the lost device admitted. May be given several times
    #[arg(long, value_name = "DEVICE", requires = "lost")]
    keep: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Name this device's desk, for those who see several.
#[derive(Debug, Args)]
pub struct NameDeskArgs {
    /// The name
    name: String,
}

/// Make a monitor a coordinator, who reads what is written from then on, or a coordinator a monitor.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Its name, or the beginning of its id
    #[arg(value_name = "DEVICE")]
    device: String,
    /// The new role
    #[arg(value_enum)]
    role: NewRole,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NewRole {
    /// Writes reports
    Monitor,
    /// Receives and reads reports, publishes, admits devices
    Coordinator,
}

pub fn remove(args: RemoveArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    if !args.yes {
        let preview =
            Request::RemovalPreview { device: args.device.clone(), lost: args.lost, keep: args.keep.clone() };
        let preview: RemovalSummary = agent.call(&preview)?;
        global.ui.note(what_stays(&preview));
        consequences(&preview, global);
        let question = format!(
            "Remove {}\"{}\" ({})? It cannot be undone: to come back it needs a new vault.",
            if preview.was_relay { "the relay " } else { "" },
            line(&preview.label),
            render::short(&preview.device)
        );
        if !global.ui.confirm(&question, "--yes")? {
            return Err(Failure::new(Kind::Failed, "not-removed", "nothing was removed: you said no"));
        }
    }
    let asked = !args.yes;
    let request = Request::Remove { device: args.device, lost: args.lost, keep: args.keep };
    let removed: RemovalSummary = agent.call(&request)?;
    network::nudge(&global.vault);
    let mut event: Value = json(&removed)?;
    event["event"] = "removed".into();
    global.ui.emit(event)?;
    let label = line(&removed.label);
    if !removed.counts {
        global.ui.warn(
            "elder-stands",
            "it does not count: that coordinator was admitted earlier and has removed this device",
        );
        return Ok(());
    }
    global.ui.say(match removed.was_relay {
        true => format!("Removed the relay \"{label}\". No device of the team syncs with it any more."),
        false => format!(
            "Removed \"{label}\". It can connect to nobody, and what is written from now on is closed to it."
        ),
    })?;
    if !asked {
        consequences(&removed, global);
        global.ui.say(what_stays(&removed))?;
    }
    global.ui.note(format_args!(
        "{} must hear of it: they do when they sync. Until then they would still answer it.",
        count(removed.to_tell as u64, "other device", "other devices")
    ));
    if removed.was_relay {
        global.ui.note(
            "What only it held counts as only on its author's device again, once that device has heard of it, and goes \
             to the next relay or coordinator that it syncs with. A new relay: `fieldbook team invite --role relay`.",
        );
    }
    Ok(())
}

/// What no removal takes away from whoever has the device.
fn what_stays(removal: &RemovalSummary) -> String {
    let reports = |number: usize| count(number as u64, "report", "reports");
    let mut lines = Vec::new();
    if removal.was_relay {
        lines.push("the sealed entries that it holds, which it cannot open".to_owned());
        lines.push("when devices synced with it, from which network addresses, and how much".to_owned());
        lines.push(
            "the coordinators' keys, and the keys by which devices of the team know each other until now"
                .to_owned(),
        );
        return format!("What it may still have, whatever is done here:\n- {}.", lines.join(";\n- "));
    }
    match (removal.was_coordinator, removal.of_desk) {
        (true, true) => lines.push(format!(
            "what it could read until now: {} known here, with their attachments, and everybody's names",
            reports(removal.could_read)
        )),
        (true, false) => lines.push(format!(
            "{} that were shared with it, as far as is known here, with their attachments, and all that \
             its own desk received",
            reports(removal.could_read)
        )),
        (false, _) => {}
    }
    lines.push(format!(
        "the reports that it wrote and did not seal ({} arrived here), with their attachments, and drafts \
         that nobody else has seen",
        reports(removal.wrote)
    ));
    lines.push(
        match removal.was_coordinator {
            true => "sealed entries of others that it carried, and the key to those that its desk could read",
            false => "sealed entries of others that it carried, which it cannot open",
        }
        .to_owned(),
    );
    lines.push("the coordinators' names and keys, and the addresses where it synced".to_owned());
    format!("What it may still have, whatever is done here:\n- {}.", lines.join(";\n- "))
}

/// What a removal means beyond the device itself: whom it had admitted, its desk, its sheets.
fn consequences(removal: &RemovalSummary, global: &Global) {
    let label = line(&removal.label);
    for admitted in &removal.admitted {
        let becomes = if admitted.stays { "stays in the team" } else { "goes with it" };
        global.ui.note(format_args!(
            "\"{label}\" admitted the {} \"{}\" ({}), which {becomes}.",
            line(&admitted.role),
            line(&admitted.label),
            render::short(&admitted.device)
        ));
    }
    if removal.admitted.iter().any(|admitted| admitted.role == "coordinator") {
        global.ui.warn(
            "admitted-coordinators",
            "coordinators whom it admitted may be other devices of the same hands: ask each in person; \
             `fieldbook team remove` ends who stays, `fieldbook team role DEVICE coordinator` brings back who went",
        );
    }
    if removal.closes_desk {
        global.ui.warn(
            "closes-desk",
            format!(
                "it is the last coordinator of the desk \"{}\": nobody reads what that desk's devices write from \
                 then on, and their reports stay with them. If there are monitors there, let it admit a second \
                 coordinator first; else invite each of them anew, with a new vault, at another desk",
                line(&removal.desk)
            ),
        );
    }
    if removal.ends_sheets {
        global.ui.warn(
            "sheets-end",
            "it made the desk's recovery sheets: they open nothing that is written from then on. \
             Make new ones: `fieldbook recovery create`",
        );
    }
}

/// What became of the device whose place another one took.
pub fn replaced(removed: &RemovalSummary, global: &Global) -> Result<(), Failure> {
    let label = line(&removed.label);
    if !removed.counts {
        global.ui.warn(
            "elder-stands",
            format_args!(
                "\"{label}\" stays: that coordinator was admitted earlier and has removed this device"
            ),
        );
        return Ok(());
    }
    consequences(removed, global);
    global.ui.say(format_args!(
        "Removed \"{label}\" ({}) as lost: what it wrote up to its entry number {} counts, nothing later.",
        render::short(&removed.device),
        removed.cut
    ))
}

pub fn role(args: RoleArgs, global: &Global) -> Result<(), Failure> {
    let role = match args.role {
        NewRole::Monitor => "monitor",
        NewRole::Coordinator => "coordinator",
    };
    let request = Request::SetRole { device: args.device, role: role.to_owned() };
    let member: Member = Agent::open(global)?.call(&request)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&member)?)?;
    global.ui.say(format_args!(
        "\"{}\" is a {} now; it hears of it when it syncs.",
        line(&member.label),
        line(&member.role)
    ))
}

pub fn desks(global: &Global) -> Result<(), Failure> {
    Agent::open(global)?.stream::<DeskView, ()>(&Request::Desks, |desk| {
        global.ui.emit(json(&desk)?)?;
        let names: Vec<String> = desk.coordinators.iter().map(|name| line(name)).collect();
        let sheets = if desk.sheets { " and recovery sheets" } else { "" };
        let mine = if desk.mine { "  (this device's)" } else { "" };
        global.ui.say(format_args!(
            "{}  {}  read by {}{sheets}  epoch {}{mine}",
            render::short(&desk.id),
            line(&desk.name),
            names.join(", "),
            desk.epoch
        ))
    })
}

pub fn name_desk(args: NameDeskArgs, global: &Global) -> Result<(), Failure> {
    let desk: DeskView = Agent::open(global)?.call(&Request::NameDesk { name: args.name })?;
    network::nudge(&global.vault);
    global.ui.emit(json(&desk)?)?;
    global.ui.say(format_args!(
        "This desk is called \"{}\" now; the others hear of it when they sync.",
        line(&desk.name)
    ))
}

pub fn log(global: &Global) -> Result<(), Failure> {
    Agent::open(global)?.stream::<ActView, ()>(&Request::TeamLog, |act| {
        global.ui.emit(json(&act)?)?;
        global.ui.say(format_args!(
            "{}  {}  {}  {}",
            time(act.time_ms),
            line(&act.who),
            line(&act.kind),
            line(&act.detail)
        ))
    })
}
