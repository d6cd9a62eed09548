//! Where there is no network: reports go by stick, from hand to hand, and receipts come back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, pair, processes, run, wait_for};
use serde_json::Value;

use crate::making::{film, finished, stick, text};
use crate::reading::{ids, word_of_delivery};

/// A block of a bundle, in bytes.
const BLOCK: usize = 16_384;

/// A coordinator and two monitors.
fn team() -> (Machine, Machine, Machine) {
    let [a, b, c] = ["Coordination", "Monitor in the field", "Monitor on the road"].map(Machine::with_vault);
    a.ok(&["team", "create", "Minsk 2017"]);
    pair(&a, &b, "monitor");
    pair(&a, &c, "monitor");
    (a, b, c)
}

/// Many finished reports.
fn many(machine: &Machine, number: usize) {
    let report = |n| {
        let narrative: String = film(n as u64, 700).iter().map(|byte| format!("{byte:02x} ")).collect();
        serde_json::json!({"template": "detention", "title": format!("Case {n}"), "language": "en",
            "fields": {"date": "2017-03-25"}, "narrative": narrative})
    };
    let lines: String = (0..number).map(|n| format!("{}\n", report(n))).collect();
    machine.ok(&["import", &machine.file("many.jsonl", lines)]);
    machine.ok(&["finish", "--all", "--incomplete"]);
}

/// `bundle write`: its files.
#[track_caller]
fn write(machine: &Machine, to: &Path, more: &[&str]) -> Vec<PathBuf> {
    let said = machine.json(&[&["bundle", "write", text(to)], more].concat());
    let written = said.iter().find(|line| line["event"] == "written").expect("a word on the bundle");
    let files = written["files"].as_array().expect("files");
    files.iter().map(path).collect()
}

fn path(file: &Value) -> PathBuf {
    PathBuf::from(file.as_str().expect("a path"))
}

/// `bundle read` that ends with this code: what it says of everything.
#[track_caller]
fn read(machine: &Machine, from: &[&Path], code: i32) -> Value {
    let from: Vec<&str> = from.iter().map(|path| text(path)).collect();
    let said = machine.run(&[&["--json", "bundle", "read"], &from[..]].concat()).exits(code);
    said.lines().into_iter().find(|line| line["event"] == "read").expect("a word on what was read")
}

#[test]
fn a_report_goes_by_two_sticks_and_its_receipt_comes_back_by_two_others() {
    let (a, b, c) = team();
    let id = finished(&b, "By hand");
    let (first, second) = (stick(), stick());
    write(&b, first.path(), &[]);
    // C carries what it cannot read.
    let taken = read(&c, &[first.path()], 0);
    assert!(taken["new"].as_u64().is_some_and(|new| new > 0), "{taken}");
    assert_eq!(ids(&c), Vec::<String>::new());
    write(&c, second.path(), &[]);
    assert_eq!(word_of_delivery(&b, &id), "only here", "a stick is no receipt");
    let taken = read(&a, &[second.path()], 0);
    assert_eq!(taken["absorbed"]["reports_new"], 1, "{taken}");
    assert_eq!(ids(&a), std::slice::from_ref(&id));
    assert_eq!(a.show(&id)["content"]["title"], "By hand");

    // The receipt, back by way of C.
    let (third, fourth) = (stick(), stick());
    write(&a, third.path(), &[]);
    read(&c, &[third.path()], 0);
    write(&c, fourth.path(), &[]);
    read(&b, &[fourth.path()], 0);
    assert_eq!(word_of_delivery(&b, &id), "received");
    assert_eq!(b.show(&id)["summary"]["delivery"]["holders"][0]["name"], "Coordination");

    // Twice, or in another order, changes nothing.
    let carried = |machine: &Machine| machine.json(&["status"])[0]["depot_entries"].clone();
    let before = carried(&a);
    let again = read(&a, &[fourth.path(), first.path(), second.path()], 0);
    assert_eq!(again["new"], 0, "{again}");
    assert_eq!((carried(&a), ids(&a).len()), (before, 1));

    // Where a network is, sync goes on from there.
    crate::reading::sync(&b, &a);
    assert_eq!(ids(&a).len(), 1);
}

