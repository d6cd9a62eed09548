//! This device's own entries as they come back from others: forged, sealed once more, or by a copy of
//! this vault that went on writing.
//!
//! A vault that was restored from a backup while the device it was copied from (or another copy) goes on
//! would give its next entry a number that is taken, and its chain would fork. Two things show it: an entry
//! that this device signed and does not remember, which only a coordinator can open, and a receipt for a
//! place beyond the end of its chain.

use fieldbook_proto::EntryId;
use fieldbook_seal::body::Receipt;
use fieldbook_seal::{Header, UnverifiedEntry};

use super::chain::is_copy;
use super::take::{Taken, Taker, forged};
use crate::error::VaultError;
use crate::outgoing;
use crate::problems::{Class, Fault};

/// Why an entry waits that a copy of this vault wrote. When this device is another one, it is taken in.
const BY_A_COPY: &str = "this device signed it, and this vault does not remember it";

/// An entry in this device's name that its vault does not know by this id.
pub(super) fn came_back(
    taker: &mut Taker<'_>,
    id: EntryId,
    unverified: UnverifiedEntry,
) -> Result<Taken, VaultError> {
    let opened = match unverified.verify(taker.keys) {
        Ok(opened) => opened,
        Err(_) => {
            return forged("it is in the name of this device, which did not sign it".to_owned());
        }
    };
    if let Some(claim) = &mut taker.claim {
        claim.proven = true;
    }
    let (header, digest) = (opened.header(), opened.digest());
    if is_copy(taker.db, header, digest)? {
        taker.record(&id, header, digest)?;
        return Ok(Taken::Nothing);
    }
    let reason = format!(
        "this device signed number {} of its chain, and this vault does not remember it",
        header.sequence
    );
    note_older_copy(taker, id, header.sequence, reason);
    Ok(Taken::Waiting(BY_A_COPY))
}

/// Compares what a coordinator of the own desk holds of this device with what this vault wrote. The number
/// decides, not the id: another ciphertext of an own entry has an id that nobody here knows.
pub(super) fn compare_with_receipt(
    taker: &mut Taker<'_>,
    id: &EntryId,
    header: &Header,
    receipt: &Receipt,
) -> Result<(), VaultError> {
    if !taker.authority.reads_for(&header.device, taker.team.desk) {
        return Ok(());
    }
    let (end, _) = outgoing::chain_end(taker.db)?;
    if let Some(beyond) = receipt.sequences.iter().copied().filter(|sequence| *sequence > end).max() {
        let reason = format!(
            "a coordinator has number {beyond} of this device's chain, and this vault has written {end} entries"
        );
        note_older_copy(taker, *id, beyond, reason);
    }
    Ok(())
}

fn note_older_copy(taker: &mut Taker<'_>, id: EntryId, sequence: u64, reason: String) {
    let fault =
        Fault { device: Some(taker.me), proven: true, sequence, ..Fault::of(Class::OlderCopy, reason) };
    taker.after.older_copy.push((id, fault));
}
