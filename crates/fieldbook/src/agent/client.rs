//! The client's end: finds or starts an agent and asks it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fieldbook_daemon::control::{Confinement, reach};
use fieldbook_vault::{Layout, Once, is_there};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::place::Place;
use super::protocol::{Answer, Create, Greeting, Opening, Request, Stay, VERSION};
use super::wire::{self, Buffered, Hex};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::memory;
use crate::passphrase::{Secret, Source};
use crate::process::Process;
use crate::ui::Ui;

/// How long a command waits for another one that has the vault open.
const WAIT_MS: u64 = 10_000;

/// A connection to the process that has the vault open.
pub struct Agent {
    from: Box<dyn Read + Send>,
    to: Option<Box<dyn Write + Send>>,
    child: Option<Child>,
    /// Hangs up when the agent ends.
    end: OwnedFd,
    pid: Option<u32>,
    confinement: Confinement,
}

/// What no other request is made with: whatever is asked for with it again is done once.
///
/// # Errors
/// The system has no randomness.
pub fn once() -> Result<Hex, Failure> {
    let mut bytes = vec![0; Once::LEN];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::failed("no-randomness", "the system gives no random numbers"))?;
    Ok(Hex::new(bytes))
}

impl Agent {
    /// The agent for the vault named on the command line: the one that runs, else a new one for this
    /// command, for which the passphrase is asked.
    ///
    /// # Errors
    /// No vault, no passphrase, a wrong one, or the vault is in use.
    pub fn open(global: &Global) -> Result<Self, Failure> {
        let vault = existing(global)?;
        let place = Place::of(&vault)?;
        if let Some(agent) = Self::running(&place)? {
            return Ok(agent);
        }
        global.passphrase.open(&vault, &global.ui, |passphrase| {
            match Self::start(&opening(&vault, passphrase), &global.ui) {
                // An agent that `unlock` was just starting holds the vault: it can be asked by now.
                Err(failure) if failure.kind == Kind::InUse => Self::running(&place)?.ok_or(failure),
                started => started,
            }
        })
    }

    /// As [`Agent::open`], with the passphrase, which is asked once whether or not the vault is unlocked, and which opens
    /// it.
    ///
    /// # Errors
    /// As [`Agent::open`].
    pub fn open_asking(global: &Global) -> Result<(Self, Secret), Failure> {
        let vault = existing(global)?;
        if *global.passphrase.typed() == Source::Terminal {
            global.ui.note("First the passphrase that opens the vault now.");
        }
        if let Some(mut agent) = Self::running(&Place::of(&vault)?)? {
            let passphrase = global.passphrase.open(&vault, &global.ui, |passphrase| {
                agent.call::<()>(&Request::CheckPassphrase { own: passphrase.as_str().into() })?;
                Ok(passphrase.clone())
            })?;
            return Ok((agent, passphrase));
        }
        global.passphrase.open(&vault, &global.ui, |passphrase| {
            Ok((Self::start(&opening(&vault, passphrase), &global.ui)?, passphrase.clone()))
        })
    }

