//! Sessions with a device whose membership has run out.

use std::collections::HashSet;

use proptest::prelude::*;

use super::limits::{ADDRESSED_MAX, ID_PREFIX};
use super::testing::{Memory, NOW, Node, Pair, Team, entry, hello};
use super::tests::{Dice, stumble};
use super::*;

/// The device that came late, and the one that stands. Either may be the client.
const LATE: u8 = 1;
const STANDING: u8 = 2;

/// A connection between the two: `side` is the late one's.
fn pair(side: Side, late: Memory, standing: Memory, not_after: u64) -> Pair {
    let team = Team::new(1);
    let mut setup = team.setup(side, LATE, STANDING, &late);
    setup.certificate = team.certificate_until(LATE, not_after);
    let late = Node::new(setup, late);
    let standing = Node::new(team.setup(side.other(), STANDING, LATE, &standing), standing);
    match side {
        Side::Client => Pair { client: late, server: standing },
        Side::Server => Pair { client: standing, server: late },
    }
}

/// The late one, then the standing one.
fn nodes(pair: Pair, side: Side) -> (Node, Node) {
    match side {
        Side::Client => (pair.client, pair.server),
        Side::Server => (pair.server, pair.client),
    }
}

fn session(side: Side, late: Memory, standing: Memory, not_after: u64) -> (Node, Node) {
    let mut pair = pair(side, late, standing, not_after);
    pair.run();
    nodes(pair, side)
}

fn address(standing: &mut Memory, numbers: std::ops::Range<u32>, size: usize) {
    let ids = numbers.map(|number| entry(number, size).0);
    standing.addressed.entry(Team::new(1).device(LATE)).or_default().extend(ids);
}

#[test]
fn a_device_that_comes_late_delivers_all_and_gets_what_is_addressed_to_it() {
    for side in [Side::Client, Side::Server] {
        let (mut late, mut standing) = (Memory::new(1), Memory::new(2));
        late.write(0..20, 1_100);
        standing.write(100..140, 1_100);
        let (late, standing) = session(side, late, standing, 2_000);
        assert_eq!(late.engine.summary().limits, Limits::default());
        let (mut late, mut standing) = (late.depot, standing.depot);
        let read = late.cursors[&standing.id];

        // Then its membership runs out, and both have written since.
        late.write(20..30, 1_100);
        standing.write(200..260, 1_100);
        standing.write(300..301, 70_000);
        address(&mut standing, 230..232, 1_100);
        address(&mut standing, 300..301, 70_000);
        address(&mut standing, 900..901, 1_100);
        let (late, standing) = session(side, late, standing, NOW - 1);
        assert_eq!(late.depot.order.len(), 20 + 40 + 10 + 3, "its own, what it had, what is for it");
        assert_eq!(standing.depot.order.len(), 40 + 20 + 61 + 10, "and it delivered everything");
        assert_eq!(late.depot.cursors[&standing.depot.id], read, "the cursor stays");
        assert!(standing.depot.cursors[&late.depot.id] >= 70, "that of the other side moves");
        let (us, peer) = (Limits { us: true, peer: false }, Limits { us: false, peer: true });
        assert_eq!((late.engine.summary().limits, standing.engine.summary().limits), (us, peer));
        for (node, limits) in [(&late, us), (&standing, peer)] {
            assert_eq!(node.saw(|e| *e == Event::Limited(limits)), 1);
            assert_eq!(node.saw(|e| matches!(e, Event::Repairing | Event::StillDifferent)), 0);
            let summary = node.engine.summary();
            assert!(!summary.compared && !summary.in_step);
        }
        let met = late.engine.peer().unwrap();
        if side == Side::Client {
            assert_eq!((met.known, met.head), (1, 0), "not even how much is known");
        }

        // Once more: nothing goes twice.
        let (late, standing) = session(side, late.depot, standing.depot, NOW - 1);
        assert_eq!((late.engine.summary().sent, standing.engine.summary().sent), (0, 0));

        // And renewed it gets the rest, by its cursor and without a repair.
        let (late, standing) = session(side, late.depot, standing.depot, 2_000);
        assert!(late.engine.summary().in_step && standing.engine.summary().in_step);
        assert_eq!(late.saw(|e| *e == Event::Repairing), 0);
        assert_eq!(late.depot.fingerprint(), standing.depot.fingerprint());
    }
}

