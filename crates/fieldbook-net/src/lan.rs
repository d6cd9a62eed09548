//! Datagrams to everybody in the networks that this device is in, for LAN discovery (`protocol/lan.md`): a socket in each
//! that hears them and nothing else, and one for each that is sent, so that no port of this device stays the same.
//!
//! IPv4's broadcast, and no multicast group: joining one is told to the network, again and again, also by who only
//! listens.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};
use rustix::time::{ClockId, clock_gettime};

/// Where beacons go, by UDP.
pub const PORT: u16 = 27_183;
/// Networks that a device is in at a time, as far as beacons go.
const NETWORKS_MAX: usize = 16;
/// What the kernel lists of each interface of Ethernet's kind that is up: the group of all that speak IPv4. Tunnels of
/// packets (WireGuard, tun, PPP, most modems), whatever they are called, have no such addresses.
const ALL_HOSTS: &str = "01005e000001";
/// How interfaces are called that look like Ethernet and lead to whoever runs a tunnel or a telephone network, or to
/// nobody but this machine.
const ELSEWHERE: [&str; 25] = [
    "tun",
    "tap",
    "wg",
    "ppp",
    "ipsec",
    "utun",
    "tailscale",
    "zt",
    "ham",
    "nord",
    "proton",
    "nebula",
    "vpn",
    "wwan",
    "rmnet",
    "ccmni",
    "docker",
    "podman",
    "cni",
    "virbr",
    "veth",
    "vmnet",
    "vbox",
    "lxc",
    "dummy",
];
/// The clock that goes on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Milliseconds since this machine was started, those that it slept among them.
pub fn now_ms() -> u64 {
    let now = clock_gettime(CLOCK);
    let number = |part: i64| u64::try_from(part).unwrap_or(0);
    number(now.tv_sec).saturating_mul(1_000).saturating_add(number(now.tv_nsec) / 1_000_000)
}

/// A network that this device is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// This device's address there.
    pub own: Ipv4Addr,
    /// The address of all in it.
    pub everybody: Ipv4Addr,
    /// How many bits its addresses have in common.
    pub prefix: u32,
}

impl Network {
    /// All of them, as they are now; none where the system does not say.
    pub fn all() -> Vec<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        let found = broadcasts(&read("route"), &read("dev_mcast")).into_iter();
        let mut all: Vec<Self> = found.filter_map(|(to, prefix)| Self::towards(to, prefix).ok()).collect();
        // Two routes may end at one address: the narrower network counts.
        all.sort_by_key(|network| (network.everybody, Reverse(network.prefix)));
        all.dedup_by_key(|network| network.everybody);
        all
    }

    /// Sends nothing: by connecting, the kernel tells.
    fn towards(everybody: Ipv4Addr, prefix: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let to = SocketAddrV4::new(everybody, PORT);
        // What it refuses to whoever has not asked for everybody is an address of everybody.
        match socket.connect(to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
        }
        socket.set_broadcast(true)?;
        socket.connect(to)?;
        match socket.local_addr()? {
            SocketAddr::V4(own) => Some(Self { own: *own.ip(), everybody, prefix }),
            SocketAddr::V6(_) => None,
        }
        .filter(|network| network.spans(network.own))
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix)).unwrap_or(0)
    }

    fn spans(&self, address: Ipv4Addr) -> bool {
        let all = self.everybody.to_bits();
        (address.to_bits() ^ all) & self.mask() == 0
            && address != self.everybody
            && address.to_bits() != all & self.mask()
    }

    /// Whether this is the address of one other machine there.
    pub fn is_another(&self, address: Ipv4Addr) -> bool {
        self.spans(address) && address != self.own
    }

    /// Hears what is sent to everybody there at [`PORT`]: nothing that is sent to this device alone, and nothing of other
    /// networks. Several vaults of one machine can.
    ///
    /// # Errors
    /// Another program has the port to itself; the network is gone.
    pub fn ear(&self) -> io::Result<tokio::net::UdpSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddr::from((self.everybody, PORT)))?;
        tokio::net::UdpSocket::from_std(UdpSocket::from(socket))
    }

    /// Sends it to everybody there, from this device's address and a port that chance chooses.
    ///
    /// # Errors
    /// The network is gone.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let socket = UdpSocket::bind((self.own, 0))?;
        socket.set_nonblocking(true)?;
        socket.set_broadcast(true)?;
        socket.send_to(datagram, (self.everybody, PORT)).map(drop)
    }
}

