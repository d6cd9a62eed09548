//! What a session says of how far it is.

use super::testing::{Memory, Pair};
use super::*;

#[test]
fn an_entry_counts_when_it_is_durable_and_the_sum_is_known_when_all_was_asked_for() {
    let (mut client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(0..3, 1_100);
    server.write(3..5, 500_000);
    client.write(100..110, 1_100);
    client.write(200..206, 900_000);
    // One that is too large for the other side.
    server.largest = 950_000;
    client.write(300..301, 1_000_000);
    let mut pair = Pair::new(client, server);
    let (mut before, mut in_the_midst) = (Progress::default(), 0);
    while !(pair.client.engine.is_finished() && pair.server.engine.is_finished()) {
        pair.client.settle();
        // Whatever waits for the store is not durable yet.
        while pair.server.poll(true) {}
        let progress = pair.client.engine.progress();
        let there = pair.server.depot.order.len() as u64 - 5;
        let here = pair.client.depot.order.len() as u64 - 17;
        assert!(progress.sent.entries <= there, "{progress:?}, and {there} are there");
        assert_eq!(pair.server.engine.progress().received.entries, there);
        assert_eq!(progress.received.entries, here);
        for (now, before) in [(progress.sent, before.sent), (progress.received, before.received)] {
            assert!(now.entries >= before.entries && now.bytes >= before.bytes, "{now:?} {before:?}");
            assert!(now.of_entries >= now.entries && now.of_bytes >= now.bytes, "{now:?}");
        }
        if progress.sent.exact && (11..16).contains(&progress.sent.entries) {
            assert_eq!((progress.sent.of_entries, progress.sent.of_bytes), (16, 11_000 + 5_400_000));
            in_the_midst += 1;
        }
        before = progress;
        pair.server.settle();
        pair.server.hear(&mut pair.client, 100_000);
        pair.client.hear(&mut pair.server, 100_000);
    }
    assert!(in_the_midst > 3, "the sum was known while they were under way");
    let all = |entries, bytes| Moved { entries, bytes, of_entries: entries, of_bytes: bytes, exact: true };
    let progress = pair.client.engine.progress();
    assert_eq!((progress.sent, progress.received), (all(16, 5_411_000), all(5, 1_003_300)));
    let progress = pair.server.engine.progress();
    assert_eq!((progress.sent, progress.received), (all(5, 1_003_300), all(16, 5_411_000)));
    let summary = pair.client.engine.summary();
    assert_eq!((summary.declined_by_peer.size, summary.declined_by_peer_bytes.size), (1, 1_000_000));
}

#[test]
fn what_is_received_counts_with_the_sizes_that_were_told() {
    let (client, mut server) = (Memory::new(1), Memory::new(2));
    server.write(0..4, 200_000);
    let mut pair = Pair::new(client, server);
    let mut seen = 0;
    while !pair.client.engine.is_finished() {
        pair.client.settle();
        pair.server.settle();
        let received = pair.client.engine.progress().received;
        if received.entries < 4 && received.of_entries == 4 {
            assert_eq!(
                (received.of_bytes, received.exact),
                (800_000, false),
                "more may follow: {received:?}"
            );
            seen += 1;
        }
        pair.server.hear(&mut pair.client, 10_000);
        pair.client.hear(&mut pair.server, 10_000);
    }
    assert!(seen > 10);
}

#[test]
fn two_that_stay_say_when_nothing_is_under_way() {
    let (mut client, server) = (Memory::new(1), Memory::new(2));
    client.write(0..2, 1_100);
    let mut pair = Pair::live(client, server);
    assert!(!pair.client.engine.progress().at_rest);
    pair.rest();
    let rests = pair.client.engine.progress();
    assert!(rests.at_rest && rests.sent.left() == 0 && rests.sent.exact);
    pair.client.depot.write(10..13, 1_100);
    pair.client.engine.wake();
    pair.client.settle();
    let sending = pair.client.engine.progress();
    assert!(!sending.at_rest);
    assert_eq!((sending.sent.entries, sending.sent.left()), (2, 3), "of earlier pushes, and of this one");
    pair.rest();
    assert_eq!(pair.client.engine.progress().sent.left(), 0);
}
