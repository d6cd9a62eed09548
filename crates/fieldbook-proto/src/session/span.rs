//! Ranges of ids, and their fingerprints as they stand in a comparison.

use super::fingerprint::Fingerprint;
use crate::EntryId;
use crate::codec::Writer;

/// The domain of [`Fingerprint::digest`].
const CONTEXT: &str = "fieldbook 2026 session span v1";

/// Length of a digest in bytes.
pub const DIGEST_LEN: usize = 16;

/// All ids whose first eight bytes, as a big-endian number, lie from `first` to `last`, both included.
/// Ids are hashes, so equal spans hold about equally many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// All ids.
    pub const WHOLE: Self = Self { first: 0, last: u64::MAX };

    /// The span of these bounds; `None` if they are the wrong way round.
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The lower bound.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The upper bound, which belongs to the span.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The lowest id that could lie in it.
    pub fn lowest(&self) -> EntryId {
        Self::bound(self.first, 0)
    }

    /// The highest id that could lie in it.
    pub fn highest(&self) -> EntryId {
        Self::bound(self.last, 0xff)
    }

    fn bound(number: u64, rest: u8) -> EntryId {
        let mut id = [rest; EntryId::LEN];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EntryId::from_bytes(id)
    }

    /// Where an id lies among the spans.
    pub fn number(id: &EntryId) -> u64 {
        id.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Whether an id lies in it.
    pub fn contains(&self, id: &EntryId) -> bool {
        (self.first..=self.last).contains(&Self::number(id))
    }

    /// Whether it lies in another.
    pub const fn within(&self, other: &Self) -> bool {
        other.first <= self.first && self.last <= other.last
    }

    /// Whether it can be cut into so many parts, none of them empty.
    pub const fn has_parts(&self, count: u16) -> bool {
        count > 0 && self.last - self.first >= count as u64 - 1
    }

    /// Cut into `count` parts of equal width, give or take one, in order. Fewer if it is narrower.
    pub fn parts(&self, count: u16) -> impl Iterator<Item = Self> + use<> {
        let (first, width) = (u128::from(self.first), u128::from(self.last - self.first) + 1);
        let count = u128::from(count).min(width);
        // No bound is beyond `last`, so each fits.
        let at = move |part: u128| u64::try_from(first + width * part / count).unwrap_or(u64::MAX);
        (0..count).map(move |part| {
            let last = if part + 1 == count { first + width - 1 } else { u128::from(at(part + 1)) - 1 };
            Self { first: at(part), last: u64::try_from(last).unwrap_or(u64::MAX) }
        })
    }
}

impl Fingerprint {
    /// The short form in which spans are compared: the first [`DIGEST_LEN`] bytes of
    /// derive("fieldbook 2026 session span v1", count ‖ sum).
    pub fn digest(&self) -> [u8; DIGEST_LEN] {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        let hash = blake3::derive_key(CONTEXT, &writer.finish());
        let mut digest = [0; DIGEST_LEN];
        digest.copy_from_slice(&hash[..DIGEST_LEN]);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_a_gap_and_none_is_empty() {
        let narrow = Span::new(7, 9).unwrap();
        for (span, count, expected) in [
            (Span::WHOLE, 16, 16),
            (Span::WHOLE, 255, 255),
            (narrow, 2, 2),
            (narrow, 16, 3),
            (Span::new(u64::MAX, u64::MAX).unwrap(), 16, 1),
        ] {
            let parts: Vec<_> = span.parts(count).collect();
            assert_eq!(parts.len(), expected, "{span:?}");
            assert_eq!((parts[0].first, parts[expected - 1].last), (span.first, span.last));
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first);
            }
            assert!(parts.iter().all(|part| part.first <= part.last && part.within(&span)));
            assert_eq!(span.has_parts(count), expected == usize::from(count));
        }
        assert!(Span::new(2, 1).is_none());
        assert!(!Span::WHOLE.has_parts(0));
    }

    #[test]
    fn bounds_hold_the_ids_that_begin_with_them() {
        let span = Span::new(1 << 56, (2 << 56) - 1).unwrap();
        for (first, inside) in [(0, false), (1, true), (2, false)] {
            let id = EntryId::from_bytes([first; 32]);
            assert_eq!(span.contains(&id), inside);
            assert_eq!(span.lowest() <= id && id <= span.highest(), inside);
        }
    }

    #[test]
    fn a_digest_tells_count_and_sum_apart() {
        let one = Fingerprint { count: 1, sum: [0; 32] };
        let two = Fingerprint { count: 2, sum: [0; 32] };
        assert_ne!(one.digest(), two.digest());
        let mut high = [0; 32];
        high[31] = 1;
        assert_ne!(one.digest(), Fingerprint { count: 1, sum: high }.digest());
    }
}
