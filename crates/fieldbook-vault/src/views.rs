//! What a vault answers: plain values that can travel to a client. No key and no secret is among them.
//! Times are milliseconds since 1970-01-01 UTC unless a name says otherwise; ids are hexadecimal.
//!
//! (It is one file because it is what programs read, in one place, as `--json` prints it.)

use fieldbook_proto::ReportId;
use fieldbook_report::{AttachmentView, FieldValue, HistoryItem, ReportView};
use serde::{Deserialize, Serialize};

use crate::findings::{Problem, WaitingView};

/// A device and its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its id.
    pub id: String,
    /// Its own name.
    pub name: String,
    /// Its role in the team, if it has one.
    pub role: Option<String>,
    /// Its team.
    pub team: Option<TeamInfo>,
    /// `moved`: it may be a copy, and signs nothing until its person has said which it is. `superseded`: another
    /// copy has gone on writing. `new-device`: it was restored, and has not joined a team yet.
    #[serde(default)]
    pub copy: Option<String>,
}

/// What a backup holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Finished reports that can be read in it.
    pub reports: usize,
    /// Drafts.
    pub drafts: usize,
    /// Sealed entries that it carries.
    pub entries: u64,
    /// Reports that were sealed before it was written: they cannot be read in it.
    pub sealed: usize,
}

/// A team.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TeamInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The desk of this device.
    pub desk: String,
    /// The desk's current epoch.
    pub epoch: u32,
}

/// A member that this device knows. A monitor knows its coordinators only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub device: String,
    /// What this device calls it.
    pub label: String,
    /// Its role.
    pub role: String,
    /// Its desk.
    pub desk: String,
    /// When it was admitted, seconds since 1970.
    pub admitted: u64,
    /// When its certificate runs out, seconds since 1970.
    pub not_after: u64,
    /// When an entry of it was last opened here; 0 if never.
    pub heard_ms: i64,
    /// `member`, `expired`, `removed` or `lost`.
    pub state: String,
    /// Whether it is this device.
    pub me: bool,
}

/// A desk: the coordinators who read together, and the devices that report to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeskView {
    /// Its id.
    pub id: String,
    /// Its name, or empty.
    pub name: String,
    /// The epoch of its reading identity; 0 if this device does not know it.
    pub epoch: u32,
    /// Its coordinators, as this device calls them, the most senior first.
    pub coordinators: Vec<String>,
    /// The members of the desk that this device knows.
    pub members: usize,
    /// Whether it is this device's.
    pub mine: bool,
    /// Whether it has recovery sheets that open what is written; known of this device's desk only.
    #[serde(default)]
    pub sheets: bool,
}

/// A device that a removed one had admitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Admitted {
    /// The device.
    pub device: String,
    /// What it is called.
    pub label: String,
    /// `coordinator`, `monitor` or `relay`.
    pub role: String,
    /// Whether it stays in the team.
    pub stays: bool,
}

/// What came of a removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovalSummary {
    /// The device.
    pub device: String,
    /// What it was called.
    pub label: String,
    /// `removed`, `lost` or `demoted`.
    pub act: String,
    /// Whether it was a coordinator's.
    pub was_coordinator: bool,
    /// Whether it was a relay.
    #[serde(default)]
    pub was_relay: bool,
    /// Whether it was a coordinator's of this desk.
    #[serde(default)]
    pub of_desk: bool,
    /// Reports that this device knows and that the removed one could read: all that are finished, if it was a
    /// coordinator's of this desk; those that were shared with it, if of another.
    pub could_read: usize,
    /// Reports that it wrote, as far as they arrived here: it still has those it did not seal.
    pub wrote: usize,
    /// The last of its entries that was seen: what it wrote later will not be accepted.
    pub cut: u64,
    /// Devices that have to hear of it.
    pub to_tell: usize,
    /// Whether the removal counts: of two coordinators who remove each other, the one admitted earlier
    /// stands.
    pub counts: bool,
    /// Whom it had admitted, as far as this device knows.
    #[serde(default)]
    pub admitted: Vec<Admitted>,
    /// Whether the desk's recovery sheets were made by it: they open nothing that is written later.
    #[serde(default)]
    pub ends_sheets: bool,
    /// Whether it is the last coordinator of its desk: nobody reads what that desk's devices write later.
    #[serde(default)]
    pub closes_desk: bool,
    /// The name of its desk, or the beginning of its id.
    #[serde(default)]
    pub desk: String,
}

