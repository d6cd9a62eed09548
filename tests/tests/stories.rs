//! The main job, told line by line as its users would do it.

use std::fs;

use fieldbook_tests::{Machine, PHOTO, SEED, pair, team_of_two};
use serde_json::{Value, json};

use crate::reading::{clashes_of, field, history_text, ids, people, sync, word_of_delivery};

/// Two machines whose monitor has one finished report that the coordinator has seen.
fn shared_report() -> (Machine, Machine, String) {
    let (coordination, monitor) = team_of_two();
    let id = monitor.write(&[
        "--template",
        "detention",
        "--title",
        "Detention at the station",
        "--set",
        "date=2017-03-25",
        "--set",
        "authority=anti-riot police",
        "--set",
        "narrative=Three people stood at the gate when the bus arrived.",
    ]);
    monitor.ok(&["finish", &id, "--incomplete"]);
    sync(&monitor, &coordination);
    (coordination, monitor, id)
}

#[test]
fn the_main_job_from_an_empty_directory_to_a_publication() {
    let (a, b) = (Machine::new("Coordination"), Machine::new("Monitor"));
    a.ok(&["init", "--name", "Coordination", "--work-factor", "15"]);
    a.ok(&["team", "create", "Minsk 2017"]);
    b.ok(&["init", "--name", "Monitor", "--work-factor", "15"]);
    pair(&a, &b, "monitor");

    // Three ways to begin a report.
    let typed = b.write(&[
        "--template",
        "detention",
        "--set",
        "date=2017-03-25",
        "--set",
        "narrative=Ihar Sinkievič was taken from the square.",
        "--person",
        "name=Ihar Sinkievič,role=witness,consent=internal",
    ]);
    let report = r#"{"template":"trial","title":"A trial","language":"en","fields":{"date":"2017-04"},"narrative":"In court."}"#;
    let from_file = b.write(&["--from", &b.file("report.json", report)]);
    let piped = report.replace("A trial", "Another trial");
    let from_stdin = b.run_with(&["--json", "new", "--from", "-"], piped.as_bytes()).exits(0).lines();
    let from_stdin = from_stdin.last().and_then(|line| line["id"].as_str()).expect("an id").to_owned();
    assert_eq!(ids(&b).len(), 3);
    b.ok(&["import", SEED]);
    assert_eq!(ids(&b).len(), 26);

    b.ok(&["attach", &typed, PHOTO]);
    b.ok(&["edit", &typed, "--set", "authority=police", "--title", "Taken from the square"]);
    let shown = b.show(&typed);
    assert_eq!(shown["content"]["title"], "Taken from the square");
    assert_eq!(field(&shown, "authority"), "police");
    assert_eq!(people(&shown), ["Ihar Sinkievič"]);
    assert_eq!(shown["content"]["attachments"][0]["name"], "photo.jpg");
    assert!(history_text(&b, &typed).contains("police"));

    b.ok(&["finish", &typed, "--incomplete"]);
    b.ok(&["finish", "--all", "--incomplete"]);
    let daemon = a.daemon();
    let status = a.json(&["daemon", "status"]);
    assert!(!status.is_empty());
    b.ok(&["sync", "--with", daemon.address()]);

    let mut there = ids(&a);
    let mut here = ids(&b);
    there.sort();
    here.sort();
    assert_eq!(there, here);
    for id in [&typed, &from_file, &from_stdin] {
        assert_eq!(a.show(id)["content"], b.show(id)["content"]);
    }
    // The photograph's bytes arrived with its hashes.
    assert_eq!(a.show(&typed)["content"]["attachments"], b.show(&typed)["content"]["attachments"]);

    assert!(!a.json(&["status"]).is_empty());
    for format in ["html", "md", "json", "csv"] {
        let out = a.path(format);
        a.ok(&["export", "--all", "--format", format, "--out", out.to_str().expect("UTF-8")]);
        let files: Vec<_> = fs::read_dir(&out).expect("a directory").collect();
        assert!(!files.is_empty(), "{format}");
    }
    a.ok(&["daemon", "stop"]);
    let mut daemon = daemon;
    assert!(daemon.process.ends().success(), "{}", daemon.process.err());
}

