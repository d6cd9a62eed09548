//! Plain files that a person asked for: noted in the vault before they are written, and removed as far as the medium
//! lets that be done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use fieldbook_vault::ExportedFile;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::output::sync_directory;

/// An export that is known to the vault. Whatever becomes of this process, the vault knows the place.
pub struct Noted {
    path: String,
    kind: &'static str,
    new: bool,
}

/// Notes an export at `path` before anything is written there.
///
/// # Errors
/// The vault cannot note it; then nothing must be written.
pub fn begin(agent: &mut Agent, path: &Path, kind: &'static str) -> Result<Noted, Failure> {
    let path = std::path::absolute(path).map_err(Failure::io("the place of the export cannot be named"))?;
    let path = path.to_string_lossy().into_owned();
    let request = Request::NoteExport { path: path.clone(), kind: kind.to_owned(), files: Vec::new() };
    let new = agent.call(&request)?;
    Ok(Noted { path, kind, new })
}

impl Noted {
    /// Notes what was written.
    ///
    /// # Errors
    /// The vault cannot note it.
    pub fn done(self, agent: &mut Agent, files: Vec<ExportedFile>) -> Result<(), Failure> {
        let request = Request::NoteExport { path: self.path, kind: self.kind.to_owned(), files };
        agent.call::<bool>(&request).map(drop)
    }

    /// Nothing was written: the place is on the list only if it was before.
    pub fn nothing(self, agent: &mut Agent) {
        if self.new {
            // If this fails it stays on the list, as one that was not completed.
            let _ = agent.call::<usize>(&Request::DropExports { paths: vec![self.path] });
        }
    }
}

/// How a file of an export is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// As it was written.
    AsWritten,
    /// Another content stands there.
    Changed,
    /// Nothing stands there.
    Gone,
}

impl Found {
    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AsWritten => "as-written",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Looks for a file. A link is something else than what was written.
pub fn look(file: &ExportedFile) -> Found {
    let path = Path::new(&file.path);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Gone,
        Ok(data) if data.is_file() && data.len() == file.len => {}
        _ => return Found::Changed,
    }
    match hash(path) {
        Ok(now) if now == file.blake3 => Found::AsWritten,
        _ => Found::Changed,
    }
}

/// Writes random bytes over a file where it lies, gives it a name that tells nothing, and removes it.
///
/// # Errors
/// The disk's. The file may then be there still, whole or in part.
pub fn shred(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    let mut block = vec![0; 64 * 1024];
    file.seek(SeekFrom::Start(0))?;
    let mut noise = Noise::new()?;
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        noise.read_exact(&mut block[..take])?;
        file.write_all(&block[..take])?;
        left -= take as u64;
    }
    file.sync_all()?;
    drop(file);
    let mut name = [0; 8];
    noise.read_exact(&mut name)?;
    let name: String = name.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let nameless = path.with_file_name(name);
    let path = if fs::symlink_metadata(&nameless).is_err() && fs::rename(path, &nameless).is_ok() {
        nameless
    } else {
        path.to_owned()
    };
    fs::remove_file(&path)?;
    sync_directory(path.parent())
}

/// Random bytes without end, from one seed of the system's.
struct Noise(blake3::OutputReader);

impl Noise {
    fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(Self(blake3::Hasher::new_keyed(&seed).finalize_xof()))
    }
}

impl io::Read for Noise {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.fill(bytes);
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_as_it_was_changed_or_gone_and_shredding_writes_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.html");
        let words = "quokka ".repeat(20_000);
        fs::write(&path, &words).unwrap();
        let blake3 = hash(&path).unwrap();
        let file = ExportedFile { path: path.to_str().unwrap().to_owned(), len: words.len() as u64, blake3 };
        assert_eq!(look(&file), Found::AsWritten);
        fs::write(&path, "Quokka".to_owned() + &words[6..]).unwrap();
        assert_eq!(look(&file), Found::Changed);
        fs::write(&path, &words).unwrap();
        // A second name for the same bytes shows what became of them.
        let witness = dir.path().join("witness");
        fs::hard_link(&path, &witness).unwrap();
        shred(&path).unwrap();
        assert_eq!(look(&file), Found::Gone);
        let left = fs::read(&witness).unwrap();
        assert_eq!(left.len(), words.len());
        assert!(!left.windows(6).any(|window| window == b"quokka"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        std::os::unix::fs::symlink(&witness, &path).unwrap();
        assert_eq!(look(&file), Found::Changed, "a link is not followed");
    }
}
