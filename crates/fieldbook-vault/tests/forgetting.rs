//! A withdrawal of consent reaches every device, and nothing brings back what it named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod team;

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{EntryId, ReportId};
use fieldbook_report::Edit;
use fieldbook_vault::{ForgetWhat, ShareSelection, VaultError};
use team::{Device, admit, admit_to_new_desk, founder, open, sync};

fn entries(device: &Device, report: ReportId) -> Vec<EntryId> {
    let entries = device.vault.entries(report).unwrap();
    assert!(!entries.is_empty());
    entries.iter().map(|entry| entry.id.parse().unwrap()).collect()
}

fn held(device: &Device, ids: &[EntryId]) -> usize {
    let depot = device.depot();
    ids.iter().filter(|id| matches!(depot.get(id).unwrap(), Lookup::Held(_))).count()
}

fn attach(device: &mut Device, report: ReportId) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 1_500_000]).unwrap();
    device.vault.attach(report, file.path(), Some("photo.jpg"), "image/jpeg").unwrap();
}

#[test]
fn a_coordinators_word_is_carried_out_everywhere_and_nothing_comes_back() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut carrier = admit(&mut first, "Gomel-1", Role::Monitor);
    let mut other = admit_to_new_desk(&mut first, "Legal");
    sync(&mut [&mut first, &mut second, &mut monitor, &mut carrier, &mut other]);
    let report = monitor.write("To be forgotten");
    attach(&mut monitor, report);
    monitor.vault.finish(report, true).unwrap();
    monitor.report("Stays");
    sync(&mut [&mut first, &mut second, &mut monitor, &mut carrier, &mut other]);
    let selection = ShareSelection { reports: vec![report], filter: None };
    first.vault.share(&selection, other.id()).unwrap();
    second.vault.edit(report, &[Edit::Title("Changed by the second".into())]).unwrap();
    sync(&mut [&mut first, &mut second, &mut monitor, &mut carrier, &mut other]);
    assert_eq!(other.titles(), ["Changed by the second"]);
    let ids = entries(&first, report);
    assert_eq!(held(&carrier, &ids), ids.len());

    // Meanwhile somebody who has not heard of it goes on writing.
    monitor.vault.edit(report, &[Edit::Title("Too late".into())]).unwrap();
    let late = entries(&monitor, report);
    let summary = first.vault.forget(&ForgetWhat::Report(report)).unwrap();
    assert!(!summary.waits_for_coordinator);
    assert_eq!(held(&first, &ids), 0);
    sync(&mut [&mut first, &mut second, &mut monitor, &mut carrier, &mut other]);
    for device in [&first, &second, &monitor, &carrier, &other] {
        assert!(device.vault.show(report).is_err());
        assert_eq!(held(device, &ids), 0, "the sealed entries are dropped, also by who only carries them");
        assert!(device.vault.problems().unwrap().is_empty(), "{:?}", device.vault.problems());
    }
    for device in [&first, &second, &monitor, &other] {
        assert_eq!(device.acts("forgot"), [report.to_string()]);
    }
    assert_eq!(held(&second, &late), 0, "what came later is not kept either");
    assert_eq!(first.titles(), ["Stays"]);

    // A device that slept through it all is obeyed by nobody.
    drop(monitor.vault);
    monitor.vault = open(monitor.dir.path());
    sync(&mut [&mut first, &mut second, &mut monitor, &mut carrier, &mut other]);
    assert!(second.vault.show(report).is_err());
}

#[test]
fn an_authors_request_waits_for_a_coordinator() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut carrier = admit(&mut first, "Gomel-1", Role::Monitor);
    let report = monitor.report("Asked for");
    sync(&mut [&mut first, &mut monitor, &mut carrier]);
    let ids = entries(&first, report);
    let summary = monitor.vault.forget(&ForgetWhat::Report(report)).unwrap();
    assert!(summary.waits_for_coordinator);
    assert!(monitor.vault.show(report).is_err(), "its own device forgets at once");
    sync(&mut [&mut first, &mut monitor, &mut carrier]);
    assert_eq!(first.titles(), ["Asked for"]);
    assert_eq!(held(&carrier, &ids), ids.len(), "nobody else forgets before a coordinator says so");
    let requests = first.vault.forget_requests().unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].title.as_str(), requests[0].who.as_str()), ("Asked for", "Vitebsk-3"));
    assert_eq!(first.acts("asked to forget"), [report.to_string()]);

    first.vault.confirm_forget(report).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut carrier]);
    assert!(first.vault.forget_requests().unwrap().is_empty());
    assert!(first.titles().is_empty());
    for device in [&first, &monitor, &carrier] {
        assert_eq!(held(device, &ids), 0);
        assert!(device.vault.problems().unwrap().is_empty());
    }
    assert!(matches!(first.vault.confirm_forget(report), Err(VaultError::NoSuchReport(_))));
}

#[test]
fn nobody_else_can_make_a_report_disappear() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut other = admit_to_new_desk(&mut first, "Legal");
    let report = monitor.report("Given");
    sync(&mut [&mut first, &mut monitor, &mut other]);
    first.vault.share(&ShareSelection { reports: vec![report], filter: None }, other.id()).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other]);
    assert!(matches!(other.vault.forget(&ForgetWhat::Report(report)), Err(VaultError::OtherDesk)));
    let draft = monitor.write("A draft");
    let summary = monitor.vault.forget(&ForgetWhat::Report(draft)).unwrap();
    assert_eq!((summary.entries, summary.waits_for_coordinator), (0, false));
    assert_eq!(monitor.titles(), ["Given"]);
}

#[test]
fn somebody_is_forgotten_and_the_rest_of_the_report_stays() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    sync(&mut [&mut first, &mut second, &mut monitor]);
    let input = fieldbook_report::ReportInput::from_json(
        r#"{"template":"detention","title":"At the office","language":"en","fields":{"date":"2017-03-25"},
            "narrative":"Taken to buses with Alena Kavalenka.",
            "people":[{"role":"victim","name":"Alena Kavalenka"}]}"#,
    )
    .unwrap();
    let old: ReportId = monitor.vault.create_report(&input).unwrap().id.parse().unwrap();
    monitor.vault.finish(old, true).unwrap();
    sync(&mut [&mut first, &mut second, &mut monitor]);
    let person = first.vault.show(old).unwrap().content.people[0].id.clone();
    let what = ForgetWhat::Person { report: old, person, keep_attachments: false };
    let summary = first.vault.forget(&what).unwrap();
    let new: ReportId = summary.replaced_by.unwrap().parse().unwrap();
    assert!(summary.texts_changed > 0);
    sync(&mut [&mut first, &mut second, &mut monitor]);
    for device in [&first, &second] {
        assert!(device.vault.show(old).is_err());
        let shown = serde_json::to_string(&device.vault.show(new).unwrap().content).unwrap();
        assert!(shown.contains("Taken to buses") && !shown.contains("Kavalenka"), "{shown}");
    }
    assert!(monitor.titles().is_empty());
}
