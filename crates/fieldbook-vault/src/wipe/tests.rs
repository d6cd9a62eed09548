use super::*;
use crate::keyfile::KEY_FILE_LEN;
use crate::rekey::tests::{go_on, stop_after};
use crate::rules::{DEAD_MAN_MIN_DAYS, Rules};
use crate::vault::{Vault, now_s};
use crate::{CreateOptions, Passphrase, WORK_FACTOR_MIN};

fn passphrase() -> Passphrase {
    Passphrase::new("a b c d e f".into())
}

fn made() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(WORK_FACTOR_MIN) };
    Vault::create(&path, &passphrase(), &options).unwrap();
    (dir, Layout::new(&path))
}

#[test]
fn after_the_first_step_nothing_opens_and_the_rest_can_follow_later() {
    let (_dir, layout) = made();
    let copy = fs::read(layout.slots()).unwrap();
    let keys = [0, 1].map(|slot| fs::read(layout.keys(slot)).unwrap());
    destroy_keys(&layout).unwrap();
    assert!(matches!(Vault::open(layout.dir(), &passphrase()), Err(VaultError::KeysDestroyed)));
    let new = fs::read(layout.slots()).unwrap();
    assert!(new.len() == copy.len() && new != copy);
    for slot in [0, 1] {
        let now = fs::read(layout.keys(slot)).unwrap();
        assert!(now.len() == KEY_FILE_LEN && now != keys[slot]);
    }
    // Who has a copy of the slots alone has nothing: the key files are gone as well.
    fs::write(layout.slots(), copy).unwrap();
    assert!(matches!(Vault::open(layout.dir(), &passphrase()), Err(VaultError::Damaged(_))));
    assert!(remove_rest(&layout).unwrap().is_empty());
    assert!(!layout.dir().exists());
    assert!(matches!(destroy_keys(&layout), Err(VaultError::NoVault)));
    assert!(remove_rest(&layout).unwrap().is_empty(), "as often as wanted");
}

#[test]
fn a_vault_that_is_open_is_wiped_too() {
    let (_dir, layout) = made();
    let vault = Vault::open(layout.dir(), &passphrase()).unwrap();
    destroy_keys(&layout).unwrap();
    drop(vault);
    assert!(matches!(Vault::open(layout.dir(), &passphrase()), Err(VaultError::KeysDestroyed)));
}

/// A copy of a vault, file by file.
fn copied(layout: &Layout) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let copy = Layout::new(&dir.path().join("vault"));
    fs::create_dir(copy.dir()).unwrap();
    for file in fs::read_dir(layout.dir()).unwrap().flatten() {
        fs::copy(file.path(), copy.dir().join(file.file_name())).unwrap();
    }
    (dir, copy)
}

#[test]
fn a_wipe_that_stops_at_any_step_opens_nothing_and_is_finished_without_a_passphrase() {
    let (_dir, made) = made();
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(WORK_FACTOR_MIN) };
    for steps in 0.. {
        let (_dir, layout) = copied(&made);
        let keys = [0, 1].map(|slot| fs::read(layout.keys(slot)).unwrap());
        stop_after(steps);
        let over = destroy_keys(&layout).and_then(|()| remove_rest(&layout)).is_ok();
        go_on();
        if over {
            // The slots, three key files, and the ten files of a vault.
            assert_eq!(steps, 14, "every step was tried");
            return;
        }
        if layout.slots().exists() {
            assert!(keys_are_destroyed(&layout), "after {steps} steps");
            let again = Vault::create(layout.dir(), &passphrase(), &options);
            assert!(matches!(again, Err(VaultError::KeysDestroyed)), "after {steps} steps");
            let opened = Vault::open(layout.dir(), &passphrase());
            assert!(matches!(opened, Err(VaultError::KeysDestroyed)), "after {steps} steps");
            for slot in [0, 1] {
                // Also by whoever finds it, before anything is said.
                assert!(fs::read(layout.keys(slot)).is_ok_and(|now| now != keys[slot]) || steps > 3);
            }
            destroy_keys(&layout).unwrap();
        }
        assert!(remove_rest(&layout).unwrap().is_empty());
        assert!(!layout.dir().exists(), "after {steps} steps");
    }
}

#[test]
fn a_write_of_which_half_reached_the_disk_is_finished_by_whoever_finds_it() {
    let (_dir, layout) = made();
    let whole = fs::read(layout.slots()).unwrap();
    let half = whole.len() / 2;
    for at in [0, half] {
        let mut torn = whole.clone();
        torn[at..at + half].copy_from_slice(&slots::destroyed(whole.len()).unwrap()[at..at + half]);
        fs::write(layout.slots(), &torn).unwrap();
        assert!(Rules::enforce(&layout).unwrap());
        let now = fs::read(layout.slots()).unwrap();
        assert!(now[..half] != whole[..half] && now[half..] != whole[half..]);
    }
}

#[test]
fn what_is_not_the_vaults_is_left_and_named() {
    let (_dir, layout) = made();
    fs::write(layout.dir().join("letter.txt"), "Dear").unwrap();
    fs::write(layout.dir().join("0.a-wal"), "log").unwrap();
    fs::create_dir(layout.dir().join("next")).unwrap();
    destroy_keys(&layout).unwrap();
    let mut left = remove_rest(&layout).unwrap();
    left.sort();
    assert_eq!(left, ["letter.txt", "next"]);
    assert_eq!(fs::read_dir(layout.dir()).unwrap().count(), 2);
}

