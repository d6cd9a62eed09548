//! Sealed entries as plain files in a directory: what a recovery reads, and what stock tools open.
//!
//! Each file is one entry, an age file, named by its id. Any device can write them, also of entries
//! that it cannot open; nothing in them is readable without the keys they were sealed to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use fieldbook_depot::{Depot, Incoming, Source};
use fieldbook_proto::EntryId;
use fieldbook_proto::limits::ENTRY_SEALED_MAX;

use crate::error::VaultError;
use crate::vault::Vault;
use crate::views::{ExportedEntries, ImportedEntries};

/// How the names of the files end.
const ENDING: &str = "age";
const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// Names of files that were not taken, in an answer; more are counted.
const REFUSED_NAMES_MAX: usize = 16;

impl Vault {
    /// Writes every entry that this device's depot holds into `dir`, which is made if it is not there.
    /// A file that is there already is left: its name says what it holds.
    ///
    /// # Errors
    /// The directory cannot be written, or the depot's store fails.
    pub fn export_entries(&mut self, dir: &Path) -> Result<ExportedEntries, VaultError> {
        self.flush()?;
        make(dir).map_err(VaultError::io("the directory for the entries cannot be made"))?;
        let mut summary = ExportedEntries::default();
        let mut after = 0;
        loop {
            let batch = self.depot.arrivals_with_bytes(after, BATCH_ENTRIES, BATCH_BYTES as u64)?;
            let Some((last, _)) = batch.last() else { break };
            after = last.position;
            for (arrival, bytes) in batch {
                let Some(bytes) = bytes else { continue };
                let written = write(&dir.join(format!("{}.{ENDING}", arrival.id)), &bytes)
                    .map_err(VaultError::io("an entry cannot be written as a file"))?;
                if written { summary.written += 1 } else { summary.already_there += 1 }
            }
        }
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(VaultError::io("the directory for the entries cannot be made durable"))?;
        Ok(summary)
    }

    /// Takes every entry file in `dir` into this device's depot. The names of the files are of no
    /// interest: an entry is what its bytes are. Nothing is opened yet.
    ///
    /// # Errors
    /// The directory or a file in it cannot be read, or the depot's store fails. What was taken before
    /// stays.
    pub fn import_entries(&mut self, dir: &Path) -> Result<ImportedEntries, VaultError> {
        let doing = || VaultError::io("the directory with the entries cannot be read");
        let mut summary = ImportedEntries::default();
        let mut batch: Vec<(EntryId, Vec<u8>)> = Vec::new();
        let mut size = 0;
        for file in fs::read_dir(dir).map_err(doing())? {
            let path = file.map_err(doing())?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let read = read(&path).map_err(VaultError::io("a file with an entry cannot be read"))?;
            let Some(bytes) = read else {
                refuse(&mut summary, &path);
                continue;
            };
            size += bytes.len();
            batch.push((EntryId::of(&bytes), bytes));
            if batch.len() >= BATCH_ENTRIES || size >= BATCH_BYTES {
                self.put_files(&mut batch, &mut summary)?;
                size = 0;
            }
        }
        self.put_files(&mut batch, &mut summary)?;
        Ok(summary)
    }

    fn put_files(
        &mut self,
        batch: &mut Vec<(EntryId, Vec<u8>)>,
        summary: &mut ImportedEntries,
    ) -> Result<(), VaultError> {
        let incoming: Vec<Incoming<'_>> =
            batch.iter().map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Bundle }).collect();
        let put = self.depot.put(&incoming)?;
        summary.added += put.added;
        summary.already_known += put.already_known;
        for (id, _) in &put.refused {
            refuse(summary, Path::new(&format!("{id}.{ENDING}")));
        }
        batch.clear();
        Ok(())
    }
}

fn refuse(summary: &mut ImportedEntries, path: &Path) {
    summary.refused += 1;
    if summary.refused_names.len() < REFUSED_NAMES_MAX {
        summary.refused_names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
}

/// The bytes of a file that may be an entry; None when it is no file or too long for one.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let limit = ENTRY_SEALED_MAX as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= ENTRY_SEALED_MAX))
}

/// Writes beside and renames, so that a file of that name is whole. False if one is there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let beside = path.with_extension("partial");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes).and_then(|()| file.sync_all())?;
    fs::rename(&beside, path)?;
    Ok(true)
}

fn make(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
