//! A raid: what locking leaves in memory, how a vault is wiped, what a duress passphrase gives up.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, memory, run, team_of_two, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::image::{Image, Stores};

/// What stands in the reports of this page and nowhere else.
const WORDS: [&str; 4] = ["Numbatstory", "Залубінская", "dugongtitle", "kakaposource"];

fn report(machine: &Machine) -> String {
    machine.write(&[
        "--template",
        "detention",
        "--title",
        "dugongtitle",
        "--set",
        "narrative=The Numbatstory, told at length.",
        "--source",
        "kakaposource",
        "--person",
        "name=Залубінская,role=witness,consent=internal",
    ])
}

/// The processes of a machine, by what they are for: `agent`, `daemon-run`.
fn process(machine: &Machine, what: &str) -> Option<u32> {
    let wanted = format!("\0{what}\0");
    let is_it = |arguments: &[u8]| arguments.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    machine.processes().into_iter().find(|process| is_it(&process.arguments)).map(|process| process.pid)
}

fn signal(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::USR1).expect("a signal");
}

/// `fieldbook` with a passphrase that is not the machine's own.
fn with(machine: &Machine, passphrase: &str, args: &[&str]) -> Command {
    let file = machine.secret_file("another", &format!("{passphrase}\n"));
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(["--passphrase-file", &file, "--no-input"]).args(args);
    command
}

const DURESS: &str = "velvet orchard pencil harbour of seven";

/// A machine whose decoy holds one harmless report.
fn with_decoy() -> Machine {
    let machine = Machine::with_vault("Monitor");
    report(&machine);
    let file = machine.secret_file("duress", &format!("{DURESS}\n"));
    machine.ok(&["duress", "set", "--duress-passphrase-file", &file]);
    machine.ok(&["unlock", "--decoy"]);
    machine.write(&["--template", "detention", "--title", "Shopping"]);
    machine.ok(&["lock"]);
    machine
}

fn titles(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["title"].as_str()).collect()
}