/// A line of the team's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActView {
    /// When, as the acting device's clock claimed.
    pub time_ms: i64,
    /// Who, as this device calls them.
    pub who: String,
    /// The device that acted.
    pub device: String,
    /// What was done, in one word: `admitted`, `removed`, `rotated`, `shared`, `forgot` …
    pub kind: String,
    /// To what: a device, report or desk, in hexadecimal.
    pub subject: Option<String>,
    /// In words.
    pub detail: String,
}

/// Who holds a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// `draft`, `only here`, `carried` (another device holds the sealed entries, nobody has opened
    /// them yet), `received`, `sealed`, or `theirs` for a report that somebody else wrote.
    pub word: String,
    /// The coordinators whose receipts cover everything that was sent.
    pub holders: Vec<Holder>,
    /// The relays that hold everything that was sent, each since when it said so first, by this device's clock.
    #[serde(default)]
    pub relays: Vec<Holder>,
    /// Only relays have it, and for so long that one which was full since may have dropped it.
    #[serde(default)]
    pub long: bool,
    /// If it is only here: the devices that held all of it and were removed from the team since, each with the
    /// time of the last sync with it.
    #[serde(default)]
    pub removed: Vec<Holder>,
    /// Why it needs this device's person, in words, if it does.
    #[serde(default)]
    pub attention: Vec<String>,
}

/// A device that holds all of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Its label.
    pub name: String,
    /// Its id.
    pub device: String,
    /// When it says it received the last part.
    pub time_ms: i64,
}

/// A report as a list shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportSummary {
    /// Its id.
    pub id: String,
    /// The template's name.
    pub template: String,
    /// Its title.
    pub title: String,
    /// Its language (BCP 47).
    pub language: String,
    /// Its date, as EDTF, or empty.
    pub date: String,
    /// `draft`, `finished`, or `sealed`: its author's device can read it no more.
    pub state: String,
    /// The device that wrote it.
    pub author_device: String,
    /// What this device calls the author.
    pub author_label: String,
    /// Whether this notebook wrote it: as this device, or as the one that it was before it was restored.
    pub mine: bool,
    /// When it was begun.
    pub created_ms: i64,
    /// When it last changed here.
    pub updated_ms: i64,
    /// Clashes that wait for a person.
    pub clashes: usize,
    /// Attachments.
    pub attachments: usize,
    /// People.
    pub people: usize,
    /// Questions that wait for this device's user.
    #[serde(default)]
    pub questions: usize,
    /// Something about it was written and is not saved.
    #[serde(default)]
    pub unsaved: bool,
    /// Who holds it.
    pub delivery: Delivery,
    /// When its author gave up the power to read it, as that device's clock claimed.
    #[serde(default)]
    pub sealed_ms: Option<i64>,
}

/// What waits for an answer in a report, and nothing else of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenQuestions {
    /// The report's id.
    pub report: String,
    /// Questions that are open, whosever.
    pub notes: Vec<NoteView>,
}

/// A report that its author can read no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SealSummary {
    /// Its id.
    pub id: String,
    /// When.
    pub sealed_ms: i64,
    /// The coordinators who signed for all of it.
    pub holders: Vec<Holder>,
    /// The names of those who did not, as far as this device knows.
    pub missing: Vec<String>,
}

/// What a list shows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListFilter {
    /// Words that must all stand in the report (prefixes of words count).
    pub search: Option<String>,
    /// `draft`, `finished` or `sealed`.
    pub state: Option<String>,
    /// The template's name.
    pub template: Option<String>,
}

