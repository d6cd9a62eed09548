//! Need-to-know, removal, desks and renewal, between vaults whose depots are exchanged by hand.

use fieldbook_depot::{Depot, Incoming, Source};
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, CertificateError, Role};
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{DeskId, EntryId, ReportId};
use fieldbook_report::{Edit, ReportInput};
use fieldbook_seal::{ReadingIdentity, SealedEntry};

use crate::error::VaultError;
use crate::hostile::{Device, admit, carry, device, open, write};
use crate::vault::{Vault, now_s};

pub(super) fn sync(a: &mut Device, b: &mut Device) {
    for _ in 0..3 {
        carry(&a.vault, &b.vault);
        carry(&b.vault, &a.vault);
        a.vault.absorb().unwrap();
        b.vault.absorb().unwrap();
    }
}

pub(super) fn founder() -> Device {
    let mut founder = device("Coordination");
    founder.vault.create_team("Minsk 2017").unwrap();
    founder
}

pub(super) fn reads(device: &Device, report: ReportId) -> bool {
    device.vault.show(report).is_ok()
}

/// What the network process of a device believes and shows.
pub(super) fn believes(device: &Device) -> (Authority, Vec<TransportSecret>) {
    let setting = |name: &str| device.vault.depot.setting(name).unwrap().unwrap();
    let authority = Authority::decode(&setting("authority")).unwrap();
    (authority, TransportSecret::decode_list(&setting("transport-secrets")).unwrap())
}

pub(super) fn newest_secret(device: &Device) -> Vec<u8> {
    device.vault.depot.setting("transport-secrets").unwrap().unwrap()[4..40].to_vec()
}

fn certificate(device: &Device) -> Certificate {
    device.vault.team.as_ref().unwrap().certificate.clone()
}

#[test]
fn a_new_coordinator_reads_nothing_older_than_its_admission_and_everything_later() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let old = write(&mut monitor);
    sync(&mut monitor, &mut first);
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut first, &mut monitor);
    let new = write(&mut monitor);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut second);
    assert!(reads(&first, old) && reads(&first, new));
    assert!(!reads(&second, old) && reads(&second, new));
    let known = second.vault.people().unwrap();
    assert!(known.iter().any(|member| member.label == "Vitebsk-3"), "and it knows its desk's members");
}

#[test]
fn a_removed_coordinator_reads_nothing_later_and_is_told_nothing() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut first, &mut monitor);
    sync(&mut first, &mut second);
    let before = newest_secret(&second);
    let summary = first.vault.remove_device(second.vault.me, false).unwrap();
    assert!(summary.counts && summary.was_coordinator);
    sync(&mut first, &mut monitor);
    let later = write(&mut monitor);
    sync(&mut monitor, &mut first);
    // Even with every byte that the others hold.
    sync(&mut first, &mut second);
    assert!(reads(&first, later) && !reads(&second, later));
    assert_eq!(newest_secret(&first), newest_secret(&monitor));
    assert_ne!(newest_secret(&first), before);
    assert_eq!(newest_secret(&second), before);
    let team = second.vault.team.as_ref().unwrap();
    assert!(!team.authority.is_removed(&second.vault.me), "nor that it was removed");
    for device in [&first, &monitor] {
        let (authority, _) = believes(device);
        assert_eq!(authority.judge(&certificate(&second), now_s()), Err(CertificateError::Revoked));
    }
    let later = write(&mut second);
    sync(&mut second, &mut first);
    assert!(!reads(&first, later), "what it writes afterwards is not taken");
    let reason: String =
        first.vault.db.query_row("SELECT reason FROM waiting", [], |row| row.get(0)).unwrap();
    assert!(reason.contains("removed"), "{reason}");
}

