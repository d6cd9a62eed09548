//! Sessions of two engines over a pretended network.

use proptest::prelude::*;

use super::limits::{ENTRIES_FRAME_MAX, FRAME_MAX, OFFER_IDS_MAX};
use super::testing::{Memory, Node, Pair, Team, entry};
use super::*;

fn synced(client: Memory, server: Memory) -> (Memory, Memory, Pair, usize) {
    let mut pair = Pair::new(client, server);
    let round_trips = pair.run();
    assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
    let depots = (pair.client.depot.clone(), pair.server.depot.clone());
    assert_eq!(depots.0.fingerprint(), depots.1.fingerprint());
    (depots.0, depots.1, pair, round_trips)
}

#[test]
fn a_first_sync_carries_everything_both_ways_and_the_second_finds_nothing() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..3_000, 1_500);
    server.write(5_000..5_100, 1_200);
    let (client, server, pair, _) = synced(client, server);
    assert_eq!(client.order.len(), 3_100);
    assert_eq!(pair.client.engine.summary().sent, 3_000);
    assert_eq!(pair.client.engine.summary().received, 100);
    let (_, _, pair, round_trips) = synced(client, server);
    assert_eq!((pair.client.engine.summary().sent, pair.server.engine.summary().sent), (0, 0));
    assert_eq!(round_trips, 2);
    assert!(pair.client.written + pair.server.written < 900, "{}", pair.client.written);
}

#[test]
fn ten_new_among_ten_thousand_cost_two_round_trips_and_a_kilobyte() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..10_000, 1_100);
    let (mut client, mut server, ..) = synced(client, server);
    client.write(20_000..20_010, 2_048);
    let (client, after, pair, round_trips) = synced(client, server.clone());
    assert_eq!((round_trips, pair.client.engine.summary().round_trips), (2, 2));
    let beyond = pair.client.written + pair.server.written - 10 * 2_048;
    assert!(beyond <= 1_024, "{beyond} bytes beyond the entries");
    // And the other way.
    server = after;
    server.write(30_000..30_010, 2_048);
    let (.., pair, round_trips) = synced(client, server);
    assert_eq!((round_trips, pair.client.engine.summary().round_trips), (2, 2));
    let beyond = pair.client.written + pair.server.written - 10 * 2_048;
    assert!(beyond <= 1_024, "{beyond} bytes beyond the entries");
}

#[test]
fn what_the_other_side_has_by_another_way_is_offered_and_not_sent() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..6_000, 1_100);
    server.write(0..5_990, 1_100);
    let (.., pair, _) = synced(client, server);
    assert_eq!(pair.client.engine.summary().sent, 10);
    assert_eq!(pair.client.engine.summary().round_trips, 3);
    assert_eq!(pair.server.engine.summary().sent, 0);
}

#[test]
fn large_entries_wait_for_small_ones() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..1, 1_000_000);
    client.write(1..5, 1_100);
    client.write(5..6, 500_000);
    client.write(6..9, 1_100);
    let (_, server, ..) = synced(client, server);
    let sizes: Vec<_> = server.order.iter().map(|(_, size, _)| *size).collect();
    assert_eq!(sizes, [vec![1_100; 7], vec![1_000_000, 500_000]].concat());
    assert_eq!(server.cursors[&DepotId::from_bytes([1; 16])], 9);
}

#[test]
fn an_altered_entry_is_refused_and_the_others_arrive() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..10, 1_100);
    let rotten = client.order[4].0;
    client.held.insert(rotten, Some(vec![9; 1_100].into()));
    let mut pair = Pair::new(client, server);
    pair.run();
    assert_eq!(pair.server.depot.order.len(), 9);
    assert!(!pair.server.engine.summary().in_step);
    // Once unasked, and once more when the repair asked for it.
    assert_eq!(pair.server.saw(|e| matches!(e, Event::Refused { .. })), 2);
    assert_eq!(pair.client.saw(|e| *e == Event::RefusedByPeer(vec![rotten])), 2);
    assert_eq!(pair.client.saw(|e| *e == Event::StillDifferent), 1);
    let held: usize =
        pair.client.events.iter().map(|e| if let Event::Held(ids) = e { ids.len() } else { 0 }).sum();
    assert_eq!(held, 9);
}

