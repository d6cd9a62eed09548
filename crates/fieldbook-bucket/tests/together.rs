//! Several processes on one bucket at once, and buckets that answer badly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use fieldbook_bucket::{BucketDepot, CheckpointRule, GivenUp, ObjectStore};
use fieldbook_depot::{Depot, DepotError, Lookup};

mod bucket;
use bucket::{BadDays, KEY, create, entry, id, open, order, put, try_put};

fn bad_days() -> (Arc<BadDays>, Arc<dyn ObjectStore>) {
    let bucket = Arc::new(BadDays::default());
    (bucket.clone(), bucket)
}

#[test]
fn processes_that_write_at_once_agree_on_one_order_and_each_entry_is_added_once() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    // Each fifth answer is lost, of puts that were done.
    bucket.loses_answers.store(5, SeqCst);
    create(&store, dir.path());
    let depots: Vec<BucketDepot> = (0..3)
        .map(|_| open(&store, dir.path()).with_checkpoints(CheckpointRule { segments: 7, part: 1 }))
        .map(|depot| depot.with_patience(Duration::from_secs(20)))
        .collect();
    let added: usize = thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, depot) in depots.iter().enumerate() {
            for thread in 0..3_u32 {
                running.push(scope.spawn(move || {
                    let mut added = 0;
                    for round in 0..12 {
                        // What one process puts, another does, too.
                        let first = round * 8 + thread * 3 + u32::try_from(number).unwrap();
                        added += put(depot, first..first + 6);
                    }
                    added
                }));
            }
        }
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    bucket.loses_answers.store(0, SeqCst);
    let first = order(&depots[0]);
    assert_eq!(first.len(), added, "each was added by one process");
    assert_eq!(first.iter().map(|one| one.0).collect::<Vec<_>>(), (1..=added as u64).collect::<Vec<_>>());
    assert!(first.iter().all(|one| one.2), "all bytes are there");
    for depot in depots.iter().chain([&open(&store, dir.path())]) {
        assert_eq!(order(depot), first);
        assert_eq!(depot.fingerprint().unwrap(), depots[0].fingerprint().unwrap());
    }
    // What the others stored in vain they removed, but for what they could not know of.
    depots[1].sweep().unwrap();
    assert_eq!(bucket.entries().len(), added);
}

#[test]
fn while_the_bucket_is_away_nothing_is_acknowledged_and_later_everything_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    assert_eq!(put(&depot, 0..3), 3);
    bucket.away.store(true, SeqCst);
    let failed = try_put(&depot, 3..6).unwrap_err();
    assert!(matches!(failed, DepotError::Away(_)));
    let words = failed.to_string();
    assert!(words.contains("the relay's store is away") && words.contains("nothing is lost"), "{words}");
    assert!(!words.contains("example") && !words.contains("http"), "no address in words: {words}");
    assert!(matches!(depot.head(), Err(DepotError::Away(_))), "nobody is told an old head");
    assert!(matches!(depot.get(&id(1)), Err(DepotError::Away(_))), "away is not gone");
    assert!(matches!(BucketDepot::open(store.clone(), "", &KEY(), dir.path()), Err(DepotError::Away(_))));
    bucket.away.store(false, SeqCst);
    assert_eq!(depot.head().unwrap(), 3);
    assert_eq!(put(&depot, 3..6), 3);
    assert_eq!(order(&open(&store, dir.path())), order(&depot));
}

#[test]
fn an_act_whose_answer_was_lost_for_good_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path()).with_patience(Duration::ZERO);
    bucket.loses_answers.store(1, SeqCst);
    assert!(try_put(&depot, [1]).is_err(), "its object is stored, the answer lost");
    assert!(depot.set_setting("a", Some(b"b")).is_err(), "its segment is stored, the answer lost");
    bucket.loses_answers.store(0, SeqCst);
    assert_eq!(depot.head().unwrap(), 0);
    assert_eq!(depot.setting("a").unwrap().as_deref(), Some(&b"b"[..]), "the log says that it was done");
    assert_eq!(put(&depot, [1]), 1);
    assert_eq!(bucket.entries().len(), 2);
    assert_eq!(depot.sweep().unwrap(), 1, "the object that no segment names");
    assert_eq!(order(&depot), [(1, id(1), true)]);
}

#[test]
fn a_server_that_overwrites_instead_of_creating_is_refused_and_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let (one, two) = (open(&store, dir.path()), open(&store, dir.path()));
    bucket.disobeys.store(true, SeqCst);
    let refused = BucketDepot::open(store.clone(), "", &KEY(), dir.path()).unwrap_err().to_string();
    assert!(refused.contains("If-None-Match"), "{refused}");
    // One that begins to do so later is noticed by the first whose log does not go on.
    put(&one, [1]);
    put(&two, [2]);
    put(&two, [3]);
    let noticed = one.head().unwrap_err();
    assert!(matches!(&noticed, DepotError::Damaged(what) if what.contains("does not go on")), "{noticed}");
    assert!(try_put(&one, [4]).is_err());
}

