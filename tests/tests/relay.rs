//! A relay: whoever is never online together exchanges through it, and its operator sees numbers only.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldbook_tests::{Machine, Running, free_port, pair, run, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::image::assert_nowhere;
use crate::making::{film, finished, with_film};
use crate::reading::{ids, word_of_delivery};

/// What nobody who runs a relay may ever read there.
const SECRETS: [&str; 5] =
    ["Zebra crossing", "Okapi-Monitor", "Narwhal-Coordination", "Quokka team", "Lemur desk"];

/// A coordinator and a monitor, whose names can be found again.
fn team() -> (Machine, Machine) {
    let (coordinator, monitor) =
        (Machine::with_vault("Narwhal-Coordination"), Machine::with_vault("Okapi-Monitor"));
    coordinator.ok(&["team", "create", "Quokka team"]);
    coordinator.ok(&["team", "name-desk", "Lemur desk"]);
    pair(&coordinator, &monitor, "monitor");
    (coordinator, monitor)
}

/// A relay of the team, as its operator makes it with the code.
pub(crate) fn relay_of(coordinator: &Machine, policy: &[&str]) -> Machine {
    let relay = Machine::new("Relay");
    let address = format!("127.0.0.1:{}", free_port());
    let mut invitation =
        coordinator.start(&["team", "invite", "--listen", &address, "--yes", "--role", "relay"]);
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let listen = format!("127.0.0.1:{}", free_port());
    let how = ["relay", "init", &code, "--at", &address, "--yes", "--work-factor", "15", "--listen", &listen];
    let made = relay.json(&[&how[..], policy].concat());
    assert!(made.iter().any(|line| line["event"] == "relay"), "{made:?}");
    let end = invitation.ends();
    assert!(end.success(), "{}", invitation.err());
    relay
}

/// `relay run`, already listening.
pub(crate) struct Runs {
    process: Running,
    pub(crate) address: String,
}

pub(crate) fn runs(relay: &Machine) -> Runs {
    let mut process = relay.start(&["relay", "run"]);
    let address = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    Runs { process, address }
}

impl Runs {
    /// Ends it as the system's manager does.
    pub(crate) fn ends(mut self) {
        self.process.signal(Signal::TERM);
        let end = self.process.ends();
        assert!(end.success(), "{end:?}: {}", self.process.err());
    }
}

/// Syncs with the relay, and takes in what came.
#[track_caller]
fn sync(machine: &Machine, relay: &Runs) -> Value {
    sync_that_ends(machine, relay, 0)
}

/// As [`sync`], with another end: 3 if the relay did not take everything.
#[track_caller]
fn sync_that_ends(machine: &Machine, relay: &Runs, code: i32) -> Value {
    let said = machine.run(&["--json", "sync", "--with", &relay.address]).exits(code);
    said.lines().pop().expect("a word on the sync")
}

/// How a relay stands, for its operator.
#[track_caller]
fn status(relay: &Machine) -> Value {
    relay.json(&["relay", "status"]).remove(0)
}

pub(crate) fn delivery(machine: &Machine, id: &str) -> Value {
    machine.show(id)["summary"]["delivery"].clone()
}

/// What a relay started ends with it; an agent that has said that it closed the vault may need a moment more.
fn nothing_runs(machine: &Machine) {
    machine.rests();
}

