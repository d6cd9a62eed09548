//! Sessions that find a difference which no cursor shows.

use std::collections::BTreeSet;

use bytes::BytesMut;
use proptest::prelude::*;

use super::frame::HEADER_LEN;
use super::limits::{COMPARE_FRAME_MAX, FEATURES, PAST_MAX, VAIN_SLACK};
use super::testing::{Memory, Node, Pair, Team, entry};
use super::tests::{Dice, step};
use super::*;

/// Both have read everything of each other, so that nothing but the check finds a difference.
fn meet(client: &mut Memory, server: &mut Memory) {
    client.cursors.insert(server.id, server.order.len() as u64);
    server.cursors.insert(client.id, client.order.len() as u64);
}

fn pair(client: Memory, server: Memory, features: (u32, u32)) -> Pair {
    let team = Team::new(1);
    let node = |side, own, peer, depot: Memory, features| {
        let setup = team.setup(side, own, peer, &depot);
        let engine = Engine::with_features(setup.clone(), features).unwrap();
        Node { engine, ..Node::new(setup, depot) }
    };
    Pair {
        client: node(Side::Client, 1, 2, client, features.0),
        server: node(Side::Server, 2, 1, server, features.1),
    }
}

/// As `stumble`, without a look at what the sides claim: here their cursors lie.
fn stumble(pair: &mut Pair, dice: &mut Dice, steps: usize) {
    for _ in 0..steps {
        step(pair, dice);
        if pair.client.engine.is_finished() && pair.server.engine.is_finished() {
            return;
        }
    }
}

/// A session that must end in step; how many round trips it took.
fn in_step(client: Memory, server: Memory) -> (Memory, Memory, Pair, usize) {
    let mut pair = pair(client, server, (FEATURES, FEATURES));
    let round_trips = pair.run();
    assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
    (pair.client.depot.clone(), pair.server.depot.clone(), pair, round_trips)
}

fn lose(depot: &mut Memory, id: EntryId) {
    depot.order.retain(|(known, ..)| *known != id);
    depot.held.remove(&id);
}

fn differing(count: u32, differences: u32) -> (Memory, Memory) {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    let half = differences / 2;
    client.write(0..count, 1_100);
    server.write(half..count, 1_100);
    server.write(count..count + differences - half, 1_100);
    meet(&mut client, &mut server);
    (client, server)
}

#[test]
fn ten_differences_among_five_thousand_are_found_for_a_few_kilobytes() {
    let (client, server) = differing(5_000, 10);
    let (client, server, pair, round_trips) = in_step(client, server);
    assert_eq!(client.fingerprint(), server.fingerprint());
    assert_eq!((pair.client.engine.summary().sent, pair.server.engine.summary().sent), (5, 5));
    assert!(round_trips <= 7, "{round_trips}");
    assert_eq!(pair.client.engine.summary().round_trips, round_trips as u64);
    let beyond = pair.client.written + pair.server.written - 10 * 1_100;
    assert!(beyond < 12_000, "{beyond} bytes beyond the entries");
}

#[test]
fn sets_with_nothing_in_common_and_an_empty_one_end_equal() {
    for (ours, theirs) in
        [(0..300, 0..0), (0..0, 0..300), (0..33, 0..0), (0..9_000, 20_000..27_000), (0..1, 1..2)]
    {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(ours.clone(), 1_024);
        server.write(theirs.clone(), 1_024);
        meet(&mut client, &mut server);
        let (client, server, pair, _) = in_step(client, server);
        assert_eq!(client.fingerprint(), server.fingerprint());
        assert_eq!(client.order.len(), ours.len() + theirs.len());
        assert_eq!(pair.client.engine.summary().sent, ours.len() as u64);
        assert_eq!(pair.server.engine.summary().sent, theirs.len() as u64);
    }
}

