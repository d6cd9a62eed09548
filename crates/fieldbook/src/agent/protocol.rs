//! What is said on the local socket. `protocol/local-socket.md` is the specification.
//!
//! One request at a time on a connection; an answer is any number of [`Answer::Item`] frames and
//! then one [`Answer::Done`] or [`Answer::Refused`].
//!
//! (It is one file because it is one protocol, in the order of its page.)

use std::path::PathBuf;

use fieldbook_daemon::control::{self, Confinement};
use fieldbook_vault::{ExportedFile, ListFilter, RemovalSummary};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::Hex;
use crate::error::Failure;

/// The version of this protocol. Client and agent must speak the same one.
pub const VERSION: u32 = 1;

/// Longest life of a code: two weeks.
pub const INVITATION_MAX_S: u64 = 14 * 24 * 3600;

/// The first frame on the standard input of a new agent. Nothing of it stands in argv or environment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Opening {
    /// [`VERSION`].
    pub v: u32,
    /// The vault's directory, absolute.
    pub vault: PathBuf,
    /// The passphrase, UTF-8.
    pub passphrase: Hex,
    /// How long to wait while another process has the vault open, in milliseconds.
    pub wait_ms: u64,
    /// Makes the vault instead of opening it; the agent then ends.
    #[serde(default)]
    pub create: Option<Create>,
    /// Makes the vault of a backup, or of a copy of a vault, in this directory, absolute; the agent then ends.
    #[serde(default)]
    pub restore: Option<PathBuf>,
    /// Stays, and listens on the runtime socket.
    #[serde(default)]
    pub stay: Option<Stay>,
    /// Opens the decoy that lies beside the vault, and destroys nothing.
    #[serde(default)]
    pub decoy: bool,
    /// Destroys the vault's keys, if the passphrase opens it; the agent then ends.
    #[serde(default)]
    pub wipe: bool,
}

/// How to make a vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Create {
    /// The device's name.
    pub name: String,
    /// log2 of the scrypt cost; chosen for this machine if absent.
    pub work_factor: Option<u8>,
}

/// Of the duress passphrase.
#[derive(Debug, Serialize, Deserialize)]
pub struct DuressState {
    /// One is set.
    pub set: bool,
    /// The vault's own passphrase goes with another key file since then, or with none.
    pub other_key_file: bool,
}

/// What applies while the vault is locked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Safeguards {
    /// `wipe` asks for no passphrase, and a signal wipes.
    pub wipe_unasked: bool,
    /// After so many days without an unlocking the keys are destroyed; never if 0.
    pub dead_man_days: u16,
    /// When that will be, in milliseconds since 1970; absent if never.
    pub dead_man_ms: Option<i64>,
}

/// How a staying agent ends by itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stay {
    /// After this many seconds without a request; never if absent.
    pub idle_s: Option<u64>,
}

