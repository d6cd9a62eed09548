//! What a listener does with a stream: it looks at the first 128 bytes, and then it goes on behind the veil, or in
//! plain TLS where that is taken, too; or it says nothing, whatever comes, until the other side or whoever called
//! this has enough.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::carried::{Known, Veiled};
use super::listening::Veil;
use super::stream::{FIRST, begins_like_tls};
use crate::secured::Carried;

/// What is read at once of somebody who gets no answer.
const THROWN_AWAY: usize = 4 * 1024;

/// A stream that may go on, and who is to be told when whoever is on it has shown a key.
pub struct Taken {
    /// For TLS.
    pub stream: Box<dyn Carried>,
    /// To be noted then.
    pub known: Known,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

/// Takes in whoever connected from there, if they begin as a device of the team does; `unveiled`: or with plain TLS. Does not
/// come to an end before the other side's for anybody else: whoever calls it sets a term.
///
/// # Errors
/// The stream ended.
pub async fn take_in(
    mut stream: impl Carried + 'static,
    veil: &Veil,
    from: IpAddr,
    unveiled: bool,
) -> io::Result<Taken> {
    let (mut first, mut filled) = ([0; FIRST], 0);
    let known = Known::default();
    while filled < FIRST {
        match stream.read(&mut first[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => filled += len,
        }
        if unveiled && begins_like_tls(&first[..filled]) {
            let begun = first[..filled].to_vec();
            return Ok(Taken { stream: Box::new(Rewound { begun, at: 0, inner: stream }), known });
        }
    }
    if let Some(halves) = veil.meet(from, &first) {
        let stream = Box::new(Veiled::new(stream, halves, known.clone()));
        return Ok(Taken { stream, known });
    }
    let mut away = vec![0; THROWN_AWAY];
    while stream.read(&mut away).await? > 0 {}
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A stream of which something was read, from its beginning.
struct Rewound<S> {
    begun: Vec<u8>,
    at: usize,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.begun[this.at..];
        if rest.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        this.at += len;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
