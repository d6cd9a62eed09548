//! Somebody writes on the whole screen, and somebody comes in: what is written is in the vault and nowhere else; one file because each story
//! needs the same terminal, people and words.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, Terminal, memory, processes, run, team_of_two, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::image::assert_nowhere;
use crate::making::finished;
use crate::raid::process;
use crate::reading::sync;

const CTRL_L: &str = "\x0c";
const CTRL_S: &str = "\x13";
const CTRL_X: &str = "\x18";
/// What the last row says first.
const READY: &str = "LOCK";
const KEPT: &str = "kept in the vault";
/// Where nobody has pressed a key that ends.
const ENDS: &str = "Enter or Esc: end.";
const OPENED: &str = "It opens. What was not saved is offered when its text is opened with --write again.";

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

/// `fieldbook` for a person at a terminal, who has to be asked for the passphrase.
fn command(machine: &Machine, args: &[&str]) -> Command {
    let mut command = machine.bare();
    command.arg("--vault").arg(machine.vault()).args(args);
    command
}

/// The editor, when it is there to be written in.
pub fn writing(machine: &Machine, args: &[&str]) -> Terminal {
    let terminal = Terminal::start(&command(machine, args), 60, 12);
    terminal.shows(READY);
    terminal
}

/// Wants to leave, reads what is asked, and answers.
pub fn answer(terminal: &Terminal, digit: &str) {
    terminal.types("\x1b");
    terminal.shows("2 leave it for later");
    reads();
    terminal.types(digit);
}

/// So long a key is a part of the text.
fn reads() {
    std::thread::sleep(Duration::from_millis(700));
}

fn narrative(machine: &Machine, id: &str) -> String {
    machine.show(id)["content"]["narrative"].as_str().expect("a narrative").to_owned()
}

fn draft(machine: &Machine, narrative: &str) -> String {
    let narrative = format!("narrative={narrative}");
    machine.write(&["--template", "detention", "--set", "date=2017-03-25", "--set", &narrative])
}

/// What was sent after the terminal was given back.
fn sent_afterwards(terminal: &Terminal) -> String {
    let sent = String::from_utf8_lossy(&terminal.sent()).into_owned();
    let said = sent.rsplit_once("\x1b[?1049l").expect("the terminal is given back").1;
    // It is broken between words.
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_written_on_the_whole_screen_is_saved_and_no_other_program_sees_it() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "");
    machine.ok(&["unlock"]);
    let mark = machine.path("mark");
    let other = machine.file("other", format!("#!/bin/sh\necho ran >{}\n", mark.display()));
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("a program");
    let mut command = command(&machine, &["edit", &id, "--write"]);
    command.env("EDITOR", &other).env("VISUAL", &other);
    let mut terminal = Terminal::start(&command, 30, 12);
    terminal.shows(READY);
    let first = "Их забрали в полдень из офиса на площади Незалежнасці";
    terminal.types(first);
    terminal.shows("Незалежнасці");
    // It is broken between words, and none is lost.
    let rows: Vec<String> = terminal.rows()[1..4].to_vec();
    assert_eq!(rows.iter().flat_map(|row| row.split_whitespace()).collect::<Vec<_>>().join(" "), first);
    assert!(rows.iter().all(|row| row.chars().count() <= 30), "{rows:?}");
    terminal.resize(20, 12);
    terminal.shows("площади\nНезалежнасці");
    terminal.resize(70, 12);
    terminal.shows(first);
    terminal.types(CTRL_S);
    wait_for("that it is saved", || terminal.rows().iter().any(|row| row == "saved").then_some(()));
    assert_eq!(narrative(&machine, &id), first);
    // A line before it, a word replaced, and something pasted that would act on a terminal.
    terminal.types("\x1b[1;5HДва\x1b[1;5D\x1b[1;5D\r\x1b[A");
    terminal.types("Раз\x1b[1;5F");
    terminal.pastes("\rone\x1b[31m\x07\u{202e} two");
    terminal.shows("one[31m two");
    terminal.types(CTRL_X);
    assert!(terminal.ends().success(), "{}", terminal.screen());
    let saved = narrative(&machine, &id);
    assert_eq!(saved, format!("Раз\nДва{first}\none[31m two"));
    assert_eq!(terminal.strange(), Vec::<String>::new());
    assert!(sent_afterwards(&terminal).starts_with("Saved "), "{:?}", sent_afterwards(&terminal));
    assert!(!terminal.screen().contains("Раз"), "nothing of it stays on the screen");
    assert!(!mark.exists(), "no other program was run");

    // What waits in a new one, and in another long text of it.
    let mut terminal =
        writing(&machine, &["new", "--template", "ill_treatment", "--title", "T", "--write=injuries"]);
    terminal.types("Гематомы");
    terminal.types(CTRL_X);
    terminal.ends();
    let new = machine.reports().into_iter().find(|line| line["title"] == "T").expect("a draft");
    let new = new["id"].as_str().expect("an id").to_owned();
    assert_eq!(machine.show(&new)["content"]["fields"]["injuries"], "Гематомы");
    // Whoever writes nothing leaves nothing.
    let mut terminal = writing(&machine, &["new", "--template", "detention", "--write"]);
    terminal.types("\x1b");
    terminal.ends();
    assert_eq!(machine.reports().len(), 2);
}

