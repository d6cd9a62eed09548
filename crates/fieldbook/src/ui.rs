//! What a person or a calling program sees: data on stdout, the rest on stderr, questions on the terminal.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::{Failure, Kind};
use crate::sanitise;
use crate::wrap::fitting;

/// How this invocation speaks.
#[derive(Debug)]
pub struct Ui {
    json: bool,
    no_input: bool,
    /// Nobody may hear anything but a failure.
    silent: bool,
    /// The reader of stdout went away (`| head`): the work goes on, its output does not.
    reader_gone: Cell<bool>,
}

impl Ui {
    /// `json`: JSON Lines. `no_input`: never ask.
    pub const fn new(json: bool, no_input: bool) -> Self {
        Self { json, no_input, silent: false, reader_gone: Cell::new(false) }
    }

    /// Says nothing, and asks nothing.
    pub const fn silent() -> Self {
        Self { silent: true, ..Self::new(true, true) }
    }

    /// Whether stdout is for a program.
    pub const fn json(&self) -> bool {
        self.json
    }

    /// Whether a person sits at the terminal and may be asked.
    pub fn may_ask(&self) -> bool {
        !self.no_input && io::stdin().is_terminal()
    }

    /// Whether `--no-input` was given.
    pub const fn no_input(&self) -> bool {
        self.no_input
    }

    /// A line of data for a person; nothing with `--json`. The caller has sanitised untrusted parts.
    ///
    /// # Errors
    /// Stdout cannot be written (a full disk). A reader that went away is not an error.
    pub fn say(&self, line: impl Display) -> Result<(), Failure> {
        if self.json {
            Ok(())
        } else {
            self.write(&fitting(&Zeroizing::new(format!("{line}\n")), io::stdout()))
        }
    }

    /// One object of data for a program, `"v":1` first; nothing without `--json`.
    ///
    /// # Errors
    /// As [`Ui::say`].
    pub fn emit(&self, value: Value) -> Result<(), Failure> {
        if !self.json || self.silent {
            return Ok(());
        }
        self.write(&json_line(value))
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Data that is not text, as it is. The caller has made sure that stdout is not a terminal.
    ///
    /// # Errors
    /// As [`Ui::say`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.reader_gone.get() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.set(true);
                Ok(())
            }
            Err(error) => {
                Err(Failure::failed("stdout", format!("standard output cannot be written: {error}")))
            }
        }
    }

    /// Whether whoever read stdout went away: what stays to tell it may end.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone.get()
    }

    /// A word on the side, for a person only.
    pub fn note(&self, line: impl Display) {
        if !self.json {
            beside(&Zeroizing::new(format!("{line}\n")));
        }
    }

    /// Something that ought to be known but does not stop the command.
    pub fn warn(&self, code: &str, message: impl Display) {
        if self.json {
            let line =
                json_line(serde_json::json!({"warning": {"code": code, "message": message.to_string()}}));
            let _ = io::stderr().write_all(line.as_bytes());
        } else {
            beside(&format!("warning: {message}\n"));
        }
    }

    /// The failure that ends the command.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            let line = sanitise::json(&failure.to_json().to_string()) + "\n";
            let _ = io::stderr().write_all(line.as_bytes());
        } else {
            let mut line = format!("error: {}\n", sanitise::text(&failure.message));
            if let Some(hint) = &failure.hint {
                line.push_str(&format!("hint: {}\n", sanitise::text(hint)));
            }
            beside(&line);
        }
    }

    /// Asks a yes-or-no question on the terminal; anything but y or yes is a no.
    ///
    /// # Errors
    /// Nobody may be asked: the message names `flag`, which answers beforehand.
    pub fn confirm(&self, question: &str, flag: &str) -> Result<bool, Failure> {
        if !self.may_ask() {
            return Err(Failure::cannot_ask(format!("this needs an answer: {question}"), flag));
        }
        let answer = self.ask_line(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Reads one line from the terminal.
    ///
    /// # Errors
    /// The terminal cannot be read, or was closed.
    pub fn ask_line(&self, prompt: &str) -> Result<String, Failure> {
        beside(prompt);
        let mut line = String::new();
        let read =
            io::stdin().lock().read_line(&mut line).map_err(Failure::io("the terminal cannot be read"))?;
        if read == 0 {
            return Err(Failure::new(Kind::CannotAsk, "cannot-ask", "the input ended before an answer came"));
        }
        Ok(line)
    }
}

/// What is not data, for a person. A stderr that cannot be written leaves nobody to tell.
fn beside(text: &str) {
    let _ = io::stderr().write_all(fitting(text, io::stderr()).as_bytes());
}

/// One line of JSON Lines: `"v":1` first, then the fields of `value`.
fn json_line(value: Value) -> String {
    let mut object = Map::new();
    object.insert("v".to_owned(), Value::from(1));
    match value {
        Value::Object(fields) => object.extend(fields),
        other => {
            object.insert("value".to_owned(), other);
        }
    }
    sanitise::json(&Value::Object(object).to_string()) + "\n"
}

/// Milliseconds since 1970 as `2026-11-24 14:02 UTC`.
pub fn time(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000);
    let (year, month, day) = civil(minutes.div_euclid(24 * 60));
    let of_day = minutes.rem_euclid(24 * 60);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", of_day / 60, of_day % 60)
}

/// Days since 1970 as a date of the Gregorian calendar
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// Bytes as a person says them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// "1 report", "2 reports".
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_begins_with_the_version() {
        let line = json_line(serde_json::json!({"id": "a", "n": 2}));
        assert_eq!(line, "{\"v\":1,\"id\":\"a\",\"n\":2}\n");
    }

    #[test]
    fn times_are_dates_people_know() {
        assert_eq!(time(0), "1970-01-01 00:00 UTC");
        assert_eq!(time(1_490_443_199_999), "2017-03-25 11:59 UTC");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(time(-60_000), "1969-12-31 23:59 UTC");
    }
}
