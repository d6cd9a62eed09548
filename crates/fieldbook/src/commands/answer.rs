//! `fieldbook answer`

use clap::Args;
use fieldbook_vault::OpenQuestions;
use zeroize::{Zeroize as _, Zeroizing};

use super::{ask, json, render};
use crate::agent::client::{Agent, once};
use crate::agent::protocol::Request;
use crate::editor;
use crate::editor::work::Work;
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
    /// Write it here, on the whole screen
    #[arg(long, conflicts_with = "text")]
    write: bool,
}

pub fn run(args: AnswerArgs, global: &Global) -> Result<(), Failure> {
    if args.write {
        editor::may_write(&global.ui, ask::INSTEAD)?;
    }
    let mut agent = Agent::open(global)?;
    // A report that is not here is noticed before a text is typed. Nothing of it is held meanwhile: a question outlives a lock.
    let OpenQuestions { report, mut notes } = agent.call(&Request::Questions { report: args.id })?;
    if args.text.is_none() && global.ui.may_ask() {
        let asked = |id: &str| args.to.as_deref().is_none_or(|to| id.starts_with(to));
        for note in notes.iter().filter(|note| asked(&note.id)) {
            global.ui.note(Zeroizing::new(render::note(note)).trim_end());
        }
    }
    for note in &mut notes {
        note.text.zeroize();
        note.who.zeroize();
    }
    drop(notes);
    let to = args.to;
    let noted = if args.write {
        let field = to.as_ref().map_or_else(|| "answer".to_owned(), |to| format!("answer.{to}"));
        let (once, kept) = (Some(once()?), Some(field.clone()));
        let send = move |report, text| {
            let (to, once, kept) = (to.clone(), once.clone(), kept.clone());
            Request::Answer { report, to, text, once, kept }
        };
        let (work, begun) = Work::on_note(agent, report, field, send)?;
        match ask::at_length(work, begun, "answer", global)? {
            Some(noted) => noted,
            None => return Ok(()),
        }
    } else {
        let text = ask::text(args.text, &global.ui)?;
        agent.call_surely(&Request::Answer { report, to, text, once: Some(once()?), kept: None }, global)?
    };
    network::nudge(&global.vault);
    global.ui.emit(json(&noted)?)?;
    let question = noted.reply_to.as_deref().map(render::short).unwrap_or_default();
    let report = render::short(&noted.report.id);
    global.ui.say(format_args!("Answered {question} on {report}: {}", render::title(&noted.report.title)))
}
