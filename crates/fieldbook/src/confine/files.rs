//! Landlock: which files a process reaches, by rules that are attached to files and directories as they are now.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use super::Role;

/// What is asked for. An older system gives what it has.
pub const KNOWN: ABI = ABI::V6;

/// What name servers, certificates and the C library's own modules are read from. Directories rather than files: when
/// a laptop changes networks, `resolv.conf` is another file of the same name.
const SYSTEM: [&str; 11] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/var/lib/ca-certificates",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/proc/self",
];

/// Directories of the root in which an agent writes nothing: what is there is run by others, or is no file.
const NOT_WRITTEN: [&str; 16] = [
    "bin",
    "boot",
    "dev",
    "efi",
    "etc",
    "gnu",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "nix",
    "opt",
    "sbin",
    "snap",
    "usr",
    "lost+found",
];
/// What is no file at all, and tells of other processes.
const NOT_READ: [&str; 3] = ["dev", "proc", "sys"];

/// What may be done with a file, or with what lies below a directory.
#[derive(Clone, Copy)]
enum Right {
    /// Read.
    Read,
    /// Read and written, as it is.
    Use,
    /// Read, written, made and removed.
    All,
    /// Listed.
    List,
    /// Listed, and its files removed, whatever stands in them.
    Clear,
    /// Sockets made and removed.
    Sockets,
    /// Its empty directories removed.
    Prune,
    /// Run.
    Run,
}

impl Right {
    fn access(self, known: ABI) -> BitFlags<AccessFs> {
        let all = AccessFs::from_all(known);
        all & match self {
            Self::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            Self::Use => make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate}),
            Self::All => {
                let never = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeFifo | IoctlDev});
                all & !never
            }
            Self::List => AccessFs::ReadDir.into(),
            Self::Clear => make_bitflags!(AccessFs::{ReadDir | RemoveFile}),
            Self::Sockets => make_bitflags!(AccessFs::{ReadDir | MakeSock | RemoveFile}),
            Self::Prune => AccessFs::RemoveDir.into(),
            Self::Run => make_bitflags!(AccessFs::{Execute | ReadFile}),
        }
    }
}

/// Whether the system has Landlock.
#[cfg(test)]
pub fn are_there() -> bool {
    use landlock::{CompatLevel, Compatible as _};
    let asked =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Execute);
    asked.and_then(Ruleset::create).is_ok()
}

/// Restricts this thread, and those that it starts, by what a Landlock of this version knows. By which version it was
/// done; 0 if not at all: a system without it, or that refuses, leaves things as they are, and `doctor` tells.
pub fn restrict(role: &Role<'_>, known: ABI) -> u8 {
    match apply(role, granted(role), known) {
        Ok(RestrictionStatus {
            ruleset, landlock: LandlockStatus::Available { effective_abi, .. }, ..
        }) if ruleset != RulesetStatus::NotEnforced => effective_abi.min(known) as u8,
        _ => 0,
    }
}

fn apply(
    role: &Role<'_>,
    granted: Vec<(PathBuf, Right)>,
    known: ABI,
) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(known))?;
    let net = AccessNet::from_all(known);
    if !speaks(role) && !net.is_empty() {
        rules = rules.handle_access(net)?;
    }
    let scope: BitFlags<Scope> = match role {
        Role::Watch { .. } => Scope::AbstractUnixSocket.into(),
        // Of an agent, this allows for its worker.
        _ => Scope::from_all(KNOWN),
    };
    let scope = scope & Scope::from_all(known);
    if !scope.is_empty() {
        rules = rules.scope(scope)?;
    }
    let mut rules = rules.create()?;
    for (path, right) in granted {
        // One that cannot be granted is not granted; the others hold.
        let rule = path_beneath_rules([path], right.access(known)).next();
        if let Some(Ok(rule)) = rule {
            let _ = (&mut rules).add_rule(rule);
        }
    }
    rules.restrict_self()
}

const fn speaks(role: &Role<'_>) -> bool {
    matches!(role, Role::Carrier { network: true, .. } | Role::Pairing)
}

