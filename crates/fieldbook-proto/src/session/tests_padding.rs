//! What somebody learns who counts the bytes of a session.

use proptest::prelude::*;

use super::error::Fault;
use super::frame::HEADER_LEN;
use super::limits::{FEATURE_LIVE, FEATURE_PADDING, FEATURES, PADDED_LEAST, PADDING_KEPT};
use super::padding::class;
use super::testing::{Memory, Node, Pair, Team};
use super::tests::{Dice, stumble};
use super::*;

const PADS: u32 = FEATURES | FEATURE_PADDING;

/// What seals to so much: a report of 300 words in English, one of 900, and one of 900 in Cyrillic.
const REPORTS: [usize; 3] = [2_560, 6_656, 13_312];

fn pair(client: Memory, server: Memory, features: (u32, u32)) -> Pair {
    let mut pair = Pair::new(client, server);
    let team = Team::new(1);
    for (node, side, own, features) in
        [(&mut pair.client, Side::Client, 1, features.0), (&mut pair.server, Side::Server, 2, features.1)]
    {
        node.engine = Engine::with_features(team.setup(side, own, 3 - own, &node.depot), features).unwrap();
    }
    pair
}

/// The bytes of each flight, as somebody sees them who only watches: whose, and how many.
fn flights(pair: &mut Pair) -> Vec<(Side, u64)> {
    let mut seen = Vec::new();
    loop {
        let mut quiet = true;
        for side in [Side::Client, Side::Server] {
            let Pair { client, server } = pair;
            let (own, other) = if side == Side::Client { (client, server) } else { (server, client) };
            let written = own.written;
            own.settle();
            assert_eq!(own.failed, None);
            if own.written > written {
                seen.push((side, own.written - written));
                quiet = false;
            }
            quiet &= !other.hear(own, usize::MAX);
        }
        if quiet {
            return seen;
        }
    }
}

/// Two that have met, and hold the same.
fn met() -> (Memory, Memory) {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    client.write(0..300, 1_100);
    server.write(1_000..1_020, 1_100);
    let mut pair = pair(client, server, (PADS, PADS));
    pair.run();
    pair.depots()
}

/// What a side sent up to each padding after a `Done`, and what came after the last.
fn stretches(node: &Node) -> (Vec<u64>, u64) {
    let hello = 2 + usize::from(u16::from_be_bytes([node.said[0], node.said[1]]));
    let (mut stretches, mut sum, mut done, mut padded) = (Vec::new(), hello as u64, false, false);
    for frame in node.said_after(hello) {
        let pad = matches!(frame, Frame::Pad { .. });
        if padded && !pad {
            stretches.push(std::mem::take(&mut sum));
            (done, padded) = (false, false);
        }
        match frame {
            Frame::Done { .. } => done = true,
            // The two differed before the padding was out.
            Frame::Compare(_) => done = false,
            Frame::Ping { .. } => continue,
            _ => {}
        }
        padded = pad && done;
        sum += frame.encode().len() as u64;
    }
    if padded {
        stretches.push(std::mem::take(&mut sum));
    }
    (stretches, sum)
}

#[test]
fn nobody_who_counts_tells_a_poll_from_a_report_or_a_short_one_from_a_long_one() {
    let empty = (Memory::new(1), Memory::new(2));
    for (how, (client, server)) in [("first", empty), ("later", met())] {
        let mut poll = None;
        let sizes = || [None].into_iter().chain(REPORTS.map(Some));
        for (at, (ours, theirs)) in
            sizes().flat_map(|ours| sizes().map(move |theirs| (ours, theirs))).enumerate()
        {
            let (mut client, mut server) = (client.clone(), server.clone());
            if let Some(size) = ours {
                client.write(5_000..5_001, size);
            }
            if let Some(size) = theirs {
                server.write(6_000..6_001, size);
            }
            let mut pair = pair(client, server, (PADS, PADS));
            let seen = flights(&mut pair);
            let what = format!("{how}, {at}: {ours:?} there, {theirs:?} back: {seen:?}");
            assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step, "{what}");
            assert!(pair.client.engine.is_finished() && pair.server.engine.is_finished());
            assert_eq!(pair.client.engine.summary().received, u64::from(theirs.is_some()));
            assert_eq!((pair.client.written, pair.server.written), (PADDED_LEAST, PADDED_LEAST), "{what}");
            assert_eq!(poll.get_or_insert_with(|| seen.clone()), &seen, "{what}");
        }
    }
}

#[test]
fn in_a_session_that_stays_each_burst_is_a_class_and_a_pause_costs_nothing() {
    let (client, server) = met();
    let features = PADS | FEATURE_LIVE;
    let mut pair = pair(client, server, (features, features));
    flights(&mut pair);
    assert_eq!((pair.client.written, pair.server.written), (PADDED_LEAST, PADDED_LEAST));
    let mut bursts = None;
    for (number, size) in (0..).zip(REPORTS) {
        for n in [2 * number, 2 * number + 1] {
            let node = if n % 2 == 0 { &mut pair.client } else { &mut pair.server };
            node.depot.write(7_000 + n..7_001 + n, size);
            node.engine.wake();
        }
        let before = (pair.client.written, pair.server.written);
        let seen = flights(&mut pair);
        assert!(pair.client.engine.is_at_rest() && pair.server.engine.is_at_rest());
        let burst = (pair.client.written - before.0, pair.server.written - before.1);
        assert_eq!(bursts.get_or_insert(burst), &burst, "{seen:?}");
        // A look and a ping in between are not padded, and are no part of the next burst.
        let before = pair.client.written + pair.server.written;
        pair.client.engine.wake();
        pair.client.engine.ping();
        flights(&mut pair);
        let ping = HEADER_LEN as u64 + 1;
        assert_eq!(pair.client.written + pair.server.written - before, 2 * ping);
    }
    assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
    for node in [&pair.client, &pair.server] {
        let (all, rest) = stretches(node);
        assert!(all.iter().all(|sum| *sum == PADDED_LEAST), "{all:?}");
        assert_eq!(rest, 0);
    }
}

