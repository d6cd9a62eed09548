//! A vault that became a new device, seen by its team.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;

use fieldbook_depot::Depot as _;
use fieldbook_proto::certificate::Role;
use fieldbook_vault::{CopyState, ForgetWhat, NoteText, Passphrase, SealConsent, Vault, VaultError};

mod team;
use team::{Device, admit, carry, founder, open, sync};

/// Closes a device for a moment, so that its files are at rest, and takes a copy of the directory.
fn copied(device: Device) -> (Device, Device) {
    let Device { vault, dir } = device;
    vault.close().unwrap();
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap().flatten() {
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    (Device { vault: open(dir.path()), dir }, Device { vault: open(to.path()), dir: to })
}

fn note(text: &str) -> NoteText<'_> {
    NoteText { text, ..NoteText::default() }
}

fn state(by: &Device, device: &Device) -> String {
    let id = device.id().to_string();
    by.vault.people().unwrap().into_iter().find(|member| member.device == id).unwrap().state
}

#[test]
fn a_copy_adds_nothing_to_the_chain_whatever_it_is_asked() {
    let mut desk = founder();
    let mut monitor = admit(&mut desk, "Monitor", Role::Monitor);
    let id = monitor.report("Before");
    let (mut desk, mut copy) = copied(desk);
    assert_eq!(copy.vault.copy_state().unwrap(), Some(CopyState::Moved));
    // What the monitor has, but for what the original answered.
    carry(&monitor, &copy);
    let before = copy.depot().head().unwrap();
    copy.vault.absorb().unwrap();
    assert_eq!(copy.titles(), ["Before"], "it reads");
    let draft = copy.write("Draft");
    let refused = [
        copy.vault.finish(draft, true).err(),
        copy.vault.ask(id, &note("Who?")).err(),
        copy.vault.name_desk("Another").err(),
        copy.vault.remove_device(monitor.id(), true).err(),
        copy.vault.forget(&ForgetWhat::Report(id)).err(),
        copy.vault.create_recovery(2, 3).err(),
    ];
    for (n, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused, Some(VaultError::Moved)), "{n}: {refused:?}");
    }
    assert_eq!(copy.depot().head().unwrap(), before);
    assert_eq!(copy.titles(), ["Before", "Draft"], "what was refused changed nothing");

    // The original signs for the report. That it did so proves that there are two.
    sync(&mut [&mut desk, &mut monitor]);
    carry(&monitor, &copy);
    copy.vault.absorb().unwrap();
    assert_eq!(copy.vault.copy_state().unwrap(), Some(CopyState::Superseded));
    assert!(matches!(copy.vault.accept_place(), Err(VaultError::Superseded)));
    assert!(matches!(copy.vault.finish(draft, true), Err(VaultError::Superseded)));
    assert_eq!(copy.titles(), ["Before", "Draft"]);
}

#[test]
fn what_both_copies_signed_before_is_shown_as_what_it_is() {
    let mut desk = founder();
    let monitor = admit(&mut desk, "Monitor", Role::Monitor);
    let (mut monitor, mut copy) = copied(monitor);
    // On a file system that cannot tell: both write, and the copy never synced.
    copy.vault.accept_place().unwrap();
    monitor.report("By the original");
    copy.report("By the copy");
    sync(&mut [&mut desk, &mut monitor]);
    copy.vault.become_new_device().unwrap();
    let (admission, removed) =
        desk.vault.admit_in_place_of(&copy.vault.join_request(), Role::Monitor, monitor.id()).unwrap();
    assert_eq!(removed.unwrap().cut, 1);
    copy.vault.adopt(&admission).unwrap();
    sync(&mut [&mut desk, &mut copy]);
    // Of a device that was removed, what contradicts the chain that is known may be by whoever took it: it is
    // set aside and named, and stays readable where it was written.
    assert_eq!(desk.titles(), ["By the original"]);
    assert!(!desk.vault.problems().unwrap().is_empty(), "what happened is not hidden");
    assert!(copy.titles().contains(&"By the copy".to_owned()), "nothing is lost where it was written");
    copy.report("Later");
    sync(&mut [&mut desk, &mut copy]);
    assert_eq!(desk.titles().len(), 2);
}

