//! Who is told what, who counts, and what somebody in the team can make others read, lose or destroy.

use fieldbook_depot::{Depot, Incoming, Lookup, Source};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{EntryId, ReportId};
use fieldbook_report::{AttachmentManifest, Edit, ReportDocument, ReportInput};
use fieldbook_seal::body::{Notice, Receipt, Share};
use fieldbook_seal::{Kind, ReadingIdentity, SealedEntry};

use crate::hostile::{DETENTION, Device, admit, device, document, send, write};
use crate::names::actor_of;
use crate::notes::NoteText;
use crate::outgoing::{self, Outgoing};
use crate::reports::report_body;
use crate::vault::Vault;
use crate::views::{ForgetWhat, ShareSelection};
use crate::{SealConsent, VaultError};

/// Copies what one holds and the other does not know.
fn carry(from: &Vault, to: &Vault) {
    for (arrival, bytes) in from.depot.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let Some(bytes) = bytes else { continue };
        let incoming = Incoming { id: arrival.id, bytes: &bytes, from: Source::Peer(from.me) };
        to.depot.put(&[incoming]).unwrap();
    }
}

fn sync(devices: &mut [&mut Device]) {
    for _ in 0..3 {
        for from in 0..devices.len() {
            for to in 0..devices.len() {
                if from != to {
                    carry(&devices[from].vault, &devices[to].vault);
                }
            }
        }
        for device in devices.iter_mut() {
            device.vault.absorb().unwrap();
        }
    }
}

fn founder() -> Device {
    let mut founder = device("Coordination");
    founder.vault.create_team("Minsk 2017").unwrap();
    founder
}

fn title(device: &Device, report: ReportId) -> String {
    device.vault.show(report).unwrap().content.title
}

fn retitle(device: &mut Device, report: ReportId, to: &str) {
    device.vault.edit(report, &[Edit::Title(to.into())]).unwrap();
}

fn problems(device: &Device) -> Vec<String> {
    device.vault.problems().unwrap().into_iter().map(|problem| problem.reason).collect()
}

/// The newest entries of a depot that any identity in a vault opens, after a position.
fn opens(keys: &Vault, depot: &Vault, after: u64) -> Vec<EntryId> {
    let mut identities = vec![keys.device.identity().clone()];
    identities.extend(keys.team.as_ref().unwrap().desk_keys.iter().map(|key| key.identity.clone()));
    let mut statement = keys.db.prepare("SELECT return_secret FROM report").unwrap();
    let secrets = statement.query_map([], |row| row.get::<_, Option<Vec<u8>>>(0)).unwrap();
    for secret in secrets.filter_map(|secret| secret.unwrap()) {
        identities.push(ReadingIdentity::parse(std::str::from_utf8(&secret).unwrap()).unwrap());
    }
    let identities: Vec<&ReadingIdentity> = identities.iter().collect();
    let arrivals = depot.depot.arrivals_with_bytes(after, 100_000, u64::MAX).unwrap();
    arrivals
        .into_iter()
        .filter_map(|(arrival, bytes)| {
            let sealed = SealedEntry::parse(bytes?).unwrap();
            fieldbook_seal::decrypt(&sealed, &identities).ok().map(|_| arrival.id)
        })
        .collect()
}

/// An entry of a device's own making, for the desk and for another device.
fn craft(by: &mut Device, kind: Kind, report: Option<ReportId>, body: &[u8], to: Option<&Device>) -> EntryId {
    let vault = &mut by.vault;
    let team = vault.team.as_ref().unwrap();
    let (audience, recipients) = match to {
        Some(to) => team.audience_of(to.vault.me, &to.vault.device.keys().recipient),
        None => team.desk_audience(),
    };
    let entry = Outgoing { kind, report, audience, body, recipients: &recipients };
    let (id, _) = outgoing::queue(&vault.db, &vault.device, &entry).unwrap();
    vault.flush().unwrap();
    id
}

#[test]
fn a_removed_author_is_told_nothing_of_what_happens_to_its_report() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let report = write(&mut monitor);
    sync(&mut [&mut first, &mut monitor]);
    retitle(&mut first, report, "While it was in the team");
    let before = first.vault.depot.head().unwrap();
    assert!(!opens(&monitor.vault, &first.vault, before - 1).is_empty(), "the search finds an answer");
    first.vault.remove_device(monitor.vault.me, true).unwrap();
    retitle(&mut first, report, "After its removal");
    first.vault.ask(report, &NoteText { text: "Where was it?", ..NoteText::default() }).unwrap();
    first.vault.absorb().unwrap();
    assert!(first.vault.depot.head().unwrap() > before + 2);
    assert_eq!(opens(&monitor.vault, &first.vault, before), Vec::<EntryId>::new());
}

