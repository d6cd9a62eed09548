//! How many connections of one address may be open before they have shown that they are of the team.
//!
//! By TCP an address is proven, so a newcomer takes the place of the one that has hesitated longest: many
//! devices can be behind one address (all that come through Tor to an onion service are), and who opens
//! connections and says nothing does not keep them out. By UDP an address can be anybody's invention, so
//! nobody loses a place to it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Devices behind one address show who they are in milliseconds; so many may do it at the same time.
const PER_ADDRESS: usize = 8;

/// The strangers of every address. Nothing is remembered of an address without any.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<Inside>);

/// A stranger's number, and how it can be sent away.
type Waiting = (u64, Option<Arc<Notify>>);

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// The oldest first; whoever can be sent away can be told so.
    of: HashMap<IpAddr, VecDeque<Waiting>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    among: Arc<Strangers>,
    network: IpAddr,
    number: u64,
}

impl Strangers {
    /// Lets one more in by UDP, unless its address has too many already.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        self.admit(address, None)
    }

    /// Lets one more in by TCP. When its address has too many, the oldest of them that came by TCP is told to
    /// go by its `leave`; nobody gets in if there is none.
    pub fn enter_proven(self: &Arc<Self>, address: IpAddr, leave: Arc<Notify>) -> Option<Stranger> {
        self.admit(address, Some(leave))
    }

    fn admit(self: &Arc<Self>, address: IpAddr, leave: Option<Arc<Notify>>) -> Option<Stranger> {
        let network = network(address);
        let mut inside = self.lock();
        let number = inside.next;
        inside.next += 1;
        let here = inside.of.entry(network).or_default();
        if here.len() >= PER_ADDRESS {
            leave.as_ref()?;
            let oldest = here.iter().position(|(_, leave)| leave.is_some())?;
            if let Some((_, Some(leave))) = here.remove(oldest) {
                leave.notify_one();
            }
        }
        here.push_back((number, leave));
        Some(Stranger { among: self.clone(), network, number })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut inside = self.among.lock();
        if let Some(here) = inside.of.get_mut(&self.network) {
            here.retain(|(number, _)| *number != self.number);
            if here.is_empty() {
                inside.of.remove(&self.network);
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
        assert!(strangers.lock().of.is_empty());
    }

    #[tokio::test]
    async fn by_tcp_the_oldest_makes_room_and_by_udp_nobody_does() {
        let strangers = Arc::new(Strangers::default());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let by_udp = strangers.enter(address).unwrap();
        let leaves: Vec<_> = (0..PER_ADDRESS).map(|_| Arc::new(Notify::new())).collect();
        let inside: Vec<_> =
            leaves.iter().map(|leave| strangers.enter_proven(address, leave.clone()).unwrap()).collect();
        // The first that came by TCP was told to go, for the last; the rest and the one by UDP stay.
        leaves[0].notified().await;
        assert!(strangers.enter(address).is_none());
        for leave in &leaves[1..] {
            assert!(tokio::time::timeout(std::time::Duration::ZERO, leave.notified()).await.is_err());
        }
        drop((by_udp, inside));
        assert!(strangers.lock().of.is_empty());
    }
}