#[test]
fn what_the_provider_alters_or_removes_is_said_and_costs_no_more_than_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    put(&depot, [0]);
    let first = bucket.entries().remove(0);
    put(&depot, [1]);
    let second = bucket.entries().into_iter().find(|name| *name != first).unwrap();
    put(&depot, [2]);
    // Two entries change places, which both are entries.
    bucket.lay(&first, entry(1));
    bucket.take(&second);
    assert_eq!(depot.get(&id(0)).unwrap(), Lookup::Gone);
    assert_eq!(depot.get(&id(1)).unwrap(), Lookup::Gone);
    assert_eq!(depot.get(&id(2)).unwrap(), Lookup::Held(entry(2)), "the others are served");
    let all = [id(2), id(0), id(7)];
    assert_eq!(depot.get_all(&all).unwrap(), [Lookup::Held(entry(2)), Lookup::Gone, Lookup::Unknown]);
    let words: Vec<_> = depot.quarantined().unwrap().into_iter().map(|bad| (bad.id, bad.reason)).collect();
    assert!(words.contains(&(id(0), "the bucket gives other bytes than were stored".into())), "{words:?}");
    assert!(words.contains(&(id(1), "the bucket no longer has its bytes".into())), "{words:?}");
    bucket.lay(&first, entry(0));
    assert_eq!(depot.get(&id(0)).unwrap(), Lookup::Held(entry(0)), "it is not given up for ever");
    assert_eq!(depot.quarantined().unwrap().len(), 1);
    // Not one but all: nobody must believe that everything is gone.
    let mark = bucket.read("depot");
    bucket.names().iter().for_each(|name| bucket.take(name));
    assert!(matches!(depot.get(&id(2)), Err(DepotError::Damaged(what)) if what.contains("emptied")));
    assert!(matches!(BucketDepot::open(store.clone(), "", &KEY(), dir.path()), Err(DepotError::Missing)));
    bucket.lay("depot", mark[1..].to_vec());
    assert!(BucketDepot::open(store, "", &KEY(), dir.path()).is_err());
}

#[test]
fn a_log_with_an_altered_or_missing_or_swapped_segment_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    for n in 0..4 {
        put(&depot, [n]);
    }
    let name = |number: u64| format!("log/{number:016x}");
    let good = bucket.read(&name(2));
    let failed = |what: &str| {
        let error = BucketDepot::open(store.clone(), "", &KEY(), dir.path()).expect_err(what);
        assert!(matches!(error, DepotError::Damaged(_)), "{what}: {error}");
    };
    for at in [0, 1, 30, good.len() - 1] {
        let mut altered = good.clone();
        altered[at] ^= 1;
        bucket.lay(&name(2), altered);
        failed("altered");
    }
    bucket.lay(&name(2), good[..20].to_vec());
    failed("cut");
    bucket.lay(&name(2), bucket.read(&name(3)));
    failed("another's place");
    bucket.take(&name(2));
    failed("missing");
    bucket.lay(&name(2), good);
    assert_eq!(order(&open(&store, dir.path())), order(&depot));
    let other = fieldbook_depot::DepotKey::new([8; 32]);
    assert!(matches!(BucketDepot::open(store, "", &other, dir.path()), Err(DepotError::WrongKey)));
}

#[test]
fn a_checkpoint_spares_reading_the_log_and_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    for n in 0..60 {
        put(&depot, [n]);
    }
    depot.forget(&[id(3)]).unwrap();
    depot.set_setting("a", Some(b"b")).unwrap();
    depot.checkpoint().unwrap();
    put(&depot, [60]);
    let known = |depot: &BucketDepot| {
        (depot.stats().unwrap(), depot.fingerprint().unwrap(), depot.setting("a").unwrap())
    };
    bucket.gets.store(0, SeqCst);
    let started = open(&store, dir.path());
    assert!(bucket.gets.load(SeqCst) < 10, "{} objects were read", bucket.gets.load(SeqCst));
    assert_eq!(known(&started), known(&depot));
    assert_eq!(order(&started), order(&depot));
    // A second one takes the place of the first, whose pieces stay while somebody may read them.
    started.checkpoint().unwrap();
    depot.checkpoint().unwrap();
    let pieces = || bucket.names().into_iter().filter(|name| name.starts_with("c/")).collect::<Vec<_>>();
    assert_eq!(pieces().len(), 2);
    for damage in 0..3 {
        match damage {
            0 => pieces().iter().for_each(|name| bucket.lay(name, vec![1; 100])),
            1 => pieces().iter().for_each(|name| bucket.take(name)),
            _ => bucket.lay("checkpoint", vec![1; 100]),
        }
        let started = open(&store, dir.path());
        assert_eq!(known(&started), known(&depot));
        assert_eq!(order(&started), order(&depot));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing lies on this machine");
}

