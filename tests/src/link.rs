//! A bad link: a program that stands between two devices and loses, delays, narrows and interrupts what
//! passes, by UDP and by TCP at one port. Which datagrams are lost follows from a seed.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Datagrams that wait for a narrow link beyond this time are dropped, as a router's queue does.
const QUEUE: Duration = Duration::from_secs(2);
/// What is read from a TCP connection at once.
const CHUNK: usize = 1_460;

/// How long a link is gone that lasts for so many bytes.
pub const GONE: Duration = Duration::from_secs(2);
/// How often it is looked whether the link has gone.
const LOOK: Duration = Duration::from_millis(20);

/// How bad it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Of a hundred datagrams so many are lost, in each direction.
    pub loss: u32,
    /// How long everything takes, one way.
    pub delay: Duration,
    /// Bytes a second that pass, in each direction; 0 is any number.
    pub rate: u64,
    /// The link is there for so long, then gone for as long, and so on. What is under way is lost, and TCP
    /// connections break.
    pub flap: Option<Duration>,
    /// The link goes each time so many bytes have come towards the target, for [`GONE`]: however slow the machine is, as much is
    /// done in between.
    pub lasts: Option<u64>,
    /// Only this passes.
    pub only: Option<Only>,
}

/// What alone passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// UDP; TCP connections break at once.
    Udp,
    /// TCP; datagrams vanish.
    Tcp,
}

impl Weather {
    /// Whether the link is there at a time after it began.
    fn up(&self, since: Duration) -> bool {
        self.flap.is_none_or(|each| (since.as_micros() / each.as_micros().max(1)).is_multiple_of(2))
    }
}

/// The link, until it is dropped.
pub struct Link {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    target: SocketAddr,
    weather: Weather,
    began: Instant,
    ended: AtomicBool,
    there: AtomicU64,
    back: AtomicU64,
    /// Of these, what went through streams after the first words of each side.
    streamed: [AtomicU64; 2],
    openings: Mutex<Vec<[u64; 2]>>,
    /// Directions of streams that have not ended.
    open: AtomicU64,
    lost: AtomicU64,
    seed: AtomicU64,
    /// After so many bytes towards the target the link goes; and since when it is gone.
    goes: Mutex<(u64, Option<Instant>)>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// Begins to forward between whoever speaks to it and `target`.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(target: SocketAddr, weather: Weather) -> Self {
        let (near, listener) = (0..64)
            .find_map(|_| {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                let near = UdpSocket::bind(listener.local_addr().expect("an address")).ok()?;
                Some((near, listener))
            })
            .expect("a port that is free for UDP and for TCP");
        let address = near.local_addr().expect("an address");
        let inner = Arc::new(Inner {
            target,
            weather,
            began: Instant::now(),
            ended: AtomicBool::new(false),
            there: AtomicU64::new(0),
            back: AtomicU64::new(0),
            streamed: Default::default(),
            openings: Mutex::default(),
            open: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            seed: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            goes: Mutex::new((weather.lasts.unwrap_or(u64::MAX), None)),
            connections: Mutex::default(),
        });
        let at = inner.clone();
        thread::spawn(move || at.datagrams(&near));
        let at = inner.clone();
        thread::spawn(move || at.streams(&listener));
        if weather.flap.is_some() || weather.lasts.is_some() {
            let at = inner.clone();
            thread::spawn(move || at.cut_streams());
        }
        Self { address, inner }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Bytes that came to it, in both directions, lost ones too.
    pub fn bytes(&self) -> u64 {
        self.inner.there.load(Relaxed) + self.inner.back.load(Relaxed)
    }

    /// Bytes that came towards the target.
    pub fn bytes_there(&self) -> u64 {
        self.inner.there.load(Relaxed)
    }

    /// Bytes that streams carried since it was asked last: towards the target, and back. Without the first words of each side,
    /// whose length is chance (`protocol/veil.md`): see [`Link::openings`].
    pub fn take_streamed(&self) -> (u64, u64) {
        let [there, back] = &self.inner.streamed;
        (there.swap(0, Relaxed), back.swap(0, Relaxed))
    }

