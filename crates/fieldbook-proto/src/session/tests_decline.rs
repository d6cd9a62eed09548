//! Sessions with a side that does not take everything.

use proptest::prelude::*;

use super::limits::{FEATURE_DECLINE, FEATURE_RECONCILE};
use super::testing::{Memory, Node, Pair, Team};
use super::tests::{Dice, stumble};
use super::*;

/// One session after which both must agree, but for what was declined.
fn session(client: Memory, server: Memory) -> Pair {
    let mut pair = Pair::new(client, server);
    pair.run();
    pair
}

fn with_features(client: Memory, server: Memory, features: (u32, u32)) -> Pair {
    let mut pair = Pair::new(client, server);
    let team = Team::new(1);
    for (node, side, peer, features) in
        [(&mut pair.client, Side::Client, 2, features.0), (&mut pair.server, Side::Server, 1, features.1)]
    {
        let own = 3 - peer;
        node.engine = Engine::with_features(team.setup(side, own, peer, &node.depot), features).unwrap();
    }
    pair
}

/// What the peer holds, as a store would remember it that never believes a gap.
fn holds(node: &Node, before: u64) -> u64 {
    node.events.iter().fold(before, |holds, event| match event {
        Event::PeerHolds { after, position } if *after <= holds => holds.max(*position),
        _ => holds,
    })
}

#[test]
fn what_there_is_no_room_for_stays_with_its_sender_and_comes_when_there_is() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(0..10, 1_100);
    client.write(100..103, 70_000);
    client.write(200..205, 100_000);
    client.write(300..310, 1_100);
    server.room = 10 * 1_100 + 10 * 1_100 + 3 * 70_000 + 2 * 100_000;
    let mut pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.full, summary.declined_by_peer.total()), (3, 3));
    assert_eq!((summary.sent, summary.refused_by_peer), (15, 0), "what was declined was never sent");
    assert!(!summary.in_step && summary.in_step_but_for_declined && summary.compared);
    assert_eq!(pair.server.engine.summary().declined.full, 3);
    assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 0, "the two differ in nothing else");
    // The third of the five is the first that is missing there.
    assert_eq!(holds(&pair.client, 0), 3 + 2);
    // The same again: offered again, declined again, and nothing else happens.
    let (client, server) = pair.depots();
    pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.total(), summary.sent), (3, 0));
    assert!(summary.in_step_but_for_declined);
    assert_eq!(holds(&pair.client, 5), 5);
    // Now there is room.
    let (client, mut server) = pair.depots();
    server.room = usize::MAX;
    pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.total(), summary.sent, summary.in_step), (0, 3, true));
    assert_eq!(holds(&pair.client, 5), pair.client.depot.order.len() as u64);
}

#[test]
fn a_device_that_carries_only_small_entries_is_sent_no_other() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(0..1, 1_100);
    server.largest = 65_536;
    client.write(100..130, 900_000);
    client.write(200..230, 1_100);
    let pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.sent, summary.declined_by_peer.size), (30, 30));
    assert!(pair.client.written < 60_000, "{}", pair.client.written);
    let told = |e: &Event| matches!(e, Event::DeclinedByPeer(ids) if ids.iter().all(|(_, why)| *why == Decline::Size));
    assert!(pair.client.saw(told) > 0);
}

#[test]
fn what_was_sent_before_it_could_be_declined_is_not_taken_for_held() {
    // Unasked: little enough to be sent in hope.
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(0..1, 1_100);
    server.largest = 2_000;
    client.write(100..103, 1_100);
    client.write(200..201, 5_000);
    client.write(300..303, 1_100);
    let pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.sent, summary.declined_by_peer.size, summary.refused_by_peer), (7, 1, 0));
    assert!(summary.in_step_but_for_declined);
    assert_eq!(holds(&pair.client, 0), 3);
    assert_eq!(pair.server.depot.order.len(), 7);
}

#[test]
fn towards_an_earlier_version_a_declined_entry_counts_as_refused_and_not_as_held() {
    for features in [(FEATURE_RECONCILE, u32::MAX), (0, u32::MAX), (FEATURE_DECLINE, FEATURE_DECLINE)] {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(0..3, 1_100);
        client.write(100..101, 300_000);
        server.write(500..501, 1_100);
        server.largest = 65_536;
        let mut pair = with_features(client, server, features);
        pair.run();
        assert_eq!(pair.server.depot.order.len(), 4);
        let refused = |e: &Event| matches!(e, Event::RefusedByPeer(_));
        assert!(pair.client.saw(refused) > 0 && pair.client.engine.summary().declined_by_peer.total() == 0);
        assert_eq!(pair.server.engine.summary().declined.size, pair.client.engine.summary().refused_by_peer);
        let held: usize =
            pair.client.events.iter().map(|e| if let Event::Held(ids) = e { ids.len() } else { 0 }).sum();
        assert_eq!(held, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Cuts, room that is too small and becomes enough: nothing is lost, nothing claimed that is not so.
    #[test]
    fn whatever_is_declined_and_whenever_it_arrives_in_the_end(
        seed in 1_u64..u64::MAX,
        rooms in proptest::collection::vec((0_usize..400_000, 1_usize..3_000), 1..5),
        counts in (0_u32..200, 0_u32..4, 0_u32..60),
    ) {
        let mut dice = Dice(seed);
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(0..counts.0 / 2, 1_100);
        client.write(1_000..1_000 + counts.1, 70_000);
        client.write(500..500 + counts.0, 1_200);
        server.write(2_000..2_000 + counts.2, 1_100);
        let mut known_held = 0;
        for (room, steps) in rooms {
            server.room = room;
            client.largest = 1_000 + room;
            let mut pair = Pair::new(client, server);
            stumble(&mut pair, &mut dice, steps);
            known_held = holds(&pair.client, known_held);
            let at = usize::try_from(known_held).unwrap();
            let own = pair.client.depot.order[..at].iter();
            prop_assert!(own.clone().all(|(id, ..)| pair.server.depot.held.contains_key(id)));
            (client, server) = pair.depots();
        }
        (server.room, client.largest) = (usize::MAX, usize::MAX);
        let mut pair = Pair::new(client, server);
        stumble(&mut pair, &mut dice, 2_000_000);
        prop_assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
        prop_assert_eq!(holds(&pair.client, known_held), pair.client.depot.order.len() as u64);
        prop_assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
    }
}
