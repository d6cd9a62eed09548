//! `fieldbook entry`

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fieldbook_vault::EntryInfo;
use serde_json::json;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::{EntryBytes, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::output::NewFile;
use crate::sanitise::line;
use crate::ui::{size, time};

#[derive(Debug, Subcommand)]
pub enum EntryCommand {
    /// List the sealed entries of a report
    List(ListArgs),
    /// Save a sealed entry as a file: a standard age file, still sealed
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The report: the beginning of its id
    id: String,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The entry: the beginning of its id
    entry: String,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
    let entry: EntryBytes = Agent::open(global)?.call(&Request::Entry { entry: args.entry })?;
    let mut file = NewFile::begin(&args.out)?;
    file.write_all(&entry.bytes.0).map_err(Failure::io("the file cannot be written"))?;
    file.keep()?;
    let out = line(&args.out.to_string_lossy());
    global
        .ui
        .emit(json!({"id": entry.id, "bytes": entry.bytes.0.len(), "out": args.out.to_string_lossy()}))?;
    global.ui.say(format_args!("Saved entry {} as {out}.", render::short(&entry.id)))?;
    global.ui.note("`fieldbook recover --explain` says how to open it with stock tools.");
    Ok(())
}