#[test]
fn only_who_can_read_a_report_and_is_no_paper_counts_for_sealing_it() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut other = device("Legal");
    let admission = first.vault.admit_to_new_desk(&other.vault.join_request()).unwrap();
    other.vault.adopt(&admission).unwrap();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    first.vault.create_recovery(2, 3).unwrap();
    let report = write(&mut monitor);
    let mut everybody = [&mut first, &mut second, &mut other, &mut monitor];
    sync(&mut everybody);
    monitor.vault.set_seal_after(Some(3)).unwrap();
    // Of another desk, which reads nothing of this: it signs for what it never opened.
    let sent: Vec<EntryId> =
        monitor.vault.entries(report).unwrap().iter().map(|entry| entry.id.parse().unwrap()).collect();
    let receipt = Receipt { time_ms: 1, sequences: vec![0; sent.len()], ids: sent }.encode();
    craft(&mut other, Kind::Receipt, None, &receipt, Some(&monitor));
    carry(&other.vault, &monitor.vault);
    assert_eq!(monitor.vault.absorb().unwrap().sealed, 0);
    let refused = monitor.vault.seal_report(report, SealConsent::WithReceipts).unwrap_err();
    let VaultError::NotConfirmed { have, missing, .. } = refused else { panic!("{refused}") };
    assert_eq!(have.len(), 2, "{have:?}");
    assert!(missing.is_empty(), "nobody waits for the sheets: {missing:?}");

    // Once it was given the report its word counts.
    let selection = ShareSelection { reports: vec![report], filter: None };
    first.vault.share(&selection, other.vault.me).unwrap();
    carry(&first.vault, &monitor.vault);
    assert_eq!(monitor.vault.absorb().unwrap().sealed, 1);
    assert!(matches!(monitor.vault.show(report), Err(VaultError::Sealed { .. })));
}

/// A share by `by` of a report as `document` has it.
fn share_of(by: &mut Device, with: &Device, author: &Device, report: ReportId, changes: Vec<u8>) {
    let author = author.vault.team.as_ref().unwrap().certificate.clone();
    let body = Share { author, return_recipient: None, changes }.encode();
    craft(by, Kind::Share, Some(report), &body, Some(with));
    let told = Notice::Shared { reports: vec![report], with: vec![with.vault.me] }.encode();
    craft(by, Kind::Notice, None, &told, Some(with));
    carry(&by.vault, &with.vault);
}

/// A report's document as this device has it, in another device's hand.
fn in_the_hand_of(hand: &Device, holder: &Device, report: ReportId) -> ReportDocument {
    let number: i64 = holder
        .vault
        .db
        .query_row("SELECT number FROM report WHERE id = ?1", [report.as_bytes()], |row| row.get(0))
        .unwrap();
    let bytes = crate::reports::document_bytes(&holder.vault.db, number).unwrap();
    ReportDocument::load(actor_of(&hand.vault.me), &bytes).unwrap()
}

#[test]
fn a_share_puts_no_words_into_an_authors_mouth_and_loses_none_of_the_authors_own() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    sync(&mut [&mut first, &mut second, &mut monitor]);
    let report = write(&mut monitor);
    sync(&mut [&mut first, &mut second, &mut monitor]);
    let mut forged = in_the_hand_of(&monitor, &second, report);
    forged.edit(&[Edit::Title("Forged".into())], 0).unwrap();
    share_of(&mut second, &first, &monitor, report, forged.save());
    first.vault.absorb().unwrap();
    first.vault.absorb().unwrap();
    assert_eq!(title(&first, report), "At the office");

    retitle(&mut monitor, report, "The author's own");
    sync(&mut [&mut monitor, &mut first]);
    assert_eq!(title(&first, report), "The author's own");
    assert_eq!(problems(&first).len(), 1, "and the forged one is named: {:?}", problems(&first));
    assert_eq!(title(&monitor, report), "The author's own");

    // Nor, before anything of the report is here, into that of an author whom this device reads anyway.
    let next = write(&mut monitor);
    carry(&monitor.vault, &second.vault);
    second.vault.absorb().unwrap();
    let mut forged = in_the_hand_of(&monitor, &second, next);
    forged.edit(&[Edit::Title("Forged".into())], 0).unwrap();
    // Only the share comes through.
    let ids_before = first.vault.depot.head().unwrap();
    let changes = forged.save();
    let author = monitor.vault.team.as_ref().unwrap().certificate.clone();
    let body = Share { author, return_recipient: None, changes }.encode();
    let share = craft(&mut second, Kind::Share, Some(next), &body, Some(&first));
    let Lookup::Held(bytes) = second.vault.depot.get(&share).unwrap() else { panic!("not held") };
    let from = Source::Peer(second.vault.me);
    first.vault.depot.put(&[Incoming { id: share, bytes: &bytes, from }]).unwrap();
    assert!(first.vault.depot.head().unwrap() > ids_before);
    first.vault.absorb().unwrap();
    assert!(first.vault.show(next).is_err());
    retitle(&mut monitor, next, "Also its own");
    sync(&mut [&mut monitor, &mut first]);
    assert_eq!(title(&first, next), "Also its own");
}