#[test]
fn a_question_an_answer_and_an_addendum_are_written_too() {
    let (a, b) = team_of_two();
    let id = finished(&b, "One");
    sync(&b, &a);
    for machine in [&a, &b] {
        machine.ok(&["unlock"]);
    }
    let mut terminal = writing(&a, &["ask", &id, "--write"]);
    terminal.types("Who saw it?\r\x18");
    assert!(terminal.ends().success());
    sync(&b, &a);
    let mut terminal = writing(&b, &["answer", &id, "--write"]);
    terminal.types("Two neighbours.");
    terminal.types(CTRL_S);
    assert!(terminal.ends().success(), "it is said once");
    let notes = b.show(&id)["notes"].clone();
    let texts: Vec<&str> =
        notes.as_array().expect("notes").iter().filter_map(|note| note["text"].as_str()).collect();
    assert_eq!(texts, ["Who saw it?", "Two neighbours."]);
    let mut terminal = writing(&b, &["addendum", &id, "--write"]);
    terminal.types("He was seen again.");
    terminal.types(CTRL_X);
    assert!(terminal.ends().success());
    let addendum = b.show(&id)["addenda"][0].as_str().expect("an addendum").to_owned();
    assert_eq!(narrative(&b, &addendum), "He was seen again.");
}

