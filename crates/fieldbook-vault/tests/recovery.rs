//! Recovery sheets without any program or network: what the vault promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fieldbook_depot::{Depot, Incoming, Source, SqlDepot};
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::pairing::Admission;
use fieldbook_report::ReportInput;
use fieldbook_seal::body::Grant;
use fieldbook_seal::recovery::{Share, combine};
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind, decrypt, seal};
use fieldbook_vault::{CreateOptions, Passphrase, Vault, VaultError};
use tempfile::TempDir;

struct Device {
    _dir: TempDir,
    vault: Vault,
}

impl Device {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let passphrase = Passphrase::new("not a secret".into());
        let options = CreateOptions { name: name.into(), work_factor: Some(15) };
        Vault::create(dir.path(), &passphrase, &options).unwrap();
        Self { vault: Vault::open(dir.path(), &passphrase).unwrap(), _dir: dir }
    }

    fn id(&self) -> DeviceId {
        self.vault.device().id.parse().unwrap()
    }

    fn depot(&self) -> SqlDepot {
        SqlDepot::open(&self.vault.depot_path(), &self.vault.depot_key()).unwrap()
    }

    /// Writes and finishes a report.
    fn write(&mut self, title: &str) {
        let input = format!(r#"{{"template":"detention","title":"{title}"}}"#);
        let id = self.vault.create_report(&ReportInput::from_json(&input).unwrap()).unwrap().id;
        self.vault.finish(id.parse().unwrap(), true).unwrap();
    }

    fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> =
            self.vault.list(&Default::default()).unwrap().into_iter().map(|report| report.title).collect();
        titles.sort();
        titles
    }

    fn joins(&mut self, coordinator: &mut Self, role: Role) {
        let admission = coordinator.vault.admit(&self.vault.join_request(), role).unwrap();
        self.vault.adopt(&admission).unwrap();
    }

    /// Whether its people have this one as a member with this role.
    fn knows(&self, label: &str) -> Option<(String, String)> {
        let people = self.vault.people().unwrap();
        people.into_iter().find(|member| member.label == label).map(|member| (member.role, member.state))
    }
}

fn carry(from: &Device, to: &Device) {
    let (source, target) = (from.depot(), to.depot());
    for (arrival, bytes) in source.arrivals_with_bytes(0, 100_000, u64::MAX).unwrap() {
        let Some(bytes) = bytes else { continue };
        let incoming = Incoming { id: arrival.id, bytes: &bytes, from: Source::Peer(from.id()) };
        target.put(&[incoming]).unwrap();
    }
}

fn sync(a: &mut Device, b: &mut Device) {
    for _ in 0..3 {
        carry(a, b);
        carry(b, a);
        a.vault.absorb().unwrap();
        b.vault.absorb().unwrap();
    }
    for device in [a, b] {
        let missing = device.vault.status().unwrap().missing;
        assert!(missing.is_empty(), "{}: {missing:?}", device.vault.device().name);
    }
}

/// A coordinator with sheets, two of three, and a monitor.
fn desk() -> (Device, Device, Vec<Share>) {
    let mut coordination = Device::new("Coordination");
    coordination.vault.create_team("Minsk 2017").unwrap();
    let mut monitor = Device::new("Monitor");
    monitor.joins(&mut coordination, Role::Monitor);
    monitor.write("Before the sheets");
    sync(&mut monitor, &mut coordination);
    let sheets = coordination.vault.create_recovery(2, 3).unwrap();
    sync(&mut monitor, &mut coordination);
    (coordination, monitor, sheets)
}

fn expect_member(device: &Device, label: &str, role: &str, state: &str) {
    assert_eq!(device.knows(label), Some((role.to_owned(), state.to_owned())), "{label}");
}

#[test]
fn the_last_coordinator_is_lost_and_another_device_takes_its_place() {
    let (mut lost, mut monitor, sheets) = desk();
    monitor.write("After the sheets");
    lost.write("By the coordinator");
    sync(&mut monitor, &mut lost);

    let mut desk = Device::new("New desk");
    carry(&monitor, &desk);
    let done = desk.vault.restore_recovery(&sheets[1..]).unwrap();
    assert!(done.joined);
    assert_eq!(desk.titles(), ["After the sheets", "Before the sheets", "By the coordinator"]);
    for coordinator in ["New desk", "Coordination", "recovery sheets"] {
        expect_member(&desk, coordinator, "coordinator", "member");
    }
    expect_member(&desk, "Monitor", "monitor", "member");
    let status = desk.vault.status().unwrap();
    assert!(status.problems.is_empty(), "{:?}", status.problems);

    // The monitor hears of it from the new device alone, writes on, and gets its receipt.
    sync(&mut monitor, &mut desk);
    expect_member(&monitor, "New desk", "coordinator", "member");
    monitor.write("A week later");
    sync(&mut monitor, &mut desk);
    assert!(desk.titles().contains(&"A week later".to_owned()));
    let mine = monitor.vault.list(&Default::default()).unwrap();
    let received = |title: &str| {
        let report = mine.iter().find(|report| report.title == title).unwrap();
        report.delivery.holders.iter().any(|holder| holder.name == "New desk")
    };
    assert!(received("A week later") && received("Before the sheets"), "{mine:?}");
    // The lost device, were it still in the team, would not read it: the desk's key was rotated.
    carry(&monitor, &lost);
    lost.vault.absorb().unwrap();

    // Removed, it stays out, and what it had certified stands.
    desk.vault.remove_device(lost.id(), true).unwrap();
    sync(&mut monitor, &mut desk);
    expect_member(&desk, "Coordination", "coordinator", "lost");
    for (label, role) in
        [("New desk", "coordinator"), ("recovery sheets", "coordinator"), ("Monitor", "monitor")]
    {
        expect_member(&desk, label, role, "member");
    }
    expect_member(&monitor, "New desk", "coordinator", "member");
    monitor.write("After the removal");
    sync(&mut monitor, &mut desk);
    assert!(desk.titles().contains(&"After the removal".to_owned()));
    carry(&monitor, &lost);
    lost.vault.absorb().unwrap();
    assert!(!lost.titles().contains(&"After the removal".to_owned()));

    // The same sheets once more: all of it, the later epochs too.
    let mut second = Device::new("Second");
    carry(&monitor, &second);
    second.vault.restore_recovery(&sheets[..2]).unwrap();
    assert_eq!(second.titles(), desk.titles());
    expect_member(&second, "Coordination", "coordinator", "lost");
    expect_member(&second, "New desk", "coordinator", "member");
}