#[test]
fn who_is_late_by_its_own_clock_limits_nobody() {
    let team = Team::new(1);
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..5, 1_100);
    // The client's clock runs a year ahead: to it, both memberships have run out.
    let ahead = Setup { now: 1_000_000, ..team.setup(Side::Client, 1, 2, &client) };
    let mut pair = Pair {
        client: Node::new(ahead, client),
        server: Node::new(team.setup(Side::Server, 2, 1, &server), server),
    };
    pair.run();
    assert_eq!(pair.client.saw(|e| matches!(e, Event::Met(peer) if peer.device.expired())), 1);
    assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
    assert_eq!(pair.server.depot.order.len(), 5);
}

#[test]
fn a_peer_is_limited_once_and_before_the_transfer() {
    let limited = Frame::Limited;
    let since = Frame::Since { position: 0 };
    for (fault, frames) in [
        (None, vec![limited.clone(), since.clone()]),
        (Some(Fault::OutOfPhase), vec![limited.clone(), limited.clone()]),
        (Some(Fault::OutOfPhase), vec![since, limited]),
    ] {
        let mut pair = Pair::new(Memory::new(1), Memory::new(2));
        pair.client.settle();
        pair.server.hear(&mut pair.client, usize::MAX);
        pair.server.settle();
        for frame in &frames {
            pair.server.engine.receive(&frame.encode());
            pair.server.settle();
        }
        assert_eq!(pair.server.failed, fault.map(SessionError::Fault), "{frames:?}");
    }
}

#[test]
fn a_peer_that_limits_us_cannot_move_our_cursor() {
    let mut server = Memory::new(2);
    server.write(0..5, 1_100);
    let mut pair = Pair::new(Memory::new(1), server);
    pair.client.settle();
    pair.server.hear(&mut pair.client, usize::MAX);
    pair.server.settle();
    for frame in [Frame::Limited, Frame::Since { position: 0 }, Frame::Mark { position: 7, end: true }] {
        pair.server.engine.receive(&frame.encode());
        pair.server.settle();
    }
    assert_eq!(pair.server.failed, None);
    assert_eq!(pair.server.saw(|e| matches!(e, Event::CursorAdvanced { .. })), 0);
}

#[test]
fn a_peer_that_limits_us_may_offer_a_little_and_sends_nothing_unasked() {
    let (id, bytes) = entry(1, 1_100);
    let mut prefix = [0; ID_PREFIX];
    prefix.copy_from_slice(&id.as_bytes()[..ID_PREFIX]);
    let unasked = Frame::Entries(vec![WireEntry { prefix, bytes }]);
    let offer = |numbers: std::ops::Range<usize>| {
        let ids = numbers.map(|number| entry(u32::try_from(number).unwrap(), 100).0);
        Frame::SizedOffer(ids.map(|id| (id, 1_100)).collect())
    };
    let (much, one_more) = (offer(0..ADDRESSED_MAX), offer(ADDRESSED_MAX..ADDRESSED_MAX + 1));
    for (limits, frames, expected) in [
        (true, vec![unasked.clone()], Some(Fault::Unsolicited)),
        (true, vec![much.clone()], None),
        (true, vec![much.clone(), one_more.clone()], Some(Fault::MoreThanKnown)),
        (false, vec![unasked], None),
        (false, vec![much, one_more], None),
    ] {
        let mut pair = Pair::new(Memory::new(1), Memory::new(2));
        pair.client.settle();
        pair.server.hear(&mut pair.client, usize::MAX);
        pair.server.settle();
        let before = if limits { vec![Frame::Limited] } else { Vec::new() };
        for frame in before.into_iter().chain([Frame::Since { position: 0 }]).chain(frames) {
            pair.server.engine.receive(&frame.encode());
            pair.server.settle();
        }
        assert_eq!(pair.server.failed, expected.map(SessionError::Fault), "{limits}");
    }
}