#[test]
fn the_key_that_locks_keeps_what_is_written_and_leaves_nothing_of_it_anywhere_else() {
    let words = ["Quokkaword", "Жамчужнінская"];
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "Minsk"]);
    let daemon = machine.daemon();
    for unlocked in [true, false] {
        let before = machine.reports().len();
        let args = ["new", "--template", "detention", "--title", "Raid", "--write"];
        let mut terminal = if unlocked {
            machine.ok(&["unlock"]);
            writing(&machine, &args)
        } else {
            // An agent for this command alone.
            let terminal = Terminal::start(&command(&machine, &args), 60, 12);
            terminal.shows("assphrase");
            terminal.types(&format!("{}\r", machine.passphrase()));
            terminal.shows(READY);
            terminal
        };
        terminal.types(&words.join(" "));
        terminal.shows(words[1]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", terminal.pid())).expect("limits");
        assert!(limits.contains("Max core file size        0"), "{limits}");
        // It has the words, and is seen to; and what is typed behind it goes to nobody.
        let canaries = words.map(Canary::word);
        assert!(!memory::search(terminal.pid(), &canaries).is_empty());
        terminal.types(&format!("{CTRL_L}echo Wombattyped\r"));
        assert!(terminal.ends().success(), "{}", terminal.screen());
        assert_eq!(sent_afterwards(&terminal), "Locked. What you had written is in the vault.");
        assert!(words.iter().all(|word| !terminal.screen().contains(word)), "{}", terminal.screen());
        assert_eq!(process(&machine, "agent"), None, "locked: it is no more");
        assert_eq!(command_without_passphrase(&machine), 4, "it is locked");
        for process in machine.lasting() {
            assert!(memory::search(process.pid, &canaries).is_empty(), "{process:?}");
        }
        let own = ["vault", "home", "run", "tmp"].map(|dir| machine.root().join(dir));
        let own: Vec<&Path> = own.iter().map(std::path::PathBuf::as_path).collect();
        let mut found = traces::search(&own, &canaries);
        found.extend(traces::search_files(traces::written_elsewhere_since(machine.born()), &canaries));
        assert!(found.is_empty(), "{found:#?}");
        // It is in the vault, beside the draft, and not in it.
        let newest = machine.reports()[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(machine.reports().len(), before + 1);
        assert_eq!(narrative(&machine, &newest), "");
        assert_eq!(machine.fails(1, &["finish", &newest])["code"], "unfinished-text");
        assert!(machine.ok(&["show", &newest]).out().contains("was written and is not saved"));
        machine.ok(&["unlock"]);
        let mut terminal = writing(&machine, &["edit", &newest, "--write"]);
        terminal.shows("was not saved");
        assert!(!terminal.screen().contains(words[0]));
        terminal.types("1");
        terminal.shows(words[1]);
        terminal.types(CTRL_X);
        terminal.ends();
        assert_eq!(narrative(&machine, &newest), words.join(" "));
        machine.ok(&["lock"]);
    }
    drop(daemon);
}

/// The code of a command that knows no passphrase.
fn command_without_passphrase(machine: &Machine) -> i32 {
    run(command(machine, &["--no-input", "list"]), b"").code
}

#[test]
fn what_is_written_survives_a_kill_and_a_closed_window_and_does_not_travel_before_it_is_saved() {
    let (_a, b) = team_of_two();
    let id = finished(&b, "One");
    b.ok(&["unlock"]);
    let entries = || b.json(&["entry", "list", &id]).len();
    let before = entries();
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.types("The first hour.");
    terminal.shows(KEPT);
    terminal.kill();
    assert_eq!((entries(), narrative(&b, &id)), (before, String::new()));
    // Offered again, gone on with, and the window is closed at once.
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.shows("was not saved");
    terminal.types("1");
    terminal.shows("The first hour.");
    terminal.types(" The second.");
    terminal.shows("second.");
    terminal.closes();
    terminal.ends();
    assert_eq!((entries(), narrative(&b, &id)), (before, String::new()));
    for text in ["The first hour. The second.", "The first hour. The second. Third."] {
        let mut terminal = writing(&b, &["edit", &id, "--write"]);
        terminal.shows("was not saved");
        terminal.types("1");
        terminal.shows(text);
        terminal.types(" Third.");
        terminal.shows("Third.");
        // As when the computer shuts down.
        signal(terminal.pid(), Signal::TERM);
        // Whoever was typing has not noticed: nothing of it is for the shell.
        terminal.shows(ENDS);
        assert!(!terminal.screen().contains("hour"), "{}", terminal.screen());
        terminal.types("Wombattyped\r");
        terminal.ends();
        assert!(!String::from_utf8_lossy(&terminal.sent()).contains("Wombat"));
        assert!(sent_afterwards(&terminal).contains("is in the vault"), "{:?}", sent_afterwards(&terminal));
    }
    assert_eq!(entries(), before, "nothing of it has left");
    // It is saved once, and travels once.
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.shows("was not saved");
    terminal.types("1");
    terminal.shows("second.");
    terminal.types(CTRL_X);
    terminal.ends();
    assert_eq!(
        (entries(), narrative(&b, &id).as_str()),
        (before + 1, "The first hour. The second. Third. Third.")
    );
    // Or thrown away.
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.types("Wrong. ");
    terminal.shows(KEPT);
    terminal.types("\x1b");
    terminal.shows("2 leave it for later");
    // Whoever types on has not read it: all of that belongs to the text, also a digit that comes at once.
    terminal.types("One");
    terminal.shows("Wrong. One");
    terminal.types("\x033 of them");
    terminal.shows("One3 of them");
    assert!(!terminal.screen().contains("leave it for later"), "{}", terminal.screen());
    answer(&terminal, "3");
    terminal.shows("gone for good");
    assert!(!terminal.screen().contains("^S"), "only what can be answered: {}", terminal.screen());
    terminal.types(" more");
    terminal.shows("more");
    // A number that begins a line is none either, whatever came before it.
    answer(&terminal, "3 and 2\r");
    terminal.shows("3 and 2");
    assert!(!terminal.screen().contains("gone for good"), "{}", terminal.screen());
    answer(&terminal, "3");
    terminal.shows("gone for good");
    reads();
    terminal.types("\r");
    terminal.ends();
    assert_eq!(entries(), before + 1);
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.shows("The first hour. The second. Third. Third.");
    assert!(!terminal.screen().contains("was not saved"), "{}", terminal.screen());
    terminal.types("\x1b");
    terminal.ends();
}

#[test]
fn what_is_left_for_later_is_kept_and_shown_and_named_by_the_list() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["unlock"]);
    let later = |terminal: &mut Terminal| {
        answer(terminal, "2");
        assert!(terminal.ends().success(), "{}", terminal.screen());
        assert!(sent_afterwards(terminal).starts_with("Not saved, and kept in the vault"));
    };
    let mut terminal = writing(&machine, &["new", "--template", "detention", "--write"]);
    terminal.types("Numbatlater");
    later(&mut terminal);
    let id = machine.reports()[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(narrative(&machine, &id), "");
    assert!(machine.ok(&["list"]).out().contains("a text not saved"));
    assert!(machine.ok(&["status"]).out().contains("Written and not saved: a text of 1 report"));
    let unsaved = |id: &str| machine.json(&["show", id, "--unsaved"]);
    assert_eq!(
        (&unsaved(&id)[0]["field"], &unsaved(&id)[0]["text"]),
        (&"narrative".into(), &"Numbatlater".into())
    );
    assert!(machine.ok(&["show", &id, "--unsaved"]).out().contains("Numbatlater"));
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.shows("was not saved");
    terminal.types("1");
    terminal.shows("Numbatlater");
    terminal.types(CTRL_X);
    terminal.ends();
    assert_eq!(narrative(&machine, &id), "Numbatlater");
    // A question is left in the same way.
    machine.ok(&["team", "create", "Minsk 2017"]);
    let mut terminal = writing(&machine, &["ask", &id, "--write"]);
    terminal.types("Quollquestion?");
    later(&mut terminal);
    assert_eq!(unsaved(&id)[0]["field"], "ask");
    let mut terminal = writing(&machine, &["ask", &id, "--write"]);
    terminal.types("1");
    terminal.shows("Quollquestion?");
    terminal.types(CTRL_X);
    terminal.ends();
    assert_eq!(machine.show(&id)["notes"][0]["text"], "Quollquestion?");
    assert_eq!(unsaved(&id), Vec::<serde_json::Value>::new());
    assert!(!machine.ok(&["list"]).out().contains("not saved"));
}

