//! A relay at work: this process starts the vault's agent and the depot's daemon, lets the agent take in what
//! came, so that the relay learns of removals, renewals and new epochs by itself, and ends both in order.
//!
//! It holds no key: the passphrase goes from where it is to the agent, the depot's key from there to the daemon.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::control::{self, Ask, DaemonStatus};
use fieldbook_vault::{AbsorbSummary, DeviceInfo};
use serde_json::{Value, json};

use super::depot::must_be_relay;
use super::notify::{Manager, VARIABLES};
use crate::agent::client::{Agent, existing};
use crate::agent::place::Place;
use crate::agent::protocol::{Network, Request, Stay};
use crate::agent::wire;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::interrupt;
use crate::network::job::{Job, Task};
use crate::sanitise::line;
use crate::ui::{Ui, count, size};

/// Without a sync, what is in the depot is looked at this often: a stick may have brought something, and
/// certificates run out by themselves.
const LOOK: Duration = Duration::from_secs(60);
/// What came is not looked at more often, however many come.
const LOOK_LEAST: Duration = Duration::from_secs(1);
/// How often the manager is told how the relay stands, if it has not asked for more.
const TELL: Duration = Duration::from_secs(60);
/// How long the daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is different this time.
#[derive(Debug, Default)]
pub struct How {
    /// Where it listens, if not where the policy says.
    pub listen: Option<String>,
    /// It answers plain QUIC and TLS, too.
    pub unveiled: bool,
    /// It does not listen by TCP.
    pub no_tcp: bool,
    /// The bucket, if it is not the one that was remembered. What its file names may be credentials that the
    /// manager gives to this process alone.
    #[cfg(feature = "bucket")]
    pub bucket: Option<crate::network::bucket::Bucket>,
}

enum Event {
    /// The daemon said something.
    Said(Value),
    DaemonGone,
    AgentGone,
    Stop,
}

/// Runs until it is told to stop, by a signal or by `daemon stop`.
///
/// # Errors
/// It cannot begin; or its agent or its daemon ended by itself, which a restart mends.
pub fn run(how: How, global: &Global) -> Result<(), Failure> {
    let manager = Manager::of_this_process();
    let vault = existing(global)?;
    let place = Place::of(&vault)?;
    place.make()?;
    let mut open = Open::the_vault(vault, &place, global)?;
    interrupt::leave_to_others();
    let (events, heard) = channel();
    end_on_signals(events.clone());
    must_be_relay(&open.agent.call::<DeviceInfo>(&Request::Device)?)?;
    // What is known already is in force before anybody is let in.
    open.agent.call::<AbsorbSummary>(&Request::Absorb)?;
    let network: Network = open.agent.call(&Request::Network)?;
    let gone = events.clone();
    open.agent.when_gone(move || drop(gone.send(Event::AgentGone)))?;
    let task = Task::RelayListen {
        listen: how.listen,
        unveiled: how.unveiled,
        no_tcp: how.no_tcp,
        control: place.daemon(),
        #[cfg(feature = "bucket")]
        bucket: how.bucket,
    };
    let daemon = Daemon::start(&Job { network, task }, events)?;
    let mut relay = Relay {
        manager,
        place,
        open,
        ui: &global.ui,
        due: false,
        looked: Instant::now(),
        told: Instant::now(),
    };
    let ended = relay.serve(&heard);
    relay.manager.stopping();
    let stopped = daemon.stop(&relay.place);
    ended?;
    stopped?;
    drop(relay);
    global.ui.emit(json!({"event": "stopped"}))?;
    global.ui.say("The relay has ended.")
}

/// The agent, and whether it is to end with this process.
struct Open {
    agent: Agent,
    ours: bool,
}

impl Open {
    fn the_vault(vault: PathBuf, place: &Place, global: &Global) -> Result<Self, Failure> {
        if let Some(agent) = Agent::running(place)? {
            return Ok(Self { agent, ours: false });
        }
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let passphrase = global.passphrase.clone().or_credential(credentials);
        passphrase.open(&vault, &global.ui, |passphrase| {
            Agent::unlock(&vault, passphrase, Stay { idle_s: None }, false, &global.ui)
        })?;
        let agent = Agent::running(place)?.ok_or_else(agent_gone)?;
        Ok(Self { agent, ours: true })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.agent.call::<Value>(&Request::Lock);
        }
    }
}

struct Relay<'a> {
    manager: Manager,
    place: Place,
    open: Open,
    ui: &'a Ui,
    /// Something came since then.
    due: bool,
    /// When the agent was asked last to take in what came.
    looked: Instant,
    /// When the manager was told last.
    told: Instant,
}

