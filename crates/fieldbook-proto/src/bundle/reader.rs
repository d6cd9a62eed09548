//! Blocks become records again, as far as they are intact.

use super::block::{BLOCK_LEN, Head, Opened, open_block, open_head};
use super::writer::RECORD_OVERHEAD;
use crate::codec::Reader;
use crate::limits::{ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};
use crate::session::TransportSecret;
use crate::{BundleId, EntryId};

/// How many entries that were cut are named; the others are counted.
pub const NAMED_MAX: usize = 64;

/// Which part a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenPart {
    /// The bundle.
    pub bundle: BundleId,
    /// Which of its parts, from 0.
    pub number: u16,
    /// Whether the bundle ends with it; unknown while its last block was not read.
    pub last: Option<bool>,
}

/// What a file turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartReport {
    /// The part, if any block of it was read.
    pub part: Option<SeenPart>,
    /// Places for blocks in the file, a cut one at the end included.
    pub blocks: u64,
    /// Blocks that were read.
    pub good: u64,
    /// Blocks that do not open, or whose records do: damaged, or not of this team.
    pub damaged: u64,
    /// Blocks that were read and do not belong where they lie. The entries in them were taken.
    pub misplaced: u64,
    /// Blocks of a version that this program does not know.
    pub newer: u64,
    /// How many blocks the part has, once its last one was read.
    pub complete: Option<u64>,
    /// Entries that came out.
    pub entries: u64,
    /// Entries that began, and whose other bytes are damaged or missing.
    pub cut: u64,
    /// The ids of the first [`NAMED_MAX`] of them, as far as they were read.
    pub cut_ids: Vec<EntryId>,
    /// Records that no writer makes.
    pub impossible: u64,
}

impl PartReport {
    /// Whether anything in the file is the team's.
    pub const fn is_bundle(&self) -> bool {
        self.good + self.newer > 0 || self.part.is_some()
    }

    /// Whether nothing of the part is missing.
    pub fn is_whole(&self) -> bool {
        self.complete == Some(self.blocks)
            && self.good == self.blocks
            && self.misplaced + self.cut + self.impossible == 0
    }

    /// Whether the end of the part is missing.
    pub const fn is_torn(&self) -> bool {
        self.complete.is_none()
    }
}

/// Reads one file, block by block. Holds at most one block and one entry.
#[derive(Debug)]
pub struct PartReader {
    /// The one that fitted last is tried first.
    secrets: Vec<TransportSecret>,
    /// The block that would go on with the record that began.
    next: Option<(BundleId, u16, u32)>,
    /// The beginning of a record; empty, or at least one byte and not all of it.
    begun: Vec<u8>,
    /// What goes on belongs to a record that was lost or counted already, until the next one begins.
    adrift: bool,
    report: PartReport,
}

impl PartReader {
    /// `secrets`: all that the device has.
    pub fn new(secrets: Vec<TransportSecret>) -> Self {
        Self { secrets, next: None, begun: Vec::new(), adrift: false, report: PartReport::default() }
    }

    /// Whether anything that was read so far is the team's.
    pub const fn is_bundle(&self) -> bool {
        self.report.is_bundle()
    }

    /// How many blocks so far were the team's, those of a later version included.
    pub const fn ours(&self) -> u64 {
        self.report.good + self.report.newer
    }

    /// Whether `beginning`, at least [`super::HEAD_LEN`] bytes, begins a block of the team.
    pub fn recognises(&self, beginning: &[u8]) -> bool {
        open_head(beginning, &self.secrets).is_some()
    }

    /// Takes the next block of the file; the last one may be cut. Appends the entries that end in it to
    /// `entries`. Whether their bytes are those that their ids name is for the caller to check.
    pub fn block(&mut self, bytes: &[u8], entries: &mut Vec<(EntryId, Vec<u8>)>) {
        let place = self.report.blocks;
        self.report.blocks += 1;
        let whole = bytes.len() == BLOCK_LEN;
        let (fitted, opened) = open_block(bytes, &self.secrets);
        if let Some(at) = fitted {
            self.secrets.swap(0, at);
        }
        match opened {
            Opened::Whole(head, body) if whole => self.good(place, &head, &body, entries),
            Opened::Newer(_) => {
                self.report.newer += 1;
                self.lose();
            }
            Opened::Whole(head, _) | Opened::Damaged(head) => {
                self.note_part(&head);
                self.report.damaged += 1;
                self.lose();
            }
            Opened::Foreign => self.missing(1),
        }
    }

    /// So many blocks of the file cannot be read, or were found not to be the team's.
    pub fn missing_blocks(&mut self, number: u64) {
        self.report.blocks += number;
        self.missing(number);
    }

