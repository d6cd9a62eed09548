//! LAN discovery: this device tells its team that it is in this network, and visits whoever of it has heard that.
//! Off unless it was asked for. `protocol/lan.md`.
//!
//! [`keys`] tells the team's beacons from noise, [`nearby`] decides who is visited, [`visit`] is one session with
//! whoever that is. What goes out goes by the clock and by chance, never in answer to anything that came.

mod keys;
mod nearby;
mod visit;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldbook_net::lan::{Network, hearing};
use fieldbook_proto::lan::Beacon;
use fieldbook_proto::session::TransportSecret;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance;
use crate::control::LanStatus;
use crate::error::DaemonError;
use crate::identity;
use crate::serve::Serving;
use crate::store::now_ms;
use keys::{Keys, Opened};
use nearby::{Heard, Nearby};

/// Between two beacons; chance decides how long it is.
const PAUSE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(16));
/// Before the first, and between the beacons of two networks at most.
const FIRST: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(400);
/// So many datagrams are looked at, and then none until this time is over: 20,000 a second at most. Of more, chance
/// decides which the system still has room for, and beacons come again.
const BATCH: usize = 200;
const BATCH_TIME: Duration = Duration::from_millis(10);
/// Visits at a time.
const VISITS_MAX: usize = 16;
/// How often it is looked whether the last visit has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How LAN discovery stands.
pub(crate) struct Lan {
    serving: Arc<Serving>,
    /// Where this device listens by UDP.
    bound: Vec<SocketAddr>,
    began: Instant,
    inside: Mutex<Inside>,
    visits: AtomicUsize,
}

#[derive(Default)]
struct Inside {
    keys: Keys,
    nearby: Nearby,
    status: LanStatus,
}

impl Lan {
    /// Opens the port at which beacons come.
    ///
    /// # Errors
    /// Another program has it to itself.
    pub fn begin(
        serving: Arc<Serving>,
        bound: &[SocketAddr],
        secrets: &[TransportSecret],
    ) -> Result<(Arc<Self>, UdpSocket), DaemonError> {
        let cannot = "the port of LAN discovery (27183 by UDP) cannot be used";
        let socket = hearing().map_err(DaemonError::io(cannot))?;
        let inside = Mutex::<Inside>::default();
        let lan = Self {
            serving,
            bound: bound.to_vec(),
            began: Instant::now(),
            inside,
            visits: AtomicUsize::new(0),
        };
        lan.lock().keys.set_secrets(secrets.to_vec());
        Ok((Arc::new(lan), socket))
    }

    pub fn status(&self) -> LanStatus {
        LanStatus { sessions: self.visits() as u64, ..self.lock().status.clone() }
    }

    /// Visits that are under way.
    pub fn visits(&self) -> usize {
        self.visits.load(Relaxed)
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

    /// Tells and hears, for as long as the daemon runs.
    pub async fn run(self: Arc<Self>, socket: UdpSocket) {
        tokio::join!(self.tell(), self.hear(&socket));
    }

    async fn tell(&self) {
        sleep(FIRST.mul_f64(chance::share())).await;
        loop {
            tokio::task::block_in_place(|| self.renew());
            let mut networks = Network::all();
            networks.retain(|network| port_at(&self.bound, network.own).is_some());
            self.lock().status.networks = networks.len() as u64;
            for network in networks {
                self.send(network);
                sleep(BETWEEN.mul_f64(chance::share())).await;
            }
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
        let now_ms = self.now_ms();
        let mut inside = self.lock();
        let Some(key) = inside.keys.own(now_s()) else { return };
        let met = &self.serving.met;
        let heard = inside.nearby.to_tell(now_ms, |at| met.is_at(IpAddr::V4(at)));
        let beacon = Beacon { address: network.own.to_ipv6_mapped().octets(), port, heard };
        // Before it goes: it may come back at once.
        inside.nearby.sent(now_ms, salt);
        if network.send(&key.seal(salt, &beacon)).is_ok() {
            inside.status.sent += 1;
        }
    }

    async fn hear(self: &Arc<Self>, socket: &UdpSocket) {
        let mut visits = JoinSet::new();
        // One byte more than a beacon has: what is longer is seen to be.
        let mut bytes = [0; fieldbook_proto::lan::LEN + 1];
        loop {
            if socket.readable().await.is_err() {
                sleep(BATCH_TIME).await;
                continue;
            }
            let until = Instant::now() + BATCH_TIME;
            for _ in 0..BATCH {
                let Ok((len, from)) = socket.try_recv_from(&mut bytes) else { break };
                let IpAddr::V4(from) = from.ip() else { continue };
                let Some(at) = self.judge(from, &bytes[..len]) else { continue };
                let lan = self.clone();
                self.visits.fetch_add(1, Relaxed);
                visits.spawn(async move {
                    // Also when this task is ended from outside.
                    let _leaves = Leaves(&lan.visits);
                    let how = visit::visit(at, &lan.serving).await;
                    lan.lock().nearby.visited(lan.now_ms(), at, how);
                });
            }
            while visits.try_join_next().is_some() {}
            sleep_until(until).await;
        }
    }

    /// Who is to be visited because of a datagram.
    fn judge(&self, from: Ipv4Addr, datagram: &[u8]) -> Option<std::net::SocketAddrV4> {
        let mut inside = self.lock();
        let Inside { keys, nearby, status } = &mut *inside;
        let at = match keys.open(now_s(), datagram) {
            Opened::Nothing => return None,
            Opened::Older(salt, beacon) => {
                if nearby.is_new(from, salt, &beacon) {
                    status.earlier_ms = Some(now_ms());
                }
                return None;
            }
            Opened::Newest(salt, beacon) => {
                let heard = nearby.hear(self.now_ms(), from, salt, &beacon);
                if heard != Heard::Nothing {
                    status.heard_ms = Some(now_ms());
                }
                match heard {
                    Heard::There(at) => at,
                    Heard::Nothing | Heard::Perhaps => return None,
                }
            }
        };
        let may = self.visits() < VISITS_MAX && !self.serving.met.is_at(IpAddr::V4(*at.ip()));
        (may && nearby.visit(self.now_ms(), at)).then_some(at)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
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
mod tests {
    use super::*;

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
