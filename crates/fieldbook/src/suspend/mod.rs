//! Locking before the computer sleeps. Whoever sleeps unlocked has the keys in memory, for whoever takes the computer.
//!
//! The system's login manager (logind) delays sleep for those who ask, by an open file that they hold, and tells them when
//! it is time. The watch beside an agent asks; told so, it ends the agent, waits until that process is gone, and only
//! then lets go, by its own end. Where there is no such manager, the agent still locks when the computer wakes up.

mod bus;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::process::Process;
use bus::{Bus, Member, Message, SIGNAL};

const LOGIND: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const INHIBIT: Member<'_> = [LOGIND, "/org/freedesktop/login1", MANAGER, "Inhibit"];
const DBUS: &str = "org.freedesktop.DBus";
const ADD_MATCH: Member<'_> = [DBUS, "/org/freedesktop/DBus", DBUS, "AddMatch"];
const OWNER: Member<'_> = [DBUS, "/org/freedesktop/DBus", DBUS, "GetNameOwner"];
const SLEEPS: &str = "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Manager',member='PrepareForSleep'";

/// How long an agent may take to close the vault. logind waits five seconds unless it was told otherwise; whatever was
/// reported as saved survives the kill.
const CLOSING: Duration = Duration::from_secs(3);
/// After this long it is tried again where nobody answered.
const AGAIN: Duration = Duration::from_secs(60);

/// The agent, seen from the watch beside it.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    ending: AtomicBool,
}

impl Agent {
    /// The process that started this one.
    ///
    /// # Errors
    /// It is gone, or the system cannot hold on to a process.
    pub fn parent() -> io::Result<Arc<Self>> {
        let parent: Pid = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
        let process = Process::hold(parent)?;
        Ok(Arc::new(Self { process, ending: AtomicBool::new(false) }))
    }

    /// From now on it is locked before the computer sleeps, as soon as that can be done; `told` says whether it can now.
    pub fn follow(self: &Arc<Self>, told: impl FnOnce(bool) + Send + 'static) {
        let (agent, mut told) = (self.clone(), Some(told));
        thread::spawn(move || {
            loop {
                if let Ok((mut bus, _held)) = ask() {
                    told.take().into_iter().for_each(|told| told(true));
                    if bus.is_patient().is_ok() && await_sleep(&mut bus).is_ok() {
                        // Nothing is let go before this process ends, which it does with the agent.
                        agent.end();
                    }
                }
                told.take().into_iter().for_each(|told| told(false));
                thread::sleep(AGAIN);
            }
        });
    }

    /// Asked to, an agent closes the vault and ends.
    fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.process.send(Signal::TERM);
        if !self.process.is_gone_after(Some(CLOSING)) {
            self.kill();
        }
    }

    /// The agent lets go of this process. If that is because the computer is going to sleep, the vault is closed, and what is left
    /// of the agent goes at once.
    pub fn let_go(&self) {
        if self.ending.load(Ordering::SeqCst) {
            self.kill();
        }
    }

    fn kill(&self) {
        self.process.send(Signal::KILL);
        // For as long as it takes: the system does not wait for ever.
        self.process.is_gone_after(None);
    }
}

/// Whether somebody will say before this computer sleeps: asked as a watch asks, and let go at once.
pub fn is_told() -> bool {
    ask().is_ok()
}

/// A bus that will tell, and what holds sleep up.
fn ask() -> io::Result<(Bus, OwnedFd)> {
    let mut bus = Bus::connect(&Bus::place())?;
    bus.call(ADD_MATCH, &[SLEEPS])?;
    // Everybody on this computer can read these words.
    let held = bus.call(INHIBIT, &["sleep", "notebook", "saves and closes", "delay"])?.handed.pop();
    Ok((bus, held.ok_or(io::ErrorKind::InvalidData)?))
}

fn await_sleep(bus: &mut Bus) -> io::Result<()> {
    loop {
        let message = bus.signal()?;
        if is_of_sleep(&message) && message.truth()? {
            // Anybody may send a signal straight to us. The one that counts is logind's.
            if bus.call(OWNER, &[LOGIND])?.string()? == message.sender {
                return Ok(());
            }
        }
    }
}

fn is_of_sleep(message: &Message) -> bool {
    message.kind == SIGNAL && message.interface == MANAGER && message.member == "PrepareForSleep"
}
