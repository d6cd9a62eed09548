//! What retention and quotas rest on: sums by who brought it, marks of time, what relays said and when.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use fieldbook_depot::{
    Acknowledged, Depot, DepotKey, Held, Incoming, Mark, PeerRecord, Source, SqlDepot, cipher,
};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DepotId, DeviceId, EntryId};

const RELAY: DeviceId = DeviceId::from_bytes([5; 32]);

fn made(dir: &Path) -> SqlDepot {
    SqlDepot::create(&dir.join("depot"), &DepotKey::new([1; 32]), DepotId::from_bytes([2; 16])).unwrap()
}

fn put(depot: &SqlDepot, seed: u16, from: Source) -> EntryId {
    let bytes = [&seed.to_be_bytes()[..], &[7; 1_500]].concat();
    let id = EntryId::of(&bytes);
    depot.put(&[Incoming { id, bytes: &bytes, from }]).unwrap();
    id
}

fn synced(depot: &SqlDepot, role: Role, theirs: u8, holds_position: u64, at: i64) {
    depot
        .record_peer(PeerRecord {
            device: Some(RELAY),
            role,
            depot: DepotId::from_bytes([theirs; 16]),
            address: None,
            last_sync_ms: at,
            holds_position,
        })
        .unwrap();
}

#[test]
fn a_depot_of_an_earlier_version_is_summed_up_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (depot, peer) = (made(dir.path()), Source::Peer(DeviceId::from_bytes([3; 32])));
    put(&depot, 1, Source::Own);
    let dropped = put(&depot, 2, peer);
    put(&depot, 3, peer);
    depot.forget(&[dropped]).unwrap();
    let expected = depot.held_by_each().unwrap();
    depot.close().unwrap();
    // As step 2 left it.
    let path = dir.path().join("depot");
    let db = cipher::open_database(&path, &[1; 32], false).unwrap();
    db.execute_batch(
        "DROP TABLE held_by; DROP TABLE noted; DROP TABLE acknowledged; DROP TABLE span; DROP TABLE past;
         DROP TABLE past_total; ALTER TABLE totals DROP COLUMN spanned; PRAGMA user_version = 2;",
    )
    .unwrap();
    drop(db);
    let depot = SqlDepot::open(&path, &DepotKey::new([1; 32])).unwrap();
    assert_eq!(depot.held_by_each().unwrap(), expected);
    assert_eq!(depot.held_by(peer).unwrap(), Held { entries: 1, bytes: 1_502 });
}

#[test]
fn marks_say_by_when_something_had_come_and_never_that_it_is_older_than_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let depot = made(dir.path());
    depot.note_time(5, 0).unwrap();
    put(&depot, 1, Source::Own);
    depot.note_time(10, 100).unwrap();
    assert_eq!(depot.marks().unwrap(), [Mark { position: 0, time_ms: 5 }], "too close to the last");
    depot.note_time(105, 100).unwrap();
    depot.note_time(300, 100).unwrap();
    put(&depot, 2, Source::Own);
    put(&depot, 3, Source::Own);
    depot.note_time(400, 100).unwrap();
    let marks = depot.marks().unwrap();
    let expected = [(0, 5), (1, 105), (3, 400)].map(|(position, time_ms)| Mark { position, time_ms });
    assert_eq!(marks, expected, "nothing is noted while nothing comes");
}

#[test]
fn very_many_marks_are_thinned_out_from_the_oldest_and_the_latest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let depot = made(dir.path());
    let key = DepotKey::new([1; 32]);
    for seed in 0..30 {
        put(&depot, seed, Source::Own);
    }
    depot.close().unwrap();
    let path = dir.path().join("depot");
    let db = cipher::open_database(&path, &[1; 32], false).unwrap();
    db.execute_batch(
        "WITH RECURSIVE n (i) AS (SELECT -8760 UNION ALL SELECT i + 1 FROM n WHERE i < -1)
         INSERT INTO noted SELECT i, i + 10000 FROM n",
    )
    .unwrap();
    drop(db);
    let depot = SqlDepot::open(&path, &key).unwrap();
    depot.note_time(20_000, 1).unwrap();
    // The made-up positions are below zero, where none can be: they are counted, not read.
    depot.close().unwrap();
    let db = cipher::open_database(&path, &[1; 32], false).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM noted"), 8_761 - 2_190);
    assert_eq!(count("SELECT count(*) FROM noted WHERE position > -4380"), 4_380);
}

#[test]
fn when_a_relay_said_that_it_holds_something_is_remembered_as_the_first_time() {
    let dir = tempfile::tempdir().unwrap();
    let depot = made(dir.path());
    let said = |position, time_ms| Acknowledged { device: RELAY, position, time_ms };
    synced(&depot, Role::Relay, 9, 0, 5);
    assert_eq!(depot.acknowledged().unwrap(), []);
    for (position, at) in [(3, 10), (3, 20), (2, 30), (7, 40)] {
        synced(&depot, Role::Relay, 9, position, at);
    }
    assert_eq!(depot.acknowledged().unwrap(), [said(3, 10), said(7, 40)]);
    // Another depot of the same relay holds nothing yet.
    synced(&depot, Role::Relay, 8, 1, 50);
    assert_eq!(depot.acknowledged().unwrap(), [said(1, 50)]);
    for position in 2..=2_000_u32 {
        synced(&depot, Role::Relay, 8, position.into(), 60 + i64::from(position));
    }
    let kept = depot.acknowledged().unwrap();
    assert_eq!(kept.len(), 512);
    assert_eq!((kept[0], kept[511]), (said(1_489, 1_549), said(2_000, 2_060)));
}

#[test]
fn of_others_than_relays_it_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let depot = made(dir.path());
    synced(&depot, Role::Coordinator, 9, 3, 10);
    synced(&depot, Role::Monitor, 9, 4, 20);
    assert_eq!(depot.acknowledged().unwrap(), []);
}
