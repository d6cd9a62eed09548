//! Takes in what lies in files: everything that is intact, and a word on the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use fieldbook_proto::bundle::{BLOCK_LEN, HEAD_LEN, NAMED_MAX, PartReader, PartReport};
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{BundleId, EntryId};

use super::left::{Judge, LeftBy, Why};
use super::look::{Budget, Data, Share, read_at};
use super::stick::{self, Found, NotLooked};
use super::{BundleError, secrets};
use crate::{Depot, DepotError, Incoming, PutSummary, Source};

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
    /// Entries that are in order, and stay on the stick.
    pub left: LeftBy,
    /// Bytes at its end that were not looked at: too much of it is not the team's.
    pub not_looked: u64,
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
    /// Whether it is a bundle of the team, whole, and everything in it is good.
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
    /// Entries that stay on the stick, because this device does not carry them now.
    pub left: LeftBy,
    /// What lies there and was not looked at.
    pub not_looked: NotLooked,
    /// Bundles of which parts were not among the files.
    pub missing: Vec<MissingParts>,
}

/// Reads files, and the files in directories (not in those below), into the depot. What is told to be new
/// is durable. `judge` says what is not to come in: it is counted and stays where it is, and whoever reads it
/// again is asked again.
///
/// # Errors
/// A path does not exist, or the depot fails; a file that is damaged is none.
pub fn read_bundles(
    depot: &dyn Depot,
    paths: &[PathBuf],
    judge: &mut Judge<'_>,
    tell: &mut dyn FnMut(ReadEvent),
) -> Result<ReadSummary, BundleError> {
    let secrets = secrets(depot)?;
    let mut summary = ReadSummary::default();
    let files = stick::files(paths, &PartReader::new(secrets.clone()), &mut summary.not_looked)?;
    tell(ReadEvent::Planned {
        files: files.len() as u64,
        bytes: files.iter().fold(0, |sum, file| file.bytes.saturating_add(sum)),
    });
    let mut seen: BTreeMap<BundleId, BTreeMap<u16, Option<bool>>> = BTreeMap::new();
    let (mut looked_at, mut budget) = (0, Budget::default());
    for file in files {
        let share = budget.of_file(file.named || file.recognised);
        let mut intake = Intake::new(depot, judge, tell, file, &mut looked_at);
        intake.read(secrets.clone(), share)?;
        let report = intake.report;
        summary.new += report.new;
        summary.known += report.known;
        summary.refused += report.refused;
        summary.left.merge(report.left);
        summary.not_looked.bytes = summary.not_looked.bytes.saturating_add(report.not_looked);
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

/// One file's way into the depot.
struct Intake<'a, 'j> {
    depot: &'a dyn Depot,
    judge: &'a mut Judge<'j>,
    tell: &'a mut dyn FnMut(ReadEvent),
    looked_at: &'a mut u64,
    file: Found,
    entries: Vec<(EntryId, Vec<u8>)>,
    /// Of the entries.
    bytes: usize,
    report: FileReport,
}

impl<'a, 'j> Intake<'a, 'j> {
    fn new(
        depot: &'a dyn Depot,
        judge: &'a mut Judge<'j>,
        tell: &'a mut dyn FnMut(ReadEvent),
        file: Found,
        looked_at: &'a mut u64,
    ) -> Self {
        let report = FileReport {
            path: file.path.clone(),
            part: PartReport::default(),
            new: 0,
            known: 0,
            refused: 0,
            refused_ids: Vec::new(),
            not_read: 0,
            left: LeftBy::default(),
            not_looked: 0,
            unreadable: None,
        };
        Self { depot, judge, tell, looked_at, file, entries: Vec::new(), bytes: 0, report }
    }

    fn read(&mut self, secrets: Vec<TransportSecret>, share: Share<'_>) -> Result<(), BundleError> {
        let mut reader = PartReader::new(secrets);
        match stick::open(&self.file.path, self.file.named) {
            Ok((file, len)) => self.blocks(&file, len, &mut reader, share)?,
            Err(error) => self.report.unreadable = Some(error.to_string()),
        }
        self.put()?;
        self.report.part = reader.finish();
        Ok(())
    }

    fn blocks(
        &mut self,
        file: &File,
        len: u64,
        reader: &mut PartReader,
        mut share: Share<'_>,
    ) -> Result<(), BundleError> {
        let mut block = vec![0; BLOCK_LEN];
        let (mut data, mut unreadable, before) = (Data::of(len), Unreadable::default(), *self.looked_at);
        let (mut number, blocks) = (0, len.div_ceil(BLOCK_LEN as u64));
        while number < blocks {
            let hole = data.hole(file, number);
            if hole > 0 {
                reader.missing_blocks(hole);
                number += hole;
                continue;
            }
            let at = number * BLOCK_LEN as u64;
            let here = usize::try_from((len - at).min(BLOCK_LEN as u64)).unwrap_or(BLOCK_LEN);
            // Films and the like lie on sticks too. As long as nothing is ours, a look at the heads is enough.
            let look = if reader.is_bundle() { here } else { here.min(HEAD_LEN) };
            let read = read_at(file, at, &mut block[..look]).and_then(|()| {
                if look < here && reader.recognises(&block[..look]) {
                    read_at(file, at, &mut block[..here])?;
                    return Ok(here);
                }
                Ok(look)
            });
            let ours_before = reader.ours();
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
            if reader.ours() > ours_before {
                share.is_a_bundle();
            } else if !share.spend() && number < blocks {
                reader.missing_blocks(blocks - number);
                self.report.not_looked = self.file.bytes.saturating_sub(*self.looked_at - before);
                break;
            }
        }
        Ok(())
    }

    /// Makes durable what was read, as far as it is to come in.
    fn put(&mut self) -> Result<(), BundleError> {
        let mut left = self.left()?;
        let batch: Vec<Incoming<'_>> = self
            .entries
            .iter()
            .filter(|(id, _)| !left.contains_key(id))
            .map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Bundle })
            .collect();
        let done = match self.depot.put(&batch) {
            Ok(done) => done,
            // Nothing of it was taken, and the stick keeps it.
            Err(DepotError::Full) => {
                let ids: Vec<EntryId> = batch.iter().map(|entry| entry.id).collect();
                left.extend(self.depot.unknown(&ids)?.into_iter().map(|id| (id, Why::Disk)));
                PutSummary {
                    already_known: ids.iter().filter(|id| !left.contains_key(id)).count(),
                    ..PutSummary::default()
                }
            }
            Err(error) => return Err(error.into()),
        };
        drop(batch);
        let report = &mut self.report;
        for (id, bytes) in self.entries.drain(..) {
            // An entry that stands there twice stays there once.
            if let Some(why) = left.remove(&id) {
                report.left.add(why, bytes.len() as u64);
            }
        }
        self.bytes = 0;
        report.new += done.added as u64;
        report.known += done.already_known as u64;
        report.refused += done.refused.len() as u64;
        let room = NAMED_MAX - report.refused_ids.len();
        report.refused_ids.extend(done.refused.iter().take(room).map(|(id, _)| *id));
        (self.tell)(ReadEvent::Progress { bytes: *self.looked_at });
        Ok(())
    }

    /// What of the entries does not come in. What is known already takes no room, and nobody is asked.
    fn left(&mut self) -> Result<HashMap<EntryId, Why>, BundleError> {
        let ids: Vec<EntryId> = self.entries.iter().map(|(id, _)| *id).collect();
        let mut unknown: HashSet<EntryId> = self.depot.unknown(&ids)?.into_iter().collect();
        let asked: Vec<(EntryId, u32)> = self
            .entries
            .iter()
            .filter(|(id, _)| unknown.remove(id))
            .map(|(id, bytes)| (*id, u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
            .collect();
        Ok((self.judge)(&asked)?.into_iter().collect())
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