#[test]
fn a_share_with_changes_in_this_devices_own_name_is_refused() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let report = write(&mut monitor);
    sync(&mut [&mut first, &mut monitor]);
    let mut newcomer = admit(&mut first, "Newcomer", Role::Coordinator);
    sync(&mut [&mut first, &mut newcomer, &mut monitor]);
    let mut forged = in_the_hand_of(&newcomer, &first, report);
    forged.edit(&[Edit::Title("Forged".into())], 0).unwrap();
    share_of(&mut first, &newcomer, &monitor, report, forged.save());
    newcomer.vault.absorb().unwrap();
    assert!(newcomer.vault.show(report).is_err());
    assert!(problems(&newcomer)[0].contains("this device's name"), "{:?}", problems(&newcomer));

    // An honest one is taken, stands in the log, and what this device then writes reaches everybody.
    let selection = ShareSelection { reports: vec![report], filter: None };
    first.vault.share(&selection, newcomer.vault.me).unwrap();
    sync(&mut [&mut first, &mut newcomer, &mut monitor]);
    let mut forged = in_the_hand_of(&newcomer, &first, report);
    forged.edit(&[Edit::Title("Forged again".into())], 0).unwrap();
    share_of(&mut first, &newcomer, &monitor, report, forged.save());
    newcomer.vault.absorb().unwrap();
    retitle(&mut newcomer, report, "The newcomer's");
    sync(&mut [&mut first, &mut newcomer, &mut monitor]);
    for device in [&first, &newcomer, &monitor] {
        assert_eq!(title(device, report), "The newcomer's");
    }
}

#[test]
fn a_share_alone_stands_in_its_readers_log() {
    let mut first = founder();
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let report = write(&mut monitor);
    sync(&mut [&mut first, &mut monitor]);
    let mut newcomer = admit(&mut first, "Newcomer", Role::Coordinator);
    let changes = in_the_hand_of(&first, &first, report).save();
    let author = monitor.vault.team.as_ref().unwrap().certificate.clone();
    let body = Share { author, return_recipient: None, changes }.encode();
    craft(&mut first, Kind::Share, Some(report), &body, Some(&newcomer));
    carry(&first.vault, &newcomer.vault);
    newcomer.vault.absorb().unwrap();
    assert_eq!(title(&newcomer, report), "At the office");
    let log = newcomer.vault.log().unwrap();
    assert_eq!(log.iter().filter(|act| act.kind == "shared").count(), 1);
}

#[test]
fn what_a_coordinator_sent_cannot_be_sealed_when_it_is_one_no_more_and_what_comes_later_can() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    sync(&mut [&mut first, &mut second]);
    let old = write(&mut second);
    sync(&mut [&mut first, &mut second]);
    first.vault.set_role(second.vault.me, Role::Monitor).unwrap();
    sync(&mut [&mut first, &mut second]);
    second.vault.set_seal_after(Some(1)).unwrap();
    let refused = second.vault.seal_report(old, SealConsent::Anyway).unwrap_err();
    assert!(matches!(refused, VaultError::CannotSeal(_)), "{refused}");
    let new = write(&mut second);
    sync(&mut [&mut first, &mut second]);
    assert!(matches!(second.vault.show(new), Err(VaultError::Sealed { .. })), "it sealed itself");
    assert!(second.vault.show(old).is_ok());
    // Nothing of it opens here, nor in the depot of whoever received it.
    let mut sent = second.vault.entries(new).unwrap();
    sent.retain(|entry| entry.device == second.vault.me.to_string() && entry.kind == "report");
    for depot in [&second.vault, &first.vault] {
        let opened = opens(&second.vault, depot, 0);
        assert!(!opened.is_empty());
        assert!(sent.iter().all(|entry| !opened.contains(&entry.id.parse().unwrap())));
    }
}

#[test]
fn a_relay_writes_no_reports() {
    let mut first = founder();
    let mut relay = admit(&mut first, "Relay", Role::Relay);
    let mut monitor = admit(&mut first, "Vitebsk-3", Role::Monitor);
    let draft = relay.vault.create_report(&ReportInput::from_json(DETENTION).unwrap()).unwrap();
    let refused = relay.vault.finish(draft.id.parse().unwrap(), true);
    assert!(matches!(refused, Err(VaultError::RelayWritesNothing)), "{refused:?}");
    // One that does all the same.
    let report = ReportId::from_bytes([1; 16]);
    let mut doc = document(&relay);
    send(&mut relay, report, &mut doc, &[], None);
    sync(&mut [&mut first, &mut relay]);
    assert!(first.vault.show(report).is_err());
    assert!(problems(&first)[0].contains("relay"), "{:?}", problems(&first));
    // It carries them.
    let carried = write(&mut monitor);
    carry(&monitor.vault, &relay.vault);
    relay.vault.absorb().unwrap();
    carry(&relay.vault, &first.vault);
    first.vault.absorb().unwrap();
    assert!(first.vault.show(carried).is_ok());
}

