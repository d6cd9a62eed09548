//! `fieldbook finish`

use clap::Args;
use fieldbook_vault::ReportSummary;
use serde_json::json;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{Finished, Request};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::network;
use crate::sanitise::text;
use crate::ui::count;

/// Finish drafts: they are sealed for the coordinators, and travel with the next sync.
///
/// Until then a draft exists on this device only.
#[derive(Debug, Args)]
pub struct FinishArgs {
    /// The report: the beginning of its id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// Every draft
    #[arg(long)]
    all: bool,
    /// Even if fields are empty that the template requires
    #[arg(long)]
    incomplete: bool,
}

pub fn run(args: FinishArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    if let Some(report) = args.id {
        let summary: ReportSummary = agent.call(&Request::Finish { report, incomplete: args.incomplete })?;
        network::nudge(&global.vault);
        global.ui.emit(json(&summary)?)?;
        let (id, title) = (render::short(&summary.id), render::title(&summary.title));
        return global
            .ui
            .say(format_args!("Finished {id}: {title}. It is sealed and leaves with the next sync."));
    }
    let (mut finished, mut refused) = (0, 0);
    agent.stream::<Finished, ()>(&Request::FinishAll { incomplete: args.incomplete }, |report| {
        let (id, title) = (render::short(&report.id), render::title(&report.title));
        match &report.refused {
            None => {
                finished += 1;
                global.ui.emit(json!({"event": "finished", "id": report.id, "title": report.title}))?;
                global.ui.say(format_args!("{id}  {title}"))?;
            }
            Some(failure) => {
                refused += 1;
                global.ui.emit(json!({
                    "event": "refused", "id": report.id, "code": failure.code, "message": failure.message
                }))?;
                global.ui.note(format_args!("{id}  {title}: {}", text(&failure.message)));
            }
        }
        Ok(())
    })?;
    network::nudge(&global.vault);
    global.ui.emit(json!({"event": "summary", "finished": finished, "refused": refused}))?;
    global.ui.note(format_args!("Finished {}.", count(finished, "report", "reports")));
    let message = format!("{} still a draft", count(refused, "report is", "reports are"));
    let hint = "fill in what is missing, or finish with --incomplete";
    match (refused, finished) {
        (0, _) => Ok(()),
        (_, 0) => Err(Failure::failed("incomplete", message).hint(hint)),
        _ => Err(Failure::new(Kind::Partial, "incomplete", message).hint(hint)),
    }
}
