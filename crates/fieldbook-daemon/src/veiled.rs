//! How a daemon keeps itself behind the veil: by the team's newest secrets, with the memory of the daemon before.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fieldbook_depot::Depot;
use fieldbook_net::quic::Guise;
use fieldbook_net::veil::{REMEMBERED_LEN, Taken, Veil, system_clock, take_in};
use fieldbook_proto::session::TransportSecret;
use tokio::net::TcpStream;

use crate::control::VeilStatus;
use crate::error::DaemonError;
use crate::identity;

/// The setting: the veil's memory of whom it has met, bytes that look random.
const SETTING: &str = "veil";
/// How often memory is written, if something is new, and the team's secrets are looked at.
const PACE: Duration = Duration::from_secs(10);
/// How often it is said that a clock is wrong.
const CLOCK_AGAIN: Duration = Duration::from_secs(600);

/// What a daemon is to do about the veil.
#[derive(Clone, Default)]
pub struct Veiling {
    /// Plain QUIC, and plain TLS by TCP, is answered at the same port, too: for networks that pass only what they know.
    pub unveiled_too: bool,
    /// It listens for those alone that are heard in this network: under the newest secret, and from where somebody was
    /// heard under it in the last minutes.
    pub only_heard: bool,
    /// Where memory is kept, if not in the depot that is served: a bucket is not this device's alone.
    pub memory: Option<Arc<dyn Depot>>,
}

impl fmt::Debug for Veiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Veiling")
            .field("unveiled_too", &self.unveiled_too)
            .field("only_heard", &self.only_heard)
            .finish_non_exhaustive()
    }
}

/// The veil of a daemon.
pub(crate) struct Veiled {
    veil: Arc<Veil>,
    unveiled_too: bool,
    only_heard: bool,
    served: Arc<dyn Depot>,
    memory: Arc<dyn Depot>,
    log: Arc<dyn Fn(&str) + Send + Sync>,
    clocks_told: Mutex<Option<Instant>>,
    clocks_known: AtomicU64,
}

impl Veiled {
    /// With the secrets of the team, and what the daemon before remembered.
    ///
    /// # Errors
    /// The depot's; the system gives no random bytes.
    pub fn begin(
        Veiling { unveiled_too, only_heard, memory }: Veiling,
        served: &Arc<dyn Depot>,
        secrets: &[TransportSecret],
        log: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, DaemonError> {
        let memory = memory.unwrap_or_else(|| served.clone());
        let remembered = memory.setting(SETTING)?.filter(|bytes| bytes.len() == REMEMBERED_LEN);
        let cannot = |error: io::Error| DaemonError::io("the veil cannot be made")(error);
        let secrets = answered(secrets, only_heard);
        let veil = Arc::new(Veil::new(secrets, remembered, system_clock()).map_err(cannot)?);
        if only_heard {
            veil.admit_only(BTreeSet::new());
        }
        let (served, clocks_known) = (served.clone(), AtomicU64::new(0));
        let veiled = Self {
            veil,
            unveiled_too,
            only_heard,
            served,
            memory,
            log,
            clocks_told: Mutex::default(),
            clocks_known,
        };
        // Before anybody comes: that there is a memory does not show that somebody has.
        veiled.remember();
        Ok(veiled)
    }

    pub fn guise(&self) -> Guise {
        if self.unveiled_too { Guise::Both(self.veil.clone()) } else { Guise::Veiled(self.veil.clone()) }
    }

    /// Takes in whoever connected from there by TCP. Comes to no end for whoever is not of the team; see
    /// [`fieldbook_net::veil::take_in`].
    pub async fn take_in(&self, stream: TcpStream, from: IpAddr) -> io::Result<Taken> {
        take_in(stream, &self.veil, from, self.unveiled_too).await
    }

    pub fn status(&self) -> VeilStatus {
        let clocks = self.veil.wrong_clocks();
        VeilStatus { unveiled: self.unveiled_too, wrong_clocks: clocks.tries, ahead_s: clocks.ahead_s }
    }

    /// Takes the secrets that the vault has learnt of meanwhile.
    pub fn renew(&self) {
        // While they cannot be read those of before hold: sessions say what is wrong with the depot.
        if let Ok(secrets) = identity::secrets(self.served.as_ref())
            && !secrets.is_empty()
        {
            self.veil.set_secrets(answered(&secrets, self.only_heard));
        }
    }

    /// These are the addresses where somebody of the team was heard under the newest secret just now.
    pub fn heard(&self, addresses: BTreeSet<IpAddr>) {
        if self.only_heard {
            self.veil.admit_only(addresses);
        }
    }

    /// Writes down what the next daemon should know, if there is something new.
    pub fn remember(&self) {
        if let Some(remembered) = self.veil.remembered()
            && let Err(error) = self.memory.set_setting(SETTING, Some(&remembered))
        {
            // It is tried again with the next look, and at the end.
            self.veil.not_kept();
            (self.log)(&format!("the veil's memory cannot be kept: {error}"));
        }
    }

    /// Keeps it up, for as long as the daemon runs.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PACE).await;
            tokio::task::block_in_place(|| {
                self.renew();
                self.remember();
            });
            self.tell_of_clocks();
        }
    }

    /// Nobody is answered whose clock is far off, so whoever runs this device is told.
    fn tell_of_clocks(&self) {
        let clocks = self.veil.wrong_clocks();
        if clocks.tries == self.clocks_known.swap(clocks.tries, Relaxed) {
            return;
        }
        let mut told = self.clocks_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > CLOCK_AGAIN) {
            *told = Some(Instant::now());
            (self.log)(&wrong_clock(clocks.ahead_s));
        }
    }
}

/// The secrets under which somebody is answered. Whoever sleeps long does not know a port that chance chose for now; whoever
/// has but earlier ones may have been removed, and must not learn that this device is here.
fn answered(secrets: &[TransportSecret], only_heard: bool) -> &[TransportSecret] {
    if only_heard { &secrets[..secrets.len().min(1)] } else { secrets }
}

/// That a device of the team was not let in, and why.
fn wrong_clock(ahead_s: i64) -> String {
    let days = ahead_s.unsigned_abs() / (24 * 3600);
    let side = if ahead_s < 0 { "behind" } else { "ahead of" };
    format!(
        "a device of the team gets no answer by UDP: its clock is {days} days {side} this device's, and one of the two is wrong; by TCP it can sync (or somebody repeats what was recorded at another time)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_for_those_alone_that_are_heard_answers_by_the_newest_secret_alone() {
        let secrets = [3, 2, 1].map(|epoch| TransportSecret::new(epoch, [7; 32]));
        let epochs = |only| answered(&secrets, only).iter().map(|secret| secret.epoch).collect::<Vec<_>>();
        assert_eq!(epochs(true), [3]);
        assert_eq!(epochs(false), [3, 2, 1]);
        assert!(answered(&[], true).is_empty());
    }

    #[test]
    fn a_wrong_clock_is_told_in_days() {
        assert!(wrong_clock(-30 * 86_400).contains("30 days behind this"));
        assert!(wrong_clock(400 * 86_400).contains("400 days ahead of this"));
    }
}
