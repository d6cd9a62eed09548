//! Everything is lost but the sheets of paper and what somebody carries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use fieldbook_tests::{Machine, PHOTO, pair, run};
use serde_json::Value;

use crate::reading::sync;

/// The words of each sheet that a command with `--json` printed.
fn words(lines: &[Value]) -> Vec<String> {
    lines.iter().filter_map(|line| line["words"].as_str()).map(str::to_owned).collect()
}

/// A coordinator whose desk has sheets, two of three, and a monitor; the words of the sheets.
fn desk_with_sheets() -> (Machine, Machine, Vec<String>) {
    let (coordination, monitor) = (Machine::with_vault("Coordination"), Machine::with_vault("Monitor"));
    let sheets = words(&coordination.json(&["team", "create", "Minsk 2017", "--recovery", "2of3"]));
    assert_eq!(sheets.len(), 3);
    pair(&coordination, &monitor, "monitor");
    (coordination, monitor, sheets)
}

fn report(machine: &Machine, title: &str) -> String {
    let id = machine.write(&["--template", "detention", "--title", title, "--set", "date=2017-03-25"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// All that a device carries, as files in a directory of another machine.
fn carried(from: &Machine, to: &Machine) -> String {
    let dir = to.path("entries");
    from.ok(&["entry", "export", "--all", "--out", dir.to_str().expect("UTF-8")]);
    dir.to_str().expect("UTF-8").to_owned()
}

fn restored(machine: &Machine, args: &[&str], sheets: &[&str]) -> Value {
    let said =
        machine.run_with(&[&["--json", "recovery", "restore"], args].concat(), sheets.join("\n").as_bytes());
    said.exits(0).lines().pop().expect("what came of it")
}

#[test]
fn a_team_whose_only_coordinator_is_lost_comes_back_from_two_sheets() {
    let (lost, monitor, sheets) = desk_with_sheets();
    let theirs = report(&monitor, "At the office");
    monitor.ok(&["attach", &theirs, PHOTO]);
    let own = report(&lost, "By the coordinator");
    sync(&monitor, &lost);
    sync(&monitor, &lost);

    // The coordinator's device is gone; the monitor carries what it cannot read.
    assert!(monitor.run(&["show", &own]).code != 0);
    let desk = Machine::with_vault("New desk");
    let dir = carried(&monitor, &desk);
    let done = restored(&desk, &["--from", &dir], &[&sheets[0], &sheets[2]]);
    assert_eq!((&done["joined"], &done["team"]), (&true.into(), &"Minsk 2017".into()), "{done}");
    assert_eq!((&done["reports"], &done["new_reports"]), (&2.into(), &2.into()), "{done}");
    assert_eq!(desk.show(&theirs)["content"]["title"], "At the office");
    assert_eq!(desk.show(&own)["content"]["title"], "By the coordinator");
    let photo = desk.path("photo.jpg");
    desk.ok(&["attachment", &theirs, "photo.jpg", "--out", photo.to_str().expect("UTF-8")]);
    assert!(fs::read(photo).expect("the photograph") == fs::read(PHOTO).expect("the original"));

    // A device of its own: the lost one and the sheets are others.
    let people = desk.json(&["team", "people"]);
    let role = |label: &str| {
        let person = people.iter().find(|person| person["label"] == label);
        person.map(|person| person["role"].as_str().expect("a role").to_owned())
    };
    for coordinator in ["New desk", "Coordination", "recovery sheets"] {
        assert_eq!(role(coordinator).as_deref(), Some("coordinator"), "{coordinator}: {people:?}");
    }
    assert_eq!(role("Monitor").as_deref(), Some("monitor"), "{people:?}");

    // The monitor goes on with it.
    let later = report(&monitor, "A week later");
    sync(&monitor, &desk);
    assert_eq!(desk.show(&later)["content"]["title"], "A week later");
    sync(&monitor, &desk);
    let word = monitor.show(&later)["summary"]["delivery"]["holders"][0]["name"].clone();
    assert_eq!(word, "New desk");
}

#[test]
fn one_sheet_is_not_enough_and_a_wrong_word_is_named() {
    let (_coordination, monitor, sheets) = desk_with_sheets();
    let desk = Machine::with_vault("New desk");
    let dir = carried(&monitor, &desk);
    let refused = |given: &[&str]| {
        let said =
            desk.run_with(&["--json", "recovery", "restore", "--from", &dir], given.join("\n\n").as_bytes());
        let error = said.exits(2).error();
        format!("{}: {}", error["code"].as_str().expect("a code"), error["message"].as_str().expect("words"))
    };
    assert_eq!(
        refused(&[&sheets[1]]),
        "sheets-together: 2 different sheets are needed, 1 more than were given"
    );
    let same = refused(&[&sheets[1], &sheets[1]]);
    assert_eq!(same, "sheets-together: sheets 1 and 2 of those given are the same sheet");
    let wrong = |at: usize, other: &str| {
        let typed: Vec<&str> = sheets[0]
            .split(' ')
            .enumerate()
            .map(|(n, word)| if n + 1 == at { other } else { word })
            .collect();
        refused(&[&sheets[1], &typed.join(" ")])
    };
    assert_eq!(
        wrong(7, "wrongly"),
        "sheet-wrong: sheet 2: word 7, \"wrongly\", is not a word of recovery sheets"
    );
    let other = if sheets[0].split(' ').nth(19) == Some("academic") { "acid" } else { "academic" };
    assert_eq!(
        wrong(20, other),
        "sheet-wrong: sheet 2: one word is not the one on the sheet, probably word 20"
    );
    // None of it left anything behind.
    desk.fails(1, &["team", "invite", "--role", "monitor", "--yes"]);
    // Words are no arguments: others on the machine see those.
    assert_eq!(desk.run(&["recovery", "restore", &sheets[0]]).code, 2);
}

#[test]
fn a_drill_tells_the_right_sheets_from_others() {
    let (coordination, _monitor, sheets) = desk_with_sheets();
    report(&coordination, "By the coordinator");
    let check = |machine: &Machine, sheets: &[String]| {
        machine.run_with(&["--json", "recovery", "check"], sheets.join("\n").as_bytes())
    };
    let found = check(&coordination, &sheets[..2]).exits(0).lines().pop().expect("an answer");
    assert_eq!((&found["current"], &found["charter"]), (&true.into(), &true.into()), "{found}");
    assert!(
        found["opens"].as_u64() > Some(2) && found["opens"].as_u64() <= found["entries"].as_u64(),
        "{found}"
    );
    let before = found["entries"].clone();

    // Sheets that exist are not replaced by mistake; replaced, they open what was before.
    assert_eq!(coordination.fails(1, &["recovery", "create"])["code"], "has-recovery");
    let newer =
        words(&coordination.json(&["recovery", "create", "--threshold", "3", "--shares", "5", "--replace"]));
    assert_eq!(newer.len(), 5);
    let error = check(&coordination, &sheets[..2]).exits(1).error();
    assert!(error["message"].as_str().expect("words").contains("replaced"), "{error}");
    let found = check(&coordination, &newer[1..4]).exits(0).lines().pop().expect("an answer");
    assert_eq!(found["charter"], true);
    assert!(found["entries"].as_u64() > before.as_u64());
    let people = coordination.json(&["team", "people"]);
    let paper = |person: &&Value| person["label"] == "recovery sheets" && person["state"] == "member";
    assert_eq!(people.iter().filter(paper).count(), 1, "{people:?}");

    // Another team's sheets are no use.
    let (_other, _their_monitor, foreign) = desk_with_sheets();
    let error = check(&coordination, &foreign[..2]).exits(1).error();
    assert!(error["message"].as_str().expect("words").contains("not those of this desk"), "{error}");
    let refused = coordination.run_with(&["recovery", "restore"], foreign[..2].join("\n").as_bytes());
    assert_eq!(refused.code, 1, "{refused:?}");
    let impossible = coordination.fails(2, &["recovery", "create", "--threshold", "1", "--replace"]);
    assert_eq!(impossible["code"], "sheets-number");
}

#[test]
fn a_coordinator_reads_what_was_written_before_it_came() {
    let (first, monitor, sheets) = desk_with_sheets();
    let early = report(&monitor, "Before the second coordinator");
    sync(&monitor, &first);
    let second = Machine::with_vault("Second");
    pair(&first, &second, "coordinator");
    sync(&second, &first);
    assert!(second.run(&["show", &early]).code != 0, "it came too late to read this");
    let done = restored(&second, &[], &[&sheets[1], &sheets[2]]);
    assert_eq!((&done["joined"], &done["new_reports"]), (&false.into(), &1.into()), "{done}");
    assert_eq!(second.show(&early)["content"]["title"], "Before the second coordinator");
    // A monitor's device is given nothing by the sheets.
    let said = monitor.run_with(&["--json", "recovery", "restore"], sheets[..2].join("\n").as_bytes());
    assert_eq!(said.exits(1).error()["code"], "not-coordinator");
}

#[test]
fn printed_sheets_are_read_again_and_say_nothing_of_what_they_are_for() {
    let desk = Machine::with_vault("Coordination");
    let out = desk.path("sheets");
    let dir = out.to_str().expect("UTF-8");
    desk.ok(&["team", "create", "Minsk 2017", "--recovery", "2of3", "--out", dir]);
    let files: Vec<PathBuf> = (1..=3).map(|number| out.join(format!("sheet-{number}-of-3.txt"))).collect();
    for file in &files {
        let text = fs::read_to_string(file).expect("a sheet");
        let plain = text.to_lowercase();
        for word in ["minsk", "fieldbook", "coordination", "report", "age-secret", "human rights"] {
            assert!(!plain.contains(word), "{word} in {text}");
        }
        assert!(text.contains(" 33. ") && text.contains('█'), "{text}");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).expect("a file").permissions())
                & 0o077,
            0
        );
    }
    let path = |at: usize| files[at].to_str().expect("UTF-8");
    desk.ok(&["recovery", "check", "--sheet", path(2), "--sheet", path(0)]);
    // Nothing is overwritten, and then nothing is replaced either.
    desk.fails(1, &["recovery", "create", "--replace", "--out", dir]);
    desk.ok(&["recovery", "check", "--sheet", path(1), "--sheet", path(0)]);
}

