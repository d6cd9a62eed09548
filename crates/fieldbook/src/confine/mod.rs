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

use fieldbook_daemon::control::{self, Confinement};

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
    /// It makes a vault, or asks one for its passphrase, and ends.
    Maker {
        /// The vault's directory, which need not be there yet.
        vault: &'a Path,
        /// The backup that it is made of.
        from: Option<&'a Path>,
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

/// How a process of this program is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined(Confinement);

impl Confined {
    /// In a word for programs.
    pub const fn word(self) -> &'static str {
        match (self.0.calls, self.0.files) {
            (true, 1..) => "confined",
            (true, 0) => "calls-only",
            (false, 1..) => "files-only",
            (false, 0) => "not-confined",
        }
    }

    /// Whether every filter for its calls was taken.
    pub const fn calls(self) -> bool {
        self.0.calls
    }

    /// The version of Landlock by which it is fenced off from files; 0 if it is not.
    pub const fn files(self) -> u8 {
        self.0.files
    }

    /// Whether it is held to what was asked for: by every filter, and by some Landlock.
    pub const fn wholly(self) -> bool {
        self.0.calls && self.0.files > 0
    }

    /// How another process is confined: what it says that it achieved; of its calls, not without the system's own word. The
    /// system shows of no process whether it is fenced off from files.
    pub fn of_process(pid: u32, said: Confinement) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
        Self(Confinement { calls: said.calls && filtered, ..said })
    }
}

/// From now on this process can do what its role needs. It must have one thread only: others would keep what they have.
/// What was achieved is noted, for who asks.
pub fn enforce(role: &Role<'_>) {
    control::note_confinement(system::enforce(role));
}

/// The control socket is made: from now on no thread makes another local one. With one, a process could ask the user's
/// other programs to do what it may not.
pub fn no_more_sockets() {
    let before = control::confinement();
    control::note_confinement(Confinement { calls: system::no_more_sockets() && before.calls, ..before });
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod system {
    use super::{Confinement, Role, calls, files};

    pub use calls::no_more_sockets;

    // The rest of the program depends on neither.
    pub fn enforce(role: &Role<'_>) -> Confinement {
        Confinement { files: files::restrict(role, files::KNOWN), calls: calls::restrict(role) }
    }
}

/// This system has nothing that confines a process.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod system {
    use super::{Confinement, Role};

    pub fn enforce(_: &Role<'_>) -> Confinement {
        Confinement::default()
    }

    pub fn no_more_sockets() -> bool {
        false
    }
}
