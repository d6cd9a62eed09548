//! Any interleaving of edits and syncs among two to five devices ends, once all have synced, with the same
//! documents on every device that may read them, and every value that anybody ever wrote in their histories.
//!
//! The vaults and depots are the real ones, on disk; only the network is left out: entries are carried from one
//! depot to another by hand. `PROPTEST_CASES` sets the number of histories.

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_proto::{DeviceId, ReportId, certificate::Role};
use fieldbook_report::{Edit, Keep, ReportInput, parse_person};
use fieldbook_vault::{CreateOptions, ListFilter, Passphrase, Vault};
use proptest::prelude::*;
use tempfile::TempDir;

/// One act of one device. Numbers choose among what is there at the time.
#[derive(Debug, Clone)]
enum Act {
    Write(usize),
    Edit {
        device: usize,
        report: usize,
        what: usize,
        at: usize,
    },
    Finish {
        device: usize,
        report: usize,
    },
    Resolve {
        device: usize,
        both: bool,
    },
    /// One depot gives another all that it lacks.
    Carry {
        from: usize,
        to: usize,
    },
    Absorb(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let any = || 0..64_usize;
    prop_oneof![
        2 => any().prop_map(Act::Write),
        8 => (any(), any(), any(), any()).prop_map(|(device, report, what, at)| Act::Edit { device, report, what, at }),
        3 => (any(), any()).prop_map(|(device, report)| Act::Finish { device, report }),
        1 => (any(), proptest::bool::ANY).prop_map(|(device, both)| Act::Resolve { device, both }),
        5 => (any(), any()).prop_map(|(from, to)| Act::Carry { from, to }),
        4 => any().prop_map(Act::Absorb),
    ]
}

struct Device {
    vault: Vault,
    /// A second hand on the same depot, as the network process has.
    depot: SqlDepot,
    role: Role,
    id: DeviceId,
    _dir: TempDir,
}

struct World {
    devices: Vec<Device>,
    /// Every value that was written, by report; values are never repeated.
    written: BTreeMap<ReportId, BTreeSet<String>>,
    count: usize,
}

fn device(name: &str, role: Role) -> Device {
    let dir = tempfile::tempdir().expect("a directory");
    let passphrase = Passphrase::new(format!("of {name}"));
    let options =
        CreateOptions { name: name.to_owned(), work_factor: Some(fieldbook_vault::WORK_FACTOR_MIN) };
    Vault::create(dir.path(), &passphrase, &options).expect("a vault");
    let vault = Vault::open(dir.path(), &passphrase).expect("its vault");
    let key: DepotKey = vault.depot_key();
    let depot = SqlDepot::open(&vault.depot_path(), &key).expect("its depot");
    let id = vault.device().id.parse().expect("its id");
    Device { vault, depot, role, id, _dir: dir }
}

impl World {
    fn new(coordinators: usize, monitors: usize) -> Self {
        let roles = [vec![Role::Coordinator; coordinators], vec![Role::Monitor; monitors]].concat();
        let mut devices: Vec<Device> = std::thread::scope(|scope| {
            let handles: Vec<_> = roles
                .iter()
                .enumerate()
                .map(|(number, role)| scope.spawn(move || device(&format!("Device {number}"), *role)))
                .collect();
            handles.into_iter().map(|handle| handle.join().expect("a device")).collect()
        });
        let (first, others) = devices.split_at_mut(1);
        first[0].vault.create_team("Team").expect("a team");
        for other in others {
            let admission =
                first[0].vault.admit(&other.vault.join_request(), other.role).expect("an admission");
            other.vault.adopt(&admission).expect("its place in the team");
        }
        Self { devices, written: BTreeMap::new(), count: 0 }
    }

    fn fresh(&mut self, report: &ReportId, word: &str) -> String {
        self.count += 1;
        let value = format!("{word}{:04}", self.count);
        self.written.entry(*report).or_default().insert(value.clone());
        value
    }