#[test]
fn what_a_removed_monitor_wrote_before_is_kept_and_still_arrives_elsewhere() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let before = write(&mut monitor);
    sync(&mut monitor, &mut first);
    first.vault.remove_device(monitor.vault.me, true).unwrap();
    sync(&mut first, &mut second);
    assert!(reads(&first, before) && reads(&second, before));
    let after = write(&mut monitor);
    sync(&mut monitor, &mut second);
    assert!(!reads(&second, after));
    let people = first.vault.people().unwrap();
    assert!(people.iter().any(|member| member.label == "Vitebsk-3" && member.state == "lost"));
    assert!(first.vault.log().unwrap().iter().any(|act| act.kind == "lost"));
}

#[test]
fn the_addresses_of_an_invitation_are_forgotten_when_whoever_invited_is_removed() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let invite = |by: &mut Device, address: &str| {
        let mut newcomer = device("Vitebsk-3");
        let mut admission = by.vault.admit(&newcomer.vault.join_request(), Role::Monitor).unwrap();
        admission.addresses = vec![address.to_owned()];
        newcomer.vault.adopt(&admission).unwrap();
        newcomer
    };
    sync(&mut first, &mut second);
    let (mut of_first, mut of_second) = (invite(&mut first, "a:1"), invite(&mut second, "b:1"));
    let invited = |device: &Device| device.vault.partners().unwrap().invited_to;
    assert_eq!((invited(&of_first), invited(&of_second)), (vec!["a:1".to_owned()], vec!["b:1".to_owned()]));
    // Neither was ever dialled.
    sync(&mut first, &mut second);
    for monitor in [&mut of_first, &mut of_second] {
        sync(&mut first, monitor);
    }
    first.vault.remove_device(second.vault.me, true).unwrap();
    for monitor in [&mut of_first, &mut of_second] {
        sync(&mut first, monitor);
    }
    assert_eq!((invited(&of_first), invited(&of_second)), (vec!["a:1".to_owned()], Vec::new()));
}

#[test]
fn of_two_coordinators_who_remove_each_other_the_elder_stands_everywhere() {
    let mut first = founder();
    let mut elder = admit(&mut first, "Elder", Role::Coordinator);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let mut younger = admit(&mut first, "Younger", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    for device in [&mut elder, &mut younger, &mut monitor] {
        sync(&mut first, device);
    }
    younger.vault.remove_device(elder.vault.me, false).unwrap();
    elder.vault.remove_device(younger.vault.me, false).unwrap();
    // The monitor hears the younger one's word first.
    carry(&younger.vault, &monitor.vault);
    monitor.vault.absorb().unwrap();
    for _ in 0..2 {
        sync(&mut first, &mut younger);
        sync(&mut first, &mut elder);
        sync(&mut first, &mut monitor);
    }
    for device in [&first, &elder, &monitor] {
        let (authority, _) = believes(device);
        assert!(authority.is_coordinator(&elder.vault.me));
        assert!(authority.is_removed(&younger.vault.me));
    }
    assert_eq!(newest_secret(&first), newest_secret(&elder));
    assert_eq!(newest_secret(&first), newest_secret(&monitor));
    assert_ne!(newest_secret(&first), newest_secret(&younger));
    let report = write(&mut monitor);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut elder);
    sync(&mut first, &mut younger);
    assert!(reads(&elder, report) && !reads(&younger, report));
}

