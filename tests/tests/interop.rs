//! Without Fieldbook: a sealed entry, Debian's `age`, and another language's automerge.
//!
//! The steps are those of `fieldbook recover --explain` and of `protocol/`; nothing here uses a crate of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use fieldbook_tests::{Machine, PHOTO, run, team_of_two};
use serde_json::Value;

use crate::reading::sync;

/// The directory with the JavaScript side, its packages installed.
fn interop() -> PathBuf {
    static INSTALL: Once = Once::new();
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/interop"));
    INSTALL.call_once(|| {
        if !dir.join("node_modules/@automerge/automerge/package.json").is_file() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&dir);
            run(npm, b"").exits(0);
        }
    });
    dir
}

/// Runs one of the stock tools.
#[track_caller]
fn tool(name: &str, args: &[&Path]) -> Vec<u8> {
    let mut command = Command::new(name);
    command.args(args);
    run(command, b"").exits(0).stdout
}

/// An entry as it stands in a vault, and as `age` opens it.
struct Taken {
    id: String,
    plaintext: Vec<u8>,
}

fn take(machine: &Machine, entry: &str, identity: &Path) -> Taken {
    let sealed = machine.path(&format!("{entry}.age"));
    machine.ok(&["entry", "export", entry, "--out", sealed.to_str().expect("UTF-8")]);
    // An entry is named by the BLAKE3 hash of its bytes.
    let sum = String::from_utf8(tool("b3sum", &[&sealed])).expect("a hash");
    let id = sum.split_whitespace().next().expect("a hash").to_owned();
    let plaintext = tool("age", &[Path::new("-d"), Path::new("-i"), identity, &sealed]);
    Taken { id, plaintext }
}

/// Cuts the plaintext of an entry: header, body, signature.
fn cut(plaintext: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (magic, rest) = plaintext.split_at(8);
    assert_eq!(magic, b"FBENTRY1");
    let (header, rest) = measured(rest);
    let (body, rest) = measured(rest);
    let (signature, padding) = rest.split_at(64);
    assert!(padding.iter().all(|byte| *byte == 0), "padding is zeros");
    (header, body, signature)
}

fn measured(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_at(4);
    rest.split_at(u32::from_be_bytes(length.try_into().expect("four bytes")) as usize)
}

/// The changes in the body of a report's entry: after the length (two bytes) and the text of the recipient for
/// answers to the author.
fn changes(body: &[u8]) -> &[u8] {
    let (length, rest) = body.split_at(2);
    &rest[usize::from(u16::from_be_bytes(length.try_into().expect("two bytes")))..]
}

fn identity_of_the_desk(coordinator: &Machine) -> PathBuf {
    let out = coordinator.path("desk.key");
    coordinator.ok(&["recover", "identity", "--out", out.to_str().expect("UTF-8")]);
    out
}

fn entries(machine: &Machine, report: &str, kind: &str) -> Vec<String> {
    let mut lines = machine.json(&["entry", "list", report]);
    lines.retain(|line| line["kind"] == kind);
    lines.sort_by_key(|line| line["sequence"].as_u64());
    lines.iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
}

fn report(b: &Machine) -> String {
    let id = b.write(&[
        "--template",
        "detention",
        "--title",
        "Затрыманне каля вакзала",
        "--language",
        "be",
        "--set",
        "date=2017-03-25",
        "--set",
        "place.locality=Мінск",
        "--set",
        "people_detained=57",
        "--set",
        "warrant_shown=no",
        "--set",
        "narrative=Тры чалавекі стаялі каля брамы.",
        "--person",
        "name=Ihar Sinkievič,role=witness,consent=internal",
        "--source",
        "An eyewitness",
    ]);
    b.ok(&["attach", &id, PHOTO]);
    b.ok(&["finish", &id]);
    b.ok(&[
        "edit",
        &id,
        "--set",
        "authority=АМАП",
        "--set",
        "narrative=Тры чалавекі стаялі каля брамы вакзала.",
    ]);
    id
}

#[test]
fn stock_age_and_automerge_in_javascript_find_the_same_report() {
    let (a, b) = team_of_two();
    let id = report(&b);
    sync(&b, &a);
    let identity = identity_of_the_desk(&a);

    let mut command = Command::new("node");
    command.arg(interop().join("report.mjs"));
    for (number, entry) in entries(&a, &id, "report").iter().enumerate() {
        let taken = take(&a, entry, &identity);
        assert_eq!(&taken.id, entry);
        let (_, body, _) = cut(&taken.plaintext);
        let path = a.path(&format!("changes-{number}"));
        fs::write(&path, changes(body)).expect("a file");
        command.arg(path);
    }
    let said = run(command, b"").exits(0);
    let found: Value = serde_json::from_str(&said.out()).expect("JSON");

    let shown = a.show(&id)["content"].clone();
    for key in ["title", "language", "narrative", "fields", "sources"] {
        assert_eq!(found[key], shown[key], "{key}");
    }
    assert_eq!(found["fields"]["people_detained"], 57);
    assert_eq!(found["fields"]["warrant_shown"], false);
    assert_eq!(found["people"][0]["name"], "Ihar Sinkievič");
    assert_eq!(found["attachments"][0]["blake3"], shown["attachments"][0]["blake3"]);
}

