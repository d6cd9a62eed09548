//! The histories of the depot in a file, on the depot over a bucket: the same answers to everything.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../../fieldbook-depot/tests/model.rs"]
mod file;

mod bucket;

use std::sync::Arc;

use fieldbook_bucket::{BucketDepot, CheckpointRule, ObjectStore};
use fieldbook_depot::Depot;
use fieldbook_tests::wait_for;
use object_store::memory::InMemory;
use proptest::prelude::*;

use bucket::{KEY, create, open};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each start reads the log, or a checkpoint and what came after it.
    #[test]
    fn a_depot_in_a_bucket_and_the_model_agree(steps in file::steps()) {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut starts = 0;
        file::run(steps, &mut |before| {
            let Some(before) = before else {
                return Box::new(BucketDepot::create(store.clone(), "a/b", &KEY(), dir.path(), file::NAME).unwrap());
            };
            drop(before);
            // A checkpoint may just be under way.
            wait_for("the end of what is kept here for it", || {
                (std::fs::read_dir(dir.path()).unwrap().count() == 0).then_some(())
            });
            let depot = BucketDepot::open(store.clone(), "a/b", &KEY(), dir.path()).unwrap();
            starts += 1;
            if starts % 2 == 0 {
                depot.checkpoint().unwrap();
            }
            Box::new(depot.with_checkpoints(CheckpointRule { segments: 5, part: 1 }))
        });
    }

    /// Three processes have the bucket open, and each act is another's.
    #[test]
    fn processes_on_one_bucket_and_the_model_agree(steps in file::steps()) {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = BucketDepot::create(store.clone(), "", &KEY(), dir.path(), file::NAME).unwrap();
        let mut others: Vec<Box<dyn Depot>> = vec![Box::new(first)];
        others.extend((0..2).map(|_| Box::new(open(&store, dir.path())) as Box<dyn Depot>));
        // After every step another process answers.
        let steps = steps.into_iter().flat_map(|step| [step, file::Step::Reopen]).collect();
        file::run(steps, &mut |before| {
            others.extend(before);
            let next = others.remove(0);
            next.head().unwrap();
            next
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same against a real server, which is killed and started again between two acts.
    #[test]
    fn processes_on_a_real_bucket_and_the_model_agree(steps in file::steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut server = fieldbook_tests::BucketServer::start();
        let store = bucket::client(&server);
        let mut others: Vec<Box<dyn Depot>> = Vec::new();
        let mut changes = 0;
        file::run(steps, &mut |before| {
            let Some(before) = before else {
                others.push(Box::new(BucketDepot::create(store.clone(), "x", &KEY(), dir.path(), file::NAME).unwrap()));
                return Box::new(BucketDepot::open(store.clone(), "x", &KEY(), dir.path()).unwrap());
            };
            changes += 1;
            if changes % 2 == 0 {
                server.restart(&[]);
            }
            others.push(before);
            let next = others.remove(0);
            next.head().unwrap();
            next
        });
    }
}

#[test]
fn a_second_depot_is_not_made_over_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let depot = create(&store, dir.path());
    let again = BucketDepot::create(store.clone(), "", &KEY(), dir.path(), file::NAME);
    assert!(matches!(again, Err(fieldbook_depot::DepotError::AlreadyExists)), "{again:?}");
    drop(depot);
}
