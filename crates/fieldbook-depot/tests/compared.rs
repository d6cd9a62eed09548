//! What reconciliation asks of a depot agrees with a plain set, whatever was put, dropped and noted before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_depot::{Depot, DepotKey, Incoming, PeerDepot, Source, Span, SqlDepot};
use fieldbook_proto::{DepotId, DeviceId, EntryId};
use proptest::collection::vec;
use proptest::prelude::*;

fn entry(number: u16) -> Vec<u8> {
    let mut bytes = vec![0x5a; 1_024];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn id(number: u16) -> EntryId {
    EntryId::of(&entry(number))
}

fn peer(device: u8, depot: u8) -> PeerDepot {
    PeerDepot { device: DeviceId::from_bytes([device; 32]), depot: DepotId::from_bytes([depot; 16]) }
}

fn put(depot: &SqlDepot, numbers: &[u16]) {
    let entries: Vec<(EntryId, Vec<u8>)> = numbers.iter().map(|n| (id(*n), entry(*n))).collect();
    let batch: Vec<_> = entries
        .iter()
        .map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Peer(DeviceId::from_bytes([1; 32])) })
        .collect();
    depot.put(&batch).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u16>),
    Forget(Vec<u16>),
    Quarantine(u16),
    /// Of device 1 or 2, whose depot is 1 or 2.
    Past(u8, u8, Vec<u16>),
    /// Whatever was summed up before has to stand after this.
    Ask(u64, u64, u16),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = || vec(0..400_u16, 0..60);
    let bound =
        || prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), (0..4_096_u64).prop_map(|row| row << 52)];
    let step = prop_oneof![
        4 => numbers().prop_map(Step::Put),
        1 => numbers().prop_map(Step::Forget),
        1 => (0..400_u16).prop_map(Step::Quarantine),
        3 => (1..3_u8, 1..3_u8, numbers()).prop_map(|(device, depot, ids)| Step::Past(device, depot, ids)),
        4 => (bound(), bound(), 1..300_u16).prop_map(|(one, two, parts)| Step::Ask(one.min(two), one.max(two), parts)),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..14)
}

fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let key = DepotKey::new([9; 32]);
    let mut depot = SqlDepot::create(&path, &key, DepotId::from_bytes([3; 16])).unwrap();
    let mut known: BTreeSet<EntryId> = BTreeSet::new();
    let mut past: BTreeMap<u8, (u8, BTreeSet<EntryId>)> = BTreeMap::new();
    let mut asked = vec![(0, u64::MAX, 16)];
    for step in steps {
        match step {
            Step::Put(numbers) => {
                put(&depot, &numbers);
                for number in numbers {
                    known.insert(id(number));
                    for (_, past) in past.values_mut() {
                        past.remove(&id(number));
                    }
                }
            }
            Step::Forget(numbers) => {
                depot.forget(&numbers.into_iter().map(id).collect::<Vec<_>>()).unwrap();
            }
            Step::Quarantine(number) => {
                depot.quarantine(&id(number), "it does not open").unwrap();
            }
            Step::Past(device, of, numbers) => {
                let ids: Vec<EntryId> = numbers.into_iter().map(id).collect();
                let noted = depot.note_past(&peer(device, of), &ids).unwrap();
                let (before, past) = past.entry(device).or_insert((of, BTreeSet::new()));
                if *before != of {
                    (*before, *past) = (of, BTreeSet::new());
                }
                let count = past.len();
                past.extend(ids.into_iter().filter(|id| !known.contains(id)));
                assert_eq!(noted, past.len() - count);
            }
            Step::Ask(first, last, parts) => asked.push((first, last, parts)),
            Step::Reopen => {
                depot.close().unwrap();
                depot = SqlDepot::open(&path, &key).unwrap();
            }
        }
        let every: Vec<u16> = (0..400).collect();
        let ids: Vec<EntryId> = every.into_iter().map(id).collect();
        let unknown: Vec<EntryId> = ids.iter().copied().filter(|id| !known.contains(id)).collect();
        assert_eq!(depot.unknown(&ids).unwrap(), unknown, "what is past elsewhere is not known");
        let mut found: Vec<EntryId> = depot.known(&ids).unwrap().into_iter().map(|known| known.id).collect();
        found.sort();
        assert!(found.iter().eq(&known));
        for (device, of) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)] {
            let theirs = past.get(&device).filter(|(depot, _)| *depot == of).map(|(_, past)| past);
            let set: BTreeSet<EntryId> = known.iter().chain(theirs.into_iter().flatten()).copied().collect();
            assert_eq!(depot.compared(&peer(device, of)).unwrap(), set.iter().copied().collect());
            for (first, last, parts) in asked.iter().rev().take(2) {
                let span = Span::new(*first, *last).unwrap();
                let expected: Vec<_> = span
                    .parts(*parts)
                    .map(|part| set.range(part.lowest()..=part.highest()).copied().collect())
                    .collect();
                assert_eq!(depot.spans(&peer(device, of), span, *parts).unwrap(), expected);
                let inside: Vec<EntryId> = set.range(span.lowest()..=span.highest()).copied().collect();
                let (mut ids, mut after) = (Vec::new(), None);
                loop {
                    let page = depot.ids_in(&peer(device, of), span, after.as_ref(), 37).unwrap();
                    let end = page.len() < 37;
                    after = page.last().copied();
                    ids.extend(page);
                    if end {
                        break;
                    }
                }
                assert_eq!(ids, inside);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_depot_and_a_set_agree(steps in steps()) {
        run(steps);
    }
}

#[test]
fn a_peer_cannot_fill_the_disk_with_made_up_ids() {
    use fieldbook_proto::session::limits::PAST_MAX;
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([9; 32]);
    let depot = SqlDepot::create(&dir.path().join("depot"), &key, DepotId::from_bytes([3; 16])).unwrap();
    let mut noted = 0;
    for batch in 0..=u32::try_from(PAST_MAX / 65_536).unwrap() {
        let ids: Vec<EntryId> =
            (0..65_536_u32).map(|n| EntryId::of(&(batch << 16 | n).to_be_bytes())).collect();
        noted += depot.note_past(&peer(1, 1), &ids).unwrap();
    }
    assert_eq!(noted, PAST_MAX);
    assert_eq!(depot.compared(&peer(1, 1)).unwrap().count, PAST_MAX as u64);
    assert_eq!(depot.compared(&peer(2, 1)).unwrap().count, 0, "nobody else is concerned");
    // Another depot of the same device begins anew, and does not come on top.
    assert_eq!(depot.note_past(&peer(1, 2), &[id(1)]).unwrap(), 1);
    assert_eq!(depot.compared(&peer(1, 2)).unwrap().count, 1);
    assert_eq!(depot.compared(&peer(1, 1)).unwrap().count, 0);
}
