//! The processes that this test started, and theirs.
//!
//! A staying agent outlives the command that started it. The test makes itself the reaper of its
//! descendants (`PR_SET_CHILD_SUBREAPER`), so that every one of them stays below it and can be found
//! without a name or a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// A live process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its argument vector, as other users of the machine can read it, with zero bytes between.
    pub arguments: Vec<u8>,
    /// Its environment; empty where the system does not let even its owner read it.
    pub environment: Vec<u8>,
}

/// `kill -9`, at once and without a look at what becomes of it.
pub fn shoot(pids: &[u32]) {
    for pid in pids.iter().copied().filter_map(id) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// From now on, orphans below this test stay below it.
pub fn keep_descendants() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// A killed process whose first thread is dead may have another one that still writes, and holds its files.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Who started a process, or took it over; none if it has ended.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|(_, parent)| parent)
}

/// The state of a process and its parent.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name in brackets, which may contain anything.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    Some((rest.next()?.to_owned(), rest.next()?.parse().ok()?))
}

/// Every live descendant of this test.
pub fn descendants() -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut zombies = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some((state, parent)) = stat(pid) else { continue };
        if state == "Z" && threads(pid) <= 1 {
            zombies.insert(pid);
        }
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut to_visit = children.get(&std::process::id()).cloned().unwrap_or_default();
    while let Some(pid) = to_visit.pop() {
        to_visit.extend(children.get(&pid).into_iter().flatten());
        if !zombies.contains(&pid) {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            found.push(Process {
                pid,
                arguments: fs::read(dir.join("cmdline")).unwrap_or_default(),
                environment: fs::read(dir.join("environ")).unwrap_or_default(),
            });
        }
    }
    found
}

/// The descendants whose home is `home` (or which do not let their environment be read: in a test of
/// its own process, those are of this test all the same).
pub fn of_home(home: &Path) -> Vec<Process> {
    let wanted = [b"HOME=", home.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let mut found = descendants();
    found.retain(|process| {
        process.environment.is_empty()
            || process.environment.windows(wanted.len()).any(|window| window == wanted)
    });
    found
}

/// `kill -9` for each of them, all before anything else is done, and their end.
pub fn kill(processes: &[Process]) {
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    shoot(&pids);
    for pid in pids.into_iter().filter_map(id) {
        crate::wait_for("the end of a killed process", || {
            // Ours to bury only once its parent is gone; until then its parent does it.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            let number = pid.as_raw_nonzero().get().unsigned_abs();
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok();
            let dead = stat.is_none_or(|stat| stat.contains(") Z ")) && threads(number) <= 1;
            dead.then_some(())
        });
    }
}
