//! What range-based reconciliation asks: fingerprints and ids of ranges of the set that is compared with a
//! peer, without a walk over all of it.
//!
//! The set is that of all known ids, and of the peer's *past*: what it knows and no longer holds, and this
//! depot never knew. Ids that begin with the same twelve bits are summed up in one row. For known ids, which
//! never go, the rows are brought up to date when somebody asks, so that putting an entry costs nothing
//! more; the past is small, and its rows are kept as it changes.

use std::collections::HashMap;

use fieldbook_proto::session::limits::PAST_MAX;
use fieldbook_proto::session::{Fingerprint, PeerDepot, Span};
use fieldbook_proto::{DepotId, EntryId};
use rusqlite::{Connection, Row, params};

use crate::DepotError;
use crate::rows::{sql_int, unsigned};

/// How many first bits of an id choose its row.
const BITS: u32 = 12;
/// How many first eight bytes share a row, as a shift.
const WIDTH: u32 = u64::BITS - BITS;
/// The owner of the rows of known ids.
const KNOWN: i64 = 0;
/// Entries that are summed up in one transaction.
const STEP: i64 = 50_000;

fn row_number(id: &EntryId) -> i64 {
    // Twelve bits fit.
    i64::try_from(Span::number(id) >> WIDTH).unwrap_or(i64::MAX)
}

fn read(row: &Row<'_>, at: usize) -> Result<Fingerprint, DepotError> {
    Ok(Fingerprint { count: unsigned(row.get(at)?)?, sum: row.get(at + 1)? })
}

/// Changes the row of a span.
fn change(
    db: &Connection,
    owner: i64,
    number: i64,
    change: impl FnOnce(&mut Fingerprint),
) -> Result<(), DepotError> {
    let mut sum = {
        let mut select = db.prepare_cached("SELECT count, sum FROM span WHERE owner = ?1 AND number = ?2")?;
        let mut rows = select.query(params![owner, number])?;
        rows.next()?.map(|row| read(row, 0)).transpose()?.unwrap_or_default()
    };
    change(&mut sum);
    db.prepare_cached(
        "INSERT INTO span (owner, number, count, sum) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (owner, number) DO UPDATE SET count = ?3, sum = ?4",
    )?
    .execute(params![owner, number, sql_int(sum.count), sum.sum])?;
    Ok(())
}

/// Whether entries were put that are not in the rows yet.
pub(crate) fn needs_catching_up(db: &Connection) -> Result<bool, DepotError> {
    let behind = "SELECT spanned < coalesce((SELECT max(position) FROM known), 0) FROM totals WHERE one = 1";
    Ok(db.prepare_cached(behind)?.query_row([], |row| row.get(0))?)
}

/// Sums up the next known entries.
pub(crate) fn catch_up(db: &Connection) -> Result<(), DepotError> {
    let spanned: i64 = db.query_row("SELECT spanned FROM totals WHERE one = 1", [], |row| row.get(0))?;
    let mut sums: HashMap<i64, Fingerprint> = HashMap::new();
    let mut last = spanned;
    {
        let mut statement = db.prepare_cached(
            "SELECT position, id FROM known WHERE position > ?1 ORDER BY position LIMIT ?2",
        )?;
        let mut rows = statement.query([spanned, STEP])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let id = EntryId::from_bytes(row.get(1)?);
            sums.entry(row_number(&id)).or_default().add(&id);
        }
    }
    for (number, sum) in sums {
        change(db, KNOWN, number, |before| before.merge(&sum))?;
    }
    db.execute("UPDATE totals SET spanned = ?1 WHERE one = 1", [last])?;
    Ok(())
}

/// The number of a peer and the fingerprint of its past, if there is any of its present depot.
pub(crate) fn past_of(db: &Connection, peer: &PeerDepot) -> Result<Option<(i64, Fingerprint)>, DepotError> {
    let mut statement = db.prepare_cached(
        "SELECT owner, count, sum FROM past_total JOIN origin ON owner = number
         WHERE device = ?1 AND depot = ?2 AND count > 0",
    )?;
    let mut rows = statement.query(params![peer.device.as_bytes(), peer.depot.as_bytes()])?;
    rows.next()?.map(|row| Ok((row.get(0)?, read(row, 1)?))).transpose()
}

