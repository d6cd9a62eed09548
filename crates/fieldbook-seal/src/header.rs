//! The header of an entry: who wrote what kind of thing, where in its chain, for whom.

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::limits::ENTRY_RECIPIENTS_MAX;
use fieldbook_proto::{AttachmentId, DeskId, DeviceId, EntryId, ReportId};

const VERSION: u8 = 1;

/// Largest encoded header, in bytes: 64 readers take about 2,200.
pub const HEADER_MAX: usize = 4 * 1024;

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Changes of a report.
    Report = 1,
    /// A part of an attachment.
    AttachmentPart = 2,
    /// A snapshot of a report for a new reader.
    Share = 3,
    /// A desk's reading identity or a transport secret, for those who may have it.
    Grant = 4,
    /// A certificate, new or renewed.
    Certificate = 5,
    /// The removal of a device.
    Revocation = 6,
    /// What a coordinator's device holds.
    Receipt = 7,
    /// A request to forget.
    Forget = 8,
    /// A coordinator's changes on their way back to the author: the body is itself a sealed entry.
    Return = 9,
    /// A signed notice, for example that a report was sealed.
    Notice = 10,
}

impl Kind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Report,
        Self::AttachmentPart,
        Self::Share,
        Self::Grant,
        Self::Certificate,
        Self::Revocation,
        Self::Receipt,
        Self::Forget,
        Self::Return,
        Self::Notice,
    ];

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this code.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for a code without meaning.
    pub fn from_code(code: u8) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|kind| kind.code() == code).ok_or(DecodeError::Invalid { field: "kind" })
    }

    /// The word used in commands and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::AttachmentPart => "attachment-part",
            Self::Share => "share",
            Self::Grant => "grant",
            Self::Certificate => "certificate",
            Self::Revocation => "revocation",
            Self::Receipt => "receipt",
            Self::Forget => "forget",
            Self::Return => "return",
            Self::Notice => "notice",
        }
    }
}

/// For whom an entry was written. Signed, so that an entry cannot be passed off as addressed to
/// somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// The desk and the epoch of its reading identity.
    pub desk: Option<(DeskId, u32)>,
    /// Devices beside the desk, at most [`ENTRY_RECIPIENTS_MAX`]. Encoded in ascending order,
    /// each once, whatever the order here.
    pub readers: Vec<DeviceId>,
    /// The attachment whose identity opens this entry.
    pub attachment: Option<AttachmentId>,
}

/// The header of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// The device that wrote and signed it.
    pub device: DeviceId,
    /// Its place in the device's chain, from 1.
    pub sequence: u64,
    /// The device's entry before this one: none for the first, some for every other.
    pub previous: Option<EntryId>,
    /// The time that the device claims, in milliseconds since 1970-01-01 UTC. A claim, no proof.
    pub time_ms: i64,
    /// The report it belongs to.
    pub report: Option<ReportId>,
    /// For whom it was written.
    pub audience: Audience,
}

impl Header {
    /// Encodes a header that keeps the rules of the format.
    ///
    /// # Errors
    /// What [`Header::decode`] would say of it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.check()?;
        let mut readers = self.audience.readers.clone();
        readers.sort_unstable();
        readers.dedup();
        if readers.len() > ENTRY_RECIPIENTS_MAX {
            return Err(DecodeError::TooLong { field: "readers", limit: ENTRY_RECIPIENTS_MAX });
        }
        let mut writer = Writer::new();
        writer.u8(VERSION).u8(self.kind.code()).raw(self.device.as_bytes()).u64(self.sequence);
        option(&mut writer, self.previous.as_ref().map(|id| id.as_bytes().as_slice()));
        writer.i64(self.time_ms);
        option(&mut writer, self.report.as_ref().map(|id| id.as_bytes().as_slice()));
        option(&mut writer, self.audience.desk.as_ref().map(|(id, _)| id.as_bytes().as_slice()));
        if let Some((_, epoch)) = self.audience.desk {
            writer.u32(epoch);
        }
        writer.u32(u32::try_from(readers.len()).unwrap_or(u32::MAX));
        for reader in &readers {
            writer.raw(reader.as_bytes());
        }
        option(&mut writer, self.audience.attachment.as_ref().map(|id| id.as_bytes().as_slice()));
        Ok(writer.finish())
    }

    /// Reads a whole header.
    ///
    /// # Errors
    /// Anything but the one encoding of a header that keeps the rules.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("header version")? != VERSION {
            return Err(DecodeError::Invalid { field: "header version" });
        }
        let header = Self {
            kind: Kind::from_code(reader.u8("kind")?)?,
            device: DeviceId::from_bytes(reader.array("device")?),
            sequence: reader.u64("sequence")?,
            previous: present(&mut reader, "previous")?
                .then(|| reader.array("previous"))
                .transpose()?
                .map(EntryId::from_bytes),
            time_ms: reader.i64("time")?,
            report: present(&mut reader, "report")?
                .then(|| reader.array("report"))
                .transpose()?
                .map(ReportId::from_bytes),
            audience: decode_audience(&mut reader)?,
        };
        reader.end()?;
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.sequence == 0 {
            return Err(DecodeError::Invalid { field: "sequence" });
        }
        if (self.sequence == 1) != self.previous.is_none() {
            return Err(DecodeError::Invalid { field: "previous" });
        }
        Ok(())
    }
}

