//! A daemon whose depot is in an S3-compatible bucket, and a monitor who syncs with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use fieldbook_tests::{
    BucketServer, Machine, Running, free_port, pair, processes, run, team_of_two, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::making::finished_plain as finished;
use crate::reading::ids;

/// Writes what names the bucket; the path.
fn named(machine: &Machine, server: &BucketServer) -> String {
    let config = serde_json::json!({
        "endpoint": server.endpoint(), "region": "auto", "bucket": "relay", "prefix": "team",
        "credentials": "credentials", "key": "key",
    });
    let (path, credentials) = (machine.path("bucket.json"), machine.path("credentials"));
    fs::write(&path, config.to_string()).expect("a file");
    fs::write(&credentials, server.credentials()).expect("a file");
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).expect("its permissions");
    path.display().to_string()
}

fn serve(machine: &Machine, config: &str, more: &[&str]) -> (Running, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = machine.start(&[&["daemon", "--listen", &address, "--bucket", config], more].concat());
    process.object_with("listening");
    (process, address)
}

#[test]
fn a_daemon_serves_a_bucket_and_its_vault_has_what_came() {
    let (a, b) = team_of_two();
    let mut server = BucketServer::start();
    let config = named(&a, &server);
    let (mut daemon, address) = serve(&a, &config, &["--new-bucket"]);
    for process in processes::of_home(&a.home()) {
        for place in [&process.arguments, &process.environment] {
            assert!(!place.windows(6).any(|window| window == b"secret"), "a secret that others can read");
        }
    }
    let first = finished(&b);
    b.ok(&["sync", "--with", &address]);
    wait_for("the report in the vault", || ids(&a).contains(&first).then_some(()));

    // The bucket goes away in the middle: nobody is told that something arrived, and nothing is lost.
    server.kill();
    let second = finished(&b);
    b.fails(14, &["sync", "--with", &address]);
    let said = wait_for("a line", || daemon.line().filter(|line| line.contains("away")));
    assert!(said.contains("the relay's store is away") && said.contains("nothing is lost"), "{said}");
    server.restart(&[]);
    wait_for("a sync", || (b.run(&["sync", "--with", &address]).code == 0).then_some(()));
    wait_for("the report in the vault", || ids(&a).contains(&second).then_some(()));
    a.ok(&["daemon", "stop"]);

    // Another process, which knows nothing but the bucket: the monitor's cursor is good there.
    let (_daemon, address) = serve(&a, &config, &[]);
    let third = finished(&b);
    let said = b.run(&["--json", "sync", "--with", &address]).exits(0);
    let synced = said.lines().into_iter().find(|line| line["event"] == "synced").expect("a sync");
    assert_eq!(synced["traffic"]["sent"], 1, "{synced}");
    wait_for("the report in the vault", || ids(&a).contains(&third).then_some(()));
    for name in server.names("") {
        let bytes = fs::read(server.objects().join(&name)).expect("an object");
        assert!(!bytes.windows(9).any(|window| window == b"detention"), "a word in the bucket");
    }
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_before_anything_starts() {
    let (a, _) = team_of_two();
    let server = BucketServer::start();
    let config = named(&a, &server);
    let daemon = |more: &[&str]| {
        a.run(&[&["--json", "daemon", "--listen", "127.0.0.1:0", "--bucket", &config], more].concat())
    };
    assert_eq!(daemon(&[]).exits(2).error()["code"], "input-unreadable", "no key yet");
    fs::set_permissions(a.path("credentials"), fs::Permissions::from_mode(0o644)).expect("its permissions");
    assert_eq!(daemon(&["--new-bucket"]).exits(2).error()["code"], "readable-by-others");
    fs::set_permissions(a.path("credentials"), fs::Permissions::from_mode(0o600)).expect("its permissions");
    let (process, _) = serve(&a, &config, &["--new-bucket"]);
    a.ok(&["daemon", "stop"]);
    drop(process);
    let again = daemon(&["--new-bucket"]).exits(1).error();
    assert!(again["message"].as_str().is_some_and(|said| said.contains("already")), "{again}");
    fs::write(a.path("key"), format!("{}\n", "ab".repeat(32))).expect("another key");
    let wrong = daemon(&[]).exits(1).error();
    assert!(wrong["message"].as_str().is_some_and(|said| said.contains("does not open")), "{wrong}");
}

/// Everything of one machine's vault and bucket files on another, as an operator takes it there.
fn brought_to(from: &Machine) -> Machine {
    // Its passphrase is the same, and so is its name.
    let other = Machine::new(from.name());
    for (from, to) in [(from.vault(), other.vault()), (from.path("bucket.json"), other.path("bucket.json"))]
        .into_iter()
        .chain(["credentials", "key"].map(|name| (from.path(name), other.path(name))))
    {
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg(from).arg(to);
        run(copy, b"").exits(0);
    }
    other
}

/// A relay of the team in a new bucket.
fn relay_of(coordinator: &Machine, server: &BucketServer, policy: &[&str]) -> Machine {
    let relay = Machine::new("Relay");
    let config = named(&relay, server);
    let address = format!("127.0.0.1:{}", free_port());
    let mut invitation =
        coordinator.start(&["team", "invite", "--listen", &address, "--yes", "--role", "relay"]);
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let how = ["relay", "init", &code, "--at", &address, "--yes", "--work-factor", "15"];
    relay.json(&[&how[..], policy, &["--bucket", &config, "--new-bucket"]].concat());
    assert!(invitation.ends().success(), "{}", invitation.err());
    relay
}

fn relay_runs(relay: &Machine, more: &[&str]) -> (Running, String) {
    let mut process = relay.start(&[&["relay", "run", "--listen", "127.0.0.1:0"], more].concat());
    let address = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    (process, address)
}

#[track_caller]
fn relay_status(relay: &Machine) -> Value {
    relay.json(&["relay", "status"]).remove(0)
}

#[test]
fn a_relay_in_a_bucket_is_served_by_two_machines_and_none_keeps_what_the_other_needs() {
    let (coordinator, monitor) = team_of_two();
    let mut server = BucketServer::start();
    let one = relay_of(&coordinator, &server, &["--total", "300M"]);

    // The other machine has a copy, whose file lies elsewhere.
    let two = brought_to(&one);
    let (mut first, at_one) = relay_runs(&one, &[]);
    let id = finished(&monitor);
    monitor.ok(&["sync", "--with", &at_one]);
    server.kill();
    monitor.fails(14, &["sync", "--with", &at_one]);
    server.restart(&[]);
    let elsewhere = two.path("bucket.json").display().to_string();
    let (second, at_two) = relay_runs(&two, &["--bucket", &elsewhere]);
    coordinator.ok(&["sync", "--with", &at_two]);
    assert!(ids(&coordinator).contains(&id));
    // The receipt goes the same way back.
    coordinator.ok(&["sync", "--with", &at_two]);
    wait_for("the receipt", || {
        monitor.ok(&["sync", "--with", &at_one]);
        (monitor.show(&id)["summary"]["delivery"]["word"] == "received").then_some(())
    });
    let (seen, also) = (relay_status(&one), relay_status(&two));
    for seen in [&seen, &also] {
        assert_eq!(seen["policy"]["total_bytes"], 300 << 20, "{seen}");
        assert_eq!(seen["disk_free"], Value::Null, "{seen}");
        assert_eq!(
            (&seen["synced"]["coordinators"], &seen["synced"]["monitors"]),
            (&1.into(), &1.into()),
            "{seen}"
        );
    }
    first.signal(Signal::TERM);
    assert!(first.ends().success(), "{}", first.err());
    // Without a process of its own, a machine answers from the bucket.
    let resting = relay_status(&one);
    assert_eq!((&resting["running"], &resting["entries"]), (&Value::Null, &relay_status(&two)["entries"]));
    assert_eq!(one.json(&["relay", "gc"]).remove(0)["aged"]["entries"], 0);
    drop(second);
}

#[test]
fn a_removal_that_one_machine_hears_of_is_in_force_on_the_other_within_seconds() {
    let (coordinator, monitor) = team_of_two();
    let stays = Machine::with_vault("Stays");
    pair(&coordinator, &stays, "monitor");
    let server = BucketServer::start();
    let one = relay_of(&coordinator, &server, &[]);
    let two = brought_to(&one);
    let elsewhere = two.path("bucket.json").display().to_string();
    let (_first, at_one) = relay_runs(&one, &[]);
    let (_second, at_two) = relay_runs(&two, &["--bucket", &elsewhere]);
    for machine in [&monitor, &stays] {
        machine.ok(&["sync", "--with", &at_two]);
    }
    let removed = monitor.json(&["status"])[0]["device"]["name"].as_str().expect("a name").to_owned();
    coordinator.ok(&["team", "remove", &removed, "--lost", "--yes"]);
    coordinator.ok(&["sync", "--with", &at_one]);
    let later = finished(&monitor);
    // Nobody tells the second machine but the bucket.
    let began = std::time::Instant::now();
    wait_for("the other machine refuses the removed device", || {
        (monitor.run(&["--json", "sync", "--with", &at_two]).code != 0).then_some(())
    });
    eprintln!("refused after {:?}", began.elapsed());
    assert_ne!(monitor.run(&["sync", "--with", &at_one]).code, 0);
    coordinator.ok(&["sync", "--with", &at_two]);
    assert!(!ids(&coordinator).contains(&later));
    // Who stays is served there, in the new epoch.
    let id = finished(&stays);
    stays.ok(&["sync", "--with", &at_two]);
    coordinator.ok(&["sync", "--with", &at_one]);
    assert!(ids(&coordinator).contains(&id));
}

#[test]
fn relays_in_a_bucket_sweep_it_by_themselves_take_sticks_by_its_policy_and_write_nothing_of_their_own() {
    let (coordinator, monitor) = team_of_two();
    let server = BucketServer::start();
    let one =
        relay_of(&coordinator, &server, &["--per-device", "2M", "--keep-received", "7s", "--floor", "7s"]);
    // Neither this vault nor a copy of it has a chain that could fork.
    let writing = ["new", "--template", "detention", "--set", "date=2017-03-25"];
    assert_eq!(one.fails(1, &writing)["code"], "relay");
    let two = brought_to(&one);
    let elsewhere = two.path("bucket.json").display().to_string();
    let (_first, at_one) = relay_runs(&one, &[]);
    let (_second, _) = relay_runs(&two, &["--bucket", &elsewhere]);
    let id = finished(&monitor);
    monitor.ok(&["sync", "--with", &at_one]);
    // Of a process that was cut between an entry's object and the segment that names it.
    let orphan = server.objects().join("team/e/ab/abababababababababababababababab");
    fs::create_dir_all(orphan.parent().expect("a folder")).expect("its folder");
    fs::write(&orphan, "cut short").expect("an object");
    wait_for("the orphan goes", || (!orphan.exists()).then_some(()));

    // A stick: the bucket's policy holds, and what is taken is in the bucket at once.
    let large = monitor.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    let mut film = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut film);
    monitor.ok(&["attach", &large, &monitor.file("film.mp4", film)]);
    monitor.ok(&["finish", &large, "--incomplete"]);
    let stick = tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory");
    let files = stick.path().to_str().expect("UTF-8");
    monitor.ok(&["bundle", "write", files]);
    let said = one.run(&["--json", "bundle", "read", files]).exits(3);
    let word = said.lines().into_iter().find(|line| line["event"] == "read").expect("a word");
    assert!(word["new"].as_u64() > Some(0) && word["left"]["share"].as_u64() > Some(1), "{word}");
    let seen = relay_status(&two);
    assert!(seen["bytes"].as_u64().is_some_and(|bytes| bytes < 4 << 20), "{seen}");
    coordinator.ok(&["sync", "--with", &at_one]);
    assert!(ids(&coordinator).contains(&id) && ids(&coordinator).contains(&large));
}