#[test]
fn what_was_not_saved_keeps_its_report_from_being_sealed_and_is_forgotten_with_it() {
    let (_a, b) = team_of_two();
    let id = finished(&b, "One");
    b.ok(&["unlock"]);
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.types("Bilbyword");
    terminal.shows(KEPT);
    terminal.kill();
    assert_eq!(b.fails(1, &["seal", &id])["code"], "unfinished-text");
    assert!(b.show(&id)["unfinished"].as_bool().expect("a word on it"));
    // It is said without asking for it, and can be ended without the text.
    let other = finished(&b, "Two");
    let mut terminal = writing(&b, &["edit", &other, "--write"]);
    terminal.types("Bilbyother");
    terminal.shows(KEPT);
    terminal.kill();
    let unfinished = || b.json(&["status"])[0]["unfinished"].clone();
    assert_eq!(unfinished(), 2);
    assert!(b.ok(&["status"]).out().contains("2 reports do not seal"), "{}", b.ok(&["status"]).out());
    let left = b.ok(&["seal", "--received"]).err();
    assert!(left.contains(&other[..8]) && left.contains(&id[..8]), "{left}");
    wait_for("the end of the other window", || {
        (run(command(&b, &["edit", &other, "--throw-away"]), b"").code == 0).then_some(())
    });
    assert_eq!(unfinished(), 1);
    assert!(!b.show(&other)["unfinished"].as_bool().expect("a word on it"));
    b.ok(&["seal", &id, "--yes"]);
    b.ok(&["lock"]);
    assert_nowhere(&b, &["Bilbyword"]);
}

