//! The devices that sessions run with, so that one that is removed meanwhile can be sent away, and none takes
//! the room of the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fieldbook_proto::session::Peer;

use crate::ending::{Ending, Why};

/// Sessions of one device at a time: a daemon that stays, and a sync or two beside it. The oldest makes room.
const PER_DEVICE: usize = 3;
/// Sessions of one device that were told to end and have not gone: it takes a moment. While there are so many
/// no further one is let in.
const LEAVING_MAX: usize = 4;

/// Who is being served.
#[derive(Debug, Default)]
pub(crate) struct Met(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    /// The oldest first.
    running: BTreeMap<u64, (Peer, Arc<Ending>)>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    among: Arc<Met>,
    number: u64,
}

impl Met {
    /// Takes note of a device that has shown that it is of the team; older sessions of it are ended beyond what
    /// it may have. None, and told to end, if too many of it were told so and have not gone.
    pub fn enter(self: &Arc<Self>, peer: Peer, connection: Arc<Ending>) -> Option<Session> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let device = peer.device.id();
        let of_it = sessions.running.values().filter(|(other, _)| other.device.id() == device);
        let (leaving, staying): (Vec<_>, Vec<_>) =
            of_it.map(|(_, ending)| ending).partition(|ending| ending.why().is_some());
        let too_many = (staying.len() + 1).saturating_sub(PER_DEVICE);
        if leaving.len() + too_many > LEAVING_MAX {
            connection.end(Why::Lingering);
            return None;
        }
        staying.into_iter().take(too_many).for_each(|oldest| oldest.end(Why::Newer));
        let number = sessions.next;
        sessions.next += 1;
        sessions.running.insert(number, (peer, connection));
        Some(Session { among: self.clone(), number })
    }

    /// Closes, without a word, the connections of those that `leaves` names.
    pub fn end(&self, leaves: impl Fn(&Peer) -> bool) {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, connection) in sessions.running.values().filter(|(peer, _)| leaves(peer)) {
            connection.end(Why::Removed);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.among.0.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_proto::DepotId;

    use super::*;
    use crate::store::tests::peer;

    #[test]
    fn one_device_has_a_bounded_number_of_places_whether_or_not_what_was_ended_goes() {
        let met = Arc::new(Met::default());
        let come = |seed| {
            let ending = Arc::<Ending>::default();
            (met.enter(peer(seed, DepotId::from_bytes([seed; 16])), ending.clone()), ending)
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
