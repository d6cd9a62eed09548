//! What somebody on the way did to entries is found by `verify` and said in words: by the real program, which
//! is handed the entries through its depot as a peer would hand them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::iter;

use age::secrecy::SecretString;
use fieldbook_depot::{Depot as _, DepotKey, Incoming, Source, SqlDepot, cipher};
use fieldbook_proto::DeviceId;
use fieldbook_seal::SealedEntry;
use fieldbook_tests::{Machine, team_of_two};
use serde_json::Value;

/// The depot of a machine, and its desk's reading identities, opened with the passphrase as
/// `protocol/vault.md` says.
fn stores(machine: &Machine) -> (SqlDepot, Vec<age::x25519::Identity>) {
    let decrypt = |file: &[u8], identity: &dyn age::Identity| -> Option<Vec<u8>> {
        let mut reader = age::Decryptor::new(file).ok()?.decrypt(iter::once(identity)).ok()?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).ok()?;
        Some(plain)
    };
    let read = |name: String| fs::read(machine.vault().join(name)).expect("a file of the vault");
    let slots = read("slots".to_owned());
    let by_passphrase = age::scrypt::Identity::new(SecretString::from(machine.passphrase().to_owned()));
    let (slot, payload) = slots
        .chunks(slots.len() / 2)
        .enumerate()
        .find_map(|(slot, half)| Some((slot, decrypt(half, &by_passphrase)?)))
        .expect("the passphrase opens a slot");
    let kek = std::str::from_utf8(&payload[1..75]).expect("an identity");
    let kek: age::x25519::Identity = kek.parse().expect("an identity");
    let keys = decrypt(&read(format!("{slot}.k")), &kek).expect("the key file opens");
    let key = |at: usize| -> [u8; 32] { keys[at..at + 32].try_into().expect("a key") };
    let store = |name: &str| machine.vault().join(format!("{slot}.{name}"));
    let vault = cipher::open_database(&store("a"), &key(1), false).expect("the vault opens");
    let mut secrets = vault.prepare("SELECT secret FROM desk_identity ORDER BY epoch DESC").expect("secrets");
    let secrets: Vec<Vec<u8>> = secrets
        .query_map([], |row| row.get(0))
        .expect("secrets")
        .map(|secret| secret.expect("a secret"))
        .collect();
    let identity = |text: Vec<u8>| String::from_utf8(text).expect("text").parse().expect("an identity");
    let depot = SqlDepot::open(&store("b"), &DepotKey::new(key(33))).expect("the depot opens");
    (depot, secrets.into_iter().map(identity).collect())
}

/// The entries that a machine made after a position of its depot.
fn made(machine: &Machine, after: u64) -> (Vec<SealedEntry>, u64) {
    let (depot, _) = stores(machine);
    let arrivals = depot.arrivals_with_bytes(after, 100_000, u64::MAX).expect("entries");
    let head = depot.head().expect("the head");
    let own = arrivals.into_iter().filter(|(arrival, _)| arrival.from == Source::Own);
    (own.map(|(_, bytes)| SealedEntry::parse(bytes.expect("bytes")).expect("an entry")).collect(), head)
}

fn plant(machine: &Machine, entries: &[&SealedEntry], from: DeviceId) {
    let (depot, _) = stores(machine);
    for entry in entries {
        let incoming = Incoming { id: entry.id(), bytes: entry.as_bytes(), from: Source::Peer(from) };
        depot.put(&[incoming]).expect("it is taken");
    }
    depot.close().expect("the depot closes");
}

/// The same entry with a word of it changed, by somebody who can read it and cannot sign it.
fn changed(entry: &SealedEntry, identity: &age::x25519::Identity) -> SealedEntry {
    let identities = iter::once(identity as &dyn age::Identity);
    let mut plain = Vec::new();
    let decryptor = age::Decryptor::new(entry.as_bytes()).expect("an age file");
    decryptor.decrypt(identities).expect("it opens").read_to_end(&mut plain).expect("its plaintext");
    let at = plain.iter().rposition(|byte| *byte != 0).expect("a signature") - 100;
    plain[at] ^= 1;
    let mut sealed = Vec::new();
    let to = identity.to_public();
    let recipients = iter::once(&to as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).expect("a recipient");
    let mut writer = encryptor.wrap_output(&mut sealed).expect("a writer");
    writer.write_all(&plain).expect("it is written");
    writer.finish().expect("it ends");
    SealedEntry::parse(sealed).expect("an entry")
}