#[test]
fn a_text_is_written_in_one_window_at_a_time() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "Before.");
    machine.ok(&["edit", &id, "--person", "name=Alena Example,role=witness,consent=internal"]);
    machine.ok(&["unlock"]);
    let mut first = writing(&machine, &["edit", &id, "--write"]);
    first.types(" Wombat");
    first.shows(KEPT);
    let mut second = Terminal::start(&command(&machine, &["edit", &id, "--write"]), 100, 12);
    assert_eq!(second.ends().code(), Some(1));
    assert!(second.screen().contains("is being written in another window"), "{}", second.screen());
    assert!(!second.screen().contains("Wombat"), "{}", second.screen());
    // Nor is it thrown away, or taken from under the one who writes.
    for args in [&["edit", &id, "--throw-away"][..], &["forget", &id, "--person", "Alena Example", "--yes"]] {
        assert_eq!(machine.fails(1, args)["code"], "being-written", "{args:?}");
    }
    // Another text of it is free.
    let mut other = writing(&machine, &["edit", &id, "--write=internal_note"]);
    other.types("\x1b");
    other.ends();
    first.kill();
    let mut second = writing(&machine, &["edit", &id, "--write"]);
    second.shows("was not saved");
    second.types("1");
    second.shows("Before. Wombat");
    second.types(CTRL_X);
    second.ends();
    assert_eq!(narrative(&machine, &id), "Before. Wombat");
}

#[test]
fn a_new_note_that_is_thrown_away_leaves_no_draft_unless_something_else_is_in_it() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["unlock"]);
    for changed_elsewhere in [false, true] {
        let mut terminal = writing(&machine, &["new", "--template", "detention", "--write"]);
        terminal.types("Wrong.");
        terminal.shows(KEPT);
        let reports = machine.reports();
        let id = reports[0]["id"].as_str().expect("an id");
        if changed_elsewhere {
            machine.ok(&["edit", id, "--set", "date=2017-03-25"]);
        }
        answer(&terminal, "3");
        terminal.shows("gone for good");
        reads();
        terminal.types("\r");
        terminal.ends();
        assert_eq!(machine.reports().len(), usize::from(changed_elsewhere));
    }
    let id = machine.reports()[0]["id"].as_str().expect("an id").to_owned();
    assert!(!machine.show(&id)["unfinished"].as_bool().expect("a word on it"));
    // What was given when a draft was made is not thrown away with its text another time.
    let given = ["new", "--template", "detention", "--set", "date=2017-03-25", "--write"];
    let mut terminal = writing(&machine, &given);
    terminal.types("Wrong.");
    answer(&terminal, "2");
    terminal.ends();
    let reports = machine.reports();
    let id = reports[0]["id"].as_str().expect("an id");
    let mut terminal = writing(&machine, &["edit", id, "--write"]);
    terminal.shows("was not saved");
    terminal.types("2");
    terminal.shows("gone for good");
    reads();
    terminal.types("\r");
    wait_for("the text is gone", || machine.json(&["show", id, "--unsaved"]).is_empty().then_some(()));
    terminal.types("\x1b");
    terminal.ends();
    assert_eq!(machine.reports().len(), reports.len());
    assert_eq!(crate::reading::field(&machine.show(id), "date"), "2017-03-25");
}

#[test]
fn a_text_that_two_gave_apart_is_decided_before_it_is_written_in() {
    let (a, b) = team_of_two();
    let id = finished(&b, "One");
    sync(&b, &a);
    a.ok(&["edit", &id, "--set", "internal_note=Theirs"]);
    b.ok(&["edit", &id, "--set", "internal_note=Mine"]);
    sync(&b, &a);
    b.ok(&["unlock"]);
    let mut terminal = Terminal::start(&command(&b, &["edit", &id, "--write=internal_note"]), 100, 12);
    assert_eq!(terminal.ends().code(), Some(13));
    assert!(terminal.screen().contains("has to be decided first"), "{}", terminal.screen());
    b.ok(&["resolve", &id, "--field", "internal_note", "--keep", "Mine"]);
    let mut terminal = writing(&b, &["edit", &id, "--write=internal_note"]);
    terminal.shows("Mine");
    terminal.types("\x1b");
    terminal.ends();
}