/// Python with the other implementations of our formats, installed as `scripts/install` does it.
pub fn python() -> PathBuf {
    static INSTALL: Once = Once::new();
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools"));
    let python = tools.join("bin/python");
    INSTALL.call_once(|| {
        let mut probe = Command::new(&python);
        probe.args(["-c", "import blake3, cryptography, jeepney, shamir_mnemonic"]);
        if python.is_file() && run(probe, b"").code == 0 {
            return;
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&tools);
        run(venv, b"").exits(0);
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ]);
        pip.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/requirements.txt"));
        run(pip, b"").exits(0);
    });
    python
}

fn slip39(args: &[&str], input: &str) -> String {
    let mut command = Command::new(python());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/slip39.py")).args(args);
    run(command, input.as_bytes()).exits(0).out()
}

#[test]
fn another_implementation_puts_the_sheets_together_and_splits_them_again() {
    let (coordination, monitor, sheets) = desk_with_sheets();
    let id = report(&monitor, "At the office");
    sync(&monitor, &coordination);
    let secret = slip39(&["combine"], &format!("{}\n{}\n", sheets[2], sheets[0]));
    let again = slip39(&["split", "3", "5"], &secret);
    let theirs: Vec<&str> = again.lines().collect();
    assert_eq!(theirs.len(), 5);
    let said = coordination.run_with(&["--json", "recovery", "check"], theirs[1..4].join("\n").as_bytes());
    assert_eq!(said.exits(0).lines().pop().expect("an answer")["current"], true);

    // The secret, written as age writes its keys, opens a report's entry with stock age.
    let mut keys = Command::new(python());
    keys.args(["-c", BECH32]);
    let identity = run(keys, secret.as_bytes()).exits(0).out();
    let key = monitor.secret_file("recovery.key", &identity);
    let entries = monitor.json(&["entry", "list", &id]);
    let entry = entries[0]["id"].as_str().expect("an id");
    let sealed = monitor.path("entry.age");
    monitor.ok(&["entry", "export", entry, "--out", sealed.to_str().expect("UTF-8")]);
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(Path::new(&key)).arg(&sealed);
    assert!(run(age, b"").exits(0).stdout.starts_with(b"FBENTRY1"));
}

/// Bech32 (BIP 173) of the secret on standard input, as an age identity.
const BECH32: &str = r#"
import sys
C = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
def polymod(values):
    c = 1
    for v in values:
        b = c >> 25
        c = (c & 0x1ffffff) << 5 ^ v
        for i, g in enumerate([0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]):
            c ^= g if b >> i & 1 else 0
    return c
prefix = "age-secret-key-"
bits = "".join(f"{b:08b}" for b in bytes.fromhex(sys.stdin.read().strip())) + "0000"
data = [int(bits[i:i + 5], 2) for i in range(0, len(bits), 5)]
check = polymod([ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + data + [0] * 6) ^ 1
data += [check >> 5 * (5 - i) & 31 for i in range(6)]
print((prefix + "1" + "".join(C[d] for d in data)).upper())
"#;
