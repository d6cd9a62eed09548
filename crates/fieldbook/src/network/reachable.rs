//! At which addresses another device can reach a socket of this one.

use std::net::{SocketAddr, UdpSocket};

/// The address itself, or, for a socket bound to all of them, this machine's addresses with its port.
pub fn addresses(bound: SocketAddr) -> Vec<String> {
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    own_addresses().iter().map(|host| format!("{host}:{}", bound.port())).collect()
}

/// Addresses of this machine, without sending anything: which one would be used to reach elsewhere
/// (192.0.2.0/24 and 2001:db8::/32 are for documentation, RFC 5737 and 3849), and loopback.
fn own_addresses() -> Vec<String> {
    let towards = |own: &str, far: &str| {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(far).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let outside = [towards("0.0.0.0:0", "192.0.2.1:9")];
    let mut hosts: Vec<String> = outside.into_iter().flatten().map(|ip| ip.to_string()).collect();
    hosts.push("127.0.0.1".to_owned());
    hosts.dedup();
    hosts
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
    }
}
