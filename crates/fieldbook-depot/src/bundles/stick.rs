//! Which files of a stick are looked at, and in which order.
//!
//! A stick may be made to harm: with millions of files, links that lead elsewhere, pipes that never end. So
//! what is found in a directory, and was not named by the user, is looked at up to a limit, and only if it
//! is a file by itself. What begins as a bundle of the team does comes first; of the rest the smallest
//! first, so that one large file hides no other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fieldbook_proto::bundle::{BLOCK_LEN, HEAD_LEN, PartReader};
use rustix::fs::OFlags;

use super::BundleError;

/// Files that one run looks at of those which it found in directories: so many whose names could be those of a
/// part, and as many others.
const FILES_MAX: usize = 32_768;
/// Names that one run reads in directories at most.
const NAMES_MAX: u64 = 8_000_000;
/// A part's own name, without the dot of one that was being written.
const NAME_LEN: usize = 16;

/// What lies there and was not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotLooked {
    /// Directories in the directories that were named.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Files beyond the limit.
    pub files: u64,
    /// Bytes of files that begin as something else, beyond the limit.
    pub bytes: u64,
    /// Directories whose list of files did not end, or ended with an error.
    pub lists: u64,
}

/// A file that is looked at.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    /// Bytes of it that the disk has, rounded up to blocks.
    pub bytes: u64,
    /// The user named it.
    pub named: bool,
    /// It begins as a bundle of the team does.
    pub recognised: bool,
}

/// The files that these paths stand for: those that begin as a bundle first.
///
/// # Errors
/// A path does not exist, or is neither a file nor a directory.
pub(super) fn files(
    paths: &[PathBuf],
    reader: &PartReader,
    not_looked: &mut NotLooked,
) -> Result<Vec<Found>, BundleError> {
    let mut search =
        Search { reader, not_looked, found: Vec::new(), seen: BTreeSet::new(), names: 0, taken: [0; 2] };
    for path in paths {
        let there = fs::metadata(path).map_err(BundleError::file("be read", path))?;
        if there.is_file() {
            search.named(path);
        } else if there.is_dir() {
            search.directory(path)?;
        } else {
            // A pipe would never end.
            let neither = io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a directory");
            return Err(BundleError::file("be read", path)(neither));
        }
    }
    let mut found = search.found;
    found.sort_by_key(|file| match file {
        Found { recognised: true, .. } => (0, 0),
        Found { named: true, .. } => (1, 0),
        Found { bytes, .. } => (2, *bytes),
    });
    Ok(found)
}

struct Search<'a> {
    reader: &'a PartReader,
    not_looked: &'a mut NotLooked,
    found: Vec<Found>,
    /// Device and number of the files that were found in directories: one file with many names is read once.
    seen: BTreeSet<(u64, u64)>,
    names: u64,
    /// Files that may be looked at, of the two kinds.
    taken: [usize; 2],
}

impl Search<'_> {
    fn named(&mut self, path: &Path) {
        // One that cannot be opened is told when its turn comes.
        let looked =
            open(path, true).ok().map(|(file, len)| (self.recognises(&file, len), on_disk(&file, len)));
        let (recognised, bytes) = looked.unwrap_or_default();
        self.found.push(Found { path: path.to_owned(), bytes, named: true, recognised });
    }

    fn directory(&mut self, path: &Path) -> Result<(), BundleError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(BundleError::file("be read", path))? {
            self.names += 1;
            // A list that does not end, or that the disk does not give: what was seen of it is read.
            let Some(entry) = entry.ok().filter(|_| self.names <= NAMES_MAX) else {
                self.not_looked.lists += 1;
                break;
            };
            let Ok(kind) = entry.file_type() else { continue };
            let of_kind = &mut self.taken[usize::from(is_a_parts(entry.file_name().as_bytes()))];
            if kind.is_dir() {
                self.not_looked.folders += 1;
            } else if kind.is_symlink() {
                // It leads elsewhere.
                self.not_looked.links += 1;
            } else if !kind.is_file() {
                self.not_looked.special += 1;
            } else if *of_kind == FILES_MAX {
                self.not_looked.files += 1;
            } else {
                *of_kind += 1;
                files.push(entry.path());
            }
        }
        files.sort();
        for path in files {
            match open(&path, false) {
                // What is empty tells nothing.
                Ok((_, 0)) => {}
                Ok((file, len)) => {
                    let Ok(there) = file.metadata() else { continue };
                    if self.seen.insert((there.dev(), there.ino())) {
                        let (recognised, bytes) = (self.recognises(&file, len), on_disk(&file, len));
                        self.found.push(Found { path, bytes, named: false, recognised });
                    }
                }
                // Told when its turn comes.
                Err(_) => self.found.push(Found { path, bytes: 0, named: false, recognised: false }),
            }
        }
        Ok(())
    }

    fn recognises(&self, file: &File, len: u64) -> bool {
        let mut head = [0; HEAD_LEN];
        len >= HEAD_LEN as u64 && file.read_exact_at(&mut head, 0).is_ok() && self.reader.recognises(&head)
    }
}

/// Whether a file of this name could be a part that was written under a name of its own.
fn is_a_parts(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".").unwrap_or(name);
    name.len() == NAME_LEN && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Opens a file, and nothing else: what was a file a moment ago may be a pipe or a link now. Links are followed
/// where the user named them.
pub(super) fn open(path: &Path, named: bool) -> io::Result<(File, u64)> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !named {
        flags |= OFlags::NOFOLLOW;
    }
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    Ok((file, there.len()))
}

/// Bytes of a file that lie on the disk, rounded up to blocks of a bundle. Its length is what it says, and a file
/// of a few bytes can say terabytes.
fn on_disk(file: &File, len: u64) -> u64 {
    let block = BLOCK_LEN as u64;
    let lies = file.metadata().map_or(len, |there| there.blocks().saturating_mul(512).max(1));
    len.min(lies.div_ceil(block).saturating_mul(block)).div_ceil(block).saturating_mul(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_parts_are_known() {
        for name in [&b"5f0c1e9a7b3d2846"[..], b".5f0c1e9a7b3d2846"] {
            assert!(is_a_parts(name));
        }
        for name in [&b"5F0C1E9A7B3D2846"[..], b"5f0c1e9a7b3d284", b"..f0c1e9a7b3d2846", b"", b"film.mp4"] {
            assert!(!is_a_parts(name));
        }
    }
}
