//! Destroying a vault: for `wipe`, and for the signal and the day that its owner set (`watch.rs`).
//!
//! The keys go first, whoever has the vault open. Then the processes that have them in memory are killed, without being
//! asked. Then the keys are destroyed once more, should one of these have written them in between, and the files
//! are removed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::control::reach;
use fieldbook_vault::{Layout, VaultError, destroy_keys, remove_rest};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::place::Place;
use crate::error::Failure;
use crate::process::Process;

/// How long whoever has the vault open for one command is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// And, once it was killed, its memory.
const DYING: Duration = Duration::from_secs(1);

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
    let destroyed = destroy_keys(&layout);
    let keys = began.elapsed();
    if matches!(destroyed, Err(VaultError::NoVault)) {
        return Err(VaultError::NoVault.into());
    }
    // Also if that failed: what has the keys in its memory must not live on, and files can be removed still.
    await_releases(&layout);
    let place = Place::of(vault);
    if let Ok(place) = &place {
        kill(&place.agent());
        kill(&place.daemon());
    }
    match destroy_keys(&layout) {
        Err(VaultError::NoVault) | Ok(()) => {}
        Err(error) if destroyed.is_ok() => return Err(wiped_but(&error)),
        Err(_) => {}
    }
    let left = remove_rest(&layout).map_err(|error| wiped_but(&error));
    if let Ok(place) = place {
        let _ = fs::remove_file(place.agent());
        let _ = fs::remove_file(place.daemon());
        let _ = fs::remove_dir(place.directory());
        let _ = fs::remove_dir(place.daemon_directory());
    }
    destroyed?;
    Ok(Wiped { keys, left: left? })
}

fn wiped_but(error: &VaultError) -> Failure {
    let message = format!("nothing in the vault opens any more, but its files are still there: {error}");
    Failure::failed("wiped-but", message).hint("remove its directory by hand")
}

/// Kills the process that listens on this socket, unless it is this one.
pub fn kill(socket: &Path) {
    let peer = reach(socket).and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(&stream)?));
    match peer {
        Ok(peer) if peer.pid != rustix::process::getpid() => end(peer.pid),
        _ => {}
    }
}

/// What came of waiting for a lock.
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// Nobody held it.
    WasFree,
    /// Whoever held it was ended.
    Ended,
    /// Somebody holds it who cannot be found or ended, or it cannot be looked at.
    Held,
}

/// A process has a key of the vault, or watches over it, until this is dropped: whoever destroys the vault finds it by
/// that. What is locked is the vault's directory itself, so that nothing new lies in it.
#[derive(Debug)]
pub struct InUse {
    _directory: Option<File>,
}

impl InUse {
    /// Before this process is confined. What cannot be locked is worked with all the same.
    pub fn of(vault: &Path) -> Self {
        let until = Instant::now() + PATIENCE / 2;
        let locked = |directory: &File| {
            // Whoever wipes looks whether it is free, for a moment.
            while directory.try_lock_shared().is_err() {
                if Instant::now() >= until {
                    return false;
                }
                thread::sleep(Duration::from_millis(5));
            }
            true
        };
        Self { _directory: File::open(vault).ok().filter(locked) }
    }

    /// The same, of the vault in which a depot is.
    pub fn of_depot(depot: &Path) -> Self {
        Self::of(depot.parent().unwrap_or(Path::new(".")))
    }
}

/// Kills whoever has a key of the vault and waits for their end: a daemon that was started where its socket is not looked for,
/// whoever has the vault open for one command and could still write a key, and whoever carries.
pub fn await_releases(layout: &Layout) {
    await_release(&layout.network_lock());
    await_release(&layout.lock());
    await_release(layout.dir());
}

/// The same but for the vault itself, which is open here.
pub fn await_release_by_others(layout: &Layout) {
    await_release(&layout.network_lock());
    await_release(layout.dir());
}

