//! A laboratory has the disk: none of the words that were written, none of the names, keys and addresses.
//!
//! The search covers everything below the machine's own directories: vault, home, runtime directory, temporary
//! files. What the user keeps beside the vault (the passphrase file, the photograph, an export) lies in a directory
//! of its own, which is not searched.

use std::fs;
use std::path::{Path, PathBuf};

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, PHOTO, processes, team_of_two, wait_for};

/// Words that nothing but the user's input contains.
const WORDS: [&str; 13] = [
    "Quokkateam",     // the team
    "Capybaradesk",   // the coordinator's device
    "Axolotlmonitor", // the monitor's device
    "Žalubinskaja",   // a person
    "Залубінская",    // the same person
    "Okapititle",     // a title
    "narwhalstory",   // the narrative
    "tapirauthority", // a field
    "pangolinsource", // a source
    "quollphoto",     // a file's name
    "bilbyedit",      // what an edit brought
    "wombatdraft",    // what never left
    "Canarycam",      // inside the photograph
];

fn canaries() -> Vec<Canary> {
    let mut canaries: Vec<Canary> = WORDS.iter().map(|word| Canary::word(word)).collect();
    // What an empty vault could betray just as well.
    canaries.push(Canary::bytes("an SQLite header", b"SQLite format 3"));
    canaries.push(Canary::bytes("a table's name", b"CREATE TABLE"));
    canaries.push(Canary::bytes("an age identity", b"AGE-SECRET-KEY"));
    canaries
}

/// The directories of a machine in which only the program writes.
fn searched(machine: &Machine) -> Vec<PathBuf> {
    ["vault", "home", "run", "tmp"].iter().map(|dir| machine.root().join(dir)).collect()
}

#[track_caller]
fn assert_clean(machine: &Machine, more: &[Canary], when: &str) {
    let dirs = searched(machine);
    let roots: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    assert!(!traces::files(&machine.vault()).is_empty(), "{when}: there is something to search");
    let found = traces::search(&roots, &[&canaries()[..], more].concat());
    assert!(found.is_empty(), "{when}, on {}: {found:#?}", machine.name());
    // A process that was started without an environment writes elsewhere, if it writes.
    let words: Vec<Canary> =
        WORDS.iter().map(|word| Canary::word(word)).chain(more.iter().cloned()).collect();
    let found = traces::search_files(traces::written_elsewhere_since(machine.born()), &words);
    assert!(found.is_empty(), "{when}: {found:#?}");
}

/// A team whose every word is a canary.
fn team() -> (Machine, Machine) {
    let (a, b) = (Machine::with_vault("Capybaradesk"), Machine::with_vault("Axolotlmonitor"));
    a.ok(&["team", "create", "Quokkateam"]);
    fieldbook_tests::pair(&a, &b, "monitor");
    (a, b)
}

/// A report whose every word is a canary: its id.
fn report(machine: &Machine) -> String {
    let id = machine.write(&[
        "--template",
        "detention",
        "--title",
        "Okapititle",
        "--set",
        "date=2017-03-25",
        "--set",
        "authority=tapirauthority",
        "--set",
        "narrative=The narwhalstory, told at length: narwhalstory narwhalstory.",
        "--source",
        "pangolinsource",
        "--person",
        "name=Žalubinskaja,also_spelled=Залубінская,role=witness,consent=internal",
    ]);
    let photo = machine.path("quollphoto.jpg");
    fs::copy(PHOTO, &photo).expect("a copy");
    machine.ok(&["attach", &id, photo.to_str().expect("UTF-8")]);
    id
}

/// The secrets of a machine that the test can know.
fn secrets(machine: &Machine) -> Vec<Canary> {
    vec![Canary::word(machine.passphrase())]
}

#[test]
fn the_search_itself_finds_what_is_there() {
    // The test of the test: an export is plaintext, and the same search sees it.
    let (a, b) = team();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    let out = b.root().join("tmp/export");
    b.ok(&["export", &id, "--internal", "--format", "json", "--out", out.to_str().expect("UTF-8")]);
    let dirs = searched(&b);
    let roots: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    let found = traces::search(&roots, &canaries());
    for word in ["Okapititle", "narwhalstory", "Žalubinskaja", "Залубінская"] {
        assert!(found.iter().any(|trace| trace.word == word), "{word} was planted and not found");
    }
    drop(a);
}

