//! Several users of one file, damage, forensics, and files from the future.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use fieldbook_depot::{Depot, DepotError, DepotKey, Incoming, Lookup, Source, SqlDepot, cipher};
use fieldbook_proto::{DepotId, DeviceId, EntryId};

const KEY: [u8; 32] = [5; 32];

fn key() -> DepotKey {
    DepotKey::new(KEY)
}

fn create(path: &Path) -> SqlDepot {
    SqlDepot::create(path, &key(), DepotId::from_bytes([1; 16])).unwrap()
}

/// Bytes that look random, different for every `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn put_all(depot: &SqlDepot, entries: &[Vec<u8>], from: Source) -> Result<usize, DepotError> {
    let batch: Vec<_> =
        entries.iter().map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from }).collect();
    depot.put(&batch).map(|summary| summary.added)
}

#[test]
fn two_processes_write_at_once_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    if let Some(shared) = std::env::var_os("FIELDBOOK_TEST_DEPOT") {
        // The other process: runs this same test with the file to write to.
        writer(Path::new(&shared), 1);
        return;
    }
    let depot = create(&path);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_write_at_once_and_nothing_is_lost_or_doubled"])
        .env("FIELDBOOK_TEST_DEPOT", &path)
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer(&path, 2));
        // A reader meanwhile: what it has passed stays as it was.
        let mut seen = Vec::new();
        while seen.len() < 600 {
            let after = seen.len() as u64;
            let arrivals = depot.arrivals(after, 50, u64::MAX).unwrap();
            for (expected, arrival) in (after + 1..).zip(&arrivals) {
                assert_eq!(arrival.position, expected);
            }
            seen.extend(arrivals.into_iter().map(|arrival| arrival.id));
        }
        let again: Vec<_> =
            depot.arrivals(0, 1_000, u64::MAX).unwrap().into_iter().map(|arrival| arrival.id).collect();
        assert_eq!(again, seen);
    });
    assert!(child.wait().unwrap().success());
    // Each wrote 400 entries, 200 of them the same ones.
    let stats = depot.stats().unwrap();
    assert_eq!((stats.known, stats.held, stats.held_bytes), (600, 600, 600 * 1_500));
    let mut sum = fieldbook_depot::Fingerprint::default();
    for arrival in depot.arrivals(0, 1_000, u64::MAX).unwrap() {
        sum.add(&arrival.id);
    }
    assert_eq!(depot.fingerprint().unwrap(), sum);
}

fn writer(path: &Path, who: u64) {
    let depot = SqlDepot::open(path, &key()).unwrap();
    for round in 0..20 {
        let shared = (0..10).map(|n| noise(round * 10 + n, 1_500));
        let own = (0..10).map(|n| noise(who * 1_000_000 + round * 10 + n, 1_500));
        let entries: Vec<_> = shared.chain(own).collect();
        put_all(&depot, &entries, Source::Peer(DeviceId::from_bytes([who as u8; 32]))).unwrap();
        depot.set_setting("addresses", Some(b"[]")).unwrap();
    }
}

/// Everything a user may do with a depot; the first error, if any.
fn use_everything(depot: &SqlDepot, ids: &[EntryId]) -> Result<(), DepotError> {
    depot.fingerprint()?;
    depot.stats()?;
    depot.head()?;
    depot.unknown(ids)?;
    for id in ids {
        if let Lookup::Held(bytes) = depot.get(id)? {
            assert_eq!(EntryId::of(&bytes), *id, "damaged bytes were handed out");
        }
    }
    depot.arrivals(0, usize::MAX, u64::MAX)?;
    depot.arrivals_with_bytes(0, usize::MAX, u64::MAX)?;
    depot.quarantined()?;
    depot.peers()?;
    depot.setting("x")?;
    put_all(depot, &[noise(77, 2_000)], Source::Own)?;
    depot.forget(&ids[..1])?;
    depot.addressed_to(&DeviceId::from_bytes([1; 32]))?;
    depot.held_by_each()?;
    depot.marks()?;
    depot.acknowledged()?;
    Ok(())
}

