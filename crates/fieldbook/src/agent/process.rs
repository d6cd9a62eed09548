//! The life of an agent process: read the opening, open the vault, serve, end.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::control::{self, Ask};
use fieldbook_vault::{CreateOptions, Layout, Passphrase, Vault, VaultError};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde_json::Value;

use super::place::Place;
use super::protocol::{Answer, Create, Greeting, Opening, Stay, VERSION};
use super::server::{self, Ending, Event, SocketFile};
use super::service::Desk;
use super::typed;
use super::wire::{self, Hex};
use super::worker::Worker;
use crate::confine::{self, Role};
use crate::error::{Failure, Kind};
use crate::memory;
use crate::network;
use crate::watch::{Beside, Watch};
use crate::wipe::{self, InUse};

/// How long a daemon of a vault that is gone has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// How often a vault that is in use is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Runs an agent on standard input and output.
///
/// # Errors
/// The standard streams cannot be used; everything else is told to the client.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    // Unbuffered: no copy of the passphrase stays in a buffer of the standard library.
    let streams = "the standard streams cannot be used";
    let mut from = File::from(rustix::stdio::stdin().try_clone_to_owned().map_err(Failure::io(streams))?);
    let mut to = File::from(rustix::stdio::stdout().try_clone_to_owned().map_err(Failure::io(streams))?);
    let Some(mut opening) = wire::read::<Opening>(&mut from).map_err(Failure::io(streams))? else {
        return Ok(());
    };
    let passphrase = std::mem::take(&mut opening.passphrase);
    let refused = match serve(opening, passphrase, from, &mut to) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    // The client may be gone: then nobody is left to tell.
    let _ = wire::write(&mut to, &Answer::Refused(refused));
    Ok(())
}

/// The passphrase is gone before anything is served.
fn serve(opening: Opening, typed: Hex, from: File, to: &mut File) -> Result<(), Failure> {
    if opening.v != VERSION {
        return Err(Failure::new(
            Kind::Version,
            "agent-version",
            "client and agent are of different versions",
        ));
    }
    let passphrase = typed::passphrase(&typed)?;
    drop(typed);
    if opening.create.is_some() || opening.wipe || opening.restore.is_some() {
        let from = opening.restore.as_deref();
        confine::enforce(&Role::Maker { vault: &opening.vault, from });
    }
    if let Some(create) = opening.create {
        return answer(to, &make(&opening.vault, &passphrase, create)?);
    }
    if opening.wipe {
        return answer(to, &value(&Vault::wipe(&opening.vault, &passphrase)?)?);
    }
    if let Some(from) = opening.restore {
        return answer(to, &value(&Vault::restore(&from, &opening.vault, &passphrase)?)?);
    }
    let vault = open(&opening, &passphrase, to)?;
    drop(passphrase);
    let _in_use = InUse::of(&opening.vault);
    let copy = vault.device().copy;
    // Once this process is confined.
    let greeting =
        |locks_before_sleep| value(&Greeting { copy, locks_before_sleep, ..Greeting::of_this_process() });
    match opening.stay {
        None => {
            confine::enforce(&Role::Agent { vault: &opening.vault, sockets: None });
            let client_end = to.try_clone().map_err(Failure::io("the standard streams cannot be used"))?;
            answer(to, &greeting(false)?)?;
            let (sender, events) = mpsc::channel();
            thread::spawn(move || server::connection(1, from, client_end, &sender));
            let desk = Desk::new(vault, &opening.vault, None);
            server::run(desk, &events, Ending::WithClient, memory::slept);
        }
        Some(stay) => {
            let place = Place::of(&opening.vault)?;
            let (listener, socket) = bind(&place)?;
            // Nothing of the terminal holds it, and it holds nothing of the terminal or a mount.
            let _ = rustix::process::setsid();
            let _ = std::env::set_current_dir("/");
            let mut watch = Watch::start(&opening.vault, Beside::Agent)?;
            let locks_before_sleep = watch.locks_before_sleep();
            confine::enforce(&Role::Agent { vault: &opening.vault, sockets: Some(place.directory()) });
            let (sender, events) = mpsc::channel();
            end_on_signals(sender.clone());
            watch.hear_signals();
            // Locked is what a vault may always become.
            watch.end_without_it(|_| {});
            server::accept(listener, sender);
            answer(to, &greeting(locks_before_sleep)?)?;
            leave_the_client()?;
            let desk = Desk::new(vault, &opening.vault, Some(socket));
            server::run(desk, &events, ending(stay), memory::slept);
        }
    }
    Ok(())
}

