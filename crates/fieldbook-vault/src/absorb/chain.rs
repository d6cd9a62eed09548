//! The chains of devices: what their entries' numbers and names of predecessors prove.

use fieldbook_proto::EntryId;
use fieldbook_seal::Header;
use rusqlite::{Connection, params};

use crate::error::VaultError;
use crate::vault::now_ms;
use crate::views::{AbsorbSummary, Problem};

/// Notes what is wrong with an entry, once.
pub(crate) fn note_problem(
    db: &Connection,
    id: &EntryId,
    device: Option<Vec<u8>>,
    reason: String,
) -> Result<Option<Problem>, VaultError> {
    let time_ms = now_ms();
    let new = db
        .prepare_cached(
            "INSERT OR IGNORE INTO problem (entry, device, reason, time_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id.as_bytes(), device, reason, time_ms])?;
    Ok((new > 0).then(|| Problem { entry: id.to_string(), who: None, reason, time_ms }))
}

/// Compares an entry with its neighbours in its author's chain. A missing neighbour proves nothing
/// (it may be on its way, or addressed to others); two entries in one place, or a neighbour of
/// another id, prove that the author's device was copied or restored, or that it lies.
pub(crate) fn check_chain(
    db: &Connection,
    id: &EntryId,
    header: &Header,
    summary: &mut AbsorbSummary,
) -> Result<(), VaultError> {
    let sequence = i64::try_from(header.sequence).unwrap_or(i64::MAX);
    let device = header.device.as_bytes().as_slice();
    let mut statement = db.prepare_cached(
        "SELECT id, sequence, previous FROM entry WHERE device = ?1 AND sequence BETWEEN ?2 - 1 AND ?2 + 1 AND id <> ?3",
    )?;
    let mut rows = statement.query(params![device, sequence, id.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let (other, other_sequence, other_previous): (Vec<u8>, i64, Option<Vec<u8>>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let fault = if other_sequence == sequence {
            Some(format!(
                "number {sequence} of its author's chain exists twice: the device was copied or restored from a backup"
            ))
        } else if other_sequence < sequence {
            let named = header.previous.as_ref().map(|id| id.as_bytes().as_slice());
            (named != Some(other.as_slice())).then(|| format!("number {sequence} of its author's chain does not follow number {other_sequence}: an entry was replaced"))
        } else {
            (other_previous.as_deref() != Some(id.as_bytes().as_slice())).then(|| format!("number {other_sequence} of its author's chain does not follow this entry: an entry was replaced"))
        };
        if let Some(reason) = fault {
            summary.problems.extend(note_problem(db, id, Some(device.to_vec()), reason)?);
        }
    }
    Ok(())
}
