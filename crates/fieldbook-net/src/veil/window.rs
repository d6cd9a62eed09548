//! Which counters of one salt came: none is taken twice.

/// How far behind the highest a counter may come and still be taken. Networks put datagrams out of order by
/// some dozens.
const REACH: u64 = 2_048;

/// The highest counter that came, and which of those shortly before.
#[derive(Debug)]
pub(super) struct Window {
    /// One more than the highest.
    next: u64,
    came: [u64; (REACH / 64) as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, came: [0; (REACH / 64) as usize] }
    }
}

impl Window {
    /// Whether a box with this counter has not come yet, as far as can be told.
    pub fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        let (word, bit) = place(counter);
        self.next - counter <= REACH && self.came[word] & bit == 0
    }

    /// It came.
    pub fn note(&mut self, counter: u64) {
        if counter >= self.next {
            // What lay there is out of reach now.
            let skipped = self.next.max((counter + 1).saturating_sub(REACH))..=counter;
            for gone in skipped {
                let (word, bit) = place(gone);
                self.came[word] &= !bit;
            }
            self.next = counter + 1;
        }
        let (word, bit) = place(counter);
        self.came[word] |= bit;
    }
}

fn place(counter: u64) -> (usize, u64) {
    let slot = counter % REACH;
    // Below 32.
    (usize::try_from(slot / 64).unwrap_or(0), 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_counter_is_taken_once_and_late_ones_within_reach(counters in prop::collection::vec(0..6_000_u64, 0..400)) {
            let (mut window, mut came) = (Window::default(), BTreeSet::new());
            for counter in counters {
                let highest = came.last().copied();
                let within = highest.is_none_or(|highest: u64| counter + REACH > highest);
                prop_assert_eq!(window.is_new(counter), within && !came.contains(&counter), "{} after {:?}", counter, highest);
                if window.is_new(counter) {
                    window.note(counter);
                    came.insert(counter);
                }
            }
        }
    }

    #[test]
    fn the_last_counter_of_all_is_one_too() {
        let mut window = Window::default();
        window.note(super::super::boxes::COUNTER_MAX);
        assert!(
            !window.is_new(super::super::boxes::COUNTER_MAX)
                && window.is_new(super::super::boxes::COUNTER_MAX - 5)
        );
    }
}