/// The reports that are to be shared: those named and those that a filter finds.
#[derive(Debug, Clone, Default)]
pub struct ShareSelection {
    /// Named ones.
    pub reports: Vec<ReportId>,
    /// All finished reports of this desk that this filter finds.
    pub filter: Option<ListFilter>,
}

/// What came of sharing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ShareSummary {
    /// The reader.
    pub device: String,
    /// What this device calls it.
    pub label: String,
    /// Reports that it was given now.
    pub shared: usize,
    /// Reports that it had been given before.
    pub already: usize,
    /// Drafts, and what the filter found of other desks: not shared.
    pub left_out: usize,
    /// Sealed entries that carry the reports.
    pub entries: usize,
    /// Messages to authors that their reports were shared.
    pub authors_told: usize,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgetWhat {
    /// A report, whole.
    Report(ReportId),
    /// Somebody in a report: a new report without them takes its place.
    Person {
        /// The report.
        report: ReportId,
        /// The id of the person in the report.
        person: String,
        /// Whether its attachments go on in the new report. Nobody can look for a person in files, so
        /// somebody has to have looked; else they go with the old report.
        keep_attachments: bool,
    },
}

/// What came of forgetting.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ForgetSummary {
    /// The report.
    pub report: String,
    /// Its sealed entries that this device knew of.
    pub entries: usize,
    /// Whether the others forget it only once a coordinator has confirmed it.
    pub waits_for_coordinator: bool,
    /// The report that takes its place, if only somebody in it was forgotten.
    pub replaced_by: Option<String>,
    /// How many names and details were taken out of its texts.
    pub texts_changed: usize,
    /// Other people in it whose names say the same name, who were left out or renamed: to be looked at.
    pub also_changed: usize,
    /// Attachments that go on in the new report.
    #[serde(default)]
    pub attachments_kept: usize,
}

/// Somebody who may be forgotten, in one report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PersonFound {
    /// The report.
    pub report: String,
    /// Its title.
    pub title: String,
    /// Whether it is finished: else it is a draft, which only this device has.
    pub finished: bool,
    /// The id of the person in it; none if its texts only mention the name.
    pub person: Option<String>,
    /// The name as it stands there.
    pub name: String,
    /// The person's role in it.
    pub role: String,
    /// Its attachments, in which nobody can look for a person.
    pub attachments: usize,
}

/// What an author asked to be forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForgetRequestView {
    /// The report.
    pub report: String,
    /// Its title.
    pub title: String,
    /// The author, as this device calls it.
    pub who: String,
    /// The author's device.
    pub device: String,
    /// When it asked, as its clock claimed.
    pub time_ms: i64,
}

/// A report, whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShownReport {
    /// As in a list.
    pub summary: ReportSummary,
    /// Its content.
    pub content: ReportView,
    /// What waits for a person.
    pub clashes: Vec<ClashView>,
    /// Attachments of which parts have not come.
    #[serde(default)]
    pub unarrived: Vec<UnarrivedView>,
    /// The ids of the reports here that add to this one.
    #[serde(default)]
    pub addenda: Vec<String>,
    /// Questions and notes: what nobody has answered first, then each question with its answers.
    #[serde(default)]
    pub notes: Vec<NoteView>,
    /// A text of it was written and is not saved.
    #[serde(default)]
    pub unfinished: bool,
}

/// An attachment of which parts have not come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnarrivedView {
    /// Its id.
    pub attachment: String,
    /// Its name.
    pub name: String,
    /// Parts that are here.
    pub have: usize,
    /// All its parts.
    pub of: usize,
}

/// A question, a note or an answer on a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NoteView {
    /// Its id: eight hexadecimal digits.
    pub id: String,
    /// Who wrote it, as this device calls them.
    pub who: String,
    /// Whether this device wrote it.
    pub mine: bool,
    /// When, as that device's clock claimed.
    pub time_ms: i64,
    /// What it says.
    pub text: String,
    /// The note that it answers.
    pub reply_to: Option<String>,
    /// A question that nobody has answered.
    pub open: bool,
}