    /// Whether no stream goes through it: each has ended in both directions.
    pub fn is_at_rest(&self) -> bool {
        self.inner.open.load(Relaxed) == 0
    }

    /// How long the first words of each side were, of each stream: to the target, and back.
    pub fn openings(&self) -> Vec<[u64; 2]> {
        self.inner.openings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Datagrams that were lost.
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inner.ended.store(true, Relaxed);
        self.inner.close_streams();
        // Both wait for somebody to come.
        let _ = TcpStream::connect(self.address);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
    }
}

/// When each piece may leave, by the order in which they came.
struct Pace {
    weather: Weather,
    free: Instant,
}

impl Pace {
    fn new(weather: Weather) -> Self {
        Self { weather, free: Instant::now() }
    }

    /// When a piece that comes now is through, and how long it waits for others.
    fn through(&mut self, len: usize) -> (Instant, Duration) {
        let now = Instant::now();
        let from = self.free.max(now);
        if self.weather.rate > 0 {
            self.free = from + Duration::from_secs_f64(len as f64 / self.weather.rate as f64);
        } else {
            self.free = from;
        }
        (self.free + self.weather.delay, from - now)
    }
}

/// What the two sides of a TLS handshake say first: whoever connected until it is answered, the other until it is answered
/// in turn. A change of cipher, which says nothing, may come before the answer is whole.
#[derive(Clone)]
struct Opening(Arc<Mutex<Said>>);

struct Said {
    /// Which stream it is.
    number: usize,
    answered: bool,
    /// What came after the answer began.
    then: u64,
}

/// More than a change of cipher, and less than what follows.
const CHANGE: u64 = 64;

impl Opening {
    fn of(link: &Inner) -> Self {
        let mut openings = link.openings.lock().unwrap_or_else(PoisonError::into_inner);
        openings.push([0; 2]);
        Self(Arc::new(Mutex::new(Said { number: openings.len() - 1, answered: false, then: 0 })))
    }

    /// Of so many bytes that pass, how many are not of the first words.
    fn passes(&self, link: &Inner, len: u64, there: bool) -> u64 {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.answered |= !there;
        if there && said.answered {
            said.then += len;
        }
        if if there { said.answered } else { said.then > CHANGE } {
            return len;
        }
        let mut openings = link.openings.lock().unwrap_or_else(PoisonError::into_inner);
        openings[said.number][usize::from(!there)] += len;
        0
    }
}

/// The socket by which the target knows a client, and what is on its way to the target.
type Client = (Arc<UdpSocket>, Sender<(Instant, Vec<u8>)>);

impl Inner {
    fn over(&self) -> bool {
        self.ended.load(Relaxed)
    }

    fn up(&self) -> bool {
        self.weather.up(self.began.elapsed()) && self.lasts()
    }

    /// Whether it lasts still, or again.
    fn lasts(&self) -> bool {
        let Some(lasts) = self.weather.lasts else { return true };
        let (goes, gone) = &mut *self.goes.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.there.load(Relaxed);
        if gone.is_some_and(|since| since.elapsed() >= GONE) {
            (*goes, *gone) = (there + lasts, None);
        } else if gone.is_none() && there >= *goes {
            *gone = Some(Instant::now());
        }
        gone.is_none()
    }

    /// Whether the next datagram is lost: xorshift, so that a run can be repeated.
    fn loses(&self) -> bool {
        let next = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let before = self.seed.fetch_update(Relaxed, Relaxed, |x| Some(next(x))).unwrap_or(0);
        (next(before) >> 32) % 100 < u64::from(self.weather.loss)
    }

    fn datagrams(self: &Arc<Self>, near: &UdpSocket) {
        let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
        let mut pace = Pace::new(self.weather);
        let mut buffer = vec![0; 65_536];
        while let Ok((len, from)) = near.recv_from(&mut buffer) {
            if self.over() {
                return;
            }
            let client = clients.entry(from).or_insert_with(|| self.client(near, from));
            self.there.fetch_add(len as u64, Relaxed);
            if let Some(at) = self.datagram(&mut pace, len) {
                let _ = client.1.send((at, buffer[..len].to_vec()));
            }
        }
    }

