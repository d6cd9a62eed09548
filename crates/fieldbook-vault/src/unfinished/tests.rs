use std::path::Path;

use fieldbook_report::ReportInput;

use super::*;
use crate::{CreateOptions, ForgetWhat, Passphrase, WORK_FACTOR_MIN};

fn passphrase() -> Passphrase {
    Passphrase::new("zebra canoe lantern".into())
}

fn vault(dir: &Path) -> (Vault, ReportId) {
    let options = CreateOptions { name: "M".into(), work_factor: Some(WORK_FACTOR_MIN) };
    Vault::create(dir, &passphrase(), &options).unwrap();
    let mut vault = Vault::open(dir, &passphrase()).unwrap();
    let input = ReportInput {
        template: "detention".into(),
        language: "und".into(),
        narrative: "One.\nTwo.\n".into(),
        ..ReportInput::default()
    };
    let id = vault.create_report(&input).unwrap().id;
    let id = vault.find(&id).unwrap();
    (vault, id)
}

fn keep(vault: &mut Vault, id: ReportId, field: &str, base: &str, text: &str) -> Result<(), VaultError> {
    vault.keep_text(id, field, Written { base, tried: &[], text }, false)
}

fn save(
    vault: &mut Vault,
    id: ReportId,
    field: &str,
    base: &str,
    text: &str,
) -> Result<SavedText, VaultError> {
    vault.save_text(id, field, Written { base, tried: &[], text })
}

fn rows(vault: &Vault) -> i64 {
    vault.db.query_row("SELECT count(*) FROM unfinished", [], |row| row.get(0)).unwrap()
}

fn narrative(vault: &Vault, id: ReportId) -> String {
    vault.show(id).unwrap().content.narrative
}

#[test]
fn what_is_kept_is_not_in_the_report_and_is_offered_until_it_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let (mut vault, id) = vault(&path);
    let opened = vault.open_text(id, "narrative").unwrap();
    assert_eq!((opened.text.as_str(), opened.unfinished), ("One.\nTwo.\n", None));
    keep(&mut vault, id, "narrative", &opened.text, "One.\nTwo.\nThr").unwrap();
    keep(&mut vault, id, "narrative", &opened.text, &opened.text).unwrap();
    assert_eq!(rows(&vault), 0, "all of it was taken back");
    keep(&mut vault, id, "narrative", &opened.text, "One.\nTwo.\nThree.\n").unwrap();
    assert_eq!(narrative(&vault, id), "One.\nTwo.\n");
    assert_eq!(vault.history(id).unwrap().len(), 1, "nothing of it is in the history");
    assert!(matches!(vault.finish(id, false), Err(VaultError::Unfinished { .. })));
    vault.close().unwrap();
    let mut vault = Vault::open(&path, &passphrase()).unwrap();
    let kept = vault.open_text(id, "narrative").unwrap().unfinished.unwrap();
    assert_eq!((kept.base.as_str(), kept.text.as_str()), ("One.\nTwo.\n", "One.\nTwo.\nThree.\n"));
    // Somebody changes it meanwhile.
    vault.edit(id, &[Edit::Narrative("Zero.\nOne.\nTwo.\n".into())]).unwrap();
    let saved = save(&mut vault, id, "narrative", &kept.base, &kept.text).unwrap();
    assert!(saved.merged);
    assert_eq!(saved.text, "Zero.\nOne.\nTwo.\nThree.\n");
    assert_eq!((narrative(&vault, id), rows(&vault)), (saved.text, 0));
}

#[test]
fn a_long_field_is_written_and_emptied_and_no_other_field_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    let field = "fields.internal_note";
    assert_eq!(vault.open_text(id, field).unwrap().text, "");
    assert!(!save(&mut vault, id, field, "", "A note\n").unwrap().merged);
    assert_eq!(vault.open_text(id, field).unwrap().text, "A note\n");
    save(&mut vault, id, field, "A note\n", "").unwrap();
    assert_eq!(vault.open_text(id, field).unwrap().text, "");
    for wrong in ["fields.date", "date", "fields.nothing", "", "title"] {
        assert!(matches!(vault.open_text(id, wrong), Err(VaultError::NoSuchText { .. })), "{wrong}");
    }
    let long = "x".repeat(FIELD_MAX + 1);
    assert!(matches!(keep(&mut vault, id, field, "", &long), Err(VaultError::TooLarge { .. })));
}

