//! The terminal while somebody writes: raw, on its alternate screen, and given back as it was, whatever happens.
//!
//! Nothing here scrolls, so that no line of a text gets into what a terminal remembers of lines that went by. Where a terminal
//! has no alternate screen (some consoles), the rows are emptied one by one before it is given back.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr, ttyname};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Failure, Kind};
use crate::{interrupt, tty};

/// The alternate screen; no line is broken at the edge; what is pasted is marked; keys with Ctrl are sent as they always were,
/// whatever a program before has asked for.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?2004h\x1b[>4;0m\x1b[H";
const LEAVE: &str = "\x1b[0m\x1b[H\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";
/// How long a terminal that takes nothing is waited for, with a text, and with what empties it.
const SHOW_PATIENCE: Duration = Duration::from_secs(1);
const EMPTY_PATIENCE: Duration = Duration::from_millis(200);

/// The terminal once more, for writing alone: one that takes nothing must not hold up the key that locks, and the shell's own
/// descriptor is not changed for that.
static OUT: OnceLock<File> = OnceLock::new();

/// How the terminal was before, while it is ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A question is asked on the terminal as it was before: whoever asks this process to end ends it.
static ASKING: AtomicBool = AtomicBool::new(false);

/// A terminal that is ours until this is dropped.
#[derive(Debug)]
pub struct Terminal {
    signals: UnixStream,
}

