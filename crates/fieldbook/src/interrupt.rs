//! Ctrl-C in the client: the terminal gets its echo back, children end, the exit code is 130.
//!
//! The agent child is not killed but notices that its client is gone and ends after the request it
//! is working on; what it had reported as saved is saved.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{process, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::Kind;

static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static LEFT: AtomicBool = AtomicBool::new(false);
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values stay meaningful whatever a panicking thread was doing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to listen for Ctrl-C. Where the system allows no handler, Ctrl-C keeps its usual effect.
pub fn listen() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() && !LEFT.load(Ordering::SeqCst) {
            end();
        }
    });
}

/// From now on Ctrl-C is somebody else's: a command that stays ends in its own order.
pub fn leave_to_others() {
    LEFT.store(true, Ordering::SeqCst);
}

fn end() -> ! {
    if let (Some(before), Ok(terminal)) = (lock(&TERMINAL).take(), File::open("/dev/tty")) {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
    lock(&CHILDREN).iter().for_each(|id| terminate(*id));
    crate::progress::wipe_at_the_end();
    process::exit(i32::from(Kind::Interrupted.exit()))
}

/// Ends a child, if it is still watched over: its number may be another's by now.
pub fn end_child(id: u32) {
    let children = lock(&CHILDREN);
    if children.contains(&id) {
        terminate(id);
    }
}

fn terminate(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// A child that Ctrl-C ends, as long as this value lives.
#[derive(Debug)]
pub struct Child(u32);

impl Child {
    /// Watches over a child that was just started.
    pub fn watch(child: &process::Child) -> Self {
        lock(&CHILDREN).insert(child.id());
        Self(child.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        lock(&CHILDREN).remove(&self.0);
    }
}

/// The state of the terminal before a hidden question, restored by Ctrl-C.
#[derive(Debug)]
pub struct Echo(());

impl Echo {
    /// Remembers the terminal as it is now.
    pub fn remember() -> Self {
        let now = File::open("/dev/tty").ok().and_then(|terminal| tcgetattr(&terminal).ok());
        *lock(&TERMINAL) = now;
        Self(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        lock(&TERMINAL).take();
    }
}
