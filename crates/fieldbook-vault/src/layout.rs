//! The files of a vault directory. Their names and number are the same for every vault and tell nothing.

use std::path::{Path, PathBuf};

/// Where the files of one vault directory are.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout of `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The two key slots. A directory without this file is not a vault.
    pub fn slots(&self) -> PathBuf {
        self.dir.join("slots")
    }

    /// The vault database of slot 0 or 1.
    pub fn vault(&self, slot: usize) -> PathBuf {
        self.dir.join(format!("{slot}.a"))
    }

    /// The depot database of slot 0 or 1.
    pub fn depot(&self, slot: usize) -> PathBuf {
        self.dir.join(format!("{slot}.b"))
    }

    /// The key file of slot 0 or 1.
    pub fn keys(&self, slot: usize) -> PathBuf {
        self.dir.join(format!("{slot}.k"))
    }

    /// A vault database that is to take the place of one of the two; there only while it is written.
    pub fn next(&self) -> PathBuf {
        self.dir.join("next")
    }

    /// A small file that is to take the place of another; there only while it is written.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.dir.join("new")
    }

    /// What applies while the vault is locked: whether a wipe asks, and until when the keys live.
    pub(crate) fn rules(&self) -> PathBuf {
        self.dir.join("rules")
    }

    /// The directory of files that a relay's processes make and remove, where its depot is in a bucket; else not there.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Locked by the process that has the vault open.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Locked by the daemon.
    pub fn network_lock(&self) -> PathBuf {
        self.dir.join("lock.net")
    }
}