    fn reports(&self, device: usize) -> Vec<ReportId> {
        let list = self.devices[device].vault.list(&ListFilter::default()).expect("a list");
        list.iter().map(|summary| summary.id.parse().expect("an id")).collect()
    }

    fn act(&mut self, act: &Act) {
        let count = self.devices.len();
        match *act {
            Act::Write(device) => {
                self.count += 1;
                let title = format!("title{:04}", self.count);
                let input = ReportInput {
                    template: "detention".into(),
                    title: title.clone(),
                    language: "en".into(),
                    narrative: "It was a clear day in spring.".into(),
                    ..ReportInput::default()
                };
                let summary = self.devices[device % count].vault.create_report(&input).expect("a report");
                self.written.entry(summary.id.parse().expect("an id")).or_default().insert(title);
            }
            Act::Edit { device, report, what, at } => {
                let device = device % count;
                let Some(id) = self.choose(device, report) else { return };
                let edit = self.edit(device, &id, what, at);
                self.devices[device].vault.edit(id, &[edit]).expect("an edit");
            }
            Act::Finish { device, report } => {
                let device = device % count;
                let Some(id) = self.choose(device, report) else { return };
                // Others' reports are finished already: then it is refused or nothing.
                drop(self.devices[device].vault.finish(id, true));
            }
            Act::Resolve { device, both } => self.resolve(device % count, both),
            Act::Carry { from, to } => self.carry(from % count, to % count),
            Act::Absorb(device) => {
                self.absorb(device % count);
            }
        }
    }

    fn choose(&self, device: usize, report: usize) -> Option<ReportId> {
        let reports = self.reports(device);
        (!reports.is_empty()).then(|| reports[report % reports.len()])
    }

    fn edit(&mut self, device: usize, id: &ReportId, what: usize, at: usize) -> Edit {
        match what % 6 {
            0 => Edit::Title(self.fresh(id, "title")),
            1 | 2 => {
                let value = self.fresh(id, "authority");
                Edit::Field { name: "authority".into(), value: Some(value.as_str().into()) }
            }
            3 => Edit::AddSource(self.fresh(id, "source")),
            4 => {
                let name = self.fresh(id, "person");
                let person =
                    parse_person(&format!("name={name},role=witness"), format!("{:08x}", self.count));
                Edit::AddPerson(person.expect("a person"))
            }
            _ => {
                // Between two words: a word that two devices insert into is still two words.
                let narrative = self.devices[device].vault.show(*id).expect("the report").content.narrative;
                let mut words: Vec<&str> = narrative.split(' ').collect();
                let word = self.fresh(id, "word");
                words.insert(at % (words.len() + 1), &word);
                Edit::Narrative(words.join(" "))
            }
        }
    }

    fn resolve(&mut self, device: usize, both: bool) {
        let vault = &mut self.devices[device].vault;
        let conflicts = vault.conflicts().expect("the clashes");
        let Some((id, clash)) =
            conflicts.iter().find_map(|report| Some((&report.id, report.clashes.first()?)))
        else {
            return;
        };
        let keep = match clash.values.first().map(|value| value.value.to_json()) {
            Some(serde_json::Value::String(text)) if !both => Keep::Value(text),
            _ => Keep::Both,
        };
        // A value may be the beginning of another: then the person would say more.
        drop(vault.resolve(id.parse().expect("an id"), &clash.field, &keep));
    }

    fn carry(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.devices[from].vault.flush().expect("a flush");
        let (giver, taker) = (&self.devices[from], &self.devices[to]);
        let all = giver.depot.arrivals_with_bytes(0, usize::MAX >> 1, u64::MAX >> 1).expect("what it has");
        let batch: Vec<Incoming<'_>> = all
            .iter()
            .filter_map(|(arrival, bytes)| {
                Some(Incoming { id: arrival.id, bytes: bytes.as_deref()?, from: Source::Peer(giver.id) })
            })
            .collect();
        let summary = taker.depot.put(&batch).expect("a place");
        assert!(summary.refused.is_empty(), "{summary:?}");
    }

