//! How many connections of one address may be open before they have shown that they are of the team.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Devices behind one address show who they are in milliseconds; so many may do it at the same time.
const PER_ADDRESS: usize = 8;

/// The strangers of every address. Nothing is remembered of an address without any.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, usize>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    among: Arc<Strangers>,
    network: IpAddr,
}

impl Strangers {
    /// Lets one more in, unless its address has too many already.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let network = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Stranger { among: self.clone(), network })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.among.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// With IPv6 one subscriber has at least 2^64 addresses: they count as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_few_and_those_who_leave_make_room() {
        let strangers = Arc::new(Strangers::default());
        let enter = |address: &str| strangers.enter(address.parse().unwrap());
        let mut inside: Vec<_> = (0..PER_ADDRESS).map(|_| enter("192.0.2.1").unwrap()).collect();
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("::ffff:192.0.2.1").is_none(), "the same in other clothes");
        assert!(enter("192.0.2.2").is_some());
        inside.pop();
        inside.push(enter("192.0.2.1").unwrap());
        let six: Vec<_> = (0..PER_ADDRESS).map(|n| enter(&format!("2001:db8::{n}")).unwrap()).collect();
        assert!(enter("2001:db8::ffff").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((inside, six));
        assert!(strangers.0.lock().unwrap().is_empty());
    }
}
