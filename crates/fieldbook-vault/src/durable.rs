//! Files of the vault's directory that are whole or absent, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::VaultError;
use crate::layout::Layout;
use crate::slots;

/// The unused pair's files follow the others in length up to this many bytes: 4 MiB.
pub(crate) const FILLER_MAX: u64 = 4 << 20;

const WRITING: &str = "the vault's files could not be written";

/// Makes a directory that is its owner's alone.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
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

/// The files that belong to a database, besides its own.
pub(crate) fn beside(store: &Path) -> [PathBuf; 3] {
    BESIDE_A_STORE.map(|suffix| {
        let mut name = store.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// Removes a database with all that belongs to it.
pub(crate) fn remove_store(path: &Path) -> io::Result<()> {
    for file in [path.to_owned()].iter().chain(&beside(path)) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
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
    sync(&file).map_err(VaultError::io(WRITING))
}

/// Gives a file this time, and makes that last as long as a write would take.
pub(crate) fn touch(path: &Path, time: SystemTime) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_modified(time)?;
    sync(&file)
}

/// Writes these bytes over what stands at `at` in a file, or the `len` bytes that stand there once more, which takes as
/// long; gives the file this time; syncs it. Where fewer stand there, none is written once more.
pub(crate) fn rewrite(
    path: &Path,
    at: u64,
    len: usize,
    new: Option<&[u8]>,
    time: SystemTime,
) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut present = vec![0; len];
    file.seek(SeekFrom::Start(at))?;
    let whole = file.read_exact(&mut present).is_ok();
    file.seek(SeekFrom::Start(at))?;
    if let Some(bytes) = new.or(whole.then_some(&present)) {
        file.write_all(bytes)?;
    }
    // A time that cannot be set must not keep what was written from the disk.
    let _ = file.set_modified(time);
    sync(&file)
}

/// Puts these bytes into a file that is there, which stays the same file to the file system.
pub(crate) fn refill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    sync(&file)
}

/// Writes over what stands at `at` in a file, without making it longer first, and syncs it.
pub(crate) fn overwrite_at(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    sync(&file)
}

/// Every sync of this crate's own goes this way, so that a test can count them.
fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    tests::SYNCS.set(tests::SYNCS.get() + 1);
    file.sync_all()
}

/// Makes what was renamed in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), VaultError> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| sync(&dir)).map_err(VaultError::io(WRITING))?;
    Ok(())
}

/// Writes beside, syncs, renames, syncs the directory: the file holds the old bytes or the new ones.
/// Then the old bytes are overwritten where they lay. On flash, and on file systems that never write in
/// place, copies of them may remain all the same.
pub(crate) fn replace(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let old = OpenOptions::new().write(true).open(path).ok();
    let beside = layout.unfinished();
    let mut file = private_file().truncate(true).open(&beside).map_err(VaultError::io(WRITING))?;
    file.write_all(bytes).and_then(|()| sync(&file)).map_err(VaultError::io(WRITING))?;
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
        let _ = sync(&old);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// How many syncs this thread has made, those of the databases apart.
        pub(crate) static SYNCS: Cell<u64> = const { Cell::new(0) };
    }
}
