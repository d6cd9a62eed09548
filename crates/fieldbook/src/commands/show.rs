//! `fieldbook show`

use clap::Args;
use fieldbook_vault::ShownReport;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;

/// Show a report.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The report: the beginning of its id
    id: String,
}

pub fn run(args: ShowArgs, global: &Global) -> Result<(), Failure> {
    let shown: ShownReport = Agent::open(global)?.call(&Request::Show { report: args.id })?;
    global.ui.emit(json(&shown)?)?;
    global.ui.say(render::report(&shown.summary, &shown.content, &shown.unarrived).trim_end())?;
    if let Some(to) = &shown.content.addendum_to {
        global.ui.say(format_args!("\nAdds to report {}", render::short(to)))?;
    }
    if shown.unfinished {
        let id = render::short(&shown.summary.id);
        global.ui.say(format_args!(
            "\nA text of it was written and is not saved: `fieldbook edit {id} --write` goes on with it."
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
