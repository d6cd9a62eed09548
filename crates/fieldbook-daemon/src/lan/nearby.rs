//! What is known of the devices of the team in this network, and whom to visit: no socket, no clock.
//!
//! A beacon alone makes this device do nothing that can be seen. Somebody may have recorded it elsewhere, and waits for who
//! stirs. Only one that says to have heard a beacon of this device, of the last minutes, was made now and for here.
//! Nothing of this is written down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use fieldbook_proto::lan::{Beacon, HEARD_MAX, Mark, Salt, mark};

/// For how long, in milliseconds, a beacon of this device counts that another one says to have heard.
const OWN_MS: u64 = 3 * 60_000;
/// For how long a device that was heard is told that it was.
const HEARD_MS: u64 = 2 * 60_000;
/// Beacons of this device that are remembered: in some networks at a time, for as long as they count.
const OWN_MAX: usize = 512;
/// Beacons of others that are known to have come. Those that were forgotten open nothing by themselves.
const SEEN_MAX: usize = 4_096;
/// Devices that are known at a time. Whoever makes up more is of the team.
const DEVICES_MAX: usize = 256;
/// The least time between two visits, whoever it is that is visited.
const PACE_MS: u64 = 1_000;
/// Before the same device is visited again: after a visit that went well, after one that was not needed, and after the first
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
    /// Its own, or a recording: one that came before, or that was made at another address.
    Nothing,
    /// Somebody of the team may be at this address, or somebody who recorded one there.
    Perhaps,
    /// Somebody of the team is there now, who has heard this device.
    There(SocketAddrV4),
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    own: VecDeque<(u64, Salt)>,
    seen: BTreeSet<Salt>,
    seen_order: VecDeque<Salt>,
    devices: BTreeMap<SocketAddrV4, Device>,
    told: u64,
    next_visit_ms: u64,
}

#[derive(Debug)]
struct Device {
    mark: Mark,
    heard_ms: u64,
    /// The number of the last beacon that said so; those that waited longest are told first.
    told: u64,
    visiting: bool,
    not_before_ms: u64,
    failures: u32,
}