/// A note that was added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    /// The report.
    pub report: ReportSummary,
    /// The note's id.
    pub note: String,
    /// The note that it answers.
    pub reply_to: Option<String>,
}

/// A report that was created or found by its import.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created {
    /// The report.
    pub summary: ReportSummary,
    /// Whether the same input had been imported before; then nothing was added.
    pub already_there: bool,
}

/// A change in a report's history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryView {
    /// Who made it, as this device calls them.
    pub who: String,
    /// The change.
    pub change: HistoryItem,
}

/// A field with concurrent values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClashView {
    /// The field's path, such as `fields.date`.
    pub field: String,
    /// The values.
    pub values: Vec<ClashValueView>,
}

/// One of the concurrent values of a field.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClashValueView {
    /// The value.
    pub value: FieldValue,
    /// Who wrote it, as this device calls them.
    pub who: String,
    /// When, as that device's clock claimed.
    pub time_ms: i64,
    /// Whether lists and exports show this one until a person decides.
    pub shown: bool,
}

/// A report with clashes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportClashes {
    /// The report.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its clashes.
    pub clashes: Vec<ClashView>,
}

/// An attachment that was added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attached {
    /// The report.
    pub report: ReportSummary,
    /// The attachment, with its hashes.
    pub attachment: AttachmentView,
}

/// What came in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AbsorbSummary {
    /// Entries opened.
    pub opened: usize,
    /// Entries carried for others, which this device cannot open.
    pub not_for_us: usize,
    /// Entries that wait for another one, such as their author's certificate.
    pub waiting: usize,
    /// New reports.
    pub reports_new: usize,
    /// Reports that changed.
    pub reports_changed: usize,
    /// Receipts that arrived.
    pub receipts: usize,
    /// Reports that sealed themselves.
    #[serde(default)]
    pub sealed: usize,
    /// Clashes that wait for a person, in all reports.
    pub clashes: usize,
    /// What is wrong with what came in, and what this device could not do about it; at most some hundred.
    pub problems: Vec<Problem>,
}

/// A sealed entry of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryInfo {
    /// Its id: BLAKE3 of its bytes.
    pub id: String,
    /// What it carries.
    pub kind: String,
    /// Who made it.
    pub device: String,
    /// Who made it, as this device calls them.
    pub who: String,
    /// Its place in its author's chain.
    pub sequence: u64,
    /// When, as its author's clock claimed.
    pub time_ms: i64,
    /// Its size in bytes, if its bytes are here.
    pub size: Option<u64>,
}

/// What became of writing entries as files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExportedEntries {
    /// Files that were written.
    pub written: usize,
    /// Entries whose files were there already.
    pub already_there: usize,
}

/// What became of a directory of entry files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImportedEntries {
    /// Entries that are new here.
    pub added: usize,
    /// Entries that were known.
    pub already_known: usize,
    /// Files that are not entries.
    pub refused: usize,
    /// The names of the first of those.
    pub refused_names: Vec<String>,
}

/// What recovery sheets are good for on this device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RecoveryCheck {
    /// Whether they are the desk's sheets, and not earlier ones or another team's.
    pub current: bool,
    /// Whether this device carries what a new device needs to bring the team back with them.
    pub charter: bool,
    /// Entries carried here that they open.
    pub opens: usize,
    /// Entries carried here.
    pub entries: usize,
}

/// What recovery sheets brought back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RecoveryRestored {
    /// The team's name.
    pub team: String,
    /// Whether this device came into the team by them.
    pub joined: bool,
    /// What was taken in from a directory first.
    pub imported: Option<ImportedEntries>,
    /// Reports that can be read here now.
    pub reports: usize,
    /// Those of them that could not be read here before.
    pub new_reports: usize,
}

