//! Entries whose bytes were looked at, and which are kept here or elsewhere.

use fieldbook_proto::EntryId;
use fieldbook_proto::limits::{ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};

use crate::depot::{Incoming, Refusal, Source};

/// An entry that was offered, and what was found of it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Its id, or the id that it claimed.
    pub id: EntryId,
    /// The size of its bytes.
    pub size: u32,
    /// Who offers it.
    pub from: Source,
    /// Why it is not taken, if it is not.
    pub refusal: Option<Refusal>,
    /// What the depot keeps of it and gives back: the bytes, or where they are.
    pub stored: &'a [u8],
}

impl<'a> Judged<'a> {
    /// Looks at an entry; what is kept of it are its bytes.
    pub fn of(incoming: &Incoming<'a>) -> Self {
        let bytes = incoming.bytes;
        let refusal = if EntryId::of(bytes) != incoming.id {
            Some(Refusal::WrongId)
        } else if !(ENTRY_SEALED_MIN..=ENTRY_SEALED_MAX).contains(&bytes.len()) {
            Some(Refusal::WrongSize)
        } else {
            None
        };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { id: incoming.id, size, from: incoming.from, refusal, stored: bytes }
    }
}
