//! How it ends: by a key, from outside, or because the vault was locked.
//!
//! The screen is emptied first and nothing waits for an agent that does not answer. The keyboard goes back to the shell only when
//! somebody has pressed a key that ends and everything is done: what is typed before that must not end in a shell and its
//! history.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_vault::Layout;
use serde_json::Value;

use super::errand::{Done, Errand, Errands};
use super::keys::{Key, Keys};
use super::rest::Rest;
use super::terminal::Terminal;
use super::{End, Ended, NAP, REST_OF_A_KEY, Session, TICK, words};
use crate::agent::client::Agent;
use crate::commands::lock_now;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::memory;

/// How long it is waited for that what is written is kept, before the vault is locked without that. The screen is empty
/// meanwhile. A disk that is busy takes longer than one second, and logind, before sleep, waits five.
const KEEP_PATIENCE: Duration = Duration::from_secs(3);
/// How long an agent of this window alone has to close the vault by itself; as long as one that stays has.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// And when somebody has left: a new key may have to be made.
const LEFT_PATIENCE: Duration = Duration::from_secs(3600);
/// What the vault does not have is forgotten after so long.
const COVERED_FOR: Duration = Duration::from_secs(600);

/// What became of the last words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Kept,
    Refused,
    /// The agent has not answered.
    Deaf,
}

/// What is left of a session once nothing of its text is here.
struct Bare<'a> {
    terminal: Terminal,
    errands: Errands,
    global: &'a Global,
    /// Something was saved before. What the agent said of it has titles in it.
    had_saved: bool,
    slept: Duration,
}

impl<'a> Session<'a> {
    fn bare(self) -> Bare<'a> {
        let Self { terminal, errands, global, saved, slept, .. } = self;
        Bare { terminal, errands, global, had_saved: saved.is_some(), slept }
    }
}

impl Session<'_> {
    /// Ends as it is to end. Nothing of the text is here before anybody is waited for.
    pub(super) fn end(self, end: End) -> Result<Ended, Failure> {
        match end {
            End::Left => {
                let words = if self.thrown { words::THROWN } else { words::NOTHING };
                Ok(self.leave().map_or(Ended::Said(words), Ended::Saved))
            }
            End::Later => Ok(said(words::LATER, self.leave().is_some())),
            End::Said(last) => {
                let Bare { terminal, errands, had_saved, .. } = self.bare();
                errands.finish(CLOSE_PATIENCE);
                stay(&terminal, last);
                Ok(said(last, had_saved))
            }
            End::Lock { by_key } => self.lock(by_key),
            End::Cover => self.cover(),
        }
    }

    /// Goes, and says what was saved.
    fn leave(mut self) -> Option<Value> {
        self.terminal.blank();
        let saved = self.saved.take();
        let Bare { terminal, errands, .. } = self.bare();
        drop(terminal);
        // The vault is free when the command ends.
        errands.finish(LEFT_PATIENCE);
        saved
    }

    /// This process is asked to end, or the terminal is gone: what is written is kept, and nothing is asked.
    pub(super) fn told_to_end(&mut self) -> End {
        self.terminal.blank();
        match self.settle() {
            Settled::Kept => End::Said(words::ENDED),
            Settled::Refused => End::Said(words::ENDED_NOT_KEPT),
            Settled::Deaf => End::Lock { by_key: false },
        }
    }

    /// The vault was locked, from elsewhere or by itself.
    pub(super) fn gone(&mut self) -> End {
        self.terminal.blank();
        self.take_in_the_rest();
        let until = Instant::now() + KEEP_PATIENCE;
        while self.errands.is_under_way() {
            let Some(done) = self.errands.wait(until) else { break };
            self.done(done);
        }
        if self.is_kept() { End::Said(words::LOCKED_ELSEWHERE) } else { End::Cover }
    }

    /// What was typed while the agent was waited for belongs to the text.
    fn take_in_the_rest(&mut self) {
        while let Some(key) = self.later.pop_front() {
            if !matches!(key, Key::Esc | Key::Ctrl(_) | Key::F(_)) {
                self.write(key);
            }
        }
    }

    /// Sees to it that what is written is kept, as long as there is patience.
    fn settle(&mut self) -> Settled {
        let until = Instant::now() + KEEP_PATIENCE;
        let mut asked = false;
        loop {
            self.take_in_the_rest();
            while self.errands.is_under_way() {
                let Some(done) = self.errands.wait(until) else { return Settled::Deaf };
                self.done(done);
            }
            match (self.is_kept(), asked) {
                (true, _) => return Settled::Kept,
                (false, true) => return Settled::Refused,
                (false, false) => self.keep(),
            }
            asked = true;
        }
    }

    /// Locks: the screen first, then what is written is kept, then the vault is closed. Nothing is asked, and nothing that
    /// fails on the way keeps it from being locked.
    fn lock(mut self, by_key: bool) -> Result<Ended, Failure> {
        self.terminal.blank();
        let is_kept = self.settle() == Settled::Kept;
        let Bare { terminal, errands, global, had_saved, .. } = self.bare();
        let locked = if is_kept {
            // With the thread ends an agent that was started for this alone.
            errands.finish(CLOSE_PATIENCE);
            lock_now(&global.vault)
        } else {
            let locked = lock_now(&global.vault);
            // Whoever was deaf has been ended: the thread has nothing more to wait for.
            errands.finish(KEEP_PATIENCE);
            locked
        };
        let last = if is_kept { words::LOCKED } else { words::LOCKED_NOT_KEPT };
        if !by_key {
            stay(&terminal, locked.as_ref().map_or_else(|failure| failure.message.as_str(), |_| last));
        }
        drop(terminal);
        locked?;
        Ok(said(last, had_saved))
    }

    /// What the vault does not have waits for whoever knows the passphrase, and is not shown. Whatever passphrase opens, it ends
    /// with the same words: nothing here may tell that there is another vault.
    fn cover(self) -> Result<Ended, Failure> {
        let rest = Rest::of(&self.kept, self.buffer.text());
        let Bare { terminal, mut errands, global, had_saved, slept } = self.bare();
        errands.send(Errand::Forget);
        let rest = Arc::new(Mutex::new(Some(rest)));
        forget_in_time(&rest, slept, global.vault.clone());
        let mut keys = Keys::default();
        let mut why = String::new();
        terminal.drop_typed();
        let (last, by_key) = loop {
            show(&terminal, &[words::COVERED[0], words::COVERED[1], "", &why]);
            match next(&terminal, &mut keys) {
                Next::Ending => break (words::NO_MORE, false),
                _ if locked(&rest).is_none() => break (words::NO_MORE, false),
                Next::Key(Key::Enter) => match terminal.ask(|| Agent::open(global)) {
                    Ok(agent) => {
                        let Some(rest) = locked(&rest).take() else { break (words::NO_MORE, true) };
                        break (keep_rest(&mut errands, agent, rest), true);
                    }
                    Err(failure) if failure.kind == Kind::NoVault => break (words::NO_MORE, true),
                    // The signal of Ctrl-C goes to another thread, which may be slower than the answer.
                    Err(failure) if failure.kind == Kind::Interrupted => {
                        *locked(&rest) = None;
                        return Err(failure);
                    }
                    Err(failure) => why = crate::sanitise::line(&failure.message),
                },
                Next::Key(key) if ends(&key) => break (words::NO_MORE, true),
                Next::Key(_) | Next::Nothing => {}
            }
        };
        *locked(&rest) = None;
        errands.finish(CLOSE_PATIENCE);
        if !by_key {
            stay(&terminal, last);
        }
        Ok(said(last, had_saved))
    }
}

