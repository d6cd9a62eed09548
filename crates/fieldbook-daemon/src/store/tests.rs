use ed25519_dalek::{Signer, SigningKey};
use fieldbook_depot::{DepotKey, SqlDepot};
use fieldbook_proto::certificate::{
    Act, Authority, Certificate, CertificateBody, DeviceKeys, Recipient, Removal, Role,
};
use fieldbook_proto::session::Limits;
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
pub(crate) fn certificate(seed: u8) -> Certificate {
    certified(seed, if seed == 1 { Role::Coordinator } else { Role::Monitor })
}

pub(crate) fn coordinator(seed: u8) -> Certificate {
    certified(seed, Role::Coordinator)
}

fn certified(seed: u8, role: Role) -> Certificate {
    let (founder, founder_keys) = keys(1);
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        issuer: founder_keys.device_id(),
        keys: keys(seed).1,
        role,
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
        cut_entry: None,
        keeps: Vec::new(),
        honours: Vec::new(),
        time_s: 2,
        signature: [0; 64],
    };
    removal.signature = founder.sign(&removal.signed_bytes()).to_bytes();
    removal
}

pub(crate) fn peer(seed: u8, depot: DepotId) -> Peer {
    let shown = certificate(seed);
    let device = Authority::new(certificate(1)).unwrap().judge(&shown, 2).unwrap();
    Peer { device, certificate: shown, depot, known: 0, head: 100, epoch: 1 }
}

/// What the device shows; 1 is the coordinator's.
fn own(seed: u8) -> Identity {
    let transport =
        fieldbook_net::tls::TransportKey::new(&[seed ^ 0x80; 32], &keys(seed).1.transport).unwrap();
    let authority = Authority::new(certificate(1)).unwrap();
    Identity { transport, certificate: certificate(seed), authority, secrets: Vec::new() }
}

#[test]
fn a_device_that_claims_anothers_depot_does_not_move_the_cursor_in_it() {
    // A coordinator's device keeps names.
    assert_eq!(cursor_after_a_claim(1), 5);
    // A monitor's does not. Its boxes are chosen by chance: one in 64 times the second takes the first one's, and
    // then nothing is remembered of the first. In no case what the second said.
    let cursors: Vec<u64> = (0..12).map(|_| cursor_after_a_claim(4)).collect();
    assert!(cursors.iter().all(|cursor| [0, 5].contains(cursor)), "{cursors:?}");
    assert!(cursors.contains(&5), "{cursors:?}");
}

/// How far device 2 was read, in the eyes of this one, after device 3 gave the same depot as its own.
fn cursor_after_a_claim(own_seed: u8) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let theirs = DepotId::from_bytes([2; 16]);
    let session = |seed| {
        let mut store = DepotStore::new(depot.clone(), &own(own_seed), None);
        store.note(&Event::Met(Box::new(peer(seed, theirs)))).unwrap();
        store
    };
    session(2).note(&Event::CursorAdvanced { depot: theirs, position: 5 }).unwrap();
    session(3).note(&Event::CursorAdvanced { depot: theirs, position: 99 }).unwrap();
    session(2).remembered(&theirs).unwrap().position
}

#[test]
fn the_past_of_an_unnamed_peer_counts_in_its_session_and_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let met = peer(2, DepotId::from_bytes([2; 16]));
    let sealed = vec![7; 1_000];
    let held = EntryId::of(&sealed);
    depot.put(&[Incoming { id: held, bytes: &sealed, from: Source::Own }]).unwrap();
    let mut past: Vec<EntryId> = (0..40_u8).map(|n| EntryId::of(&[n])).collect();
    past.sort_unstable();
    let whole = |ids: &[EntryId]| with_all(depot.fingerprint().unwrap(), ids);
    // Device 4 is a monitor, as the peer is: it keeps no name. The coordinator's device does.
    for (own_seed, kept) in [(4, false), (1, true)] {
        let mut store = DepotStore::new(depot.clone(), &own(own_seed), None);
        store.note(&Event::Met(Box::new(met.clone()))).unwrap();
        store.note_past(&met.depot(), &[&past[..], &[held]].concat()).unwrap();
        store.note_past(&met.depot(), &past[..5]).unwrap();
        assert_eq!(store.snapshot(Some(met.depot())).unwrap().0, whole(&past));
        let spans = store.spans(&met.depot(), Span::WHOLE, 16).unwrap();
        assert_eq!(spans.len(), 16);
        let mut sum = Fingerprint::default();
        spans.iter().for_each(|span| sum.merge(span));
        assert_eq!(sum, whole(&past));
        let mut all = [&past[..], &[held]].concat();
        all.sort_unstable();
        assert_eq!(store.ids(&met.depot(), Span::WHOLE, None, 100).unwrap(), all);
        assert_eq!(store.ids(&met.depot(), Span::WHOLE, Some(all[10]), 7).unwrap(), all[11..18]);
        assert_eq!(depot.compared(&met.depot()).unwrap() == whole(&past), kept);
    }
    // What comes after all is known from then on, and not counted twice.
    let (mut store, bytes) = (DepotStore::new(depot.clone(), &own(4), None), Bytes::from_static(&[9; 900]));
    let other = peer(3, DepotId::from_bytes([3; 16]));
    store.note(&Event::Met(Box::new(other.clone()))).unwrap();
    store.note_past(&other.depot(), &[EntryId::of(&bytes)]).unwrap();
    store.store(&[(EntryId::of(&bytes), bytes)]).unwrap();
    assert_eq!(store.snapshot(Some(other.depot())).unwrap().0, depot.fingerprint().unwrap());
}

