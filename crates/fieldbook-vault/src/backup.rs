//! Backups: a vault without its device, in a directory that looks like any other vault's; and bringing one
//! back, or a plain copy of a vault, as a new device.
//!
//! A backup is made of the two stores as they stand, each copied under a new key by the database itself, so that it is
//! consistent, also while the vault is in use. The device's keys are never written there: the vault's copy
//! is stripped in a file whose key nobody keeps, and copied once more; of the depot, tables and settings are
//! chosen by name. The key slot is the vault's own, byte for byte, so the same passphrase opens it, and an
//! unlocked agent, which does not know the passphrase, can write it. The other slot is filler: a decoy and the
//! passphrase that opens it stay where they are.
//!
//! Both write the slots last: until then there is no vault in the directory, and it can be tried again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fieldbook_depot::{Depot, DepotKey, cipher};
use fieldbook_proto::DepotId;

use crate::durable::{self, private_file};
use crate::error::VaultError;
use crate::keyfile::{self, Keys, random_key};
use crate::layout::Layout;
use crate::passphrase::Passphrase;
use crate::rekey::step;
use crate::rules::Rules;
use crate::slots;
use crate::vault::{Opening, Vault, lock};
use crate::views::{BackupSummary, DeviceInfo};
use crate::wipe::{is_ours, room_for_a_vault};
use crate::{duress, rejoin, rekey, store};

/// Of what the depot keeps for the network, this alone goes along: where to sync, and with whom.
const SETTINGS: [&str; 2] = ["addresses", "addresses-of"];
const WRITING: &str = "the backup could not be written";
const READING: &str = "the backup could not be read";

