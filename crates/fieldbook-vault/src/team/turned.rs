//! A coordinator that has turned against its team: what is left to it after its removal, and what it can do
//! to the others before.

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::limits::EPOCHS_MAX;
use fieldbook_seal::body::{Announcement, DeskEpoch, Grant, TransportEpoch};
use fieldbook_seal::recovery::combine;
use fieldbook_seal::{Kind, ReadingIdentity, SealedEntry};
use zeroize::Zeroizing;

use super::tests::{believes, founder, newest_secret, reads, sync};
use crate::hostile::{Device, admit, craft_for, device, write};

/// The founder, a coordinator that has turned, and a monitor that has heard of both.
fn team() -> (Device, Device, Device) {
    let mut first = founder();
    let mut turned = admit(&mut first, "Second", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    for _ in 0..2 {
        sync(&mut first, &mut turned);
        sync(&mut first, &mut monitor);
    }
    (first, turned, monitor)
}

/// A grant of its making, sealed to one device alone.
fn grant(by: &mut Device, to: &Device, grant: &Grant) {
    craft_for(by, Kind::Grant, None, &grant.encode(), &[to.vault.device.keys().recipient]);
}

fn stands(at: &Device, device: &Device) -> bool {
    believes(at).0.is_coordinator(&device.vault.me)
}

#[test]
fn a_sleeper_falls_with_the_lost_coordinator_that_admitted_it_unless_it_is_kept() {
    for (lost, keep, stays) in [(true, false, false), (true, true, true), (false, false, true)] {
        let (mut first, mut turned, mut monitor) = team();
        let mut sleeper = admit(&mut turned, "Sleeper", Role::Coordinator);
        let mut theirs = admit(&mut turned, "Orsha-2", Role::Monitor);
        sync(&mut turned, &mut first);
        sync(&mut first, &mut sleeper);
        let summary = if keep {
            first.vault.remove_lost(turned.vault.me, vec![sleeper.vault.me]).unwrap()
        } else {
            first.vault.remove_device(turned.vault.me, lost).unwrap()
        };
        assert!(summary.counts);
        let mut admitted: Vec<(String, String, bool)> =
            summary.admitted.into_iter().map(|one| (one.label, one.role, one.stays)).collect();
        admitted.sort();
        let expected = [
            ("Orsha-2".to_owned(), "monitor".to_owned(), true),
            ("Sleeper".to_owned(), "coordinator".to_owned(), stays),
        ];
        assert_eq!(admitted, expected);
        for _ in 0..2 {
            sync(&mut first, &mut monitor);
            sync(&mut first, &mut theirs);
        }
        let later = write(&mut monitor);
        sync(&mut monitor, &mut first);
        sync(&mut first, &mut sleeper);
        let desk = first.vault.team.as_ref().unwrap().desk;
        for device in [&first, &monitor] {
            assert_eq!(believes(device).0.readers_of(desk).contains(&sleeper.vault.me), stays);
        }
        assert_eq!(reads(&sleeper, later), stays);
        let report = write(&mut theirs);
        sync(&mut theirs, &mut first);
        assert!(reads(&first, report), "whom it admitted as a monitor still delivers");
        if !stays {
            let people = first.vault.people().unwrap();
            assert!(people.iter().any(|member| member.label == "Sleeper" && member.state == "not kept"));
            assert!(!stands(&first, &turned));
            // It was a person after all.
            first.vault.set_role(sleeper.vault.me, Role::Coordinator).unwrap();
            assert!(stands(&first, &sleeper));
        }
    }
}

#[test]
fn a_renewal_in_between_does_not_hold_a_sleeper_up() {
    let (mut first, mut turned, _) = team();
    let sleeper = admit(&mut turned, "Sleeper", Role::Coordinator);
    sync(&mut turned, &mut first);
    // Its certificate runs out, as far as the others know.
    let known = first.vault.member(&sleeper.vault.me).unwrap().unwrap().certificate;
    let body = fieldbook_proto::certificate::CertificateBody { not_after: 1, ..known.body().clone() };
    let short = turned.vault.device.issue(body);
    first
        .vault
        .db
        .execute(
            "UPDATE device SET certificate = ?2 WHERE id = ?1",
            rusqlite::params![sleeper.vault.me.as_bytes(), short.encode()],
        )
        .unwrap();
    first.vault.house_due = true;
    first.vault.keep_house().unwrap();
    first.vault.remove_device(turned.vault.me, true).unwrap();
    assert!(!stands(&first, &sleeper));
}

#[test]
fn recovery_sheets_open_nothing_after_whoever_made_them_was_removed() {
    let (mut first, mut turned, mut monitor) = team();
    let sheets = turned.vault.create_recovery(2, 3).unwrap();
    for _ in 0..2 {
        sync(&mut turned, &mut first);
        sync(&mut first, &mut monitor);
    }
    assert!(first.vault.has_recovery() && monitor.vault.has_recovery());
    let before = write(&mut monitor);
    let known = monitor.vault.depot.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap().len();
    sync(&mut monitor, &mut first);
    assert!(first.vault.remove_device(turned.vault.me, false).unwrap().ends_sheets);
    for _ in 0..2 {
        sync(&mut first, &mut monitor);
    }
    assert!(!first.vault.has_recovery() && !monitor.vault.has_recovery());
    let after = write(&mut monitor);
    let identity = combine(&sheets[..2]).unwrap().identity();
    let arrivals = monitor.vault.depot.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap();
    let opens = |bytes: &Option<Vec<u8>>| {
        let sealed = SealedEntry::parse(bytes.clone().unwrap()).unwrap();
        fieldbook_seal::decrypt(&sealed, &[&identity]).ok().and_then(|opened| opened.header().report)
    };
    let opened: Vec<_> = arrivals.iter().filter_map(|(_, bytes)| opens(bytes)).collect();
    assert!(opened.contains(&before) && !opened.contains(&after));
    assert!(arrivals[known..].iter().all(|(_, bytes)| opens(bytes).is_none()));
    // And new ones can be made.
    first.vault.create_recovery(2, 3).unwrap();
    assert!(first.vault.has_recovery());
}

#[test]
fn a_label_that_was_given_is_not_swapped_by_another_coordinator() {
    let (mut first, mut turned, monitor) = team();
    let certificate = first.vault.member(&monitor.vault.me).unwrap().unwrap().certificate;
    let body = Announcement { certificate, label: "Gomel-1".into() }.encode();
    let (_, recipients) = turned.vault.team.as_ref().unwrap().desk_audience();
    craft_for(&mut turned, Kind::Certificate, None, &body, &recipients);
    sync(&mut turned, &mut first);
    let people = first.vault.people().unwrap();
    let label = &people.iter().find(|member| member.device == monitor.vault.me.to_string()).unwrap().label;
    assert_eq!(label, "Vitebsk-3");
}

#[test]
fn a_flood_of_epochs_pushes_out_its_own_and_a_leap_is_refused() {
    let (mut first, mut turned, mut monitor) = team();
    let honest = newest_secret(&first)[4..].to_vec();
    let transport =
        |epoch: u32, n: u8| TransportEpoch { epoch, secret: Zeroizing::new([n; 32]), without: Vec::new() };
    for n in 0..100 {
        let flood = Grant { transport: Some(transport(1_000, n)), ..Grant::default() };
        grant(&mut turned, &monitor, &flood);
    }
    sync(&mut turned, &mut monitor);
    let kept = |device: &Device| -> Vec<Vec<u8>> {
        device
            .vault
            .team
            .as_ref()
            .unwrap()
            .transport_in_order()
            .iter()
            .map(|row| row.secret.to_vec())
            .collect()
    };
    assert!(kept(&monitor).contains(&honest) && kept(&monitor).len() <= EPOCHS_MAX);
    let rows = monitor.vault.count("SELECT count(*) FROM transport_epoch").unwrap();
    assert!(rows <= EPOCHS_MAX + 1, "{rows} rows");

    let far = Grant { transport: Some(transport(1_000 + 1_025, 200)), ..Grant::default() };
    grant(&mut turned, &monitor, &far);
    let identity = ReadingIdentity::generate();
    let desk = DeskEpoch {
        desk: monitor.vault.team.as_ref().unwrap().desk,
        epoch: u32::MAX,
        recipient: identity.recipient(),
        name: String::new(),
        readers: Vec::new(),
        identity: None,
    };
    grant(&mut turned, &monitor, &Grant { desk: Some(desk), ..Grant::default() });
    sync(&mut turned, &mut monitor);
    assert!(!kept(&monitor).contains(&vec![200; 32]));
    assert_eq!(monitor.vault.problems().unwrap().len(), 2);
    // The honest ones can go on rotating.
    first.vault.remove_device(turned.vault.me, true).unwrap();
    sync(&mut first, &mut monitor);
    assert_eq!(newest_secret(&first), newest_secret(&monitor));
    let report = write(&mut monitor);
    sync(&mut monitor, &mut first);
    assert!(reads(&first, report));
}

#[test]
fn what_a_false_epoch_swallowed_arrives_after_its_maker_is_removed() {
    let (mut first, mut turned, mut monitor) = team();
    let row = monitor.vault.team.as_ref().unwrap().open_epoch().unwrap().clone();
    let identity = ReadingIdentity::generate();
    let false_epoch = DeskEpoch {
        desk: row.desk,
        epoch: row.epoch + 1,
        recipient: identity.recipient(),
        name: String::new(),
        readers: row.readers.clone(),
        identity: None,
    };
    grant(&mut turned, &monitor, &Grant { desk: Some(false_epoch), ..Grant::default() });
    sync(&mut turned, &mut monitor);
    let swallowed = write(&mut monitor);
    sync(&mut monitor, &mut first);
    assert!(!reads(&first, swallowed));
    first.vault.remove_device(turned.vault.me, true).unwrap();
    for _ in 0..2 {
        sync(&mut first, &mut monitor);
    }
    assert!(reads(&first, swallowed));
    assert_eq!(monitor.vault.summary(swallowed).unwrap().delivery.word, "received");
    let entries = monitor.vault.entries(swallowed).unwrap().len();
    sync(&mut first, &mut monitor);
    assert_eq!(monitor.vault.entries(swallowed).unwrap().len(), entries, "once is enough");
}

#[test]
fn whoever_others_connect_to_gets_every_secret_that_sleepers_may_know() {
    let mut first = founder();
    for n in 0..9 {
        let dummy = admit(&mut first, &format!("Dummy-{n}"), Role::Monitor);
        first.vault.remove_device(dummy.vault.me, false).unwrap();
    }
    for (role, secrets) in [(Role::Monitor, 8), (Role::Relay, 10), (Role::Coordinator, 10)] {
        let admission = first.vault.admit(&device("Newcomer").vault.join_request(), role).unwrap();
        assert_eq!(admission.transport_secrets.len(), secrets, "{role:?}");
    }
}
