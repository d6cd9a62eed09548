// Devices of one team, their depots exchanged by hand. Included by the tests that need several.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;

use fieldbook_depot::{Depot, Incoming, Source, SqlDepot};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_report::ReportInput;
use fieldbook_vault::{CreateOptions, Passphrase, Vault};
use tempfile::TempDir;

const PASSPHRASE: &str = "not a secret";

pub struct Device {
    pub dir: TempDir,
    pub vault: Vault,
}

impl Device {
    pub fn id(&self) -> DeviceId {
        self.vault.device().id.parse().unwrap()
    }

    pub fn depot(&self) -> SqlDepot {
        SqlDepot::open(&self.vault.depot_path(), &self.vault.depot_key()).unwrap()
    }

    pub fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> =
            self.vault.list(&Default::default()).unwrap().into_iter().map(|report| report.title).collect();
        titles.sort();
        titles
    }

    pub fn acts(&self, kind: &str) -> Vec<String> {
        let log = self.vault.log().unwrap();
        log.into_iter().filter(|act| act.kind == kind).filter_map(|act| act.subject).collect()
    }

    pub fn write(&mut self, title: &str) -> ReportId {
        let json = format!(
            r#"{{"template":"detention","title":"{title}","language":"en",
                "fields":{{"date":"2017-03-25","people_detained":57}},"narrative":"Taken to buses."}}"#
        );
        let input = ReportInput::from_json(&json).unwrap();
        self.vault.create_report(&input).unwrap().id.parse().unwrap()
    }

    pub fn report(&mut self, title: &str) -> ReportId {
        let id = self.write(title);
        self.vault.finish(id, true).unwrap();
        id
    }
}

pub fn open(dir: &Path) -> Vault {
    Vault::open(dir, &Passphrase::new(PASSPHRASE.into())).unwrap()
}

pub fn device(name: &str) -> Device {
    let dir = tempfile::tempdir().unwrap();
    let options = CreateOptions { name: name.into(), work_factor: Some(15) };
    Vault::create(dir.path(), &Passphrase::new(PASSPHRASE.into()), &options).unwrap();
    Device { vault: open(dir.path()), dir }
}

pub fn founder() -> Device {
    let mut founder = device("Coordination");
    founder.vault.create_team("Minsk 2017").unwrap();
    founder
}

pub fn admit(by: &mut Device, name: &str, role: Role) -> Device {
    let mut device = device(name);
    let admission = by.vault.admit(&device.vault.join_request(), role).unwrap();
    device.vault.adopt(&admission).unwrap();
    device
}

pub fn admit_to_new_desk(by: &mut Device, name: &str) -> Device {
    let mut device = device(name);
    let admission = by.vault.admit_to_new_desk(&device.vault.join_request()).unwrap();
    device.vault.adopt(&admission).unwrap();
    device
}

/// Copies what `from` holds and `to` does not know, as a sync would.
pub fn carry(from: &Device, to: &Device) {
    let (source, target) = (from.depot(), to.depot());
    for (arrival, bytes) in source.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let Some(bytes) = bytes else { continue };
        let incoming = Incoming { id: arrival.id, bytes: &bytes, from: Source::Peer(from.id()) };
        target.put(&[incoming]).unwrap();
    }
}

/// Everybody syncs with everybody, until nothing moves.
pub fn sync(devices: &mut [&mut Device]) {
    for _ in 0..4 {
        for from in 0..devices.len() {
            for to in 0..devices.len() {
                if from != to {
                    carry(devices[from], devices[to]);
                }
            }
        }
        for device in devices.iter_mut() {
            device.vault.absorb().unwrap();
        }
    }
    // Whoever has everything misses nothing, whatever else happened.
    for device in devices {
        let missing = device.vault.status().unwrap().missing;
        assert!(missing.is_empty(), "{}: {missing:?}", device.vault.device().name);
    }
}