#[test]
fn a_charter_that_the_sheets_did_not_sign_is_not_believed() {
    let (_lost, monitor, sheets) = desk();
    // A monitor founds a team of its own and writes a charter of it, sealed to the sheets.
    let mut forger = Device::new("Forger");
    forger.vault.create_team("Minsk 2017").unwrap();
    let secret = combine(&sheets[..2]).unwrap();
    let paper = secret.paper_device();
    let request = fieldbook_proto::pairing::JoinRequest {
        keys: paper.keys(),
        name: "recovery sheets".into(),
        former: None,
    };
    let charter: Admission = forger.vault.admit(&request, Role::Coordinator).unwrap();
    let writer = DeviceSecret::generate([1; 32], [2; 32]);
    let body = Grant { charter: Some(charter.encode()), ..Grant::default() }.encode();
    let mut forged = Vec::new();
    for device in [writer.id(), paper.id()] {
        let header = Header {
            kind: Kind::Grant,
            device,
            sequence: 1,
            previous: None,
            time_ms: i64::MAX / 2,
            report: None,
            audience: Audience::default(),
        };
        // With its own name, or with the paper device's and a signature that is not.
        forged.extend(seal(&header, &body, &writer, &[paper.keys().recipient]));
    }
    let desk = Device::new("New desk");
    for sealed in &forged {
        assert!(decrypt(sealed, &[&secret.identity()]).is_ok());
        let incoming = Incoming { id: sealed.id(), bytes: sealed.as_bytes(), from: Source::Bundle };
        desk.depot().put(&[incoming]).unwrap();
    }
    let mut desk = desk;
    assert!(matches!(desk.vault.restore_recovery(&sheets[..2]), Err(VaultError::NoCharter)));
    carry(&monitor, &desk);
    desk.vault.restore_recovery(&sheets[..2]).unwrap();
    assert_eq!(desk.titles(), ["Before the sheets"]);
}

#[test]
fn sheets_that_were_replaced_open_what_was_and_give_no_authority() {
    let (mut coordination, mut monitor, old) = desk();
    let new = coordination.vault.create_recovery(2, 2).unwrap();
    sync(&mut monitor, &mut coordination);
    monitor.write("After the replacement");
    sync(&mut monitor, &mut coordination);
    let check = coordination.vault.check_recovery(&old[..2]).unwrap();
    assert!(!check.current && check.charter && check.opens > 0 && check.opens < check.entries, "{check:?}");
    let check = coordination.vault.check_recovery(&new).unwrap();
    assert!(check.current && check.charter && check.opens < check.entries, "{check:?}");

    // Whoever kept the old sheets reads what was written before, and nobody listens to the device.
    let mut thief = Device::new("Thief");
    carry(&monitor, &thief);
    thief.vault.restore_recovery(&old[..2]).unwrap();
    assert_eq!(thief.titles(), ["Before the sheets"]);
    sync(&mut thief, &mut monitor);
    assert_eq!(monitor.knows("Thief"), None);
    monitor.write("Much later");
    sync(&mut monitor, &mut coordination);
    sync(&mut thief, &mut monitor);
    assert_eq!(thief.titles(), ["Before the sheets"]);
    sync(&mut coordination, &mut thief);
    assert_eq!(coordination.knows("Thief"), None);

    let mut desk = Device::new("New desk");
    carry(&monitor, &desk);
    desk.vault.restore_recovery(&new).unwrap();
    assert_eq!(desk.titles(), ["After the replacement", "Before the sheets", "Much later"]);
}

#[test]
fn the_newcomer_at_a_desk_reads_with_sheets_what_was_before_it() {
    let (mut first, mut monitor, sheets) = desk();
    let mut second = Device::new("Second");
    second.joins(&mut first, Role::Coordinator);
    sync(&mut second, &mut first);
    sync(&mut second, &mut monitor);
    assert_eq!(second.titles(), Vec::<String>::new());
    let done = second.vault.restore_recovery(&sheets[1..]).unwrap();
    assert_eq!((done.joined, done.new_reports), (false, 1));
    assert_eq!(second.titles(), ["Before the sheets"]);
    assert!(matches!(monitor.vault.restore_recovery(&sheets), Err(VaultError::NotCoordinator)));
    let (mut other, _, _) = desk();
    assert!(matches!(other.vault.restore_recovery(&sheets), Err(VaultError::OtherSheets)));
}
