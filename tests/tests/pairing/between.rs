//! Somebody on the wire between two devices that pair: listens, cuts, or speaks for himself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use fieldbook_proto::pairing::{Code, Event, Invitation, Inviter, Joiner, PairingError};
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
        Self::new(inviter, None)
    }

    /// Passes on until message number `number` (from 0) of that way; does `then` and cuts the line.
    pub fn cut(inviter: &str, way: Way, number: usize, then: impl Fn() + Send + Sync + 'static) -> Self {
        Self::new(inviter, Some((way, number, Box::new(then))))
    }

    fn new(inviter: &str, cut: Option<Cut>) -> Self {
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
                    thread::spawn(move || carry(way, from, to, &kept, cut.as_ref().as_ref()));
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

/// What one run gave to somebody who has a code of his own making.
pub struct Run {
    /// The connection, still open.
    pub stream: TcpStream,
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
    let stream = TcpStream::connect(address).expect("somebody who listens");
    let (mut joiner, hello) = Joiner::start(code, &seed());
    speak(stream, vec![hello], |message| joiner.on_message(message))
}

/// Plays the inviter towards the next joiner that connects, up to the check words.
pub fn invite_as(listener: &TcpListener, code: &Code) -> Run {
    let (stream, _) = listener.accept().expect("a joiner");
    let mut invitation = Invitation::new(code.clone(), fieldbook_proto::certificate::Role::Monitor, u64::MAX);
    let mut inviter = Inviter::start(&invitation, &seed(), 0).expect("an open invitation");
    speak(stream, Vec::new(), |message| inviter.on_message(message, &mut invitation, 0))
}

fn speak(
    mut stream: TcpStream,
    first: Vec<Vec<u8>>,
    mut on_message: impl FnMut(&[u8]) -> Result<Vec<Event>, PairingError>,
) -> Run {
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
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
