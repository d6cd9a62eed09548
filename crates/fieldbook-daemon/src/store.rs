//! A depot as a session sees it, with what it remembers of the peer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fieldbook_depot::{Depot, DepotError, Incoming, Lookup, PeerRecord, Source, SqlDepot, State};
use fieldbook_net::session::SessionStore;
use fieldbook_proto::session::{Arrival, Event, Fingerprint, Peer, PeerDepot, Span};
use fieldbook_proto::{DepotId, DeviceId, EntryId};

use crate::error::DaemonError;
use crate::identity;

/// Arrivals are read by number, not by size: their bytes are not read.
const ANY_SIZE: u64 = u64::MAX >> 1;
/// How often a snapshot is tried while another process writes.
const SNAPSHOT_TRIES: usize = 8;

/// The depot behind one session.
pub(crate) struct DepotStore {
    depot: Arc<SqlDepot>,
    address: Option<String>,
    peer: Option<Box<Peer>>,
    /// The peer refused something of ours: what it "holds" is then not everything.
    refused: bool,
    /// The authority by which the peer was judged last, as it lies in the depot.
    judged_by: Option<Vec<u8>>,
}

impl DepotStore {
    /// `address` is where the peer was reached, if this device dialled.
    pub fn new(depot: Arc<SqlDepot>, address: Option<String>) -> Self {
        Self { depot, address, peer: None, refused: false, judged_by: None }
    }

    /// The name under which a cursor in the peer's order is kept. A depot's name is the peer's own word:
    /// together with the device, which was proven, nobody moves the cursor of another's depot.
    fn order(&self, depot: &DepotId) -> DepotId {
        let device = self.peer.as_ref().map(|peer| peer.device.id());
        let device = device.as_ref().map_or(&[][..], |device| device.as_bytes());
        let hash = EntryId::of(&[device, depot.as_bytes()].concat());
        let mut name = [0; DepotId::LEN];
        name.copy_from_slice(&hash.as_bytes()[..DepotId::LEN]);
        DepotId::from_bytes(name)
    }

    /// Remembers the peer. `holds` never falls: the depot sees to it.
    fn record(&self, holds: u64) -> Result<(), DepotError> {
        let Some(peer) = &self.peer else { return Ok(()) };
        self.depot.record_peer(PeerRecord {
            device: peer.device.id(),
            role: peer.device.body().role,
            depot: peer.depot,
            address: self.address.clone(),
            last_sync_ms: now_ms(),
            holds_position: holds,
        })
    }
}

fn arrival(known: fieldbook_depot::Arrival) -> Arrival {
    Arrival {
        position: known.position,
        id: known.id,
        size: known.size,
        from: if let Source::Peer(device) = known.from { Some(device) } else { None },
        held: known.state == State::Held,
    }
}

