//! Two sides that stay together, and what overtakes what.

use proptest::prelude::*;

use super::frame::HEADER_LEN;
use super::testing::{Memory, Node, Pair, entry};
use super::tests::{Dice, step, stumble};
use super::*;

fn at_rest(pair: &Pair) -> bool {
    pair.client.engine.is_at_rest() && pair.server.engine.is_at_rest()
}

#[test]
fn what_arrives_is_pushed_and_acknowledged_and_both_agree_again() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..100, 1_100);
    server.write(500..510, 1_100);
    let mut pair = Pair::live(client, server);
    pair.rest();
    assert!(at_rest(&pair) && !pair.client.engine.is_finished());
    assert_eq!(pair.client.saw(|e| *e == Event::AtRest { agreed: true }), 1);
    for n in 0..50 {
        // Now here, now there, and each is told.
        let (node, other) =
            if n % 2 == 0 { (&mut pair.client, &pair.server) } else { (&mut pair.server, &pair.client) };
        let before = other.depot.order.len();
        node.depot.write(1_000 + n..1_001 + n, 1_100);
        node.engine.wake();
        let bytes = pair.rest();
        assert!(at_rest(&pair));
        assert!(bytes < 1_100 + 300, "{bytes} bytes for one entry");
        assert_eq!(pair.client.depot.order.len(), pair.server.depot.order.len());
        assert_eq!(pair.server.depot.order.len().max(before), before + 1);
    }
    assert_eq!(pair.client.saw(|e| matches!(e, Event::AtRest { agreed: false })), 0);
    // A wake for nothing says nothing, and so does one for what the other side brought.
    pair.client.engine.wake();
    pair.server.engine.wake();
    assert_eq!(pair.rest(), 0);
    // Many at once are offered first.
    pair.client.depot.write(5_000..6_000, 1_100);
    pair.client.engine.wake();
    pair.rest();
    assert!(at_rest(&pair));
    assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
    let holds = pair.client.events.iter().rev().find_map(|e| match e {
        Event::PeerHolds { position, .. } => Some(*position),
        _ => None,
    });
    assert_eq!(holds, Some(pair.client.depot.order.len() as u64));
}

#[test]
fn a_ping_is_answered_and_whoever_leaves_is_understood() {
    let mut pair = Pair::live(Memory::new(1), Memory::new(2));
    pair.client.engine.ping();
    pair.rest();
    pair.client.engine.ping();
    assert_eq!(pair.rest(), 2 * (HEADER_LEN as u64 + 1));
    pair.client.depot.write(0..3, 1_100);
    pair.client.engine.wake();
    pair.client.engine.leave();
    pair.rest();
    assert!(pair.client.engine.is_finished());
    assert_eq!(pair.server.depot.order.len(), 3, "what was under way arrived first");
    pair.server.engine.closed().unwrap();
    assert!(pair.server.engine.is_finished());
}

#[test]
fn a_connection_that_breaks_while_something_is_under_way_is_cut() {
    let mut pair = Pair::live(Memory::new(1), Memory::new(2));
    pair.rest();
    pair.client.depot.write(0..3, 1_100);
    pair.client.engine.wake();
    pair.client.settle();
    assert_eq!(pair.client.engine.closed(), Err(SessionError::Cut));
}

#[test]
fn with_a_side_that_does_not_stay_the_session_ends() {
    let (client, server) = (Memory::new(1), Memory::new(2));
    let mut pair = Pair::live(client.clone(), server.clone());
    pair.client.engine = Pair::new(client, server).client.engine;
    pair.rest();
    assert!(pair.client.engine.is_finished() && pair.server.engine.is_finished());
}

#[test]
fn what_was_not_found_is_looked_for_once_in_a_session() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..10, 1_100);
    let rotten = client.order[4].0;
    client.held.insert(rotten, Some(vec![9; 1_100].into()));
    let mut pair = Pair::live(client, server);
    pair.rest();
    for n in 0..5 {
        pair.client.depot.write(100 + n..101 + n, 1_100);
        pair.client.engine.wake();
        pair.rest();
    }
    assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 1);
    assert_eq!(pair.client.saw(|e| matches!(e, Event::AtRest { agreed: false })), 6);
    assert_eq!(pair.server.depot.order.len(), 14);
}

/// One small thing after the other until so many entries came.
fn until_received(pair: &mut Pair, count: usize) {
    while pair.server.depot.order.len() < count {
        while pair.client.poll(true) || pair.client.answer() {}
        pair.server.hear(&mut pair.client, 64 * 1024);
        pair.server.settle();
        pair.client.hear(&mut pair.server, usize::MAX);
    }
}

