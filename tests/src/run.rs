//! One command, run to its end.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::DEADLINE;

/// What a command said and how it ended.
pub struct Run {
    said: String,
    /// The exit code, or 128 plus the number of the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a command to its end, with `input` on its standard input.
///
/// # Panics
/// It cannot be started, or is still running at the deadline.
pub fn run(mut command: Command, input: &[u8]) -> Run {
    let said = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{said}: {error}"));
    let input = input.to_vec();
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read its input closes it; that is its right.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let drain = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = drain(Box::new(child.stderr.take().expect("a pipe")));
    let until = Instant::now() + DEADLINE;
    // Whatever the command leaves running must let go of the pipes: the end of both is awaited too.
    while !(stdout.is_finished() && stderr.is_finished()) {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("{said}: not finished after {DEADLINE:?}, or something it started holds its output");
        }
        thread::sleep(Duration::from_millis(2));
    }
    let status = child.wait().expect("its end");
    drop(feeder.join());
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Run { said, code, stdout: stdout.join().expect("stdout"), stderr: stderr.join().expect("stderr") }
}

impl Run {
    /// Its standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// This exit code is expected.
    ///
    /// # Panics
    /// It is another one, or the program panicked.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(!self.err().contains("internal error at"), "a panic inside: {self:?}");
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// The objects of JSON Lines on standard output.
    ///
    /// # Panics
    /// A line is no object, or lacks `"v":1`.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        objects(&self.out()).unwrap_or_else(|line| panic!("not an object with \"v\":1: {line}\n{self:?}"))
    }

    /// The one error object on standard error (warnings apart), checked for its shape.
    ///
    /// # Panics
    /// There is none, or more than one, or it lacks a part.
    #[track_caller]
    pub fn error(&self) -> Value {
        let lines = objects(&self.err()).unwrap_or_else(|line| panic!("not an object: {line}\n{self:?}"));
        let mut errors = lines.into_iter().filter_map(|mut line| line.get_mut("error").map(Value::take));
        let error = errors.next().unwrap_or_else(|| panic!("no error object: {self:?}"));
        assert!(errors.next().is_none(), "two error objects: {self:?}");
        for key in ["code", "kind", "message"] {
            assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "no {key} in {error}");
        }
        assert!(error.get("hint").is_some(), "no hint in {error}");
        error
    }
}

/// Every non-empty line as an object with `"v":1`; the line that is not.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>, String> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| match serde_json::from_str::<Value>(line) {
            Ok(value) if value["v"] == 1 => Ok(value),
            _ => Err(line.to_owned()),
        })
        .collect()
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nexit: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.said,
            self.code,
            self.out(),
            self.err()
        )
    }
}
