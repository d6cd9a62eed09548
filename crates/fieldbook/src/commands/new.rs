//! `fieldbook new`

use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_report::ReportInput;
use fieldbook_report::template::{Field, FieldKind};
use fieldbook_vault::{Created, ReportSummary};

use super::edit::ContentArgs;
use super::{edit, json, render};
use crate::agent::client::{Agent, once};
use crate::agent::protocol::{Changes, NewReport, Request};
use crate::agent::typed;
use crate::editor::work::Work;
use crate::editor::{self, Ended};
use crate::error::Failure;
use crate::global::Global;
use crate::ui::Ui;

/// Longest report that is read from a file or from standard input: what one entry can carry.
const INPUT_MAX: u64 = 1 << 20;

/// Write a report. It is a draft on this device until you `finish` it.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The kind of report; `fieldbook templates` lists them
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    template: Option<String>,
    #[command(flatten)]
    content: ContentArgs,
    /// Read the whole report as one JSON object from a file, or from standard input with -
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ContentArgs::NAMES)]
    from: Option<PathBuf>,
}

pub fn run(args: NewArgs, global: &Global) -> Result<(), Failure> {
    if let Some(template) = &args.template {
        let changes = args.content.without_narrative();
        let new = NewReport { template: template.clone(), changes, once: None };
        typed::check_new(&new)?;
    }
    if let (Some(field), Some(template)) = (args.content.text_to_write(), &args.template) {
        return write(field, template.clone(), args.content.without_narrative(), global);
    }
    // The words of the command line and the passphrase first: nothing that is typed after them can be lost.
    let mut agent = Agent::open(global)?;
    let mut misplaced = Vec::new();
    let created = match (args.from, args.template) {
        (Some(path), _) => {
            let source = read_text(&path, &global.ui)?;
            misplaced = misplaced_fields(&source);
            agent.call_surely::<Created>(&Request::Import { source }, global)?
        }
        (None, Some(template)) => {
            let changes = args.content.changes(&global.ui)?;
            let request = Request::New(NewReport { template, changes, once: Some(once()?) });
            let summary: ReportSummary = agent.call_surely(&request, global)?;
            Created { summary, already_there: false }
        }
        (None, None) => return Err(Failure::usage("usage", "give --template or --from")),
    };
    let Created { summary, already_there } = created;
    let mut object = json(&summary)?;
    object["already_there"] = already_there.into();
    let warning = (!misplaced.is_empty()).then(|| misplaced_words(&misplaced));
    if let Some(message) = &warning {
        global.ui.warn(MISPLACED, message);
    }
    object["warnings"] = warning
        .map(|message| serde_json::json!({"code": MISPLACED, "message": message, "keys": misplaced}))
        .into_iter()
        .collect();
    global.ui.emit(object)?;
    let (id, title) = (render::short(&summary.id), render::title(&summary.title));
    if already_there {
        return global.ui.say(format_args!("Here already as {id}: {title}. Nothing was added."));
    }
    global.ui.say(format_args!("Saved draft {id}: {title}"))
}

/// Lets somebody write; the draft is made when there is something to keep.
fn write(field: String, template: String, changes: Changes, global: &Global) -> Result<(), Failure> {
    editor::may_write(&global.ui, edit::INSTEAD)?;
    if let Some(name) = field.strip_prefix("fields.") {
        let is_long = |field: &Field| field.name == name && field.kind == FieldKind::LongText;
        if !typed::find(&template)?.fields.iter().any(is_long) {
            let name = crate::sanitise::line(name);
            return Err(Failure::usage("no-such-text", format!("\"{name}\" is no long text of {template}"))
                .hint(format!("`fieldbook templates {template}` lists the fields")));
        }
    }
    let agent = Agent::open(global)?;
    let title = changes.title.clone().unwrap_or_else(|| template.clone());
    // However often it is asked for, because an answer did not come.
    let once = once()?;
    let make = move || {
        let (template, changes, once) = (template.clone(), changes.clone(), Some(once.clone()));
        Request::New(NewReport { template, changes, once })
    };
    let (work, begun) = Work::on_new(agent, field, make)?;
    match editor::write(work, begun, &title, global)? {
        Ended::Said(words) | Ended::SavedAndSaid(words) => global.ui.say(words),
        Ended::Saved(said) => {
            let summary: ReportSummary = edit::understood(said)?;
            let (id, title) = (render::short(&summary.id), render::title(&summary.title));
            global.ui.say(format_args!("Saved draft {id}: {title}"))
        }
    }
}

/// The code of the warning about [`misplaced_fields`].
pub const MISPLACED: &str = "field-outside-fields";

/// Fields of the report's template that stand beside `fields` instead of in it.
pub fn misplaced_fields(source: &str) -> Vec<String> {
    let Ok(input) = ReportInput::from_json(source) else { return Vec::new() };
    let Ok(template) = typed::find(&input.template) else { return Vec::new() };
    input.extra.into_iter().map(|(key, _)| key).filter(|key| template.field(key).is_some()).collect()
}

/// What became of them.
pub fn misplaced_words<'a>(keys: impl IntoIterator<Item = &'a String>) -> String {
    let keys: Vec<String> = keys.into_iter().map(|key| crate::sanitise::line(key)).collect();
    format!(
        "{}: kept as extra and never published, because a field of the template belongs inside \"fields\"",
        keys.join(", ")
    )
}

/// Reads a text from a file, or from standard input for `-`.
pub fn read_text(path: &Path, ui: &Ui) -> Result<String, Failure> {
    let name = crate::sanitise::line(&path.to_string_lossy());
    let mut text = String::new();
    let mut take = |from: &mut dyn Read| from.take(INPUT_MAX + 1).read_to_string(&mut text);
    let read = if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            ui.note("Write here; Ctrl-D on a line of its own ends it.");
        }
        take(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| take(&mut file))
    };
    if read.map_err(Failure::input(&name))? as u64 > INPUT_MAX {
        return Err(Failure::usage("too-large", format!("{name} is larger than {INPUT_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_beside_the_fields_is_noticed_and_other_extras_are_not() {
        let of = |text: &str| misplaced_fields(text);
        assert_eq!(of(r#"{"template": "detention", "date": "2017", "case_number": 4}"#), ["date"]);
        assert!(of(r#"{"template": "detention", "fields": {"date": "2017"}}"#).is_empty());
        assert!(of(r#"{"template": "no such", "date": "2017"}"#).is_empty());
        assert!(of("no report").is_empty());
    }
}