/// A device that this one has synced with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerView {
    /// Its label or short id. Of other monitors a monitor keeps none: all of them together are "another
    /// device of the team".
    pub name: String,
    /// Its id; empty for those.
    pub device: String,
    /// Its role; empty for those.
    pub role: String,
    /// Where it was reached.
    pub address: Option<String>,
    /// The way that the last sync took: `quic`, `tcp`, `socks` or `stdio`.
    #[serde(default)]
    pub path: Option<String>,
    /// When.
    pub last_sync_ms: i64,
    /// It was removed from the team: it is not dialled any more.
    #[serde(default)]
    pub removed: bool,
    /// What it did not take at the last sync, in entries.
    #[serde(default)]
    pub declined: DeclinedView,
}

/// What a device did not take, in entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclinedView {
    /// All of it, as often as it was offered: one entry may count more than once in a connection that stays.
    pub all: ReasonsView,
    /// What this device wrote itself, each entry once; the rest it carries for others.
    pub own: ReasonsView,
}

/// Entries by the reason why they were not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonsView {
    /// No room.
    pub full: u64,
    /// No room for more of this device.
    pub share: u64,
    /// Too large to be carried.
    pub size: u64,
    /// Something else.
    pub other: u64,
}

impl ReasonsView {
    /// All together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.full + self.share + self.size + self.other
    }
}

/// Whom a device can sync with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partners {
    /// Whether it is in a team.
    pub in_team: bool,
    /// Whom it has synced with.
    pub peers: Vec<PeerView>,
    /// Where the device that admitted this one could be reached then, as `host:port`.
    pub invited_to: Vec<String>,
}

/// How this device stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// This device.
    pub device: DeviceInfo,
    /// Drafts, which never leave the device.
    pub drafts: usize,
    /// Finished reports of this device that exist only here.
    pub only_here: usize,
    /// Finished reports of this device that others carry, unopened as far as is known.
    pub carried: usize,
    /// Of those, the ones that a relay holds.
    #[serde(default)]
    pub on_relay: usize,
    /// Of those that exist only here, the ones that a device held which was removed from the team.
    #[serde(default)]
    pub removed_held: usize,
    /// Reports of this device that need its person; each says why.
    #[serde(default)]
    pub attention: usize,
    /// Finished reports of this device that a coordinator has confirmed.
    pub received: usize,
    /// Reports of this device that it has sealed, and can read no more.
    #[serde(default)]
    pub sealed: usize,
    /// After how many coordinators' receipts reports seal themselves.
    #[serde(default)]
    pub seal_after: Option<u32>,
    /// Finished reports of this device that are not sealed because a text of theirs is open in a window, or was written and not saved.
    #[serde(default)]
    pub unfinished: usize,
    /// Reports about which something was written and is not saved.
    #[serde(default)]
    pub unsaved: usize,
    /// What was forgotten is not gone for good yet: the next `lock`, or the end of this command, sees to it.
    #[serde(default)]
    pub rekey_due: bool,
    /// Reports that others wrote.
    pub theirs: usize,
    /// Clashes that wait for a person.
    pub clashes: usize,
    /// Questions that wait for this device's user.
    #[serde(default)]
    pub questions: usize,
    /// Entries that wait for another one.
    pub waiting: usize,
    /// Of those, parts of reports that this coordinator's device was not given: from before its admission,
    /// or another desk's. A coordinator who has the report can share it.
    #[serde(default)]
    pub not_shared: usize,
    /// What waits, and for what.
    #[serde(default)]
    pub waiting_for: Vec<WaitingView>,
    /// What is wrong: the latest, at most 200.
    pub problems: Vec<Problem>,
    /// How many earlier ones there are; `verify` shows all.
    #[serde(default)]
    pub problems_more: usize,
    /// What this device should have and has not.
    #[serde(default)]
    pub missing: Vec<Problem>,
    /// Whether this vault is known to be an older copy of one that went on writing.
    #[serde(default)]
    pub superseded: bool,
    /// Entries carried, and their bytes.
    pub depot_entries: u64,
    /// Bytes carried.
    pub depot_bytes: u64,
    /// Whom it has synced with.
    pub peers: Vec<PeerView>,
    /// Where the device that admitted this one could be reached then, as `host:port`.
    pub invited_to: Vec<String>,
}
