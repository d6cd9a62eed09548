//! How much of its set of ids a side reads for a comparison: little against what it would, for an honest peer,
//! and no more for any other.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::reconcile::{Ask, Reconcile};
use super::testing::Node;
use super::tests_reconcile::{hostile, say, sums};
use super::walks::Walks;
use super::*;

/// Ids in order. Those of different kinds have nothing in common.
fn ids(kind: u8, numbers: std::ops::Range<u32>) -> BTreeSet<EntryId> {
    numbers.map(|n| EntryId::of(&[&n.to_be_bytes()[..], &[kind]].concat())).collect()
}

/// One side of a comparison without anything around it.
struct Side2 {
    reconcile: Reconcile,
    set: Vec<EntryId>,
    lacking: BTreeSet<EntryId>,
}

impl Side2 {
    fn new(begins: bool, set: &BTreeSet<EntryId>) -> Self {
        let known = set.len() as u64;
        let mut walks = Walks::default();
        walks.begin(known, 0);
        let set = set.iter().copied().collect();
        Self { reconcile: Reconcile::new(begins, known, walks), set, lacking: BTreeSet::new() }
    }

    fn within(&self, span: Span) -> &[EntryId] {
        let from = self.set.partition_point(|id| *id < span.lowest());
        let until = self.set.partition_point(|id| *id <= span.highest());
        &self.set[from..until]
    }

    /// Its turn, if it has one.
    fn turn(&mut self) -> Option<Comparison> {
        loop {
            match self.reconcile.next_question() {
                Some(Ask::Spans { span, parts }) => {
                    let sums = span.parts(parts).map(|part| self.within(part).iter().copied().collect());
                    let sums = sums.collect();
                    self.reconcile.spans(sums).unwrap();
                }
                Some(Ask::Ids { span, after, max_entries }) => {
                    let ids = self.within(span).iter().copied();
                    let ids = ids.filter(|id| after.is_none_or(|after| *id > after)).take(max_entries);
                    let ids = ids.collect();
                    self.reconcile.ids(ids).unwrap();
                }
                None => {
                    let lacking = self.reconcile.take_differences(usize::MAX);
                    if !lacking.is_empty() {
                        self.lacking.extend(lacking);
                        continue;
                    }
                    return self.reconcile.take_message();
                }
            }
        }
    }
}

/// Compares two sets to the end; what each read of what it might have.
fn compared(one: &BTreeSet<EntryId>, other: &BTreeSet<EntryId>) -> [(u64, u64); 2] {
    let mut sides = [Side2::new(true, one), Side2::new(false, other)];
    let mut at = 0;
    while let Some(message) = sides[at].turn() {
        at = 1 - at;
        sides[at].reconcile.hear(message).unwrap();
    }
    let [a, b] = &sides;
    assert_eq!((&a.lacking, &b.lacking), (&(one - other), &(other - one)));
    sides.map(|side| side.reconcile.walks().spent_of())
}

fn union(one: &BTreeSet<EntryId>, other: &BTreeSet<EntryId>) -> BTreeSet<EntryId> {
    one | other
}

#[test]
fn an_honest_comparison_of_any_shape_reads_a_fraction_of_what_it_may() {
    let shared = ids(0, 0..100_000);
    let few = |kind| ids(kind, 0..5);
    let (half, other_half) = (ids(0, 0..50_000), ids(0, 25_000..75_000));
    let clustered: BTreeSet<EntryId> =
        ids(4, 0..2_000_000).into_iter().filter(|id| id.as_bytes()[0] == 7).collect();
    let million = ids(0, 0..1_000_000);
    let cases = [
        ("ten of a million", union(&million, &few(1)), union(&million, &few(2))),
        ("a million and ten", million, few(2)),
        ("nothing in common", ids(1, 0..70_000), ids(2, 0..90_000)),
        ("a half in common", half, other_half),
        ("all and nothing", shared.clone(), BTreeSet::new()),
        ("nothing and all", BTreeSet::new(), shared.clone()),
        ("each tenth is missing", shared.iter().copied().step_by(10).collect(), shared.clone()),
        ("one that has thousands alike, all new", union(&shared, &clustered), shared.clone()),
        ("thousands alike at both", clustered, ids(5, 0..3)),
        ("a handful", few(1), few(2)),
    ];
    for (what, one, other) in cases {
        for (side, (spent, allowed)) in compared(&one, &other).into_iter().enumerate() {
            println!(
                "{what}, side {side}: {spent} read of {allowed} allowed, of {} known",
                [&one, &other][side].len()
            );
            assert!(3 * spent <= allowed, "{what}: {spent} of {allowed}");
        }
    }
}

/// Lets a peer go on that finds every sum different; how many turns it had, and how it ended.
fn lies(server: &mut Node) -> (u64, Option<SessionError>) {
    let mut turns = 0;
    let mut from = server.said.len();
    say(server, &Frame::Compare(Comparison { lacks: vec![], parts: vec![sums(0, u64::MAX, 1)] }));
    while server.failed.is_none() {
        turns += 1;
        assert!(turns < 2_000, "still going on");
        let comparison = server.said_comparison(from);
        from = server.said.len();
        // "All of it differs": nothing is ever listed.
        let open = |part: &Part| match part {
            Part::Sums { span, .. } => Some(*span),
            Part::List { .. } => None,
        };
        let open: Vec<Span> = comparison.parts.iter().filter_map(open).collect();
        let (first, last) = (open.first().unwrap().first(), open.last().unwrap().last());
        let parts = if open.len() == 1 {
            vec![sums(first, last, 1)]
        } else {
            open.iter().map(|span| sums(span.first(), span.last(), 1)).collect()
        };
        let lists = comparison.parts.iter().filter_map(|part| match part {
            Part::List { ids, .. } if !ids.is_empty() => Some(vec![false; ids.len()]),
            _ => None,
        });
        say(server, &Frame::Compare(Comparison { lacks: lists.collect(), parts }));
    }
    (turns, server.failed)
}

#[test]
fn a_peer_that_finds_every_sum_different_for_ever_is_cut_off_for_what_it_had_read() {
    let mut server = hostile(60_000);
    let (turns, failed) = lies(&mut server);
    assert_eq!(failed, Some(SessionError::Fault(Fault::Endless)));
    // By the number of turns alone it would have had 64 and 60,000 / 256.
    println!("{turns} turns");
    assert!(turns < 150, "{turns} turns");
}

#[test]
fn a_peer_that_stays_and_has_everything_compared_again_and_again_is_cut_off() {
    let mut walks = Walks::default();
    let mut times = 0;
    while !walks.is_over() {
        walks.begin(50_000, 0);
        // All is listed to it each time; it counts as settled once.
        walks.settle(50_000);
        times += 1;
        assert!(times < 1_000, "still reading");
    }
    // Where each time an entry has moved, a small comparison is always allowed.
    let mut walks = Walks::default();
    for moved in 0..100_000 {
        walks.begin(50_000, moved);
        walks.spend(6_000);
    }
    assert!(!walks.is_over());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_two_sets_hold_their_comparison_stays_within_a_third(
        shared in 0_u32..20_000, one in 0_u32..20_000, other in 0_u32..20_000, begins in any::<bool>(),
    ) {
        let shared = ids(0, 0..shared);
        let (one, other) = (union(&shared, &ids(1, 0..one)), union(&shared, &ids(2, 0..other)));
        let (one, other) = if begins { (one, other) } else { (other, one) };
        for (spent, allowed) in compared(&one, &other) {
            prop_assert!(3 * spent <= allowed, "{} of {}", spent, allowed);
        }
    }
}
