//! Entries as files: out of one vault and into another's depot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use fieldbook_proto::EntryId;
use fieldbook_report::ReportInput;
use fieldbook_vault::{CreateOptions, Passphrase, Vault};
use tempfile::TempDir;

fn device(name: &str) -> (TempDir, Vault) {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = Passphrase::new("not a secret".into());
    Vault::create(dir.path(), &passphrase, &CreateOptions { name: name.into(), work_factor: Some(15) })
        .unwrap();
    let vault = Vault::open(dir.path(), &passphrase).unwrap();
    (dir, vault)
}

#[test]
fn every_entry_becomes_a_file_of_its_name_and_only_entries_come_back() {
    let (_dir, mut desk) = device("Coordination");
    desk.create_team("Minsk 2017").unwrap();
    for number in 0..3 {
        let input = format!(r#"{{"template":"detention","title":"Number {number}"}}"#);
        let id = desk.create_report(&ReportInput::from_json(&input).unwrap()).unwrap().id;
        desk.finish(id.parse().unwrap(), true).unwrap();
    }
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("entries");
    let written = desk.export_entries(&dir).unwrap().written;
    assert!(written >= 3);
    let files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), written);
    for path in &files {
        let id = EntryId::of(&fs::read(path).unwrap());
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{id}.age"));
    }
    let again = desk.export_entries(&dir).unwrap();
    assert_eq!((again.written, again.already_there), (0, written));

    // What else may lie in such a directory.
    fs::write(dir.join("notes.txt"), "not looked at").unwrap();
    fs::write(dir.join("short.age"), "age").unwrap();
    fs::write(dir.join("long.age"), vec![0; 3 << 20]).unwrap();
    fs::create_dir(dir.join("folder.age")).unwrap();
    fs::rename(&files[0], dir.join("renamed.age")).unwrap();
    let (_other, mut fresh) = device("New");
    let taken = fresh.import_entries(&dir).unwrap();
    assert_eq!((taken.added, taken.already_known, taken.refused), (written, 0, 3), "{taken:?}");
    let again = fresh.import_entries(&dir).unwrap();
    assert_eq!(again.added, 0, "{again:?}");
}
