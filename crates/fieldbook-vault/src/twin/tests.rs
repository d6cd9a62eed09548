use super::*;
use crate::Passphrase;
use crate::slots::{halves, open_slots, write_slots};

/// A vault's files without a vault.
fn files(own: u64, twin: u64) -> (tempfile::TempDir, Layout, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let passphrase = Passphrase::new("p".into());
    let slots = write_slots(&Kek::generate(), &passphrase, Some(crate::WORK_FACTOR_MIN), 0).unwrap();
    fs::write(layout.slots(), &slots).unwrap();
    for (path, len) in
        [(layout.vault(0), own), (layout.depot(0), own), (layout.vault(1), twin), (layout.depot(1), twin)]
    {
        fs::write(&path, vec![7; usize::try_from(len).unwrap()]).unwrap();
    }
    for slot in [0, 1] {
        Kek::generate().write(&layout, slot, &Keys::generate().unwrap()).unwrap();
    }
    (dir, layout, slots)
}

fn lengths(layout: &Layout) -> [u64; 4] {
    [layout.vault(0), layout.depot(0), layout.vault(1), layout.depot(1)].map(|path| len(&path).unwrap())
}

#[test]
fn what_is_destroyed_is_gone_and_nothing_else_is_written() {
    let (_dir, layout, slots) = files(1, 1);
    let (own, key) = (fs::read(layout.keys(0)).unwrap(), fs::read(layout.keys(1)).unwrap());
    let who = Kek::generate();
    freshen(&layout, 0, Beside::Stays).unwrap();
    assert!(!is_destroyed(&layout, 0, &who));
    let both = (fs::read(layout.slots()).unwrap(), fs::read(layout.keys(1)).unwrap());
    assert_eq!(both, (slots.clone(), key.clone()));
    let time = |path: std::path::PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    assert!(time(layout.slots()) == time(layout.keys(0)) && time(layout.keys(0)) == time(layout.keys(1)));
    freshen(&layout, 0, Beside::Goes(&who)).unwrap();
    assert!(is_destroyed(&layout, 0, &who) && !is_destroyed(&layout, 0, &Kek::generate()));
    assert!(!slots::are_destroyed(&fs::read(layout.slots()).unwrap()), "it says nothing");
    assert_eq!(fs::read(layout.keys(0)).unwrap(), own);
    let gone = fs::read(layout.slots()).unwrap();
    assert_eq!(halves(&gone).unwrap().0, halves(&slots).unwrap().0);
    assert_ne!(halves(&gone).unwrap().1, halves(&slots).unwrap().1);
    let now = fs::read(layout.keys(1)).unwrap();
    assert!(now != key && now.len() == key.len());
    // From the other side.
    freshen(&layout, 1, Beside::Goes(&who)).unwrap();
    let passphrase = Passphrase::new("p".into());
    assert!(open_slots(&fs::read(layout.slots()).unwrap(), &passphrase).is_err());
}

#[test]
fn the_other_pair_follows_in_length_up_to_a_bound_and_a_depot_that_may_be_open_is_never_touched() {
    let page = PAGE;
    for ((own, twin), (destroyed, closed), expected) in [
        ((3 * page, page), (false, false), [3 * page, 3 * page, 3 * page, 3 * page]),
        ((page, 3 * page), (false, false), [page, page, 3 * page, 3 * page]),
        ((page, 3 * page), (false, true), [3 * page, page, 3 * page, 3 * page]),
        ((page, 3 * page), (true, true), [page, page, page, page]),
        ((2 * FILLER_MAX, page), (false, true), [2 * FILLER_MAX, 2 * FILLER_MAX, FILLER_MAX, FILLER_MAX]),
        ((page, 2 * FILLER_MAX), (true, true), [page, page, page, page]),
    ] {
        let (_dir, layout, _) = files(own, twin);
        fs::write(layout.vault(1).with_extension("a-wal"), "log").unwrap();
        even(&layout, 0, destroyed, closed).unwrap();
        assert_eq!(lengths(&layout), expected, "{own} {twin} {destroyed} {closed}");
        assert_eq!(layout.vault(1).with_extension("a-wal").exists(), !destroyed);
        let time = |path: std::path::PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(layout.vault(0)), time(layout.vault(1)));
        let end = fs::read(layout.vault(1)).unwrap();
        if twin < expected[2] {
            assert!(end[usize::try_from(twin).unwrap()..].iter().any(|byte| *byte != 0), "no hole");
        }
    }
}

#[test]
fn a_medium_that_cannot_be_written_is_left_alone() {
    let (_dir, layout, _) = files(1, 1);
    fs::remove_file(layout.slots()).unwrap();
    fs::remove_file(layout.keys(1)).unwrap();
    let own = Kek::generate();
    for beside in [Beside::Goes(&own), Beside::Stays] {
        assert!(freshen(&layout, 0, beside).is_err());
    }
    assert!(!layout.slots().exists() && !layout.keys(1).exists(), "nothing is made that was not there");
}

#[test]
fn while_the_slot_may_open_it_is_not_noted_that_it_was_destroyed() {
    let (_dir, layout, _) = files(1, 1);
    fs::remove_file(layout.slots()).unwrap();
    let (own, key) = (Kek::generate(), fs::read(layout.keys(1)).unwrap());
    assert!(freshen(&layout, 0, Beside::Goes(&own)).is_err());
    assert!(fs::read(layout.keys(1)).unwrap() != key, "what can be destroyed is");
    assert!(!is_destroyed(&layout, 0, &own), "and the rest the next time");
}

#[test]
fn files_that_are_longer_than_filler_or_have_a_log_are_not_cut() {
    for (own, twin, cut) in [(2, 2, true), (3, 2, true), (2, 3, false), (1024, 256, true), (1024, 257, false)]
    {
        let (_dir, layout, _) = files(own * PAGE, twin * PAGE);
        assert_eq!(is_cut(&layout, 0), cut, "{own} {twin}");
        for log in durable::beside(&layout.depot(1)) {
            fs::write(&log, "log").unwrap();
            assert!(!is_cut(&layout, 0));
            fs::remove_file(log).unwrap();
        }
    }
}
