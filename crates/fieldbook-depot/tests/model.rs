//! Random histories of a depot agree with a plain model of it, across reopening. Other backends run the same
//! histories (`fieldbook-bucket`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use fieldbook_depot::{
    Depot, DepotKey, Fingerprint, Held, Incoming, Lookup, PeerRecord, Refusal, Source, SqlDepot, State, Stats,
};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::limits::ADDRESSED_MAX;
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use proptest::collection::vec;
use proptest::prelude::*;

/// One of a small pool of entries, so that histories meet the same id again and again.
fn entry(number: u8) -> Vec<u8> {
    let mut bytes = vec![number; 1024 + usize::from(number) * 300];
    bytes[0] = 0xfb;
    bytes
}

fn id(number: u8) -> EntryId {
    EntryId::of(&entry(number))
}

#[derive(Debug, Clone)]
pub(crate) enum Offer {
    Good(u8),
    /// The id of one entry with the bytes of another.
    Swapped(u8),
    /// Too short to be a sealed entry.
    Short(u8),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Put(Vec<(Offer, u8)>),
    Get(u8),
    Unknown(Vec<u8>),
    Arrivals { after: u64, entries: usize, bytes: u64 },
    Forget(Vec<u8>),
    Quarantine(u8),
    Setting(u8, Option<Vec<u8>>),
    Cursor(u8, u64),
    Peer { device: u8, depot: u8, address: Option<String>, time: i64, holds: u64 },
    Reopen,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..24_u8;
    let offer = prop_oneof![
        6 => number.clone().prop_map(Offer::Good),
        1 => number.clone().prop_map(Offer::Swapped),
        1 => number.clone().prop_map(Offer::Short),
    ];
    let step = prop_oneof![
        4 => vec((offer, 0..4_u8), 0..12).prop_map(Step::Put),
        2 => number.clone().prop_map(Step::Get),
        2 => vec(number.clone(), 0..10).prop_map(Step::Unknown),
        3 => (0..30_u64, 0..30_usize, 0..20_000_u64)
            .prop_map(|(after, entries, bytes)| Step::Arrivals { after, entries, bytes }),
        1 => vec(number.clone(), 0..4).prop_map(Step::Forget),
        1 => number.clone().prop_map(Step::Quarantine),
        1 => (0..3_u8, proptest::option::of(vec(any::<u8>(), 0..9))).prop_map(|(n, v)| Step::Setting(n, v)),
        1 => (0..3_u8, 0..99_u64).prop_map(|(depot, to)| Step::Cursor(depot, to)),
        1 => (0..3_u8, 0..2_u8, proptest::option::of("[a-z]{1,4}:[1-9]{2}"), 0..9_i64, 0..9_u64).prop_map(
            |(device, depot, address, time, holds)| Step::Peer { device, depot, address, time, holds }
        ),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..24)
}

fn source(number: u8) -> Source {
    match number {
        0 => Source::Own,
        1 => Source::Bundle,
        2 => Source::Unnamed,
        n => Source::Peer(DeviceId::from_bytes([n; 32])),
    }
}

#[derive(Default)]
struct Model {
    known: Vec<(EntryId, Vec<u8>, Source, State)>,
    bad: Vec<(EntryId, Source, String)>,
    settings: BTreeMap<u8, Vec<u8>>,
    cursors: BTreeMap<u8, u64>,
    peers: BTreeMap<u8, PeerRecord>,
}

impl Model {
    fn find(&mut self, id: &EntryId) -> Option<&mut (EntryId, Vec<u8>, Source, State)> {
        self.known.iter_mut().find(|known| known.0 == *id)
    }

