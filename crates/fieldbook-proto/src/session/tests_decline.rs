//! Sessions with a side that does not take everything.

use proptest::prelude::*;

use super::limits::{FEATURE_DECLINE, FEATURE_DROPPED, FEATURE_RECONCILE, FEATURES};
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

/// Up to where the peer holds everything, as the store remembers it.
fn holds(node: &Node) -> u64 {
    node.peer.and_then(|peer| node.depot.lacks.get(&peer)).map_or(0, Lacks::holds)
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
    assert_eq!(holds(&pair.client), 3 + 2);
    // The same again: offered again, declined again, and nothing else happens.
    let (client, server) = pair.depots();
    pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.total(), summary.sent), (3, 0));
    assert!(summary.in_step_but_for_declined);
    assert_eq!(holds(&pair.client), 5);
    // Now there is room.
    let (client, mut server) = pair.depots();
    server.room = usize::MAX;
    pair = session(client, server);
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.total(), summary.sent, summary.in_step), (0, 3, true));
    assert_eq!(holds(&pair.client), pair.client.depot.order.len() as u64);
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
    assert_eq!(holds(&pair.client), 3);
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

#[test]
fn towards_a_relay_without_room_what_a_device_wrote_goes_before_what_it_carries() {
    // All of it offered, or all of it sent in hope.
    for (carried, held_there) in [(300, 1), (100, 0)] {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.own_first = true;
        server.write(5_000..5_000 + held_there, 1_100);
        client.carry(0..carried, 1_100);
        client.carry(1_000..1_003, 70_000);
        client.write(2_000..2_003, 1_100);
        client.write(3_000..3_001, 80_000);
        let own = |size, numbers: std::ops::Range<u32>| numbers.map(move |n| testing::entry(n, size).0);
        let (own_small, own_large) = (own(1_100, 2_000..2_003), own(80_000, 3_000..3_001));
        let mut pair = session(client.clone(), server.clone());
        let sent = pair.client.said_entries();
        assert_eq!(sent.len(), pair.client.depot.order.len() - held_there as usize);
        assert!(own_small.clone().eq(sent[..3].iter().copied()), "its report first");
        assert!(own_large.eq(sent[3 + carried as usize..][..1].iter().copied()), "then what is small");
        assert!(pair.client.engine.summary().in_step);
        assert_eq!(holds(&pair.client), pair.client.depot.order.len() as u64);
        // So what others gave it takes no room from it.
        server.room = 20 * 1_100;
        pair = session(client, server);
        assert!(own_small.clone().all(|id| pair.server.depot.held.contains_key(&id)));
        assert!(pair.client.engine.summary().declined_by_peer.full > 0);
    }
}

#[test]
fn nobody_else_is_shown_which_entries_a_device_wrote() {
    for (carried, held_there) in [(300, 1), (100, 0)] {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        server.write(5_000..5_000 + held_there, 1_100);
        client.carry(0..carried, 1_100);
        client.carry(1_000..1_003, 70_000);
        client.write(2_000..2_003, 1_100);
        client.write(3_000..3_001, 80_000);
        client.carry(4_000..4_010, 1_100);
        let pair = session(client, server);
        let order = pair.client.depot.order.iter().filter(|(_, _, from)| from.is_none());
        let small = order.clone().filter(|(_, size, _)| *size < 65_536);
        let large = order.filter(|(_, size, _)| *size > 65_536);
        assert!(
            small.chain(large).map(|(id, ..)| *id).eq(pair.client.said_entries()),
            "in the order in which they came to it"
        );
    }
}

#[test]
fn what_could_not_be_read_is_offered_again_and_nobody_is_taken_to_hold_it() {
    let (mut relay, mut coordinator) = (Memory::new(1), Memory::new(2));
    coordinator.write(5_000..5_001, 1_100);
    relay.carry(0..300, 1_100);
    let lost = testing::entry(7, 1_100).0;
    relay.unreadable.insert(lost);
    let pair = session(coordinator, relay);
    assert!(pair.server.engine.summary().in_step, "both know of it");
    assert_eq!(pair.client.saw(|e| *e == Event::GoneAtPeer(1)), 1);
    assert_eq!(holds(&pair.server), 7, "what lies before it");
    let (coordinator, mut relay) = pair.depots();
    assert!(!coordinator.held.contains_key(&lost));
    relay.unreadable.clear();
    let pair = session(coordinator, relay);
    assert!(pair.client.depot.held.contains_key(&lost));
    assert_eq!(pair.server.engine.summary().sent, 1);
    assert_eq!(holds(&pair.server), pair.server.depot.order.len() as u64);
}

