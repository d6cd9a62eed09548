//! One file of a bundle: under another name while it is written, and whole once it has its own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fieldbook_proto::bundle::BLOCK_LEN;
use fieldbook_proto::encode_hex;

use super::{BundleError, random};

/// After so many bytes the disk is waited for: else a slow stick would seem done long before it is, and
/// the system would keep it all in memory.
const SYNC_BYTES: usize = 32 << 20;

const WRITTEN: &str = "be written";

/// A name that tells nothing.
pub(super) fn random_name() -> Result<OsString, BundleError> {
    Ok(encode_hex(&random::<8>()?).into())
}

/// A part that is being written.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    unsynced: usize,
}

impl PartFile {
    /// Begins it as `partial`; it will be `target`.
    pub fn begin(partial: &Path, target: &Path) -> Result<Self, BundleError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(partial).map_err(BundleError::file(WRITTEN, target))?;
        Ok(Self { file, partial: partial.to_owned(), target: target.to_owned(), unsynced: 0 })
    }

    /// Appends whole blocks, and empties `blocks`.
    pub fn write(&mut self, blocks: &mut Vec<u8>) -> io::Result<()> {
        self.file.write_all(blocks)?;
        self.unsynced += blocks.len();
        blocks.clear();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Makes it durable under its own name.
    pub fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        drop(self.file);
        rename_to_a_free_name(&self.partial, &self.target)?;
        sync_directory(self.target.parent())
    }

    /// Says why it was not written, and puts away what there is of it: after a full disk its whole blocks
    /// stay, under its name, else nothing.
    pub fn fail(self, error: io::Error, before: u64) -> BundleError {
        if error.kind() != io::ErrorKind::StorageFull {
            let _ = fs::remove_file(&self.partial);
            return BundleError::file(WRITTEN, &self.target)(error);
        }
        let len = self.file.metadata().map_or(0, |metadata| metadata.len());
        let whole = len - len % BLOCK_LEN as u64;
        let cut = if whole == 0 { Err(error) } else { self.file.set_len(whole) };
        let (partial, kept) = (self.partial.clone(), cut.and_then(|()| self.keep()));
        if kept.is_err() {
            let _ = fs::remove_file(partial);
        }
        BundleError::Full { written: before + if kept.is_ok() { whole } else { 0 } }
    }
}

/// Makes the names in a directory last. Some file systems of sticks cannot be asked to.
fn sync_directory(dir: Option<&Path>) -> io::Result<()> {
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(dir)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

/// How many bytes are free where `dir` lies; `None` when the file system does not say.
pub(super) fn free(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = rustix::fs::statvfs(dir).ok()?;
        (there.f_blocks > 0).then(|| there.f_bavail.saturating_mul(there.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        None
    }
}

/// What came under the name meanwhile is not replaced. A stick's file system may not know how to see to that: then
/// it is looked just before.
fn rename_to_a_free_name(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_part_has_its_name_only_when_it_is_whole_and_a_full_disk_keeps_its_whole_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let [partial, target] = [".x", "y"].map(|name| dir.path().join(name));
        let begin = |bytes: usize| {
            let mut part = PartFile::begin(&partial, &target).unwrap();
            part.write(&mut vec![1; bytes]).unwrap();
            part
        };
        let part = begin(BLOCK_LEN);
        assert_eq!(names(dir.path()), [".x"]);
        part.keep().unwrap();
        assert_eq!(names(dir.path()), ["y"]);
        fs::remove_file(&target).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for (bytes, kept) in [(2 * BLOCK_LEN + 7, 2 * BLOCK_LEN), (BLOCK_LEN - 1, 0)] {
            let error = begin(bytes).fail(full(), 100);
            assert!(matches!(error, BundleError::Full { written } if written == 100 + kept as u64));
            assert_eq!(fs::metadata(&target).map_or(0, |file| file.len()), kept as u64);
            assert_eq!(names(dir.path()), if kept > 0 { vec!["y"] } else { vec![] });
            let _ = fs::remove_file(&target);
        }
        let error = begin(BLOCK_LEN).fail(io::Error::other("the stick is gone"), 0);
        assert!(matches!(error, BundleError::File { .. }));
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_came_under_the_name_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, target) = (dir.path().join("partial"), dir.path().join("target"));
        let part = PartFile::begin(&partial, &target).unwrap();
        fs::write(&target, b"somebody's").unwrap();
        assert_eq!(part.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"somebody's");
    }
}