#[test]
fn photographs_in_several_parts_arrive_in_any_order_and_a_missing_part_is_missed() {
    let (a, b, _) = team();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    let original = film(1, 7 << 20);
    b.ok(&["attach", &id, &b.file("film.mp4", &original)]);
    b.ok(&["finish", &id, "--incomplete"]);
    let stick = stick();
    let mut parts = write(&b, stick.path(), &["--part-size", "2M"]);
    assert!(parts.len() >= 4, "{parts:?}");
    // The report lies in the first part, and is there before its film is.
    let first = read(&a, &[&parts[0]], 3);
    assert_eq!(first["missing"][0]["exact"], false, "{first}");
    assert_eq!(ids(&a), std::slice::from_ref(&id));
    let away = parts.remove(2);
    parts.reverse();
    let others: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    let most = read(&a, &others, 3);
    assert_eq!((&most["missing"][0]["missing"], &most["missing"][0]["exact"]), (&1.into(), &true.into()));
    let out = a.path("film");
    a.run(&["attachment", &id, "film.mp4", "--out", text(&out)]).exits(1);
    read(&a, &[&away], 3);
    a.ok(&["attachment", &id, "film.mp4", "--out", text(&out)]);
    assert!(fs::read(&out).expect("the film") == original);
    assert_eq!(read(&a, &[stick.path()], 0)["new"], 0);
}

#[test]
fn a_flipped_byte_and_a_pulled_stick_cost_little_and_another_copy_brings_the_rest() {
    let (a, b, _) = team();
    many(&b, 60);
    let stick = stick();
    let whole = write(&b, stick.path(), &[]).remove(0);
    let bytes = fs::read(&whole).expect("the bundle");
    let blocks = bytes.len() / BLOCK;
    assert!(blocks > 5, "{blocks} blocks");
    let damaged = stick.path().join("copy");
    let mut bad = bytes.clone();
    bad[2 * BLOCK + 5_000] ^= 1;
    bad.truncate((blocks - 1) * BLOCK + BLOCK / 2);
    fs::write(&damaged, bad).expect("a file");
    let said = a.run(&["bundle", "read", text(&damaged)]).exits(3);
    assert!(said.out().contains("its end is missing") && said.out().contains("damaged: 2 of"), "{said:?}");
    assert!(said.err().contains("everything that is intact was taken"), "{said:?}");
    assert!(said.err().contains("another copy"), "{said:?}");
    let some = ids(&a).len();
    assert!((20..60).contains(&some), "{some} of 60");
    let rest = read(&a, &[&whole], 0);
    assert!(rest["known"].as_u64() > Some(20) && rest["new"].as_u64() > Some(0), "{rest}");
    assert_eq!(ids(&a).len(), 60);
    // Noise and other people's files are no bundles, and no harm.
    let noise = stick.path().join("noise");
    fs::write(&noise, film(3, 50_000)).expect("a file");
    let error = a.fails(1, &["bundle", "read", text(&noise)]);
    assert_eq!(error["code"], "no-bundle", "{error}");
    a.fails(1, &["bundle", "read", text(&stick.path().join("nowhere"))]);
}

#[test]
fn who_has_not_heard_of_a_removal_is_told_and_can_be_helped() {
    let (a, b, c) = team();
    // B is in the field while C is lost.
    a.ok(&["team", "remove", "Monitor on the road", "--yes"]);
    let (to_b, from_b) = (stick(), stick());
    write(&a, to_b.path(), &[]);
    let error = b.fails(1, &["bundle", "read", text(to_b.path())]);
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--older 1")), "{error}");
    let helped = stick();
    let said = a.ok(&["bundle", "write", text(helped.path()), "--older", "1"]);
    assert!(said.err().contains("removed"), "{said:?}");
    read(&b, &[helped.path()], 0);
    // Now B knows the new secret, reads what it could not, and writes what C cannot read.
    read(&b, &[to_b.path()], 0);
    finished(&b, "After the removal");
    write(&b, from_b.path(), &[]);
    c.fails(1, &["bundle", "read", text(from_b.path())]);
    read(&a, &[from_b.path()], 0);
    assert_eq!(ids(&a).len(), 1);
    // Another team reads nothing.
    let other = Machine::with_vault("Stranger");
    other.fails(1, &["bundle", "read", text(from_b.path())]);
    other.fails(1, &["bundle", "write", text(from_b.path())]);
    other.ok(&["team", "create", "Another"]);
    assert_eq!(other.fails(1, &["bundle", "read", text(from_b.path())])["code"], "no-bundle");
}