#[test]
fn the_coordinator_saves_the_photograph_as_it_was_taken() {
    let (a, b, id) = shared_report();
    b.ok(&["attach", &id, PHOTO]);
    // Larger than one part, so that it travels in pieces.
    let film: Vec<u8> = (0..2_621_440u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    b.ok(&["attach", &id, &b.file("film.mp4", &film)]);
    sync(&b, &a);
    let attachments = a.show(&id)["content"]["attachments"].clone();
    for (name, original) in [("photo.jpg", fs::read(PHOTO).expect("the photograph")), ("film.mp4", film)] {
        let found =
            attachments.as_array().into_iter().flatten().find(|attachment| attachment["name"] == name);
        let attachment = found.unwrap_or_else(|| panic!("{name} is not in {attachments}"));
        assert_eq!(attachment["blake3"], blake3::hash(&original).to_hex().as_str());
        let out = a.path(&format!("saved-{name}"));
        a.ok(&["attachment", &id, name, "--out", out.to_str().expect("UTF-8")]);
        assert_eq!(fs::read(&out).expect("the saved file"), original, "{name}");
    }
}

#[test]
fn a_monitor_without_any_network_writes_what_it_likes_and_one_sync_carries_it_all() {
    let (a, b) = team_of_two();
    let many: String = (0..120)
        .map(|n| {
            let report = json!({"template": "detention", "title": format!("Case {n}"), "language": "en",
                "fields": {"date": "2017-03-25", "people_detained": n}, "narrative": format!("Case number {n}.")});
            format!("{report}\n")
        })
        .collect();
    b.ok(&["import", &b.file("many.jsonl", many)]);
    b.ok(&["finish", "--all", "--incomplete"]);
    let nobody = format!("127.0.0.1:{}", fieldbook_tests::free_port());
    b.fails(14, &["sync", "--with", &nobody]);
    assert_eq!(ids(&b).len(), 120, "an attempt to sync costs nothing");
    sync(&b, &a);
    let mut titles: Vec<String> =
        a.reports().iter().map(|line| line["title"].as_str().unwrap_or_default().to_owned()).collect();
    titles.sort();
    let mut expected: Vec<String> = (0..120).map(|n| format!("Case {n}")).collect();
    expected.sort();
    assert_eq!(titles, expected);
}

#[test]
fn nothing_reaches_the_coordinator_before_finish_and_drafts_never_leave() {
    let (a, b) = team_of_two();
    let finished = b.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", "Finished"]);
    let draft = b.write(&["--template", "detention", "--set", "date=2017-03-26", "--title", "Draft"]);
    sync(&b, &a);
    assert_eq!(ids(&a), Vec::<String>::new());
    b.ok(&["finish", &finished, "--incomplete"]);
    assert_eq!(ids(&a), Vec::<String>::new());
    sync(&b, &a);
    assert_eq!(ids(&a), [finished]);
    b.ok(&["edit", &draft, "--title", "Still a draft"]);
    sync(&b, &a);
    assert_eq!(ids(&a).len(), 1);
    let missing = a.fails(1, &["show", &draft]);
    assert!(missing["message"].as_str().is_some_and(|text| text.contains(&draft)), "{missing}");
    // No entry of the draft was even made.
    assert!(b.json(&["entry", "list", &draft]).iter().all(|line| line.get("kind").is_none()));
}

#[test]
fn an_incomplete_report_is_not_finished_by_accident() {
    let b = Machine::with_vault("Monitor");
    b.ok(&["team", "create", "T"]);
    let id = b.write(&["--template", "detention", "--title", "Without a date"]);
    let refused = b.fails(1, &["finish", &id]);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("date")), "{refused}");
    assert_eq!(b.show(&id)["summary"]["state"], "draft");
    b.ok(&["finish", &id, "--incomplete"]);
    assert_eq!(b.show(&id)["summary"]["state"], "finished");
}

