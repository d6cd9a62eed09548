//! At which addresses another device can reach a socket of this one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address itself, or, for a socket bound to all of them, this machine's addresses with its port: the
/// one that leads elsewhere first, loopback last. A socket bound to all addresses of version 6 hears those of
/// version 4 too.
pub fn addresses(bound: SocketAddr) -> Vec<String> {
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    let mut hosts: Vec<IpAddr> = towards_elsewhere(bound.is_ipv6()).into_iter().collect();
    if bound.is_ipv6() {
        hosts.extend(version_6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    }
    hosts.extend(version_4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4));
    hosts.push(Ipv4Addr::LOCALHOST.into());
    let mut named: Vec<String> = Vec::new();
    for host in hosts {
        let address = SocketAddr::new(host, bound.port()).to_string();
        if !named.contains(&address) {
            named.push(address);
        }
    }
    named
}

/// An address of loopback would send the other device to itself; it stays only when there is no other.
pub fn for_another_device(mut addresses: Vec<String>) -> Vec<String> {
    let here = |address: &String| address.parse().is_ok_and(|at: SocketAddr| at.ip().is_loopback());
    if !addresses.iter().all(here) {
        addresses.retain(|address| !here(address));
    }
    addresses.dedup();
    addresses
}

/// Without sending anything: which address would be used to reach elsewhere (192.0.2.0/24 and 2001:db8::/32
/// are for documentation, RFC 5737 and 3849). There is none where no route leads out, as on a hotspot.
fn towards_elsewhere(six: bool) -> Option<IpAddr> {
    let (own, far) = if six { ("[::]:0", "[2001:db8::1]:9") } else { ("0.0.0.0:0", "192.0.2.1:9") };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// What the kernel shows of its networks; nothing where it does not.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The addresses of this machine in the kernel's table of routes: each is a host route of its own, marked
/// `LOCAL`, under a line with the address.
fn version_4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found
                .extend(last.filter(|address: &Ipv4Addr| !address.is_loopback() && !found.contains(address)));
        }
    }
    found
}

/// The global addresses of this machine: 32 hexadecimal digits, index, length of the prefix, scope, flags
/// and name of the interface in each line. Addresses of one link need the name of the *other* machine's
/// interface, so nobody could use them.
fn version_6(if_inet6: &str) -> Vec<Ipv6Addr> {
    const GLOBAL: &str = "00";
    /// Deprecated, tentative, or taken by somebody else.
    const UNUSABLE: u8 = 0x20 | 0x40 | 0x08;
    let mut found = Vec::new();
    for line in if_inet6.lines() {
        let mut words = line.split_whitespace();
        let (Some(digits), Some(scope), Some(flags)) = (words.next(), words.nth(2), words.next()) else {
            continue;
        };
        let usable = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & UNUSABLE == 0);
        if let (true, true, Ok(bits)) = (scope == GLOBAL, usable, u128::from_str_radix(digits, 16)) {
            found.push(Ipv6Addr::from_bits(bits));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_on_all_addresses_is_named_by_this_machines_own() {
        let named = addresses(([0, 0, 0, 0], 4040).into());
        assert!(named.contains(&"127.0.0.1:4040".to_owned()), "{named:?}");
        assert!(!named.iter().any(|address| address.starts_with("0.0.0.0")), "{named:?}");
        assert_eq!(addresses(([127, 0, 0, 1], 7).into()), ["127.0.0.1:7"]);
        let both = addresses((Ipv6Addr::UNSPECIFIED, 7).into());
        assert!(both.contains(&"127.0.0.1:7".to_owned()), "{both:?}");
        assert!(!both.iter().any(|address| address.starts_with("[::]")), "{both:?}");
    }

    #[test]
    fn addresses_of_interfaces_are_found_without_a_route_out() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           \
                    /32 host LOCAL\n        |-- 127.255.255.255\n           /32 link BROADCAST\n     \
                    +-- 192.168.43.0/24 2 0 2\n        |-- 192.168.43.0\n           /24 link UNICAST\n        \
                    |-- 192.168.43.1\n           /32 host LOCAL\nLocal:\n        |-- 192.168.43.1\n           \
                    /32 host LOCAL\n        |-- 192.168.43.255\n           /32 link BROADCAST\n";
        assert_eq!(version_4(trie), [Ipv4Addr::new(192, 168, 43, 1)]);
        assert!(version_4("nonsense\n|-- x\n/32 host LOCAL\n").is_empty());
        let table = "fd000000000000000000000000000002 04 40 00 82     eth0\n\
                     fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                     20010db8000000000000000000000005 04 40 00 40     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(version_6(table), ["fd00::2".parse::<Ipv6Addr>().unwrap()]);
        assert!(version_6("\nnonsense\n").is_empty());
    }
}