#[test]
fn a_difference_that_no_cursor_shows_is_repaired() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..100, 1_100);
    let (client, mut server, ..) = synced(client, server);
    let lost = server.order.remove(50).0;
    server.held.remove(&lost);
    let (_, server, pair, _) = synced(client, server);
    assert!(server.held.contains_key(&lost));
    assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 1);
    assert_eq!(pair.client.engine.summary().sent, 1);
}

#[test]
fn what_was_dropped_on_purpose_does_not_come_back_and_is_not_sent() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..50, 1_100);
    server.write(0..50, 1_100);
    let (in_client, in_server) = (client.order[3].0, server.order[7].0);
    client.held.insert(in_client, None);
    server.held.insert(in_server, None);
    let (client, server, ..) = synced(client, server);
    assert_eq!(client.held[&in_client], None);
    assert_eq!(server.held[&in_server], None);
}

#[test]
fn a_depot_that_was_lost_gets_its_own_entries_back() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..30, 1_100);
    let (_, server, ..) = synced(client, server);
    let (client, _, pair, _) = synced(Memory::new(7), server);
    assert_eq!(client.order.len(), 30);
    assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 0, "it was sent at once");
}

#[test]
fn an_order_that_became_shorter_is_read_anew() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..30, 1_100);
    let (mut client, mut server, ..) = synced(client, server);
    // An old copy of the client's depot under the same name, then other entries.
    client.order.truncate(10);
    client.held.retain(|id, _| client.order.iter().any(|(known, ..)| known == id));
    client.write(100..105, 1_100);
    server.cursors.insert(client.id, 30);
    let (client, server, pair, _) = synced(client, server);
    assert_eq!(client.order.len(), 35);
    assert_eq!(server.cursors[&client.id], 35);
    // The new ones came by the cursor, that began anew; the lost ones by the repair.
    assert_eq!(pair.client.engine.summary().sent, 15);
}

#[test]
fn a_stranger_gets_no_byte() {
    let team = Team::new(1);
    let depot = Memory::new(2);
    let strangers = [
        // Another team's secret and certificate.
        Team::new(3).setup(Side::Client, 1, 2, &Memory::new(1)),
        // The team's secret, a certificate of another team's.
        Setup { secrets: vec![team.secret()], ..Team::new(3).setup(Side::Client, 1, 2, &Memory::new(1)) },
        // The team's secret, another device's certificate.
        Setup { certificate: team.certificate(4), ..team.setup(Side::Client, 1, 2, &Memory::new(1)) },
        // Recorded on another connection.
        Setup { binding: [6; 32], ..team.setup(Side::Client, 1, 2, &Memory::new(1)) },
    ];
    for (at, setup) in strangers.into_iter().enumerate() {
        let mut stranger = Node::new(setup, Memory::new(1));
        let mut server = Node::new(team.setup(Side::Server, 2, 1, &depot), depot.clone());
        stranger.settle();
        server.hear(&mut stranger, usize::MAX);
        server.settle();
        assert!(server.failed.is_some(), "stranger {at}");
        assert_eq!(server.written, 0, "stranger {at}");
        assert!(server.events.is_empty());
    }
}

#[test]
fn a_client_tells_nothing_more_to_a_server_that_is_not_of_the_team() {
    let team = Team::new(1);
    let mut client = Node::new(team.setup(Side::Client, 1, 2, &Memory::new(1)), Memory::new(1));
    client.settle();
    let hello = client.written;
    // The server knows the secret, but its certificate was made by another team.
    let setup = Setup {
        secrets: vec![team.secret()],
        authority: team.authority(),
        ..Team::new(3).setup(Side::Server, 2, 1, &Memory::new(2))
    };
    let mut server = Node::new(setup, Memory::new(2));
    server.hear(&mut client, usize::MAX);
    server.settle();
    client.hear(&mut server, usize::MAX);
    client.settle();
    let expected = SessionError::Certificate(crate::certificate::CertificateError::WrongTeam);
    assert_eq!(client.failed, Some(expected));
    assert_eq!(client.written, hello);
}

/// A server in the middle of a session, whose peer (device 1, certified) now sends `frames`.
fn hostile(frames: &[Frame]) -> Node {
    let mut server = Memory::new(2);
    server.write(0..5, 1_100);
    let mut pair = Pair::new(Memory::new(1), server);
    pair.client.settle();
    pair.server.hear(&mut pair.client, usize::MAX);
    pair.server.settle();
    for frame in frames {
        pair.server.engine.receive(&frame.encode());
        pair.server.settle();
    }
    pair.server
}

