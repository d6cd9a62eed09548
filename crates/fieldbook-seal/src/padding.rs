//! Padding: how much an entry's size may tell. See `protocol/entry.md`.
//!
//! Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
//! PURBs", PETS 2019) lets the size keep only its leading bits: at most about 12 % is added, and
//! O(log log n) bits leak. The floor makes all small entries look alike.

/// Smallest padded length, in bytes.
pub const FLOOR: usize = 1024;

/// The length to which `len` bytes are padded: the least permitted length that holds them.
///
/// Saturates at `usize::MAX`, far beyond any limit of the format.
pub const fn padded_len(len: usize) -> usize {
    if len <= FLOOR {
        return FLOOR;
    }
    // The length in binary has `exponent + 1` digits; Padmé keeps as many leading digits as it
    // takes to write the exponent, and rounds the rest up.
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - kept)) - 1;
    len.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_never_shrink_and_never_grow_by_more_than_an_eighth() {
        let mut before = 0;
        for len in (0..70_000).chain([1 << 20, (1 << 20) + 1, (1 << 20) + 4_000]) {
            let padded = padded_len(len);
            assert!(padded >= len && padded >= before, "{len}");
            assert!(padded == FLOOR || padded <= len + len / 8, "{len} became {padded}");
            assert_eq!(padded_len(padded), padded, "{len}: the padded length is itself permitted");
            before = padded;
        }
        assert!(padded_len(usize::MAX) > usize::MAX / 2);
    }
}
