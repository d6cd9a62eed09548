//! Sticks that are too much for this device, and sticks that are made to harm it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use fieldbook_tests::{Machine, pair, run, team_of_two};
use serde_json::Value;

use crate::making::{film, finished, stick, text, with_film};
use crate::reading::ids;

/// A block of a bundle, in bytes.
const BLOCK: usize = 16_384;
/// Files of one kind that are looked at in one run.
const FILES_MAX: usize = 32_768;

/// `bundle write`: its one file.
fn written(machine: &Machine, to: &Path) -> PathBuf {
    let said = machine.json(&["bundle", "write", text(to)]);
    let written = said.iter().find(|line| line["event"] == "written").expect("a word on the bundle");
    PathBuf::from(written["files"][0].as_str().expect("a file"))
}

/// `bundle read` that ends with this code: what it says of everything, and its error.
#[track_caller]
fn read(machine: &Machine, from: &Path, code: i32) -> (Value, Value) {
    let said = machine.run(&["--json", "bundle", "read", text(from)]).exits(code);
    let word =
        said.lines().into_iter().find(|line| line["event"] == "read").expect("a word on what was read");
    (word, if code == 0 { Value::Null } else { said.error() })
}

fn held(machine: &Machine) -> u64 {
    machine.json(&["carry", "show"])[0]["held_bytes"].as_u64().expect("a number")
}

#[test]
fn what_a_device_does_not_carry_stays_on_the_stick_and_comes_when_it_carries_more() {
    let (a, b) = team_of_two();
    let carrier = Machine::with_vault("Carrier");
    pair(&a, &carrier, "monitor");
    let id = with_film(&b, 1, 5 << 20);
    let stick = stick();
    written(&b, stick.path());

    // No attachments.
    carrier.ok(&["carry", "--reports-only"]);
    let (word, error) = read(&carrier, stick.path(), 3);
    let left = &word["left"];
    assert!(left["entries"].as_u64() >= Some(5) && left["size"] == left["entries"], "{word}");
    assert!(left["bytes"].as_u64() >= Some(5 << 20) && held(&carrier) < 1 << 20, "{word}");
    assert!(word["new"].as_u64() > Some(0), "the report came: {word}");
    assert_eq!(error["code"], "bundle-left", "{error}");
    let message = error["message"].as_str().expect("words");
    for part in ["left on the stick: ", "does not carry entries of this size", "the stick still has them"] {
        assert!(message.contains(part), "{error}");
    }
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("fieldbook carry")), "{error}");
    let said = carrier.run(&["bundle", "read", text(stick.path())]).exits(3);
    assert!(said.out().contains("left on the stick"), "{said:?}");

    // A little room: it is never passed. Attachments do not get the last tenth.
    carrier.ok(&["carry", "--everything"]);
    carrier.ok(&["carry", "--total", "3M"]);
    let (word, error) = read(&carrier, stick.path(), 3);
    assert!(word["new"].as_u64() > Some(0) && word["left"]["total"].as_u64() >= Some(2), "{word}");
    assert!(held(&carrier) <= 3 << 20, "{}", held(&carrier));
    assert!(error["message"].as_str().is_some_and(|why| why.contains("as much as it may carry")), "{error}");

    // All sticks together are one device.
    carrier.ok(&["carry", "--everything"]);
    carrier.ok(&["carry", "--per-device", "4M"]);
    let before = held(&carrier);
    with_film(&b, 2, 3 << 20);
    let second = self::stick();
    written(&b, second.path());
    let (word, _) = read(&carrier, second.path(), 3);
    assert!(word["left"]["share"].as_u64() >= Some(3) && word["left"]["total"] == 0, "{word}");
    assert!(held(&carrier) > before && held(&carrier) < 5 << 20, "{} of {before}", held(&carrier));

    // Nothing of what was left counts as read.
    carrier.ok(&["carry", "--everything"]);
    let (word, _) = read(&carrier, second.path(), 0);
    assert!(word["new"].as_u64() >= Some(3) && word["left"]["entries"] == 0, "{word}");
    assert_eq!(read(&carrier, stick.path(), 0).0["new"], 0, "the second stick had it all");
    let third = self::stick();
    written(&carrier, third.path());
    read(&a, third.path(), 0);
    let out = a.path("film");
    a.ok(&["attachment", &id, "film.mp4", "--out", text(&out)]);
    assert!(fs::read(out).expect("the film") == film(1, 5 << 20));
}