#[test]
fn sweeping_while_others_write_takes_nothing_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let (writer, sweeper) = (open(&store, dir.path()), open(&store, dir.path()));
    let left = "e/ab/abababababababababababababababab";
    bucket.lay(left, entry(9_999));
    thread::scope(|scope| {
        let writing = scope.spawn(|| (0..150).map(|n| put(&writer, n * 4..n * 4 + 4)).sum::<usize>());
        let mut swept = 0;
        while !writing.is_finished() {
            swept += sweeper.sweep().unwrap();
        }
        assert_eq!(writing.join().unwrap(), 600);
        assert!(swept >= 1);
    });
    assert!(!bucket.entries().contains(&left.to_owned()));
    assert!(order(&writer).iter().all(|one| one.2), "an entry that was acknowledged lost its bytes");
    sweeper.sweep().unwrap();
    assert_eq!(bucket.entries().len(), 600);
}

#[test]
fn what_others_could_not_read_does_not_come_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    assert!(depot.set_setting("a", Some(&vec![0; 5 << 20])).is_err());
    assert!(depot.set_setting(&"a".repeat(5_000), None).is_err());
    put(&depot, [1]);
    assert_eq!(order(&open(&store, dir.path())), [(1, id(1), true)]);
}

#[test]
fn what_one_process_forgets_no_other_gives_or_brings_back() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let (one, two) = (open(&store, dir.path()), open(&store, dir.path()));
    put(&one, 0..3);
    two.head().unwrap();
    assert_eq!(one.forget(&[id(0), id(1)]).unwrap(), 2);
    assert_eq!(bucket.entries().len(), 1, "its bytes are gone from the bucket");
    // It has not looked since, and finds no object.
    assert_eq!(two.get(&id(0)).unwrap(), Lookup::Gone);
    assert!(two.quarantined().unwrap().is_empty(), "nothing is wrong");
    assert_eq!(put(&two, [1]), 0);
    assert_eq!(bucket.entries().len(), 1);
    assert!(two.quarantine(&id(2), "it does not open").unwrap());
    assert_eq!(one.get(&id(2)).unwrap(), Lookup::Gone);
    assert_eq!(bucket.entries(), Vec::<String>::new());
}

#[test]
fn what_is_missing_for_days_is_given_up_and_what_comes_back_is_not() {
    const DAY: u64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let (bucket, store) = bad_days();
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    let mut names = Vec::new();
    for number in 0..4 {
        put(&depot, [number]);
        let new = bucket.entries().into_iter().find(|name| !names.contains(name)).unwrap();
        names.push(new);
    }
    // The first comes back, the second is lost, the third altered, the fourth missing for once on the last day.
    bucket.take(&names[0]);
    bucket.take(&names[1]);
    bucket.lay(&names[2], entry(9));
    (0..3).for_each(|number| assert_eq!(depot.get(&id(number)).unwrap(), Lookup::Gone));
    let nothing = GivenUp::default();
    assert_eq!(depot.give_up_lost(DAY, 7 * DAY).unwrap(), nothing);
    assert_eq!(depot.give_up_lost(4 * DAY, 7 * DAY).unwrap(), nothing);
    bucket.lay(&names[0], entry(0));
    // Another process, which has asked for none of them.
    let other = open(&store, dir.path());
    assert_eq!(other.give_up_lost(6 * DAY, 7 * DAY).unwrap(), nothing);
    bucket.take(&names[0]);
    bucket.take(&names[3]);
    [0, 3].into_iter().for_each(|number| assert_eq!(other.get(&id(number)).unwrap(), Lookup::Gone));
    let held = |depot: &BucketDepot| depot.stats().unwrap().held;
    assert_eq!((other.give_up_lost(8 * DAY - 1, 7 * DAY).unwrap(), held(&other)), (nothing, 4));
    let given_up = other.give_up_lost(8 * DAY, 7 * DAY).unwrap();
    assert_eq!(given_up, GivenUp { missing: 1, altered: 1 });
    assert_eq!(other.give_up_lost(9 * DAY, 7 * DAY).unwrap(), nothing);
    let stats = other.stats().unwrap();
    assert_eq!((stats.known, stats.held, stats.gone, stats.quarantined), (4, 2, 1, 1));
    // All processes know, and the two that are missing since then have a week of their own.
    depot.head().unwrap();
    assert_eq!(held(&depot), 2);
    [names[0].as_str(), &names[3]]
        .into_iter()
        .zip([0, 3])
        .for_each(|(name, number)| bucket.lay(name, entry(number)));
    assert_eq!(depot.get(&id(3)).unwrap(), Lookup::Held(entry(3)));
    assert_eq!(depot.give_up_lost(10 * DAY, 7 * DAY).unwrap(), nothing, "they came back");
    // When the whole bucket is away, nothing is given up.
    bucket.take(&names[3]);
    assert_eq!(depot.get(&id(3)).unwrap(), Lookup::Gone);
    assert_eq!(depot.give_up_lost(20 * DAY, 7 * DAY).unwrap(), nothing);
    bucket.take("depot");
    assert!(depot.give_up_lost(40 * DAY, 7 * DAY).is_err());
    assert_eq!(held(&depot), 2);
}
