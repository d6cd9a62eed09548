//! A depot under another name: for a device that is a new one, and for a backup.
//!
//! What is carried stays, with its order. What the device said of itself, and how far it had read in
//! others' orders, goes.

use std::path::Path;

use fieldbook_proto::DepotId;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{DepotError, DepotKey, SqlDepot, cipher};

/// Tables that a copy takes as they are, parents before children. What is not named here stays behind.
const CARRIED: [&str; 7] = ["origin", "known", "sealed", "bad", "peer", "held_by", "acknowledged"];

impl SqlDepot {
    /// Gives the depot another name and begins its relations anew: cursors into others' orders and what was
    /// addressed to whom are forgotten. Each of `settings` is set, or removed. In one transaction; durable
    /// on return.
    ///
    /// # Errors
    /// The backend's; then nothing changed.
    pub fn start_anew(
        &mut self,
        depot: DepotId,
        settings: &[(&str, Option<&[u8]>)],
    ) -> Result<(), DepotError> {
        {
            let db = self.db();
            let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Immediate)?;
            transaction.execute("UPDATE totals SET depot = ?1 WHERE one = 1", [depot.as_bytes()])?;
            transaction.execute_batch("DELETE FROM cursor; DELETE FROM addressed;")?;
            for (name, value) in settings {
                transaction.execute("DELETE FROM setting WHERE name = ?1", [name])?;
                if let Some(value) = value {
                    transaction
                        .execute("INSERT INTO setting (name, value) VALUES (?1, ?2)", params![name, value])?;
                }
            }
            transaction.commit()?;
        }
        self.depot = depot;
        Ok(())
    }

    /// Writes what this depot carries, as it stands now, into a new depot at `path` under another key and
    /// another name: the entries, their order, the peers, and of the settings those that are named. No other
    /// setting is ever written there. Durable when this returns, but for the file's name in its directory;
    /// on failure the new file is worth nothing.
    ///
    /// # Errors
    /// [`DepotError::AlreadyExists`]; the disk's.
    pub fn copy_to(
        &self,
        path: &Path,
        key: &DepotKey,
        depot: DepotId,
        settings: &[&str],
    ) -> Result<(), DepotError> {
        let file = cipher::new_private_file(path)?;
        let db = self.db();
        let attached = cipher::attach_copy(&db, path, key.as_bytes());
        let copied = attached.and_then(|()| copy_tables(&db, depot, settings));
        let detached = db.execute_batch("DETACH DATABASE copy");
        copied?;
        detached?;
        Ok(file.sync_all()?)
    }
}