#[test]
fn nothing_of_the_transfer_is_said_before_our_own_since() {
    let mut pair = Pair::new(Memory::new(1), Memory::new(2));
    pair.client.settle();
    pair.server.hear(&mut pair.client, usize::MAX);
    let (id, bytes) = entry(1, 1_100);
    let wire = WireEntry { prefix: *id.as_bytes().first_chunk().unwrap(), bytes };
    for frame in [Frame::Since { position: 0 }, Frame::Entries(vec![wire])] {
        pair.server.engine.receive(&frame.encode());
    }
    while pair.server.poll(true) {}
    assert!(matches!(pair.server.questions.make_contiguous(), [Output::ReadTotals]));
    pair.server.settle();
    assert_eq!(pair.server.depot.order.len(), 1);
}

#[test]
fn a_certified_peer_that_breaks_the_protocol_is_named_at_fault() {
    let since = Frame::Since { position: 0 };
    let id = EntryId::of(b"x");
    let wire = |number| {
        let (id, bytes) = entry(number, 1_100);
        WireEntry { prefix: *id.as_bytes().first_chunk().unwrap(), bytes }
    };
    let end = Frame::Mark { position: 0, end: true };
    let cases = [
        (Fault::OutOfPhase, vec![end.clone()]),
        (Fault::OutOfPhase, vec![since.clone(), since.clone()]),
        (Fault::Unasked, vec![since.clone(), Frame::Want(vec![true])]),
        (Fault::Unasked, vec![since.clone(), Frame::Gone(vec![id])]),
        (Fault::Unsolicited, vec![since.clone(), Frame::Offer(vec![id]), Frame::Entries(vec![wire(1)])]),
        (Fault::FalseAcknowledgement, vec![since.clone(), Frame::Ack { count: 6, refused: vec![] }]),
        (Fault::FalseAcknowledgement, vec![since.clone(), Frame::Ack { count: 1, refused: vec![1] }]),
        (Fault::FalseAcknowledgement, vec![since.clone(), Frame::Ack { count: 0, refused: vec![] }]),
        (Fault::OutOfPhase, vec![since.clone(), Frame::Offer(vec![id]), end.clone()]),
        (
            Fault::ImpossiblePosition,
            vec![
                since.clone(),
                Frame::Mark { position: 9, end: false },
                Frame::Mark { position: 8, end: false },
            ],
        ),
        (
            Fault::OutOfPhase,
            vec![
                since.clone(),
                Frame::Done { received: 0, fingerprint: Fingerprint::default(), busy: false },
            ],
        ),
        (
            Fault::TooManyOffers,
            [
                vec![since.clone()],
                (0..5)
                    .map(|n| {
                        let ids = (0..OFFER_IDS_MAX).map(|m| EntryId::of(&[n, m as u8, (m >> 8) as u8]));
                        Frame::Offer(ids.collect())
                    })
                    .collect(),
            ]
            .concat(),
        ),
    ];
    for (at, (fault, frames)) in cases.into_iter().enumerate() {
        let server = hostile(&frames);
        assert_eq!(server.failed, Some(SessionError::Fault(fault)), "case {at}");
        assert_eq!(server.failed.unwrap().party(), Party::Peer);
    }
    assert_eq!(hostile(&[since, Frame::Entries(vec![wire(1)])]).failed, None);
}

#[test]
fn a_peer_that_never_reads_or_floods_is_held_back() {
    let mut server = hostile(&[Frame::Since { position: 0 }]);
    let mut taken = 0;
    // The store does not answer: the engine stops taking entries at its bound.
    for number in 0..20_000 {
        let (id, bytes) = entry(number, 4_096);
        let entries = vec![WireEntry { prefix: *id.as_bytes().first_chunk().unwrap(), bytes }];
        while server.poll(true) {}
        if !server.engine.wants_input() {
            break;
        }
        taken += 4_096;
        server.engine.receive(&Frame::Entries(entries).encode());
    }
    assert!(taken < (4 << 20) + FRAME_MAX + ENTRIES_FRAME_MAX, "{taken} bytes taken");
    // Nor does it collect answers that the peer does not read.
    let mut server = hostile(&[Frame::Since { position: 0 }]);
    let ids: Vec<_> = server.depot.order.iter().map(|(id, ..)| *id).collect();
    let mut offers = 0;
    while server.engine.wants_input() && offers < 100_000 {
        server.engine.receive(&Frame::Offer(ids.clone()).encode());
        while server.poll(false) || server.answer() {}
        offers += 1;
    }
    assert!(offers < 100_000);
}

