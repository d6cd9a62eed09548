//! Connections that have not shown yet that they are of the team, and which of them makes room when there are
//! too many.
//!
//! Whoever comes from an address that it has proven gets in, always: when all places are taken, one of those
//! inside goes, of the network that has most of them. So who fills the places from networks of its own keeps
//! nobody of another network out, and of those who share an address (all that come through Tor to an onion
//! service do, and many behind one router) chance decides, rather than who came first: whoever is quick has
//! shown who it is long before. By UDP an address can be anybody's invention before it has answered: such
//! connections have a few places of their own, and beyond them an address is made to prove itself first.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::chance;
use crate::ending::{Ending, Why};

/// Strangers at a time whose address is proven. Strangers keep no device of the team out of a session.
const PLACES: usize = 256;
/// Those who were told to go go within moments; so many may be on their way out.
const ALIVE: usize = 2 * PLACES;
/// Handshakes by UDP at a time from addresses that are not proven.
const UNPROVEN: usize = 16;
/// So many of one address have a place in any case; beyond, half of what others leave free.
const PER_ADDRESS: usize = 8;
/// For the handshake, and as long again for the hello.
const TERM: Duration = Duration::from_secs(10);
/// The same when more than half of the places are taken.
const TERM_CROWDED: Duration = Duration::from_secs(5);

/// All of them. Nothing is remembered of an address without any.
#[derive(Debug)]
pub(crate) struct Strangers {
    inside: Mutex<Inside>,
    alive: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    networks: Networks,
    /// Its handshake is done: it has shown a key, and the hello is under way.
    shaken: bool,
    ending: Arc<Ending>,
}

/// An address as parts of ever smaller networks: what one subscriber, one customer and one provider's branch
/// may have to themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Networks([IpAddr; 3]);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    among: Arc<Strangers>,
    /// Its place among those whose address is proven.
    number: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            inside: Mutex::default(),
            alive: Arc::new(Semaphore::new(ALIVE)),
            unproven: Arc::new(Semaphore::new(UNPROVEN)),
        }
    }
}

impl Strangers {
    /// Lets one more in whose address is proven. Another may be told to go for it. Nobody gets in only while
    /// those who were told so have not gone.
    pub fn enter(self: &Arc<Self>, address: IpAddr, ending: Arc<Ending>) -> Option<Stranger> {
        let permit = self.alive.clone().try_acquire_owned().ok()?;
        let networks = Networks::of(address);
        let mut inside = self.lock();
        if let Some(leaves) = inside.who_makes_room(networks, chance::number())
            && let Some(waiting) = inside.waiting.remove(&leaves)
        {
            waiting.ending.end(Why::Stranger);
        }
        let number = inside.next;
        inside.next += 1;
        inside.waiting.insert(number, Waiting { networks, shaken: false, ending });
        Some(Stranger { among: self.clone(), number: Some(number), _permit: permit })
    }

    /// Lets one more in whose address is not proven; none when the next has to prove it first.
    pub fn enter_unproven(self: &Arc<Self>) -> Option<Stranger> {
        let permit = self.unproven.clone().try_acquire_owned().ok()?;
        Some(Stranger { among: self.clone(), number: None, _permit: permit })
    }

    /// How long the handshake may take, or the hello.
    pub fn term(&self) -> Duration {
        if self.lock().waiting.len() > PLACES / 2 { TERM_CROWDED } else { TERM }
    }

