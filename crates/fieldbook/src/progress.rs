//! How far a long work is: a line that redraws itself on a terminal, a line now and then elsewhere, and an
//! event for a program.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::ui::{Ui, size};

/// How often a line is written where nobody redraws it.
const PACE: Duration = Duration::from_secs(10);

/// The progress of one work, in bytes.
#[derive(Debug)]
pub struct Progress<'a> {
    ui: &'a Ui,
    /// What is being done, for example "Writing".
    doing: &'static str,
    of: u64,
    terminal: bool,
    drawn: bool,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// Begins; nothing is said yet.
    pub fn begin(ui: &'a Ui, doing: &'static str, of: u64) -> Self {
        let terminal = !ui.json() && io::stderr().is_terminal();
        Self { ui, doing, of, terminal, drawn: false, told: Instant::now() }
    }

    /// So many bytes are done.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn at(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.terminal {
            // A stderr that cannot be written leaves nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[K{}", line(self.doing, bytes, self.of));
            self.drawn = true;
        } else if !self.ui.json() && self.told.elapsed() >= PACE {
            self.told = Instant::now();
            self.ui.note(line(self.doing, bytes, self.of));
        }
        self.ui.emit(serde_json::json!({"event": "progress", "bytes": bytes, "of": self.of}))
    }

    /// Takes the line away, before something else is said.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(doing: &str, bytes: u64, of: u64) -> String {
    // Rounded up files let a little more be done than was planned.
    let percent = bytes.min(of).saturating_mul(100).checked_div(of).unwrap_or(100);
    format!("{doing} … {percent} % of {}", size(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        assert_eq!(line("Writing", 0, 1_048_576), "Writing … 0 % of 1.0 MiB");
        assert_eq!(line("Writing", 524_288, 1_048_576), "Writing … 50 % of 1.0 MiB");
        assert_eq!(line("Reading", 9, 8), "Reading … 100 % of 8 B");
        assert_eq!(line("Reading", 0, 0), "Reading … 100 % of 0 B");
    }
}
