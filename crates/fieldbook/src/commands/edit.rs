//! `fieldbook edit`

use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_vault::{ReportSummary, ShownReport};

use super::{json, new, render};
use crate::agent::client::{Agent, once};
use crate::agent::protocol::{Changes, Request};
use crate::agent::typed;
use crate::editor::work::{NARRATIVE, Work};
use crate::editor::{self, Ended, words};
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::ui::Ui;

/// What to do where nobody can write.
pub const INSTEAD: &str = "give --narrative-file FILE, or --narrative-file - and the text on standard input";

/// What a report says, for `new` and `edit`.
#[derive(Debug, Default, Args)]
pub struct ContentArgs {
    /// Set a field, such as date=2017-03-25 or place.locality=Minsk; also title, narrative, language
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The title
    #[arg(long)]
    title: Option<String>,
    /// The language, such as en, ru, be or uk
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    /// Read the narrative from a file, or from standard input with -
    #[arg(long, value_name = "FILE|-")]
    narrative_file: Option<PathBuf>,
    /// Write the narrative here, on the whole screen; --write=NAME another long text, such as --write=internal_note
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = NARRATIVE)]
    #[arg(conflicts_with = "narrative_file")]
    write: Option<String>,
    /// Add a person: name=…,role=witness,consent=internal|named-bodies|anonymised|named
    #[arg(long, value_name = "KEY=VALUE,…")]
    person: Vec<String>,
    /// Add where the facts come from
    #[arg(long, value_name = "TEXT")]
    source: Vec<String>,
}

impl ContentArgs {
    /// The names of these arguments, for what excludes them.
    pub const NAMES: [&'static str; 7] =
        ["set", "title", "language", "narrative_file", "write", "person", "source"];

    /// The name of the text that is to be written here, as a request has it.
    pub fn text_to_write(&self) -> Option<String> {
        let name = self.write.as_deref()?;
        Some(if name == NARRATIVE { name.to_owned() } else { format!("fields.{name}") })
    }

    /// The changes that the command line gives, without the narrative's file.
    pub fn without_narrative(&self) -> Changes {
        Changes {
            set: self.set.clone(),
            title: self.title.clone(),
            language: self.language.clone(),
            people: self.person.clone(),
            sources: self.source.clone(),
            ..Changes::default()
        }
    }

    /// The changes; reads the narrative's file.
    pub fn changes(self, ui: &Ui) -> Result<Changes, Failure> {
        let changes = self.without_narrative();
        let narrative = self.narrative_file.map(|path| new::read_text(&path, ui)).transpose()?;
        Ok(Changes { narrative, ..changes })
    }
}

/// Change a report. Finished reports can be changed too: the change travels like the report.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The report: the beginning of its id
    id: String,
    #[command(flatten)]
    content: ContentArgs,
    /// Empty a field
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Change a person: PERSON:KEY=VALUE, with the person's id as `show` prints it
    #[arg(long, value_name = "PERSON:KEY=VALUE")]
    set_person: Vec<String>,
    /// Take a person out
    #[arg(long, value_name = "PERSON")]
    remove_person: Vec<String>,
    /// Take a source out, named by its whole text
    #[arg(long, value_name = "TEXT")]
    remove_source: Vec<String>,
    /// Throw away what was written about it with --write and not saved, and change nothing
    #[arg(long, conflicts_with_all = ContentArgs::NAMES)]
    #[arg(conflicts_with_all = ["unset", "set_person", "remove_person", "remove_source"])]
    throw_away: bool,
}

pub fn run(args: EditArgs, global: &Global) -> Result<(), Failure> {
    let to_write = args.content.text_to_write();
    if to_write.is_some() {
        editor::may_write(&global.ui, INSTEAD)?;
    }
    let mut agent = Agent::open(global)?;
    if args.throw_away {
        let texts: u64 = agent.call(&Request::DropTexts { report: args.id.clone() })?;
        global.ui.emit(serde_json::json!({"event": "thrown-away", "report": args.id, "texts": texts}))?;
        return global.ui.say(match texts {
            0 => "Nothing was written about it that is not saved.",
            _ => "Thrown away: what was written about it and not saved.",
        });
    }
    if args.content.narrative_file.as_deref() == Some(Path::new("-")) {
        // A report that is not here, and a mistyped change, are noticed before a text is typed.
        let shown: ShownReport = agent.call(&Request::Show { report: args.id.clone() })?;
        let changes = Changes {
            unset: args.unset.clone(),
            set_person: args.set_person.clone(),
            ..args.content.without_narrative()
        };
        typed::edits(typed::find(&shown.content.template)?, &changes)?;
    }
    let changes = Changes {
        unset: args.unset,
        set_person: args.set_person,
        remove_person: args.remove_person,
        remove_source: args.remove_source,
        ..args.content.changes(&global.ui)?
    };
    if let Some(field) = to_write {
        let changed = !changes.is_empty();
        if changed {
            let request = Request::Edit { report: args.id.clone(), changes, once: None };
            agent.call::<ReportSummary>(&request)?;
            network::nudge(&global.vault);
        }
        let (work, begun) = Work::on_report(agent, args.id, field.clone())?;
        let ended = editor::write(work, begun, &field, global)?;
        if !matches!(ended, Ended::Said(_)) {
            network::nudge(&global.vault);
        }
        return match ended {
            Ended::Said(words::NOTHING) if changed => {
                global.ui.say("The fields were saved; of the text nothing was.")
            }
            Ended::Said(words) | Ended::SavedAndSaid(words) => global.ui.say(words),
            Ended::Saved(said) => say_saved(&understood(said)?, global),
        };
    }
    if changes.is_empty() {
        return Err(Failure::usage("nothing-to-change", "nothing is to be changed")
            .hint("for example --set date=2017-03-25"));
    }
    let request = Request::Edit { report: args.id, changes, once: Some(once()?) };
    let summary: ReportSummary = agent.call_surely(&request, global)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&summary)?)?;
    say_saved(&summary, global)
}

/// What the agent said last in the editor.
pub fn understood<T: serde::de::DeserializeOwned>(said: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(said).map_err(|error| Failure::failed("internal", error.to_string()))
}

fn say_saved(summary: &ReportSummary, global: &Global) -> Result<(), Failure> {
    global.ui.say(format_args!("Saved {}: {}", render::short(&summary.id), render::title(&summary.title)))
}
