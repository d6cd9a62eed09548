//! What the tests of the session share: a team, a depot in memory, and two sides joined by a pretended
//! network that the test holds in its hand.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use ed25519_dalek::{Signer, SigningKey};

use super::limits::{FEATURE_LIVE, FEATURES};
use super::{
    Arrival, Comparison, Decline, Engine, Event, Fingerprint, Frame, Hello, Lacks, Output, PeerDepot,
    Remembered, SessionError, Setup, Side, Span, Stretches, TransportSecret,
};
use crate::certificate::{Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Role};
use crate::{DepotId, DeskId, DeviceId, EntryId, TeamId};

pub(super) const NOW: u64 = 1_500;

/// A team whose founder's keys follow from a seed.
pub(super) struct Team {
    seed: u8,
}

impl Team {
    pub(super) fn new(seed: u8) -> Self {
        Self { seed }
    }

    fn keys(&self, device: u8) -> (SigningKey, DeviceKeys) {
        let signing = SigningKey::from_bytes(&[self.seed ^ 0x40; 32].map(|byte| byte.wrapping_add(device)));
        let transport = SigningKey::from_bytes(&[device; 32]);
        let keys = DeviceKeys {
            signing: signing.verifying_key().to_bytes(),
            transport: transport.verifying_key().to_bytes(),
            recipient: Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap(),
        };
        (signing, keys)
    }

    /// The founder is device 0.
    pub(super) fn certificate(&self, device: u8) -> Certificate {
        self.certificate_until(device, 2_000)
    }

    /// One that runs out then.
    pub(super) fn certificate_until(&self, device: u8, not_after: u64) -> Certificate {
        let (founder, founder_keys) = self.keys(0);
        let (_, keys) = self.keys(device);
        let body = CertificateBody {
            team: TeamId::from_bytes([self.seed; 16]),
            keys,
            role: if device == 0 { Role::Coordinator } else { Role::Monitor },
            desk: DeskId::from_bytes([8; 16]),
            admitted: 1_000,
            not_after,
            issuer: founder_keys.device_id(),
            serial: 0,
        };
        let signature = founder.sign(&body.signed_bytes()).to_bytes();
        Certificate::new(body, signature)
    }

    pub(super) fn authority(&self) -> Authority {
        Authority::new(self.certificate(0)).unwrap()
    }

    pub(super) fn secret(&self) -> TransportSecret {
        TransportSecret::new(1, [self.seed; 32])
    }

    pub(super) fn device(&self, device: u8) -> DeviceId {
        self.keys(device).1.device_id()
    }

    pub(super) fn transport(&self, device: u8) -> [u8; 32] {
        self.keys(device).1.transport
    }

    /// What device `own` begins a session with `peer` with.
    pub(super) fn setup(&self, side: Side, own: u8, peer: u8, depot: &Memory) -> Setup {
        Setup {
            side,
            secrets: vec![self.secret()],
            binding: [5; 32],
            certificate: self.certificate(own),
            authority: self.authority(),
            peer_transport_key: self.transport(peer),
            now: NOW,
            depot: depot.id,
            known: depot.fingerprint().count,
            head: depot.order.len() as u64,
        }
    }
}

pub(super) fn hello(team: &Team, device: u8) -> Hello {
    Hello {
        version: 1,
        features: 0,
        depot: DepotId::from_bytes([device; 16]),
        known: 0,
        head: 0,
        certificate: team.certificate(device),
    }
}

/// The entry with this number and size.
pub(super) fn entry(number: u32, size: usize) -> (EntryId, Bytes) {
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    (EntryId::of(&bytes), bytes.into())
}