#[test]
fn whoever_asks_to_forget_cannot_take_the_evidence_of_others_along() {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut victim = admit(&mut first, "Victim", Role::Monitor);
    let mut hostile = admit(&mut first, "Hostile", Role::Monitor);
    let mut carrier = admit(&mut first, "Carrier", Role::Monitor);
    sync(&mut [&mut first, &mut second, &mut victim, &mut hostile, &mut carrier]);
    let evidence = write(&mut victim);
    let ids: Vec<EntryId> =
        victim.vault.entries(evidence).unwrap().iter().map(|entry| entry.id.parse().unwrap()).collect();
    carry(&victim.vault, &hostile.vault);
    carry(&victim.vault, &carrier.vault);

    // Before it reaches the coordinator: "these are the parts of my attachment".
    let input = fieldbook_report::ReportInput::from_json(r#"{"template":"detention","title":"Mine"}"#);
    let actor = actor_of(&hostile.vault.me);
    let mut doc = ReportDocument::create(actor, &input.unwrap(), &mut || "00000001".into(), 0).unwrap();
    doc.edit(
        &[Edit::AddAttachment(AttachmentManifest {
            id: "0".repeat(32),
            name: "a".into(),
            media_type: "image/jpeg".into(),
            size: 1,
            blake3: "0".repeat(64),
            sha256: "0".repeat(64),
            identity: ReadingIdentity::generate().to_text().to_string(),
            parts: ids.iter().map(EntryId::to_string).collect(),
        })],
        0,
    )
    .unwrap();
    let squat = ReportId::from_bytes([1; 16]);
    let changes = doc.changes_since(&[]).concat();
    let sent = craft(&mut hostile, Kind::Report, Some(squat), &report_body(None, &changes), None);
    let Lookup::Held(bytes) = hostile.vault.depot.get(&sent).unwrap() else { panic!("not held") };
    let from = Source::Peer(hostile.vault.me);
    first.vault.depot.put(&[Incoming { id: sent, bytes: &bytes, from }]).unwrap();
    first.vault.absorb().unwrap();
    assert!(first.vault.show(squat).is_ok());
    first.vault.forget(&ForgetWhat::Report(squat)).unwrap();
    carry(&first.vault, &carrier.vault);
    carry(&first.vault, &second.vault);
    carrier.vault.absorb().unwrap();
    second.vault.absorb().unwrap();
    let held = |device: &Device| {
        ids.iter().filter(|id| matches!(device.vault.depot.get(id).unwrap(), Lookup::Held(_))).count()
    };
    assert_eq!(held(&carrier), ids.len());
    sync(&mut [&mut carrier, &mut first, &mut second]);
    assert_eq!((held(&carrier), held(&first), held(&second)), (ids.len(), ids.len(), ids.len()));
    assert!(first.vault.show(evidence).is_ok() && second.vault.show(evidence).is_ok());
    let log = carrier.vault.log().unwrap();
    let line = log.iter().find(|act| act.kind == "forgot").expect("what it dropped unread is in its log");
    assert_eq!(
        (line.detail.as_str(), line.who.as_str()),
        ("1 sealed entry that it could not read", "Coordination")
    );
}

#[test]
fn how_many_devices_a_desk_has_cannot_be_read_off_what_it_is_told() {
    let told = |monitors: usize| {
        let mut first = founder();
        for n in 0..monitors {
            admit(&mut first, &format!("Monitor {n}"), Role::Monitor);
        }
        let report = write(&mut first);
        let mut recipients = Vec::new();
        for act in [
            |vault: &mut Vault, _| vault.name_desk("North").unwrap(),
            |vault: &mut Vault, report| drop(vault.forget(&ForgetWhat::Report(report)).unwrap()),
        ] {
            let before = first.vault.depot.head().unwrap();
            act(&mut first.vault, report);
            for (_, bytes) in first.vault.depot.arrivals_with_bytes(before, 1_000, u64::MAX).unwrap() {
                let bytes = bytes.unwrap();
                recipients.push(bytes.windows(10).filter(|window| window == b"-> X25519 ").count());
            }
        }
        recipients
    };
    let few = told(1);
    assert!(few.iter().filter(|recipients| **recipients == 48).count() >= 2, "{few:?}");
    assert_eq!(told(17), few);
}
