//! Who comes to an inviting device whose code is a long one: whoever begins as one does that has the code's key
//! of the veil is passed on; anybody else gets no answer, and is let go after a while, or for another.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use fieldbook_net::veil::carried;
use fieldbook_net::veil::stream::{FIRST, Opener, Sealer};
use fieldbook_net::veil::{Veil, system_clock};
use fieldbook_proto::session::TransportSecret;

use super::pair::{Come, Event, PATIENCE_FIRST};
use crate::agent::wire::Hex;
use crate::error::Failure;

/// Strangers at a time, each with a thread; when one more comes, the one who came first goes.
const STRANGERS: usize = 64;

/// What all connections of a listener share.
pub struct Hush {
    veil: Veil,
    strangers: Mutex<Strangers>,
}

#[derive(Default)]
struct Strangers {
    next: u64,
    inside: BTreeMap<u64, TcpStream>,
}

fn secret(key: &Hex) -> Result<TransportSecret, Failure> {
    let bytes = key.0.as_slice().try_into();
    let wrong = |_| Failure::failed("internal", "the veil's key has another length");
    bytes.map(|bytes| TransportSecret::new(0, bytes)).map_err(wrong)
}

/// The halves of whoever connects.
///
/// # Errors
/// The system gives no random bytes.
pub fn halves(key: &Hex) -> Result<(Sealer, Opener), Failure> {
    carried::halves(&secret(key)?, &system_clock()).map_err(Failure::io("the veil cannot be made"))
}

impl Hush {
    /// With the key of the code.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn begin(key: &Hex) -> Result<Self, Failure> {
        let veil = Veil::new(&[secret(key)?], None, system_clock());
        let veil = veil.map_err(Failure::io("the veil cannot be made"))?;
        Ok(Self { veil, strangers: Mutex::default() })
    }

    /// Hears how somebody begins, beside all others, and passes on whoever knows the key.
    pub(super) fn judge(self: &Arc<Self>, stream: TcpStream, from: IpAddr, accepted: Sender<Event>) {
        let Ok(shared) = stream.try_clone() else { return };
        let number = self.enter(shared);
        let hush = self.clone();
        thread::spawn(move || {
            let halves = hush.hear(&stream, from);
            hush.lock().inside.remove(&number);
            match halves {
                Ok(halves) => drop(accepted.send(Event::Accepted(Come { stream, halves: Some(halves) }))),
                Err(_) => drop(stream.shutdown(Shutdown::Both)),
            }
        });
    }

    /// Comes to no end before its time, or that of the other side, unless it begins as it should.
    fn hear(&self, mut stream: &TcpStream, from: IpAddr) -> io::Result<(Sealer, Opener)> {
        let until = Instant::now() + PATIENCE_FIRST;
        let mut read = |bytes: &mut [u8]| {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(bytes)? {
                0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                len => Ok(len),
            }
        };
        let (mut first, mut filled) = ([0; FIRST], 0);
        while filled < FIRST {
            filled += read(&mut first[filled..])?;
        }
        if let Some(halves) = self.veil.meet(from, &first) {
            stream.set_read_timeout(None)?;
            return Ok(halves);
        }
        loop {
            read(&mut [0; 4_096])?;
        }
    }

    fn enter(&self, stream: TcpStream) -> u64 {
        let mut strangers = self.lock();
        if strangers.inside.len() >= STRANGERS
            && let Some((_, leaves)) = strangers.inside.pop_first()
        {
            let _ = leaves.shutdown(Shutdown::Both);
        }
        let number = strangers.next;
        strangers.next += 1;
        strangers.inside.insert(number, stream);
        number
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
