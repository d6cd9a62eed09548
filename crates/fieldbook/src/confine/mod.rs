//! What the program's processes may do, held to it by the system: Landlock for files, seccomp for calls.
//!
//! Each process is confined before it reads a byte that others wrote. Where the system has only one of the two, or
//! neither, it works with what there is, and `fieldbook doctor` says so. Nothing turns it off: no option, no
//! variable, no file. What each process keeps is in `docs/decisions/0021-confinement.md`.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod files;
#[cfg(all(test, target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

/// What a process is for.
#[derive(Debug)]
pub enum Role<'a> {
    /// It has the vault open: no network, no program but its own.
    Agent {
        /// The vault's directory.
        vault: &'a Path,
        /// The directory of its socket, which is there already; none for the agent of one command.
        sockets: Option<&'a Path>,
    },
    /// It merges what others wrote: its two pipes and memory.
    Worker,
    /// It destroys keys: the vault's directory, the sockets of the vault's processes, signals to them.
    Watch {
        /// The vault's directory.
        vault: &'a Path,
        /// The directories of the sockets, agent's and daemon's.
        sockets: [&'a Path; 2],
    },
    /// It has a depot open, and nothing else of the vault.
    Carrier {
        /// The depot's file, which is open already.
        depot: &'a Path,
        /// What else it reads.
        reads: Vec<PathBuf>,
        /// Where else it writes.
        writes: Vec<PathBuf>,
        /// Whether it speaks to others.
        network: bool,
        /// Whether it has yet to make its control socket: see [`no_more_sockets`].
        control: Option<&'a Path>,
    },
    /// It carries the messages of a pairing and has nothing at all.
    Pairing,
}

impl Role<'_> {
    /// A process with a depot that speaks to others, and listens to nobody here.
    pub const fn carrier(depot: &Path, network: bool) -> Role<'_> {
        Role::Carrier { depot, reads: Vec::new(), writes: Vec::new(), network, control: None }
    }
}

/// How a process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confined {
    /// Files and calls.
    Wholly,
    /// Calls alone: the system has no Landlock.
    Calls,
    /// Not at all.
    Not,
}

impl Confined {
    /// In a word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wholly => "confined",
            Self::Calls => "calls-only",
            Self::Not => "not-confined",
        }
    }

    /// How another process of this program is confined, by the system's own word.
    pub fn of_process(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
        match (filtered, system_confines_files()) {
            (true, true) => Self::Wholly,
            (true, false) => Self::Calls,
            (false, _) => Self::Not,
        }
    }
}

/// From now on this process can do what its role needs. It must have one thread only: others would keep what they have.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn enforce(role: &Role<'_>) {
    // The rest of the program depends on neither.
    files::restrict(role);
    calls::restrict(role);
}

/// This system has nothing that confines a process.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn enforce(_: &Role<'_>) {}

/// The control socket is made: from now on no thread makes another local one. With one, a process could ask the user's
/// other programs to do what it may not.
pub fn no_more_sockets() {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    calls::no_more_sockets();
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn system_confines_files() -> bool {
    files::are_there()
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn system_confines_files() -> bool {
    false
}
