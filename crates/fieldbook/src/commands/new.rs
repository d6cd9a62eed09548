//! `fieldbook new`

use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_vault::{Created, ReportSummary};

use super::edit::ContentArgs;
use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{NewReport, Request};
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
    // The passphrase first: nothing that is typed after it can be lost.
    let mut agent = Agent::open(global)?;
    let created = match (args.from, args.template) {
        (Some(path), _) => {
            let source = read_text(&path, &global.ui)?;
            agent.call::<Created>(&Request::Import { source })?
        }
        (None, Some(template)) => {
            let changes = args.content.changes(&global.ui)?;
            let summary: ReportSummary = agent.call(&Request::New(NewReport { template, changes }))?;
            Created { summary, already_there: false }
        }
        (None, None) => return Err(Failure::usage("usage", "give --template or --from")),
    };
    let Created { summary, already_there } = created;
    let mut object = json(&summary)?;
    object["already_there"] = already_there.into();
    global.ui.emit(object)?;
    let (id, title) = (render::short(&summary.id), render::title(&summary.title));
    if already_there {
        return global.ui.say(format_args!("Here already as {id}: {title}. Nothing was added."));
    }
    global.ui.say(format_args!("Saved draft {id}: {title}"))
}

/// Reads a text from a file, or from standard input for `-`.
pub fn read_text(path: &Path, ui: &Ui) -> Result<String, Failure> {
    let name = crate::sanitise::line(&path.to_string_lossy());
    let unreadable = |error| Failure::usage("input-unreadable", format!("{name} cannot be read: {error}"));
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
    if read.map_err(unreadable)? as u64 > INPUT_MAX {
        return Err(Failure::usage("too-large", format!("{name} is larger than {INPUT_MAX} bytes")));
    }
    Ok(text)
}
