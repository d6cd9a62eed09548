//! `fieldbook ask`

use std::io::IsTerminal as _;
use std::path::Path;

use clap::Args;
use fieldbook_vault::{Noted, ShownReport};

use super::{json, new, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::ui::Ui;

/// Ask something about a report, or note it.
///
/// The author and the coordinators who read the report see it after the next sync. Questions, notes
/// and answers are never published.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The report: the beginning of its id
    id: String,
    /// The question; - reads it from standard input. Without it you are asked, so that nothing of it
    /// stands in the shell's history
    #[arg(value_name = "TEXT|-")]
    text: Option<String>,
}

pub fn run(args: AskArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    // A report that is not here is noticed before a text is typed.
    let shown: ShownReport = agent.call(&Request::Show { report: args.id })?;
    let text = text(args.text, &global.ui)?;
    let noted: Noted = agent.call_surely(&Request::Ask { report: shown.summary.id, text }, global)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&noted)?)?;
    let (note, report) = (render::short(&noted.note), render::short(&noted.report.id));
    global.ui.say(format_args!("Asked {note} on {report}: {}", render::title(&noted.report.title)))
}

/// The words of a question or an answer: as given, from standard input, or asked for.
pub fn text(given: Option<String>, ui: &Ui) -> Result<String, Failure> {
    let text = match given {
        Some(text) if text != "-" => text,
        Some(_) => new::read_text(Path::new("-"), ui)?,
        None if ui.may_ask() && std::io::stdin().is_terminal() => new::read_text(Path::new("-"), ui)?,
        None => {
            return Err(Failure::cannot_ask("this needs a text", "it as -, and the text on standard input"));
        }
    };
    Ok(text.trim_end().to_owned())
}