    /// Ends a session in which nobody was met within the term: whoever shakes hands and then says nothing has a place for a
    /// while only.
    pub async fn put_out_unless(&self, is_met: impl Fn() -> bool, ending: &Ending) -> Infallible {
        sleep(self.term()).await;
        if !is_met() {
            ending.end(Why::Stranger);
        }
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Who goes so that one of these networks gets in; nobody if there is room.
    fn who_makes_room(&self, newcomer: Networks, chance: u64) -> Option<u64> {
        if self.waiting.len() >= PLACES {
            return self.one_of_the_most(newcomer, chance);
        }
        // Loopback is whoever comes through Tor, or another program here that passes connections on.
        if newcomer.address().is_loopback() {
            return None;
        }
        let here = |waiting: &&Waiting| waiting.networks.address() == newcomer.address();
        let at_it = self.waiting.values().filter(here).count();
        let others = self.waiting.len() - at_it;
        if at_it < PER_ADDRESS.max((PLACES - others) / 2) {
            return None;
        }
        let here = self.waiting.iter().filter(|(_, waiting)| here(waiting));
        one_of(here.map(|(number, waiting)| (*number, waiting)).collect(), chance)
    }

    /// One of the largest network that has most, of the smaller one in it that has most, and so on. The
    /// newcomer counts with its own.
    fn one_of_the_most(&self, newcomer: Networks, chance: u64) -> Option<u64> {
        let mut left: Vec<(u64, &Waiting)> = self.waiting.iter().map(|(n, waiting)| (*n, waiting)).collect();
        for size in 0..newcomer.0.len() {
            let mut number: HashMap<IpAddr, usize> = HashMap::new();
            for (_, waiting) in &left {
                *number.entry(waiting.networks.0[size]).or_default() += 1;
            }
            if let Some(own) = number.get_mut(&newcomer.0[size]) {
                *own += 1;
            }
            let most = number.values().max().copied()?;
            left.retain(|(_, waiting)| number.get(&waiting.networks.0[size]) == Some(&most));
        }
        one_of(left, chance)
    }
}

/// Any, but first of those whose handshake is not done.
fn one_of(mut left: Vec<(u64, &Waiting)>, chance: u64) -> Option<u64> {
    if left.iter().any(|(_, waiting)| !waiting.shaken) {
        left.retain(|(_, waiting)| !waiting.shaken);
    }
    let which = usize::try_from(chance % (left.len().max(1) as u64)).unwrap_or(0);
    left.get(which).map(|(number, _)| *number)
}

impl Stranger {
    /// Whether its address is proven.
    pub fn is_proven(&self) -> bool {
        self.number.is_some()
    }

