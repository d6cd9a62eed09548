//! A process of this program that does one job with a depot: told on its standard input, it says what happens line
//! by line, and ends when the command that started it does.

use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde::Serialize;

use super::job::Job;
use crate::agent::wire;
use crate::error::Failure;
use crate::interrupt;

/// A process that was given its job.
pub struct Started {
    /// Itself.
    pub child: Child,
    /// Ends it when this command is interrupted.
    pub guard: interrupt::Child,
    /// Stays open while it works: it ends when this command does.
    pub to: ChildStdin,
    /// What it says.
    pub from: BufReader<ChildStdout>,
}

impl Started {
    /// Starts `internal COMMAND` and gives it its job. `doing` is what is said when that fails.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn new(command: &str, job: &impl Serialize, doing: &'static str) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::io(doing))?;
        let mut child = Command::new(program)
            .args(["internal", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Failure::io(doing))?;
        let guard = interrupt::Child::watch(&child);
        let mut to = child.stdin.take().ok_or_else(|| Failure::failed("internal", doing))?;
        wire::write(&mut to, job).map_err(Failure::io(doing))?;
        let from = child.stdout.take().ok_or_else(|| Failure::failed("internal", doing))?;
        Ok(Self { child, guard, to, from: BufReader::new(from) })
    }
}

/// The process while it works.
pub struct Working {
    child: Child,
    _guard: interrupt::Child,
    to: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    gone: &'static str,
}

impl Working {
    /// Starts `internal COMMAND` and gives it its job. `doing` is what is said when that fails, `gone` when it ends
    /// in the midst.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        command: &str,
        job: &Job,
        (doing, gone): (&'static str, &'static str),
    ) -> Result<Self, Failure> {
        let Started { child, guard, to, from } = Started::new(command, job, doing)?;
        Ok(Self { child, _guard: guard, to, lines: from.lines(), gone })
    }

    /// The next line that it says; `None` when it says no more.
    ///
    /// # Errors
    /// It cannot be heard.
    pub fn line(&mut self) -> Result<Option<String>, Failure> {
        self.lines.next().transpose().map_err(Failure::io(self.gone))
    }

    /// Lets it end, and waits until it has.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn end(self) -> Result<ExitStatus, Failure> {
        let Self { mut child, _guard, to, lines, gone } = self;
        drop((to, lines));
        child.wait().map_err(Failure::io(gone))
    }
}
