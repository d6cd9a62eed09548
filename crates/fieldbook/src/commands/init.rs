//! `fieldbook init`

use clap::Args;
use fieldbook_vault::{DeviceInfo, Layout, WORK_FACTOR_MAX, WORK_FACTOR_MIN, room_for_a_vault};

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Create;
use crate::error::Failure;
use crate::global::Global;
use crate::interrupt::Hidden;

/// Make a vault on this device.
///
/// The passphrase is the only key: nobody can open the vault without it, and nobody can restore it.
/// You are offered six words that were drawn by chance; a passphrase of your own that could be guessed is refused.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What others in your team will see as this device's name
    #[arg(long)]
    name: String,
    /// log2 of the cost of one guess, 15 to 19 [default: about one second on this machine]
    #[arg(long, value_name = "N", value_parser = work_factor())]
    work_factor: Option<u8>,
    /// Take a passphrase that could be guessed
    #[arg(long)]
    weak_passphrase: bool,
}

/// Refused before anybody has chosen a passphrase.
pub(super) fn work_factor() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(i64::from(WORK_FACTOR_MIN)..=i64::from(WORK_FACTOR_MAX))
}

pub fn run(args: InitArgs, global: &Global) -> Result<(), Failure> {
    make(args.name, args.work_factor, args.weak_passphrase, global)?;
    global.ui.note("Next: `fieldbook team create NAME`, or `fieldbook join CODE` with a coordinator's code.");
    Ok(())
}

/// Makes it, and says so.
pub(super) fn make(
    name: String,
    work_factor: Option<u8>,
    weak: bool,
    global: &Global,
) -> Result<(), Failure> {
    room_for_a_vault(&Layout::new(&global.vault))?;
    let vault =
        std::path::absolute(&global.vault).map_err(Failure::io("the vault's directory cannot be named"))?;
    if std::fs::read_dir(&vault).is_ok_and(|mut files| files.next().is_some()) {
        global.ui.warn(
            "directory-not-empty",
            "there are other files in this directory already; a vault is better in one of its own: Ctrl-C, then --vault \
             DIRECTORY",
        );
    }
    let _hidden = Hidden::for_questions(&global.ui);
    let passphrase = global.passphrase.read_new(&vault, weak, &global.ui)?;
    let create = Create { name, work_factor };
    let device: DeviceInfo = Agent::create(&vault, &passphrase, create)?;
    global.ui.emit(json(&device)?)?;
    global.ui.say(format_args!(
        "Made a vault in {} for the device \"{}\" ({}).",
        crate::sanitise::line(&global.vault.to_string_lossy()),
        crate::sanitise::line(&device.name),
        render::short(&device.id)
    ))
}
