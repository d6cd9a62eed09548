//! The loop of an agent: one thread owns the vault; one thread per connection reads its requests.
//!
//! Clients are served in turn, a request at a time. A client that goes away, sends nonsense or
//! stops reading costs its own connection and nothing else.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::protocol::{Answer, Greeting, Request, VERSION};
use super::wire;
use crate::error::{Failure, Kind};

/// Names a connection for as long as it lives.
pub type Connection = u64;

/// Most clients at once; a further one is turned away by closing its connection.
const CONNECTIONS_MAX: usize = 64;
/// Answers that may wait for a slow client before the vault's thread waits with them.
const ANSWERS_WAITING: usize = 4;
/// A client that takes nothing for this long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the service gets a turn when nobody asks.
const TICK: Duration = Duration::from_secs(2);

/// The clocks that tell how long the machine slept are read one after the other.
const NAP: Duration = Duration::from_secs(1);

/// What answers requests: the vault's side.
pub trait Service {
    /// Answers a request. `item` sends one of several results.
    ///
    /// # Errors
    /// What the client is told; the agent lives on.
    fn answer(
        &mut self,
        connection: Connection,
        request: Request,
        item: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<Value, Failure>;

    /// A connection ended: forget what belonged to it.
    fn gone(&mut self, connection: Connection);

    /// Nobody asked for a while.
    fn tick(&mut self) {}

    /// The end: the vault is closed when this returns, whatever it returns.
    ///
    /// # Errors
    /// What was still to be done could not be done; the next opening does it.
    fn close(self) -> Result<(), Failure>;
}

/// What the vault's thread hears.
pub enum Event {
    /// A request, and where its answer goes.
    Asked {
        /// Who asked.
        connection: Connection,
        /// What.
        request: Box<Request>,
        /// Frames of the answer.
        answers: SyncSender<Answer>,
    },
    /// A connection ended.
    Gone(Connection),
    /// The process was asked to end.
    Stop,
}

/// When the loop ends by itself.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// With its only connection: the one-command agent.
    WithClient,
    /// After so long without a request, if ever: the staying agent.
    Idle(Option<Duration>),
}

/// Serves until it is time to end. The service, and with it the vault, is closed before a `lock` is answered.
/// `slept`: how long the machine has been asleep in all; a vault that was open then is closed before anybody is answered.
pub fn run(
    service: impl Service,
    events: &Receiver<Event>,
    ending: Ending,
    mut slept: impl FnMut() -> Duration,
) {
    let mut service = Some(service);
    let mut last_request = Instant::now();
    let slept_before = slept();
    while let Some(serving) = service.as_mut() {
        let left = match ending {
            Ending::Idle(Some(limit)) => limit.saturating_sub(last_request.elapsed()).min(TICK),
            _ => TICK,
        };
        let event = events.recv_timeout(left);
        if matches!(ending, Ending::Idle(_)) && slept() > slept_before + NAP {
            end(&mut service);
            continue;
        }
        match event {
            Ok(Event::Asked { request, answers, connection }) if matches!(*request, Request::Lock) => {
                let last = match service.take().map_or(Ok(()), Service::close) {
                    Ok(()) => Answer::Done(Value::Null),
                    Err(failure) => Answer::Refused(locked_but(failure)),
                };
                let _ = answers.send(last);
                drop(answers);
                await_end(events, connection);
            }
            Ok(Event::Asked { connection, request, answers }) => {
                // Whoever only watches does not keep the vault open.
                let uses = !matches!(*request, Request::Glance);
                let mut item = |value| answers.send(Answer::Item(value)).map_err(|_| client_gone());
                let last = match serving.answer(connection, *request, &mut item) {
                    Ok(value) => Answer::Done(value),
                    Err(failure) => Answer::Refused(failure),
                };
                let _ = answers.send(last);
                if uses {
                    last_request = Instant::now();
                }
            }
            Ok(Event::Gone(connection)) => {
                serving.gone(connection);
                if matches!(ending, Ending::WithClient) {
                    end(&mut service);
                }
            }
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => end(&mut service),
            Err(RecvTimeoutError::Timeout) => serving.tick(),
        }
        if matches!(ending, Ending::Idle(Some(limit)) if last_request.elapsed() >= limit) {
            end(&mut service);
        }
    }
}

