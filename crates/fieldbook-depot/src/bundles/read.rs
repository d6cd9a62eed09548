//! Takes in what lies in files: everything that is intact, and a word on the rest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fieldbook_proto::bundle::{BLOCK_LEN, HEAD_LEN, NAMED_MAX, PartReader, PartReport};
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{BundleId, EntryId};

use super::{BundleError, secrets};
use crate::{Depot, Incoming, Source};

/// Entries go into the depot in batches of so many, or so many bytes.
const BATCH_ENTRIES: usize = 2_000;
const BATCH_BYTES: usize = 4 << 20;
/// Bundles of which the parts are counted; beyond, nothing is said of missing ones.
const BUNDLES_MAX: usize = 256;
/// After so many blocks in a row that the disk does not give, more and more of them are passed over.
const UNREADABLE_MAX: u32 = 64;
/// So many at most: 1 GiB.
const PASSED_OVER_MAX: u64 = 1 << 16;

/// What is told while files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEvent {
    /// Before anything is read.
    Planned {
        /// Files to look at.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many of the bytes have been looked at, and what was in them is durable.
    Progress {
        /// So far.
        bytes: u64,
    },
    /// A file was read to its end.
    File(Box<FileReport>),
}

/// What a file turned out to be, and what became of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its blocks.
    pub part: PartReport,
    /// Entries that are new here and durable.
    pub new: u64,
    /// Entries that were known.
    pub known: u64,
    /// Entries that were not taken: their bytes are not what their id names.
    pub refused: u64,
    /// The ids of the first [`NAMED_MAX`] of them.
    pub refused_ids: Vec<EntryId>,
    /// Of its blocks, those that the disk did not give: of them it is not known whether they are damaged.
    pub not_read: u64,
    /// The file could not be opened; the system's word for it.
    pub unreadable: Option<String>,
}

impl FileReport {
    /// Whether nobody can tell what it is, because the system or the disk does not give it.
    pub const fn is_unreadable(&self) -> bool {
        self.unreadable.is_some() || (self.not_read > 0 && !self.part.is_bundle())
    }

    /// Whether something of it is not as it was written, beside what only a newer program reads.
    fn is_hurt(&self) -> bool {
        let part = &self.part;
        match part.newer {
            0 => !self.is_whole(),
            // What a newer block goes on with cannot be told, nor whether it is the last.
            _ => part.damaged + part.misplaced + part.impossible + self.refused > 0,
        }
    }

    /// Whether it is a bundle of the team, whole, and everything in it was taken.
    pub fn is_whole(&self) -> bool {
        self.part.is_whole() && self.refused == 0
    }
}

/// Parts that belong to a bundle that was read, and were not among the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingParts {
    /// The bundle.
    pub bundle: BundleId,
    /// How many parts of it were among the files.
    pub read: u32,
    /// How many more there are at least.
    pub missing: u32,
    /// Whether that is all that is missing; unknown while the last part was not seen.
    pub exact: bool,
}

/// What was read in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Files that are bundles of the team.
    pub parts: u64,
    /// Files that are something else.
    pub others: u64,
    /// Files of which nobody can tell what they are: they cannot be opened, or the disk does not give them.
    pub unreadable: u64,
    /// Of the parts, those of which something is damaged, missing, or was not taken.
    pub damaged: u64,
    /// Files that hold something that only a newer program reads.
    pub newer: u64,
    /// Entries that are new here and durable.
    pub new: u64,
    /// Entries that were known.
    pub known: u64,
    /// Entries that were not taken.
    pub refused: u64,
    /// Bundles of which parts were not among the files.
    pub missing: Vec<MissingParts>,
}