    fn note_bad(&mut self, id: EntryId, from: Source, reason: &str) {
        match self.bad.iter_mut().find(|bad| bad.0 == id) {
            Some(bad) => *bad = (id, from, reason.to_owned()),
            None => self.bad.push((id, from, reason.to_owned())),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut sum = [0_u8; 32];
        for (id, ..) in &self.known {
            let mut carry = 0_u32;
            for (total, byte) in sum.iter_mut().zip(id.as_bytes()) {
                carry += u32::from(*total) + u32::from(*byte);
                *total = (carry % 256) as u8;
                carry /= 256;
            }
        }
        Fingerprint { count: self.known.len() as u64, sum }
    }

    fn stats(&self) -> Stats {
        let count = |state| self.known.iter().filter(|known| known.3 == state).count() as u64;
        let held = self.known.iter().filter(|known| known.3 == State::Held);
        Stats {
            known: self.known.len() as u64,
            held: count(State::Held),
            held_bytes: held.map(|known| known.1.len() as u64).sum(),
            gone: count(State::Gone),
            quarantined: count(State::Quarantined),
        }
    }
}

fn put(depot: &dyn Depot, model: &mut Model, offers: &[(Offer, u8)]) {
    let offers: Vec<(EntryId, Vec<u8>, Source, Option<Refusal>)> = offers
        .iter()
        .map(|(offer, from)| match offer {
            Offer::Good(n) => (id(*n), entry(*n), source(*from), None),
            Offer::Swapped(n) => (id(*n), entry(n + 1), source(*from), Some(Refusal::WrongId)),
            Offer::Short(n) => {
                let bytes = vec![*n; 1023];
                (EntryId::of(&bytes), bytes, source(*from), Some(Refusal::WrongSize))
            }
        })
        .collect();
    let batch: Vec<_> =
        offers.iter().map(|(id, bytes, from, _)| Incoming { id: *id, bytes, from: *from }).collect();
    let summary = depot.put(&batch).unwrap();

    let (mut added, mut already_known, mut refused) = (0, 0, Vec::new());
    for (id, bytes, from, refusal) in offers {
        if refusal != Some(Refusal::WrongId) {
            if model.find(&id).is_some() {
                already_known += 1;
                continue;
            }
            let state = if refusal.is_none() { State::Held } else { State::Quarantined };
            model.known.push((id, bytes, from, state));
        }
        match refusal {
            None => added += 1,
            Some(refusal) => {
                model.note_bad(id, from, refusal.words());
                refused.push((id, refusal));
            }
        }
    }
    assert_eq!((summary.added, summary.already_known, summary.refused), (added, already_known, refused));
}

/// The sums by who brought it are those of the entries.
fn held_by_whom(depot: &dyn Depot, model: &Model) {
    let held = |source: Source| {
        let of_it = model.known.iter().filter(|known| known.2 == source && known.3 == State::Held);
        of_it.fold(Held::default(), |sum, known| Held {
            entries: sum.entries + 1,
            bytes: sum.bytes + known.1.len() as u64,
        })
    };
    let mut each = depot.held_by_each().unwrap();
    for source in (0..4).map(source) {
        assert_eq!(depot.held_by(source).unwrap(), held(source), "{source:?}");
        let listed = each.iter().position(|(listed, _)| *listed == source).map(|at| each.remove(at).1);
        assert_eq!(listed.unwrap_or_default(), held(source), "{source:?}");
    }
    assert!(each.is_empty(), "{each:?}");
    let first = model.known.iter().position(|known| known.3 == State::Held);
    assert_eq!(depot.first_held().unwrap(), first.map(|place| place as u64 + 1));
}

/// The depot's name in histories.
pub(crate) const NAME: DepotId = DepotId::from_bytes([3; 16]);

/// Runs a history; `reopen` makes the depot at first, and then closes it and opens it again.
pub(crate) fn run(steps: Vec<Step>, reopen: &mut dyn FnMut(Option<Box<dyn Depot>>) -> Box<dyn Depot>) {
    let mut depot = reopen(None);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(offers) => put(depot.as_ref(), &mut model, &offers),
            Step::Get(n) => {
                let expected = match model.find(&id(n)) {
                    None => Lookup::Unknown,
                    Some((_, bytes, _, State::Held)) => Lookup::Held(bytes.clone()),
                    Some(_) => Lookup::Gone,
                };
                assert_eq!(depot.get(&id(n)).unwrap(), expected);
            }
            Step::Unknown(numbers) => {
                let ids: Vec<_> = numbers.into_iter().map(id).collect();
                let expected: Vec<_> = ids.iter().copied().filter(|id| model.find(id).is_none()).collect();
                assert_eq!(depot.unknown(&ids).unwrap(), expected);
            }
            Step::Arrivals { after, entries, bytes } => {
                let mut expected = Vec::new();
                let mut total = 0;
                for (place, (id, held, from, state)) in model.known.iter().enumerate() {
                    let position = place as u64 + 1;
                    if position <= after || expected.len() == entries {
                        continue;
                    }
                    total += if *state == State::Held { held.len() as u64 } else { 0 };
                    if total > bytes && !expected.is_empty() {
                        break;
                    }
                    let held_bytes = (*state == State::Held).then(|| held.clone());
                    expected.push((position, *id, held.len() as u32, *from, *state, held_bytes));
                }
                let found: Vec<_> = depot
                    .arrivals_with_bytes(after, entries, bytes)
                    .unwrap()
                    .into_iter()
                    .map(|(a, held)| (a.position, a.id, a.size, a.from, a.state, held))
                    .collect();
                assert_eq!(found, expected);
                let ids: Vec<_> = depot
                    .arrivals(after, entries, bytes)
                    .unwrap()
                    .into_iter()
                    .map(|a| (a.position, a.id))
                    .collect();
                assert_eq!(ids, expected.iter().map(|e| (e.0, e.1)).collect::<Vec<_>>());
            }
            Step::Forget(numbers) => {
                let mut dropped = 0;
                for n in &numbers {
                    if let Some(known) = model.find(&id(*n))
                        && known.3 == State::Held
                    {
                        known.3 = State::Gone;
                        dropped += 1;
                    }
                }
                let ids: Vec<_> = numbers.into_iter().map(id).collect();
                assert_eq!(depot.forget(&ids).unwrap(), dropped);
            }
            Step::Quarantine(n) => {
                let known = model.find(&id(n)).map(|known| {
                    known.3 = State::Quarantined;
                    known.2
                });
                if let Some(from) = known {
                    model.note_bad(id(n), from, "it does not open");
                }
                assert_eq!(depot.quarantine(&id(n), "it does not open").unwrap(), known.is_some());
            }
            Step::Setting(n, value) => {
                depot.set_setting(&n.to_string(), value.as_deref()).unwrap();
                match value {
                    Some(value) => model.settings.insert(n, value),
                    None => model.settings.remove(&n),
                };
            }
            Step::Cursor(n, to) => {
                depot.set_peer_cursor(&DepotId::from_bytes([n; 16]), to).unwrap();
                model.cursors.insert(n, to);
            }
            Step::Peer { device, depot: peer_depot, address, time, holds } => {
                let mut record = PeerRecord {
                    device: (device != 0).then(|| DeviceId::from_bytes([device; 32])),
                    role: Role::Relay,
                    depot: DepotId::from_bytes([peer_depot; 16]),
                    address,
                    last_sync_ms: time,
                    holds_position: holds,
                };
                depot.record_peer(record.clone()).unwrap();
                if let Some(before) = model.peers.get(&device) {
                    record.address = record.address.or_else(|| before.address.clone());
                    if before.depot == record.depot {
                        record.holds_position = record.holds_position.max(before.holds_position);
                    }
                }
                model.peers.insert(device, record);
            }
            Step::Reopen => {
                depot = reopen(Some(depot));
            }
        }
        assert_eq!(depot.fingerprint().unwrap(), model.fingerprint());
        assert_eq!(depot.stats().unwrap(), model.stats());
        held_by_whom(depot.as_ref(), &model);
        assert_eq!(depot.head().unwrap(), model.known.len() as u64);
        for (place, (id, ..)) in model.known.iter().enumerate() {
            assert_eq!(depot.position(id).unwrap(), Some(place as u64 + 1));
        }
        let bad: Vec<_> =
            depot.quarantined().unwrap().into_iter().map(|q| (q.id, q.from, q.reason)).collect();
        assert_eq!(bad, model.bad);
        for n in 0..3 {
            assert_eq!(depot.setting(&n.to_string()).unwrap(), model.settings.get(&n).cloned());
            let cursor = depot.peer_cursor(&DepotId::from_bytes([n; 16])).unwrap();
            assert_eq!(cursor, model.cursors.get(&n).copied().unwrap_or(0));
        }
        let mut peers: Vec<_> = model.peers.values().cloned().collect();
        peers.sort_by_key(|peer| (-peer.last_sync_ms, peer.device));
        assert_eq!(depot.peers().unwrap(), peers);
        assert_eq!(depot.depot_id(), NAME);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_depot_and_its_model_agree(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("depot");
        let key = DepotKey::new([9; 32]);
        run(steps, &mut |before| {
            let Some(before) = before else { return Box::new(SqlDepot::create(&path, &key, NAME).unwrap()) };
            drop(before);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the file itself remains");
            Box::new(SqlDepot::open(&path, &key).unwrap())
        });
    }
}

