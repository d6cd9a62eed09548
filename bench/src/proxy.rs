//! A stretch of network between two programs: counts what passes, and makes it take its time.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Forwards datagrams between whoever speaks to it and one target, each later by a fixed delay.
pub struct Proxy {
    address: SocketAddr,
    there: Arc<AtomicU64>,
    back: Arc<AtomicU64>,
}

impl Proxy {
    /// Begins to forward, until the program ends.
    pub fn start(target: SocketAddr, delay: Duration) -> io::Result<Self> {
        let near = UdpSocket::bind("127.0.0.1:0")?;
        let far = UdpSocket::bind("127.0.0.1:0")?;
        let proxy = Self { address: near.local_addr()?, there: Arc::default(), back: Arc::default() };
        let client = Arc::new(Mutex::new(None));
        let known = client.clone();
        forward(near.try_clone()?, far.try_clone()?, delay, proxy.there.clone(), move |from| {
            *client.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
            Some(target)
        });
        forward(far, near, delay, proxy.back.clone(), move |_| {
            *known.lock().unwrap_or_else(PoisonError::into_inner)
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Bytes in datagrams that passed in both directions so far.
    pub fn bytes(&self) -> u64 {
        self.there.load(Ordering::Relaxed) + self.back.load(Ordering::Relaxed)
    }
}

fn forward(
    from: UdpSocket,
    to: UdpSocket,
    delay: Duration,
    count: Arc<AtomicU64>,
    mut target: impl FnMut(SocketAddr) -> Option<SocketAddr> + Send + 'static,
) {
    let (late, due) = mpsc::channel::<(Instant, Vec<u8>, SocketAddr)>();
    thread::spawn(move || {
        for (at, datagram, target) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // A datagram may be lost; QUIC copes.
            let _ = to.send_to(&datagram, target);
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((len, sender)) = from.recv_from(&mut buffer) {
            count.fetch_add(len as u64, Ordering::Relaxed);
            let Some(target) = target(sender) else { continue };
            if late.send((Instant::now() + delay, buffer[..len].to_vec(), target)).is_err() {
                break;
            }
        }
    });
}
