//! A full-screen editor for long texts, with a key that locks: so that no other program, and no file, ever sees them.
//!
//! `buffer` is the text, `layout` breaks it into rows, `screen` draws them, `keys` understands what is typed, `terminal` is
//! the terminal, `work` says where the text goes, and here is what each key does (docs/decisions/0026).

mod buffer;
mod keys;
mod layout;
mod screen;
pub mod terminal;
mod words;
pub mod work;

use std::io::{IsTerminal as _, stdin, stdout};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_vault::KeptText;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use crate::agent::client::{AGENT_GONE, existing};
use crate::commands::lock_now;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::memory;
use crate::ui::{Ui, time};
use buffer::{Buffer, Full};
use keys::{Key, Keys, Motion};
use screen::Screen;
use terminal::Terminal;
use work::{Begun, Work};

/// What is written is kept at the latest after so long.
const KEEP_AFTER: Duration = Duration::from_secs(5);
/// How long the rest of a key is waited for, before an Esc is an Esc.
const REST_OF_A_KEY: Duration = Duration::from_millis(100);
/// How often it is looked whether the machine has slept.
const TICK: Duration = Duration::from_secs(1);
/// How long a lock waits for what was written to be kept.
const KEEP_PATIENCE: Duration = Duration::from_secs(1);
/// A text whose vault was locked is forgotten after so long.
const COVERED_FOR: Duration = Duration::from_secs(600);
/// The clocks that tell how long the machine slept are read one after the other.
const NAP: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// It was saved: the agent's last word on it.
    Saved(Value),
    /// There is nothing to say but this.
    Said(&'static str),
}

/// Whether somebody can write here.
///
/// # Errors
/// There is no terminal, or it may not be used; `instead` says what to do then.
pub fn may_write(ui: &Ui, instead: &str) -> Result<(), Failure> {
    let plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if ui.may_ask() && !ui.json() && stdin().is_terminal() && stdout().is_terminal() && !plain {
        return Ok(());
    }
    let what = "--write is for a person at a terminal, and there is none here, or it may not be used";
    Err(Failure::new(Kind::CannotAsk, "no-terminal", what).hint(instead))
}

/// Lets somebody write, until it is saved, left or locked.
///
/// # Errors
/// The terminal cannot be used; the vault could not be locked.
pub fn write(work: Work, begun: Begun, title: &str, global: &Global) -> Result<Ended, Failure> {
    let title = format!("{} {title}", begun.title).trim().to_owned();
    let text = Zeroizing::new(begun.text.replace("\r\n", "\n"));
    let unfinished = begun.unfinished.filter(|kept| kept.text != *text);
    let mut session = Session {
        global,
        buffer: Buffer::new(&text, begun.limit),
        limit: begun.limit,
        title,
        kept: text,
        changed: None,
        column: None,
        message: None,
        mode: unfinished.map_or(Mode::Writing, Mode::Offer),
        keys: Keys::default(),
        screen: Screen::default(),
        saved: None,
        slept: memory::slept(),
        work,
        terminal: Terminal::enter()?,
    };
    match session.run() {
        End::Left => Ok(session.saved.take().map_or(Ended::Said(words::NOTHING), Ended::Saved)),
        End::Said(words) => Ok(Ended::Said(words)),
        End::Lock => session.lock(),
    }
}

/// What the keys do now.
enum Mode {
    Writing,
    /// What was written another time is offered.
    Offer(KeptText),
    /// It is asked whether what is not saved is to be saved.
    Leaving,
}

/// Why it ends.
enum End {
    Left,
    Said(&'static str),
    Lock,
}

struct Session<'a> {
    global: &'a Global,
    work: Work,
    buffer: Buffer,
    limit: usize,
    title: String,
    /// What the vault has for sure.
    kept: Zeroizing<String>,
    /// Since when it has not all.
    changed: Option<Instant>,
    /// The column in which the cursor goes up and down.
    column: Option<usize>,
    message: Option<String>,
    mode: Mode,
    keys: Keys,
    screen: Screen,
    saved: Option<Value>,
    slept: Duration,
    terminal: Terminal,
}