#[test]
fn a_report_that_appears_overtakes_an_attachment_that_is_under_way() {
    for live in [false, true] {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        server.write(900..901, 1_100);
        client.write(0..256, 1 << 20);
        let mut pair = if live { Pair::live(client, server) } else { Pair::new(client, server) };
        until_received(&mut pair, 40);
        pair.client.depot.write(1_000..1_003, 1_100);
        pair.client.engine.wake();
        let report = entry(1_001, 1_100).0;
        let came_before = pair.server.depot.order.len();
        until_received(&mut pair, 80);
        let at = pair.server.depot.order.iter().position(|(id, ..)| *id == report).unwrap();
        // What lay on the line went before, once with the offer and once with the entry.
        assert!(at < came_before + 20, "{at}");
        pair.rest();
        assert_eq!(pair.server.depot.fingerprint(), pair.client.depot.fingerprint());
        assert_eq!(pair.client.engine.summary().sent, 259, "no part twice");
        let large: Vec<_> = pair.server.depot.order.iter().filter(|(_, size, _)| *size > 70_000).collect();
        let own: Vec<_> = pair.client.depot.order.iter().filter(|(_, size, _)| *size > 70_000).collect();
        assert!(large.iter().map(|(id, ..)| id).eq(own.iter().map(|(id, ..)| id)), "parts go in order");
        assert_eq!(pair.server.depot.cursors[&pair.client.depot.id], 260);
    }
}

#[test]
fn reports_without_end_do_not_keep_an_attachment_from_arriving() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(900_000..900_001, 1_100);
    client.write(0..40, 1 << 20);
    let mut pair = Pair::live(client, server);
    until_received(&mut pair, 3);
    let mut next = 1_000;
    let large = |node: &Node| node.depot.order.iter().filter(|(_, size, _)| *size > 100_000).count();
    // There are always more that wait than arrive.
    let mut more = 1_000;
    while large(&pair.server) < 40 {
        pair.client.depot.write(next..next + more, 20_000);
        pair.client.engine.wake();
        next += more;
        more = 60;
        assert!(next < 20_000, "{} arrived", large(&pair.server));
        let count = pair.server.depot.order.len() + 50;
        until_received(&mut pair, count);
    }
}

#[test]
fn an_empty_device_is_asked_before_it_is_sent_attachments() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.largest = 65_536;
    client.write(0..30, 1 << 20);
    client.write(100..110, 1_100);
    let mut pair = Pair::new(client, server);
    pair.run();
    assert_eq!(
        (pair.client.engine.summary().sent, pair.client.engine.summary().declined_by_peer.size),
        (10, 30)
    );
}

/// Entries of each side that went over the line.
fn sent(pair: &Pair) -> u64 {
    pair.client.engine.summary().sent + pair.server.engine.summary().sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However often the line is cut, whatever appears meanwhile: an attachment's part that is durable at the other
    /// side is not sent again.
    #[test]
    fn durable_parts_are_never_sent_twice(
        seed in 1_u64..u64::MAX,
        cuts in proptest::collection::vec(200_usize..6_000, 1..6),
        parts in 10_u32..60,
        live in any::<bool>(),
    ) {
        let mut dice = Dice(seed);
        let (mut client, server) = (Memory::new(1), Memory::new(2));
        client.write(0..parts, 70_000);
        let (mut client, mut server) = (client, server);
        let mut small = 1_000;
        for steps in cuts {
            let mut pair = if live { Pair::live(client, server) } else { Pair::new(client, server) };
            let before: Vec<_> = pair.server.depot.order.iter().map(|(id, ..)| *id).collect();
            for at in 0..steps {
                if at % 500 == 250 {
                    pair.client.depot.write(small..small + 2, 1_100);
                    small += 2;
                    pair.client.engine.wake();
                }
                stumble(&mut pair, &mut dice, 1);
            }
            let came = pair.server.engine.summary().received;
            let new = pair.server.depot.order.len() - before.len();
            // What came and is not new has not been stored yet.
            prop_assert!(came >= new as u64);
            let again = pair.client.said_entries().into_iter().filter(|id| before.contains(id));
            let large = |id: &EntryId| pair.client.depot.held[id].as_ref().is_some_and(|b| b.len() > 65_536);
            prop_assert_eq!(again.filter(large).count(), 0, "a durable part was sent again");
            (client, server) = pair.depots();
        }
        let mut pair = Pair::new(client, server);
        pair.run();
        prop_assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
        prop_assert!(pair.client.engine.summary().in_step);
    }

    #[test]
    fn two_that_stay_agree_whatever_arrives_and_when(
        seed in 1_u64..u64::MAX,
        bursts in proptest::collection::vec((1_usize..800, any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut dice = Dice(seed);
        let (mut client, server) = (Memory::new(1), Memory::new(2));
        client.write(0..30, 1_100);
        let mut pair = Pair::live(client, server);
        for (at, (steps, at_client, large)) in bursts.into_iter().enumerate() {
            stumble(&mut pair, &mut dice, steps);
            let start = 1_000 + 10 * u32::try_from(at).unwrap();
            let node = if at_client { &mut pair.client } else { &mut pair.server };
            node.depot.write(start..start + 2, if large { 70_000 } else { 1_100 });
            node.engine.wake();
        }
        for _ in 0..200_000 {
            let _ = step(&mut pair, &mut dice);
        }
        pair.rest();
        prop_assert!(at_rest(&pair));
        prop_assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
        prop_assert_eq!(pair.client.saw(|e| *e == Event::Repairing), 0);
        prop_assert_eq!(sent(&pair), pair.client.depot.order.len() as u64);
    }
}