#[test]
fn a_device_that_is_full_hears_of_a_removal_by_stick() {
    let (a, b) = team_of_two();
    let gone = Machine::with_vault("Gone");
    pair(&a, &gone, "monitor");
    // As full as it can be.
    b.ok(&["carry", "--total", &held(&b).max(1).to_string()]);
    a.ok(&["team", "remove", "Gone", "--yes"]);
    let stick = stick();
    let to = text(stick.path());
    a.ok(&["bundle", "write", to, "--older", "1"]);
    let (word, _) = read(&b, stick.path(), 3);
    assert_eq!(word["new"], 0, "nothing at all fits: {word}");
    // A tenth is kept for coordinators; half of it is for sticks.
    let total = held(&b) + 100_000;
    b.ok(&["carry", "--total", &total.to_string()]);
    with_film(&b, 3, 3_000_000);
    written(&b, self::stick().path());
    assert!(held(&b) > total);
    b.ok(&["carry", "--total", &held(&b).to_string()]);
    let said = b.run(&["--json", "bundle", "read", to]);
    let word = said.lines().into_iter().find(|line| line["event"] == "read").expect("a word");
    assert!(word["new"].as_u64() > Some(0), "{word}");
    // It has the secret that came with it, and reads what is written now.
    let newest = self::stick();
    written(&a, newest.path());
    assert_ne!(b.run(&["bundle", "read", text(newest.path())]).code, 1);
}

#[test]
fn terabytes_of_nothing_are_not_read() {
    let (a, b) = team_of_two();
    let id = finished(&b, "Among holes");
    let stick = stick();
    let part = written(&b, stick.path());
    // One that is empty, one with a little in its midst, one that begins with a bundle.
    let sparse = |name: &str, at: u64, bytes: &[u8]| {
        let file = File::create(stick.path().join(name)).expect("a file");
        file.write_all_at(bytes, at).expect("its bytes");
        file.set_len(8 << 40).expect("its length");
    };
    sparse("0000000000000000", 0, b"");
    sparse("0000000000000001", (4 << 40) + 5, b"data");
    let whole = fs::read(&part).expect("the bundle");
    sparse("0000000000000002", 0, &whole);
    fs::remove_file(&part).expect("the bundle goes");
    let (word, _) = read(&a, stick.path(), 3);
    assert_eq!(
        (&word["files"], &word["others"], &word["damaged"]),
        (&1.into(), &2.into(), &1.into()),
        "{word}"
    );
    assert_eq!(ids(&a), [id]);
    // What lies behind a hole is found.
    fs::remove_file(stick.path().join("0000000000000002")).expect("a file goes");
    let second = finished(&b, "Behind holes");
    let other = self::stick();
    let whole = fs::read(written(&b, other.path())).expect("the bundle");
    sparse("film.mp4", (6 << 40) + 3 * BLOCK as u64, &whole);
    read(&a, stick.path(), 3);
    assert!(ids(&a).contains(&second));
}

