//! Datagrams to everybody in the networks that this device is in, for LAN discovery (`protocol/lan.md`): the socket
//! that hears them, and one for each that is sent, so that no port of this device stays the same.
//!
//! IPv4's broadcast, and no multicast group: joining one is told to the network, again and again, also by who only
//! listens.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

/// Where beacons go, by UDP.
pub const PORT: u16 = 27_183;
/// Networks that a device sends to at a time.
const NETWORKS_MAX: usize = 16;
/// How the interfaces are called that lead to whoever runs a tunnel, and to no network around this device.
const TUNNELS: [&str; 6] = ["tun", "wg", "ppp", "ipsec", "utun", "tailscale"];

/// Hears what is sent to [`PORT`]. Several vaults of one machine can.
///
/// # Errors
/// Another program has the port to itself.
pub fn hearing() -> io::Result<tokio::net::UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    tokio::net::UdpSocket::from_std(UdpSocket::from(socket))
}

/// A network that this device is in, and a socket that sends one datagram to all of it.
#[derive(Debug)]
pub struct Network {
    /// This device's address there.
    pub own: Ipv4Addr,
    socket: UdpSocket,
}

impl Network {
    /// All of them, as they are now, each with a socket of its own at a port that chance chose.
    pub fn all() -> Vec<Self> {
        let routes = fs::read_to_string("/proc/self/net/route");
        // Where the system does not say: the one that its routes lead to.
        let broadcasts = routes.map_or_else(|_| vec![Ipv4Addr::BROADCAST], |routes| broadcasts(&routes));
        broadcasts.into_iter().filter_map(|to| Self::towards(to).ok()).collect()
    }

    fn towards(broadcast: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        socket.set_broadcast(true)?;
        // Sends nothing, and tells which of this device's addresses the datagram will have.
        socket.connect(SocketAddrV4::new(broadcast, PORT))?;
        match socket.local_addr()? {
            SocketAddr::V4(own) if !own.ip().is_unspecified() => Ok(Self { own: *own.ip(), socket }),
            _ => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Sends it to everybody there; the socket has done its work then.
    ///
    /// # Errors
    /// The network is gone.
    pub fn send(self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).map(drop)
    }
}

/// The broadcast addresses of the networks in the kernel's table of routes: name, destination, gateway, flags, three
/// numbers, mask, in hexadecimal and in the machine's own order of bytes.
fn broadcasts(routes: &str) -> Vec<Ipv4Addr> {
    const UP: u32 = 1;
    let mut found = Vec::new();
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
        if !is_network || TUNNELS.iter().any(|tunnel| name.starts_with(tunnel)) {
            continue;
        }
        let broadcast = Ipv4Addr::from_bits(to | !mask);
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
            route("tun0", [10, 9, 0, 0], [0; 4], "0001", [255, 255, 255, 0]),
            route("eth4", [192, 0, 2, 4], [0; 4], "0005", [255; 4]),
            route("eth5", [192, 0, 2, 6], [0; 4], "0001", [255, 255, 255, 254]),
            "short\t01\nnot\tnumbers\tat\tall\t1\t1\t1\t1\n\n".to_owned(),
        ];
        let expected = [Ipv4Addr::new(192, 168, 1, 255), Ipv4Addr::new(10, 11, 255, 255)];
        assert_eq!(broadcasts(&table.concat()), expected);
        let many: Vec<String> =
            (0..99).map(|n| route("e", [10, n, 0, 0], [0; 4], "0001", [255, 255, 0, 0])).collect();
        assert_eq!(broadcasts(&many.concat()).len(), NETWORKS_MAX);
        assert!(broadcasts("\u{0}é\tFFFFFFFFF\t-1\t\u{7f}").is_empty());
    }
}