/// Whether anything is remembered of anybody's past.
pub(crate) fn any_past(db: &Connection) -> Result<bool, DepotError> {
    Ok(db.prepare_cached("SELECT 1 FROM past_total WHERE count > 0")?.exists([])?)
}

fn store_total(db: &Connection, owner: i64, total: &Fingerprint) -> Result<(), DepotError> {
    db.prepare_cached("UPDATE past_total SET count = ?2, sum = ?3 WHERE owner = ?1")?.execute(params![
        owner,
        sql_int(total.count),
        total.sum
    ])?;
    Ok(())
}

/// An entry came that was part of somebody's past: here it is known from now on.
pub(crate) fn no_longer_past(db: &Connection, id: &EntryId) -> Result<(), DepotError> {
    let mut owners = Vec::new();
    {
        let mut statement = db.prepare_cached(
            "SELECT owner, count, sum FROM past JOIN past_total USING (owner) WHERE id = ?1",
        )?;
        let mut rows = statement.query([id.as_bytes()])?;
        while let Some(row) = rows.next()? {
            owners.push((row.get(0)?, read(row, 1)?));
        }
    }
    if owners.is_empty() {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM past WHERE id = ?1")?.execute([id.as_bytes()])?;
    for (owner, mut total) in owners {
        total.remove(id);
        store_total(db, owner, &total)?;
        change(db, owner, row_number(id), |sum| sum.remove(id))?;
    }
    Ok(())
}

/// Adds to the past of a peer what is not known here, as far as there is room.
pub(crate) fn note_past(
    db: &Connection,
    owner: i64,
    depot: &DepotId,
    ids: &[EntryId],
) -> Result<usize, DepotError> {
    let mut total = {
        let mut statement = db.prepare_cached("SELECT depot, count, sum FROM past_total WHERE owner = ?1")?;
        let mut rows = statement.query([owner])?;
        match rows.next()? {
            Some(row) if DepotId::from_bytes(row.get(0)?) == *depot => Some(read(row, 1)?),
            _ => None,
        }
    };
    if total.is_none() {
        // Another depot has another past: that of the one before is over.
        db.execute("DELETE FROM past WHERE owner = ?1", [owner])?;
        db.execute("DELETE FROM span WHERE owner = ?1", [owner])?;
        db.execute(
            "INSERT INTO past_total (owner, depot, count, sum) VALUES (?1, ?2, 0, ?3)
             ON CONFLICT (owner) DO UPDATE SET depot = ?2, count = 0, sum = ?3",
            params![owner, depot.as_bytes(), [0_u8; 32]],
        )?;
    }
    let total = total.get_or_insert_default();
    let before = total.count;
    let mut sums: HashMap<i64, Fingerprint> = HashMap::new();
    // In their order each page is written once.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    {
        let mut insert = db.prepare_cached(
            "INSERT INTO past (id, owner) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM known WHERE id = ?1)
             ON CONFLICT DO NOTHING",
        )?;
        for id in ids {
            if total.count >= PAST_MAX as u64 {
                break;
            }
            if insert.execute(params![id.as_bytes(), owner])? > 0 {
                total.add(&id);
                sums.entry(row_number(&id)).or_default().add(&id);
            }
        }
    }
    for (number, sum) in sums {
        change(db, owner, number, |before| before.merge(&sum))?;
    }
    store_total(db, owner, total)?;
    Ok(usize::try_from(total.count - before).unwrap_or(usize::MAX))
}

