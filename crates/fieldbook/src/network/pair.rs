//! The network process of a pairing: it carries messages between a TCP connection and its parent,
//! and understands none of them. It has no vault and no key but that of the veil, if the code is a long one ([`super::hush`]), and
//! ends when its parent does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_net::veil::blocking::{Opening, Sealing};
use fieldbook_net::veil::stream::Sealer;
use fieldbook_proto::pairing::MESSAGE_MAX;
use serde::{Deserialize, Serialize};

use super::hush::{self, Hush};
use crate::agent::process::keep_files_private;
use crate::agent::wire::{self, Hex};
use crate::confine::{self, Role};
use crate::error::{Failure, plain};

/// How long a connection may stay silent before it has shown that it speaks the protocol.
pub(super) const PATIENCE_FIRST: Duration = Duration::from_secs(20);
/// And afterwards, while people compare words.
const PATIENCE_PEOPLE: Duration = Duration::from_secs(600);
/// Messages after which the other side has sent its proof.
const MESSAGES_UNTIL_PROOF: u32 = 2;
/// Connections that may wait for the one being served.
const WAITING_MAX: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The first frame on the process's standard input. Its arguments say nothing of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Wait for the device that answers an invitation.
    Listen {
        /// Where, host:port each; port 0 is any free one.
        addresses: Vec<String>,
        /// For how many seconds.
        patience_s: u64,
        /// Behind a veil, whose key comes in an [`Order`]: before that nobody is taken in.
        veiled: bool,
    },
    /// Connect to an inviting device.
    Dial {
        /// Where it waits, host:port.
        address: String,
        /// The key of the veil there, if there is one.
        veil: Option<Hex>,
    },
}

/// What the process tells its parent, one frame each (see `agent/wire.rs`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// It listens; another device can reach it at these addresses.
    Listening(Vec<String>),
    /// It cannot listen, or nobody answered.
    Unreachable(String),
    /// A connection began.
    Connected,
    /// A message arrived on it.
    Message(Hex),
    /// The connection ended.
    Closed,
    /// The time for waiting is over.
    Expired,
}

/// What the parent tells the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Send a message on the connection.
    Send(Hex),
    /// End the connection.
    Close,
    /// This is the key of the veil.
    Veil(Hex),
}

pub(super) enum Event {
    Order(Order),
    ParentGone,
    Accepted(Box<Come>),
    Message { connection: u64, bytes: Vec<u8> },
    Ended { connection: u64 },
}

/// Does the job on standard input.
///
/// # Errors
/// There is none, or the parent cannot be told.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    confine::enforce(&Role::Pairing);
    let job = wire::read(&mut io::stdin().lock()).map_err(Failure::io("the job is not understood"))?;
    match job {
        Some(Job::Listen { addresses, patience_s, veiled }) => {
            listen(&addresses, Duration::from_secs(patience_s), veiled)
        }
        Some(Job::Dial { address, veil }) => dial(&address, veil.as_ref()),
        None => Err(Failure::failed("internal", "the job is not there")),
    }
}

/// Waits at all of `addresses`, and serves one connection at a time, for `patience`.
fn listen(addresses: &[String], patience: Duration, veiled: bool) -> Result<(), Failure> {
    let (sender, events) = mpsc::channel();
    let mut listeners = Vec::new();
    let mut reachable = Vec::new();
    for address in addresses {
        let bound = super::resolve(address)
            .and_then(|at| TcpListener::bind(at.as_slice()))
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((at, listener)) => {
                reachable.extend(super::reachable::addresses(at));
                listeners.push(listener);
            }
            Err(error) => return tell(&Report::Unreachable(format!("{address}: {}", plain(&error)))),
        }
    }
    tell(&Report::Listening(reachable))?;
    hear_parent(sender.clone());
    let hush = match veiled {
        true => match veil_from(&events) {
            Some(key) => Some(Arc::new(Hush::begin(&key)?)),
            None => return Ok(()),
        },
        false => None,
    };
    for listener in listeners {
        let (accepted, hush) = (sender.clone(), hush.clone());
        thread::spawn(move || accept(&listener, &accepted, hush.as_ref()));
    }
    Carrier::new(sender).run(&events, Instant::now().checked_add(patience))
}

/// The parent's first order; none if it is gone.
fn veil_from(events: &Receiver<Event>) -> Option<Hex> {
    events.iter().find_map(|event| match event {
        Event::Order(Order::Veil(key)) => Some(Some(key)),
        Event::ParentGone => Some(None),
        _ => None,
    })?
}

