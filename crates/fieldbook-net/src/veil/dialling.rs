//! The socket of a device that dials: one salt, one other side.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use fieldbook_proto::session::TransportSecret;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::boxes::{self, BoxKey, HeaderKey, Salt};
use super::listening::seal_all;
use super::receive::{Waiting, receive};
use super::window::Window;
use super::{Clock, new_salt};

/// Listeners whose answers are known at a time: one answers, and perhaps another when it was started anew.
const LISTENERS: usize = 4;

/// A socket on which everything is for one listener, in boxes.
pub struct Dialling {
    inner: Arc<dyn AsyncUdpSocket>,
    secret: TransportSecret,
    salt: Salt,
    counter: AtomicU64,
    header: HeaderKey,
    key: BoxKey,
    answers: HeaderKey,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// The one heard last at the end.
    listeners: Vec<(Salt, BoxKey, Window)>,
    waiting: Waiting,
}

impl fmt::Debug for Dialling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialling(veiled)")
    }
}

impl Dialling {
    /// Veils what goes through `inner` under the secret of an epoch that the listener knows.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, secret: &TransportSecret, clock: &Clock) -> io::Result<Self> {
        let salt = new_salt(clock())?;
        let no_cipher = || io::Error::other("the cipher of the veil is missing");
        Ok(Self {
            inner,
            salt,
            counter: AtomicU64::new(0),
            header: HeaderKey::to_listener(secret),
            key: BoxKey::to_listener(secret, salt).ok_or_else(no_cipher)?,
            answers: HeaderKey::to_dialler(secret, salt),
            secret: secret.clone(),
            heard: Mutex::default(),
        })
    }

    fn open(&self, listeners: &mut Vec<(Salt, BoxKey, Window)>, datagram: &mut [u8]) -> Option<Range<usize>> {
        if !boxes::is_size(datagram.len()) {
            return None;
        }
        let header = self.answers.read(datagram)?;
        if let Some(at) = listeners.iter().position(|(salt, ..)| *salt == header.salt) {
            let (_, key, window) = &mut listeners[at];
            if !window.is_new(header.counter) {
                return None;
            }
            let content = key.open(header.counter, datagram)?;
            window.note(header.counter);
            return Some(content);
        }
        let key = BoxKey::to_dialler(&self.secret, header.salt, self.salt)?;
        let content = key.open(header.counter, datagram)?;
        let mut window = Window::default();
        window.note(header.counter);
        if listeners.len() >= LISTENERS {
            listeners.remove(0);
        }
        listeners.push((header.salt, key, window));
        Some(content)
    }
}

impl AsyncUdpSocket for Dialling {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (contents, segment_size) = seal_all(transmit, |content, size, out| {
            let header = boxes::Header { salt: self.salt, counter: self.counter.fetch_add(1, Relaxed) };
            self.key.seal(&self.header, header, content, size, out)
        })?;
        // No mark of congestion control in the header of IP: few but QUIC set one on datagrams.
        self.inner.try_send(&Transmit { contents: &contents, segment_size, ecn: None, ..transmit.clone() })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let Heard { listeners, waiting } = &mut *heard;
        receive(self.inner.as_ref(), waiting, cx, (bufs, meta), |_, datagram| self.open(listeners, datagram))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
