//! One file per command: its arguments, its help, what it asks the agent and what it prints.
//! Nothing of how anything works is here.

mod addendum;
mod answer;
mod ask;
mod attach;
mod attachment;
mod backup;
mod bundle;
mod carry;
mod conflicts;
mod connections;
mod daemon;
mod demo;
mod doctor;
mod duress;
mod edit;
mod entry;
mod export;
mod exports;
mod finish;
mod forget;
mod history;
mod import;
mod init;
mod internal;
mod join;
mod list;
mod lock;
mod membership;
mod moved;
mod new;
mod passphrase;
mod recover;
mod recovery;
mod relay;
mod render;
mod resolve;
mod restore;
mod safeguards;
mod seal;
mod share;
mod show;
mod status;
mod sync;
mod team;
mod templates;
mod unlock;
mod verify;
mod wipe;

pub(crate) use lock::now as lock_now;
pub(crate) use render::by;
pub(crate) use unlock::IDLE;

use clap::Subcommand;
use serde_json::Value;

use crate::error::Failure;
use crate::global::GlobalArgs;
use crate::interrupt;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a vault on this device
    Init(init::InitArgs),
    /// Found a team, invite devices, see who is in it
    #[command(subcommand)]
    Team(team::TeamCommand),
    /// Join a team with the one-time code of an invitation
    Join(join::JoinArgs),
    /// Write a report; it stays a draft on this device until `finish`
    New(new::NewArgs),
    /// Read reports from JSON Lines files
    Import(import::ImportArgs),
    /// Add a file to a report
    Attach(attach::AttachArgs),
    /// Save a report's attachment as a file, checked against its hash
    Attachment(attachment::AttachmentArgs),
    /// Change a report
    Edit(edit::EditArgs),
    /// List reports
    List(list::ListArgs),
    /// Show a report
    Show(show::ShowArgs),
    /// Show who changed what in a report, and when
    History(history::HistoryArgs),
    /// Finish drafts: seal them for the coordinators, ready to travel
    Finish(finish::FinishArgs),
    /// Give up the power to read reports that coordinators have: nobody can force it out of you
    Seal(seal::SealArgs),
    /// Add to a report that was finished or sealed
    Addendum(addendum::AddendumArgs),
    /// Give reports to another coordinator, on record
    Share(share::ShareArgs),
    /// Forget a report, or somebody in it who takes back consent, here and everywhere
    Forget(forget::ForgetArgs),
    /// Exchange sealed reports with others in the background
    Daemon(daemon::DaemonArgs),
    /// Run a relay: a device that holds others' sealed reports until they are fetched, and can open none
    #[command(subcommand)]
    Relay(relay::RelayCommand),
    /// Exchange sealed reports with another device now
    Sync(sync::SyncArgs),
    /// Exchange sealed reports by files, for example on a stick
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// What this device carries for others
    Carry(carry::CarryArgs),
    /// Ask something about a report, or note it; its author sees it after the next sync
    Ask(ask::AskArgs),
    /// Answer a question about a report
    Answer(answer::AnswerArgs),
    /// List clashes that wait for a person (exit 13 if there are any)
    Conflicts(conflicts::ConflictsArgs),
    /// Decide a clash
    Resolve(resolve::ResolveArgs),
    /// Publish reports, with people who did not agree to be named under pseudonyms
    Export(export::ExportArgs),
    /// What left the vault as plain files, and where; remove it
    Exports(exports::ExportsArgs),
    /// How this device stands
    Status(status::StatusArgs),
    /// Say what blocks a sync (exit 14 when no way leads to a device of the team)
    Doctor(doctor::DoctorArgs),
    /// Look at everything here once more: what was tampered with, what is missing (exit 16, exit 3)
    Verify(verify::VerifyArgs),
    /// Sheets of paper that bring everything back when all coordinators' devices are lost
    #[command(subcommand)]
    Recovery(recovery::RecoveryCommand),
    /// Open everything without Fieldbook
    Recover(recover::RecoverArgs),
    /// Write a copy of the vault that can be restored as a new device
    Backup(backup::BackupArgs),
    /// Bring back a backup, or a copy of a vault, as a new device
    Restore(restore::RestoreArgs),
    /// Say that this vault was moved, and that no other copy of it is used
    Moved(moved::MovedArgs),
    /// Sealed entries as they travel
    #[command(subcommand)]
    Entry(entry::EntryCommand),
    /// Keep the vault open for commands, until `lock`
    Unlock(unlock::UnlockArgs),
    /// Close a vault that `unlock` keeps open
    Lock(lock::LockArgs),
    /// Destroy the vault at once and for good
    Wipe(wipe::WipeArgs),
    /// What protects the vault while it is locked
    Safeguards(safeguards::SafeguardsArgs),
    /// Change the passphrase
    #[command(subcommand)]
    Passphrase(passphrase::PassphraseCommand),
    /// A second passphrase, to be given up under force: it opens a decoy and destroys the rest
    #[command(subcommand)]
    Duress(duress::DuressCommand),
    /// List templates, or the fields of one
    Templates(templates::TemplatesArgs),
    /// Play the whole story in a temporary place, between two real devices
    Demo(demo::DemoArgs),
    /// Processes that the program starts for itself
    #[command(subcommand, hide = true)]
    Internal(internal::InternalCommand),
}