fn ending(stay: Stay) -> Ending {
    Ending::Idle(stay.idle_s.map(Duration::from_secs))
}

fn make(dir: &Path, passphrase: &Passphrase, create: Create) -> Result<Value, Failure> {
    let options = CreateOptions { name: create.name, work_factor: create.work_factor };
    value(&Vault::create(dir, passphrase, &options)?)
}

fn open(opening: &Opening, passphrase: &Passphrase, to: &mut File) -> Result<Vault, Failure> {
    let until = Instant::now() + Duration::from_millis(opening.wait_ms);
    let mut told = false;
    loop {
        let opened = if opening.decoy {
            Vault::open_decoy(&opening.vault, passphrase)
        } else {
            Vault::open(&opening.vault, passphrase)
        };
        match opened {
            Err(VaultError::InUse) if Instant::now() < until => {
                if !std::mem::replace(&mut told, true) {
                    let waiting = Answer::Item(Value::Null);
                    wire::write(to, &waiting).map_err(Failure::io("the client cannot be told"))?;
                }
                thread::sleep(RETRY);
            }
            opened => {
                let mut vault = opened?;
                end_what_tells(&vault, &opening.vault);
                vault.set_merger(Box::new(Worker::default()));
                return Ok(vault);
            }
        }
    }
}

/// Under the duress passphrase nothing may go on that tells of the real vault: its daemon has the depot's key in
/// memory and would answer for it. In any case it is looked for.
fn end_what_tells(vault: &Vault, dir: &Path) {
    let Ok(place) = Place::of(dir) else { return };
    let daemon = place.daemon();
    if vault.has_destroyed() {
        // Asked first: a daemon that ends by itself leaves no word of having been killed.
        // What it says is not heard: this process is not confined yet.
        let told = control::tell(&daemon, Ask::Stop).is_ok();
        let until = Instant::now() + GRACE;
        // It closes its socket first, and then has something to put away.
        while told && network::daemon::runs(&Layout::new(dir).network_lock()) && Instant::now() < until {
            thread::sleep(RETRY);
        }
        wipe::await_release_by_others(&Layout::new(dir));
        wipe::kill(&daemon);
        let _ = std::fs::remove_file(daemon);
    } else {
        drop(control::reach(&daemon));
    }
}

/// This process has the vault open, so that a socket file which is there already is a dead agent's.
fn bind(place: &Place) -> Result<(UnixListener, SocketFile), Failure> {
    place.make()?;
    let path = place.agent();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::io("an old socket cannot be removed")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(Failure::io("the socket cannot be made"))?;
    Ok((listener, SocketFile(path)))
}

fn leave_the_client() -> Result<(), Failure> {
    let doing = "the agent cannot leave the terminal";
    let null = File::options().read(true).write(true).open("/dev/null").map_err(Failure::io(doing))?;
    let to_io = |error: rustix::io::Errno| Failure::io(doing)(error.into());
    rustix::stdio::dup2_stdin(&null).map_err(to_io)?;
    rustix::stdio::dup2_stdout(&null).map_err(to_io)?;
    rustix::stdio::dup2_stderr(&null).map_err(to_io)
}

/// A process with keys or others' bytes makes no file that others can read. That it is closed to others is seen to where every
/// process begins: see [`close_to_others`].
pub fn keep_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// No process of this program leaves its memory on the disk, or lets another one look into it: a client too has the
/// passphrase and words of reports.
pub fn close_to_others() {
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    memory::keep();
}

/// SIGTERM, SIGINT and SIGHUP close the vault and end the process.
fn end_on_signals(events: Sender<Event>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    // Before this returns: whoever hears of this process may send one at once.
    let entered = runtime.enter();
    let streams = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = streams else { return };
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
            let _ = events.send(Event::Stop);
        });
    });
}

fn value(of: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::failed("internal", error.to_string()))
}

fn answer(to: &mut impl Write, value: &Value) -> Result<(), Failure> {
    wire::write(to, &Answer::Done(value.clone())).map_err(Failure::io("the client cannot be answered"))
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_closed_to_others_cannot_be_dumped() {
        close_to_others();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let core = rustix::process::getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    }
}