#[test]
fn what_is_dropped_at_one_side_and_unknown_at_the_other_is_not_offered_and_both_end_equal() {
    let (mut client, server) = differing(2_000, 8);
    let dropped: Vec<EntryId> = client.order[..3].iter().map(|(id, ..)| *id).collect();
    for id in &dropped {
        client.held.insert(*id, None);
    }
    let (client, server, pair, _) = in_step(client, server);
    // One of the four was held and went over; three are remembered as the client's past, and as nothing else.
    assert_eq!(pair.client.engine.summary().sent, 1);
    assert!(dropped.iter().all(|id| !server.held.contains_key(id) && client.held[id].is_none()));
    assert_eq!(server.past[&pair.server.engine.peer().unwrap().depot()], dropped.iter().copied().collect());
    let offered = frames(&pair.client.said).into_iter().filter_map(|frame| match frame {
        Frame::Offer(ids) => Some(ids),
        _ => None,
    });
    assert!(offered.flatten().all(|id| !dropped.contains(&id)));

    // The next session finds nothing to do and compares nothing.
    let (client, server, again, round_trips) = in_step(client, server);
    assert_eq!((again.client.saw(|e| *e == Event::Repairing), round_trips), (0, 2));

    // Whoever has the bytes can still deliver them.
    let mut third = Memory::new(3);
    third.write(0..3, 1_100);
    let (_, server, ..) = in_step(third, server);
    assert!(dropped.iter().all(|id| server.held[id].is_some()));
    let (.., last, _) = in_step(client, server);
    assert_eq!(last.client.saw(|e| *e == Event::Repairing), 0, "the set stays the same");
}

#[test]
fn thousands_of_differences_half_of_them_dropped_never_stop_the_session() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..9_000, 1_024);
    server.write(20_000..28_000, 1_024);
    for depot in [&mut client, &mut server] {
        for at in (0..depot.order.len()).filter(|at| at % 2 == 0) {
            depot.held.insert(depot.order[at].0, None);
        }
    }
    meet(&mut client, &mut server);
    let (client, server, pair, _) = in_step(client, server);
    assert_eq!((client.order.len(), server.order.len()), (9_000 + 4_000, 8_000 + 4_500));
    let past = |of: &Memory, node: &Node| of.past[&node.engine.peer().unwrap().depot()].len();
    assert_eq!((past(&client, &pair.client), past(&server, &pair.server)), (4_000, 4_500));
}

#[test]
fn depots_that_differ_only_in_what_they_hold_compare_nothing_and_send_nothing() {
    let (mut client, mut server) = differing(400, 0);
    for at in 0..400 {
        let id = client.order[at].0;
        match at % 3 {
            0 => drop(client.held.insert(id, None)),
            1 => drop(server.held.insert(id, None)),
            _ => {}
        }
    }
    let (.., pair, round_trips) = in_step(client, server);
    assert_eq!((pair.client.saw(|e| *e == Event::Repairing), round_trips), (0, 2));
    assert_eq!((pair.client.engine.summary().sent, pair.server.engine.summary().sent), (0, 0));
}

#[test]
fn an_entry_that_goes_between_offer_and_transfer_is_remembered_as_past() {
    let (client, server) = differing(300, 2);
    let goes = client.order[0].0;
    let mut pair = pair(client, server, (FEATURES, FEATURES));
    while !(pair.client.engine.is_finished() && pair.server.engine.is_finished()) {
        let Pair { client, server } = &mut pair;
        while client.poll(true) {}
        // Just when its bytes are to be read, they are dropped.
        if client.questions.iter().any(|q| matches!(q, Output::ReadEntries { ids } if ids.contains(&goes))) {
            client.depot.held.insert(goes, None);
        }
        while client.answer() {}
        server.hear(client, usize::MAX);
        server.settle();
        client.hear(server, usize::MAX);
    }
    assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
    assert!(!pair.server.depot.held.contains_key(&goes));
    let past = pair.server.depot.past.values().next().unwrap();
    assert_eq!(past.iter().collect::<Vec<_>>(), [&goes]);
}

