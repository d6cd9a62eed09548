//! The pair of stores that is not open: filler, a decoy, or what a duress passphrase destroyed. Which of these it is,
//! nothing on the disk may tell.
//!
//! So whatever the other pair is, the small files of a vault get a new time whenever it opens, and whenever it closes the
//! other pair gets the length that filler would have (that of the pair in use, up to 4 MiB), and all files one time.
//! The duress passphrase does one thing more, once: the other pair's slot and key file are written over where they lie.
//! Nothing that a vault needs is ever written at an ordinary opening: a stick that is pulled out in that moment loses
//! nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::durable::{self, FILLER_MAX};
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys};
use crate::layout::Layout;
use crate::slots;

/// Stores grow by pages of this many bytes.
const PAGE: u64 = 16 * 1024;

/// Destroys the other pair's slot and key file where they lie. The stores that belong to them open with nothing else.
pub(crate) fn destroy(layout: &Layout, slot: usize, slots_file: &[u8]) -> io::Result<()> {
    let other = 1 - slot;
    let made = || -> Result<_, VaultError> {
        Ok((slots::with_filler(slots_file, other)?, Kek::generate().wrap(&Keys::generate()?)?))
    };
    let (filler, noise) = made().map_err(io::Error::other)?;
    let at = if other == 0 { 0 } else { slots_file.len() / 2 };
    let slot_gone = durable::overwrite_at(&layout.slots(), at as u64, &filler[at..at + slots_file.len() / 2]);
    let key_gone = durable::overwrite_at(&layout.keys(other), 0, &noise);
    slot_gone.and(key_gone)
}

/// Gives the small files the present time, whichever of them were written, durably, as a destruction is. A medium that
/// cannot be written keeps theirs.
pub(crate) fn freshen(layout: &Layout) {
    let now = SystemTime::now();
    for path in [layout.slots(), layout.keys(0), layout.keys(1)] {
        let _ = durable::touch(&path, now);
    }
}

/// Brings the other pair to the length and the time that filler has. `destroyed`: nothing opens it any more. The
/// caller holds the vault's lock. `closed`: the vault's own store is closed, so that it too can be made longer.
pub(crate) fn even(layout: &Layout, slot: usize, destroyed: bool, closed: bool) -> Result<(), VaultError> {
    let other = 1 - slot;
    let pairs = [
        (layout.vault(slot), layout.vault(other), closed),
        // Other processes may have the depot open: it is never touched.
        (layout.depot(slot), layout.depot(other), false),
    ];
    for (own, twin, both) in pairs {
        let Some(own_len) = len(&own) else { continue };
        if destroyed {
            let target = own_len.min(FILLER_MAX);
            let doing = "the vault's files could not be written";
            match OpenOptions::new().write(true).open(&twin) {
                Ok(file) if len(&twin).is_some_and(|len| len > target) => {
                    file.set_len(target).map_err(VaultError::io(doing))?;
                }
                _ => {}
            }
            for suffix in durable::BESIDE_A_STORE {
                let mut name = twin.as_os_str().to_owned();
                name.push(suffix);
                let _ = fs::remove_file(name);
            }
        }
        let Some(twin_len) = len(&twin) else { continue };
        let even = own_len.max(if both { twin_len } else { 0 }).min(FILLER_MAX).next_multiple_of(PAGE);
        durable::grow(&twin, even)?;
        if both {
            durable::grow(&own, even)?;
        }
    }
    // One time for all, so that none tells which was written last.
    let now = SystemTime::now();
    let of = |slot| [layout.vault(slot), layout.depot(slot), layout.keys(slot)];
    for path in of(0).into_iter().chain(of(1)).chain([layout.slots()]) {
        if let Ok(file) = File::options().write(true).open(path) {
            let _ = file.set_modified(now);
        }
    }
    Ok(())
}

fn len(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|data| data.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
