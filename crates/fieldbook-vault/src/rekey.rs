//! A new key for the vault's store: everything that lives goes into a new file under a new random key,
//! and the old file and the old key go. What was deleted before then lies only in blocks that no key
//! on this disk opens.
//!
//! In this order, so that a crash anywhere leaves a vault that opens:
//!
//! 1. the key file gets the next key beside the present one;
//! 2. the living rows are copied into the file `next` under the next key, and synced;
//! 3. the old store is closed, and its write-ahead log is gone;
//! 4. `next` is renamed over the old store;
//! 5. the key file gets the next key alone.
//!
//! Whoever opens a vault whose key file names two keys tries the store with the present one: if it
//! opens, step 4 was not reached and the change is undone; if not, the next key opens it, and step 5
//! is all that is missing.

use std::fs;

use fieldbook_depot::{DepotError, cipher};
use rusqlite::Connection;

use crate::durable;
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys, random_key};
use crate::layout::Layout;
use crate::store;

/// The flag in the vault that asks for a new key.
const DUE: &str = "rekey-due";

/// One pair of files and what opens it.
pub(crate) struct Place<'a> {
    pub layout: &'a Layout,
    pub slot: usize,
    pub kek: &'a Kek,
}

/// Asks for a new key at the next occasion. Called inside the transaction that deletes.
pub(crate) fn ask(db: &Connection) -> Result<(), VaultError> {
    store::set_meta(db, DUE, &[1])
}

/// Whether a new key was asked for.
pub(crate) fn is_due(db: &Connection) -> Result<bool, VaultError> {
    Ok(store::meta(db, DUE)?.is_some())
}

/// Notes that nothing is due: this file never held what went.
pub(crate) fn done(db: &Connection) -> Result<(), VaultError> {
    db.execute("DELETE FROM meta WHERE name = ?1", [DUE])?;
    Ok(())
}

impl Place<'_> {
    /// Opens the store, after it finished or undid a change of key that was interrupted.
    pub fn open(&self) -> Result<(Connection, Keys), VaultError> {
        let path = self.layout.vault(self.slot);
        let mut keys = self.kek.read(self.layout, self.slot)?;
        let db = match (cipher::open_database(&path, &keys.vault, false), keys.next.take()) {
            (opened, None) => opened?,
            (Ok(db), Some(_)) => {
                self.kek.write(self.layout, self.slot, &keys)?;
                db
            }
            (Err(DepotError::WrongKey), Some(next)) => {
                let db = cipher::open_database(&path, &next, false)?;
                keys.vault = next;
                self.kek.write(self.layout, self.slot, &keys)?;
                db
            }
            (Err(error), Some(_)) => return Err(error.into()),
        };
        self.clear()?;
        Ok((db, keys))
    }

    /// Gives the store a new key. It is closed afterwards, whether this succeeded or not, and
    /// [`Place::open`] opens it.
    pub fn change(&self, db: Connection, mut keys: Keys) -> Result<(), VaultError> {
        let (path, next_path) = (self.layout.vault(self.slot), self.layout.next());
        self.clear()?;
        let next = random_key()?;
        keys.next = Some(next.clone());
        self.kek.write(self.layout, self.slot, &keys)?;
        step()?;
        // The search index keeps words of deleted rows until it is made anew.
        db.execute_batch("INSERT INTO report_text (report_text) VALUES ('rebuild')")?;
        cipher::copy_database(&db, &next_path, &next)?;
        step()?;
        let copy = cipher::open_database(&next_path, &next, false)?;
        done(&copy)?;
        close(copy)?;
        let doing = "the vault's new file could not be written";
        let open = fs::OpenOptions::new().write(true).open(&next_path);
        open.and_then(|file| file.sync_all()).map_err(VaultError::io(doing))?;
        step()?;
        close(db)?;
        // It would be taken for a log of the new file.
        if fs::metadata(durable::write_ahead_log(&path)).is_ok_and(|log| log.len() > 0) {
            return Err(VaultError::damaged("its store could not be closed"));
        }
        durable::sync_dir(self.layout.dir())?;
        step()?;
        fs::rename(&next_path, &path).map_err(VaultError::io(doing))?;
        durable::sync_dir(self.layout.dir())?;
        step()?;
        self.kek.write(self.layout, self.slot, &Keys { vault: next, depot: keys.depot, next: None })?;
        step()
    }

    /// Removes what an interrupted change left beside the stores. Before step 4 the old store has
    /// everything; after it there is nothing to remove.
    fn clear(&self) -> Result<(), VaultError> {
        let doing = "what was left of an interrupted change could not be removed";
        for path in [self.layout.next(), self.layout.unfinished()] {
            durable::remove_store(&path).map_err(VaultError::io(doing))?;
        }
        Ok(())
    }
}

/// Closes a database; its write-ahead log goes into it.
pub(crate) fn close(db: Connection) -> Result<(), VaultError> {
    db.close().map_err(|(_, error)| error.into())
}

/// A point at which a test can stop, as a crash would.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it stops")]
pub(crate) const fn step() -> Result<(), VaultError> {
    Ok(())
}

#[cfg(test)]
pub(crate) use tests::step;

#[cfg(test)]
pub(crate) mod tests;
