//! The pair of stores that is not open: filler, a decoy, or what a duress passphrase destroyed. Which of these it is,
//! nothing on the disk may tell.
//!
//! So whatever the other pair is, the same is done to it whenever a vault opens: its slot and its key file are
//! written over where they lie, with what they held or, when the passphrase was the duress passphrase, with
//! filler. And whenever a vault opens or closes, the other pair gets the length that filler would have (that of the
//! pair in use, up to 4 MiB) and its time.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use crate::durable::{self, FILLER_MAX};
use crate::error::VaultError;
use crate::keyfile::{Kek, Keys};
use crate::layout::Layout;
use crate::slots;

/// Stores grow by pages of this many bytes.
const PAGE: u64 = 16 * 1024;

/// Writes the other pair's slot and key file over, for good if `destroy`. The stores that belong to them are left: they
/// open with nothing else. A medium that cannot be written stays as it is.
pub(crate) fn write_over(
    layout: &Layout,
    slot: usize,
    slots_file: &[u8],
    destroy: bool,
) -> Result<(), VaultError> {
    let other = 1 - slot;
    // Both are made, whichever is needed: the time tells nothing.
    let filler = slots::with_filler(slots_file, other)?;
    let noise = Kek::generate().wrap(&Keys::generate()?)?;
    let kept = fs::read(layout.keys(other));
    let at = if other == 0 { 0 } else { slots_file.len() / 2 };
    let range = at..at + slots_file.len() / 2;
    let slot_bytes = if destroy { &filler[range] } else { &slots_file[range] };
    let _ = durable::overwrite_at(&layout.slots(), at as u64, slot_bytes);
    match kept {
        Ok(kept) if !destroy => drop(durable::overwrite_at(&layout.keys(other), 0, &kept)),
        _ => drop(durable::overwrite_at(&layout.keys(other), 0, &noise)),
    }
    Ok(())
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
            for suffix in ["-wal", "-shm", "-journal"] {
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
        follow(&own, &twin);
    }
    Ok(())
}

fn len(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|data| data.len())
}

/// Gives a file the time of another. Where the system keeps none, there is none to tell.
fn follow(own: &Path, twin: &Path) {
    let time = fs::metadata(own).and_then(|data| data.modified());
    if let (Ok(time), Ok(file)) = (time, File::options().write(true).open(twin)) {
        let _ = file.set_modified(time);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
