//! Removes objects that nothing names: of puts that were cut before their segment was stored, and of removals
//! that were cut after it.
//!
//! A process may just now have written an object and not yet its segment. So a fence goes into the log between
//! the looking and the removing: whoever wrote an object before the fence and is not in the log before it
//! writes the object again, under another name. Names are random and never used twice, so what was found
//! before the fence and is not in the log at the fence will never be.

use std::collections::HashSet;

use fieldbook_depot::{Depot as _, DepotError};

use crate::checkpoint::{self, piece_name};
use crate::depot::{BucketDepot, entry_name};
use crate::op::{ITEMS_MAX, ObjectName, Op};

/// Names are looked at in this many parts, by their first four bits, so that not all are in memory at once.
const PARTS: u8 = 16;
/// Objects that one sweep removes at most.
const REMOVED_MAX: usize = 100_000;

impl BucketDepot {
    /// Removes objects that nothing names; how many. Other processes go on meanwhile.
    ///
    /// # Errors
    /// The backend's; what was removed is.
    pub fn sweep(&self) -> Result<usize, DepotError> {
        self.log.look()?;
        let mut found = HashSet::new();
        for part in 0..PARTS {
            let mut listed = HashSet::new();
            for folder in part * 16..=part * 16 + 15 {
                self.log.objects.list(&format!("e/{folder:02x}"), |name| {
                    listed.insert(name.to_owned());
                })?;
            }
            self.without_named(part, &mut listed)?;
            found.extend(listed.into_iter().take(REMOVED_MAX.saturating_sub(found.len())));
        }
        let mut pieces = HashSet::new();
        self.log.objects.list("c", |name| {
            pieces.insert(name.to_owned());
        })?;
        self.log.append(vec![Op::Fence], None).map_err(DepotError::from)?;
        for part in 0..PARTS {
            self.without_named(part, &mut found)?;
        }
        // A checkpoint that is being written now may lose pieces: then the log is read instead.
        for name in checkpoint::pieces(&self.log)? {
            pieces.remove(&piece_name(&name));
        }
        let remove: Vec<String> = found.into_iter().chain(pieces).collect();
        self.log.objects.each(&remove, |objects, name| objects.delete(name))?;
        Ok(remove.len())
    }

    /// Takes out the objects that the log names.
    fn without_named(&self, part: u8, names: &mut HashSet<String>) -> Result<(), DepotError> {
        let mut after = 0;
        while !names.is_empty() {
            let some = self.log.replica.arrivals_with_bytes(after, ITEMS_MAX, u64::MAX >> 1)?;
            let Some((last, _)) = some.last() else { break };
            after = last.position;
            for name in some.into_iter().filter_map(|(_, name)| ObjectName::try_from(name?).ok()) {
                if name[0] / 16 == part {
                    names.remove(&entry_name(&name));
                }
            }
        }
        Ok(())
    }
}