#[test]
fn only_what_is_new_goes_into_the_next_one() {
    let (a, b, _) = team();
    let stick = stick();
    finished(&b, "One");
    let entries = |more: &[&str]| {
        let said = b.json(&[&["bundle", "write", text(stick.path())], more].concat());
        said.iter().find(|line| line["event"] == "written").expect("a word")["entries"]
            .as_u64()
            .expect("a number")
    };
    let all = entries(&["--since", "last"]);
    assert_eq!(entries(&["--since", "last"]), 0);
    finished(&b, "Two");
    assert_eq!(entries(&["--since", "last"]), 1);
    assert_eq!(entries(&[]), all + 1);
    // The coordinator acknowledged what it got by network; a bundle for it has the rest.
    crate::reading::sync(&b, &a);
    crate::reading::sync(&b, &a);
    assert_eq!(entries(&["--for", "Coordination"]), 0);
    finished(&b, "Three");
    assert_eq!(entries(&["--for", "Coordination"]), 1);
    b.fails(1, &["bundle", "write", text(stick.path()), "--for", "Nobody"]);
    b.fails(2, &["bundle", "write", text(stick.path()), "--part-size", "1M"]);
    let file = stick.path().join("a-name");
    write(&b, &file, &[]);
    assert_eq!(b.fails(1, &["bundle", "write", text(&file)])["code"], "file-exists");
    read(&a, &[&file], 0);
    assert_eq!(ids(&a).len(), 3);
}

#[test]
fn kill_9_at_any_moment_of_writing_and_reading_loses_nothing() {
    let (a, b, _) = team();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    let original = film(2, 24 << 20);
    b.ok(&["attach", &id, &b.file("film.mp4", &original)]);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["unlock"]);
    a.ok(&["unlock"]);
    let stick = stick();
    // Until it has said so many things of a kind.
    let shoot = |machine: &Machine, command: &[&str], word: &str, times: usize| {
        let mut running = machine.start(command);
        let mut heard = 0;
        while heard < times {
            let line = running.line().unwrap_or_else(|| panic!("it ended before {word}: {}", running.err()));
            heard += usize::from(line.contains(&format!("\"event\":\"{word}\"")));
        }
        let files = |process: &processes::Process| process.arguments.windows(6).any(|word| word == b"bundle");
        processes::kill(&machine.processes().into_iter().filter(files).collect::<Vec<_>>());
        running.kill();
    };
    let command = ["bundle", "write", text(stick.path()), "--part-size", "2M"];
    for (word, times) in [("planned", 1), ("progress", 1), ("file", 1), ("planned", 1), ("file", 2)] {
        shoot(&b, &command, word, times);
        // Whatever lies there reads as what it is, and whole parts are whole.
        for file in traces::files(stick.path()) {
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let said = a.run(&["--json", "bundle", "read", text(&file)]);
            let line = said.lines().into_iter().find(|line| line["event"] == "file");
            assert!(line.is_some_and(|line| hidden || line["whole"] == true), "{}: {said:?}", file.display());
        }
    }
    assert_eq!(ids(&a), std::slice::from_ref(&id), "the report lies in the first part");
    let said = b.json(&[&["bundle", "write", text(stick.path())][..], &command[3..]].concat());
    let kept = said.iter().find(|line| line["event"] == "planned").expect("a plan")["kept"].as_u64();
    assert!(kept >= Some(3), "{kept:?}");
    let written = said.iter().find(|line| line["event"] == "written").expect("an end");
    let mut parts: Vec<PathBuf> = written["files"].as_array().expect("files").iter().map(path).collect();
    parts.sort();
    assert_eq!(traces::files(stick.path()), parts, "nothing of the interrupted runs is left");

    let c = Machine::with_vault("Another coordinator");
    pair(&a, &c, "coordinator");
    c.ok(&["unlock"]);
    for (word, times) in [("planned", 1), ("progress", 1), ("file", 1), ("file", 5)] {
        shoot(&c, &["bundle", "read", text(stick.path())], word, times);
    }
    read(&c, &[stick.path()], 0);
    let status = c.json(&["status"]).remove(0);
    assert_eq!(status["problems"].as_array().map(Vec::len), Some(0), "{status}");
    let again = read(&c, &[stick.path()], 0);
    assert_eq!((&again["new"], again["known"].as_u64() > Some(24)), (&0.into(), true), "{again}");
    read(&a, &[stick.path()], 0);
    let out = a.path("film");
    a.ok(&["attachment", &id, "film.mp4", "--out", text(&out)]);
    assert!(fs::read(&out).expect("the film") == original);
}

