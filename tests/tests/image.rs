//! What whoever has a machine and its passphrase can get out of it, by the specification and not by the program.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::iter;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use fieldbook_depot::{Depot as _, DepotKey, SqlDepot, cipher};
use fieldbook_seal::{DeviceSecret, Kind, ReadingIdentity, SealedEntry};
use fieldbook_tests::Machine;
use fieldbook_tests::traces::{self, Canary};
use rusqlite::types::ValueRef;

fn decrypt(file: &[u8], identity: &dyn age::Identity) -> Option<Vec<u8>> {
    let mut reader = age::Decryptor::new(file).ok()?.decrypt(iter::once(identity)).ok()?;
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// The pair of stores that the passphrase opens, with their keys.
pub struct Stores {
    pub slot: usize,
    pub vault_key: [u8; 32],
    depot_key: [u8; 32],
    vault: PathBuf,
    depot: PathBuf,
    /// The slot's identity, which opens the key file.
    kek: String,
    /// The slot's and the key file's plaintext.
    opened: Vec<u8>,
}

/// The 32 bytes of an age identity (Bech32 of BIP 173), as they lie in memory.
fn raw(identity: &str) -> Vec<u8> {
    const LETTERS: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
    let data = identity.strip_prefix("AGE-SECRET-KEY-1").expect("an identity");
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    // The last six letters are the checksum.
    for letter in data[..data.len() - 6].chars() {
        bits = (bits << 5 | LETTERS.find(letter).expect("a letter of Bech32") as u32) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    assert_eq!(bytes.len(), 32, "{identity}");
    bytes
}

impl Stores {
    pub fn of(machine: &Machine) -> Self {
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
        Self {
            slot,
            vault_key: key(1),
            depot_key: key(33),
            vault: store("a"),
            depot: store("b"),
            kek: text.to_owned(),
            opened: [payload, keys].concat(),
        }
    }

    /// The keys that open the vault and what is in it, as they lie in memory. The depot's is not among them.
    pub fn keys(&self) -> Vec<Canary> {
        vec![
            Canary::bytes("the vault's key", &self.vault_key),
            Canary::bytes("the slot's identity", &raw(&self.kek)),
        ]
    }

    /// The depot's key, which its daemon has.
    pub fn depot_key(&self) -> Canary {
        Canary::bytes("the depot's key", &self.depot_key)
    }

    fn depot(&self) -> SqlDepot {
        SqlDepot::open(&self.depot, &DepotKey::new(self.depot_key)).expect("the depot opens")
    }
}

/// Every value of every table of the vault and the depot, and the header and body of every entry in the depot that
/// opens with any identity in the vault.
pub struct Image {
    pub bytes: Vec<u8>,
    pub opened: usize,
    pub held: usize,
    /// The reports of the entries that open, answers to authors by what is in them.
    pub reports: BTreeSet<String>,
    pub device: DeviceSecret,
    identities: Vec<ReadingIdentity>,
}

impl Image {
    pub fn of(machine: &Machine) -> Self {
        let stores = Stores::of(machine);
        let mut bytes = stores.opened.clone();
        let vault = cipher::open_database(&stores.vault, &stores.vault_key, false).expect("the vault opens");
        dump(&vault, &mut bytes);
        let device: Vec<u8> = vault
            .query_row("SELECT value FROM meta WHERE name = 'device'", [], |row| row.get(0))
            .expect("the device's keys");
        drop(vault);
        let device = DeviceSecret::from_bytes(&device).expect("the device's keys");
        let mut identities = vec![device.identity().clone()];
        // What an opened entry holds may open others: a grant, for one.
        let opened = loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let known: Vec<String> = identities.iter().map(|one| one.to_text().to_string()).collect();
            let mut more: Vec<&str> = text
                .match_indices("AGE-SECRET-KEY-1")
                .filter_map(|(at, _)| text.get(at..at + 74))
                .filter(|found| !known.iter().any(|known| known == found))
                .collect();
            more.sort_unstable();
            more.dedup();
            let before = identities.len();
            identities.extend(more.into_iter().filter_map(|text| ReadingIdentity::parse(text).ok()));
            let opened = open_all(&stores.depot(), &identities);
            if identities.len() == before && before > 1 || bytes.ends_with(&opened.bytes) {
                break opened;
            }
            bytes.extend_from_slice(&opened.bytes);
        };
        let depot = cipher::open_database(&stores.depot, &stores.depot_key, false).expect("the depot opens");
        dump(&depot, &mut bytes);
        let Opened { opened, held, reports, .. } = opened;
        Self { bytes, opened, held, reports, device, identities }
    }

    /// The secrets by which this device signs and reads, as they lie in memory.
    pub fn keys(&self) -> Vec<Canary> {
        let identities = self.identities.iter().enumerate();
        let identities =
            identities.map(|(n, one)| Canary::bytes(&format!("identity {n}"), &raw(one.to_text().as_str())));
        let signing = Canary::bytes("the device's signing key", &self.device.to_bytes()[..32]);
        iter::once(signing).chain(identities).collect()
    }

    /// Which of these words stand in it.
    pub fn words<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        found(&self.bytes, words)
    }

    /// What the keys on this machine open of what another one carries.
    pub fn opens_of(&self, other: &Machine) -> Opened {
        open_all(&Stores::of(other).depot(), &self.identities)
    }
}

