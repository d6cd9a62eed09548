//! Bundles, seen from the client: the agent hands over what is finished, a process without content keys
//! writes or reads the files, the agent takes in what came.

use std::path::PathBuf;

use fieldbook_vault::AbsorbSummary;
use serde::Serialize;

use crate::agent::client::Agent;
use crate::agent::protocol::{Held, Network, Request};
use crate::error::Failure;
use crate::network::bundle::{File, Read, Said, Write, Written};
use crate::network::job::{Job, Task};
use crate::network::working::Working;
use crate::progress::{Progress, Step};
use crate::ui::{Ui, count, size};

/// What came out of files, and what became of it.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// What was read.
    #[serde(flatten)]
    pub read: Read,
    /// What was taken in.
    pub absorbed: AbsorbSummary,
    /// Finished reports of this device by who holds them.
    pub held: Vec<Held>,
}

/// Writes a bundle.
///
/// # Errors
/// What the disk or the agent refuses; nothing is lost here by it.
pub fn write(agent: &mut Agent, task: Write, ui: &Ui) -> Result<Written, Failure> {
    // What came meanwhile is signed for, and the receipts go along.
    let _: AbsorbSummary = agent.call(&Request::Absorb)?;
    agent.call::<u64>(&Request::Flush)?;
    let network: Network = agent.call(&Request::Network)?;
    let mut written = None;
    let mut progress: Option<(Progress<'_>, u64)> = None;
    run(network, Task::WriteBundle(task), |said| {
        match said {
            Said::WritePlanned { entries, parts, bytes, kept } => {
                if kept > 0 {
                    ui.note(format_args!(
                        "Going on with a bundle that was interrupted: {} there already.",
                        count(kept.into(), "file is", "files are")
                    ));
                }
                if entries > 0 {
                    ui.note(format_args!(
                        "{} to write, {} in {}.",
                        count(entries, "entry", "entries"),
                        size(bytes),
                        count(parts.into(), "file", "files")
                    ));
                }
                ui.emit(serde_json::json!({
                    "event": "planned", "entries": entries, "files": parts, "bytes": bytes, "kept": kept
                }))?;
                progress = Some((Progress::begin(ui), bytes));
            }
            Said::Progress { bytes } => {
                if let Some((progress, of)) = &mut progress {
                    progress.at(step("Writing", bytes, *of))?;
                }
            }
            Said::Part { file } => ui.emit(serde_json::json!({"event": "file", "file": file}))?,
            Said::Written(done) => written = Some(done),
            _ => {}
        }
        Ok(())
    })?;
    written.ok_or_else(ended)
}

/// Reads files, and tells of each.
///
/// # Errors
/// A path does not exist, or the agent refuses. Damage is no error here: the summary names it.
pub fn read(
    agent: &mut Agent,
    paths: Vec<PathBuf>,
    ui: &Ui,
    mut each: impl FnMut(&File) -> Result<(), Failure>,
) -> Result<Taken, Failure> {
    let network: Network = agent.call(&Request::Network)?;
    let mut read = None;
    let mut progress: Option<(Progress<'_>, u64)> = None;
    run(network, Task::ReadBundles { paths }, |said| {
        match said {
            Said::ReadPlanned { files, bytes } => {
                ui.emit(serde_json::json!({"event": "planned", "files": files, "bytes": bytes}))?;
                progress = Some((Progress::begin(ui), bytes));
            }
            Said::Progress { bytes } => {
                if let Some((progress, of)) = &mut progress {
                    progress.at(step("Reading", bytes, *of))?;
                }
            }
            Said::File(file) => {
                progress.iter().for_each(|(progress, _)| progress.clear());
                each(&file)?;
            }
            Said::Read(done) => read = Some(done),
            _ => {}
        }
        Ok(())
    })?;
    drop(progress);
    let read = read.ok_or_else(ended)?;
    let absorbed: AbsorbSummary = agent.call(&Request::Absorb)?;
    agent.call::<u64>(&Request::Flush)?;
    let mut held = Vec::new();
    agent.stream::<Held, ()>(&Request::Held, |group| {
        held.push(group);
        Ok(())
    })?;
    Ok(Taken { read, absorbed, held })
}

/// So many bytes of the files are done.
fn step(doing: &str, bytes: u64, of: u64) -> Step {
    // Rounded up files let a little more be done than was planned.
    let words = vec![format!("{doing}: {} of {}", size(bytes.min(of)), size(of))];
    Step { words, bytes, of, exact: true, object: serde_json::json!({"bytes": bytes, "of": of}) }
}

/// Runs the process that touches the files.
fn run(
    network: Network,
    task: Task,
    mut each: impl FnMut(Said) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let words = ("the process for the files cannot be started", "the process for the files is gone");
    let mut working = Working::start("bundle", &Job { network, task }, words)?;
    let mut verdict = Ok(());
    while let Some(said) = working.line()? {
        let said = serde_json::from_str(&said)
            .map_err(|error| Failure::failed("internal", format!("it is not understood: {error}")))?;
        match said {
            Said::Failed(failure) => verdict = Err(failure),
            said if verdict.is_ok() => verdict = each(said),
            _ => {}
        }
    }
    working.end()?;
    verdict
}

fn ended() -> Failure {
    Failure::failed("process-gone", "the process for the files ended before it was done")
        .hint("nothing is lost; run the same command again")
}
