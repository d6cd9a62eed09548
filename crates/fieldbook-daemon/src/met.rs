//! The devices that sessions run with, so that one that is removed meanwhile can be sent away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fieldbook_proto::session::Peer;

use crate::connection::Ending;

/// Sessions of one device at a time: a daemon that stays, and a sync or two beside it. The oldest makes room.
const PER_DEVICE: usize = 3;

/// Who is being served.
#[derive(Debug, Default)]
pub(crate) struct Met(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    running: HashMap<u64, (Peer, Ending)>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    among: Arc<Met>,
    number: u64,
}

impl Met {
    /// Takes note of a device that has shown that it is of the team.
    pub fn enter(self: &Arc<Self>, peer: Peer, connection: Ending) -> Session {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = sessions.next;
        sessions.next += 1;
        let device = peer.device.id();
        let of_it = sessions.running.iter().filter(|(_, (other, _))| other.device.id() == device);
        let mut of_it: Vec<u64> = of_it.map(|(number, _)| *number).collect();
        of_it.sort_unstable();
        if of_it.len() >= PER_DEVICE
            && let Some((_, connection)) = of_it.first().and_then(|oldest| sessions.running.get(oldest))
        {
            connection.end();
        }
        sessions.running.insert(number, (peer, connection));
        Session { among: self.clone(), number }
    }

    /// Closes, without a word, the connections of those that `leaves` names.
    pub fn end(&self, leaves: impl Fn(&Peer) -> bool) {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, connection) in sessions.running.values().filter(|(peer, _)| leaves(peer)) {
            connection.end();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.among.0.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.number);
    }
}