/// Reads files, and the files in directories (not in those below), into the depot. What is told to be new
/// is durable.
///
/// # Errors
/// A path does not exist, or the depot fails; a file that is damaged is none.
pub fn read_bundles(
    depot: &dyn Depot,
    paths: &[PathBuf],
    tell: &mut dyn FnMut(ReadEvent),
) -> Result<ReadSummary, BundleError> {
    let secrets = secrets(depot)?;
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut files)?;
    }
    tell(ReadEvent::Planned {
        files: files.len() as u64,
        bytes: files.iter().fold(0_u64, |sum, (_, len)| {
            sum.saturating_add(len.div_ceil(BLOCK_LEN as u64).saturating_mul(BLOCK_LEN as u64))
        }),
    });
    let mut summary = ReadSummary::default();
    let mut seen: BTreeMap<BundleId, BTreeMap<u16, Option<bool>>> = BTreeMap::new();
    let mut looked_at = 0;
    for (path, _) in files {
        let report = Intake::new(depot, tell, path, &mut looked_at).read(secrets.clone())?;
        summary.new += report.new;
        summary.known += report.known;
        summary.refused += report.refused;
        summary.newer += u64::from(report.part.newer > 0);
        if report.part.is_bundle() {
            summary.parts += 1;
            summary.damaged += u64::from(report.is_hurt());
        } else if report.is_unreadable() {
            summary.unreadable += 1;
        } else {
            summary.others += 1;
        }
        if let Some(part) = report.part.part
            && (seen.len() < BUNDLES_MAX || seen.contains_key(&part.bundle))
        {
            let known = seen.entry(part.bundle).or_default().entry(part.number).or_default();
            *known = known.or(part.last);
        }
        tell(ReadEvent::File(Box::new(report)));
    }
    summary.missing = seen.into_iter().filter_map(|(bundle, parts)| missing(bundle, &parts)).collect();
    Ok(summary)
}

fn missing(bundle: BundleId, parts: &BTreeMap<u16, Option<bool>>) -> Option<MissingParts> {
    let (highest, last) = parts.last_key_value()?;
    let read = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let before = (u32::from(*highest) + 1).saturating_sub(read);
    // A part whose end is missing tells nothing of what follows.
    let (more, exact) = match last {
        Some(false) => (1, false),
        Some(true) => (0, true),
        None => (0, false),
    };
    let missing = before + more;
    (missing > 0).then_some(MissingParts { bundle, read, missing, exact })
}