#[test]
fn a_vault_that_is_locked_elsewhere_takes_the_text_off_the_screen() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "What was told before.");
    machine.ok(&["unlock"]);
    // The vault has all of it: nothing is to stay in memory.
    let canaries = ["told before"].map(Canary::word);
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.shows("What was told before.");
    assert!(!memory::search(terminal.pid(), &canaries).is_empty(), "it is there while it is shown");
    machine.ok(&["lock"]);
    terminal.shows(ENDS);
    assert_eq!(memory::search(terminal.pid(), &canaries), []);
    terminal.types("\x1b");
    terminal.ends();
    // A question about it needs nothing of it, at no time.
    machine.ok(&["team", "create", "Minsk 2017"]);
    machine.ok(&["ask", &id, "Who told it?"]);
    for command in ["ask", "answer"] {
        machine.ok(&["unlock"]);
        let mut terminal = writing(&machine, &[command, &id, "--write"]);
        assert_eq!(memory::search(terminal.pid(), &canaries), [], "{command}");
        machine.ok(&["lock"]);
        terminal.shows(ENDS);
        terminal.types("\x1b");
        terminal.ends();
    }

    machine.ok(&["unlock"]);
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.shows("What was told before.");
    terminal.types(" Numbatlast");
    terminal.shows(KEPT);
    machine.ok(&["lock"]);
    terminal.shows(ENDS);
    assert!(!terminal.screen().contains("told"), "{}", terminal.screen());
    // What somebody goes on typing is not for the shell.
    terminal.types("echo Wombattyped");
    std::thread::sleep(Duration::from_millis(50));
    assert!(terminal.runs());
    terminal.types("\x1b");
    terminal.ends();
    assert!(!String::from_utf8_lossy(&terminal.sent()).contains("Wombat"));
    assert_eq!(sent_afterwards(&terminal), "The vault was locked. What you had written is in it.");

    // It has not: the rest waits behind an empty screen.
    let mut terminal = locked_while_writing(&machine, &id);
    assert!(
        !terminal.screen().contains("told") && !terminal.screen().contains("Dugong"),
        "{}",
        terminal.screen()
    );
    terminal.types("\r");
    terminal.shows("assphrase");
    terminal.types("not it\r");
    terminal.shows("That does not open it.");
    // It is asked once more.
    wait_for("the second question", || (terminal.screen().matches("assphrase").count() > 1).then_some(()));
    assert!(
        !terminal.screen().contains("told") && !terminal.screen().contains("Dugong"),
        "{}",
        terminal.screen()
    );
    // Not even stopped: what is not kept would lie in the memory of a process that does nothing.
    terminal.types(&format!("\x1a{}\r", machine.passphrase()));
    assert!(terminal.ends().success());
    assert_eq!(sent_afterwards(&terminal), OPENED);
    machine.ok(&["unlock"]);
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.shows("was not saved");
    terminal.types("1");
    terminal.shows("Dugonglast");
    terminal.types(CTRL_X);
    terminal.ends();
    let saved = narrative(&machine, &id);
    assert!(saved.contains("told before. Numbatlast Dugonglast"), "{saved}");

    // Whoever locks and goes away wants nothing of it to be here.
    let mut terminal = locked_while_writing(&machine, &id);
    terminal.types("\r");
    terminal.shows("assphrase");
    terminal.types("\x03");
    assert_eq!(terminal.ends().code(), Some(130));
    assert!(!terminal.screen().contains("told"), "{}", terminal.screen());
    let mut terminal = locked_while_writing(&machine, &id);
    terminal.types("\x1b");
    terminal.ends();
    assert!(!terminal.screen().contains("told"), "{}", terminal.screen());
    machine.rests();
}

