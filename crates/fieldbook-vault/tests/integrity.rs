//! Forged, altered, re-ordered, withheld, duplicated and forked entries, and vaults restored from old
//! backups: every reader notices, says whose entry, which number and what follows, and honest work goes on.
//!
//! The readers are a coordinator, a second one, one who came back with recovery sheets, and, where an
//! attack can concern it, a monitor who reads its coordinator.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod team;

use std::io::{Read as _, Write as _};
use std::path::Path;

use fieldbook_depot::{Depot, Incoming, Lookup, Source};
use fieldbook_proto::certificate::{DeviceKeys, Recipient, Role};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::{ReadingIdentity, SealedEntry, decrypt, seal_signed};
use fieldbook_vault::{Finding, Problem, SealConsent, ShareSelection, Vault, VaultError, Verified};
use team::{Device, admit, carry, device, founder, open, sync};

struct Team {
    readers: Vec<Device>,
    author: Device,
    honest: Device,
}

/// Three coordinators of one desk, the last of whom came with recovery sheets, and two monitors. All have
/// heard of all.
fn team() -> Team {
    let mut first = founder();
    let mut second = admit(&mut first, "Second", Role::Coordinator);
    let mut author = admit(&mut first, "Author", Role::Monitor);
    let mut honest = admit(&mut first, "Honest", Role::Monitor);
    let sheets = first.vault.create_recovery(2, 3).unwrap();
    sync(&mut [&mut first, &mut second, &mut author, &mut honest]);
    let mut restored = device("Restored");
    carry(&first, &restored);
    restored.vault.restore_recovery(&sheets[..2]).unwrap();
    author.report("Before");
    sync(&mut [&mut first, &mut second, &mut restored, &mut author, &mut honest]);
    Team { readers: vec![first, second, restored], author, honest }
}

/// The sealed entries that a device made while `act` ran.
fn written(device: &mut Device, act: impl FnOnce(&mut Device)) -> Vec<SealedEntry> {
    let before = device.depot().head().unwrap();
    act(device);
    let arrivals = device.depot().arrivals_with_bytes(before, 100_000, u64::MAX).unwrap();
    let own = arrivals.into_iter().filter(|(arrival, _)| arrival.from == Source::Own);
    own.map(|(_, bytes)| SealedEntry::parse(bytes.unwrap()).unwrap()).collect()
}

fn plant(reader: &mut Device, entries: &[&SealedEntry], from: &Device) {
    for entry in entries {
        let incoming = Incoming { id: entry.id(), bytes: entry.as_bytes(), from: Source::Peer(from.id()) };
        reader.depot().put(&[incoming]).unwrap();
    }
    reader.vault.absorb().unwrap();
}

fn keys(device: &Device) -> DeviceKeys {
    device.vault.join_request().keys
}

/// The desk's present reading identity, as a coordinator of it has it.
fn desk(team: &Team) -> ReadingIdentity {
    ReadingIdentity::parse(&team.readers[0].vault.desk_identity_text().unwrap()).unwrap()
}

fn place(entry: &SealedEntry, identity: &ReadingIdentity) -> u64 {
    decrypt(entry, &[identity]).unwrap().header().sequence
}

