//! The material that is measured with: incompressible bytes, and medians.

use std::time::Duration;

/// `count` different entries of `len` bytes that no layer can compress, as sealed ones are.
pub fn entries(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count as u64)
        .map(|seed| {
            let mut bytes = vec![0; len];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
            bytes
        })
        .collect()
}

/// The middle of the measured times.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