#[test]
fn the_photograph_is_put_together_from_its_parts_and_has_the_hashes_of_courts_tools() {
    let (a, b) = team_of_two();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    // Two parts and a bit.
    let film: Vec<u8> = (0..2_300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let original = PathBuf::from(b.file("film.mp4", &film));
    b.ok(&["attach", &id, original.to_str().expect("UTF-8")]);
    b.ok(&["finish", &id, "--incomplete"]);
    sync(&b, &a);
    let shown = a.show(&id)["content"]["attachments"][0].clone();
    let first_word = |bytes: Vec<u8>| {
        String::from_utf8(bytes).expect("text").split_whitespace().next().expect("a hash").to_owned()
    };
    assert_eq!(shown["blake3"], first_word(tool("b3sum", &[&original])).as_str());
    assert_eq!(shown["sha256"], first_word(tool("sha256sum", &[&original])).as_str());

    // The report's bytes hold the attachment's own identity and the names of its parts.
    let identity = identity_of_the_desk(&a);
    let mut command = Command::new("node");
    command.arg(interop().join("report.mjs"));
    for (number, entry) in entries(&a, &id, "report").iter().enumerate() {
        let path = a.path(&format!("changes-{number}"));
        fs::write(&path, changes(cut(&take(&a, entry, &identity).plaintext).1)).expect("a file");
        command.arg(path);
    }
    let found: Value = serde_json::from_str(&run(command, b"").exits(0).out()).expect("JSON");
    let manifest = &found["attachments"][0];
    let key =
        PathBuf::from(a.secret_file("attachment.key", manifest["identity"].as_str().expect("an identity")));
    let mut whole = Vec::new();
    for part in manifest["parts"].as_array().expect("its parts") {
        let taken = take(&a, part.as_str().expect("an id"), &key);
        assert_eq!(*part, taken.id.as_str());
        whole.extend_from_slice(part_bytes(cut(&taken.plaintext).1));
    }
    assert!(whole == film, "{} bytes instead of {}", whole.len(), film.len());
}

/// The file's bytes in the body of an attachment part.
fn part_bytes(body: &[u8]) -> &[u8] {
    body
}

#[test]
fn an_entry_cannot_be_opened_with_its_authors_own_keys_or_with_anothers() {
    let (a, b) = team_of_two();
    let id = report(&b);
    let entry = entries(&b, &id, "report")[0].clone();
    let sealed = b.path("entry.age");
    b.ok(&["entry", "export", &entry, "--out", sealed.to_str().expect("UTF-8")]);
    let header = String::from_utf8_lossy(&fs::read(&sealed).expect("the entry")).into_owned();
    assert!(header.starts_with("age-encryption.org/v1\n"), "a standard age file");
    // The author cannot export a desk identity, and a fresh one does not open it.
    b.fails(1, &["recover", "identity"]);
    let stranger = b.path("stranger.key");
    let mut keygen = Command::new("age-keygen");
    keygen.arg("-o").arg(&stranger);
    run(keygen, b"").exits(0);
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(&stranger).arg(&sealed);
    let refused = run(age, b"");
    assert_ne!(refused.code, 0, "{refused:?}");
    // It is the desk's identity that does.
    let identity = identity_of_the_desk(&a);
    let opened = tool("age", &[Path::new("-d"), Path::new("-i"), &identity, &sealed]);
    assert!(opened.starts_with(b"FBENTRY1"));
    // A changed byte is noticed by the stock tool as well.
    let mut bytes = fs::read(&sealed).expect("the entry");
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&sealed, bytes).expect("the entry");
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(&identity).arg(&sealed);
    assert_ne!(run(age, b"").code, 0);
}

#[test]
fn what_is_explained_is_what_works() {
    // Every command of the explanation exists; the rest of it is what the tests above do.
    let a = Machine::with_vault("Coordination");
    let text = a.ok(&["recover", "--explain"]).out();
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("fieldbook ")) {
        let words: Vec<&str> =
            line.split_whitespace().skip(1).take_while(|word| !word.starts_with('-')).collect();
        let named: Vec<&str> =
            words.into_iter().filter(|word| word.chars().all(char::is_lowercase)).collect();
        let mut command = a.bare();
        command.args(&named).arg("--help");
        run(command, b"").exits(0);
    }
    assert!(text.contains("FBENTRY1") && text.contains("automerge"));
}
