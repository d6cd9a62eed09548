//! When something is done by itself: what is written is kept soon, and a vault at which nobody writes is locked.
//!
//! Times are those of [`crate::memory::clock`], which goes on while the machine sleeps.

use std::time::Duration;

/// What is written is kept when nothing was typed for so long.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// And after so long whatever is typed; what could not be kept is tried again after as long.
const KEEP_AT_LATEST: Duration = Duration::from_secs(5);

/// The times that count.
#[derive(Debug)]
pub struct Pace {
    idle: Duration,
    typed: Duration,
    /// Since when something is not kept.
    changed: Option<Duration>,
    /// It was refused: not before this.
    refused: Option<Duration>,
}

impl Pace {
    /// From now on; the vault is locked after `idle` without a key.
    pub const fn new(idle: Duration, now: Duration) -> Self {
        Self { idle, typed: now, changed: None, refused: None }
    }

    /// Something was typed.
    pub const fn typed(&mut self, now: Duration) {
        self.typed = now;
    }

    /// For how long nothing was typed.
    pub const fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.typed)
    }

    /// The text is another one than is kept.
    pub fn changed(&mut self, now: Duration) {
        self.changed.get_or_insert(now);
    }

    /// What is written is kept, or was up to a moment ago.
    pub fn kept(&mut self, all: bool, now: Duration) {
        self.changed = (!all).then_some(now);
        self.refused = None;
    }

    /// It could not be kept.
    pub const fn refused(&mut self, now: Duration) {
        self.refused = Some(now);
    }

    /// When it is to be kept, counted from now.
    pub fn until_kept(&self, now: Duration) -> Option<Duration> {
        let due = (self.typed + KEEP_AFTER).min(self.changed? + KEEP_AT_LATEST);
        let again = self.refused.map_or(Duration::ZERO, |refused| refused + KEEP_AT_LATEST);
        Some(due.max(again).saturating_sub(now))
    }

    /// Whether nobody has been here for too long.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.silence(now) >= self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(100_000 + millis)
    }

    #[test]
    fn what_is_written_is_kept_when_the_hands_rest_and_in_any_case_after_a_while() {
        let mut pace = Pace::new(Duration::from_secs(60), at(0));
        assert_eq!(pace.until_kept(at(0)), None, "nothing was written");
        pace.typed(at(100));
        pace.changed(at(100));
        assert_eq!(pace.until_kept(at(600)), Some(Duration::from_millis(500)));
        for moment in (200..5_000).step_by(100) {
            pace.typed(at(moment));
            pace.changed(at(moment));
            assert!(pace.until_kept(at(moment)) > Some(Duration::ZERO), "{moment}");
        }
        pace.typed(at(5_100));
        assert_eq!(pace.until_kept(at(5_100)), Some(Duration::ZERO));
        pace.refused(at(5_200));
        assert_eq!(pace.until_kept(at(5_200)), Some(Duration::from_secs(5)));
        pace.kept(false, at(10_300));
        assert_eq!(pace.until_kept(at(10_300)), Some(Duration::ZERO), "nothing has been typed for long");
        pace.kept(true, at(10_400));
        assert_eq!(pace.until_kept(at(10_400)), None);
    }

    #[test]
    fn whoever_types_nothing_for_long_is_not_there() {
        let mut pace = Pace::new(Duration::from_secs(60), at(0));
        assert!(!pace.is_idle(at(59_999)) && pace.is_idle(at(60_000)));
        pace.typed(at(59_000));
        assert!(!pace.is_idle(at(118_999)) && pace.is_idle(at(119_000)));
    }
}
