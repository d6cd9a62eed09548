//! seccomp: which calls to the system a process can make at all. A call that is not allowed fails as if it lacked the
//! permission, so that what a library tries and can do without costs nothing.
//!
//! The worker has a list of what it may do. The others have a list of what they may not: they use large
//! libraries, and a call that a newer one begins to use must not lose anybody's reports.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

use super::Role;

pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Not every C library has a name for these; their numbers are the same on every machine.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;
/// `TIOCSTI` and `TIOCLINUX`: typing into the terminal from which a process was started.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// Nothing of ours makes these: looking into other processes, the kernel's own matters, other ways to files, to the
/// network and to programs, and what changes files by their names where Landlock does not look.
const NEVER: &[c_long] = &[
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_memfd_create,
    SYS_execveat,
    SYS_personality,
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_fanotify_init,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    // By its name: before Linux 6.2 Landlock did not look at it.
    SYS_truncate,
    SYS_quotactl,
    SYS_syslog,
    SYS_vhangup,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_fchmodat,
    FCHMODAT2,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    SYS_utime,
    #[cfg(target_arch = "x86_64")]
    SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    SYS_chown,
    #[cfg(target_arch = "x86_64")]
    SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    SYS_uselib,
];

/// New programs, and new processes by other means than a thread's.
const PROGRAMS: &[c_long] = &[
    SYS_execve,
    #[cfg(target_arch = "x86_64")]
    SYS_fork,
    #[cfg(target_arch = "x86_64")]
    SYS_vfork,
];

/// Signals to other processes, which cannot be told from those to its own threads.
const SIGNALS: &[c_long] = &[SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal];

/// All that merging takes: two pipes, memory, threads, time.
const WORKER: &[c_long] = &[
    SYS_read,
    SYS_readv,
    SYS_write,
    SYS_writev,
    SYS_close,
    SYS_fstat,
    SYS_lseek,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_clone,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_membarrier,
    SYS_gettid,
    SYS_getpid,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_ppoll,
    SYS_getrandom,
    #[cfg(target_arch = "x86_64")]
    SYS_poll,
];

/// The same calls by the numbers that a program of the x32 kind has for them, where they are others.
#[cfg(target_arch = "x86_64")]
const X32: &[(c_long, i64)] = &[
    (SYS_ioctl, 514),
    (SYS_execve, 520),
    (SYS_ptrace, 521),
    (SYS_rt_sigqueueinfo, 524),
    (SYS_kexec_load, 528),
    (SYS_rt_tgsigqueueinfo, 536),
    (SYS_process_vm_readv, 539),
    (SYS_process_vm_writev, 540),
    (SYS_execveat, 545),
];
/// What all their numbers have.
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;

/// Restricts all threads of this process. Whether the system took all of it; one that cannot leaves things as they are.
pub fn restrict(role: &Role<'_>) -> bool {
    let mut taken =
        apply(forbidden(role), SeccompAction::Allow, SeccompAction::Errno(EPERM as u32)).is_some();
    // Its flags lie in memory, where nobody can look at them. Told that there is no such call, libraries use `clone`.
    let threads = Ok(also_x32(always(&[SYS_clone3])));
    taken &= apply(threads, SeccompAction::Allow, SeccompAction::Errno(ENOSYS as u32)).is_some();
    if matches!(role, Role::Worker) {
        // Last: it allows no further filter either.
        taken &= apply(worker(), SeccompAction::Errno(EPERM as u32), SeccompAction::Allow).is_some();
    }
    taken
}

/// No thread of this process makes a local socket any more. Whether the system took that.
pub fn no_more_sockets() -> bool {
    let rules = sockets_but(&[AF_INET, AF_INET6, AF_NETLINK]);
    let rules = rules.map(|rules| also_x32(Rules::from([(SYS_socket, rules)])));
    apply(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM as u32)).is_some()
}

fn apply(rules: Result<Rules, BackendError>, otherwise: SeccompAction, then: SeccompAction) -> Option<()> {
    let machine = std::env::consts::ARCH.try_into().ok()?;
    let filter = SeccompFilter::new(rules.ok()?, otherwise, then, machine).ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    apply_filter_all_threads(&program).ok()
}