const fn said(last: &'static str, had_saved: bool) -> Ended {
    if had_saved { Ended::SavedAndSaid(last) } else { Ended::Said(last) }
}

/// Whatever this opened: the words are the same.
fn keep_rest(errands: &mut Errands, agent: Agent, rest: Rest) -> &'static str {
    errands.send(Errand::KeepRest(agent, rest));
    let until = Instant::now() + CLOSE_PATIENCE;
    loop {
        match errands.wait(until) {
            Some(Done::RestKept(Ok(()))) => return words::OPENED,
            Some(Done::RestKept(Err(_))) | None => return words::OPENED_NOT_KEPT,
            Some(_) => {}
        }
    }
}

/// Wipes it after a while, also while the passphrase is asked for; when the machine has slept; when the vault is gone.
fn forget_in_time(rest: &Arc<Mutex<Option<Rest>>>, slept: Duration, vault: PathBuf) {
    let rest: Weak<_> = Arc::downgrade(rest);
    let until = memory::clock() + COVERED_FOR;
    thread::spawn(move || {
        while let Some(rest) = rest.upgrade() {
            let is_over = memory::clock() >= until || memory::slept() > slept + NAP;
            if is_over || !Layout::new(&vault).slots().exists() {
                *locked(&rest) = None;
                return;
            }
            drop(rest);
            thread::sleep(TICK);
        }
    });
}

fn locked(rest: &Mutex<Option<Rest>>) -> MutexGuard<'_, Option<Rest>> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens to a window in which nothing is written any more.
enum Next {
    Key(Key),
    /// The process is to end, or the terminal is gone.
    Ending,
    Nothing,
}

fn next(terminal: &Terminal, keys: &mut Keys) -> Next {
    let told = terminal.wait(None, if keys.is_waiting() { REST_OF_A_KEY } else { TICK });
    if told.ending {
        return Next::Ending;
    }
    if told.changed {
        terminal.again();
    }
    if !told.input {
        return keys.give_up().map_or(Next::Nothing, Next::Key);
    }
    let mut typed = [0; 256];
    match terminal.read(&mut typed) {
        0 => Next::Ending,
        count => keys.feed(&typed[..count]).pop().map_or(Next::Nothing, Next::Key),
    }
}

const fn ends(key: &Key) -> bool {
    matches!(key, Key::Enter | Key::Esc | Key::Ctrl('c' | 'd' | 'l' | 'q' | 'x') | Key::F(10 | 12))
}

/// Keeps the keyboard until somebody presses a key that ends: whoever was typing has not noticed yet.
fn stay(terminal: &Terminal, last: &str) {
    let mut keys = Keys::default();
    terminal.drop_typed();
    loop {
        show(terminal, &[last, "", words::END]);
        match next(terminal, &mut keys) {
            Next::Ending => return,
            Next::Key(key) if ends(&key) => return,
            Next::Key(_) | Next::Nothing => {}
        }
    }
}

/// Words on a screen that is empty but for them.
fn show(terminal: &Terminal, lines: &[&str]) {
    terminal.blank();
    let (columns, _) = terminal.size();
    let mut row = 1;
    for line in lines {
        for piece in super::layout::rows(line, columns) {
            terminal.show(format!("\x1b[{row};1H{}", &line[piece.start..piece.end]).as_bytes());
            row += 1;
        }
    }
    terminal.show(format!("\x1b[{};1H", row + 1).as_bytes());
}
