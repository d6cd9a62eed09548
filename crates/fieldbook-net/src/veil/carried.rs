//! A stream of bytes with the veil around what goes through it, for TLS to go over.
//!
//! What is written is sealed at once and sent when it is flushed, or when much waits: so the first box goes out
//! with TLS's first words, and TLS's answer in one piece.

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use fieldbook_proto::session::TransportSecret;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{self, Damaged, NEEDS_MAX, Opener, PAYLOAD_MAX, Sealer};
use super::{Clock, new_salt, padding};

/// What is read at once.
const BUFFER: usize = 2 * NEEDS_MAX;
/// Sealed bytes that wait for a flush, and beyond which nothing more is taken until some have gone.
const WAIT: usize = 16 * 1024;
const WAIT_MOST: usize = 64 * 1024;
/// Salts that are tried until one is found with which a stream does not begin as plain TLS does: of 65,536 one does.
const SALTS: usize = 16;

/// Whether who is on a stream has shown a key. Until then nothing is said to a record that is damaged, on either side: whoever
/// sits between would learn by it where records end, or that this is the veil at all.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    /// It has.
    pub fn note(&self) {
        self.0.store(true, Relaxed);
    }
}

/// A veiled stream over another.
pub struct Veiled<S> {
    inner: S,
    sealer: Sealer,
    opener: Opener,
    /// What was read; of it, what is still to be opened, and before that what was said and is still to be handed on.
    read: Vec<u8>,
    sealed: Range<usize>,
    said: Range<usize>,
    /// What is sealed, and how much of it has gone.
    waits: Vec<u8>,
    gone: usize,
    damaged: bool,
    known: Known,
}

impl<S> fmt::Debug for Veiled<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veiled")
    }
}

/// The two halves of a device that dials, under the secret of an epoch that the listener knows.
///
/// # Errors
/// The system gives no random bytes.
pub fn halves(secret: &TransportSecret, clock: &Clock) -> io::Result<(Sealer, Opener)> {
    for _ in 0..SALTS {
        let (sealer, opener) =
            stream::dial(secret, new_salt(clock())?, &padding()?).map_err(io::Error::other)?;
        if !sealer.begins_like_tls() {
            return Ok((sealer, opener));
        }
    }
    Err(io::Error::other("no salt can be made"))
}

/// Veils what goes over `inner`, on the side that dialled. Nothing is sent yet. What comes back and is not the listener's is
/// read and thrown away until it is noted that the other side is known ([`Veiled::known`]): whoever calls this sets a term.
///
/// # Errors
/// As [`halves`].
pub fn dial<S>(inner: S, secret: &TransportSecret, clock: &Clock) -> io::Result<Veiled<S>> {
    Ok(Veiled::new(inner, halves(secret, clock)?, Known::default()))
}

impl<S> Veiled<S> {
    pub(super) fn new(inner: S, (sealer, opener): (Sealer, Opener), known: Known) -> Self {
        Self {
            inner,
            sealer,
            opener,
            read: vec![0; BUFFER],
            sealed: 0..0,
            said: 0..0,
            waits: Vec::new(),
            gone: 0,
            damaged: false,
            known,
        }
    }

    /// Where it is noted when the other side has shown a key.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Opens what has come up to the next bytes that were said; whether there are any.
    fn open(&mut self) -> Result<bool, Damaged> {
        while self.said.is_empty() && self.sealed.len() >= self.opener.needs() {
            let start = self.sealed.start;
            self.sealed.start += self.opener.needs();
            if let Some(said) = self.opener.open(&mut self.read[start..self.sealed.start])? {
                self.said = start + said.start..start + said.end;
            }
        }
        Ok(!self.said.is_empty())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Veiled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.damaged {
                match this.open() {
                    Ok(true) => {
                        let len = this.said.len().min(buf.remaining());
                        buf.put_slice(&this.read[this.said.start..this.said.start + len]);
                        this.said.start += len;
                        return Poll::Ready(Ok(()));
                    }
                    Ok(false) => {}
                    Err(Damaged) => this.damaged = true,
                }
            }
            if this.damaged {
                if this.known.0.load(Relaxed) {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Damaged)));
                }
                // Whoever tampers with a beginning hears as little as whoever makes one up, and for as long.
                this.sealed = 0..0;
            }
            this.read.copy_within(this.sealed.clone(), 0);
            this.sealed = 0..this.sealed.len();
            let mut room = ReadBuf::new(&mut this.read[this.sealed.end..]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut room))?;
            match room.filled().len() {
                // TLS knows whether this was all.
                0 => return Poll::Ready(Ok(())),
                len => this.sealed.end += len,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Veiled<S> {
    /// Sends what waits.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.waits.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waits[self.gone..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.gone += len,
            }
        }
        self.waits.clear();
        // Sessions stay for days, and one that was slow once must not keep what it had to hold then.
        self.waits.shrink_to(WAIT);
        self.gone = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Veiled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.waits.len() >= WAIT_MOST {
            ready!(this.send(cx))?;
        }
        let len = buf.len().min(PAYLOAD_MAX);
        if len > 0 {
            this.sealer.seal(&buf[..len], &mut this.waits).map_err(io::Error::other)?;
        }
        if this.waits.len() >= WAIT
            && let Poll::Ready(Err(error)) = this.send(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
