//! LAN discovery: this device tells its team that it is in this network, and visits whoever of it has heard that.
//! Off unless it was asked for. `protocol/lan.md`.
//!
//! [`keys`] tells the team's beacons from noise, [`nearby`] decides who is visited, [`visit`] is one session with
//! whoever that is. What goes out goes by the clock and by chance, never in answer to anything that came.

mod keys;
mod nearby;
mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldbook_net::lan::{Network, now_ms as clock};
use fieldbook_proto::lan::Beacon;
use fieldbook_proto::session::TransportSecret;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance;
use crate::control::LanStatus;
use crate::identity;
use crate::serve::Serving;
use crate::store::now_ms;
use crate::veiled::Veiled;
use keys::{Keys, Opened};
use nearby::{Heard, Nearby, Visit};

/// Between two beacons; chance decides how long it is, in each network for itself.
const PAUSE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(16));
/// Before the first.
const FIRST: Duration = Duration::from_secs(2);
/// How often it is looked in which networks this device is.
const WHERE: Duration = Duration::from_secs(4);
/// So many datagrams are looked at, and then none until this time is over: 10,000 a second at most in a network. Of more,
/// chance decides which the system still has room for, and beacons come again.
const BATCH: usize = 100;
const BATCH_TIME: Duration = Duration::from_millis(10);
/// Visits at a time.
const VISITS_MAX: usize = 16;
/// How often it is looked whether the last visit has ended.
const LOOK: Duration = Duration::from_millis(20);
/// As exactly as the owner is told when somebody was heard.
const MINUTE_MS: i64 = 60_000;

/// How LAN discovery stands.
pub(crate) struct Lan {
    serving: Arc<Serving>,
    /// Where this device listens by UDP.
    bound: Vec<SocketAddr>,
    veiled: Option<Arc<Veiled>>,
    inside: Mutex<Inside>,
    visits: AtomicUsize,
    left: AtomicBool,
}

#[derive(Default)]
struct Inside {
    keys: Keys,
    /// What is known of each network that this device is in. What was known of one that it has left is gone.
    places: BTreeMap<Network, Nearby>,
    status: LanStatus,
}

impl Inside {
    /// This device is in these networks now.
    fn is_in(&mut self, networks: &[Network]) {
        self.places.retain(|network, _| networks.contains(network));
        for network in networks {
            self.places.entry(*network).or_insert_with(|| Nearby::new(*network));
        }
        self.status.networks = networks.len() as u64;
    }

    /// Where somebody was heard who may come because of it.
    fn admitted(&self, now_ms: u64) -> BTreeSet<IpAddr> {
        self.places.values().flat_map(|nearby| nearby.admitted(now_ms)).map(IpAddr::V4).collect()
    }

    /// Who says by a datagram to have heard this device.
    fn judge(
        &mut self,
        (now_ms, unix_ms): (u64, i64),
        network: Network,
        (from, is_met): (Ipv4Addr, bool),
        datagram: &[u8],
    ) -> Option<SocketAddrV4> {
        // From itself, by whichever network, or from elsewhere.
        if !network.is_another(from) || self.places.keys().any(|network| network.own == from) {
            return None;
        }
        let Self { keys, places, status } = self;
        let nearby = places.get_mut(&network)?;
        let minute = unix_ms - unix_ms.rem_euclid(MINUTE_MS);
        match keys.open(u64::try_from(unix_ms / 1_000).unwrap_or(0), datagram) {
            Opened::Nothing => None,
            Opened::Older(salt, beacon) => {
                if nearby.is_new(from, salt, &beacon) {
                    status.earlier_ms = Some(minute);
                }
                None
            }
            Opened::Newest(salt, beacon) => {
                let heard = nearby.hear(now_ms, from, salt, &beacon);
                // Else it may be a recording, and no word of it is said.
                if matches!(heard, Heard::There(_)) || (heard == Heard::Perhaps && is_met) {
                    status.heard_ms = Some(minute);
                }
                match heard {
                    Heard::There(at) => Some(at),
                    Heard::Nothing | Heard::Perhaps => None,
                }
            }
        }
    }
}

