//! From depot to depot by files: everything arrives whatever the order, and damage costs itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use fieldbook_depot::bundles::{
    BundleError, FileReport, MissingParts, PART_LEN_MAX, PART_LEN_MIN, ReadEvent, ReadSummary, Target,
    WriteEvent, WriteOptions, Written, read_bundles, take_all, write_bundle,
};
use fieldbook_depot::{Beyond, Depot, DepotKey, Incoming, Lookup, PeerRecord, Source, SqlDepot};
use fieldbook_proto::bundle::{BLOCK_LEN, PartWriter};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::codec::Writer;
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{BundleId, DepotId, DeviceId, EntryId};
use tempfile::TempDir;

/// A device's depot and a stick's directory, gone with it.
struct Place {
    dir: TempDir,
    depot: SqlDepot,
}

fn place(number: u8) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let depot = SqlDepot::create(&path, &DepotKey::new([1; 32]), DepotId::from_bytes([number; 16])).unwrap();
    know(&depot, &[1]);
    fs::create_dir(dir.path().join("stick")).unwrap();
    Place { dir, depot }
}

/// The secrets of these epochs, newest first.
fn know(depot: &dyn Depot, epochs: &[u8]) {
    let mut list = Writer::new();
    list.u32(u32::try_from(epochs.len()).unwrap());
    for epoch in epochs {
        list.u32(u32::from(*epoch)).raw(&[*epoch; 32]);
    }
    depot.set_setting("transport-secrets", Some(&list.finish())).unwrap();
}

impl Place {
    fn stick(&self) -> PathBuf {
        self.dir.path().join("stick")
    }

