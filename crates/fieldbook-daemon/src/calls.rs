//! The devices that a daemon dials and stays with: a relay, a coordinator.
//!
//! Each address has a task of its own. It dials by the ways that may be taken, stays as long as the connection
//! stands, and begins anew when it breaks: after a pause that doubles up to five minutes and of which chance takes a part,
//! so that two hundred devices do not all come back in the same second. When the machine was asleep, or the
//! clock jumped, nothing of what was connected is believed and all is dialled anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use fieldbook_net::channel::Way;
use fieldbook_net::gauge::Gauge;
use fieldbook_net::signals::Signals;
use fieldbook_proto::session::{Event, Side};
use tokio::time::sleep;

use crate::again::Again;
use crate::board::Board;
use crate::connection;
use crate::counts::Counts;
use crate::courier::{went_silent, why};
use crate::dial::{self, Caller, Dialling, Reached, Tried, Ways};
use crate::ending::{Why, report, who};
use crate::identity::Identity;
use crate::known::Known;
use crate::met::Seen;
use crate::serve::Serving;
use crate::store::now_ms;
use crate::{chance, relays};

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
/// A connection that was in step for so long was of use.
const RESTED: Duration = Duration::from_secs(120);

/// Whom a daemon dials, and how.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// `HOST:PORT` each.
    pub with: Vec<String>,
    /// Also every device that was reached before, and was not removed from the team since.
    pub known: bool,
    /// Also whoever of the team is heard in the networks that this device is in, see `crate::lan`.
    pub lan: bool,
    /// The ways that may be taken, and how fast all sessions of the daemon may be together.
    pub dialling: Dialling,
}

/// Dials everybody, for as long as the daemon runs.
pub(crate) async fn call_all(calls: Calls, serving: Arc<Serving>, board: Arc<Board>) {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch_the_clocks(serving.clone()));
    let with: BTreeSet<String> = calls.with.into_iter().collect();
    loop {
        let known = if calls.known {
            Known::of(serving.depot.as_ref()).unwrap_or_default()
        } else {
            Known::default()
        };
        for address in with.union(&known.standing) {
            if board.enter(address) {
                let (named, address) = (with.contains(address), address.clone());
                tasks.spawn(keep(address, named, calls.dialling.ways, serving.clone(), board.clone()));
            }
        }
        // Those that have ended: nobody else asks them.
        while tasks.try_join_next().is_some() {}
        sleep(LOOK).await;
    }
}