/// Milliseconds since 1970 by this device's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl SessionStore for DepotStore {
    type Error = DaemonError;

    fn store(&mut self, batch: &[(EntryId, Bytes)]) -> Result<Vec<EntryId>, DaemonError> {
        let from = self.peer.as_ref().map_or(Source::Bundle, |peer| Source::Peer(peer.device.id()));
        let incoming: Vec<Incoming<'_>> =
            batch.iter().map(|(id, bytes)| Incoming { id: *id, bytes, from }).collect();
        Ok(self.depot.put(&incoming)?.refused.into_iter().map(|(id, _)| id).collect())
    }

    fn unknown(&mut self, ids: &[EntryId]) -> Result<Vec<EntryId>, DaemonError> {
        Ok(self.depot.unknown(ids)?)
    }

    fn arrivals(&mut self, after: u64, max_entries: usize) -> Result<Vec<Arrival>, DaemonError> {
        let arrivals = self.depot.arrivals(after, max_entries, ANY_SIZE)?;
        Ok(arrivals.into_iter().map(arrival).collect())
    }

    fn addressed(&mut self, device: &DeviceId) -> Result<Vec<Arrival>, DaemonError> {
        let mut known = Vec::new();
        for id in self.depot.addressed_to(device)? {
            // Noted for it, and perhaps not here yet.
            if let Some(position) = self.depot.position(&id)? {
                known.extend(self.depot.arrivals(position.saturating_sub(1), 1, ANY_SIZE)?);
            }
        }
        Ok(known.into_iter().map(arrival).collect())
    }

    fn entries(&mut self, ids: &[EntryId]) -> Result<Vec<Option<Bytes>>, DaemonError> {
        ids.iter()
            .map(|id| match self.depot.get(id)? {
                Lookup::Held(bytes) => Ok(Some(Bytes::from(bytes))),
                Lookup::Gone | Lookup::Unknown => Ok(None),
            })
            .collect()
    }

    fn cursor(&mut self, depot: &DepotId) -> Result<u64, DaemonError> {
        Ok(self.depot.peer_cursor(&self.order(depot))?)
    }

    fn snapshot(&mut self, past: Option<PeerDepot>) -> Result<(Fingerprint, u64), DaemonError> {
        let fingerprint = || match &past {
            Some(peer) => self.depot.compared(peer),
            None => self.depot.fingerprint(),
        };
        let mut head = self.depot.head()?;
        for _ in 0..SNAPSHOT_TRIES {
            let fingerprint = fingerprint()?;
            let after = self.depot.head()?;
            if after == head {
                return Ok((fingerprint, head));
            }
            head = after;
        }
        // Never still: the check will say that it could not compare.
        Ok((fingerprint()?, head))
    }

    fn spans(&mut self, peer: &PeerDepot, span: Span, parts: u16) -> Result<Vec<Fingerprint>, DaemonError> {
        Ok(self.depot.spans(peer, span, parts)?)
    }

    fn ids(
        &mut self,
        peer: &PeerDepot,
        span: Span,
        after: Option<EntryId>,
        max_entries: usize,
    ) -> Result<Vec<EntryId>, DaemonError> {
        Ok(self.depot.ids_in(peer, span, after.as_ref(), max_entries)?)
    }

    fn known(&mut self, ids: &[EntryId]) -> Result<Vec<Arrival>, DaemonError> {
        let known = self.depot.known(ids)?;
        let found: HashSet<EntryId> = known.iter().map(|arrival| arrival.id).collect();
        let missed = ids.iter().filter(|id| !found.contains(*id));
        let missed = missed.map(|id| Arrival { position: 0, id: *id, size: 0, from: None, held: false });
        Ok(known.into_iter().map(arrival).chain(missed).collect())
    }

    fn note_past(&mut self, peer: &PeerDepot, ids: &[EntryId]) -> Result<(), DaemonError> {
        self.depot.note_past(peer, ids)?;
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Result<(), DaemonError> {
        match event {
            Event::Met(peer) => {
                self.peer = Some(peer.clone());
                Ok(self.record(0)?)
            }
            Event::RefusedByPeer(_) => {
                self.refused = true;
                Ok(())
            }
            Event::PeerHolds { position } if !self.refused => Ok(self.record(*position)?),
            Event::CursorAdvanced { depot, position } => {
                Ok(self.depot.set_peer_cursor(&self.order(depot), *position)?)
            }
            _ => Ok(()),
        }
    }

    /// Judges anew only when the authority is another than at the last judgement.
    fn peer_stands(&mut self) -> Result<bool, DaemonError> {
        let Some(peer) = &self.peer else { return Ok(true) };
        let stored = self.depot.setting("authority")?;
        if stored == self.judged_by {
            return Ok(true);
        }
        let stands = identity::stands(&identity::authority(self.depot.as_ref())?, peer);
        if stands {
            self.judged_by = stored;
        }
        Ok(stands)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use fieldbook_depot::DepotKey;
    use fieldbook_proto::certificate::{
        Act, Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Removal, Role,
    };
    use fieldbook_proto::{DeskId, TeamId};

    use super::*;

    fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let keys = DeviceKeys {
            signing: signing.verifying_key().to_bytes(),
            transport: SigningKey::from_bytes(&[seed ^ 0x80; 32]).verifying_key().to_bytes(),
            recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap(),
        };
        (signing, keys)
    }

    /// Device 1 founded the team and certified the others.
    fn certificate(seed: u8) -> Certificate {
        let (founder, founder_keys) = keys(1);
        let body = CertificateBody {
            team: TeamId::from_bytes([7; 16]),
            issuer: founder_keys.device_id(),
            keys: keys(seed).1,
            role: if seed == 1 { Role::Coordinator } else { Role::Monitor },
            desk: DeskId::from_bytes([8; 16]),
            admitted: 1,
            not_after: u64::MAX,
            serial: 0,
        };
        let signature = founder.sign(&body.signed_bytes()).to_bytes();
        Certificate::new(body, signature)
    }

    fn removal(seed: u8) -> Removal {
        let (founder, founder_keys) = keys(1);
        let mut removal = Removal {
            team: TeamId::from_bytes([7; 16]),
            issuer: founder_keys.device_id(),
            sequence: 5,
            device: keys(seed).1.device_id(),
            act: Act::Lost,
            cut: 3,
            keeps: Vec::new(),
            time_s: 2,
            signature: [0; 64],
        };
        removal.signature = founder.sign(&removal.signed_bytes()).to_bytes();
        removal
    }

    fn peer(seed: u8, depot: DepotId) -> Peer {
        let shown = certificate(seed);
        let device = Authority::new(certificate(1)).unwrap().judge(&shown, 2).unwrap();
        Peer { device, certificate: shown, depot, known: 0, head: 100, epoch: 1 }
    }

    #[test]
    fn a_device_that_claims_anothers_depot_does_not_move_the_cursor_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = DepotKey::new([1; 32]);
        let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
        let depot = Arc::new(depot);
        let theirs = DepotId::from_bytes([2; 16]);
        let session = |seed| {
            let mut store = DepotStore::new(depot.clone(), None);
            store.note(&Event::Met(Box::new(peer(seed, theirs)))).unwrap();
            store
        };
        session(2).note(&Event::CursorAdvanced { depot: theirs, position: 5 }).unwrap();
        session(3).note(&Event::CursorAdvanced { depot: theirs, position: 99 }).unwrap();
        assert_eq!(session(2).cursor(&theirs).unwrap(), 5);
    }

    #[test]
    fn a_removal_that_is_learnt_meanwhile_is_noticed_and_another_devices_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let key = DepotKey::new([1; 32]);
        let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
        let depot = Arc::new(depot);
        let met = peer(2, DepotId::from_bytes([2; 16]));
        let mut authority = Authority::new(certificate(1)).unwrap();
        let mut store = DepotStore::new(depot.clone(), None);
        assert!(store.peer_stands().unwrap(), "nobody was met yet");
        store.note(&Event::Met(Box::new(met))).unwrap();
        for (removed, stands) in [(3, true), (2, false)] {
            authority.add_removal(removal(removed)).unwrap();
            depot.set_setting("authority", Some(&authority.encode())).unwrap();
            assert_eq!(store.peer_stands().unwrap(), stands);
            assert_eq!(store.peer_stands().unwrap(), stands, "asked again");
        }
    }
}