#[test]
fn it_goes_with_its_report_and_comes_along_in_a_backup_and_a_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    keep(&mut vault, id, "narrative", "One.\nTwo.\n", "Canary").unwrap();
    keep(&mut vault, id, "ask", "", "Canary").unwrap();
    let backup = dir.path().join("backup");
    vault.write_backup(&backup).unwrap();
    vault.close().unwrap();
    // The backup becomes another device, and its draft another report.
    let mut restored = Vault::open(&backup, &passphrase()).unwrap();
    let again = restored.list(&crate::ListFilter::default()).unwrap()[0].id.clone();
    assert_ne!(again, id.to_string());
    let again = restored.find(&again).unwrap();
    assert_eq!(restored.open_text(again, "narrative").unwrap().unfinished.unwrap().text, "Canary");
    restored.forget(&ForgetWhat::Report(again)).unwrap();
    assert_eq!(rows(&restored), 0, "the copy of the store has the rule, too");
    assert!(restored.rekey_if_due().unwrap());
    let input =
        ReportInput { template: "detention".into(), language: "und".into(), ..ReportInput::default() };
    let next = restored.create_report(&input).unwrap().id;
    let next = restored.find(&next).unwrap();
    keep(&mut restored, next, "narrative", "", "Canary").unwrap();
    restored.forget(&ForgetWhat::Report(next)).unwrap();
    assert_eq!(rows(&restored), 0);
}

#[test]
fn a_new_key_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let (mut vault, id) = vault(&path);
    let tried = [text_mark("Tried")];
    let written = Written { base: "One.\nTwo.\n", tried: &tried, text: "Canary" };
    vault.keep_text(id, "narrative", written, true).unwrap();
    let before = vault.open_text(id, "narrative").unwrap().unfinished.unwrap();
    assert_eq!((before.tried.as_slice(), before.made), (tried.as_slice(), true));
    rekey::ask(&vault.db).unwrap();
    assert!(vault.rekey_if_due().unwrap());
    assert_eq!(vault.open_text(id, "narrative").unwrap().unfinished.as_ref(), Some(&before));
    // And the next one, with the rule that it goes with its report.
    rekey::ask(&vault.db).unwrap();
    vault.close().unwrap();
    let mut vault = Vault::open(&path, &passphrase()).unwrap();
    assert_eq!(vault.open_text(id, "narrative").unwrap().unfinished, Some(before));
    vault.forget(&ForgetWhat::Report(id)).unwrap();
    assert_eq!(rows(&vault), 0);
}

#[test]
fn a_save_whose_answer_was_lost_is_not_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    let base = "One.\nTwo.\n";
    let [first, second] = ["One.\nTwo.\nThree.\n", "One.\nTwo.\nThree.\nFour.\n"];
    keep(&mut vault, id, "narrative", base, first).unwrap();
    // Something that the depot does not take.
    vault.db.execute("INSERT INTO outbox (id, bytes) VALUES (x'00', x'00')", []).unwrap();
    vault.flush().unwrap_err();
    let saved = save(&mut vault, id, "narrative", base, first).unwrap();
    assert_eq!((saved.text.as_str(), rows(&vault)), (first, 0), "it stands, and nothing is kept any more");
    // Nobody heard of it; it is kept, the vault is closed, and it is gone on with.
    let tried = [text_mark("Never saved"), text_mark(first)];
    let written = Written { base, tried: &tried, text: second };
    vault.keep_text(id, "narrative", written, false).unwrap();
    let kept = vault.open_text(id, "narrative").unwrap().unfinished.unwrap();
    let written = Written { base: &kept.base, tried: &kept.tried, text: &kept.text };
    let saved = vault.save_text(id, "narrative", written).unwrap();
    assert!(!saved.merged);
    assert_eq!(narrative(&vault, id), second);
    // What somebody else wrote is not taken for it.
    vault.edit(id, &[Edit::Narrative(format!("Zero.\n{second}"))]).unwrap();
    let third = format!("{second}Five.\n");
    let written = Written { base: second, tried: &tried, text: &third };
    assert!(vault.save_text(id, "narrative", written).unwrap().merged);
    assert_eq!(narrative(&vault, id), format!("Zero.\n{third}"));
}