#[test]
fn what_another_session_brings_meanwhile_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    Carry { largest: Some(500), ..Carry::default() }.set(depot.as_ref()).unwrap();
    let met = peer(2, DepotId::from_bytes([2; 16]));
    let sealed = vec![7; 1_000];
    let id = EntryId::of(&sealed);
    let mut store = DepotStore::new(depot.clone(), &own(4), None);
    store.note(&Event::Met(Box::new(met.clone()))).unwrap();
    assert_eq!(store.declined(&[(id, 1_000)]).unwrap(), [(id, Decline::Size)]);
    assert_eq!(store.ids(&met.depot(), Span::WHOLE, None, 10).unwrap(), [id], "it counts as known");
    depot.put(&[Incoming { id, bytes: &sealed, from: Source::Own }]).unwrap();
    let spans = store.spans(&met.depot(), Span::WHOLE, 1).unwrap();
    assert_eq!(spans, [depot.fingerprint().unwrap()]);
    assert_eq!(store.ids(&met.depot(), Span::WHOLE, None, 10).unwrap(), [id]);
    // Although it was looked up before.
    store.note_declined(&[(id, Decline::Size)]);
    assert_eq!(store.ids(&met.depot(), Span::WHOLE, None, 10).unwrap(), [id]);
}

#[test]
fn who_says_that_our_membership_has_run_out_is_carried_no_further_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let carry =
        Carry { total: Some(20_000), per_device: Some(3_000), largest: Some(2_500), ..Carry::default() };
    carry.set(depot.as_ref()).unwrap();
    let entry = |size: usize| (EntryId::of(&vec![7; size]), Bytes::from(vec![7; size]));
    let brings = |own_seed, seed, size| {
        let mut store = DepotStore::new(depot.clone(), &own(own_seed), None);
        store.note(&Event::Met(Box::new(peer(seed, DepotId::from_bytes([seed; 16]))))).unwrap();
        store.note(&Event::Limited(Limits { us: true, peer: false })).unwrap();
        let declined = store.store(&[entry(size)]).unwrap().declined;
        declined.first().map(|(_, why)| *why)
    };
    // A monitor to the coordinator's device.
    assert_eq!(brings(1, 2, 2_600), Some(Decline::Size));
    assert_eq!(brings(1, 2, 2_000), None);
    assert_eq!(brings(1, 2, 2_001), Some(Decline::Share));
    // The coordinator to a monitor's.
    assert_eq!(brings(4, 1, 19_000), None, "of any size");
    assert_eq!(brings(4, 1, 1_001), Some(Decline::Full), "and not without end");
}

#[test]
fn a_removal_that_is_learnt_meanwhile_is_noticed_and_another_devices_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let met = peer(2, DepotId::from_bytes([2; 16]));
    let mut authority = Authority::new(certificate(1)).unwrap();
    let mut store = DepotStore::new(depot.clone(), &own(1), None);
    assert!(store.peer_stands().unwrap(), "nobody was met yet");
    store.note(&Event::Met(Box::new(met))).unwrap();
    for (removed, stands) in [(3, true), (2, false)] {
        authority.add_removal(removal(removed)).unwrap();
        depot.set_setting("authority", Some(&authority.encode())).unwrap();
        assert_eq!(store.peer_stands().unwrap(), stands);
        assert_eq!(store.peer_stands().unwrap(), stands, "asked again");
    }
}