#[test]
fn an_elder_who_has_heard_of_its_removal_answers_it_and_stands_again() {
    let mut first = founder();
    let mut junior = admit(&mut first, "Junior", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let mut lost = admit(&mut first, "Lost", Role::Monitor);
    for device in [&mut junior, &mut monitor, &mut lost] {
        sync(&mut first, device);
    }
    junior.vault.remove_device(lost.vault.me, true).unwrap();
    sync(&mut first, &mut junior);
    // Whoever took the junior's device removes everybody, the founder first.
    junior.vault.remove_device(first.vault.me, true).unwrap();
    junior.vault.remove_device(monitor.vault.me, false).unwrap();
    sync(&mut first, &mut junior);
    assert!(believes(&first).0.is_coordinator(&first.vault.me), "a removed device is told nothing");
    // It hears of it from somebody who was told.
    let mut authority = believes(&first).0;
    for removal in believes(&junior).0.removals() {
        authority.add_removal(removal.clone()).unwrap();
    }
    crate::store::set_meta(&first.vault.db, "authority", &authority.encode()).unwrap();
    first.vault.reload_team().unwrap();
    assert!(believes(&first).0.is_removed(&first.vault.me));
    let joins = device("Newcomer").vault.join_request();
    let refused = first.vault.admit(&joins, Role::Monitor).err();
    assert!(matches!(refused, Some(VaultError::RemovedByJunior(by)) if by == "Junior"));
    assert!(first.vault.remove_device(monitor.vault.me, false).is_err(), "nothing but the answer");
    assert!(first.vault.remove_device(junior.vault.me, true).unwrap().counts);
    carry(&first.vault, &monitor.vault);
    monitor.vault.absorb().unwrap();
    for device in [&first, &monitor] {
        let (authority, _) = believes(device);
        assert!(authority.is_coordinator(&first.vault.me) && authority.is_removed(&junior.vault.me));
        assert!(!authority.is_removed(&monitor.vault.me), "what came with it is void");
        assert!(authority.is_removed(&lost.vault.me), "what was done before it stands");
    }
    let report = write(&mut monitor);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut junior);
    assert!(reads(&first, report) && !reads(&junior, report));
}

#[test]
fn who_was_made_a_monitor_can_be_removed_afterwards() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut first, &mut second);
    first.vault.set_role(second.vault.me, Role::Monitor).unwrap();
    sync(&mut first, &mut second);
    let before = newest_secret(&first);
    assert!(first.vault.remove_device(second.vault.me, true).unwrap().counts);
    assert!(believes(&first).0.is_removed(&second.vault.me));
    assert_ne!(newest_secret(&first), before);
    sync(&mut first, &mut second);
    assert_ne!(newest_secret(&first), newest_secret(&second), "and it is not told the new one");
}

#[test]
fn a_desk_reads_nothing_of_another_and_its_founder_alone_admits_to_it() {
    let mut first = founder();
    let mut brest = device("Brest");
    let admission = first.vault.admit_to_new_desk(&brest.vault.join_request()).unwrap();
    brest.vault.adopt(&admission).unwrap();
    sync(&mut first, &mut brest);
    let mut there = admit(&mut brest, "Pinsk-1", Role::Monitor);
    let mut here = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let (a, b) = (write(&mut here), write(&mut there));
    for _ in 0..2 {
        sync(&mut there, &mut brest);
        sync(&mut here, &mut first);
        sync(&mut brest, &mut first);
    }
    assert!(reads(&first, a) && !reads(&first, b));
    assert!(reads(&brest, b) && !reads(&brest, a));
    let labels = |device: &Device| -> Vec<String> {
        device.vault.people().unwrap().into_iter().map(|member| member.label).collect()
    };
    assert!(!labels(&first).contains(&"Pinsk-1".to_owned()));
    assert!(!labels(&brest).contains(&"Vitebsk-3".to_owned()));
    // A removal at one desk reaches the monitors of the other.
    first.vault.remove_device(here.vault.me, false).unwrap();
    for _ in 0..2 {
        sync(&mut first, &mut brest);
        sync(&mut brest, &mut there);
    }
    assert!(believes(&there).0.is_removed(&here.vault.me));
    assert_eq!(newest_secret(&there), newest_secret(&first));
    assert_eq!(DeskId::founded_by(&brest.vault.me), brest.vault.team.as_ref().unwrap().desk);
}

