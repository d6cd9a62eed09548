//! `fieldbook edit`

use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_vault::{ReportSummary, ShownReport};

use super::{json, new, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{Changes, Request};
use crate::agent::typed;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::ui::Ui;

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
    /// Add a person: name=…,role=witness,consent=internal|named-bodies|anonymised|named
    #[arg(long, value_name = "KEY=VALUE,…")]
    person: Vec<String>,
    /// Add where the facts come from
    #[arg(long, value_name = "TEXT")]
    source: Vec<String>,
}

impl ContentArgs {
    /// The names of these arguments, for what excludes them.
    pub const NAMES: [&'static str; 6] = ["set", "title", "language", "narrative_file", "person", "source"];

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
}

pub fn run(args: EditArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
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
    if changes.is_empty() {
        return Err(Failure::usage("nothing-to-change", "nothing is to be changed")
            .hint("for example --set date=2017-03-25"));
    }
    let summary: ReportSummary = agent.call_surely(&Request::Edit { report: args.id, changes }, global)?;
    network::nudge(&global.vault);
    global.ui.emit(json(&summary)?)?;
    global.ui.say(format_args!("Saved {}: {}", render::short(&summary.id), render::title(&summary.title)))
}
