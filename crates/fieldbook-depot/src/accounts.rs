//! What retention and quotas ask: who brought how much, what had come by when, and what a relay said that it
//! holds. Each is kept as sums and marks when something changes, so that nobody walks the entries to know.

use std::collections::BTreeMap;

use fieldbook_proto::DeviceId;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::DepotError;
use crate::depot::{Acknowledged, Held, Mark, Source};
use crate::rows::{read_peer, read_source, sql_int, unsigned};

/// Marks that are kept: a year of hours. Beyond, every second of the older half goes, so that what came long
/// ago is dated less exactly, and always as younger than it is.
const MARKS_MAX: i64 = 8_760;
/// What is remembered of one relay's acknowledgements; of older ones only the position lasts.
const ACKNOWLEDGED_MAX: i64 = 512;

/// What one transaction adds and takes away, by the number of the origin.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<i64, (i64, i64)>);

impl Changes {
    /// An entry of this size is held from now on.
    pub fn held(&mut self, origin: i64, size: i64) {
        let change = self.0.entry(origin).or_default();
        *change = (change.0 + 1, change.1.saturating_add(size));
    }

    /// One is held no more.
    pub fn dropped(&mut self, origin: i64, size: i64) {
        let change = self.0.entry(origin).or_default();
        *change = (change.0 - 1, change.1.saturating_sub(size));
    }

    /// Writes them.
    pub fn store(self, db: &Connection) -> Result<(), DepotError> {
        let mut statement = db.prepare_cached(
            "INSERT INTO held_by (origin, entries, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (origin) DO UPDATE
             SET entries = entries + ?2, bytes = bytes + ?3",
        )?;
        for (origin, (entries, bytes)) in self.0 {
            statement.execute(params![origin, entries, bytes])?;
        }
        Ok(())
    }
}

/// What is held of one origin.
pub(crate) fn held_by(db: &Connection, origin: i64) -> Result<Held, DepotError> {
    let found: Option<(i64, i64)> = db
        .prepare_cached("SELECT entries, bytes FROM held_by WHERE origin = ?1")?
        .query_row([origin], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (entries, bytes) = found.unwrap_or_default();
    Ok(Held { entries: unsigned(entries)?, bytes: unsigned(bytes)? })
}

/// The number of a device among the origins, if it ever brought anything.
pub(crate) fn number_of(db: &Connection, device: &DeviceId) -> Result<Option<i64>, DepotError> {
    Ok(db
        .prepare_cached("SELECT number FROM origin WHERE device = ?1")?
        .query_row([device.as_bytes()], |row| row.get(0))
        .optional()?)
}

/// What is held, by who brought it; who brought nothing that is still held is left out.
pub(crate) fn list(db: &Connection) -> Result<Vec<(Source, Held)>, DepotError> {
    let mut statement = db.prepare_cached(
        "SELECT origin, device, entries, bytes FROM held_by JOIN origin ON origin = number
         WHERE entries > 0 ORDER BY bytes DESC, origin",
    )?;
    let mut rows = statement.query([])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let held = Held { entries: unsigned(row.get(2)?)?, bytes: unsigned(row.get(3)?)? };
        list.push((read_source(row.get(0)?, row.get_ref(1)?)?, held));
    }
    Ok(list)
}

/// Notes that all positions up to the present head had been given out by this time, unless the last mark says
/// so or is too young.
pub(crate) fn note_time(db: &Connection, time_ms: u64, apart_ms: u64) -> Result<(), DepotError> {
    let head: i64 = db.query_row("SELECT coalesce(max(position), 0) FROM known", [], |row| row.get(0))?;
    let last: Option<(i64, i64)> = db
        .query_row("SELECT position, time_ms FROM noted ORDER BY position DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let now = sql_int(time_ms);
    if last.is_some_and(|(position, time)| position >= head || now < time.saturating_add(sql_int(apart_ms))) {
        return Ok(());
    }
    db.execute("INSERT INTO noted (position, time_ms) VALUES (?1, ?2)", [head, now])?;
    let marks: i64 = db.query_row("SELECT count(*) FROM noted", [], |row| row.get(0))?;
    if marks > MARKS_MAX {
        db.execute(
            "DELETE FROM noted WHERE position IN (SELECT position FROM
                 (SELECT position, row_number() OVER (ORDER BY position) AS n FROM noted LIMIT ?1)
             WHERE n % 2 = 1)",
            [MARKS_MAX / 2],
        )?;
    }
    Ok(())
}

/// The marks, oldest first.
pub(crate) fn marks(db: &Connection) -> Result<Vec<Mark>, DepotError> {
    let mut statement = db.prepare_cached("SELECT position, time_ms FROM noted ORDER BY position")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (position, time_ms) = row?;
        Ok(Mark { position: unsigned(position)?, time_ms: unsigned(time_ms)? })
    })
    .collect()
}

/// Notes when a relay said up to where it holds everything; nothing if it said as much before.
pub(crate) fn acknowledged(
    db: &Connection,
    device: &DeviceId,
    position: u64,
    time_ms: i64,
) -> Result<(), DepotError> {
    let device = device.as_bytes();
    db.prepare_cached(
        "INSERT INTO acknowledged (device, position, time_ms) SELECT ?1, ?2, ?3
         WHERE ?2 > (SELECT coalesce(max(position), 0) FROM acknowledged WHERE device = ?1)",
    )?
    .execute(params![device, sql_int(position), time_ms])?;
    db.prepare_cached(
        "DELETE FROM acknowledged WHERE device = ?1 AND position <=
             (SELECT position FROM acknowledged WHERE device = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![device, ACKNOWLEDGED_MAX])?;
    Ok(())
}

/// A relay's depot is another one: what it said of the one before says nothing.
pub(crate) fn begin_anew(db: &Connection, device: &DeviceId) -> Result<(), DepotError> {
    db.prepare_cached("DELETE FROM acknowledged WHERE device = ?1")?.execute([device.as_bytes()])?;
    Ok(())
}

/// What relays said, in the order of positions.
pub(crate) fn acknowledgements(db: &Connection) -> Result<Vec<Acknowledged>, DepotError> {
    let mut statement =
        db.prepare_cached("SELECT device, position, time_ms FROM acknowledged ORDER BY position, device")?;
    let mut rows = statement.query([])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(device) = read_peer(row.get_ref(0)?)? else { continue };
        list.push(Acknowledged { device, position: unsigned(row.get(1)?)?, time_ms: row.get(2)? });
    }
    Ok(list)
}
