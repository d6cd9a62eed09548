//! The process that destroys a vault's keys when a signal says so, or when the day has come that its owner set; and that
//! ends an agent before the computer sleeps (`suspend`).
//!
//! One stands beside each agent that stays and beside each daemon, and ends with it. These two may be what somebody
//! breaks into, so that neither may do this itself: an agent speaks to no other process, and a daemon has no file of
//! the vault's. They can ask only, and the vault's own rules say whether anything is done. Rules that somebody removes stay those that
//! it has read; and whoever lets go of the pipe to it and lives on has not dismissed it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use fieldbook_vault::{Layout, Rules, destroy_keys};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use crate::agent::place::Place;
use crate::agent::process::keep_files_private;
use crate::agent::wire;
use crate::confine::{self, Role};
use crate::error::Failure;
use crate::suspend::Agent;
use crate::wipe::{self, InUse};

/// How long it may take until it is known whether the system will say that it is going to sleep.
const ASKED: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// How often the day is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is looked whether who let go of the pipe has ended, as it should at once, and for how long as often.
const LEAVING: Duration = Duration::from_millis(5);
const LEAVES: Duration = Duration::from_secs(20);
/// How often after that.
const LINGERS: Duration = Duration::from_secs(1);

/// What is said when it is gone.
pub const GONE: &str = "the process that watches over the vault was ended by something else, so this one ends too: start it again";

/// The process, seen from the one beside which it stands. It ends when this value is dropped.
#[derive(Debug)]
pub struct Watch {
    child: Option<Child>,
    to: Arc<Mutex<Option<ChildStdin>>>,
    says: Option<ChildStdout>,
}

/// Beside whom it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// An agent that stays: it is ended before the computer sleeps.
    Agent,
    /// A daemon, which has no key.
    Daemon,
}

impl Watch {
    /// Starts it. Before this process is confined: after that it starts nothing.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(vault: &Path, beside: Beside) -> Result<Self, Failure> {
        let doing = "the process that watches over the vault cannot be started";
        let program = std::env::current_exe().map_err(Failure::io(doing))?;
        let mut child = Command::new(program)
            .args(["internal", "watch"])
            .env_remove("CREDENTIALS_DIRECTORY")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Failure::io(doing))?;
        let mut to = child.stdin.take().ok_or_else(|| Failure::failed("internal", doing))?;
        wire::write(&mut to, &(vault, beside)).map_err(Failure::io(doing))?;
        // It has read the rules before this process hears anybody.
        let mut says = child.stdout.take().ok_or_else(|| Failure::failed("internal", doing))?;
        says.read_exact(&mut [0]).map_err(Failure::io(doing))?;
        Ok(Self { child: Some(child), to: Arc::new(Mutex::new(Some(to))), says: Some(says) })
    }

    /// From now on this process ends in order when the other is gone: without it neither a signal nor the day would do
    /// what the owner set, and a process that is confined starts no other.
    pub fn end_without_it(&mut self, say: impl FnOnce(&str) + Send + 'static) {
        let Some(mut child) = self.child.take() else { return };
        let to = self.to.clone();
        thread::spawn(move || {
            let _ = child.wait();
            let is_wanted = to.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
            if is_wanted {
                say(GONE);
                let _ = kill_process(getpid(), Signal::TERM);
            }
        });
    }

    /// Whether it went before it should.
    pub fn is_gone(&self) -> bool {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether the system will say so before it sleeps, so that the agent ends first.
    pub fn locks_before_sleep(&mut self) -> bool {
        let Some(mut says) = self.says.take() else { return false };
        let ready = poll(&mut [PollFd::new(&says, PollFlags::IN)], Some(&ASKED)).is_ok_and(|ready| ready > 0);
        let mut word = [0];
        ready && says.read_exact(&mut word).is_ok() && word == [1]
    }

    /// From now on SIGUSR1 to this process is passed on.
    pub fn hear_signals(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        // Before this returns: without a handler the signal would end the process.
        let entered = runtime.enter();
        let Ok(mut wanted) = signal(SignalKind::user_defined1()) else { return };
        drop(entered);
        let to = self.to.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                while wanted.recv().await.is_some() {
                    if let Some(to) = &mut *to.lock().unwrap_or_else(PoisonError::into_inner) {
                        let _ = to.write_all(&[0]);
                    }
                }
            });
        });
    }
}

/// The process ends when this one has.
impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.to.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Beside whom this process stands.
#[derive(Debug, Clone, Copy)]
struct Partner(Option<Pid>);

impl Partner {
    /// Whoever started this process, if it is one of ours. Before this process is confined, and cannot look any more.
    fn of_this_process() -> Self {
        Self(getppid().filter(|parent| wipe::is_one_of_ours(*parent)))
    }

    fn lives(self) -> bool {
        self.0.is_some() && getppid() == self.0
    }

    /// Whatever it has become.
    fn end(self) {
        self.0.filter(|_| self.lives()).into_iter().for_each(wipe::end);
    }
}

/// Runs it: the vault's directory on standard input, then a byte for each signal, and its end.
///
/// # Errors
/// There is no vault.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    let doing = "the job cannot be read";
    let orders = rustix::stdio::stdin();
    let mut orders = std::fs::File::from(orders.try_clone_to_owned().map_err(Failure::io(doing))?);
    let order = wire::read::<(PathBuf, Beside)>(&mut orders).map_err(Failure::io(doing))?;
    let Some((vault, beside)) = order else { return Ok(()) };
    let (layout, place) = (Layout::new(&vault), Place::of(&vault)?);
    let sockets = [place.directory(), place.daemon_directory()];
    let partner = Partner::of_this_process();
    let in_use = InUse::of(&vault);
    confine::enforce(&Role::Watch { vault: &vault, sockets });
    let agent = if beside == Beside::Agent { Agent::parent().ok() } else { None };
    let (sender, signals) = mpsc::channel();
    thread::spawn(move || {
        let mut signal = [0];
        while orders.read(&mut signal).is_ok_and(|read| read > 0) && sender.send(()).is_ok() {}
    });
    let mut rules = None;
    Rules::still(&mut rules, &layout);
    let mut begun = io::stdout();
    begun
        .write_all(&[0])
        .and_then(|()| begun.flush())
        .map_err(Failure::io("nobody waits for this process"))?;
    if let Some(agent) = &agent {
        agent.follow(|told| {
            let _ = rustix::io::write(rustix::stdio::stdout(), &[u8::from(told)]);
        });
    }
    let mut due = Instant::now();
    let mut let_go: Option<Instant> = None;
    loop {
        // A disk that fails now is tried again.
        if Instant::now() >= due {
            due = Instant::now() + LOOK;
            if Rules::still(&mut rules, &layout).come_true(&layout).unwrap_or(false) {
                drop(in_use);
                partner.end();
                wipe::await_releases(&layout);
                wipe::kill(&place.agent());
                wipe::kill(&place.daemon());
                // Should one of them have written a key in between.
                return Ok(destroy_keys(&layout)?);
            }
        }
        match let_go {
            Some(_) if !partner.lives() => return Ok(()),
            Some(since) => thread::sleep(if since.elapsed() < LEAVES { LEAVING } else { LINGERS }),
            None => match signals.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(()) if Rules::still(&mut rules, &layout).wipe_unasked => {
                    drop(in_use);
                    let done = wipe::everything(&vault);
                    partner.end();
                    return done.map(drop);
                }
                Ok(()) => due = Instant::now(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    agent.iter().for_each(|agent| agent.let_go());
                    let_go = Some(Instant::now());
                }
            },
        }
    }
}
