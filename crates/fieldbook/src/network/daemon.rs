//! The daemon's process: the job from standard input, then listen until told to stop.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use fieldbook_daemon::relay::RelaySettings;
use fieldbook_daemon::{Carriers, DaemonOptions, run_daemon};
use fieldbook_depot::{DepotKey, SqlDepot};
use serde_json::json;

use super::job::{self, Job, Task};
use crate::agent::process::harden;
use crate::error::{Failure, Kind};
use crate::ui::Ui;

/// Runs the daemon.
///
/// # Errors
/// It cannot listen, another one runs, or the depot cannot be used.
pub fn run(ui: &Ui) -> Result<(), Failure> {
    harden();
    let orders = rustix::stdio::stdin();
    let mut orders = File::from(orders.try_clone_to_owned().map_err(Failure::io("the job cannot be read"))?);
    let Job { network, task } = job::read(&mut orders)?;
    let depot_key = job::depot_key(&network)?;
    #[cfg(feature = "bucket")]
    let in_bucket;
    let (listen, udp, tcp, control, relay) = match task {
        Task::Listen {
            address,
            udp,
            tcp,
            control,
            #[cfg(feature = "bucket")]
            bucket,
        } => {
            #[cfg(feature = "bucket")]
            (in_bucket = bucket);
            (address, udp, tcp, control, false)
        }
        Task::RelayListen {
            listen,
            control,
            #[cfg(feature = "bucket")]
            bucket,
        } => {
            // It is a part of a relay, and does not stay without the rest.
            super::courier::end_with_the_parent(orders);
            #[cfg(feature = "bucket")]
            (in_bucket = bucket);
            let listen = match listen {
                Some(listen) => listen,
                None => policy(&network.depot, &depot_key)?.listen,
            };
            (listen, true, true, control, true)
        }
        _ => return Err(Failure::failed("internal", "this job is not a daemon's")),
    };
    let options = DaemonOptions {
        depot_key,
        depot_path: network.depot,
        listen: addresses(&listen)?,
        carriers: Carriers { udp, tcp },
        control_socket: control,
        lock_path: network.lock,
        relay,
    };
    let json = ui.json();
    let mut told = Ok(());
    let listening = |bound: &[SocketAddr]| told = tell(bound, carriers(udp, tcp), ui);
    let log = move |line: &str| log(line, json);
    #[cfg(feature = "bucket")]
    if let Some(bucket) = in_bucket {
        serve_bucket(&bucket, options, listening, log)?;
        return told;
    }
    let ended = run_daemon(options, listening, log);
    told?;
    Ok(ended?)
}

/// Serves the depot in a bucket; the vault's own is kept in step with it.
#[cfg(feature = "bucket")]
fn serve_bucket(
    bucket: &super::bucket::Bucket,
    options: DaemonOptions,
    listening: impl FnOnce(&[SocketAddr]),
    log: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(), Failure> {
    use std::sync::Arc;

    use fieldbook_daemon::run_daemon_on;
    use fieldbook_depot::{Depot, DepotError, SqlDepot};

    let mut failed = None;
    let open = |options: &DaemonOptions| -> Result<Arc<dyn Depot>, DepotError> {
        let local = Arc::new(SqlDepot::open(&options.depot_path, &options.depot_key)?);
        let folder = options.depot_path.parent().unwrap_or(Path::new("."));
        let opened = bucket.open(folder).and_then(|depot| {
            super::bucket::adopt(local.as_ref(), &depot)?;
            Ok(depot)
        });
        match opened {
            Ok(depot) => {
                let depot: Arc<dyn Depot> = Arc::new(depot);
                super::bucket::keep_in_step(local, Arc::downgrade(&depot));
                Ok(depot)
            }
            Err(failure) => {
                failed = Some(failure);
                Err(DepotError::Missing)
            }
        }
    };
    let ended = run_daemon_on(open, options, listening, log);
    failed.map_or(Ok(()), Err)?;
    Ok(ended?)
}

/// The relay's policy, which says where it listens.
fn policy(depot: &Path, key: &DepotKey) -> Result<RelaySettings, Failure> {
    let depot = SqlDepot::open(depot, key)?;
    RelaySettings::load(&depot)?.ok_or_else(super::relay::no_policy)
}

/// Says where it listens: from now on it can be reached.
fn tell(bound: &[SocketAddr], (words, names): (&str, &[&str]), ui: &Ui) -> Result<(), Failure> {
    for address in bound {
        let address = address.to_string();
        ui.emit(json!({"event": "listening", "listening": address, "address": address, "carriers": names}))?;
        ui.say(format_args!("Listening on {address} ({words}). `fieldbook daemon stop` or Ctrl-C ends it."))?;
    }
    Ok(())
}

const fn carriers(udp: bool, tcp: bool) -> (&'static str, &'static [&'static str]) {
    match (udp, tcp) {
        (true, false) => ("UDP", &["quic"]),
        (false, true) => ("TCP", &["tcp"]),
        _ => ("UDP and TCP", &["quic", "tcp"]),
    }
}

/// A line a session: short device ids and counts.
fn log(line: &str, json: bool) {
    let ui = Ui::new(json, true);
    // A reader that went away does not stop the daemon.
    let _ = ui.emit(json!({"event": "log", "text": line}));
    ui.note(crate::sanitise::line(line));
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    super::resolve(text).map_err(|error| {
        let message = format!("{} is not an address: {error}", crate::sanitise::line(text));
        Failure::new(Kind::Usage, "bad-address", message)
            .hint("for example --listen 0.0.0.0:4433, or 127.0.0.1:0 for any free port of this machine")
    })
}

/// Whether a daemon runs for this vault: it holds the lock for as long as it lives.
pub fn runs(lock: &Path) -> bool {
    let file = std::fs::File::options().write(true).open(lock);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(addresses("127.0.0.1:0").unwrap(), [SocketAddr::from(([127, 0, 0, 1], 0))]);
        for bad in ["127.0.0.1", "", ":::", "1.2.3.4:99999"] {
            assert_eq!(addresses(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn a_held_lock_means_that_a_daemon_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock.net");
        assert!(!runs(&path));
        let file = std::fs::File::create(&path).unwrap();
        assert!(!runs(&path));
        file.lock().unwrap();
        assert!(runs(&path));
    }
}
