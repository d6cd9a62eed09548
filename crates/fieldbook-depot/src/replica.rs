//! A depot's tables as one process's own copy of what lies elsewhere: in a file that has no name and whose
//! key nobody keeps, so that nothing is left of it when the process ends, however it ends. A backend that
//! shares its order over the network (`fieldbook-bucket`) answers questions from such a copy.

use std::path::Path;

use fieldbook_proto::DepotId;

use crate::depot::DepotKey;
use crate::{DepotError, SqlDepot, cipher};

impl SqlDepot {
    /// Makes an empty copy in `folder`.
    ///
    /// # Errors
    /// As [`SqlDepot::create`].
    pub fn create_replica(folder: &Path, depot: DepotId) -> Result<Self, DepotError> {
        let (path, key) = (folder.join(random_name()?), DepotKey::new(random()?));
        let made = Self::create(&path, &key, depot).and_then(Self::without_a_name);
        if made.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// Opens what [`SqlDepot::copy_all_to`] wrote, whose file loses its name.
    ///
    /// # Errors
    /// As [`SqlDepot::open`].
    pub fn open_replica(path: &Path, key: &DepotKey) -> Result<Self, DepotError> {
        let opened = Self::open(path, key).and_then(Self::without_a_name);
        if opened.is_err() {
            let _ = std::fs::remove_file(path);
        }
        opened
    }

    /// Writes all that stands in the tables, as it stands now, into a new file under another key.
    ///
    /// # Errors
    /// [`DepotError::AlreadyExists`]; the disk's.
    pub fn copy_all_to(&self, path: &Path, key: &DepotKey) -> Result<(), DepotError> {
        cipher::copy_database(&self.db(), path, key.as_bytes())
    }

    /// Nobody else opens it and nobody reads it after this process: no journal on disk, no waiting for it.
    fn without_a_name(self) -> Result<Self, DepotError> {
        {
            let db = self.db();
            let mode: String = db.query_row("PRAGMA journal_mode = MEMORY", [], |row| row.get(0))?;
            if mode != "memory" {
                return Err(DepotError::damaged("its journal cannot be kept in memory"));
            }
            db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF;")?;
            // The lock is taken by the next write, and then nothing looks for the file by its name again.
            db.execute_batch("BEGIN IMMEDIATE; COMMIT;")?;
            std::fs::remove_file(&self.path)?;
        }
        Ok(self)
    }
}

fn random<const N: usize>() -> Result<[u8; N], DepotError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DepotError::Io(std::io::ErrorKind::Other.into()))?;
    Ok(bytes)
}

fn random_name() -> Result<String, DepotError> {
    Ok(format!("{:032x}", u128::from_be_bytes(random()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depot, Incoming, Source};
    use fieldbook_proto::EntryId;

    #[test]
    fn a_replica_has_no_file_and_can_be_copied_whole() {
        let dir = tempfile::tempdir().unwrap();
        let one = SqlDepot::create_replica(dir.path(), DepotId::from_bytes([4; 16])).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        for n in 0..200_u8 {
            let bytes = vec![n; 40_000];
            one.put(&[Incoming { id: EntryId::of(&bytes), bytes: &bytes, from: Source::Own }]).unwrap();
        }
        one.set_setting("a", Some(b"b")).unwrap();
        let (path, key) = (dir.path().join("copy"), DepotKey::new([9; 32]));
        one.copy_all_to(&path, &key).unwrap();
        let two = SqlDepot::open_replica(&path, &key).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(two.fingerprint().unwrap(), one.fingerprint().unwrap());
        assert_eq!((two.head().unwrap(), two.depot_id()), (200, one.depot_id()));
        assert_eq!(two.setting("a").unwrap().as_deref(), Some(&b"b"[..]));
        let bytes = vec![201; 2_000];
        two.put(&[Incoming { id: EntryId::of(&bytes), bytes: &bytes, from: Source::Own }]).unwrap();
        assert_eq!((two.head().unwrap(), one.head().unwrap()), (201, 200));
        drop((one, two));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
