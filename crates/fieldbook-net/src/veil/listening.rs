//! The sockets of a device that listens, and what all of them know together, those of streams ([`super::taking`]), too.
//!
//! A datagram costs a hash for each secret of the team that this device knows, and is dropped if none of them
//! shows the salt of somebody who has dialled, or a time near this one. Only then is its box opened. The first box of
//! a salt must hold a first packet of QUIC, and a salt that came before and is not known any more is never
//! taken again.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use fieldbook_proto::session::TransportSecret;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use zeroize::Zeroizing;

use super::boxes::{self, BoxKey, CannotSeal, Header, HeaderKey, Salt};
use super::peers::{Answer, Peer, Peers};
use super::plain::Plain;
use super::receive::{Waiting, receive};
use super::seen::{REMEMBERED_LEN, Seen, Under, WINDOW_S};
use super::stream::{Begun, FIRST, Opener, Sealer};
use super::{Clock, new_salt, padding, random};
use crate::tries::Tries;

/// Secrets that are tried: as many as a device keeps.
const EPOCHS: usize = fieldbook_proto::session::limits::EPOCHS_MAX;
/// A first packet of QUIC is at least so long (RFC 9000, section 14.1).
const FIRST_LEAST: usize = 1_200;
/// Datagrams with a time far from this one that are opened in a second, to find out whether a device of the team
/// has a wrong clock, and with how many of the newest secrets.
const WRONG_CLOCK_TRIES: u32 = 16;
const WRONG_CLOCK_EPOCHS: usize = 4;
/// Salts that are known to have been counted; then it begins anew.
const WRONG_CLOCKS_KNOWN: usize = 4_096;

/// A secret of the team, as the veil uses it.
#[derive(Debug)]
pub(super) struct Epoch {
    secret: TransportSecret,
    header: HeaderKey,
    stream: HeaderKey,
}

impl Epoch {
    pub fn new(secret: &TransportSecret) -> Self {
        Self {
            header: HeaderKey::to_listener(secret),
            stream: HeaderKey::stream_to_listener(secret),
            secret: secret.clone(),
        }
    }
}

/// Devices of the team that were not let in because their clock and this one's are too far apart, or what was recorded of one
/// long ago: the two cannot be told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrongClocks {
    /// How often somebody tried, as far as it was looked.
    pub tries: u64,
    /// By how many seconds the last one's clock is ahead of this one's; less than zero: behind.
    pub ahead_s: i64,
}

/// What the listening sockets of a process know.
pub struct Veil {
    salt: Salt,
    counter: AtomicU64,
    clock: Clock,
    inside: Mutex<Inside>,
}

struct Inside {
    epochs: Vec<Arc<Epoch>>,
    /// From where newcomers are taken; from anywhere, if there is no such set.
    admitted: Option<BTreeSet<IpAddr>>,
    peers: Peers,
    seen: Seen,
    wrong_clocks: WrongClocks,
    /// The salts that were counted there: each once, whoever repeats it.
    counted: BTreeSet<Salt>,
    tries: Tries,
    copy: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil(secret)")
    }
}

