//! The depot in one SQLCipher file, shared by the processes of a device.
//!
//! Every write is one `BEGIN IMMEDIATE` transaction that also updates the totals, so that counts and
//! fingerprint are those of the set at every moment, whoever looks. SQLite lets one writer in at a time,
//! which makes the arrival order the order of commits: a reader that has seen position n will never
//! find a new entry below n.
//!
//! It is one file because every write keeps the totals in step with the rows, and that is seen best together.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::{Fingerprint, PeerDepot, Span};
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::accounts::{self, Changes};
use crate::depot::{
    Acknowledged, Arrival, ArrivalWithBytes, Depot, DepotKey, Held, Incoming, Lookup, Mark, PeerRecord,
    PutSummary, Quarantined, Refusal, Source, State, Stats,
};
use crate::judged::Judged;
use crate::rows::{
    UNNAMED, read_arrival, read_peer, read_role, read_source, read_state, sql_int, state_code, unsigned,
};
use crate::{DepotError, addressed, cipher, compared, schema};

/// How many refused entries are listed at most, so that a hostile peer cannot fill the disk with them.
const REFUSED_KEPT: i64 = 1_000;

/// A depot in an SQLCipher file. Dropping it closes the file; [`SqlDepot::close`] also says how that went.
#[derive(Debug)]
pub struct SqlDepot {
    db: Mutex<Connection>,
    pub(crate) depot: DepotId,
    pub(crate) path: PathBuf,
}

impl SqlDepot {
    /// Makes an empty depot at `path`, where no file may be.
    ///
    /// # Errors
    /// [`DepotError::AlreadyExists`], [`DepotError::NotEncrypting`], the disk's.
    pub fn create(path: &Path, key: &DepotKey, depot: DepotId) -> Result<Self, DepotError> {
        let db = cipher::open_database(path, key.as_bytes(), true)?;
        schema::migrate(&db)?;
        db.execute(
            "INSERT INTO totals (one, depot, known, sum, held, held_bytes, gone, quarantined)
             VALUES (1, ?1, 0, ?2, 0, 0, 0, 0)",
            params![depot.as_bytes(), [0_u8; 32]],
        )?;
        Ok(Self { db: Mutex::new(db), depot, path: path.to_owned() })
    }

