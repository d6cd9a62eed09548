//! A vault becomes a new device, and stops at every step on the way.

use std::path::{Path, PathBuf};

use fieldbook_depot::Depot as _;
use fieldbook_report::ReportInput;

use super::*;
use crate::rekey::tests::{go_on, stop_after};
use crate::{CreateOptions, ListFilter, Passphrase, WORK_FACTOR_MIN};

fn passphrase() -> Passphrase {
    Passphrase::new("a b c d e f".into())
}

fn open(path: &Path) -> Result<Vault, VaultError> {
    Vault::open(path, &passphrase())
}

/// A vault with a team of one, a finished report, and a draft with a file of two parts.
pub(crate) fn made() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let options = CreateOptions { name: "Coordination".into(), work_factor: Some(WORK_FACTOR_MIN) };
    Vault::create(&path, &passphrase(), &options).unwrap();
    let mut vault = open(&path).unwrap();
    vault.create_team("Minsk 2017").unwrap();
    let finished = write(&mut vault, "Finished");
    vault.finish(finished, true).unwrap();
    let draft = write(&mut vault, "Draft");
    let file = dir.path().join("film");
    std::fs::write(&file, film()).unwrap();
    vault.attach(draft, &file, None, "video/mp4").unwrap();
    vault.close().unwrap();
    (dir, path)
}

fn film() -> Vec<u8> {
    (0..u32::try_from(crate::PART_LEN).unwrap() + 5).map(|n| n.to_le_bytes()[0]).collect()
}

fn write(vault: &mut Vault, title: &str) -> fieldbook_proto::ReportId {
    let json = format!(
        r#"{{"template": "detention", "title": "{title}", "language": "en", "narrative": "Told of {title}."}}"#
    );
    vault.create_report(&ReportInput::from_json(&json).unwrap()).unwrap().id.parse().unwrap()
}

/// Everything that was saved is there; who the device is, is another question.
#[track_caller]
pub(crate) fn holds_everything(vault: &Vault, when: &str) {
    let list = vault.list(&ListFilter { search: Some("told".into()), ..ListFilter::default() }).unwrap();
    let mut titles: Vec<(&str, &str)> =
        list.iter().map(|report| (report.title.as_str(), report.state.as_str())).collect();
    titles.sort_unstable();
    assert_eq!(titles, [("Draft", "draft"), ("Finished", "finished")], "{when}");
    let draft = list.iter().find(|report| report.title == "Draft").unwrap();
    assert_eq!(draft.author_device, vault.device().id, "{when}");
    let mut film_again = Vec::new();
    vault.save_attachment(draft.id.parse().unwrap(), "film", &mut film_again).unwrap();
    assert!(film_again == film(), "{when}");
    assert!(list.iter().all(|report| report.mine), "{when}");
}

#[test]
fn it_is_the_old_device_or_the_new_one_wherever_it_stops() {
    let (mut before, mut after) = (0, 0);
    for steps in 0.. {
        let (_dir, path) = made();
        let mut vault = open(&path).unwrap();
        let old = vault.device().id;
        stop_after(steps);
        let over = vault.become_new_device().is_ok();
        go_on();
        drop(vault);
        // The next opening is interrupted as well, before there is one that is left in peace.
        stop_after(steps / 2);
        let _ = open(&path);
        go_on();
        let when = format!("stopped after {steps} steps");
        let mut vault = open(&path).unwrap();
        holds_everything(&vault, &when);
        if vault.device().id == old {
            assert!(vault.device().team.is_some() && vault.copy_state().unwrap().is_none(), "{when}");
            before += 1;
            vault.become_new_device().unwrap();
        } else {
            after += 1;
        }
        assert_ne!(vault.device().id, old, "{when}");
        assert_eq!(vault.copy_state().unwrap(), Some(CopyState::New), "{when}");
        let seed = vault.depot.setting("transport-seed").unwrap();
        assert_eq!(seed.as_deref(), Some(vault.device.transport_seed().as_slice()), "{when}");
        for name in SHOWN {
            assert_eq!(vault.depot.setting(name).unwrap(), None, "{when}: {name}");
        }
        holds_everything(&vault, &when);
        vault.close().unwrap();
        let vault = open(&path).unwrap();
        holds_everything(&vault, &when);
        assert!(!rekey::is_due(&vault.db).unwrap(), "{when}");
        if over {
            break;
        }
    }
    assert!(before == 0 && after >= 4, "every step was tried: {before} and {after}");
}

#[test]
fn parts_that_the_old_device_had_sealed_for_a_draft_are_sealed_anew() {
    let (_dir, path) = made();
    let mut vault = open(&path).unwrap();
    let draft = vault.list(&ListFilter { state: Some("draft".into()), ..ListFilter::default() }).unwrap();
    let draft = draft[0].id.parse().unwrap();
    let manifest = {
        let row = crate::reports::ReportRow::get(&vault.db, &draft).unwrap();
        crate::reports::load_document(&vault.db, &vault.me, row.number).unwrap().attachments().remove(0)
    };
    // As when `finish` breaks off after the parts.
    let sealed = vault.seal_parts(&draft, &manifest).unwrap();
    assert_eq!(sealed.len(), 2);
    vault.become_new_device().unwrap();
    holds_everything(&vault, "with sealed parts");
    vault.create_team("Another").unwrap();
    let draft = vault.list(&ListFilter { state: Some("draft".into()), ..ListFilter::default() }).unwrap();
    let id = draft[0].id.parse().unwrap();
    vault.finish(id, true).unwrap();
    let entries = vault.entries(id).unwrap();
    assert_eq!(entries.len(), 3, "two parts and the report");
    assert!(entries.iter().all(|entry| entry.device == vault.device().id));
    let mut film_again = Vec::new();
    vault.save_attachment(id, "film", &mut film_again).unwrap();
    assert!(film_again == film());
}

#[test]
fn what_was_proven_is_not_talked_away() {
    let (_dir, path) = made();
    let mut vault = open(&path).unwrap();
    store::set_meta(&vault.db, SUPERSEDED, &[1]).unwrap();
    assert_eq!(vault.copy_state().unwrap(), Some(CopyState::Superseded));
    assert!(matches!(vault.accept_place(), Err(VaultError::Superseded)));
    let draft = write(&mut vault, "Written meanwhile");
    assert!(matches!(vault.finish(draft, true), Err(VaultError::Superseded)));
    let sequence = outgoing::next_sequence(&vault.db).unwrap();
    vault.absorb().unwrap();
    assert_eq!(outgoing::next_sequence(&vault.db).unwrap(), sequence);
    vault.become_new_device().unwrap();
    vault.create_team("Another").unwrap();
    assert_eq!(vault.copy_state().unwrap(), None);
}
