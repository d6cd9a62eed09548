//! Making a vault unreadable for good, at once, and then removing it.
//!
//! The keys go first: the slots are overwritten where they lie, then the key files, and each is synced. That is a
//! few kilobytes, whatever the vault's size, and needs no passphrase, because nothing is read. After the first of these
//! writes no passphrase opens anything, and what stands there says so, in that one write: whoever was cut off, at
//! whatever point, can finish without a passphrase. On flash, and on file systems that never write in place, old copies of
//! these blocks may remain (DESIGN 6).
//!
//! What a duress passphrase destroys says nothing (`twin`).

use std::fs;
use std::io;

use crate::durable;
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys};
use crate::layout::Layout;
use crate::rekey::step;
use crate::rules::Rules;
use crate::slots;

const DOING: &str = "the vault's keys could not be destroyed";

/// Destroys everything that opens the vault, durably. Works on a vault that is open elsewhere, and as often as wanted.
///
/// # Errors
/// [`VaultError::NoVault`] if there is none; the disk's.
pub fn destroy_keys(layout: &Layout) -> Result<(), VaultError> {
    let len = match slots::read(layout) {
        Err(VaultError::NoVault) if !is_there(layout) => return Err(VaultError::NoVault),
        // Its length is all that is wanted of it.
        Err(_) => fs::metadata(layout.slots()).map_or(1024, |data| data.len().min(64 << 10) as usize),
        Ok(file) => file.len(),
    };
    let slots_gone = durable::overwrite_at(&layout.slots(), 0, &slots::destroyed(len)?);
    let mut gone = match slots_gone {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        gone => gone.map_err(VaultError::io(DOING)),
    };
    step()?;
    for path in [layout.keys(0), layout.keys(1), layout.unfinished()] {
        let wrapped = Kek::generate().wrap(&Keys::generate()?)?;
        match durable::overwrite_at(&path, 0, &wrapped) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && gone.is_ok() => {
                gone = Err(VaultError::io(DOING)(error));
            }
            _ => {}
        }
        step()?;
    }
    gone
}

/// Whether a vault is there, or what is left of one: a daemon that somebody took over may remove any of its files.
pub fn is_there(layout: &Layout) -> bool {
    [layout.slots(), layout.keys(0), layout.keys(1), layout.lock()].iter().any(|file| file.exists())
}

/// Whether somebody began to destroy the keys of what lies there. Then nothing opens.
pub(crate) fn was_begun(layout: &Layout) -> bool {
    slots::read(layout).is_ok_and(|file| slots::are_destroyed(&file))
}

/// Whether the keys of the vault were destroyed, by a wipe or on the day that its owner set: all that can be done with it
/// is to remove it.
pub fn keys_are_destroyed(layout: &Layout) -> bool {
    was_begun(layout) || Rules::of(layout).destroyed
}

/// Whether a vault can be made there.
///
/// # Errors
/// [`VaultError::AlreadyExists`]; [`VaultError::KeysDestroyed`] if what is there opens with nothing.
pub fn room_for_a_vault(layout: &Layout) -> Result<(), VaultError> {
    match layout.slots().exists() {
        true if keys_are_destroyed(layout) => Err(VaultError::KeysDestroyed),
        true => Err(VaultError::AlreadyExists),
        false => Ok(()),
    }
}

/// Removes a vault whose keys are destroyed. What lies in its directory and is not the vault's is left, and named.
///
/// # Errors
/// The disk's; it can be called again.
pub fn remove_rest(layout: &Layout) -> Result<Vec<String>, VaultError> {
    let doing = "the vault's files could not be removed";
    let mut left = Vec::new();
    let files = match fs::read_dir(layout.dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(left),
        files => files.map_err(VaultError::io(doing))?,
    };
    let files: Vec<_> = files.collect::<Result<_, _>>().map_err(VaultError::io(doing))?;
    // The slots last: without them there is no vault to be removed, should this be cut off.
    let (slots, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.file_name() == "slots");
    for file in others.into_iter().chain(slots) {
        let name = file.file_name();
        if name.to_str().is_some_and(is_ours) && file.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::remove_file(file.path()).map_err(VaultError::io(doing))?;
        } else if file.path() == layout.work() && file.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(layout.work()).map_err(VaultError::io(doing))?;
        } else {
            left.push(name.to_string_lossy().into_owned());
        }
        step()?;
    }
    if left.is_empty() {
        // A directory that cannot be removed, such as a mounted stick, is empty all the same.
        let _ = fs::remove_dir(layout.dir());
    }
    Ok(left)
}

/// Whether a name is one that a vault's directory has.
pub(crate) fn is_ours(name: &str) -> bool {
    let store = |name: &str| matches!(name, "0.a" | "0.b" | "1.a" | "1.b" | "next");
    matches!(name, "slots" | "rules" | "new" | "lock" | "lock.net" | "0.k" | "1.k")
        || store(name)
        || durable::BESIDE_A_STORE.iter().any(|end| name.strip_suffix(end).is_some_and(store))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