#[test]
fn no_word_name_or_address_stands_anywhere_on_disk_before_during_and_after_use() {
    let (a, b) = team();
    assert_clean(&a, &secrets(&a), "after pairing");
    assert_clean(&b, &secrets(&b), "after pairing");
    let id = report(&b);
    b.write(&["--template", "detention", "--set", "narrative=wombatdraft"]);
    assert_clean(&b, &secrets(&b), "with drafts");
    b.ok(&["finish", &id, "--incomplete"]);
    let daemon = a.daemon();
    let address = Canary::word(daemon.address());
    b.ok(&["sync", "--with", daemon.address()]);
    a.ok(&["list"]);
    a.ok(&["edit", &id, "--set", "charges=bilbyedit"]);
    b.ok(&["sync", "--with", daemon.address()]);
    assert_eq!(b.show(&id)["content"]["fields"]["charges"], "bilbyedit");
    // A bundle of everything lies where the search looks.
    let stick = b.root().join("tmp/stick");
    fs::create_dir(&stick).expect("a directory");
    for machine in [&b, &a] {
        machine.ok(&["bundle", "write", stick.to_str().expect("UTF-8")]);
        machine.ok(&["bundle", "read", stick.to_str().expect("UTF-8")]);
    }
    assert_eq!(traces::files(&stick).len(), 2);
    for machine in [&a, &b] {
        let more = [secrets(machine), vec![address.clone()]].concat();
        assert_clean(machine, &more, "after a sync");
        machine.ok(&["unlock"]);
        for command in ["list", "status", "conflicts"] {
            machine.ok(&[command]);
        }
        machine.ok(&["history", &id]);
        assert_clean(machine, &more, "while unlocked");
        machine.ok(&["lock"]);
        assert_clean(machine, &more, "after lock");
    }
    // Nor does one machine have a word of the other's passphrase, or the monitor the desk's key.
    assert_clean(&b, &secrets(&a), "of the other");
    let identity = a.ok(&["recover", "identity"]).out();
    let identity =
        identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).expect("an identity").to_owned();
    for machine in [&a, &b] {
        assert_clean(machine, &[Canary::word(&identity)], "after the desk's identity was shown");
    }
}

#[test]
fn ids_of_devices_and_reports_are_inside_the_encryption_too() {
    let (a, b) = team();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    crate::reading::sync(&b, &a);
    let mut ids = vec![id.clone()];
    for machine in [&a, &b] {
        let device = machine.json(&["status"])[0]["device"].clone();
        ids.push(device["id"].as_str().expect("an id").to_owned());
        ids.push(device["team"]["id"].as_str().expect("an id").to_owned());
    }
    ids.extend(
        b.json(&["entry", "list", &id]).iter().filter_map(|line| line["id"].as_str().map(str::to_owned)),
    );
    assert!(ids.len() > 5);
    let raw = |hex: &str| -> Vec<u8> {
        hex.as_bytes()
            .chunks_exact(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hexadecimal"))
            .collect()
    };
    let canaries: Vec<Canary> = ids.iter().map(|id| Canary::bytes(id, &raw(id))).collect();
    assert_clean(&a, &canaries, "after use");
    assert_clean(&b, &canaries, "after use");
}

#[test]
fn a_crash_leaves_no_word_behind() {
    for moment in [0_u64, 20, 60, 150] {
        let (a, b) = team();
        let id = report(&b);
        b.ok(&["unlock"]);
        b.ok(&["edit", &id, "--set", "charges=bilbyedit"]);
        let mut attaching = b.start(&["attach", &id, PHOTO]);
        // A moment of the work, not a wait for it.
        std::thread::sleep(std::time::Duration::from_millis(moment));
        processes::kill(&b.processes().into_iter().filter(|p| p.pid != attaching.pid()).collect::<Vec<_>>());
        attaching.kill();
        assert_clean(&b, &secrets(&b), "after kill -9");
        b.ok(&["finish", &id, "--incomplete"]);
        let mut daemon = a.daemon();
        let mut syncing = b.start(&["sync", "--with", daemon.address()]);
        std::thread::sleep(std::time::Duration::from_millis(moment * 2));
        for (machine, process) in [(&a, &mut daemon.process), (&b, &mut syncing)] {
            let below =
                machine.processes().into_iter().filter(|p| p.pid != process.pid()).collect::<Vec<_>>();
            processes::kill(&below);
            process.kill();
            assert_clean(machine, &secrets(machine), "after kill -9 in a sync");
        }
    }
}

#[test]
fn no_process_shows_a_secret_or_a_word_to_others() {
    let (a, b) = team();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["unlock"]);
    let daemon = a.daemon();
    let identity = a.ok(&["recover", "identity"]).out();
    let identity =
        identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).expect("an identity").to_owned();
    let mut secret: Vec<Canary> = canaries();
    secret.extend([&a, &b].iter().flat_map(|machine| secrets(machine)));
    secret.push(Canary::word(&identity));
    let mut seen = 0;
    let mut look = |when: &str| {
        for process in processes::descendants() {
            seen += 1;
            for place in [&process.arguments, &process.environment] {
                for canary in &secret {
                    assert_eq!(
                        canary.find(place),
                        None,
                        "{when}: {canary:?} in {}",
                        String::from_utf8_lossy(place)
                    );
                }
                // A key in hexadecimal would be the longest run of its digits.
                let longest =
                    place.split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max().unwrap_or(0);
                assert!(longest < 32, "{when}: something like a key in {}", String::from_utf8_lossy(place));
            }
        }
    };
    look("before");
    let mut syncing = b.start(&["sync", "--with", daemon.address()]);
    wait_for("the end of the sync", || {
        look("during");
        (!syncing.runs()).then_some(())
    });
    look("after");
    assert!(seen > 4, "there was something to look at: {seen}");
}

