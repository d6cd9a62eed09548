//! How far a long work is: a line that redraws itself on a terminal, a line now and then elsewhere, and an event for a
//! program. The line is of ASCII characters and without colours, so it fits any terminal.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::Failure;
use crate::ui::{Ui, size};

/// A work that takes no longer draws nothing.
const AT_ONCE: Duration = Duration::from_millis(500);
/// After so long the first line is written where nobody redraws it, and then one each [`PACE`].
const FIRST: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_secs(10);
/// Programs hear no more often.
const EVENTS: Duration = Duration::from_secs(1);
/// The rate is that of the last so many seconds.
const WINDOW: usize = 30;
const BAR: usize = 10;
/// What comes first is small, and acknowledged before the line is full: a rate is said when a part in so many is done,
/// or so many bytes.
const RATE_FROM: (u64, u64) = (20, 1 << 20);

/// Whether a line stands on the terminal that must go before anything else is written there.
static DRAWN: Mutex<bool> = Mutex::new(false);

/// What is to be shown.
#[derive(Debug)]
pub struct Step {
    /// For people, the most important first: what does not fit is left out from the end.
    pub words: Vec<String>,
    /// Bytes that are done.
    pub bytes: u64,
    /// Those, and all that are known to follow.
    pub of: u64,
    /// Nothing else may follow.
    pub exact: bool,
    /// For programs.
    pub object: Value,
}

enum How {
    Redrawn,
    Lines,
    Events,
}

/// The progress of one work.
pub struct Progress<'a> {
    ui: &'a Ui,
    how: How,
    begun: Instant,
    told: Option<Instant>,
    /// When how many bytes were done, a second apart.
    seen: VecDeque<(Instant, u64)>,
}

impl<'a> Progress<'a> {
    /// Begins; nothing is said yet.
    pub fn begin(ui: &'a Ui) -> Self {
        // A terminal that tells no name, or this one, does not know how to clear a line.
        let clears = crate::tty::draws();
        let how = match ui.json() {
            true => How::Events,
            false if clears && io::stderr().is_terminal() => How::Redrawn,
            false => How::Lines,
        };
        let begun = Instant::now();
        Self { ui, how, begun, told: None, seen: VecDeque::from([(begun, 0)]) }
    }