/// Writes, and the vault is locked before all of it was kept. (A machine that is busy elsewhere may have kept it
/// first; then it is tried again.)
fn locked_while_writing(machine: &Machine, id: &str) -> Terminal {
    wait_for("a text that was not kept", || {
        machine.ok(&["unlock"]);
        let terminal = writing(machine, &["edit", id, "--write"]);
        if terminal.screen().contains("was not saved") {
            terminal.types("1");
        }
        terminal.shows("told before.");
        terminal.types(" Dugonglast");
        terminal.shows("Dugonglast");
        // Whoever types until it is locked has words that were not kept, however long it takes.
        let mut locking = machine.start(&["lock"]);
        while locking.runs() {
            terminal.types(".");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(locking.ends().success(), "{}", locking.err());
        wait_for("a word on it", || {
            let screen = terminal.screen();
            (screen.contains("Enter: open") || screen.contains(ENDS)).then_some(())
        });
        terminal.screen().contains("Enter: open").then_some(terminal)
    })
}

#[test]
fn a_passphrase_given_up_under_force_shows_nothing_of_what_was_being_written() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "What was told before.");
    let duress = "velvet orchard pencil harbour of seven";
    let file = machine.secret_file("duress", &format!("{duress}\n"));
    machine.ok(&["duress", "set", "--duress-passphrase-file", &file]);
    let outcomes = [machine.passphrase(), duress].map(|passphrase| {
        let mut terminal = locked_while_writing(&machine, &id);
        terminal.types("\r");
        terminal.shows("assphrase");
        terminal.types(&format!("{passphrase}\r"));
        let code = terminal.ends().code();
        assert!(
            !terminal.screen().contains("told") && !terminal.screen().contains("Dugong"),
            "{}",
            terminal.screen()
        );
        (code, sent_afterwards(&terminal))
    });
    // Whoever reads the screen cannot tell one from the other.
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], (Some(0), OPENED.to_owned()));
    let file = machine.secret_file("another", &format!("{duress}\n"));
    let decoy = run(command(&machine, &["--passphrase-file", &file, "--json", "list"]), b"").exits(0);
    assert!(decoy.out().is_empty(), "nothing of it went into the other notebook: {}", decoy.out());
}

#[test]
fn the_key_that_locks_waits_for_no_agent_and_gives_nothing_to_the_shell() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "What was told before.");
    for by_key in [true, false] {
        machine.ok(&["unlock"]);
        let mut terminal = writing(&machine, &["edit", &id, "--write"]);
        terminal.shows("told before.");
        let agent = process(&machine, "agent").expect("the agent");
        signal(agent, Signal::STOP);
        terminal.types(&format!(" Wallabyword{CTRL_S}"));
        terminal.shows("waiting for the vault");
        if by_key {
            terminal.types(CTRL_L);
        } else {
            signal(terminal.pid(), Signal::TERM);
        }
        wait_for("an empty screen", || (!terminal.screen().contains("told")).then_some(()));
        // The agent is deaf still, and somebody types on.
        assert!(terminal.runs());
        terminal.types("echo Wombattyped\x03\r");
        if !by_key {
            terminal.shows(ENDS);
            terminal.types("\r");
        }
        assert!(terminal.ends().success(), "{}", terminal.screen());
        assert!(
            sent_afterwards(&terminal).starts_with("Locked. What you wrote in the last seconds could NOT")
        );
        assert!(!String::from_utf8_lossy(&terminal.sent()).contains("Wombat"));
        assert_eq!(command_without_passphrase(&machine), 4, "it is locked");
    }
}

#[test]
fn a_paste_without_an_end_is_taken_as_it_is_and_the_keys_live() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "");
    machine.ok(&["unlock"]);
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.types("\x1b[200~Pasted words");
    terminal.shows("Pasted words");
    terminal.types(" typed\x01First ");
    terminal.shows("First Pasted words typed");
    // Ctrl-X, as terminals send it that tell more of a key.
    terminal.types("\x1b[27;5;120~");
    assert!(terminal.ends().success());
    assert_eq!(narrative(&machine, &id), "First Pasted words typed");
    machine.ok(&["unlock"]);
    let mut terminal = writing(&machine, &["edit", &id, "--set", "date=2017-03-26", "--write"]);
    terminal.types("\x1b");
    terminal.ends();
    assert_eq!(sent_afterwards(&terminal), "The fields were saved; of the text nothing was.");
    // And the key that locks, on a keyboard that is switched to Cyrillic.
    let mut terminal = writing(&machine, &["edit", &id, "--write"]);
    terminal.types("\x1b[1076;5u");
    assert!(terminal.ends().success());
    assert!(sent_afterwards(&terminal).starts_with("Locked."));
}

