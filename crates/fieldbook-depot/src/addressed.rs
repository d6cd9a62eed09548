//! What is for whom, as this device's vault has noted it.

use fieldbook_proto::session::limits::ADDRESSED_MAX;
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::{Connection, params};

use crate::DepotError;

/// Notes these entries for a device, and keeps the latest of its notes.
pub(crate) fn note(db: &Connection, device: &DeviceId, ids: &[EntryId]) -> Result<(), DepotError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO addressed (device, id, number)
         VALUES (?1, ?2, (SELECT coalesce(max(number), 0) + 1 FROM addressed WHERE device = ?1))
         ON CONFLICT (device, id) DO NOTHING",
    )?;
    for id in ids {
        insert.execute(params![device.as_bytes(), id.as_bytes()])?;
    }
    db.prepare_cached(
        "DELETE FROM addressed WHERE device = ?1 AND number <=
         (SELECT number FROM addressed WHERE device = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![device.as_bytes(), i64::try_from(ADDRESSED_MAX).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// What was noted for a device, the latest last.
pub(crate) fn list(db: &Connection, device: &DeviceId) -> Result<Vec<EntryId>, DepotError> {
    let mut statement = db.prepare_cached("SELECT id FROM addressed WHERE device = ?1 ORDER BY number")?;
    let rows = statement.query_map([device.as_bytes()], |row| row.get(0))?;
    rows.map(|id| Ok(EntryId::from_bytes(id?))).collect()
}
