//! How fast a session may use the line: so many bytes a second, in both directions together.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A cap that all sessions of a process share.
#[derive(Debug)]
pub struct Limit {
    bytes_per_second: NonZeroU64,
    /// When what was let through so far has had its time.
    free_at: Mutex<Instant>,
}

impl Limit {
    /// Bytes at a time, so that the line is used evenly.
    pub const PIECE: usize = 16 * 1024;

    /// So many bytes a second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(Instant::now()) }
    }

    /// Counts bytes; the next may go at the time that this returns.
    pub fn count(&self, bytes: usize) -> Instant {
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(self.bytes_per_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at
    }

    /// Counts bytes, and waits until the next may go.
    pub async fn pass(&self, bytes: usize) {
        let free_at = self.count(bytes);
        sleep(free_at.saturating_duration_since(Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_both_directions_take_their_time_and_a_pause_earns_nothing() {
        let limit = Limit::new(NonZeroU64::new(1_000).unwrap());
        let begun = Instant::now();
        let first = limit.count(500);
        let second = limit.count(1_500);
        assert!(first >= begun + Duration::from_millis(500));
        assert_eq!(second - first, Duration::from_millis(1_500));
        let long_ago = Limit::new(NonZeroU64::new(1_000).unwrap());
        *long_ago.free_at.lock().unwrap() = begun.checked_sub(Duration::from_secs(1)).unwrap_or(begun);
        assert!(long_ago.count(1_000) >= begun + Duration::from_secs(1), "no burst after a pause");
    }
}
