//! `fieldbook addendum`

use std::path::PathBuf;

use clap::Args;
use fieldbook_vault::{OpenQuestions, ReportSummary};

use super::{edit, json, new, render};
use crate::agent::client::{Agent, once};
use crate::agent::protocol::Request;
use crate::editor::work::{NARRATIVE, Work};
use crate::editor::{self, Ended};
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
    /// Write what is new here, on the whole screen
    #[arg(long, conflicts_with = "narrative_file")]
    write: bool,
    /// Its title
    #[arg(long)]
    title: Option<String>,
    /// Its language, such as "be" or "ru"
    #[arg(long)]
    language: Option<String>,
}

pub fn run(args: AddendumArgs, global: &Global) -> Result<(), Failure> {
    if args.write {
        return write(args, global);
    }
    let narrative = new::read_text(&args.narrative_file, &global.ui)?;
    let AddendumArgs { id: report, title, language, .. } = args;
    let request = Request::Addendum { report, narrative, title, language, once: Some(once()?) };
    let summary: ReportSummary = Agent::open(global)?.call_surely(&request, global)?;
    global.ui.emit(json(&summary)?)?;
    say_saved(&summary, global)
}

fn write(args: AddendumArgs, global: &Global) -> Result<(), Failure> {
    editor::may_write(&global.ui, edit::INSTEAD)?;
    let mut agent = Agent::open(global)?;
    // A report that is not here is noticed before a text is written; one that was sealed is not here.
    match agent.call::<OpenQuestions>(&Request::Questions { report: args.id.clone() }) {
        Err(failure) if failure.code != "sealed" => return Err(failure),
        _ => {}
    }
    let AddendumArgs { id, title, language, .. } = args;
    let about = format!("addendum to {}", crate::sanitise::line(&id));
    // However often it is asked for, because an answer did not come.
    let once = once()?;
    let make = move || Request::Addendum {
        report: id.clone(),
        narrative: String::new(),
        title: title.clone(),
        language: language.clone(),
        once: Some(once.clone()),
    };
    let (work, begun) = Work::on_new(agent, NARRATIVE.to_owned(), make)?;
    match editor::write(work, begun, &about, global)? {
        Ended::Said(words) | Ended::SavedAndSaid(words) => global.ui.say(words),
        Ended::Saved(said) => say_saved(&edit::understood(said)?, global),
    }
}

fn say_saved(summary: &ReportSummary, global: &Global) -> Result<(), Failure> {
    let id = render::short(&summary.id);
    global.ui.say(format_args!("Saved draft {id}, an addendum. `fieldbook finish {id}` sends it."))
}
