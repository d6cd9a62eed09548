//! The devices that a daemon dials and stays with: a relay, a coordinator.
//!
//! Each address has a task of its own. It dials by the ways that may be taken, stays as long as the connection
//! stands, and begins anew when it breaks: after a pause that doubles up to five minutes and of which chance takes a part,
//! so that two hundred devices do not all come back in the same second. When the machine was asleep, or the
//! clock jumped, nothing of what was connected is believed and all is dialled anew.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fieldbook_net::channel::Way;
use fieldbook_net::signals::Signals;
use fieldbook_proto::session::{Event, Side};
use tokio::time::sleep;

use crate::connection::{self, How};
use crate::control::CallStatus;
use crate::courier::{went_silent, why};
use crate::dial::{self, Dialling, Reached, Road, Tried, Ways};
use crate::identity::Identity;
use crate::relays;
use crate::serve::Serving;
use crate::store::now_ms;

/// The longest pause between two tries, and after a sync with a device that does not stay.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The longest pause after the first failure.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LEAST: Duration = Duration::from_millis(200);
/// How often it is looked for whom this device knows by now.
const LOOK: Duration = Duration::from_secs(60);
/// How often the clocks are compared, and by how much they may differ.
const CLOCK: Duration = Duration::from_secs(5);
const CLOCK_SLACK: Duration = Duration::from_secs(10);
/// What was declined is offered again after so long, in a new session.
const DECLINED_AGAIN: Duration = Duration::from_secs(600);
/// How long the endpoint may take to say that it is gone.
const LAST_WORD: Duration = Duration::from_millis(20);

/// Whom a daemon dials, and how.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// `HOST:PORT` each.
    pub with: Vec<String>,
    /// Also every device that was reached before.
    pub known: bool,
    /// The ways that may be taken, and how fast all sessions of the daemon may be together.
    pub dialling: Dialling,
}

/// How the calls stand, by address.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, CallStatus>>);

impl Board {
    pub fn all(&self) -> Vec<CallStatus> {
        self.lock().values().cloned().collect()
    }

    /// Waits until nobody is connected.
    pub async fn quiet(&self) {
        while self.lock().values().any(|call| call.connected_ms.is_some()) {
            sleep(LAST_WORD).await;
        }
    }

    /// False if the address stands there already.
    fn enter(&self, address: &str) -> bool {
        let mut calls = self.lock();
        if calls.contains_key(address) {
            return false;
        }
        let status = CallStatus { address: address.to_owned(), ..CallStatus::default() };
        calls.insert(address.to_owned(), status);
        true
    }

