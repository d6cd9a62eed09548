//! What a certified device that has turned against its team can send, and what it must not achieve:
//! its entries may fail, those of the others never. Also what honest clocks and crashes can cause.
//!
//! (It is one file because every case is one more way to break one promise: honest work goes on.)

use std::path::Path;

use fieldbook_depot::{Depot, Incoming, Source, SqlDepot};
use fieldbook_proto::certificate::{CertificateBody, Recipient, Role};
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_report::{AttachmentManifest, Edit, FieldValue, ReportDocument, ReportInput};
use fieldbook_seal::{Kind, ReadingIdentity};
use tempfile::TempDir;

use crate::names::actor_of;
use crate::outgoing::{self, Outgoing};
use crate::reports::{ReportRow, report_body};
use crate::vault::Vault;
use crate::{CreateOptions, ListFilter, Passphrase, ShareSelection};

pub(crate) struct Device {
    pub vault: Vault,
    pub dir: TempDir,
}

pub(crate) fn open(dir: &Path) -> Vault {
    Vault::open(dir, &Passphrase::new("not a secret".into())).unwrap()
}

pub(crate) fn device(name: &str) -> Device {
    let dir = tempfile::tempdir().unwrap();
    let options = CreateOptions { name: name.into(), work_factor: Some(15) };
    Vault::create(dir.path(), &Passphrase::new("not a secret".into()), &options).unwrap();
    Device { vault: open(dir.path()), dir }
}

pub(crate) fn admit(coordinator: &mut Device, name: &str, role: Role) -> Device {
    let mut newcomer = device(name);
    let admission = coordinator.vault.admit(&newcomer.vault.join_request(), role).unwrap();
    newcomer.vault.adopt(&admission).unwrap();
    newcomer
}

/// A coordinator, an honest monitor, and one that is not.
fn team() -> (Device, Device, Device) {
    let mut coordinator = device("Coordination");
    coordinator.vault.create_team("Minsk 2017").unwrap();
    let honest = admit(&mut coordinator, "Honest", Role::Monitor);
    let hostile = admit(&mut coordinator, "Hostile", Role::Monitor);
    (coordinator, honest, hostile)
}

pub(crate) fn carry(from: &Vault, to: &Vault) {
    let open = |vault: &Vault| SqlDepot::open(&vault.depot_path(), &vault.depot_key()).unwrap();
    let (source, target) = (open(from), open(to));
    let sender: DeviceId = from.device().id.parse().unwrap();
    for (arrival, bytes) in source.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let bytes = bytes.unwrap();
        target.put(&[Incoming { id: arrival.id, bytes: &bytes, from: Source::Peer(sender) }]).unwrap();
    }
}

/// Carries one entry only.
fn carry_one(from: &Vault, to: &Vault, id: EntryId) {
    let fieldbook_depot::Lookup::Held(bytes) = from.depot.get(&id).unwrap() else { panic!("not held") };
    to.depot.put(&[Incoming { id, bytes: &bytes, from: Source::Peer(from.me) }]).unwrap();
}

/// An entry of the author's making, whatever is in it.
fn craft(author: &mut Device, kind: Kind, report: Option<ReportId>, body: &[u8]) -> EntryId {
    let (_, recipients) = author.vault.team.as_ref().unwrap().desk_audience();
    craft_for(author, kind, report, body, &recipients)
}

pub(crate) fn craft_for(
    author: &mut Device,
    kind: Kind,
    report: Option<ReportId>,
    body: &[u8],
    recipients: &[Recipient],
) -> EntryId {
    let vault = &mut author.vault;
    let (audience, _) = vault.team.as_ref().unwrap().desk_audience();
    let outgoing = Outgoing { kind, report, audience, body, recipients };
    let (id, _) = outgoing::queue(&vault.db, &vault.device, &outgoing).unwrap();
    vault.flush().unwrap();
    id
}

/// A document of this device's hand.
pub(crate) fn document(author: &Device) -> ReportDocument {
    let input = ReportInput::from_json(DETENTION).unwrap();
    ReportDocument::create(actor_of(&author.vault.me), &input, &mut || "00000001".into(), 0).unwrap()
}

