//! How much of a file is looked at: what the disk has of it, and of what is not the team's no more than a limit.

use std::fs::File;
use std::io;
use std::ops::Range;

use fieldbook_proto::bundle::BLOCK_LEN;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

const BLOCK: u64 = BLOCK_LEN as u64;

/// Blocks of files that were found in directories and begin as something else, in one run: 1 GiB. Tests of the
/// program have smaller sticks.
const FOUND_BLOCKS: u64 = if cfg!(debug_assertions) { 16 << 20 } else { 1 << 30 } / BLOCK;
/// Blocks that are not the team's, of one file that was named or that begins as a bundle: 4 GiB, twice the
/// longest part.
const FILE_BLOCKS: u64 = (4 << 30) / BLOCK;

/// How many blocks that are not the team's are still looked at.
#[derive(Debug)]
pub(super) struct Budget {
    found: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { found: FOUND_BLOCKS }
    }
}

impl Budget {
    /// For one file.
    pub fn of_file(&mut self, chosen: bool) -> Share<'_> {
        Share { left: if chosen { Of::File(FILE_BLOCKS) } else { Of::Found(&mut self.found) } }
    }
}

/// One file's share of it.
#[derive(Debug)]
pub(super) struct Share<'a> {
    left: Of<'a>,
}

#[derive(Debug)]
enum Of<'a> {
    File(u64),
    Found(&'a mut u64),
}

impl Share<'_> {
    /// Whether one more is looked at.
    pub fn spend(&mut self) -> bool {
        let left = match &mut self.left {
            Of::File(left) => left,
            Of::Found(left) => left,
        };
        let some = *left > 0;
        *left = left.saturating_sub(1);
        some
    }

    /// It turned out to be a bundle.
    pub fn is_a_bundle(&mut self) {
        if let Of::Found(_) = self.left {
            self.left = Of::File(FILE_BLOCKS);
        }
    }
}

/// Where a file has data: holes are not read, however long they are.
#[derive(Debug)]
pub(super) struct Data {
    len: u64,
    /// The data that was asked for last.
    here: Range<u64>,
}

impl Data {
    pub const fn of(len: u64) -> Self {
        Self { len, here: 0..0 }
    }

    /// How many whole blocks from this one on are nothing but a hole, or lie behind the file's end.
    pub fn hole(&mut self, file: &File, number: u64) -> u64 {
        let at = number.saturating_mul(BLOCK);
        let end = at.saturating_add(BLOCK);
        if self.here.end <= at {
            self.here = self.next(file, at);
        }
        if self.here.start < end {
            return 0;
        }
        let until =
            if self.here.start >= self.len { self.len.div_ceil(BLOCK) } else { self.here.start / BLOCK };
        until.saturating_sub(number)
    }

    /// The next data at or behind this place. A disk that knows of no holes has data everywhere.
    fn next(&self, file: &File, at: u64) -> Range<u64> {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            Err(Errno::NXIO) => return self.len..self.len,
            Err(_) => return at..self.len,
        };
        let end = seek(file, SeekFrom::Hole(start)).ok().filter(|end| *end > start);
        start..end.unwrap_or(self.len).min(self.len)
    }
}

/// Reads a piece of a file.
pub(super) fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_are_found_and_data_in_any_part_of_a_block_is_read() {
        let file = tempfile::tempfile().unwrap();
        let len = 1 << 40;
        file.set_len(len).unwrap();
        // In the middle of block 1,000, and the last bytes of the file.
        file.write_all_at(b"data", 1_000 * BLOCK + 9_000).unwrap();
        file.write_all_at(b"data", len - 4).unwrap();
        if seek(&file, SeekFrom::Data(0)) == Ok(0) {
            eprintln!("this disk knows of no holes: not tried");
            return;
        }
        let (mut data, mut looked, mut number) = (Data::of(len), Vec::new(), 0);
        while number < len / BLOCK {
            match data.hole(&file, number) {
                0 => {
                    looked.push(number);
                    number += 1;
                }
                blocks => number += blocks,
            }
        }
        assert!(looked.contains(&1_000) && looked.contains(&(len / BLOCK - 1)), "{looked:?}");
        assert!(looked.len() < 20, "{looked:?}");
        assert_eq!(Data::of(len).hole(&file, len / BLOCK), 0);
    }

    #[test]
    fn what_is_found_shares_one_budget_and_a_bundle_has_its_own() {
        let mut budget = Budget { found: 3 };
        let mut first = budget.of_file(false);
        assert!(first.spend() && first.spend());
        let mut second = budget.of_file(false);
        assert!(second.spend() && !second.spend());
        second.is_a_bundle();
        assert!(second.spend());
        assert!(budget.of_file(true).spend() && !budget.of_file(false).spend());
    }
}