/// The plain model of a depot.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) id: DepotId,
    pub(super) order: Vec<(EntryId, u32, Option<DeviceId>)>,
    pub(super) held: HashMap<EntryId, Option<Bytes>>,
    pub(super) cursors: HashMap<DepotId, u64>,
    /// What the vault of this device says is for which other device.
    pub(super) addressed: HashMap<DeviceId, Vec<EntryId>>,
    /// What a peer's depot knows and no longer holds, and this one never knew.
    pub(super) past: HashMap<PeerDepot, BTreeSet<EntryId>>,
    /// The largest entry that it takes.
    pub(super) largest: usize,
    /// How many bytes it takes in all.
    pub(super) room: usize,
    /// What it declined in this session.
    pub(super) declined: BTreeSet<EntryId>,
    /// What it ever declined: its cursors have gone past that.
    pub(super) passed_over: BTreeSet<EntryId>,
    /// What came from nobody in particular and is not its own.
    pub(super) carried: BTreeSet<EntryId>,
    /// What it wrote goes before what it carries.
    pub(super) own_first: bool,
    /// What it holds and cannot read now.
    pub(super) unreadable: BTreeSet<EntryId>,
    /// What each peer lacks.
    pub(super) lacks: HashMap<DeviceId, Lacks>,
}

impl Memory {
    pub(super) fn new(id: u8) -> Self {
        Self {
            id: DepotId::from_bytes([id; 16]),
            order: Vec::new(),
            held: HashMap::new(),
            cursors: HashMap::new(),
            addressed: HashMap::new(),
            past: HashMap::new(),
            largest: usize::MAX,
            room: usize::MAX,
            declined: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            carried: BTreeSet::new(),
            own_first: false,
            unreadable: BTreeSet::new(),
            lacks: HashMap::new(),
        }
    }

    /// Why it does not take an entry of this size, with so much promised already.
    fn decline(&mut self, id: EntryId, size: usize, promised: &mut usize) -> Option<(EntryId, Decline)> {
        let full = self.order.iter().map(|(_, size, _)| *size as usize).sum::<usize>() + *promised + size;
        let why = match () {
            () if size > self.largest => Decline::Size,
            () if full > self.room => Decline::Full,
            () => {
                *promised += size;
                return None;
            }
        };
        self.declined.insert(id);
        self.passed_over.insert(id);
        Some((id, why))
    }

    pub(super) fn put(&mut self, id: EntryId, bytes: Bytes, from: Option<DeviceId>) {
        if !self.held.contains_key(&id) {
            self.order.push((id, u32::try_from(bytes.len()).unwrap(), from));
            self.held.insert(id, Some(bytes));
            self.declined.remove(&id);
            for past in self.past.values_mut() {
                past.remove(&id);
            }
        }
    }

    /// Entries of others with these numbers.
    pub(super) fn carry(&mut self, numbers: std::ops::Range<u32>, size: usize) {
        self.carried.extend(numbers.clone().map(|number| entry(number, size).0));
        self.write(numbers, size);
    }

    /// Own entries with these numbers.
    pub(super) fn write(&mut self, numbers: std::ops::Range<u32>, size: usize) {
        for number in numbers {
            let (id, bytes) = entry(number, size);
            self.put(id, bytes, None);
        }
    }

    fn arrival(&self, at: usize) -> Arrival {
        let (id, size, from) = self.order[at];
        let own = from.is_none() && !self.carried.contains(&id);
        Arrival { position: at as u64 + 1, id, size, from, own, held: self.held[&id].is_some() }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.held.keys().copied().collect()
    }

    /// What of a span is compared with a peer.
    pub(super) fn compared(&self, peer: &PeerDepot, span: Span) -> BTreeSet<EntryId> {
        let past = self.past.get(peer).into_iter().flatten();
        let all = self.held.keys().chain(past).chain(&self.declined);
        all.filter(|id| span.contains(id)).copied().collect()
    }

    pub(super) fn note_past(&mut self, peer: PeerDepot, ids: &[EntryId]) {
        let unknown = ids.iter().filter(|id| !self.held.contains_key(id));
        self.past.entry(peer).or_default().extend(unknown);
    }
}