#[test]
fn nothing_is_claimed_before_the_store_has_remembered_what_is_past() {
    let (mut client, server) = differing(300, 2);
    let dropped = client.order[0].0;
    client.held.insert(dropped, None);
    let mut pair = pair(client, server, (FEATURES, FEATURES));
    let waits = |q: &Output| matches!(q, Output::NotePast { .. });
    for _ in 0..100 {
        let Pair { client, server } = &mut pair;
        client.settle();
        server.hear(client, usize::MAX);
        loop {
            while server.poll(true) {}
            let Some(at) = server.questions.iter().position(|q| !waits(q)) else { break };
            server.answer_one(at);
        }
        client.hear(server, usize::MAX);
    }
    assert_eq!(pair.server.questions.iter().filter(|q| waits(q)).count(), 1);
    let dones = frames(&pair.server.said).into_iter().filter(|frame| matches!(frame, Frame::Done { .. }));
    assert_eq!(dones.count(), 1, "the one before the reconciliation");
    pair.run();
    assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
}

#[test]
fn with_a_peer_of_the_earlier_version_both_offer_everything() {
    for features in [(0, FEATURES), (FEATURES, 0), (0, 0)] {
        let (mut client, mut server) = differing(300, 6);
        let lost = server.order[40].0;
        lose(&mut server, lost);
        meet(&mut client, &mut server);
        let mut pair = pair(client, server, features);
        pair.run();
        assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
        assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
        for node in [&pair.client, &pair.server] {
            assert_eq!(node.saw(|e| *e == Event::Repairing), 1);
            let new = |frame: &Frame| matches!(frame, Frame::Compare(_) | Frame::Past(_));
            assert!(!frames(&node.said).iter().any(new), "{features:?}");
        }
    }
}

#[test]
fn a_limited_session_compares_nothing() {
    let (client, server) = differing(300, 6);
    let team = Team::new(1);
    let mut setup = team.setup(Side::Client, 1, 2, &client);
    setup.certificate = team.certificate_until(1, testing::NOW - 1);
    let mut pair = pair(client, server, (FEATURES, FEATURES));
    pair.client = Node::new(setup, pair.client.depot);
    pair.run();
    for node in [&pair.client, &pair.server] {
        assert!(!node.engine.summary().compared);
        assert!(!frames(&node.said).iter().any(|frame| matches!(frame, Frame::Compare(_))));
    }
}

/// What a side has written after its hello.
fn frames(said: &[u8]) -> Vec<Frame> {
    let hello = 2 + usize::from(u16::from_be_bytes([said[0], said[1]]));
    let mut input = BytesMut::from(&said[hello..]);
    std::iter::from_fn(|| Frame::take(&mut input).unwrap()).collect()
}

/// A server with `count` entries in the middle of a reconciliation, whose peer (device 1, certified, empty)
/// has the turn: it has said `Done` with another fingerprint, and heard the server's.
pub(super) fn hostile(count: u32) -> Node {
    let mut server = Memory::new(2);
    server.write(0..count, 1_024);
    let client = Memory::new(1);
    let team = Team::new(1);
    let setup = Setup { known: 1, ..team.setup(Side::Client, 1, 2, &client) };
    let mut client = Node::new(setup, client);
    let mut server = Node::new(team.setup(Side::Server, 2, 1, &server), server);
    client.settle();
    server.hear(&mut client, usize::MAX);
    server.settle();
    let done =
        Frame::Done { received: 0, fingerprint: [EntryId::of(b"x")].into_iter().collect(), busy: false };
    for frame in [Frame::Since { position: u64::from(count) }, Frame::Mark { position: 0, end: true }, done] {
        server.engine.receive(&frame.encode());
        server.settle();
    }
    assert_eq!((server.failed, server.saw(|e| *e == Event::Repairing)), (None, 1));
    server
}

pub(super) fn say(server: &mut Node, frame: &Frame) {
    server.engine.receive(&frame.encode());
    server.settle();
}

pub(super) fn compare(parts: Vec<Part>) -> Frame {
    Frame::Compare(Comparison { lacks: vec![], parts })
}

