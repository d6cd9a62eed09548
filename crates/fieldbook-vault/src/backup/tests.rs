//! A backup and a restoration stop at every step.

use super::*;
use crate::rejoin::tests::{holds_everything, made};
use crate::rekey::tests::{go_on, stop_after};

fn passphrase() -> Passphrase {
    Passphrase::new("a b c d e f".into())
}

fn open(path: &Path) -> Vault {
    Vault::open(path, &passphrase()).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILES: [&str; 10] = ["0.a", "0.b", "0.k", "1.a", "1.b", "1.k", "lock", "lock.net", "rules", "slots"];

#[test]
fn there_is_a_whole_backup_or_none_wherever_it_stops() {
    let (dir, path) = made();
    let backup = dir.path().join("backup");
    let mut vault = open(&path);
    let me = vault.device().id;
    let mut stops = 0;
    for steps in 0.. {
        stop_after(steps);
        let over = vault.write_backup(&backup).is_ok();
        go_on();
        holds_everything(&vault, "the vault itself");
        assert_eq!(vault.device().id, me);
        if over {
            break;
        }
        stops += 1;
        let stopped = Vault::open(&backup, &passphrase());
        if backup.join("slots").exists() {
            // All of it was there: it is a backup.
            holds_everything(&stopped.unwrap(), "a backup that was not told of");
            fs::remove_dir_all(&backup).unwrap();
        } else {
            assert!(matches!(stopped, Err(VaultError::NoVault)), "after {steps} steps");
        }
    }
    assert!(stops >= 5, "{stops}");
    assert_eq!(names(&backup), FILES);
    assert!(matches!(vault.write_backup(&backup), Err(VaultError::AlreadyExists)));
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "words").unwrap();
    assert!(matches!(vault.write_backup(&other), Err(VaultError::NotEmpty(_))));
    assert_eq!(names(&other), ["letter.txt"]);
}

#[test]
fn a_restoration_that_stops_leaves_no_vault_and_can_be_repeated() {
    let (dir, path) = made();
    let (backup, plain) = (dir.path().join("backup"), dir.path().join("plain"));
    let mut vault = open(&path);
    vault.write_backup(&backup).unwrap();
    let me = vault.device().id;
    vault.close().unwrap();
    fs::create_dir(&plain).unwrap();
    for name in names(&path) {
        fs::copy(path.join(&name), plain.join(&name)).unwrap();
    }
    for from in [backup, plain] {
        let before: Vec<Vec<u8>> = FILES.iter().map(|name| fs::read(from.join(name)).unwrap()).collect();
        let to = dir.path().join("restored");
        // What a cut in the midst of a transaction leaves.
        fs::create_dir(&to).unwrap();
        for name in ["0.a-journal", "1.b-journal", "next-journal"] {
            fs::write(to.join(name), [7; 600]).unwrap();
        }
        for steps in 0.. {
            stop_after(steps);
            let restored = Vault::restore(&from, &to, &passphrase());
            go_on();
            if let Ok(device) = restored {
                assert_ne!(device.id, me);
                break;
            }
            if to.join("slots").exists() {
                assert_ne!(open(&to).device().id, me, "after {steps} steps");
                fs::remove_dir_all(&to).unwrap();
            }
        }
        assert_eq!(names(&to), FILES);
        holds_everything(&open(&to), "restored");
        let after: Vec<Vec<u8>> = FILES.iter().map(|name| fs::read(from.join(name)).unwrap()).collect();
        assert!(before == after, "what it was restored from stays as it is");
        assert!(matches!(Vault::restore(&from, &to, &passphrase()), Err(VaultError::AlreadyExists)));
        let wrong = Passphrase::new("another".into());
        let nowhere = dir.path().join("nowhere");
        assert!(matches!(Vault::restore(&from, &nowhere, &wrong), Err(VaultError::WrongPassphrase)));
        assert!(!nowhere.exists());
        fs::remove_dir_all(&to).unwrap();
    }
    let held = open(&path);
    assert!(matches!(
        Vault::restore(&path, &dir.path().join("restored"), &passphrase()),
        Err(VaultError::InUse)
    ));
    drop(held);
    assert!(matches!(
        Vault::restore(dir.path(), &dir.path().join("restored"), &passphrase()),
        Err(VaultError::NoVault)
    ));
}

#[test]
fn a_backup_has_nothing_of_the_device_and_two_openings_of_it_are_two_devices() {
    let (dir, path) = made();
    let backup = dir.path().join("backup");
    let mut vault = open(&path);
    vault.write_backup(&backup).unwrap();
    let secret = vault.device.to_bytes();
    let (slot, me) = (vault.slot(), vault.device().id);
    let keys = vault.kek().read(&Layout::new(&backup), slot).unwrap();
    let mut found = 0;
    for (store, key) in
        [(Layout::new(&backup).vault(slot), &keys.vault), (Layout::new(&backup).depot(slot), &keys.depot)]
    {
        let plain = dir.path().join("plain");
        decrypted(&store, key, &plain);
        let bytes = fs::read(&plain).unwrap();
        for piece in [&secret[1..33], &secret[33..65], &secret[65..]] {
            assert!(!bytes.windows(piece.len()).any(|window| window == piece), "{}", store.display());
        }
        found += bytes.windows(4).filter(|window| *window == b"Told").count();
        fs::remove_file(plain).unwrap();
    }
    assert!(found > 0, "it was looked for in the right place");
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in names(&backup) {
        fs::copy(backup.join(&name), copy.join(&name)).unwrap();
    }
    let (one, two) = (open(&backup).device().id, open(&copy).device().id);
    assert!(one != me && two != me && one != two);
    holds_everything(&open(&backup), "opened where it lies");
    assert_eq!(open(&backup).device().id, one, "once is enough");
}

/// Writes a store in clear. It has no free pages: nothing was ever deleted from it.
fn decrypted(store: &Path, key: &[u8; 32], to: &Path) {
    let db = cipher::open_database(store, key, false).unwrap();
    let free: i64 = db.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert_eq!(free, 0, "{}", store.display());
    fs::write(to, "").unwrap();
    db.execute("ATTACH DATABASE ?1 AS plain KEY ''", [to.to_str().unwrap()]).unwrap();
    db.query_row("SELECT sqlcipher_export('plain')", [], |_| Ok(())).unwrap();
    db.execute_batch("DETACH DATABASE plain").unwrap();
    db.close().unwrap();
}
