//! `fieldbook ask`

use std::io::IsTerminal as _;
use std::path::Path;

use clap::Args;
use fieldbook_vault::{Noted, OpenQuestions};

use super::{edit, json, new, render};
use crate::agent::client::{Agent, once};
use crate::agent::protocol::Request;
use crate::editor::work::{Begun, Work};
use crate::editor::{self, Ended};
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::ui::Ui;

/// What to do where nobody can write.
pub const INSTEAD: &str = "give the text as -, and the text itself on standard input";

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
    /// Write it here, on the whole screen
    #[arg(long, conflicts_with = "text")]
    write: bool,
}

pub fn run(args: AskArgs, global: &Global) -> Result<(), Failure> {
    if args.write {
        editor::may_write(&global.ui, INSTEAD)?;
    }
    let mut agent = Agent::open(global)?;
    let noted = if args.write {
        let (field, once) = ("ask".to_owned(), Some(once()?));
        let kept = Some(field.clone());
        let send = move |report, text| Request::Ask { report, text, once: once.clone(), kept: kept.clone() };
        let (work, begun) = Work::on_note(agent, args.id, field, send)?;
        match at_length(work, begun, "question", global)? {
            Some(noted) => noted,
            None => return Ok(()),
        }
    } else {
        // A report that is not here is noticed before a text is typed. Nothing of it is held meanwhile: a question outlives a lock.
        let OpenQuestions { report, .. } = agent.call(&Request::Questions { report: args.id })?;
        let text = text(args.text, &global.ui)?;
        agent.call_surely(&Request::Ask { report, text, once: Some(once()?), kept: None }, global)?
    };
    network::nudge(&global.vault);
    global.ui.emit(json(&noted)?)?;
    let (note, report) = (render::short(&noted.note), render::short(&noted.report.id));
    global.ui.say(format_args!("Asked {note} on {report}: {}", render::title(&noted.report.title)))
}

/// Lets somebody write a question or an answer on the whole screen. None if it was not sent, which has been said then.
pub fn at_length(work: Work, begun: Begun, what: &str, global: &Global) -> Result<Option<Noted>, Failure> {
    let words = match editor::write(work, begun, what, global)? {
        Ended::Saved(said) => return edit::understood(said).map(Some),
        Ended::SavedAndSaid(words) => {
            network::nudge(&global.vault);
            words
        }
        Ended::Said(words) => words,
    };
    global.ui.say(words).map(|()| None)
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