pub(super) fn sums(first: u64, last: u64, count: usize) -> Part {
    Part::Sums { span: Span::new(first, last).unwrap(), sums: vec![[0x77; DIGEST_LEN]; count] }
}

#[test]
fn a_peer_that_breaks_the_rules_of_the_comparison_is_named_at_fault() {
    let whole = || compare(vec![sums(0, u64::MAX, 16)]);
    let end = Frame::Mark { position: 0, end: true };
    let lacking = Frame::Compare(Comparison { lacks: vec![vec![true]], parts: vec![] });
    let made_up =
        |from: u32| Frame::Past((from..from + 4_096).map(|n| EntryId::of(&n.to_be_bytes())).collect());
    let cases = [
        ("an end before the end of it", Fault::OutOfPhase, vec![end.clone()]),
        ("out of turn", Fault::OutOfPhase, vec![compare(vec![]), whole()]),
        ("flags for a list that was not given", Fault::Unasked, vec![lacking]),
        // 100 entries: the server names 16 parts of 16 first, each of which holds so few that it lists them.
        ("a span that was settled", Fault::Unasked, vec![whole(), whole()]),
        ("past after the end", Fault::OutOfPhase, vec![compare(vec![]), end, made_up(0)]),
        (
            "endlessly many past ones",
            Fault::MoreThanKnown,
            (0..=PAST_MAX / 4_096).map(|n| made_up(u32::try_from(n * 4_096).unwrap())).collect(),
        ),
    ];
    for (what, fault, frames) in cases {
        let mut server = hostile(100);
        for frame in &frames {
            assert_eq!(server.failed, None, "{what}");
            say(&mut server, frame);
        }
        assert_eq!(server.failed, Some(SessionError::Fault(fault)), "{what}");
    }
    // Before the check has found a difference nobody compares.
    let mut pair = pair(Memory::new(1), Memory::new(2), (FEATURES, FEATURES));
    pair.client.settle();
    pair.server.hear(&mut pair.client, usize::MAX);
    pair.server.settle();
    say(&mut pair.server, &Frame::Since { position: 0 });
    say(&mut pair.server, &whole());
    assert_eq!(pair.server.failed, Some(SessionError::Fault(Fault::OutOfPhase)));
}

#[test]
fn a_peer_that_never_ends_the_comparison_is_cut_off() {
    let mut server = hostile(1_000);
    let mut turns = 0;
    let mut from = server.said.len();
    say(&mut server, &compare(vec![sums(0, u64::MAX, 1)]));
    // It finds every digest different, for ever.
    while server.failed.is_none() {
        turns += 1;
        assert!(turns < 1_000, "still going on");
        let comparison = server.said_comparison(from);
        from = server.said.len();
        let again = comparison.parts.iter().filter_map(|part| match part {
            Part::Sums { span, .. } => Some(sums(span.first(), span.last(), 1)),
            Part::List { .. } => None,
        });
        let lists = comparison.parts.iter().filter_map(|part| match part {
            Part::List { ids, .. } if !ids.is_empty() => Some(vec![false; ids.len()]),
            _ => None,
        });
        let mut parts: Vec<Part> = again.collect();
        if parts.is_empty() {
            // Nothing is open any more: whatever it asks for now is unasked.
            parts.push(sums(0, u64::MAX, 1));
        }
        let answer = Frame::Compare(Comparison { lacks: lists.collect(), parts });
        say(&mut server, &answer);
    }
    assert!(matches!(server.failed, Some(SessionError::Fault(Fault::Endless | Fault::Unasked))));
    assert!(server.asked < 100 * 1_000, "{} fingerprints and ids were read", server.asked);
}