#[test]
fn a_monitor_and_a_coordinator_who_never_meet_exchange_through_a_relay() {
    let (coordinator, monitor) = team();
    let relay = relay_of(&coordinator, &[]);
    let at = runs(&relay);
    let id = finished(&monitor, "Zebra crossing");
    assert_eq!(word_of_delivery(&monitor, &id), "only here");
    sync(&monitor, &at);
    let on_its_way = delivery(&monitor, &id);
    assert_eq!(on_its_way["word"], "carried", "{on_its_way}");
    let since = on_its_way["relays"][0]["time_ms"].as_i64().expect("since when");
    assert!(since > 1_490_000_000_000, "{on_its_way}");
    assert!(monitor.ok(&["list"]).out().contains("on the relay since 20"));
    assert!(monitor.ok(&["status"]).out().contains("1   finished and on a relay"));
    // Later syncs do not make it younger or older.
    finished(&monitor, "Another");
    sync(&monitor, &at);
    assert_eq!(delivery(&monitor, &id)["relays"][0]["time_ms"], since);

    sync(&coordinator, &at);
    assert_eq!(ids(&coordinator).len(), 2);
    // The receipt was made when the entries had come; it travels with the next sync, by way of the relay.
    sync(&coordinator, &at);
    sync(&monitor, &at);
    let received = delivery(&monitor, &id);
    assert_eq!((&received["word"], &received["relays"][0]["time_ms"]), (&"received".into(), &since.into()));
    assert!(monitor.ok(&["show", &id]).out().contains("received by Narwhal-Coordination at 20"));
    coordinator.ok(&["edit", &id, "--title", "Zebra crossing, twice"]);
    sync(&coordinator, &at);
    sync(&monitor, &at);
    assert_eq!(monitor.show(&id)["content"]["title"], "Zebra crossing, twice");

    // Whoever runs it sees numbers.
    let seen = status(&relay);
    assert_eq!(
        (&seen["synced"]["coordinators"], &seen["synced"]["monitors"]),
        (&1.into(), &1.into()),
        "{seen}"
    );
    assert!(seen["entries"].as_u64().is_some_and(|entries| entries >= 4), "{seen}");
    assert!(seen["room"].as_u64().is_some_and(|room| room > 1 << 20) && seen["full"] == false, "{seen}");
    assert!(seen["running"]["sessions_done"].as_u64().is_some_and(|done| done >= 5), "{seen}");
    assert!(at.process.err().is_empty(), "{}", at.process.err());
    let devices: Vec<String> = [&coordinator, &monitor]
        .map(|machine| machine.json(&["status"])[0]["device"]["id"].as_str().expect("an id")[..8].to_owned())
        .to_vec();
    let mut words = SECRETS.to_vec();
    words.extend(devices.iter().map(String::as_str));
    let mut said = relay.ok(&["relay", "status"]).out();
    said += &seen.to_string();
    said += &relay.ok(&["relay", "gc", "--dry-run"]).out();
    let mut at = at;
    at.process.signal(Signal::TERM);
    assert!(at.process.ends().success());
    said += &at.process.rest().concat();
    assert!(said.contains("session with a device of the team") && !said.contains("a coordinator"), "{said}");
    for word in words {
        assert!(!said.contains(word), "the operator reads {word:?}: {said}");
    }
    // Nor can it be read with all of the relay's keys, in whatever it has on its disk.
    assert_nowhere(&relay, &SECRETS);
    let again = status(&relay);
    assert_eq!((&again["entries"], &again["running"]), (&seen["entries"], &Value::Null), "not running");
}

#[test]
fn a_relay_is_given_no_key_that_opens_a_report_and_no_name() {
    let (coordinator, monitor) = team();
    let second = Machine::with_vault("Second-Coordinator");
    pair(&coordinator, &second, "coordinator");
    let relay = relay_of(&coordinator, &[]);
    let at = runs(&relay);
    finished(&monitor, "Zebra crossing");
    sync(&monitor, &at);
    // What is told later: a new name of the desk, a new coordinator, a removal with its new epochs.
    coordinator.ok(&["team", "name-desk", "Gibbon desk"]);
    let third = Machine::with_vault("Third-Coordinator");
    pair(&coordinator, &third, "coordinator");
    let gone = Machine::with_vault("Dummy-Device");
    pair(&coordinator, &gone, "monitor");
    coordinator.ok(&["team", "remove", "Dummy-Device", "--yes"]);
    sync(&coordinator, &at);
    sync(&monitor, &at);
    // It has heard of all that, or it could not serve them.
    sync(&third, &at);
    at.ends();
    let words = ["Second-Coordinator", "Third-Coordinator", "Gibbon desk", "Dummy-Device"];
    assert_nowhere(&relay, &[&SECRETS[..], &words].concat());
    let opened = crate::image::Image::of(&relay).opens_of(&relay);
    assert!(opened.reports.is_empty(), "{:?}", opened.reports);
    relay.fails(1, &["recovery", "create", "--threshold", "2", "--shares", "3"]);
}