#[test]
fn what_a_peer_lacks_is_remembered_by_itself_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let ids: Vec<EntryId> = (0..9_u8)
        .map(|number| {
            let bytes = vec![number; 1_100];
            let id = EntryId::of(&bytes);
            depot.put(&[Incoming { id, bytes: &bytes, from: Source::Bundle }]).unwrap();
            id
        })
        .collect();
    let met = peer(1, DepotId::from_bytes([2; 16]));
    let session = |events: &[Event]| {
        let mut store = DepotStore::new(depot.clone(), &own(4), None);
        store.note(&Event::Met(Box::new(met.clone()))).unwrap();
        events.iter().for_each(|event| store.note(event).unwrap());
        let lacks = store.remembered(&met.depot).unwrap().lacks.unwrap();
        let record = depot.peers().unwrap().into_iter().find(|it| it.device == Some(met.device.id()));
        assert_eq!(record.unwrap().holds_position, lacks.holds());
        (lacks.until(), lacks.stretches().to_vec())
    };
    let holds = |after, position, settled| Event::PeerHolds { after, position, settled };
    let full = |at: usize| Event::DeclinedByPeer(vec![(ids[at], Decline::Full)]);
    // Declined, refused, and not to be read here.
    let first = [full(2), Event::RefusedByPeer(vec![ids[3]]), Event::NotGiven(vec![ids[6]]), holds(0, 2, 8)];
    assert_eq!(session(&first), (8, vec![(3, 4), (7, 7)]));
    // Nothing is claimed by a session that began beyond what is lacking, or was cut before it was settled.
    assert_eq!(session(&[full(8), holds(8, 9, 9)]), (8, vec![(3, 4), (7, 7)]));
    assert_eq!(session(&[full(2)]), (8, vec![(3, 4), (7, 7)]));
    assert_eq!(session(&[full(2), holds(2, 2, 4)]), (8, vec![(3, 3), (7, 7)]));
    // It knows one of them and has dropped it: that holds up nothing either.
    assert_eq!(session(&[Event::DroppedByPeer(vec![ids[2]]), holds(2, 9, 9)]), (9, vec![]));
    // Of a monitor a monitor writes nothing of the kind.
    let unnamed = peer(3, DepotId::from_bytes([3; 16]));
    let mut store = DepotStore::new(depot.clone(), &own(4), None);
    store.note(&Event::Met(Box::new(unnamed.clone()))).unwrap();
    store.note(&full(2)).unwrap();
    store.note(&holds(0, 2, 9)).unwrap();
    assert_eq!(store.remembered(&unnamed.depot).unwrap().lacks, None);
    assert_eq!(depot.setting(&format!("lacks-{}", unnamed.device.id())).unwrap(), None);
}

#[test]
fn own_entries_that_a_peer_has_dropped_are_noted_and_those_that_are_carried_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let key = DepotKey::new([1; 32]);
    let depot = SqlDepot::create(&dir.path().join("d"), &key, DepotId::from_bytes([1; 16])).unwrap();
    let depot = Arc::new(depot);
    let met = peer(1, DepotId::from_bytes([2; 16]));
    let mut ids = Vec::new();
    for (number, from) in [(0_u8, Source::Bundle), (1, Source::Own), (2, Source::Own)] {
        let bytes = vec![number; 1_100];
        ids.push(EntryId::of(&bytes));
        depot.put(&[Incoming { id: ids[usize::from(number)], bytes: &bytes, from }]).unwrap();
    }
    let mut store = DepotStore::new(depot.clone(), &own(4), None);
    store.note(&Event::Met(Box::new(met.clone()))).unwrap();
    assert_eq!(store.arrivals(0, 10).unwrap().len(), 3);
    store.note(&Event::DroppedByPeer(ids[..2].to_vec())).unwrap();
    store.note(&Event::Knows(vec![ids[2]])).unwrap();
    store.note(&Event::PeerHolds { after: 0, position: 3, settled: 3 }).unwrap();
    let said = fieldbook_depot::Beyond::all(depot.as_ref()).unwrap();
    let dropped: Vec<_> = (1..=3).map(|at| said[0].dropped(at).is_some()).collect();
    assert_eq!(dropped, [false, true, false]);
    // As a receiver, the same device says so.
    depot.forget(&ids[1..2]).unwrap();
    assert_eq!(store.dropped(&ids).unwrap(), [ids[1]]);
    let brought = store.store(&[(ids[1], Bytes::from(vec![1; 1_100]))]).unwrap();
    assert_eq!(brought.declined, [(ids[1], Decline::Dropped)]);
}
