//! What may come to lie in the swap space: memory is locked where the system lets it, else it is said.

use std::fs;
use std::process::Command;

use fieldbook_tests::{Machine, Run, run};

use crate::carriers::world;

/// Kilobytes of a process's memory: locked, in memory, swapped out.
fn memory(pid: u32) -> [u64; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    ["VmLck:", "RssAnon:", "VmSwap:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    })
}

/// A command of somebody who may lock as good as nothing, and may not lift that.
fn powerless(machine: &Machine, args: &[&str]) -> Run {
    let command = machine.command(args);
    let mut limited = Command::new("prlimit");
    limited.args(["--memlock=65536:65536", "setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(limited, b"")
}

#[test]
fn who_may_lock_memory_has_all_of_it_locked_in_every_process() {
    let status = fs::read_to_string("/proc/self/status").expect("of this test");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    let rights = u64::from_str_radix(rights.trim(), 16).expect("a number");
    if rights >> 14 & 1 == 0 {
        println!("skipped: this user may not lock memory (CAP_IPC_LOCK)");
        return;
    }
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "T"]);
    machine.ok(&["unlock"]);
    let daemon = machine.daemon();
    let all = machine.processes();
    assert!(all.len() >= 4, "agent, daemon, and a watch beside each: {all:?}");
    for process in &all {
        let [locked, anonymous, swapped] = memory(process.pid);
        assert!(locked >= anonymous && anonymous > 0 && swapped == 0, "{process:?}: {locked} {anonymous}");
    }
    drop(daemon);
}

#[test]
fn where_memory_may_be_swapped_out_in_the_clear_that_is_said() {
    if !world::inside("swap::where_memory_may_be_swapped_out_in_the_clear_that_is_said") {
        return;
    }
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "T"]);
    let doctor =
        |said: Run| said.lines().into_iter().find(|line| line["check"] == "memory").expect("a check");
    let swaps = |device: &str| {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let file = machine.file("swaps", format!("{heading}{device} partition\t8388604\t\t0\t\t-2\n"));
        world::instead("/proc/swaps", &file);
    };
    swaps("/dev/sda2");
    let said = doctor(powerless(&machine, &["--json", "doctor"]));
    assert_eq!(said["verdict"], "notice", "{said}");
    assert!(said["do"].as_str().expect("words").contains("swapoff"), "{said}");
    let said = powerless(&machine, &["--json", "unlock"]).exits(0);
    assert!(said.err().contains("memory-not-locked"), "{said:?}");
    machine.ok(&["lock"]);
    // Compressed memory is not the disk.
    swaps("/dev/zram0");
    assert_eq!(doctor(powerless(&machine, &["--json", "doctor"]))["verdict"], "good");
    assert!(!powerless(&machine, &["--json", "unlock"]).exits(0).err().contains("memory-not-locked"));
    machine.ok(&["lock"]);
}