    fn missing(&mut self, number: u64) {
        self.report.damaged += number;
        self.lose();
    }

    /// The file has ended.
    pub fn finish(mut self) -> PartReport {
        self.lose();
        self.report
    }

    fn good(&mut self, place: u64, head: &Head, body: &[u8], entries: &mut Vec<(EntryId, Vec<u8>)>) {
        self.report.good += 1;
        self.note_part(head);
        let of_this_part =
            self.report.part.is_some_and(|part| (part.bundle, part.number) == (head.bundle, head.part));
        if !of_this_part || u64::from(head.number) != place {
            self.report.misplaced += 1;
        }
        if head.last && of_this_part {
            self.report.complete = Some(u64::from(head.number) + 1);
        }
        let first = head.first.map_or(body.len(), usize::from);
        let (before, records) = body.split_at(first.min(body.len()));
        if self.next == Some((head.bundle, head.part, head.number)) {
            self.go_on(before, head.first.is_some(), entries);
        } else {
            // What this block goes on with lies in one that was not read.
            self.lose();
            self.adrift = true;
        }
        if head.first.is_some() {
            self.adrift = false;
        }
        self.records(records, entries);
        self.next = (!head.last).then_some((head.bundle, head.part, head.number.wrapping_add(1)));
    }

    fn note_part(&mut self, head: &Head) {
        let part =
            self.report.part.get_or_insert(SeenPart { bundle: head.bundle, number: head.part, last: None });
        if (part.bundle, part.number) == (head.bundle, head.part) && head.last {
            part.last = Some(head.last_part);
        }
    }

    /// The record that began in the block before. `ends`: another one begins behind these bytes.
    fn go_on(&mut self, bytes: &[u8], ends: bool, entries: &mut Vec<(EntryId, Vec<u8>)>) {
        if self.begun.is_empty() {
            if !bytes.is_empty() && !self.adrift {
                self.no_record();
            }
            return;
        }
        self.begun.extend_from_slice(bytes);
        let have = self.begun.len();
        match record_len(&self.begun) {
            RecordLen::Is(len) if len == have => {
                let record = std::mem::take(&mut self.begun);
                self.entry(&record, entries);
            }
            RecordLen::Is(len) if len > have && !ends => {}
            RecordLen::Unknown if !ends => {}
            _ => {
                self.no_record();
                self.begun.clear();
            }
        }
    }

    /// Counts once what no writer makes, however many blocks go on with it.
    fn no_record(&mut self) {
        self.report.impossible += 1;
        self.adrift = true;
    }

    /// Records, the first of which begins with the first byte.
    fn records(&mut self, mut bytes: &[u8], entries: &mut Vec<(EntryId, Vec<u8>)>) {
        while !bytes.is_empty() {
            match record_len(bytes) {
                RecordLen::Is(len) if len <= bytes.len() => {
                    let (record, rest) = bytes.split_at(len);
                    self.entry(record, entries);
                    bytes = rest;
                }
                RecordLen::Impossible => {
                    // Nobody knows where the next one begins before the next block says it.
                    self.no_record();
                    return;
                }
                _ => {
                    self.begun.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    fn entry(&mut self, record: &[u8], entries: &mut Vec<(EntryId, Vec<u8>)>) {
        if let Some((id, sealed)) = id_and_rest(record) {
            self.report.entries += 1;
            entries.push((id, sealed.to_vec()));
        }
    }

    /// What began does not go on.
    fn lose(&mut self) {
        self.next = None;
        if self.begun.is_empty() {
            return;
        }
        self.report.cut += 1;
        if let Some((id, _)) = id_and_rest(&self.begun)
            && self.report.cut_ids.len() < NAMED_MAX
        {
            self.report.cut_ids.push(id);
        }
        self.begun.clear();
    }
}

enum RecordLen {
    /// The length itself is cut.
    Unknown,
    /// In bytes, overhead included.
    Is(usize),
    /// No entry has it.
    Impossible,
}

fn record_len(record: &[u8]) -> RecordLen {
    match Reader::new(record).u32("length") {
        Err(_) => RecordLen::Unknown,
        Ok(len) if (ENTRY_SEALED_MIN..=ENTRY_SEALED_MAX).contains(&(len as usize)) => {
            RecordLen::Is(RECORD_OVERHEAD + len as usize)
        }
        Ok(_) => RecordLen::Impossible,
    }
}

/// The id of a record and what it has of the sealed bytes.
fn id_and_rest(record: &[u8]) -> Option<(EntryId, &[u8])> {
    let (id, sealed) = record.get(4..)?.split_first_chunk::<{ EntryId::LEN }>()?;
    Some((EntryId::from_bytes(*id), sealed))
}