/// What a client may ask. Reports, entries and attachments are named by any unambiguous prefix of their id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// First on a socket connection. Done: [`Greeting`].
    Hello {
        /// [`VERSION`].
        v: u32,
    },
    /// Ends the agent. Done: null, when the vault is closed.
    Lock,
    /// Whether this passphrase opens the vault. Done: null.
    CheckPassphrase {
        /// The one, UTF-8.
        own: Hex,
    },
    /// Changes the passphrase. Done: null.
    ChangePassphrase {
        /// The present one, UTF-8.
        own: Hex,
        /// The new one, UTF-8.
        new: Hex,
    },
    /// Sets the duress passphrase, and makes the decoy if there is none. Done: whether it was made.
    SetDuress {
        /// The vault's passphrase, UTF-8.
        own: Hex,
        /// The duress passphrase, UTF-8.
        duress: Hex,
        /// The name of the decoy's device; this one's if absent.
        name: Option<String>,
    },
    /// Makes the duress passphrase void and the decoy unreadable. Done: whether there was one.
    RemoveDuress,
    /// Done: whether a duress passphrase is set, as [`DuressState`].
    HasDuress,
    /// Done: whether the decoy is open, to write into it.
    IsDecoy,
    /// What applies while the vault is locked, changed before it is told. Done: [`Safeguards`].
    Safeguards {
        /// `wipe` asks for no passphrase, and a signal wipes.
        wipe_unasked: Option<bool>,
        /// After so many days without an unlocking the keys are destroyed; never if 0.
        dead_man_days: Option<u16>,
    },
    /// Notes where plain files go, before they are written and afterwards. Done: whether the place is new.
    NoteExport {
        /// The file or directory, absolute.
        path: String,
        /// What it is.
        kind: String,
        /// What was written.
        files: Vec<ExportedFile>,
    },
    /// Done: a list of `ExportRecord`.
    Exports,
    /// Drops exports from the list. Done: how many.
    DropExports {
        /// As they are noted.
        paths: Vec<String>,
    },
    /// Done: `DeviceInfo`.
    Device,
    /// Done: `TeamInfo`.
    CreateTeam {
        /// The team's name.
        name: String,
    },
    /// Writes a backup. Done: `BackupSummary`.
    Backup {
        /// The directory, absolute, new or empty; the agent writes it.
        dir: PathBuf,
    },
    /// The vault was moved, and no other copy of it is used. Done: null.
    Moved,
    /// Done: a list of `Member`.
    People,
    /// What a removal would mean. Done: `RemovalSummary`.
    RemovalPreview {
        /// The device: its label, or the beginning of its id.
        device: String,
        /// Whoever has it now is not the one it was given to.
        lost: bool,
        /// If it is lost: which of the coordinators stay whom it admitted.
        #[serde(default)]
        keep: Vec<String>,
    },
    /// Coordinators only: removes a device from the team. Done: `RemovalSummary`.
    Remove {
        /// The device: its label, or the beginning of its id.
        device: String,
        /// Whoever has it now is not the one it was given to.
        lost: bool,
        /// If it is lost: which of the coordinators stay whom it admitted.
        #[serde(default)]
        keep: Vec<String>,
    },
    /// Coordinators only. Done: `Member`.
    SetRole {
        /// The device: its label, or the beginning of its id.
        device: String,
        /// `monitor` or `coordinator`.
        role: String,
    },
    /// Item: `DeskView`. Done: null.
    Desks,
    /// Coordinators only: names this device's desk. Done: `DeskView`.
    NameDesk {
        /// The name.
        name: String,
    },
    /// Item: `ActView`. Done: null.
    TeamLog,
    /// Coordinators only: gives reports to another coordinator. Done: `ShareSummary`.
    Share {
        /// The reports; with a filter, more.
        reports: Vec<String>,
        /// All finished reports of this desk that it finds.
        filter: Option<ListFilter>,
        /// The coordinator's device: its label, or the beginning of its id.
        with: String,
    },
    /// Forgets a report, or somebody in it. Done: `ForgetSummary`.
    Forget {
        /// The report.
        report: String,
        /// The id of the person in the report.
        person: Option<String>,
        /// With a person: the report's attachments stay.
        #[serde(default)]
        keep_attachments: bool,
    },
    /// Who would be forgotten. Item: `PersonFound`. Done: null.
    FindPeople {
        /// Only in this report; then `person` may be the id of the person in it.
        report: Option<String>,
        /// A name.
        person: String,
    },
    /// What authors ask to be forgotten. Item: `ForgetRequestView`. Done: null.
    ForgetRequests,
    /// Coordinators only: does what an author asked. Done: `ForgetSummary`.
    ConfirmForget {
        /// The report.
        report: String,
    },
    /// Done: `ReportSummary`.
    New(NewReport),
    /// One report in the JSON form. Done: `Created`.
    Import {
        /// The JSON text; two imports of the same text make one report.
        source: String,
    },
    /// Done: `ReportSummary`.
    Edit {
        /// The report.
        report: String,
        /// What changes.
        changes: Changes,
        /// Whoever asks again with the same 16 random bytes changes nothing.
        #[serde(default)]
        once: Option<Hex>,
    },
    /// A text of a report, to write in it at length. Done: `OpenedText`.
    OpenText {
        /// The report.
        report: String,
        /// `narrative`, `fields.NAME` of a long text, `ask`, `answer` or `answer.NOTE`.
        field: String,
    },
    /// Keeps what is being written, beside the report: it is not in it and does not travel. Done: null.
    KeepText {
        /// The report.
        report: String,
        /// As in `open-text`.
        field: String,
        /// What the text was when it was opened or last saved.
        base: String,
        /// Marks of texts that were to be saved since, and no answer came: their BLAKE3 hashes.
        #[serde(default)]
        tried: Vec<String>,
        /// What is written now.
        text: String,
        /// The report was made to keep this.
        #[serde(default)]
        made: bool,
    },
    /// Saves what was written, together with what others changed since `base`; nothing is kept beside it any more.
    /// Done: `SavedText`.
    SaveText {
        /// The report.
        report: String,
        /// `narrative` or `fields.NAME`.
        field: String,
        /// As in `keep-text`.
        base: String,
        /// As in `keep-text`: if one of them is what is saved, it is the base.
        #[serde(default)]
        tried: Vec<String>,
        /// What is written now.
        text: String,
    },
    /// Throws away what is kept beside a report. Done: null.
    DropText {
        /// The report.
        report: String,
        /// As in `open-text`.
        field: String,
        /// The report was made to keep it: it goes, too, if it still is as it was made.
        #[serde(default)]
        draft: bool,
    },
    /// Throws away all that is kept beside a report. Done: how many texts.
    DropTexts {
        /// The report.
        report: String,
    },
    /// Done: `Attached`.
    Attach {
        /// The report.
        report: String,
        /// The file, absolute; the agent reads it.
        path: PathBuf,
        /// Its media type; guessed if absent.
        media_type: Option<String>,
    },
    /// Item: [`Hex`] chunks of the original bytes, checked against its hash. Done: `AttachmentView`.
    Attachment {
        /// The report.
        report: String,
        /// The attachment's id or name.
        attachment: String,
    },
    /// Done: `ReportSummary`.
    Finish {
        /// The report.
        report: String,
        /// Required fields may be empty.
        incomplete: bool,
    },
    /// Finishes every draft. Item: [`Finished`]. Done: null.
    FinishAll {
        /// Required fields may be empty.
        incomplete: bool,
    },
    /// Seals a report of this device: it forgets it. Done: `SealSummary`.
    Seal {
        /// The report.
        report: String,
        /// Even if not enough coordinators have confirmed it.
        anyway: bool,
    },
    /// Seals every report of this device that enough coordinators have confirmed. Item: `SealSummary`. Done: the ids of
    /// those that are left because a text of theirs was not saved.
    SealReceived,
    /// Reports seal themselves when so many coordinators have confirmed them; never if absent. Done: null.
    SealAfter {
        /// 1 to 64.
        coordinators: Option<u32>,
    },
    /// Begins a draft that supplements a report, which may be sealed. Done: `ReportSummary`.
    Addendum {
        /// The report.
        report: String,
        /// What is added.
        narrative: String,
        /// Its title.
        title: Option<String>,
        /// Its language (BCP 47).
        language: Option<String>,
        /// As in [`NewReport`].
        #[serde(default)]
        once: Option<Hex>,
    },
    /// Item: `ReportSummary`. Done: null.
    List {
        /// What to leave out.
        filter: ListFilter,
    },
    /// Done: `ShownReport`.
    Show {
        /// The report.
        report: String,
    },
    /// What waits for an answer in a report, and nothing else of it. Done: `OpenQuestions`.
    Questions {
        /// The report.
        report: String,
    },
    /// What was written of a report and not saved. Done: a list of names, each with its `KeptText`.
    KeptTexts {
        /// The report.
        report: String,
    },
    /// Item: `HistoryView`. Done: null.
    History {
        /// The report.
        report: String,
    },
    /// Item: `ReportClashes`. Done: null.
    Conflicts,
    /// Done: `ReportSummary`.
    Resolve {
        /// The report.
        report: String,
        /// The field's path.
        field: String,
        /// The value to keep, or `both`.
        keep: String,
    },
    /// Asks or notes something on a report. Done: `Noted`.
    Ask {
        /// The report.
        report: String,
        /// What is asked.
        text: String,
        /// Whoever asks again with the same 16 random bytes has asked once.
        #[serde(default)]
        once: Option<Hex>,
        /// Where it was kept while it was written: it is kept no more.
        #[serde(default)]
        kept: Option<String>,
    },
    /// Answers a question on a report. Done: `Noted`.
    Answer {
        /// The report.
        report: String,
        /// The question: the beginning of its id; the only open one if absent.
        #[serde(default)]
        to: Option<String>,
        /// The answer.
        text: String,
        /// As in `Ask`.
        #[serde(default)]
        once: Option<Hex>,
        /// As in `Ask`.
        #[serde(default)]
        kept: Option<String>,
    },
    /// Renders a publication. Item: [`ExportPart`]. Done: [`Exported`].
    Export(Export),
    /// Done: `Status`.
    Status,
    /// The same, and it does not count as a use of the vault. Done: `Status`.
    Glance,
    /// Done: `Partners`.
    Partners,
    /// Done: `Standing`, or null without a team.
    Standing,
    /// Looks at everything once more. Item: `Finding`. Done: `Verified`.
    Verify,
    /// Finished reports of this device by who holds them. Item: [`Held`]. Done: null.
    Held,
    /// Item: `EntryInfo`. Done: null.
    Entries {
        /// The report.
        report: String,
    },
    /// Done: [`EntryBytes`].
    Entry {
        /// The entry.
        entry: String,
    },
    /// Writes every entry held here as a file. Done: `ExportedEntries`.
    ExportEntries {
        /// The directory, absolute; the agent writes it.
        dir: PathBuf,
    },
    /// Coordinators only: makes recovery sheets. Done: [`RecoverySheets`].
    CreateRecovery {
        /// How many sheets it takes.
        threshold: usize,
        /// How many there are.
        shares: usize,
        /// The sheets that the desk has are replaced.
        replace: bool,
    },
    /// Whether these sheets are the desk's. Done: `RecoveryCheck`.
    CheckRecovery {
        /// The words of each sheet.
        shares: Vec<Hex>,
    },
    /// Reads everything again with the sheets, or brings the team back. Done: `RecoveryRestored`.
    RestoreRecovery {
        /// The words of each sheet.
        shares: Vec<Hex>,
        /// A directory with entries to take in first, absolute; the agent reads it.
        from: Option<PathBuf>,
    },
    /// Coordinators only. Done: the desk's age identity as text, in [`Hex`].
    DeskIdentity,
    /// Hands finished work to the depot. Done: how many entries.
    Flush,
    /// Opens what arrived in the depot. Done: `AbsorbSummary`.
    Absorb,
    /// What a network process needs. Done: [`Network`].
    Network,
    /// The entries that a device wrote itself or signed for, and that it has not said to hold when it was met. Item: a
    /// list of ids. Done: null.
    KnownToHold {
        /// Its id.
        device: String,
    },
    /// The device that a name or the beginning of an id stands for. Done: its id, as text.
    FindDevice {
        /// As typed.
        device: String,
    },
    /// Coordinators only: begins an invitation, which lives as long as this connection. Done: [`Invitation`].
    Invite {
        /// `monitor`, `coordinator` or `relay`.
        role: String,
        /// Where the other device can connect, host:port.
        addresses: Vec<String>,
        /// How long the code is good for, in seconds: at most [`INVITATION_MAX_S`].
        expires_s: u64,
        /// A long code, for a QR code or a file, in place of words.
        #[serde(default)]
        long: bool,
        /// A coordinator of a new desk, which this device will not read.
        #[serde(default)]
        new_desk: bool,
        /// The member, by its label or the beginning of its id, whose place the newcomer takes: it is removed as
        /// lost.
        #[serde(default)]
        replaces: Option<String>,
    },
    /// A device connected to answer the invitation; an exchange that was going on is over. Done: null.
    PairingConnected,
    /// Begins to join on this connection. Done: [`PairingStep`], with the first message to send.
    Join {
        /// The code as typed.
        code: String,
        /// Makes the vault a new device first, although it is in a team. A copy becomes one in any case.
        #[serde(default)]
        new_device: bool,
    },
    /// A pairing message arrived from the other device. Done: [`PairingStep`].
    PairingReceived {
        /// Its bytes.
        message: Hex,
    },
    /// The person compared the check words and said yes. Done: [`PairingStep`].
    PairingApproved {
        /// The inviter's: where the new device will find somebody to sync with, host:port.
        #[serde(default)]
        addresses: Vec<String>,
    },
    /// The person said no. Done: [`PairingStep`].
    PairingRejected,
}