#[test]
fn a_flipped_byte_anywhere_is_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let entries: Vec<_> = (0..60).map(|n| noise(n, 1_100 + n as usize * 40)).collect();
    let ids: Vec<_> = entries.iter().map(|bytes| EntryId::of(bytes)).collect();
    let depot = create(&path);
    put_all(&depot, &entries, Source::Bundle).unwrap();
    depot.close().unwrap();
    let whole = fs::read(&path).unwrap();
    let page = cipher::PAGE_SIZE as usize;
    assert_eq!(whole.len() % page, 0);

    let mut noticed = 0;
    for number in 0..whole.len() / page {
        for offset in [3, 40, page / 2, page - 90, page - 1] {
            let mut damaged = whole.clone();
            damaged[number * page + offset] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            let outcome = SqlDepot::open(&path, &key()).and_then(|depot| use_everything(&depot, &ids));
            match outcome {
                // Padding after the tag of a page is not authenticated, and not used either.
                Ok(()) => {}
                Err(DepotError::Damaged(_)) => noticed += 1,
                Err(DepotError::WrongKey) if number == 0 => noticed += 1,
                Err(other) => panic!("page {number} byte {offset}: {other:?}"),
            }
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(dir.path().join(format!("depot{suffix}")));
            }
        }
        // A file that ends too early.
        fs::write(&path, &whole[..number * page + 100]).unwrap();
        let outcome = SqlDepot::open(&path, &key()).and_then(|depot| use_everything(&depot, &ids));
        assert!(
            matches!(outcome, Err(DepotError::Damaged(_) | DepotError::WrongKey)),
            "cut in page {number}: {outcome:?}"
        );
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("depot{suffix}")));
        }
    }
    assert!(noticed >= whole.len() / page * 4, "only {noticed} of the flips were noticed");
}

#[test]
fn nothing_that_was_put_can_be_read_off_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let depot = create(&path);
    let mut entry = noise(1, 4_000);
    entry[100..116].copy_from_slice(b"needle in a hay!");
    let peer = DeviceId::from_bytes([0x5a; 32]);
    put_all(&depot, std::slice::from_ref(&entry), Source::Peer(peer)).unwrap();
    depot.set_setting("addresses", Some(b"relay.example.org:4433")).unwrap();
    let id = EntryId::of(&entry);
    depot.forget(&[id]).unwrap();
    put_all(&depot, &[noise(2, 3_000)], Source::Own).unwrap();
    let look = |when: &str| {
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            if file.file_name() == "depot-shm" {
                // The index of the log: page numbers and checksums, no content; gone at close.
                continue;
            }
            let bytes = fs::read(file.path()).unwrap();
            let needles: [&[u8]; 7] = [
                b"needle in a hay!",
                &entry[1_000..1_032],
                id.as_bytes(),
                peer.as_bytes(),
                b"relay.example.org",
                b"SQLite format",
                b"CREATE TABLE",
            ];
            for needle in needles {
                let found = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{needle:?} in {:?} {when}", file.file_name());
            }
        }
    };
    look("while open");
    depot.close().unwrap();
    look("after closing");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    create(&path).close().unwrap();
    let db = cipher::open_database(&path, &KEY, false).unwrap();
    db.pragma_update(None, "user_version", 1_000).unwrap();
    db.close().unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(SqlDepot::open(&path, &key()), Err(DepotError::NewerVersion { found: 1_000, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_was_put_is_there_after_the_file_was_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("depot");
    let depot = create(&path);
    let entries: Vec<_> = (0..50).map(|n| noise(n, 2_000)).collect();
    put_all(&depot, &entries, Source::Own).unwrap();
    // The moment of a power cut: the files as they are, copied away from the living process.
    let after = tempfile::tempdir().unwrap();
    for name in ["depot", "depot-wal"] {
        fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    let restored = SqlDepot::open(&after.path().join("depot"), &key()).unwrap();
    assert_eq!(restored.fingerprint().unwrap(), depot.fingerprint().unwrap());
    for bytes in entries {
        assert_eq!(restored.get(&EntryId::of(&bytes)).unwrap(), Lookup::Held(bytes));
    }
}