    /// Whether anything came of it.
    fn absorb(&mut self, device: usize) -> bool {
        let summary = self.devices[device].vault.absorb().expect("what arrived");
        assert!(summary.problems.is_empty(), "device {device}: {:?}", summary.problems);
        summary.opened > 0
    }

    /// Everybody syncs with everybody until nothing moves.
    fn settle(&mut self) {
        for _ in 0..12 {
            let mut moved = false;
            for from in 0..self.devices.len() {
                for to in 0..self.devices.len() {
                    self.carry(from, to);
                }
            }
            for device in 0..self.devices.len() {
                moved |= self.absorb(device);
            }
            if !moved {
                return;
            }
        }
        panic!("the devices never come to rest");
    }

    fn check(&self) {
        let fingerprints: BTreeSet<String> = self
            .devices
            .iter()
            .map(|device| format!("{:?}", device.depot.fingerprint().expect("a fingerprint")))
            .collect();
        assert_eq!(fingerprints.len(), 1, "the depots differ");
        for (id, values) in &self.written {
            let author = self
                .devices
                .iter()
                .position(|device| device.vault.summary(*id).is_ok_and(|summary| summary.mine))
                .expect("its author has it");
            let finished = self.devices[author].vault.summary(*id).expect("it").state == "finished";
            let (content, history) = self.version(author, id);
            for (number, device) in self.devices.iter().enumerate() {
                let reads = number == author || (finished && device.role == Role::Coordinator);
                assert_eq!(
                    device.vault.summary(*id).is_ok(),
                    reads,
                    "device {number} and {id} (finished: {finished})"
                );
                if reads {
                    let other = self.version(number, id);
                    assert_eq!(content, other.0, "device {author} and {number} see {id} differently");
                    assert_eq!(history, other.1, "device {author} and {number} have other histories of {id}");
                }
            }
            let told = format!("{:?}", self.devices[author].vault.history(*id).expect("a history"));
            for value in values {
                assert!(told.contains(value), "{value} is lost from {id}");
            }
        }
    }

    /// What a device shows of a report, clashes included, and the hashes of all changes it knows.
    fn version(&self, device: usize, id: &ReportId) -> (String, BTreeSet<String>) {
        let vault = &self.devices[device].vault;
        let shown = vault.show(*id).expect("the report");
        let values: Vec<Vec<String>> = shown
            .clashes
            .iter()
            .map(|clash| {
                let mut values: Vec<String> =
                    clash.values.iter().map(|value| value.value.to_json().to_string()).collect();
                values.sort();
                values
            })
            .collect();
        let content = serde_json::to_string(&shown.content).expect("JSON");
        let hashes =
            vault.history(*id).expect("a history").into_iter().map(|item| item.change.hash).collect();
        (format!("{content} {values:?}"), hashes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(16),
        max_shrink_iters: 40,
        // Each history is short enough to read; a failing one is printed whole.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_interleaving_of_edits_and_syncs_converges_and_loses_nothing(
        (coordinators, monitors) in (1..=2_usize, 1..=3_usize),
        acts in prop::collection::vec(act(), 10..60),
    ) {
        let mut world = World::new(coordinators, monitors);
        // Something to work on from the beginning.
        for device in 0..world.devices.len() {
            world.act(&Act::Write(device));
            world.act(&Act::Finish { device, report: 0 });
        }
        for act in &acts {
            world.act(act);
        }
        world.settle();
        world.check();
    }
}

#[test]
fn a_value_that_is_lost_would_be_noticed() {
    // The test of the test: a report that never left its author is not on the coordinator's device.
    let mut world = World::new(1, 1);
    world.act(&Act::Write(1));
    world.settle();
    world.check();
    world.act(&Act::Finish { device: 1, report: 0 });
    world.devices[1].vault.flush().expect("a flush");
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
    assert!(noticed.is_err(), "a finished report that has not arrived was not noticed");
    world.settle();
    world.check();
}
