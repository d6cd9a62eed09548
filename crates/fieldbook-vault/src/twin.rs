//! The pair of stores that is not open: filler, a decoy, or what a duress passphrase destroyed. Which of these it is,
//! nothing on the disk may tell.
//!
//! So whatever the other pair is, its slot and its key file are written once more whenever the vault opens, where they lie,
//! and the small files are synced and get one time: what stands there already, or, once, under the duress passphrase,
//! what nobody opens. Either takes the same reads, writes and syncs, so that a slow disk takes as long. Writing bytes over
//! themselves puts nothing at risk: whatever is cut off, the bytes are the same. And whenever it closes the other pair gets the
//! length that filler would have (that of the pair in use, up to 4 MiB), and all files one time.
//!
//! That the keys were destroyed is known to the vault that did it by the key file that it put there: it opens with the
//! vault's own identity, and has keys to nothing. To everybody else it is as random as the one that was there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::durable::{self, FILLER_MAX};
use crate::error::VaultError;
use crate::keyfile::{KEY_FILE_LEN, Kek, Keys};
use crate::layout::Layout;
use crate::slots;

const WRITING: &str = "the vault's files could not be written";

/// Stores grow by pages of this many bytes.
const PAGE: u64 = 16 * 1024;

/// What becomes of the other pair's keys when a vault opens.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'a> {
    /// They stay as they are.
    Stays,
    /// They are destroyed. This identity will know.
    Goes(&'a Kek),
}

/// Whether this identity destroyed the other pair's keys: then nothing that lies there is of any use.
pub(crate) fn is_destroyed(layout: &Layout, slot: usize, kek: &Kek) -> bool {
    kek.read(layout, 1 - slot).is_ok()
}

/// Destroys the other pair's key file alone: of a vault that is restored, whose slots are nowhere yet.
pub(crate) fn destroy_key(layout: &Layout, slot: usize, kek: &Kek) -> Result<(), VaultError> {
    durable::overwrite_at(&layout.keys(1 - slot), 0, &kek.wrap(&Keys::generate()?)?)
        .map_err(VaultError::io(WRITING))
}

/// Writes the other pair's slot and key file where they lie, as `beside` says, and gives the three small files the present
/// time, durably. The stores beside open with nothing else.
///
/// # Errors
/// The disk's. What could not be destroyed is destroyed the next time.
pub(crate) fn freshen(layout: &Layout, slot: usize, beside: Beside<'_>) -> io::Result<()> {
    let (other, now) = (1 - slot, SystemTime::now());
    let slot_gone = (|| {
        let file = slots::read(layout).map_err(io::Error::other)?;
        // Made in any case, as the key file is below: that takes time too.
        let filler = slots::with_filler(&file, other).map_err(io::Error::other)?;
        let len = file.len() / 2;
        let at = other * len;
        let new = matches!(beside, Beside::Goes(_)).then_some(&filler[at..at + len]);
        durable::rewrite(&layout.slots(), at as u64, len, new, now)
    })();
    let nobody = Kek::generate();
    let (kek, goes) = match beside {
        Beside::Goes(kek) => (kek, true),
        Beside::Stays => (&nobody, false),
    };
    // While the slot opens, nobody is to know that it was destroyed.
    let kek = if slot_gone.is_ok() { kek } else { &nobody };
    let noise = Keys::generate().and_then(|keys| kek.wrap(&keys)).map_err(io::Error::other)?;
    let key_gone = durable::rewrite(&layout.keys(other), 0, KEY_FILE_LEN, goes.then_some(&noise), now);
    let _ = durable::touch(&layout.keys(slot), now);
    slot_gone.and(key_gone)
}

/// Whether the other pair's files are as long as filler would be, and nothing belongs to them.
pub(crate) fn is_cut(layout: &Layout, slot: usize) -> bool {
    let other = 1 - slot;
    let pairs = [(layout.vault(slot), layout.vault(other)), (layout.depot(slot), layout.depot(other))];
    pairs.iter().all(|(own, twin)| {
        let filler = len(own).unwrap_or(0).min(FILLER_MAX).next_multiple_of(PAGE);
        len(twin).is_none_or(|len| len <= filler) && durable::beside(twin).iter().all(|file| !file.exists())
    })
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
            match OpenOptions::new().write(true).open(&twin) {
                Ok(file) if len(&twin).is_some_and(|len| len > target) => {
                    file.set_len(target).map_err(VaultError::io(WRITING))?;
                }
                _ => {}
            }
            for file in durable::beside(&twin) {
                let _ = fs::remove_file(file);
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