#[test]
fn everything_is_for_its_owner_only_and_the_number_of_files_tells_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let (a, b) = team_of_two();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    let daemon = a.daemon();
    b.ok(&["sync", "--with", daemon.address()]);
    a.ok(&["unlock"]);
    for machine in [&a, &b] {
        for file in [traces::files(&machine.vault()), traces::sockets(&machine.root().join("run"))].concat() {
            let mode = fs::metadata(&file).expect("its mode").permissions().mode();
            let dir = file
                .parent()
                .and_then(|dir| fs::metadata(dir).ok())
                .expect("its directory")
                .permissions()
                .mode();
            assert!(mode & 0o077 == 0 || dir & 0o077 == 0, "{}: {mode:o} in {dir:o}", file.display());
        }
        assert_eq!(fs::metadata(machine.vault()).expect("the vault").permissions().mode() & 0o777, 0o700);
    }
    a.ok(&["lock"]);
    drop(daemon);
    let fresh = Machine::with_vault("Fresh");
    let names = |machine: &Machine| -> Vec<String> {
        let mut names: Vec<String> = traces::files(&machine.vault())
            .iter()
            .map(|file| file.file_name().expect("a name").to_string_lossy().into_owned())
            // A write-ahead log is a sign of use, as the time of the last change is.
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm") && name != "lock.net")
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&a), names(&fresh));
    assert_eq!(names(&b), names(&fresh));
    // Nothing is left outside the vault.
    for machine in [&a, &b] {
        for dir in ["home", "tmp"] {
            assert_eq!(traces::files(&machine.root().join(dir)), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn of_the_two_pairs_of_files_nothing_tells_which_is_in_use_at_birth() {
    let sizes =
        |machine: &Machine, name: &str| fs::metadata(machine.vault().join(name)).expect("a file").len();
    let mut used = [0; 2];
    // By chance alone the second one is never in use once in 2^39 runs.
    for made in 1..=40 {
        let machine = Machine::with_vault("Fresh");
        for store in ["a", "b", "k"] {
            assert_eq!(sizes(&machine, &format!("0.{store}")), sizes(&machine, &format!("1.{store}")));
        }
        // Which one changes with use is by chance, not always the first.
        let before: Vec<Vec<u8>> =
            ["0.a", "1.a"].iter().map(|name| fs::read(machine.vault().join(name)).expect("a file")).collect();
        machine.ok(&["new", "--template", "detention", "--title", "x"]);
        for (slot, name) in ["0.a", "1.a"].iter().enumerate() {
            if fs::read(machine.vault().join(name)).expect("a file") != before[slot] {
                used[slot] += 1;
            }
        }
        assert_eq!(used[0] + used[1], made);
        if used[0] > 0 && used[1] > 0 {
            break;
        }
    }
    assert!(used[0] > 0 && used[1] > 0, "{used:?}");
}

#[test]
fn a_vault_looks_random_to_its_last_page() {
    let (a, b) = team();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    crate::reading::sync(&b, &a);
    for machine in [&a, &b] {
        for store in ["0.a", "1.a", "0.b", "1.b"] {
            let bytes = fs::read(machine.vault().join(store)).expect("a store");
            for (page, block) in bytes.chunks(4096).enumerate() {
                let mut counts = [0_u32; 256];
                block.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
                let distinct = counts.iter().filter(|count| **count > 0).count();
                assert!(
                    block.len() < 4096 || distinct > 250,
                    "{store}, block {page}: {distinct} different bytes"
                );
            }
        }
    }
}
