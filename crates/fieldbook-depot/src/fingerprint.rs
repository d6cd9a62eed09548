//! The fingerprint of a set of ids, kept up to date entry by entry.

use fieldbook_proto::EntryId;

/// Number and sum of a set of ids: equal sets have equal fingerprints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many ids.
    pub count: u64,
    /// Their sum as 256-bit little-endian integers, modulo 2^256.
    pub sum: [u8; 32],
}

impl Fingerprint {
    /// Adds an id that was not in the set.
    pub fn add(&mut self, id: &EntryId) {
        self.count += 1;
        let mut carry = 0;
        for (sum, byte) in self.sum.iter_mut().zip(id.as_bytes()) {
            let total = u16::from(*sum) + u16::from(*byte) + carry;
            *sum = (total & 0xff) as u8;
            carry = total >> 8;
        }
    }
}
