//! A coordinator and a monitor, their depots exchanged by hand: what the vault promises without any
//! network.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use fieldbook_depot::{Depot, Incoming, Source, SqlDepot};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_report::{Edit, FieldValue, Keep, ReportInput};
use fieldbook_vault::{AddendumText, CreateOptions, NoteText, Once, Passphrase, Vault, Written};
use tempfile::TempDir;

const PASSPHRASE: &str = "not a secret";

struct Device {
    _dir: TempDir,
    vault: Vault,
}

fn open(dir: &Path) -> Vault {
    Vault::open(dir, &Passphrase::new(PASSPHRASE.into())).unwrap()
}

fn device(name: &str) -> Device {
    let dir = tempfile::tempdir().unwrap();
    let options = CreateOptions { name: name.into(), work_factor: Some(15) };
    Vault::create(dir.path(), &Passphrase::new(PASSPHRASE.into()), &options).unwrap();
    Device { vault: open(dir.path()), _dir: dir }
}

fn team() -> (Device, Device) {
    let mut coordinator = device("Coordination");
    coordinator.vault.create_team("Minsk 2017").unwrap();
    let mut monitor = device("Vitebsk-3");
    let admission = coordinator.vault.admit(&monitor.vault.join_request(), Role::Monitor).unwrap();
    monitor.vault.adopt(&admission).unwrap();
    (coordinator, monitor)
}

/// Copies what `from` holds and `to` does not know, as a sync would.
fn carry(from: &Vault, to: &Vault) -> usize {
    let open = |vault: &Vault| SqlDepot::open(&vault.depot_path(), &vault.depot_key()).unwrap();
    let (source, target) = (open(from), open(to));
    let sender: DeviceId = from.device().id.parse().unwrap();
    let mut added = 0;
    for (arrival, bytes) in source.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let bytes = bytes.unwrap();
        let incoming = Incoming { id: arrival.id, bytes: &bytes, from: Source::Peer(sender) };
        added += target.put(&[incoming]).unwrap().added;
    }
    added
}

fn sync(a: &mut Device, b: &mut Device) {
    for _ in 0..3 {
        carry(&a.vault, &b.vault);
        carry(&b.vault, &a.vault);
        a.vault.absorb().unwrap();
        b.vault.absorb().unwrap();
    }
}

fn write(device: &mut Device, json: &str) -> ReportId {
    device.vault.create_report(&ReportInput::from_json(json).unwrap()).unwrap().id.parse().unwrap()
}

const DETENTION: &str = r#"{"template":"detention","title":"At the office","language":"en",
    "fields":{"date":"2017-03-25","people_detained":57},"narrative":"Taken to buses."}"#;

#[test]
fn a_draft_stays_and_a_finished_report_arrives_with_a_receipt() {
    let (mut coordinator, mut monitor) = team();
    let id = write(&mut monitor, DETENTION);
    sync(&mut monitor, &mut coordinator);
    assert!(coordinator.vault.list(&Default::default()).unwrap().is_empty());
    assert_eq!(monitor.vault.summary(id).unwrap().delivery.word, "draft");

    let finished = monitor.vault.finish(id, true).unwrap();
    assert_eq!(finished.delivery.word, "only here");
    sync(&mut monitor, &mut coordinator);
    let there = coordinator.vault.show(id).unwrap();
    assert_eq!(there.content, monitor.vault.show(id).unwrap().content);
    assert_eq!(there.summary.author_label, "Vitebsk-3");
    let delivery = monitor.vault.summary(id).unwrap().delivery;
    assert_eq!(delivery.word, "received");
    assert_eq!(delivery.holders[0].name, "Coordination");
}

#[test]
fn edits_made_apart_merge_and_a_clash_waits_for_a_person() {
    let (mut coordinator, mut monitor) = team();
    let id = write(&mut monitor, DETENTION);
    monitor.vault.finish(id, true).unwrap();
    sync(&mut monitor, &mut coordinator);

    let date = |text: &str| Edit::Field { name: "date".into(), value: Some(FieldValue::Text(text.into())) };
    monitor
        .vault
        .edit(id, &[date("2017-03-26"), Edit::Narrative("At noon: Taken to buses.".into())])
        .unwrap();
    coordinator
        .vault
        .edit(id, &[date("2017-03-24"), Edit::Narrative("Taken to buses. Released.".into())])
        .unwrap();
    sync(&mut monitor, &mut coordinator);

    let (here, there) = (monitor.vault.show(id).unwrap(), coordinator.vault.show(id).unwrap());
    assert_eq!(here.content, there.content);
    assert_eq!(here.content.narrative, "At noon: Taken to buses. Released.");
    let clashes = coordinator.vault.conflicts().unwrap();
    assert_eq!(clashes.len(), 1);
    let mut who: Vec<&str> = clashes[0].clashes[0].values.iter().map(|value| value.who.as_str()).collect();
    who.sort_unstable();
    assert_eq!(who, ["Coordination", "Vitebsk-3"]);

    coordinator.vault.resolve(id, "date", &Keep::Value("2017-03-26".into())).unwrap();
    sync(&mut monitor, &mut coordinator);
    assert!(monitor.vault.conflicts().unwrap().is_empty());
    let history = serde_json::to_string(&monitor.vault.history(id).unwrap()).unwrap();
    assert!(history.contains("2017-03-24"), "{history}");
}

