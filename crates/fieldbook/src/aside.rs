//! What must not stay on the screen, nor in what a terminal remembers of lines that went by, is shown aside: on the terminal's
//! other screen, which is emptied and left afterwards; also on Ctrl-C, and from a panic.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tty;
use crate::ui::Ui;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[H\x1b[?1049l";
static SHOWN: Mutex<bool> = Mutex::new(false);

/// From its making to its end a person reads, and answers, aside. Without a terminal that can do it nothing happens.
#[derive(Debug)]
pub struct Aside(());

impl Aside {
    /// From now on.
    pub fn begin(ui: &Ui) -> Self {
        let mut shown = lock();
        if !ui.json() && stderr().is_terminal() && tty::draws() && !*shown {
            *shown = true;
            send(ENTER);
            empty();
        }
        Self(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        leave();
    }
}

/// Goes back to the screen as it was, if something is shown aside.
pub fn leave() {
    // Held to the end: whoever ends this process meanwhile waits until it is done.
    let mut shown = lock();
    if std::mem::take(&mut *shown) {
        empty();
        send(LEAVE);
    }
}

fn lock() -> MutexGuard<'static, bool> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn empty() {
    send(&(tty::emptied(tty::size(stderr()).1) + "\x1b[H"));
}

fn send(text: &str) {
    // A terminal that went away shows nothing.
    let _ = stderr().write_all(text.as_bytes());
}