    /// Asks, and if the vault was locked since it was opened, opens it once more and asks again: what a person has typed
    /// for an hour must not be lost because the vault locked itself meanwhile. The agent may have ended between what it saved
    /// and its word on it: what must not be done twice is asked for with [`once`].
    ///
    /// # Errors
    /// As [`Agent::call`] and [`Agent::open`].
    pub fn call_surely<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        global: &Global,
    ) -> Result<T, Failure> {
        match self.call(request) {
            Err(failure) if failure.code == AGENT_GONE => {
                global
                    .ui
                    .note("The vault was locked in the meantime. What you wrote is kept; open it once more.");
                *self = Self::open(global)?;
                self.call(request)
            }
            answered => answered,
        }
    }

    /// The agent that `unlock` left running, if one does.
    ///
    /// # Errors
    /// The directory of its socket is not safe, or it is of another version.
    pub fn running(place: &Place) -> Result<Option<Self>, Failure> {
        if !place.exists()? {
            return Ok(None);
        }
        let Some(mut agent) = Self::connect(&place.agent())? else { return Ok(None) };
        match agent.call::<Greeting>(&Request::Hello { v: VERSION }) {
            Ok(greeting) => {
                agent.confinement = greeting.confinement;
                Ok(Some(agent))
            }
            // It ended between the connection and its answer: nothing was asked of it yet, so the command
            // does without, as if it had come a moment later.
            Err(failure) if failure.code == AGENT_GONE => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Connects to a socket; `None` when nobody listens there.
    ///
    /// # Errors
    /// The system refuses for another reason.
    pub fn connect(socket: &Path) -> Result<Option<Self>, Failure> {
        let doing = "the agent cannot be reached";
        match reach(socket) {
            Ok(stream) => {
                let from = stream.try_clone().map_err(Failure::io(doing))?;
                let end = stream.as_fd().try_clone_to_owned().map_err(Failure::io(doing))?;
                let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
                Ok(Some(Self {
                    from: Box::new(Buffered::new(from)),
                    to: Some(Box::new(stream)),
                    child: None,
                    end,
                    pid: peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()),
                    confinement: Confinement::default(),
                }))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(Failure::io(doing)(error)),
        }
    }

    /// Starts an agent for this command.
    fn start(opening: &Opening, ui: &Ui) -> Result<Self, Failure> {
        let mut agent = Self::spawn()?;
        agent.send(opening)?;
        let greeting = agent.opened(ui)?;
        agent.confinement = greeting.confinement;
        Ok(agent)
    }

    /// Its word that it has opened the vault. What comes before: that it waits for another window.
    fn opened(&mut self, ui: &Ui) -> Result<Greeting, Failure> {
        let greeting = self.receive(|_: Value| {
            ui.note("Another window has the vault open. Waiting for it…");
            Ok(())
        })?;
        warn_of_copy(&greeting, ui);
        Ok(greeting)
    }

    /// Makes a vault of a backup; the agent ends at once.
    ///
    /// # Errors
    /// The vault cannot be made, or the passphrase does not open the backup.
    pub fn restore<T: DeserializeOwned>(from: &Path, to: &Path, passphrase: &Secret) -> Result<T, Failure> {
        let mut agent = Self::spawn()?;
        agent.send(&Opening { restore: Some(from.to_owned()), ..opening(to, passphrase) })?;
        agent.receive(|_: Value| Ok(()))
    }

    /// Destroys the vault's keys, if the passphrase opens it; the agent ends at once.
    ///
    /// # Errors
    /// It does not open it, or the keys could not be destroyed.
    pub fn wipe(vault: &Path, passphrase: &Secret) -> Result<(), Failure> {
        let mut agent = Self::spawn()?;
        agent.send(&Opening { wipe: true, ..opening(vault, passphrase) })?;
        agent.receive(|_: Value| Ok(()))
    }

    /// Makes a vault; the agent ends at once.
    ///
    /// # Errors
    /// The vault cannot be made.
    pub fn create<T: DeserializeOwned>(
        vault: &Path,
        passphrase: &Secret,
        create: Create,
    ) -> Result<T, Failure> {
        let mut agent = Self::spawn()?;
        agent.send(&Opening { create: Some(create), ..opening(vault, passphrase) })?;
        agent.receive(|_: Value| Ok(()))
    }

    /// Starts an agent that stays; it listens when this returns. Whether it is locked before this computer sleeps.
    ///
    /// # Errors
    /// As [`Agent::open`].
    pub fn unlock(
        vault: &Path,
        passphrase: &Secret,
        stay: Stay,
        decoy: bool,
        ui: &Ui,
    ) -> Result<bool, Failure> {
        let mut agent = Self::spawn()?;
        agent.send(&Opening { stay: Some(stay), decoy, ..opening(vault, passphrase) })?;
        let greeting = agent.opened(ui)?;
        warn_of_swap(ui);
        // It lives on without us.
        agent.child = None;
        Ok(greeting.locks_before_sleep)
    }

    fn spawn() -> Result<Self, Failure> {
        let doing = "the agent cannot be started";
        let program = std::env::current_exe().map_err(Failure::io(doing))?;
        let mut child = Command::new(program)
            .args(["internal", "agent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the client: the agent ends with it, after the request at hand.
            .process_group(0)
            .spawn()
            .map_err(Failure::io(doing))?;
        match (child.stdout.take(), child.stdin.take()) {
            (Some(from), Some(to)) => {
                let end = from.as_fd().try_clone_to_owned().map_err(Failure::io(doing))?;
                let from = Box::new(Buffered::new(from));
                let pid = Some(child.id());
                let confinement = Confinement::default();
                Ok(Self { from, to: Some(Box::new(to)), child: Some(child), end, pid, confinement })
            }
            _ => Err(Failure::failed("internal", doing)),
        }
    }

    /// Its process.
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The same, held on to; nothing if it has ended.
    pub fn process(&self) -> Option<Process> {
        let number = Pid::from_raw(i32::try_from(self.pid?).ok()?)?;
        Process::hold(number).ok()
    }

    /// What it says that the system holds it to.
    pub const fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// A descriptor that hangs up when the agent ends, to be watched together with others.
    pub fn end(&self) -> std::os::fd::BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Whether the agent has ended.
    pub fn is_gone(&self) -> bool {
        hung_up(&self.end, Some(&Timespec::default()))
    }

    /// Does `then` once the agent has ended, if this process lives that long.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn when_gone(&self, then: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        let end = self.end.try_clone().map_err(Failure::io("the agent cannot be watched"))?;
        std::thread::spawn(move || {
            while !hung_up(&end, None) {}
            then();
        });
        Ok(())
    }

    /// Asks, and takes the one answer.
    ///
    /// # Errors
    /// What the agent refused, or the agent is gone.
    pub fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Failure> {
        self.stream(request, |_: Value| Ok(()))
    }

    /// Asks, and takes several results and a last one. When `each` fails, the rest is read and dropped.
    ///
    /// # Errors
    /// As [`Agent::call`], or what `each` reported.
    pub fn stream<I: DeserializeOwned, T: DeserializeOwned>(
        &mut self,
        request: &Request,
        each: impl FnMut(I) -> Result<(), Failure>,
    ) -> Result<T, Failure> {
        self.send(request)?;
        self.receive(each)
    }

    fn send(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let to = self.to.as_mut().ok_or_else(gone)?;
        wire::write(to, value).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::usage("too-large", format!("this is too large: {error}")),
            _ => gone(),
        })
    }

    fn receive<I: DeserializeOwned, T: DeserializeOwned>(
        &mut self,
        mut each: impl FnMut(I) -> Result<(), Failure>,
    ) -> Result<T, Failure> {
        let mut verdict = Ok(());
        loop {
            let answer = wire::read::<Answer>(&mut self.from).map_err(|_| gone())?.ok_or_else(gone)?;
            match answer {
                Answer::Item(value) if verdict.is_ok() => verdict = understood(value).and_then(&mut each),
                Answer::Item(_) => {}
                Answer::Done(value) => return verdict.and_then(|()| understood(value)),
                Answer::Refused(failure) => return Err(failure),
            }
        }
    }
}

