//! Files that a person asked for: complete and durable, or not there at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fieldbook_vault::ExportedFile;

use crate::error::{Failure, Kind};
use crate::sanitise::line;

/// A file that is being written under another name and gets its own when it is whole. Only its
/// owner can read it.
#[derive(Debug)]
pub struct NewFile {
    file: Hashed,
    partial: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Begins a file that must not exist yet.
    ///
    /// # Errors
    /// Something of that name is there, or the directory cannot be written.
    pub fn begin(target: &Path) -> Result<Self, Failure> {
        let name = line(&target.to_string_lossy());
        if fs::symlink_metadata(target).is_ok() {
            return Err(
                Failure::failed("file-exists", format!("{name} exists already")).hint("choose another name")
            );
        }
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .map_err(on_disk(format!("{name} cannot be written")))?;
        Ok(Self { file: Hashed::new(file), partial, target: target.to_owned(), kept: false })
    }

    /// Makes it durable under its name: what was written there.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(mut self) -> Result<ExportedFile, Failure> {
        let doing = || format!("{} cannot be written", line(&self.target.to_string_lossy()));
        self.file.file.sync_all().map_err(on_disk(doing()))?;
        fs::rename(&self.partial, &self.target).map_err(on_disk(doing()))?;
        sync_directory(self.target.parent()).map_err(on_disk(doing()))?;
        self.kept = true;
        self.file.at(&self.target).map_err(on_disk(doing()))
    }
}

/// A file of which it is known what was written.
#[derive(Debug)]
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
}

impl Hashed {
    fn new(file: File) -> Self {
        Self { file, hasher: blake3::Hasher::new() }
    }

    /// What was written, as it is found at this path.
    fn at(&self, path: &Path) -> io::Result<ExportedFile> {
        Ok(ExportedFile {
            path: std::path::absolute(path)?.to_string_lossy().into_owned(),
            len: self.hasher.count(),
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// A directory of files that appears whole: everything is written under another name first.
#[derive(Debug)]
pub struct NewDirectory {
    target: PathBuf,
    partial: PathBuf,
    files: Vec<(String, ExportedFile)>,
    current: Option<(String, Hashed)>,
    kept: bool,
}

impl NewDirectory {
    /// Begins a directory that must not exist or must be empty, unless `force`.
    ///
    /// # Errors
    /// It is not empty ([`Kind::ExportRefused`]), or cannot be written.
    pub fn begin(target: &Path, force: bool) -> Result<Self, Failure> {
        let name = line(&target.to_string_lossy());
        match fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
            Ok(true) if !force => {
                return Err(Failure::new(
                    Kind::ExportRefused,
                    "directory-not-empty",
                    format!("{name} is not empty"),
                )
                .hint("choose another directory, or give --force to write into this one"));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(on_disk(format!("{name} cannot be used"))(error));
            }
            _ => {}
        }
        let target = std::path::absolute(target).map_err(on_disk(format!("{name} cannot be used")))?;
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let _ = fs::remove_dir_all(&partial);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&partial)
            .map_err(on_disk(format!("{name} cannot be made")))?;
        Ok(Self { target, partial, files: Vec::new(), current: None, kept: false })
    }

    /// Adds bytes to a file; the pieces of one file come one after another.
    ///
    /// # Errors
    /// The name is not a plain one, or the disk refuses.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !plain {
            return Err(Failure::failed("internal", "a file of the publication has an impossible name"));
        }
        let doing = || format!("{} cannot be written", line(name));
        if self.current.as_ref().is_none_or(|(current, _)| current != name) {
            self.finish_file()?;
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.partial.join(name))
                .map_err(on_disk(doing()))?;
            self.current = Some((name.to_owned(), Hashed::new(file)));
        }
        match &mut self.current {
            Some((_, file)) => file.write_all(bytes).map_err(on_disk(doing())),
            None => Ok(()),
        }
    }

    fn finish_file(&mut self) -> Result<(), Failure> {
        let doing = "the publication cannot be written";
        if let Some((name, file)) = self.current.take() {
            file.file.sync_all().map_err(Failure::io(doing))?;
            let written = file.at(&self.target.join(&name)).map_err(Failure::io(doing))?;
            self.files.push((name, written));
        }
        Ok(())
    }

    /// Makes it durable under its name: its files.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(mut self) -> Result<Vec<ExportedFile>, Failure> {
        self.finish_file()?;
        self.move_into_place().map_err(Failure::io("the publication cannot be written"))?;
        self.kept = true;
        Ok(std::mem::take(&mut self.files).into_iter().map(|(_, file)| file).collect())
    }

    fn move_into_place(&self) -> io::Result<()> {
        sync_directory(Some(&self.partial))?;
        // Works where the target is not there, or is an empty directory.
        if fs::rename(&self.partial, &self.target).is_err() {
            for (name, _) in &self.files {
                fs::rename(self.partial.join(name), self.target.join(name))?;
            }
            fs::remove_dir(&self.partial)?;
            sync_directory(Some(&self.target))?;
        }
        sync_directory(self.target.parent())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// The disk's refusal. `what` names the file, sanitised.
fn on_disk(what: String) -> impl FnOnce(io::Error) -> Failure {
    Failure::file(Kind::Failed, "io", what)
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: Option<&Path>) -> io::Result<()> {
    let directory = directory.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let mut file = NewFile::begin(&target).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut file = NewFile::begin(&target).unwrap();
        file.write_all(b"whole").unwrap();
        file.keep().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(NewFile::begin(&target).unwrap_err().code, "file-exists");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_appears_whole_and_a_full_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("publication");
        let mut out = NewDirectory::begin(&target, false).unwrap();
        out.append("a.html", b"one").unwrap();
        out.append("a.html", b"two").unwrap();
        out.append("b.css", b"").unwrap();
        assert!(!target.exists());
        assert!(out.append("../c", b"").is_err());
        assert_eq!(out.keep().unwrap().len(), 2);
        assert_eq!(fs::read(target.join("a.html")).unwrap(), b"onetwo");
        assert_eq!(NewDirectory::begin(&target, false).unwrap_err().kind, Kind::ExportRefused);
        let mut out = NewDirectory::begin(&target, true).unwrap();
        out.append("a.html", b"new").unwrap();
        out.keep().unwrap();
        assert_eq!(fs::read(target.join("a.html")).unwrap(), b"new");
        assert!(target.join("b.css").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