impl Vault {
    /// Writes a backup into `dir`, which must be new or empty. It opens with the same passphrase, and becomes
    /// a new device when it does. What is sealed or forgotten here later stays readable there.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`], [`VaultError::NotEmpty`]; the disk's. Then there is no backup in `dir`.
    pub fn write_backup(&mut self, dir: &Path) -> Result<BackupSummary, VaultError> {
        // The device that reads what is addressed to it does not go along: what arrived is read first.
        self.absorb()?;
        self.flush()?;
        let wrapped = slots::with_filler(&slots::read(self.layout())?, 1 - self.slot())?;
        let to = prepare(dir)?;
        let _lock = lock(&to)?;
        let (slot, kek) = (self.slot(), self.kek());
        let keys = Keys::generate()?;
        copy_without_device(&self.db, &to, &to.vault(slot), &keys)?;
        step()?;
        let mut name = [0; 16];
        slots::fill(&mut name)?;
        let depot = DepotId::from_bytes(name);
        self.depot.copy_to(&to.depot(slot), &DepotKey::new(*keys.depot), depot, &SETTINGS)?;
        step()?;
        for (real, filler) in [(to.vault(slot), to.vault(1 - slot)), (to.depot(slot), to.depot(1 - slot))] {
            durable::write_filler(&real, &filler)?;
        }
        keyfile::write_both(&to, slot, kek, &keys)?;
        touch(&to.network_lock())?;
        Rules::default().write(&to)?;
        step()?;
        durable::replace(&to, &to.slots(), &wrapped)?;
        step()?;
        durable::sync_dir(dir.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(BackupSummary {
            reports: self.count("SELECT count(*) FROM report WHERE finished = 1")?,
            drafts: self.count("SELECT count(*) FROM report WHERE finished = 0")?,
            entries: self.depot.stats()?.held,
            sealed: self.count("SELECT count(*) FROM sealed")?,
        })
    }

    /// Makes a vault in `to` of a backup in `from`, or of a copy of a vault that was made by other means. It is a
    /// new device. `from` stays as it is, and can be used again: that makes another device.
    ///
    /// # Errors
    /// [`VaultError::NoVault`] if there is none in `from`, [`VaultError::InUse`] while something works on
    /// it; [`VaultError::AlreadyExists`], [`VaultError::NotEmpty`]; those of [`Vault::open`]. Then there is no
    /// vault in `to`.
    pub fn restore(from: &Path, to: &Path, passphrase: &Passphrase) -> Result<DeviceInfo, VaultError> {
        let from = Layout::new(from);
        let wrapped = slots::read(&from)?;
        let _held = [at_rest(&from.lock())?, at_rest(&from.network_lock())?];
        // Before anything is copied.
        slots::open_slots(&wrapped, passphrase)?;
        let to_dir = to;
        let to = prepare(to_dir)?;
        let to_lock = lock(&to)?;
        for (from, to) in stores(&from).into_iter().zip(stores(&to)) {
            copy_file(&from, &to)?;
        }
        for slot in [0, 1] {
            copy_file(&from.keys(slot), &to.keys(slot))?;
        }
        touch(&to.network_lock())?;
        Rules::default().write(&to)?;
        step()?;
        let (mut vault, renewed) = Self::open_with(to, to_lock, &wrapped, passphrase, Opening::Restored)?;
        if !renewed {
            vault.become_new_device()?;
        }
        step()?;
        let device = vault.device();
        vault.publish_slots()?;
        vault.close()?;
        durable::sync_dir(
            to_dir.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?;
        Ok(device)
    }
}

/// The databases of a layout with their logs.
fn stores(layout: &Layout) -> Vec<PathBuf> {
    let files = [0, 1].map(|slot| [layout.vault(slot), layout.depot(slot)]);
    files.iter().flatten().flat_map(|file| [file.clone(), durable::write_ahead_log(file)]).collect()
}

/// A directory that can take a vault: new, empty, or left behind by an attempt that broke off.
fn prepare(dir: &Path) -> Result<Layout, VaultError> {
    let layout = Layout::new(dir);
    room_for_a_vault(&layout)?;
    durable::create_private_dir(dir).map_err(VaultError::io("the directory could not be made"))?;
    for file in fs::read_dir(dir).map_err(VaultError::io("the directory cannot be read"))? {
        let name = file.map_err(VaultError::io("the directory cannot be read"))?.file_name();
        if !name.to_str().is_some_and(is_ours) {
            return Err(VaultError::NotEmpty(dir.display().to_string()));
        }
    }
    let doing = "what was left of an interrupted attempt could not be removed";
    for path in [layout.vault(0), layout.vault(1), layout.depot(0), layout.depot(1), layout.next()] {
        durable::remove_store(&path).map_err(VaultError::io(doing))?;
    }
    Ok(layout)
}

/// Copies the vault's store without the device. What it is stripped in has a key that nobody keeps.
fn copy_without_device(
    db: &rusqlite::Connection,
    to: &Layout,
    path: &Path,
    keys: &Keys,
) -> Result<(), VaultError> {
    let (between, passing) = (to.next(), random_key()?);
    cipher::copy_database(db, &between, &passing)?;
    step()?;
    let mut stripped = cipher::open_database(&between, &passing, false)?;
    if store::meta(&stripped, "device")?.is_some() {
        rejoin::strip(&mut stripped)?;
    }
    // Deleted rows leave words in the index until it is made anew.
    stripped.execute_batch("INSERT INTO report_text (report_text) VALUES ('rebuild')")?;
    rekey::done(&stripped)?;
    duress::forget(&stripped)?;
    cipher::copy_database(&stripped, path, &keys.vault)?;
    rekey::close(stripped)?;
    durable::remove_store(&between).map_err(VaultError::io(WRITING))
}

/// Keeps others from working on a vault that is being copied. The medium may be one that cannot be written.
fn at_rest(lock: &Path) -> Result<Option<File>, VaultError> {
    let Ok(file) = File::open(lock) else { return Ok(None) };
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(VaultError::InUse),
        _ => Ok(Some(file)),
    }
}

/// Copies a file, if it is there, and makes the copy durable.
fn copy_file(from: &Path, to: &Path) -> Result<(), VaultError> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(VaultError::io(READING))?,
    };
    let mut target = private_file().truncate(true).open(to).map_err(VaultError::io(WRITING))?;
    io::copy(&mut source, &mut target).map_err(VaultError::io(WRITING))?;
    target.flush().and_then(|()| target.sync_all()).map_err(VaultError::io(WRITING))
}

fn touch(path: &Path) -> Result<(), VaultError> {
    private_file()
        .truncate(false)
        .open(path)
        .map(drop)
        .map_err(VaultError::io("the vault's lock file could not be made"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
