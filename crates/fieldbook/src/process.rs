//! Another process, held on to: its number may be another's by the time it is looked at, this is not.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that lives, or lived when it was held.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Holds it.
    ///
    /// # Errors
    /// It is gone, or the system cannot hold on to a process.
    pub fn hold(number: Pid) -> io::Result<Self> {
        Ok(Self(pidfd_open(number, PidfdFlags::empty())?))
    }

    /// Sends it a signal; nothing if it has ended.
    pub fn send(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// Waits until it is no more: buried, or dead and unburied, with nothing in memory. For ever without a limit. Whether it is.
    pub fn is_gone_after(&self, limit: Option<Duration>) -> bool {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
                // A signal to this process says nothing of the other.
                Err(Errno::INTR) => {}
                told => return told.is_ok_and(|ready| ready > 0),
            }
        }
    }
}