    /// Opens the depot at `path`. Other processes may have it open too.
    ///
    /// # Errors
    /// [`DepotError::Missing`], [`DepotError::WrongKey`], [`DepotError::Damaged`],
    /// [`DepotError::NewerVersion`], [`DepotError::Busy`], the disk's.
    pub fn open(path: &Path, key: &DepotKey) -> Result<Self, DepotError> {
        let db = cipher::open_database(path, key.as_bytes(), false)?;
        schema::migrate(&db)?;
        let depot =
            db.query_row("SELECT depot FROM totals", [], |row| row.get(0)).map(DepotId::from_bytes)?;
        Ok(Self { db: Mutex::new(db), depot, path: path.to_owned() })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file. The last process to close moves everything into it, so that no `-wal` remains.
    ///
    /// # Errors
    /// What SQLite says; everything that was reported durable is.
    pub fn close(self) -> Result<(), DepotError> {
        let db = self.db.into_inner().unwrap_or_else(PoisonError::into_inner);
        db.close().map_err(|(_, error)| error.into())
    }

    /// [`Depot::put`] for entries that were judged already; what is kept of each, [`Judged::stored`] says.
    ///
    /// # Errors
    /// The backend's; then nothing of the batch was taken.
    pub fn put_judged(&self, batch: &[Judged<'_>]) -> Result<PutSummary, DepotError> {
        let mut summary = PutSummary::default();
        if batch.is_empty() {
            return Ok(summary);
        }
        let db = self.db();
        let transaction = write(&db)?;
        {
            let mut totals = Totals::load(&transaction)?;
            let mut origins = Origins { db: &transaction, last: None };
            let mut changes = Changes::default();
            let any_past = compared::any_past(&transaction)?;
            let mut known = transaction.prepare_cached(
                "INSERT INTO known (id, size, origin, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
            )?;
            let mut sealed =
                transaction.prepare_cached("INSERT INTO sealed (position, bytes) VALUES (?1, ?2)")?;
            for entry in batch {
                let refusal = entry.refusal;
                let origin = origins.number(entry.from)?;
                if refusal != Some(Refusal::WrongId) {
                    let state = if refusal.is_none() { State::Held } else { State::Quarantined };
                    if known.execute(params![entry.id.as_bytes(), entry.size, origin, state_code(state)])?
                        == 0
                    {
                        summary.already_known += 1;
                        continue;
                    }
                    totals.add(&entry.id);
                    if any_past {
                        compared::no_longer_past(&transaction, &entry.id)?;
                    }
                    if refusal.is_none() {
                        sealed.execute(params![transaction.last_insert_rowid(), entry.stored])?;
                        totals.stats.held += 1;
                        totals.stats.held_bytes += u64::from(entry.size);
                        changes.held(origin, i64::from(entry.size));
                        summary.added += 1;
                    } else {
                        totals.stats.quarantined += 1;
                    }
                }
                if let Some(refusal) = refusal {
                    note_bad(&transaction, &entry.id, origin, refusal.words())?;
                    summary.refused.push((entry.id, refusal));
                }
            }
            totals.store(&transaction)?;
            changes.store(&transaction)?;
        }
        transaction.commit()?;
        Ok(summary)
    }

    /// A panic in another thread dropped its transaction, which rolled it back: the connection is sound.
    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk<T>(
        &self,
        sql: &str,
        after: u64,
        max_entries: usize,
        max_bytes: u64,
        mut item: impl FnMut(Arrival, &Row<'_>) -> Result<T, DepotError>,
    ) -> Result<Vec<T>, DepotError> {
        let db = self.db();
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query(params![sql_int(after), sql_int(max_entries as u64)])?;
        let mut out = Vec::new();
        let mut total = 0_u64;
        while let Some(row) = rows.next()? {
            let arrival = read_arrival(row)?;
            if arrival.state == State::Held {
                total += u64::from(arrival.size);
            }
            if total > max_bytes && !out.is_empty() {
                break;
            }
            out.push(item(arrival, row)?);
        }
        Ok(out)
    }
}

impl Depot for SqlDepot {
    fn depot_id(&self) -> DepotId {
        self.depot
    }

    fn put(&self, batch: &[Incoming<'_>]) -> Result<PutSummary, DepotError> {
        // Hashing needs no lock; do it before the other processes have to wait.
        let judged: Vec<_> = batch.iter().map(Judged::of).collect();
        self.put_judged(&judged)
    }

    fn get(&self, id: &EntryId) -> Result<Lookup, DepotError> {
        let db = self.db();
        let bytes: Option<Option<Vec<u8>>> = db
            .prepare_cached("SELECT bytes FROM known LEFT JOIN sealed USING (position) WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(match bytes {
            Some(Some(bytes)) => Lookup::Held(bytes),
            Some(None) => Lookup::Gone,
            None => Lookup::Unknown,
        })
    }

    fn unknown(&self, ids: &[EntryId]) -> Result<Vec<EntryId>, DepotError> {
        let db = self.db();
        // One snapshot for all of them, which also spares a lock per id.
        let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Deferred)?;
        let mut statement = transaction.prepare_cached("SELECT 1 FROM known WHERE id = ?1")?;
        let mut unknown = Vec::new();
        for id in ids {
            if !statement.exists([id.as_bytes()])? {
                unknown.push(*id);
            }
        }
        Ok(unknown)
    }

    fn position(&self, id: &EntryId) -> Result<Option<u64>, DepotError> {
        let position: Option<i64> = self
            .db()
            .prepare_cached("SELECT position FROM known WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        position.map(unsigned).transpose()
    }

    fn arrivals(&self, after: u64, max_entries: usize, max_bytes: u64) -> Result<Vec<Arrival>, DepotError> {
        self.walk(
            "SELECT position, id, size, origin, state, device FROM known JOIN origin ON origin = number
             WHERE position > ?1 ORDER BY position LIMIT ?2",
            after,
            max_entries,
            max_bytes,
            |arrival, _| Ok(arrival),
        )
    }

    fn arrivals_with_bytes(
        &self,
        after: u64,
        max_entries: usize,
        max_bytes: u64,
    ) -> Result<Vec<ArrivalWithBytes>, DepotError> {
        self.walk(
            "SELECT position, id, size, origin, state, device, bytes FROM known JOIN origin ON origin = number
             LEFT JOIN sealed USING (position) WHERE position > ?1 ORDER BY position LIMIT ?2",
            after,
            max_entries,
            max_bytes,
            |arrival, row| Ok((arrival, row.get(6)?)),
        )
    }

    fn head(&self) -> Result<u64, DepotError> {
        let db = self.db();
        let head: Option<i64> =
            db.prepare_cached("SELECT max(position) FROM known")?.query_row([], |row| row.get(0))?;
        unsigned(head.unwrap_or(0))
    }

    fn fingerprint(&self) -> Result<Fingerprint, DepotError> {
        let totals = Totals::load(&self.db())?;
        Ok(totals.fingerprint)
    }

    fn known(&self, ids: &[EntryId]) -> Result<Vec<Arrival>, DepotError> {
        let db = self.db();
        let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Deferred)?;
        let mut statement = transaction.prepare_cached(
            "SELECT position, id, size, origin, state, device FROM known JOIN origin ON origin = number
             WHERE id = ?1",
        )?;
        let mut found = Vec::new();
        for id in ids {
            let mut rows = statement.query([id.as_bytes()])?;
            if let Some(row) = rows.next()? {
                found.push(read_arrival(row)?);
            }
        }
        Ok(found)
    }

    fn note_past(&self, peer: &PeerDepot, ids: &[EntryId]) -> Result<usize, DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        let owner = Origins { db: &transaction, last: None }.number(Source::Peer(peer.device))?;
        let noted = compared::note_past(&transaction, owner, &peer.depot, ids)?;
        transaction.commit()?;
        Ok(noted)
    }

    fn compared(&self, peer: &PeerDepot) -> Result<Fingerprint, DepotError> {
        let db = self.db();
        let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Deferred)?;
        let mut fingerprint = Totals::load(&transaction)?.fingerprint;
        if let Some((_, past)) = compared::past_of(&transaction, peer)? {
            fingerprint.merge(&past);
        }
        Ok(fingerprint)
    }