/// Kills whoever has locked this file: they could still write a key. Waits for their end.
pub fn await_release(lock: &Path) -> Release {
    let until = Instant::now() + PATIENCE;
    let mut free = Release::WasFree;
    let mut ended: BTreeMap<i32, Process> = BTreeMap::new();
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return free,
        Err(_) => return Release::Held,
    };
    while file.try_lock().is_err() {
        let holders = holders(&file);
        if Instant::now() >= until || holders == [rustix::process::getpid()] {
            return Release::Held;
        }
        for holder in holders.into_iter().filter(|holder| is_one_of_ours(*holder)) {
            free = Release::Ended;
            // Whoever was taken over may have let go of its lock, and cannot end the watch that stands beside it.
            parent(holder).filter(|parent| is_one_of_ours(*parent)).into_iter().for_each(end);
            if let Entry::Vacant(new) = ended.entry(holder.as_raw_nonzero().get())
                && let Ok(process) = Process::hold(holder)
            {
                new.insert(process);
            }
            end(holder);
        }
        thread::sleep(Duration::from_millis(5));
    }
    // Whoever ends by itself lets go of its lock before its memory.
    let until = Instant::now() + DYING;
    for process in ended.values() {
        process.is_gone_after(Some(until.saturating_duration_since(Instant::now())));
    }
    free
}

/// The processes that have locked this file, as Linux lists them. Empty where the system does not.
fn holders(lock: &File) -> Vec<Pid> {
    let Ok(data) = lock.metadata() else { return Vec::new() };
    let inode = data.ino();
    // Some file systems (btrfs, overlays) give files a device of their own, and the list has that of the whole.
    let devices =
        [(rustix::fs::major(data.dev()), rustix::fs::minor(data.dev()))].into_iter().chain(mounted(lock));
    let names: Vec<_> = devices.map(|(major, minor)| format!("{major:02x}:{minor:02x}:{inode}")).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let parts = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // 1: FLOCK  ADVISORY  WRITE PID MAJOR:MINOR:INODE 0 EOF
    let is_it = |place: &&str| names.iter().any(|name| name == place);
    let held = parts.filter(|parts| parts.get(1) == Some(&"FLOCK") && parts.get(5).is_some_and(is_it));
    held.filter_map(|parts| Pid::from_raw(parts.get(4)?.parse().ok()?)).collect()
}

/// Ends a process without asking it.
pub fn end(process: Pid) {
    let _ = kill_process(process, Signal::KILL);
}

/// Who started a process, if that lives.
fn parent(process: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    Pid::from_raw(status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?)
}

/// Whether a process is one that this program starts for itself, other than this one. What the system lists may be the number of a
/// process that has ended, now another's, and a file elsewhere may have the same number; nor is a tool ended that
/// keeps others off the vault for a while.
pub fn is_one_of_ours(process: Pid) -> bool {
    let number = process.as_raw_nonzero().get();
    let internal = match fs::read(format!("/proc/{number}/cmdline")) {
        Ok(arguments) => arguments.split(|byte| *byte == 0).skip(1).any(|word| word == b"internal"),
        // A watch is confined and cannot look. It only asks when all is to be destroyed, and then whoever has locked the vault
        // is better ended than left with its keys.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    number > 1 && internal && process != rustix::process::getpid()
}

/// The device of the file system on which a file is, as the list of mounts has it.
fn mounted(file: &File) -> Option<(u32, u32)> {
    let mount = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?.stx_mnt_id.to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // 36 35 98:0 /root /place ...
    let mut words = mounts
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next() == Some(mount.as_str())).then_some(words))?;
    let (major, minor) = words.nth(1)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// From now on the signal that wipes does nothing to this process unless `watch.rs` says otherwise; without that
/// it would end commands in the midst of what they do.
pub fn is_no_end() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
        // A handler that was installed once stays.
        let _entered = runtime.enter();
        let _ = signal(SignalKind::user_defined1());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_locked_a_file_or_uses_a_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("lock")).unwrap();
        let directory = File::open(dir.path()).unwrap();
        let own = rustix::process::getpid();
        assert!(mounted(&file).is_some());
        assert!(holders(&file).is_empty() && holders(&directory).is_empty());
        file.lock().unwrap();
        let in_use = InUse::of(dir.path());
        assert!(directory.try_lock().is_err());
        assert_eq!((holders(&file), holders(&directory)), (vec![own], vec![own]));
        drop(in_use);
        assert!(directory.try_lock().is_ok());
    }
}