/// One side: a depot, its engine, and what it wants done.
pub(super) struct Node {
    pub(super) depot: Memory,
    pub(super) engine: Engine,
    pub(super) peer: Option<DeviceId>,
    /// Questions to the store that were not answered yet.
    pub(super) questions: VecDeque<Output>,
    pub(super) wire: VecDeque<u8>,
    pub(super) written: u64,
    /// All that it ever wrote.
    pub(super) said: Vec<u8>,
    pub(super) events: Vec<Event>,
    pub(super) failed: Option<SessionError>,
    pub(super) biggest_batch: usize,
    /// Fingerprints and ids that the store was asked for.
    pub(super) asked: u64,
    /// What the peer was found to lack.
    pub(super) lacking: Stretches,
}

impl Node {
    pub(super) fn new(setup: Setup, mut depot: Memory) -> Self {
        depot.declined.clear();
        Self {
            depot,
            engine: Engine::new(setup).unwrap(),
            peer: None,
            questions: VecDeque::new(),
            wire: VecDeque::new(),
            written: 0,
            said: Vec::new(),
            events: Vec::new(),
            failed: None,
            biggest_batch: 0,
            asked: 0,
            lacking: Stretches::default(),
        }
    }

    fn lacking(&mut self, ids: &[EntryId]) {
        for (at, _) in self.depot.order.iter().enumerate().filter(|(_, (id, ..))| ids.contains(id)) {
            self.lacking.add(at as u64 + 1, at as u64 + 1);
        }
    }

    /// One poll. False if there was nothing.
    pub(super) fn poll(&mut self, can_send: bool) -> bool {
        if self.failed.is_some() {
            return false;
        }
        match self.engine.poll(can_send) {
            Err(error) => self.failed = Some(error),
            Ok(None) => return false,
            Ok(Some(Output::Send(bytes))) => {
                self.written += bytes.len() as u64;
                self.said.extend_from_slice(&bytes);
                self.wire.extend(bytes);
            }
            Ok(Some(Output::Event(event))) => {
                match &event {
                    Event::Met(peer) => self.peer = Some(peer.device.id()),
                    Event::CursorAdvanced { depot, position } => {
                        self.depot.cursors.insert(*depot, *position);
                    }
                    Event::DeclinedByPeer(left) => {
                        let left: Vec<_> = left.iter().map(|(id, _)| *id).collect();
                        self.lacking(&left);
                    }
                    Event::NotGiven(ids) | Event::RefusedByPeer(ids) => self.lacking(ids),
                    Event::PeerHolds { after, settled, .. } => {
                        if let Some(peer) = self.peer {
                            let before = self.depot.lacks.get(&peer).map_or(0, Lacks::holds);
                            if *after <= before {
                                let lacks = self.depot.lacks.entry(peer).or_default();
                                lacks.settle(*settled, &self.lacking);
                            }
                        }
                    }
                    _ => {}
                }
                self.events.push(event);
            }
            Ok(Some(question)) => self.questions.push_back(question),
        }
        true
    }

    /// Answers the oldest question. False if there is none.
    pub(super) fn answer(&mut self) -> bool {
        self.answer_one(0)
    }

