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
/// After so many blocks in a row that the disk does not give, the rest of the file is given up.
const UNREADABLE_MAX: u32 = 64;

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
    /// The file could not be opened; the system's word for it.
    pub unreadable: Option<String>,
}

impl FileReport {
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
            summary.damaged += u64::from(!report.is_whole());
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
        let mut unreadable = 0;
        for number in 0..len.div_ceil(BLOCK_LEN as u64) {
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
                    unreadable = 0;
                }
                Ok(_) => reader.missing_blocks(1),
                Err(_) => {
                    unreadable += 1;
                    if unreadable > UNREADABLE_MAX {
                        reader.missing_blocks(len.div_ceil(BLOCK_LEN as u64) - number);
                        break;
                    }
                    reader.missing_blocks(1);
                }
            }
            *self.looked_at += BLOCK_LEN as u64;
            if self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES {
                self.put()?;
            }
            if number % 64 == 63 && self.entries.is_empty() {
                (self.tell)(ReadEvent::Progress { bytes: *self.looked_at });
            }
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

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn read_at(file: &mut File, at: u64, into: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(into)
}
