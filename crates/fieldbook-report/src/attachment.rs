//! What a report knows of a file that belongs to it. The file itself travels as sealed parts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::input::InputError;
use crate::limits::{FIELD_MAX, PARTS_MAX};

/// All that is needed to fetch, open and check an attachment. Whoever may read the report has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentManifest {
    /// The attachment's id: 32 hexadecimal digits.
    pub id: String,
    /// The file's name as it was given.
    pub name: String,
    /// Its media type, for example `image/jpeg`.
    pub media_type: String,
    /// Bytes of the original.
    pub size: u64,
    /// BLAKE3 of the original bytes at capture, in hexadecimal.
    pub blake3: String,
    /// SHA-256 of the same bytes, for the tools of courts.
    pub sha256: String,
    /// The age secret that opens the parts. Never shown, never exported.
    pub identity: String,
    /// Ids of the sealed parts, in order; empty while the report is a draft.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// The secret stays out of every log.
impl fmt::Debug for AttachmentManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentManifest")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl AttachmentManifest {
    pub(crate) fn check(&self) -> Result<(), InputError> {
        let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex(&self.id, 32) {
            return Err(InputError::wrong("attachment id", "32 hexadecimal digits"));
        }
        if !hex(&self.blake3, 64) || !hex(&self.sha256, 64) {
            return Err(InputError::wrong("attachment hash", "64 hexadecimal digits"));
        }
        InputError::check_len("attachment name", &self.name, FIELD_MAX)?;
        InputError::check_len("media type", &self.media_type, 255)?;
        InputError::check_len("attachment identity", &self.identity, FIELD_MAX)?;
        check_parts(&self.parts)
    }
}

pub(crate) fn check_parts(parts: &[String]) -> Result<(), InputError> {
    InputError::check_count("parts of an attachment", parts.len(), PARTS_MAX)?;
    if parts.iter().all(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit())) {
        Ok(())
    } else {
        Err(InputError::wrong("attachment parts", "entry ids of 64 hexadecimal digits"))
    }
}

/// What a person may see of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    /// The attachment's id.
    pub id: String,
    /// The file's name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the original.
    pub size: u64,
    /// BLAKE3 of the original, hexadecimal.
    pub blake3: String,
    /// SHA-256 of the original, hexadecimal.
    pub sha256: String,
    /// Number of sealed parts; 0 while the report is a draft.
    pub parts: usize,
}

impl From<&AttachmentManifest> for AttachmentView {
    fn from(manifest: &AttachmentManifest) -> Self {
        Self {
            id: manifest.id.clone(),
            name: manifest.name.clone(),
            media_type: manifest.media_type.clone(),
            size: manifest.size,
            blake3: manifest.blake3.clone(),
            sha256: manifest.sha256.clone(),
            parts: manifest.parts.len(),
        }
    }
}