#[test]
fn reports_reach_the_coordinator_by_way_of_others_by_stick_and_by_relay_in_any_order_any_number_of_times() {
    let (coordinator, monitor) = team();
    let carrier = Machine::with_vault("Carrier");
    pair(&coordinator, &carrier, "monitor");
    let relay = relay_of(&coordinator, &[]);
    let at = runs(&relay);
    // A to B, B to the relay.
    let by_hand = finished(&monitor, "By way of a carrier");
    let daemon = carrier.daemon();
    monitor.ok(&["sync", "--with", daemon.address()]);
    drop(daemon);
    // A to a stick, which the relay's operator reads while it runs.
    let by_stick = finished(&monitor, "By stick");
    let stick = tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory");
    let files = stick.path().to_str().expect("UTF-8");
    monitor.ok(&["bundle", "write", files]);
    let straight = finished(&monitor, "Straight to the relay");
    let take_stick = || relay.json(&["bundle", "read", files]);
    let steps: [&dyn Fn(); 3] =
        [&|| drop(sync(&carrier, &at)), &|| drop(take_stick()), &|| drop(sync(&monitor, &at))];
    for (round, order) in [[0, 1, 2], [2, 1, 0], [1, 0, 2]].into_iter().enumerate() {
        order.into_iter().for_each(|step| steps[step]());
        sync(&coordinator, &at);
        let mut found = ids(&coordinator);
        found.sort();
        let mut expected = [&by_hand, &by_stick, &straight].map(Clone::clone);
        expected.sort();
        assert_eq!(found, expected, "round {round}");
    }
    let before = status(&relay)["entries"].clone();
    sync(&coordinator, &at);
    sync(&carrier, &at);
    sync(&monitor, &at);
    for id in [&by_hand, &by_stick, &straight] {
        assert_eq!(word_of_delivery(&monitor, id), "received");
    }
    take_stick();
    assert!(status(&relay)["entries"].as_u64() >= before.as_u64());
    at.ends();
}

#[test]
fn what_is_old_is_dropped_and_does_not_come_back_and_what_is_young_stays_whatever_is_said() {
    let (coordinator, monitor) = team();
    let relay = relay_of(&coordinator, &["--keep", "2s", "--keep-received", "1s", "--floor", "1s"]);
    let at = runs(&relay);
    let old = finished(&monitor, "Old");
    sync(&monitor, &at);
    // As long as no coordinator has it, it stays, however old it is.
    wait_for("the relay grows older", || (status(&relay)["oldest_s"].as_u64() > Some(5)).then_some(()));
    assert_eq!(status(&relay)["gone"], 0);
    sync(&coordinator, &at);
    assert_eq!(ids(&coordinator), [old]);
    let emptied = wait_for("the relay drops what is old", || {
        let status = status(&relay);
        (status["gone"].as_u64() > Some(0) && status["entries"] == 0).then_some(status)
    });
    assert!(emptied["last_dropped"]["entries"].as_u64() > Some(0), "{emptied}");
    let again = sync(&monitor, &at);
    assert_eq!(again["traffic"]["sent"], 0, "nothing that was dropped comes back: {again}");

    // The floor holds, whatever the other terms say.
    relay.ok(&["relay", "set", "--keep", "365d", "--keep-received", "365d", "--floor", "364d"]);
    relay.fails(2, &["relay", "set", "--keep", "1s"]);
    finished(&monitor, "Young");
    sync(&monitor, &at);
    let due = relay.json(&["relay", "gc", "--dry-run"]).remove(0);
    assert_eq!((&due["aged"]["entries"], &due["received"]["entries"]), (&0.into(), &0.into()), "{due}");
    at.ends();
}

#[test]
fn what_every_coordinator_has_goes_sooner_and_what_coordinators_wrote_stays_for_those_who_sleep() {
    let (coordinator, monitor) = team();
    let second = Machine::with_vault("Second coordinator");
    pair(&coordinator, &second, "coordinator");
    let relay = relay_of(&coordinator, &["--keep-received", "1s", "--floor", "1s"]);
    let at = runs(&relay);
    sync(&second, &at);
    sync(&coordinator, &at);
    sync(&monitor, &at);
    let id = finished(&monitor, "Fetched by both");
    sync(&monitor, &at);
    sync(&coordinator, &at);
    let due = || relay.json(&["relay", "gc", "--dry-run"]).remove(0)["received"]["entries"].clone();
    // One of the two has not fetched it, however old it is.
    let aged = || status(&relay)["oldest_s"].as_u64() > Some(4);
    wait_for("the relay grows older", || aged().then_some(()));
    assert_eq!(due(), 0);
    assert_eq!(status(&relay)["gone"], 0);
    sync(&second, &at);
    sync(&coordinator, &at);
    let left = wait_for("the relay drops what both have", || {
        let status = status(&relay);
        (status["gone"].as_u64() > Some(0)).then_some(status)
    });
    assert!(left["entries"].as_u64() > Some(0), "{left}");
    assert!(ids(&second).contains(&id));
    // The receipts are for the monitor, and are there when it comes.
    sync(&monitor, &at);
    assert_eq!(word_of_delivery(&monitor, &id), "received");
    at.ends();
}