    fn put(&self, seeds: std::ops::Range<u64>, len: usize, from: Source) -> Vec<EntryId> {
        let entries: Vec<Vec<u8>> = seeds.map(|seed| noise(seed, len)).collect();
        let batch: Vec<Incoming<'_>> =
            entries.iter().map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from }).collect();
        self.depot.put(&batch).unwrap();
        batch.iter().map(|incoming| incoming.id).collect()
    }

    fn write(&self, options: &WriteOptions) -> Result<Written, BundleError> {
        write_bundle(&self.depot, options, &mut |_| {})
    }

    fn read(&self, from: &[PathBuf]) -> (ReadSummary, Vec<FileReport>) {
        let mut files = Vec::new();
        let summary = read_bundles(&self.depot, from, &mut take_all, &mut |event| {
            if let ReadEvent::File(report) = event {
                files.push(*report);
            }
        });
        (summary.unwrap(), files)
    }

    fn same_as(&self, other: &Self) -> bool {
        self.depot.fingerprint().unwrap() == other.depot.fingerprint().unwrap()
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn to(dir: PathBuf) -> WriteOptions {
    WriteOptions {
        target: Target::Directory(dir),
        device: None,
        held: HashSet::new(),
        since_last: false,
        part_len: PART_LEN_MAX,
        older: 0,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn entries_travel_from_depot_to_depot_and_reading_again_changes_nothing() {
    let (a, b, c) = (place(1), place(2), place(3));
    let ids = a.put(0..300, 2_000, Source::Own);
    a.put(300..303, 300_000, Source::Own);
    let gone = a.put(303..304, 2_000, Source::Own);
    a.depot.forget(&gone).unwrap();
    let written = a.write(&to(a.stick())).unwrap();
    assert_eq!((written.entries, written.parts.len()), (303, 1));
    assert_eq!(written.bytes, fs::metadata(&written.parts[0]).unwrap().len());
    let (summary, files) = b.read(&[a.stick()]);
    assert_eq!((summary.new, summary.known, summary.parts, summary.damaged), (303, 0, 1, 0));
    assert!(files[0].is_whole() && summary.missing.is_empty());
    assert_eq!(b.depot.get(&ids[7]).unwrap(), Lookup::Held(noise(7, 2_000)));
    let arrivals = b.depot.arrivals(0, 1, u64::MAX >> 1).unwrap();
    assert_eq!(arrivals[0].from, Source::Bundle);
    // What B cannot read itself it carries on.
    b.write(&to(b.stick())).unwrap();
    c.read(&[b.stick()]);
    assert!(c.same_as(&b));
    let (again, _) = c.read(&[b.stick(), a.stick()]);
    assert_eq!((again.new, again.known, again.parts), (0, 606, 2));
    // What was dropped on purpose does not come back.
    assert_eq!(b.depot.forget(&ids[..1]).unwrap(), 1);
    b.read(&[a.stick()]);
    assert_eq!(b.depot.get(&ids[0]).unwrap(), Lookup::Gone);
}

#[test]
fn parts_have_names_that_tell_nothing_and_are_read_in_any_order_as_far_as_they_are_there() {
    let (a, b) = (place(1), place(2));
    a.put(0..40, 2_000, Source::Own);
    a.put(100..106, 1_000_000, Source::Own);
    let mut planned = (0, 0, 0);
    let options = WriteOptions { part_len: PART_LEN_MIN, ..to(a.stick()) };
    let written = write_bundle(&a.depot, &options, &mut |event| {
        if let WriteEvent::Planned { entries, parts, bytes, .. } = event {
            planned = (entries, parts, bytes);
        }
    })
    .unwrap();
    assert_eq!(planned, (46, 3, written.bytes));
    assert_eq!(written.parts.len(), 3);
    for part in &written.parts {
        let len = fs::metadata(part).unwrap().len();
        assert!(len <= PART_LEN_MIN && len.is_multiple_of(BLOCK_LEN as u64), "{len}");
        let name = part.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
    // The reports are in the first part.
    let (summary, _) = b.read(&written.parts[..1]);
    assert_eq!(b.depot.unknown(&a.put(0..40, 2_000, Source::Own)).unwrap(), []);
    let missing = |read, missing, exact| vec![(read, missing, exact)];
    let of = |summary: &ReadSummary| -> Vec<(u32, u32, bool)> {
        summary
            .missing
            .iter()
            .map(|MissingParts { read, missing, exact, .. }| (*read, *missing, *exact))
            .collect()
    };
    assert_eq!(of(&summary), missing(1, 1, false));
    let (summary, _) = b.read(&[written.parts[2].clone(), written.parts[0].clone()]);
    assert_eq!(of(&summary), missing(2, 1, true));
    assert!(!b.same_as(&a));
    let mut reversed = written.parts.clone();
    reversed.reverse();
    let (summary, _) = b.read(&reversed);
    assert!(b.same_as(&a) && summary.missing.is_empty() && summary.damaged == 0);
}

#[test]
fn only_what_came_since_the_last_one_for_the_same_destination() {
    let (a, b) = (place(1), place(2));
    let device = DeviceId::from_bytes([9; 32]);
    let since = |device| WriteOptions { since_last: true, device, ..to(a.stick()) };
    a.put(0..10, 2_000, Source::Own);
    assert_eq!(a.write(&since(None)).unwrap().entries, 10);
    a.put(10..13, 2_000, Source::Own);
    assert_eq!(a.write(&since(None)).unwrap().entries, 3);
    let none = a.write(&since(None)).unwrap();
    assert_eq!((none.entries, none.parts), (0, Vec::new()));
    // Another destination has an order of its own, and without the option everything is written.
    assert_eq!(a.write(&since(Some(device))).unwrap().entries, 13);
    assert_eq!(a.write(&to(a.stick())).unwrap().entries, 13);
    // What a device acknowledged is left out, and what it brought itself.
    a.put(20..24, 2_000, Source::Peer(device));
    a.depot
        .record_peer(PeerRecord {
            device: Some(device),
            role: Role::Monitor,
            depot: DepotId::from_bytes([9; 16]),
            address: None,
            last_sync_ms: 1,
            holds_position: 5,
        })
        .unwrap();
    assert_eq!(a.write(&WriteOptions { device: Some(device), ..to(a.stick()) }).unwrap().entries, 8);
    // So is what it signed for, and what it said to hold beyond the first that it has not.
    let ids = |numbers: std::ops::Range<u64>| numbers.map(|seed| EntryId::of(&noise(seed, 2_000))).collect();
    let signed = WriteOptions { device: Some(device), held: ids(5..8), ..to(a.stick()) };
    assert_eq!(a.write(&signed).unwrap().entries, 5);
    let mut said = Beyond::nothing(device, DepotId::from_bytes([9; 16]));
    said.hold(&[7, 9, 10, 11], 1);
    said.store(&a.depot, 5).unwrap();
    assert_eq!(a.write(&signed).unwrap().entries, 2, "numbers 12 and 13");
    assert_eq!(a.write(&since(Some(device))).unwrap().entries, 0);
    b.read(&[a.stick()]);
    assert_eq!(b.depot.stats().unwrap().held, 13, "what the device itself brought is in none of them");
    // A bundle that was not written is not taken for sent.
    a.put(30..32, 2_000, Source::Own);
    let nowhere = WriteOptions { target: Target::Directory(a.stick().join("no")), ..since(None) };
    assert!(matches!(a.write(&nowhere), Err(BundleError::File { .. })));
    assert_eq!(a.write(&since(None)).unwrap().entries, 6);
}

#[test]
fn an_interrupted_bundle_goes_on_after_its_last_whole_part() {
    let (a, b) = (place(1), place(2));
    a.put(0..6, 1_000_000, Source::Own);
    let options = WriteOptions { part_len: PART_LEN_MIN, ..to(a.stick()) };
    // The state after the first part, as it would be found after `kill -9`.
    let mut noted = None;
    let whole = write_bundle(&a.depot, &options, &mut |event| {
        if let WriteEvent::Part { .. } = event
            && noted.is_none()
        {
            noted = a.depot.setting("bundle-unfinished").unwrap();
        }
    })
    .unwrap();
    assert_eq!(whole.parts.len(), 3);
    assert_eq!(a.depot.setting("bundle-unfinished").unwrap(), None);
    let first = &whole.parts[0];
    for part in &whole.parts[1..] {
        fs::remove_file(part).unwrap();
    }
    a.depot.set_setting("bundle-unfinished", noted.as_deref()).unwrap();
    // What comes meanwhile comes with the next bundle.
    a.put(10..11, 2_000, Source::Own);
    let mut kept = 0;
    let again = write_bundle(&a.depot, &options, &mut |event| {
        if let WriteEvent::Planned { kept: parts, .. } = event {
            kept = parts;
        }
    })
    .unwrap();
    assert_eq!((kept, again.entries, again.parts.len()), (1, 4, 3));
    assert_eq!(&again.parts[0], first);
    let (summary, _) = b.read(&[a.stick()]);
    assert_eq!((summary.new, summary.known, summary.damaged), (6, 0, 0));
    assert!(summary.missing.is_empty());
    // The first part is gone from the stick: everything is written anew. So for another command.
    a.depot.set_setting("bundle-unfinished", noted.as_deref()).unwrap();
    fs::remove_file(first).unwrap();
    assert_eq!(a.write(&options).unwrap().entries, 7);
    a.depot.set_setting("bundle-unfinished", noted.as_deref()).unwrap();
    assert_eq!(a.write(&to(b.stick())).unwrap().entries, 7);
    // A note that does not read back is begun anew.
    a.depot.set_setting("bundle-unfinished", Some(&[1, 2, 3])).unwrap();
    assert_eq!(a.write(&options).unwrap().entries, 7);
}

#[test]
fn a_named_file_is_one_part_and_nothing_is_overwritten() {
    let a = place(1);
    a.put(0..3, 1_000_000, Source::Own);
    let target = a.stick().join("one");
    let options = WriteOptions { target: Target::File(target.clone()), ..to(a.stick()) };
    let written = a.write(&options).unwrap();
    assert_eq!(written.parts, std::slice::from_ref(&target));
    assert_eq!(names(&a.stick()), ["one"]);
    assert!(matches!(a.write(&options), Err(BundleError::Exists(path)) if path == target));
    let small =
        WriteOptions { part_len: PART_LEN_MIN, target: Target::File(a.stick().join("two")), ..options };
    assert!(matches!(a.write(&small), Err(BundleError::NeedsDirectory { parts: 2 })));
    assert_eq!(names(&a.stick()), ["one"]);
}

#[test]
fn the_secrets_decide_who_reads() {
    let (a, b) = (place(1), place(2));
    know(&a.depot, &[3, 2, 1]);
    a.put(0..5, 2_000, Source::Own);
    // B slept through two removals.
    know(&b.depot, &[1]);
    a.write(&to(a.stick())).unwrap();
    let (summary, files) = b.read(&[a.stick()]);
    assert_eq!((summary.parts, summary.others, summary.new), (0, 1, 0));
    assert!(!files[0].part.is_bundle());
    a.write(&WriteOptions { older: 2, ..to(a.stick()) }).unwrap();
    let (summary, _) = b.read(&[a.stick()]);
    assert_eq!((summary.parts, summary.others, summary.new), (1, 1, 5));
    assert!(matches!(
        a.write(&WriteOptions { older: 3, ..to(a.stick()) }),
        Err(BundleError::NoSuchSecret { oldest: 2 })
    ));
    // Who is awake reads what sleepers wrote.
    b.put(10..12, 2_000, Source::Own);
    b.write(&to(b.stick())).unwrap();
    assert_eq!(a.read(&[b.stick()]).0.new, 2);
    b.depot.set_setting("transport-secrets", None).unwrap();
    assert!(matches!(b.write(&to(b.stick())), Err(BundleError::NoTeam)));
    assert!(matches!(
        read_bundles(&b.depot, &[a.stick()], &mut take_all, &mut |_| {}),
        Err(BundleError::NoTeam)
    ));
}

#[test]
fn damage_costs_itself_and_is_named() {
    let (a, b) = (place(1), place(2));
    a.put(0..200, 2_000, Source::Own);
    let written = a.write(&to(a.stick())).unwrap();
    let mut bytes = fs::read(&written.parts[0]).unwrap();
    let blocks = bytes.len() / BLOCK_LEN;
    bytes[5 * BLOCK_LEN + 3_000] ^= 4;
    bytes.truncate((blocks - 1) * BLOCK_LEN + 100);
    fs::write(&written.parts[0], &bytes).unwrap();
    // Films and letters lie beside it.
    fs::write(a.stick().join("film.mp4"), noise(1, 100_000)).unwrap();
    fs::write(a.stick().join("letter.txt"), "Dear all,").unwrap();
    fs::write(a.stick().join("empty"), "").unwrap();
    fs::create_dir(a.stick().join("below")).unwrap();
    let (summary, files) = b.read(&[a.stick()]);
    assert_eq!((summary.parts, summary.others, summary.damaged), (1, 2, 1));
    let report = files.iter().find(|file| file.part.is_bundle()).unwrap();
    assert_eq!((report.part.damaged, report.part.blocks), (2, blocks as u64));
    assert!(report.part.is_torn() && report.part.cut >= 1 && !report.part.cut_ids.is_empty());
    // About eight of two hundred entries lie in a block.
    assert!(report.new >= 200 - 20 && report.new < 200, "{}", report.new);
    // Another copy brings the rest.
    let other = a.write(&to(a.stick())).unwrap();
    let (summary, _) = b.read(&other.parts);
    assert_eq!(summary.new + report.new, 200);
    assert!(b.same_as(&a));
    assert!(matches!(
        read_bundles(&b.depot, &[a.stick().join("nowhere")], &mut take_all, &mut |_| {}),
        Err(BundleError::File { .. })
    ));
}

#[test]
fn an_entry_that_is_not_what_its_id_says_is_refused_and_named() {
    let b = place(2);
    let (good, other) = (noise(1, 2_000), noise(2, 2_000));
    let mut out = Vec::new();
    let mut salt = 0;
    let mut salts = || {
        salt += 1;
        Ok::<_, ()>([salt; 32])
    };
    let mut part = PartWriter::new(TransportSecret::new(1, [1; 32]), BundleId::from_bytes([5; 16]), 0);
    part.add(&EntryId::of(&other), &good, &mut salts, &mut out).unwrap();
    part.add(&EntryId::of(&good), &good, &mut salts, &mut out).unwrap();
    part.finish(true, &mut salts, &mut out).unwrap();
    fs::write(b.stick().join("x"), out).unwrap();
    let (summary, files) = b.read(&[b.stick()]);
    assert_eq!((summary.new, summary.refused, summary.damaged), (1, 1, 1));
    assert_eq!(files[0].refused_ids, [EntryId::of(&other)]);
    assert_eq!(b.depot.get(&EntryId::of(&other)).unwrap(), Lookup::Unknown);
    assert_eq!(b.depot.quarantined().unwrap()[0].id, EntryId::of(&other));
}