impl Lan {
    pub fn new(
        serving: Arc<Serving>,
        bound: &[SocketAddr],
        veiled: Option<Arc<Veiled>>,
        secrets: &[TransportSecret],
    ) -> Arc<Self> {
        let lan = Self {
            serving,
            bound: bound.to_vec(),
            veiled,
            inside: Mutex::default(),
            visits: AtomicUsize::new(0),
            left: AtomicBool::new(false),
        };
        lan.lock().keys.set_secrets(secrets.to_vec());
        Arc::new(lan)
    }

    pub fn status(&self) -> LanStatus {
        LanStatus { sessions: self.visits() as u64, ..self.lock().status.clone() }
    }

    /// Visits that are under way.
    pub fn visits(&self) -> usize {
        self.visits.load(Relaxed)
    }

    /// From now on nothing is told, and nobody visited any more.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
        // Whoever looks whether it may sees it, once this is free again.
        drop(self.lock());
    }

    fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// Waits until there is none.
    pub async fn quiet(&self) {
        while self.visits() > 0 {
            sleep(LOOK).await;
        }
    }

    /// Takes the secrets that the vault has learnt of meanwhile.
    pub fn renew(&self) {
        // While they cannot be read those of before hold: sessions say what is wrong with the depot.
        if let Ok(secrets) = identity::secrets(self.serving.depot.as_ref()) {
            self.lock().keys.set_secrets(secrets);
        }
    }

    /// Tells and hears in each network that this device is in, for as long as the daemon runs.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut running = BTreeMap::new();
        let mut told = false;
        while !self.has_left() {
            let networks = tokio::task::block_in_place(|| self.networks());
            running.retain(|network, task: &mut tokio::task::AbortHandle| {
                let stays = networks.contains(network) && !task.is_finished();
                if !stays {
                    task.abort();
                }
                stays
            });
            let mut heard = Vec::new();
            for network in networks {
                if running.contains_key(&network) {
                    heard.push((network, None));
                    continue;
                }
                match network.ear() {
                    Ok(ear) => heard.push((network, Some(ear))),
                    Err(_) if told => {}
                    Err(error) => {
                        told = true;
                        (self.serving.log)(&format!(
                            "the port of LAN discovery (27183 by UDP) cannot be used: {error}"
                        ));
                    }
                }
            }
            let networks: Vec<Network> = heard.iter().map(|(network, _)| *network).collect();
            self.lock().is_in(&networks);
            for (network, ear) in heard {
                if let Some(ear) = ear {
                    running.insert(network, tasks.spawn(self.clone().look_around(network, ear)));
                }
            }
            self.let_in();
            while tasks.try_join_next().is_some() {}
            sleep(WHERE).await;
        }
    }

    /// Those where this device can be dialled.
    fn networks(&self) -> Vec<Network> {
        let mut networks = Network::all();
        networks.retain(|network| port_at(&self.bound, network.own).is_some());
        networks
    }

    /// Whoever was heard may come, where only those may.
    fn let_in(&self) {
        if let Some(veiled) = &self.veiled {
            let inside = self.lock();
            veiled.heard(inside.admitted(clock()));
        }
    }

    async fn look_around(self: Arc<Self>, network: Network, ear: UdpSocket) {
        tokio::join!(self.tell(network), self.hear(network, &ear));
    }

    async fn tell(&self, network: Network) {
        sleep(FIRST.mul_f64(chance::share())).await;
        while !self.has_left() {
            tokio::task::block_in_place(|| {
                self.renew();
                self.send(network);
            });
            let (least, most) = PAUSE;
            sleep(least + (most - least).mul_f64(chance::share())).await;
        }
    }

    fn send(&self, network: Network) {
        let Some(port) = port_at(&self.bound, network.own) else { return };
        let mut salt = [0; 16];
        if getrandom::fill(&mut salt).is_err() {
            return;
        }
        let now_ms = clock();
        let mut inside = self.lock();
        let Inside { keys, places, status } = &mut *inside;
        let (Some(key), Some(nearby), false) = (keys.own(now_s()), places.get_mut(&network), self.has_left())
        else {
            return;
        };
        let met = &self.serving.met;
        let heard = nearby.next_told(now_ms, |at| met.is_at(IpAddr::V4(at)));
        let beacon = Beacon { address: network.own.to_ipv6_mapped().octets(), port, heard };
        // Before it goes: it may come back at once.
        nearby.sent(now_ms, salt);
        if network.send(&key.seal(salt, &beacon)).is_ok() {
            status.sent += 1;
        }
    }

    async fn hear(self: &Arc<Self>, network: Network, ear: &UdpSocket) {
        // One byte more than a beacon has: what is longer is seen to be.
        let mut bytes = [0; fieldbook_proto::lan::LEN + 1];
        while !self.has_left() {
            if ear.readable().await.is_err() {
                sleep(BATCH_TIME).await;
                continue;
            }
            let until = Instant::now() + BATCH_TIME;
            for _ in 0..BATCH {
                let Ok((len, from)) = ear.try_recv_from(&mut bytes) else { break };
                let IpAddr::V4(from) = from.ip() else { continue };
                let Some(at) = self.judge(network, from, &bytes[..len]) else { continue };
                let lan = self.clone();
                // It goes on when this device leaves the network, as any session does for as long as it can.
                tokio::spawn(async move {
                    // Also when this task is ended from outside.
                    let _leaves = Leaves(&lan.visits);
                    let how = visit::visit(at, &lan.serving).await;
                    lan.ended(network, *at.ip(), how);
                });
            }
            sleep_until(until).await;
        }
    }

    /// Whether somebody is visited now; it counts as a visit then.
    fn begins(&self, network: Network, at: SocketAddrV4) -> bool {
        let mut inside = self.lock();
        let Some(nearby) = inside.places.get_mut(&network) else { return false };
        let may = !self.has_left()
            && self.visits() < VISITS_MAX
            && !self.serving.met.is_at(IpAddr::V4(*at.ip()))
            && nearby.visit(clock(), *at.ip());
        if may {
            self.visits.fetch_add(1, Relaxed);
        }
        may
    }

    fn ended(&self, network: Network, at: Ipv4Addr, how: Visit) {
        if let Some(nearby) = self.lock().places.get_mut(&network) {
            nearby.visited(clock(), at, how);
        }
    }

    /// Who is to be visited because of a datagram; it counts as a visit then.
    fn judge(&self, network: Network, from: Ipv4Addr, datagram: &[u8]) -> Option<SocketAddrV4> {
        if datagram.len() != fieldbook_proto::lan::LEN {
            return None;
        }
        let now = (clock(), now_ms());
        let is_met = self.serving.met.is_at(IpAddr::V4(from));
        let at = {
            let mut inside = self.lock();
            let was = inside.places.get(&network).is_some_and(|nearby| nearby.is_admitted(now.0, from));
            let at = inside.judge(now, network, (from, is_met), datagram);
            let is = inside.places.get(&network).is_some_and(|nearby| nearby.is_admitted(now.0, from));
            if let Some(veiled) = &self.veiled
                && is
                && !was
            {
                veiled.heard(inside.admitted(now.0));
            }
            at?
        };
        if !self.begins(network, at) {
            return None;
        }
        // It may have been carried elsewhere a moment ago.
        if !self.networks().contains(&network) {
            self.visits.fetch_sub(1, Relaxed);
            self.ended(network, *at.ip(), Visit::Failed);
            return None;
        }
        Some(at)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One visit less when it is dropped.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn now_s() -> u64 {
    u64::try_from(now_ms() / 1000).unwrap_or(0)
}

/// The port by which this device can be dialled at one of its addresses. A socket of IPv6 that is bound to all of
/// them hears IPv4, too.
fn port_at(bound: &[SocketAddr], own: Ipv4Addr) -> Option<u16> {
    let hears = |at: &&SocketAddr| at.ip().is_unspecified() || at.ip().to_canonical() == IpAddr::V4(own);
    bound.iter().find(hears).map(SocketAddr::port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, SqlDepot};
    use fieldbook_proto::DepotId;

    use super::*;
    use crate::dial::Dialling;

    const UNIX_MS: i64 = 1_800_000_000_000 + 61_234;
    const MINUTE: Option<i64> = Some(1_800_000_000_000 + 60_000);

    fn secret(epoch: u8) -> TransportSecret {
        TransportSecret::new(epoch.into(), [epoch; 32])
    }

    fn network(third: u8) -> Network {
        let address = |last| Ipv4Addr::new(192, 168, third, last);
        Network { own: address(2), everybody: address(255), prefix: 24 }
    }

    fn inside(epochs: &[u8], networks: &[Network]) -> Inside {
        let mut inside = Inside::default();
        inside.keys.set_secrets(epochs.iter().copied().map(secret).collect());
        inside.is_in(networks);
        inside
    }

    /// A beacon of another device.
    fn sealed(epoch: u8, number: u8, from: Ipv4Addr, heard: &[u8]) -> Vec<u8> {
        let heard = heard.iter().map(|number| fieldbook_proto::lan::mark(&[*number; 16])).collect();
        let beacon = Beacon { address: from.to_ipv6_mapped().octets(), port: 4040, heard };
        let mut keys = Keys::default();
        keys.set_secrets(vec![secret(epoch)]);
        keys.own(UNIX_MS as u64 / 1_000).unwrap().seal([number; 16], &beacon).to_vec()
    }

    #[test]
    fn networks_are_kept_apart_and_what_was_known_of_one_that_was_left_is_gone() {
        let (home, cable) = (network(1), network(5));
        let mut inside = inside(&[2], &[home, cable]);
        inside.places.get_mut(&home).unwrap().sent(0, [1; 16]);
        let at = |third| Ipv4Addr::new(192, 168, third, 7);
        let judge = |inside: &mut Inside, network, number, third| {
            let datagram = sealed(2, number, at(third), &[1]);
            inside.judge((1_000, UNIX_MS), network, (at(third), false), &datagram)
        };
        assert_eq!(judge(&mut inside, cable, 10, 5), None, "what went to the one is heard in the other");
        assert_eq!(judge(&mut inside, home, 11, 5), None, "an address of the other");
        assert_eq!(judge(&mut inside, home, 12, 1), Some(SocketAddrV4::new(at(1), 4040)));
        let told = |inside: &mut Inside, network| {
            inside.places.get_mut(&network).unwrap().next_told(1_000, |_| false)
        };
        assert_eq!(told(&mut inside, home), [[12; 8]]);
        assert_eq!(told(&mut inside, cable), [[10; 8]]);
        assert_eq!(inside.admitted(1_000), BTreeSet::from([at(1).into(), at(5).into()]));
        // Away and back, within the minutes for which a beacon counts.
        inside.is_in(&[cable]);
        assert_eq!(inside.admitted(1_000), BTreeSet::from([at(5).into()]));
        inside.is_in(&[home, cable]);
        assert_eq!(judge(&mut inside, home, 13, 1), None);
        assert_eq!(inside.status.networks, 2);
    }

    #[test]
    fn who_is_many_in_one_network_is_told_there_however_often_another_has_its_turn() {
        let (home, cable) = (network(1), network(5));
        let mut inside = inside(&[2], &[home, cable]);
        for number in 10..26 {
            let from = Ipv4Addr::new(192, 168, 1, number);
            inside.judge((0, UNIX_MS), home, (from, false), &sealed(2, number, from, &[]));
        }
        let mut told = BTreeSet::new();
        for _ in 0..2 {
            let of = |inside: &mut Inside, network| {
                inside.places.get_mut(&network).unwrap().next_told(0, |_| false)
            };
            told.extend(of(&mut inside, home));
            assert!(of(&mut inside, cable).is_empty());
        }
        assert_eq!(told.len(), 16);
    }

    #[test]
    fn it_is_said_that_somebody_was_heard_if_it_can_be_no_recording_and_to_the_minute() {
        let home = network(1);
        let from = Ipv4Addr::new(192, 168, 1, 7);
        let heard = |inside: &mut Inside, met, datagram: &[u8]| {
            inside.judge((0, UNIX_MS), home, (from, met), datagram);
            (inside.status.heard_ms, inside.status.earlier_ms)
        };
        let mut ours = inside(&[2, 1], &[home]);
        ours.places.get_mut(&home).unwrap().sent(0, [1; 16]);
        assert_eq!(heard(&mut ours, false, &sealed(2, 10, from, &[9])), (None, None));
        assert_eq!(heard(&mut ours, false, &sealed(1, 11, from, &[1])), (None, MINUTE));
        assert_eq!(heard(&mut ours, false, &sealed(2, 12, from, &[1])), (MINUTE, MINUTE));
        // Where a session stands with it no mark of it is told.
        let mut ours = inside(&[2], &[home]);
        assert_eq!(heard(&mut ours, true, &sealed(2, 13, from, &[])), (MINUTE, None));
        let mut ours = inside(&[2], &[home]);
        assert_eq!(heard(&mut ours, true, &sealed(1, 14, from, &[])), (None, None));
    }

    #[test]
    fn a_beacon_from_an_address_of_this_device_is_its_own_by_whichever_network_it_comes() {
        let home = network(1);
        let wifi = Network { own: Ipv4Addr::new(192, 168, 1, 3), ..home };
        let mut inside = inside(&[2], &[home, wifi]);
        inside.places.get_mut(&home).unwrap().sent(0, [1; 16]);
        let datagram = sealed(2, 10, wifi.own, &[1]);
        assert_eq!(inside.judge((0, UNIX_MS), home, (wifi.own, false), &datagram), None);
        let other = Ipv4Addr::new(192, 168, 1, 4);
        let datagram = sealed(2, 11, other, &[1]);
        assert!(inside.judge((0, UNIX_MS), home, (other, false), &datagram).is_some());
    }

    #[test]
    fn once_it_leaves_it_tells_nobody_and_begins_no_visit() {
        let dir = tempfile::tempdir().unwrap();
        let key = DepotKey::new([7; 32]);
        let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
        let serving = Arc::new(Serving::new(Arc::new(depot), Dialling::default(), Arc::new(|_: &str| {})));
        let lan = Lan::new(serving, &["0.0.0.0:4040".parse().unwrap()], None, &[secret(2)]);
        // Loopback: its beacons stay here.
        let everybody = Ipv4Addr::new(127, 255, 255, 255);
        let network = Network { own: Ipv4Addr::LOCALHOST, everybody, prefix: 8 };
        let at = |last| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 4040);
        lan.lock().is_in(&[network]);
        for last in [5, 6] {
            let datagram = sealed(2, last, *at(last).ip(), &[]);
            lan.lock().judge((clock(), UNIX_MS), network, (*at(last).ip(), false), &datagram);
        }
        lan.send(network);
        assert!(lan.begins(network, at(5)));
        assert_eq!((lan.status().sent, lan.status().sessions), (1, 1));
        lan.ended(network, *at(5).ip(), Visit::Went);
        // Longer than the pause between two visits.
        std::thread::sleep(Duration::from_millis(1_100));
        lan.leave();
        lan.send(network);
        assert!(!lan.begins(network, at(6)));
        assert_eq!((lan.status().sent, lan.status().sessions), (1, 1));
    }

    #[test]
    fn a_beacon_names_a_port_that_can_be_dialled_there() {
        let own = Ipv4Addr::new(192, 168, 1, 7);
        let at = |bound: &[&str]| {
            port_at(&bound.iter().map(|at| at.parse().expect("an address")).collect::<Vec<_>>(), own)
        };
        assert_eq!(at(&["127.0.0.1:1", "192.168.1.7:2", "0.0.0.0:3"]), Some(2));
        assert_eq!(at(&["[::1]:1", "[::]:4"]), Some(4));
        assert_eq!(at(&["127.0.0.1:1", "192.168.1.8:2", "[::1]:3"]), None);
        assert_eq!(at(&[]), None);
    }
}