/// Nobody is left to be told what went wrong: the next opening makes up for it, or meets it again.
fn end(service: &mut Option<impl Service>) {
    let _ = service.take().map_or(Ok(()), Service::close);
}

fn locked_but(failure: Failure) -> Failure {
    let message =
        format!("the vault is locked, but what was forgotten is not gone for good yet: {}", failure.message);
    Failure::new(failure.kind, &failure.code, message)
        .hint("make room on the disk if it is full; the next command on this vault tries again")
}

/// Gives a connection's thread the time to write the last answer before the process ends.
fn await_end(events: &Receiver<Event>, last: Connection) {
    let until = Instant::now() + Duration::from_secs(2);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match events.recv_timeout(left) {
            Ok(Event::Gone(connection)) if connection == last => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn client_gone() -> Failure {
    Failure::failed("client-gone", "the client went away")
}

/// Reads requests of one connection, passes them on, and writes the answers, until either side ends.
pub fn connection(id: Connection, mut from: impl Read, mut to: impl Write, events: &Sender<Event>) {
    let served = serve_connection(id, &mut from, &mut to, events);
    if let Err(error) = served {
        // The last word on a connection that is not understood; it may be gone already.
        let failure =
            Failure::new(Kind::Version, "not-understood", format!("the agent did not understand: {error}"));
        let _ = wire::write(&mut to, &Answer::Refused(failure));
    }
    let _ = events.send(Event::Gone(id));
}

fn serve_connection(
    id: Connection,
    from: &mut impl Read,
    to: &mut impl Write,
    events: &Sender<Event>,
) -> io::Result<()> {
    while let Some(request) = wire::read::<Request>(from)? {
        if let Request::Hello { v } = request {
            let answer = greet(v);
            wire::write(to, &answer)?;
            continue;
        }
        let (answers, waiting) = mpsc::sync_channel(ANSWERS_WAITING);
        if events.send(Event::Asked { connection: id, request: Box::new(request), answers }).is_err() {
            return Ok(());
        }
        for answer in waiting {
            wire::write(to, &answer)?;
        }
    }
    Ok(())
}

fn greet(version: u32) -> Answer {
    match serde_json::to_value(Greeting::of_this_process()) {
        Ok(greeting) if version == VERSION => Answer::Done(greeting),
        _ => Answer::Refused(
            Failure::new(Kind::Version, "agent-version", "the agent that runs is of another version")
                .hint("end it with `fieldbook lock` of that version, or log out and in"),
        ),
    }
}

/// Accepts connections on `listener` for ever, in threads of their own.
pub fn accept(listener: UnixListener, events: Sender<Event>) {
    thread::spawn(move || {
        let (slots, free) = mpsc::sync_channel::<()>(CONNECTIONS_MAX);
        let free = std::sync::Arc::new(std::sync::Mutex::new(free));
        for (id, stream) in (1..).zip(listener.incoming()) {
            let Ok(stream) = stream else {
                // Out of descriptors: wait until some connection has ended.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            if !is_ours(&stream) || slots.try_send(()).is_err() {
                continue;
            }
            let (events, free) = (events.clone(), free.clone());
            thread::spawn(move || {
                if let (Ok(from), Ok(())) =
                    (stream.try_clone(), stream.set_write_timeout(Some(WRITE_TIMEOUT)))
                {
                    connection(id, from, stream, &events);
                }
                if let Ok(free) = free.lock() {
                    let _ = free.try_recv();
                }
            });
        }
    });
}

/// The directory's mode keeps others out; the kernel's word on the peer is the second lock.
fn is_ours(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// A socket file that is removed when this value is dropped.
#[derive(Debug)]
pub struct SocketFile(pub PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::client::Agent;
    use serde_json::json;

    /// Answers everything with the number of requests so far.
    struct Counter(u64);

    impl Service for Counter {
        fn answer(
            &mut self,
            _: Connection,
            request: Request,
            item: &mut dyn FnMut(Value) -> Result<(), Failure>,
        ) -> Result<Value, Failure> {
            self.0 += 1;
            if matches!(request, Request::Conflicts) {
                for n in 0..100 {
                    item(json!(n))?;
                }
            }
            match request {
                Request::Absorb => Err(Failure::failed("no", "not now")),
                _ => Ok(json!(self.0)),
            }
        }

        fn gone(&mut self, _: Connection) {}

        fn close(self) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn running(ending: Ending) -> (tempfile::TempDir, PathBuf, thread::JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, events) = mpsc::channel();
        accept(listener, sender);
        let thread = thread::spawn(move || run(Counter(0), &events, ending, || Duration::ZERO));
        (dir, socket, thread)
    }

    fn connect(socket: &std::path::Path) -> Agent {
        Agent::connect(socket).unwrap().unwrap()
    }

    #[test]
    fn several_clients_are_served_in_turn_by_one_service() {
        let (_dir, socket, thread) = running(Ending::Idle(None));
        let (mut a, mut b) = (connect(&socket), connect(&socket));
        assert_eq!(a.call::<u64>(&Request::Device).unwrap(), 1);
        assert_eq!(b.call::<u64>(&Request::Device).unwrap(), 2);
        let mut items = Vec::new();
        let last: u64 = a
            .stream(&Request::Conflicts, |n: u64| {
                items.push(n);
                Ok(())
            })
            .unwrap();
        assert_eq!((last, items.len()), (3, 100));
        assert_eq!(b.call::<u64>(&Request::Absorb).unwrap_err().code, "no");
        b.call::<()>(&Request::Lock).unwrap();
        drop(b);
        thread.join().unwrap();
    }

    #[test]
    fn nonsense_ends_a_connection_and_not_the_agent() {
        let (_dir, socket, _thread) = running(Ending::Idle(None));
        for nonsense in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x01", b"GET / HTTP/1.1\r\n\r\n"]
        {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(nonsense).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            // What was not read makes the system reset the connection; only whole frames are answered surely.
            match stream.read_to_end(&mut answer) {
                Ok(_) => assert!(String::from_utf8_lossy(&answer).contains("not-understood")),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
        }
        assert_eq!(connect(&socket).call::<u64>(&Request::Device).unwrap(), 1);
    }

    #[test]
    fn another_version_is_told_so() {
        let (_dir, socket, _thread) = running(Ending::Idle(None));
        let mut agent = connect(&socket);
        let failure = agent.call::<Value>(&Request::Hello { v: VERSION + 1 }).unwrap_err();
        assert_eq!(failure.kind, Kind::Version);
    }

    #[test]
    fn the_agent_of_one_command_ends_with_its_client() {
        let (client, agent) = UnixStream::pair().unwrap();
        let (sender, events) = mpsc::channel();
        let loop_thread =
            thread::spawn(move || run(Counter(0), &events, Ending::WithClient, || Duration::ZERO));
        thread::spawn(move || connection(1, agent.try_clone().unwrap(), agent, &sender));
        drop(client);
        loop_thread.join().unwrap();
    }

    #[test]
    fn a_machine_that_slept_wakes_up_locked() {
        let (sender, events) = mpsc::channel();
        let mut hours = 0;
        let (answers, answer) = mpsc::sync_channel(1);
        let request = Box::new(Request::Device);
        sender.send(Event::Asked { connection: 1, request, answers }).unwrap();
        run(Counter(0), &events, Ending::Idle(None), || {
            hours += 1;
            Duration::from_secs(3600 * hours)
        });
        assert!(answer.recv().is_err(), "whoever asks after that is not answered");
    }

    #[test]
    fn whoever_only_watches_does_not_keep_the_vault_open() {
        let (_dir, socket, thread) = running(Ending::Idle(Some(Duration::from_millis(300))));
        let mut agent = connect(&socket);
        let mut looks = 0;
        while agent.call::<u64>(&Request::Glance).is_ok() {
            looks += 1;
            thread::sleep(Duration::from_millis(10));
        }
        assert!(looks > 0);
        thread.join().unwrap();
    }

    #[test]
    fn idleness_ends_a_staying_agent() {
        let (_dir, _socket, thread) = running(Ending::Idle(Some(Duration::ZERO)));
        thread.join().unwrap();
    }
}