#[test]
fn a_certificate_is_renewed_before_it_runs_out_and_after() {
    for left in [20 * 86_400, 0] {
        let mut first = founder();
        let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
        let body = certificate(&monitor).body().clone();
        let not_after = if left == 0 { 1 } else { now_s() + left };
        let short = first.vault.device.issue(CertificateBody { not_after, ..body });
        for device in [&mut first, &mut monitor] {
            let id = monitor_id(&short);
            device
                .vault
                .db
                .execute(
                    "UPDATE device SET certificate = ?2 WHERE id = ?1",
                    rusqlite::params![id.as_slice(), short.encode()],
                )
                .unwrap();
        }
        super::Team::set_certificate(&monitor.vault.db, &short).unwrap();
        monitor.vault.reload_team().unwrap();
        // Nothing has happened in the team; a day has passed.
        assert!(!first.vault.house_due);
        first.vault.house_kept_s -= 86_400;
        assert_eq!(certificate(&monitor).body().not_after, not_after);
        sync(&mut monitor, &mut first);
        let renewed = certificate(&monitor);
        assert!(renewed.body().not_after > now_s() + 80 * 86_400 && renewed.body().serial == 1);
        assert_eq!(monitor.vault.depot.setting("certificate").unwrap(), Some(renewed.encode()));
        assert!(!first.vault.depot.addressed_to(&monitor.vault.me).unwrap().is_empty());
    }
}

#[test]
fn a_coordinator_renews_its_own_certificate_and_cannot_open_what_it_says_of_it() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut first, &mut second);
    let own = certificate(&second).body().clone();
    let not_after = now_s() + 86_400;
    let short = second.vault.device.issue(CertificateBody { not_after, issuer: second.vault.me, ..own });
    super::Team::set_certificate(&second.vault.db, &short).unwrap();
    second.vault.reload_team().unwrap();
    sync(&mut second, &mut first);
    assert!(certificate(&second).body().not_after > now_s() + 80 * 86_400);
    let known = first.vault.member(&second.vault.me).unwrap().unwrap();
    assert_eq!(known.certificate, certificate(&second), "and the others know of it");
    let identity = second.vault.device.identity().clone();
    for (_, bytes) in second.vault.depot.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let sealed = SealedEntry::parse(bytes.unwrap()).unwrap();
        if let Ok(opened) = fieldbook_seal::decrypt(&sealed, &[&identity]) {
            assert_ne!(opened.header().device, second.vault.me);
        }
    }
}

#[test]
fn a_sleeper_whose_coordinator_is_gone_gets_back_in_with_what_is_addressed_to_it() {
    let mut first = founder();
    let mut gone = admit(&mut first, "Gone", Role::Coordinator);
    sync(&mut first, &mut gone);
    let mut sleeper = admit(&mut gone, "Vitebsk-3", Role::Monitor);
    let short =
        gone.vault.device.issue(CertificateBody { not_after: 1, ..certificate(&sleeper).body().clone() });
    super::Team::set_certificate(&sleeper.vault.db, &short).unwrap();
    sleeper.vault.reload_team().unwrap();
    sync(&mut gone, &mut first);
    // While it sleeps somebody comes whom it has never heard of, and takes over.
    let mut newcomer = admit(&mut first, "Newcomer", Role::Coordinator);
    sync(&mut first, &mut newcomer);
    newcomer.vault.remove_device(gone.vault.me, false).unwrap();
    sync(&mut newcomer, &mut first);
    // Either of the two can hand it over.
    for from in [&newcomer, &first] {
        let mut asleep = copy(&sleeper);
        assert!(certificate(&asleep).body().not_after == 1);
        let addressed = from.vault.depot.addressed_to(&sleeper.vault.me).unwrap();
        for id in addressed {
            let fieldbook_depot::Lookup::Held(bytes) = from.vault.depot.get(&id).unwrap() else { continue };
            let incoming = Incoming { id, bytes: &bytes, from: Source::Peer(from.vault.me) };
            asleep.vault.depot.put(&[incoming]).unwrap();
        }
        asleep.vault.absorb().unwrap();
        let renewed = certificate(&asleep);
        assert_eq!(renewed.body().issuer, newcomer.vault.me);
        assert!(renewed.body().not_after > now_s() + 80 * 86_400);
        assert_eq!(newest_secret(&asleep), newest_secret(&newcomer));
        let judged = believes(from).0.judge(&renewed, now_s()).unwrap();
        assert!(!judged.expired());
    }
    sync(&mut newcomer, &mut sleeper);
    let report = write(&mut sleeper);
    sync(&mut sleeper, &mut newcomer);
    assert!(reads(&newcomer, report));
}