/// The fingerprints of the parts of a span. All known entries must be in the rows.
pub(crate) fn spans(
    db: &Connection,
    peer: &PeerDepot,
    span: Span,
    parts: u16,
) -> Result<Vec<Fingerprint>, DepotError> {
    let past = past_of(db, peer)?.map(|(owner, _)| owner);
    span.parts(parts)
        .map(|part| {
            let mut sum = Fingerprint::default();
            for owner in [Some(KNOWN), past].into_iter().flatten() {
                add_span(db, owner, part, &mut sum)?;
            }
            Ok(sum)
        })
        .collect()
}

/// Adds the ids of an owner in a span: whole rows in the middle, single ids at the edges.
fn add_span(db: &Connection, owner: i64, span: Span, sum: &mut Fingerprint) -> Result<(), DepotError> {
    let row_width = 1_u128 << WIDTH;
    let (first, end) = (u128::from(span.first()), u128::from(span.last()) + 1);
    let (first_row, end_row) = (first.div_ceil(row_width), end / row_width);
    if first_row >= end_row {
        return add_ids(db, owner, first, end, sum);
    }
    add_ids(db, owner, first, first_row * row_width, sum)?;
    let mut statement =
        db.prepare_cached("SELECT count, sum FROM span WHERE owner = ?1 AND number >= ?2 AND number < ?3")?;
    let number = |row: u128| i64::try_from(row).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![owner, number(first_row), number(end_row)])?;
    while let Some(row) = rows.next()? {
        sum.merge(&read(row, 0)?);
    }
    add_ids(db, owner, end_row * row_width, end, sum)
}

/// Adds the ids whose first eight bytes lie from `first` to before `end`.
fn add_ids(
    db: &Connection,
    owner: i64,
    first: u128,
    end: u128,
    sum: &mut Fingerprint,
) -> Result<(), DepotError> {
    let bounds = u64::try_from(first).ok().zip(end.checked_sub(1).and_then(|last| u64::try_from(last).ok()));
    let Some(span) = bounds.and_then(|(first, last)| Span::new(first, last)) else { return Ok(()) };
    let mut statement = db.prepare_cached(if owner == KNOWN {
        "SELECT id FROM known WHERE id >= ?1 AND id <= ?2 AND ?3 = 0"
    } else {
        "SELECT id FROM past WHERE id >= ?1 AND id <= ?2 AND owner = ?3"
    })?;
    let mut rows = statement.query(params![span.lowest().as_bytes(), span.highest().as_bytes(), owner])?;
    while let Some(row) = rows.next()? {
        sum.add(&EntryId::from_bytes(row.get(0)?));
    }
    Ok(())
}

/// The ids in a span, rising.
pub(crate) fn ids_in(
    db: &Connection,
    peer: &PeerDepot,
    span: Span,
    after: Option<&EntryId>,
    max_entries: usize,
) -> Result<Vec<EntryId>, DepotError> {
    let mut ids = Vec::new();
    let mut read = |sql: &str, owner: i64| -> Result<(), DepotError> {
        let mut statement = db.prepare_cached(sql)?;
        let lowest = after.copied().unwrap_or(span.lowest()).max(span.lowest());
        let highest = span.highest();
        let bounds = params![
            lowest.as_bytes(),
            highest.as_bytes(),
            after.is_none_or(|after| *after < span.lowest()),
            sql_int(max_entries as u64),
            owner,
        ];
        let mut rows = statement.query(bounds)?;
        while let Some(row) = rows.next()? {
            ids.push(EntryId::from_bytes(row.get(0)?));
        }
        Ok(())
    };
    read(
        "SELECT id FROM known WHERE id >= ?1 AND id <= ?2 AND (?3 OR id > ?1) AND ?5 = 0 ORDER BY id LIMIT ?4",
        KNOWN,
    )?;
    if let Some((owner, _)) = past_of(db, peer)? {
        read(
            "SELECT id FROM past WHERE id >= ?1 AND id <= ?2 AND (?3 OR id > ?1) AND owner = ?5
             ORDER BY id LIMIT ?4",
            owner,
        )?;
        ids.sort_unstable();
        ids.truncate(max_entries);
    }
    Ok(ids)
}