/// Answer to [`Request::Hello`], and the first frame of a new agent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`].
    pub v: u32,
    /// The program's version.
    pub program: String,
    /// Of a new agent: see `DeviceInfo`.
    #[serde(default)]
    pub copy: Option<String>,
    /// What the system holds the agent to.
    #[serde(default)]
    pub confinement: Confinement,
    /// Of a new agent that stays: the system says so before it sleeps, and the vault is locked then.
    #[serde(default)]
    pub locks_before_sleep: bool,
}

impl Greeting {
    /// Of the process that says it.
    pub fn of_this_process() -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let confinement = control::confinement();
        Self { v: VERSION, program, copy: None, confinement, locks_before_sleep: false }
    }
}

/// New recovery sheets.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecoverySheets {
    /// The words of each.
    pub sheets: Vec<Hex>,
    /// Whether there were others before.
    pub replaced: bool,
}

/// A report as `new` describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewReport {
    /// The template's name.
    pub template: String,
    /// Its content.
    pub changes: Changes,
    /// Whoever asks again with the same 16 random bytes gets the report that is there already.
    #[serde(default)]
    pub once: Option<Hex>,
}

/// Changes to a report, in the words of the command line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changes {
    /// `key=value`, read by the report's template. `key=` empties the field.
    #[serde(default)]
    pub set: Vec<String>,
    /// Keys to empty.
    #[serde(default)]
    pub unset: Vec<String>,
    /// A new title.
    #[serde(default)]
    pub title: Option<String>,
    /// A new language.
    #[serde(default)]
    pub language: Option<String>,
    /// The whole narrative; merged by character.
    #[serde(default)]
    pub narrative: Option<String>,
    /// People to add: `name=…,role=…,consent=…`.
    #[serde(default)]
    pub people: Vec<String>,
    /// `ID:key=value` for people who are there.
    #[serde(default)]
    pub set_person: Vec<String>,
    /// Ids of people to take out.
    #[serde(default)]
    pub remove_person: Vec<String>,
    /// Sources to add.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Sources to take out.
    #[serde(default)]
    pub remove_source: Vec<String>,
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
            && self.unset.is_empty()
            && self.title.is_none()
            && self.language.is_none()
            && self.narrative.is_none()
            && self.people.is_empty()
            && self.set_person.is_empty()
            && self.remove_person.is_empty()
            && self.sources.is_empty()
            && self.remove_source.is_empty()
    }
}