fn granted(role: &Role<'_>) -> Vec<(PathBuf, Right)> {
    let mut granted = Vec::new();
    let mut grant = |path: &Path, right: Right| granted.push((path.to_owned(), right));
    match role {
        Role::Worker => {}
        Role::Pairing => system(&mut grant),
        Role::Maker { vault, from } => {
            from.iter().for_each(|from| grant(from, Right::Read));
            // It is made where nothing is yet, and what it lies in is synced.
            let there = vault.ancestors().find(|above| above.exists());
            there.iter().for_each(|there| grant(there, Right::All));
            vault.parent().iter().for_each(|above| grant(above, Right::List));
        }
        Role::Watch { vault, sockets } => {
            grant(vault, Right::All);
            sockets.iter().for_each(|sockets| grant(sockets, Right::Sockets));
            // The directories themselves.
            vault
                .parent()
                .into_iter()
                .chain(sockets[0].parent())
                .for_each(|above| grant(above, Right::Prune));
        }
        Role::Carrier { depot, reads, writes, network, control } => {
            for end in ["", "-wal", "-shm"] {
                let mut file = depot.as_os_str().to_owned();
                file.push(end);
                grant(Path::new(&file), Right::Use);
            }
            if let Some(vault) = depot.parent() {
                // The last that closes the depot removes its log.
                grant(vault, Right::Clear);
                grant(&vault.join("lock.net"), Right::Use);
            }
            reads.iter().for_each(|path| grant(path, Right::Read));
            writes.iter().for_each(|path| grant(path, Right::All));
            if let Some(control) = control {
                grant(control, Right::Sockets);
            }
            if *network {
                system(&mut grant);
                if !writes.is_empty() {
                    certificates(&mut grant);
                }
            }
        }
        Role::Agent { vault, sockets } => {
            grant(vault, Right::All);
            if let Some(sockets) = sockets {
                grant(sockets, Right::Sockets);
            }
            people(&mut grant);
            this_program().iter().for_each(|file| grant(file, Right::Run));
        }
    }
    if !matches!(role, Role::Worker) {
        grant(Path::new("/dev/null"), Right::Use);
        grant(Path::new("/dev/urandom"), Right::Read);
        grant(Path::new("/proc/self"), Right::Read);
    }
    if matches!(role, Role::Agent { .. } | Role::Watch { .. } | Role::Maker { .. }) {
        // For the day that the owner set: how long this machine has been running; and who holds a lock.
        for file in ["/proc/sys/kernel/random/boot_id", "/proc/uptime", "/proc/locks"] {
            grant(Path::new(file), Right::Read);
        }
    }
    granted
}

fn system(grant: &mut impl FnMut(&Path, Right)) {
    SYSTEM.iter().for_each(|path| grant(Path::new(path), Right::Read));
    if let Some(elsewhere) = fs::canonicalize("/etc/resolv.conf").ok().filter(|path| is_place(path)) {
        // Its directory, if that is one of its own.
        let directory = elsewhere.parent().map(Path::to_owned).filter(|path| is_place(path));
        grant(&directory.unwrap_or(elsewhere), Right::Read);
    }
}

/// Whether this is deep enough to be one thing's place, and has to do with files.
fn is_place(path: &Path) -> bool {
    path.components().count() > 2 && !["/proc", "/dev", "/sys"].iter().any(|no| path.starts_with(no))
}

/// As the libraries for TLS look for certificates: for a bucket only.
fn certificates(grant: &mut impl FnMut(&Path, Right)) {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let path = std::env::var_os(variable).and_then(|path| fs::canonicalize(path).ok());
        if let Some(path) = path.filter(|path| is_place(path)) {
            grant(&path, Right::Read);
        }
    }
}

/// Where people keep what they attach, and where they put backups: a vault that is kept open cannot know before.
fn people(grant: &mut impl FnMut(&Path, Right)) {
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_in = |names: &[&str]| name.to_str().is_some_and(|name| names.contains(&name));
        if is_in(&NOT_READ) {
            continue;
        }
        grant(&entry.path(), if is_in(&NOT_WRITTEN) { Right::Read } else { Right::All });
    }
}

/// What this process itself was made of: the program, and where it is linked to them, the loader and its libraries.
fn this_program() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let runs = |line: &&str| line.split_whitespace().nth(1).is_some_and(|rights| rights.contains('x'));
    let mut files: Vec<PathBuf> = maps
        .lines()
        .filter(runs)
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .collect();
    files.push(PathBuf::from("/proc/self/exe"));
    files.dedup();
    files
}
