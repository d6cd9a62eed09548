//! A report, or a part of its history, for a reader who could not open its entries.

use fieldbook_proto::certificate::{Certificate, Recipient};
use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::limits::{CERTIFICATE_MAX, ENTRY_BODY_MAX, RECIPIENT_MAX};

/// What a coordinator vouches for when it shares a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The certificate of the report's author.
    pub author: Certificate,
    /// Where the author can be answered, while it can.
    pub return_recipient: Option<Recipient>,
    /// Automerge changes, by whatever hands.
    pub changes: Vec<u8>,
}

impl Share {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new()
            .bytes(&self.author.encode())
            .bytes(self.return_recipient.as_ref().map_or("", Recipient::as_str).as_bytes())
            .bytes(&self.changes)
            .finish()
    }

    /// Reads a whole share.
    ///
    /// # Errors
    /// Anything but one well-formed share within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let author = Certificate::decode(reader.bytes("author", CERTIFICATE_MAX)?)?;
        let return_recipient = match reader.text("return recipient", RECIPIENT_MAX)? {
            "" => None,
            text => Some(Recipient::parse(text)?),
        };
        let changes = reader.bytes("changes", ENTRY_BODY_MAX)?.to_vec();
        reader.end()?;
        Ok(Self { author, return_recipient, changes })
    }
}
