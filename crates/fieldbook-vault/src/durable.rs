//! Files of the vault's directory that are whole or absent, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::VaultError;
use crate::layout::Layout;
use crate::slots;

const WRITING: &str = "the vault's files could not be written";

/// Makes a directory that is its owner's alone.
pub(crate) fn create_private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// How files that are their owner's alone are opened.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// What belongs to a database, besides its file.
pub(crate) fn write_ahead_log(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Removes a database with all that belongs to it.
pub(crate) fn remove_store(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The unused pair's file: random bytes, as long as the real one is at birth.
pub(crate) fn write_filler(real: &Path, filler: &Path) -> Result<(), VaultError> {
    let len = fs::metadata(real).map_err(VaultError::io(WRITING))?.len();
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    slots::fill(&mut bytes)?;
    let mut file = private_file().truncate(true).open(filler).map_err(VaultError::io(WRITING))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(VaultError::io(WRITING))
}

/// Makes what was renamed in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), VaultError> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(VaultError::io(WRITING))?;
    Ok(())
}

/// Writes beside, syncs, renames, syncs the directory: the file holds the old bytes or the new ones.
/// Then the old bytes are overwritten where they lay. On flash, and on file systems that never write in
/// place, copies of them may remain all the same.
pub(crate) fn replace(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let old = OpenOptions::new().write(true).open(path).ok();
    let beside = layout.unfinished();
    let mut file = private_file().truncate(true).open(&beside).map_err(VaultError::io(WRITING))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(VaultError::io(WRITING))?;
    fs::rename(&beside, path).map_err(VaultError::io(WRITING))?;
    sync_dir(layout.dir())?;
    if let Some(old) = old {
        overwrite(old);
    }
    Ok(())
}

/// As far as the system lets it: the new file is in its place whatever becomes of this.
fn overwrite(mut old: File) {
    let len = old.metadata().map_or(0, |metadata| metadata.len());
    let mut noise = vec![0; usize::try_from(len).unwrap_or(0)];
    if slots::fill(&mut noise).is_ok() && old.write_all(&noise).is_ok() {
        let _ = old.sync_all();
    }
}