/// What some identities open in a depot.
pub struct Opened {
    pub bytes: Vec<u8>,
    pub opened: usize,
    pub held: usize,
    pub reports: BTreeSet<String>,
}

fn found<'a>(bytes: &[u8], words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().filter(|word| Canary::word(word).find(bytes).is_some()).collect()
}

fn open_all(depot: &SqlDepot, identities: &[ReadingIdentity]) -> Opened {
    let identities: Vec<&ReadingIdentity> = identities.iter().collect();
    let mut all = Opened { bytes: Vec::new(), opened: 0, held: 0, reports: BTreeSet::new() };
    for (_, sealed) in depot.arrivals_with_bytes(0, 100_000, u64::MAX).expect("the entries") {
        let Some(sealed) = sealed else { continue };
        all.held += 1;
        let sealed = SealedEntry::parse(sealed).expect("an entry");
        if let Ok(entry) = fieldbook_seal::decrypt(&sealed, &identities) {
            all.opened += 1;
            let header = entry.header();
            all.bytes.extend_from_slice(header.device.as_bytes());
            for reader in &header.audience.readers {
                all.bytes.extend_from_slice(reader.as_bytes());
            }
            // An answer is sealed once more inside. The words of a change are mostly deflated: whether an entry
            // opens is what counts.
            let inner = SealedEntry::parse(entry.claimed_body().to_vec()).ok();
            let shut = |sealed: &SealedEntry| fieldbook_seal::decrypt(sealed, &identities).is_err();
            if let Some(report) = header.report {
                all.bytes.extend_from_slice(report.as_bytes());
                if header.kind != Kind::Return || !inner.as_ref().is_some_and(shut) {
                    all.reports.insert(report.to_string());
                }
            }
            all.bytes.extend_from_slice(entry.claimed_body());
        }
    }
    all
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

/// None of these words on the whole machine, open or shut.
#[track_caller]
pub fn assert_nowhere(machine: &Machine, words: &[&str]) {
    assert_eq!(Image::of(machine).words(words), Vec::<&str>::new(), "in the opened stores");
    let canaries: Vec<Canary> = words.iter().chain(&["Canarycam"]).map(|word| Canary::word(word)).collect();
    let dirs = ["vault", "home", "run", "tmp"].map(|dir| machine.root().join(dir));
    let roots: Vec<&Path> = dirs.iter().map(|dir| dir.as_path()).collect();
    let found = traces::search(&roots, &canaries);
    assert!(found.is_empty(), "{found:#?}");
}
