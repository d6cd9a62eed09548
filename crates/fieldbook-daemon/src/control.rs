//! The daemon's control socket: status, stop, nudge. Specified in `protocol/control-socket.md`.
//!
//! A Unix socket in a directory that only its owner can enter; one line of JSON each way. It carries
//! no entry and no key: entries go through the depot's file.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net;
use serde::{Deserialize, Serialize};

use crate::relay::RelayStatus;

/// The version of the control protocol.
pub const VERSION: u32 = 1;
/// Longest line, in bytes.
const LINE_MAX: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever listens has to take a connection.
const REACH: Duration = Duration::from_secs(2);

/// What can be asked of a running daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How it stands.
    Status,
    /// End, after the sessions have come to a safe point.
    Stop,
    /// Something new lies in the depot: entries, or that a device was removed.
    Nudge,
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    v: u32,
    ask: Ask,
}

/// How a daemon stands. Counts since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Version of the control protocol.
    pub v: u32,
    /// Its process.
    pub pid: u32,
    /// Where it listens, as `host:port`.
    pub listening: Vec<String>,
    /// By what: `quic`, `tcp`.
    #[serde(default)]
    pub carriers: Vec<String>,
    /// When it started, milliseconds since 1970.
    pub since_ms: i64,
    /// Sessions that run, with devices that dialled and with those that were dialled.
    pub sessions_now: u64,
    /// Sessions that ended well.
    pub sessions_done: u64,
    /// Connections that were refused or broke off.
    pub sessions_failed: u64,
    /// Entries received.
    pub received: u64,
    /// Entries sent and acknowledged.
    pub sent: u64,
    /// What the operator of a relay sees besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStatus>,
    /// The devices that it dials.
    #[serde(default)]
    pub calls: Vec<CallStatus>,
    /// The connections that stand, those that it dialled first; not more than some dozens.
    #[serde(default)]
    pub connections: Vec<ConnectionStatus>,
    /// How many more there are.
    #[serde(default)]
    pub connections_more: u64,
    /// How it is behind the veil; none if it does not listen by UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub veil: Option<VeilStatus>,
    /// How LAN discovery stands; none if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan: Option<LanStatus>,
    /// What its system holds it to.
    #[serde(default)]
    pub confinement: Confinement,
}

/// What the system holds a process to, as far as the process achieved it when it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Every filter for its calls was taken.
    pub calls: bool,
    /// The version of Landlock by which it is fenced off from files; 0 if it is not.
    pub files: u8,
}

/// Of this process.
static CONFINEMENT: Mutex<Confinement> = Mutex::new(Confinement { calls: false, files: 0 });

/// Notes what this process is held to.
pub fn note_confinement(confinement: Confinement) {
    *CONFINEMENT.lock().unwrap_or_else(PoisonError::into_inner) = confinement;
}

/// What this process is held to, as it was noted.
pub fn confinement() -> Confinement {
    *CONFINEMENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How LAN discovery stands. It tells of no device which it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanStatus {
    /// Networks to which the last beacons went.
    pub networks: u64,
    /// Beacons that were sent.
    pub sent: u64,
    /// When a device of the team was heard last, milliseconds since 1970.
    pub heard_ms: Option<i64>,
    /// When one was heard last that has only earlier secrets of the team.
    pub earlier_ms: Option<i64>,
    /// Sessions that run because of it.
    pub sessions: u64,
}

/// How a daemon that listens by UDP is behind the veil.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VeilStatus {
    /// It answers plain QUIC, or plain TLS by TCP, too.
    pub unveiled: bool,
    /// How often a device of the team was not let in because its clock and this one's are too far apart, as far as
    /// it was looked.
    pub wrong_clocks: u64,
    /// By how many seconds the clock of the last of them is ahead of this one's; less than zero: behind.
    pub ahead_s: i64,
}

/// A connection with a device of the team.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Which device; none if this one keeps no name of it, and at a relay.
    pub device: Option<String>,
    /// Its role, if it is said which device it is.
    pub role: Option<String>,
    /// Where it was dialled, as it was given; none if it came by itself.
    pub address: Option<String>,
    /// `quic`, `tcp` or `socks`.
    pub path: String,
    /// Since then, milliseconds since 1970.
    pub since_ms: i64,
    /// Entries that are known to go there and are not there yet.
    pub sending: u64,
    /// Their bytes.
    pub sending_bytes: u64,
    /// Entries that are known to come and are not here yet.
    pub receiving: u64,
    /// Their bytes.
    pub receiving_bytes: u64,
    /// Both know the same, and nothing is under way.
    pub rests: bool,
}

/// How it stands with an address that the daemon dials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStatus {
    /// `HOST:PORT`, as it was given.
    pub address: String,
    /// Connected since then, milliseconds since 1970.
    pub connected_ms: Option<i64>,
    /// The way of that connection: `quic`, `tcp` or `socks`.
    pub path: Option<String>,
    /// When it is dialled next, milliseconds since 1970; none while it is dialled or connected.
    pub next_try_ms: Option<i64>,
    /// Why a connection did not come about, or broke, when that happened last; it stays when there is one again.
    pub last_error: Option<String>,
    /// When that was, milliseconds since 1970.
    #[serde(default)]
    pub last_error_ms: Option<i64>,
    /// It is not dialled: the device that was met there was removed from the team.
    #[serde(default)]
    pub removed: bool,
}

/// What a daemon does when it is asked.
pub trait Controlled: Send + Sync {
    /// How it stands.
    fn status(&self) -> DaemonStatus;
    /// Begin to stop.
    fn stop(&self);
    /// Look at who is believed now, and end the sessions of those who are not.
    fn nudge(&self);
}

