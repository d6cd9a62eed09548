//! The agent's memory: kept out of swap where the system lets it, and given up when the machine has slept.

use std::fs;
use std::time::Duration;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Whether the system may write this process's memory to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    /// It is locked, or there is nothing to write it to, or what there is is encrypted.
    No,
    /// It may.
    Yes,
}

/// Locks this process's memory. A process that may lock a little only would fail at its next allocation, so that then
/// nothing is locked.
pub fn keep() -> Exposed {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    if unlimited && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).is_ok() {
        return Exposed::No;
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if devices(&swaps).any(|device| !stays_secret(device)) { Exposed::Yes } else { Exposed::No }
}

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