    fn spans(&self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, DepotError> {
        // In steps, so that nobody waits long for the walk over a large depot.
        loop {
            let db = self.db();
            if !compared::needs_catching_up(&db)? {
                let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Deferred)?;
                return compared::spans(&transaction, peer, span, parts);
            }
            let transaction = write(&db)?;
            compared::catch_up(&transaction)?;
            transaction.commit()?;
        }
    }

    fn ids_in(
        &self,
        peer: &PeerDepot,
        span: Span,
        after: Option<&EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, DepotError> {
        let db = self.db();
        let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Deferred)?;
        compared::ids_in(&transaction, peer, span, after, max_entries)
    }

    fn forget(&self, ids: &[EntryId]) -> Result<usize, DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        let mut totals = Totals::load(&transaction)?;
        let mut changes = Changes::default();
        let mut dropped = 0;
        for id in ids {
            if drop_bytes(&transaction, id, State::Gone, &mut totals, &mut changes)? == Some(State::Held) {
                dropped += 1;
            }
        }
        totals.store(&transaction)?;
        changes.store(&transaction)?;
        transaction.commit()?;
        Ok(dropped)
    }

    fn quarantine(&self, id: &EntryId, reason: &str) -> Result<bool, DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        let mut totals = Totals::load(&transaction)?;
        let mut changes = Changes::default();
        let known = drop_bytes(&transaction, id, State::Quarantined, &mut totals, &mut changes)?.is_some();
        if known {
            let origin: i64 =
                transaction
                    .query_row("SELECT origin FROM known WHERE id = ?1", [id.as_bytes()], |row| row.get(0))?;
            note_bad(&transaction, id, origin, reason)?;
        }
        totals.store(&transaction)?;
        changes.store(&transaction)?;
        transaction.commit()?;
        Ok(known)
    }

    fn quarantined(&self) -> Result<Vec<Quarantined>, DepotError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT id, reason, origin, device FROM bad JOIN origin ON origin = origin.number ORDER BY bad.number",
        )?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(Quarantined {
                id: EntryId::from_bytes(row.get(0)?),
                reason: row.get(1)?,
                from: read_source(row.get(2)?, row.get_ref(3)?)?,
            });
        }
        Ok(out)
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, DepotError> {
        Ok(self
            .db()
            .prepare_cached("SELECT value FROM setting WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?)
    }

    fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        match value {
            Some(value) => transaction
                .prepare_cached(
                    "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
                )?
                .execute(params![name, value])?,
            None => transaction.prepare_cached("DELETE FROM setting WHERE name = ?1")?.execute([name])?,
        };
        transaction.commit()?;
        Ok(())
    }

    fn peer_cursor(&self, peer: &DepotId) -> Result<u64, DepotError> {
        let position: Option<i64> = self
            .db()
            .prepare_cached("SELECT position FROM cursor WHERE depot = ?1")?
            .query_row([peer.as_bytes()], |row| row.get(0))
            .optional()?;
        unsigned(position.unwrap_or(0))
    }

    fn set_peer_cursor(&self, peer: &DepotId, position: u64) -> Result<(), DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        transaction
            .prepare_cached(
                "INSERT INTO cursor (depot, position) VALUES (?1, ?2) ON CONFLICT (depot) DO UPDATE SET position = ?2",
            )?
            .execute(params![peer.as_bytes(), sql_int(position)])?;
        transaction.commit()?;
        Ok(())
    }

    fn peers(&self) -> Result<Vec<PeerRecord>, DepotError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT device, role, depot, address, last_sync_ms, holds_position FROM peer
             ORDER BY last_sync_ms DESC, device",
        )?;
        let mut rows = statement.query([])?;
        let mut peers = Vec::new();
        while let Some(row) = rows.next()? {
            peers.push(PeerRecord {
                device: read_peer(row.get_ref(0)?)?,
                role: read_role(row.get_ref(1)?)?,
                depot: DepotId::from_bytes(row.get(2)?),
                address: row.get(3)?,
                last_sync_ms: row.get(4)?,
                holds_position: unsigned(row.get(5)?)?,
            });
        }
        Ok(peers)
    }

    fn record_peer(&self, peer: PeerRecord) -> Result<(), DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        let relay = peer.device.filter(|_| peer.role == Role::Relay);
        if let Some(device) = &relay {
            let same: bool = transaction
                .prepare_cached("SELECT 1 FROM peer WHERE device = ?1 AND depot = ?2")?
                .exists(params![device.as_bytes(), peer.depot.as_bytes()])?;
            if !same {
                accounts::begin_anew(&transaction, device)?;
            }
            accounts::acknowledged(&transaction, device, peer.holds_position, peer.last_sync_ms)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO peer (device, role, depot, address, last_sync_ms, holds_position)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (device) DO UPDATE SET
                     role = ?2, depot = ?3, address = coalesce(?4, address), last_sync_ms = ?5,
                     holds_position = CASE WHEN depot = ?3 THEN max(holds_position, ?6) ELSE ?6 END",
            )?
            .execute(params![
                peer.device.as_ref().map_or(&[][..], |device| device.as_bytes()),
                peer.role.word(),
                peer.depot.as_bytes(),
                peer.address,
                peer.last_sync_ms,
                sql_int(peer.holds_position),
            ])?;
        transaction.commit()?;
        Ok(())
    }

    fn address_to(&self, device: &DeviceId, ids: &[EntryId]) -> Result<(), DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        addressed::note(&transaction, device, ids)?;
        transaction.commit()?;
        Ok(())
    }

    fn addressed_to(&self, device: &DeviceId) -> Result<Vec<EntryId>, DepotError> {
        addressed::list(&self.db(), device)
    }

    fn held_by(&self, source: Source) -> Result<Held, DepotError> {
        let db = self.db();
        let origin = match source {
            Source::Own => Some(0),
            Source::Bundle => Some(1),
            Source::Unnamed => Some(UNNAMED),
            Source::Peer(device) => accounts::number_of(&db, &device)?,
        };
        origin.map_or(Ok(Held::default()), |origin| accounts::held_by(&db, origin))
    }

    fn held_by_each(&self) -> Result<Vec<(Source, Held)>, DepotError> {
        accounts::list(&self.db())
    }

    fn note_time(&self, time_ms: u64, apart_ms: u64) -> Result<(), DepotError> {
        let db = self.db();
        let transaction = write(&db)?;
        accounts::note_time(&transaction, time_ms, apart_ms)?;
        Ok(transaction.commit()?)
    }

    fn marks(&self) -> Result<Vec<Mark>, DepotError> {
        accounts::marks(&self.db())
    }

    fn first_held(&self) -> Result<Option<u64>, DepotError> {
        let first: Option<i64> =
            self.db().query_row("SELECT min(position) FROM sealed", [], |row| row.get(0))?;
        first.map(unsigned).transpose()
    }

    fn acknowledged(&self) -> Result<Vec<Acknowledged>, DepotError> {
        accounts::acknowledgements(&self.db())
    }

    fn room_on_disk(&self) -> Result<Option<u64>, DepotError> {
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| DepotError::Io(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Pages of what was dropped stay in the file, and are used first.
        // The cipher gives the numbers of its pragmas as text.
        let (pages, page): (i64, i64) = self
            .db()
            .prepare_cached(
                "SELECT CAST(freelist_count AS INTEGER), CAST(page_size AS INTEGER)
                 FROM pragma_freelist_count, pragma_page_size",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Some(free.saturating_add(unsigned(pages)?.saturating_mul(unsigned(page)?))))
    }

    fn stats(&self) -> Result<Stats, DepotError> {
        Ok(Totals::load(&self.db())?.stats)
    }
}

/// The one row that sums up all others.
struct Totals {
    fingerprint: Fingerprint,
    stats: Stats,
}

impl Totals {
    fn load(db: &Connection) -> Result<Self, DepotError> {
        let mut statement = db.prepare_cached(
            "SELECT known, sum, held, held_bytes, gone, quarantined FROM totals WHERE one = 1",
        )?;
        let (known, sum, held, held_bytes, gone, quarantined) = statement.query_row([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        let known = unsigned(known)?;
        Ok(Self {
            fingerprint: Fingerprint { count: known, sum },
            stats: Stats {
                known,
                held: unsigned(held)?,
                held_bytes: unsigned(held_bytes)?,
                gone: unsigned(gone)?,
                quarantined: unsigned(quarantined)?,
            },
        })
    }

    fn add(&mut self, id: &EntryId) {
        self.fingerprint.add(id);
        self.stats.known += 1;
    }

    fn store(&self, db: &Connection) -> Result<(), DepotError> {
        let stats = &self.stats;
        db.prepare_cached(
            "UPDATE totals SET known = ?1, sum = ?2, held = ?3, held_bytes = ?4, gone = ?5, quarantined = ?6
             WHERE one = 1",
        )?
        .execute(params![
            sql_int(stats.known),
            self.fingerprint.sum,
            sql_int(stats.held),
            sql_int(stats.held_bytes),
            sql_int(stats.gone),
            sql_int(stats.quarantined),
        ])?;
        Ok(())
    }
}

/// Numbers of sources; a batch mostly comes from one.
struct Origins<'a> {
    db: &'a Connection,
    last: Option<(DeviceId, i64)>,
}

impl Origins<'_> {
    fn number(&mut self, source: Source) -> Result<i64, DepotError> {
        let device = match source {
            Source::Own => return Ok(0),
            Source::Bundle => return Ok(1),
            Source::Unnamed => return Ok(UNNAMED),
            Source::Peer(device) => device,
        };
        if let Some((last, number)) = self.last
            && last == device
        {
            return Ok(number);
        }
        self.db
            .prepare_cached("INSERT INTO origin (device) VALUES (?1) ON CONFLICT (device) DO NOTHING")?
            .execute([device.as_bytes()])?;
        let number = self
            .db
            .prepare_cached("SELECT number FROM origin WHERE device = ?1")?
            .query_row([device.as_bytes()], |row| row.get(0))?;
        self.last = Some((device, number));
        Ok(number)
    }
}

fn write(db: &Connection) -> Result<Transaction<'_>, DepotError> {
    Ok(Transaction::new_unchecked(db, TransactionBehavior::Immediate)?)
}

