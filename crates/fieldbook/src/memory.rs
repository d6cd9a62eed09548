//! A process's memory: kept out of swap where the system lets it, and given up when the machine has slept.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// This process's memory is locked.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Locks this process's memory, now and later. A process that may lock a little only would fail at its next allocation, so
/// that then nothing is locked: see [`is_exposed`].
pub fn keep() {
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() && limit.maximum.is_none() {
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
    let unlimited = limit.maximum.is_none() || may_lock_anything();
    // Page by page as it is used: what is only reserved, such as the stacks of threads, takes no memory.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    KEPT.store(unlimited && mlockall(flags).is_ok(), Ordering::Relaxed);
}

/// Whether this process has the right to lock memory whatever its limit (`CAP_IPC_LOCK`, number 14), as root has. The root of a
/// container of its own has the word for it and not the right: there the next large piece of memory would be refused.
fn may_lock_anything() -> bool {
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if users.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"] {
        return false;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok())
        .is_some_and(|rights| rights >> 14 & 1 == 1)
}

/// Whether the system may write this process's memory, and that of others like it, to the disk: it is not locked, and
/// there is swap that is not encrypted.
pub fn is_exposed() -> bool {
    let swaps = || fs::read_to_string("/proc/swaps").unwrap_or_default();
    !KEPT.load(Ordering::Relaxed) && devices(&swaps()).any(|device| !stays_secret(device))
}

/// What is said of it, in the middle of a sentence, and what to do.
pub const EXPOSED: (&str, &str) = (
    "this system may write the memory of the program to the swap space on the disk, with what is in it",
    "turn swap off (`swapoff -a`) or encrypt it, and do not hibernate",
);

/// What the system swaps to: the first column, after the heading.
fn devices(swaps: &str) -> impl Iterator<Item = &str> {
    swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next())
}

/// Compressed memory, or a device that dm-crypt encrypts.
fn stays_secret(device: &str) -> bool {
    let name = fs::canonicalize(device).ok();
    let name =
        name.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or_default();
    let uuid = fs::read_to_string(format!("/sys/class/block/{name}/dm/uuid")).unwrap_or_default();
    device.starts_with("/dev/zram") || uuid.starts_with("CRYPT-")
}

/// A clock that goes on while the machine sleeps, where the system has one.
pub fn clock() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let time = clock_gettime(ClockId::Boottime);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How long the machine has been asleep since it was started; zero where the system does not tell.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const fn slept() -> Duration {
    Duration::ZERO
}

/// How long the machine has been asleep since it was started.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn slept() -> Duration {
    let read = |id| clock_gettime(id);
    let (awake, all) = (read(ClockId::Monotonic), read(ClockId::Boottime));
    let length = |time: rustix::time::Timespec| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    length(all).saturating_sub(length(awake))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_swaps_to_is_read_from_its_list() {
        let swaps = "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/zram0                              partition\t8388604\t\t0\t\t100\n\
                     /dev/sda2                               partition\t8388604\t\t0\t\t-2\n";
        assert_eq!(devices(swaps).collect::<Vec<_>>(), ["/dev/zram0", "/dev/sda2"]);
        assert_eq!(devices("Filename\tType\n").count(), 0);
        assert!(stays_secret("/dev/zram0") && !stays_secret("/dev/sda2"));
    }
}
