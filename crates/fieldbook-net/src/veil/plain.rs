//! Who speaks plain QUIC with a port that is run unveiled as well: the addresses that began so. Nothing goes out in the
//! plain to anybody else, least of all to a device that came in a box and is not known any more.

use std::collections::HashSet;
use std::mem;
use std::net::SocketAddr;

/// After so many others an address is forgotten from which nothing came meanwhile, at the latest after twice as many.
const MAX: usize = 1 << 15;

/// The addresses.
#[derive(Debug, Default)]
pub(super) struct Plain {
    now: HashSet<SocketAddr>,
    before: HashSet<SocketAddr>,
}

impl Plain {
    /// Whether a datagram that is no box is taken: it begins, or its sender has begun.
    pub fn takes(&mut self, from: SocketAddr, begins: bool) -> bool {
        let known = self.now.contains(&from);
        if !known && (begins || self.before.contains(&from)) {
            if self.now.len() >= MAX {
                self.before = mem::take(&mut self.now);
            }
            return self.now.insert(from);
        }
        known
    }

    /// Whether this address is answered as it spoke.
    pub fn has(&self, address: &SocketAddr) -> bool {
        self.now.contains(address) || self.before.contains(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        (n.to_be_bytes(), 4_433).into()
    }

    #[test]
    fn whoever_began_is_known_while_it_speaks_and_memory_is_bounded() {
        let mut plain = Plain::default();
        assert!(!plain.takes(at(0), false) && !plain.has(&at(0)));
        assert!(plain.takes(at(0), true) && plain.takes(at(1), true));
        for n in 2..200_000 {
            assert!(plain.takes(at(n), true));
            if n % 1_000 == 0 {
                assert!(plain.takes(at(0), false), "{n}");
            }
        }
        assert!(plain.has(&at(0)) && !plain.has(&at(1)) && !plain.takes(at(1), false));
        assert!(plain.now.len() + plain.before.len() <= 2 * MAX);
    }
}
