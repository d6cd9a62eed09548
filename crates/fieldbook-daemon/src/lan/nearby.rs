//! What is known of the devices of the team in one network, and whom to visit: no socket, no clock.
//!
//! A beacon alone makes this device do nothing that can be seen. Somebody may have recorded it elsewhere, and waits for who
//! stirs. Only one that says to have heard a beacon of this device, of the last minutes and in this network, was made now
//! and for here; and only the addresses of other machines in this network count. Nothing of this is written down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use fieldbook_net::lan::Network;
use fieldbook_proto::lan::{Beacon, HEARD_MAX, Mark, Salt, mark};

/// For how long, in milliseconds, a beacon of this device counts that another one says to have heard.
const OWN_MS: u64 = 3 * 60_000;
/// For how long a device that was heard is told that it was.
const HEARD_MS: u64 = 2 * 60_000;
/// For how long after it was heard last it is let in where only those are: it may have been told to the last, and may take
/// as long as a beacon of this device counts to come.
const ADMITTED_MS: u64 = HEARD_MS + OWN_MS;
/// Beacons of this device that are remembered: more than go while they count.
const OWN_MAX: usize = 64;
/// Beacons of others that are known to have come. Those that were forgotten open nothing by themselves.
const SEEN_MAX: usize = 4_096;
/// Addresses that are known at a time, and ports of each: some vaults may be on one machine. Whoever makes up more is
/// of the team.
const MACHINES_MAX: usize = 256;
const PORTS_MAX: usize = 4;
/// The least time between two visits, whoever it is that is visited.
const PACE_MS: u64 = 1_000;
/// Before the same address is visited again: after a visit that went well, after one that was not needed, and after the first
/// of several that led nowhere, which doubles up to the last.
const AGAIN_MS: u64 = 10_000;
const NOT_NEEDED_MS: u64 = 2 * 60_000;
const FAILED_MS: u64 = 30_000;
const FAILED_MAX_MS: u64 = 10 * 60_000;

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// There was a session.
    Went,
    /// Another connection with the same device stood already.
    NotNeeded,
    /// No session came about.
    Failed,
}

/// What a beacon was to this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Its own, or a recording: one that came before, or that was made at another address; or of another network.
    Nothing,
    /// Somebody of the team may be at this address, or somebody who recorded one there.
    Perhaps,
    /// Somebody of the team is there now, who has heard this device.
    There(SocketAddrV4),
}

/// All that is known of a network.
#[derive(Debug)]
pub(super) struct Nearby {
    network: Network,
    own: VecDeque<(u64, Salt)>,
    seen: BTreeSet<Salt>,
    seen_order: VecDeque<Salt>,
    machines: BTreeMap<Ipv4Addr, Machine>,
    told: u64,
    next_visit_ms: u64,
}

#[derive(Debug, Default)]
struct Machine {
    /// The one that was heard last is the last.
    ports: VecDeque<Port>,
    visiting: bool,
    not_before_ms: u64,
    failures: u32,
}

impl Machine {
    fn heard_ms(&self) -> u64 {
        self.ports.back().map_or(0, |port| port.heard_ms)
    }
}

#[derive(Debug)]
struct Port {
    number: u16,
    mark: Mark,
    heard_ms: u64,
    /// The number of the last beacon that said so; those that waited longest are told first.
    told: u64,
}

impl Nearby {
    /// Nothing is known of it yet.
    pub const fn new(network: Network) -> Self {
        Self {
            network,
            own: VecDeque::new(),
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
            machines: BTreeMap::new(),
            told: 0,
            next_visit_ms: 0,
        }
    }

    /// This device's own beacon goes out there.
    pub fn sent(&mut self, now_ms: u64, salt: Salt) {
        while self.own.len() >= OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back((now_ms, salt));
    }

    /// A beacon of the team came from this address.
    pub fn hear(&mut self, now_ms: u64, from: Ipv4Addr, salt: Salt, beacon: &Beacon) -> Heard {
        if !self.is_new(from, salt, beacon) {
            return Heard::Nothing;
        }
        // Where nobody listens nobody is visited.
        if beacon.port == 0 {
            return Heard::Perhaps;
        }
        self.note(now_ms, from, beacon.port, mark(&salt));
        let counts = |(sent_ms, own): &(u64, Salt)| {
            now_ms.saturating_sub(*sent_ms) <= OWN_MS && beacon.heard.contains(&mark(own))
        };
        if self.own.iter().any(counts) {
            Heard::There(SocketAddrV4::new(from, beacon.port))
        } else {
            Heard::Perhaps
        }
    }