    /// Answers the oldest question of the kind of the one at `at`: only within a kind there is an order.
    pub(super) fn answer_one(&mut self, at: usize) -> bool {
        let Some(kind) = self.questions.get(at).map(std::mem::discriminant) else { return false };
        let oldest = self.questions.iter().position(|q| std::mem::discriminant(q) == kind);
        let Some(question) = oldest.and_then(|oldest| self.questions.remove(oldest)) else { return false };
        let depot = &mut self.depot;
        match question {
            Output::Store(batch) => {
                self.biggest_batch = self.biggest_batch.max(batch.len());
                let mut declined = Vec::new();
                for (id, bytes) in batch {
                    assert_eq!(EntryId::of(&bytes), id, "the engine checks ids");
                    let known = depot.held.contains_key(&id);
                    if depot.held.get(&id) == Some(&None) {
                        declined.push((id, Decline::Dropped));
                        continue;
                    }
                    match (!known).then(|| depot.decline(id, bytes.len(), &mut 0)).flatten() {
                        Some(left) => declined.push(left),
                        None => depot.put(id, bytes, self.peer),
                    }
                }
                self.engine.stored(&[], &declined)
            }
            Output::FindUnknown { ids, sizes } => {
                let unknown: Vec<_> = ids.iter().copied().filter(|id| !depot.held.contains_key(id)).collect();
                let mut promised = 0;
                let sized = ids.into_iter().zip(sizes);
                let left = sized.filter_map(|(id, size)| match depot.held.get(&id) {
                    None => depot.decline(id, size as usize, &mut promised),
                    Some(None) => Some((id, Decline::Dropped)),
                    Some(Some(_)) => None,
                });
                let declined: Vec<_> = left.collect();
                self.engine.unknown(&unknown, &declined)
            }
            Output::ReadArrivals { after, max_entries } => {
                let all = usize::try_from(after).unwrap()..depot.order.len();
                self.engine.arrivals(all.take(max_entries).map(|at| depot.arrival(at)).collect())
            }
            Output::ReadAddressed { device } => {
                let ids = depot.addressed.get(&device).cloned().unwrap_or_default();
                let known = (0..depot.order.len()).filter(|at| ids.contains(&depot.order[*at].0));
                self.engine.addressed(known.map(|at| depot.arrival(at)).collect())
            }
            Output::ReadEntries { ids } => {
                let read = |id: &EntryId| depot.held[id].clone().filter(|_| !depot.unreadable.contains(id));
                self.engine.entries(ids.iter().map(read).collect())
            }
            Output::ReadTotals => self.engine.totals(depot.fingerprint().count, depot.order.len() as u64),
            Output::ReadCursor { depot: of } => {
                let lacks = self.peer.and_then(|peer| depot.lacks.get(&peer).cloned());
                let position = depot.cursors.get(&of).copied().unwrap_or_default();
                self.engine.cursor(Remembered { position, lacks, own_first: depot.own_first })
            }
            Output::TakeSnapshot { past } => {
                let fingerprint = past.map_or_else(
                    || depot.fingerprint(),
                    |peer| depot.compared(&peer, Span::WHOLE).into_iter().collect(),
                );
                self.engine.snapshot(fingerprint, depot.order.len() as u64)
            }
            Output::ReadSpans { peer, span, parts } => {
                let set = depot.compared(&peer, span);
                self.asked += u64::from(parts);
                let part = |part: Span| set.range(part.lowest()..=part.highest()).copied().collect();
                self.engine.spans(span.parts(parts).map(part).collect())
            }
            Output::ReadIds { peer, span, after, max_entries } => {
                let ids = depot.compared(&peer, span).into_iter();
                let ids: Vec<_> =
                    ids.filter(|id| after.is_none_or(|after| *id > after)).take(max_entries).collect();
                self.asked += ids.len() as u64;
                self.engine.ids(ids)
            }
            Output::FindKnown { ids } => {
                let known: HashMap<_, _> =
                    depot.order.iter().enumerate().map(|(at, (id, ..))| (*id, at)).collect();
                let arrival = |id: &EntryId| match known.get(id) {
                    Some(at) => depot.arrival(*at),
                    None => Arrival { position: 0, id: *id, size: 0, from: None, own: false, held: false },
                };
                self.engine.known(&ids.iter().map(arrival).collect::<Vec<_>>())
            }
            Output::NotePast { peer, ids } => {
                depot.note_past(peer, &ids);
                self.engine.past_noted()
            }
            Output::Send(_) | Output::Event(_) => unreachable!(),
        }
        .unwrap();
        true
    }

    /// Does everything that can be done without the peer.
    pub(super) fn settle(&mut self) {
        while self.poll(true) || self.answer() {}
    }

    /// Takes up to `max` bytes from what the other side has written.
    pub(super) fn hear(&mut self, other: &mut Self, max: usize) -> bool {
        if other.wire.is_empty() || !self.engine.wants_input() {
            return false;
        }
        let count = other.wire.len().min(max);
        let bytes: Vec<u8> = other.wire.drain(..count).collect();
        self.engine.receive(&bytes);
        true
    }

