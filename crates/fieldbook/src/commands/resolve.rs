//! `fieldbook resolve`

use clap::Args;
use fieldbook_vault::ReportSummary;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::ui::count;

/// Decide a clash. The decision travels like any change; the other values stay in `history`.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The report: the beginning of its id
    id: String,
    /// The field, as `conflicts` names it
    #[arg(long)]
    field: String,
    /// One of the values as shown, or `both` to keep all of them in the field
    #[arg(long, value_name = "VALUE|both")]
    keep: String,
}

pub fn run(args: ResolveArgs, global: &Global) -> Result<(), Failure> {
    let request = Request::Resolve { report: args.id, field: args.field, keep: args.keep };
    let summary: ReportSummary = Agent::open(global)?.call(&request)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&summary)?)?;
    global.ui.say(format_args!(
        "Decided in {}: {}",
        render::short(&summary.id),
        render::title(&summary.title)
    ))?;
    if summary.clashes > 0 {
        global.ui.note(format_args!(
            "Still to decide here: {}.",
            count(summary.clashes as u64, "clash", "clashes")
        ));
    }
    Ok(())
}
