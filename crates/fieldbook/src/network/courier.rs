//! The courier's process: the job from standard input, one sync, what happened on standard output.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::thread;

use fieldbook_daemon::{Carry, CourierEvent, Dialling, Proxy, Side, Tried, Ways, run_courier, run_pipe};
use fieldbook_depot::{DepotError, DepotKey, SqlDepot};

use super::handover;
use super::job::{self, Attempt, Job, Said, Task, Traffic};
use crate::agent::process::keep_files_private;
use crate::agent::protocol::Network;
use crate::confine::{self, Role};
use crate::error::Failure;
use crate::wipe::InUse;

/// A disk that has less free counts as full, in bytes.
const ROOM_LEAST: u64 = 8 << 20;

/// Runs a courier.
///
/// # Errors
/// The job is not understood. That the depot cannot be used, or that nobody was reached, is told on standard
/// output and is no failure.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    // Read without a buffer: descriptors may follow the job, and come with the byte that is read with them.
    let doing = "the job cannot be read";
    let orders = rustix::stdio::stdin();
    let mut orders = File::from(orders.try_clone_to_owned().map_err(Failure::io(doing))?);
    let Job { network, task } = job::read(&mut orders)?;
    let key = job::depot_key(&network)?;
    let _in_use = InUse::of_depot(&network.depot);
    // Open for as long as this process lives: then its files stay those that this process may open again.
    let held = SqlDepot::open(&network.depot, &key);
    confine::enforce(&Role::carrier(&network.depot, !matches!(task, Task::Pipe { .. })));
    let _held = match held {
        Ok(depot) => depot,
        Err(error) if matches!(task, Task::Examine { .. }) => return Err(error.into()),
        Err(error) => return say(&Said::Broke(error.into())),
    };
    let done = match task {
        Task::Sync { addresses, proxy, only_proxy, limit } => {
            let dialling =
                Dialling { ways: ways(proxy.as_deref(), only_proxy)?, limit, ..Dialling::default() };
            end_with_the_parent(orders);
            run_courier(&network.depot, &key, &addresses, dialling, told)
        }
        Task::Examine { addresses, proxy, only_proxy } => {
            let ways = ways(proxy.as_deref(), only_proxy)?;
            end_with_the_parent(orders);
            return super::examine::run(&network, &addresses, ways);
        }
        Task::Pipe { serve, limit } => {
            let ends = handover::take(&orders).map_err(Failure::io("the pipe was not handed over"))?;
            end_with_the_parent(orders);
            let side = if serve { Side::Server } else { Side::Client };
            run_pipe(&network.depot, &key, side, ends, limit, told)
        }
        Task::Listen { .. }
        | Task::RelayListen { .. }
        | Task::Relay(_)
        | Task::WriteBundle(_)
        | Task::ReadBundles { .. } => {
            return Err(Failure::failed("internal", "this job is not a courier's"));
        }
    };
    let summary = match done {
        Ok(summary) => summary,
        // The parent says it: it knows how, and its exit code is the command's.
        Err(error) => return say(&Said::Broke(error.into())),
    };
    match summary {
        Some(summary) => say(&Said::Synced(Traffic {
            differs: !(summary.in_step
                || summary.in_step_but_for_declined
                || summary.limits.us
                || summary.limits.peer),
            disk_full: summary.declined.full > 0 && is_the_disk_full(&network, &key),
            sent: summary.sent,
            sent_bytes: summary.sent_bytes,
            received: summary.received,
            received_bytes: summary.received_bytes,
            refused: summary.refused,
            refused_by_peer: summary.refused_by_peer,
            gone_at_peer: summary.gone_at_peer,
            declined_by_peer: summary.declined_by_peer.into(),
            declined_by_peer_bytes: summary.declined_by_peer_bytes.into(),
            declined: summary.declined.into(),
            round_trips: summary.round_trips,
            padding: summary.padding,
            in_step: summary.in_step && summary.gone_at_peer == 0,
        })),
        None => Ok(()),
    }
}

/// Whether it is the disk that has no room for what this device declined, and not what it was told to carry.
fn is_the_disk_full(network: &Network, key: &DepotKey) -> bool {
    // On a full disk the depot need not open.
    let disk = rustix::fs::statvfs(&network.depot);
    if disk.is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_LEAST) {
        return true;
    }
    match SqlDepot::open(&network.depot, key) {
        Ok(depot) => Carry::of(&depot).is_ok_and(|carry| carry.total.is_none()),
        Err(error) => matches!(error, DepotError::Full),
    }
}

/// What may be used, from the job's words. A proxy that is not understood never becomes "no proxy".
pub(super) fn ways(proxy: Option<&str>, only_proxy: bool) -> Result<Ways, Failure> {
    let proxy = proxy.map(str::parse::<Proxy>).transpose();
    match (proxy.map_err(|error| Failure::failed("internal", error.to_string()))?, only_proxy) {
        (Some(proxy), true) => Ok(Ways::Only(proxy)),
        (Some(proxy), false) => Ok(Ways::StraightThen(proxy)),
        (None, false) => Ok(Ways::Straight),
        (None, true) => Err(Failure::failed("internal", "only a proxy may be used and none is named")),
    }
}

fn told(event: CourierEvent) {
    let said = match event {
        CourierEvent::Trying(address) => Said::Trying { address },
        CourierEvent::Met { address, device, role, way, tried } => Said::Connected {
            address,
            role: device.map(|_| role.word().to_owned()).unwrap_or_default(),
            device: device.map(|id| id.to_string()).unwrap_or_default(),
            path: way.word().to_owned(),
            tried: attempts(tried),
        },
        CourierEvent::RanOut { not_after } => Said::RanOut { not_after },
        CourierEvent::PeerRanOut { not_after } => Said::PeerRanOut { not_after },
        CourierEvent::Progress(now) => {
            Said::Progress { sent: now.sent.into(), received: now.received.into() }
        }
        CourierEvent::Repairing => Said::Repairing,
        CourierEvent::Failed { address, why, answered, tried } => {
            Said::Failed { address, why, answered, tried: attempts(tried) }
        }
    };
    // A parent that is gone ends this process by itself.
    let _ = say(&said);
}

fn attempts(tried: Vec<Tried>) -> Vec<Attempt> {
    let path = |tried: &Tried| tried.way.map(|way| way.word().to_owned());
    tried.into_iter().map(|tried| Attempt { path: path(&tried), why: tried.why }).collect()
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
pub(super) fn end_with_the_parent(mut orders: impl Read + Send + 'static) {
    thread::spawn(move || {
        let mut rest = [0; 64];
        while orders.read(&mut rest).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_is_never_loosened() {
        assert!(matches!(ways(Some("socks5://127.0.0.1:1"), true), Ok(Ways::Only(_))));
        assert!(matches!(ways(Some("socks5://127.0.0.1:1"), false), Ok(Ways::StraightThen(_))));
        assert!(matches!(ways(None, false), Ok(Ways::Straight)));
        assert!(ways(None, true).is_err());
        assert!(ways(Some("socks5://tor:1"), true).is_err());
        assert!(ways(Some("socks5://tor:1"), false).is_err());
    }
}