#[test]
fn a_full_relay_takes_no_more_nothing_is_lost_by_it_and_when_there_is_room_it_arrives() {
    let (coordinator, first) = team();
    let second = Machine::with_vault("Second monitor");
    pair(&coordinator, &second, "monitor");
    let terms = ["--total", "4M", "--per-device", "4M", "--keep-received", "1s", "--floor", "1s"];
    let relay = relay_of(&coordinator, &terms);
    let at = runs(&relay);
    let fills = with_film(&first, 1, 3 << 20);
    sync(&first, &at);
    assert_eq!(word_of_delivery(&first, &fills), "carried");
    let waits = with_film(&second, 2, 1 << 20);
    for _ in 0..2 {
        sync_that_ends(&second, &at, 3);
        let kept = delivery(&second, &waits);
        assert_eq!((&kept["word"], &kept["relays"]), (&"only here".into(), &serde_json::json!([])), "{kept}");
        assert!(kept["attention"][0].as_str().is_some_and(|why| why.contains("the relay is full")), "{kept}");
    }
    let said = second.run(&["sync", "--with", &at.address]).exits(3);
    assert!(said.out().starts_with("Synced with "), "{said:?}");
    assert!(said.err().contains("error: the relay is full: 1 entry ("), "{said:?}");
    assert!(said.err().contains(" MiB) stays here until it has room; nothing is lost"), "{said:?}");
    let error = second.fails(3, &["sync", "--with", &at.address]);
    assert_eq!((&error["code"], &error["kind"]), (&"declined-full".into(), &"partial".into()));
    assert!(second.ok(&["show", &waits]).out().contains("needs attention: the relay is full"));
    assert!(second.ok(&["status"]).out().contains("1 report needs attention"));
    let seen = status(&relay);
    assert!(seen["bytes"].as_u64() < Some(4 << 20) && seen["full_for_attachments"] == true, "{seen}");
    assert!(relay.ok(&["relay", "status"]).out().contains("No room for attachments"));
    // A coordinator gets through, and fetches; what it has goes, and there is room.
    sync(&coordinator, &at);
    wait_for("room", || (status(&relay)["bytes"].as_u64() < Some(1 << 20)).then_some(()));
    sync(&second, &at);
    let taken = delivery(&second, &waits);
    assert_eq!((&taken["word"], &taken["attention"]), (&"carried".into(), &serde_json::json!([])), "{taken}");
    sync(&coordinator, &at);
    for (id, seed, len) in [(&fills, 1, 3 << 20), (&waits, 2, 1 << 20)] {
        let out = coordinator.path(&format!("film-{seed}"));
        coordinator.ok(&["attachment", id, "film.mp4", "--out", out.to_str().expect("UTF-8")]);
        assert_eq!(fs::read(out).expect("the film"), film(seed, len));
    }

    // One device's share.
    relay.ok(&["relay", "set", "--total", "100M", "--per-device", "2M"]);
    let third = Machine::with_vault("Third monitor");
    pair(&coordinator, &third, "monitor");
    let large = with_film(&third, 3, 3 << 20);
    let said = third.run(&["sync", "--with", &at.address]).exits(3);
    assert!(said.err().contains("error: the relay holds as much of this device as it may: "), "{said:?}");
    assert!(said.err().contains("hint: sync again when a coordinator has fetched"), "{said:?}");
    let kept = delivery(&third, &large);
    assert!(
        kept["attention"][0].as_str().is_some_and(|why| why.contains("no more from this device")),
        "{kept}"
    );
    let id = finished(&second, "Others are served");
    sync(&second, &at);
    assert_eq!(word_of_delivery(&second, &id), "carried");
    relay.ok(&["relay", "set", "--per-device", "20M"]);
    sync(&third, &at);
    assert_eq!(word_of_delivery(&third, &large), "carried");
    at.ends();
}