    /// When a datagram arrives, if it does.
    fn datagram(&self, pace: &mut Pace, len: usize) -> Option<Instant> {
        let (at, waits) = pace.through(len);
        if waits > QUEUE || self.loses() || !self.up() || self.weather.only == Some(Only::Tcp) {
            self.lost.fetch_add(1, Relaxed);
            return None;
        }
        Some(at)
    }

    /// A socket of its own for each client, so that answers find back.
    fn client(self: &Arc<Self>, near: &UdpSocket, client: SocketAddr) -> Client {
        let far = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        let (there, due) = channel();
        let (out, target) = (far.clone(), self.target);
        thread::spawn(move || deliver(due, |datagram| drop(out.send_to(datagram, target))));
        let (back, due) = channel();
        let near = near.try_clone().expect("the socket");
        thread::spawn(move || deliver(due, |datagram| drop(near.send_to(datagram, client))));
        let (inner, from) = (self.clone(), far.clone());
        thread::spawn(move || {
            let mut pace = Pace::new(inner.weather);
            let mut buffer = vec![0; 65_536];
            let _ = from.set_read_timeout(Some(Duration::from_millis(500)));
            while !inner.over() {
                let Ok((len, _)) = from.recv_from(&mut buffer) else { continue };
                inner.back.fetch_add(len as u64, Relaxed);
                if let Some(at) = inner.datagram(&mut pace, len) {
                    let _ = back.send((at, buffer[..len].to_vec()));
                }
            }
        });
        (far, there)
    }

    fn streams(self: &Arc<Self>, listener: &TcpListener) {
        for near in listener.incoming() {
            if self.over() {
                return;
            }
            let Ok(near) = near else { continue };
            if !self.up() || self.weather.only == Some(Only::Udp) {
                continue;
            }
            let Ok(far) = TcpStream::connect(self.target) else { continue };
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.extend([near.try_clone(), far.try_clone()].into_iter().flatten());
            drop(connections);
            let opening = Opening::of(self);
            for (from, to, there) in [(&near, &far, true), (&far, &near, false)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                let (inner, opening) = (self.clone(), opening.clone());
                self.open.fetch_add(1, Relaxed);
                thread::spawn(move || {
                    inner.stream(from, to, there, &opening);
                    inner.open.fetch_sub(1, Relaxed);
                });
            }
        }
    }

    fn stream(&self, mut from: TcpStream, mut to: TcpStream, there: bool, opening: &Opening) {
        let mut pace = Pace::new(self.weather);
        let (late, due) = channel::<(Instant, Vec<u8>)>();
        let writes = thread::spawn(move || {
            let mut failed = false;
            deliver(due, |bytes| failed = failed || to.write_all(bytes).is_err());
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut buffer = [0; CHUNK];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let count = if there { &self.there } else { &self.back };
            count.fetch_add(len as u64, Relaxed);
            let after = opening.passes(self, len as u64, there);
            self.streamed[usize::from(!there)].fetch_add(after, Relaxed);
            let (at, waits) = pace.through(len);
            if late.send((at, buffer[..len].to_vec())).is_err() {
                break;
            }
            // A sender must feel how narrow the link is.
            thread::sleep(waits.saturating_sub(QUEUE / 4));
        }
        drop(late);
        let _ = writes.join();
    }

    fn close_streams(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in connections.drain(..) {
            let _: io::Result<()> = stream.shutdown(Shutdown::Both);
        }
    }

    /// Breaks the connections each time the link goes.
    fn cut_streams(&self) {
        let mut was_up = true;
        while !self.over() {
            let up = self.up();
            if was_up && !up {
                self.close_streams();
            }
            was_up = up;
            thread::sleep(LOOK);
        }
    }
}

fn deliver(due: Receiver<(Instant, Vec<u8>)>, mut to: impl FnMut(&[u8])) {
    for (at, bytes) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        to(&bytes);
    }
}
