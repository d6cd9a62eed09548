//! Chunks of changes from outside: taken apart, bounded and checked before automerge sees them.
//!
//! A chunk is `85 6f 4a 83`, four bytes of checksum, a type, a length (LEB128) and its data. The
//! length of deflated data is not written anywhere, so it is inflated here once, up to the limit.

use std::io::Read as _;

use automerge::{Automerge, Change};

use crate::document::ReportError;
use crate::limits::DOCUMENT_MAX;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;

/// One chunk of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    kind: u8,
    /// With its header.
    bytes: &'a [u8],
    data: &'a [u8],
}

impl Chunk<'_> {
    pub(super) fn is_document(&self) -> bool {
        self.kind == DOCUMENT
    }
}

fn damaged(detail: &str) -> ReportError {
    ReportError::Damaged { detail: detail.to_owned() }
}

/// Finds the chunks of a sequence, without looking into them.
///
/// # Errors
/// Larger than [`DOCUMENT_MAX`], or not a sequence of whole chunks of known types.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Chunk<'_>>, ReportError> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(ReportError::TooLarge);
    }
    let (mut rest, mut chunks) = (bytes, Vec::new());
    while !rest.is_empty() {
        let header = rest.get(..9).filter(|header| header[..4] == MAGIC);
        let kind = header.ok_or_else(|| damaged("not a chunk of changes"))?[8];
        if kind > DEFLATED_CHANGE {
            return Err(damaged("a chunk of an unknown type"));
        }
        let (length, digits) = leb128(&rest[9..]).ok_or_else(|| damaged("a chunk without a length"))?;
        let start = 9 + digits;
        let end = start.checked_add(length).filter(|end| *end <= rest.len());
        let end = end.ok_or_else(|| damaged("a chunk was cut off"))?;
        chunks.push(Chunk { kind, bytes: &rest[..end], data: &rest[start..end] });
        rest = &rest[end..];
    }
    Ok(chunks)
}

/// Unsigned LEB128 of at most five bytes: longer lengths are beyond any limit here.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Decodes every change. A document chunk gives all its changes.
///
/// # Errors
/// Damaged, or inflated beyond [`DOCUMENT_MAX`].
pub(super) fn decode(chunks: &[Chunk<'_>]) -> Result<Vec<Change>, ReportError> {
    let mut budget = DOCUMENT_MAX;
    let mut changes = Vec::new();
    for chunk in chunks {
        if chunk.is_document() {
            let doc = document(chunk)?;
            changes.extend(doc.get_changes(&[]));
            continue;
        }
        if chunk.kind == CHANGE {
            budget = budget.checked_sub(chunk.data.len()).ok_or(ReportError::TooLarge)?;
        } else {
            budget = budget.checked_sub(inflated_len(chunk.data, budget)?).ok_or(ReportError::TooLarge)?;
        }
        let change = Change::try_from(chunk.bytes).map_err(|error| damaged(&error.to_string()))?;
        // automerge checks this only where it loads the bytes itself.
        if change.hash().0[..4] != chunk.bytes[4..8] {
            return Err(damaged("the checksum of a change is wrong"));
        }
        changes.push(change);
    }
    Ok(changes)
}

/// Loads a document chunk.
///
/// # Errors
/// Damaged, or its columns inflate beyond [`DOCUMENT_MAX`].
pub(super) fn document(chunk: &Chunk<'_>) -> Result<Automerge, ReportError> {
    check_inflated(chunk)?;
    Ok(Automerge::load(chunk.bytes)?)
}

/// Bounds what a document chunk inflates to, without loading it.
///
/// # Errors
/// As [`document`].
pub(super) fn check_inflated(chunk: &Chunk<'_>) -> Result<(), ReportError> {
    let deflated = deflated_columns(chunk.data).ok_or_else(|| damaged("a document was cut off"))?;
    let mut budget = DOCUMENT_MAX;
    for column in deflated {
        budget = budget.checked_sub(inflated_len(column, budget)?).ok_or(ReportError::TooLarge)?;
    }
    Ok(())
}

/// The deflated columns of a document: after its actors and heads come two tables of columns (of the
/// changes, of the operations), each a specification with bit 3 for "deflated" and a length, and then
/// the columns themselves.
fn deflated_columns(data: &[u8]) -> Option<Vec<&[u8]>> {
    const DEFLATED: usize = 0b1000;
    let mut rest = data;
    let number = |rest: &mut &[u8]| {
        let (value, digits) = leb128(rest)?;
        *rest = &rest[digits..];
        Some(value)
    };
    for _ in 0..number(&mut rest)? {
        let length = number(&mut rest)?;
        rest = rest.get(length..)?;
    }
    let heads = number(&mut rest)?;
    rest = rest.get(heads.checked_mul(32)?..)?;
    let mut columns = Vec::new();
    for _ in 0..2 {
        for _ in 0..number(&mut rest)? {
            columns.push((number(&mut rest)?, number(&mut rest)?));
        }
    }
    let mut deflated = Vec::new();
    for (specification, length) in columns {
        let column = rest.get(..length)?;
        rest = &rest[length..];
        if specification & DEFLATED != 0 {
            deflated.push(column);
        }
    }
    Some(deflated)
}

fn inflated_len(data: &[u8], limit: usize) -> Result<usize, ReportError> {
    let mut inflater = flate2::read::DeflateDecoder::new(data).take(limit as u64 + 1);
    let mut buffer = [0; 16 * 1024];
    let mut total = 0;
    loop {
        match inflater.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => total += read,
            Err(_) => return Err(damaged("a deflated change cannot be inflated")),
        }
        if total > limit {
            return Err(ReportError::TooLarge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_chunk_is_refused() {
        let header = |kind: u8, tail: &[u8]| [&MAGIC[..], &[0; 4], &[kind], tail].concat();
        assert!(split(&[]).unwrap().is_empty());
        assert!(split(b"not automerge").is_err());
        assert!(split(&header(3, &[0])).is_err());
        assert!(split(&header(1, &[5, 1, 2])).is_err());
        assert!(split(&header(1, &[0xff; 9])).is_err());
        assert_eq!(split(&header(1, &[2, 7, 7])).unwrap().len(), 1);
        assert_eq!(split(&vec![0; DOCUMENT_MAX + 1]).unwrap_err(), ReportError::TooLarge);
    }

    #[test]
    fn a_small_document_whose_columns_inflate_without_end_is_refused() {
        use automerge::ROOT;
        use automerge::transaction::Transactable as _;
        let load = |length: usize| {
            let mut doc = Automerge::new();
            let mut tx = doc.transaction();
            tx.put(ROOT, "x", "a".repeat(length)).unwrap();
            tx.commit();
            let saved = doc.save();
            assert!(saved.len() < 32 * 1024);
            document(&split(&saved).unwrap()[0]).map(drop)
        };
        assert_eq!(load(DOCUMENT_MAX + 1), Err(ReportError::TooLarge));
        assert_eq!(load(DOCUMENT_MAX / 2), Ok(()));
    }

    #[test]
    fn a_small_chunk_that_inflates_without_end_is_refused() {
        use std::io::Write as _;
        let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        deflater.write_all(&vec![0; DOCUMENT_MAX + 1]).unwrap();
        let data = deflater.finish().unwrap();
        assert!(data.len() < 32 * 1024);
        assert_eq!(inflated_len(&data, DOCUMENT_MAX).unwrap_err(), ReportError::TooLarge);
        assert_eq!(inflated_len(&data, DOCUMENT_MAX + 1).unwrap(), DOCUMENT_MAX + 1);
    }
}
