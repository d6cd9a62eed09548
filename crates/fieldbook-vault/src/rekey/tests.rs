use std::cell::Cell;
use std::path::Path;

use fieldbook_report::ReportInput;

use super::*;
use crate::vault::Vault;
use crate::{CreateOptions, ListFilter, Passphrase, WORK_FACTOR_MIN};

thread_local! {
    /// Steps that are still taken before one fails.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Fails when the test says so; whoever is interrupted so tidies nothing up.
pub(crate) fn step() -> Result<(), VaultError> {
    match LEFT.get() {
        Some(0) => Err(VaultError::damaged("interrupted")),
        left => {
            LEFT.set(left.map(|left| left - 1));
            Ok(())
        }
    }
}

pub(crate) fn stop_after(steps: u32) {
    LEFT.set(Some(steps));
}

pub(crate) fn go_on() {
    LEFT.set(None);
}

fn passphrase() -> Passphrase {
    Passphrase::new("a b c d e f".into())
}

fn made() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(WORK_FACTOR_MIN) };
    Vault::create(&path, &passphrase(), &options).unwrap();
    (dir, path)
}

fn write(vault: &mut Vault, title: &str) {
    let json = format!(
        r#"{{"template": "detention", "title": "{title}", "language": "en", "narrative": "Told of {title}."}}"#
    );
    vault.create_report(&ReportInput::from_json(&json).unwrap()).unwrap();
}

fn titles(vault: &Vault) -> Vec<String> {
    let mut titles: Vec<String> =
        vault.list(&ListFilter::default()).unwrap().into_iter().map(|report| report.title).collect();
    titles.sort();
    titles
}

/// What a list must find: the index came along.
fn found(vault: &Vault, word: &str) -> usize {
    vault.list(&ListFilter { search: Some(word.into()), ..ListFilter::default() }).unwrap().len()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILES: [&str; 10] = ["0.a", "0.b", "0.k", "1.a", "1.b", "1.k", "lock", "lock.net", "rules", "slots"];

#[test]
fn a_new_key_keeps_everything_and_the_old_key_opens_nothing() {
    let (_dir, path) = made();
    let mut vault = Vault::open(&path, &passphrase()).unwrap();
    write(&mut vault, "Alpha");
    assert!(!vault.rekey_if_due().unwrap(), "nothing was forgotten");
    let (slot, old) = (vault.slot_for_tests(), vault.vault_key_for_tests());
    ask(&vault.db).unwrap();
    assert!(vault.rekey_if_due().unwrap());
    assert!(!vault.rekey_if_due().unwrap(), "once is enough");
    assert_eq!((titles(&vault), found(&vault, "told")), (vec!["Alpha".to_owned()], 1));
    write(&mut vault, "Beta");
    assert_ne!(vault.vault_key_for_tests(), old);
    ask(&vault.db).unwrap();
    vault.close().unwrap();
    assert_eq!(names(&path), FILES);
    let store = Layout::new(&path).vault(slot);
    assert!(matches!(cipher::open_database(&store, &old, false), Err(DepotError::WrongKey)));
    let vault = Vault::open(&path, &passphrase()).unwrap();
    assert_eq!(titles(&vault), ["Alpha", "Beta"]);
    assert!(!is_due(&vault.db).unwrap());
}

/// A pair of files without a passphrase: a store with words in it, and its key file.
struct Pair {
    dir: tempfile::TempDir,
    layout: Layout,
    kek: Kek,
}

impl Pair {
    fn made() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = Self { layout: Layout::new(dir.path()), dir, kek: Kek::generate() };
        let keys = Keys::generate().unwrap();
        let mut db = cipher::open_database(&pair.layout.vault(1), &keys.vault, true).unwrap();
        store::migrate(&mut db).unwrap();
        db.execute("INSERT INTO report_text (rowid, title, body) VALUES (1, 'Alpha', 'told')", []).unwrap();
        store::set_meta(&db, "kept", b"kept").unwrap();
        ask(&db).unwrap();
        close(db).unwrap();
        pair.kek.write(&pair.layout, 1, &keys).unwrap();
        pair
    }

    fn place(&self) -> Place<'_> {
        Place { layout: &self.layout, slot: 1, kek: &self.kek }
    }

    /// Opens the store and changes the key if that is due, as a vault does.
    fn open(&self) -> Result<(Connection, Keys), VaultError> {
        let (db, keys) = self.place().open()?;
        if is_due(&db)? {
            self.place().change(db, keys)?;
            return self.place().open();
        }
        Ok((db, keys))
    }

    #[track_caller]
    fn holds(&self, when: &str) -> [u8; 32] {
        let (db, keys) = self.open().unwrap();
        assert_eq!(store::meta(&db, "kept").unwrap().as_deref(), Some(&b"kept"[..]), "{when}");
        let found: i64 = db
            .query_row("SELECT count(*) FROM report_text WHERE report_text MATCH 'told'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!((found, is_due(&db).unwrap()), (1, false), "{when}");
        assert!(keys.next.is_none(), "{when}");
        close(db).unwrap();
        assert_eq!(names(self.dir.path()), ["1.a", "1.k"], "{when}");
        *keys.vault
    }
}