#[test]
fn only_who_knows_a_passphrase_wipes_by_it() {
    let (_dir, layout) = made();
    let wrong = Passphrase::new("a b c d e g".into());
    assert!(matches!(Vault::wipe(layout.dir(), &wrong), Err(VaultError::WrongPassphrase)));
    drop(Vault::open(layout.dir(), &passphrase()).unwrap());
    Vault::wipe(layout.dir(), &passphrase()).unwrap();
    assert!(Vault::open(layout.dir(), &passphrase()).is_err());
}

#[test]
fn the_keys_of_a_vault_that_nobody_unlocks_are_destroyed_on_the_day() {
    let (_dir, layout) = made();
    let vault = Vault::open(layout.dir(), &passphrase()).unwrap();
    assert!(matches!(vault.set_dead_man(DEAD_MAN_MIN_DAYS - 1), Err(VaultError::TooFewDays)));
    let rules = vault.set_dead_man(30).unwrap();
    assert!(rules.deadline_s > now_s() + 29 * 24 * 3600);
    drop(vault);
    assert!(!Rules::enforce(&layout).unwrap());
    // Each unlocking begins the days anew.
    Rules { deadline_s: now_s() + 60, ..rules }.write(&layout).unwrap();
    drop(Vault::open(layout.dir(), &passphrase()).unwrap());
    assert!(Rules::of(&layout).deadline_s > now_s() + 29 * 24 * 3600);
    // A clock that went back destroys nothing; one that has passed the day does.
    Rules { deadline_s: now_s() - 1, ..rules }.write(&layout).unwrap();
    assert!(!Rules::enforce(&layout).unwrap(), "nor one that jumps while the machine runs");
    Rules { deadline_s: now_s() - 1, ..rules }.long_ago().write(&layout).unwrap();
    assert!(matches!(Vault::open(layout.dir(), &passphrase()), Err(VaultError::KeysDestroyed)));
    assert!(Rules::of(&layout).destroyed, "for earlier versions");
    Rules::default().write(&layout).unwrap();
    assert!(matches!(Vault::open(layout.dir(), &passphrase()), Err(VaultError::KeysDestroyed)));
}

#[test]
fn a_vault_from_before_there_were_rules_gets_them() {
    let (_dir, layout) = made();
    fs::remove_file(layout.rules()).unwrap();
    let vault = Vault::open(layout.dir(), &passphrase()).unwrap();
    assert!(layout.rules().exists());
    assert!(vault.set_wipe_unasked(true).unwrap().wipe_unasked);
    drop(vault);
    drop(Vault::open(layout.dir(), &passphrase()).unwrap());
    assert!(Rules::of(&layout).wipe_unasked, "unlocking leaves it");
}

#[test]
fn rules_that_somebody_removed_are_back_when_the_vault_is_opened() {
    let (_dir, layout) = made();
    let vault = Vault::open(layout.dir(), &passphrase()).unwrap();
    vault.set_wipe_unasked(true).unwrap();
    vault.set_dead_man(30).unwrap();
    drop(vault);
    fs::remove_file(layout.rules()).unwrap();
    assert_eq!(Rules::of(&layout), Rules::default());
    let vault = Vault::open(layout.dir(), &passphrase()).unwrap();
    let rules = vault.rules();
    assert!(rules.wipe_unasked && rules.dead_man_days == 30 && rules.deadline_s > now_s() + 29 * 24 * 3600);
    // What the owner takes back stays so.
    vault.set_wipe_unasked(false).unwrap();
    vault.set_dead_man(0).unwrap();
    drop(vault);
    fs::remove_file(layout.rules()).unwrap();
    drop(Vault::open(layout.dir(), &passphrase()).unwrap());
    assert_eq!(Rules::of(&layout), Rules::default());
}

#[test]
fn whoever_looks_again_goes_by_the_rules_that_it_has_read_and_puts_them_back() {
    let (_dir, layout) = made();
    let mut last = None;
    fs::remove_file(layout.rules()).unwrap();
    assert_eq!(Rules::still(&mut last, &layout), Rules::default(), "it has read none");
    assert!(!layout.rules().exists());
    let wanted = Rules { wipe_unasked: true, ..Rules::default() };
    wanted.write(&layout).unwrap();
    assert_eq!(Rules::still(&mut last, &layout), wanted);
    fs::remove_file(layout.rules()).unwrap();
    assert_eq!(Rules::still(&mut last, &layout), wanted);
    assert_eq!(Rules::of(&layout), wanted, "they are back");
    // The owner's own change holds.
    Rules::default().write(&layout).unwrap();
    assert_eq!(Rules::still(&mut last, &layout), Rules::default());
    wanted.write(&layout).unwrap();
    Rules::still(&mut last, &layout);
    fs::remove_file(layout.rules()).unwrap();
    fs::remove_file(layout.slots()).unwrap();
    Rules::still(&mut last, &layout);
    assert!(!layout.rules().exists(), "a vault that was removed does not come back");
}