#[test]
fn a_service_is_given_the_buckets_files_as_credentials() {
    let (coordinator, monitor) = team_of_two();
    let server = BucketServer::start();
    let relay = relay_of(&coordinator, &server, &[]);
    relay.run(&["lock"]);
    let mut command = relay.bare();
    command.args(["relay", "install", "--print-unit", "--bucket", "bucket.json"]);
    let unit = run(command, b"").exits(0).out();
    // What the manager would lay into the directory of credentials.
    let credentials = relay.path("given");
    fs::create_dir(&credentials).expect("a directory");
    let given: Vec<(&str, &str)> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredential="))
        .map(|line| line.split_once(':').expect("a name and a file"))
        .collect();
    assert_eq!(
        given.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["passphrase", "bucket.json", "credentials", "key"]
    );
    for (name, file) in given {
        let from = if name == "passphrase" { relay.path("passphrase") } else { file.into() };
        fs::copy(&from, credentials.join(name)).expect("a credential");
        if name != "passphrase" {
            fs::remove_file(from).expect("only the manager reads it");
        }
    }
    let exec = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let bucket = exec.rsplit(' ').next().expect("its last word");
    assert_eq!(bucket, "${CREDENTIALS_DIRECTORY}/bucket.json", "{exec}");
    let mut command = relay.bare();
    command.arg("--vault").arg(relay.vault()).args(["--no-input", "--json", "relay", "run"]);
    command.args(["--listen", "127.0.0.1:0", "--bucket"]).arg(credentials.join("bucket.json"));
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    let mut process = Running::start(command);
    let address = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    let id = finished(&monitor);
    monitor.ok(&["sync", "--with", &address]);
    coordinator.ok(&["sync", "--with", &address]);
    assert!(ids(&coordinator).contains(&id));
    process.signal(Signal::TERM);
    assert!(process.ends().success(), "{}", process.err());
    // Files that do not lie beside it cannot be given by their names.
    for (credentials, key) in [("/etc/credentials", "key"), ("passphrase", "key"), ("key", "key")] {
        let config = serde_json::json!({
            "endpoint": "https://s3.example.org", "region": "auto", "bucket": "relay",
            "credentials": credentials, "key": key,
        });
        let file = relay.file("other.json", config.to_string());
        let mut command = relay.bare();
        command.args(["--json", "relay", "install", "--print-unit", "--bucket", &file]);
        run(command, b"").exits(2);
    }
}
