//! What a running relay does beside serving: it counts the time that it lives, notes what came by when, and
//! drops what is due.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fieldbook_depot::{Depot, DepotError};

use super::retention::{self, Swept};
use super::status::{COLLECTED, LastDropped};
use super::{RelaySettings, lived, set_lived};
use crate::error::DaemonError;
use crate::store::now_ms;

/// How often, at most, it looks whether something came, when its terms are long.
const TICK: Duration = Duration::from_secs(60);
/// How far apart the marks are then, and how often it drops what is due.
const ROUND: Duration = Duration::from_secs(60 * 60);
/// How often, at most, the time that it has lived is stored then.
const STORED: Duration = Duration::from_secs(10 * 60);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);

type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// The thread that does it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it for a relay's depot.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(depot: Arc<dyn Depot>, log: Log) -> Result<Self, DaemonError> {
        let (stop, stopped) = channel::<()>();
        let body = move || {
            let mut round = Round {
                depot: depot.as_ref(),
                last: Instant::now(),
                lived: None,
                swept: Swept::default(),
                due: None,
            };
            let mut wait = Duration::ZERO;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let ended = || stopped.try_recv() == Err(TryRecvError::Disconnected);
                wait = round.turn(&ended, &log).unwrap_or_else(|error| {
                    log(&format!("the relay could not look after what it holds: {error}"));
                    // Somebody must make room: that takes a while.
                    if matches!(error, DaemonError::Depot(DepotError::Full)) { TICK } else { AGAIN }
                });
            }
            // What it lived since the last turn counts too; if it cannot be written, it lives a little longer.
            let _ = round.live(Duration::ZERO);
        };
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(body);
        let thread = thread.map_err(DaemonError::io("the relay cannot look after what it holds"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Round<'a> {
    depot: &'a dyn Depot,
    /// Until when it has counted.
    last: Instant,
    /// How far it had counted then.
    lived: Option<u64>,
    swept: Swept,
    /// When what is due is dropped the next time.
    due: Option<Instant>,
}

impl Round<'_> {
    /// One turn; how long until the next.
    fn turn(&mut self, ended: &dyn Fn() -> bool, log: &Log) -> Result<Duration, DaemonError> {
        // Others on the same depot may have added to it.
        self.depot.head()?;
        // Read each time: the operator may have changed it.
        let Some(settings) = RelaySettings::load(self.depot)? else { return Ok(TICK) };
        let now = self.live(settings.pace(50, STORED))?;
        self.depot.note_time(now, millis(settings.pace(50, ROUND)))?;
        if self.due.is_none_or(|due| due <= Instant::now()) {
            let collected = retention::collect(self.depot, &settings, &mut self.swept, false, ended)?;
            let dropped = collected.all();
            if dropped.entries > 0 {
                let last = LastDropped { time_ms: now_ms(), dropped };
                let json = serde_json::to_vec(&last).unwrap_or_default();
                self.depot.set_setting(COLLECTED, Some(&json))?;
                log(&format!(
                    "dropped {} entries ({} bytes): {} by age, {} that the coordinators hold",
                    dropped.entries, dropped.bytes, collected.aged.entries, collected.received.entries
                ));
            }
            self.due = Some(Instant::now() + settings.pace(20, ROUND));
        }
        Ok(settings.pace(50, TICK))
    }

    /// Counts the time since the last turn. Where several relays run on one depot, each counts for itself, and the
    /// depot has the most that any of them counted: time that passes for all of them passes once, and nothing
    /// looks older than it is. It is stored when so much has gone by: what is not stored makes things
    /// younger only.
    fn live(&mut self, apart: Duration) -> Result<u64, DaemonError> {
        let (now, stored) = (Instant::now(), lived(self.depot)?);
        let counted = self.lived.map(|lived| lived.saturating_add(millis(now.duration_since(self.last))));
        let lived = counted.unwrap_or(0).max(stored);
        self.last = now;
        self.lived = Some(lived);
        if lived > stored && lived - stored >= millis(apart) {
            set_lived(self.depot, lived)?;
        }
        Ok(lived)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, SqlDepot};
    use fieldbook_proto::DepotId;

    use super::*;

    #[test]
    fn two_relays_on_one_depot_do_not_count_the_same_time_twice() {
        let dir = tempfile::tempdir().unwrap();
        let key = DepotKey::new([1; 32]);
        let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
        set_lived(&depot, 1_000_000).unwrap();
        let began = Instant::now();
        let round = || Round { depot: &depot, last: began, lived: None, swept: Swept::default(), due: None };
        let (mut one, mut two) = (round(), round());
        for _ in 0..20 {
            for round in [&mut one, &mut two] {
                round.live(Duration::ZERO).unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        }
        let counted = lived(&depot).unwrap() - 1_000_000;
        assert!(counted > 0 && counted <= millis(began.elapsed()), "{counted}");
    }
}
