//! `fieldbook export`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{Export, ExportPart, Exported, Request};
use crate::error::Failure;
use crate::exports;
use crate::global::Global;
use crate::output::NewDirectory;
use crate::sanitise::line;
use crate::ui::count;

/// Publish reports.
///
/// Whoever did not agree to be named appears under a pseudonym, in fields and wherever the name
/// stands in any text; what was replaced or left out is listed. Read the publication before you give
/// it away: no program knows every way in which a person can be recognised.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The reports: the beginnings of their ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Every finished report
    #[arg(long)]
    all: bool,
    /// The form
    #[arg(long, value_enum)]
    format: FormatArg,
    /// The directory to make; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Everything, with names: for your team only
    #[arg(long)]
    internal: bool,
    /// Although clashes wait for a person: publish the values that `list` and `show` show
    #[arg(long)]
    with_clashes: bool,
    /// Publish an addendum although the report that it supplements is not among these
    #[arg(long)]
    addenda_alone: bool,
    /// Write into a directory that is not empty; files of the same name are replaced
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// Pages that open in any browser, without a network
    Html,
    /// Markdown
    Md,
    /// One JSON file
    Json,
    /// Tables for a spreadsheet
    Csv,
}

pub fn run(args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let mut out = NewDirectory::begin(&args.out, args.force)?;
    let format = match args.format {
        FormatArg::Html => "html",
        FormatArg::Md => "md",
        FormatArg::Json => "json",
        FormatArg::Csv => "csv",
    };
    let request = Request::Export(Export {
        reports: args.ids,
        format: format.to_owned(),
        internal: args.internal,
        with_clashes: args.with_clashes,
        addenda_alone: args.addenda_alone,
    });
    let mut agent = Agent::open(global)?;
    let kind = if args.internal { "internal" } else { "publication" };
    let noted = exports::begin(&mut agent, &args.out, kind)?;
    let streamed = agent.stream(&request, |part: ExportPart| out.append(&part.file, &part.bytes.0));
    let exported: Exported = match streamed {
        Ok(exported) => exported,
        Err(failure) => {
            drop(out);
            noted.nothing(&mut agent);
            return Err(failure);
        }
    };
    let files = out.keep()?;
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    noted.done(&mut agent, files)?;
    global.ui.emit(json!({
        "event": "exported", "reports": exported.reports, "format": format, "internal": args.internal,
        "out": args.out.to_string_lossy(), "files": paths,
        "drafts_left_out": exported.drafts_left_out, "log": exported.log,
    }))?;
    global.ui.say(format_args!(
        "Wrote {} to {}.",
        count(exported.reports as u64, "report", "reports"),
        line(&args.out.to_string_lossy())
    ))?;
    for path in &paths {
        global.ui.say(format_args!("  {}", line(path)))?;
    }
    for words in &exported.words {
        global.ui.say(line(words))?;
    }
    if exported.drafts_left_out > 0 {
        let drafts = count(exported.drafts_left_out as u64, "draft", "drafts");
        global.ui.note(format_args!("{drafts} left out: only finished reports are published."));
    }
    if args.internal {
        global
            .ui
            .warn("internal-export", "this export is not redacted: it names people who did not agree to it");
    }
    Ok(())
}
