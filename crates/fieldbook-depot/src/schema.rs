//! The tables of a depot and how a file of an earlier version is brought to the present one.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::DepotError;

/// The steps from an empty file to the present schema. Step n leads to `user_version` n + 1; a step that
/// was released is never changed, only followed by another.
const STEPS: &[&str] = &[
    // 1: positions are rowids. Rows of `known` are never deleted, so the next rowid is always higher than
    // any that was given out. Bytes lie apart, so that walking ids does not read them. `origin` 0 and 1
    // are this device and bundles; the others are peers.
    "CREATE TABLE origin (number INTEGER PRIMARY KEY, device BLOB UNIQUE);
     INSERT INTO origin (number, device) VALUES (0, NULL), (1, NULL);

     CREATE TABLE known (
         position INTEGER PRIMARY KEY,
         id       BLOB NOT NULL UNIQUE,
         size     INTEGER NOT NULL,
         origin   INTEGER NOT NULL REFERENCES origin (number),
         state    INTEGER NOT NULL
     );
     CREATE TABLE sealed (position INTEGER PRIMARY KEY REFERENCES known (position), bytes BLOB NOT NULL);

     CREATE TABLE totals (
         one         INTEGER PRIMARY KEY CHECK (one = 1),
         depot       BLOB NOT NULL,
         known       INTEGER NOT NULL,
         sum         BLOB NOT NULL,
         held        INTEGER NOT NULL,
         held_bytes  INTEGER NOT NULL,
         gone        INTEGER NOT NULL,
         quarantined INTEGER NOT NULL
     );

     CREATE TABLE bad (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, origin INTEGER NOT NULL, reason TEXT NOT NULL);
     CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
     CREATE TABLE cursor (depot BLOB PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
     CREATE TABLE peer (
         device         BLOB PRIMARY KEY,
         role           TEXT NOT NULL,
         depot          BLOB NOT NULL,
         address        TEXT,
         last_sync_ms   INTEGER NOT NULL,
         holds_position INTEGER NOT NULL
     ) WITHOUT ROWID;",
    // 2: what is for whom, as this device's vault says. An entry may be noted before it is known. `number`
    // rises with the notes of one device. `origin` -1, and a peer without a name, are the devices of which
    // this one keeps no name; what was kept of monitors goes there. Cursors are named by a hash of the
    // device: they go, and the next sync with each begins anew.
    "INSERT INTO origin (number, device) VALUES (-1, NULL);
     UPDATE known SET origin = -1 WHERE origin IN
         (SELECT number FROM origin WHERE device IN (SELECT device FROM peer WHERE role = 'monitor'));
     UPDATE bad SET origin = -1 WHERE origin IN
         (SELECT number FROM origin WHERE device IN (SELECT device FROM peer WHERE role = 'monitor'));
     DELETE FROM origin WHERE device IN (SELECT device FROM peer WHERE role = 'monitor');
     DELETE FROM peer WHERE role = 'monitor';
     DELETE FROM cursor;
     CREATE TABLE addressed (
         device BLOB NOT NULL,
         id     BLOB NOT NULL,
         number INTEGER NOT NULL,
         PRIMARY KEY (device, id)
     ) WITHOUT ROWID;",
    // 3: what reconciliation needs, see `compared`. `span` sums up the ids that begin with the same twelve bits:
    // of `known` (owner 0) up to position `spanned`, and of `past` (the owner is the peer's number in
    // `origin`). `past` is what a peer's depot knows and no longer holds, and this one never knew;
    // `past_total` sums that up. What retention needs, see `accounts`: `held_by` sums up what is held by
    // who brought it; `noted` says by when a position had been given out, in the caller's time;
    // `acknowledged` when a relay said up to where it holds everything.
    "ALTER TABLE totals ADD COLUMN spanned INTEGER NOT NULL DEFAULT 0;
     CREATE TABLE span (
         owner  INTEGER NOT NULL,
         number INTEGER NOT NULL,
         count  INTEGER NOT NULL,
         sum    BLOB NOT NULL,
         PRIMARY KEY (owner, number)
     ) WITHOUT ROWID;
     CREATE TABLE past (id BLOB NOT NULL, owner INTEGER NOT NULL, PRIMARY KEY (id, owner)) WITHOUT ROWID;
     CREATE TABLE past_total (
         owner INTEGER PRIMARY KEY REFERENCES origin (number),
         depot BLOB NOT NULL,
         count INTEGER NOT NULL,
         sum   BLOB NOT NULL
     );
     CREATE TABLE held_by (
         origin  INTEGER PRIMARY KEY REFERENCES origin (number),
         entries INTEGER NOT NULL,
         bytes   INTEGER NOT NULL
     );
     INSERT INTO held_by SELECT origin, count(*), sum(size) FROM known WHERE state = 0 GROUP BY origin;
     CREATE TABLE noted (position INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL);
     CREATE TABLE acknowledged (
         device   BLOB NOT NULL,
         position INTEGER NOT NULL,
         time_ms  INTEGER NOT NULL,
         PRIMARY KEY (device, position)
     ) WITHOUT ROWID;",
];

/// Brings the database to the present schema, in one transaction.
pub(crate) fn migrate(db: &Connection) -> Result<(), DepotError> {
    let version = |db: &Connection| db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found = version(db)?;
    if found > known {
        return Err(DepotError::NewerVersion { found, known });
    }
    if found == known {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let found = version(&transaction)?;
    let done = usize::try_from(found).map_err(|_| DepotError::damaged("its version is impossible"))?;
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}
