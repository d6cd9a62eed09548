//! What a peer lacks of this side's arrival order, so that one entry which it does not take does not hold up all that
//! lies behind it.

/// Stretches that are remembered; beyond, less is taken for settled.
const STRETCHES_MAX: usize = 1_024;

/// Everything up to a position is settled: the peer holds it, or it lies in one of the stretches that the peer lacks.
///
/// Each value is true by itself: of two that were written at about the same time either may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacks {
    until: u64,
    open: Stretches,
}

impl Lacks {
    /// The peer holds everything up to here.
    pub fn nothing_up_to(until: u64) -> Self {
        Self { until, open: Stretches::default() }
    }

    /// From what was kept; none if that is impossible.
    pub fn new(until: u64, open: Vec<(u64, u64)>) -> Option<Self> {
        let rises = open.iter().all(|(first, last)| first <= last)
            && open.windows(2).all(|pair| matches!(pair, [(_, last), (first, _)] if last < first));
        let within = open.first().is_none_or(|(first, _)| *first > 0)
            && open.last().is_none_or(|(_, last)| *last <= until)
            && open.len() <= STRETCHES_MAX;
        (rises && within).then_some(Self { until, open: Stretches(open) })
    }

    /// Up to where all is settled.
    pub const fn until(&self) -> u64 {
        self.until
    }

    /// What the peer lacks of it, first and last, rising.
    pub fn stretches(&self) -> &[(u64, u64)] {
        &self.open.0
    }

    /// Up to where the peer holds everything.
    pub fn holds(&self) -> u64 {
        self.open.0.first().map_or(self.until, |(first, _)| first.saturating_sub(1))
    }

    /// The peer holds everything up to here but for what it is known to lack.
    pub fn raise(&mut self, until: u64) {
        self.until = self.until.max(until);
    }

    /// Everything after [`Lacks::holds`] was settled in a session up to here, but for what the peer was found to lack.
    pub fn settle(&mut self, until: u64, lacking: &Stretches) {
        let mut open = Stretches::default();
        self.until = self.until.max(until);
        for (first, last) in &lacking.0 {
            open.add(*first, (*last).min(self.until));
        }
        for (first, last) in &self.open.0 {
            open.add((*first).max(until.saturating_add(1)), *last);
        }
        if let Some((first, _)) = open.0.get(STRETCHES_MAX) {
            self.until = first.saturating_sub(1);
            open.0.truncate(STRETCHES_MAX);
        }
        self.open = open;
    }

    /// What of this counts towards a peer that has read up to `limit`: it may have lost what it had beyond.
    pub(super) fn within(mut self, limit: u64) -> Self {
        self.until = self.until.min(limit);
        let until = self.until;
        self.open.0.retain(|(first, _)| *first <= until);
        if let Some((_, last)) = self.open.0.last_mut() {
            *last = (*last).min(until);
        }
        self
    }

    /// Whether what lies there is to be offered.
    pub(super) fn is_open(&self, position: u64) -> bool {
        position > self.until || self.open.at(position).is_some()
    }

    /// The last position, from this one on, between which and this one nothing is to be offered; and how many positions
    /// are after it, one after the other, that are.
    pub(super) fn skip(&self, after: u64) -> (u64, u64) {
        if after >= self.until {
            return (after, u64::MAX);
        }
        match self.open.0.get(self.open.0.partition_point(|(_, last)| *last <= after)) {
            Some((first, last)) => {
                let after = after.max(first.saturating_sub(1));
                (after, last - after)
            }
            None => (self.until, u64::MAX),
        }
    }
}

/// Positions in stretches, first and last, rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stretches(Vec<(u64, u64)>);

impl Stretches {
    /// First and last of each.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Adds these positions; nothing if the first is beyond the last.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Those that touch it become one with it.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        let (mut begin, mut end) = (first, last);
        if let Some(touching) = self.0.get(from..to)
            && let (Some((one, _)), Some((_, other))) = (touching.first(), touching.last())
        {
            (begin, end) = (begin.min(*one), end.max(*other));
        }
        self.0.splice(from..to.max(from), [(begin, end)]);
    }

    /// The stretch in which a position lies.
    pub fn at(&self, position: u64) -> Option<(u64, u64)> {
        let next = self.0.partition_point(|(_, last)| *last < position);
        self.0.get(next).copied().filter(|(first, _)| *first <= position)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_what_is_lacking_is_offered_again() {
        let mut lacking = Stretches::default();
        [(5, 6), (9, 9), (7, 7)].into_iter().for_each(|(first, last)| lacking.add(first, last));
        let mut lacks = Lacks::nothing_up_to(3);
        lacks.settle(20, &lacking);
        assert_eq!((lacks.holds(), lacks.until(), lacks.stretches()), (4, 20, &[(5, 7), (9, 9)][..]));
        assert_eq!(lacks.skip(4), (4, 3));
        assert_eq!(lacks.skip(7), (8, 1));
        assert_eq!(lacks.skip(9), (20, u64::MAX));
        // The peer has read less than that.
        let less = lacks.clone().within(6);
        assert_eq!((less.until(), less.stretches()), (6, &[(5, 6)][..]));
        // The first two have come in a session that was cut.
        lacks.settle(6, &Stretches::default());
        assert_eq!((lacks.holds(), lacks.stretches()), (6, &[(7, 7), (9, 9)][..]));
        lacks.settle(30, &Stretches::default());
        assert_eq!((lacks.holds(), lacks.until()), (30, 30));
        assert_eq!(Lacks::new(5, vec![(3, 6)]), None);
        assert_eq!(Lacks::new(9, vec![(3, 6), (6, 7)]), None);
        assert_eq!(Lacks::new(9, vec![(0, 0)]), None);
    }

    #[test]
    fn what_does_not_fit_is_not_taken_for_settled() {
        let mut lacking = Stretches::default();
        (1..=2_000).for_each(|number| lacking.add(2 * number, 2 * number));
        let mut lacks = Lacks::default();
        lacks.settle(9_000, &lacking);
        assert_eq!(lacks.stretches().len(), STRETCHES_MAX);
        assert_eq!(lacks.until(), 2 * (STRETCHES_MAX as u64 + 1) - 1);
        assert!(Lacks::new(lacks.until(), lacks.stretches().to_vec()).is_some());
    }

    proptest! {
        #[test]
        fn stretches_are_the_set_of_what_was_added(
            added in proptest::collection::vec((1_u64..60, 0_u64..6), 0..30),
        ) {
            let (mut stretches, mut set) = (Stretches::default(), BTreeSet::new());
            for (first, more) in added {
                stretches.add(first, first + more);
                set.extend(first..=first + more);
            }
            prop_assert!(stretches.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            prop_assert!((1..80).all(|at| stretches.at(at).is_some() == set.contains(&at)));
        }
    }
}
