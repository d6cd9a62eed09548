//! Destroying a vault: for `wipe`, and for the signal and the day that its owner set (`watch.rs`).
//!
//! The keys go first, whoever has the vault open. Then the processes that have them in memory are killed, without being
//! asked. Then the keys are destroyed once more, should one of these have written them in between, and the files
//! are removed.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_vault::{Layout, VaultError, destroy_keys, remove_rest};
use rustix::process::{Signal, kill_process};

use crate::agent::place::Place;
use crate::error::Failure;

/// How long whoever has the vault open for one command is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of a vault.
#[derive(Debug)]
pub struct Wiped {
    /// How long it took until nothing opened any more.
    pub keys: Duration,
    /// What lies in its directory and is not the vault's.
    pub left: Vec<String>,
}

/// Destroys the keys of the vault in `vault`, kills its processes, and removes its files.
///
/// # Errors
/// The keys could not be destroyed; or they are, and the files could not be removed, which the code tells
/// (`wiped-but`).
pub fn everything(vault: &Path) -> Result<Wiped, Failure> {
    let began = Instant::now();
    let layout = Layout::new(vault);
    destroy_keys(&layout)?;
    let keys = began.elapsed();
    // Whatever fails from here on, nothing opens any more.
    let place = Place::of(vault);
    if let Ok(place) = &place {
        kill(&place.agent());
        kill(&place.daemon());
    }
    await_release(&layout.lock());
    match destroy_keys(&layout) {
        Err(VaultError::NoVault) | Ok(()) => {}
        Err(error) => return Err(wiped_but(&error)),
    }
    let left = remove_rest(&layout).map_err(|error| wiped_but(&error))?;
    if let Ok(place) = place {
        let _ = fs::remove_file(place.agent());
        let _ = fs::remove_file(place.daemon());
        let _ = fs::remove_dir(place.directory());
    }
    Ok(Wiped { keys, left })
}

fn wiped_but(error: &VaultError) -> Failure {
    let message = format!("nothing in the vault opens any more, but its files are still there: {error}");
    Failure::failed("wiped-but", message).hint("remove its directory by hand")
}

/// Kills the process that listens on this socket, unless it is this one.
pub fn kill(socket: &Path) {
    let peer =
        UnixStream::connect(socket).and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(&stream)?));
    match peer {
        Ok(peer) if peer.pid != rustix::process::getpid() => {
            let _ = kill_process(peer.pid, Signal::KILL);
        }
        _ => {}
    }
}

/// Waits until nobody has the vault open: who opened it before could still write a key.
fn await_release(lock: &Path) {
    let until = Instant::now() + PATIENCE;
    let Ok(lock) = File::open(lock) else { return };
    while lock.try_lock().is_err() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
}