impl Nearby {
    /// This device's own beacon goes out.
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
        let at = SocketAddrV4::new(from, beacon.port);
        self.note(now_ms, at, mark(&salt));
        let counts = |(sent_ms, own): &(u64, Salt)| {
            now_ms.saturating_sub(*sent_ms) <= OWN_MS && beacon.heard.contains(&mark(own))
        };
        if self.own.iter().any(counts) { Heard::There(at) } else { Heard::Perhaps }
    }

    /// Whether this is another device's beacon, made at the address that it comes from, which has not come before.
    pub fn is_new(&mut self, from: Ipv4Addr, salt: Salt, beacon: &Beacon) -> bool {
        if beacon.address != from.to_ipv6_mapped().octets()
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

    fn note(&mut self, now_ms: u64, at: SocketAddrV4, mark: Mark) {
        if let Some(device) = self.devices.get_mut(&at) {
            (device.mark, device.heard_ms) = (mark, now_ms);
            return;
        }
        if self.devices.len() >= DEVICES_MAX {
            let idle = self.devices.iter().filter(|(_, device)| !device.visiting);
            let oldest = idle.min_by_key(|(_, device)| device.heard_ms).map(|(at, _)| *at);
            let Some(oldest) = oldest else { return };
            self.devices.remove(&oldest);
        }
        let new = Device { mark, heard_ms: now_ms, told: 0, visiting: false, not_before_ms: 0, failures: 0 };
        self.devices.insert(at, new);
    }

    /// The marks that the next beacon tells: of those who were heard and are not connected, whoever waited longest.
    pub fn to_tell(&mut self, now_ms: u64, is_connected: impl Fn(Ipv4Addr) -> bool) -> Vec<Mark> {
        let mut waiting: Vec<&mut Device> = self
            .devices
            .iter_mut()
            .filter(|(at, device)| {
                now_ms.saturating_sub(device.heard_ms) <= HEARD_MS && !is_connected(*at.ip())
            })
            .map(|(_, device)| device)
            .collect();
        waiting.sort_by_key(|device| (device.told, device.heard_ms));
        self.told += 1;
        let told = self.told;
        let next = waiting.into_iter().take(HEARD_MAX);
        next.map(|device| {
            device.told = told;
            device.mark
        })
        .collect()
    }

    /// Whether a device may be visited now; it is then, and [`Nearby::visited`] must follow.
    pub fn visit(&mut self, now_ms: u64, at: SocketAddrV4) -> bool {
        let Some(device) = self.devices.get_mut(&at) else { return false };
        if device.visiting || now_ms < device.not_before_ms || now_ms < self.next_visit_ms {
            return false;
        }
        device.visiting = true;
        self.next_visit_ms = now_ms.saturating_add(PACE_MS);
        true
    }

    /// A visit has ended.
    pub fn visited(&mut self, now_ms: u64, at: SocketAddrV4, how: Visit) {
        let Some(device) = self.devices.get_mut(&at) else { return };
        device.visiting = false;
        let pause = match how {
            Visit::Went => AGAIN_MS,
            Visit::NotNeeded => NOT_NEEDED_MS,
            Visit::Failed => {
                FAILED_MS.saturating_mul(2_u64.saturating_pow(device.failures)).min(FAILED_MAX_MS)
            }
        };
        device.failures = if how == Visit::Failed { device.failures.saturating_add(1) } else { 0 };
        device.not_before_ms = now_ms.saturating_add(pause);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

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
        let mut nearby = Nearby::default();
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
        let mut nearby = Nearby::default();
        nearby.sent(0, salt(1));
        assert_eq!(nearby.hear(0, HERE, salt(1), &beacon(HERE, &[salt(1)])), Heard::Nothing, "its own");
        let good = beacon(THERE, &[salt(1)]);
        assert_eq!(nearby.hear(0, HERE, salt(2), &good), Heard::Nothing, "from elsewhere");
        assert_eq!(nearby.hear(0, THERE, salt(2), &good), Heard::There(at(THERE)));
        assert_eq!(nearby.hear(0, THERE, salt(2), &good), Heard::Nothing, "again");
    }

    #[test]
    fn whoever_waited_longest_is_told_first_and_who_is_connected_is_not() {
        let mut nearby = Nearby::default();
        let address = |n: u32| Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + n);
        for n in 0..20 {
            nearby.hear(u64::from(n), address(n), salt(n), &beacon(address(n), &[]));
        }
        let mut all: Vec<Mark> = Vec::new();
        for _ in 0..3 {
            let told = nearby.to_tell(100, |at| at == address(3));
            assert!(told.len() <= HEARD_MAX);
            all.extend(told);
        }
        let told: BTreeSet<Mark> = all.iter().copied().collect();
        assert_eq!(told.len(), 19, "each within three beacons");
        assert!(!told.contains(&mark(&salt(3))));
        assert!(nearby.to_tell(100 + HEARD_MS, |_| false).is_empty(), "they are gone");
    }

    #[test]
    fn visits_are_few_whatever_is_heard() {
        let mut nearby = Nearby::default();
        nearby.hear(0, THERE, salt(1), &beacon(THERE, &[]));
        nearby.hear(0, HERE, salt(2), &beacon(HERE, &[]));
        assert!(nearby.visit(0, at(THERE)));
        assert!(!nearby.visit(PACE_MS, at(THERE)), "it is being visited");
        assert!(!nearby.visit(PACE_MS - 1, at(HERE)), "one at a time");
        assert!(nearby.visit(PACE_MS, at(HERE)));
        assert!(!nearby.visit(9_999, SocketAddrV4::new(THERE, 1)), "who was never heard");
        nearby.visited(2_000, at(THERE), Visit::Went);
        assert!(!nearby.visit(2_000 + AGAIN_MS - 1, at(THERE)) && nearby.visit(2_000 + AGAIN_MS, at(THERE)));
        let mut now = 1 << 20;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            nearby.visited(now, at(THERE), Visit::Failed);
            let pause = nearby.devices[&at(THERE)].not_before_ms - now;
            pauses.push(pause / 1_000);
            now += pause;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600, 600]);
        nearby.visited(now, at(THERE), Visit::NotNeeded);
        assert!(nearby.visit(now + NOT_NEEDED_MS, at(THERE)));
    }

    #[test]
    fn memory_is_bounded_and_who_is_visited_stays_known() {
        let mut nearby = Nearby::default();
        nearby.hear(0, THERE, salt(0), &beacon(THERE, &[]));
        assert!(nearby.visit(0, at(THERE)));
        for n in 1..10_000_u32 {
            let from = Ipv4Addr::from_bits(0x0a00_0000 + n);
            nearby.sent(u64::from(n), salt(n | 0x8000_0000));
            nearby.hear(u64::from(n), from, salt(n), &beacon(from, &[]));
        }
        assert_eq!((nearby.own.len(), nearby.devices.len()), (OWN_MAX, DEVICES_MAX));
        assert_eq!((nearby.seen.len(), nearby.seen_order.len()), (SEEN_MAX, SEEN_MAX));
        assert!(nearby.devices.contains_key(&at(THERE)));
    }
}