#[test]
fn a_first_sync_streams_in_full_batches() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..10_000, 2_000);
    let mut pair = Pair::new(client, server);
    pair.client.settle();
    while !pair.server.engine.is_finished() {
        // The store is slower than the network.
        while pair.server.hear(&mut pair.client, 64 * 1024) {
            while pair.server.poll(true) {}
            pair.client.hear(&mut pair.server, usize::MAX);
            pair.client.settle();
        }
        pair.server.answer();
        while pair.server.poll(true) {}
        pair.client.hear(&mut pair.server, usize::MAX);
        pair.client.settle();
    }
    assert_eq!(pair.server.depot.order.len(), 10_000);
    assert!(pair.server.biggest_batch >= 900, "{}", pair.server.biggest_batch);
    assert_eq!(pair.client.engine.summary().round_trips, 2);
}

/// A small source of choices for the pretended network, seeded by proptest.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// The first `count` arrivals that a depot still has the bytes of.
fn all_but_gone(depot: &Memory, count: usize) -> impl Iterator<Item = &EntryId> {
    depot.order[..count].iter().map(|(id, ..)| id).filter(|id| depot.held[*id].is_some())
}

/// One random small step of one side: that side, the other, and how many events it had seen before.
pub(super) fn step<'a>(pair: &'a mut Pair, dice: &mut Dice) -> (&'a Node, &'a Node, usize) {
    let Pair { client, server } = pair;
    let (own, other) = if dice.roll(2) == 0 { (client, server) } else { (server, client) };
    let before = own.events.len();
    match dice.roll(4) {
        0 => drop(own.answer_one(dice.roll(own.questions.len().max(1)))),
        1 => drop(own.hear(other, 1 + dice.roll(40_000))),
        _ => drop(own.poll(dice.roll(3) > 0)),
    }
    assert_eq!(own.failed, None);
    (own, other, before)
}

