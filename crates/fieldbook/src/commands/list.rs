//! `fieldbook list`

use clap::{Args, ValueEnum};
use fieldbook_vault::{ListFilter, ReportSummary};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;

/// List reports.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only reports with all these words (beginnings of words count)
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only drafts, only finished reports, or only those that this device has sealed
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Only reports of this kind
    #[arg(long)]
    template: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    Draft,
    Finished,
    Sealed,
}

pub fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let state = args.state.map(|state| match state {
        StateArg::Draft => "draft".to_owned(),
        StateArg::Finished => "finished".to_owned(),
        StateArg::Sealed => "sealed".to_owned(),
    });
    let filter = ListFilter { search: args.search, state, template: args.template };
    let mut shown = 0_u64;
    let mut agent = Agent::open(global)?;
    agent.stream::<ReportSummary, ()>(&Request::List { filter }, |report| {
        shown += 1;
        global.ui.emit(json(&report)?)?;
        global.ui.say(render::list_line(&report))
    })?;
    if shown == 0 {
        global.ui.note("No reports.");
    }
    Ok(())
}