/// Sends what a document has gained since `heads`.
pub(crate) fn send(
    author: &mut Device,
    report: ReportId,
    document: &mut ReportDocument,
    heads: &[[u8; 32]],
    answer_to: Option<&Recipient>,
) -> EntryId {
    let changes = document.changes_since(heads).concat();
    craft(author, Kind::Report, Some(report), &report_body(answer_to, &changes))
}

pub(crate) fn write(device: &mut Device) -> ReportId {
    let id: ReportId =
        device.vault.create_report(&ReportInput::from_json(DETENTION).unwrap()).unwrap().id.parse().unwrap();
    device.vault.finish(id, true).unwrap();
    id
}

/// The honest device's report arrives and its receipt comes back.
fn honest_work_goes_on(coordinator: &mut Device, honest: &mut Device) {
    let id = write(honest);
    carry(&honest.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    assert!(coordinator.vault.show(id).is_ok());
    carry(&coordinator.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    assert_eq!(honest.vault.summary(id).unwrap().delivery.word, "received");
}

fn manifest(identity: String, parts: Vec<String>) -> AttachmentManifest {
    AttachmentManifest {
        id: "0".repeat(32),
        name: "a".into(),
        media_type: "image/jpeg".into(),
        size: 1,
        blake3: "0".repeat(64),
        sha256: "0".repeat(64),
        identity,
        parts,
    }
}

pub(crate) const DETENTION: &str = r#"{"template":"detention","title":"At the office","language":"en",
    "fields":{"date":"2017-03-25","people_detained":57},"narrative":"Taken to buses."}"#;

#[test]
fn an_attachment_with_a_key_that_does_not_read_stops_nobody() {
    let (mut coordinator, mut honest, mut hostile) = team();
    let mut doc = document(&hostile);
    let elsewhere = [ReadingIdentity::generate().recipient()];
    let part = craft_for(&mut hostile, Kind::AttachmentPart, None, b"part", &elsewhere);
    let bad = manifest("not a key".into(), vec![part.to_string()]);
    doc.edit(&[Edit::AddAttachment(bad)], 0).unwrap();
    send(&mut hostile, ReportId::from_bytes([1; 16]), &mut doc, &[], None);
    carry(&hostile.vault, &coordinator.vault);
    honest_work_goes_on(&mut coordinator, &mut honest);
    assert!(!coordinator.vault.problems().unwrap().is_empty());
}

#[test]
fn a_report_that_grows_beyond_what_can_be_loaded_stops_nobody() {
    let (mut coordinator, mut honest, mut hostile) = team();
    let mut doc = document(&hostile);
    let report = ReportId::from_bytes([1; 16]);
    send(&mut hostile, report, &mut doc, &[], None);
    // Changes that a device of their author's making sends, whatever its own limits say.
    for round in 0..18_u32 {
        let heads = doc.heads();
        let edits: Vec<Edit> = (0..40)
            .map(|n| Edit::Field {
                name: format!("x-{n}"),
                value: Some(FieldValue::Text(format!("{round:08}").repeat(2000))),
            })
            .collect();
        doc.edit(&edits, 0).unwrap();
        send(&mut hostile, report, &mut doc, &heads, None);
    }
    carry(&hostile.vault, &coordinator.vault);
    honest_work_goes_on(&mut coordinator, &mut honest);
    assert!(!coordinator.vault.problems().unwrap().is_empty());
    assert!(coordinator.vault.show(report).is_ok());
}

#[test]
fn an_edit_after_which_nobody_else_could_load_the_report_is_refused() {
    let mut monitor = device("Monitor");
    let input = ReportInput::from_json(DETENTION).unwrap();
    let id: ReportId = monitor.vault.create_report(&input).unwrap().id.parse().unwrap();
    let mut refused = false;
    for round in 0..18_u32 {
        let edits: Vec<Edit> = (0..40)
            .map(|n| Edit::Field {
                name: format!("x-{n}"),
                value: Some(FieldValue::Text(format!("{round:08}").repeat(2000))),
            })
            .collect();
        refused |= monitor.vault.edit(id, &edits).is_err();
        monitor.vault.show(id).unwrap();
    }
    assert!(refused);
}

#[test]
fn a_part_that_somebody_else_names_as_theirs_still_counts_for_its_report() {
    let (mut coordinator, mut honest, mut hostile) = team();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"bytes").unwrap();
    let input = ReportInput::from_json(DETENTION).unwrap();
    let id: ReportId = honest.vault.create_report(&input).unwrap().id.parse().unwrap();
    honest.vault.attach(id, file.path(), Some("photo.jpg"), "image/jpeg").unwrap();
    honest.vault.finish(id, true).unwrap();
    let part = honest.vault.entries(id).unwrap().into_iter().find(|e| e.kind == "attachment part").unwrap();

    let mut doc = document(&hostile);
    let squat = manifest(ReadingIdentity::generate().to_text().to_string(), vec![part.id]);
    doc.edit(&[Edit::AddAttachment(squat)], 0).unwrap();
    send(&mut hostile, ReportId::from_bytes([0; 16]), &mut doc, &[], None);
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    carry(&honest.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    carry(&coordinator.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    assert_eq!(honest.vault.summary(id).unwrap().delivery.word, "received");
}

#[test]
fn a_waiting_entry_that_somebody_names_as_a_part_is_opened_all_the_same() {
    let (mut coordinator, mut honest, mut hostile) = team();
    let mut doc = document(&honest);
    let report = ReportId::from_bytes([2; 16]);
    let first = send(&mut honest, report, &mut doc, &[], None);
    let heads = doc.heads();
    doc.edit(&[Edit::Title("Second".into())], 0).unwrap();
    let second = send(&mut honest, report, &mut doc, &heads, None);
    carry_one(&honest.vault, &coordinator.vault, second);
    coordinator.vault.absorb().unwrap();

    let mut squat = document(&hostile);
    let identity = ReadingIdentity::generate().to_text().to_string();
    squat.edit(&[Edit::AddAttachment(manifest(identity, vec![second.to_string()]))], 0).unwrap();
    send(&mut hostile, ReportId::from_bytes([0; 16]), &mut squat, &[], None);
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();

    carry_one(&honest.vault, &coordinator.vault, first);
    coordinator.vault.absorb().unwrap();
    assert_eq!(coordinator.vault.show(report).unwrap().content.title, "Second");
}

#[test]
fn parts_that_never_come_hide_nobody_elses() {
    let (mut coordinator, mut honest, _) = team();
    // As thirteen attachments of somebody else's reports would, with ids that come before all others.
    let tx = coordinator.vault.db.transaction().unwrap();
    for n in 0..100_001_u32 {
        tx.prepare_cached("INSERT INTO expected_part (entry, attachment, report) VALUES (?1, x'00', x'00')")
            .unwrap()
            .execute([EntryId::of(&n.to_be_bytes()).as_bytes()])
            .unwrap();
    }
    tx.commit().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"bytes").unwrap();
    let input = ReportInput::from_json(DETENTION).unwrap();
    let id: ReportId = honest.vault.create_report(&input).unwrap().id.parse().unwrap();
    honest.vault.attach(id, file.path(), Some("photo.jpg"), "image/jpeg").unwrap();
    honest.vault.finish(id, true).unwrap();
    carry(&honest.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    carry(&coordinator.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    assert_eq!(honest.vault.summary(id).unwrap().delivery.word, "received");
}

#[test]
fn an_author_whose_return_recipient_cannot_be_used_can_still_be_corrected() {
    let (mut coordinator, _, mut hostile) = team();
    let mut doc = document(&hostile);
    let zero = impossible_recipient();
    let report = ReportId::from_bytes([1; 16]);
    send(&mut hostile, report, &mut doc, &[], Some(&zero));
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    coordinator.vault.edit(report, &[Edit::Title("Corrected".into())]).unwrap();
}

#[test]
fn what_lists_show_is_cut_at_a_character() {
    let clipped = crate::reports::clip(&"ё".repeat(2000), 2047).to_owned();
    assert_eq!(clipped, "ё".repeat(1023));
}

/// A certificate entry by a coordinator, for whom it likes.
fn certify(by: &mut Device, body: CertificateBody) {
    let certificate = by.vault.device.issue(body);
    let body = fieldbook_seal::body::Announcement { certificate, label: "label".into() }.encode();
    craft(by, Kind::Certificate, None, &body);
}

#[test]
fn a_coordinator_whose_clock_is_slow_can_admit_another() {
    let mut first = device("First");
    first.vault.create_team("Minsk 2017").unwrap();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let third = device("Third");
    let own = second.vault.team.as_ref().unwrap().certificate.body().clone();
    let issuer = second.vault.me;
    certify(
        &mut second,
        CertificateBody { keys: third.vault.device.keys(), admitted: own.admitted - 86_400, issuer, ..own },
    );
    carry(&second.vault, &first.vault);
    first.vault.absorb().unwrap();
    assert_eq!(first.vault.team.as_ref().unwrap().authority.coordinators().len(), 3);
    let Device { vault, dir } = first;
    drop(vault);
    assert_eq!(open(dir.path()).team.unwrap().authority.coordinators().len(), 3);
}

#[test]
fn no_coordinator_can_take_another_ones_place_or_stop_a_vault_from_opening() {
    let mut first = device("First");
    first.vault.create_team("Minsk 2017").unwrap();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut honest = admit(&mut first, "Honest", Role::Monitor);
    let own = second.vault.team.as_ref().unwrap().certificate.body().clone();
    let issuer = second.vault.me;
    // Itself, by itself; the founder, by another, in both roles; more coordinators than there may be.
    certify(&mut second, CertificateBody { issuer, ..own.clone() });
    for serial in [0, 7, u32::MAX] {
        for role in [Role::Monitor, Role::Relay, Role::Coordinator] {
            let keys = first.vault.device.keys();
            certify(&mut second, CertificateBody { issuer, role, keys, serial, ..own.clone() });
        }
    }
    for n in 0..70_u8 {
        let mut keys = first.vault.device.keys();
        keys.signing[0] ^= n + 1;
        certify(&mut second, CertificateBody { issuer, keys, ..own.clone() });
    }
    carry(&second.vault, &first.vault);
    first.vault.absorb().unwrap();
    honest_work_goes_on(&mut first, &mut honest);
    let Device { vault, dir } = first;
    drop(vault);
    let mut again = open(dir.path());
    assert_eq!(again.team.as_ref().unwrap().role(), Role::Coordinator);
    assert!(again.remove_device(second.vault.me, true).unwrap().counts, "and it can still act");
}

#[test]
fn no_coordinator_can_shut_a_monitor_out_with_a_certificate_of_its_own() {
    let mut first = device("First");
    first.vault.create_team("Minsk 2017").unwrap();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut honest = admit(&mut first, "Honest", Role::Monitor);
    carry(&first.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    let own = honest.vault.team.as_ref().unwrap().certificate.clone();
    let issuer = second.vault.me;
    let elsewhere = fieldbook_proto::DeskId::founded_by(&issuer);
    // To it alone, so that nobody else sees what becomes of it.
    let to = [own.body().keys.recipient.clone()];
    for body in [
        CertificateBody { issuer, serial: u32::MAX, not_after: 1, ..own.body().clone() },
        CertificateBody {
            issuer,
            serial: u32::MAX,
            role: Role::Relay,
            not_after: u64::MAX - 1,
            ..own.body().clone()
        },
        CertificateBody { issuer, serial: 7, desk: elsewhere, ..own.body().clone() },
    ] {
        let certificate = second.vault.device.issue(body);
        let body = fieldbook_seal::body::Announcement { certificate, label: String::new() }.encode();
        craft_for(&mut second, Kind::Certificate, None, &body, &to);
    }
    carry(&second.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    let shown = |device: &Device| device.vault.team.as_ref().unwrap().certificate.clone();
    assert_eq!(shown(&honest), own);
    honest_work_goes_on(&mut first, &mut honest);

    // One that is worth more is shown until whoever signed it is removed.
    let body = CertificateBody { issuer, serial: u32::MAX, not_after: u64::MAX, ..own.body().clone() };
    let certificate = second.vault.device.issue(body);
    let body = fieldbook_seal::body::Announcement { certificate: certificate.clone(), label: String::new() };
    craft_for(&mut second, Kind::Certificate, None, &body.encode(), &to);
    carry(&second.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    assert_eq!(shown(&honest), certificate);
    first.vault.remove_device(second.vault.me, true).unwrap();
    carry(&first.vault, &honest.vault);
    honest.vault.absorb().unwrap();
    assert_eq!(shown(&honest).body().issuer, first.vault.me);
    honest_work_goes_on(&mut first, &mut honest);
}

#[test]
fn nothing_is_sealed_to_the_device_that_writes_it() {
    let (mut author, ..) = team();
    let (audience, desk) = author.vault.team.as_ref().unwrap().desk_audience();
    let own = author.vault.device.keys().recipient;
    let mut to_itself = audience.clone();
    to_itself.readers.push(author.vault.me);
    for (audience, recipients) in [(audience, vec![own.clone()]), (to_itself, desk.clone())] {
        let entry =
            Outgoing { kind: Kind::Notice, report: None, audience, body: b"", recipients: &recipients };
        let refused = outgoing::queue(&author.vault.db, &author.vault.device, &entry);
        assert!(matches!(refused, Err(crate::VaultError::SealedToItself)));
    }
    // Beside others it is left out.
    let id = craft_for(&mut author, Kind::Notice, None, b"", &[desk[0].clone(), own]);
    let fieldbook_depot::Lookup::Held(bytes) = author.vault.depot.get(&id).unwrap() else {
        panic!("not held")
    };
    let sealed = fieldbook_seal::SealedEntry::parse(bytes).unwrap();
    assert!(fieldbook_seal::decrypt(&sealed, &[author.vault.device.identity()]).is_err());
}

/// Whoever did it is removed, and the others go on.
fn is_removed_and_work_goes_on(coordinator: &mut Device, honest: &mut Device, culprit: &Device) {
    honest_work_goes_on(coordinator, honest);
    coordinator.vault.remove_device(culprit.vault.me, false).unwrap();
    honest_work_goes_on(coordinator, honest);
}

/// The problems of a class that the device's status names, as number and reason.
fn named(device: &Device, class: &str) -> Vec<(Option<u64>, String)> {
    let problems = device.vault.status().unwrap().problems.into_iter();
    problems
        .filter(|problem| problem.class == class)
        .map(|problem| (problem.sequence, problem.reason))
        .collect()
}

/// Changes that are together larger than what may be sent at once, and do not deflate.
fn large_edits() -> Vec<Edit> {
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut text = |_| {
        let mut bytes = [0; 16_000];
        random.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect::<String>()
    };
    (0..70).map(|n| Edit::Field { name: format!("x-{n}"), value: Some(FieldValue::Text(text(n))) }).collect()
}

#[test]
fn a_change_that_could_not_be_passed_on_is_refused_and_stops_nobody() {
    let (mut coordinator, mut honest, mut hostile) = team();
    let mut other = device("Brest");
    let admission = coordinator.vault.admit_to_new_desk(&other.vault.join_request()).unwrap();
    other.vault.adopt(&admission).unwrap();
    let mut doc = document(&hostile);
    let report = ReportId::from_bytes([1; 16]);
    send(&mut hostile, report, &mut doc, &[], None);
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    let all = || ShareSelection { reports: Vec::new(), filter: Some(ListFilter::default()) };
    coordinator.vault.share(&all(), other.vault.me).unwrap();
    let heads = doc.heads();
    for half in large_edits().chunks(35) {
        doc.edit(half, 0).unwrap();
    }
    let large = send(&mut hostile, report, &mut doc, &heads, None);
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    let place =
        hostile.vault.db.query_row("SELECT sequence FROM entry WHERE id = ?1", [large.as_bytes()], |row| {
            row.get::<_, i64>(0)
        });
    let refused = named(&coordinator, "refused");
    assert!(
        matches!(refused.as_slice(), [(number, _)] if *number == place.ok().map(|place| place as u64)),
        "{refused:?}"
    );
    // All can be shared, and one that cannot be keeps nobody from the others.
    let number = ReportRow::get(&coordinator.vault.db, &report).unwrap().number;
    let unreadable = "UPDATE document SET bytes = zeroblob(800000) WHERE report = ?1";
    assert_eq!(coordinator.vault.db.execute(unreadable, [number]).unwrap(), 1);
    let ours = write(&mut honest);
    carry(&honest.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    let third = admit_to_another_desk(&mut coordinator);
    let shared = coordinator.vault.share(&all(), third.vault.me).unwrap();
    assert_eq!((shared.shared, shared.left_out), (1, 1), "{shared:?}");
    carry(&coordinator.vault, &third.vault);
    let mut third = third;
    third.vault.absorb().unwrap();
    assert!(third.vault.show(ours).is_ok());
    // Nor does it when a reader missed a change of it.
    coordinator
        .vault
        .db
        .execute(
            "INSERT INTO missed (report, device) VALUES (?1, ?2)",
            [report.as_bytes().as_slice(), other.vault.me.as_bytes().as_slice()],
        )
        .unwrap();
    coordinator.vault.absorb().unwrap();
    assert_eq!(named(&coordinator, "set-aside").len(), 1);
    is_removed_and_work_goes_on(&mut coordinator, &mut honest, &hostile);
}

fn admit_to_another_desk(coordinator: &mut Device) -> Device {
    let mut device = device("Grodno");
    let admission = coordinator.vault.admit_to_new_desk(&device.vault.join_request()).unwrap();
    device.vault.adopt(&admission).unwrap();
    device
}

/// A coordinator, another one who is hostile, and an honest monitor.
fn two_coordinators() -> (Device, Device, Device) {
    let mut coordinator = device("Coordination");
    coordinator.vault.create_team("Minsk 2017").unwrap();
    let mut hostile = admit(&mut coordinator, "Hostile", Role::Coordinator);
    let honest = admit(&mut coordinator, "Honest", Role::Monitor);
    carry(&coordinator.vault, &hostile.vault);
    hostile.vault.absorb().unwrap();
    (coordinator, honest, hostile)
}

/// The all-zero point: everybody can compute its shared secret, and sealing to it is refused.
fn impossible_recipient() -> Recipient {
    let zero = Recipient::parse("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqjg3kgh");
    zero.unwrap_or_else(|_| Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap())
}

#[test]
fn an_author_to_whom_nothing_can_be_sealed_stops_nobody() {
    let (mut coordinator, mut honest, mut hostile) = two_coordinators();
    let own = hostile.vault.team.as_ref().unwrap().certificate.body().clone();
    let mut keys = honest.vault.device.keys();
    keys.recipient = impossible_recipient();
    let (issuer, me) = (hostile.vault.me, coordinator.vault.me);
    let author = hostile.vault.device.issue(CertificateBody { keys, role: Role::Monitor, issuer, ..own });
    let mut doc = document(&hostile);
    let changes = doc.changes_since(&[]).concat();
    let share = fieldbook_seal::body::Share { author: author.clone(), return_recipient: None, changes };
    let team = hostile.vault.team.as_ref().unwrap();
    let (audience, recipients) = team.audience_of(me, &coordinator.vault.device.keys().recipient);
    let (kind, report) = (Kind::Share, Some(ReportId::from_bytes([1; 16])));
    let body = share.encode();
    let entry = Outgoing { kind, report, audience, body: &body, recipients: &recipients };
    outgoing::queue(&hostile.vault.db, &hostile.vault.device, &entry).unwrap();
    hostile.vault.flush().unwrap();
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    assert_eq!(named(&coordinator, "refused").len(), 1);
    assert!(crate::team::find_device(&coordinator.vault.db, &author.device_id()).unwrap().is_none());

    // As if it had come in by a way that nobody thought of, and were to be signed for.
    crate::team::save_author(&coordinator.vault.db, &author).unwrap();
    let due = "INSERT INTO receipt_due (entry, author) VALUES (?1, ?2)";
    let due_to = |author: &DeviceId| {
        let id = EntryId::of(author.as_bytes());
        coordinator.vault.db.execute(due, [id.as_bytes().as_slice(), author.as_bytes().as_slice()]).unwrap();
    };
    due_to(&author.device_id());
    coordinator.vault.absorb().unwrap();
    assert_eq!(named(&coordinator, "set-aside").len(), 1);
    assert_eq!(coordinator.vault.count("SELECT count(*) FROM receipt_due").unwrap(), 0);
    is_removed_and_work_goes_on(&mut coordinator, &mut honest, &hostile);
}

#[test]
fn epochs_that_leave_no_room_for_another_stop_nobody() {
    let (mut coordinator, mut honest, mut hostile) = two_coordinators();
    let gone = admit(&mut coordinator, "Gone", Role::Monitor);
    let desk = hostile.vault.team.as_ref().unwrap().desk;
    let identity = ReadingIdentity::generate();
    let last = fieldbook_seal::body::DeskEpoch {
        desk,
        epoch: u32::MAX,
        recipient: identity.recipient(),
        name: String::new(),
        // Not those who read: a reason to rotate.
        readers: vec![hostile.vault.me],
        identity: Some(identity.to_text()),
    };
    let transport = fieldbook_seal::body::TransportEpoch {
        epoch: u32::MAX,
        secret: zeroize::Zeroizing::new([7; 32]),
        without: Vec::new(),
    };
    let last = fieldbook_seal::body::Grant { desk: Some(last), ..Default::default() };
    let transport = fieldbook_seal::body::Grant { transport: Some(transport), ..Default::default() };
    for grant in [last, transport] {
        craft(&mut hostile, Kind::Grant, None, &grant.encode());
        carry(&hostile.vault, &coordinator.vault);
        coordinator.vault.absorb().unwrap();
        let said = named(&coordinator, "set-aside").len() + named(&coordinator, "refused").len();
        assert!(said > 0, "it is named");
        coordinator.vault.status().unwrap();
        coordinator.vault.people().unwrap();
    }
    coordinator.vault.remove_device(hostile.vault.me, false).unwrap();
    coordinator.vault.remove_device(gone.vault.me, true).unwrap();
    coordinator.vault.absorb().unwrap();
    assert!(named(&coordinator, "set-aside").is_empty(), "what could not be done is done now");
    honest_work_goes_on(&mut coordinator, &mut honest);
}

#[test]
fn one_who_is_coordinator_no_more_writes_nothing_into_its_past() {
    let (mut coordinator, mut honest, mut hostile) = two_coordinators();
    let report = write(&mut honest);
    for _ in 0..2 {
        for (from, to) in [(&honest, &coordinator), (&coordinator, &hostile), (&coordinator, &honest)] {
            carry(&from.vault, &to.vault);
        }
        coordinator.vault.absorb().unwrap();
        hostile.vault.absorb().unwrap();
        honest.vault.absorb().unwrap();
    }
    hostile.vault.edit(report, &[Edit::Field { name: "authority".into(), value: None }]).unwrap();
    hostile.vault.edit(report, &[Edit::Title("By a coordinator".into())]).unwrap();
    carry(&hostile.vault, &coordinator.vault);
    coordinator.vault.absorb().unwrap();
    assert_eq!(coordinator.vault.show(report).unwrap().content.title, "By a coordinator");
    coordinator.vault.set_role(hostile.vault.me, Role::Monitor).unwrap();

    // At a place that is taken, and at one that is not but does not fit.
    let (end, _) = outgoing::chain_end(&hostile.vault.db).unwrap();
    for back in [2, 1] {
        let (sequence, previous): (i64, Vec<u8>) = hostile
            .vault
            .db
            .query_row(
                "SELECT sequence, id FROM entry WHERE device = ?1 AND sequence = ?2",
                rusqlite::params![hostile.vault.me.as_bytes(), (end - back) as i64],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let sequence = sequence as u64;
        let chain = fieldbook_proto::codec::Writer::new().u64(sequence).raw(&previous).finish();
        crate::store::set_meta(&hostile.vault.db, "chain", &chain).unwrap();
        hostile.vault.edit(report, &[Edit::Title(format!("Too late, {back} back"))]).unwrap();
        carry(&hostile.vault, &coordinator.vault);
        coordinator.vault.absorb().unwrap();
        assert_eq!(coordinator.vault.show(report).unwrap().content.title, "By a coordinator");
        let forked = named(&coordinator, "forked");
        assert!(forked.iter().any(|(number, _)| *number == Some(sequence + 1)), "{forked:?}");
    }
    honest_work_goes_on(&mut coordinator, &mut honest);
    is_removed_and_work_goes_on(&mut coordinator, &mut honest, &hostile);
}
