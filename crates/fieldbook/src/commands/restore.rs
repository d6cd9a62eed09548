//! `fieldbook restore`

use std::path::PathBuf;

use clap::Args;
use fieldbook_vault::{DeviceInfo, Layout, VaultError, room_for_a_vault};

use super::{json, render};
use crate::agent::client::Agent;
use crate::error::Failure;
use crate::global::Global;
use crate::sanitise::line;

/// Make a vault of a backup, or of a copy of a vault that was made by other means.
///
/// The backup stays as it is. The vault is a new device: its reports are there, drafts stay drafts, and a coordinator
/// has to invite it before it can send anything. What was sealed or forgotten after the backup was written is readable
/// again.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The directory with the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: RestoreArgs, global: &Global) -> Result<(), Failure> {
    room_for_a_vault(&Layout::new(&global.vault))?;
    let shown = line(&args.dir.to_string_lossy());
    if !Layout::new(&args.dir).slots().exists() {
        let failure: Failure = VaultError::NoVault.into();
        return Err(Failure::new(failure.kind, "no-backup", format!("there is no backup in {shown}"))
            .hint("name the directory that `fieldbook backup` wrote"));
    }
    let name =
        |path: &PathBuf| std::path::absolute(path).map_err(Failure::io("the directory cannot be named"));
    let (from, to) = (name(&args.dir)?, name(&global.vault)?);
    let device: DeviceInfo =
        global.passphrase.open(&from, &global.ui, |passphrase| Agent::restore(&from, &to, passphrase))?;
    global.ui.emit(json(&device)?)?;
    global.ui.say(format_args!(
        "Restored {shown} into {}. It is a new device now ({}), in no team yet.",
        line(&global.vault.to_string_lossy()),
        render::short(&device.id)
    ))?;
    global.ui.warn(
        "sealed-is-back",
        "what was sealed or forgotten after the backup was written is readable here again: `fieldbook seal`, \
         `fieldbook forget`",
    );
    global.ui.note(
        "Next: ask a coordinator for an invitation (`fieldbook team invite --replaces DEVICE` ends the old device), then \
         `fieldbook join CODE`.",
    );
    Ok(())
}