/// What became of one draft in [`Request::FinishAll`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Finished {
    /// The report.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Why it is still a draft, if it is.
    pub refused: Option<Failure>,
}

/// What to publish.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Export {
    /// The reports; all finished ones if empty.
    pub reports: Vec<String>,
    /// `html`, `md`, `json` or `csv`.
    pub format: String,
    /// Not redacted: for the team only.
    pub internal: bool,
    /// Publish although clashes wait; the values shown in lists are taken.
    pub with_clashes: bool,
    /// Publish an addendum although its report is not among these.
    #[serde(default)]
    pub addenda_alone: bool,
}

/// A piece of a file of the publication, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExportPart {
    /// The file's name, without a directory.
    pub file: String,
    /// The next bytes of it, at most 1 MiB.
    pub bytes: Hex,
}

/// What a publication contains.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exported {
    /// How many reports.
    pub reports: usize,
    /// Drafts that were left out of "all".
    pub drafts_left_out: usize,
    /// What was replaced or left out, as data.
    pub log: Value,
    /// The same in words.
    pub words: Vec<String>,
}

/// Finished reports of this device that are in the same hands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// As in `Delivery`: `only here`, `carried`, `received` …
    pub word: String,
    /// The names of those who confirmed them.
    pub holders: Vec<String>,
    /// When the last of them was confirmed, as the holder's clock said; 0 if none was.
    pub latest_ms: i64,
    /// Of those that a relay has and nobody has confirmed: when it had the last of them, by this device's clock.
    #[serde(default)]
    pub relay_since_ms: Option<i64>,
    /// How many reports.
    pub reports: u64,
}

