//! Syncs over a pipe that somebody else made: the two ends, taken so that nothing but the protocol can
//! reach them.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio;

use crate::error::Failure;
use crate::global::Global;
use crate::interrupt;
use crate::passphrase::Source;

/// How long a command may take to end after its pipes were closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The end to read from and the end to write to.
#[derive(Debug)]
pub struct Pipe {
    /// What the other side says.
    pub input: OwnedFd,
    /// What it hears.
    pub output: OwnedFd,
}

/// Takes standard input and output for the protocol. From then on this process and those that it starts
/// have an empty standard input, and print on standard error what they would have printed.
///
/// # Errors
/// A person sits at one of them, or the passphrase was to be read from one.
pub fn take_standard(global: &Global) -> Result<Pipe, Failure> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(Failure::usage("terminal", "--stdio speaks with a program, and here is a terminal").hint(
            "let ssh start it at the other end: fieldbook sync --through 'ssh HOST fieldbook sync --stdio --serve'",
        ));
    }
    if let Source::Descriptor(number @ (0 | 1)) = *global.passphrase.typed() {
        let what = format!("descriptor {number} carries the sync, and no passphrase can be read from it");
        return Err(Failure::usage("descriptor-taken", what).hint(
            "give the passphrase with --passphrase-file, or from another descriptor; after `fieldbook unlock` none is needed",
        ));
    }
    let taken = || -> io::Result<Pipe> {
        // Above the standard three, whichever of them may be closed.
        let input = fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
        let output = fcntl_dupfd_cloexec(stdio::stdout(), 3)?;
        stdio::dup2_stdin(File::open("/dev/null")?)?;
        stdio::dup2_stdout(stdio::stderr())?;
        Ok(Pipe { input, output })
    };
    taken().map_err(Failure::io("standard input and output cannot be used"))
}

/// A command that runs at the other end of a pipe.
pub struct Running {
    child: Child,
    _guard: interrupt::Child,
}

/// Starts a command with sh, and takes its standard input and output for the protocol.
///
/// # Errors
/// It cannot be started.
pub fn run_command(command: &str) -> Result<(Pipe, Running), Failure> {
    let doing = "the command of --through cannot be started";
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::io(doing))?;
    let _guard = interrupt::Child::watch(&child);
    match (child.stdout.take(), child.stdin.take()) {
        (Some(input), Some(output)) => {
            Ok((Pipe { input: input.into(), output: output.into() }, Running { child, _guard }))
        }
        _ => Err(Failure::failed("internal", doing)),
    }
}

impl Running {
    /// Waits for its end, which comes by itself when nobody speaks to it any more: its exit code, if it has one.
    pub fn end(mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.code(),
                Ok(None) if Instant::now() <= until => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return None;
                }
                Err(_) => return None,
            }
        }
    }
}
