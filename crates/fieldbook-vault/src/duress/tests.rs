use std::fs;
use std::path::{Path, PathBuf};

use fieldbook_report::ReportInput;

use super::*;
use crate::layout::Layout;
use crate::rekey::tests::{go_on, stop_after};
use crate::{CreateOptions, ListFilter, WORK_FACTOR_MIN};

fn own() -> Passphrase {
    Passphrase::new("a b c d e f".into())
}

fn duress() -> Passphrase {
    Passphrase::new("g h i j k l".into())
}

fn made() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(WORK_FACTOR_MIN) };
    Vault::create(&path, &own(), &options).unwrap();
    write(&path, &own(), "Real");
    (dir, path)
}

fn write(path: &Path, passphrase: &Passphrase, title: &str) {
    let mut vault = Vault::open(path, passphrase).unwrap();
    write_in(&mut vault, title);
    vault.close().unwrap();
}

fn write_in(vault: &mut Vault, title: &str) {
    let json = format!(
        r#"{{"template": "detention", "title": "{title}", "language": "en", "narrative": "Told of {title}."}}"#
    );
    vault.create_report(&ReportInput::from_json(&json).unwrap()).unwrap();
}

fn titles(vault: &Vault) -> Vec<String> {
    vault.list(&ListFilter::default()).unwrap().into_iter().map(|report| report.title).collect()
}

/// The pair that the own passphrase opens.
fn own_slot(path: &Path) -> usize {
    let vault = Vault::open(path, &own()).unwrap();
    let slot = vault.slot_for_tests();
    vault.close().unwrap();
    slot
}

fn set(path: &Path) {
    let mut vault = Vault::open(path, &own()).unwrap();
    assert!(vault.set_duress(&own(), &duress(), "Notebook").unwrap());
    vault.close().unwrap();
}

/// What an examiner sees of a file: its name, its length and its time.
fn seen(path: &Path) -> Vec<(String, u64)> {
    let mut seen: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().to_str().unwrap().to_owned(), file.metadata().unwrap().len()))
        .collect();
    seen.sort();
    seen
}

#[test]
fn the_duress_passphrase_opens_the_decoy_and_destroys_the_real_keys_for_good() {
    let (_dir, path) = made();
    set(&path);
    let before = fs::read(Layout::new(&path).slots()).unwrap();
    let mut vault = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
    assert!(!vault.has_destroyed());
    write_in(&mut vault, "Harmless");
    vault.close().unwrap();
    assert_eq!(fs::read(Layout::new(&path).slots()).unwrap(), before, "going in and out destroys nothing");

    let vault = Vault::open(&path, &own()).unwrap();
    assert_eq!(titles(&vault), ["Real"]);
    vault.close().unwrap();

    let vault = Vault::open(&path, &duress()).unwrap();
    assert!(vault.has_destroyed());
    assert_eq!((titles(&vault), vault.device().name), (vec!["Harmless".to_owned()], "Notebook".to_owned()));
    assert!(!vault.has_duress().unwrap());
    vault.close().unwrap();
    assert!(matches!(Vault::open(&path, &own()), Err(VaultError::WrongPassphrase)));
    let slots = fs::read(Layout::new(&path).slots()).unwrap();
    let again = Vault::open(&path, &duress()).unwrap();
    assert_eq!(titles(&again), ["Harmless"], "and it can be repeated");
    assert!(!again.has_destroyed(), "what is gone is gone: from now on it is a vault like any other");
    again.close().unwrap();
    assert_eq!(fs::read(Layout::new(&path).slots()).unwrap(), slots, "nothing is written over once more");
}

#[test]
fn the_real_slot_is_gone_also_when_the_decoy_does_not_open() {
    let (_dir, path) = made();
    set(&path);
    let vault = Vault::open(&path, &own()).unwrap();
    let (slot, layout) = (vault.slot_for_tests(), vault.layout().clone());
    vault.close().unwrap();
    let old = fs::read(layout.keys(slot)).unwrap();
    fs::write(layout.vault(1 - slot), b"damaged").unwrap();
    assert!(Vault::open(&path, &duress()).is_err());
    assert!(matches!(Vault::open(&path, &own()), Err(VaultError::WrongPassphrase)));
    assert_ne!(fs::read(layout.keys(slot)).unwrap(), old);
}

