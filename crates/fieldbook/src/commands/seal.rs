//! `fieldbook seal`

use clap::Args;
use fieldbook_vault::SealSummary;
use serde_json::{Value, json};

use super::{json as as_json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::sanitise::{line, text};
use crate::ui::count;

/// Give up the power to read finished reports: this device forgets them, and no passphrase brings them back.
///
/// Coordinators who received them keep them. Without their confirmation the command asks first, because then
/// nobody may ever read the report again. What comes up later goes into an addendum.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// The reports: the beginnings of their ids
    #[arg(value_name = "ID", required_unless_present_any = ["received", "after"])]
    ids: Vec<String>,
    /// Every report that enough coordinators have confirmed
    #[arg(long, conflicts_with_all = ["ids", "after"])]
    received: bool,
    /// From now on, each report as soon as so many coordinators have confirmed it; "off" ends that
    #[arg(long, value_name = "NUMBER", value_parser = number_or_off, conflicts_with = "ids")]
    after: Option<After>,
    /// Even if nobody has confirmed them
    #[arg(long, conflicts_with_all = ["received", "after"])]
    yes: bool,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Off,
    Coordinators(u32),
}

fn number_or_off(text: &str) -> Result<After, String> {
    match text.parse() {
        _ if text == "off" => Ok(After::Off),
        Ok(number @ 1..=64) => Ok(After::Coordinators(number)),
        _ => Err("a number from 1 to 64, or \"off\"".to_owned()),
    }
}

pub fn run(args: SealArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    if let Some(after) = args.after {
        return set_after(after, &mut agent, global);
    }
    if args.received {
        let mut sealed = 0_u64;
        let left = agent.stream::<SealSummary, Vec<String>>(&Request::SealReceived, |summary| {
            sealed += 1;
            tell(&summary, global)
        })?;
        network::nudge(&global.vault);
        global.ui.emit(json!({"event": "summary", "sealed": sealed, "unfinished": left}))?;
        for id in left {
            let id = render::short(&id);
            global.ui.warn(
                "unfinished-text",
                format_args!(
                    "{id} does not seal: a text of it is open in a window, or was written and is not saved (`fieldbook show {id} \
                     --unsaved` shows it, `fieldbook edit {id} --throw-away` throws it away)"
                ),
            );
        }
        global.ui.note(format_args!("Sealed {}.", count(sealed, "report", "reports")));
        return Ok(());
    }
    for report in args.ids {
        let seal = |anyway| Request::Seal { report: report.clone(), anyway };
        let sealed = match agent.call::<SealSummary>(&seal(args.yes)) {
            Err(failure) if failure.code == "not-confirmed" && global.ui.may_ask() => {
                global.ui.note(format_args!("{}: {}.", line(&report), text(&failure.message)));
                let question = "If nobody else has it, it is lost for ever. Seal it all the same?";
                if !global.ui.confirm(question, "--yes")? {
                    return Err(Failure::new(Kind::Failed, "not-sealed", "nothing was sealed: you said no")
                        .hint("sync, and seal it when a coordinator has confirmed it"));
                }
                agent.call(&seal(true))?
            }
            sealed => sealed?,
        };
        network::nudge(&global.vault);
        tell(&sealed, global)?;
    }
    Ok(())
}

fn tell(sealed: &SealSummary, global: &Global) -> Result<(), Failure> {
    let mut object: Value = as_json(sealed)?;
    object["event"] = "sealed".into();
    global.ui.emit(object)?;
    let holders: Vec<String> = sealed.holders.iter().map(|holder| line(&holder.name)).collect();
    let kept = match holders.as_slice() {
        [] => "nobody has confirmed it".to_owned(),
        names => format!("received by {}", names.join(", ")),
    };
    global
        .ui
        .say(format_args!("Sealed {}: this device can read it no more ({kept}).", render::short(&sealed.id)))
}

fn set_after(after: After, agent: &mut Agent, global: &Global) -> Result<(), Failure> {
    let coordinators = match after {
        After::Off => None,
        After::Coordinators(number) => Some(number),
    };
    agent.call::<()>(&Request::SealAfter { coordinators })?;
    global.ui.emit(json!({"event": "seal-after", "coordinators": coordinators}))?;
    match coordinators {
        None => global.ui.say("Reports are sealed only when you say so."),
        Some(number) => global.ui.say(format_args!(
            "From now on a report is sealed as soon as {}.",
            count(number.into(), "coordinator has confirmed it", "coordinators have confirmed it")
        )),
    }
}
