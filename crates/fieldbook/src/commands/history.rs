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

/// Of an attachment, what a person did not choose: told once, with its name, and again only if somebody changed it.
const OF_A_FILE: [&str; 4] = ["media_type", "blake3", "sha256", "size"];

/// Book-keeping, and fields that were made empty, are for programs (`--json`).
fn is_for_people(edit: &HistoryEdit) -> bool {
    let began_empty = edit.before.is_none() && edit.after.as_ref().is_some_and(FieldValue::is_blank);
    let of_a_file = attachment(&edit.field).is_some_and(|(_, key)| {
        matches!(key, "parts" | "identity") || (edit.before.is_none() && OF_A_FILE.contains(&key))
    });
    !began_empty && !of_a_file && edit.field != "fieldbook" && !edit.field.ends_with(".order")
}

/// `attachments.ID.KEY`: the id and the key.
fn attachment(field: &str) -> Option<(&str, &str)> {
    field.strip_prefix("attachments.")?.split_once('.')
}

/// `date: 2017-03-25 → 2017-03-26`
fn edit_line(edit: &HistoryEdit) -> String {
    let mut field = render::field_name(&edit.field);
    match attachment(&edit.field) {
        Some((_, "name")) if edit.before.is_none() => {
            let name = edit.after.as_ref().map(render::field).unwrap_or_default();
            return format!("attachment {name} added");
        }
        Some((id, key)) => field = format!("attachment {}, {}", render::short(id), line(key)),
        None => {}
    }
    let value = |value: &FieldValue| {
        let text = render::field(value);
        match text.split_once('@') {
            // The version of a template is for programs.
            Some((name, _)) if edit.field == "template" => name.to_owned(),
            _ => text,
        }
    };
    let at = edit.at.map(|at| format!(" at character {at}")).unwrap_or_default();
    match (edit.before.as_ref().map(value), edit.after.as_ref().map(value)) {
        (None, None) => format!("{field}{at}"),
        (None, Some(after)) => format!("{field}{at}: {after}"),
        (Some(before), None) => format!("{field}{at}: {before} → (taken away)"),
        (Some(before), Some(after)) => format!("{field}{at}: {before} → {after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(field: &str, before: Option<&str>, after: Option<&str>) -> Option<String> {
        let value = |text: Option<&str>| text.map(|text| FieldValue::Text(text.to_owned()));
        let edit = HistoryEdit { field: field.into(), before: value(before), after: value(after), at: None };
        is_for_people(&edit).then(|| edit_line(&edit))
    }

    #[test]
    fn people_read_names_as_they_type_them() {
        assert_eq!(said("fields.date", Some("2016"), Some("2017")).unwrap(), "date: 2016 → 2017");
        assert_eq!(said("fields.title", None, Some("x")).unwrap(), "fields.title: x");
        assert_eq!(said("template", None, Some("raid@1")).unwrap(), "template: raid");
        assert_eq!(said("title", None, Some("a@1")).unwrap(), "title: a@1");
    }

    #[test]
    fn a_file_is_told_by_its_name_and_a_changed_hash_is_not_hidden() {
        assert_eq!(
            said("attachments.aa47fe2a7d.name", None, Some("a.jpg")).unwrap(),
            "attachment a.jpg added"
        );
        for key in ["media_type", "blake3", "sha256", "size", "parts", "identity", "order"] {
            assert_eq!(said(&format!("attachments.aa47fe2a7d.{key}"), None, Some("1")), None, "{key}");
        }
        let changed = said("attachments.aa47fe2a7d.sha256", Some("1"), Some("2")).unwrap();
        assert_eq!(changed, "attachment aa47fe2a, sha256: 1 → 2");
    }
}
