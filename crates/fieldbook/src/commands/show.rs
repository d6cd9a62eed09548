//! `fieldbook show`

use clap::Args;
use fieldbook_vault::{KeptText, ShownReport};
use serde_json::json;

use super::{json as as_json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::sanitise::{self, line};
use crate::ui::time;

/// Show a report.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The report: the beginning of its id
    id: String,
    /// Only what was written of it and not saved, also where it cannot be gone on with
    #[arg(long)]
    unsaved: bool,
}

pub fn run(args: ShowArgs, global: &Global) -> Result<(), Failure> {
    if args.unsaved {
        return unsaved(args.id, global);
    }
    let shown: ShownReport = Agent::open(global)?.call(&Request::Show { report: args.id })?;
    global.ui.emit(as_json(&shown)?)?;
    global.ui.say(render::report(&shown.summary, &shown.content, &shown.unarrived).trim_end())?;
    if let Some(to) = &shown.content.addendum_to {
        global.ui.say(format_args!("\nAdds to report {}", render::short(to)))?;
    }
    if shown.unfinished {
        let id = render::short(&shown.summary.id);
        global.ui.say(format_args!(
            "\nA text of it was written and is not saved: `fieldbook edit {id} --write` goes on with it, `fieldbook show {id} \
             --unsaved` shows it."
        ))?;
    }
    if shown.summary.unsaved && !shown.unfinished {
        let id = render::short(&shown.summary.id);
        global.ui.say(format_args!(
            "\nA question or an answer was written and is not sent: `fieldbook show {id} --unsaved` shows it, `fieldbook ask {id} \
             --write` or `fieldbook answer {id} --write` goes on with it."
        ))?;
    }
    for id in &shown.addenda {
        global.ui.say(format_args!("\nAddendum {0}: `fieldbook show {0}`", render::short(id)))?;
    }
    if !shown.notes.is_empty() {
        global.ui.say("\nQuestions and notes, never published")?;
        for note in &shown.notes {
            global.ui.say(render::note(note).trim_end())?;
        }
        if shown.summary.questions > 0 {
            let id = render::short(&shown.summary.id);
            global.ui.note(format_args!("Answer with `fieldbook answer {id}`."));
        }
    }
    if !shown.clashes.is_empty() {
        global.ui.say("\nClashes that wait for a person")?;
        for clash in &shown.clashes {
            global.ui.say(render::clash(clash).trim_end())?;
        }
        let id = render::short(&shown.summary.id);
        global.ui.note(format_args!("Decide with `fieldbook resolve {id} --field FIELD --keep VALUE`."));
    }
    Ok(())
}

fn unsaved(report: String, global: &Global) -> Result<(), Failure> {
    let kept: Vec<(String, KeptText)> = Agent::open(global)?.call(&Request::KeptTexts { report })?;
    if kept.is_empty() {
        global.ui.note("Everything that was written of it is saved, or was thrown away.");
    }
    for (field, KeptText { time_ms, text, .. }) in &kept {
        global.ui.say(format_args!("{}, {}\n\n{}\n", line(field), time(*time_ms), sanitise::text(text)))?;
        global.ui.emit(json!({"event": "unsaved", "field": field, "time_ms": time_ms, "text": text}))?;
    }
    Ok(())
}
