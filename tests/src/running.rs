//! A command that keeps running: its lines are read as they come, and it ends with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::DEADLINE;

/// A running command.
pub struct Running {
    said: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Its other end goes when standard error has been read to its end.
    stderr_open: Receiver<()>,
}

impl Running {
    /// Starts it, with nothing on its standard input.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command) -> Self {
        let said = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{said}: {error}"));
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            // A line without an end was cut off by the end of the process: it said nothing.
            let mut stdout = stdout;
            let mut line = String::new();
            while matches!(stdout.read_line(&mut line), Ok(n) if n > 0) {
                if !line.ends_with('\n') || sender.send(line.trim_end().to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut from = child.stderr.take().expect("a pipe");
        let into = Arc::clone(&stderr);
        let (open, stderr_open) = channel();
        thread::spawn(move || {
            let _open = open;
            let mut block = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut block) {
                into.lock().expect("stderr").extend_from_slice(&block[..n]);
            }
        });
        Self { said, child, lines, stderr, stderr_open }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output; `None` when there will be none.
    ///
    /// # Panics
    /// Neither a line nor the end came before the deadline.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{}: said nothing more\n{}", self.said, self.err()),
        }
    }

    /// The first object on standard output that has `key`.
    ///
    /// # Panics
    /// It ended or fell silent without one.
    pub fn object_with(&mut self, key: &str) -> Value {
        loop {
            let Some(line) = self.line() else {
                panic!("{}: ended without {key:?}\n{}", self.said, self.err())
            };
            let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(object["v"], 1, "{line}");
            if object.get(key).is_some() {
                return object;
            }
        }
    }

    /// The next line of its standard output, if there is one within so long.
    pub fn line_within(&mut self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Its standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("stderr")).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended already.
        let _ = kill_process(pid.expect("a process id"), signal);
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; all that it wrote to standard error is there then.
    ///
    /// # Panics
    /// It does not come.
    pub fn ends(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                let read = self.stderr_open.recv_timeout(DEADLINE);
                assert_eq!(
                    read,
                    Err(RecvTimeoutError::Disconnected),
                    "{}: something holds its output",
                    self.said
                );
                return status;
            }
            assert!(Instant::now() < until, "{}: does not end\n{}", self.said, self.err());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`, and its end. What it had said until then is still to be read.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The rest of what it said, after its end.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