#[test]
fn nothing_that_an_examiner_sees_of_the_files_tells_whether_there_is_a_decoy() {
    let (plain, with_decoy) = (made(), made());
    set(&with_decoy.1);
    let mut vault = Vault::open(&with_decoy.1, &own()).unwrap().into_decoy().unwrap();
    write_in(&mut vault, "Harmless");
    vault.close().unwrap();
    // Both are used and grow.
    for path in [&plain.1, &with_decoy.1] {
        let mut vault = Vault::open(path, &own()).unwrap();
        for n in 0..200 {
            write_in(&mut vault, &format!("Real {n}, with {}", "many words ".repeat(100)));
        }
        vault.close().unwrap();
    }
    let slot_of = |path: &Path| Vault::open(path, &own()).unwrap().slot_for_tests();
    for path in [&plain.1, &with_decoy.1] {
        let layout = Layout::new(path);
        let slot = slot_of(path);
        let data = |path: PathBuf| fs::metadata(path).unwrap();
        let (real, twin) = (data(layout.vault(slot)), data(layout.vault(1 - slot)));
        assert!(real.len() > 20 * 16 * 1024);
        assert_eq!(twin.len(), real.len().min(crate::durable::FILLER_MAX), "{}", path.display());
        assert_eq!(twin.modified().unwrap(), real.modified().unwrap());
        let (real, twin) = (data(layout.depot(slot)), data(layout.depot(1 - slot)));
        assert_eq!(twin.len(), real.len());
        assert_eq!(twin.modified().unwrap(), real.modified().unwrap());
    }
    let names = |path: &Path| seen(path).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&plain.1), names(&with_decoy.1));

    // Afterwards it looks like a vault with little in it, and its filler.
    let vault = Vault::open(&with_decoy.1, &duress()).unwrap();
    vault.close().unwrap();
    let sizes = |path: &Path| seen(path).into_iter().map(|(_, len)| len).collect::<Vec<_>>();
    let files = seen(&with_decoy.1);
    let of = |name: &str| files.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!((of("0.a"), of("0.b")), (of("1.a"), of("1.b")), "{files:?} {:?}", sizes(&plain.1));
}