#[test]
fn a_device_that_takes_anothers_place_is_told_apart_and_its_predecessors_entries_still_come() {
    let mut desk = founder();
    let mut monitor = admit(&mut desk, "Monitor", Role::Monitor);
    monitor.report("Sent");
    sync(&mut [&mut desk, &mut monitor]);
    let unsent = monitor.report("Not sent");
    let old = monitor.id();
    let backup = tempfile::tempdir().unwrap();
    monitor.vault.write_backup(&backup.path().join("b")).unwrap();
    let restored = tempfile::tempdir().unwrap();
    let passphrase = Passphrase::new("not a secret".into());
    Vault::restore(&backup.path().join("b"), &restored.path().join("v"), &passphrase).unwrap();
    let mut new = Device { vault: open(&restored.path().join("v")), dir: restored };
    assert_eq!(new.vault.copy_state().unwrap(), Some(CopyState::New));

    let request = new.vault.join_request();
    let alike = desk.vault.resemblance(&request).unwrap();
    assert_eq!((alike.was, alike.same_name), (Some(old), Some(old)));
    let (_, removed) = desk.vault.admit_in_place_of(&request, Role::Monitor, old).unwrap();
    assert_eq!(removed.unwrap().cut, 2, "as far as the newcomer says it goes, not only as far as is known");
    // The pairing broke off: it comes again.
    let (admission, removed) = desk.vault.admit_in_place_of(&request, Role::Monitor, old).unwrap();
    assert!(removed.is_none());
    new.vault.adopt(&admission).unwrap();
    assert_eq!((state(&desk, &monitor), state(&desk, &new)), ("lost".into(), "member".into()));
    sync(&mut [&mut desk, &mut new]);
    assert_eq!(desk.titles(), ["Not sent", "Sent"]);
    assert!(desk.vault.problems().unwrap().is_empty());
    let of = |vault: &Vault, title: &str| {
        let list = vault.list(&Default::default()).unwrap();
        list.into_iter().find(|report| report.title == title).unwrap()
    };
    for title in ["Sent", "Not sent"] {
        let report = of(&new.vault, title);
        assert_eq!((report.delivery.word.as_str(), report.mine), ("received", true), "{title}");
    }
    // What it wrote as another device it cannot change, and can give up.
    assert!(matches!(new.vault.ask(unsent, &note("Me?")), Err(VaultError::NotYourReport)));
    new.vault.seal_report(unsent, SealConsent::WithReceipts).unwrap();
    let sent = of(&new.vault, "Sent").id.parse().unwrap();
    new.vault.forget(&ForgetWhat::Report(sent)).unwrap();
    assert_eq!(new.titles(), [""]);
    sync(&mut [&mut desk, &mut new]);
    assert_eq!(desk.titles(), ["Not sent", "Sent"], "the desk keeps them");
    assert!(desk.vault.problems().unwrap().is_empty());

    // The old device goes on without knowing: what it writes now is not taken.
    monitor.report("After the removal");
    sync(&mut [&mut desk, &mut monitor]);
    assert_eq!(desk.titles(), ["Not sent", "Sent"]);
}

#[test]
fn a_restored_vault_in_another_team_takes_nobody_along() {
    let mut desk = founder();
    let mut monitor = admit(&mut desk, "Monitor", Role::Monitor);
    monitor.report("Of the first team");
    sync(&mut [&mut desk, &mut monitor]);
    desk.vault.become_new_device().unwrap();
    desk.vault.create_team("Another").unwrap();
    assert_eq!(desk.vault.people().unwrap().len(), 1);
    assert_eq!(desk.titles(), ["Of the first team"], "what could be read is read");
    desk.report("Of the second");
    assert!(desk.vault.absorb().unwrap().problems.is_empty());
}