/// Runs one connection in random small steps, at most `steps`. Every claim of a side about the other
/// is checked against the other's store the moment it is made.
pub(super) fn stumble(pair: &mut Pair, dice: &mut Dice, steps: usize) {
    for _ in 0..steps {
        let (own, other, before) = step(pair, dice);
        for event in &own.events[before..] {
            match event {
                Event::Held(ids) => assert!(ids.iter().all(|id| other.depot.held.contains_key(id))),
                Event::PeerHolds { after, position, .. } => {
                    let [after, count] = [after, position].map(|at| usize::try_from(*at).unwrap());
                    let claimed = own.depot.order[after.min(count)..count].iter().map(|(id, ..)| id);
                    let mut claimed = claimed.filter(|id| own.depot.held[*id].is_some());
                    assert!(claimed.all(|id| other.depot.held.contains_key(id)));
                    let lacks = own.peer.and_then(|peer| own.depot.lacks.get(&peer)).cloned();
                    let lacks = lacks.unwrap_or_default();
                    let settled = own.depot.order.iter().zip(1..).filter(|(_, at)| !lacks.is_open(*at));
                    let mut claimed = settled.filter(|((id, ..), _)| own.depot.held[id].is_some());
                    assert!(claimed.all(|((id, ..), _)| other.depot.held.contains_key(id)));
                }
                Event::CursorAdvanced { position, .. } => {
                    let count = usize::try_from(*position).unwrap();
                    let known = |id| own.depot.held.contains_key(id) || own.depot.passed_over.contains(id);
                    assert!(all_but_gone(&other.depot, count).all(known));
                }
                _ => {}
            }
        }
        if pair.client.engine.is_finished() && pair.server.engine.is_finished() {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cut_connections_lose_nothing_claim_nothing_false_and_converge(
        seed in 1_u64..u64::MAX,
        cuts in proptest::collection::vec(1_usize..1_500, 0..5),
        counts in (0_u32..2_500, 0_u32..600, 0_u32..300),
        large in 0_u32..3,
    ) {
        let mut dice = Dice(seed);
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(10_000..10_000 + large, 70_000);
        client.write(0..counts.0, 1_100);
        server.write(20_000..20_000 + counts.1, 1_300);
        // Some are known to both before they meet.
        client.write(30_000..30_000 + counts.2, 1_100);
        server.write(30_000..30_000 + counts.2, 1_100);
        for (round, steps) in cuts.into_iter().enumerate() {
            let mut pair = Pair::new(client, server);
            stumble(&mut pair, &mut dice, steps);
            (client, server) = pair.depots();
            // Both go on writing between connections.
            let start = 40_000 + 100 * u32::try_from(round).unwrap();
            client.write(start..start + 3, 1_100);
            server.write(start + 50..start + 53, 1_100);
        }
        let mut pair = Pair::new(client, server);
        stumble(&mut pair, &mut dice, 2_000_000);
        prop_assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
        let (client, server) = pair.depots();
        prop_assert_eq!(client.fingerprint(), server.fingerprint());
        prop_assert_eq!(client.order.len(), client.held.len());
        let position = client.order.len() as u64;
        prop_assert_eq!(server.cursors.get(&client.id).copied().unwrap_or_default(), position);
    }

    #[test]
    fn entries_written_during_the_session_never_make_it_fail(
        seed in 1_u64..u64::MAX,
        bursts in proptest::collection::vec((1_usize..400, any::<bool>()), 1..12),
    ) {
        let mut dice = Dice(seed);
        let (mut client, server) = (Memory::new(1), Memory::new(2));
        client.write(0..50, 1_100);
        let mut pair = Pair::new(client, server);
        for (at, (steps, at_client)) in bursts.into_iter().enumerate() {
            stumble(&mut pair, &mut dice, steps);
            let start = 1_000 + 10 * u32::try_from(at).unwrap();
            let node = if at_client { &mut pair.client } else { &mut pair.server };
            node.depot.write(start..start + 2, 1_100);
        }
        stumble(&mut pair, &mut dice, 2_000_000);
        let (one, two) = (pair.client.engine.summary(), pair.server.engine.summary());
        prop_assert!(one.in_step && two.in_step, "{:?} {:?}", one, two);
        prop_assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 0);
        let (client, server) = pair.depots();
        let (client, server, ..) = synced(client, server);
        prop_assert_eq!(client.order.len(), server.order.len());
    }

    #[test]
    fn random_bytes_end_a_session_and_nothing_else(
        at in 0_usize..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..5_000),
    ) {
        let mut pair = Pair::new(Memory::new(1), Memory::new(2));
        if at > 0 {
            pair.client.settle();
            pair.server.hear(&mut pair.client, usize::MAX);
            pair.server.settle();
        }
        if at > 1 {
            pair.server.engine.receive(&Frame::Since { position: 0 }.encode());
            pair.server.settle();
        }
        for piece in bytes.chunks(97) {
            pair.server.engine.receive(piece);
            pair.server.settle();
        }
        prop_assert!(pair.server.depot.order.is_empty());
    }

    #[test]
    fn random_frames_from_a_certified_peer_panic_nothing(frames in proptest::collection::vec(frame(), 0..40)) {
        let server = hostile(&[&[Frame::Since { position: 0 }][..], &frames].concat());
        prop_assert!(server.failed.is_none_or(|error| error.party() == Party::Peer));
        for (id, bytes) in &server.depot.held {
            prop_assert!(bytes.as_ref().is_some_and(|bytes| EntryId::of(bytes) == *id));
        }
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = || (0_u32..8).prop_map(|n| entry(n, 1_100).0);
    let ids = move || proptest::collection::vec(id(), 1..6);
    let entries = proptest::collection::vec((0_u32..8, any::<bool>()), 1..4).prop_map(|numbers| {
        let wire = |(number, honest): (u32, bool)| {
            let (id, bytes) = entry(number, 1_100);
            let prefix = if honest { *id.as_bytes().first_chunk().unwrap() } else { [0; 8] };
            WireEntry { prefix, bytes }
        };
        Frame::Entries(numbers.into_iter().map(wire).collect())
    });
    prop_oneof![
        entries,
        ids().prop_map(Frame::Offer),
        ids().prop_map(Frame::Gone),
        proptest::collection::vec(any::<bool>(), 1..6).prop_map(Frame::Want),
        (0_u64..8, proptest::collection::btree_set(0_u32..6, 0..3))
            .prop_map(|(count, refused)| Frame::Ack { count, refused: refused.into_iter().collect() }),
        (0_u64..9, any::<bool>()).prop_map(|(position, end)| Frame::Mark { position, end }),
        (0_u64..4, any::<bool>()).prop_map(|(received, busy)| Frame::Done {
            received,
            fingerprint: Fingerprint::default(),
            busy
        }),
    ]
}
