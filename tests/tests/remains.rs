//! What is left in memory after `lock`, and of a daemon and a courier at work; and on the disk after the daemon's end.

use std::fs;
use std::path::Path;

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{memory, team_of_two, wait_for};

use crate::image::{Image, Stores};
use crate::raid::{WORDS, process, report};

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
    let film: Vec<u8> = (0..64_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
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
    assert!(syncing.runs(), "it was at work all the time");
    syncing.kill();
    wait_for("the courier's end", || process(&b, "courier").is_none().then_some(()));

    for machine in [&a, &b] {
        machine.ok(&["lock"]);
        wait_for("the agent's end", || process(machine, "agent").is_none().then_some(()));
        secrets.extend([Stores::of(machine).keys(), Image::of(machine).keys()].concat());
    }
    for process in a.lasting().into_iter().chain(b.lasting()) {
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
        machine.rests();
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