    /// The frames that it sent after so many bytes.
    pub(super) fn said_after(&self, from: usize) -> Vec<Frame> {
        let mut rest = BytesMut::from(&self.said[from..]);
        std::iter::from_fn(|| Frame::take(&mut rest).unwrap()).collect()
    }

    /// The frames that it sent after its hello.
    fn said_frames(&self) -> Vec<Frame> {
        self.said_after(2 + usize::from(u16::from_be_bytes([self.said[0], self.said[1]])))
    }

    /// The ids of all entries that it sent.
    pub(super) fn said_entries(&self) -> Vec<EntryId> {
        let mut ids = Vec::new();
        for frame in self.said_frames() {
            if let Frame::Entries(entries) = frame {
                ids.extend(entries.iter().map(|entry| EntryId::of(&entry.bytes)));
            }
        }
        ids
    }

    /// How many ids it offered.
    pub(super) fn offered_ids(&self) -> u64 {
        let mut ids = 0;
        for frame in self.said_frames() {
            if let Frame::SizedOffer(offered) = frame {
                ids += offered.len() as u64;
            }
        }
        ids
    }

    /// The last comparison that it sent after so many bytes.
    pub(super) fn said_comparison(&self, from: usize) -> Comparison {
        let said = self.said_after(from).into_iter().rev();
        let mut comparisons = said.filter_map(|frame| match frame {
            Frame::Compare(said) => Some(said),
            _ => None,
        });
        comparisons.next().unwrap_or_default()
    }

    pub(super) fn saw(&self, event: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|e| event(e)).count()
    }
}

/// Two sides of one connection. The client is device 1, the server device 2.
pub(super) struct Pair {
    pub(super) client: Node,
    pub(super) server: Node,
}

impl Pair {
    pub(super) fn new(client: Memory, server: Memory) -> Self {
        let team = Team::new(1);
        Self {
            client: Node::new(team.setup(Side::Client, 1, 2, &client), client),
            server: Node::new(team.setup(Side::Server, 2, 1, &server), server),
        }
    }

    /// Two that stay after they agree.
    pub(super) fn live(client: Memory, server: Memory) -> Self {
        let team = Team::new(1);
        let mut pair = Self::new(client, server);
        let features = FEATURES | FEATURE_LIVE;
        for (node, side, own, peer) in
            [(&mut pair.client, Side::Client, 1, 2), (&mut pair.server, Side::Server, 2, 1)]
        {
            node.engine = Engine::with_features(team.setup(side, own, peer, &node.depot), features).unwrap();
        }
        pair
    }

    /// Runs until nothing is under way; how many bytes were written.
    pub(super) fn rest(&mut self) -> u64 {
        let before = self.client.written + self.server.written;
        loop {
            self.client.settle();
            self.server.settle();
            assert!(self.client.failed.is_none() && self.server.failed.is_none());
            let heard = self.server.hear(&mut self.client, usize::MAX);
            if !(self.client.hear(&mut self.server, usize::MAX) || heard) {
                return self.client.written + self.server.written - before;
            }
        }
    }

    /// Runs the session with whole flights, and counts how often the client had to wait for the server.
    pub(super) fn run(&mut self) -> usize {
        let mut round_trips = 0;
        self.client.settle();
        while !(self.client.engine.is_finished() && self.server.engine.is_finished()) {
            assert!(self.client.failed.is_none() && self.server.failed.is_none());
            let to_server = self.server.hear(&mut self.client, usize::MAX);
            self.server.settle();
            if self.client.engine.is_finished() {
                continue;
            }
            let to_client = self.client.hear(&mut self.server, usize::MAX);
            self.client.settle();
            round_trips += usize::from(to_client);
            assert!(to_server || to_client, "both wait for each other");
        }
        round_trips
    }

    pub(super) fn depots(self) -> (Memory, Memory) {
        (self.client.depot, self.server.depot)
    }
}
