//! The courier's process: the job from standard input, one sync, what happened on standard output.

use std::io::{self, Read as _, Write as _};
use std::thread;

use fieldbook_daemon::{CourierEvent, run_courier};

use super::job::{self, Job, Said, Task, Traffic};
use crate::agent::process::harden;
use crate::error::Failure;

/// Runs a courier.
///
/// # Errors
/// The depot cannot be used. That nobody was reached is told on standard output and is no failure.
pub fn run() -> Result<(), Failure> {
    harden();
    let Job { network, task } = job::read(&mut io::stdin().lock())?;
    let Task::Sync { addresses } = task else {
        return Err(Failure::failed("internal", "this job is not a courier's"));
    };
    end_with_the_parent();
    let key = job::depot_key(&network)?;
    let summary = run_courier(&network.depot, &key, &addresses, |event| {
        let said = match event {
            CourierEvent::Trying(address) => Said::Trying { address },
            CourierEvent::Met { address, device, role: _ } => {
                Said::Connected { address, device: device.to_string() }
            }
            CourierEvent::RanOut { not_after } => Said::RanOut { not_after },
            CourierEvent::PeerRanOut { not_after } => Said::PeerRanOut { not_after },
            CourierEvent::Sent(entries) => Said::Sent { entries },
            CourierEvent::Repairing => Said::Repairing,
            CourierEvent::Failed { address, why, answered } => Said::Failed { address, why, answered },
        };
        // A parent that is gone ends this process by itself.
        let _ = say(&said);
    })?;
    match summary {
        Some(summary) => say(&Said::Synced(Traffic {
            sent: summary.sent,
            sent_bytes: summary.sent_bytes,
            received: summary.received,
            received_bytes: summary.received_bytes,
            refused: summary.refused,
            refused_by_peer: summary.refused_by_peer,
            round_trips: summary.round_trips,
            in_step: summary.in_step,
        })),
        None => Ok(()),
    }
}

/// Says one thing to the parent.
pub(super) fn say(said: &impl serde::Serialize) -> Result<(), Failure> {
    let mut line =
        serde_json::to_vec(said).map_err(|error| Failure::failed("internal", error.to_string()))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(Failure::io("the parent cannot be told"))
}

/// The parent keeps standard input open for as long as it lives.
pub(super) fn end_with_the_parent() {
    thread::spawn(|| {
        let mut rest = [0; 64];
        while io::stdin().lock().read(&mut rest).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    });
}
