//! A depot as a session sees it, with what it remembers of the peer.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fieldbook_depot::{Depot, DepotError, Incoming, Lookup, PeerRecord, Source, SqlDepot, State};
use fieldbook_net::session::SessionStore;
use fieldbook_proto::session::{Arrival, Event, Fingerprint, Peer};
use fieldbook_proto::{DepotId, EntryId};

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
}

impl DepotStore {
    /// `address` is where the peer was reached, if this device dialled.
    pub fn new(depot: Arc<SqlDepot>, address: Option<String>) -> Self {
        Self { depot, address, peer: None, refused: false }
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

/// Milliseconds since 1970 by this device's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl SessionStore for DepotStore {
    type Error = DepotError;

    fn store(&mut self, batch: &[(EntryId, Bytes)]) -> Result<Vec<EntryId>, DepotError> {
        let from = self.peer.as_ref().map_or(Source::Bundle, |peer| Source::Peer(peer.device.id()));
        let incoming: Vec<Incoming<'_>> =
            batch.iter().map(|(id, bytes)| Incoming { id: *id, bytes, from }).collect();
        Ok(self.depot.put(&incoming)?.refused.into_iter().map(|(id, _)| id).collect())
    }

    fn unknown(&mut self, ids: &[EntryId]) -> Result<Vec<EntryId>, DepotError> {
        self.depot.unknown(ids)
    }

    fn arrivals(&mut self, after: u64, max_entries: usize) -> Result<Vec<Arrival>, DepotError> {
        let arrivals = self.depot.arrivals(after, max_entries, ANY_SIZE)?;
        let arrival = |known: fieldbook_depot::Arrival| Arrival {
            position: known.position,
            id: known.id,
            size: known.size,
            from: if let Source::Peer(device) = known.from { Some(device) } else { None },
            held: known.state == State::Held,
        };
        Ok(arrivals.into_iter().map(arrival).collect())
    }

    fn entries(&mut self, ids: &[EntryId]) -> Result<Vec<Option<Bytes>>, DepotError> {
        ids.iter()
            .map(|id| match self.depot.get(id)? {
                Lookup::Held(bytes) => Ok(Some(Bytes::from(bytes))),
                Lookup::Gone | Lookup::Unknown => Ok(None),
            })
            .collect()
    }

    fn cursor(&mut self, depot: &DepotId) -> Result<u64, DepotError> {
        self.depot.peer_cursor(depot)
    }

    fn snapshot(&mut self) -> Result<(Fingerprint, u64), DepotError> {
        let mut head = self.depot.head()?;
        for _ in 0..SNAPSHOT_TRIES {
            let fingerprint = self.depot.fingerprint()?;
            let after = self.depot.head()?;
            if after == head {
                return Ok((fingerprint, head));
            }
            head = after;
        }
        // Never still: the check will say that it could not compare.
        Ok((self.depot.fingerprint()?, head))
    }

    fn note(&mut self, event: &Event) -> Result<(), DepotError> {
        match event {
            Event::Met(peer) => {
                self.peer = Some(peer.clone());
                self.record(0)
            }
            Event::RefusedByPeer(_) => {
                self.refused = true;
                Ok(())
            }
            Event::PeerHolds { position } if !self.refused => self.record(*position),
            Event::CursorAdvanced { depot, position } => self.depot.set_peer_cursor(depot, *position),
            _ => Ok(()),
        }
    }
}
