//! The way back: until a report is sealed, its author sees what coordinators change and ask, answers, and both
//! end with the same report.

use fieldbook_tests::{Machine, team_of_two};
use serde_json::Value;

use crate::reading::{clashes_of, field, history_text, sync};

/// A finished report of the monitor that the coordinator has.
fn delivered(monitor: &Machine, coordination: &Machine) -> String {
    let id =
        monitor.write(&["--template", "detention", "--title", "At the office", "--set", "date=2017-03-25"]);
    monitor.ok(&["finish", &id, "--incomplete"]);
    sync(monitor, coordination);
    id
}

/// What a report says, notes included, without what each device calls the others.
fn content(machine: &Machine, id: &str) -> Value {
    machine.show(id)["content"].clone()
}

fn status(machine: &Machine) -> Value {
    machine.json(&["status"]).pop().expect("a status")
}

/// How many questions wait on this machine: in `status`, and in the line of `list`.
fn questions(machine: &Machine, id: &str) -> (u64, u64) {
    let line = machine.reports().into_iter().find(|line| line["id"] == id).expect("the report");
    let number = |value: &Value| value["questions"].as_u64().expect("a number");
    (number(&status(machine)), number(&line))
}

#[test]
fn the_author_sees_what_was_asked_and_changed_and_both_end_with_the_same() {
    let (coordination, monitor) = team_of_two();
    let id = delivered(&monitor, &coordination);

    coordination.ok(&["edit", &id, "--set", "authority=OMON"]);
    let asked = coordination.run_with(&["--json", "ask", &id, "-"], "Кто это видел?\n".as_bytes()).exits(0);
    let question = asked.lines().pop().expect("a line")["note"].as_str().expect("its id").to_owned();
    assert_eq!(questions(&coordination, &id), (0, 0), "nobody answers their own question");
    sync(&monitor, &coordination);

    let shown = monitor.show(&id);
    assert_eq!(field(&shown, "authority"), "OMON");
    let note = &shown["notes"][0];
    assert_eq!(
        (&note["text"], &note["open"], &note["mine"]),
        (&"Кто это видел?".into(), &true.into(), &false.into())
    );
    assert_eq!(questions(&monitor, &id), (1, 1));
    assert!(monitor.ok(&["status"]).out().contains("Questions for you: 1"));
    assert!(monitor.ok(&["list"]).out().contains("1 question for you"));
    assert!(monitor.ok(&["show", &id]).out().contains("not answered"));
    assert!(history_text(&monitor, &id).contains("Кто это видел?"));

    // Both go on, apart.
    monitor.run_with(&["answer", &id, "-"], b"A neighbour.").exits(0);
    monitor.ok(&["edit", &id, "--title", "At the office, at noon"]);
    coordination.ok(&["edit", &id, "--set", "people_detained=57"]);
    coordination.ok(&["ask", &id, "And the photograph?"]);
    sync(&monitor, &coordination);
    sync(&monitor, &coordination);

    assert_eq!(content(&monitor, &id), content(&coordination, &id));
    let shown = coordination.show(&id);
    assert_eq!(shown["content"]["title"], "At the office, at noon");
    assert_eq!(field(&shown, "people_detained"), 57);
    let texts: Vec<&str> = shown["notes"]
        .as_array()
        .expect("notes")
        .iter()
        .map(|n| n["text"].as_str().expect("a text"))
        .collect();
    assert_eq!(texts, ["And the photograph?", "Кто это видел?", "A neighbour."], "what is open stands first");
    assert_eq!(shown["notes"][2]["reply_to"], question.as_str());
    assert_eq!((questions(&monitor, &id), questions(&coordination, &id)), ((1, 1), (0, 0)));
    assert_eq!(clashes_of(&monitor, &id), Value::Null);

    // The same field at once: a clash, the same on both sides.
    monitor.ok(&["edit", &id, "--set", "outcome=released"]);
    coordination.ok(&["edit", &id, "--set", "outcome=fined"]);
    sync(&monitor, &coordination);
    sync(&monitor, &coordination);
    for machine in [&monitor, &coordination] {
        let clashes = clashes_of(machine, &id);
        assert_eq!(clashes[0]["field"], "fields.outcome", "{}", machine.name());
    }
    assert_eq!(content(&monitor, &id), content(&coordination, &id));
}

#[test]
fn an_answer_finds_its_question_or_says_which_there_are() {
    let (coordination, monitor) = team_of_two();
    let id = delivered(&monitor, &coordination);
    assert_eq!(coordination.fails(1, &["answer", &id, "Yes."])["code"], "no-question");
    let ask = |text: &str| {
        let line = coordination.json(&["ask", &id, text]).pop().expect("a line");
        line["note"].as_str().expect("its id").to_owned()
    };
    let (first, second) = (ask("Who?"), ask("When?"));
    sync(&monitor, &coordination);
    assert_eq!(questions(&monitor, &id), (2, 2));
    assert_eq!(monitor.fails(2, &["answer", &id, "Yes."])["code"], "which-question");
    assert_eq!(monitor.fails(1, &["answer", &id, "--to", "ffffffffff", "Yes."])["code"], "no-such-note");
    assert_eq!(monitor.fails(2, &["answer", &id, "--to", &first, " "])["code"], "input");
    assert_eq!(monitor.fails(4, &["answer", &id, "--to", &first])["code"], "cannot-ask");
    monitor.ok(&["answer", &id, "--to", &first, "A neighbour."]);
    monitor.ok(&["answer", &id, "At noon."]);
    monitor.ok(&["ask", &id, "Was that all?"]);
    assert_eq!(questions(&monitor, &id), (0, 0));
    sync(&monitor, &coordination);
    let shown = coordination.show(&id);
    let answers: Vec<&Value> =
        shown["notes"].as_array().expect("notes").iter().filter(|n| !n["reply_to"].is_null()).collect();
    assert_eq!(
        answers.iter().find(|n| n["reply_to"] == second.as_str()).expect("an answer")["text"],
        "At noon."
    );
    assert_eq!(questions(&coordination, &id), (1, 1), "the author asked");
    coordination.ok(&["answer", &id, "Yes."]);
    assert_eq!(questions(&coordination, &id), (0, 0));

    // Nothing of all this is published.
    let out = coordination.path("publication");
    coordination.ok(&["export", &id, "--format", "html", "--out", out.to_str().expect("UTF-8")]);
    let page = std::fs::read_to_string(out.join("reports.html")).expect("the page");
    assert!(page.contains("At the office"));
    for secret in ["neighbour", "At noon", "Was that all"] {
        assert!(!page.contains(secret), "{secret}");
    }
}