#[test]
fn a_stick_without_room_is_told_before_anything_is_written() {
    let (a, b, _) = team();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["attach", &id, &b.file("film.mp4", film(4, 3 << 20))]);
    b.ok(&["finish", &id, "--incomplete"]);
    let mount = b.path("small");
    fs::create_dir(&mount).expect("a directory");
    let inside = |script: &str, args: &[&str]| {
        let mut command = Command::new("unshare");
        let program = b.command(&[]);
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg(format!("mount -t tmpfs -o size=1m none \"$0\" && {{ {script} }}")).arg(&mount);
        command.arg(program.get_program()).args(program.get_args()).args(args);
        command.env_clear().current_dir(b.path("."));
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command, b"")
    };
    if inside("true;", &[]).code != 0 {
        eprintln!("no mount namespaces here: a full stick was not tried");
        return;
    }
    let said = inside(
        "\"$@\"; code=$?; ls -A \"$0\" >&2; exit $code;",
        &["--json", "bundle", "write", text(&mount)],
    );
    assert_eq!(said.code, 1, "{said:?}");
    let lines = said.err();
    assert_eq!(lines.lines().count(), 1, "nothing lies on the stick: {said:?}");
    assert!(lines.contains("\"no-room\"") && lines.contains("nothing was written"), "{said:?}");
    // The next stick has room.
    let stick = stick();
    write(&b, stick.path(), &[]);
    read(&a, &[stick.path()], 0);
    assert_eq!(ids(&a), [id]);
}

#[test]
fn a_laboratory_finds_nothing_on_the_stick_but_random_bytes() {
    let [a, b] = ["Capybaradesk", "Axolotlmonitor"].map(Machine::with_vault);
    a.ok(&["team", "create", "Quokkateam"]);
    pair(&a, &b, "monitor");
    let id = b.write(&[
        "--template",
        "detention",
        "--title",
        "Okapititle",
        "--set",
        "date=2017-03-25",
        "--set",
        "narrative=The narwhalstory, told at length.",
        "--person",
        "name=Žalubinskaja,role=witness,consent=internal",
    ]);
    b.ok(&["attach", &id, fieldbook_tests::PHOTO]);
    b.ok(&["finish", &id, "--incomplete"]);
    // So many that there are columns of blocks to look at.
    many(&b, 60);
    let stick = stick();
    let files =
        [write(&b, stick.path(), &[]), write(&a, stick.path(), &[]), write(&b, stick.path(), &[])].concat();
    assert_eq!(traces::files(stick.path()).len(), files.len());

    let words =
        ["Capybaradesk", "Axolotlmonitor", "Quokkateam", "Okapititle", "narwhalstory", "Žalubinskaja"];
    let mut canaries: Vec<Canary> = words.iter().map(|word| Canary::word(word)).collect();
    for word in ["age-encryption.org", "X25519", "fieldbook", "Fieldbook", "SQLite", "FBENTRY1"] {
        canaries.push(Canary::word(word));
    }
    let raw = |hex: &str| -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digit).collect()
    };
    let mut secret = vec![id.clone()];
    for machine in [&a, &b] {
        let device = machine.json(&["status"])[0]["device"].clone();
        secret.push(device["id"].as_str().expect("an id").to_owned());
        secret.push(device["team"]["id"].as_str().expect("an id").to_owned());
    }
    let entries = b.json(&["entry", "list", &id]);
    secret.extend(entries.iter().filter_map(|line| line["id"].as_str().map(str::to_owned)));
    assert!(secret.len() > 5);
    canaries.extend(secret.iter().map(|id| Canary::bytes(id, &raw(id))));
    assert_eq!(traces::search(&[stick.path()], &canaries), []);

    for file in &files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        let bytes = fs::read(file).expect("the bundle");
        assert_eq!(bytes.len() % BLOCK, 0);
        looks_random(&bytes, &name);
    }
    // Two bundles of the same entries have nothing in common, not even within one.
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for file in &files {
        pieces.extend(fs::read(file).expect("the bundle").chunks(16).map(<[u8]>::to_vec));
    }
    let all = pieces.len();
    pieces.sort();
    pieces.dedup();
    assert_eq!(pieces.len(), all, "sixteen bytes stand there twice");
    // The test of the test: sealed entries by themselves do not look like this.
    let sealed = b.path("sealed");
    b.ok(&["entry", "export", entries[0]["id"].as_str().expect("an id"), "--out", text(&sealed)]);
    assert!(!traces::search_files([sealed], &canaries).is_empty());
}

