//! Who has dialled a listener: the keys of each, what came of it, and where it is. Bounded in number.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::boxes::{BoxKey, HeaderKey, Salt};
use super::listening::Epoch;
use super::window::Window;

/// At a time, some 2 KiB each. Whoever is forgotten must dial anew.
const MAX: usize = 4_096;
/// Who has sent fewer boxes may be anybody who just tries, and makes room for others first.
const YOUNG: u32 = 16;

/// How answers to one dialler are sealed.
#[derive(Debug)]
pub(super) struct Answer {
    pub header: HeaderKey,
    pub key: BoxKey,
}

/// Whoever dialled.
#[derive(Debug)]
pub(super) struct Peer {
    pub epoch: Arc<Epoch>,
    pub open: BoxKey,
    pub answer: Arc<Answer>,
    pub window: Window,
    /// Where it is now, and where it was before: QUIC asks there, too, whether it moved.
    at: [Option<SocketAddr>; 2],
    boxes: u32,
    last: u64,
}

impl Peer {
    pub fn new(epoch: Arc<Epoch>, open: BoxKey, answer: Answer) -> Self {
        let answer = Arc::new(answer);
        Self { epoch, open, answer, window: Window::default(), at: [None; 2], boxes: 0, last: 0 }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Peers {
    by_salt: HashMap<Salt, Peer>,
    by_address: HashMap<SocketAddr, Salt>,
    max: usize,
    clock: u64,
}

impl Default for Peers {
    fn default() -> Self {
        Self { by_salt: HashMap::new(), by_address: HashMap::new(), max: MAX, clock: 0 }
    }
}

impl Peers {
    pub fn get(&self, salt: Salt) -> Option<&Peer> {
        self.by_salt.get(&salt)
    }

    /// Who was heard from this address last.
    pub fn at(&self, address: &SocketAddr) -> Option<&Peer> {
        self.by_salt.get(self.by_address.get(address)?)
    }

    /// One more; another may have to go.
    pub fn add(&mut self, salt: Salt, peer: Peer) {
        if self.by_salt.len() >= self.max
            && let Some(goes) = self.who_goes()
            && let Some(gone) = self.by_salt.remove(&goes)
        {
            for address in gone.at.into_iter().flatten() {
                self.leave(address, goes);
            }
        }
        self.by_salt.insert(salt, peer);
    }

    /// A box of this counter came from it, and from there.
    pub fn heard(&mut self, salt: Salt, counter: u64, from: SocketAddr) {
        let Some(peer) = self.by_salt.get_mut(&salt) else { return };
        self.clock += 1;
        peer.last = self.clock;
        peer.boxes = peer.boxes.saturating_add(1);
        peer.window.note(counter);
        if peer.at[0] != Some(from) {
            let left = peer.at[1].filter(|left| *left != from);
            peer.at = [Some(from), peer.at[0]];
            if let Some(left) = left {
                self.leave(left, salt);
            }
            self.by_address.insert(from, salt);
        } else if self.by_address.get(&from) != Some(&salt) {
            self.by_address.insert(from, salt);
        }
    }

    fn leave(&mut self, address: SocketAddr, salt: Salt) {
        if self.by_address.get(&address) == Some(&salt) {
            self.by_address.remove(&address);
        }
    }

    /// The one that was silent for longest: of the young ones if they are more than half.
    fn who_goes(&self) -> Option<Salt> {
        let young = |peer: &&Peer| peer.boxes < YOUNG;
        let crowded = self.by_salt.values().filter(young).count() > self.max / 2;
        let all = self.by_salt.iter().filter(|(_, peer)| !crowded || young(peer));
        all.min_by_key(|(_, peer)| peer.last).map(|(salt, _)| *salt)
    }
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::session::TransportSecret;

    use super::*;

    fn salt(n: u16) -> Salt {
        let [a, b] = n.to_be_bytes();
        Salt::new(1, [a, b, 0, 0, 0, 0])
    }

    fn come(peers: &mut Peers, n: u16, from: SocketAddr, boxes: u64) {
        let secret = TransportSecret::new(1, [1; 32]);
        let key = || BoxKey::to_listener(&secret, salt(n)).unwrap();
        let answer = Answer { header: HeaderKey::to_dialler(&secret, salt(n)), key: key() };
        peers.add(salt(n), Peer::new(Arc::new(Epoch::new(&secret)), key(), answer));
        (0..boxes).for_each(|counter| peers.heard(salt(n), counter, from));
    }

    fn port(port: u16) -> SocketAddr {
        ([192, 0, 2, 7], port).into()
    }

    #[test]
    fn whoever_only_tries_makes_room_and_whoever_talks_stays() {
        let mut peers = Peers { max: 100, ..Peers::default() };
        (0..10).for_each(|n| come(&mut peers, n, port(n), 100));
        (1_000..3_000).for_each(|n| come(&mut peers, n, port(n), 2));
        assert_eq!(peers.by_salt.len(), 100);
        assert_eq!(peers.by_address.len(), 100);
        assert!((0..10).all(|n| peers.get(salt(n)).is_some() && peers.at(&port(n)).is_some()));
        assert!(peers.get(salt(1_000)).is_none() && peers.get(salt(2_999)).is_some());
    }

    #[test]
    fn where_a_device_is_and_was_is_known_and_not_more() {
        let mut peers = Peers::default();
        come(&mut peers, 1, port(1), 1);
        for (counter, at) in [(1, 2), (2, 3), (3, 2), (4, 3), (5, 4)] {
            peers.heard(salt(1), counter, port(at));
        }
        assert_eq!(peers.by_address.len(), 2);
        assert!(peers.at(&port(4)).is_some() && peers.at(&port(3)).is_some() && peers.at(&port(1)).is_none());
        // A router gave the address to another.
        come(&mut peers, 2, port(4), 1);
        assert!(peers.at(&port(4)).is_some_and(|peer| peer.boxes == 1));
        peers.heard(salt(1), 6, port(4));
        assert!(peers.at(&port(4)).is_some_and(|peer| peer.boxes == 7));
    }
}
