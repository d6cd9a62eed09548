//! Requests to forget.

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::{EntryId, ReportId};

use super::{count, present, read_entries};

/// Items in one request.
pub const FORGET_ITEMS_MAX: usize = 1_024;
/// Entries in one request, in all.
pub const FORGET_ENTRIES_MAX: usize = 16_384;

/// One report to forget; for devices that only carry it, its entries alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetItem {
    /// The report, for those who could read it.
    pub report: Option<ReportId>,
    /// Its entries, as far as the one who asks knows them.
    pub entries: Vec<EntryId>,
    /// The report that takes its place, without the person who withdrew consent.
    pub replaced_by: Option<ReportId>,
}

/// A request to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// What.
    pub items: Vec<ForgetItem>,
}

impl Forget {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(count(self.items.len()));
        for item in &self.items {
            for report in [&item.report, &item.replaced_by] {
                writer.u8(u8::from(report.is_some()));
                if let Some(report) = report {
                    writer.raw(report.as_bytes());
                }
            }
            writer.u32(count(item.entries.len()));
            for entry in &item.entries {
                writer.raw(entry.as_bytes());
            }
        }
        writer.finish()
    }

    /// Reads a whole request.
    ///
    /// # Errors
    /// Anything but one well-formed request within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut items, mut left) = (Vec::new(), FORGET_ENTRIES_MAX);
        for _ in 0..reader.count("items", FORGET_ITEMS_MAX)? {
            let report = report(&mut reader)?;
            let replaced_by = self::report(&mut reader)?;
            let entries = read_entries(&mut reader, "entries", left)?;
            left -= entries.len();
            items.push(ForgetItem { report, entries, replaced_by });
        }
        reader.end()?;
        Ok(Self { items })
    }
}

fn report(reader: &mut Reader<'_>) -> Result<Option<ReportId>, DecodeError> {
    Ok(if present(reader, "report")? { Some(ReportId::from_bytes(reader.array("report")?)) } else { None })
}