impl Relay<'_> {
    fn serve(&mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        let pace = self.manager.pace().unwrap_or(TELL).min(TELL);
        loop {
            let wait = (self.looked + self.patience())
                .min(self.told + pace)
                .saturating_duration_since(Instant::now());
            match heard.recv_timeout(wait) {
                Ok(Event::Said(said)) => self.hear(&said)?,
                Ok(Event::Stop) => return Ok(()),
                Ok(Event::AgentGone) => return Err(agent_gone()),
                // Somebody stopped it, or it failed: its exit code says which.
                Ok(Event::DaemonGone) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.looked.elapsed() >= self.patience() {
                self.look();
            }
            if self.told.elapsed() >= pace {
                self.tell();
            }
        }
    }

    fn hear(&mut self, said: &Value) -> Result<(), Failure> {
        match said["event"].as_str() {
            Some("listening") => {
                self.manager.ready("Listening");
                self.ui.emit(without_version(said))?;
                let address = said["listening"].as_str().unwrap_or_default();
                self.ui.say(format_args!("The relay listens on {}. Ctrl-C ends it.", line(address)))
            }
            Some("log") => {
                self.ui.emit(without_version(said))?;
                let text = said["text"].as_str().unwrap_or_default();
                self.ui.note(line(text));
                self.due |= text.starts_with("session ");
                Ok(())
            }
            // The bucket and the vault have exchanged something.
            Some("in-step") => {
                self.look();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// How long after the last look the next one comes.
    const fn patience(&self) -> Duration {
        if self.due { LOOK_LEAST } else { LOOK }
    }

    /// The agent takes in what came; the daemon then looks anew at whom it believes. What fails here is tried
    /// again at the next turn.
    fn look(&mut self) {
        (self.looked, self.due) = (Instant::now(), false);
        if let Err(failure) = self.open.agent.call::<AbsorbSummary>(&Request::Absorb) {
            self.ui.warn(&failure.code, line(&failure.message));
        }
        let _ = control::ask(&self.place.daemon(), Ask::Nudge);
    }

    /// Tells the manager that all is well, if it is: the daemon answers, and the agent does.
    fn tell(&mut self) {
        self.told = Instant::now();
        if self.open.agent.call::<DeviceInfo>(&Request::Device).is_err() {
            return;
        }
        if let Ok(Some(status)) = control::ask(&self.place.daemon(), Ask::Status) {
            self.manager.well(&in_one_line(&status));
        }
    }
}

/// How the relay stands, for the manager's own status: no more than its operator may know.
fn in_one_line(status: &DaemonStatus) -> String {
    let syncs = format!("{}, {} now", count(status.sessions_done, "sync", "syncs"), status.sessions_now);
    match &status.relay {
        Some(relay) => format!(
            "Holding {} ({}), room for {}; {syncs}",
            count(relay.entries, "entry", "entries"),
            size(relay.bytes),
            size(relay.room)
        ),
        None => syncs,
    }
}

fn without_version(said: &Value) -> Value {
    let mut said = said.clone();
    said.as_object_mut().map(|fields| fields.remove("v"));
    said
}

fn agent_gone() -> Failure {
    Failure::failed("agent-gone", "the process that has the relay's vault open has ended")
        .hint("nothing is lost; start the relay again")
}

/// The daemon's process, which ends with this one.
struct Daemon {
    child: Child,
    to: Option<ChildStdin>,
    /// What it said last about why it failed.
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Daemon {
    fn start(job: &Job, events: Sender<Event>) -> Result<Self, Failure> {
        let doing = "the process for the network cannot be started";
        let program = std::env::current_exe().map_err(Failure::io(doing))?;
        let mut command = Command::new(program);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        // The passphrase may lie there: whoever takes over the daemon is not told where.
        command.env_remove("CREDENTIALS_DIRECTORY");
        let mut child = command
            .args(["--json", "internal", "daemon-run"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Failure::io(doing))?;
        let (to, from, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut daemon = Self { child, to, failure: Arc::default() };
        if let Some(errors) = errors {
            let failure = daemon.failure.clone();
            thread::spawn(move || hear_errors(errors, &failure));
        }
        let to = daemon.to.as_mut().ok_or_else(|| Failure::failed("internal", doing))?;
        wire::write(to, job).map_err(Failure::io(doing))?;
        let from = from.ok_or_else(|| Failure::failed("internal", doing))?;
        thread::spawn(move || {
            for said in BufReader::new(from).lines().map_while(Result::ok) {
                if let Ok(said) = serde_json::from_str(&said) {
                    let _ = events.send(Event::Said(said));
                }
            }
            let _ = events.send(Event::DaemonGone);
        });
        Ok(daemon)
    }

    /// Why it failed, in its own words, which may come a moment after its end.
    fn said_why(&self) -> Option<Failure> {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            if failure.is_some() || Instant::now() > until {
                return failure;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at a safe point. It says itself what was wrong, if anything was.
    fn stop(mut self, place: &Place) -> Result<(), Failure> {
        let _ = control::ask(&place.daemon(), Ask::Stop);
        let until = Instant::now() + PATIENCE;
        let doing = "the process for the network is gone";
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().map_err(Failure::io(doing))? {
                self.to = None;
                let said = if status.success() { None } else { self.said_why() };
                if let Some(failure) = said {
                    return Err(failure);
                }
                return match status.code() {
                    Some(0) => Ok(()),
                    code => {
                        let code = code.and_then(|code| u8::try_from(code).ok());
                        let kind = Kind::ALL.into_iter().find(|kind| Some(kind.exit()) == code);
                        Err(Failure::new(
                            kind.unwrap_or(Kind::Failed),
                            "daemon-gone",
                            "the relay's process for the network failed",
                        )
                        .hint("what it said about it stands above; what it holds is safe"))
                    }
                };
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Failure::failed("daemon-stays", "the relay was told to end and has not yet"))
    }
}

/// What the daemon says on its standard error: why it fails is this process's to say, to a person in words; the rest
/// passes as it is.
fn hear_errors(errors: impl Read, failure: &Mutex<Option<Failure>>) {
    for said in BufReader::new(errors).lines().map_while(Result::ok) {
        match serde_json::from_str::<Value>(&said).ok().as_ref().and_then(Failure::from_json) {
            Some(heard) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard),
            None => drop(writeln!(std::io::stderr(), "{said}")),
        }
    }
}

impl Drop for Daemon {
    /// Whatever happened: it does not stay behind.
    fn drop(&mut self) {
        self.to = None;
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP end the relay in order.
fn end_on_signals(events: Sender<Event>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let guard = runtime.enter();
    let streams = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    drop(guard);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = streams else { return };
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
