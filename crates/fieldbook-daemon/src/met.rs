//! The devices that sessions run with: so that one that is removed meanwhile can be sent away, so that none takes the
//! room of the others, and so that the owner of this device can be told how its connections stand.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldbook_net::channel::Way;
use fieldbook_net::gauge::Gauge;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::Peer;

use crate::control::ConnectionStatus;
use crate::ending::{Ending, Why};
use crate::identity::Identity;
use crate::store::now_ms;

/// Sessions of one device at a time: a daemon that stays, and a sync or two beside it. The oldest makes room.
const PER_DEVICE: usize = 3;
/// Sessions of one device that were told to end and have not gone: it takes a moment. While there are so many
/// no further one is let in.
const LEAVING_MAX: usize = 4;
/// Connections that are shown: the answer on the control socket is one line of limited length.
const SHOWN_MAX: usize = 48;

/// Who is being served.
#[derive(Debug, Default)]
pub(crate) struct Met(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    /// The oldest first.
    running: BTreeMap<u64, Running>,
}

#[derive(Debug)]
struct Running {
    peer: Peer,
    ending: Arc<Ending>,
    seen: Seen,
}

/// What the owner of this device may see of a connection.
#[derive(Debug)]
pub(crate) struct Seen {
    device: Option<String>,
    role: Option<String>,
    address: Option<String>,
    way: Way,
    since_ms: i64,
    gauge: Arc<Gauge>,
    /// The other end's address, as far as the way shows it. For nobody but this process.
    from: Option<IpAddr>,
}

impl Seen {
    /// A device is named as far as this one keeps its name; whoever runs a relay sees no devices at all.
    pub fn new(own: &Identity, peer: &Peer, address: Option<&str>, way: Way, gauge: Arc<Gauge>) -> Self {
        let named = own.certificate.body().role != Role::Relay && own.names(peer);
        Self {
            device: named.then(|| peer.device.id().to_string()),
            role: named.then(|| peer.device.body().role.word().to_owned()),
            address: address.map(str::to_owned),
            way,
            since_ms: now_ms(),
            gauge,
            from: None,
        }
    }

    /// The same, and where the other end is.
    pub fn at(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }

    fn status(&self) -> ConnectionStatus {
        let now = self.gauge.read();
        let bytes_left = |of: u64, done: u64| of.saturating_sub(done);
        ConnectionStatus {
            device: self.device.clone(),
            role: self.role.clone(),
            address: self.address.clone(),
            path: self.way.word().to_owned(),
            since_ms: self.since_ms,
            sending: now.sent.left(),
            sending_bytes: bytes_left(now.sent.of_bytes, now.sent.bytes),
            receiving: now.received.left(),
            receiving_bytes: bytes_left(now.received.of_bytes, now.received.bytes),
            rests: now.at_rest,
        }
    }
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    among: Arc<Met>,
    number: u64,
}

impl Met {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a device that has shown that it is of the team; older sessions of it are ended beyond what
    /// it may have. None, and told to end, if too many of it were told so and have not gone.
    pub fn enter(self: &Arc<Self>, peer: Peer, ending: Arc<Ending>, seen: Seen) -> Option<Session> {
        let mut sessions = self.lock();
        let device = peer.device.id();
        let of_it = sessions.running.values().filter(|other| other.peer.device.id() == device);
        let (leaving, staying): (Vec<_>, Vec<_>) =
            of_it.map(|running| &running.ending).partition(|ending| ending.why().is_some());
        let too_many = (staying.len() + 1).saturating_sub(PER_DEVICE);
        if leaving.len() + too_many > LEAVING_MAX {
            ending.end(Why::Lingering);
            return None;
        }
        staying.into_iter().take(too_many).for_each(|oldest| oldest.end(Why::Newer));
        let number = sessions.next;
        sessions.next += 1;
        sessions.running.insert(number, Running { peer, ending, seen });
        Some(Session { among: self.clone(), number })
    }

    /// Closes, without a word, the connections of those that `leaves` names.
    pub fn end(&self, leaves: impl Fn(&Peer) -> bool) {
        let sessions = self.lock();
        for running in sessions.running.values().filter(|running| leaves(&running.peer)) {
            running.ending.end(Why::Removed);
        }
    }

    /// Whether a session runs with somebody at this address.
    pub fn is_at(&self, address: IpAddr) -> bool {
        let is = |running: &Running| running.seen.from == Some(address) && running.ending.why().is_none();
        self.lock().running.values().any(is)
    }

