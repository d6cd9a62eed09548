//! `fieldbook answer`

use clap::Args;
use fieldbook_vault::{Noted, ShownReport};

use super::{ask, json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;

/// Answer a question about a report.
///
/// Those who read the report see it after the next sync. Questions, notes and answers are never
/// published.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The report: the beginning of its id
    id: String,
    /// The question: the beginning of its id, as `show` prints it. Needed where several wait
    #[arg(long, value_name = "NOTE")]
    to: Option<String>,
    /// The answer; - reads it from standard input. Without it you are asked, so that nothing of it
    /// stands in the shell's history
    #[arg(value_name = "TEXT|-")]
    text: Option<String>,
}

pub fn run(args: AnswerArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    // A report that is not here is noticed before a text is typed.
    let shown: ShownReport = agent.call(&Request::Show { report: args.id })?;
    if args.text.is_none() && global.ui.may_ask() {
        let asked = |id: &str| args.to.as_deref().is_none_or(|to| id.starts_with(to));
        for note in shown.notes.iter().filter(|note| note.open && asked(&note.id)) {
            global.ui.note(render::note(note).trim_end());
        }
    }
    let text = ask::text(args.text, &global.ui)?;
    let noted: Noted =
        agent.call_surely(&Request::Answer { report: shown.summary.id, to: args.to, text }, global)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&noted)?)?;
    let question = noted.reply_to.as_deref().map(render::short).unwrap_or_default();
    let report = render::short(&noted.report.id);
    global.ui.say(format_args!("Answered {question} on {report}: {}", render::title(&noted.report.title)))
}
