//! One message of the reconciliation: what is lacking of what the other side listed, and which spans of ids are
//! to be compared next.

use super::limits::{ID_SHORT, LIST_IDS_MAX, SUMS_MAX};
use super::span::{DIGEST_LEN, Span};
use crate::EntryId;
use crate::codec::{DecodeError, Reader, Writer};

const SUMS: u8 = 1;
const LIST: u8 = 2;

/// Kind (1), both bounds (8 each), how many (2).
const PART_HEADER: usize = 1 + 8 + 8 + 2;
/// What a part with one digest takes: the least that a part of a message can take that asks something.
pub(super) const ONE_SUM: usize = PART_HEADER + DIGEST_LEN;
/// What comes before the answers: how many.
pub(super) const COMPARISON_HEADER: usize = 2;

/// The first bytes of an id, enough to tell it from all others, and half as long.
pub type ShortId = [u8; ID_SHORT];

/// The first bytes of an id.
pub fn short(id: &EntryId) -> ShortId {
    let mut short = [0; ID_SHORT];
    short.copy_from_slice(&id.as_bytes()[..ID_SHORT]);
    short
}

/// What is said of one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The digests of its parts of equal width, between 1 and [`SUMS_MAX`].
    Sums {
        /// The whole of them.
        span: Span,
        /// In order.
        sums: Vec<[u8; DIGEST_LEN]>,
    },
    /// All ids that the sender knows in it, at most [`LIST_IDS_MAX`].
    List {
        /// Where.
        span: Span,
        /// Rising, none of them twice.
        ids: Vec<ShortId>,
    },
}

impl Part {
    /// Which span it speaks of.
    pub const fn span(&self) -> &Span {
        match self {
            Self::Sums { span, .. } | Self::List { span, .. } => span,
        }
    }

    /// Length of the encoding.
    pub(super) const fn len(&self) -> usize {
        PART_HEADER
            + match self {
                Self::Sums { sums, .. } => sums.len() * DIGEST_LEN,
                Self::List { ids, .. } => ids.len() * ID_SHORT,
            }
    }
}

/// What the answer to a list of so many ids takes.
pub(super) const fn lacks_len(ids: usize) -> usize {
    if ids == 0 { 0 } else { 2 + ids.div_ceil(8) }
}

/// One message: see the page of the protocol for who says what when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// For each list of the message before that was not empty, in order: which of its ids are not known here.
    pub lacks: Vec<Vec<bool>>,
    /// What is to be compared next, rising, no two overlapping. Empty: the reconciliation is at its end.
    pub parts: Vec<Part>,
}

impl Comparison {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u16(count16(self.lacks.len()));
        for flags in &self.lacks {
            write_flags(writer, flags);
        }
        for part in &self.parts {
            let (kind, count) = match part {
                Part::Sums { sums, .. } => (SUMS, sums.len()),
                Part::List { ids, .. } => (LIST, ids.len()),
            };
            writer.u8(kind).u64(part.span().first()).u64(part.span().last()).u16(count16(count));
            // A digest and a short id are of one length.
            let (Part::Sums { sums: items, .. } | Part::List { ids: items, .. }) = part;
            for item in items {
                writer.raw(item);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut lacks = Vec::new();
        for _ in 0..reader.u16("lacking")? {
            lacks.push(read_flags(reader, LIST_IDS_MAX)?);
        }
        let mut parts: Vec<Part> = Vec::new();
        while reader.remaining() > 0 {
            let part = decode_part(reader)?;
            if parts.last().is_some_and(|before| before.span().last() >= part.span().first()) {
                return Err(DecodeError::Invalid { field: "spans" });
            }
            parts.push(part);
        }
        Ok(Self { lacks, parts })
    }
}

fn decode_part(reader: &mut Reader<'_>) -> Result<Part, DecodeError> {
    let kind = reader.u8("kind of a span")?;
    let (first, last) = (reader.u64("span")?, reader.u64("span")?);
    let span = Span::new(first, last).ok_or(DecodeError::Invalid { field: "span" })?;
    let count = reader.u16("span")?;
    match kind {
        SUMS if usize::from(count) <= SUMS_MAX && span.has_parts(count) => {
            let bytes = reader.raw("digests", usize::from(count) * DIGEST_LEN)?;
            Ok(Part::Sums { span, sums: bytes.as_chunks().0.to_vec() })
        }
        LIST if usize::from(count) <= LIST_IDS_MAX => {
            let ids: Vec<ShortId> =
                reader.raw("listed ids", usize::from(count) * ID_SHORT)?.as_chunks().0.to_vec();
            let rises = ids.windows(2).all(|pair| pair[0] < pair[1]);
            let inside = ids.iter().all(|id| span.contains(&lengthened(id)));
            if rises && inside {
                Ok(Part::List { span, ids })
            } else {
                Err(DecodeError::Invalid { field: "listed ids" })
            }
        }
        _ => Err(DecodeError::Invalid { field: "span" }),
    }
}

/// An id that begins like this one.
fn lengthened(short: &ShortId) -> EntryId {
    let mut id = [0; EntryId::LEN];
    id[..ID_SHORT].copy_from_slice(short);
    EntryId::from_bytes(id)
}

fn count16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A count in two bytes and one bit each, lowest bit first.
pub(super) fn write_flags(writer: &mut Writer, flags: &[bool]) {
    writer.u16(count16(flags.len()));
    for eight in flags.chunks(8) {
        let bits = eight.iter().enumerate().map(|(bit, set)| u8::from(*set) << bit);
        writer.u8(bits.fold(0, |byte, bit| byte | bit));
    }
}

/// Between 1 and `max` flags; unused bits are zero.
pub(super) fn read_flags(reader: &mut Reader<'_>, max: usize) -> Result<Vec<bool>, DecodeError> {
    let invalid = DecodeError::Invalid { field: "flags" };
    let count = usize::from(reader.u16("flags")?);
    if count == 0 || count > max {
        return Err(invalid);
    }
    let bits = reader.raw("flags", count.div_ceil(8))?;
    let set = |at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
    if (count..bits.len() * 8).any(set) {
        return Err(invalid);
    }
    Ok((0..count).map(set).collect())
}
