//! What a monitor has sealed cannot be forced out of it: its whole machine and its passphrase hold no word of it.

use std::fs;

use fieldbook_depot::cipher;
use fieldbook_tests::{Machine, PHOTO, pair, processes, run, team_of_two};

use crate::editor::{answer, writing};
use crate::image::{Image, Stores, assert_nowhere};

const WORDS: [&str; 6] =
    ["Okapititle", "narwhalstory", "tapirauthority", "Žalubinskaja", "pangolinsource", "bilbyedit"];

/// A finished report whose every word is a canary, with a photograph: its id.
fn report(machine: &Machine) -> String {
    let id = machine.write(&[
        "--template",
        "detention",
        "--title",
        "Okapititle",
        "--set",
        "date=2017-03-25",
        "--set",
        "authority=tapirauthority",
        "--set",
        "narrative=The narwhalstory.",
        "--source",
        "pangolinsource",
        "--person",
        "name=Žalubinskaja,role=witness,consent=internal",
    ]);
    machine.ok(&["attach", &id, PHOTO]);
    machine.ok(&["edit", &id, "--title", "Okapititle again"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// The report is at the coordinator's, and the receipt is back.
fn received(monitor: &Machine, coordinator: &Machine, id: &str) {
    crate::reading::sync(monitor, coordinator);
    crate::reading::sync(monitor, coordinator);
    assert_eq!(crate::reading::word_of_delivery(monitor, id), "received");
}

/// No word of it on the whole machine, open or shut.
#[track_caller]
fn assert_gone(machine: &Machine, id: &str) {
    let image = Image::of(machine);
    assert!(!image.reports.contains(id), "an entry of it opens");
    assert!(image.held > 2, "the sealed entries are still carried");
    assert!(image.opened > 0, "receipts open, so the identities were tried");
    assert_nowhere(machine, &WORDS);
    assert_eq!(image.words(&["Canarycam", "photo.jpg"]), Vec::<&str>::new());
}

#[test]
fn a_sealed_report_cannot_be_got_out_of_its_authors_machine_by_anybody_while_the_coordinator_reads_it() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    received(&monitor, &coordinator, &id);
    // An answer from the coordinator lies in the monitor's depot too.
    coordinator.ok(&["edit", &id, "--set", "charges=bilbyedit"]);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(crate::reading::field(&monitor.show(&id), "charges"), "bilbyedit");
    let before = Image::of(&monitor);
    assert!(before.reports.contains(&id), "the answer opens while the report is here");
    let before = before.words(&WORDS);
    for word in ["Okapititle", "narwhalstory", "bilbyedit"] {
        assert!(before.contains(&word), "the search finds {word} while it is there: {before:?}");
    }
    let vault = |name: &str| fs::read(monitor.vault().join(name)).expect("a store");
    // Somebody who only carries has all of it too.
    let carrier = Machine::with_vault("Carrier");
    pair(&coordinator, &carrier, "monitor");
    crate::reading::sync(&carrier, &coordinator);
    let old: Vec<Vec<u8>> = ["0.a", "1.a"].into_iter().map(vault).collect();

    let sealed = monitor.json(&["seal", &id]).remove(0);
    assert_eq!((&sealed["event"], &sealed["id"]), (&"sealed".into(), &id.as_str().into()));
    assert_eq!(sealed["holders"][0]["name"], "Coordination");
    assert_gone(&monitor, &id);

    // Nothing that comes later brings it back, not even an answer that was on its way.
    coordinator.ok(&["edit", &id, "--set", "authority=riot tapirauthority"]);
    crate::reading::sync(&monitor, &coordinator);
    crate::reading::sync(&monitor, &coordinator);
    assert_gone(&monitor, &id);
    let line = monitor.reports().remove(0);
    assert_eq!(
        (&line["state"], &line["title"], &line["id"]),
        (&"sealed".into(), &"".into(), &id.as_str().into())
    );
    for args in [&["show", &id][..], &["edit", &id, "--title", "x"], &["history", &id], &["seal", &id]] {
        let error = monitor.fails(1, args);
        assert_eq!(error["code"], "sealed", "{args:?}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("addendum")), "{error}");
    }
    assert_eq!(monitor.json(&["status"])[0]["sealed"], 1);
    assert!(!monitor.json(&["entry", "list", &id]).is_empty(), "which entries it had is kept");

    // The coordinator has all of it, and knows.
    let shown = coordinator.show(&id);
    assert_eq!(shown["content"]["narrative"], "The narwhalstory.");
    assert!(shown["summary"]["sealed_ms"].is_i64(), "{shown}");
    let out = coordinator.path("photo-out.jpg");
    coordinator.ok(&["attachment", &id, "photo.jpg", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(out).expect("the photograph"), fs::read(PHOTO).expect("the photograph"));
    let returned = |line: &serde_json::Value| line["kind"] == "return copy";
    let entries = coordinator.json(&["entry", "list", &id]);
    let sent = entries.iter().filter(|line| returned(line)).count();
    assert_eq!(sent, 2, "both were written before the coordinator knew");

    // In nobody's depot is anything of it that the author's device could open.
    crate::reading::sync(&carrier, &coordinator);
    let author = Image::of(&monitor);
    for other in [&coordinator, &carrier] {
        let opened = author.opens_of(other);
        assert!(opened.opened > 0, "receipts open there too");
        assert!(opened.held > opened.opened, "and there is more");
        assert!(!opened.reports.contains(&id), "at {}", other.name());
        let read = Image::of(&coordinator).opens_of(other);
        assert!(read.reports.contains(&id), "the search finds it with the coordinator's keys");
    }
    coordinator.ok(&["edit", &id, "--set", "charges=none"]);
    let entries = coordinator.json(&["entry", "list", &id]);
    assert_eq!(entries.iter().filter(|line| returned(line)).count(), sent, "none is sent any more");
    assert_eq!(monitor.json(&["status"])[0]["problems"], serde_json::json!([]));

    // An old copy of the store opens nothing with the keys that are there now.
    for (name, bytes) in ["0.a", "1.a"].into_iter().zip(old) {
        fs::write(monitor.vault().join(name), bytes).expect("the old store");
    }
    monitor.fails(16, &["list"]);
}

#[test]
fn sealing_asks_at_the_terminal_until_a_coordinator_has_confirmed_and_then_no_more() {
    let (coordinator, monitor) = team_of_two();
    let (id, other) = (report(&monitor), report(&monitor));
    let said = crate::reading::typed(&monitor, &["seal", &id], "n\n").exits(1);
    assert!(said.out().contains("no word yet from Coordination"), "{said:?}");
    assert!(said.out().contains("lost for ever"), "{said:?}");
    assert_eq!(monitor.show(&id)["content"]["narrative"], "The narwhalstory.", "nothing was sealed");
    let said = crate::reading::typed(&monitor, &["seal", &id], "y\n").exits(0);
    assert!(said.out().contains("nobody has confirmed it"), "{said:?}");
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    received(&monitor, &coordinator, &other);
    let said = crate::reading::typed(&monitor, &["seal", &other], "").exits(0);
    assert!(!said.out().contains("Seal it all the same?"), "{said:?}");
    assert!(said.out().contains("received by Coordination"), "{said:?}");
}

#[test]
fn what_is_sealed_under_an_agent_that_stays_open_is_gone_when_it_is_shot() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    received(&monitor, &coordinator, &id);
    let before = Stores::of(&monitor);
    monitor.ok(&["unlock"]);
    // All of it is in the agent's write-ahead log now.
    monitor.ok(&["edit", &id, "--title", "Okapititle once more"]);
    crate::reading::sync(&monitor, &coordinator);
    crate::reading::sync(&monitor, &coordinator);
    monitor.ok(&["seal", &id]);
    assert_eq!(monitor.json(&["status"])[0]["rekey_due"], false);
    processes::kill(&monitor.processes());
    // The files as they lie there, opened with the key of before.
    let taken = monitor.path("taken");
    fs::create_dir(&taken).expect("a directory");
    for end in ["", "-wal", "-shm"] {
        let name = format!("{}.a{end}", before.slot);
        if let Ok(bytes) = fs::read(monitor.vault().join(&name)) {
            fs::write(taken.join(&name), bytes).expect("a copy");
        }
    }
    let copy = taken.join(format!("{}.a", before.slot));
    assert!(cipher::open_database(&copy, &before.vault_key, false).is_err(), "the old key opens nothing");
    // Whoever has the passphrase has the new key, and finds nothing under it either.
    assert_gone(&monitor, &id);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
}

#[test]
fn without_a_receipt_sealing_refuses_where_it_cannot_ask_and_says_who_has_not_confirmed() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    let error = monitor.fails(1, &["seal", &id]);
    assert_eq!(error["code"], "not-confirmed");
    assert!(
        error["message"].as_str().is_some_and(|text| text.contains("no word yet from Coordination")),
        "{error}"
    );
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--yes")), "{error}");
    assert_eq!(monitor.show(&id)["content"]["narrative"], "The narwhalstory.", "nothing was sealed");
    received(&monitor, &coordinator, &id);
    // A change that nobody has yet is a reason too.
    monitor.ok(&["edit", &id, "--set", "charges=more"]);
    assert_eq!(monitor.fails(1, &["seal", &id])["code"], "not-confirmed");
    assert_eq!(monitor.json(&["seal", "--received"])[0]["sealed"], 0);
    monitor.ok(&["seal", &id, "--yes"]);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    // It still travels: the entries were never this device's to read.
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(crate::reading::field(&coordinator.show(&id), "charges"), "more");
    // Drafts and coordinators' own reports are not sealed.
    let draft = monitor.write(&["--template", "detention", "--title", "A draft"]);
    assert_eq!(monitor.fails(1, &["seal", &draft, "--yes"])["code"], "cannot-seal");
    assert_eq!(coordinator.fails(1, &["seal", &id, "--yes"])["code"], "cannot-seal");
}

#[test]
fn reports_seal_themselves_when_enough_coordinators_have_confirmed() {
    let (coordinator, monitor) = team_of_two();
    monitor.ok(&["seal", "--after", "1"]);
    let id = report(&monitor);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(monitor.show(&id)["summary"]["state"], "finished", "no receipt yet");
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    assert_gone(&monitor, &id);
    monitor.ok(&["seal", "--after", "2"]);
    let other = report(&monitor);
    received(&monitor, &coordinator, &other);
    monitor.ok(&["seal", "--after", "off"]);
    assert_eq!(monitor.json(&["seal", "--received"]).last().expect("a summary")["sealed"], 1);
}

#[test]
fn a_report_is_not_sealed_under_the_hands_of_whoever_writes_in_it() {
    let (coordinator, monitor) = team_of_two();
    monitor.ok(&["seal", "--after", "1"]);
    let id = report(&monitor);
    monitor.ok(&["unlock"]);
    let mut terminal = writing(&monitor, &["edit", &id, "--write"]);
    terminal.shows("narwhalstory");
    // The receipt comes while nothing has been typed yet.
    received(&monitor, &coordinator, &id);
    let last = monitor.json(&["seal", "--received"]).pop().expect("a summary");
    assert_eq!((&last["sealed"], &last["unfinished"]), (&0.into(), &serde_json::json!([id])));
    assert_eq!(monitor.fails(1, &["seal", &id, "--yes"])["code"], "being-written");
    terminal.types("Quokkalast ");
    terminal.shows("Quokkalast");
    terminal.types("\x18");
    assert!(terminal.ends().success(), "{}", terminal.screen());
    // What was written goes the way of every report.
    crate::reading::sync(&monitor, &coordinator);
    crate::reading::sync(&monitor, &coordinator);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed");
    let told = coordinator.show(&id)["content"]["narrative"].as_str().expect("a narrative").to_owned();
    assert!(told.contains("Quokkalast"), "{told}");
}

#[test]
fn a_question_that_is_left_for_later_is_not_sealed_away() {
    let (coordinator, monitor) = team_of_two();
    monitor.ok(&["seal", "--after", "1"]);
    let id = report(&monitor);
    monitor.ok(&["unlock"]);
    let mut terminal = writing(&monitor, &["ask", &id, "--write"]);
    terminal.types("Quokkaquestion?");
    terminal.shows("Quokkaquestion?");
    answer(&terminal, "2");
    assert!(terminal.ends().success(), "{}", terminal.screen());
    received(&monitor, &coordinator, &id);
    assert_eq!(monitor.json(&["show", &id, "--unsaved"])[0]["text"], "Quokkaquestion?");
    let last = monitor.json(&["seal", "--received"]).pop().expect("a summary");
    assert_eq!((&last["sealed"], &last["unfinished"]), (&0.into(), &serde_json::json!([id])));
    assert_eq!(monitor.fails(1, &["seal", &id])["code"], "unfinished-text");
    monitor.ok(&["edit", &id, "--throw-away"]);
    assert_eq!(monitor.fails(1, &["show", &id])["code"], "sealed", "by itself");
}

#[test]
fn an_addendum_to_a_sealed_report_arrives_and_each_names_the_other() {
    let (coordinator, monitor) = team_of_two();
    let id = report(&monitor);
    received(&monitor, &coordinator, &id);
    monitor.ok(&["seal", &id]);
    let command = monitor.command(&["--json", "addendum", &id, "--narrative-file", "-"]);
    let said = run(command, b"She was let go on Monday.").exits(0);
    let addendum = said.lines()[0]["id"].as_str().expect("an id").to_owned();
    monitor.ok(&["finish", &addendum]);
    crate::reading::sync(&monitor, &coordinator);
    let shown = coordinator.show(&addendum);
    assert_eq!(shown["content"]["narrative"], "She was let go on Monday.");
    assert_eq!(shown["content"]["addendum_to"], id.as_str());
    assert_eq!(coordinator.show(&id)["addenda"], serde_json::json!([addendum]));
}