#[test]
fn what_two_people_wrote_at_once_in_a_narrative_is_both_there() {
    let (a, b, id) = shared_report();
    a.ok(&["edit", &id, "--set", "narrative=At noon, three people stood at the gate when the bus arrived."]);
    b.ok(&[
        "edit",
        &id,
        "--set",
        "narrative=Three people stood at the gate when the bus arrived. It had no number plates.",
    ]);
    sync(&b, &a);
    sync(&b, &a);
    let (at_a, at_b) = (a.show(&id), b.show(&id));
    assert_eq!(at_a["content"], at_b["content"]);
    let text = at_a["content"]["narrative"].as_str().expect("a narrative");
    assert!(text.contains("At noon, ") && text.ends_with("It had no number plates."), "{text}");
    assert_eq!(clashes_of(&a, &id), Value::Null, "text that merges does not clash");
}

#[test]
fn a_clash_is_shown_with_who_when_and_which_value_until_a_person_decides() {
    let (a, b, id) = shared_report();
    a.ok(&["edit", &id, "--set", "authority=KGB"]);
    b.ok(&["edit", &id, "--set", "authority=OMON"]);
    sync(&b, &a);
    sync(&b, &a);
    for machine in [&a, &b] {
        let listed = machine.run(&["conflicts"]).exits(13);
        for expected in ["Coordination", "Monitor", "KGB", "OMON", "authority", "UTC"] {
            assert!(listed.out().contains(expected), "{expected} is not in {listed:?}");
        }
        let clashes = clashes_of(machine, &id);
        let mut values: Vec<(String, String)> = clashes[0]["values"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| {
                (
                    value["who"].as_str().unwrap_or("").to_owned(),
                    value["value"].as_str().unwrap_or("").to_owned(),
                )
            })
            .collect();
        values.sort();
        assert_eq!(values, [("Coordination".into(), "KGB".into()), ("Monitor".into(), "OMON".into())]);
        assert!(
            clashes[0]["values"]
                .as_array()
                .into_iter()
                .flatten()
                .all(|value| value["time_ms"].as_i64() > Some(0))
        );
    }
    assert_eq!(field(&a.show(&id), "authority"), field(&b.show(&id), "authority"), "both show the same one");
    let of = clashes_of(&a, &id)[0]["field"].as_str().expect("its name").to_owned();
    a.ok(&["resolve", &id, "--field", &of, "--keep", "OMON"]);
    assert_eq!(clashes_of(&a, &id), Value::Null);
    a.ok(&["conflicts"]);
    sync(&b, &a);
    assert_eq!(clashes_of(&b, &id), Value::Null);
    assert_eq!(field(&b.show(&id), "authority"), "OMON");
    for machine in [&a, &b] {
        let history = history_text(machine, &id);
        for value in ["anti-riot police", "KGB", "OMON"] {
            assert!(history.contains(value), "{value} is not in {history}");
        }
    }
}

#[test]
fn a_clash_can_be_resolved_by_keeping_both() {
    let (a, b, id) = shared_report();
    a.ok(&["edit", &id, "--set", "authority=KGB"]);
    b.ok(&["edit", &id, "--set", "authority=OMON"]);
    sync(&b, &a);
    a.ok(&["resolve", &id, "--field", "authority", "--keep", "both"]);
    sync(&b, &a);
    for machine in [&a, &b] {
        assert_eq!(clashes_of(machine, &id), Value::Null);
        let kept = field(&machine.show(&id), "authority").to_string();
        assert!(kept.contains("KGB") && kept.contains("OMON"), "{kept}");
    }
}

#[test]
fn the_monitor_learns_who_holds_the_report() {
    let (a, b) = team_of_two();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", "For receipt"]);
    assert_eq!(word_of_delivery(&b, &id), "draft");
    b.ok(&["finish", &id, "--incomplete"]);
    assert_eq!(word_of_delivery(&b, &id), "only here");
    sync(&b, &a);
    // Opened and signed for by the coordinator, at the latest at its next command.
    a.ok(&["list"]);
    let said = sync(&b, &a);
    assert_eq!(word_of_delivery(&b, &id), "received", "{said:?}");
    assert_eq!(b.show(&id)["summary"]["delivery"]["holders"][0]["name"], "Coordination");
    let daemon = a.daemon();
    let words = b.ok(&["sync", "--with", daemon.address()]);
    assert!(words.out().contains("Coordination"), "{words:?}");
    assert!(b.ok(&["list"]).out().contains("received"));
}