#[test]
fn a_running_relay_learns_of_a_removal_by_itself_and_the_removed_device_gets_nothing_more() {
    let (coordinator, monitor) = team();
    let stays = Machine::with_vault("Stays");
    pair(&coordinator, &stays, "monitor");
    let relay = relay_of(&coordinator, &[]);
    let at = runs(&relay);
    sync(&monitor, &at);
    sync(&stays, &at);
    coordinator.ok(&["team", "remove", "Okapi-Monitor", "--lost", "--yes"]);
    sync(&coordinator, &at);
    let held = || status(&relay)["entries"].clone();
    let later = finished(&monitor, "After its removal");
    // The relay's agent takes the removal in when the session is over; from then on it does not answer.
    wait_for("the removed device is refused", || {
        let before = held();
        let said = monitor.run(&["--json", "sync", "--with", &at.address]);
        (said.code != 0).then(|| assert_eq!(held(), before))
    });
    sync(&coordinator, &at);
    assert!(!ids(&coordinator).contains(&later));
    // Who stays is served in the new epoch.
    let id = finished(&stays, "Of one who stays");
    sync(&stays, &at);
    sync(&coordinator, &at);
    assert!(ids(&coordinator).contains(&id));
    at.ends();
}

#[test]
fn a_relay_that_is_killed_goes_on_where_it_was() {
    let (coordinator, monitor) = team();
    let relay = relay_of(&coordinator, &[]);
    let mut at = runs(&relay);
    let id = finished(&monitor, "Before the lamp went out");
    sync(&monitor, &at);
    let held = status(&relay)["entries"].clone();
    at.process.kill();
    wait_for("the daemon ends with it", || {
        relay.run(&["--json", "daemon", "status"]).code.ne(&0).then_some(())
    });
    let at = runs(&relay);
    assert_eq!(status(&relay)["entries"], held);
    sync(&coordinator, &at);
    assert_eq!(ids(&coordinator), [id]);
    at.ends();
    // The agent that the first one had started was found, used, and left as it was found.
    relay.ok(&["lock"]);
    nothing_runs(&relay);
}

/// Everything that comes to a socket of a service manager.
struct Hears {
    _dir: tempfile::TempDir,
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Hears {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Self { _dir: dir, socket, path }
    }

    fn until(&self, wanted: &str) -> String {
        wait_for(wanted, || {
            let mut block = [0; 4096];
            let read = self.socket.recv(&mut block).ok()?;
            let said = String::from_utf8_lossy(&block[..read]).into_owned();
            said.lines().any(|line| line == wanted).then_some(said)
        })
    }
}

#[test]
fn a_service_manager_hears_when_it_is_ready_well_and_ending_and_gives_the_passphrase_as_a_credential() {
    let (coordinator, monitor) = team();
    let relay = relay_of(&coordinator, &[]);
    let manager = Hears::new();
    let credentials = relay.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::copy(relay.path("passphrase"), credentials.join("passphrase")).expect("the credential");
    let service = || {
        let mut command = relay.bare();
        command.arg("--vault").arg(relay.vault()).args(["--no-input", "--json", "relay", "run"]);
        command.env("NOTIFY_SOCKET", &manager.path).env("CREDENTIALS_DIRECTORY", &credentials);
        command
    };
    let mut command = service();
    command.env("WATCHDOG_USEC", "400000");
    let mut process = Running::start(command);
    manager.until("READY=1");
    let address = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    let said = manager.until("WATCHDOG=1");
    assert!(said.contains("STATUS=Holding "), "{said}");
    let id = finished(&monitor, "Zebra crossing");
    monitor.ok(&["sync", "--with", &address]);
    manager.until("WATCHDOG=1");
    process.signal(Signal::TERM);
    manager.until("STOPPING=1");
    let end = process.ends();
    assert!(end.success(), "{end:?}: {}", process.err());
    nothing_runs(&relay);

    // Restarted; without a watchdog it is ready all the same.
    let mut process = Running::start(service());
    manager.until("READY=1");
    let address = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    coordinator.ok(&["sync", "--with", &address]);
    assert_eq!(ids(&coordinator), [id]);
    // `daemon stop` ends the whole of it.
    relay.ok(&["daemon", "stop"]);
    assert!(process.ends().success(), "{}", process.err());
    nothing_runs(&relay);

    // Without the credential nobody is asked, and it says so.
    fs::remove_file(credentials.join("passphrase")).expect("the credential");
    assert_eq!(run(service(), b"").exits(4).error()["kind"], "cannot-ask");
    fs::write(credentials.join("passphrase"), "another\n").expect("a credential");
    run(service(), b"").exits(12);
    nothing_runs(&relay);
}