/// The same device once more, as it was when it was closed.
fn copy(of: &Device) -> Device {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(of.dir.path()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
    }
    Device { vault: open(dir.path()), dir }
}

#[test]
fn a_desk_that_nobody_reads_any_more_is_sent_nothing_and_nothing_is_lost() {
    let mut first = founder();
    let mut brest = device("Brest");
    let admission = first.vault.admit_to_new_desk(&brest.vault.join_request()).unwrap();
    brest.vault.adopt(&admission).unwrap();
    let mut there = admit(&mut brest, "Pinsk-1", Role::Monitor);
    sync(&mut first, &mut brest);
    let second = admit(&mut first, "Second", Role::Coordinator);
    assert!(!first.vault.removal_preview(second.vault.me, false, Vec::new()).unwrap().closes_desk);
    assert!(first.vault.removal_preview(brest.vault.me, false, Vec::new()).unwrap().closes_desk);
    let sent = write(&mut there);
    let draft = there.vault.create_report(&ReportInput::from_json(DRAFT).unwrap()).unwrap();
    let draft: ReportId = draft.id.parse().unwrap();

    first.vault.remove_device(brest.vault.me, false).unwrap();
    // However it comes to hear of it.
    let mut authority = there.vault.team.as_ref().unwrap().authority.clone();
    for removal in first.vault.team.as_ref().unwrap().authority.removals() {
        authority.add_removal(removal.clone()).unwrap();
    }
    crate::store::set_meta(&there.vault.db, "authority", &authority.encode()).unwrap();
    there.vault.reload_team().unwrap();
    let before = there.vault.depot.stats().unwrap().known;
    assert!(matches!(there.vault.finish(draft, true), Err(VaultError::DeskClosed)));
    let edited = there.vault.edit(sent, &[Edit::Title("Later".into())]);
    assert!(matches!(edited, Err(VaultError::DeskClosed)));
    let sealed = there.vault.seal_report(sent, crate::SealConsent::Anyway);
    assert!(matches!(sealed, Err(VaultError::DeskClosed)));
    assert_eq!(there.vault.depot.stats().unwrap().known, before);
    assert_eq!(there.vault.summary(draft).unwrap().state, "draft");
    assert_eq!(there.vault.show(draft).unwrap().content.title, "Kept");
    assert_eq!(there.vault.show(sent).unwrap().content.title, "At the office");
}

const DRAFT: &str = r#"{"template":"detention","title":"Kept","language":"en","fields":{}}"#;

fn monitor_id(certificate: &Certificate) -> [u8; 32] {
    *certificate.device_id().as_bytes()
}

#[test]
fn whom_a_removed_coordinator_admitted_stays_with_a_new_certificate() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut first, &mut second);
    let mut monitor = admit(&mut second, "Vitebsk-3", Role::Monitor);
    sync(&mut second, &mut first);
    first.vault.remove_device(second.vault.me, true).unwrap();
    assert!(believes(&first).0.judge(&certificate(&monitor), now_s()).is_ok(), "it gets in to fetch it");
    sync(&mut first, &mut monitor);
    assert_eq!(certificate(&monitor).body().issuer, first.vault.me);
    let report = write(&mut monitor);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut second);
    assert!(reads(&first, report) && !reads(&second, report));
}