impl Drop for Agent {
    /// Closes the connection and waits for the child, so that the vault is free when the command ends.
    fn drop(&mut self) {
        self.to = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

/// Whether the other side hung up, which is waited for at most so long.
fn hung_up(end: &OwnedFd, patience: Option<&Timespec>) -> bool {
    // Without a wish for data: a hang-up and an error are always told.
    let mut watched = [PollFd::new(end, PollFlags::empty())];
    rustix::event::poll(&mut watched, patience).is_ok_and(|told| told > 0)
}

fn opening(vault: &Path, passphrase: &Secret) -> Opening {
    Opening {
        v: VERSION,
        vault: vault.to_owned(),
        passphrase: Hex::from(passphrase.as_str()),
        wait_ms: WAIT_MS,
        create: None,
        restore: None,
        stay: None,
        decoy: false,
        wipe: false,
    }
}

/// Says so if what is in memory may come to lie on the disk.
pub fn warn_of_swap(ui: &Ui) {
    if memory::is_exposed() {
        ui.warn("memory-not-locked", format_args!("{}: {}", memory::EXPOSED.0, memory::EXPOSED.1));
    }
}

/// Says what follows from it that a vault is a copy, or was one.
fn warn_of_copy(greeting: &Greeting, ui: &Ui) {
    let Some(copy) = &greeting.copy else { return };
    let words = match copy.as_str() {
        "moved" => {
            "this vault's files were copied or moved since it was used last. Reading and drafts work; nothing new is \
             finished or sent before you have said which it is: `fieldbook moved`, or `fieldbook join CODE` as a new \
             device"
        }
        "superseded" => {
            "another copy of this vault has gone on writing. Reading and drafts work; nothing new is finished or sent \
             from here, until `fieldbook join CODE` makes it a device of its own"
        }
        _ => {
            "this vault was restored: it is a new device now, in no team yet. Ask a coordinator for an invitation, then \
             `fieldbook join CODE`"
        }
    };
    ui.warn(copy, words);
}

/// The absolute path of the vault, which must be one.
///
/// # Errors
/// [`Kind::NoVault`].
pub fn existing(global: &Global) -> Result<std::path::PathBuf, Failure> {
    found(global, |layout| layout.slots().exists())
}

/// The same, also if files of it are missing: what is to be closed or destroyed need not be whole.
///
/// # Errors
/// [`Kind::NoVault`].
pub fn left_of(global: &Global) -> Result<std::path::PathBuf, Failure> {
    found(global, is_there)
}

fn found(global: &Global, is_one: impl Fn(&Layout) -> bool) -> Result<std::path::PathBuf, Failure> {
    let vault = std::fs::canonicalize(&global.vault).ok().filter(|dir| is_one(&Layout::new(dir)));
    vault.ok_or_else(|| {
        Failure::new(Kind::NoVault, "no-vault", format!("there is no vault in {}", global.vault.display())).hint(
            "make one with `fieldbook init --name NAME`, or name another directory with --vault or FIELDBOOK_VAULT",
        )
    })
}

fn understood<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::new(Kind::Version, "agent-version", format!("the agent's answer is not understood: {error}"))
            .hint("an agent of another version may be running: `fieldbook lock`, then try again")
    })
}

/// The word for an agent that ended before it answered.
pub const AGENT_GONE: &str = "agent-gone";

fn gone() -> Failure {
    Failure::failed(AGENT_GONE, "the vault's process ended before it answered")
        .hint("what was reported as saved is saved; try again")
}