impl Veil {
    /// Knows the team by these secrets, and from an earlier process what [`Veil::remembered`] gave.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(secrets: &[TransportSecret], remembered: Option<Vec<u8>>, clock: Clock) -> io::Result<Self> {
        let seen = match remembered.and_then(Seen::new) {
            Some(seen) => seen,
            None => {
                let new = random::<REMEMBERED_LEN>()?.to_vec();
                Seen::begin(new).ok_or_else(|| io::Error::other("the veil has no memory"))?
            }
        };
        let veil = Self {
            salt: new_salt(clock())?,
            counter: AtomicU64::new(0),
            clock,
            inside: Mutex::new(Inside {
                epochs: Vec::new(),
                admitted: None,
                peers: Peers::default(),
                seen,
                wrong_clocks: WrongClocks::default(),
                counted: BTreeSet::new(),
                tries: Tries::each_second(WRONG_CLOCK_TRIES),
                copy: Zeroizing::new(Vec::with_capacity(boxes::SIZES[3])),
            }),
        };
        veil.set_secrets(secrets);
        Ok(veil)
    }

    /// From now on the team is known by these, the newest first. Connections that stand go on.
    pub fn set_secrets(&self, secrets: &[TransportSecret]) {
        let mut inside = self.lock();
        let epochs = secrets.iter().take(EPOCHS).map(|secret| {
            let new = Epoch::new(secret);
            let known = inside.epochs.iter().find(|known| known.header == new.header);
            known.cloned().unwrap_or_else(|| Arc::new(new))
        });
        inside.epochs = epochs.collect();
    }

    /// From now on nobody is let in but from these addresses. Whoever was let in before stays.
    pub fn admit_only(&self, addresses: BTreeSet<IpAddr>) {
        self.lock().admitted = Some(addresses);
    }

    /// What the next process should be given, if that has changed since this was asked last.
    pub fn remembered(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.lock().seen.remembered()
    }

    /// What was given last could not be kept: it is given again.
    pub fn not_kept(&self) {
        self.lock().seen.not_kept();
    }

    /// Who was not let in because of a clock.
    pub fn wrong_clocks(&self) -> WrongClocks {
        self.lock().wrong_clocks
    }

    /// What a listener makes of one datagram: where its content lies, in the place of the box, if QUIC is to see it.
    pub fn open(&self, from: SocketAddr, datagram: &mut [u8]) -> Option<Range<usize>> {
        match self.judge(&mut self.lock(), from, datagram) {
            Opened::Content(content) => Some(content),
            Opened::Nothing | Opened::NotOurs => None,
        }
    }

    /// What a listener makes of the first bytes of a stream from there: the halves of its side, if somebody of the team begins
    /// so and never has before. Clocks do not matter: whoever has a wrong one comes this way.
    pub fn meet(&self, from: IpAddr, first: &[u8; FIRST]) -> Option<(Sealer, Opener)> {
        let epochs = {
            let inside = self.lock();
            inside.admits(from).then(|| inside.epochs.clone())?
        };
        let (at, begun) = epochs
            .iter()
            .enumerate()
            .find_map(|(at, epoch)| Some((at, Begun::read(&epoch.secret, &epoch.stream, first)?)))?;
        let under = under(at);
        let (own, padding) = (new_salt((self.clock)()).ok()?, padding().ok()?);
        let chance = u64::from_be_bytes(random().ok()?);
        {
            let seen = &mut self.lock().seen;
            if seen.has(begun.salt()) || seen.is_forgotten(under, begun.salt()) {
                return None;
            }
            seen.note(under, begun.salt(), (self.clock)(), chance);
        }
        begun.answer(own, &padding).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How answers to this address are sealed; none if nobody of the team was heard from there.
    fn answer(&self, to: &SocketAddr) -> Option<Arc<Answer>> {
        self.lock().peers.at(to).map(|peer| peer.answer.clone())
    }

    fn judge(&self, inside: &mut Inside, from: SocketAddr, datagram: &mut [u8]) -> Opened {
        if !boxes::is_size(datagram.len()) {
            return Opened::NotOurs;
        }
        // Nearly always it is of the epoch of whoever was heard from there last.
        let likely = inside.peers.at(&from).map(|peer| peer.epoch.clone());
        if let Some(epoch) = &likely
            && let Some(header) = epoch.header.read(datagram)
            && inside.knows(epoch, header)
        {
            return self.of_a_peer(inside, header, from, datagram);
        }
        let now = (self.clock)();
        let mut plausible = Vec::new();
        for at in 0..inside.epochs.len() {
            let Some(header) = inside.epochs[at].header.read(datagram) else { continue };
            if inside.knows(&inside.epochs[at], header) {
                return self.of_a_peer(inside, header, from, datagram);
            }
            if !inside.admits(from.ip()) {
                continue;
            }
            let in_time = inside.seen.in_time(under(at), header.salt, now);
            if in_time.is_ok() || (at < WRONG_CLOCK_EPOCHS && inside.tries.may(now.into())) {
                plausible.push((at, header, in_time));
            }
        }
        for (at, header, in_time) in plausible {
            let epoch = inside.epochs[at].clone();
            match self.of_a_newcomer(inside, (under(at), &epoch), (header, in_time, now), from, datagram) {
                Opened::NotOurs => {}
                opened => return opened,
            }
        }
        Opened::NotOurs
    }

    fn of_a_peer(
        &self,
        inside: &mut Inside,
        Header { salt, counter }: Header,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Opened {
        let content = inside.peers.get(salt).and_then(|peer| {
            peer.window.is_new(counter).then(|| peer.open.open(counter, datagram)).flatten()
        });
        let Some(content) = content else { return Opened::Nothing };
        inside.peers.heard(salt, counter, from);
        Opened::Content(content)
    }

    fn of_a_newcomer(
        &self,
        inside: &mut Inside,
        (under, epoch): (Under, &Arc<Epoch>),
        (Header { salt, counter }, in_time, now): (Header, Result<(), i64>, u32),
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Opened {
        let Inside { copy, seen, wrong_clocks, counted, peers, .. } = inside;
        let Some(open) = BoxKey::to_listener(&epoch.secret, salt) else { return Opened::NotOurs };
        // What does not open leaves nothing legible, and it may yet be another epoch's.
        copy.clear();
        copy.extend_from_slice(datagram);
        let Some(content) = open.open(counter, copy) else { return Opened::NotOurs };
        if !is_first(&copy[content.clone()]) || seen.has(salt) {
            return Opened::Nothing;
        }
        if let Err(ahead_s) = in_time {
            // Nearer, it is only that too many came since.
            if counted.len() >= WRONG_CLOCKS_KNOWN {
                counted.clear();
            }
            if ahead_s.unsigned_abs() > u64::from(WINDOW_S) && counted.insert(salt) {
                wrong_clocks.tries += 1;
                wrong_clocks.ahead_s = ahead_s;
            }
            return Opened::Nothing;
        }
        let (Some(key), Ok(chance)) =
            (BoxKey::to_dialler(&epoch.secret, self.salt, salt), random().map(u64::from_be_bytes))
        else {
            return Opened::Nothing;
        };
        seen.note(under, salt, now, chance);
        let answer = Answer { header: HeaderKey::to_dialler(&epoch.secret, salt), key };
        peers.add(salt, Peer::new(epoch.clone(), open, answer));
        peers.heard(salt, counter, from);
        datagram.copy_from_slice(copy);
        Opened::Content(content)
    }
}

impl Inside {
    fn admits(&self, from: IpAddr) -> bool {
        self.admitted.as_ref().is_none_or(|admitted| admitted.contains(&from.to_canonical()))
    }

    /// Whether a header is of somebody who dialled under this secret. Nothing is proven by it.
    fn knows(&self, epoch: &Arc<Epoch>, header: Header) -> bool {
        self.peers.get(header.salt).is_some_and(|peer| Arc::ptr_eq(&peer.epoch, epoch))
    }
}

/// Whether the secret at this place of the list is the newest.
const fn under(at: usize) -> Under {
    if at == 0 { Under::Newest } else { Under::Earlier }
}

/// What a datagram was.
enum Opened {
    /// Its content lies here.
    Content(Range<usize>),
    /// Of the team, and not to be taken.
    Nothing,
    /// No box of the team's.
    NotOurs,
}

/// Whether this is a first packet of QUIC version 1, as a dialler begins with (RFC 9000, section 17.2.2).
fn is_first(content: &[u8]) -> bool {
    content.len() >= FIRST_LEAST && content[0] & 0xf0 == 0xc0 && content[1..5] == [0, 0, 0, 1]
}

/// A socket that takes boxes and answers in boxes; if it is run unveiled as well, QUIC as it is, too.
pub struct Listening {
    inner: Arc<dyn AsyncUdpSocket>,
    veil: Arc<Veil>,
    plain: Option<Mutex<Plain>>,
    waiting: Mutex<Waiting>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listening(veiled)")
    }
}

impl Listening {
    /// Veils what goes through `inner`.
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, veil: Arc<Veil>, unveiled: bool) -> Self {
        let plain = unveiled.then(Mutex::default);
        Self { inner, veil, plain, waiting: Mutex::default() }
    }

    fn plain(&self) -> Option<MutexGuard<'_, Plain>> {
        self.plain.as_ref().map(|plain| plain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncUdpSocket for Listening {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(answer) = self.veil.answer(&transmit.destination) else {
            // Whoever was not heard in a box gets an answer only if it began in the plain, where that is taken.
            let in_the_plain = self.plain().is_some_and(|plain| plain.has(&transmit.destination));
            return if in_the_plain { self.inner.try_send(transmit) } else { Ok(()) };
        };
        let (contents, segment_size) = seal_all(transmit, |content, size, out| {
            let header = Header { salt: self.veil.salt, counter: self.veil.counter.fetch_add(1, Relaxed) };
            answer.key.seal(&answer.header, header, content, size, out)
        })?;
        self.inner.try_send(&Transmit { contents: &contents, segment_size, ecn: None, ..transmit.clone() })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Once for all that came, and not while nothing does.
        let mut inside = None;
        receive(self.inner.as_ref(), &mut waiting, cx, (bufs, meta), |meta, datagram| {
            let inside = inside.get_or_insert_with(|| self.veil.lock());
            match self.veil.judge(inside, meta.addr, datagram) {
                Opened::Content(content) => Some(content),
                Opened::NotOurs => {
                    let taken =
                        self.plain().is_some_and(|mut plain| plain.takes(meta.addr, is_first(datagram)));
                    taken.then_some(0..datagram.len())
                }
                Opened::Nothing => None,
            }
        })
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

/// Seals each segment of what QUIC sends, and says how long the boxes are. The system cuts at one length, so all but the
/// last have that of the first.
pub(super) fn seal_all(
    transmit: &Transmit<'_>,
    mut seal: impl FnMut(&[u8], usize, &mut Vec<u8>) -> Result<(), CannotSeal>,
) -> io::Result<(Vec<u8>, Option<usize>)> {
    let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
    let size = boxes::size_of_box(segment).ok_or_else(|| io::Error::other(CannotSeal))?;
    let mut out = Vec::with_capacity(transmit.contents.len().div_ceil(segment) * size);
    for content in transmit.contents.chunks(segment) {
        let size = boxes::size_of_box(content.len()).unwrap_or(size);
        seal(content, size, &mut out).map_err(io::Error::other)?;
    }
    Ok((out, transmit.segment_size.map(|_| size)))
}