    fn change(&self, address: &str, change: impl FnOnce(&mut CallStatus)) {
        if let Some(status) = self.lock().get_mut(address) {
            change(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CallStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dials everybody, for as long as the daemon runs.
pub(crate) async fn call_all(calls: Calls, serving: Arc<Serving>, board: Arc<Board>) {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch_the_clocks(serving.clone()));
    loop {
        let mut addresses = calls.with.clone();
        if calls.known
            && let Ok(peers) = serving.depot.peers()
        {
            addresses.extend(peers.into_iter().filter_map(|peer| peer.address));
        }
        for address in addresses {
            if board.enter(&address) {
                tasks.spawn(keep(address, calls.dialling.ways, serving.clone(), board.clone()));
            }
        }
        sleep(LOOK).await;
    }
}

/// Stays with whoever is at this address.
async fn keep(address: String, ways: Ways, serving: Arc<Serving>, board: Arc<Board>) {
    let (mut signals, mut renewed) = (serving.hub.signals(), serving.hub.signals());
    let mut failures = 0;
    loop {
        let ended = call(&address, ways, &serving, &board, &mut signals).await;
        let pause = match &ended {
            Ended::Renew => {
                failures = 0;
                Duration::ZERO
            }
            Ended::Over => {
                failures = 0;
                pause(u32::MAX, chance())
            }
            Ended::Broke { stayed, .. } => {
                failures = if *stayed { 0 } else { failures + 1 };
                pause(failures, chance())
            }
        };
        let next_try_ms = now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        board.change(&address, |status| {
            (status.connected_ms, status.path) = (None, None);
            status.next_try_ms = Some(next_try_ms);
            if let Ended::Broke { why, .. } = ended {
                status.last_error = Some(why);
            }
        });
        tokio::select! {
            () = sleep(pause) => {}
            () = signals.hurry() => {}
            () = renewed.renew() => failures = 0,
        }
    }
}

/// How a call ended.
enum Ended {
    /// As it should; the other does not stay, or left.
    Over,
    /// The machine slept, or somebody wants it anew.
    Renew,
    /// It did not come about, or broke off; whether both had been in step before.
    Broke { why: String, stayed: bool },
}

async fn call(address: &str, ways: Ways, serving: &Serving, board: &Board, signals: &mut Signals) -> Ended {
    board.change(address, |status| status.next_try_ms = None);
    let identity = match Identity::load(serving.depot.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return Ended::Broke { why: error.to_string(), stayed: false },
    };
    let mut tried: Vec<Tried> = Vec::new();
    let (mut stayed, mut back) = (false, 0);
    let mut roads = dial::roads(address, ways, &mut tried).await;
    roads.reverse();
    while let Some(road) = roads.pop() {
        let reached = tokio::select! {
            reached = dial::reach(&road, &identity.transport, &mut tried) => reached,
            () = signals.renew() => return Ended::Renew,
        };
        let Some(Reached { link, endpoint }) = reached else { continue };
        let (way, ending, key) = (link.way, link.ending(), link.peer_key());
        let identity = identity.in_epoch(back);
        let (mut met, mut running) = (false, None);
        let declined = AtomicBool::new(false);
        let mut on_event = |event: &Event| match event {
            Event::Met(peer) => {
                met = true;
                running = Some(serving.met.enter(peer.as_ref().clone(), ending.clone()));
                board.change(address, |status| {
                    status.connected_ms = Some(now_ms());
                    status.path = Some(way.word().to_owned());
                    status.last_error = None;
                });
            }
            Event::AtRest { .. } => stayed = true,
            Event::DeclinedByPeer(_) => declined.store(true, Relaxed),
            _ => {}
        };
        let staying = Some(serving.hub.signals());
        let how = How {
            address: Some(address.to_owned()),
            staying,
            limit: serving.limit.clone(),
            patience: serving.patience,
        };
        let side = Side::Client;
        let depot = &serving.depot;
        let session = connection::session(link, side, &identity, depot, how, &mut on_event);
        let done = tokio::select! {
            done = session => Some(done),
            () = signals.renew() => None,
            () = offer_again(&declined) => None,
        };
        drop(running);
        let Some((summary, result)) = done else {
            ending.end();
            return Ended::Renew;
        };
        if let Some(endpoint) = endpoint {
            let _ = tokio::time::timeout(LAST_WORD, endpoint.wait_idle()).await;
        }
        serving.received.fetch_add(summary.received, Relaxed);
        serving.sent.fetch_add(summary.sent, Relaxed);
        match result {
            Ok(()) => {
                serving.done.fetch_add(1, Relaxed);
                return Ended::Over;
            }
            Err(failure) if !met && relays::may_go_back(&failure, back, &identity, depot.as_ref(), &key) => {
                back += 1;
                roads.push(road);
            }
            Err(failure) => {
                back = 0;
                serving.failed.fetch_add(1, Relaxed);
                if let (Way::Quic, Road::Straight(target), true) = (way, &road, went_silent(&failure)) {
                    roads.push(Road::StraightTcp(*target));
                }
                tried.push(Tried { way: Some(way), why: why(&failure, met) });
                if stayed {
                    break;
                }
            }
        }
    }
    Ended::Broke { why: dial::in_words(&tried), stayed }
}

/// Ends when it is time to offer again what was declined.
async fn offer_again(declined: &AtomicBool) {
    while !declined.load(Relaxed) {
        sleep(LOOK).await;
    }
    sleep(DECLINED_AGAIN).await;
}

/// A laptop that was closed wakes up with connections that nobody holds any more at the other end.
async fn watch_the_clocks(serving: Arc<Serving>) {
    loop {
        let (before, wall) = (Instant::now(), SystemTime::now());
        sleep(CLOCK).await;
        if jumped(before.elapsed(), wall.elapsed().ok()) {
            (serving.log)("the clock jumped, or this device slept: connections are made anew");
            serving.hub.renew();
        }
    }
}

/// Whether more, or less, time went by than was waited for. The wall's is none if it went backwards.
fn jumped(elapsed: Duration, wall: Option<Duration>) -> bool {
    let wall = wall.unwrap_or_default();
    elapsed.abs_diff(wall) > CLOCK_SLACK || elapsed > CLOCK + CLOCK_SLACK
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32, chance: f64) -> Duration {
    let most = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(PAUSE_MAX);
    most.mul_f64(chance).max(PAUSE_LEAST)
}

/// From 0 to 1. No secret hangs on it.
fn chance() -> f64 {
    let random = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_chance_takes_a_part() {
        let longest: Vec<u64> = (1..=12).map(|failures| pause(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pause(5, 0.5), Duration::from_secs(8));
        assert_eq!(pause(u32::MAX, 0.0), PAUSE_LEAST);
        let some = chance();
        assert!((0.0..=1.0).contains(&some) && (0..20).any(|_| (chance() - some).abs() > 1e-6));
    }

    #[test]
    fn sleep_and_a_clock_that_is_set_are_noticed_and_a_slow_machine_is_not() {
        let s = Duration::from_secs;
        assert!(!jumped(s(5), Some(s(5))) && !jumped(s(9), Some(s(8))) && !jumped(s(5), None));
        assert!(jumped(s(5), Some(s(3_600))), "the monotonic clock stands still in sleep");
        assert!(jumped(s(5), Some(s(16))) && jumped(s(12), None));
        assert!(jumped(s(60), Some(s(60))), "stopped for a minute");
    }
}
