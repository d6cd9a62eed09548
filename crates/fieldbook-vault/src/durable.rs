//! Files of the vault's directory that are whole or absent, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::VaultError;
use crate::layout::Layout;
use crate::slots;

/// The unused pair's files follow the others in length up to this many bytes: 4 MiB.
pub(crate) const FILLER_MAX: u64 = 4 << 20;

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

/// What the names of the files end in that belong to a database.
pub(crate) const BESIDE_A_STORE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Removes a database with all that belongs to it.
pub(crate) fn remove_store(path: &Path) -> std::io::Result<()> {
    for suffix in [""].iter().chain(&BESIDE_A_STORE) {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The unused pair's file: random bytes, as long as the real one is, up to [`FILLER_MAX`].
pub(crate) fn write_filler(real: &Path, filler: &Path) -> Result<(), VaultError> {
    let len = fs::metadata(real).map_err(VaultError::io(WRITING))?.len();
    drop(private_file().truncate(true).open(filler).map_err(VaultError::io(WRITING))?);
    grow(filler, len.min(FILLER_MAX))
}

/// Makes a file as long as this by random bytes at its end, if it is shorter.
pub(crate) fn grow(path: &Path, len: u64) -> Result<(), VaultError> {
    let mut file = OpenOptions::new().append(true).open(path).map_err(VaultError::io(WRITING))?;
    let mut missing = len.saturating_sub(file.metadata().map_err(VaultError::io(WRITING))?.len());
    if missing == 0 {
        return Ok(());
    }
    let mut block = vec![0; 64 * 1024];
    while missing > 0 {
        let take = block.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        slots::fill(&mut block[..take])?;
        file.write_all(&block[..take]).map_err(VaultError::io(WRITING))?;
        missing -= take as u64;
    }
    file.sync_all().map_err(VaultError::io(WRITING))
}

/// Gives a file this time, and makes that last as long as a write would take.
pub(crate) fn touch(path: &Path, time: SystemTime) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_modified(time)?;
    file.sync_all()
}

/// Puts these bytes into a file that is there, which stays the same file to the file system.
pub(crate) fn refill(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes over what stands at `at` in a file, without making it longer first, and syncs it.
pub(crate) fn overwrite_at(path: &Path, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    file.sync_all()
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