#[test]
fn what_remains_in_memory_knows_no_word_and_no_key() {
    let (a, b) = team_of_two();
    let id = report(&b);
    b.ok(&["finish", &id, "--incomplete"]);
    let keys: Vec<Canary> = [&a, &b]
        .iter()
        .flat_map(|machine| [Stores::of(machine).keys(), Image::of(machine).keys()].concat())
        .collect();
    b.ok(&["unlock"]);
    let mut daemon = a.daemon();
    a.ok(&["unlock"]);
    b.ok(&["sync", "--with", daemon.address()]);
    assert_eq!(a.reports().len(), 1);

    let mut secrets: Vec<Canary> = WORDS.iter().map(|word| Canary::word(word)).collect();
    secrets.push(Canary::bytes("an age identity", b"AGE-SECRET-KEY-1"));
    // The test of the test: the open agent knows the words, and is seen to.
    let agent = process(&a, "agent").expect("the agent");
    let found = memory::search(agent, &secrets);
    assert!(found.iter().any(|trace| trace.word == "Numbatstory"), "{found:?}");
    assert!(memory::search(agent, &keys).iter().any(|trace| trace.word.starts_with("identity")), "it reads");
    assert!(memory::search(agent, &[Canary::word(a.passphrase())]).is_empty(), "it needs no passphrase");
    let daemon_id = daemon.process.pid();
    let clean = |pid: u32, when: &str, secrets: &[Canary]| {
        let found = memory::search(pid, secrets);
        assert!(found.is_empty(), "{when}: {found:#?}");
    };
    secrets.push(Canary::word(a.passphrase()));
    secrets.push(Canary::word(b.passphrase()));
    secrets.extend(keys);
    // While something comes, too.
    let film: Vec<u8> = (0..6_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    b.ok(&["attach", &id, &b.file("film.mp4", film)]);
    let mut syncing = b.start(&["sync", "--with", daemon.address(), "--limit", "1M"]);
    wait_for("a part of the film", || {
        (a.json(&["carry"])[0]["held_bytes"].as_u64() > Some(2 << 20)).then_some(())
    });
    assert!(syncing.runs(), "it is at work");
    clean(daemon_id, "unlocked and syncing", &secrets);
    for process in
        b.processes().iter().filter(|process| process.arguments.windows(9).any(|word| word == b"\0courier\0"))
    {
        clean(process.pid, "at work", &secrets);
    }
    syncing.ends();

    for machine in [&a, &b] {
        machine.ok(&["lock"]);
        wait_for("the agent's end", || process(machine, "agent").is_none().then_some(()));
        secrets.extend([Stores::of(machine).keys(), Image::of(machine).keys()].concat());
    }
    for process in a.processes().into_iter().chain(b.processes()) {
        clean(process.pid, "locked", &secrets);
    }
    assert!(a.processes().iter().any(|process| process.pid == daemon_id), "the daemon stays");
    // Nor does it write a core dump, nor let others look.
    let limits = fs::read_to_string(format!("/proc/{daemon_id}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);

    // And when that has ended too, nothing is on the disk or where temporary files are. (What lies in swap cannot be told
    // from this test's own memory: `swap.rs` looks that nothing can get there.)
    a.ok(&["daemon", "stop"]);
    daemon.process.ends();
    for machine in [&a, &b] {
        assert!(machine.processes().is_empty(), "{:?}", machine.processes());
        secrets.push(Stores::of(machine).depot_key());
    }
    for machine in [&a, &b] {
        let own: Vec<_> =
            ["vault", "home", "run", "tmp"].iter().map(|dir| machine.root().join(dir)).collect();
        let own: Vec<&Path> = own.iter().map(std::path::PathBuf::as_path).collect();
        let mut found = traces::search(&own, &secrets);
        found.extend(traces::search_files(traces::written_elsewhere_since(machine.born()), &secrets));
        assert!(found.is_empty(), "after `daemon stop`, on {}: {found:#?}", machine.name());
    }
}

#[test]
fn locking_ends_a_command_of_another_window_and_what_was_typed_there_is_kept() {
    let machine = Machine::with_vault("Monitor");
    let mut command = machine.command(&["--json", "new", "--template", "detention", "--narrative-file", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut writing = command.spawn().expect("another window");
    // It has the vault open for as long as somebody writes: it confines itself when it has opened it.
    wait_for("an open vault", || {
        let status = fs::read_to_string(format!("/proc/{}/status", process(&machine, "agent")?)).ok()?;
        status.contains("Seccomp:\t2").then_some(())
    });
    assert_eq!(machine.ok(&["--json", "lock"]).lines()[0]["ended"], true);
    assert!(process(&machine, "agent").is_none(), "nobody has it open");
    assert_eq!(machine.ok(&["--json", "lock"]).lines()[0]["already"], true);
    let mut stdin = writing.stdin.take().expect("a pipe");
    stdin.write_all("What the witness told for an hour.\n".as_bytes()).expect("text");
    drop(stdin);
    let said = writing.wait_with_output().expect("its end");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(machine.reports().len(), 1);
}

#[test]
fn a_locked_vault_is_wiped_by_who_knows_its_passphrase() {
    let machine = Machine::with_vault("Monitor");
    report(&machine);
    let error = run(with(&machine, "not it", &["--json", "wipe", "--yes"]), b"").exits(12).error();
    assert_eq!(error["code"], "wrong-passphrase");
    assert_eq!(machine.fails(4, &["wipe"])["code"], "cannot-ask", "it asks whether it is meant");
    assert_eq!(machine.reports().len(), 1, "nothing is gone");
    let line = machine.json(&["wipe", "--yes"]).pop().expect("a line");
    assert_eq!((&line["event"], &line["left"]), (&"wiped".into(), &serde_json::json!([])));
    assert!(!machine.vault().exists());
    assert_eq!(machine.fails(10, &["list"])["code"], "no-vault");
}

#[test]
fn one_word_wipes_everything_at_once_if_its_owner_chose_that() {
    let (a, b) = team_of_two();
    report(&b);
    b.ok(&["safeguards", "--wipe", "at-once"]);
    let line = b.json(&["safeguards"]).pop().expect("a line");
    assert_eq!((&line["wipe_unasked"], &line["dead_man_ms"]), (&true.into(), &Value::Null));
    b.ok(&["unlock"]);
    let mut daemon = b.daemon();
    let mut bare = b.bare();
    bare.arg("--vault").arg(b.vault()).arg("wipe");
    run(bare, b"").exits(0);
    assert!(!b.vault().exists());
    daemon.process.ends();
    wait_for("the end of every process", || b.processes().is_empty().then_some(()));
    let run_dir = b.root().join("run");
    assert_eq!(fs::read_dir(run_dir).expect("a directory").count(), 0, "no socket is left");
    drop(a);
}

#[test]
fn a_signal_wipes_only_if_the_owner_chose_that() {
    for through_the_daemon in [false, true] {
        let machine = Machine::with_vault("Monitor");
        machine.ok(&["team", "create", "Minsk"]);
        report(&machine);
        machine.ok(&["unlock"]);
        let mut daemon = machine.daemon();
        let target = |machine: &Machine| {
            if through_the_daemon { Some(daemon.process.pid()) } else { process(machine, "agent") }
        };
        signal(target(&machine).expect("a process"));
        assert_eq!(machine.reports().len(), 1, "nothing happens");
        assert!(machine.json(&["daemon", "status"]).pop().is_some_and(|line| line["pid"].is_number()));
        machine.ok(&["safeguards", "--wipe", "at-once"]);
        signal(target(&machine).expect("a process"));
        wait_for("the vault's end", || (!machine.vault().exists()).then_some(()));
        daemon.process.ends();
        wait_for("the end of every process", || machine.processes().is_empty().then_some(()));
    }
}

#[test]
fn the_day_that_the_owner_set_ends_a_locked_daemon_and_the_keys() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk"]);
    assert_eq!(machine.fails(2, &["safeguards", "--dead-man", "1"])["code"], "too-few-days");
    let line = machine.json(&["safeguards", "--dead-man", "3"]).pop().expect("a line");
    assert!(line["dead_man_ms"].as_i64().is_some_and(|day| day > 0), "{line}");
    // The day is set back by hand, as the days would pass.
    let rules = machine.vault().join("rules");
    let mut bytes = fs::read(&rules).expect("the rules");
    bytes[4..12].copy_from_slice(&1_490_400_000_u64.to_be_bytes());
    fs::write(&rules, &bytes).expect("the rules");
    assert_eq!(machine.reports().len(), 0, "a clock that jumps while the machine runs destroys nothing");
    // And the machine was started anew since.
    let mut bytes = fs::read(&rules).expect("the rules");
    bytes[4..12].copy_from_slice(&1_490_400_000_u64.to_be_bytes());
    bytes[12..36].fill(0);
    fs::write(&rules, bytes).expect("the rules");
    let error = machine.fails(16, &["list"]);
    assert_eq!(error["code"], "keys-destroyed");
    assert_eq!(machine.fails(16, &["unlock"])["code"], "keys-destroyed", "and it stays so");
}

#[test]
fn the_duress_passphrase_shows_a_decoy_and_ends_everything_that_tells_of_more() {
    let machine = with_decoy();
    machine.ok(&["team", "create", "Minsk"]);
    let mut daemon = machine.daemon();
    let before = run(with(&machine, machine.passphrase(), &["--json", "list"]), b"").exits(0);
    assert_eq!(titles(&before.lines()), ["dugongtitle"]);
    let under_duress = run(with(&machine, DURESS, &["--json", "list"]), b"").exits(0);
    assert_eq!(titles(&under_duress.lines()), ["Shopping"]);
    assert_eq!(under_duress.err(), before.err());
    daemon.process.ends();
    assert_eq!(machine.fails(12, &["list"])["code"], "wrong-passphrase", "the real one opens nothing");
    for args in [&["--json", "daemon", "status"][..], &["--json", "status"], &["--json", "duress", "show"]] {
        let said = run(with(&machine, DURESS, args), b"");
        for word in ["Minsk", "dugong", "destroy", "decoy\":true", "\"set\":true"] {
            assert!(!said.out().contains(word) && !said.err().contains(word), "{args:?}: {}", said.out());
        }
    }
    // A vault of the same age that never had one answers alike.
    let plain = Machine::with_vault("Monitor");
    plain.write(&["--template", "detention", "--title", "Shopping"]);
    let names = |machine: &Machine| {
        let mut names: Vec<_> = fs::read_dir(machine.vault()).expect("a directory").flatten().collect();
        names.sort_by_key(fs::DirEntry::file_name);
        names
            .iter()
            .map(|file| (file.file_name(), file.metadata().expect("a file").len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&machine), names(&plain), "names and sizes tell nothing");
    assert!(Path::new(&machine.vault()).exists());
}

#[test]
fn a_passphrase_is_changed_and_the_decoy_keeps_its_own() {
    let machine = with_decoy();
    let new = "copper lantern meadow bicycle quiet ninth";
    let file = machine.secret_file("new", &format!("{new}\n"));
    assert_eq!(
        machine.fails(
            2,
            &[
                "duress",
                "set",
                "--duress-passphrase-file",
                machine.path("passphrase").to_str().expect("UTF-8")
            ]
        )["code"],
        "same-passphrase"
    );
    machine.ok(&["passphrase", "change", "--new-passphrase-file", &file]);
    assert_eq!(machine.fails(12, &["list"])["code"], "wrong-passphrase");
    let listed = run(with(&machine, new, &["--json", "list"]), b"").exits(0);
    assert_eq!(titles(&listed.lines()), ["dugongtitle"]);
    let shown = || run(with(&machine, new, &["--json", "duress", "show"]), b"").exits(0).lines().remove(0);
    assert_eq!((&shown()["set"], &shown()["other_key_file"]), (&true.into(), &false.into()));
    // With another second factor the own one opens, and the duress passphrase no longer goes with the same.
    let key = machine.secret_file("key", &"k".repeat(64));
    let same = machine.secret_file("new", &format!("{new}\n"));
    let change = ["passphrase", "change", "--new-passphrase-file", &same, "--new-key-file", &key];
    run(with(&machine, new, &change), b"").exits(0);
    let keyed =
        |args: &[&str]| run(with(&machine, new, &[&["--key-file", &key], args].concat()), b"").exits(0);
    assert_eq!(keyed(&["--json", "duress", "show"]).lines()[0]["other_key_file"], true);
    assert!(keyed(&["duress", "show"]).out().contains("key file was changed"));
    keyed(&["passphrase", "change", "--new-passphrase-file", &same, "--no-key-file"]);
    run(with(&machine, new, &["duress", "remove"]), b"").exits(0);
    run(with(&machine, DURESS, &["list"]), b"").exits(12);
}

#[test]
fn rules_that_somebody_removes_hold_and_come_back() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk"]);
    machine.ok(&["safeguards", "--dead-man", "30"]);
    let mut daemon = machine.daemon();
    let rules = machine.vault().join("rules");
    let before = fs::read(&rules).expect("the rules");
    fs::remove_file(&rules).expect("removed");
    // A signal lets the watch look at once.
    signal(daemon.process.pid());
    wait_for("the rules", || fs::read(&rules).is_ok_and(|now| now == before).then_some(()));
    machine.ok(&["safeguards", "--wipe", "at-once"]);
    signal(daemon.process.pid());
    wait_for("the vault's end", || (!machine.vault().exists()).then_some(()));
    daemon.process.ends();

    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk"]);
    machine.ok(&["safeguards", "--wipe", "at-once"]);
    let mut daemon = machine.daemon();
    fs::remove_file(machine.vault().join("rules")).expect("removed");
    signal(daemon.process.pid());
    wait_for("the vault's end", || (!machine.vault().exists()).then_some(()));
    daemon.process.ends();
}

#[test]
fn nothing_stays_open_when_what_watches_over_it_is_killed() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk"]);
    machine.ok(&["unlock"]);
    let mut daemon = machine.daemon();
    while let Some(watch) = process(&machine, "watch") {
        let pid = i32::try_from(watch).ok().and_then(Pid::from_raw).expect("a process");
        let _ = kill_process(pid, Signal::KILL);
    }
    daemon.process.ends();
    wait_for("the agent's end", || process(&machine, "agent").is_none().then_some(()));
    assert_eq!(machine.reports().len(), 0, "and the vault opens again");
    machine.ok(&["unlock"]);
    drop(machine.daemon());
}

#[test]
fn a_wipe_ends_what_carries_too() {
    let (_a, b) = team_of_two();
    b.ok(&["safeguards", "--wipe", "at-once"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address").to_string();
    let _waiting = b.start(&["sync", "--with", &address]);
    // It waits for an answer: now it has the depot's key.
    let (_stream, _) = nobody.accept().expect("a connection");
    assert!(process(&b, "courier").is_some());
    b.ok(&["wipe"]);
    assert_eq!(process(&b, "courier"), None);
    assert!(!b.vault().exists());
}