#[test]
fn marks_alone_are_not_noted_one_by_one() {
    let mut pair = Pair::new(Memory::new(1), Memory::new(2));
    pair.client.settle();
    pair.server.hear(&mut pair.client, usize::MAX);
    pair.server.settle();
    pair.server.engine.receive(&Frame::Since { position: 0 }.encode());
    for position in 1..5_000 {
        for end in [position % 3 == 0, position % 5 == 0] {
            pair.server.engine.receive(&Frame::Mark { position, end }.encode());
            pair.server.settle();
        }
    }
    assert_eq!(pair.server.failed, None);
    assert!(pair.server.saw(|e| matches!(e, Event::CursorAdvanced { .. })) <= 2);
}

#[test]
fn what_was_declined_is_offered_again_although_new_entries_trickle_in() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(5_000..5_001, 1_100);
    server.largest = 2_000;
    client.write(0..3, 1_100);
    client.write(10..12, 3_000);
    client.write(20..23, 1_100);
    let pair = session(client, server);
    assert_eq!((pair.server.depot.order.len(), holds(&pair.client)), (7, 3));
    let (client, mut server) = pair.depots();
    server.largest = usize::MAX;
    let mut pair = Pair::new(client, server);
    let mut number = 100;
    while !(pair.client.engine.is_finished() && pair.server.engine.is_finished()) {
        loop {
            while pair.client.poll(true) {}
            if let Some(Output::TakeSnapshot { .. }) = pair.client.questions.front() {
                pair.client.depot.write(number..number + 1, 1_100);
                number += 1;
            }
            if !pair.client.answer() {
                break;
            }
        }
        pair.server.hear(&mut pair.client, usize::MAX);
        pair.server.settle();
        pair.client.hear(&mut pair.server, usize::MAX);
        assert!(pair.client.failed.is_none() && pair.server.failed.is_none());
    }
    assert!(!pair.client.engine.summary().compared, "it never rested");
    let declined = (10..12).map(|number| testing::entry(number, 3_000).0);
    assert!(declined.into_iter().all(|id| pair.server.depot.held.contains_key(&id)));
    assert!(holds(&pair.client) >= 8);
}

#[test]
fn a_peer_that_repeats_our_fingerprint_is_not_taken_to_hold_what_it_was_never_sent() {
    for recorded in [None, Some(0), Some(3)] {
        let mut client = Memory::new(1);
        client.write(0..5, 1_100);
        let fingerprint = client.fingerprint();
        let lacks = |holds| (Team::new(1).device(2), Lacks::nothing_up_to(holds));
        client.lacks.extend(recorded.map(lacks));
        let mut pair = Pair::new(client, Memory::new(2));
        pair.client.settle();
        pair.server.hear(&mut pair.client, usize::MAX);
        pair.server.settle();
        // Its hello, and then what an honest device would not say.
        let hello = 2 + usize::from(u16::from_be_bytes([pair.server.said[0], pair.server.said[1]]));
        pair.client.hear(&mut pair.server, hello);
        pair.client.settle();
        for frame in [Frame::Since { position: 5 }, Frame::Mark { position: 0, end: true }] {
            pair.client.engine.receive(&frame.encode());
            pair.client.settle();
        }
        let offered = pair.client.offered_ids();
        assert_eq!(
            offered,
            recorded.map_or(0, |holds| 5 - holds),
            "what it is not known to hold comes anyway"
        );
        if offered == 0 {
            pair.client.engine.receive(&Frame::Done { received: 0, fingerprint, busy: false }.encode());
            pair.client.settle();
            assert!(pair.client.engine.summary().in_step);
        }
        assert_eq!(holds(&pair.client), recorded.unwrap_or(0));
    }
}

