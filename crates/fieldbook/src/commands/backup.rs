//! `fieldbook backup`

use std::path::PathBuf;

use clap::Args;
use fieldbook_vault::BackupSummary;

use super::json;
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::sanitise::line;
use crate::ui::count;

/// Write a copy of the vault into a new directory, for example on another disk.
///
/// It is encrypted and opens with the same passphrase. It holds your reports and what reads them, and not this device's
/// identity: `fieldbook restore` makes a new device of it, which a coordinator invites again. What you seal or forget
/// later stays readable in it: destroy old backups.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The directory to write; it must be new or empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: BackupArgs, global: &Global) -> Result<(), Failure> {
    let dir = std::path::absolute(&args.dir).map_err(Failure::io("the directory cannot be named"))?;
    let written: BackupSummary = Agent::open(global)?.call(&Request::Backup { dir })?;
    global.ui.emit(json(&written)?)?;
    global.ui.say(format_args!(
        "Wrote a backup into {}: {} and {}, which open with the same passphrase.",
        line(&args.dir.to_string_lossy()),
        count(written.reports as u64, "report", "reports"),
        count(written.drafts as u64, "draft", "drafts")
    ))?;
    global.ui.warn(
        "backup-is-not-sealed",
        "what you seal or forget from now on stays readable in this backup. Seal first, then back up; destroy old backups",
    );
    global
        .ui
        .note("`fieldbook restore DIR` brings it back, as a new device that a coordinator has to invite.");
    Ok(())
}