/// Stays with whoever is at this address, until that device is removed from the team. An address that the user
/// has `named` keeps its place then, so that the user can be told, and is dialled again when another device
/// was met there.
async fn keep(address: String, named: bool, ways: Ways, serving: Arc<Serving>, board: Arc<Board>) {
    let (mut signals, mut renewed) = (serving.hub.signals(), serving.hub.signals());
    let mut failures = 0;
    let again = Again::default();
    loop {
        let removed = Known::is_removed(serving.depot.as_ref(), &address);
        if removed && !named {
            return board.remove(&address);
        }
        let mut told = false;
        board.change(&address, |status| {
            told = status.removed;
            status.removed = removed;
        });
        if removed {
            if !told {
                (serving.log)(
                    "a device that is to be dialled was removed from the team: its address is dialled no more",
                );
            }
            board.change(&address, |status| status.next_try_ms = None);
            tokio::select! {
                () = sleep(LOOK) => {}
                () = signals.hurry() => {}
            }
            continue;
        }
        let ended = call(&address, ways, &serving, &board, &mut signals, &again).await;
        let pause = match &ended {
            Ended::Renew => {
                failures = 0;
                Duration::ZERO
            }
            Ended::Over => {
                failures = 0;
                pause(u32::MAX, chance::share())
            }
            Ended::Broke { rested, .. } => {
                failures = failures_after(failures, *rested);
                pause(failures, chance::share())
            }
        };
        let next_try_ms = now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        board.change(&address, |status| {
            (status.connected_ms, status.path) = (None, None);
            status.next_try_ms = Some(next_try_ms);
            if let Ended::Broke { why, .. } = ended {
                (status.last_error, status.last_error_ms) = (Some(why), Some(now_ms()));
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
    /// It did not come about, or broke off; for how long both had been in step before.
    Broke { why: String, rested: Duration },
}

async fn call(
    address: &str,
    ways: Ways,
    serving: &Serving,
    board: &Board,
    signals: &mut Signals,
    again: &Again,
) -> Ended {
    board.change(address, |status| status.next_try_ms = None);
    let identity = match Identity::load(serving.depot.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return Ended::Broke { why: error.to_string(), rested: Duration::ZERO },
    };
    let mut tried: Vec<Tried> = Vec::new();
    let (mut resting, mut back) = (None, 0);
    let mut roads = dial::roads(address, ways, &mut tried).await;
    roads.reverse();
    let caller = Caller::new(&identity, serving.depot.as_ref());
    while let Some(road) = roads.pop() {
        let reached = tokio::select! {
            reached = dial::reach(&road, &caller, &mut tried) => reached,
            () = signals.renew() => return Ended::Renew,
        };
        let Some(Reached { link, endpoint }) = reached else { continue };
        let (way, ending, key) = (link.way, link.ending(), link.peer_key());
        let from = link.from();
        let identity = identity.in_epoch(back);
        let (mut met, mut running) = (None, None);
        let gauge = Arc::new(Gauge::default());
        again.begin();
        let mut on_event = |event: &Event| match event {
            Event::Met(peer) => {
                met = Some(who(&identity, peer));
                let seen = Seen::new(&identity, peer, Some(address), way, gauge.clone()).at(from);
                running = serving.met.enter(peer.as_ref().clone(), ending.clone(), seen);
                board.change(address, |status| {
                    status.connected_ms = Some(now_ms());
                    status.path = Some(way.word().to_owned());
                });
            }
            event => {
                if matches!(event, Event::AtRest { .. }) {
                    resting.get_or_insert_with(Instant::now);
                }
                again.note(event);
            }
        };
        let counts = Counts::among(&serving.moved);
        let how = serving.how(Some(address.to_owned()), &gauge, &counts);
        let session = connection::session(link, Side::Client, &identity, &serving.depot, how, &mut on_event);
        let (_, result) = tokio::select! {
            done = session => done,
            never = again.renews(signals, &ending) => match never {},
        };
        drop(running);
        dial::let_go(endpoint).await;
        let why_ended = ending.why();
        if let Some(who) = &met {
            let (well, line) = report(who, way, &counts, &result, why_ended);
            (serving.log)(&line);
            if well {
                serving.done.fetch_add(1, Relaxed);
            }
        }
        if why_ended == Some(Why::Renewed) {
            return Ended::Renew;
        }
        match result {
            Ok(()) if why_ended.is_none() => return Ended::Over,
            Err(failure)
                if met.is_none()
                    && relays::may_go_back(&failure, back, &identity, serving.depot.as_ref(), &key) =>
            {
                back += 1;
                roads.push(road);
            }
            result => {
                back = 0;
                let why = match (why_ended, result) {
                    (Some(why), _) => {
                        if !why.is_in_order() {
                            serving.failed.fetch_add(1, Relaxed);
                        }
                        why.words().to_owned()
                    }
                    (None, Err(failure)) => {
                        serving.failed.fetch_add(1, Relaxed);
                        if way == Way::Quic && went_silent(&failure) {
                            roads.extend(road.by_tcp());
                        }
                        why(&failure, met.is_some())
                    }
                    (None, Ok(())) => return Ended::Over,
                };
                tried.push(Tried { way: Some(way), why });
                // Where it was met, or sent away, no other road leads anywhere else.
                if resting.is_some() || why_ended.is_some() {
                    break;
                }
            }
        }
    }
    let rested = resting.map_or(Duration::ZERO, |since| since.elapsed());
    Ended::Broke { why: dial::in_words(&tried), rested }
}

/// Failures in a row after one more. Only a connection that was of use for a while makes up for those before:
/// whoever lets everybody in and hangs up after the first words is not dialled every second.
fn failures_after(failures: u32, rested: Duration) -> u32 {
    if rested >= RESTED { 0 } else { failures.saturating_add(1) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_chance_takes_a_part() {
        let longest: Vec<u64> = (1..=12).map(|failures| pause(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pause(5, 0.5), Duration::from_secs(8));
        assert_eq!(pause(u32::MAX, 0.0), PAUSE_LEAST);
        let some = chance::share();
        assert!((0.0..=1.0).contains(&some) && (0..20).any(|_| (chance::share() - some).abs() > 1e-6));
    }

    #[test]
    fn who_hangs_up_after_the_first_words_is_dialled_less_and_less() {
        let mut failures = 0;
        for _ in 0..12 {
            failures = failures_after(failures, Duration::from_millis(300));
        }
        assert_eq!(pause(failures, 1.0), PAUSE_MAX);
        assert_eq!(failures_after(failures, RESTED), 0, "one that was of use is dialled at once");
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