/// A bound control socket. When this is dropped its file is removed, and an answer that is being given
/// is given to its end: whoever asked the daemon to stop is told so before the process is gone.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    answering: Arc<Mutex<()>>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // Bounded by the timeouts of an answer.
        drop(self.answering.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Answers on `path` from a thread of its own, for as long as `controlled` lives. The caller holds the
/// daemon's lock, so a file that is there already was left by a daemon that died.
///
/// # Errors
/// The socket cannot be bound.
pub fn serve(path: &Path, controlled: Weak<dyn Controlled>) -> io::Result<ControlSocket> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let answering = Arc::new(Mutex::new(()));
    let busy = answering.clone();
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Let go after the daemon's state is, so that whoever waits for it can close the depot.
            let _busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Not held between two questions: when the daemon ends, its depot is to be closed.
            let Some(controlled) = controlled.upgrade() else { break };
            // One at a time: each is bounded by the timeouts.
            let _ = answer(&stream, controlled.as_ref());
        }
    })?;
    Ok(ControlSocket { path: path.to_owned(), answering })
}

fn answer(stream: &UnixStream, controlled: &dyn Controlled) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request: Request = read_line(stream)?;
    if request.v != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    match request.ask {
        Ask::Status => {}
        Ask::Stop => controlled.stop(),
        Ask::Nudge => controlled.nudge(),
    }
    write_line(stream, &controlled.status())
}

/// Connects to a socket; whoever listens there and takes nobody is not waited for.
///
/// # Errors
/// Nobody is there, or nobody takes this connection in time ([`io::ErrorKind::TimedOut`]).
pub fn reach(path: &Path) -> io::Result<UnixStream> {
    let socket = net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let (address, until) = (net::SocketAddrUnix::new(path)?, Instant::now() + REACH);
    while let Err(error) = net::connect(&socket, &address) {
        match error {
            rustix::io::Errno::AGAIN if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            rustix::io::Errno::AGAIN => return Err(io::ErrorKind::TimedOut.into()),
            error => return Err(error.into()),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket.into())
}

/// Asks the daemon behind `path`; nothing if none is there.
///
/// # Errors
/// A daemon is there and does not answer as it should.
pub fn ask(path: &Path, ask: Ask) -> io::Result<Option<DaemonStatus>> {
    let stream = match reach(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&stream, &Request { v: VERSION, ask })?;
    read_line(&stream).map(Some)
}

/// Asks the daemon behind `path`, and hears no answer.
///
/// # Errors
/// None is there, or it cannot be asked.
pub fn tell(path: &Path, ask: Ask) -> io::Result<()> {
    let stream = reach(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&stream, &Request { v: VERSION, ask })
}

fn read_line<T: serde::de::DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_MAX)).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Counting {
        stops: AtomicU64,
        nudges: AtomicU64,
    }

    impl Controlled for Counting {
        fn status(&self) -> DaemonStatus {
            DaemonStatus {
                v: VERSION,
                pid: 1,
                listening: vec!["127.0.0.1:1".into()],
                carriers: Vec::new(),
                since_ms: 0,
                sessions_now: 0,
                sessions_done: self.stops.load(Ordering::SeqCst),
                sessions_failed: 0,
                received: self.nudges.load(Ordering::SeqCst),
                sent: 0,
                relay: None,
                calls: Vec::new(),
                connections: Vec::new(),
                connections_more: 0,
                veil: None,
                confinement: Confinement::default(),
                lan: None,
            }
        }

        fn stop(&self) {
            self.stops.fetch_add(1, Ordering::SeqCst);
        }

        fn nudge(&self) {
            self.nudges.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_daemon_is_asked_and_garbage_does_not_end_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon");
        assert!(ask(&path, Ask::Status).unwrap().is_none());
        let counting: Arc<dyn Controlled> = Arc::new(Counting::default());
        let socket = serve(&path, Arc::downgrade(&counting)).unwrap();
        UnixStream::connect(&path).unwrap().write_all(b"garbage\n").unwrap();
        assert_eq!(ask(&path, Ask::Nudge).unwrap().unwrap().received, 1);
        assert_eq!(ask(&path, Ask::Stop).unwrap().unwrap().sessions_done, 1);
        drop(socket);
        assert!(!path.exists());
    }

    /// Tells when it was stopped, and takes its time to answer.
    struct Slow {
        stopped: std::sync::mpsc::Sender<()>,
        answered: AtomicU64,
    }

    impl Controlled for Slow {
        fn status(&self) -> DaemonStatus {
            thread::sleep(Duration::from_millis(100));
            self.answered.store(1, Ordering::SeqCst);
            Counting::default().status()
        }

        fn stop(&self) {
            self.stopped.send(()).unwrap();
        }

        fn nudge(&self) {}
    }

    #[test]
    fn whoever_stops_a_daemon_is_answered_before_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon");
        let (stopped, stop) = std::sync::mpsc::channel();
        let slow = Arc::new(Slow { stopped, answered: AtomicU64::new(0) });
        let controlled: Arc<dyn Controlled> = slow.clone();
        let socket = serve(&path, Arc::downgrade(&controlled)).unwrap();
        let asking = thread::spawn(move || ask(&path, Ask::Stop));
        stop.recv().unwrap();
        drop(socket);
        assert_eq!(slow.answered.load(Ordering::SeqCst), 1);
        assert!(asking.join().unwrap().unwrap().is_some());
    }
}
