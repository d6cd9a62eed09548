//! Reports given to coordinators who could not read them, one by one or by a filter, on record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod team;

use fieldbook_proto::certificate::Role;
use fieldbook_report::Edit;
use fieldbook_vault::{ListFilter, ShareSelection, VaultError};
use team::{Device, admit, admit_to_new_desk, founder, sync};

fn named(reports: &[fieldbook_proto::ReportId]) -> ShareSelection {
    ShareSelection { reports: reports.to_vec(), filter: None }
}

fn all() -> ShareSelection {
    ShareSelection { reports: Vec::new(), filter: Some(ListFilter::default()) }
}

fn title(device: &Device, id: fieldbook_proto::ReportId) -> String {
    device.vault.show(id).unwrap().content.title
}

#[test]
fn a_newcomer_reads_what_is_shared_and_nothing_else_from_before() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let old = monitor.report("Old");
    let older = monitor.report("Not shared");
    sync(&mut [&mut first, &mut monitor]);
    let mut newcomer = admit(&mut first, "Newcomer", Role::Coordinator);
    sync(&mut [&mut first, &mut monitor, &mut newcomer]);
    assert!(newcomer.titles().is_empty());

    // A change of today builds on what the newcomer cannot read: that is no fault.
    monitor.vault.edit(older, &[Edit::Title("Still not shared".into())]).unwrap();
    monitor.report("New");
    sync(&mut [&mut first, &mut monitor, &mut newcomer]);
    assert_eq!(newcomer.titles(), ["New"]);
    let status = newcomer.vault.status().unwrap();
    assert_eq!((status.not_shared, status.problems.len()), (1, 0));

    let summary = first.vault.share(&named(&[old]), newcomer.id()).unwrap();
    assert_eq!((summary.shared, summary.already, summary.authors_told), (1, 0, 1));
    assert_eq!(first.vault.share(&named(&[old]), newcomer.id()).unwrap().already, 1);
    sync(&mut [&mut first, &mut monitor, &mut newcomer]);
    assert_eq!(newcomer.titles(), ["New", "Old"]);
    assert_eq!(newcomer.vault.show(old).unwrap().summary.author_label, "Vitebsk-3");
    for device in [&first, &monitor, &newcomer] {
        assert_eq!(device.acts("shared"), [old.to_string()], "everybody who reads it knows of it");
        assert!(device.vault.problems().unwrap().is_empty());
    }

    // By a filter, with what is there already left alone; then nothing waits any more.
    let summary = first.vault.share(&all(), newcomer.id()).unwrap();
    assert_eq!((summary.shared, summary.already), (2, 1));
    sync(&mut [&mut first, &mut monitor, &mut newcomer]);
    assert_eq!(newcomer.titles(), ["New", "Old", "Still not shared"]);
    assert_eq!(newcomer.vault.status().unwrap().not_shared, 0);
}

#[test]
fn another_desk_reads_answers_and_follows_what_it_was_given() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut other_monitor = admit(&mut first, "Gomel-1", Role::Monitor);
    // A desk-mate of the sharer, who neither shares nor wrote nor is given anything. No epoch begins after
    // the other desk's coordinator has come.
    let mut mate = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut [&mut first, &mut monitor, &mut other_monitor, &mut mate]);
    let mut other = admit_to_new_desk(&mut first, "Legal");
    let given = monitor.report("Given");
    let kept = monitor.report("Kept");
    let theirs = other_monitor.report("Of somebody else");
    let mut everybody = [&mut first, &mut monitor, &mut other_monitor, &mut other, &mut mate];
    sync(&mut everybody);
    assert!(other.titles().is_empty());
    assert_eq!(other.vault.status().unwrap().waiting, 0);

    first.vault.share(&named(&[given, theirs]), other.id()).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other_monitor, &mut other, &mut mate]);
    assert_eq!(other.titles(), ["Given", "Of somebody else"]);
    // Each author hears of its own report only, and the author is no member of the other desk.
    assert_eq!(monitor.acts("shared"), [given.to_string()]);
    assert_eq!(other_monitor.acts("shared"), [theirs.to_string()]);
    assert_eq!(other.acts("shared").len(), 2);
    assert_eq!(mate.acts("shared").len(), 2);
    let people = other.vault.people().unwrap();
    assert!(people.iter().all(|member| member.device != monitor.id().to_string()));

    // Later changes of the author and of the desk go there, and its answers come back to both.
    monitor.vault.edit(given, &[Edit::Title("By the author".into())]).unwrap();
    monitor.vault.edit(kept, &[Edit::Title("Kept, changed".into())]).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other, &mut mate]);
    assert_eq!(title(&other, given), "By the author");
    first.vault.edit(given, &[Edit::Title("By the desk".into())]).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other, &mut mate]);
    assert_eq!(title(&other, given), "By the desk");
    other.vault.edit(given, &[Edit::Title("By the other desk".into())]).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other, &mut mate]);
    for device in [&first, &monitor, &other, &mate] {
        assert_eq!(title(device, given), "By the other desk");
        assert!(device.vault.problems().unwrap().is_empty(), "{:?}", device.vault.problems());
    }
    assert!(other.vault.show(kept).is_err());
    // Nothing of it waits for a change that only some of the desk can read.
    monitor.vault.edit(given, &[Edit::Title("At last".into())]).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other, &mut mate]);
    for device in [&first, &other, &mate] {
        assert_eq!(title(device, given), "At last");
        assert_eq!(device.vault.status().unwrap().waiting, 0);
    }
}

#[test]
fn only_a_desks_coordinator_shares_and_only_with_coordinators() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut other = admit_to_new_desk(&mut first, "Legal");
    let mut third = admit_to_new_desk(&mut first, "Archive");
    let report = monitor.report("Given");
    sync(&mut [&mut first, &mut monitor, &mut other, &mut third]);
    let refused = monitor.vault.share(&named(&[report]), other.id());
    assert!(matches!(refused, Err(VaultError::NotCoordinator)));
    let refused = first.vault.share(&named(&[report]), monitor.id());
    assert!(matches!(refused, Err(VaultError::NotAReader(label)) if label == "Vitebsk-3"));
    first.vault.share(&named(&[report]), other.id()).unwrap();
    sync(&mut [&mut first, &mut monitor, &mut other, &mut third]);
    // What was shared with a desk is not for it to give on.
    assert!(matches!(other.vault.share(&named(&[report]), third.id()), Err(VaultError::OtherDesk)));
    assert_eq!(other.vault.share(&all(), third.id()).unwrap().left_out, 1);
    // A draft never leaves.
    let draft = first.write("Draft");
    assert_eq!(first.vault.share(&named(&[draft]), other.id()).unwrap().left_out, 1);
}