#[test]
fn however_much_is_addressed_to_it_a_late_device_gets_a_bounded_part() {
    let mut standing = Memory::new(2);
    let count = u32::try_from(ADDRESSED_MAX).unwrap() + 10;
    standing.write(0..count, 1_100);
    address(&mut standing, 0..count, 1_100);
    let (late, _) = session(Side::Client, Memory::new(1), standing, NOW - 1);
    assert_eq!(late.depot.order.len(), ADDRESSED_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Over random stores, random cuts and either direction: not a byte of what is not addressed to it
    /// reaches a late device, nor its id; all that it has reaches the other; renewed, both converge.
    #[test]
    fn a_late_device_learns_of_nothing_else_and_converges_once_it_is_renewed(
        seed in 1_u64..u64::MAX,
        dials in any::<bool>(),
        cuts in proptest::collection::vec(1_usize..800, 0..4),
        counts in (0_u32..300, 0_u32..300, 0_u32..100),
        met_before in any::<bool>(),
        addressed in proptest::collection::vec(0_u32..400, 0..12),
        gone in proptest::collection::vec(0_u32..300, 0..6),
    ) {
        let side = if dials { Side::Client } else { Side::Server };
        let mut dice = Dice(seed);
        let (mut late, mut standing) = (Memory::new(1), Memory::new(2));
        late.write(10_000..10_000 + counts.2, 1_100);
        standing.write(10_000..10_000 + counts.2, 1_100);
        if met_before {
            let (one, two) = session(side, late, standing, 2_000);
            (late, standing) = (one.depot, two.depot);
        }
        late.write(1_000..1_000 + counts.0, 1_300);
        standing.write(0..counts.1, 1_100);
        standing.write(5_000..5_001, 70_000);
        // Some of it the other side does not hold any more, or never knew.
        for number in gone {
            let id = entry(number, 1_100).0;
            if standing.held.contains_key(&id) {
                standing.held.insert(id, None);
            }
        }
        for number in addressed {
            address(&mut standing, number..number + 1, 1_100);
        }
        let for_it: HashSet<EntryId> = standing.addressed.values().flatten().copied().collect();
        let theirs: Vec<EntryId> = standing.held.keys().copied().collect();
        let secret: HashSet<Vec<u8>> = theirs
            .iter()
            .filter(|id| !for_it.contains(id) && !late.held.contains_key(id))
            .map(|id| id.as_bytes()[..ID_PREFIX].to_vec())
            .collect();
        let read = late.cursors.get(&standing.id).copied();
        for steps in cuts.into_iter().chain([2_000_000]) {
            let mut pair = pair(side, late, standing, NOW - 1);
            stumble(&mut pair, &mut dice, steps);
            let (one, two) = nodes(pair, side);
            prop_assert!(!two.said.windows(ID_PREFIX).any(|bytes| secret.contains(bytes)));
            let claims = one.saw(|e| matches!(e, Event::Repairing | Event::CursorAdvanced { .. }));
            prop_assert_eq!(claims, 0);
            (late, standing) = (one.depot, two.depot);
        }
        prop_assert_eq!(late.cursors.get(&standing.id).copied(), read);
        prop_assert!(late.held.keys().all(|id| standing.held.contains_key(id)), "it delivered everything");
        let reached = |id: &&EntryId| for_it.contains(id) && standing.held[id].is_some();
        prop_assert!(theirs.iter().filter(reached).all(|id| late.held.contains_key(id)));
        let leaked = |id: &EntryId| secret.contains(&id.as_bytes()[..ID_PREFIX]) && late.held.contains_key(id);
        prop_assert!(!theirs.iter().any(leaked));

        let mut renewed = pair(side, late, standing, 2_000);
        stumble(&mut renewed, &mut dice, 2_000_000);
        let (late, standing) = nodes(renewed, side);
        let all = standing.depot.held.iter().filter(|(_, bytes)| bytes.is_some());
        prop_assert!(all.map(|(id, _)| id).all(|id| late.depot.held.contains_key(id)));
        if standing.depot.held.values().all(Option::is_some) {
            prop_assert!(late.engine.summary().in_step && standing.engine.summary().in_step);
        }
    }
}

#[test]
fn a_stranger_costs_the_store_of_a_server_nothing() {
    let mut depot = Memory::new(2);
    depot.write(0..5, 1_100);
    let team = Team::new(1);
    let binding = [5; 32];
    // Under a secret that is no longer ours, and with another's certificate.
    let strangers = [
        hello(&team, 1).seal(&TransportSecret::new(1, [9; 32]), Side::Client, &binding),
        hello(&team, 3).seal(&team.secret(), Side::Client, &binding),
    ];
    for stranger in strangers {
        let mut server = Node::new(team.setup(Side::Server, 2, 1, &depot), depot.clone());
        server.engine.receive(&stranger);
        while server.poll(true) {}
        assert!(server.failed.is_some() && server.questions.is_empty() && server.said.is_empty());
    }
    let mut server = Node::new(team.setup(Side::Server, 2, 1, &depot), depot.clone());
    server.engine.receive(&hello(&team, 1).seal(&team.secret(), Side::Client, &binding));
    while server.poll(true) {}
    assert!(server.said.is_empty() && server.questions.iter().eq([&Output::ReadTotals]));
    depot.write(5..9, 1_100);
    server.depot = depot;
    server.settle();
    let len = 2 + usize::from(u16::from_be_bytes([server.said[0], server.said[1]]));
    let said = Hello::open(&server.said[..len], &[team.secret()], Side::Server, &binding).unwrap().1;
    assert_eq!((said.known, said.head), (9, 9), "as it is when the peer is known");
}