#[test]
fn a_draft_that_was_made_to_keep_a_text_goes_with_it_if_nothing_else_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    let photo = dir.path().join("photo");
    std::fs::write(&photo, b"bytes").unwrap();
    let number = |vault: &Vault| vault.list(&crate::ListFilter::default()).unwrap().len();
    let made = |vault: &mut Vault| {
        let input =
            ReportInput { template: "detention".into(), language: "und".into(), ..ReportInput::default() };
        let id = vault.create_report(&input).unwrap().id;
        let id = vault.find(&id).unwrap();
        let written = Written { base: "", tried: &[], text: "Wrong" };
        vault.keep_text(id, "narrative", written, true).unwrap();
        id
    };
    let plain = made(&mut vault);
    vault.drop_text(plain, "narrative", true).unwrap();
    assert_eq!((number(&vault), rows(&vault)), (1, 0));
    assert!(rekey::is_due(&vault.db).unwrap() && vault.rekey_if_due().unwrap());
    // Not asked for; a field, a photograph, or another text of it.
    let asked_not = made(&mut vault);
    vault.drop_text(asked_not, "narrative", false).unwrap();
    let with_field = made(&mut vault);
    vault.edit(with_field, &[Edit::Title("T".into())]).unwrap();
    let with_photo = made(&mut vault);
    vault.attach(with_photo, &photo, None, "image/jpeg").unwrap();
    let with_text = made(&mut vault);
    keep(&mut vault, with_text, "fields.internal_note", "", "Note").unwrap();
    for id in [with_field, with_photo, with_text] {
        vault.drop_text(id, "narrative", true).unwrap();
    }
    assert_eq!((number(&vault), rows(&vault)), (5, 1));
    assert_eq!(narrative(&vault, id), "One.\nTwo.\n");
}

#[test]
fn what_keeps_a_report_of_a_former_device_from_being_sealed_can_be_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    vault.create_team("Minsk").unwrap();
    vault.finish(id, true).unwrap();
    keep(&mut vault, id, "narrative", "One.\nTwo.\n", "Canary").unwrap();
    assert_eq!(vault.status().unwrap().unfinished, 0, "a coordinator's reports are not sealed at all");
    let backup = dir.path().join("backup");
    vault.write_backup(&backup).unwrap();
    vault.close().unwrap();
    let mut restored = Vault::open(&backup, &passphrase()).unwrap();
    assert_eq!(restored.status().unwrap().unfinished, 1);
    assert_eq!(restored.kept_from_sealing().unwrap(), [id]);
    let refused = restored.open_text(id, "narrative").unwrap_err();
    assert!(matches!(refused, VaultError::CannotGoOn { .. }), "{refused}");
    assert_eq!(restored.drop_texts(id).unwrap(), 1);
    assert_eq!(restored.status().unwrap().unfinished, 0);
    assert!(matches!(restored.open_text(id, "narrative"), Err(VaultError::NotYourReport)));
}

#[test]
fn who_is_forgotten_takes_nobodys_words_along() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    let person =
        fieldbook_report::parse_person("name=Alena,role=witness,consent=internal", "00000001".into());
    vault.edit(id, &[Edit::AddPerson(person.unwrap())]).unwrap();
    keep(&mut vault, id, "ask", "", "Who is Alena?").unwrap();
    let forget = ForgetWhat::Person { report: id, person: "00000001".into(), keep_attachments: false };
    assert!(matches!(vault.forget(&forget), Err(VaultError::Unfinished { .. })));
    assert_eq!((rows(&vault), vault.show(id).unwrap().content.people.len()), (1, 1));
    vault.drop_text(id, "ask", false).unwrap();
    let new = vault.forget(&forget).unwrap().replaced_by.unwrap();
    let new = vault.find(&new).unwrap();
    assert!(vault.show(new).unwrap().content.people.is_empty());
}

#[test]
fn what_is_too_long_together_is_not_saved_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut vault, id) = vault(&dir.path().join("vault"));
    let half = NARRATIVE_MAX / 2 + 10;
    let theirs = format!("{}\nOne.\nTwo.\n", "a".repeat(half));
    let mine = format!("One.\nTwo.\n{}", "b".repeat(half));
    vault.edit(id, &[Edit::Narrative(theirs.clone())]).unwrap();
    keep(&mut vault, id, "narrative", "One.\nTwo.\n", &mine).unwrap();
    let refused = save(&mut vault, id, "narrative", "One.\nTwo.\n", &mine);
    assert!(matches!(refused, Err(VaultError::MergedTooLarge { limit: NARRATIVE_MAX })));
    assert_eq!((narrative(&vault, id) == theirs, rows(&vault)), (true, 1));
}

#[test]
fn a_vault_of_the_second_version_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let (vault, id) = vault(&path);
    vault
        .db
        .execute_batch(
            "DROP TRIGGER unfinished_gone; DROP TRIGGER unfinished_follows; DROP TABLE unfinished;
             PRAGMA user_version = 2;",
        )
        .unwrap();
    vault.close().unwrap();
    let mut vault = Vault::open(&path, &passphrase()).unwrap();
    assert_eq!(narrative(&vault, id), "One.\nTwo.\n");
    keep(&mut vault, id, "narrative", "", "Three").unwrap();
    vault.forget(&ForgetWhat::Report(id)).unwrap();
    assert_eq!(rows(&vault), 0);
}
