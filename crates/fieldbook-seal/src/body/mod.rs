//! The bodies of entries, one type for each kind. See `protocol/bodies.md`.
//!
//! A report's body (`protocol/report.md`) and an attachment's part are not among them: those are
//! automerge changes and plain bytes. A removal's body is [`fieldbook_proto::certificate::Removal`].

mod forget;
mod grant;
mod membership;
mod share;
#[cfg(test)]
mod tests;

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::{DeviceId, EntryId, ReportId};

pub use forget::{FORGET_ENTRIES_MAX, FORGET_ITEMS_MAX, Forget, ForgetItem};
pub use grant::{DeskEpoch, GRANT_ITEMS_MAX, Grant, TransportEpoch};
pub use membership::{
    Announcement, NAMES_MAX, NOTICE_REPORTS_MAX, Notice, RECEIPT_IDS_MAX, Receipt, TOLD_MAX,
};
pub use share::Share;

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn write_devices(writer: &mut Writer, devices: &[DeviceId]) {
    writer.u32(count(devices.len()));
    for device in devices {
        writer.raw(device.as_bytes());
    }
}

fn read_devices(
    reader: &mut Reader<'_>,
    field: &'static str,
    max: usize,
) -> Result<Vec<DeviceId>, DecodeError> {
    let mut devices = Vec::new();
    for _ in 0..reader.count(field, max)? {
        devices.push(DeviceId::from_bytes(reader.array(field)?));
    }
    Ok(devices)
}

fn write_reports(writer: &mut Writer, reports: &[ReportId]) {
    writer.u32(count(reports.len()));
    for report in reports {
        writer.raw(report.as_bytes());
    }
}

fn read_reports(
    reader: &mut Reader<'_>,
    field: &'static str,
    max: usize,
) -> Result<Vec<ReportId>, DecodeError> {
    let mut reports = Vec::new();
    for _ in 0..reader.count(field, max)? {
        reports.push(ReportId::from_bytes(reader.array(field)?));
    }
    Ok(reports)
}

fn read_entries(
    reader: &mut Reader<'_>,
    field: &'static str,
    max: usize,
) -> Result<Vec<EntryId>, DecodeError> {
    let mut entries = Vec::new();
    for _ in 0..reader.count(field, max)? {
        entries.push(EntryId::from_bytes(reader.array(field)?));
    }
    Ok(entries)
}

fn present(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}