/// Lists a bad entry once, and keeps the list short: of those whose id is not known here (anybody can
/// make up any number of them) only the latest stay.
fn note_bad(db: &Connection, id: &EntryId, origin: i64, reason: &str) -> Result<(), DepotError> {
    db.prepare_cached(
        "INSERT INTO bad (id, origin, reason) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET origin = ?2, reason = ?3",
    )?
    .execute(params![id.as_bytes(), origin, reason])?;
    db.prepare_cached(
        "DELETE FROM bad WHERE number <= (SELECT max(number) FROM bad) - ?1
         AND id NOT IN (SELECT id FROM known)",
    )?
    .execute([REFUSED_KEPT])?;
    Ok(())
}

/// Takes the bytes of a known entry away; the state before, or `None` if the id is not known.
fn drop_bytes(
    db: &Connection,
    id: &EntryId,
    to: State,
    totals: &mut Totals,
    changes: &mut Changes,
) -> Result<Option<State>, DepotError> {
    let found: Option<(i64, i64, i64, i64)> = db
        .prepare_cached("SELECT position, size, state, origin FROM known WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((position, size, before, origin)) = found else { return Ok(None) };
    let before = read_state(before)?;
    // What was quarantined stays on that list even when it is forgotten: the reason matters longer.
    if before == to || before == State::Quarantined {
        return Ok(Some(before));
    }
    db.prepare_cached("DELETE FROM sealed WHERE position = ?1")?.execute([position])?;
    db.prepare_cached("UPDATE known SET state = ?2 WHERE position = ?1")?
        .execute(params![position, state_code(to)])?;
    let stats = &mut totals.stats;
    match before {
        State::Held => {
            changes.dropped(origin, size);
            stats.held = stats.held.saturating_sub(1);
            stats.held_bytes = stats.held_bytes.saturating_sub(unsigned(size)?);
        }
        State::Gone => stats.gone = stats.gone.saturating_sub(1),
        State::Quarantined => {}
    }
    match to {
        State::Gone => stats.gone += 1,
        State::Quarantined => stats.quarantined += 1,
        State::Held => {}
    }
    Ok(Some(before))
}
