//! A full-screen editor for long texts, with a key that locks: so that no other program, and no file, ever sees them.
//!
//! `buffer` is the text, `layout` breaks it into rows, `screen` draws them, `keys` understands what is typed, `terminal` is
//! the terminal, `work` says where the text goes, `errand` takes it there, `pace` says when, `ending` and `rest` are how it
//! ends, and here is what each key does (docs/decisions/0026).

mod buffer;
mod ending;
mod errand;
mod keys;
mod layout;
mod pace;
mod rest;
mod screen;
pub mod terminal;
pub mod words;
pub mod work;

use std::collections::VecDeque;
use std::io::{IsTerminal as _, stdin, stdout};
use std::time::Duration;

use fieldbook_vault::KeptText;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::agent::client::AGENT_GONE;
use crate::commands::IDLE;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::memory;
use crate::tty;
use crate::ui::{Ui, time};
use buffer::{Buffer, Full};
use errand::{Done, Errand, Errands};
use keys::{Key, Keys, Motion};
use pace::Pace;
use screen::Screen;
use terminal::{Terminal, Told};
use work::{Begun, Work};

/// How long the rest of a key is waited for, before an Esc is an Esc.
const REST_OF_A_KEY: Duration = Duration::from_millis(100);
/// And the rest of what is pasted.
const REST_OF_A_PASTE: Duration = Duration::from_secs(1);
/// Nobody has read a question sooner and meant the key that comes.
const UNREAD: Duration = Duration::from_millis(500);
/// And a digit behind which something is typed sooner was none.
const ALONE: Duration = Duration::from_millis(400);
/// How often it is looked whether the machine has slept.
const TICK: Duration = Duration::from_secs(1);
/// The clocks that tell how long the machine slept are read one after the other.
const NAP: Duration = Duration::from_secs(1);
/// More keys are not remembered while the vault is waited for.
const LATER_MAX: usize = 4096;

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// It was saved: the agent's last word on it.
    Saved(Value),
    /// There is nothing to say but this.
    Said(&'static str),
    /// The same, and something was saved before.
    SavedAndSaid(&'static str),
}

/// Whether somebody can write here.
///
/// # Errors
/// There is no terminal, or it may not be used; `instead` says what to do then.
pub fn may_write(ui: &Ui, instead: &str) -> Result<(), Failure> {
    if ui.may_ask() && !ui.json() && stdin().is_terminal() && stdout().is_terminal() && tty::draws() {
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
    let Begun { title: of, text: opened, limit, unfinished } = begun;
    let title = format!("{of} {title}").trim().to_owned();
    let text = Zeroizing::new(opened.replace("\r\n", "\n"));
    // The window may stand for long after its text is gone: no other copy stays here.
    drop(opened);
    let unfinished = unfinished.filter(|kept| kept.text != *text);
    let mut session = Session {
        global,
        buffer: Buffer::new(&text, limit),
        limit,
        title: Zeroizing::new(title),
        kept: text,
        pace: Pace::new(Duration::from_secs(IDLE.seconds()), memory::clock()),
        column: None,
        message: None,
        not_kept: None,
        mode: unfinished.map_or(Mode::Writing, Mode::Offer),
        waiting: None,
        later: VecDeque::new(),
        keys: Keys::default(),
        screen: Screen::default(),
        saved: None,
        thrown: false,
        slept: memory::slept(),
        errands: Errands::on(work)?,
        terminal: Terminal::enter()?,
    };
    let end = session.run();
    session.end(end)
}

/// What the keys do now.
enum Mode {
    Writing,
    /// What was written another time is offered.
    Offer(KeptText),
    /// It is asked, since then, whether what is not saved is to be saved. A digit is the answer if nothing is typed behind it.
    Leaving(Duration, Option<(char, Duration)>),
    /// It is asked once more, since then, before something is thrown away: what was offered, or what is written.
    Sure(Option<KeptText>, Duration),
}

/// What follows when what was asked of the agent is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    Leave,
    /// Once the vault has all of it.
    LeaveForLater,
}

/// Why it ends.
enum End {
    /// Somebody has left.
    Left,
    /// The same, and something is kept that was not saved.
    Later,
    /// Nobody has: these are the last words.
    Said(&'static str),
    /// The vault is to be locked, by a key or not.
    Lock { by_key: bool },
    /// It was locked, and does not have all.
    Cover,
}

struct Session<'a> {
    global: &'a Global,
    errands: Errands,
    buffer: Buffer,
    limit: usize,
    title: Zeroizing<String>,
    /// What the vault has for sure.
    kept: Zeroizing<String>,
    pace: Pace,
    /// The column in which the cursor goes up and down.
    column: Option<usize>,
    message: Option<String>,
    /// Why the vault does not have all; until it has.
    not_kept: Option<String>,
    mode: Mode,
    /// The agent is waited for before the next key does anything.
    waiting: Option<Then>,
    later: VecDeque<Key>,
    keys: Keys,
    screen: Screen,
    saved: Option<Value>,
    /// Something was thrown away.
    thrown: bool,
    slept: Duration,
    terminal: Terminal,
}

impl Session<'_> {
    fn run(&mut self) -> End {
        loop {
            self.draw();
            let watched = (self.errands.end(), self.errands.bell());
            let told = self.terminal.wait(Some(watched), self.patience());
            if told.ending {
                return self.told_to_end();
            }
            if memory::slept() > self.slept + NAP {
                return End::Lock { by_key: false };
            }
            // What came back before the vault was locked counts.
            while let Some(done) = self.errands.came_back() {
                if let Some(end) = self.done(done) {
                    return end;
                }
            }
            if told.gone {
                return self.gone();
            }
            if told.changed {
                self.terminal.again();
                self.screen.begin_anew();
            }
            let Some(keys) = self.typed(&told) else { return self.told_to_end() };
            for key in keys {
                if let Some(end) = self.key(key) {
                    return end;
                }
            }
            self.answered();
            let now = memory::clock();
            if self.pace.is_idle(now) {
                return End::Lock { by_key: false };
            }
            if self.pace.until_kept(now).is_some_and(|left| left.is_zero()) && !self.errands.is_under_way() {
                self.keep();
            }
        }
    }

    /// How long nothing may happen.
    fn patience(&self) -> Duration {
        if self.keys.is_waiting() {
            return REST_OF_A_KEY;
        }
        if let Mode::Leaving(_, Some((_, at))) = self.mode {
            return (at + ALONE).saturating_sub(memory::clock()).max(Duration::from_millis(1));
        }
        // While something is under way, its bell is heard.
        let until_kept = self.pace.until_kept(memory::clock()).filter(|_| !self.errands.is_under_way());
        until_kept.map_or(TICK, |left| left.min(TICK)).max(Duration::from_millis(1))
    }

    /// The keys that came. `None`: the terminal is gone.
    fn typed(&mut self, told: &Told) -> Option<Vec<Key>> {
        let now = memory::clock();
        if told.input {
            let mut typed = Zeroizing::new([0; 4096]);
            let count = self.terminal.read(&mut *typed);
            if count == 0 {
                return None;
            }
            self.pace.typed(now);
            return Some(self.keys.feed(&typed[..count]));
        }
        let patience = if self.keys.is_pasting() { REST_OF_A_PASTE } else { REST_OF_A_KEY };
        let is_open = self.keys.is_waiting() || self.keys.is_pasting();
        let given_up = is_open && self.pace.silence(now) >= patience;
        Some(if given_up { self.keys.give_up().into_iter().collect() } else { Vec::new() })
    }

    fn draw(&mut self) {
        let standing = self.errands.standing();
        let mut status = match &self.mode {
            _ if self.waiting.is_some() => words::WAITING.to_owned(),
            Mode::Offer(kept) => format!("A text of {} {}", time(kept.time_ms), words::OFFER),
            Mode::Leaving(..) => words::LEAVING.to_owned(),
            Mode::Sure(..) => words::SURE.to_owned(),
            Mode::Writing => match &self.message {
                Some(message) => message.clone(),
                None if self.buffer.is_marking() => words::SELECTING.to_owned(),
                None if standing.is_as_it_was(self.buffer.text()) => words::SAVED.to_owned(),
                None if self.is_kept() => words::KEPT.to_owned(),
                None => words::NOT_SAVED.to_owned(),
            },
        };
        if let Some(why) = &self.not_kept {
            status = format!("{why}  {status}");
        }
        let asking = self.waiting.is_none() && !matches!(self.mode, Mode::Writing);
        self.screen.draw(&self.terminal, &self.title, &self.buffer, &status, asking);
    }

    /// Does what a key says. `Some`: it is over.
    fn key(&mut self, key: Key) -> Option<End> {
        // Locking asks nothing and waits for nothing, whatever else is asked or waited for.
        if matches!(key, Key::Ctrl('l') | Key::F(12)) {
            return Some(End::Lock { by_key: true });
        }
        if self.waiting.is_some() {
            if self.later.len() < LATER_MAX {
                self.later.push_back(key);
            }
            return None;
        }
        self.message = None;
        match std::mem::replace(&mut self.mode, Mode::Writing) {
            Mode::Offer(kept) => self.answer_offer(kept, &key),
            Mode::Leaving(since, digit) => self.answer_leaving(key, since, digit),
            Mode::Sure(kept, since) => self.answer_sure(kept, key, since),
            Mode::Writing => self.typed_in(key),
        }
    }

    /// A key that belongs to the text.
    fn typed_in(&mut self, key: Key) -> Option<End> {
        let revision = self.buffer.revision();
        let end = self.write(key);
        if self.buffer.revision() != revision {
            self.pace.changed(memory::clock());
        }
        end
    }

    fn answer_offer(&mut self, mut kept: KeptText, key: &Key) -> Option<End> {
        match key {
            Key::Text('1') => {
                self.errands.go_on_from(
                    Zeroizing::new(std::mem::take(&mut kept.base)),
                    std::mem::take(&mut kept.tried),
                );
                self.buffer = Buffer::new(&kept.text, self.limit);
                self.kept = Zeroizing::new(std::mem::take(&mut kept.text));
                self.screen.begin_anew();
            }
            Key::Text('2') => self.mode = Mode::Sure(Some(kept), memory::clock()),
            Key::Esc | Key::Ctrl('c' | 'x' | 'q') | Key::F(10) => return Some(End::Later),
            _ => self.mode = Mode::Offer(kept),
        }
        None
    }

    /// Whoever types on has not read the question: it is withdrawn, and the key belongs to the text. So does a digit that
    /// comes too soon to be an answer, or has something typed behind it.
    fn answer_leaving(&mut self, key: Key, since: Duration, digit: Option<(char, Duration)>) -> Option<End> {
        let now = memory::clock();
        match (key, digit) {
            (Key::Ctrl('s' | 'x' | 'q') | Key::F(2 | 10), _) => self.save(Then::Leave),
            (Key::Text(digit @ '1'..='3'), None) if now >= since + UNREAD => {
                self.mode = Mode::Leaving(since, Some((digit, now)));
            }
            (Key::Enter, Some((digit @ ('1' | '2'), _))) => self.leave_as_answered(digit),
            (Key::Esc | Key::Ctrl('c'), _) => {}
            (key, digit) => {
                if let Some((digit, _)) = digit {
                    self.typed_in(Key::Text(digit));
                }
                return self.typed_in(key);
            }
        }
        None
    }

    /// Does what the digit says, if nothing was typed behind it.
    fn answered(&mut self) {
        if let Mode::Leaving(_, Some((digit, at))) = self.mode
            && memory::clock() >= at + ALONE
        {
            self.mode = Mode::Writing;
            self.leave_as_answered(digit);
        }
    }

    fn leave_as_answered(&mut self, digit: char) {
        match digit {
            '1' => self.save(Then::Leave),
            '2' => {
                self.waiting = Some(Then::LeaveForLater);
                // Also behind an errand that is under way.
                self.keep();
            }
            _ => self.mode = Mode::Sure(None, memory::clock()),
        }
    }

    fn answer_sure(&mut self, kept: Option<KeptText>, key: Key, since: Duration) -> Option<End> {
        match (key, kept) {
            // It belongs to what was typed before the question was there.
            (Key::Enter, kept) if memory::clock() < since + UNREAD => self.mode = Mode::Sure(kept, since),
            (Key::Enter, Some(_)) => self.throw_away(Then::Stay),
            (Key::Enter, None) => self.throw_away(Then::Leave),
            (_, Some(kept)) => self.mode = Mode::Offer(kept),
            (Key::Esc | Key::Ctrl('c'), None) => self.mode = Mode::Leaving(memory::clock(), None),
            (key, None) => return self.typed_in(key),
        }
        None
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
            Key::Ctrl('a') => self.go(Motion::Home, false),
            Key::Ctrl('e') => self.go(Motion::End, false),
            Key::Ctrl(' ') => self.buffer.mark(),
            Key::Ctrl('k') => self.buffer.cut(),
            Key::Ctrl('o') => self.buffer.copy(),
            Key::Ctrl('v') => done = self.buffer.put_back(),
            Key::Ctrl('z') => self.buffer.undo(),
            Key::Ctrl('y') => self.buffer.redo(),
            Key::Ctrl('s') | Key::F(2) if self.errands.standing().ends_when_saved() => self.save(Then::Leave),
            Key::Ctrl('s') | Key::F(2) => self.save(Then::Stay),
            Key::Ctrl('x' | 'q') | Key::F(10) => {
                if self.errands.standing().is_saved(self.buffer.text()) && !self.errands.is_under_way() {
                    return Some(End::Left);
                }
                self.save(Then::Leave);
            }
            Key::Esc | Key::Ctrl('c') if self.errands.standing().is_as_it_was(self.buffer.text()) => {
                if !self.errands.standing().is_kept && !self.errands.is_under_way() {
                    return Some(End::Left);
                }
                // Nothing that is kept beside it says anything else.
                self.throw_away(Then::Leave);
            }
            Key::Esc | Key::Ctrl('c') => self.mode = Mode::Leaving(memory::clock(), None),
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

    /// Whether the vault has all that is written.
    fn is_kept(&self) -> bool {
        *self.kept == self.buffer.text()
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.buffer.text().to_owned())
    }

    fn save(&mut self, then: Then) {
        self.waiting = Some(then);
        self.errands.send(Errand::Save(self.text()));
    }

    fn throw_away(&mut self, then: Then) {
        self.waiting = Some(then);
        self.errands.send(Errand::ThrowAway);
    }

    /// Keeps what is written beside the report; it may go on being written meanwhile.
    fn keep(&mut self) {
        self.errands.send(Errand::Keep(self.text()));
    }

    /// Takes in what came of an errand. `Some`: it is over.
    fn done(&mut self, done: Done) -> Option<End> {
        let now = memory::clock();
        match done {
            Done::Kept(text) => {
                self.kept = text;
                self.not_kept = None;
                self.pace.kept(self.is_kept(), now);
                if self.waiting != Some(Then::LeaveForLater) {
                    return None;
                }
                if self.is_kept() {
                    return Some(End::Later);
                }
                // What was typed since is kept, too.
                self.keep();
                return None;
            }
            Done::NotKept(failure) => {
                self.pace.refused(now);
                self.not_kept = failed(words::CANNOT_KEEP, &failure).or_else(|| self.not_kept.take());
                if self.waiting != Some(Then::LeaveForLater) {
                    return None;
                }
                self.waiting = Some(Then::Stay);
            }
            // Nobody waits for it.
            Done::RestKept(_) | Done::Nothing => return None,
            Done::Saved(saved) => {
                self.saved = Some(saved.said);
                if let Some(merged) = saved.merged {
                    let cursor = self.buffer.cursor();
                    let merged = Zeroizing::new(merged.replace("\r\n", "\n"));
                    self.buffer = Buffer::new(&merged, self.limit);
                    self.buffer.go(cursor, false);
                    self.screen.begin_anew();
                    // What another wrote is to be read before it is left.
                    self.message = Some(words::MERGED.to_owned());
                    self.waiting = Some(Then::Stay);
                }
                self.kept = self.text();
                self.not_kept = None;
                self.pace.kept(true, now);
            }
            Done::NotSaved(failure) => {
                self.message = failed(words::CANNOT, &failure);
                self.waiting = Some(Then::Stay);
            }
            Done::ThrownAway(Err(failure)) if self.waiting == Some(Then::Stay) => {
                self.message = failed(words::CANNOT_THROW, &failure);
            }
            // Where the report is gone there is nothing to throw away.
            Done::ThrownAway(_) => self.thrown = true,
        }
        if self.waiting.take() == Some(Then::Leave) {
            return Some(End::Left);
        }
        // What was typed meanwhile.
        while self.waiting.is_none() {
            let key = self.later.pop_front()?;
            let message = self.message.take();
            if let Some(end) = self.key(key) {
                return Some(end);
            }
            self.message = self.message.take().or(message);
        }
        None
    }
}

/// What is said of a failure. That the vault was locked is noticed by itself.
fn failed(what: &str, failure: &Failure) -> Option<String> {
    let hint = failure.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    (failure.code != AGENT_GONE).then(|| format!("{what}{}{hint}", failure.message))
}