/// Runs a command.
///
/// # Errors
/// Whatever ends it with another exit code than 0.
pub fn run(command: Command, global: GlobalArgs) -> Result<(), Failure> {
    if let Command::Internal(command) = command {
        // Needs no vault, no home, nothing of the environment.
        return internal::run(command, &global.ui());
    }
    interrupt::listen();
    let global = &global.ready()?;
    match command {
        Command::Init(args) => init::run(args, global),
        Command::Team(command) => team::run(command, global),
        Command::Join(args) => join::run(args, global),
        Command::New(args) => new::run(args, global),
        Command::Import(args) => import::run(args, global),
        Command::Attach(args) => attach::run(args, global),
        Command::Attachment(args) => attachment::run(args, global),
        Command::Edit(args) => edit::run(args, global),
        Command::List(args) => list::run(args, global),
        Command::Show(args) => show::run(args, global),
        Command::History(args) => history::run(args, global),
        Command::Finish(args) => finish::run(args, global),
        Command::Seal(args) => seal::run(args, global),
        Command::Addendum(args) => addendum::run(args, global),
        Command::Share(args) => share::run(args, global),
        Command::Forget(args) => forget::run(args, global),
        Command::Daemon(args) => daemon::run(args, global),
        Command::Relay(command) => relay::run(command, global),
        Command::Sync(args) => sync::run(args, global),
        Command::Bundle(command) => bundle::run(command, global),
        Command::Carry(args) => carry::run(args, global),
        Command::Ask(args) => ask::run(args, global),
        Command::Answer(args) => answer::run(args, global),
        Command::Conflicts(args) => conflicts::run(args, global),
        Command::Resolve(args) => resolve::run(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Exports(args) => exports::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Recover(args) => recover::run(args, global),
        Command::Recovery(command) => recovery::run(command, global),
        Command::Backup(args) => backup::run(args, global),
        Command::Restore(args) => restore::run(args, global),
        Command::Moved(args) => moved::run(args, global),
        Command::Entry(command) => entry::run(command, global),
        Command::Unlock(args) => unlock::run(args, global),
        Command::Lock(args) => lock::run(args, global),
        Command::Wipe(args) => wipe::run(args, global),
        Command::Safeguards(args) => safeguards::run(args, global),
        Command::Passphrase(command) => passphrase::run(command, global),
        Command::Duress(command) => duress::run(command, global),
        Command::Templates(args) => templates::run(args, global),
        Command::Demo(args) => demo::run(args, global),
        Command::Internal(_) => Ok(()),
    }
}

/// A value of ours as JSON.
fn json(of: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::failed("internal", error.to_string()))
}
