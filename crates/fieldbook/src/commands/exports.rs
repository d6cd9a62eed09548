//! `fieldbook exports`

use std::fs;
use std::path::Path;

use clap::{Args, Subcommand};
use fieldbook_vault::ExportRecord;
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::{Failure, Kind};
use crate::exports::{Found, look, shred};
use crate::global::Global;
use crate::sanitise::line;
use crate::ui::{count, time};

/// What left the vault as plain files, and where it went.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ExportsArgs {
    #[command(subcommand)]
    command: Option<ExportsCommand>,
}

#[derive(Debug, Subcommand)]
enum ExportsCommand {
    /// Write over the files and remove them, as far as the medium lets that be done
    Shred(ShredArgs),
}

/// Remove exports.
///
/// Each file is written over where it lies and then removed. On flash disks and sticks, and on file systems that never
/// write in place, copies may survive; so do copies that you or another program made.
#[derive(Debug, Args)]
struct ShredArgs {
    /// The exports, as `fieldbook exports` names them; or --all
    #[arg(value_name = "PATH", required_unless_present = "all", conflicts_with = "all")]
    paths: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Also files that were changed since, or whose place something else has taken
    #[arg(long)]
    changed: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: ExportsArgs, global: &Global) -> Result<(), Failure> {
    let mut agent = Agent::open(global)?;
    let exports: Vec<ExportRecord> = agent.call(&Request::Exports)?;
    match args.command {
        None => list(&exports, global),
        Some(ExportsCommand::Shred(args)) => remove(&args, &exports, &mut agent, global),
    }
}

fn list(exports: &[ExportRecord], global: &Global) -> Result<(), Failure> {
    for export in exports {
        let found: Vec<Found> = export.files.iter().map(look).collect();
        let of = |what| found.iter().filter(|found| **found == what).count() as u64;
        let files: Vec<_> = export
            .files
            .iter()
            .zip(&found)
            .map(|(file, found)| json!({"path": file.path, "bytes": file.len, "found": found.word()}))
            .collect();
        global.ui.emit(json!({
            "path": export.path, "kind": export.kind, "time_ms": export.time_ms, "files": files,
        }))?;
        let mut words = Vec::new();
        if export.files.is_empty() {
            words.push("not completed: look there yourself".to_owned());
        }
        for (what, word) in
            [(Found::AsWritten, "there"), (Found::Changed, "changed since"), (Found::Gone, "gone")]
        {
            if of(what) > 0 {
                words.push(format!("{} {word}", count(of(what), "file", "files")));
            }
        }
        global.ui.say(format_args!(
            "{}  {:<11}  {}\n    {}",
            time(export.time_ms),
            export.kind,
            line(&export.path),
            words.join(", ")
        ))?;
    }
    if exports.is_empty() {
        global.ui.say("Nothing left this vault as plain files, or all of it was removed.")?;
    }
    Ok(())
}

fn remove(
    args: &ShredArgs,
    exports: &[ExportRecord],
    agent: &mut Agent,
    global: &Global,
) -> Result<(), Failure> {
    let named = |path: &str| {
        let absolute = std::path::absolute(path).unwrap_or_default();
        exports.iter().find(|export| export.path == path || Path::new(&export.path) == absolute)
    };
    let chosen: Vec<&ExportRecord> = if args.all {
        exports.iter().collect()
    } else {
        let unknown = |path: &String| {
            Failure::failed("no-such-export", format!("nothing was exported to {}", line(path)))
                .hint("`fieldbook exports` lists the places")
        };
        args.paths.iter().map(|path| named(path).ok_or_else(|| unknown(path))).collect::<Result<_, _>>()?
    };
    if chosen.is_empty() {
        global.ui.emit(json!({"event": "shredded", "exports": [], "left": [], "not_there": []}))?;
        return global.ui.say("Nothing left this vault as plain files, or all of it was removed.");
    }
    let all = chosen.iter().flat_map(|export| &export.files);
    let files = all.filter(|file| look(file) != Found::Gone).count() as u64;
    let question =
        format!("This destroys {} for good. Go on?", count(files, "exported file", "exported files"));
    if files > 0 && !args.yes && !global.ui.confirm(&question, "--yes")? {
        return Err(Failure::new(Kind::Interrupted, "not-shredded", "nothing was removed"));
    }
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    let mut not_there = Vec::new();
    for export in chosen {
        let kept = remove_one(export, args.changed, &mut not_there);
        // What was not completed has no list of files: only a person can say that nothing is there.
        if kept.is_empty() && (!export.files.is_empty() || nothing_at(&export.path)) {
            gone.push(export.path.clone());
        } else {
            left.extend(kept);
            if export.files.is_empty() {
                left.push((
                    export.path.clone(),
                    "it was not completed; look there yourself, and remove it".to_owned(),
                ));
            }
        }
    }
    agent.call::<usize>(&Request::DropExports { paths: gone.clone() })?;
    let kept: Vec<_> = left.iter().map(|(path, why)| json!({"path": path, "why": why})).collect();
    global.ui.emit(json!({"event": "shredded", "exports": gone, "left": kept, "not_there": not_there}))?;
    global.ui.say(format_args!(
        "Removed {}. On flash, and where copies were made, something may survive.",
        count(gone.len() as u64, "export", "exports")
    ))?;
    if !not_there.is_empty() {
        global.ui.warn(
            "exports-moved",
            format_args!(
                "{} not there any more. If somebody moved or renamed them, they still are where they went, and no longer on the \
                 list: {}",
                count(not_there.len() as u64, "file was", "files were"),
                line(&not_there.join(", "))
            ),
        );
    }
    for (path, why) in &left {
        global.ui.say(format_args!("  left: {} ({})", line(path), line(why)))?;
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Partial, "exports-left", "not everything was removed")
        .hint("--changed removes also what was changed since"))
}

/// What was left of an export, and why. What is not there any more is added to `not_there`.
fn remove_one(export: &ExportRecord, changed: bool, not_there: &mut Vec<String>) -> Vec<(String, String)> {
    let mut left = Vec::new();
    for file in &export.files {
        let path = Path::new(&file.path);
        let done = match look(file) {
            Found::Gone => {
                not_there.push(file.path.clone());
                Ok(())
            }
            Found::Changed if !changed => Err("changed since it was written".to_owned()),
            Found::Changed if !path.is_file() || path.is_symlink() => Err("not a plain file".to_owned()),
            _ => shred(path).map_err(|error| crate::error::plain(&error)),
        };
        if let Err(why) = done {
            left.push((file.path.clone(), why));
        }
    }
    // Only if nothing else is in it.
    let _ = fs::remove_dir(&export.path);
    left
}

fn nothing_at(path: &str) -> bool {
    let there = |path: &str| fs::symlink_metadata(path).is_ok();
    !there(path) && !there(&format!("{path}.partial"))
}
