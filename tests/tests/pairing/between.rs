//! Somebody on the wire between two devices that pair: listens, cuts, or speaks for himself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use fieldbook_net::veil::blocking::{Opening, Sealing};
use fieldbook_net::veil::{carried, system_clock};
use fieldbook_proto::pairing::{Code, Event, Invitation, Inviter, Joiner, PairingError};
use fieldbook_proto::session::TransportSecret;
use fieldbook_tests::DEADLINE;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToInviter,
    ToJoiner,
}

/// What is done when a chosen message has come, which then is not passed on.
type Cut = (Way, usize, Box<dyn Fn() + Send + Sync>);

/// What was said, in order, and which way it went.
type Heard = Vec<(Way, Vec<u8>)>;

/// A relay of messages that keeps a copy of each.
pub struct Wire {
    /// Where the joiner connects.
    pub address: String,
    heard: Arc<Mutex<Heard>>,
}

impl Wire {
    /// Passes everything on to `inviter`.
    pub fn tap(inviter: &str) -> Self {
        Self::new(inviter, None, true)
    }

    /// The same where no message can be told from another: behind a veil.
    pub fn tap_veiled(inviter: &str) -> Self {
        Self::new(inviter, None, false)
    }

    /// Passes on until message number `number` (from 0) of that way; does `then` and cuts the line.
    pub fn cut(inviter: &str, way: Way, number: usize, then: impl Fn() + Send + Sync + 'static) -> Self {
        Self::new(inviter, Some((way, number, Box::new(then))), true)
    }

    fn new(inviter: &str, cut: Option<Cut>, in_messages: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (target, kept, cut) = (inviter.to_owned(), Arc::clone(&heard), Arc::new(cut));
        thread::spawn(move || {
            for joiner in listener.incoming().flatten() {
                let Ok(inviter) = TcpStream::connect(&target) else { continue };
                for (way, from, to) in
                    [(Way::ToInviter, &joiner, &inviter), (Way::ToJoiner, &inviter, &joiner)]
                {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let (kept, cut) = (Arc::clone(&kept), Arc::clone(&cut));
                    thread::spawn(move || match in_messages {
                        true => carry(way, from, to, &kept, cut.as_ref().as_ref()),
                        false => carry_bytes(way, from, to, &kept),
                    });
                }
            }
        });
        Self { address, heard }
    }

    /// Everything that passed, one message after the other.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().expect("what was heard").iter().flat_map(|(_, message)| message.clone()).collect()
    }

    /// The messages of one way.
    pub fn messages(&self, wanted: Way) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().expect("what was heard");
        heard.iter().filter(|(way, _)| *way == wanted).map(|(_, message)| message.clone()).collect()
    }
}

fn carry(
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    kept: &Mutex<Vec<(Way, Vec<u8>)>>,
    cut: Option<&Cut>,
) {
    for number in 0.. {
        let Ok(message) = receive(&mut from) else { break };
        if let Some((_, _, then)) = cut.filter(|(at, which, _)| (*at, *which) == (way, number)) {
            then();
            break;
        }
        kept.lock().expect("what was heard").push((way, message.clone()));
        if send(&mut to, &message).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn carry_bytes(way: Way, mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<(Way, Vec<u8>)>>) {
    let mut bytes = [0; 4_096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        kept.lock().expect("what was heard").push((way, bytes[..len].to_vec()));
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A message behind its length.
pub fn receive(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut message)?;
    Ok(message)
}

pub fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    to.write_all(&[&length, message].concat())
}

/// A connection, veiled or not.
pub struct Line {
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write + Send>,
}

impl Line {
    fn plain(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Self { reader: Box::new(stream.try_clone().expect("a socket")), writer: Box::new(stream) }
    }

    fn veiled(stream: TcpStream, key: [u8; 32]) -> Self {
        let halves = carried::halves(&TransportSecret::new(0, key), &system_clock());
        let (sealer, opener) = halves.expect("random bytes");
        let Self { reader, writer } = Self::plain(stream);
        Self {
            reader: Box::new(Opening::new(reader, opener)),
            writer: Box::new(Sealing::new(writer, sealer)),
        }
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What one run gave to somebody who has a code of his own making.
pub struct Run {
    /// The connection, still open.
    pub stream: Line,
    /// The check words, if the other side knew the code.
    pub words: Option<String>,
    /// Everything that it received.
    pub received: Vec<Vec<u8>>,
    /// How it ended, if it did.
    pub error: Option<PairingError>,
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("random bytes");
    seed
}

/// Plays the joiner towards a real inviter, up to the check words.
pub fn join_as(address: &str, code: &Code) -> Run {
    joining(Line::plain(TcpStream::connect(address).expect("somebody who listens")), code)
}

/// The same by somebody who knows the key of the veil, and of the code no more than this.
pub fn join_behind(address: &str, key: [u8; 32], code: &Code) -> Run {
    joining(Line::veiled(TcpStream::connect(address).expect("somebody who listens"), key), code)
}

fn joining(line: Line, code: &Code) -> Run {
    let (mut joiner, hello) = Joiner::start(code, &seed());
    speak(line, vec![hello], |message| joiner.on_message(message))
}

/// Plays the inviter towards the next joiner that connects, up to the check words.
pub fn invite_as(listener: &TcpListener, code: &Code) -> Run {
    let (stream, _) = listener.accept().expect("a joiner");
    let mut invitation = Invitation::new(code.clone(), fieldbook_proto::certificate::Role::Monitor, u64::MAX);
    let mut inviter = Inviter::start(&invitation, &seed(), 0).expect("an open invitation");
    speak(Line::plain(stream), Vec::new(), |message| inviter.on_message(message, &mut invitation, 0))
}

fn speak(
    mut stream: Line,
    first: Vec<Vec<u8>>,
    mut on_message: impl FnMut(&[u8]) -> Result<Vec<Event>, PairingError>,
) -> Run {
    for message in first {
        send(&mut stream, &message).expect("the first message");
    }
    let mut run = Run { stream, words: None, received: Vec::new(), error: None };
    while run.words.is_none() && run.error.is_none() {
        let Ok(message) = receive(&mut run.stream) else { break };
        run.received.push(message.clone());
        match on_message(&message) {
            Ok(events) => {
                for event in events {
                    match event {
                        Event::Send(message) => {
                            send(&mut run.stream, &message).expect("somebody who listens")
                        }
                        Event::CheckWords(words) => run.words = Some(words.join(" ")),
                        _ => {}
                    }
                }
            }
            Err(error) => {
                if let Some(farewell) = error.farewell() {
                    let _ = send(&mut run.stream, &farewell);
                }
                run.error = Some(error);
            }
        }
    }
    run
}
