//! A terminal with a person at it: a pseudo terminal of the test's own, and what it would show.
//!
//! It understands what full-screen programs send and no more: places, emptied lines, the alternate screen. Everything
//! else that begins with an escape is remembered by [`Terminal::strange`].

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{DEADLINE, wait_for};

/// A program at a terminal.
pub struct Terminal {
    said: String,
    child: Child,
    /// The person's side; none once the window was closed.
    own: Option<OwnedFd>,
    closed: Arc<AtomicBool>,
    shown: Arc<Mutex<Shown>>,
    reading: Option<JoinHandle<()>>,
}

/// What was sent, and what it looks like.
#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    screen: Screen,
    other: Option<Screen>,
    pending: Vec<u8>,
    strange: Vec<String>,
}

#[derive(Default)]
struct Screen {
    rows: Vec<Vec<String>>,
    row: usize,
    column: usize,
}

impl Terminal {
    /// Starts a program at a terminal of so many columns and rows, in a session of its own.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let said = format!("{command:?}");
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&own).expect("a terminal");
        unlockpt(&own).expect("a terminal");
        tcsetwinsize(&own, size(columns, rows)).expect("its size");
        let name = ptsname(&own, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let theirs = File::options().read(true).write(true).open(name).expect("the program's side");
        // It makes the terminal the session's own and then becomes the program.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        session.env("TERM", "xterm");
        if let Some(dir) = command.get_current_dir() {
            session.current_dir(dir);
        }
        let side = || theirs.try_clone().expect("a descriptor");
        session.stdin(side()).stdout(side()).stderr(side());
        let child = session.spawn().unwrap_or_else(|error| panic!("{said}: {error}"));
        drop((session, theirs));
        let shown = Arc::new(Mutex::new(Shown::default()));
        let closed = Arc::new(AtomicBool::new(false));
        let (into, is_closed) = (Arc::clone(&shown), Arc::clone(&closed));
        let mut from = File::from(own.try_clone().expect("a descriptor"));
        let reading = thread::spawn(move || {
            let mut block = [0; 4096];
            while !is_closed.load(Ordering::SeqCst) {
                let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let mut watched = [PollFd::new(&from, PollFlags::IN)];
                if poll(&mut watched, Some(&patience)).is_ok_and(|told| told == 0) {
                    continue;
                }
                // The end is an error: nobody has the other side open any more.
                let Ok(count @ 1..) = from.read(&mut block) else { return };
                into.lock().expect("what is shown").take(&block[..count]);
            }
        });
        Self { said, child, own: Some(own), closed, shown, reading: Some(reading) }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    ///
    /// # Panics
    /// The window was closed.
    pub fn types(&self, text: &str) {
        let own = self.own.as_ref().expect("an open window").try_clone().expect("a descriptor");
        // A program that has ended reads nothing.
        let _ = File::from(own).write_all(text.as_bytes());
    }

    /// Pastes, as terminals do that were asked to say so.
    pub fn pastes(&self, text: &str) {
        self.types(&format!("\x1b[200~{text}\x1b[201~"));
    }

    /// Gives the window another size.
    ///
    /// # Panics
    /// The window was closed.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(self.own.as_ref().expect("an open window"), size(columns, rows)).expect("its size");
        let mut shown = self.shown.lock().expect("what is shown");
        shown.screen.rows.iter_mut().for_each(|row| row.truncate(columns.into()));
    }

    /// The rows that are shown, without the spaces at their ends.
    pub fn rows(&self) -> Vec<String> {
        let shown = self.shown.lock().expect("what is shown");
        shown.screen.rows.iter().map(|row| row.concat().trim_end().to_owned()).collect()
    }

    /// All that is shown.
    pub fn screen(&self) -> String {
        self.rows().join("\n")
    }

    /// Everything that was sent so far.
    pub fn sent(&self) -> Vec<u8> {
        self.shown.lock().expect("what is shown").bytes.clone()
    }

    /// What was sent that begins with an escape and that a full-screen program has no need of.
    pub fn strange(&self) -> Vec<String> {
        self.shown.lock().expect("what is shown").strange.clone()
    }

    /// Waits until this is shown.
    ///
    /// # Panics
    /// It never is.
    pub fn shows(&self, words: &str) {
        let until = Instant::now() + DEADLINE;
        while !self.screen().contains(words) {
            assert!(Instant::now() < until, "{}: never shows {words:?}:\n{}", self.said, self.screen());
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Closes the window: the system tells the program.
    ///
    /// # Panics
    /// Whoever reads does not end.
    pub fn closes(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reading.take().map(JoinHandle::join).transpose().expect("its end");
        self.own = None;
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; all that it sent is there then.
    ///
    /// # Panics
    /// It does not come.
    pub fn ends(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.said);
        let status = wait_for(&what, || self.child.try_wait().expect("its state"));
        wait_for("all that it sent", || {
            self.reading.as_ref().is_none_or(JoinHandle::is_finished).then_some(())
        });
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.kill();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Shown {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while let Some(length) = self.one(&pending[at..]) {
            at += length;
        }
        self.pending = pending[at..].to_vec();
    }

    /// Does what the first bytes say: how many they are, if they are whole.
    fn one(&mut self, bytes: &[u8]) -> Option<usize> {
        let first = *bytes.first()?;
        if first == 0x1b {
            if *bytes.get(1)? != b'[' {
                self.strange.push(String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned());
                return Some(1);
            }
            let end = 2 + bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            let body = String::from_utf8_lossy(&bytes[2..end]).into_owned();
            self.act(&body, bytes[end]);
            return Some(end + 1);
        }
        let length = match first {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
        match first {
            b'\r' => self.screen.column = 0,
            b'\n' => self.screen.row += 1,
            0..0x20 | 0x7f => self.strange.push(format!("{first:#04x}")),
            _ => self.screen.put(&text),
        }
        Some(length)
    }

    fn act(&mut self, body: &str, last: u8) {
        let number = |at: usize| body.split(';').nth(at).and_then(|number| number.parse::<usize>().ok());
        match (body, last) {
            (_, b'H') => {
                self.screen.row = number(0).unwrap_or(1) - 1;
                self.screen.column = number(1).unwrap_or(1) - 1;
            }
            (_, b'G') => self.screen.column = number(0).unwrap_or(1) - 1,
            ("" | "0", b'K') => self.screen.empty(self.screen.column),
            ("2", b'K') => self.screen.empty(0),
            ("?1049", b'h') if self.other.is_none() => self.other = Some(std::mem::take(&mut self.screen)),
            ("?1049", b'l') => self.screen = self.other.take().unwrap_or_default(),
            ("?1049" | "?7" | "?25" | "?2004", b'h' | b'l') | ("0" | "7" | "27" | ">4;0", b'm') => {}
            _ => self.strange.push(format!("[{body}{}", char::from(last))),
        }
    }
}

impl Screen {
    fn row(&mut self) -> &mut Vec<String> {
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        &mut self.rows[self.row]
    }

    fn put(&mut self, text: &str) {
        let column = self.column;
        let row = self.row();
        // A mark belongs to the letter before it.
        if text.chars().all(|c| ('\u{300}'..'\u{370}').contains(&c)) && column > 0 {
            row[column - 1].push_str(text);
            return;
        }
        if row.len() <= column {
            row.resize(column + 1, " ".to_owned());
        }
        text.clone_into(&mut row[column]);
        self.column += 1;
    }

    fn empty(&mut self, from: usize) {
        self.row().truncate(from);
    }
}
