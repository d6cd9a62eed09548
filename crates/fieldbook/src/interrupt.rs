//! Ctrl-C in the client: the terminal gets its echo back, children end, the exit code is 130.
//!
//! The agent child is not killed but notices that its client is gone and ends after the request it
//! is working on; what it had reported as saved is saved.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Kind;

/// How long a question that was broken off has to give the terminal back.
const QUESTION_PATIENCE: Duration = Duration::from_millis(200);

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
    // Before this returns: Ctrl-C may come at once.
    let entered = runtime.enter();
    let Ok(mut wanted) = signal(SignalKind::interrupt()) else { return };
    drop(entered);
    thread::spawn(move || {
        if runtime.block_on(wanted.recv()).is_some() && !LEFT.load(Ordering::SeqCst) {
            end();
        }
    });
}

/// From now on Ctrl-C is somebody else's: a command that stays ends in its own order.
pub fn leave_to_others() {
    LEFT.store(true, Ordering::SeqCst);
}

/// Whoever asks for a passphrase reads Ctrl-C as a key, sends the signal itself and gives the terminal back: not before that
/// has happened may somebody else, or what is typed in the shell would not show. Where Ctrl-C comes between two questions
/// nobody gives anything back, and it is not waited for long.
pub fn let_the_question_end() {
    let until = Instant::now() + QUESTION_PATIENCE;
    while lock(&TERMINAL).is_some() && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
}

fn end() -> ! {
    let_the_question_end();
    if let (Some(before), Ok(terminal)) = (lock(&TERMINAL).take(), File::open("/dev/tty")) {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
    crate::aside::leave();
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

/// What is typed does not show, as long as this value lives: between one question for a passphrase and the next, too,
/// when somebody types on while it is looked whether the first one opens. What was typed and not asked for is dropped then, and does not
/// end in the shell. Ctrl-C gives the terminal back as it was.
#[derive(Debug)]
pub struct Hidden(Option<File>);

impl Hidden {
    /// From now on, if a person is asked something.
    pub fn for_questions(ui: &crate::ui::Ui) -> Option<Self> {
        ui.may_ask().then(Self::begin)
    }

    /// From now on.
    pub fn begin() -> Self {
        let mut before = lock(&TERMINAL);
        // Somebody else has it already.
        let Some(terminal) = File::open("/dev/tty").ok().filter(|_| before.is_none()) else {
            return Self(None);
        };
        let Ok(now) = tcgetattr(&terminal) else { return Self(None) };
        let mut hidden = now.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        *before = Some(now);
        let _ = tcsetattr(&terminal, OptionalActions::Now, &hidden);
        Self(Some(terminal))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let (Some(terminal), Some(before)) = (&self.0, lock(&TERMINAL).take_if(|_| self.0.is_some())) {
            let _ = tcsetattr(terminal, OptionalActions::Flush, &before);
        }
    }
}
