//! Sessions over bad links: a simulated network under the ordered stream of bytes, with a clock of its own.
//!
//! What is modelled is what a reliable transport makes of a line. Packets of 1,200 bytes share a line of some rate,
//! and take half a round trip. One that is lost comes a retransmission time later, holds up everything behind it,
//! and takes its place on the line twice. A link that flaps cuts the stream at any byte: both engines are gone, what
//! was stored stays, and after a handshake a new session begins. Bytes on the wire are those of the session with
//! what is repeated, without the handshake's and the headers'.

use std::collections::{BTreeMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::limits::SMALL_ENTRY_MAX;
use super::testing::{Memory, Node, Team};
use super::tests::Dice;
use super::*;

const PACKET: usize = 1_200;
/// What a sender has under way at most.
const WINDOW: usize = 64 * 1024;
const SECOND: u64 = 1_000_000;

/// Microseconds, bytes a second, percent.
#[derive(Debug, Clone, Copy)]
struct Link {
    round_trip: u64,
    rate: u64,
    loss: usize,
    flaps: Option<u64>,
}

const GOOD: Link = Link { round_trip: 100_000, rate: 1_000_000, loss: 0, flaps: None };

struct Packet {
    begins: u64,
    /// When each of its copies had gone onto the line.
    sent: Vec<u64>,
    arrives: u64,
    bytes: Vec<u8>,
}

/// One direction.
struct Line {
    link: Link,
    free_at: u64,
    last_arrival: u64,
    under_way: VecDeque<Packet>,
    waiting: usize,
}

impl Line {
    fn new(link: Link, now: u64) -> Self {
        Self { link, free_at: now, last_arrival: now, under_way: VecDeque::new(), waiting: 0 }
    }

    fn send(&mut self, now: u64, bytes: &[u8], dice: &mut Dice) {
        let again = (self.link.round_trip * 5 / 4).max(200_000);
        for bytes in bytes.chunks(PACKET) {
            let takes = bytes.len() as u64 * SECOND / self.link.rate;
            let begins = self.free_at.max(now);
            self.free_at = begins + takes;
            let mut sent = vec![self.free_at];
            let mut arrives = self.free_at + self.link.round_trip / 2;
            while dice.roll(100) < self.link.loss {
                self.free_at += takes;
                arrives += again;
                sent.push(arrives - self.link.round_trip / 2);
            }
            // Nothing overtakes in a stream.
            self.last_arrival = self.last_arrival.max(arrives);
            self.waiting += bytes.len();
            self.under_way.push_back(Packet {
                begins,
                sent,
                arrives: self.last_arrival,
                bytes: bytes.to_vec(),
            });
        }
    }

    fn next(&self) -> Option<u64> {
        self.under_way.front().map(|packet| packet.arrives)
    }

    fn take(&mut self, tally: &mut Tally) -> Vec<u8> {
        let packet = self.under_way.pop_front().unwrap();
        self.waiting -= packet.bytes.len();
        tally.wire += (packet.sent.len() * packet.bytes.len()) as u64;
        packet.bytes
    }

    /// The line is cut: some bytes more, and what was on its way is lost.
    fn cut(&mut self, now: u64, dice: &mut Dice, tally: &mut Tally) -> Vec<u8> {
        for packet in &self.under_way {
            let copies = packet.sent.iter().filter(|sent| **sent <= now).count();
            tally.wire += (copies * packet.bytes.len()) as u64;
        }
        match self.under_way.front().filter(|packet| packet.begins < now) {
            Some(packet) => packet.bytes[..dice.roll(packet.bytes.len() + 1)].to_vec(),
            None => Vec::new(),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    wire: u64,
    sessions: u64,
    cuts: u64,
    round_trips: u64,
    /// Entries that came again though they were durable: number and bytes of small and of large ones.
    small_again: (u64, u64),
    large_again: u64,
    /// Bytes of everything that became durable.
    arrived: u64,
}

impl Tally {
    fn overhead(&self) -> f64 {
        self.wire as f64 / self.arrived as f64
    }

    /// Looks at what is about to be stored.
    fn look(&mut self, node: &Node) {
        let Some(Output::Store(batch)) = node.questions.front() else { return };
        for (id, bytes) in batch {
            let size = bytes.len() as u64;
            match node.depot.held.contains_key(id) {
                false => self.arrived += size,
                true if size > u64::from(SMALL_ENTRY_MAX) => self.large_again += 1,
                true => self.small_again = (self.small_again.0 + 1, self.small_again.1 + size),
            }
        }
    }
}

/// A world with a clock, and devices by number.
struct World {
    now: u64,
    dice: Dice,
    team: Team,
    depots: BTreeMap<u8, Memory>,
}

impl World {
    fn new(seed: u64, devices: &[u8]) -> Self {
        let depots = devices.iter().map(|device| (*device, Memory::new(*device))).collect();
        Self { now: 0, dice: Dice(seed | 1), team: Team::new(1), depots }
    }

    fn depot(&mut self, device: u8) -> &mut Memory {
        self.depots.get_mut(&device).unwrap()
    }

    /// One session over one connection, until both are done or the link is cut. True if it came to its end.
    fn session(&mut self, devices: (u8, u8), link: Link, tally: &mut Tally) -> bool {
        let until = link.flaps.map(|flaps| self.now + flaps);
        // Shaking hands, as QUIC does.
        self.now += link.round_trip;
        let team = &self.team;
        let [client, server] = [devices.0, devices.1].map(|device| self.depots.remove(&device).unwrap());
        let mut nodes = [
            Node::new(team.setup(Side::Client, devices.0, devices.1, &client), client),
            Node::new(team.setup(Side::Server, devices.1, devices.0, &server), server),
        ];
        let mut lines = [Line::new(link, self.now), Line::new(link, self.now)];
        tally.sessions += 1;
        let finished = loop {
            for (node, line) in nodes.iter_mut().zip(&mut lines) {
                loop {
                    let polled = node.poll(line.waiting < WINDOW);
                    let wire: Vec<u8> = node.wire.drain(..).collect();
                    line.send(self.now, &wire, &mut self.dice);
                    if !polled {
                        tally.look(node);
                        if !node.answer() {
                            break;
                        }
                    }
                }
                assert_eq!(node.failed, None);
            }
            if nodes.iter().all(|node| node.engine.is_finished()) {
                assert!(nodes.iter().all(|node| node.engine.summary().in_step));
                tally.round_trips += nodes[0].engine.summary().round_trips;
                break true;
            }
            // A line is heard by the other end.
            let heard = |from: usize| lines[from].next().filter(|_| nodes[1 - from].engine.wants_input());
            let next = [0, 1].into_iter().filter_map(|from| Some((heard(from)?, from))).min();
            let (arrives, from) = next.expect("both wait for each other");
            if let Some(until) = until.filter(|until| *until <= arrives) {
                self.now = self.now.max(until);
                for from in [0, 1] {
                    let some = lines[from].cut(self.now, &mut self.dice, tally);
                    let to = &mut nodes[1 - from];
                    to.engine.receive(&some);
                    // It is handed to the store, perhaps, and the answer comes too late.
                    while to.poll(false) {}
                    if self.dice.roll(2) == 0 {
                        tally.look(to);
                        to.answer();
                    }
                }
                tally.cuts += 1;
                break false;
            }
            self.now = self.now.max(arrives);
            let bytes = lines[from].take(tally);
            nodes[1 - from].engine.receive(&bytes);
        };
        for (device, node) in [devices.0, devices.1].into_iter().zip(nodes) {
            self.depots.insert(device, node.depot);
        }
        finished
    }

    /// Sessions until one has come to its end.
    fn sync(&mut self, devices: (u8, u8), link: Link) -> Tally {
        let mut tally = Tally::default();
        while !self.session(devices, link, &mut tally) {
            assert!(tally.sessions < 500, "it never arrives: {tally:?}");
        }
        tally
    }
}

/// In the order of arrival, reports come before attachments, of those from one device.
fn reports_came_first(depot: &Memory, from: DeviceId) -> bool {
    let sizes = depot.order.iter().filter(|(.., source)| *source == Some(from)).map(|(_, size, _)| *size);
    let sizes: Vec<u32> = sizes.collect();
    sizes.is_sorted_by_key(|size| *size > SMALL_ENTRY_MAX)
}

/// What a tally must show on any link; `marks` is what a cut may cost of small entries.
fn well_done(what: &str, tally: &Tally) {
    let small = tally.small_again;
    println!(
        "{what}: {} bytes of entries, {} on the wire, overhead {:.2}; {} sessions, {} cut; {} small entries again",
        tally.arrived,
        tally.wire,
        tally.overhead(),
        tally.sessions,
        tally.cuts,
        small.0,
    );
    assert_eq!(tally.large_again, 0, "{what}: a part came twice");
    // Of small ones that nobody asked for, what came after the last mark before a cut.
    assert!(small.1 <= tally.cuts * 20_000, "{what}: {small:?} came again");
}

fn bad_links() -> [(&'static str, Link, f64); 5] {
    let slow = Link { rate: 8_000, ..GOOD };
    let flaps = Some(5 * SECOND);
    [
        ("30 % loss", Link { loss: 30, ..GOOD }, 1.6),
        ("600 ms", Link { round_trip: 600_000, ..GOOD }, 1.02),
        ("64 kbit/s", slow, 1.02),
        ("flapping every 5 s, 50 kB/s", Link { rate: 50_000, flaps, ..GOOD }, 1.6),
        ("all at once", Link { round_trip: 600_000, rate: 8_000, loss: 30, flaps }, 14.0),
    ]
}

#[test]
fn everything_arrives_over_bad_links_no_part_twice_and_reports_first() {
    for (what, link, most) in bad_links() {
        let mut world = World::new(0x5eed, &[1, 2]);
        // In five seconds of 64 kbit/s no part of 64 KiB comes through, whatever the protocol.
        let part = if link.flaps.is_some() && link.rate < 10_000 { 3_000 } else { 70_000 };
        for (device, from) in [(1, 0), (2, 1_000)] {
            let depot = world.depot(device);
            depot.write(from..from + 8, part);
            depot.write(from + 100..from + 130, 1_300);
            depot.write(from + 200..from + 204, part + 300);
            depot.write(from + 300..from + 310, 2_100);
        }
        let tally = world.sync((1, 2), link);
        well_done(what, &tally);
        assert_eq!(world.depots[&1].fingerprint(), world.depots[&2].fingerprint(), "{what}");
        assert_eq!(world.depots[&1].order.len(), 2 * 52, "{what}");
        for (depot, other) in [(1, 2), (2, 1)] {
            assert!(reports_came_first(&world.depots[&depot], world.team.device(other)), "{what}");
        }
        if link.flaps.is_none() {
            assert!(tally.round_trips <= 5, "{what}: {} round trips", tally.round_trips);
        }
        assert!(tally.overhead() < most, "{what}: {:.2}", tally.overhead());
        // And then there is nothing more to say.
        let again = world.sync((1, 2), GOOD);
        assert_eq!((again.arrived, again.round_trips), (0, 2));
        assert!(again.wire < 1_000, "{} bytes for nothing", again.wire);
    }
}

#[test]
fn more_reports_than_pass_between_two_cuts_arrive_all_the_same() {
    // 60 kB that nobody asked for, 40 kB between two cuts; and the newest of it is this device's own.
    let link = Link { rate: 8_000, flaps: Some(5 * SECOND), ..GOOD };
    for known in [0, 5] {
        let mut world = World::new(7, &[1, 2]);
        world.depot(2).write(5_000..5_000 + known, 1_300);
        world.depot(1).carry(0..25, 1_300);
        world.depot(1).write(100..125, 1_300);
        let tally = world.sync((1, 2), link);
        well_done("reports only, flapping every 5 s, 64 kbit/s", &tally);
        assert!(tally.cuts > 0 && tally.sessions < 6, "{tally:?}");
        assert_eq!(world.depots[&2].order.len() as u32, 50 + known);
    }
}

#[test]
fn what_goes_by_a_third_device_over_bad_links_arrives_at_both_ends_once() {
    for (what, link, _) in bad_links() {
        let mut world = World::new(0xabc, &[1, 2, 3]);
        let part = if link.flaps.is_some() && link.rate < 10_000 { 3_000 } else { 70_000 };
        for (device, from) in [(1, 0), (3, 1_000)] {
            world.depot(device).write(from..from + 4, part);
            world.depot(device).write(from + 100..from + 120, 1_300);
        }
        // The one in the middle meets now this one, now that one, and never stays long.
        let mut done = (false, false);
        let (mut one, mut other) = (Tally::default(), Tally::default());
        let everything: HashSet<EntryId> = [1, 3]
            .iter()
            .flat_map(|device| world.depots[device].held.keys().copied().collect::<Vec<_>>())
            .collect();
        while !(done.0 && done.1) || [1, 2, 3].iter().any(|device| world.depots[device].order.len() < 48) {
            done.0 = world.session((1, 2), link, &mut one);
            done.1 = world.session((2, 3), link, &mut other);
            assert!(one.sessions < 600, "{what}: {one:?} {other:?}");
        }
        for device in [1, 2, 3] {
            let held: HashSet<EntryId> = world.depots[&device].held.keys().copied().collect();
            assert_eq!(held, everything, "{what}: device {device}");
        }
        well_done(&format!("{what}, the first half of the way"), &one);
        well_done(&format!("{what}, the other half"), &other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn over_any_link_everything_arrives_and_no_part_twice(
        seed in 1_u64..u64::MAX,
        (round_trip, rate, loss) in (1_000_u64..900_000, 8_000_u64..2_000_000, 0_usize..40),
        flaps in proptest::option::of(12_u64..40),
        small in (0_u32..120, 0_u32..120),
        large in (0_u32..6, 0_u32..6),
        carried in 0_u32..40,
    ) {
        // Between two cuts there is time for a part.
        let part_takes = 200_000 * SECOND / rate * 2;
        let flaps = flaps.map(|seconds| seconds * SECOND + 12 * round_trip + part_takes);
        let link = Link { round_trip, rate, loss, flaps };
        let mut world = World::new(seed, &[1, 2]);
        for (device, from, small, large) in [(1, 0, small.0, large.0), (2, 10_000, small.1, large.1)] {
            let depot = world.depot(device);
            depot.write(from..from + small, 1_500);
            depot.write(from + 1_000..from + 1_000 + large, 66_000);
            depot.carry(from + 2_000..from + 2_000 + carried, 2_000);
        }
        let tally = world.sync((1, 2), link);
        prop_assert_eq!(world.depots[&1].fingerprint(), world.depots[&2].fingerprint());
        prop_assert_eq!(tally.large_again, 0);
        prop_assert!(tally.small_again.1 <= tally.cuts * 70_000, "{:?}", tally);
        let all: u64 = 1_500 * u64::from(small.0 + small.1) + 66_000 * u64::from(large.0 + large.1)
            + 2_000 * 2 * u64::from(carried);
        prop_assert_eq!(tally.arrived, all);
    }
}
