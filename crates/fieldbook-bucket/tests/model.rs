//! The histories of the depot in a file, on the depot over a bucket: the same answers to everything.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../../fieldbook-depot/tests/model.rs"]
mod file;

mod bucket;

use std::sync::Arc;

use fieldbook_bucket::{BucketDepot, CheckpointRule, ObjectStore};
use fieldbook_depot::Depot;
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
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing remains here");
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

#[test]
fn a_second_depot_is_not_made_over_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let depot = create(&store, dir.path());
    let again = BucketDepot::create(store.clone(), "", &KEY(), dir.path(), file::NAME);
    assert!(matches!(again, Err(fieldbook_depot::DepotError::AlreadyExists)), "{again:?}");
    drop(depot);
}