fn accept(listener: &TcpListener, accepted: &Sender<Event>, hush: Option<&Arc<Hush>>) {
    loop {
        match (listener.accept(), hush) {
            (Ok((stream, from)), Some(hush)) => hush.judge(stream, from.ip(), accepted.clone()),
            (Ok((stream, _)), None) => {
                if accepted.send(Event::Accepted(Box::new(Come::in_the_open(stream)))).is_err() {
                    return;
                }
            }
            (Err(_), _) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn dial(address: &str, veil: Option<&Hex>) -> Result<(), Failure> {
    match connect(address) {
        Ok(stream) => {
            let (sender, events) = mpsc::channel();
            hear_parent(sender.clone());
            let mut carrier = Carrier::new(sender);
            carrier.serve(match veil {
                Some(key) => hush::dialled(stream, key)?,
                None => Come::in_the_open(stream),
            })?;
            carrier.only_one = true;
            carrier.run(&events, None)
        }
        Err(error) => tell(&Report::Unreachable(format!("{address}: {}", plain(&error)))),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in super::resolve(address)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection, its veil, and what was heard on it.
pub(super) struct Come {
    pub stream: TcpStream,
    pub veil: Option<(Sealer, Opening<Timed>)>,
    pub first: Option<Vec<u8>>,
}

impl Come {
    const fn in_the_open(stream: TcpStream) -> Self {
        Self { stream, veil: None, first: None }
    }
}

/// What is read from a connection, up to some time.
pub(super) struct Timed {
    pub stream: TcpStream,
    pub until: Option<Instant>,
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(left)?;
        self.stream.read(bytes)
    }
}

/// How messages come.
enum Hears {
    Open(TcpStream),
    Veiled(Box<Opening<Timed>>),
}

impl Hears {
    fn next(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Open(stream) => read_message(stream),
            Self::Veiled(opening) => {
                let message = read_message(opening.as_mut())?;
                // Whoever has the code's key has said something whole: how long it may take is for the one who serves it.
                opening.is_known().until = None;
                Ok(message)
            }
        }
    }
}

struct Carrier {
    events: Sender<Event>,
    serving: Option<Serving>,
    waiting: VecDeque<Come>,
    count: u64,
    only_one: bool,
}

struct Serving {
    number: u64,
    stream: TcpStream,
    writer: Box<dyn Write>,
    messages: u32,
    heard: Instant,
}

impl Carrier {
    const fn new(events: Sender<Event>) -> Self {
        Self { events, serving: None, waiting: VecDeque::new(), count: 0, only_one: false }
    }

    fn run(mut self, events: &Receiver<Event>, until: Option<Instant>) -> Result<(), Failure> {
        loop {
            match events.recv_timeout(Duration::from_millis(500)) {
                Ok(Event::ParentGone) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Order(Order::Send(message))) => self.send(&message.0)?,
                Ok(Event::Order(Order::Close)) => self.end()?,
                Ok(Event::Accepted(come)) if self.serving.is_none() => self.serve(*come)?,
                Ok(Event::Accepted(come)) if self.waiting.len() < WAITING_MAX => {
                    self.waiting.push_back(*come)
                }
                Ok(Event::Accepted(_) | Event::Order(Order::Veil(_))) => {}
                Ok(Event::Message { connection, bytes }) => self.heard(connection, bytes)?,
                Ok(Event::Ended { connection }) => {
                    if self.serving.as_ref().is_some_and(|serving| serving.number == connection) {
                        self.end()?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.serving.as_ref().is_some_and(Serving::is_too_silent) {
                self.end()?;
            }
            if self.serving.is_none() {
                if self.only_one {
                    return Ok(());
                }
                if until.is_some_and(|until| Instant::now() >= until) {
                    return tell(&Report::Expired);
                }
            }
        }
    }

    fn serve(&mut self, Come { stream, veil, first }: Come) -> Result<(), Failure> {
        self.count += 1;
        let number = self.count;
        let events = self.events.clone();
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(WRITE_TIMEOUT)))
            .and_then(|()| Ok((stream.try_clone()?, stream.try_clone()?)));
        let Ok((reading, writing)) = prepared else { return Ok(()) };
        let (mut hears, writer): (Hears, Box<dyn Write>) = match veil {
            Some((sealer, opening)) => {
                (Hears::Veiled(Box::new(opening)), Box::new(Sealing::new(writing, sealer)))
            }
            None => (Hears::Open(reading), Box::new(writing)),
        };
        thread::spawn(move || {
            while let Ok(bytes) = hears.next() {
                if events.send(Event::Message { connection: number, bytes }).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::Ended { connection: number });
        });
        self.serving = Some(Serving { number, stream, writer, messages: 0, heard: Instant::now() });
        tell(&Report::Connected)?;
        first.map_or(Ok(()), |first| self.heard(number, first))
    }

    fn heard(&mut self, connection: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let Some(serving) = self.serving.as_mut().filter(|serving| serving.number == connection) else {
            return Ok(());
        };
        serving.messages += 1;
        serving.heard = Instant::now();
        tell(&Report::Message(Hex::new(bytes)))
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let Some(serving) = self.serving.as_mut() else { return Ok(()) };
        serving.heard = Instant::now();
        match write_message(&mut serving.writer, message) {
            Ok(()) => Ok(()),
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        if let Some(serving) = self.serving.take() {
            let _ = serving.stream.shutdown(Shutdown::Both);
            tell(&Report::Closed)?;
        }
        match self.waiting.pop_front() {
            Some(next) => self.serve(next),
            None => Ok(()),
        }
    }
}

impl Serving {
    fn is_too_silent(&self) -> bool {
        let patience = if self.messages < MESSAGES_UNTIL_PROOF { PATIENCE_FIRST } else { PATIENCE_PEOPLE };
        self.heard.elapsed() > patience
    }
}

fn hear_parent(events: Sender<Event>) {
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Ok(Some(order)) = wire::read::<Order>(&mut stdin) {
            if events.send(Event::Order(order)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::ParentGone);
    });
}

fn tell(report: &Report) -> Result<(), Failure> {
    wire::write(&mut io::stdout().lock(), report).map_err(Failure::io("the parent cannot be told"))
}

/// A message on the connection: its length in four bytes, big-endian, then its bytes.
pub(super) fn read_message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_message(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    to.write_all(&frame)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_a_long_one_is_refused_before_it_is_read() {
        let mut stream = Vec::new();
        write_message(&mut stream, b"hello").unwrap();
        write_message(&mut stream, b"").unwrap();
        let mut reader = stream.as_slice();
        assert_eq!(read_message(&mut reader).unwrap(), b"hello");
        assert_eq!(read_message(&mut reader).unwrap(), b"");
        assert!(read_message(&mut reader).is_err());
        let announced = u32::try_from(MESSAGE_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(read_message(&mut announced.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
