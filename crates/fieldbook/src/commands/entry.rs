//! `fieldbook entry`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fieldbook_vault::{EntryInfo, ExportedEntries};
use serde_json::json;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{EntryBytes, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::output::NewFile;
use crate::sanitise::line;
use crate::ui::{count, size, time};

#[derive(Debug, Subcommand)]
pub enum EntryCommand {
    /// List the sealed entries of a report
    List(ListArgs),
    /// Save sealed entries as files: standard age files, still sealed
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The report: the beginning of its id
    id: String,
}

/// Save sealed entries as files: standard age files, still sealed.
///
/// With --all, everything that this device carries goes into a directory, one file an entry. From such
/// a directory and recovery sheets, `fieldbook recovery restore` brings a team back.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The entry: the beginning of its id; or that of a report that has a single entry
    #[arg(value_name = "ID", required_unless_present = "all")]
    entry: Option<String>,
    /// Every entry that this device carries, its own and others'
    #[arg(long, conflicts_with = "entry", requires = "out")]
    all: bool,
    /// The file to write; it must not exist [default: standard output, if that is not a terminal].
    /// With --all, the directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(command: EntryCommand, global: &Global) -> Result<(), Failure> {
    match command {
        EntryCommand::List(args) => list(args, global),
        EntryCommand::Export(args) => export(args, global),
    }
}

fn list(args: ListArgs, global: &Global) -> Result<(), Failure> {
    Agent::open(global)?.stream::<EntryInfo, ()>(&Request::Entries { report: args.id }, |entry| {
        global.ui.emit(json(&entry)?)?;
        global.ui.say(format_args!(
            "{}  {}  {}  number {} of {}  {}",
            render::short(&entry.id),
            time(entry.time_ms),
            line(&entry.kind),
            entry.sequence,
            line(&entry.who),
            entry.size.map_or_else(|| "not held here".to_owned(), size)
        ))
    })
}

fn export(args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let Some(entry) = args.entry else {
        return export_all(&args.out.unwrap_or_default(), global);
    };
    if args.out.is_none() && (global.ui.json() || io::stdout().is_terminal()) {
        return Err(Failure::usage("bytes-on-screen", "an entry is bytes that no screen can show")
            .hint("give --out FILE, or send standard output to a file"));
    }
    let entry = find(&mut Agent::open(global)?, entry)?;
    let Some(out) = args.out else {
        return global.ui.bytes(&entry.bytes.0);
    };
    let mut file = NewFile::begin(&out)?;
    file.write_all(&entry.bytes.0).map_err(Failure::io("the file cannot be written"))?;
    file.keep()?;
    global.ui.emit(json!({"id": entry.id, "bytes": entry.bytes.0.len(), "out": out.to_string_lossy()}))?;
    let out = line(&out.to_string_lossy());
    global.ui.say(format_args!("Saved entry {} as {out}.", render::short(&entry.id)))?;
    global.ui.note("`fieldbook recover --explain` says how to open it with stock tools.");
    Ok(())
}

fn export_all(out: &Path, global: &Global) -> Result<(), Failure> {
    let name = line(&out.to_string_lossy());
    let dir = std::path::absolute(out).map_err(Failure::io("the directory cannot be used"))?;
    let done: ExportedEntries = Agent::open(global)?.call(&Request::ExportEntries { dir })?;
    global.ui.emit(json!({
        "written": done.written, "already_there": done.already_there, "out": out.to_string_lossy()
    }))?;
    let entries = count(done.written as u64, "sealed entry", "sealed entries");
    global.ui.say(format_args!("Saved {entries} in {name}."))?;
    if done.already_there > 0 {
        let entries = count(done.already_there as u64, "entry was", "entries were");
        global.ui.say(format_args!("{entries} there already."))?;
    }
    global.ui.note(
        "They are still sealed. Their number, sizes and dates can be seen by whoever has the directory.",
    );
    Ok(())
}

/// The entry that `id` names, or the only one of the report that it names.
fn find(agent: &mut Agent, id: String) -> Result<EntryBytes, Failure> {
    let missing = match agent.call(&Request::Entry { entry: id.clone() }) {
        Err(failure) if failure.code == "no-such-entry" => failure,
        found => return found,
    };
    let mut entries = Vec::new();
    let listed = agent.stream::<EntryInfo, ()>(&Request::Entries { report: id.clone() }, |entry| {
        entries.push(entry);
        Ok(())
    });
    match (listed, entries.as_slice()) {
        (Ok(()), [only]) => agent.call(&Request::Entry { entry: only.id.clone() }),
        (Ok(()), [_, _, ..]) => {
            let id = line(&id);
            Err(Failure::usage(
                "several-entries",
                format!("{id} is a report, and it has {} entries", entries.len()),
            )
            .hint(format!("`fieldbook entry list {id}` shows them; name one")))
        }
        _ => Err(missing),
    }
}