fn report(machine: &Machine, title: &str) -> String {
    let id = machine.write(&["--template", "detention", "--title", title, "--set", "date=2017-03-25"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// What `verify` says when it ends with this code.
fn verify(machine: &Machine, code: i32) -> Vec<Value> {
    machine.run(&["--json", "verify"]).exits(code).lines()
}

fn problems<'a>(lines: &'a [Value], class: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == "problem" && line["class"] == class).collect()
}

#[test]
fn what_was_done_on_the_way_is_found_and_said_and_honest_work_goes_on() {
    let (coordination, monitor) = team_of_two();
    crate::reading::sync(&monitor, &coordination);
    crate::reading::sync(&monitor, &coordination);
    let device = monitor.json(&["status"])[0]["device"]["id"].as_str().expect("an id").to_owned();
    let from: DeviceId = device.parse().expect("an id");
    for machine in [&coordination, &monitor] {
        let lines = verify(machine, 0);
        let end = lines.last().expect("a summary");
        assert_eq!(
            (&end["event"], &end["tampered"], &end["missing"]),
            (&"verified".into(), &0.into(), &0.into())
        );
        assert!(end["entries"].as_u64() > Some(0), "{end}");
    }

    let (_, head) = made(&monitor, 0);
    let ids = ["One", "Two", "Three"].map(|title| report(&monitor, title));
    let (entries, _) = made(&monitor, head);
    assert_eq!(entries.len(), 3);
    plant(&coordination, &[&entries[0], &entries[2]], from);
    let lines = verify(&coordination, 3);
    let missing = problems(&lines, "missing");
    assert_eq!(missing.len(), 1, "{lines:?}");
    let number = missing[0]["sequence"].as_u64().expect("a number");
    assert_eq!((&missing[0]["device"], &missing[0]["who"]), (&device.as_str().into(), &"Monitor".into()));
    assert_eq!(missing[0]["entry"], entries[1].id().to_string());
    let chain = lines.iter().find(|line| line["event"] == "chain" && line["device"] == device.as_str());
    let chain = chain.expect("the monitor's chain");
    assert_eq!((&chain["last"], &chain["gaps"][0][0]), (&(number + 1).into(), &number.into()), "{chain}");
    assert!(
        coordination.reports().iter().any(|report| report["id"] == ids[2].as_str()),
        "the rest is usable"
    );
    plant(&coordination, &[&entries[1]], from);
    assert!(problems(&verify(&coordination, 0), "missing").is_empty());

    let (_, identities) = stores(&coordination);
    plant(&coordination, &[&changed(&entries[1], &identities[0])], from);
    let lines = verify(&coordination, 16);
    let forged = problems(&lines, "forged");
    assert_eq!(forged.len(), 1, "{lines:?}");
    assert_eq!((&forged[0]["device"], &forged[0]["sequence"]), (&device.as_str().into(), &number.into()));
    assert_eq!((&forged[0]["proven"], &forged[0]["brought_by"]), (&false.into(), &"Monitor".into()));
    let consequence = forged[0]["consequence"].as_str().expect("what follows");
    assert!(consequence.contains("It was not used"), "{consequence}");
    let status = coordination.json(&["status"]).remove(0);
    assert_eq!(status["problems"][0]["class"], "forged");
    assert_eq!(status["problems"][0]["consequence"], consequence);
    for command in ["verify", "status"] {
        let said = coordination.run(&[command]).out();
        for words in ["Forged: in the name of Monitor (not proven)", &format!("number {number}"), consequence]
        {
            assert!(said.contains(words), "{command} does not say {words:?}: {said}");
        }
    }

    let later = report(&monitor, "Later");
    crate::reading::sync(&monitor, &coordination);
    crate::reading::sync(&monitor, &coordination);
    assert_eq!(coordination.show(&later)["content"]["title"], "Later");
    assert_eq!(coordination.show(&ids[1])["content"]["title"], "Two");
    assert_eq!(crate::reading::word_of_delivery(&monitor, &later), "received");
    verify(&monitor, 0);
}