#[test]
fn a_monitor_becomes_a_coordinator_and_a_coordinator_a_monitor() {
    let mut first = founder();
    let mut other = admit(&mut first, "Other", Role::Monitor);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let old = write(&mut monitor);
    sync(&mut monitor, &mut first);
    assert_eq!(first.vault.set_role(other.vault.me, Role::Coordinator).unwrap().role, "coordinator");
    sync(&mut first, &mut other);
    sync(&mut first, &mut monitor);
    let new = write(&mut monitor);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut other);
    assert!(reads(&other, new) && !reads(&other, old));
    assert_eq!(first.vault.set_role(other.vault.me, Role::Monitor).unwrap().role, "monitor");
    sync(&mut first, &mut other);
    sync(&mut first, &mut monitor);
    assert_eq!(other.vault.team.as_ref().unwrap().role(), Role::Monitor);
    let later = write(&mut monitor);
    let own = write(&mut other);
    sync(&mut monitor, &mut first);
    sync(&mut first, &mut other);
    assert!(!reads(&other, later), "it reads nothing later");
    assert!(reads(&first, own), "and its own reports arrive");
    assert!(first.vault.set_role(other.vault.me, Role::Coordinator).is_err());
}

/// Every byte that a vault keeps or can open: its tables, and every entry of its depot that any identity
/// in it opens.
fn everything(vault: &Vault) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let tables: Vec<String> = vault
        .db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'report_text%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for table in tables {
        let mut statement = vault.db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
                        found.push(bytes.to_vec());
                    }
                    _ => {}
                }
            }
        }
    }
    let mut identities: Vec<ReadingIdentity> = vec![vault.device.identity().clone()];
    for bytes in &found {
        identities.extend(std::str::from_utf8(bytes).ok().and_then(|text| ReadingIdentity::parse(text).ok()));
    }
    let identities: Vec<&ReadingIdentity> = identities.iter().collect();
    for (arrival, bytes) in vault.depot.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let _: EntryId = arrival.id;
        let Ok(sealed) = SealedEntry::parse(bytes.unwrap_or_default()) else { continue };
        if let Ok(opened) = fieldbook_seal::decrypt(&sealed, &identities) {
            found.push(format!("{:?}", opened.header()).into_bytes());
            found.push(opened.claimed_body().to_vec());
        }
    }
    for name in ["authority", "certificate", "transport-secrets", "addresses"] {
        found.extend(vault.depot.setting(name).unwrap());
    }
    found
}

fn holds(found: &[Vec<u8>], word: &[u8]) -> bool {
    found.iter().any(|bytes| bytes.windows(word.len()).any(|window| window == word))
}

#[test]
fn a_monitor_s_stores_hold_no_other_monitor_s_label_key_or_id() {
    let mut first = founder();
    let mut watcher = admit(&mut first, "Watcher", Role::Monitor);
    let mut hidden = admit(&mut first, "Hidden-Monitor", Role::Monitor);
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let report = write(&mut hidden);
    write(&mut watcher);
    for _ in 0..2 {
        sync(&mut hidden, &mut first);
        sync(&mut first, &mut second);
        sync(&mut first, &mut watcher);
        first.vault.edit(report, &[Edit::Title("Corrected".into())]).unwrap();
    }
    second.vault.remove_device(first.vault.me, false).unwrap();
    sync(&mut second, &mut watcher);
    let keys = hidden.vault.device.keys();
    let found = everything(&watcher.vault);
    assert!(holds(&found, b"Second"), "the search finds what is there");
    for (what, word) in [
        ("label", b"Hidden-Monitor".as_slice()),
        ("id", hidden.vault.me.as_bytes()),
        ("id as text", hidden.vault.me.to_string().as_bytes()),
        ("signing key", &keys.signing),
        ("transport key", &keys.transport),
        ("recipient", keys.recipient.as_str().as_bytes()),
        ("report", report.as_bytes()),
    ] {
        assert!(!holds(&found, word), "the other monitor's {what} was found");
    }
    assert!(holds(&everything(&second.vault), hidden.vault.me.as_bytes()), "coordinators know them");
    let Device { vault, dir } = watcher;
    drop(vault);
    open(dir.path());
}