#[test]
fn where_something_always_comes_padding_does_not_grow() {
    let (client, server) = met();
    let features = PADS | FEATURE_LIVE;
    let mut pair = pair(client, server, (features, features));
    flights(&mut pair);
    for n in 0..40 {
        // One more has come whenever the last is under way: they cross, and neither rests.
        for node in [&mut pair.client, &mut pair.server] {
            node.depot.write(7_000 + n..7_001 + n, 1_100);
            node.engine.wake();
            node.settle();
        }
        let before = pair.client.written;
        pair.server.hear(&mut pair.client, 1_500);
        pair.client.hear(&mut pair.server, 1_500);
        pair.server.settle();
        pair.client.settle();
        assert!(pair.client.written - before <= 2 * PADDED_LEAST);
    }
    flights(&mut pair);
    assert!(pair.client.engine.is_at_rest() && pair.server.engine.is_at_rest());
    for node in [&pair.client, &pair.server] {
        assert!(node.written <= 90 * PADDED_LEAST, "{}", node.written);
        assert_eq!(stretches(node).1, 0);
    }
}

#[test]
fn a_peer_of_an_earlier_version_gets_no_padding() {
    for features in [(PADS, FEATURES), (FEATURES, PADS), (PADS, 0)] {
        let (mut client, server) = met();
        client.write(5_000..5_001, REPORTS[0]);
        let mut pair = pair(client, server, features);
        pair.run();
        assert!(pair.client.engine.summary().in_step && pair.server.engine.summary().in_step);
        assert_eq!(pair.client.engine.summary().padding + pair.server.engine.summary().padding, 0);
        assert!(pair.client.written + pair.server.written < REPORTS[0] as u64 + 1_024);
    }
}

#[test]
fn padding_is_counted_apart() {
    let (mut client, server) = met();
    client.write(5_000..5_010, 2_048);
    let mut pair = pair(client, server, (PADS, PADS));
    assert_eq!(pair.run(), 2);
    let Pair { client, server } = pair;
    let (ours, theirs) = (client.engine.summary(), server.engine.summary());
    assert_eq!((ours.sent, ours.sent_bytes, ours.round_trips), (10, 20_480, 2));
    let beyond = client.written + server.written - ours.padding - theirs.padding - ours.sent_bytes;
    assert!(beyond <= 1_024, "{beyond} bytes beyond the entries and the padding");
}

#[test]
fn whoever_floods_with_padding_is_dropped_and_nothing_of_it_is_kept() {
    let (client, server) = met();
    let mut pair = pair(client, server, (PADS | FEATURE_LIVE, PADS | FEATURE_LIVE));
    flights(&mut pair);
    let pad = Frame::Pad { len: limits::PAD_FRAME_MAX }.encode();
    let mut passed = 0;
    while pair.server.failed.is_none() {
        assert!(pair.server.engine.wants_input());
        pair.server.engine.receive(&pad);
        pair.server.settle();
        passed += 1;
    }
    assert_eq!(pair.server.failed, Some(Fault::TooMuchPadding.into()));
    assert!(passed <= 4, "{passed} frames");
}

#[test]
fn what_is_said_at_the_end_fits_into_what_was_kept_for_it() {
    let (mut client, mut server) = met();
    client.write(5_000..5_004, 1_100);
    server.write(6_000..6_003, 1_100);
    let mut pair = pair(client, server, (PADS, PADS));
    let seen = flights(&mut pair);
    assert_eq!(seen.last(), Some(&(Side::Client, PADDING_KEPT)), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_sum_of_each_direction_is_always_a_class(
        seed in 1_u64..u64::MAX,
        counts in (0_u32..400, 0_u32..400, 0_u32..40),
        sizes in (1_024_usize..20_000, 1_024_usize..200_000),
        stay in any::<bool>(),
    ) {
        let (mut client, mut server) = (Memory::new(1), Memory::new(2));
        client.write(0..counts.0, 1_100);
        client.write(10_000..10_000 + counts.2, sizes.0);
        server.carry(counts.0 / 2..counts.0 / 2 + counts.1, 1_100);
        server.write(20_000..20_000 + counts.2 / 8, sizes.1);
        let features = PADS | if stay { FEATURE_LIVE } else { 0 };
        let mut pair = pair(client, server, (features, features));
        stumble(&mut pair, &mut Dice(seed), 3_000);
        flights(&mut pair);
        prop_assert_eq!(pair.client.depot.fingerprint(), pair.server.depot.fingerprint());
        for node in [&pair.client, &pair.server] {
            let (all, rest) = stretches(node);
            prop_assert!(!all.is_empty() && rest == 0, "{all:?} and {rest}");
            prop_assert!(all.iter().all(|sum| class(*sum) == *sum), "{all:?}");
        }
    }
}
