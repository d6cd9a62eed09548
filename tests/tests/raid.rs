//! A raid: how a vault is locked and wiped, what a duress passphrase gives up; one file because all of it is told with the same vaults, words and
//! processes.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fieldbook_tests::{Machine, Run, processes, run, team_of_two, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What stands in the reports of this page and nowhere else.
pub const WORDS: [&str; 4] = ["Numbatstory", "Залубінская", "dugongtitle", "kakaposource"];

pub fn report(machine: &Machine) -> String {
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
pub fn process(machine: &Machine, what: &str) -> Option<u32> {
    let wanted = format!("\0{what}\0");
    let is_it = |arguments: &[u8]| arguments.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    machine.processes().into_iter().find(|process| is_it(&process.arguments)).map(|process| process.pid)
}

fn signal(pid: u32) {
    send(pid, Signal::USR1);
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

/// The day of the dead man's switch is set back by hand, as the days would pass, and the machine was started anew since.
fn let_the_day_pass(machine: &Machine) {
    let rules = machine.vault().join("rules");
    let mut bytes = fs::read(&rules).expect("the rules");
    bytes[4..12].copy_from_slice(&1_490_400_000_u64.to_be_bytes());
    bytes[12..36].fill(0);
    // Whole or not at all: the watch may look at any time, and puts back what is missing.
    let beside = machine.root().join("rules");
    fs::write(&beside, bytes).expect("the rules");
    fs::rename(&beside, rules).expect("the rules");
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

fn has_logs(machine: &Machine) -> bool {
    names(&machine.vault()).iter().any(|name| name.ends_with("-wal") || name.ends_with("-shm"))
}

/// Puts a copy of a vault into the place of this machine's.
fn put_back(machine: &Machine, copy: &Path) {
    let _ = fs::remove_dir_all(machine.vault());
    copy_dir(copy, &machine.vault());
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for file in fs::read_dir(from).expect("a directory").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("a file");
    }
}

/// `fieldbook` with the vault and without any passphrase.
fn without_passphrase(machine: &Machine, args: &[&str]) -> Run {
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).arg("--no-input").args(args);
    run(command, b"")
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
    b.rests();
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
        machine.rests();
    }
}

#[test]
fn a_locked_vault_is_wiped_at_once_if_its_owner_chose_that() {
    let machine = Machine::with_vault("Monitor");
    report(&machine);
    machine.ok(&["safeguards", "--wipe", "at-once"]);
    // Locked, and no daemon.
    machine.rests();
    let said = without_passphrase(&machine, &["--json", "wipe"]).exits(0);
    assert_eq!(said.lines()[0]["event"], "wiped");
    assert!(!machine.vault().exists());
}

/// Wipes, and kills everything as soon as `now` is so. What of it ran to its end is as good.
fn wipe_cut_off(machine: &Machine, now: impl Fn() -> bool) {
    let mut wiping = machine.start(&["wipe", "--yes"]);
    let others = || machine.processes().iter().map(|process| process.pid).collect::<Vec<_>>();
    let mut victims = others();
    let mut looked = Instant::now();
    while wiping.runs() && !now() {
        // Known before the moment comes: looking for them takes longer than a wipe.
        if looked.elapsed() > Duration::from_millis(15) {
            (victims, looked) = (others(), Instant::now());
        }
    }
    processes::shoot(&victims);
    wiping.kill();
    machine.falls();
}

#[test]
fn a_wipe_that_is_killed_opens_nothing_or_everything_and_is_finished_by_the_next() {
    let machine = Machine::with_vault("Monitor");
    report(&machine);
    let (vault, asks, at_once) = (machine.vault(), machine.path("asks"), machine.path("at-once"));
    copy_dir(&vault, &asks);
    machine.ok(&["safeguards", "--wipe", "at-once"]);
    copy_dir(&vault, &at_once);
    let slots = fs::read(vault.join("slots")).expect("the slots");
    let keys = fs::read(vault.join("1.k")).expect("a key file");
    let mut unfinished = 0;
    for (template, unlocked) in [(&asks, false), (&asks, true), (&at_once, false), (&at_once, true)] {
        for moment in 0..6 {
            put_back(&machine, template);
            if unlocked {
                machine.ok(&["unlock"]);
            }
            let began = Instant::now();
            wipe_cut_off(&machine, || match moment {
                0 => began.elapsed() > Duration::from_millis(20),
                1 => began.elapsed() > Duration::from_millis(100),
                2 => fs::read(vault.join("slots")).is_ok_and(|now| now != slots),
                3 => fs::read(vault.join("1.k")).is_ok_and(|now| now != keys),
                4 => names(&vault).len() < 10,
                _ => names(&vault).len() < 5,
            });
            let when = format!("{}, unlocked: {unlocked}, moment {moment}", template.display());
            let listed = machine.run(&["--json", "list"]);
            let error = || listed.error()["code"].as_str().map(str::to_owned);
            match listed.code {
                0 => assert_eq!(titles(&listed.lines()), ["dugongtitle"], "{when}"),
                10 => assert_eq!(error().as_deref(), Some("no-vault"), "{when}"),
                16 => {
                    assert_eq!(error().as_deref(), Some("keys-destroyed"), "{when}");
                    assert!(
                        listed.error()["hint"].as_str().is_some_and(|hint| hint.contains("fieldbook wipe"))
                    );
                    assert_eq!(machine.fails(16, &["init", "--name", "New"])["code"], "keys-destroyed");
                    unfinished += 1;
                }
                _ => panic!("{when}: {listed:?}"),
            }
            match listed.code {
                0 => drop(machine.ok(&["wipe", "--yes"])),
                16 => drop(without_passphrase(&machine, &["wipe", "--yes"]).exits(0)),
                _ => {}
            }
            assert!(names(&vault).is_empty(), "{when}: {:?}", names(&vault));
        }
    }
    println!("cut off between the first write and the end: {unfinished} of 24");
}