#[test]
fn an_old_copy_of_the_store_does_not_open_with_the_new_keys() {
    let pair = Pair::made();
    let store = pair.layout.vault(1);
    let old = fs::read(&store).unwrap();
    pair.holds("after the change");
    fs::write(&store, old).unwrap();
    assert!(matches!(pair.place().open(), Err(VaultError::Damaged(_))));
}

#[test]
fn a_change_that_stops_at_any_step_leaves_everything_and_is_made_up_for() {
    let mut interrupted = 0;
    for steps in 0.. {
        let mut over = false;
        for again in 0..=steps {
            let pair = Pair::made();
            let old = pair.kek.read(&pair.layout, 1).unwrap().vault;
            stop_after(steps);
            over = pair.open().is_ok();
            // The next opening may be interrupted too, before there is one that is left in peace.
            stop_after(again);
            let _ = pair.open();
            go_on();
            let when = format!("stopped after {steps} steps, and after {again}");
            assert_ne!(pair.holds(&when), *old, "{when}");
        }
        if over {
            break;
        }
        interrupted += 1;
    }
    assert_eq!(interrupted, 6, "every step was tried");
}

#[test]
fn a_write_ahead_log_of_the_old_store_is_never_taken_for_the_new_ones() {
    // As after kill -9 in the middle of a change: the log of the old store lies there, with the only copy
    // of what was written last.
    let pair = Pair::made();
    let (db, mut keys) = pair.place().open().unwrap();
    store::set_meta(&db, "kept", b"kept").unwrap();
    store::set_meta(&db, "last", b"words").unwrap();
    let log = durable::write_ahead_log(&pair.layout.vault(1));
    let (store_then, log_then) = (fs::read(pair.layout.vault(1)).unwrap(), fs::read(&log).unwrap());
    assert!(!log_then.is_empty());
    close(db).unwrap();
    keys.next = Some(random_key().unwrap());
    pair.kek.write(&pair.layout, 1, &keys).unwrap();
    fs::write(pair.layout.vault(1), store_then).unwrap();
    fs::write(log, log_then).unwrap();
    pair.holds("after the crash");
    let (db, _) = pair.open().unwrap();
    assert_eq!(store::meta(&db, "last").unwrap().as_deref(), Some(&b"words"[..]));
}

#[test]
fn a_change_that_fails_in_an_open_vault_leaves_it_open_and_due() {
    let (_dir, path) = made();
    let mut vault = Vault::open(&path, &passphrase()).unwrap();
    for (steps, title) in [(0, "Alpha"), (2, "Beta"), (5, "Gamma")] {
        ask(&vault.db).unwrap();
        stop_after(steps);
        assert!(vault.rekey_if_due().is_err());
        go_on();
        write(&mut vault, title);
        assert_eq!(vault.rekey_if_due().unwrap(), steps < 5, "after the switch it is done");
    }
    assert_eq!(titles(&vault), ["Alpha", "Beta", "Gamma"]);
}

#[test]
fn slots_of_the_first_version_are_brought_to_the_present_one_whatever_happens_in_between() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vault-v1/monitor");
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture).unwrap().flatten() {
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let passphrase = Passphrase::new("zebra canoe lantern".into());
    let slots = || fs::read(Layout::new(dir.path()).slots()).unwrap();
    let old = slots();
    stop_after(0);
    assert!(Vault::open(dir.path(), &passphrase).is_err());
    assert!(slots() == old, "the old slots stay until the key files are there");
    stop_after(1);
    assert!(Vault::open(dir.path(), &passphrase).is_err());
    go_on();
    let new = slots();
    assert!(new != old && new.len() == old.len());
    let vault = Vault::open(dir.path(), &passphrase).unwrap();
    assert_eq!(titles(&vault), ["A draft", "Detention at the square"]);
    vault.close().unwrap();
    assert!(slots() == new, "once is enough");
}
