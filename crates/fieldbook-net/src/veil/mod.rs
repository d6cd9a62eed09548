//! The veil: each datagram of QUIC in a box that only the team can tell from noise, `protocol/veil.md`.
//!
//! Whoever listens sees datagrams of a few sizes and random bytes. Whoever sends something to the port that is
//! not from the team, or was there before, gets no answer: it is dropped before QUIC sees it.
//!
//! [`boxes`] is the format and touches no socket. [`Dialling`] and [`Listening`] are quinn's sockets with
//! boxes around what goes through them; what a listener knows is in [`Veil`]: whose salts came ([`peers`],
//! [`seen`]) and the team's secrets. The port itself is opened in [`crate::quic`].
//!
//! Over TCP the same goes around a stream: [`stream`] is the format, [`carried`] a stream with it, [`taking`] how a
//! listener judges who comes, and [`blocking`] the same for threads.

pub mod blocking;
pub mod boxes;
pub mod carried;
mod dialling;
mod listening;
mod peers;
mod plain;
mod receive;
mod seen;
pub mod stream;
mod taking;
mod window;

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;

pub use dialling::Dialling;
pub use listening::{Listening, Veil, WrongClocks};
pub use seen::{REMEMBERED_LEN, WINDOW_S};
pub use taking::{Taken, take_in};

use boxes::Salt;

/// Seconds since 1970 by this device's clock.
pub type Clock = Arc<dyn Fn() -> u32 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
    })
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let source = aws_lc_rs::default_provider().secure_random;
    source.fill(bytes).map_err(|_| io::Error::other("the system gives no random bytes"))
}

/// A salt that no other process has, or had.
fn new_salt(now: u32) -> io::Result<Salt> {
    Ok(Salt::new(now, random()?))
}

/// Random bytes, of any number up to [`stream::PADDING_MAX`], so that the beginning of a stream has no length of its own.
fn padding() -> io::Result<Vec<u8>> {
    let number = u16::from_be_bytes(random()?);
    let mut bytes = vec![0; usize::from(number) % (stream::PADDING_MAX + 1)];
    fill(&mut bytes)?;
    Ok(bytes)
}
