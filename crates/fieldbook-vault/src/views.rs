//! What a vault answers: plain values that can travel to a client. No key and no secret is among them.
//! Times are milliseconds since 1970-01-01 UTC unless a name says otherwise; ids are hexadecimal.

use fieldbook_report::{AttachmentView, FieldValue, HistoryItem, ReportView};
use serde::{Deserialize, Serialize};

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
    /// When it was admitted, seconds since 1970.
    pub admitted: u64,
    /// When its certificate runs out, seconds since 1970.
    pub not_after: u64,
    /// Whether it is this device.
    pub me: bool,
}

/// Who holds a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// `draft`, `only here`, `carried` (another device holds the sealed entries, nobody has opened
    /// them yet), `received`, or `theirs` for a report that somebody else wrote.
    pub word: String,
    /// The coordinators whose receipts cover everything that was sent.
    pub holders: Vec<Holder>,
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
    /// `draft` or `finished`.
    pub state: String,
    /// The device that wrote it.
    pub author_device: String,
    /// What this device calls the author.
    pub author_label: String,
    /// Whether this device wrote it.
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
    /// Who holds it.
    pub delivery: Delivery,
}

/// What a list shows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListFilter {
    /// Words that must all stand in the report (prefixes of words count).
    pub search: Option<String>,
    /// `draft` or `finished`.
    pub state: Option<String>,
    /// The template's name.
    pub template: Option<String>,
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
    /// Clashes that wait for a person, in all reports.
    pub clashes: usize,
    /// Entries that are damaged or forged, and why.
    pub problems: Vec<Problem>,
}

/// An entry that was not accepted, or that shows a fault in its author's chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// The entry.
    pub entry: String,
    /// The device that made it, as this device calls it, if known.
    pub who: Option<String>,
    /// What is wrong and what follows.
    pub reason: String,
    /// When it was noticed.
    pub time_ms: i64,
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

/// A device that this one has synced with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerView {
    /// Its label or short id.
    pub name: String,
    /// Its id.
    pub device: String,
    /// Its role.
    pub role: String,
    /// Where it was reached.
    pub address: Option<String>,
    /// When.
    pub last_sync_ms: i64,
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
    /// Finished reports of this device that a coordinator has confirmed.
    pub received: usize,
    /// Reports that others wrote.
    pub theirs: usize,
    /// Clashes that wait for a person.
    pub clashes: usize,
    /// Entries that wait for another one.
    pub waiting: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Entries carried, and their bytes.
    pub depot_entries: u64,
    /// Bytes carried.
    pub depot_bytes: u64,
    /// Whom it has synced with.
    pub peers: Vec<PeerView>,
    /// Where the device that admitted this one could be reached then, as `host:port`.
    pub invited_to: Vec<String>,
}
