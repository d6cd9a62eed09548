//! What a monitor has sealed cannot be forced out of it: its whole machine and its passphrase hold no word of it.

use std::fs;
use std::io::Read as _;
use std::iter;
use std::path::Path;

use age::secrecy::SecretString;
use fieldbook_depot::{Depot as _, DepotKey, SqlDepot, cipher};
use fieldbook_seal::{DeviceSecret, ReadingIdentity, SealedEntry};
use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, PHOTO, run, team_of_two};
use rusqlite::types::ValueRef;

const WORDS: [&str; 6] =
    ["Okapititle", "narwhalstory", "tapirauthority", "Žalubinskaja", "pangolinsource", "bilbyedit"];

/// A finished report whose every word is a canary, with a photograph: its id.
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
        "narrative=The narwhalstory.",
        "--source",
        "pangolinsource",
        "--person",
        "name=Žalubinskaja,role=witness,consent=internal",
    ]);
    machine.ok(&["attach", &id, PHOTO]);
    machine.ok(&["edit", &id, "--title", "Okapititle again"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// The report is at the coordinator's, and the receipt is back.
fn received(monitor: &Machine, coordinator: &Machine, id: &str) {
    crate::reading::sync(monitor, coordinator);
    crate::reading::sync(monitor, coordinator);
    assert_eq!(crate::reading::word_of_delivery(monitor, id), "received");
}

fn decrypt(file: &[u8], identity: &dyn age::Identity) -> Option<Vec<u8>> {
    let mut reader = age::Decryptor::new(file).ok()?.decrypt(iter::once(identity)).ok()?;
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// What whoever has a machine and its passphrase can get out of it, by the specification and not by the program:
/// every value of every table of the vault and the depot, and the plaintext of every entry in the depot that opens with
/// any identity in the vault.
struct Image {
    bytes: Vec<u8>,
    opened: usize,
    held: usize,
}

impl Image {
    fn of(machine: &Machine) -> Self {
        let read = |name: String| fs::read(machine.vault().join(name)).expect("a file of the vault");
        let slots = read("slots".to_owned());
        let passphrase = SecretString::from(machine.passphrase().to_owned());
        let by_passphrase = age::scrypt::Identity::new(passphrase);
        let (slot, payload) = slots
            .chunks(slots.len() / 2)
            .enumerate()
            .find_map(|(slot, half)| Some((slot, decrypt(half, &by_passphrase)?)))
            .expect("the passphrase opens a slot");
        let text = std::str::from_utf8(&payload[1..75]).expect("an identity");
        let kek: age::x25519::Identity = text.parse().expect("an identity");
        let keys = decrypt(&read(format!("{slot}.k")), &kek).expect("the key file opens");
        let key = |at: usize| -> [u8; 32] { keys[at..at + 32].try_into().expect("a key") };
        let store = |name: &str| machine.vault().join(format!("{slot}.{name}"));
        let mut bytes = [payload, keys.clone()].concat();
        let vault = cipher::open_database(&store("a"), &key(1), false).expect("the vault opens");
        dump(&vault, &mut bytes);
        let device: Vec<u8> = vault
            .query_row("SELECT value FROM meta WHERE name = 'device'", [], |row| row.get(0))
            .expect("the device's keys");
        let device = DeviceSecret::from_bytes(&device).expect("the device's keys");
        let mut identities = vec![device.identity().clone()];
        let text = String::from_utf8_lossy(&bytes).into_owned();
        identities.extend(
            text.match_indices("AGE-SECRET-KEY-1")
                .filter_map(|(at, _)| ReadingIdentity::parse(text.get(at..at + 74)?).ok()),
        );
        let identities: Vec<&ReadingIdentity> = identities.iter().collect();
        let depot = SqlDepot::open(&store("b"), &DepotKey::new(key(33))).expect("the depot opens");
        let (mut opened, mut held) = (0, 0);
        for (_, sealed) in depot.arrivals_with_bytes(0, 100_000, u64::MAX).expect("the entries") {
            let Some(sealed) = sealed else { continue };
            held += 1;
            let sealed = SealedEntry::parse(sealed).expect("an entry");
            if let Ok(entry) = fieldbook_seal::decrypt(&sealed, &identities) {
                opened += 1;
                bytes.extend_from_slice(entry.claimed_body());
            }
        }
        depot.close().expect("the depot closes");
        let depot = cipher::open_database(&store("b"), &key(33), false).expect("the depot opens");
        dump(&depot, &mut bytes);
        Self { bytes, opened, held }
    }

    fn words(&self) -> Vec<&'static str> {
        let here = |word: &&str| Canary::word(word).find(&self.bytes).is_some();
        WORDS.into_iter().chain(["Canarycam", "photo.jpg"]).filter(here).collect()
    }
}

/// Every value of every table, those of the search index included.
fn dump(db: &rusqlite::Connection, into: &mut Vec<u8>) {
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("the tables");
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .expect("the tables")
        .map(|name| name.expect("a name"))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let mut table = db.prepare(&format!("SELECT * FROM \"{name}\"")).expect("a table");
        let columns = table.column_count();
        let mut rows = table.query([]).expect("its rows");
        while let Some(row) = rows.next().expect("a row") {
            for column in 0..columns {
                match row.get_ref(column).expect("a value") {
                    ValueRef::Text(value) | ValueRef::Blob(value) => into.extend_from_slice(value),
                    _ => {}
                }
                into.push(b'\n');
            }
        }
    }
}

/// No word of it on the whole machine, open or shut.
#[track_caller]
fn assert_gone(machine: &Machine) {
    let image = Image::of(machine);
    assert_eq!(image.words(), Vec::<&str>::new(), "in the opened stores");
    assert!(image.held > 2, "the sealed entries are still carried");
    assert!(image.opened > 0, "receipts open, so the identities were tried");
    let canaries: Vec<Canary> = WORDS.iter().chain(&["Canarycam"]).map(|word| Canary::word(word)).collect();
    let dirs = ["vault", "home", "run", "tmp"].map(|dir| machine.root().join(dir));
    let roots: Vec<&Path> = dirs.iter().map(|dir| dir.as_path()).collect();
    let found = traces::search(&roots, &canaries);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_sealed_report_cannot_be_got_out_of_its_authors_machine_by_anybody_while_the_coordinator_reads_it() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    received(&monitor, &coordinator, &id);
    // An answer from the coordinator lies in the monitor's depot too.
    coordinator.ok(&["edit", &id, "--set", "charges=bilbyedit"]);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(crate::reading::field(&monitor.show(&id), "charges"), "bilbyedit");
    let before = Image::of(&monitor).words();
    for word in ["Okapititle", "narwhalstory", "bilbyedit"] {
        assert!(before.contains(&word), "the search finds {word} while it is there: {before:?}");
    }
    let vault = |name: &str| fs::read(monitor.vault().join(name)).expect("a store");
    let old: Vec<Vec<u8>> = ["0.a", "1.a"].into_iter().map(vault).collect();

    let sealed = monitor.json(&["seal", &id]).remove(0);
    assert_eq!((&sealed["event"], &sealed["id"]), (&"sealed".into(), &id.as_str().into()));
    assert_eq!(sealed["holders"][0]["name"], "Coordination");
    assert_gone(&monitor);

    // Nothing that comes later brings it back, not even an answer that was on its way.
    coordinator.ok(&["edit", &id, "--set", "authority=riot tapirauthority"]);
    crate::reading::sync(&monitor, &coordinator);
    crate::reading::sync(&monitor, &coordinator);
    assert_gone(&monitor);
    let line = monitor.reports().remove(0);
    assert_eq!(
        (&line["state"], &line["title"], &line["id"]),
        (&"sealed".into(), &"".into(), &id.as_str().into())
    );
    for args in [&["show", &id][..], &["edit", &id, "--title", "x"], &["history", &id], &["seal", &id]] {
        let error = monitor.fails(1, args);
        assert_eq!(error["code"], "sealed", "{args:?}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("addendum")), "{error}");
    }
    assert_eq!(monitor.json(&["status"])[0]["sealed"], 1);
    assert!(!monitor.json(&["entry", "list", &id]).is_empty(), "which entries it had is kept");

    // The coordinator has all of it, and knows.
    let shown = coordinator.show(&id);
    assert_eq!(shown["content"]["narrative"], "The narwhalstory.");
    assert!(shown["summary"]["sealed_ms"].is_i64(), "{shown}");
    let out = coordinator.path("photo-out.jpg");
    coordinator.ok(&["attachment", &id, "photo.jpg", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(out).expect("the photograph"), fs::read(PHOTO).expect("the photograph"));
    let returned = |line: &serde_json::Value| line["kind"] == "return copy";
    let entries = coordinator.json(&["entry", "list", &id]);
    let sent = entries.iter().filter(|line| returned(line)).count();
    assert_eq!(sent, 2, "both were written before the coordinator knew");
    coordinator.ok(&["edit", &id, "--set", "charges=none"]);
    let entries = coordinator.json(&["entry", "list", &id]);
    assert_eq!(entries.iter().filter(|line| returned(line)).count(), sent, "none is sent any more");
    assert_eq!(monitor.json(&["status"])[0]["problems"], serde_json::json!([]));

    // An old copy of the store opens nothing with the keys that are there now.
    for (name, bytes) in ["0.a", "1.a"].into_iter().zip(old) {
        fs::write(monitor.vault().join(name), bytes).expect("the old store");
    }
    monitor.fails(16, &["list"]);
}

#[test]
fn without_a_receipt_sealing_refuses_where_it_cannot_ask_and_says_who_has_not_confirmed() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    let error = monitor.fails(1, &["seal", &id]);
    assert_eq!(error["code"], "not-confirmed");
    assert!(
        error["message"].as_str().is_some_and(|text| text.contains("no word yet from Coordination")),
        "{error}"
    );
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--yes")), "{error}");
    assert_eq!(monitor.show(&id)["content"]["narrative"], "The narwhalstory.", "nothing was sealed");
    received(&monitor, &coordinator, &id);
    // A change that nobody has yet is a reason too.
    monitor.ok(&["edit", &id, "--set", "charges=more"]);
    assert_eq!(monitor.fails(1, &["seal", &id])["code"], "not-confirmed");
    assert_eq!(monitor.json(&["seal", "--received"])[0]["sealed"], 0);
    monitor.ok(&["seal", &id, "--yes"]);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    // It still travels: the entries were never this device's to read.
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(crate::reading::field(&coordinator.show(&id), "charges"), "more");
    // Drafts and coordinators' own reports are not sealed.
    let draft = monitor.write(&["--template", "detention", "--title", "A draft"]);
    assert_eq!(monitor.fails(1, &["seal", &draft, "--yes"])["code"], "cannot-seal");
    assert_eq!(coordinator.fails(1, &["seal", &id, "--yes"])["code"], "cannot-seal");
}

#[test]
fn reports_seal_themselves_when_enough_coordinators_have_confirmed() {
    let (coordinator, monitor) = team_of_two();
    monitor.ok(&["seal", "--after", "1"]);
    let id = report(&monitor);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(monitor.show(&id)["summary"]["state"], "finished", "no receipt yet");
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    assert_gone(&monitor);
    monitor.ok(&["seal", "--after", "2"]);
    let other = report(&monitor);
    received(&monitor, &coordinator, &other);
    monitor.ok(&["seal", "--after", "off"]);
    assert_eq!(monitor.json(&["seal", "--received"]).last().expect("a summary")["sealed"], 1);
}

#[test]
fn an_addendum_to_a_sealed_report_arrives_and_each_names_the_other() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    received(&monitor, &coordinator, &id);
    monitor.ok(&["seal", &id]);
    let command = monitor.command(&["--json", "addendum", &id, "--narrative-file", "-"]);
    let said = run(command, b"She was let go on Monday.").exits(0);
    let addendum = said.lines()[0]["id"].as_str().expect("an id").to_owned();
    monitor.ok(&["finish", &addendum]);
    crate::reading::sync(&monitor, &coordinator);
    let shown = coordinator.show(&addendum);
    assert_eq!(shown["content"]["narrative"], "She was let go on Monday.");
    assert_eq!(shown["content"]["addendum_to"], id.as_str());
    assert_eq!(coordinator.show(&id)["addenda"], serde_json::json!([addendum]));
}