#[test]
fn a_report_is_named_by_any_beginning_of_its_id_that_is_unambiguous() {
    let b = Machine::with_vault("Monitor");
    b.ok(&["import", SEED]);
    let all = ids(&b);
    let id = all[0].clone();
    let shortest = (1..=id.len())
        .map(|len| &id[..len])
        .find(|prefix| all.iter().filter(|other| other.starts_with(prefix)).count() == 1)
        .expect("an unambiguous prefix");
    assert_eq!(b.show(shortest)["summary"]["id"], id.as_str());
    // Among 23 ids two begin with the same of sixteen digits.
    let ambiguous = "0123456789abcdef"
        .chars()
        .map(String::from)
        .find(|digit| all.iter().filter(|other| other.starts_with(digit.as_str())).count() > 1)
        .expect("more ids than digits");
    b.fails(2, &["show", &ambiguous]);
    b.fails(1, &["show", "ffffffffffffffffffffffffffffffff"]);
}

#[test]
fn a_second_coordinator_reads_and_another_monitor_does_not() {
    let (a, b) = team_of_two();
    let (c, d) = (Machine::with_vault("Second coordinator"), Machine::with_vault("Other monitor"));
    pair(&a, &c, "coordinator");
    pair(&a, &d, "monitor");
    // The first monitor learns of the desk's new key.
    sync(&b, &a);
    let before = b.write(&[
        "--template",
        "detention",
        "--set",
        "date=2017-03-25",
        "--title",
        "From the first monitor",
    ]);
    b.ok(&["finish", &before, "--incomplete"]);
    let daemon = a.daemon();
    for machine in [&b, &c, &d] {
        machine.ok(&["sync", "--with", daemon.address()]);
    }
    assert_eq!(ids(&c), std::slice::from_ref(&before));
    assert_eq!(c.show(&before)["content"], b.show(&before)["content"]);
    assert_eq!(ids(&d), Vec::<String>::new());
    // What a monitor's device tells of its team: coordinators and itself, never another monitor.
    let known = d.ok(&["status"]).out() + &format!("{:?}", d.json(&["status"]));
    assert!(!known.contains("\"Monitor\""), "{known}");
}

#[test]
fn importing_the_same_file_twice_adds_nothing() {
    let b = Machine::with_vault("Monitor");
    b.ok(&["import", SEED]);
    let once = ids(&b);
    b.ok(&["import", SEED]);
    assert_eq!(ids(&b), once);
}

#[test]
fn a_file_with_bad_lines_is_imported_as_far_as_it_is_good_and_says_so() {
    let b = Machine::with_vault("Monitor");
    let good = r#"{"template":"detention","title":"Good","language":"en","fields":{"date":"2017-03-25"}}"#;
    let file = b.file("mixed.jsonl", format!("{good}\n{{\"template\":\"no-such\"}}\nnot json\n"));
    let error = b.fails(3, &["import", &file]);
    let said = error.to_string() + &b.run(&["import", &file]).err();
    assert!(said.contains('2') && said.contains('3'), "the lines are named: {said}");
    assert_eq!(ids(&b).len(), 1);
}

#[test]
fn recovery_is_explained_and_the_desks_identity_is_for_coordinators_only() {
    let (a, b) = team_of_two();
    let explained = a.bare().args(["recover", "--explain"]).output().expect("help");
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(explained.status.success() && text.contains("age -d") && text.contains("entry export"), "{text}");
    let identity = a.ok(&["recover", "identity"]).out();
    assert!(identity.contains("AGE-SECRET-KEY-1"), "{identity}");
    b.fails(1, &["recover", "identity"]);
}