#[test]
fn only_what_the_peer_lacks_is_offered_again_and_not_what_lies_behind_it() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(5_000..5_001, 1_100);
    server.largest = 2_000;
    client.write(0..300, 1_100);
    client.write(400..403, 3_000);
    client.write(500..900, 1_100);
    client.write(950..951, 70_000);
    client.write(1_000..3_500, 1_100);
    let (mut client, mut server) = session(client, server).depots();
    for again in 0..3 {
        client.write(6_000 + again..6_001 + again, 1_100);
        let pair = session(client, server);
        assert!(pair.client.engine.summary().in_step_but_for_declined);
        assert!(pair.client.offered_ids() <= 5, "{} offered", pair.client.offered_ids());
        assert_eq!(holds(&pair.client), 300, "before the first that it lacks");
        (client, server) = pair.depots();
    }
    // One of the four is taken: the others are what is left.
    server.largest = 3_000;
    let (client, mut server) = session(client, server).depots();
    server.largest = usize::MAX;
    let pair = session(client, server);
    assert_eq!((pair.client.offered_ids(), pair.client.engine.summary().sent), (1, 1));
    assert_eq!(holds(&pair.client), pair.client.depot.order.len() as u64);
    assert!(pair.client.engine.summary().in_step);
}

#[test]
fn what_a_side_could_not_give_is_offered_again_alone() {
    let (mut relay, mut coordinator) = (Memory::new(1), Memory::new(2));
    coordinator.write(5_000..5_001, 1_100);
    relay.carry(0..4_000, 1_100);
    relay.unreadable.insert(testing::entry(7, 1_100).0);
    let (mut coordinator, mut relay) = session(coordinator, relay).depots();
    for _ in 0..2 {
        let pair = session(coordinator, relay);
        assert_eq!((pair.server.offered_ids(), holds(&pair.server)), (1, 7));
        assert_eq!(pair.client.engine.summary().gone_at_peer, 1);
        (coordinator, relay) = pair.depots();
    }
    relay.unreadable.clear();
    let pair = session(coordinator, relay);
    assert_eq!((pair.server.engine.summary().sent, holds(&pair.server)), (1, 4_001));
}

#[test]
fn what_a_peer_knows_and_has_dropped_is_not_taken_for_held() {
    // Offered, and sent in hope.
    for more in [400, 0] {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        server.write(5_000..5_001, 1_100);
        server.write(0..3, 1_100);
        client.write(0..4, 1_100);
        client.write(1_000..1_000 + more, 1_100);
        let dropped = testing::entry(1, 1_100).0;
        server.held.insert(dropped, None);
        for (features, told) in [(FEATURES, true), (FEATURES & !FEATURE_DROPPED, false)] {
            let mut pair = with_features(client.clone(), server.clone(), (FEATURES, features));
            pair.run();
            let names = |ids: &[EntryId]| ids.contains(&dropped);
            let held = |e: &Event| matches!(e, Event::Held(ids) | Event::Knows(ids) if names(ids));
            let said = |e: &Event| matches!(e, Event::DroppedByPeer(ids) if *ids == [dropped]);
            assert_eq!(
                (pair.client.saw(said), pair.client.saw(held)),
                (usize::from(told), usize::from(!told))
            );
            let summary = pair.client.engine.summary();
            assert_eq!((summary.declined_by_peer.total(), summary.in_step), (0, true));
            assert_eq!(pair.server.engine.summary().declined.total(), 0);
            // It is settled all the same: it is not offered for ever.
            assert_eq!(holds(&pair.client), pair.client.depot.order.len() as u64);
        }
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
        client.carry(500..500 + counts.0, 1_200);
        client.carry(1_500..1_500 + counts.1, 70_000);
        client.write(700..700 + counts.0 / 2, 1_200);
        server.write(2_000..2_000 + counts.2, 1_100);
        for (room, steps) in rooms {
            server.room = room;
            client.own_first = room % 2 == 0;
            client.largest = 1_000 + room;
            let mut pair = Pair::new(client, server);
            stumble(&mut pair, &mut dice, steps);
            let at = usize::try_from(holds(&pair.client)).unwrap();
            let own = pair.client.depot.order[..at].iter();
            prop_assert!(own.clone().all(|(id, ..)| pair.server.depot.held.contains_key(id)));
            (client, server) = pair.depots();
        }
        (server.room, client.largest) = (usize::MAX, usize::MAX);
        let mut pair = Pair::new(client, server);
        stumble(&mut pair, &mut dice, 2_000_000);
        prop_assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
        prop_assert_eq!(holds(&pair.client), pair.client.depot.order.len() as u64);
        prop_assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
    }
}