#[test]
fn pipes_sockets_devices_links_and_folders_are_left_alone() {
    let (a, b) = team_of_two();
    let first = finished(&b, "On the stick");
    let (stick, elsewhere) = (stick(), stick());
    written(&b, stick.path());
    let second = finished(&b, "Elsewhere");
    let outside = written(&b, elsewhere.path());
    let at = |name: &str| stick.path().join(name);
    run(
        {
            let mut command = Command::new("mkfifo");
            command.arg(at("00000000000000aa"));
            command
        },
        b"",
    )
    .exits(0);
    let _socket = UnixListener::bind(at("00000000000000ab")).expect("a socket");
    symlink(&outside, at("00000000000000ac")).expect("a link");
    symlink(elsewhere.path(), at("00000000000000ad")).expect("a link");
    symlink("/dev/zero", at("00000000000000ae")).expect("a link");
    symlink(at("00000000000000af"), at("00000000000000af")).expect("a link to itself");
    let mut deep = stick.path().to_owned();
    for _ in 0..60 {
        deep.push("deeper");
        fs::create_dir(&deep).expect("a directory");
    }
    fs::copy(&outside, deep.join("00000000000000b0")).expect("a copy");
    // Names that differ in nothing but their case, and one file under two names.
    fs::write(at("Letter"), "Dear all,").expect("a file");
    fs::write(at("letter"), "Dear all,").expect("a file");
    fs::hard_link(at("letter"), at("letter again")).expect("another name");
    let (word, _) = read(&a, stick.path(), 0);
    assert_eq!(ids(&a), std::slice::from_ref(&first));
    assert_eq!((&word["files"], &word["others"]), (&1.into(), &2.into()), "{word}");
    let not = &word["not_looked"];
    assert_eq!(
        (&not["special"], &not["links"], &not["folders"]),
        (&2.into(), &4.into(), &1.into()),
        "{word}"
    );

    // Whoever names one is told, and nothing hangs.
    for name in ["00000000000000aa", "00000000000000ab", "00000000000000ae"] {
        let error = a.fails(1, &["bundle", "read", text(&at(name))]);
        assert!(error["message"].as_str().is_some_and(|why| why.contains("neither a file nor")), "{error}");
    }
    let devices = a.fails(1, &["bundle", "read", "/dev"]);
    assert_eq!(devices["code"], "no-bundle", "{devices}");
    // A folder and a link that are named are read.
    let folder = a.fails(1, &["bundle", "read", text(&stick.path().join("deeper"))]);
    assert!(
        folder["hint"].as_str().is_some_and(|hint| hint.contains("1 folder here is not looked into")),
        "{folder}"
    );
    read(&a, &at("00000000000000ac"), 0);
    assert!(ids(&a).contains(&second));
}

#[test]
fn of_very_many_files_those_that_could_be_parts_come_first_and_the_rest_is_told() {
    let (a, b) = team_of_two();
    let first = finished(&b, "Among very many");
    let stick = stick();
    let at = |name: String| stick.path().join(name);
    fs::write(at("a".to_owned()), "a letter").expect("a file");
    for n in 0..FILES_MAX + 500 {
        fs::hard_link(at("a".to_owned()), at(format!("letter {n}"))).expect("a name");
    }
    written(&b, stick.path());
    let (word, _) = read(&a, stick.path(), 0);
    assert_eq!((&word["files"], &word["others"]), (&1.into(), &1.into()), "{word}");
    assert_eq!(word["not_looked"]["files"], 501, "{word}");
    assert_eq!(ids(&a), [first]);
    let said = a.run(&["bundle", "read", text(stick.path())]).exits(0);
    assert!(said.out().contains("Not looked at: 501 files, because there are so many"), "{said:?}");
    assert!(said.out().contains("name it: `fieldbook bundle read FILE`"), "{said:?}");
}

#[test]
fn much_that_is_something_else_is_looked_through_up_to_a_limit_and_a_bundle_is_read_before_it() {
    let (a, b) = team_of_two();
    let first = finished(&b, "Beside films");
    let stick = stick();
    // Programs that are built for tests look through 16 MiB, others through a gibibyte. Small ones come first.
    let video = stick.path().join("0000-film.mp4");
    fs::write(&video, film(1, 40 << 20)).expect("a film");
    let letter = stick.path().join("letter");
    fs::write(&letter, film(2, 100_000)).expect("a letter");
    let part = written(&b, stick.path());
    let (word, _) = read(&a, stick.path(), 0);
    let not = word["not_looked"]["bytes"].as_u64().expect("a number");
    assert!((20 << 20..40 << 20).contains(&not), "{word}");
    let said = a.run(&["--json", "bundle", "read", text(stick.path())]).exits(0);
    let order: Vec<PathBuf> = said
        .lines()
        .iter()
        .filter(|line| line["event"] == "file")
        .map(|line| PathBuf::from(line["file"].as_str().expect("a path")))
        .collect();
    assert_eq!(order, [part, letter, video]);
    assert_eq!(ids(&a), [first]);
}