    /// It is so far.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn at(&mut self, step: Step) -> Result<(), Failure> {
        let now = Instant::now();
        let enough = step.bytes >= (step.of / RATE_FROM.0).min(RATE_FROM.1);
        let rate = self.rate(now, step.bytes).filter(|_| enough);
        let due = match (&self.how, self.told) {
            (How::Redrawn, _) => now - self.begun >= AT_ONCE,
            (How::Lines, None) => now - self.begun >= FIRST,
            (How::Events, None) => true,
            (How::Lines, Some(told)) => now - told >= PACE,
            (How::Events, Some(told)) => now - told >= EVENTS,
        };
        if !due {
            return Ok(());
        }
        self.told = Some(now);
        let left = rate.map(|rate| step.of.saturating_sub(step.bytes).div_ceil(rate));
        match self.how {
            How::Redrawn => draw(&line(&step, rate.zip(left), true, width())),
            How::Lines => self.ui.note(line(&step, rate.zip(left), false, usize::MAX)),
            How::Events => {
                let mut object = step.object;
                object["event"] = "progress".into();
                object["rate"] = rate.into();
                object["left_s"] = left.into();
                self.ui.emit(object)?;
            }
        }
        Ok(())
    }

    /// Bytes a second of late; of all the time, if nothing was done of late.
    fn rate(&mut self, now: Instant, bytes: u64) -> Option<u64> {
        if self.seen.back().is_none_or(|(at, _)| now - *at >= Duration::from_secs(1)) {
            self.seen.push_back((now, bytes));
            if self.seen.len() > WINDOW {
                self.seen.pop_front();
            }
        }
        let of = |since: Instant, before: u64| {
            let millis = u64::try_from((now - since).as_millis()).ok().filter(|millis| *millis >= 500)?;
            let rate = bytes.saturating_sub(before).saturating_mul(1_000) / millis;
            (rate > 0).then_some(rate)
        };
        let (since, before) = *self.seen.front()?;
        of(since, before).or_else(|| of(self.begun, 0))
    }

    /// Takes the line away, before something else is said.
    #[allow(clippy::unused_self, reason = "only whoever drew it takes it away")]
    pub fn clear(&self) {
        wipe(&mut DRAWN.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Takes a drawn line away, and draws no other: the process ends.
pub fn wipe_at_the_end() {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    wipe(&mut drawn);
    // Whoever wants to draw now waits, until there is nobody any more.
    std::mem::forget(drawn);
}

fn draw(line: &str) {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    // A stderr that cannot be written leaves nobody to tell.
    let _ = write!(io::stderr(), "\r\x1b[K{line}");
    *drawn = true;
}

fn wipe(drawn: &mut bool) {
    if std::mem::take(drawn) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

/// Columns of the terminal, but for the last: a line that reaches it may wrap.
fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |window| window.ws_col);
    usize::from(if columns == 0 { 80 } else { columns }) - 1
}

fn line(step: &Step, rate: Option<(u64, u64)>, bar: bool, width: usize) -> String {
    let mut parts = step.words.clone();
    if let Some((rate, left)) = rate {
        parts.push(format!("{}/s", size(rate)));
        if step.of > step.bytes {
            parts.push(format!("{}{} left", if step.exact { "" } else { "at least " }, span(left)));
        }
    }
    let mut line = String::new();
    for part in parts {
        let joined = if line.is_empty() { part } else { format!("{line}, {part}") };
        if joined.len() > width {
            break;
        }
        line = joined;
    }
    let done = step.bytes.min(step.of).saturating_mul(BAR as u64).checked_div(step.of).unwrap_or(0);
    let done = usize::try_from(done).unwrap_or(0);
    if bar && step.of > 0 && line.len() + BAR + 3 <= width {
        line = format!("[{}{}] {line}", "#".repeat(done), ".".repeat(BAR - done));
    }
    line
}

fn span(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{} s", seconds.max(1)),
        100..6_000 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(bytes: u64, of: u64, exact: bool) -> Step {
        let words = vec!["Sent 1 of 4 entries".to_owned(), format!("{} of {}", size(bytes), size(of))];
        Step { words, bytes, of, exact, object: Value::Null }
    }

    #[test]
    fn a_line_says_how_far_it_is_as_far_as_there_is_room() {
        let step = step(1 << 20, 4 << 20, true);
        let rate = Some((1 << 19, 6));
        let all = "Sent 1 of 4 entries, 1.0 MiB of 4.0 MiB, 512 KiB/s, 6 s left";
        assert_eq!(line(&step, rate, false, usize::MAX), all);
        assert_eq!(line(&step, rate, true, 100), format!("[##........] {all}"));
        assert_eq!(line(&step, rate, true, 70), all, "words before the bar");
        assert_eq!(line(&step, rate, true, 40), "Sent 1 of 4 entries, 1.0 MiB of 4.0 MiB");
        assert_eq!(line(&step, None, true, 19), "Sent 1 of 4 entries");
        assert_eq!(line(&step, None, true, 5), "");
        for width in 0..200 {
            let line = line(&step, rate, true, width);
            assert!(line.len() <= width && line.is_ascii(), "{width}: {line}");
        }
    }

    #[test]
    fn where_more_may_follow_it_says_so_and_at_the_end_nothing_is_left() {
        assert!(line(&step(1, 10, false), Some((1, 9)), false, 200).ends_with("at least 9 s left"));
        assert!(!line(&step(10, 10, true), Some((1, 0)), false, 200).contains("left"));
        assert!(line(&step(0, 0, true), None, true, 200).starts_with("Sent"));
        assert_eq!([span(0), span(99), span(100), span(7_000)], ["1 s", "99 s", "2 min", "2 h"]);
    }

    #[test]
    fn the_rate_is_that_of_late_and_a_long_pause_is_no_end() {
        let ui = Ui::new(true, true);
        let mut progress = Progress::begin(&ui);
        let at = |seconds: u64| progress.begun + Duration::from_secs(seconds);
        let [start, ten, late, later] = [0, 10, 60, 100].map(at);
        assert_eq!(progress.rate(start, 0), None);
        assert_eq!(progress.rate(ten, 10_000), Some(1_000));
        for second in 11..60 {
            progress.rate(at_of(start, second), 10_000 + (second - 10) * 100);
        }
        assert_eq!(progress.rate(late, 15_000), Some(100));
        for second in 61..100 {
            progress.rate(at_of(start, second), 15_000);
        }
        assert_eq!(progress.rate(later, 15_000), Some(150), "of all the time");
    }

    fn at_of(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }
}
