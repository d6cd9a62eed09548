//! Who comes to an inviting device whose code is a long one: whoever sends a whole first message behind the veil, as only one can
//! that has the code's key of it, is passed on; anybody else gets no answer, and is let go after a while, or for another.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use fieldbook_net::veil::blocking::Opening;
use fieldbook_net::veil::carried;
use fieldbook_net::veil::stream::FIRST;
use fieldbook_net::veil::{Veil, system_clock};
use fieldbook_proto::session::TransportSecret;

use super::pair::{Come, Event, PATIENCE_FIRST, Timed, read_message};
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

/// A connection to an inviting device, behind its veil. What comes and is not from there is thrown away, up to a time.
///
/// # Errors
/// The system gives no random bytes.
pub(super) fn dialled(stream: TcpStream, key: &Hex) -> Result<Come, Failure> {
    let doing = "the veil cannot be made";
    let (sealer, opener) = carried::halves(&secret(key)?, &system_clock()).map_err(Failure::io(doing))?;
    let hears = stream.try_clone().map_err(Failure::io(doing))?;
    let opening = Opening::new(Timed { stream: hears, until: Some(Instant::now() + PATIENCE_FIRST) }, opener);
    Ok(Come { stream, veil: Some((sealer, opening)), first: None })
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
        // A system that has no thread for it has none for the next one either; this one is let go.
        let _ = thread::Builder::new().spawn(move || {
            let come = hush.hear(&stream, from);
            hush.lock().inside.remove(&number);
            match come {
                Ok(come) => drop(accepted.send(Event::Accepted(Box::new(come)))),
                Err(_) => drop(stream.shutdown(Shutdown::Both)),
            }
        });
    }

    /// Comes to no end before its time, or that of the other side, unless a whole message comes as it should.
    fn hear(&self, stream: &TcpStream, from: IpAddr) -> io::Result<Come> {
        let mut timed = Timed { stream: stream.try_clone()?, until: Some(Instant::now() + PATIENCE_FIRST) };
        let mut first = [0; FIRST];
        timed.read_exact(&mut first)?;
        let Some((sealer, opener)) = self.veil.meet(from, &first) else {
            while timed.read(&mut [0; 4_096])? > 0 {}
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut opening = Opening::new(timed, opener);
        let first = read_message(&mut opening)?;
        opening.is_known().until = None;
        Ok(Come { stream: stream.try_clone()?, veil: Some((sealer, opening)), first: Some(first) })
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