#[test]
fn what_another_device_wrote_is_harmless_and_what_it_changes_meanwhile_is_kept() {
    let (a, b) = team_of_two();
    let id = finished(&b, "One");
    sync(&b, &a);
    let hostile = "Shown \x1b]0;owned\x07\x1b[2J\u{9b}5m\u{202e}here.\nThe second line.\n";
    a.ok(&["edit", &id, "--narrative-file", &a.file("hostile", hostile)]);
    sync(&b, &a);
    assert_eq!(narrative(&b, &id), hostile, "the words are not changed");
    b.ok(&["unlock"]);
    let mut terminal = writing(&b, &["edit", &id, "--write"]);
    terminal.shows("The second line.");
    terminal.shows("Shown \u{fffd}]0;owned\u{fffd}\u{fffd}[2J\u{fffd}5m\u{fffd}here.");
    assert_eq!(terminal.strange(), Vec::<String>::new());
    terminal.types("Mine, at the end.");
    terminal.shows("Mine, at the end.");
    // A coordinator writes at the beginning, and it arrives while this is open.
    a.ok(&["edit", &id, "--narrative-file", &a.file("more", format!("Theirs, before. {hostile}"))]);
    sync(&b, &a);
    terminal.types(CTRL_X);
    terminal.shows("Somebody else had changed this text");
    terminal.shows("Theirs, before. Shown");
    terminal.types(CTRL_X);
    assert!(terminal.ends().success());
    assert_eq!(narrative(&b, &id), format!("Theirs, before. {hostile}Mine, at the end."));
    assert_eq!(terminal.strange(), Vec::<String>::new());
}

#[test]
fn where_nobody_can_write_it_is_said_what_to_do() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "N");
    for args in [
        &["new", "--template", "detention", "--write"][..],
        &["edit", &id, "--write"],
        &["addendum", &id, "--write"],
        &["ask", &id, "--write"],
        &["answer", &id, "--write"],
    ] {
        let error = machine.fails(4, args);
        assert_eq!(error["code"], "no-terminal", "{args:?}");
        let hint = error["hint"].as_str().expect("a hint");
        assert!(hint.contains("--narrative-file") || hint.contains("as -"), "{args:?}: {hint}");
    }
    // With a terminal, and told not to ask.
    let mut terminal = Terminal::start(&command(&machine, &["--no-input", "edit", &id, "--write"]), 80, 12);
    terminal.ends();
    assert!(terminal.screen().contains("--narrative-file"), "{}", terminal.screen());
    machine.ok(&["unlock"]);
    for args in [&["new", "--template", "detention", "--write=date"][..], &["edit", &id, "--write=date"]] {
        let mut terminal = Terminal::start(&command(&machine, args), 120, 12);
        assert_eq!(terminal.ends().code(), Some(2));
        assert!(terminal.screen().contains("no long text"), "{}", terminal.screen());
    }
}

#[test]
fn what_is_written_is_in_locked_memory() {
    let machine = Machine::with_vault("Monitor");
    let id = draft(&machine, "N");
    machine.ok(&["unlock"]);
    let terminal = writing(&machine, &["edit", &id, "--write"]);
    let kilobytes = |pid: u32, name: &str| -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    // As the agent's: where the system lets it.
    let agent = process(&machine, "agent").expect("the agent");
    let pid = terminal.pid();
    assert_eq!(kilobytes(agent, "VmLck:") > 0, kilobytes(pid, "VmLck:") >= kilobytes(pid, "RssAnon:"));
    assert!(processes::descendants().iter().any(|process| process.pid == pid));
}
