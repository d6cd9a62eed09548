//! Disks that are full: a relay declines as one that is full, a stick keeps what finds no room, nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fieldbook_tests::{Machine, Running, run, team_of_two, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::making::{film, stick, text, with_film};
use crate::reading::{ids, word_of_delivery};
use crate::relay::relay_of;

/// Runs `script` where the vault lies on a disk of its own, which has so many megabytes. `$0` is the vault, `$@`
/// the program and its arguments.
fn on_a_disk(machine: &Machine, megabytes: u32, script: &str, args: &[&str]) -> Command {
    let program = machine.command(args);
    let (vault, beside) = (machine.vault(), machine.root().join("beside"));
    let _ = fs::create_dir(&beside);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!(
        "beside='{}'; rm -rf \"$beside\"/* && cp -a \"$0\"/. \"$beside\" && \
         mount -t tmpfs -o size={megabytes}m none \"$0\" && cp -a \"$beside\"/. \"$0\" && {{ {script} }}",
        beside.display()
    ));
    command.arg(vault).arg(program.get_program()).args(program.get_args());
    command.env_clear().current_dir(machine.path("."));
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn able(machine: &Machine) -> bool {
    let able = run(on_a_disk(machine, 50, "true;", &[]), b"").code == 0;
    if !able {
        eprintln!("no mount namespaces here: a full disk was not tried");
    }
    able
}

#[test]
fn a_stick_is_read_on_a_full_disk_without_harm_and_again_when_there_is_room() {
    let (a, b) = team_of_two();
    if !able(&a) {
        return;
    }
    with_film(&b, 1, 3 << 20);
    let stick = stick();
    b.ok(&["bundle", "write", text(stick.path())]);
    // 40 MB: less than is kept free. Then no byte at all. Then a larger disk.
    let script = "\"$@\" moved --yes >/dev/null 2>&1; \"$@\" bundle read \"$STICK\"; echo \"{\\\"v\\\":1,\\\"code\\\":$?}\"; \
         \"$@\" status > /dev/null; \
         cat /dev/zero > \"$0/fill\" 2>/dev/null; \"$@\" bundle read \"$STICK\"; echo \"{\\\"v\\\":1,\\\"code\\\":$?}\"; rm \"$0/fill\"; \
         mount -o remount,size=200m none \"$0\"; \"$@\" bundle read \"$STICK\"; echo \"{\\\"v\\\":1,\\\"code\\\":$?}\"; \
         \"$@\" list; \"$@\" lock;";
    let mut command = on_a_disk(&a, 40, script, &["--json"]);
    command.env("STICK", stick.path());
    let said = run(command, b"");
    let (lines, errors) = (said.lines(), said.err());
    let codes: Vec<&Value> = lines.iter().filter_map(|line| line.get("code")).collect();
    let words: Vec<&Value> = lines.iter().filter(|line| line["event"] == "read").collect();
    assert_eq!((codes[0], codes[2]), (&3.into(), &0.into()), "{said:?}");
    let left = &words[0]["left"];
    assert!(left["entries"].as_u64() >= Some(3) && left["disk"] == left["entries"], "{said:?}");
    assert!(
        errors.contains("its disk has too little room") && errors.contains("make room on the disk"),
        "{said:?}"
    );
    // Without a byte it may not even begin; it says why, and no more happens.
    assert!(codes[1] == 1 || codes[1] == 3, "{said:?}");
    assert!(codes[1] == 3 || errors.contains("\"disk-full\""), "{said:?}");
    let last = words.last().expect("a word");
    assert!(last["new"].as_u64() >= Some(3) && last["left"]["entries"] == 0, "{said:?}");
    let reports: u64 = words.iter().filter_map(|word| word["absorbed"]["reports_new"].as_u64()).sum();
    assert_eq!(reports, 1, "once, whenever it came: {said:?}");
}

/// What the other side of the namespaces sees at this path.
fn seen_by(process: &Running, path: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", process.pid());
    Path::new(&root).join(path.strip_prefix("/").expect("absolute"))
}

#[test]
fn a_relay_on_a_full_disk_declines_as_a_full_one_and_still_gives_what_it_has() {
    let (coordinator, monitor) = team_of_two();
    let relay = relay_of(&coordinator, &["--total", "10G"]);
    relay.run(&["lock"]);
    if !able(&relay) {
        return;
    }
    let mut process = Running::start(on_a_disk(&relay, 160, "exec \"$@\";", &["--json", "relay", "run"]));
    let listen = process.object_with("listening")["listening"].as_str().expect("an address").to_owned();
    let status = || relay.json(&["relay", "status"]).remove(0);
    let first = with_film(&monitor, 1, 3 << 20);
    monitor.ok(&["sync", "--with", &listen]);
    assert_eq!(word_of_delivery(&monitor, &first), "carried");
    assert_eq!((&status()["full"], &status()["full_for_attachments"]), (&false.into(), &false.into()));

    // Something else fills the disk, to the last byte.
    let fill = seen_by(&process, &relay.vault().join("fill"));
    let mut zeros = Command::new("cp");
    zeros.arg("/dev/zero").arg(&fill);
    run(zeros, b"").exits(1);
    let full = status();
    assert_eq!((&full["full"], &full["full_for_attachments"]), (&true.into(), &true.into()), "{full}");
    assert!(relay.ok(&["relay", "status"]).out().contains("IT IS FULL"));
    let second = with_film(&monitor, 2, 1 << 20);
    for _ in 0..2 {
        monitor.run(&["sync", "--with", &listen]).exits(3);
        assert_eq!(word_of_delivery(&monitor, &second), "only here");
        let why = monitor.show(&second)["summary"]["delivery"]["attention"][0].clone();
        assert!(why.as_str().is_some_and(|why| why.contains("the relay is full")), "{why}");
    }
    // What it holds it gives, though it has no room for the receipts.
    coordinator.run(&["sync", "--with", &listen]);
    assert_eq!(ids(&coordinator), std::slice::from_ref(&first));
    let out = coordinator.path("film");
    coordinator.ok(&["attachment", &first, "film.mp4", "--out", text(&out)]);
    assert_eq!(fs::read(out).expect("the film"), film(1, 3 << 20));

    fs::remove_file(fill).expect("room");
    wait_for("the second film on the relay", || {
        monitor.run(&["sync", "--with", &listen]);
        (word_of_delivery(&monitor, &second) == "carried").then_some(())
    });
    coordinator.ok(&["sync", "--with", &listen]);
    assert!(ids(&coordinator).contains(&second));
    process.signal(Signal::TERM);
    let end = process.ends();
    assert!(end.success(), "{end:?}: {}", process.err());
}