#[test]
fn what_is_addressed_to_a_device_is_kept_for_it_alone_the_latest_first_to_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let key = DepotKey::new([9; 32]);
    let depot = SqlDepot::create(&path, &key, DepotId::from_bytes([3; 16])).unwrap();
    let (one, two) = (DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
    depot.address_to(&one, &[id(5), id(3)]).unwrap();
    depot.address_to(&one, &[id(3), id(4)]).unwrap();
    depot.address_to(&two, &[id(9)]).unwrap();
    depot.close().unwrap();
    let depot = SqlDepot::open(&path, &key).unwrap();
    assert_eq!(depot.addressed_to(&one).unwrap(), [id(5), id(3), id(4)]);
    assert_eq!(depot.addressed_to(&DeviceId::from_bytes([7; 32])).unwrap(), []);
    let many: Vec<EntryId> = (0..ADDRESSED_MAX as u32).map(|n| EntryId::of(&n.to_be_bytes())).collect();
    depot.address_to(&one, &many[..many.len() - 1]).unwrap();
    assert_eq!(depot.addressed_to(&one).unwrap()[0], id(4));
    depot.address_to(&one, &many).unwrap();
    assert_eq!(depot.addressed_to(&one).unwrap(), many);
    assert_eq!(depot.addressed_to(&two).unwrap(), [id(9)], "another's stay");
}

#[test]
fn refused_entries_with_made_up_ids_cannot_fill_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let depot =
        SqlDepot::create(&dir.path().join("depot"), &DepotKey::new([9; 32]), DepotId::from_bytes([3; 16]))
            .unwrap();
    let bytes = entry(1);
    for round in 0..3_u8 {
        let batch: Vec<_> = (0..800_u16)
            .map(|n| {
                let id = EntryId::of(&[round, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
                Incoming { id, bytes: &bytes, from: Source::Bundle }
            })
            .collect();
        assert_eq!(depot.put(&batch).unwrap().refused.len(), 800);
    }
    assert_eq!(depot.quarantined().unwrap().len(), 1_000);
    assert_eq!(depot.stats().unwrap().known, 0, "the true entries may still come");
}
