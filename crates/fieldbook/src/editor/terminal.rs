//! The terminal while somebody writes: raw, on its alternate screen, and given back as it was, whatever happens.
//!
//! Nothing here scrolls, so that no line of a text gets into what a terminal remembers of lines that went by. Where a terminal
//! has no alternate screen (some consoles), the rows are emptied one by one before it is given back.

use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Failure, Kind};
use crate::interrupt;

/// The alternate screen; no line is broken at the edge; what is pasted is marked.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?2004h\x1b[H";
const LEAVE: &str = "\x1b[0m\x1b[H\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The rows of a terminal that does not say how many it has.
const SIZE: (usize, usize) = (80, 24);
/// More is not used, whatever a terminal says.
const SIZE_MAX: usize = 1000;

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
        listen(woken);
        signals.set_nonblocking(true).map_err(Failure::io(doing))?;
        *lock() = Some(before);
        let terminal = Self { signals };
        terminal.take();
        Ok(terminal)
    }

    /// Raw, and on the alternate screen, also if it was so already.
    fn take(&self) {
        if let Some(before) = lock().as_ref() {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        send(ENTER.as_bytes());
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        size()
    }

    /// Shows something. A terminal that went away shows nothing; that is noticed when it is read.
    pub fn show(&self, bytes: &[u8]) {
        send(bytes);
    }

    /// Waits until something happens, at most so long.
    pub fn wait(&self, agent: Option<BorrowedFd<'_>>, patience: Duration) -> Told {
        let input = stdin();
        let mut watched =
            vec![PollFd::from_borrowed_fd(input, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        // Without a wish for data: a hang-up is always told.
        watched.extend(agent.map(|end| PollFd::from_borrowed_fd(end, PollFlags::empty())));
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

    /// The terminal as it was before, for a question, on an empty screen.
    pub fn ask<T>(&self, question: impl FnOnce() -> T) -> T {
        empty();
        send(b"\x1b[0m\x1b[H\x1b[?25h\x1b[?2004l\x1b[?7h");
        if let Some(before) = lock().as_ref() {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
        ASKING.store(true, Ordering::SeqCst);
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
/// not read yet is thrown away: it belongs to a text and not to the shell.
pub fn give_back() {
    if let Some(before) = lock().take() {
        empty();
        send(LEAVE.as_bytes());
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

/// Every row is emptied where it is.
fn empty() {
    let rows = (1..=size().1).map(|row| format!("\x1b[{row};1H\x1b[0m\x1b[2K")).collect::<String>();
    send(rows.as_bytes());
}

fn size() -> (usize, usize) {
    let told = tcgetwinsize(stdout()).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    match told {
        Ok((columns @ 1.., rows @ 1..)) => (columns.min(SIZE_MAX), rows.min(SIZE_MAX)),
        _ => SIZE,
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Straight to the terminal: nothing of it lies in a buffer that is not wiped.
fn send(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut full = [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)];
                let _ = poll(&mut full, None);
            }
            Err(_) => return,
        }
    }
}

const END: u8 = b'e';
const CHANGE: u8 = b'c';

/// Signals, as bytes.
fn listen(woken: UnixStream) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    // The handlers are there before anything is shown.
    let streams = runtime.block_on(async {
        [
            SignalKind::hangup(),
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::window_change(),
            SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()),
        ]
        .map(signal)
    });
    thread::spawn(move || {
        let tell = |word: u8| -> io::Result<()> { (&woken).write_all(&[word]) };
        runtime.block_on(async {
            let [Ok(mut hangup), Ok(mut end), Ok(mut interrupt), Ok(mut size), Ok(mut goes_on)] = streams
            else {
                return;
            };
            loop {
                let word = tokio::select! {
                    _ = hangup.recv() => END,
                    _ = end.recv() => END,
                    _ = interrupt.recv() => END,
                    _ = size.recv() => CHANGE,
                    _ = goes_on.recv() => CHANGE,
                };
                if word == END && ASKING.load(Ordering::SeqCst) {
                    give_back();
                    std::process::exit(i32::from(Kind::Interrupted.exit()));
                }
                if tell(word).is_err() {
                    return;
                }
            }
        });
    });
}