/// The files that a path stands for, with their lengths.
fn list(path: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<(), BundleError> {
    let there = fs::metadata(path).map_err(BundleError::file("be read", path))?;
    if there.is_file() {
        files.push((path.to_owned(), there.len()));
        return Ok(());
    }
    if !there.is_dir() {
        // A pipe would never end.
        let neither = io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a directory");
        return Err(BundleError::file("be read", path)(neither));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(BundleError::file("be read", path))? {
        let entry = entry.map_err(BundleError::file("be read", path))?;
        // Links lead elsewhere; what is empty tells nothing.
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(there) = entry.metadata()
            && there.len() > 0
        {
            found.push((entry.path(), there.len()));
        }
    }
    found.sort();
    files.extend(found);
    Ok(())
}

/// One file's way into the depot.
struct Intake<'a> {
    depot: &'a dyn Depot,
    tell: &'a mut dyn FnMut(ReadEvent),
    looked_at: &'a mut u64,
    entries: Vec<(EntryId, Vec<u8>)>,
    /// Of the entries.
    bytes: usize,
    report: FileReport,
}

impl<'a> Intake<'a> {
    fn new(
        depot: &'a dyn Depot,
        tell: &'a mut dyn FnMut(ReadEvent),
        path: PathBuf,
        looked_at: &'a mut u64,
    ) -> Self {
        let report = FileReport {
            path,
            part: PartReport::default(),
            new: 0,
            known: 0,
            refused: 0,
            refused_ids: Vec::new(),
            not_read: 0,
            unreadable: None,
        };
        Self { depot, tell, looked_at, entries: Vec::new(), bytes: 0, report }
    }

    fn read(mut self, secrets: Vec<TransportSecret>) -> Result<FileReport, BundleError> {
        let mut reader = PartReader::new(secrets);
        match open(&self.report.path) {
            Ok((file, len)) => self.blocks(file, len, &mut reader)?,
            Err(error) => self.report.unreadable = Some(error.to_string()),
        }
        self.put()?;
        self.report.part = reader.finish();
        Ok(self.report)
    }

    fn blocks(&mut self, mut file: File, len: u64, reader: &mut PartReader) -> Result<(), BundleError> {
        let mut block = vec![0; BLOCK_LEN];
        let mut unreadable = Unreadable::default();
        let (mut number, blocks) = (0, len.div_ceil(BLOCK_LEN as u64));
        while number < blocks {
            let at = number * BLOCK_LEN as u64;
            let here = usize::try_from((len - at).min(BLOCK_LEN as u64)).unwrap_or(BLOCK_LEN);
            // Films and the like lie on sticks too. As long as nothing is ours, a look at the heads is enough.
            let look = if reader.is_bundle() { here } else { here.min(HEAD_LEN) };
            let read = read_at(&mut file, at, &mut block[..look]).and_then(|()| {
                if look < here && reader.recognises(&block[..look]) {
                    read_at(&mut file, at, &mut block[..here])?;
                    return Ok(here);
                }
                Ok(look)
            });
            match read {
                Ok(have) if have == here => {
                    let before = self.entries.len();
                    reader.block(&block[..here], &mut self.entries);
                    self.bytes += self.entries[before..].iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
                    unreadable = Unreadable::default();
                }
                Ok(_) => reader.missing_blocks(1),
                Err(_) => {
                    let over = unreadable.one_more().min(blocks - number);
                    reader.missing_blocks(over);
                    self.report.not_read += over;
                    *self.looked_at += (over - 1) * BLOCK_LEN as u64;
                    number += over - 1;
                }
            }
            *self.looked_at += BLOCK_LEN as u64;
            if self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES {
                self.put()?;
            }
            if number % 64 == 63 && self.entries.is_empty() {
                (self.tell)(ReadEvent::Progress { bytes: *self.looked_at });
            }
            number += 1;
        }
        Ok(())
    }

    /// Makes durable what was read.
    fn put(&mut self) -> Result<(), BundleError> {
        let batch: Vec<Incoming<'_>> = self
            .entries
            .iter()
            .map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Bundle })
            .collect();
        let done = self.depot.put(&batch)?;
        drop(batch);
        self.entries.clear();
        self.bytes = 0;
        let report = &mut self.report;
        report.new += done.added as u64;
        report.known += done.already_known as u64;
        report.refused += done.refused.len() as u64;
        let room = NAMED_MAX - report.refused_ids.len();
        report.refused_ids.extend(done.refused.iter().take(room).map(|(id, _)| *id));
        (self.tell)(ReadEvent::Progress { bytes: *self.looked_at });
        Ok(())
    }
}

/// Blocks in a row that the disk does not give. Each costs seconds, so after some the steps grow; what lies
/// behind a bad spot is found all the same.
#[derive(Debug, Default)]
struct Unreadable {
    tries: u32,
}

impl Unreadable {
    /// How many blocks to go on by.
    fn one_more(&mut self) -> u64 {
        self.tries = self.tries.saturating_add(1);
        let beyond = self.tries.saturating_sub(UNREADABLE_MAX).min(16);
        (1_u64 << beyond).min(PASSED_OVER_MAX)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn read_at(file: &mut File, at: u64, into: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_spots_are_passed_over_in_growing_steps_and_nothing_is_given_up() {
        let mut unreadable = Unreadable::default();
        let single: Vec<u64> = (0..UNREADABLE_MAX).map(|_| unreadable.one_more()).collect();
        assert!(single.iter().all(|step| *step == 1));
        assert_eq!([2, 4, 8].map(|_| unreadable.one_more()), [2, 4, 8]);
        // The longest part costs few tries more, and the steps do not grow for ever.
        let more: u64 = (0..13).map(|_| unreadable.one_more()).sum();
        assert!(more > (2 << 30) / BLOCK_LEN as u64 / 2, "{more}");
        assert_eq!((0..40).map(|_| unreadable.one_more()).max(), Some(PASSED_OVER_MAX));
    }
}
