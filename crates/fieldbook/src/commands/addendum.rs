//! `fieldbook addendum`

use std::path::PathBuf;

use clap::Args;
use fieldbook_vault::ReportSummary;

use super::{json, new, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;

/// Write what is new about a report that was finished or sealed.
///
/// An addendum is a report of its own that names the other; coordinators see both together. It stays a draft
/// on this device until `finish`, and takes files like any report.
#[derive(Debug, Args)]
pub struct AddendumArgs {
    /// The report that it adds to: the beginning of its id
    id: String,
    /// What is new, from a file, or from standard input for "-"
    #[arg(long, value_name = "FILE", default_value = "-")]
    narrative_file: PathBuf,
    /// Its title
    #[arg(long)]
    title: Option<String>,
    /// Its language, such as "be" or "ru"
    #[arg(long)]
    language: Option<String>,
}

pub fn run(args: AddendumArgs, global: &Global) -> Result<(), Failure> {
    let narrative = new::read_text(&args.narrative_file, &global.ui)?;
    let request =
        Request::Addendum { report: args.id, narrative, title: args.title, language: args.language };
    let summary: ReportSummary = Agent::open(global)?.call_surely(&request, global)?;
    global.ui.emit(json(&summary)?)?;
    let id = render::short(&summary.id);
    global.ui.say(format_args!("Saved draft {id}, an addendum. `fieldbook finish {id}` sends it."))
}