    /// Whether this is the beacon of another machine in this network, made at the address that it comes from, which has
    /// not come before.
    pub fn is_new(&mut self, from: Ipv4Addr, salt: Salt, beacon: &Beacon) -> bool {
        if !self.network.is_another(from)
            || beacon.address != from.to_ipv6_mapped().octets()
            || self.own.iter().any(|(_, own)| *own == salt)
            || !self.seen.insert(salt)
        {
            return false;
        }
        self.seen_order.push_back(salt);
        while self.seen_order.len() > SEEN_MAX {
            if let Some(oldest) = self.seen_order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        true
    }

    fn note(&mut self, now_ms: u64, from: Ipv4Addr, number: u16, mark: Mark) {
        if !self.machines.contains_key(&from) && self.machines.len() >= MACHINES_MAX {
            // Who is to wait is forgotten last, or would be called sooner for it.
            let idle = self.machines.iter().filter(|(_, machine)| !machine.visiting);
            let first = idle.min_by_key(|(_, machine)| (machine.not_before_ms > now_ms, machine.heard_ms()));
            let Some(first) = first.map(|(at, _)| *at) else { return };
            self.machines.remove(&first);
        }
        let ports = &mut self.machines.entry(from).or_default().ports;
        let known = ports.iter().position(|port| port.number == number).and_then(|at| ports.remove(at));
        while ports.len() >= PORTS_MAX {
            ports.pop_front();
        }
        let told = known.map_or(0, |port| port.told);
        ports.push_back(Port { number, mark, heard_ms: now_ms, told });
    }

    /// The marks that the next beacon tells: of those who were heard and are not connected, whoever waited longest.
    pub fn next_told(&mut self, now_ms: u64, is_connected: impl Fn(Ipv4Addr) -> bool) -> Vec<Mark> {
        let machines = self.machines.iter_mut().filter(|(at, _)| !is_connected(**at));
        let mut waiting: Vec<&mut Port> = machines
            .flat_map(|(_, machine)| machine.ports.iter_mut())
            .filter(|port| now_ms.saturating_sub(port.heard_ms) <= HEARD_MS)
            .collect();
        waiting.sort_by_key(|port| (port.told, port.heard_ms));
        self.told += 1;
        let told = self.told;
        let next = waiting.into_iter().take(HEARD_MAX);
        next.map(|port| {
            port.told = told;
            port.mark
        })
        .collect()
    }

    /// Where somebody was heard who may come because of it.
    pub fn admitted(&self, now_ms: u64) -> impl Iterator<Item = Ipv4Addr> {
        let lately = move |machine: &Machine| now_ms.saturating_sub(machine.heard_ms()) <= ADMITTED_MS;
        self.machines.iter().filter(move |(_, machine)| lately(machine)).map(|(at, _)| *at)
    }

    /// Whether this is such an address.
    pub fn is_admitted(&self, now_ms: u64, at: Ipv4Addr) -> bool {
        self.machines.get(&at).is_some_and(|machine| now_ms.saturating_sub(machine.heard_ms()) <= ADMITTED_MS)
    }

    /// Whether a device may be visited now; it is then, and [`Nearby::visited`] must follow.
    pub fn visit(&mut self, now_ms: u64, at: Ipv4Addr) -> bool {
        let Some(machine) = self.machines.get_mut(&at) else { return false };
        if machine.visiting || now_ms < machine.not_before_ms || now_ms < self.next_visit_ms {
            return false;
        }
        machine.visiting = true;
        self.next_visit_ms = now_ms.saturating_add(PACE_MS);
        true
    }

    /// A visit has ended.
    pub fn visited(&mut self, now_ms: u64, at: Ipv4Addr, how: Visit) {
        let Some(machine) = self.machines.get_mut(&at) else { return };
        machine.visiting = false;
        let pause = match how {
            Visit::Went => AGAIN_MS,
            Visit::NotNeeded => NOT_NEEDED_MS,
            Visit::Failed => {
                FAILED_MS.saturating_mul(2_u64.saturating_pow(machine.failures)).min(FAILED_MAX_MS)
            }
        };
        machine.failures = if how == Visit::Failed { machine.failures.saturating_add(1) } else { 0 };
        machine.not_before_ms = now_ms.saturating_add(pause);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 3);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

    fn here() -> Nearby {
        Nearby::new(Network { own: HERE, everybody: Ipv4Addr::new(192, 168, 255, 255), prefix: 16 })
    }

    fn salt(number: u32) -> Salt {
        let mut salt = [0xaa; 16];
        salt[..4].copy_from_slice(&number.to_be_bytes());
        salt
    }

    fn beacon(from: Ipv4Addr, heard: &[Salt]) -> Beacon {
        let heard = heard.iter().map(mark).collect();
        Beacon { address: from.to_ipv6_mapped().octets(), port: 4040, heard }
    }

    fn at(from: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(from, 4040)
    }

    #[test]
    fn only_who_has_heard_this_device_just_now_is_visited() {
        let mut nearby = here();
        nearby.sent(1_000, salt(1));
        assert_eq!(nearby.hear(2_000, THERE, salt(2), &beacon(THERE, &[])), Heard::Perhaps);
        assert_eq!(nearby.hear(3_000, THERE, salt(3), &beacon(THERE, &[salt(9)])), Heard::Perhaps);
        assert_eq!(
            nearby.hear(4_000, THERE, salt(4), &beacon(THERE, &[salt(9), salt(1)])),
            Heard::There(at(THERE))
        );
        // That it was heard some minutes ago tells nothing of now.
        let late = 1_000 + OWN_MS + 1;
        assert_eq!(nearby.hear(late, THERE, salt(5), &beacon(THERE, &[salt(1)])), Heard::Perhaps);
        let silent = Beacon { port: 0, ..beacon(THERE, &[salt(1)]) };
        assert_eq!(nearby.hear(5_000, THERE, salt(6), &silent), Heard::Perhaps);
    }

    #[test]
    fn its_own_and_what_comes_again_or_from_elsewhere_is_nothing() {
        let mut nearby = here();
        nearby.sent(0, salt(1));
        assert_eq!(nearby.hear(0, HERE, salt(1), &beacon(HERE, &[salt(1)])), Heard::Nothing, "its own");
        let good = beacon(THERE, &[salt(1)]);
        assert_eq!(nearby.hear(0, HERE, salt(2), &good), Heard::Nothing, "from elsewhere");
        assert_eq!(nearby.hear(0, THERE, salt(2), &good), Heard::There(at(THERE)));
        assert_eq!(nearby.hear(0, THERE, salt(2), &good), Heard::Nothing, "again");
    }

    #[test]
    fn only_addresses_of_other_machines_in_this_network_count() {
        let mut nearby = here();
        nearby.sent(0, salt(1));
        for (at, number) in
            [[10, 0, 0, 7], [192, 169, 1, 7], [192, 168, 255, 255], [192, 168, 0, 0], HERE.octets()]
                .iter()
                .zip(2..)
        {
            let from = Ipv4Addr::from(*at);
            assert_eq!(
                nearby.hear(0, from, salt(number), &beacon(from, &[salt(1)])),
                Heard::Nothing,
                "{from}"
            );
            assert!(!nearby.is_new(from, salt(number), &beacon(from, &[])), "{from}");
        }
        assert_eq!(nearby.admitted(0).count() + nearby.next_told(0, |_| false).len(), 0);
        assert_eq!(nearby.hear(0, THERE, salt(9), &beacon(THERE, &[salt(1)])), Heard::There(at(THERE)));
    }

    #[test]
    fn whoever_was_heard_is_let_in_for_as_long_as_it_may_come() {
        let mut nearby = here();
        nearby.hear(1_000, THERE, salt(1), &beacon(THERE, &[]));
        nearby.hear(2_000, OTHER, salt(2), &beacon(OTHER, &[]));
        let admitted = |now_ms| nearby.admitted(now_ms).collect::<Vec<_>>();
        assert_eq!(admitted(1_000 + ADMITTED_MS), [OTHER, THERE]);
        assert_eq!(admitted(1_001 + ADMITTED_MS), [OTHER]);
        assert!(admitted(2_001 + ADMITTED_MS).is_empty());
    }

    #[test]
    fn one_address_waits_for_its_turn_whatever_ports_it_names_and_keeps_nobody_from_being_told() {
        let mut nearby = here();
        let on = |port: u16| Beacon { port, ..beacon(THERE, &[]) };
        (1..=200).for_each(|port| {
            nearby.hear(0, THERE, salt(port.into()), &on(port));
        });
        nearby.hear(0, OTHER, salt(1_000), &beacon(OTHER, &[]));
        assert!(nearby.visit(0, THERE));
        nearby.visited(0, THERE, Visit::Failed);
        nearby.hear(5_000, THERE, salt(201), &on(201));
        assert!(!nearby.visit(FAILED_MS - 1, THERE), "another port is no other machine");
        assert!(nearby.visit(5_000, OTHER), "who is left out costs nobody a place");
        let told = nearby.next_told(5_000, |_| false);
        let latest: BTreeSet<Mark> = [198, 199, 200, 201, 1_000].map(|number| mark(&salt(number))).into();
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), latest);
        // Others in any number do not make it forget that this one is to wait.
        for n in 0..2_000 {
            let from = Ipv4Addr::from_bits(Ipv4Addr::new(192, 168, 8, 0).to_bits() + n);
            nearby.hear(6_000 + u64::from(n), from, salt(10_000 + n), &beacon(from, &[]));
        }
        nearby.hear(9_000, THERE, salt(202), &on(202));
        assert!(!nearby.visit(FAILED_MS - 1, THERE) && nearby.visit(FAILED_MS, THERE));
    }

    #[test]
    fn whoever_waited_longest_is_told_first_and_who_is_connected_is_not() {
        let mut nearby = here();
        let address = |n: u32| Ipv4Addr::from_bits(Ipv4Addr::new(192, 168, 2, 0).to_bits() + n);
        for n in 0..20 {
            nearby.hear(u64::from(n), address(n), salt(n), &beacon(address(n), &[]));
        }
        let mut all: Vec<Mark> = Vec::new();
        for _ in 0..3 {
            let told = nearby.next_told(100, |at| at == address(3));
            assert!(told.len() <= HEARD_MAX);
            all.extend(told);
        }
        let told: BTreeSet<Mark> = all.iter().copied().collect();
        assert_eq!(told.len(), 19, "each within three beacons");
        assert!(!told.contains(&mark(&salt(3))));
        assert!(nearby.next_told(100 + HEARD_MS, |_| false).is_empty(), "they are gone");
    }

    #[test]
    fn visits_are_few_whatever_is_heard() {
        let mut nearby = here();
        nearby.hear(0, THERE, salt(1), &beacon(THERE, &[]));
        nearby.hear(0, OTHER, salt(2), &beacon(OTHER, &[]));
        assert!(nearby.visit(0, THERE));
        assert!(!nearby.visit(PACE_MS, THERE), "it is being visited");
        assert!(!nearby.visit(PACE_MS - 1, OTHER), "one at a time");
        assert!(nearby.visit(PACE_MS, OTHER));
        assert!(!nearby.visit(9_999, HERE), "who was never heard");
        nearby.visited(2_000, THERE, Visit::Went);
        assert!(!nearby.visit(2_000 + AGAIN_MS - 1, THERE) && nearby.visit(2_000 + AGAIN_MS, THERE));
        let mut now = 1 << 20;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            nearby.visited(now, THERE, Visit::Failed);
            let pause = nearby.machines[&THERE].not_before_ms - now;
            pauses.push(pause / 1_000);
            now += pause;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600, 600]);
        nearby.visited(now, THERE, Visit::NotNeeded);
        assert!(nearby.visit(now + NOT_NEEDED_MS, THERE));
    }

    #[test]
    fn memory_is_bounded_and_who_is_visited_stays_known() {
        let mut nearby = here();
        nearby.hear(0, THERE, salt(0), &beacon(THERE, &[]));
        assert!(nearby.visit(0, THERE));
        for n in 1..10_000_u32 {
            let from = Ipv4Addr::from_bits(Ipv4Addr::new(192, 168, 8, 0).to_bits() + n);
            nearby.sent(u64::from(n), salt(n | 0x8000_0000));
            nearby.hear(u64::from(n), from, salt(n), &beacon(from, &[]));
        }
        assert_eq!((nearby.own.len(), nearby.machines.len()), (OWN_MAX, MACHINES_MAX));
        assert_eq!((nearby.seen.len(), nearby.seen_order.len()), (SEEN_MAX, SEEN_MAX));
        assert!(nearby.machines.contains_key(&THERE));
    }
}
