//! `fieldbook forget`

use clap::Args;
use fieldbook_vault::{ForgetRequestView, ForgetSummary};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::sanitise::line;
use crate::ui::time;

/// Forget a report, or somebody in it who takes back consent: here at once, elsewhere as each device hears of it.
///
/// A coordinator's word is carried out by every honest device. A monitor's own report is forgotten on its device at
/// once; at the coordinators it waits for one of them to confirm it, so that nobody can be forced to destroy evidence.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The report: the beginning of its id
    #[arg(value_name = "ID", required_unless_present = "requests")]
    id: Option<String>,
    /// Only this person: their id in the report, as `show` prints it. A report without them takes its place
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// Do what the author of the report asked for
    #[arg(long, conflicts_with = "person")]
    confirm: bool,
    /// List what authors have asked for
    #[arg(long, conflicts_with_all = ["id", "person", "confirm"])]
    requests: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: ForgetArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let Some(report) = args.id else { return requests(&mut agent, global) };
    let question = "This destroys it on every device of the team and cannot be undone. Go on?";
    if !args.yes && !global.ui.confirm(question, "--yes")? {
        return Err(Failure::new(Kind::Failed, "not-forgotten", "nothing was forgotten: you said no"));
    }
    let request = if args.confirm {
        Request::ConfirmForget { report }
    } else {
        Request::Forget { report, person: args.person }
    };
    let forgotten: ForgetSummary = agent.call(&request)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&forgotten)?)?;
    let report = render::short(&forgotten.report);
    if forgotten.waits_for_coordinator {
        return global.ui.say(format_args!(
            "Forgot {report} on this device. The coordinators are asked to do the same; one of them has to confirm it."
        ));
    }
    match &forgotten.replaced_by {
        Some(new) => global.ui.say(format_args!(
            "Forgot {report}; {} takes its place without them. Read it once: names can hide in ways no program finds. \
             Its attachments are gone too.",
            render::short(new)
        )),
        None => global.ui.say(format_args!("Forgot {report}. The others do so as they hear of it.")),
    }
}

fn requests(agent: &mut Agent, global: &Global) -> Result<(), Failure> {
    agent.stream::<ForgetRequestView, ()>(&Request::ForgetRequests, |request| {
        global.ui.emit(json(&request)?)?;
        global.ui.say(format_args!(
            "{}  {}  asked by {} at {}",
            render::short(&request.report),
            line(&request.title),
            line(&request.who),
            time(request.time_ms)
        ))
    })
}
