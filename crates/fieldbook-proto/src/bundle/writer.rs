//! Records become blocks.

use super::block::{BLOCK_LEN, BODY_LEN, Head, SALT_LEN, seal_block};
use crate::session::TransportSecret;
use crate::{BundleId, EntryId};

/// What an entry takes in a part beside its bytes: its length and its id.
pub const RECORD_OVERHEAD: usize = 4 + EntryId::LEN;

/// How long a part is whose records have `records` bytes together, overhead included.
pub const fn part_len(records: u64) -> u64 {
    let blocks = records.div_ceil(BODY_LEN as u64);
    (if blocks == 0 { 1 } else { blocks }) * BLOCK_LEN as u64
}

/// Writes one part.
#[derive(Debug)]
pub struct PartWriter {
    secret: TransportSecret,
    head: Head,
    body: Vec<u8>,
    records: u64,
}

impl PartWriter {
    /// Begins part number `part` of a bundle.
    pub fn new(secret: TransportSecret, bundle: BundleId, part: u16) -> Self {
        let head = Head {
            version: super::VERSION,
            bundle,
            part,
            number: 0,
            last: false,
            last_part: false,
            first: None,
            used: 0,
        };
        Self { secret, head, body: Vec::with_capacity(BODY_LEN), records: 0 }
    }

    /// Bytes of the records so far, overhead included: see [`part_len`].
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Adds an entry; the blocks that it fills are appended to `out`. Each takes a salt of random bytes.
    ///
    /// # Errors
    /// What `salts` fails with; then the part is worth nothing.
    pub fn add<E>(
        &mut self,
        id: &EntryId,
        sealed: &[u8],
        salts: &mut impl FnMut() -> Result<[u8; SALT_LEN], E>,
        out: &mut Vec<u8>,
    ) -> Result<(), E> {
        let len = u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut begins = true;
        for mut field in [&len[..], id.as_bytes(), sealed] {
            self.records += field.len() as u64;
            while !field.is_empty() {
                // Not before there is more to come: the last block is never an empty one behind a full one.
                if self.body.len() == BODY_LEN {
                    self.seal(salts, out)?;
                }
                if begins {
                    let at = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
                    self.head.first = self.head.first.or(Some(at));
                    begins = false;
                }
                let (now, later) = field.split_at(field.len().min(BODY_LEN - self.body.len()));
                self.body.extend_from_slice(now);
                field = later;
            }
        }
        Ok(())
    }

    /// Ends the part. `last_part`: the bundle ends with it.
    ///
    /// # Errors
    /// As [`PartWriter::add`].
    pub fn finish<E>(
        mut self,
        last_part: bool,
        salts: &mut impl FnMut() -> Result<[u8; SALT_LEN], E>,
        out: &mut Vec<u8>,
    ) -> Result<(), E> {
        self.head.last = true;
        self.head.last_part = last_part;
        self.seal(salts, out)
    }

    fn seal<E>(
        &mut self,
        salts: &mut impl FnMut() -> Result<[u8; SALT_LEN], E>,
        out: &mut Vec<u8>,
    ) -> Result<(), E> {
        let salt = salts()?;
        self.head.used = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        seal_block(&self.secret, &salt, &self.head, &self.body, out);
        self.body.clear();
        self.head.number += 1;
        self.head.first = None;
        Ok(())
    }
}
