//! The fingerprint of a set of ids: two depots whose fingerprints agree know the same entries.

use std::fmt;

use crate::EntryId;
use crate::codec::{DecodeError, Reader, Writer};

/// Number and sum of a set of entry ids. Order does not matter, so it is kept up to date entry by
/// entry and costs the same whatever the size of the set.
///
/// It finds honest differences. Somebody who chooses ids freely can make two different sets collide
/// (a generalised birthday attack on a sum); that hides entries from the check, never from the
/// arrival cursor that brings them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// How many ids.
    pub count: u64,
    /// Their sum as 256-bit little-endian integers, modulo 2^256.
    pub sum: [u8; 32],
}

impl Fingerprint {
    /// Length of its encoding in bytes: count (8, big-endian), sum (32).
    pub const LEN: usize = 40;

    /// Adds an id that was not in the set.
    pub fn add(&mut self, id: &EntryId) {
        self.count = self.count.wrapping_add(1);
        self.add_sum(id.as_bytes());
    }

    /// Takes an id out that was in the set.
    pub fn remove(&mut self, id: &EntryId) {
        self.count = self.count.wrapping_sub(1);
        // Two's complement: adding the complement and one takes away.
        let mut negative = id.as_bytes().map(|byte| !byte);
        for byte in &mut negative {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        self.add_sum(&negative);
    }

    /// Adds a set that has no id in common with this one.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        self.add_sum(&other.sum);
    }

    fn add_sum(&mut self, addend: &[u8; 32]) {
        let mut carry = false;
        for (byte, more) in self.sum.iter_mut().zip(addend) {
            let (sum, over) = byte.overflowing_add(*more);
            let (sum, over_again) = sum.overflowing_add(u8::from(carry));
            *byte = sum;
            carry = over || over_again;
        }
    }

    /// Appends the fingerprint.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(self.count).raw(&self.sum);
    }

    /// Reads a fingerprint.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { count: reader.u64("fingerprint count")?, sum: reader.array("fingerprint sum")? })
    }
}

impl FromIterator<EntryId> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = EntryId>>(ids: I) -> Self {
        let mut fingerprint = Self::default();
        for id in ids {
            fingerprint.add(&id);
        }
        fingerprint
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({} ids, {})", self.count, crate::encode_hex(&self.sum[..8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> impl Iterator<Item = EntryId> {
        range.map(|n| EntryId::of(&n.to_be_bytes()))
    }

    #[test]
    fn order_does_not_matter_and_one_id_does() {
        let forward: Fingerprint = ids(0..500).collect();
        let mut backward: Vec<_> = ids(0..500).collect();
        backward.reverse();
        assert_eq!(forward, backward.into_iter().collect());
        assert_ne!(forward, ids(0..499).collect());
        let mut merged: Fingerprint = ids(0..200).collect();
        merged.merge(&ids(200..500).collect());
        assert_eq!(forward, merged);
        for id in ids(200..500) {
            merged.remove(&id);
        }
        assert_eq!(merged, ids(0..200).collect());
        for id in [EntryId::from_bytes([0; 32]), EntryId::from_bytes([0xff; 32])] {
            merged.add(&id);
            merged.remove(&id);
            assert_eq!(merged, ids(0..200).collect());
        }
    }

    #[test]
    fn the_sum_is_a_little_endian_integer_that_wraps() {
        let mut sum = Fingerprint::default();
        sum.add(&EntryId::from_bytes([0xff; 32]));
        let mut two = [0; 32];
        two[0] = 2;
        sum.add(&EntryId::from_bytes(two));
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(sum, Fingerprint { count: 2, sum: one });
    }
}