impl Session<'_> {
    fn run(&mut self) -> End {
        let mut typed = Zeroizing::new([0; 4096]);
        loop {
            self.draw();
            let until_kept = self.changed.map_or(TICK, |since| KEEP_AFTER.saturating_sub(since.elapsed()));
            let patience = if self.keys.is_waiting() { REST_OF_A_KEY } else { TICK.min(until_kept) };
            let told = self.terminal.wait(Some(self.work.agent().end()), patience);
            if memory::slept() > self.slept + NAP {
                return End::Lock;
            }
            if told.gone {
                match self.cover() {
                    None => continue,
                    Some(end) => return end,
                }
            }
            if told.ending {
                return self.end();
            }
            if told.changed {
                self.terminal.again();
                self.screen.begin_anew();
            }
            let keys = if told.input {
                let count = self.terminal.read(&mut *typed);
                if count == 0 {
                    return self.end();
                }
                let keys = self.keys.feed(&typed[..count]);
                typed[..count].zeroize();
                keys
            } else if self.keys.is_waiting() {
                self.keys.give_up().into_iter().collect()
            } else {
                Vec::new()
            };
            for key in keys {
                if let Some(end) = self.key(key) {
                    return end;
                }
            }
            if self.changed.is_some_and(|since| since.elapsed() >= KEEP_AFTER) {
                self.keep();
            }
        }
    }

    fn draw(&mut self) {
        let status = match &self.mode {
            Mode::Offer(kept) => format!("A text of {} {}", time(kept.time_ms), words::OFFER),
            Mode::Leaving => words::LEAVING.to_owned(),
            Mode::Writing => match &self.message {
                Some(message) => message.clone(),
                None if self.buffer.is_marking() => words::SELECTING.to_owned(),
                None if self.work.is_as_it_was(self.buffer.text()) => words::SAVED.to_owned(),
                None if *self.kept == self.buffer.text() => words::KEPT.to_owned(),
                None => words::NOT_SAVED.to_owned(),
            },
        };
        self.screen.draw(&self.terminal, &self.title, &self.buffer, &status);
    }

    /// Does what a key says. `Some`: it is over.
    fn key(&mut self, key: Key) -> Option<End> {
        // Locking asks nothing, whatever else is asked.
        if matches!(key, Key::Ctrl('l') | Key::F(12)) {
            return Some(End::Lock);
        }
        self.message = None;
        match self.mode {
            Mode::Offer(_) => self.answer_offer(&key),
            Mode::Leaving => self.answer_leaving(&key),
            Mode::Writing => {
                let revision = self.buffer.revision();
                let end = self.write(key);
                if self.buffer.revision() != revision {
                    self.changed.get_or_insert_with(Instant::now);
                }
                end
            }
        }
    }

    fn answer_offer(&mut self, key: &Key) -> Option<End> {
        let Mode::Offer(kept) = &self.mode else { return None };
        match key {
            Key::Text('1') => {
                self.work.go_on_with(kept);
                self.buffer = Buffer::new(&kept.text, self.limit);
                self.kept = Zeroizing::new(kept.text.clone());
                self.screen.begin_anew();
                self.mode = Mode::Writing;
            }
            Key::Text('2') => {
                if let Err(failure) = self.work.throw_away() {
                    self.message = Some(failure.message);
                }
                self.mode = Mode::Writing;
            }
            Key::Esc | Key::Ctrl('c' | 'x' | 'q') | Key::F(10) => return Some(End::Left),
            _ => {}
        }
        None
    }

    fn answer_leaving(&mut self, key: &Key) -> Option<End> {
        self.mode = Mode::Writing;
        match key {
            Key::Text('1') | Key::Ctrl('s' | 'x' | 'q') | Key::F(2 | 10) => self.save().then_some(End::Left),
            Key::Text('2') => {
                // Where the report is gone there is nothing to throw away.
                let _ = self.work.throw_away();
                Some(End::Left)
            }
            _ => None,
        }
    }

    fn write(&mut self, key: Key) -> Option<End> {
        if !matches!(key, Key::Move(Motion::Up | Motion::Down | Motion::PageUp | Motion::PageDown, _)) {
            self.column = None;
        }
        let mut done = Ok(());
        match key {
            Key::Text(typed) => done = self.buffer.type_in(typed),
            Key::Enter => done = self.buffer.type_in('\n'),
            Key::Tab => done = self.buffer.paste("    "),
            Key::Paste(text) => done = self.buffer.paste(&text),
            Key::Backspace => self.buffer.delete_to(self.buffer.left()),
            Key::Delete | Key::Ctrl('d') => self.buffer.delete_to(self.buffer.right()),
            Key::DeleteWord | Key::Ctrl('w') => self.buffer.delete_to(self.buffer.word_left()),
            Key::Move(motion, selecting) => self.go(motion, selecting),
            Key::Ctrl('a') => self.buffer.select_all(),
            Key::Ctrl('e') => self.go(Motion::End, false),
            Key::Ctrl(' ') => self.buffer.mark(),
            Key::Ctrl('k') => self.buffer.cut(),
            Key::Ctrl('o') => self.buffer.copy(),
            Key::Ctrl('v') => done = self.buffer.put_back(),
            Key::Ctrl('z') => self.buffer.undo(),
            Key::Ctrl('y') => self.buffer.redo(),
            Key::Ctrl('s') | Key::F(2) => {
                let saved = self.save();
                return (saved && self.work.ends_when_saved()).then_some(End::Left);
            }
            Key::Ctrl('x' | 'q') | Key::F(10) => {
                let saved = self.work.is_saved(self.buffer.text()) || self.save();
                return saved.then_some(End::Left);
            }
            Key::Esc | Key::Ctrl('c') if self.work.is_as_it_was(self.buffer.text()) => {
                // Nothing that is kept beside it says anything else.
                let _ = self.work.throw_away();
                return Some(End::Left);
            }
            Key::Esc | Key::Ctrl('c') => self.mode = Mode::Leaving,
            Key::Ctrl(_) | Key::F(_) => {}
        }
        if done == Err(Full) {
            self.message = Some(words::FULL.to_owned());
        }
        None
    }

    fn go(&mut self, motion: Motion, selecting: bool) {
        let to = match motion {
            Motion::Left => self.buffer.left(),
            Motion::Right => self.buffer.right(),
            Motion::WordLeft => self.buffer.word_left(),
            Motion::WordRight => self.buffer.word_right(),
            Motion::First => 0,
            Motion::Last => self.buffer.text().len(),
            Motion::Up | Motion::Down | Motion::PageUp | Motion::PageDown | Motion::Home | Motion::End => {
                self.row_away(motion)
            }
        };
        self.buffer.go(to, selecting);
    }

    /// The place in another row, or at an end of this one.
    fn row_away(&mut self, motion: Motion) -> usize {
        let (buffer, wanted) = (&self.buffer, self.column);
        let rows = self.screen.rows(buffer, &self.terminal);
        let at = layout::row_of(rows, buffer.cursor());
        let (row, text) = (&rows[at], buffer.text());
        let (column, last) =
            (wanted.unwrap_or_else(|| layout::column_of(text, row, buffer.cursor())), rows.len() - 1);
        let place = |number: usize| layout::at_column(text, &rows[number], column);
        let to = match motion {
            Motion::Home => return row.start,
            Motion::End => return layout::at_column(text, row, usize::MAX),
            Motion::Up => at.checked_sub(1).map_or(0, place),
            Motion::Down if at == last => text.len(),
            Motion::Down => place(at + 1),
            _ => {
                let page = self.screen.height().saturating_sub(1).max(1);
                let rows = self.screen.rows(&self.buffer, &self.terminal);
                let number =
                    if motion == Motion::PageUp { at.saturating_sub(page) } else { (at + page).min(last) };
                layout::at_column(self.buffer.text(), &rows[number], column)
            }
        };
        self.column = Some(column);
        to
    }

    /// Saves. Whether it is saved: if not, it is said why.
    fn save(&mut self) -> bool {
        match self.work.save(self.buffer.text()) {
            Ok(saved) => {
                self.saved = Some(saved.said);
                if let Some(merged) = saved.merged {
                    let cursor = self.buffer.cursor();
                    let merged = Zeroizing::new(merged.replace("\r\n", "\n"));
                    self.buffer = Buffer::new(&merged, self.limit);
                    self.buffer.go(cursor, false);
                    self.screen.begin_anew();
                    self.message = Some(words::MERGED.to_owned());
                }
                self.is_kept();
                // What another wrote is to be read before it is left.
                self.message.is_none()
            }
            Err(failure) => {
                self.failed(words::CANNOT, &failure);
                false
            }
        }
    }

    /// Keeps what is written beside the report.
    fn keep(&mut self) -> bool {
        match self.work.keep(self.buffer.text()) {
            Ok(()) => {
                self.is_kept();
                true
            }
            Err(failure) => {
                // It is tried again after as long.
                self.changed = Some(Instant::now());
                self.failed(words::CANNOT_KEEP, &failure);
                false
            }
        }
    }

    fn is_kept(&mut self) {
        self.kept = Zeroizing::new(self.buffer.text().to_owned());
        self.changed = None;
    }

    /// That the vault was locked is noticed by itself.
    fn failed(&mut self, what: &str, failure: &Failure) {
        if failure.code != AGENT_GONE {
            let hint = failure.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            self.message = Some(format!("{what}{}{hint}", failure.message));
        }
    }

    /// The terminal was closed, or the process is to end: what is written is kept, and nothing is asked.
    fn end(&mut self) -> End {
        let is_kept = self.changed.is_none() || self.keep();
        End::Said(if is_kept { words::ENDED } else { words::ENDED_NOT_KEPT })
    }

    /// The vault was locked, from elsewhere or by itself. If it has everything, nothing is to be here any more; else what
    /// it lacks waits for whoever knows the passphrase, and is not shown. `None`: it goes on.
    fn cover(&mut self) -> Option<End> {
        self.terminal.blank();
        self.screen.begin_anew();
        if self.changed.is_none() {
            return Some(End::Said(words::LOCKED_ELSEWHERE));
        }
        let since = Instant::now();
        let mut why = String::new();
        let mut typed = [0; 256];
        loop {
            self.say_that_it_is_covered(&why);
            let told = self.terminal.wait(None, TICK);
            // Wiped, or it has waited for too long.
            if told.ending || since.elapsed() > COVERED_FOR || existing(self.global).is_err() {
                return Some(End::Said(words::NO_MORE));
            }
            if told.changed {
                self.terminal.again();
            }
            let mut keys = if told.input {
                match self.terminal.read(&mut typed) {
                    0 => return Some(End::Said(words::NO_MORE)),
                    count => self.keys.feed(&typed[..count]),
                }
            } else {
                self.keys.give_up().into_iter().collect()
            };
            match keys.pop() {
                Some(Key::Enter) => match self.terminal.ask(|| self.work.open_again(self.global)) {
                    Ok(true) => {
                        self.keep();
                        self.slept = memory::slept();
                        return None;
                    }
                    Ok(false) => return Some(End::Said(words::NO_MORE)),
                    Err(failure) => why = failure.message,
                },
                Some(Key::Esc | Key::Ctrl('c' | 'l' | 'q' | 'x') | Key::F(12 | 10)) => {
                    return Some(End::Said(words::NO_MORE));
                }
                _ => {}
            }
        }
    }

    fn say_that_it_is_covered(&self, why: &str) {
        self.terminal.blank();
        let why = crate::sanitise::line(why);
        let lines = words::COVERED.iter().copied().chain(["", &why]);
        for (row, line) in lines.enumerate() {
            self.terminal.show(format!("\x1b[{};1H{line}", row + 1).as_bytes());
        }
        self.terminal.show(b"\x1b[9;1H");
    }

    /// Locks: the screen first, then what is written is kept, then the vault is closed. Nothing is asked, and nothing that
    /// fails on the way keeps it from being locked.
    fn lock(self) -> Result<Ended, Failure> {
        let Self { terminal, buffer, mut work, changed, global, screen, keys, kept, .. } = self;
        drop((terminal, screen, keys, kept));
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let is_kept = changed.is_none() || work.keep(buffer.text()).is_ok();
            // With it ends an agent that was started for this alone.
            drop((work, buffer));
            let _ = tell.send(is_kept);
        });
        let is_kept = told.recv_timeout(KEEP_PATIENCE).unwrap_or(false);
        lock_now(&global.vault)?;
        Ok(Ended::Said(if is_kept { words::LOCKED } else { words::LOCKED_NOT_KEPT }))
    }
}