/// What happened while nothing was done.
#[derive(Debug, Default)]
pub struct Told {
    /// Something was typed, or the terminal went away.
    pub input: bool,
    /// Whoever has the vault open has ended.
    pub gone: bool,
    /// This process is asked to end: the terminal was closed, or the computer shuts down.
    pub ending: bool,
    /// The terminal has another size, or may show something else.
    pub changed: bool,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none, or the system allows no more descriptors.
    pub fn enter() -> Result<Self, Failure> {
        let doing = "the terminal cannot be used";
        let before = tcgetattr(stdin()).map_err(|errno| Failure::io(doing)(errno.into()))?;
        let (signals, woken) = UnixStream::pair().map_err(Failure::io(doing))?;
        // Whoever sends Ctrl-C from elsewhere ends a command in its own order from now on.
        interrupt::leave_to_others();
        listen(woken).map_err(Failure::io(doing))?;
        signals.set_nonblocking(true).map_err(Failure::io(doing))?;
        let mut again = File::options();
        again.write(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
        let name = ttyname(stdout(), Vec::new()).ok().and_then(|name| name.into_string().ok());
        if let Some(out) = name.and_then(|name| again.open(name).ok()) {
            let _ = OUT.set(out);
        }
        *lock() = Some(before);
        let terminal = Self { signals };
        terminal.take();
        // It was not meant for what is shown now.
        terminal.drop_typed();
        Ok(terminal)
    }

    /// Raw, and on the alternate screen, also if it was so already; not if another thread has given it back.
    fn take(&self) {
        let ours = lock();
        let Some(before) = ours.as_ref() else { return };
        let mut raw = before.clone();
        raw.make_raw();
        let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        send(ENTER.as_bytes(), SHOW_PATIENCE);
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        tty::size(stdout())
    }

    /// Shows something. Whether the terminal took it. One that went away shows nothing; that is noticed when it is read.
    pub fn show(&self, bytes: &[u8]) -> bool {
        send(bytes, SHOW_PATIENCE)
    }

    /// Waits until something happens, at most so long; also to the end of an agent, or until its bell can be read.
    pub fn wait(&self, agent: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>, patience: Duration) -> Told {
        let input = stdin();
        let mut watched =
            vec![PollFd::from_borrowed_fd(input, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        if let Some((end, bell)) = agent {
            // Without a wish for data: a hang-up is always told.
            watched.push(PollFd::from_borrowed_fd(end, PollFlags::empty()));
            watched.push(PollFd::from_borrowed_fd(bell, PollFlags::IN));
        }
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        if poll(&mut watched, Some(&patience)).is_err() {
            return Told::default();
        }
        let told = |at: usize| watched.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let mut happened = Told { input: told(0), gone: told(2), ..Told::default() };
        if told(1) {
            let mut words = [0; 64];
            let count = (&self.signals).read(&mut words).unwrap_or(0);
            happened.ending = words[..count].contains(&END);
            happened.changed = words[..count].contains(&CHANGE);
        }
        happened
    }

    /// What was typed. No bytes: the terminal is gone.
    pub fn read(&self, into: &mut [u8]) -> usize {
        loop {
            match rustix::io::read(stdin(), &mut *into) {
                Err(Errno::INTR) => {}
                Ok(count) => return count,
                Err(_) => return 0,
            }
        }
    }

    /// What was typed and not read yet is nothing.
    pub fn drop_typed(&self) {
        let _ = tcflush(stdin(), QueueSelector::IFlush);
    }

    /// The terminal as it was before, for a question, on an empty screen.
    pub fn ask<T>(&self, question: impl FnOnce() -> T) -> T {
        empty();
        send(b"\x1b[0m\x1b[H\x1b[?25h\x1b[?2004l\x1b[?7h", EMPTY_PATIENCE);
        // Before Ctrl-C is a signal again: otherwise one that comes at once would be put aside until the question is answered.
        ASKING.store(true, Ordering::SeqCst);
        if let Some(before) = lock().as_ref() {
            restore(before);
        }
        let answer = question();
        ASKING.store(false, Ordering::SeqCst);
        self.take();
        answer
    }

    /// Empties the screen, row by row.
    pub fn blank(&self) {
        empty();
    }

    /// Once more ours, after this process was stopped and goes on.
    pub fn again(&self) {
        self.take();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, empty of what was written, if it is ours; also from a panic. What was typed and
/// not read yet is thrown away: it belongs to a text and not to the shell. Whether it was ours.
pub fn give_back() -> bool {
    // Held to the end: whoever would take it meanwhile finds that it is gone.
    let mut ours = lock();
    let Some(before) = ours.take() else { return false };
    empty();
    send(LEAVE.as_bytes(), EMPTY_PATIENCE);
    restore(&before);
    true
}

/// Not `Flush`, which waits until the terminal has taken what was shown.
fn restore(before: &Termios) {
    let _ = tcflush(stdin(), QueueSelector::IFlush);
    let _ = tcsetattr(stdin(), OptionalActions::Now, before);
}

/// Every row is emptied where it is.
fn empty() {
    send(tty::emptied(tty::size(stdout()).1).as_bytes(), EMPTY_PATIENCE);
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Straight to the terminal: nothing of it lies in a buffer that is not wiped. Whether all of it was taken in time.
fn send(mut bytes: &[u8], patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let out = OUT.get().map_or_else(stdout, |out| out.as_fd());
    while !bytes.is_empty() {
        match rustix::io::write(out, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                let left =
                    Timespec { tv_sec: 0, tv_nsec: i64::from(left.min(SHOW_PATIENCE / 2).subsec_nanos()) };
                let _ = poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::OUT)], Some(&left));
            }
            Err(_) => return false,
        }
    }
    true
}

const END: u8 = b'e';
const CHANGE: u8 = b'c';

/// Signals, as bytes.
fn listen(woken: UnixStream) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The handlers are there before anything is shown.
    let (mut hangup, mut end, mut interrupt, mut size, mut goes_on, mut stop) = {
        let _entered = runtime.enter();
        let number = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        (
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::window_change())?,
            signal(number(rustix::process::Signal::CONT))?,
            // A text is not to lie in the memory of a process that does nothing: Ctrl-Z at the question for the passphrase is
            // heard and not heeded.
            signal(number(rustix::process::Signal::TSTP))?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let word = tokio::select! {
                    _ = hangup.recv() => END,
                    _ = end.recv() => END,
                    _ = interrupt.recv() => END,
                    _ = size.recv() => CHANGE,
                    _ = goes_on.recv() => CHANGE,
                    _ = stop.recv() => continue,
                };
                if word == END && ASKING.load(Ordering::SeqCst) {
                    interrupt::let_the_question_end();
                }
                // With a question that was broken off the command has ended by itself.
                if word == END && ASKING.load(Ordering::SeqCst) {
                    give_back();
                    std::process::exit(i32::from(Kind::Interrupted.exit()));
                }
                if (&woken).write_all(&[word]).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}