/// Chi-square over the 256 values, and over the bits at each of eight places.
#[track_caller]
fn looks_random(bytes: &[u8], name: &str) {
    let mut counts = [0_f64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let expected = bytes.len() as f64 / 256.0;
    let chi: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
    // 255 degrees of freedom: the mean is 255, the deviation 22.6. Beyond 7 deviations once in 10^11.
    assert!((100.0..420.0).contains(&chi), "{name}: chi-square {chi}");
    // The beginnings of blocks, one after another, as a format with a magic or a counter would show.
    for at in 0..96 {
        let column: Vec<u8> = bytes.chunks(BLOCK).map(|block| block[at]).collect();
        let mut distinct = column.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(column.len() < 16 || distinct.len() * 2 > column.len().min(100), "{name}: byte {at} repeats");
    }
}

#[test]
fn reading_and_writing_share_a_vault_with_a_daemon_that_runs() {
    let (a, b, _) = team();
    let daemon = a.daemon();
    a.ok(&["unlock"]);
    let id = finished(&b, "By stick, to a desk that is online");
    let stick = stick();
    write(&b, stick.path(), &[]);
    read(&a, &[stick.path()], 0);
    assert_eq!(ids(&a), std::slice::from_ref(&id));
    // The receipt goes by network.
    b.ok(&["sync", "--with", daemon.address()]);
    wait_for("the receipt", || {
        b.ok(&["sync", "--with", daemon.address()]);
        (word_of_delivery(&b, &id) == "received").then_some(())
    });
}

/// `tests/interop/bundle.py`: Python's libraries, and the page of the protocol.
fn python(args: &[&str]) -> String {
    let mut command = Command::new(crate::recovery::python());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/bundle.py")).args(args);
    run(command, b"").exits(0).out()
}

#[test]
fn another_implementation_agrees_about_every_vector_and_reads_a_real_bundle() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/vectors/bundle"));
    let number = python(&[text(&folder)]);
    assert_eq!(number.trim(), traces::files(&folder).len().to_string());

    let (a, b, _) = team();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["attach", &id, &b.file("film.mp4", film(5, 2_300_000))]);
    b.ok(&["finish", &id, "--incomplete"]);
    many(&b, 12);
    let stick = stick();
    let file = write(&b, stick.path(), &[]).remove(0);
    // The secret comes out of the depot as a network process reads it, and out of no command.
    let passphrase = fieldbook_vault::Passphrase::new(b.passphrase().to_owned());
    let vault = fieldbook_vault::Vault::open(&b.vault(), &passphrase).expect("the vault");
    let depot = fieldbook_depot::SqlDepot::open(&vault.depot_path(), &vault.depot_key()).expect("the depot");
    let secrets = fieldbook_depot::Depot::setting(&depot, "transport-secrets").expect("it reads");
    let secret: String = secrets.expect("a team")[8..40].iter().map(|byte| format!("{byte:02x}")).collect();
    let said = python(&[&secret, text(&file)]);
    let mut theirs: Vec<&str> = said.lines().collect();
    assert_eq!(theirs.remove(0), "whole");
    let all = fieldbook_depot::Depot::arrivals(&depot, 0, usize::MAX, u64::MAX >> 1).expect("what it holds");
    let mut ours: Vec<String> = all.iter().map(|arrival| arrival.id.to_string()).collect();
    ours.sort();
    theirs.sort_unstable();
    assert!(theirs == ours, "{} instead of {}", theirs.len(), ours.len());
    drop((depot, vault));
    read(&a, &[stick.path()], 0);
    assert_eq!(ids(&a).len(), 13);
}