fn decode_audience(reader: &mut Reader<'_>) -> Result<Audience, DecodeError> {
    let desk = if present(reader, "desk")? {
        Some((DeskId::from_bytes(reader.array("desk")?), reader.u32("desk epoch")?))
    } else {
        None
    };
    let count = reader.count("readers", ENTRY_RECIPIENTS_MAX)?;
    let mut readers: Vec<DeviceId> = Vec::with_capacity(count);
    for _ in 0..count {
        let device = DeviceId::from_bytes(reader.array("reader")?);
        if readers.last().is_some_and(|last| *last >= device) {
            return Err(DecodeError::Invalid { field: "readers" });
        }
        readers.push(device);
    }
    let attachment = present(reader, "attachment")?
        .then(|| reader.array("attachment"))
        .transpose()?
        .map(AttachmentId::from_bytes);
    Ok(Audience { desk, readers, attachment })
}

/// One byte, 1 when bytes follow and 0 when none do.
fn option(writer: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => writer.u8(1).raw(bytes),
        None => writer.u8(0),
    };
}

fn present(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Header {
        Header {
            kind: Kind::Share,
            device: DeviceId::from_bytes([1; 32]),
            sequence: 2,
            previous: Some(EntryId::from_bytes([2; 32])),
            time_ms: -1,
            report: Some(ReportId::from_bytes([3; 16])),
            audience: Audience {
                desk: Some((DeskId::from_bytes([4; 16]), 7)),
                readers: vec![DeviceId::from_bytes([6; 32]), DeviceId::from_bytes([5; 32])],
                attachment: Some(AttachmentId::from_bytes([8; 16])),
            },
        }
    }

    #[test]
    fn a_header_comes_back_with_its_readers_in_order() {
        let mut header = full();
        let bytes = header.encode().unwrap();
        header.audience.readers.reverse();
        assert_eq!(Header::decode(&bytes), Ok(header.clone()));
        assert_eq!(header.encode(), Ok(bytes), "the order given does not matter");
    }

    #[test]
    fn a_header_that_is_cut_or_extended_is_refused() {
        let bytes = full().encode().unwrap();
        for end in 0..bytes.len() {
            assert!(Header::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(
            Header::decode(&[bytes.as_slice(), &[0]].concat()),
            Err(DecodeError::Trailing { bytes: 1 })
        );
    }

    #[test]
    fn readers_out_of_order_are_a_second_encoding_and_refused() {
        let mut bytes = full().encode().unwrap();
        let at = bytes.windows(32).position(|w| w == [5; 32]).unwrap();
        bytes[at..at + 32].fill(6);
        assert_eq!(Header::decode(&bytes), Err(DecodeError::Invalid { field: "readers" }));
    }

    #[test]
    fn the_first_entry_alone_has_no_predecessor() {
        let orphan = Header { previous: None, ..full() };
        assert_eq!(orphan.encode(), Err(DecodeError::Invalid { field: "previous" }));
        let first_of_none = Header { sequence: 1, ..full() };
        assert_eq!(first_of_none.encode(), Err(DecodeError::Invalid { field: "previous" }));
        let zeroth = Header { sequence: 0, ..full() };
        assert_eq!(zeroth.encode(), Err(DecodeError::Invalid { field: "sequence" }));
    }

    #[test]
    fn the_largest_header_fits_its_limit() {
        let mut header = full();
        header.audience.readers = (0..64).map(|n| DeviceId::from_bytes([n; 32])).collect();
        assert!(header.encode().unwrap().len() <= HEADER_MAX);
        header.audience.readers.push(DeviceId::from_bytes([255; 32]));
        assert_eq!(header.encode(), Err(DecodeError::TooLong { field: "readers", limit: 64 }));
    }
}