    /// How the connections stand: those that this device dialled first, then those whose device is named; and how
    /// many more there are.
    pub fn connections(&self) -> (Vec<ConnectionStatus>, u64) {
        let sessions = self.lock();
        let mut seen: Vec<&Seen> = sessions.running.values().map(|running| &running.seen).collect();
        seen.sort_by_key(|seen| (Reverse((seen.address.is_some(), seen.device.is_some())), seen.since_ms));
        let more = seen.len().saturating_sub(SHOWN_MAX) as u64;
        (seen.into_iter().take(SHOWN_MAX).map(Seen::status).collect(), more)
    }
}

impl Session {
    /// Whether another session with the same device stands and is to go on instead of this one: it is older by so
    /// much; or by less, and it is this one that `yields` then.
    pub fn has_twin(&self, older_by: Duration, yields: bool) -> bool {
        let sessions = self.among.lock();
        let Some(own) = sessions.running.get(&self.number) else { return false };
        let older_by = i64::try_from(older_by.as_millis()).unwrap_or(i64::MAX);
        sessions.running.iter().any(|(number, other)| {
            let is_twin = *number != self.number && other.peer.device.id() == own.peer.device.id();
            let is_older = other.seen.since_ms.saturating_add(older_by) < own.seen.since_ms;
            is_twin && other.ending.why().is_none() && (is_older || yields)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.among.lock().running.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_proto::DepotId;

    use super::*;
    use crate::store::tests::peer;

    #[test]
    fn of_two_sessions_with_one_device_the_younger_goes_or_else_the_one_that_yields() {
        let met = Arc::new(Met::default());
        let come = |seed, since_ms| {
            let from = Some(IpAddr::from([192, 0, 2, seed]));
            let (device, role, address, way) = (None, None, None, Way::Quic);
            let seen = Seen { device, role, address, way, since_ms, gauge: Arc::default(), from };
            let ending = Arc::<Ending>::default();
            (met.enter(peer(seed, DepotId::from_bytes([seed; 16])), ending.clone(), seen).unwrap(), ending)
        };
        let by = Duration::from_secs(3);
        let (first, first_ending) = come(2, 10_000);
        assert!(!first.has_twin(by, true), "it is alone");
        assert!(met.is_at([192, 0, 2, 2].into()) && !met.is_at([192, 0, 2, 3].into()));
        let ((at_once, _), (other, _)) = (come(2, 12_000), come(3, 10_000));
        assert!(!other.has_twin(by, true), "another device is no twin");
        assert!(first.has_twin(by, true) && !first.has_twin(by, false));
        assert!(at_once.has_twin(by, true) && !at_once.has_twin(by, false));
        let (late, _) = come(2, 13_001);
        assert!(late.has_twin(by, false), "the first was there long before");
        assert!(!at_once.has_twin(by, false));
        first_ending.end(Why::Newer);
        assert!(!late.has_twin(by, false), "who was told to go does not count");
    }

    #[test]
    fn one_device_has_a_bounded_number_of_places_whether_or_not_what_was_ended_goes() {
        let met = Arc::new(Met::default());
        let come = |seed| {
            let ending = Arc::<Ending>::default();
            let seen = Seen {
                device: None,
                role: None,
                address: None,
                way: Way::Quic,
                since_ms: 0,
                gauge: Arc::default(),
                from: None,
            };
            (met.enter(peer(seed, DepotId::from_bytes([seed; 16])), ending.clone(), seen), ending)
        };
        let mut came: Vec<_> = (0..10).map(|_| come(2)).collect();
        let ended: Vec<bool> = came.iter().map(|(_, ending)| ending.why().is_some()).collect();
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 7, "{ended:?}");
        assert_eq!(ended[..4], [true; 4], "the oldest, each once");
        assert_eq!(came.iter().filter(|(session, _)| session.is_some()).count(), PER_DEVICE + LEAVING_MAX);
        assert!(come(3).0.is_some(), "another device has its own");
        // Those who were told to go have gone: the next gets in, and the oldest that is left makes room.
        came.retain(|(session, ending)| session.is_some() && ending.why().is_none());
        assert_eq!(came.len(), PER_DEVICE);
        let (session, ending) = come(2);
        assert!(session.is_some() && ending.why().is_none());
        assert_eq!(came[0].1.why(), Some(Why::Newer));
    }
}