#[test]
fn what_ends_an_agent_closes_the_vault() {
    let machine = Machine::with_vault("Monitor");
    let mut reports = 0;
    let mut unlocked = |args: &[&str], idle_s: Option<u64>| {
        let said = machine.json(&[&["unlock"], args].concat()).remove(0);
        assert_eq!(said["idle_s"].as_u64(), idle_s, "{said}");
        report(&machine);
        reports += 1;
        // The test of the test: it is not closed while it is open.
        assert!(has_logs(&machine), "a log");
        process(&machine, "agent").expect("the agent")
    };
    let closed = |how: &str| {
        machine.rests();
        assert!(!has_logs(&machine), "{how}: {:?}", names(&machine.vault()));
        let sockets = machine.root().join("run");
        let agent = |dir: &String| names(&sockets.join(dir)).iter().any(|name| name == "agent");
        assert!(!names(&sockets).iter().any(agent), "{how}: its socket is left");
    };
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        send(unlocked(&[], Some(1800)), signal);
        closed(&format!("{signal:?}"));
    }
    unlocked(&["--for", "8s"], Some(8));
    closed("eight seconds without a command");
    send(unlocked(&["--for", "never"], None), Signal::TERM);
    closed("never");
    assert_eq!(machine.reports().len(), reports);
}

#[test]
fn the_day_that_the_owner_set_ends_agent_and_daemon_and_the_keys() {
    for through_the_daemon in [true, false] {
        let machine = Machine::with_vault("Monitor");
        machine.ok(&["team", "create", "Minsk"]);
        machine.ok(&["safeguards", "--dead-man", "3"]);
        machine.ok(&["unlock"]);
        let mut daemon = machine.daemon();
        let agent = process(&machine, "agent").expect("the agent");
        let target = if through_the_daemon { daemon.process.pid() } else { agent };
        signal(target);
        assert_eq!(machine.reports().len(), 0, "the day has not come");
        let_the_day_pass(&machine);
        // It is looked at each minute, and whenever a signal comes.
        signal(target);
        daemon.process.ends();
        machine.rests();
        for args in [&["list"][..], &["unlock"], &["init", "--name", "New"]] {
            let error = machine.fails(16, args);
            assert_eq!(error["code"], "keys-destroyed", "{args:?}");
            assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("`fieldbook wipe`")), "{error}");
        }
        assert_eq!(machine.fails(4, &["wipe"])["code"], "cannot-ask", "it asks whether it is meant");
        without_passphrase(&machine, &["wipe", "--yes"]).exits(0);
        assert!(!machine.vault().exists());
        machine.ok(&["init", "--name", "New", "--work-factor", "15"]);
    }
}

#[test]
fn the_day_that_the_owner_set_ends_the_keys_of_a_locked_vault() {
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
    let_the_day_pass(&machine);
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

/// Text in which everything that differs by chance is the same: ids and times, which are eight digits or more.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for sign in text.chars().chain(['\n']) {
        if matches!(sign, '0'..='9' | 'a'..='f') {
            digits.push(sign);
            continue;
        }
        out.push_str(if digits.len() < 8 { &digits } else { "…" });
        digits.clear();
        out.push(sign);
    }
    out
}

