//! The schema of the vault's database and its small pieces of state.
//!
//! Everything lies inside one SQLCipher file, so names, counts and dates are as hidden as the text.
//! Documents and attachment bytes have tables of their own: a list never reads them.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::VaultError;

/// Raised with every change of the schema; a vault of a higher version is not opened.
const VERSION: i64 = 3;

/// Version 1. A new vault begins here and goes the way of the older ones.
const FIRST: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE report (
    number      INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    author      BLOB NOT NULL,
    finished    INTEGER NOT NULL,
    template    TEXT NOT NULL,
    title       TEXT NOT NULL,
    language    TEXT NOT NULL,
    date        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    clashes     INTEGER NOT NULL,
    people      INTEGER NOT NULL,
    attachments INTEGER NOT NULL,
    sent_heads  BLOB NOT NULL,
    return_secret    BLOB,
    return_recipient TEXT,
    import_hash BLOB UNIQUE
);
CREATE TABLE document (report INTEGER PRIMARY KEY REFERENCES report(number), bytes BLOB NOT NULL);
CREATE VIRTUAL TABLE report_text USING fts5(title, body, tokenize = 'unicode61 remove_diacritics 2');

CREATE TABLE attachment (
    id       BLOB PRIMARY KEY,
    report   BLOB NOT NULL,
    complete INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE attachment_part (
    attachment BLOB NOT NULL,
    number     INTEGER NOT NULL,
    entry      BLOB,
    bytes      BLOB,
    PRIMARY KEY (attachment, number)
);

CREATE TABLE entry (
    id       BLOB PRIMARY KEY,
    device   BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    previous BLOB,
    kind     INTEGER NOT NULL,
    report   BLOB,
    time_ms  INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX entry_chain ON entry (device, sequence);
CREATE INDEX entry_report ON entry (report);

CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE waiting (entry BLOB PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE expected_part (
    entry      BLOB NOT NULL,
    attachment BLOB NOT NULL,
    report     BLOB NOT NULL,
    PRIMARY KEY (report, entry)
) WITHOUT ROWID;
CREATE TABLE receipt_due (entry BLOB PRIMARY KEY, author BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt (
    entry   BLOB NOT NULL,
    device  BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (entry, device)
) WITHOUT ROWID;
CREATE TABLE problem (
    entry   BLOB NOT NULL,
    device  BLOB,
    reason  TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (entry, reason)
) WITHOUT ROWID;

CREATE TABLE device (
    id          BLOB PRIMARY KEY,
    certificate BLOB NOT NULL,
    label       TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE desk_key (epoch INTEGER PRIMARY KEY, secret BLOB NOT NULL);
";

/// Version 2: teams with desks, removals, sealed and forgotten reports.
///
/// `report.given` is 1 for a report that this device has by a share, so that whoever shares it vouches for it.
/// `device.member` is 0 for an author whose certificate came with a shared report. `device.via` is the
/// place in its issuer's chain of the entry that brought its certificate, 0 if this device made it.
/// `desk_identity` holds the secrets that this device was granted, `desk_epoch` what is public of every
/// desk it knows. `own_certificate` holds what each coordinator signed for this device last; `entry.epoch`
/// is the desk's epoch that an entry was sealed to, and `entry.superseded` says that what it holds was sent
/// once more in another. `former_device` are the devices that this vault was before it was restored, with the
/// last number of their chains; `replacement` notes, for a coordinator, which device took the place of which. `told` notes, for a coordinator, which device was sent what. `act` is the team's log.
///
/// `entry.digest` is the hash of what was signed, `entry.copy` is 1 for another ciphertext of a signed
/// entry that was known, `entry.seen_ms` is when it was opened or made here. `waiting.device`, `sequence` and
/// `previous` are what the entry's header claims. A `problem` without an entry is about a place in a chain,
/// or about something that this device could not do. `dropped` are the entries of forgotten reports; `due`
/// while the depot has still to drop their bytes. `missed` are reports with a reader who missed a change.
const SECOND: &str = "
ALTER TABLE report ADD COLUMN addendum_to BLOB;
ALTER TABLE report ADD COLUMN questions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report ADD COLUMN given INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN digest BLOB;
ALTER TABLE entry ADD COLUMN epoch INTEGER;
ALTER TABLE entry ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN copy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waiting ADD COLUMN device BLOB;
ALTER TABLE waiting ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waiting ADD COLUMN previous BLOB;
ALTER TABLE waiting ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE receipt ADD COLUMN author BLOB;
ALTER TABLE receipt ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;

ALTER TABLE problem RENAME TO first_problem;
CREATE TABLE problem (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    class    TEXT NOT NULL,
    entry    BLOB,
    device   BLOB,
    proven   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    time_ms  INTEGER NOT NULL
);
CREATE UNIQUE INDEX problem_entry ON problem (entry, class) WHERE entry IS NOT NULL;
CREATE UNIQUE INDEX problem_place ON problem (device, sequence, class, reason) WHERE entry IS NULL;
CREATE INDEX problem_device ON problem (device, sequence) WHERE entry IS NOT NULL;
CREATE INDEX waiting_device ON waiting (device, sequence);
CREATE TABLE dropped (entry BLOB PRIMARY KEY, due INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX dropped_due ON dropped (due) WHERE due = 1;
CREATE TABLE missed (report BLOB NOT NULL, device BLOB NOT NULL, PRIMARY KEY (report, device)) WITHOUT ROWID;
ALTER TABLE device ADD COLUMN member INTEGER NOT NULL DEFAULT 1;
ALTER TABLE device ADD COLUMN via INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN heard_ms INTEGER NOT NULL DEFAULT 0;

CREATE TABLE desk_identity (
    epoch     INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    secret    BLOB NOT NULL,
    issuer    BLOB NOT NULL,
    PRIMARY KEY (epoch, recipient)
) WITHOUT ROWID;
CREATE TABLE own_certificate (issuer BLOB PRIMARY KEY, certificate BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE desk_epoch (
    desk      BLOB NOT NULL,
    epoch     INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    name      TEXT NOT NULL,
    issuer    BLOB NOT NULL,
    readers   BLOB NOT NULL,
    PRIMARY KEY (desk, epoch, recipient)
) WITHOUT ROWID;
CREATE TABLE transport_epoch (
    epoch   INTEGER NOT NULL,
    secret  BLOB NOT NULL,
    issuer  BLOB NOT NULL,
    without BLOB NOT NULL,
    PRIMARY KEY (epoch, secret)
) WITHOUT ROWID;
CREATE TABLE former_device (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, sequence INTEGER NOT NULL);
CREATE TABLE replacement (old BLOB PRIMARY KEY, new BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE told (device BLOB NOT NULL, what BLOB NOT NULL, PRIMARY KEY (device, what)) WITHOUT ROWID;

CREATE TABLE sealed (report BLOB PRIMARY KEY, time_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE share (
    report  BLOB NOT NULL,
    device  BLOB NOT NULL,
    by      BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (report, device)
) WITHOUT ROWID;
CREATE TABLE forgotten (report BLOB PRIMARY KEY, by BLOB NOT NULL, time_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE forget_request (
    report  BLOB PRIMARY KEY,
    device  BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    entry   BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE act (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    device  BLOB NOT NULL,
    kind    TEXT NOT NULL,
    subject BLOB,
    detail  TEXT NOT NULL,
    entry   BLOB
);
CREATE INDEX act_entry ON act (entry);
CREATE INDEX act_subject ON act (subject);
";

/// Version 3: texts that somebody is writing and has not saved. They go with their report, whoever removes it, and follow it
/// when it gets another id (it is written anew then, and not as it was made any more); a program that does not know them must not
/// open the vault and leave them behind. `tried` are marks of texts that may have been saved, `made` says that the report was made
/// to keep this.
const THIRD: &str = "
CREATE TABLE unfinished (
    number  INTEGER PRIMARY KEY,
    report  BLOB NOT NULL,
    field   TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    base    TEXT NOT NULL,
    text    TEXT NOT NULL,
    tried   TEXT NOT NULL,
    made    INTEGER NOT NULL,
    UNIQUE (report, field)
);
CREATE TRIGGER unfinished_gone AFTER DELETE ON report BEGIN
    DELETE FROM unfinished WHERE report = OLD.id;
END;
CREATE TRIGGER unfinished_follows AFTER UPDATE OF id ON report BEGIN
    UPDATE unfinished SET report = NEW.id, made = 0 WHERE report = OLD.id;
END;
";

/// Brings a database to the current schema, in one transaction.
pub(crate) fn migrate(db: &mut Connection) -> Result<(), VaultError> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > VERSION {
        return Err(VaultError::NewerVersion);
    }
    if version == VERSION {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version < 1 {
        tx.execute_batch(FIRST)?;
    }
    if version < 2 {
        tx.execute_batch(SECOND)?;
        crate::problems::migrate(&tx)?;
        crate::team::migrate(&tx)?;
        tx.execute_batch("DROP TABLE desk_key;")?;
    }
    tx.execute_batch(THIRD)?;
    tx.execute_batch(&format!("PRAGMA user_version = {VERSION};"))?;
    tx.commit()?;
    Ok(())
}

/// A piece of state by name.
pub(crate) fn meta(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
    Ok(db
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// A piece of state that every vault has.
pub(crate) fn required_meta(db: &Connection, name: &str) -> Result<Vec<u8>, VaultError> {
    meta(db, name)?.ok_or_else(|| VaultError::Damaged(format!("\"{name}\" is missing")))
}

/// Sets a piece of state.
pub(crate) fn set_meta(db: &Connection, name: &str, value: &[u8]) -> Result<(), VaultError> {
    db.prepare_cached(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
    )?
    .execute(params![name, value])?;
    Ok(())
}

/// The one id in a table that begins with what a person typed; `missing` says that there is none.
pub(crate) fn id_by_prefix<const LEN: usize>(
    db: &Connection,
    table: &str,
    typed: &str,
    missing: impl Fn() -> VaultError,
) -> Result<[u8; LEN], VaultError> {
    let wanted = typed.trim().to_ascii_lowercase();
    if wanted.is_empty() || wanted.len() > 2 * LEN || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let mut statement =
        db.prepare_cached(&format!("SELECT id FROM {table} WHERE lower(hex(id)) LIKE ?1 || '%' LIMIT 100"))?;
    let ids: Vec<Vec<u8>> = statement.query_map([&wanted], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match ids.as_slice() {
        [] => Err(missing()),
        [one] => array(one, "an id"),
        many => Err(VaultError::Ambiguous { prefix: wanted, matches: many.len() }),
    }
}

/// An array from a blob column, or a word on what is damaged.
pub(crate) fn array<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], VaultError> {
    bytes.try_into().map_err(|_| VaultError::Damaged(format!("{what} has the wrong length")))
}