#[test]
fn a_peer_that_offers_more_than_it_says_it_knows_is_cut_off() {
    let mut server = hostile(10);
    let mut offered = 0_u64;
    while server.failed.is_none() {
        let ids: Vec<EntryId> = (0..4_096_u64).map(|n| EntryId::of(&(offered + n).to_be_bytes())).collect();
        offered += 4_096;
        say(&mut server, &Frame::Offer(ids.clone()));
        say(&mut server, &Frame::Gone(ids));
        assert!(offered < 4 * VAIN_SLACK, "still taking offers");
    }
    assert_eq!(server.failed, Some(SessionError::Fault(Fault::MoreThanKnown)));
}

#[test]
fn an_answer_to_a_small_message_is_bounded_and_held_back_while_nobody_reads() {
    // "I have nothing": the server has 40,000 entries to offer.
    let mut server = hostile(40_000);
    let before = server.said.len();
    say(&mut server, &compare(vec![Part::List { span: Span::WHOLE, ids: vec![] }]));
    // It offers what may be open at once and waits for an answer, instead of working out the rest.
    let offered = server.said.len() - before;
    assert!(offered < 600_000, "{offered} bytes");
    assert!(server.asked < 26_000, "{}", server.asked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_two_depots_end_equal_whatever_they_hold(
        seed in 1_u64..u64::MAX,
        shared in 0_u32..3_000,
        own in (0_u32..40, 0_u32..40),
        gone in (0_u32..60, 0_u32..60),
        cuts in proptest::collection::vec(1_usize..900, 0..3),
    ) {
        let mut dice = Dice(seed);
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(0..shared + own.0, 1_030);
        server.write(0..shared, 1_030);
        server.write(90_000..90_000 + own.1, 1_030);
        for (depot, gone) in [(&mut client, gone.0), (&mut server, gone.1)] {
            for _ in 0..gone.min(u32::try_from(depot.order.len()).unwrap()) {
                let id = depot.order[dice.roll(depot.order.len())].0;
                depot.held.insert(id, None);
            }
        }
        meet(&mut client, &mut server);
        let dropped = |depot: &Memory| -> BTreeSet<EntryId> {
            depot.held.iter().filter(|(_, bytes)| bytes.is_none()).map(|(id, _)| *id).collect()
        };
        let held = |depot: &Memory| -> BTreeSet<EntryId> {
            depot.held.iter().filter(|(_, bytes)| bytes.is_some()).map(|(id, _)| *id).collect()
        };
        let before = (dropped(&client), dropped(&server), held(&client), held(&server));
        for steps in cuts {
            let mut pair = pair(client, server, (FEATURES, FEATURES));
            stumble(&mut pair, &mut dice, steps);
            (client, server) = pair.depots();
        }
        let mut last = pair(client, server, (FEATURES, FEATURES));
        stumble(&mut last, &mut dice, 2_000_000);
        prop_assert!(last.client.engine.summary().in_step && last.server.engine.summary().in_step);
        let written = last.client.written + last.server.written
            - last.client.engine.summary().sent_bytes - last.server.engine.summary().sent_bytes;
        let differences = u64::from(own.0 + own.1);
        prop_assert!(written < 6_000 + 1_400 * differences, "{} bytes for {}", written, differences);
        let (client, server) = last.depots();
        // Nothing that was dropped came back, and what one side held the other holds or has dropped.
        prop_assert_eq!(dropped(&client), before.0.clone());
        prop_assert_eq!(dropped(&server), before.1.clone());
        prop_assert_eq!(held(&client), &(&before.2 | &before.3) - &before.0);
        prop_assert_eq!(held(&server), &(&before.2 | &before.3) - &before.1);
    }

    #[test]
    fn entries_that_arrive_meanwhile_disturb_nothing(
        seed in 1_u64..u64::MAX,
        bursts in proptest::collection::vec((1_usize..150, any::<bool>()), 1..12),
    ) {
        let mut dice = Dice(seed);
        let (client, server) = differing(1_500, 12);
        let mut pair = pair(client, server, (FEATURES, FEATURES));
        for (at, (steps, at_client)) in bursts.into_iter().enumerate() {
            stumble(&mut pair, &mut dice, steps);
            let start = 50_000 + 10 * u32::try_from(at).unwrap();
            let node = if at_client { &mut pair.client } else { &mut pair.server };
            node.depot.write(start..start + 2, 1_100);
        }
        stumble(&mut pair, &mut dice, 2_000_000);
        let (one, two) = (pair.client.engine.summary(), pair.server.engine.summary());
        prop_assert!(one.in_step && two.in_step, "{:?} {:?}", one, two);
    }

    /// One bit of one message of the comparison is another: the session fails, or it ends and nothing false
    /// is believed, and a second session finds what is left.
    #[test]
    fn a_bit_that_flips_is_noticed_or_does_no_harm(which in 0_usize..8, at in any::<usize>(), bit in 0_u32..8) {
        let (client, server) = differing(700, 10);
        let known = (client.fingerprint(), server.fingerprint());
        let mut pair = pair(client, server, (FEATURES, FEATURES));
        let mut seen = 0;
        for _ in 0..200 {
            for at_client in [true, false] {
                let Pair { client, server } = &mut pair;
                let (from, to) = if at_client { (client, server) } else { (server, client) };
                from.settle();
                let mut bytes: Vec<u8> = from.wire.drain(..).collect();
                // Whole flights: after the hello each begins with a frame.
                let mut start = if bytes.first() == Some(&1) && bytes.get(1) == Some(&80) { 2 + 336 } else { 0 };
                while let Some(header) = bytes.get(start..start + HEADER_LEN) {
                    let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
                    if header[0] == 10 {
                        if seen == which {
                            let target = start + at % (HEADER_LEN + len);
                            bytes[target] ^= 1 << bit;
                            seen += 1;
                            break;
                        }
                        seen += 1;
                    }
                    start += HEADER_LEN + len;
                }
                if to.failed.is_none() {
                    to.engine.receive(&bytes);
                    to.settle();
                }
            }
        }
        for node in [&pair.client, &pair.server] {
            prop_assert!(node.failed.is_none_or(|error| error.party() == Party::Peer));
            prop_assert!(node.depot.held.iter().all(|(id, bytes)| EntryId::of(bytes.as_ref().unwrap()) == *id));
        }
        let (mut client, mut server) = pair.depots();
        prop_assert!(client.fingerprint().count >= known.0.count && server.fingerprint().count >= known.1.count);
        client.past.clear();
        server.past.clear();
        let (client, server, ..) = in_step(client, server);
        prop_assert_eq!(client.fingerprint(), server.fingerprint());
    }

    #[test]
    fn random_comparisons_from_a_certified_peer_panic_nothing(
        turns in proptest::collection::vec(proptest::collection::vec(part(), 0..6), 1..8),
    ) {
        let mut server = hostile(200);
        for parts in turns {
            let before = server.said.len();
            say(&mut server, &compare(parts));
            prop_assert!(server.said.len() - before < 2 * COMPARE_FRAME_MAX);
        }
        prop_assert!(server.failed.is_none_or(|error| error.party() == Party::Peer));
    }

    #[test]
    fn random_bytes_in_a_comparison_panic_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut server = hostile(200);
        let mut frame = vec![10, 0, 0];
        frame.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        frame.extend(bytes);
        server.engine.receive(&frame);
        server.settle();
        prop_assert!(server.failed.is_none_or(|error| error.party() == Party::Peer));
    }
}

fn part() -> impl Strategy<Value = Part> {
    let bound = || prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 0_u64..40];
    (bound(), bound(), any::<bool>(), 0_usize..40).prop_map(|(one, two, lists, count)| {
        let span = Span::new(one.min(two), one.max(two)).unwrap();
        if lists {
            let ids = (0..200).map(|n| entry(n, 1_024).0).filter(|id| span.contains(id)).take(count);
            let ids: BTreeSet<ShortId> = ids.map(|id| short(&id)).collect();
            Part::List { span, ids: ids.into_iter().collect() }
        } else {
            sums(span.first(), span.last(), count)
        }
    })
}