pub(super) fn forbidden(role: &Role<'_>) -> Result<Rules, BackendError> {
    let mut rules = always(NEVER);
    let mut threads = Vec::new();
    for new in
        [CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP]
    {
        let flag = new.unsigned_abs().into();
        threads.push(rule(vec![argument(0, Op::MaskedEq(flag), flag)?])?);
    }
    if !matches!(role, Role::Agent { .. }) {
        rules.extend(always(PROGRAMS));
        let thread = CLONE_THREAD.unsigned_abs().into();
        threads.push(rule(vec![argument(0, Op::MaskedEq(thread), 0)?])?);
    }
    rules.insert(SYS_clone, threads);
    let typing = TYPING.map(|typing| rule(vec![argument(1, Op::Eq, typing)?]));
    rules.insert(SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    let sockets: &[c_int] = match role {
        Role::Agent { .. }
        | Role::Maker { .. }
        | Role::Worker
        | Role::Carrier { network: false, control: None, .. } => &[],
        Role::Watch { .. } | Role::Carrier { network: false, control: Some(_), .. } => &[AF_UNIX],
        Role::Carrier { control: Some(_), .. } => &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK],
        Role::Carrier { .. } | Role::Pairing => &[AF_INET, AF_INET6, AF_NETLINK],
    };
    let mut no_sockets = sockets_but(sockets)?;
    for family in [AF_INET, AF_INET6].into_iter().filter(|family| sockets.contains(family)) {
        // No packets of its own making.
        no_sockets.push(rule(vec![
            argument(0, Op::Eq, family.unsigned_abs().into())?,
            argument(1, Op::MaskedEq(0xf), SOCK_RAW.unsigned_abs().into())?,
        ])?);
    }
    if sockets.contains(&AF_NETLINK) {
        // What addresses this machine has, and not its firewall.
        no_sockets.push(rule(vec![
            argument(0, Op::Eq, AF_NETLINK.unsigned_abs().into())?,
            argument(2, Op::Ne, NETLINK_ROUTE.unsigned_abs().into())?,
        ])?);
    }
    rules.insert(SYS_socket, no_sockets);
    if sockets.is_empty() {
        rules.extend(always(&[SYS_connect]));
    }
    if !matches!(role, Role::Agent { .. } | Role::Watch { .. }) {
        rules.extend(always(SIGNALS));
        // To its own threads it may: that is how a process aborts.
        let own = u64::from(std::process::id());
        rules.insert(SYS_tgkill, vec![rule(vec![argument(0, Op::Ne, own)?])?]);
        rules.insert(SYS_kill, vec![rule(vec![argument(0, Op::Ne, own)?])?]);
        rules.insert(SYS_prlimit64, vec![rule(vec![argument(0, Op::Ne, 0)?, argument(0, Op::Ne, own)?])?]);
    }
    // Times of a file that is open, and of none by its name.
    let named = SeccompCondition::new(1, Len::Qword, Op::Ne, 0)?;
    rules.insert(SYS_utimensat, vec![rule(vec![named])?]);
    // Pairs of streams only: a datagram socket could be turned to anybody.
    let datagrams = u64::from(SOCK_DGRAM.unsigned_abs());
    rules.insert(SYS_socketpair, vec![rule(vec![argument(1, Op::MaskedEq(0xf), datagrams)?])?]);
    Ok(also_x32(rules))
}

fn worker() -> Result<Rules, BackendError> {
    // `clone3` is answered by another filter: of two, the stricter counts.
    let mut rules = always(WORKER);
    rules.extend(always(&[SYS_clone3]));
    let not_run = || rule(vec![argument(2, Op::MaskedEq(PROT_EXEC.unsigned_abs().into()), 0)?]);
    rules.insert(SYS_mmap, vec![not_run()?]);
    rules.insert(SYS_mprotect, vec![not_run()?]);
    rules.insert(SYS_prctl, vec![rule(vec![argument(0, Op::Eq, PR_SET_NAME.unsigned_abs().into())?])?]);
    Ok(rules)
}

/// Every socket but of these families; a call without a rule is always meant.
fn sockets_but(families: &[c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let others = families.iter().map(|family| argument(0, Op::Ne, family.unsigned_abs().into()));
    Ok(vec![rule(others.collect::<Result<_, _>>()?)?])
}

fn always(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// The kernel looks at the lower half of these arguments alone.
fn argument(index: u8, is: Op, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, Len::Dword, is, value)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

/// And the same for calls by the numbers of the x32 kind, which the check of the machine lets through.
#[cfg(target_arch = "x86_64")]
fn also_x32(rules: Rules) -> Rules {
    let mut all = rules.clone();
    for (call, rules) in rules {
        let other = X32.iter().find(|(known, _)| *known == call).map_or(call, |(_, other)| *other);
        all.insert(call | X32_BIT, rules.clone());
        all.insert(other | X32_BIT, rules);
    }
    all
}

#[cfg(not(target_arch = "x86_64"))]
fn also_x32(rules: Rules) -> Rules {
    rules
}