/// A sealed entry, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryBytes {
    /// Its id.
    pub id: String,
    /// Its bytes: a standard age file.
    pub bytes: Hex,
}

/// What a network process needs, and all it is ever given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Network {
    /// The depot's file.
    pub depot: PathBuf,
    /// The depot's key.
    pub key: Hex,
    /// The file that a daemon locks.
    pub lock: PathBuf,
}

/// A code that waits for a device.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// What the other device types.
    pub code: String,
    /// Until when it is good, milliseconds since 1970.
    pub expires_ms: i64,
}

/// What to do next in a pairing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PairingStep {
    /// Messages to send to the other device, in order, whatever else this step says.
    pub send: Vec<Hex>,
    /// The check words, in the step in which this side learns them.
    #[serde(default)]
    pub words: Option<String>,
    /// Inviter: who asks to be admitted. Approve or reject.
    #[serde(default)]
    pub asks: Option<Newcomer>,
    /// It is done; close the connection.
    #[serde(default)]
    pub done: Option<Paired>,
    /// It failed; close the connection.
    #[serde(default)]
    pub over: Option<Over>,
}

/// Who asks to be admitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Newcomer {
    /// The device's id.
    pub device: String,
    /// What its person calls it.
    pub name: String,
    /// The role it will get.
    pub role: String,
    /// The member whose place it takes.
    #[serde(default)]
    pub replaces: Option<String>,
    /// The id of a standing member of the same name.
    #[serde(default)]
    pub same_name: Option<String>,
    /// The id of the standing member that it says it was before it was restored or copied.
    #[serde(default)]
    pub was: Option<String>,
}

/// Who was paired with whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paired {
    /// The admitted device's id.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The team's name.
    pub team: String,
    /// The removal of the device whose place it took.
    #[serde(default)]
    pub replaced: Option<RemovalSummary>,
}

/// How an exchange failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Over {
    /// Why.
    pub why: Failure,
    /// Inviter: whether the code may still be used, by another connection.
    pub still_open: bool,
}

/// A frame from the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// One of several results; more frames follow.
    Item(Value),
    /// It was done; the last frame of the answer.
    Done(Value),
    /// It was not done; the last frame of the answer.
    Refused(Failure),
}
