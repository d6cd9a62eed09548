//! Backups and copies: what comes back is a new device, and two devices never continue one chain.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldbook_tests::{Machine, PHOTO, Running, free_port, pair, processes, run, team_of_two};
use serde_json::Value;

use crate::reading::{sync, word_of_delivery};

const FILES: [&str; 10] = ["0.a", "0.b", "0.k", "1.a", "1.b", "1.k", "lock", "lock.net", "rules", "slots"];

fn draft(machine: &Machine, title: &str) -> String {
    machine.write(&["--template", "detention", "--title", title, "--set", "date=2017-03-25"])
}

fn report(machine: &Machine, title: &str) -> String {
    let id = draft(machine, title);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

fn titles(machine: &Machine) -> Vec<String> {
    let reports = machine.reports();
    let mut titles: Vec<String> =
        reports.iter().filter_map(|line| line["title"].as_str().map(str::to_owned)).collect();
    titles.sort();
    titles
}

/// The id of the only report with this title.
#[track_caller]
fn titled(machine: &Machine, title: &str) -> String {
    let reports = machine.reports();
    let mut found = reports.iter().filter(|line| line["title"] == title);
    let id = found.next().unwrap_or_else(|| panic!("no {title}"))["id"].as_str().expect("an id").to_owned();
    assert!(found.next().is_none(), "{title} is there twice");
    id
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    run(command, b"").exits(0);
}

/// Another machine that has the vault of this one, or a backup of it, as its own; and its passphrase.
fn machine_with(name: &str, of: &Machine) -> Machine {
    let machine = Machine::new(name);
    machine.secret_file("passphrase", &format!("{}\n", of.passphrase()));
    machine
}

/// A copy of the whole directory, as people make one.
fn copied(name: &str, of: &Machine) -> Machine {
    let machine = machine_with(name, of);
    copy(&of.vault(), &machine.vault());
    machine
}

fn device(machine: &Machine) -> String {
    machine.json(&["status"])[0]["device"]["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn nothing_is_wrong(machines: &[&Machine]) {
    for machine in machines {
        let status = machine.json(&["status"]).remove(0);
        assert_eq!(status["problems"], serde_json::json!([]), "{}", machine.name());
        assert_eq!(status["waiting"], 0, "{}", machine.name());
    }
}

/// `team invite` with more options, and `join`: what the inviter said at the end, and its warnings.
#[track_caller]
fn pair_with(coordinator: &Machine, newcomer: &Machine, role: &str, options: &[&str]) -> (Value, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let invite = ["team", "invite", "--role", role, "--listen", &address, "--yes"];
    let mut invitation: Running = coordinator.start(&[&invite, options].concat());
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    newcomer.ok(&["join", &code, "--at", &address, "--yes"]);
    let admitted = invitation.object_with("event");
    assert!(invitation.ends().success(), "{}", invitation.err());
    let admitted = if admitted["event"] == "check-words" {
        invitation
            .rest()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["event"] == "admitted")
            .expect("the admission")
    } else {
        admitted
    };
    (admitted, invitation.err())
}

#[track_caller]
fn state_of(coordinator: &Machine, device: &str) -> String {
    let people = coordinator.json(&["team", "people"]);
    let found = people.iter().find(|person| person["device"] == device);
    found.unwrap_or_else(|| panic!("no {device} in {people:?}"))["state"].as_str().expect("a word").to_owned()
}

#[test]
fn a_copied_directory_is_read_and_signs_nothing_until_it_is_a_new_device() {
    let (a, b) = team_of_two();
    report(&b, "Before");
    sync(&b, &a);
    let unfinished = draft(&b, "Draft");
    b.ok(&["attach", &unfinished, PHOTO]);
    let c = copied("Copy", &b);

    // The original goes on, with the same draft too.
    b.ok(&["finish", &unfinished, "--incomplete"]);
    report(&b, "By the original");
    sync(&b, &a);
    nothing_is_wrong(&[&a, &b]);

    assert_eq!(titles(&c), ["Before", "Draft"]);
    assert_eq!(c.fails(18, &["finish", &unfinished, "--incomplete"])["code"], "moved");
    let before = titled(&c, "Before");
    assert_eq!(c.fails(18, &["edit", &before, "--set", "charges=none"])["code"], "moved");
    let out = c.path("published");
    c.ok(&["export", &before, "--format", "html", "--out", out.to_str().expect("UTF-8")]);
    assert!(out.exists());
    // What happens now can be written down all the same.
    draft(&c, "Written in the copy");
    c.ok(&["edit", &unfinished, "--set", "authority=police"]);
    let said = c.ok(&["status"]);
    assert!(said.out().contains("copied or moved") && said.err().contains("fieldbook moved"), "{said:?}");
    // A copy may fetch. It adds nothing to the chain by it.
    sync(&c, &a);

    let (admitted, _) = pair_with(&a, &c, "monitor", &["--replaces", "Monitor"]);
    assert_eq!(admitted["replaced"]["label"], "Monitor", "{admitted}");
    let (old, new) = (device(&b), device(&c));
    assert_ne!(old, new);
    assert_eq!((state_of(&a, &old), state_of(&a, &new)), ("lost".to_owned(), "member".to_owned()));
    let log = a.ok(&["team", "log"]).out();
    assert!(log.contains("replaced") && log.contains("lost"), "{log}");

    assert_eq!(titles(&c), ["Before", "Draft", "Written in the copy"]);
    let mine = titled(&c, "Draft");
    assert_ne!(mine, unfinished, "the original finished the other one");
    c.ok(&["finish", "--all", "--incomplete"]);
    sync(&c, &a);
    sync(&c, &a);
    assert_eq!(titles(&a), ["Before", "By the original", "Draft", "Draft", "Written in the copy"]);
    let photo = a.path("photo.jpg");
    a.ok(&["attachment", &mine, "photo.jpg", "--out", photo.to_str().expect("UTF-8")]);
    assert!(fs::read(photo).expect("the photograph") == fs::read(PHOTO).expect("the original"));
    assert_eq!(crate::reading::field(&a.show(&mine), "authority"), "police");
    nothing_is_wrong(&[&a, &c]);
    for title in ["Before", "Draft", "Written in the copy"] {
        assert_eq!(word_of_delivery(&c, &titled(&c, title)), "received", "{title}");
    }
    // What the old device wrote is added to, not changed.
    assert_eq!(c.show(&before)["summary"]["author_label"], "Monitor (before it was restored)");
    assert_eq!(c.fails(1, &["edit", &before, "--set", "charges=none"])["code"], "not-your-report");
    let more = c.run_with(&["--json", "addendum", &before], b"More of it.").exits(0).lines();
    c.ok(&["finish", more[0]["id"].as_str().expect("an id")]);
    sync(&c, &a);
    assert_eq!(a.show(&before)["addenda"].as_array().map(Vec::len), Some(1));

    // The one that was replaced reaches nobody.
    let daemon = a.daemon();
    assert_ne!(b.run(&["sync", "--with", daemon.address()]).code, 0);
}

#[test]
fn what_the_lost_device_had_signed_arrives_through_the_copy() {
    let (a, b) = team_of_two();
    report(&b, "Received");
    sync(&b, &a);
    report(&b, "Finished, not sent");
    let c = copied("Copy", &b);
    pair_with(&a, &c, "monitor", &["--replaces", "Monitor"]);
    assert_eq!(word_of_delivery(&c, &titled(&c, "Finished, not sent")), "only here");
    sync(&c, &a);
    sync(&c, &a);
    assert_eq!(titles(&a), ["Finished, not sent", "Received"]);
    for title in ["Received", "Finished, not sent"] {
        assert_eq!(word_of_delivery(&c, &titled(&c, title)), "received", "{title}");
    }
    nothing_is_wrong(&[&a, &c]);
    // It is this notebook's own: it can be sealed, and is gone then.
    let id = titled(&c, "Received");
    c.ok(&["seal", &id]);
    assert_eq!(c.fails(1, &["show", &id])["code"], "sealed");
    assert_eq!(titles(&a), ["Finished, not sent", "Received"]);
}

#[test]
fn a_moved_vault_goes_on_when_its_person_says_so_and_an_old_state_of_it_is_found_out() {
    let (a, b) = team_of_two();
    report(&b, "First");
    sync(&b, &a);
    let saved = b.path("saved");
    copy(&b.vault(), &saved);

    // Renaming is no copying.
    let aside = b.root().join("aside");
    fs::rename(b.vault(), &aside).expect("a move");
    fs::rename(&aside, b.vault()).expect("a move");
    report(&b, "Second");
    // A disk is exchanged: copied, and the old one is gone.
    copy(&b.vault(), &aside);
    fs::remove_dir_all(b.vault()).expect("the old disk");
    fs::rename(&aside, b.vault()).expect("a move");
    let kept = draft(&b, "Third");
    assert_eq!(b.fails(18, &["finish", &kept, "--incomplete"])["code"], "moved");
    b.fails(4, &["moved"]);
    b.ok(&["moved", "--yes"]);
    b.ok(&["finish", &kept, "--incomplete"]);
    sync(&b, &a);
    assert_eq!(titles(&a), ["First", "Second", "Third"]);
    nothing_is_wrong(&[&a, &b]);

    // Somebody puts an old state of it in its place, and swears that it is the only one.
    fs::remove_dir_all(b.vault()).expect("the vault");
    copy(&saved, &b.vault());
    b.ok(&["moved", "--yes"]);
    sync(&b, &a);
    let again = draft(&b, "Fourth");
    assert_eq!(b.fails(18, &["finish", &again, "--incomplete"])["code"], "superseded");
    assert_eq!(b.fails(18, &["moved", "--yes"])["code"], "superseded");
    nothing_is_wrong(&[&a]);
    pair_with(&a, &b, "monitor", &["--replaces", "Monitor"]);
    b.ok(&["finish", "--all", "--incomplete"]);
    sync(&b, &a);
    assert_eq!(titles(&a), ["First", "Fourth", "Second", "Third"]);
    nothing_is_wrong(&[&a]);
}

#[test]
fn a_backup_comes_back_as_another_device_while_the_original_goes_on() {
    let (a, b) = team_of_two();
    let known = report(&b, "Before");
    sync(&b, &a);
    sync(&b, &a);
    let unfinished = draft(&b, "Draft");
    b.ok(&["attach", &unfinished, PHOTO]);
    let (backup, second) = (b.path("backup"), b.path("second"));
    let said = b.ok(&["backup", backup.to_str().expect("UTF-8")]);
    assert!(said.out().contains("1 report and 1 draft") && said.err().contains("seal"), "{said:?}");
    // Also while the vault is unlocked and its passphrase is nowhere.
    b.ok(&["unlock"]);
    b.ok(&["backup", second.to_str().expect("UTF-8")]);
    b.ok(&["lock"]);
    for dir in [&backup, &second] {
        let mut names: Vec<String> = fs::read_dir(dir)
            .expect("a backup")
            .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        assert_eq!(names, FILES);
        let size = |name: &str| fs::metadata(dir.join(name)).expect("a file").len();
        assert_eq!((size("0.a"), size("0.b"), size("0.k")), (size("1.a"), size("1.b"), size("1.k")));
    }
    assert_eq!(b.fails(1, &["backup", backup.to_str().expect("UTF-8")])["code"], "vault-exists");

    let c = machine_with("Restored", &b);
    let from = backup.to_str().expect("UTF-8");
    c.ok(&["restore", from]);
    assert_eq!(c.fails(1, &["restore", from])["code"], "vault-exists");
    assert_eq!(titles(&c), ["Before", "Draft"]);
    let mine = titled(&c, "Draft");
    assert_eq!(c.fails(1, &["finish", &mine, "--incomplete"])["code"], "no-team");
    assert!(c.ok(&["status"]).out().contains("restored"));
    assert_eq!(word_of_delivery(&c, &known), "received", "who confirmed it is not forgotten");
    let photo = c.path("photo.jpg");
    c.ok(&["attachment", &mine, "photo.jpg", "--out", photo.to_str().expect("UTF-8")]);
    assert!(fs::read(photo).expect("the photograph") == fs::read(PHOTO).expect("the original"));

    // Nobody says which one it replaces: the coordinator is warned, and both go on as two.
    let (_, warned) = pair_with(&a, &c, "monitor", &[]);
    assert!(warned.contains("second-identity") && warned.contains("--replaces"), "{warned}");
    b.ok(&["finish", "--all", "--incomplete"]);
    c.ok(&["finish", "--all", "--incomplete"]);
    report(&b, "By the original");
    report(&c, "By the restored one");
    for _ in 0..2 {
        sync(&b, &a);
        sync(&c, &a);
    }
    assert_eq!(titles(&a), ["Before", "By the original", "By the restored one", "Draft", "Draft"]);
    nothing_is_wrong(&[&a, &b, &c]);
    // The backup was not used up, and gives yet another device.
    let d = machine_with("Restored again", &b);
    d.ok(&["restore", from]);
    let devices = [device(&b), device(&c), device(&d)];
    assert!(devices[0] != devices[1] && devices[1] != devices[2] && devices[0] != devices[2]);

    // Opened where it lies, it is a new device as well, and says so.
    let e = machine_with("Opened", &b);
    copy(&second, &e.vault());
    let said = e.ok(&["list"]);
    assert!(said.err().contains("new device"), "{said:?}");
    assert_ne!(device(&e), devices[0]);
    e.fails(10, &["restore", e.path("nowhere").to_str().expect("UTF-8"), "--vault", "elsewhere"]);
}

#[test]
fn a_coordinators_backup_goes_on_reading_what_it_could() {
    let (a, b) = team_of_two();
    let early = report(&b, "Early");
    sync(&b, &a);
    let backup = a.path("backup");
    a.ok(&["backup", backup.to_str().expect("UTF-8")]);
    let late = report(&b, "Late");
    sync(&b, &a);

    let c = machine_with("Second", &a);
    c.ok(&["restore", backup.to_str().expect("UTF-8")]);
    assert_eq!(c.show(&early)["content"]["title"], "Early");
    pair_with(&a, &c, "coordinator", &[]);
    sync(&c, &a);
    // The desk's key of that time is in the backup.
    assert_eq!(titles(&c), ["Early", "Late"]);
    sync(&b, &c);
    sync(&b, &c);
    let holders = b.show(&early)["summary"]["delivery"]["holders"].clone();
    assert_eq!(holders.as_array().map(Vec::len), Some(2), "it signs as the device that it is now: {holders}");
    c.ok(&["edit", &late, "--set", "authority=riot police"]);
    sync(&c, &a);
    assert_eq!(crate::reading::field(&a.show(&late), "authority"), "riot police");
    nothing_is_wrong(&[&a, &b, &c]);
}

#[test]
fn a_lost_coordinators_copy_comes_back_with_the_sheets_and_not_as_itself() {
    let a = Machine::with_vault("Coordination");
    let sheets: Vec<String> = a
        .json(&["team", "create", "Minsk 2017", "--recovery", "2of3"])
        .iter()
        .filter_map(|line| line["words"].as_str().map(str::to_owned))
        .collect();
    let b = Machine::with_vault("Monitor");
    pair(&a, &b, "monitor");
    report(&b, "Early");
    sync(&b, &a);
    let c = copied("Copy", &a);
    let old = device(&a);
    c.fails(18, &["team", "remove", "Monitor", "--yes"]);
    let said = c.run_with(&["--json", "recovery", "restore"], sheets[..2].join("\n").as_bytes()).exits(0);
    assert_eq!(said.lines().pop().expect("an answer")["joined"], true);
    assert_ne!(device(&c), old);
    c.ok(&["team", "remove", &old, "--lost", "--yes"]);
    report(&b, "Later");
    sync(&b, &c);
    assert_eq!(titles(&c), ["Early", "Later"]);
    nothing_is_wrong(&[&b, &c]);
}

/// `kill -9` for a command and its agent, so long after its start.
fn cut(machine: &Machine, command: &mut Running, after: Duration) {
    std::thread::sleep(after);
    let below: Vec<u32> = machine.processes().iter().map(|process| process.pid).collect();
    processes::shoot(&below);
    command.kill();
    machine.falls();
}

#[test]
fn kill_9_leaves_a_whole_backup_or_none_and_never_the_old_device_twice() {
    let (a, b) = team_of_two();
    report(&b, "Before");
    sync(&b, &a);
    let unfinished = draft(&b, "Draft");
    b.ok(&["attach", &unfinished, PHOTO]);
    let me = device(&b);
    let whole = b.path("whole");
    b.ok(&["backup", whole.to_str().expect("UTF-8")]);
    let (mut backups, mut restored) = (0, 0);
    for n in 0..12_u64 {
        let dir = b.path(&format!("backup-{n}"));
        let mut command = b.start(&["backup", dir.to_str().expect("UTF-8")]);
        cut(&b, &mut command, Duration::from_millis(40 * n));
        assert_eq!(titles(&b), ["Before", "Draft"]);
        let c = machine_with("Restored", &b);
        // Half of a backup is no vault; the same command makes a whole one of it.
        if !dir.join("slots").exists() {
            c.fails(10, &["restore", dir.to_str().expect("UTF-8")]);
            b.ok(&["backup", dir.to_str().expect("UTF-8")]);
            backups += 1;
        }
        let mut command = c.start(&["restore", dir.to_str().expect("UTF-8")]);
        cut(&c, &mut command, Duration::from_millis(40 * n));
        if !c.vault().join("slots").exists() {
            c.ok(&["restore", dir.to_str().expect("UTF-8")]);
            restored += 1;
        }
        assert_eq!(titles(&c), ["Before", "Draft"]);
        assert_ne!(device(&c), me);
    }
    println!("cut off in time: {backups} backups, {restored} restorations");
    assert!(backups > 0 && restored > 0);
}