fn plaintext(entry: &SealedEntry, identity: &ReadingIdentity) -> Vec<u8> {
    let text = identity.to_text();
    let identity: age::x25519::Identity = text.parse().unwrap();
    let mut plain = Vec::new();
    let identities = std::iter::once(&identity as &dyn age::Identity);
    age::Decryptor::new(entry.as_bytes())
        .unwrap()
        .decrypt(identities)
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

fn encrypt(plain: &[u8], to: &Recipient) -> SealedEntry {
    let recipient: age::x25519::Recipient = to.as_str().parse().unwrap();
    let mut bytes = Vec::new();
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let mut writer = age::Encryptor::with_recipients(recipients).unwrap().wrap_output(&mut bytes).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap();
    SealedEntry::parse(bytes).unwrap()
}

/// The same signed entry for the same readers, once more.
fn sealed_again(
    entry: &SealedEntry,
    identity: &ReadingIdentity,
    author: &DeviceKeys,
    to: &Recipient,
) -> SealedEntry {
    let signed = decrypt(entry, &[identity]).unwrap().verify(author).unwrap().into_signed();
    seal_signed(&signed, std::slice::from_ref(to)).unwrap()
}

/// A backup of a device's vault, restored in another place.
fn backup(device: Device) -> (Device, Device) {
    let Device { vault, dir } = device;
    vault.close().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let opened = |path: &Path| open(path);
    let original = Device { vault: opened(dir.path()), dir };
    let mut copied = Device { vault: opened(copy.path()), dir: copy };
    // Its person says, wrongly, that it is the only one.
    copied.vault.accept_place().unwrap();
    (original, copied)
}

fn verify(vault: &Vault) -> (Verified, Vec<Problem>) {
    let mut problems = Vec::new();
    let verified = vault
        .verify::<VaultError>(&mut |finding| {
            if let Finding::Problem(problem) = finding {
                problems.push(problem);
            }
            Ok(())
        })
        .unwrap();
    (verified, problems)
}

/// `status` and `verify` both name it, with the device, its number and what follows.
#[track_caller]
fn noticed(reader: &Device, class: &str, device: Option<DeviceId>, number: Option<u64>) -> Problem {
    let name = reader.vault.device().name;
    let status = reader.vault.status().unwrap();
    let (verified, found) = verify(&reader.vault);
    let device = device.map(|id| id.to_string());
    let wanted =
        |problem: &&Problem| problem.class == class && problem.device == device && problem.sequence == number;
    let shown = status.problems.iter().chain(&status.missing).find(wanted);
    let shown = shown.unwrap_or_else(|| panic!("{name}: {class} {number:?} not in status: {status:#?}"));
    let again = found.iter().find(wanted);
    let again = again.unwrap_or_else(|| panic!("{name}: {class} {number:?} not by verify: {found:#?}"));
    assert_eq!((&shown.reason, &shown.consequence), (&again.reason, &again.consequence));
    assert!(!shown.reason.is_empty() && !shown.consequence.is_empty());
    if shown.tampered() {
        assert!(verified.tampered > 0);
    } else {
        assert!(verified.missing > 0);
    }
    shown.clone()
}

#[track_caller]
fn not_noticed(reader: &Device, class: &str) {
    let (_, found) = verify(&reader.vault);
    let status = reader.vault.status().unwrap();
    for problem in found.iter().chain(&status.problems).chain(&status.missing) {
        assert_ne!(problem.class, class, "{}: {problem:#?}", reader.vault.device().name);
    }
}

/// That many parts of a file are told to be on their way, and nothing else is missing.
#[track_caller]
fn still_coming(reader: &Device, author: &Device, parts: usize) {
    let (_, found) = verify(&reader.vault);
    let of_it =
        |problem: &&Problem| problem.class == "missing" && problem.device == Some(author.id().to_string());
    let missing: Vec<_> = found.iter().filter(of_it).collect();
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert!(missing[0].reason.starts_with(&format!("{parts} of 3 parts have not arrived")), "{missing:#?}");
}

/// Nothing of this device's is missing; of others' the tests carry only a part.
#[track_caller]
fn not_missing(reader: &Device, device: &Device) {
    let (_, found) = verify(&reader.vault);
    let status = reader.vault.status().unwrap();
    for problem in found.iter().chain(&status.missing) {
        let of_it = problem.class == "missing" && problem.device == Some(device.id().to_string());
        assert!(!of_it, "{}: {problem:#?}", reader.vault.device().name);
    }
}

/// Somebody else's report arrives, and its receipt comes back.
#[track_caller]
fn honest_work_goes_on(reader: &mut Device, honest: &mut Device) {
    let name = reader.vault.device().name;
    let id = honest.report(&format!("For {name}"));
    carry(honest, reader);
    reader.vault.absorb().unwrap();
    assert_eq!(reader.vault.show(id).unwrap().content.title, format!("For {name}"));
    carry(reader, honest);
    honest.vault.absorb().unwrap();
    let holders = honest.vault.summary(id).unwrap().delivery.holders;
    assert!(holders.iter().any(|holder| holder.device == reader.id().to_string()), "{name}: {holders:?}");
}

#[test]
fn nothing_is_noticed_where_nothing_is_wrong() {
    let team = team();
    for device in team.readers.iter().chain([&team.author, &team.honest]) {
        let (verified, found) = verify(&device.vault);
        assert!(found.is_empty(), "{}: {found:#?}", device.vault.device().name);
        assert_eq!((verified.tampered, verified.missing, verified.waiting), (0, 0, 0));
        assert!(verified.entries > 10);
    }
}

#[test]
fn forged() {
    let mut team = team();
    let identity = desk(&team);
    let entries = written(&mut team.author, |author| _ = author.report("True"));
    let number = place(&entries[0], &identity);
    // Whoever reads it can change a word of it, and seal that; nobody but the author can sign it.
    let mut plain = plaintext(&entries[0], &identity);
    let body = plain.iter().rposition(|byte| *byte != 0).unwrap() - 100;
    plain[body] ^= 1;
    let forged = encrypt(&plain, &identity.recipient());
    let (author, honest) = (team.author, &mut team.honest);
    for reader in &mut team.readers {
        plant(reader, &[&forged], &author);
        let problem = noticed(reader, "forged", Some(author.id()), Some(number));
        assert!(!problem.proven, "the name in a header proves nothing");
        assert_eq!(problem.brought_by.as_deref(), Some("Author"));
        plant(reader, &[&entries[0]], &author);
        assert!(reader.titles().contains(&"True".to_owned()));
        honest_work_goes_on(reader, honest);
    }
}

#[test]
fn altered() {
    let mut team = team();
    let entries = written(&mut team.author, |author| _ = author.report("True"));
    let mut bytes = entries[0].as_bytes().to_vec();
    let at = bytes.len() - 50;
    bytes[at] ^= 1;
    let under_another_id = SealedEntry::parse(bytes.clone()).unwrap();
    let (author, honest) = (team.author, &mut team.honest);
    for reader in &mut team.readers {
        plant(reader, &[&under_another_id], &author);
        let problem = noticed(reader, "altered", None, None);
        assert_eq!(problem.brought_by.as_deref(), Some("Author"), "who brought it is all that is known");
        assert_eq!(problem.entry, Some(under_another_id.id().to_string()));
        // Under the id of the true one the depot refuses it, and takes the true one when it comes.
        let incoming = Incoming { id: entries[0].id(), bytes: &bytes, from: Source::Peer(author.id()) };
        reader.depot().put(&[incoming]).unwrap();
        let (_, found) = verify(&reader.vault);
        let status = reader.vault.status().unwrap();
        for problems in [&found, &status.problems] {
            assert!(problems.iter().any(|problem| {
                problem.class == "altered" && problem.entry == Some(entries[0].id().to_string())
            }));
        }
        plant(reader, &[&entries[0]], &author);
        assert!(reader.titles().contains(&"True".to_owned()));
        let (_, found) = verify(&reader.vault);
        let came = found.iter().find(|problem| problem.entry == Some(entries[0].id().to_string()));
        assert!(came.is_some_and(|problem| problem.consequence.contains("nothing is missing")));
        honest_work_goes_on(reader, honest);
    }
}

#[test]
fn re_ordered_and_forked() {
    let mut team = team();
    let identity = desk(&team);
    let (mut author, mut copy) = backup(team.author);
    let mine = written(&mut author, |author| _ = author.report("Mine"));
    let theirs = written(&mut copy, |copy| {
        copy.report("Theirs");
        copy.report("Theirs later");
    });
    let number = place(&mine[0], &identity);
    assert_eq!((place(&theirs[0], &identity), place(&theirs[1], &identity)), (number, number + 1));
    for reader in &mut team.readers {
        plant(reader, &[&theirs[1]], &author);
        noticed(reader, "missing", Some(author.id()), Some(number));
        plant(reader, &[&mine[0]], &author);
        assert!(noticed(reader, "replaced", Some(author.id()), Some(number + 1)).proven);
        not_noticed(reader, "forked");
        // What it follows comes late: it is not out of order, but there are two histories.
        plant(reader, &[&theirs[0]], &author);
        not_noticed(reader, "replaced");
        assert!(noticed(reader, "forked", Some(author.id()), Some(number)).proven);
        for title in ["Mine", "Theirs", "Theirs later"] {
            assert!(reader.titles().contains(&title.to_owned()));
        }
        honest_work_goes_on(reader, &mut team.honest);
    }
}

#[test]
fn withheld() {
    let mut team = team();
    let identity = desk(&team);
    let entries = written(&mut team.author, |author| {
        for title in ["One", "Two", "Three", "Four"] {
            author.report(title);
        }
    });
    let numbers: Vec<u64> = entries.iter().map(|entry| place(entry, &identity)).collect();
    let author = team.author;
    for reader in &mut team.readers {
        plant(reader, &[&entries[0], &entries[2]], &author);
        let problem = noticed(reader, "missing", Some(author.id()), Some(numbers[1]));
        assert_eq!(problem.entry, Some(entries[1].id().to_string()), "the next one names it");
        assert!(problem.time_ms > 0, "since when");
        let chains = reader.vault.chains().unwrap();
        let chain = chains.iter().find(|chain| chain.device == author.id().to_string()).unwrap();
        assert_eq!((chain.last, chain.gaps.as_slice()), (numbers[2], &[(numbers[1], numbers[1])][..]));
        honest_work_goes_on(reader, &mut team.honest);
        plant(reader, &[&entries[1]], &author);
        not_missing(reader, &author);
    }
    // What nothing follows is seen to be withheld by what another coordinator signed for.
    let [first, second, restored] = team.readers.as_mut_slice() else { unreachable!() };
    let receipts = written(first, |first| plant(first, &[&entries[3]], &author));
    for reader in [second, restored] {
        plant(reader, &receipts.iter().collect::<Vec<_>>(), &author);
        let problem = noticed(reader, "missing", Some(author.id()), Some(numbers[3]));
        assert!(problem.reason.contains("Coordination"), "{problem:?}");
        plant(reader, &[&entries[3]], &author);
        not_missing(reader, &author);
    }
}

#[test]
fn duplicated() {
    let mut team = team();
    let identity = desk(&team);
    let mut id = None;
    let entries = written(&mut team.author, |author| id = Some(author.report("Once")));
    let (id, number) = (id.unwrap(), place(&entries[0], &identity));
    let copies: Vec<SealedEntry> = (0..2)
        .map(|_| sealed_again(&entries[0], &identity, &keys(&team.author), &identity.recipient()))
        .collect();
    let author = &mut team.author;
    for reader in &mut team.readers {
        // The copy comes before the entry that its author made, and once more after it.
        plant(reader, &[&copies[0]], author);
        not_noticed(reader, "duplicated");
        let before = reader.vault.history(id).unwrap().len();
        plant(reader, &[&entries[0]], author);
        plant(reader, &[&copies[1]], author);
        let problem = noticed(reader, "duplicated", Some(author.id()), Some(number));
        assert!(problem.consequence.contains("did nothing wrong"));
        for class in ["forked", "replaced", "forged", "refused"] {
            not_noticed(reader, class);
        }
        assert_eq!(reader.vault.history(id).unwrap().len(), before, "it changed nothing");
        assert_eq!(reader.titles().iter().filter(|title| *title == "Once").count(), 1);
        honest_work_goes_on(reader, &mut team.honest);
        // Its author gets a receipt for what it made, and takes that for the copies for no sign of another self.
        carry(reader, author);
        author.vault.absorb().unwrap();
        let holders = author.vault.summary(id).unwrap().delivery.holders;
        assert!(holders.iter().any(|holder| holder.device == reader.id().to_string()), "{holders:?}");
        assert!(!author.vault.status().unwrap().superseded);
        not_noticed(author, "older-copy");
    }
    // Which is the authentic one is told by the next. What it says is on record once, however often it comes.
    let next = written(author, |author| drop(author.vault.seal_report(id, SealConsent::Anyway).unwrap()));
    let once_more = sealed_again(&next[0], &identity, &keys(author), &identity.recipient());
    for reader in &mut team.readers {
        plant(reader, &[&next[0], &once_more], author);
        assert_eq!(reader.acts("sealed").len(), 1);
        let problem = noticed(reader, "duplicated", Some(author.id()), Some(number));
        assert!(problem.reason.contains(&format!("its own is {}", entries[0].id().short())), "{problem:?}");
    }
}

#[test]
fn a_copy_that_alone_arrived_hides_the_true_one_only_until_it_comes() {
    let mut team = team();
    let identity = desk(&team);
    let entries = written(&mut team.author, |author| {
        author.report("One");
        author.report("Two");
    });
    let number = place(&entries[1], &identity);
    let copy = sealed_again(&entries[0], &identity, &keys(&team.author), &identity.recipient());
    for reader in &mut team.readers {
        plant(reader, &[&copy, &entries[1]], &team.author);
        noticed(reader, "replaced", Some(team.author.id()), Some(number));
        plant(reader, &[&entries[0]], &team.author);
        not_noticed(reader, "replaced");
        noticed(reader, "duplicated", Some(team.author.id()), Some(number - 1));
    }
}

#[test]
fn passed_on_to_whom_it_was_not_addressed() {
    let mut team = team();
    let mut other = team::admit_to_new_desk(&mut team.readers[0], "Brest");
    // It knows the author by a report that it was given.
    let given = team.readers[0].vault.list(&Default::default()).unwrap().remove(0).id.parse().unwrap();
    let selection = ShareSelection { reports: vec![given], filter: None };
    team.readers[0].vault.share(&selection, other.id()).unwrap();
    carry(&team.readers[0], &other);
    other.vault.absorb().unwrap();
    assert_eq!(other.titles(), ["Before"]);
    let identity = desk(&team);
    let entries = written(&mut team.author, |author| _ = author.report("For our desk"));
    let number = place(&entries[0], &identity);
    let others = ReadingIdentity::parse(&other.vault.desk_identity_text().unwrap()).unwrap();
    for to in [others.recipient(), keys(&other).recipient] {
        let passed = sealed_again(&entries[0], &identity, &keys(&team.author), &to);
        plant(&mut other, &[&passed], &team.readers[1]);
    }
    assert_eq!(other.titles(), ["Before"]);
    noticed(&other, "misdirected", Some(team.author.id()), Some(number));
    // A newcomer at the desk is not given by the back door what is older than it.
    let mut newcomer = admit(&mut team.readers[0], "Newcomer", Role::Coordinator);
    for _ in 0..2 {
        carry(&team.readers[0], &newcomer);
        newcomer.vault.absorb().unwrap();
    }
    let passed = sealed_again(&entries[0], &identity, &keys(&team.author), &keys(&newcomer).recipient);
    plant(&mut newcomer, &[&passed], &team.readers[1]);
    assert!(newcomer.titles().is_empty());
    let problem = noticed(&newcomer, "misdirected", Some(team.author.id()), Some(number));
    assert!(problem.proven && problem.consequence.contains("did nothing wrong"));
    sync(&mut [&mut team.readers[0], &mut newcomer, &mut team.honest]);
    honest_work_goes_on(&mut newcomer, &mut team.honest);
}

#[test]
fn a_monitor_who_reads_its_coordinator_notices_too() {
    let mut team = team();
    let identity = desk(&team);
    let monitor = &mut team.honest;
    let monitors = keys(monitor).recipient;
    let report = written(monitor, |monitor| _ = monitor.report("Receipted twice"));
    let first = team.readers.remove(0);
    let (mut first, mut copy) = backup(first);
    let mine = written(&mut first, |first| plant(first, &[&report[0]], monitor));
    let theirs = written(&mut copy, |copy| plant(copy, &[&report[0]], monitor));
    let (coordinator, number) = (first.id(), place(&mine[0], &identity));
    assert_eq!(place(&theirs[0], &identity), number);

    // Forged: a desk mate changes the receipt, and cannot sign it.
    let mut plain = plaintext(&mine[0], &identity);
    let body = plain.iter().rposition(|byte| *byte != 0).unwrap() - 100;
    plain[body] ^= 1;
    plant(monitor, &[&encrypt(&plain, &monitors)], &first);
    assert!(!noticed(monitor, "forged", Some(coordinator), Some(number)).proven);
    // Altered.
    let mut bytes = mine[0].as_bytes().to_vec();
    let at = bytes.len() - 50;
    bytes[at] ^= 1;
    plant(monitor, &[&SealedEntry::parse(bytes).unwrap()], &first);
    noticed(monitor, "altered", None, None);
    // Duplicated.
    let again = sealed_again(&mine[0], &identity, &keys(&first), &monitors);
    plant(monitor, &[&mine[0], &again], &first);
    noticed(monitor, "duplicated", Some(coordinator), Some(number));
    not_noticed(monitor, "forked");
    // Forked: the coordinator's device was restored from a backup, and both go on.
    plant(monitor, &[&theirs[0]], &copy);
    assert!(noticed(monitor, "forked", Some(coordinator), Some(number)).proven);
    // Out of order: what follows one of them is taken for what follows the other.
    honest_work_goes_on(&mut team.readers[0], monitor);
}

#[test]
fn a_coordinators_vault_from_an_old_backup_knows_it_when_it_hears_of_itself() {
    let mut team = team();
    let first = team.readers.remove(0);
    let (mut first, mut copy) = backup(first);
    let written = written(&mut first, |first| _ = first.report("After the backup"));
    let number = copy.vault.chains().unwrap()[0].last + 1;
    // In its name and not its own: somebody's forgery, and no sign of another self.
    let identity = ReadingIdentity::parse(&first.vault.desk_identity_text().unwrap()).unwrap();
    let mut plain = plaintext(&written[0], &identity);
    let body = plain.iter().rposition(|byte| *byte != 0).unwrap() - 100;
    plain[body] ^= 1;
    plant(&mut copy, &[&encrypt(&plain, &identity.recipient())], &team.readers[0]);
    assert!(!noticed(&copy, "forged", Some(first.id()), Some(number)).proven);
    assert!(!copy.vault.status().unwrap().superseded);
    // A copy of what it did write is one more ciphertext, and no sign either.
    let own = written_before(&copy, &identity);
    let again = sealed_again(&own, &identity, &keys(&copy), &identity.recipient());
    plant(&mut copy, &[&again], &team.readers[0]);
    noticed(&copy, "duplicated", Some(first.id()), Some(place(&own, &identity)));
    assert!(!copy.vault.status().unwrap().superseded);

    plant(&mut copy, &[&written[0]], &team.readers[0]);
    let problem = noticed(&copy, "older-copy", Some(first.id()), Some(number));
    assert!(problem.proven && problem.consequence.contains("Join the team again"));
    let status = copy.vault.status().unwrap();
    assert!(
        status.superseded
            && status.waiting_for.iter().any(|waiting| waiting.numbers == Some((number, number)))
    );
    assert!(!first.vault.status().unwrap().superseded);
    honest_work_goes_on(&mut team.readers[0], &mut team.honest);
}

/// An entry of its own that the desk can open.
fn written_before(device: &Device, identity: &ReadingIdentity) -> SealedEntry {
    let arrivals = device.depot().arrivals_with_bytes(0, 100_000, u64::MAX).unwrap();
    let own = arrivals.into_iter().filter(|(arrival, _)| arrival.from == Source::Own);
    let mut sealed = own.filter_map(|(_, bytes)| SealedEntry::parse(bytes?).ok());
    sealed
        .find(|entry| decrypt(entry, &[identity]).is_ok_and(|opened| opened.header().device == device.id()))
        .unwrap()
}

#[test]
fn a_monitors_vault_from_an_old_backup_knows_it_by_a_receipt() {
    let mut team = team();
    let (mut author, mut copy) = backup(team.author);
    let entries = written(&mut author, |author| _ = author.report("After the backup"));
    let number = copy.vault.chains().unwrap()[0].last + 1;
    let receipts = written(&mut team.readers[1], |second| plant(second, &[&entries[0]], &author));
    plant(&mut copy, &[&receipts[0]], &team.readers[1]);
    noticed(&copy, "older-copy", Some(author.id()), Some(number));
    assert!(copy.vault.status().unwrap().superseded);
    plant(&mut author, &[&receipts[0]], &team.readers[1]);
    assert!(!author.vault.status().unwrap().superseded, "the one that wrote it knows it");
    honest_work_goes_on(&mut team.readers[1], &mut team.honest);
}

#[test]
fn what_was_dropped_on_purpose_or_is_still_coming_is_not_missing() {
    let mut team = team();
    let photo = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(photo.path(), vec![7; 2_500_000]).unwrap();
    let mut id = None;
    let entries = written(&mut team.author, |author| {
        let report = author.write("With a photograph");
        author.vault.attach(report, photo.path(), Some("photo.jpg"), "image/jpeg").unwrap();
        author.vault.finish(report, true).unwrap();
        id = Some(report);
    });
    assert_eq!(entries.len(), 4);
    let [first, second, restored] = team.readers.as_mut_slice() else { unreachable!() };
    // The report travels before its parts: that they are still to come is said, and no entry is missed in the chain.
    for reader in [&mut *first, second, restored] {
        plant(reader, &[&entries[3]], &team.author);
        still_coming(reader, &team.author, 3);
        plant(reader, &[&entries[1]], &team.author);
        still_coming(reader, &team.author, 2);
    }
    // Forgotten before all of it came: what never comes is not missing either.
    let orders = written(first, |first| {
        first.vault.forget(&fieldbook_vault::ForgetWhat::Report(id.unwrap())).unwrap();
    });
    let later = written(&mut team.author, |author| _ = author.report("Later"));
    for reader in [second, restored] {
        plant(reader, &orders.iter().collect::<Vec<_>>(), &team.author);
        plant(reader, &[&later[0]], &team.author);
        not_missing(reader, &team.author);
    }
    // One who has none of it learns from the order what is gone.
    for entry in &entries {
        assert!(!matches!(first.depot().get(&entry.id()).unwrap(), Lookup::Held(_)), "it was dropped");
    }
}

#[test]
fn bytes_that_rot_on_the_disk_are_found() {
    let mut team = team();
    let reader = &mut team.readers[0];
    let held = reader.depot().arrivals(0, 100_000, u64::MAX).unwrap();
    let id: EntryId = held.iter().rfind(|arrival| arrival.from != Source::Own).unwrap().id;
    // As if the store had kept other bytes than it was given.
    let path = reader.vault.depot_path();
    let key = reader.vault.depot_key();
    let db = fieldbook_depot::cipher::open_database(&path, key.as_bytes(), false).unwrap();
    let changed = db
        .execute(
            "UPDATE sealed SET bytes = cast(substr(bytes, 1, length(bytes) - 1) || x'00' AS BLOB)
             WHERE position = (SELECT position FROM known WHERE id = ?1)",
            [id.as_bytes()],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(db);
    let (verified, found) = verify(&reader.vault);
    let rotten = found.iter().find(|problem| problem.entry == Some(id.to_string())).unwrap();
    assert!(rotten.class == "altered" && verified.tampered == 1, "{found:#?}");
    assert!(rotten.reason.contains("disk") && rotten.consequence.contains("is still here"), "{rotten:?}");
}