    /// Its handshake is done.
    pub fn shaken(&self) {
        let mut inside = self.among.lock();
        // Not there if it was told to go.
        if let Some(waiting) = self.number.and_then(|number| inside.waiting.get_mut(&number)) {
            waiting.shaken = true;
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.among.lock().waiting.remove(&number);
        }
    }
}

impl Networks {
    /// With IPv6 one subscriber has at least 2^64 addresses: they count as one.
    fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let part = |bits: [u32; 2]| match address {
            IpAddr::V4(address) => {
                IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(32 - bits[0]).unwrap_or(0)).into())
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits[1]))))
            }
        };
        Self([part([24, 48]), part([32, 56]), part([32, 64])])
    }

    /// What counts as one address.
    const fn address(&self) -> IpAddr {
        self.0[2]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    struct Crowd {
        strangers: Arc<Strangers>,
        inside: Vec<(Stranger, Arc<Ending>)>,
    }

    impl Crowd {
        fn new() -> Self {
            Self { strangers: Arc::default(), inside: Vec::new() }
        }

        fn comes(&mut self, address: &str) -> Arc<Ending> {
            let ending = Arc::<Ending>::default();
            let stranger = self.strangers.enter(address.parse().unwrap(), ending.clone()).unwrap();
            self.inside.push((stranger, ending.clone()));
            // Whoever is told to go does.
            self.inside.retain(|(_, ending)| ending.why().is_none());
            ending
        }
    }

    #[test]
    fn who_fills_all_places_from_networks_of_its_own_keeps_nobody_else_out() {
        for fill in [
            // One customer's /56, one provider's /48, 32 addresses of one /24, and many of one.
            (|n| format!("2001:db8:0:{:x}::1", n % 256)) as fn(usize) -> String,
            |n| format!("2001:db8:0:{:x}::1", n % 256 * 256),
            |n| format!("192.0.2.{}", n % 32),
        ] {
            let mut crowd = Crowd::new();
            (0..4 * PLACES).for_each(|n| drop(crowd.comes(&fill(n))));
            assert_eq!(crowd.inside.len(), PLACES);
            let member = crowd.comes("198.51.100.7");
            let slow = crowd.comes("2001:db8:ffff::7");
            (0..4 * PLACES).for_each(|n| drop(crowd.comes(&fill(n))));
            assert_eq!((member.why(), slow.why()), (None, None), "{}", fill(7));
            assert_eq!(crowd.inside.len(), PLACES);
        }
    }

    #[test]
    fn from_ever_so_many_networks_whoever_comes_still_gets_in() {
        let mut crowd = Crowd::new();
        for n in 0..2 * PLACES {
            assert_eq!(crowd.comes(&format!("10.{}.{}.1", n / 256, n % 256)).why(), None);
        }
        assert_eq!(crowd.inside.len(), PLACES);
        crowd.inside.clear();
        assert!(crowd.strangers.lock().waiting.is_empty());
    }

    #[test]
    fn one_address_has_half_of_what_others_leave_and_beyond_makes_room_for_itself() {
        let mut crowd = Crowd::new();
        (0..PLACES).for_each(|_| drop(crowd.comes("192.0.2.1")));
        assert_eq!(crowd.inside.len(), PLACES / 2);
        assert_eq!(crowd.comes("::ffff:192.0.2.1").why(), None, "the same in other clothes");
        assert_eq!(crowd.inside.len(), PLACES / 2);
        assert_eq!(crowd.strangers.term(), TERM);
        drop(crowd.comes("192.0.2.2"));
        assert_eq!(crowd.strangers.term(), TERM_CROWDED);
        // Tor's, and whatever else passes connections on, counts as many.
        let mut crowd = Crowd::new();
        (0..2 * PLACES).for_each(|_| drop(crowd.comes("127.0.0.1")));
        assert_eq!(crowd.inside.len(), PLACES);
    }

    #[test]
    fn who_has_shaken_hands_goes_last_and_else_chance_decides() {
        let mut crowd = Crowd::new();
        (0..PLACES).for_each(|_| drop(crowd.comes("127.0.0.1")));
        crowd.inside.iter().take(100).for_each(|(stranger, _)| stranger.shaken());
        let shaken: Vec<_> = crowd.inside.iter().take(100).map(|(_, ending)| ending.clone()).collect();
        // Six connections a second once emptied the places of whoever was slower than that.
        (0..40).for_each(|_| drop(crowd.comes("127.0.0.1")));
        assert!(shaken.iter().all(|ending| ending.why().is_none()));
        let mut crowd = Crowd::new();
        let first: Vec<_> = (0..PLACES).map(|_| crowd.comes("127.0.0.1")).collect();
        (0..PLACES / 4).for_each(|_| drop(crowd.comes("127.0.0.1")));
        let stay = first[..PLACES / 4].iter().filter(|ending| ending.why().is_none()).count();
        assert!((1..PLACES / 4).contains(&stay), "neither the oldest nor the newest go first: {stay}");
    }

    #[test]
    fn those_who_do_not_go_are_bounded_and_nobody_is_sent_away_in_vain() {
        let strangers = Arc::new(Strangers::default());
        let mut endings = Vec::new();
        let come = |endings: &mut Vec<Arc<Ending>>| {
            let ending = Arc::<Ending>::default();
            endings.push(ending.clone());
            strangers.enter("127.0.0.1".parse().unwrap(), ending)
        };
        let inside: Vec<_> = std::iter::from_fn(|| come(&mut endings)).collect();
        assert_eq!(inside.len(), ALIVE);
        let gone = |endings: &[Arc<Ending>]| endings.iter().filter(|ending| ending.why().is_some()).count();
        assert_eq!(gone(&endings), ALIVE - PLACES);
        assert!(come(&mut endings).is_none());
        assert_eq!(gone(&endings), ALIVE - PLACES);
    }

    #[test]
    fn unproven_addresses_have_a_few_places_and_take_none_of_the_proven() {
        let strangers = Arc::new(Strangers::default());
        let unproven: Vec<_> = std::iter::from_fn(|| strangers.enter_unproven()).collect();
        assert_eq!(unproven.len(), UNPROVEN);
        assert!(unproven.iter().all(|stranger| !stranger.is_proven()));
        assert!(strangers.enter("192.0.2.1".parse().unwrap(), Arc::default()).is_some());
    }
}