fn copy_tables(db: &Connection, depot: DepotId, settings: &[&str]) -> Result<(), DepotError> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
    let schema: Vec<String> = transaction
        .prepare("SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for statement in schema {
        // Tables and indexes are all made by name, in `schema`.
        let there = ["TABLE", "INDEX"].iter().find_map(|what| {
            let rest = statement.strip_prefix(&format!("CREATE {what} "))?;
            Some(format!("CREATE {what} copy.{rest}"))
        });
        transaction
            .execute_batch(&there.ok_or_else(|| DepotError::damaged("its tables are not its own"))?)?;
    }
    let version: i64 = transaction.query_row("PRAGMA main.user_version", [], |row| row.get(0))?;
    transaction.execute_batch(&format!("PRAGMA copy.user_version = {version}"))?;
    for table in CARRIED {
        transaction.execute_batch(&format!("INSERT INTO copy.{table} SELECT * FROM main.{table};"))?;
    }
    transaction.execute(
        "INSERT INTO copy.totals (one, depot, known, sum, held, held_bytes, gone, quarantined)
         SELECT one, ?1, known, sum, held, held_bytes, gone, quarantined FROM main.totals",
        [depot.as_bytes()],
    )?;
    for name in settings {
        transaction.execute(
            "INSERT INTO copy.setting SELECT name, value FROM main.setting WHERE name = ?1",
            [name],
        )?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::certificate::Role;
    use fieldbook_proto::{DeviceId, EntryId};

    use super::*;
    use crate::{Depot, Held, Incoming, Lookup, PeerRecord, Source};

    fn id(byte: u8) -> DepotId {
        DepotId::from_bytes([byte; 16])
    }

    /// A depot with two entries, one of them forgotten, and everything that a device says of itself.
    fn made(path: &Path) -> (SqlDepot, [EntryId; 2]) {
        let depot = SqlDepot::create(path, &DepotKey::new([1; 32]), id(1)).unwrap();
        let bytes = [vec![7; 1_500], vec![8; 1_600]];
        let ids = [EntryId::of(&bytes[0]), EntryId::of(&bytes[1])];
        let peer = DeviceId::from_bytes([3; 32]);
        for (n, from) in [(0, Source::Own), (1, Source::Peer(peer))] {
            depot.put(&[Incoming { id: ids[n], bytes: &bytes[n], from }]).unwrap();
        }
        depot.forget(&[ids[1]]).unwrap();
        depot.set_setting("seed", Some(b"secret of the device")).unwrap();
        depot.set_setting("addresses", Some(b"somewhere")).unwrap();
        depot.set_peer_cursor(&id(9), 5).unwrap();
        depot.address_to(&peer, &[ids[0]]).unwrap();
        let record = PeerRecord {
            device: Some(peer),
            role: Role::Coordinator,
            depot: id(9),
            address: Some("a:1".into()),
            last_sync_ms: 4,
            holds_position: 2,
        };
        depot.record_peer(record).unwrap();
        (depot, ids)
    }

    #[track_caller]
    fn carries_the_same(depot: &SqlDepot, ids: &[EntryId; 2]) {
        assert_eq!(depot.head().unwrap(), 2);
        assert!(matches!(depot.get(&ids[0]).unwrap(), Lookup::Held(bytes) if bytes.len() == 1_500));
        assert_eq!(depot.get(&ids[1]).unwrap(), Lookup::Gone, "what was dropped stays known");
        assert_eq!((depot.stats().unwrap().held, depot.stats().unwrap().gone), (1, 1));
        assert_eq!(depot.held_by_each().unwrap(), [(Source::Own, Held { entries: 1, bytes: 1_500 })]);
        let mut fingerprint = fieldbook_proto::session::Fingerprint::default();
        ids.iter().for_each(|id| fingerprint.add(id));
        assert_eq!(depot.fingerprint().unwrap(), fingerprint);
        assert_eq!(depot.peers().unwrap().len(), 1);
        assert_eq!(depot.peer_cursor(&id(9)).unwrap(), 0);
        assert!(depot.addressed_to(&DeviceId::from_bytes([3; 32])).unwrap().is_empty());
    }

    #[test]
    fn a_depot_that_starts_anew_carries_what_it_carried() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("depot");
        let (mut depot, ids) = made(&path);
        depot.start_anew(id(2), &[("seed", Some(b"another")), ("addresses", None)]).unwrap();
        assert_eq!(depot.depot_id(), id(2));
        drop(depot);
        let depot = SqlDepot::open(&path, &DepotKey::new([1; 32])).unwrap();
        assert_eq!(depot.depot_id(), id(2));
        assert_eq!(depot.setting("seed").unwrap().as_deref(), Some(&b"another"[..]));
        assert_eq!(depot.setting("addresses").unwrap(), None);
        carries_the_same(&depot, &ids);
    }

    #[test]
    fn a_copy_has_the_entries_and_none_of_the_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let (depot, ids) = made(&dir.path().join("depot"));
        let (path, key) = (dir.path().join("copy"), DepotKey::new([2; 32]));
        depot.copy_to(&path, &key, id(2), &["addresses"]).unwrap();
        assert!(matches!(depot.copy_to(&path, &key, id(2), &["addresses"]), Err(DepotError::AlreadyExists)));
        let copy = SqlDepot::open(&path, &key).unwrap();
        assert_eq!(copy.depot_id(), id(2));
        assert_eq!(copy.setting("seed").unwrap(), None);
        assert_eq!(copy.setting("addresses").unwrap().as_deref(), Some(&b"somewhere"[..]));
        carries_the_same(&copy, &ids);
        let bytes = [9; 1_700];
        copy.put(&[Incoming { id: EntryId::of(&bytes), bytes: &bytes, from: Source::Own }]).unwrap();
        assert_eq!((copy.head().unwrap(), depot.head().unwrap()), (3, 2), "each goes its own way");
        assert_eq!(depot.depot_id(), id(1));
    }
}
