//! Whether a vault still lies where it was used last: a directory that was copied must not go on as if it
//! were the only one.
//!
//! What tells is when the file system made the `lock` file: renaming a directory, or carrying the disk or
//! stick to another machine, does not change that, and no ordinary program can set it when it copies. Where
//! the file system keeps no such time nothing is noted, and a copy shows only by what the other one wrote.
//! A copy below the file system (an image of the disk, a snapshot) looks the same as the original.

use std::fs;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use crate::error::VaultError;
use crate::layout::Layout;
use crate::store;

/// When the lock file was made, as noted when the vault was used last; zeros where no time was to be had.
const PLACE: &str = "place";
/// Set while the vault lies in another place than it was used in last, and nobody has said why.
const MOVED: &str = "moved";

/// What tells this place from another one: nanoseconds since 1970 at which the lock file was made.
fn here(layout: &Layout) -> [u8; 16] {
    let made = fs::metadata(layout.lock()).and_then(|metadata| metadata.created()).ok();
    let since = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    since.as_nanos().to_be_bytes()
}

/// Compares the place with the one that is noted, and notes it if none is. Called whenever a vault opens.
pub(crate) fn look(db: &Connection, layout: &Layout) -> Result<(), VaultError> {
    let here = here(layout);
    let noted = store::meta(db, PLACE)?.filter(|noted| noted.iter().any(|byte| *byte != 0));
    match noted {
        // Where nothing could be noted, nothing can be told; from now on it can, if there is a time now.
        None => {
            if is_moved(db)? {
                forget_meta(db, MOVED)?;
            }
            if here != [0; 16] {
                store::set_meta(db, PLACE, &here)?;
            }
        }
        Some(noted) => {
            let moved = noted != here;
            if moved != is_moved(db)? {
                if moved {
                    doubt(db)?;
                } else {
                    forget_meta(db, MOVED)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether the vault may be a copy.
pub(crate) fn is_moved(db: &Connection) -> Result<bool, VaultError> {
    Ok(store::meta(db, MOVED)?.is_some())
}

/// From now on nothing is signed, until the place is accepted or the vault is opened again where it was.
pub(crate) fn doubt(db: &Connection) -> Result<(), VaultError> {
    store::set_meta(db, MOVED, &[1])
}

/// From now on this place is the right one.
pub(crate) fn accept(db: &Connection, layout: &Layout) -> Result<(), VaultError> {
    store::set_meta(db, PLACE, &here(layout))?;
    forget_meta(db, MOVED)
}

/// No place is the right one yet.
pub(crate) fn forget(db: &Connection) -> Result<(), VaultError> {
    forget_meta(db, PLACE)?;
    forget_meta(db, MOVED)
}

fn forget_meta(db: &Connection, name: &str) -> Result<(), VaultError> {
    db.execute("DELETE FROM meta WHERE name = ?1", [name])?;
    Ok(())
}
