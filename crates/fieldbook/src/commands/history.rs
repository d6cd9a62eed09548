//! `fieldbook history`

use clap::Args;
use fieldbook_report::{FieldValue, HistoryEdit};
use fieldbook_vault::HistoryView;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::sanitise::line;
use crate::ui::time;

/// Show who changed what in a report, and when their clock said it was. Values that were
/// overwritten are shown too: nothing is ever lost here.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The report: the beginning of its id
    id: String,
}

pub fn run(args: HistoryArgs, global: &Global) -> Result<(), Failure> {
    Agent::open(global)?.stream::<HistoryView, ()>(&Request::History { report: args.id }, |item| {
        global.ui.emit(json(&item)?)?;
        global.ui.say(format_args!("{}  {}", time(item.change.time_ms), line(&item.who)))?;
        for edit in item.change.edits.iter().filter(|edit| is_for_people(edit)) {
            global.ui.say(format_args!("    {}", edit_line(edit)))?;
        }
        Ok(())
    })
}

/// Book-keeping, and fields that were made empty, are for programs (`--json`).
fn is_for_people(edit: &HistoryEdit) -> bool {
    let began_empty = edit.before.is_none() && edit.after.as_ref().is_some_and(FieldValue::is_blank);
    !began_empty && edit.field != "fieldbook" && !edit.field.ends_with(".order")
}

/// `fields.date: 2017-03-25 → 2017-03-26`
fn edit_line(edit: &HistoryEdit) -> String {
    let field = line(&edit.field);
    let at = edit.at.map(|at| format!(" at character {at}")).unwrap_or_default();
    match (edit.before.as_ref().map(render::field), edit.after.as_ref().map(render::field)) {
        (None, None) => format!("{field}{at}"),
        (None, Some(after)) => format!("{field}{at}: {after}"),
        (Some(before), None) => format!("{field}{at}: {before} → (taken away)"),
        (Some(before), Some(after)) => format!("{field}{at}: {before} → {after}"),
    }
}