#[test]
fn under_duress_every_command_says_what_a_vault_says_that_never_had_a_decoy() {
    let (forced, plain) = (with_decoy(), Machine::with_vault("Monitor"));
    plain.write(&["--template", "detention", "--title", "Shopping"]);
    let templates = [&forced, &plain].map(|machine| {
        let copy = machine.path("copy");
        copy_dir(&machine.vault(), &copy);
        copy
    });
    let commands = [
        &["unlock"][..],
        &["status"],
        &["list"],
        &["daemon", "status"],
        &["duress", "show"],
        &["safeguards"],
        &["exports"],
        &["wipe"],
        &["lock"],
    ];
    let said = |json: bool, args: &[&str]| {
        let args = if json { [&["--json"], args].concat() } else { args.to_vec() };
        let of = |run: Run| (run.code, masked(&run.out()), masked(&run.err()));
        let forced = of(run(with(&forced, DURESS, &args), b""));
        let plain = of(plain.run(&args));
        assert_eq!(forced, plain, "{args:?}");
        forced.1
    };
    for json in [false, true] {
        // Each as the first that is given the duress passphrase.
        for args in commands {
            put_back(&forced, &templates[0]);
            put_back(&plain, &templates[1]);
            said(json, args);
            if args == ["list"] {
                assert_eq!(forced.fails(12, &["list"])["code"], "wrong-passphrase", "it was the first");
            }
            run(with(&forced, DURESS, &["lock"]), b"").exits(0);
            plain.ok(&["lock"]);
        }
        // And all, one after the other.
        put_back(&forced, &templates[0]);
        put_back(&plain, &templates[1]);
        let all: Vec<String> = commands.iter().map(|args| said(json, args)).collect();
        assert!(all[2].contains("Shopping") && all[1].contains("rafts"), "{all:#?}");
        assert_eq!(names(&forced.vault()).len(), names(&plain.vault()).len());
    }
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
    // Back to what it was, it goes with the same again.
    assert_eq!((&shown()["set"], &shown()["other_key_file"]), (&true.into(), &false.into()));
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

/// A process that has started a watch, has let go of it and lives on, as a daemon may that somebody has taken over.
fn taken_over(machine: &Machine) -> Child {
    let mut job = serde_json::to_vec(&(machine.vault(), "Daemon")).expect("a job");
    let length = u32::try_from(job.len()).expect("a short job");
    job.splice(0..0, length.to_be_bytes());
    let file = machine.path("job");
    fs::write(&file, job).expect("a file");
    let mut command = Command::new("sh");
    let bare = machine.bare();
    command.env_clear().envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "\"$1\" internal watch <\"$2\" >/dev/null & sleep 600 & wait", "sh"]);
    command.arg(bare.get_program()).arg(&file).arg("internal");
    let partner = command.spawn().expect("a shell");
    wait_for("a watch that watches", || {
        let watch = process(machine, "watch")?;
        let status = fs::read_to_string(format!("/proc/{watch}/status")).ok()?;
        status.contains("Seccomp:\t2").then_some(())
    });
    partner
}

#[test]
fn whoever_lets_go_of_its_watch_is_ended_with_the_vault_all_the_same() {
    for by_the_day in [false, true] {
        let machine = Machine::with_vault("Monitor");
        machine.ok(&["safeguards", "--wipe", "at-once", "--dead-man", "3"]);
        let mut partner = taken_over(&machine);
        if by_the_day {
            let_the_day_pass(&machine);
            wait_for("the end of the keys", || {
                let listed = machine.run(&["--json", "list"]);
                (listed.code == 16 && listed.error()["code"] == "keys-destroyed").then_some(())
            });
        } else {
            machine.ok(&["wipe"]);
        }
        let ended = partner.wait().expect("its end");
        assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "by the day: {by_the_day}");
        let others = wait_for("the watch's end", || {
            let left = machine.processes();
            // What the shell had begun.
            left.iter().all(|process| process.arguments.starts_with(b"sleep")).then_some(left)
        });
        others.into_iter().for_each(|process| send(process.pid, Signal::KILL));
    }
}

#[test]
fn a_wipe_ends_what_carries_too() {
    for by_a_signal in [false, true] {
        let (_a, b) = team_of_two();
        b.ok(&["safeguards", "--wipe", "at-once"]);
        b.ok(&["unlock"]);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = nobody.local_addr().expect("an address").to_string();
        let _waiting = b.start(&["sync", "--with", &address]);
        // It waits for an answer: now it has the depot's key.
        let (_stream, _) = nobody.accept().expect("a connection");
        assert!(process(&b, "courier").is_some());
        if by_a_signal {
            signal(process(&b, "agent").expect("the agent"));
            wait_for("the vault's end", || (!b.vault().exists()).then_some(()));
            wait_for("the end of every process of ours", || {
                (process(&b, "agent").is_none() && process(&b, "watch").is_none()).then_some(())
            });
        } else {
            b.ok(&["wipe"]);
        }
        assert_eq!(process(&b, "courier"), None, "by a signal: {by_a_signal}");
        assert!(!b.vault().exists());
    }
}