/// Whether beacons go to an interface of this name.
fn is_around(name: &str) -> bool {
    // As Docker calls a network that it was not given a name for.
    let is_made_up = name
        .strip_prefix("br-")
        .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let name = name.to_ascii_lowercase();
    !is_made_up && !ELSEWHERE.iter().any(|elsewhere| name.starts_with(elsewhere))
}

/// The broadcast addresses of the networks in the kernel's table of routes, and how many bits all in them have in common:
/// name, destination, gateway, flags, three numbers, mask, in hexadecimal and in the machine's own order of bytes.
/// `groups` is the kernel's list of what its interfaces hear: number, name, two numbers, address.
fn broadcasts(routes: &str, groups: &str) -> Vec<(Ipv4Addr, u32)> {
    const UP: u32 = 1;
    let is_ethernet = |name: &str| {
        groups.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.nth(1) == Some(name) && words.nth(2) == Some(ALL_HOSTS)
        })
    };
    let mut found: Vec<(Ipv4Addr, u32)> = Vec::new();
    for line in routes.lines() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let mut number = |skip: usize| words.nth(skip).and_then(|word| u32::from_str_radix(word, 16).ok());
        let (Some(to), Some(gateway), Some(flags), Some(mask)) = (number(0), number(0), number(0), number(3))
        else {
            continue;
        };
        let (to, mask) = (u32::from_be_bytes(to.to_ne_bytes()), u32::from_be_bytes(mask.to_ne_bytes()));
        let is_network = gateway == 0 && flags & UP != 0 && (1..31).contains(&mask.leading_ones());
        if !is_network || !is_around(name) || !is_ethernet(name) {
            continue;
        }
        let broadcast = (Ipv4Addr::from_bits(to | !mask), mask.leading_ones());
        if !found.contains(&broadcast) && found.len() < NETWORKS_MAX {
            found.push(broadcast);
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// As a machine of the other kind would say it, too.
    fn hex(address: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(address))
    }

    fn route(name: &str, to: [u8; 4], gateway: [u8; 4], flags: &str, mask: [u8; 4]) -> String {
        format!("{name}\t{}\t{}\t{flags}\t0\t0\t600\t{}\t0\t0\t0\n", hex(to), hex(gateway), hex(mask))
    }

    /// Interfaces that are up and of Ethernet's kind.
    fn groups(names: &[&str]) -> String {
        let lines = names.iter().map(|name| {
            format!("4    {name:<15} 1     0     333300000001\n4    {name:<15} 1     0     {ALL_HOSTS}\n")
        });
        lines.collect()
    }

    #[test]
    fn networks_around_this_device_are_found_and_what_lies_behind_routers_is_not() {
        let table = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned(),
            route("wlan0", [0; 4], [192, 168, 1, 1], "0003", [0; 4]),
            route("wlan0", [192, 168, 1, 0], [0; 4], "0001", [255, 255, 255, 0]),
            route("eth0", [10, 8, 0, 0], [0; 4], "0001", [255, 252, 0, 0]),
            route("eth1", [192, 168, 1, 0], [0; 4], "0001", [255, 255, 255, 0]),
            route("eth2", [172, 16, 0, 0], [192, 168, 1, 2], "0003", [255, 255, 0, 0]),
            route("eth3", [172, 17, 0, 0], [0; 4], "0000", [255, 255, 0, 0]),
            route("eth4", [192, 0, 2, 4], [0; 4], "0005", [255; 4]),
            route("eth5", [192, 0, 2, 6], [0; 4], "0001", [255, 255, 255, 254]),
            "short\t01\nnot\tnumbers\tat\tall\t1\t1\t1\t1\n\n".to_owned(),
        ];
        let groups = groups(&["wlan0", "eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "e"]);
        let expected = [(Ipv4Addr::new(192, 168, 1, 255), 24), (Ipv4Addr::new(10, 11, 255, 255), 14)];
        assert_eq!(broadcasts(&table.concat(), &groups), expected);
        let many: Vec<String> =
            (0..99).map(|n| route("e", [10, n, 0, 0], [0; 4], "0001", [255, 255, 0, 0])).collect();
        assert_eq!(broadcasts(&many.concat(), &groups).len(), NETWORKS_MAX);
        assert!(broadcasts("\u{0}é\tFFFFFFFFF\t-1\t\u{7f}", &groups).is_empty());
        // Where the system says nothing of its interfaces there is no network.
        assert!(broadcasts(&table.concat(), "").is_empty() && broadcasts("", &groups).is_empty());
    }

    #[test]
    fn tunnels_and_networks_of_this_machine_alone_are_no_networks_around_it() {
        let found = |name: &str, groups: &str| {
            !broadcasts(&route(name, [10, 9, 0, 0], [0; 4], "0001", [255, 255, 255, 0]), groups).is_empty()
        };
        for name in ["eth0", "wlp3s0", "enx00e04c680001", "usb0", "br0", "br-lan", "here"] {
            assert!(found(name, &groups(&[name])), "{name}");
            // The same name, and no Ethernet beneath.
            assert!(!found(name, &groups(&["other"])), "{name}");
            assert!(!found(name, &format!("4 {name} 1 0 333300000001\n")), "{name}");
        }
        for name in [
            "tun0",
            "tap0",
            "zt7nnig3xx",
            "ztabc",
            "nordlynx",
            "proton0",
            "ham0",
            "nebula1",
            "wwan0",
            "rmnet_data0",
            "docker0",
            "br-0123456789ab",
            "virbr0",
            "veth12ab",
            "vmnet8",
            "vboxnet0",
            "VPN",
            "wg0",
            "tailscale0",
        ] {
            assert!(!found(name, &groups(&[name])), "{name}");
        }
    }

    #[test]
    fn a_network_holds_the_addresses_of_its_machines_and_no_others() {
        let of = |everybody: [u8; 4], prefix, own: [u8; 4]| Network {
            own: own.into(),
            everybody: everybody.into(),
            prefix,
        };
        let home = of([192, 168, 1, 255], 24, [192, 168, 1, 7]);
        for (address, is) in [
            ([192, 168, 1, 1], true),
            ([192, 168, 1, 254], true),
            ([192, 168, 1, 7], false),
            ([192, 168, 1, 0], false),
            ([192, 168, 1, 255], false),
            ([192, 168, 2, 1], false),
            ([192, 168, 0, 1], false),
            ([10, 77, 0, 1], false),
            ([127, 0, 0, 1], false),
            ([224, 0, 0, 1], false),
            ([255; 4], false),
            ([0; 4], false),
        ] {
            assert_eq!(home.is_another(address.into()), is, "{address:?}");
        }
        let wide = of([10, 11, 255, 255], 14, [10, 8, 0, 1]);
        assert!(wide.is_another([10, 9, 1, 255].into()) && !wide.is_another([10, 12, 0, 1].into()));
        let small = of([192, 0, 2, 7], 30, [192, 0, 2, 5]);
        assert!(small.is_another([192, 0, 2, 6].into()) && !small.is_another([192, 0, 2, 4].into()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_clock_counts_what_the_machine_slept() {
        assert_eq!(CLOCK, ClockId::Boottime);
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((now_ms() as f64 / 1_000. - seconds).abs() < 3_600.);
    }
}