#[test]
fn only_a_relay_runs_as_one() {
    let (coordinator, monitor) = team();
    for machine in [&coordinator, &monitor] {
        let error = machine.fails(1, &["relay", "run"]);
        assert!(error["message"].as_str().is_some_and(|why| why.contains("not as a relay")), "{error}");
        machine.fails(1, &["relay", "status"]);
        machine.fails(1, &["relay", "gc"]);
        nothing_runs(machine);
    }
    let alone = Machine::with_vault("Alone");
    alone.fails(1, &["relay", "run"]);
    Machine::new("Nobody").fails(10, &["relay", "run"]);
    // A code for a monitor makes no relay.
    let address = format!("127.0.0.1:{}", free_port());
    let mut invitation =
        coordinator.start(&["team", "invite", "--listen", &address, "--yes", "--role", "monitor"]);
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let mistaken = Machine::new("Mistaken");
    let error =
        mistaken.fails(1, &["relay", "init", &code, "--at", &address, "--yes", "--work-factor", "15"]);
    assert!(error["message"].as_str().is_some_and(|why| why.contains("for a monitor")), "{error}");
}

/// The lines of a section of a unit.
fn settings<'a>(unit: &'a str, section: &str) -> Vec<(&'a str, &'a str)> {
    let mut inside = false;
    unit.lines()
        .filter(|line| {
            if line.starts_with('[') {
                inside = *line == format!("[{section}]");
            }
            inside && !line.starts_with(['[', '#']) && !line.is_empty()
        })
        .map(|line| line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}")))
        .collect()
}

#[test]
fn the_printed_unit_is_understood_by_systemd_and_lets_the_relay_touch_little() {
    let machine = Machine::new("Operator");
    let config = serde_json::json!({
        "endpoint": "https://s3.example.org", "region": "auto", "bucket": "relay",
        "credentials": "systemd:credentials", "key": "key",
    });
    let bucket = machine.file("bucket.json", config.to_string());
    for more in [&[][..], &["--bucket", &bucket]] {
        let mut command = machine.bare();
        command.args(["relay", "install", "--print-unit"]).args(more);
        is_understood_and_touches_little(&machine, &run(command, b"").exits(0).out(), more.len() > 1);
    }
    let mut command = machine.bare();
    command.args(["--json", "relay", "install", "--print-unit", "--program", "/tmp/with space"]);
    run(command, b"").exits(2);
}

fn is_understood_and_touches_little(machine: &Machine, unit: &str, in_a_bucket: bool) {
    let service = settings(unit, "Service");
    let is = |key: &str, value: &str| {
        assert!(service.contains(&(key, value)), "{key}={value} is not in {unit}");
    };
    for key in
        ["NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute", "RestrictNamespaces", "PrivateDevices"]
    {
        is(key, "yes");
    }
    is("Type", "notify");
    is("ProtectSystem", "strict");
    is("LimitCORE", "0");
    is("CapabilityBoundingSet", "");
    is("SystemCallFilter", "@system-service");
    is("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX");
    is("LoadCredential", "passphrase:/etc/fieldbook-relay/passphrase");
    is("StateDirectory", "fieldbook-relay");
    if in_a_bucket {
        for name in ["bucket.json", "credentials", "key"] {
            is("LoadCredential", &format!("{name}:{}", machine.path(name).display()));
        }
    }
    let credentials = service.iter().filter(|(key, _)| *key == "LoadCredential").count();
    assert_eq!(credentials, if in_a_bucket { 4 } else { 1 }, "{unit}");

    // As systemd itself judges it, where that is installed.
    let path = machine.file("fieldbook-relay.service", unit);
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).env("SYSTEMD_LOG_LEVEL", "warning");
        command.output().ok().map(|output| {
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        })
    };
    let Some((known, _)) = analyze(&["--version"]) else { return };
    assert!(known);
    if Path::new("/usr/lib/systemd/system/basic.target").exists() {
        let (_, said) = analyze(&["verify", "--man=no", "--recursive-errors=no", &path]).expect("it ran");
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("fieldbook-relay")).collect();
        assert!(ours.is_empty(), "{said}");
    }
    let (good, said) =
        analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", &path]).expect("it ran");
    assert!(good, "{said}");
}