#[test]
fn stores_that_were_made_longer_stay_whole() {
    let (_dir, path) = made();
    set(&path);
    // The decoy grows beyond the real one, which follows.
    let mut vault = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
    for n in 0..120 {
        write_in(&mut vault, &format!("Harmless {n}, with {}", "many words ".repeat(100)));
    }
    vault.close().unwrap();
    for round in 0..3 {
        let mut vault = Vault::open(&path, &own()).unwrap();
        let whole: String = vault.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        crate::rekey::ask(&vault.db).unwrap();
        write_in(&mut vault, &format!("Round {round}"));
        vault.close().unwrap();
        let len = |name: &str| fs::metadata(path.join(name)).unwrap().len();
        assert_eq!(len("0.a"), len("1.a"));
    }
    let vault = Vault::open(&path, &own()).unwrap();
    assert_eq!(titles(&vault).len(), 4);
    let vault = vault.into_decoy().unwrap();
    assert_eq!(titles(&vault).len(), 120);
    let whole: String = vault.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[test]
fn setting_it_can_be_cut_off_anywhere_and_repeated() {
    for steps in 0.. {
        let (_dir, path) = made();
        let mut vault = Vault::open(&path, &own()).unwrap();
        stop_after(steps);
        let set_at_once = vault.set_duress(&own(), &duress(), "Notebook").is_ok();
        go_on();
        drop(vault);
        let mut vault = Vault::open(&path, &own()).unwrap();
        assert_eq!(titles(&vault), ["Real"], "after {steps} steps");
        vault.set_duress(&own(), &duress(), "Notebook").unwrap();
        vault.close().unwrap();
        let vault = Vault::open(&path, &duress()).unwrap();
        assert!(vault.has_destroyed() && titles(&vault).is_empty());
        if set_at_once {
            assert!(steps > 2, "it has steps");
            return;
        }
    }
}

#[test]
fn a_passphrase_is_changed_in_its_slot_alone() {
    let (_dir, path) = made();
    set(&path);
    let files = |path: &Path| ["0.a", "0.k", "1.a", "1.k"].map(|name| fs::read(path.join(name)).unwrap());
    let mut vault = Vault::open(&path, &own()).unwrap();
    let slot = vault.slot_for_tests();
    let (before, slots_before) = (files(&path), fs::read(path.join("slots")).unwrap());
    let new = Passphrase::new("m n o p q r".into());
    assert!(matches!(vault.change_passphrase(&new, &own()), Err(VaultError::WrongPassphrase)));
    assert!(matches!(vault.change_passphrase(&duress(), &new), Err(VaultError::WrongPassphrase)));
    assert!(matches!(vault.change_passphrase(&own(), &duress()), Err(VaultError::SamePassphrase)));
    vault.change_passphrase(&own(), &new).unwrap();
    assert_eq!(files(&path), before);
    let after = fs::read(path.join("slots")).unwrap();
    let (a, b) = (slots::halves(&slots_before).unwrap(), slots::halves(&after).unwrap());
    assert_eq!((a.0 == b.0, a.1 == b.1), (slot == 1, slot == 0));
    assert!(matches!(vault.set_duress(&own(), &duress(), "x"), Err(VaultError::WrongPassphrase)));
    assert!(matches!(vault.set_duress(&new, &new, "x"), Err(VaultError::SamePassphrase)));
    drop(vault);
    assert!(matches!(Vault::open(&path, &own()), Err(VaultError::WrongPassphrase)));
    drop(Vault::open(&path, &new).unwrap());
    assert!(Vault::open(&path, &duress()).unwrap().has_destroyed(), "the other one holds");
}

#[test]
fn it_is_known_whether_the_duress_passphrase_goes_with_the_key_file_of_now() {
    let (_dir, path) = made();
    let keyed = |key: &[u8]| own().with_factor(key);
    let mut vault = Vault::open(&path, &own()).unwrap();
    assert!(!vault.duress_has_other_factor().unwrap(), "there is none");
    vault.set_duress(&own(), &duress(), "Notebook").unwrap();
    let steps = [
        (own(), keyed(b"one"), true),
        (keyed(b"one"), keyed(b"two"), true),
        (keyed(b"two"), own(), false),
        (own(), keyed(b"two"), true),
    ];
    for (number, (before, after, other)) in steps.into_iter().enumerate() {
        vault.change_passphrase(&before, &after).unwrap();
        assert_eq!(vault.duress_has_other_factor().unwrap(), other, "step {number}");
    }
    // What fails changes nothing of it.
    assert!(vault.change_passphrase(&keyed(b"one"), &own()).is_err());
    assert!(vault.duress_has_other_factor().unwrap());
    vault.set_duress(&keyed(b"two"), &duress().with_factor(b"two"), "Notebook").unwrap();
    assert!(!vault.duress_has_other_factor().unwrap(), "set anew");
    // What earlier versions wrote: that it is another one, not which.
    crate::store::set_meta(&vault.db, super::OTHER_FACTOR, &[1]).unwrap();
    vault.change_passphrase(&keyed(b"two"), &own()).unwrap();
    assert!(vault.duress_has_other_factor().unwrap());
}

#[test]
fn a_decoy_is_a_vault_and_can_have_a_decoy_of_its_own() {
    let (_dir, path) = made();
    set(&path);
    let mut decoy = Vault::open(&path, &duress()).unwrap();
    write_in(&mut decoy, "Now it is the real one");
    let third = Passphrase::new("third".into());
    assert!(decoy.set_duress(&duress(), &third, "Notebook").unwrap());
    decoy.close().unwrap();
    let vault = Vault::open(&path, &duress()).unwrap();
    assert!(!vault.has_destroyed() && vault.has_duress().unwrap());
    vault.close().unwrap();
    assert!(Vault::open(&path, &third).unwrap().has_destroyed());
    assert!(matches!(Vault::open(&path, &duress()), Err(VaultError::WrongPassphrase)));
}

#[test]
fn a_decoy_that_is_open_from_beside_can_do_nothing_to_the_real_vault() {
    let (_dir, path) = made();
    set(&path);
    let mut decoy = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
    assert!(decoy.is_open_from_beside());
    assert!(matches!(decoy.remove_duress(), Err(VaultError::InDecoy)));
    let third = Passphrase::new("third of all".into());
    assert!(matches!(decoy.set_duress(&duress(), &third, "x"), Err(VaultError::InDecoy)));
    // Changing the duress passphrase there keeps what it is for.
    decoy.change_passphrase(&duress(), &third).unwrap();
    decoy.close().unwrap();
    assert_eq!(titles(&Vault::open(&path, &own()).unwrap()), ["Real"]);
    assert!(Vault::open(&path, &third).unwrap().has_destroyed());
}

#[test]
fn who_wants_the_decoy_with_the_wrong_one_of_two_passphrases_loses_nothing() {
    let (_dir, path) = made();
    assert!(matches!(Vault::open_decoy(&path, &own()), Err(VaultError::NoDecoy)));
    set(&path);
    // As a vault without a decoy answers to its own passphrase.
    assert!(matches!(Vault::open_decoy(&path, &duress()), Err(VaultError::NoDecoy)));
    assert_eq!(titles(&Vault::open(&path, &own()).unwrap()), ["Real"]);
    assert!(Vault::open_decoy(&path, &own()).unwrap().is_open_from_beside());
}

#[test]
fn a_log_that_a_crash_left_beside_the_decoy_goes_when_the_real_vault_closes() {
    let (_dir, path) = made();
    set(&path);
    let mut decoy = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
    write_in(&mut decoy, "Harmless");
    let store = Layout::new(&path).vault(decoy.slot_for_tests());
    let log = crate::durable::write_ahead_log(&store);
    let (store_then, log_then) = (fs::read(&store).unwrap(), fs::read(&log).unwrap());
    decoy.close().unwrap();
    fs::write(&store, store_then).unwrap();
    fs::write(&log, log_then).unwrap();
    Vault::open(&path, &own()).unwrap().close().unwrap();
    assert!(!log.exists());
    assert_eq!(titles(&Vault::open(&path, &own()).unwrap().into_decoy().unwrap()), ["Harmless"]);
}

#[test]
fn what_opened_by_a_slip_is_never_what_the_slot_is_made_of() {
    let (_dir, path) = made();
    // Caps Lock: it opens, and the slot that is made anew still wants what was meant.
    let capitals = Passphrase::new("A B C D E F".into());
    let mut vault = Vault::open(&path, &capitals).unwrap();
    vault.set_duress(&capitals, &duress(), "Notebook").unwrap();
    vault.close().unwrap();
    drop(Vault::open(&path, &own()).unwrap());
    for like in ["G H I J K L", "g h i j k l", "g h i j k"] {
        let mut vault = Vault::open(&path, &own()).unwrap();
        let like = Passphrase::new(like.into());
        assert!(matches!(
            vault.set_duress(&own(), &Passphrase::new("a b c d e x".into()), "x"),
            Err(VaultError::SamePassphrase)
        ));
        let changed = vault.change_passphrase(&own(), &like);
        assert_eq!(changed.is_err(), like.as_bytes() != b"g h i j k", "{like:?}");
        if changed.is_ok() {
            vault.change_passphrase(&like, &own()).unwrap();
        }
    }
}

#[test]
fn a_duress_passphrase_is_taken_back() {
    let (_dir, path) = made();
    set(&path);
    let mut vault = Vault::open(&path, &own()).unwrap();
    assert!(vault.remove_duress().unwrap());
    assert!(!vault.remove_duress().unwrap() && !vault.has_duress().unwrap());
    vault.close().unwrap();
    assert!(matches!(Vault::open(&path, &duress()), Err(VaultError::WrongPassphrase)));
    let vault = Vault::open(&path, &own()).unwrap();
    assert!(matches!(vault.into_decoy(), Err(VaultError::NoDecoy)));
    assert_eq!(titles(&Vault::open(&path, &own()).unwrap()), ["Real"]);
}

#[test]
fn a_backup_takes_no_decoy_along() {
    let (dir, path) = made();
    set(&path);
    let backup = dir.path().join("backup");
    Vault::open(&path, &own()).unwrap().write_backup(&backup).unwrap();
    let restored = dir.path().join("restored");
    assert!(matches!(Vault::restore(&backup, &restored, &duress()), Err(VaultError::WrongPassphrase)));
    Vault::restore(&backup, &restored, &own()).unwrap();
    let vault = Vault::open(&restored, &own()).unwrap();
    assert!(!vault.has_duress().unwrap());
    assert_eq!(titles(&vault), ["Real"]);
}

#[test]
fn a_copy_that_is_restored_with_the_duress_passphrase_has_no_real_keys() {
    let (dir, path) = made();
    set(&path);
    let restored = dir.path().join("restored");
    Vault::restore(&path, &restored, &duress()).unwrap();
    assert!(matches!(Vault::open(&restored, &own()), Err(VaultError::WrongPassphrase)));
    assert!(titles(&Vault::open(&restored, &duress()).unwrap()).is_empty());
    assert_eq!(titles(&Vault::open(&path, &own()).unwrap()), ["Real"], "what was read from is not written");
}

/// What this thread has written so far: syncs of the small files; calls that write, of whatever, databases too; bytes.
fn written() -> (u64, u64, u64) {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let figure =
        |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
    (crate::durable::tests::SYNCS.get(), figure("syscw:"), figure("wchar:"))
}

/// What an opening and closing wrote, and the title that it showed.
fn cost(path: &Path, passphrase: &Passphrase) -> ((u64, u64, u64), String) {
    let before = written();
    let vault = Vault::open(path, passphrase).unwrap();
    let title = titles(&vault).remove(0);
    vault.close().unwrap();
    let after = written();
    ((after.0 - before.0, after.1 - before.1, after.2 - before.2), title)
}

#[test]
fn the_first_opening_under_duress_writes_and_syncs_what_an_ordinary_one_does() {
    let (dir, path) = made();
    set(&path);
    let mut vault = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
    write_in(&mut vault, "Harmless");
    vault.close().unwrap();
    let before = written();
    fs::write(dir.path().join("file"), [0; 9]).unwrap();
    assert_eq!((written().1 - before.1, written().2 - before.2), (1, 9), "the system counts");
    let (ordinary, title) = cost(&path, &own());
    assert_eq!(title, "Real");
    assert_eq!(ordinary.0, 3, "each of the three small files");
    assert_eq!(cost(&path, &own()).0, ordinary);
    for times in ["the first time", "the second", "the third"] {
        assert_eq!(cost(&path, &duress()), (ordinary, "Harmless".to_owned()), "under duress, {times}");
    }
}

#[test]
fn what_was_destroyed_is_known_however_it_ended_and_is_cut_later() {
    let (_dir, path) = made();
    set(&path);
    let (layout, real) = (Layout::new(&path), own_slot(&path));
    // As if a video were in it, and a daemon killed.
    crate::durable::grow(&layout.depot(real), 6 << 20).unwrap();
    let log = crate::durable::write_ahead_log(&layout.depot(real));
    fs::write(&log, "log").unwrap();
    let vault = Vault::open(&path, &duress()).unwrap();
    assert!(vault.has_destroyed());
    // It is never closed: the power fails.
    drop(vault);
    let keys = || (fs::read(layout.slots()).unwrap(), fs::read(layout.keys(real)).unwrap());
    let noise = keys();
    assert!(twin::is_cut(&layout, real) && !twin::is_cut(&layout, 1 - real));
    let vault = Vault::open(&path, &duress()).unwrap();
    assert!(!vault.has_destroyed(), "once");
    vault.close().unwrap();
    assert!(twin::is_cut(&layout, 1 - real) && !log.exists());
    assert_eq!(
        fs::metadata(layout.depot(real)).unwrap().len(),
        fs::metadata(layout.depot(1 - real)).unwrap().len()
    );
    Vault::open(&path, &duress()).unwrap().close().unwrap();
    assert!(keys() == noise, "nothing is written but what is there");
}

#[test]
fn a_cut_between_the_two_writes_of_a_destruction_is_made_up_for() {
    let (_dir, path) = made();
    set(&path);
    let (layout, real) = (Layout::new(&path), own_slot(&path));
    let key = fs::read(layout.keys(real)).unwrap();
    drop(Vault::open(&path, &duress()).unwrap());
    // The slot was destroyed, and the key file not yet.
    fs::write(layout.keys(real), &key).unwrap();
    let vault = Vault::open(&path, &duress()).unwrap();
    assert!(vault.has_destroyed());
    assert!(fs::read(layout.keys(real)).unwrap() != key);
    vault.close().unwrap();
    assert!(!Vault::open(&path, &duress()).unwrap().has_destroyed());
}

#[test]
fn a_decoy_of_an_earlier_version_that_has_destroyed_does_not_do_it_again() {
    for (state, cut) in [([1], false), ([2], true)] {
        let (_dir, path) = made();
        set(&path);
        let mut vault = Vault::open(&path, &own()).unwrap().into_decoy().unwrap();
        let layout = vault.layout().clone();
        let other = 1 - vault.slot_for_tests();
        write_in(&mut vault, "Harmless");
        store::set_meta(&vault.db, DESTROYED, &state).unwrap();
        vault.close().unwrap();
        crate::durable::grow(&layout.depot(other), 6 << 20).unwrap();
        let vault = Vault::open(&path, &duress()).unwrap();
        assert!(!vault.has_destroyed());
        vault.close().unwrap();
        assert_eq!(
            fs::metadata(layout.depot(other)).unwrap().len() == 6 << 20,
            cut,
            "cut before, and only then left"
        );
    }
}

#[test]
fn a_decoy_that_takes_back_a_duress_passphrase_goes_on_knowing_what_it_did() {
    let (_dir, path) = made();
    set(&path);
    let mut vault = Vault::open(&path, &duress()).unwrap();
    assert!(!vault.remove_duress().unwrap());
    vault.close().unwrap();
    assert!(!Vault::open(&path, &duress()).unwrap().has_destroyed());
}