#[test]
fn an_attachment_travels_in_parts_and_matches_its_hash() {
    let (mut coordinator, mut monitor) = team();
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    let id = write(&mut monitor, DETENTION);
    let attached = monitor.vault.attach(id, file.path(), Some("photo.jpg"), "image/jpeg").unwrap();
    monitor.vault.finish(id, true).unwrap();
    sync(&mut monitor, &mut coordinator);
    for vault in [&monitor.vault, &coordinator.vault] {
        let mut out = Vec::new();
        vault.save_attachment(id, &attached.attachment.id, &mut out).unwrap();
        assert!(out == bytes);
    }
    assert_eq!(monitor.vault.summary(id).unwrap().delivery.word, "received");
}

#[test]
fn a_second_coordinator_reads_and_edits_and_everybody_converges() {
    let (mut first, mut monitor) = team();
    let mut second = device("Second desk");
    let admission = first.vault.admit(&second.vault.join_request(), Role::Coordinator).unwrap();
    second.vault.adopt(&admission).unwrap();
    // The monitor learns of the desk's new key before it writes.
    sync(&mut monitor, &mut first);
    let id = write(&mut monitor, DETENTION);
    monitor.vault.finish(id, true).unwrap();
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut second);
    second.vault.edit(id, &[Edit::Title("Seen by the second".into())]).unwrap();
    sync(&mut first, &mut second);
    sync(&mut first, &mut monitor);
    for vault in [&first.vault, &second.vault, &monitor.vault] {
        assert_eq!(vault.show(id).unwrap().content.title, "Seen by the second");
    }
}

/// A client whose agent ended between what it saved and its word asks the next one again.
#[test]
fn a_report_that_is_asked_for_again_is_begun_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(15) };
    Vault::create(dir.path(), &Passphrase::new(PASSPHRASE.into()), &options).unwrap();
    let input = ReportInput::from_json(DETENTION).unwrap();
    let mut vault = open(dir.path());
    let first = vault.create_report_once(&input, &Once::from_bytes([1; 16])).unwrap().id;
    drop(vault);
    let mut vault = open(dir.path());
    assert_eq!(vault.create_report_once(&input, &Once::from_bytes([1; 16])).unwrap().id, first);
    assert_eq!(vault.list(&Default::default()).unwrap().len(), 1);
    // Who writes the same twice on purpose has it twice.
    assert_ne!(vault.create_report_once(&input, &Once::from_bytes([2; 16])).unwrap().id, first);
    vault.create_report(&input).unwrap();
    vault.create_report(&input).unwrap();
    assert_eq!(vault.list(&Default::default()).unwrap().len(), 4);
}

#[test]
fn what_is_added_to_a_report_is_added_once_however_often_it_is_asked_for() {
    let mut device = device("Desk");
    device.vault.create_team("Minsk 2017").unwrap();
    let vault = &mut device.vault;
    let input = ReportInput::from_json(DETENTION).unwrap();
    let id = vault.create_report(&input).unwrap().id;
    let id = vault.find(&id).unwrap();
    let once = |byte: u8| Once::from_bytes([byte; 16]);
    let sources = [Edit::AddSource("A neighbour".into())];
    vault.edit_once(id, &sources, &once(1)).unwrap();
    vault.edit_once(id, &sources, &once(1)).unwrap();
    assert_eq!(vault.show(id).unwrap().content.sources.len(), 1);
    vault.edit_once(id, &[Edit::AddSource("Another".into())], &once(2)).unwrap();
    assert_eq!(vault.show(id).unwrap().content.sources.len(), 2);

    let text = |text, byte| NoteText { text, once: Some(once(byte)), kept: Some("ask") };
    vault.keep_text(id, "ask", Written { base: "", tried: &[], text: "When?" }, false).unwrap();
    let asked = vault.ask(id, &text("When?", 3)).unwrap();
    assert!(vault.kept_texts(id).unwrap().is_empty(), "what is said is kept no more");
    assert_eq!(vault.ask(id, &text("When?", 3)).unwrap().note, asked.note);
    vault.ask(id, &text("When?", 4)).unwrap();
    // Another question waits still, and the one that was answered does no more.
    let answer = |vault: &mut Vault| vault.answer(id, Some(&asked.note), &text("At noon", 5)).unwrap();
    let answered = answer(vault);
    assert_eq!(answered.reply_to.as_deref(), Some(asked.note.as_str()));
    assert_eq!((&answer(vault).note, &answer(vault).reply_to), (&answered.note, &answered.reply_to));
    assert_eq!(vault.show(id).unwrap().notes.len(), 3);

    let add = |vault: &mut Vault| {
        let text = AddendumText { narrative: "More.".into(), once: Some(once(6)), ..AddendumText::default() };
        vault.addendum(id, text).unwrap().id
    };
    assert_eq!(add(vault), add(vault));
    assert_eq!(vault.list(&Default::default()).unwrap().len(), 2);
}

#[test]
fn what_was_saved_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = Passphrase::new(PASSPHRASE.into());
    let options = CreateOptions { name: "Monitor".into(), work_factor: Some(15) };
    Vault::create(dir.path(), &passphrase, &options).unwrap();
    let mut vault = open(dir.path());
    let id = vault.create_report(&ReportInput::from_json(DETENTION).unwrap()).unwrap().id;
    assert!(matches!(Vault::open(dir.path(), &passphrase), Err(fieldbook_vault::VaultError::InUse)));
    drop(vault);
    assert_eq!(open(dir.path()).list(&Default::default()).unwrap()[0].id, id);
    let wrong = Passphrase::new("another".into());
    assert!(matches!(Vault::open(dir.path(), &wrong), Err(fieldbook_vault::VaultError::WrongPassphrase)));
}
