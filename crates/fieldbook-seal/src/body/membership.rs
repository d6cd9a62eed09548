//! Certificates, receipts and notices.

use fieldbook_proto::certificate::Certificate;
use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::limits::{CERTIFICATE_MAX, COORDINATORS_MAX};
use fieldbook_proto::{DeviceId, EntryId, ReportId};

use super::{count, read_devices, read_entries, read_reports, write_devices, write_reports};

/// Longest label, in bytes.
const LABEL_MAX: usize = 128;
/// Ids in one receipt: half of an entry's largest body.
pub const RECEIPT_IDS_MAX: usize = 16_384;
/// Reports in one notice.
pub const NOTICE_REPORTS_MAX: usize = 16_384;
/// Things that a device was told, in one notice.
pub const TOLD_MAX: usize = 256;
/// Devices that were told, in one notice.
pub const NAMES_MAX: usize = 4_096;

/// A certificate, and what those who admitted the device call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The certificate.
    pub certificate: Certificate,
    /// The label: at most 128 bytes, no control characters; empty if it is not to be told.
    pub label: String,
}

impl Announcement {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new().bytes(&self.certificate.encode()).bytes(self.label.as_bytes()).finish()
    }

    /// Reads a whole announcement.
    ///
    /// # Errors
    /// Anything but one well-formed announcement within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let announcement = Self::read(&mut reader)?;
        reader.end()?;
        Ok(announcement)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let certificate = Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?;
        let label = reader.text("label", LABEL_MAX)?;
        if label.chars().any(char::is_control) {
            return Err(DecodeError::Invalid { field: "label" });
        }
        Ok(Self { certificate, label: label.to_owned() })
    }
}

/// What a coordinator's device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// When it was signed, in milliseconds since 1970, as the holder's clock claimed.
    pub time_ms: i64,
    /// The entries, at most [`RECEIPT_IDS_MAX`].
    pub ids: Vec<EntryId>,
    /// The place of each in its author's chain, in the same order. Empty in what the first version wrote.
    pub sequences: Vec<u64>,
}

impl Receipt {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.i64(self.time_ms).u32(count(self.ids.len()));
        for id in &self.ids {
            writer.raw(id.as_bytes());
        }
        for sequence in &self.sequences {
            writer.u64(*sequence);
        }
        writer.finish()
    }

    /// Reads a whole receipt.
    ///
    /// # Errors
    /// Anything but one well-formed receipt within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let time_ms = reader.i64("time")?;
        let ids = read_entries(&mut reader, "receipts", RECEIPT_IDS_MAX)?;
        let mut sequences = Vec::new();
        if reader.remaining() > 0 {
            for _ in &ids {
                sequences.push(reader.u64("sequence")?);
            }
        }
        reader.end()?;
        Ok(Self { time_ms, ids, sequences })
    }
}

/// Something that others are to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The author gave up the power to read a report: nobody need answer it there any more.
    Sealed {
        /// The report.
        report: ReportId,
    },
    /// Reports were given to coordinators who could not read them.
    Shared {
        /// The reports, at most [`NOTICE_REPORTS_MAX`].
        reports: Vec<ReportId>,
        /// Who reads them now, at most as many as a team has coordinators.
        with: Vec<DeviceId>,
    },
    /// For a desk's coordinators: what was told to which of its devices.
    Told {
        /// A hash of each thing, at most [`TOLD_MAX`].
        what: Vec<[u8; 32]>,
        /// The devices, at most [`NAMES_MAX`].
        devices: Vec<DeviceId>,
    },
}

impl Notice {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Sealed { report } => {
                writer.u8(1).raw(report.as_bytes());
            }
            Self::Shared { reports, with } => {
                writer.u8(2);
                write_reports(&mut writer, reports);
                write_devices(&mut writer, with);
            }
            Self::Told { what, devices } => {
                writer.u8(3).u32(count(what.len()));
                for item in what {
                    writer.raw(item);
                }
                write_devices(&mut writer, devices);
            }
        }
        writer.finish()
    }

    /// Reads a whole notice.
    ///
    /// # Errors
    /// Anything but one well-formed notice within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let notice = match reader.u8("notice")? {
            1 => Self::Sealed { report: ReportId::from_bytes(reader.array("report")?) },
            2 => Self::Shared {
                reports: read_reports(&mut reader, "reports", NOTICE_REPORTS_MAX)?,
                with: read_devices(&mut reader, "readers", COORDINATORS_MAX)?,
            },
            3 => {
                let mut what = Vec::new();
                for _ in 0..reader.count("what was told", TOLD_MAX)? {
                    what.push(reader.array("what was told")?);
                }
                Self::Told { what, devices: read_devices(&mut reader, "devices", NAMES_MAX)? }
            }
            _ => return Err(DecodeError::Invalid { field: "notice" }),
        };
        reader.end()?;
        Ok(notice)
    }
}
