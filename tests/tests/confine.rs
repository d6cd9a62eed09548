//! Confinement, seen from outside: what the system says of the real processes while they work. What they can still do is
//! tried from inside, by the program's own tests (`confine/tests.rs`).

use std::fs;

use fieldbook_tests::{Machine, team_of_two, wait_for};

/// The processes of a machine that the program started for itself, by what they are for.
fn kinds(machine: &Machine) -> Vec<(String, u32)> {
    let kind = |arguments: &[u8]| {
        let words: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let at = words.iter().position(|word| word == "internal")?;
        Some(words.get(at + 1)?.to_string())
    };
    let processes = machine.processes();
    processes.iter().filter_map(|process| Some((kind(&process.arguments)?, process.pid))).collect()
}

/// Every thread of a process has a filter for its calls, and can gain nothing by running another program.
fn is_confined(pid: u32) -> bool {
    let threads: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().collect();
    let held = |status: &str| {
        ["Seccomp:\t2", "NoNewPrivs:\t1"].iter().all(|wanted| status.lines().any(|line| line == *wanted))
    };
    !threads.is_empty()
        && threads
            .iter()
            .all(|thread| fs::read_to_string(thread.path().join("status")).is_ok_and(|it| held(&it)))
}

fn comes(machine: &Machine, kind: &str) {
    wait_for(&format!("a confined {kind}"), || {
        let found = kinds(machine);
        let mut of_kind = found.iter().filter(|(it, _)| it == kind).peekable();
        of_kind.peek()?;
        of_kind.all(|(_, pid)| is_confined(*pid)).then_some(())
    });
}

#[test]
fn every_process_is_confined_while_it_works() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    a.ok(&["unlock"]);
    b.ok(&["unlock"]);
    comes(&a, "daemon-run");
    comes(&a, "agent");
    comes(&a, "watch");
    // One with the agent, one with the daemon, and they end with these.
    assert_eq!(kinds(&a).iter().filter(|(kind, _)| kind == "watch").count(), 2, "{:?}", kinds(&a));
    let id = b.write(&["--template", "detention", "--title", "First"]);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["sync", "--with", daemon.address()]);
    assert_eq!(a.reports().len(), 1);
    // What a coordinator changes comes back and is merged by a worker.
    let id = a.reports()[0]["id"].as_str().expect("an id").to_owned();
    a.ok(&["edit", &id, "--set", "narrative=A coordinator adds this."]);
    b.ok(&["edit", &id, "--title", "First of all"]);
    b.ok(&["sync", "--with", daemon.address()]);
    a.ok(&["list"]);
    b.ok(&["sync", "--with", daemon.address()]);
    comes(&b, "merge");
    // A sync that waits for somebody who does not answer.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address").to_string();
    let _waiting = b.start(&["sync", "--with", &address]);
    comes(&b, "courier");

    let said = a.json(&["daemon", "status"]).pop().expect("a line");
    assert_eq!(said["confinement"], "confined");
    assert!(said["landlock"].as_u64().is_some_and(|version| version > 0), "{said}");
    let said = a.run(&["--json", "doctor"]);
    let checks: Vec<_> = said.lines().into_iter().filter(|line| line["check"] == "confinement").collect();
    assert_eq!(checks.len(), 2, "{checks:?}");
    let is_exact = |found: &str| found.contains("in its calls, and in its files by Landlock ");
    assert!(
        checks
            .iter()
            .all(|check| check["verdict"] == "good" && check["found"].as_str().is_some_and(is_exact)),
        "{checks:?}"
    );

    a.ok(&["lock"]);
    wait_for("the end of the agent's watch", || {
        (kinds(&a).iter().filter(|(kind, _)| kind == "watch").count() == 1).then_some(())
    });
    a.ok(&["daemon", "stop"]);
    // A worker has no environment that tells whose it is; the other machine's may be there.
    wait_for("the end of every process", || kinds(&a).iter().all(|(kind, _)| kind == "merge").then_some(()));
}
