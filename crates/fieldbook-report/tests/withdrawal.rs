//! Somebody takes back their consent: the fresh document holds no part of their name, in no case of the
//! grammar and in no byte, and the others are still in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use fieldbook_report::publish::Withdrawn;
use fieldbook_report::{AttachmentManifest, Edit, ReportDocument, ReportInput};

const NOW: i64 = 1_490_436_000_000;

fn document(input: &ReportInput) -> ReportDocument {
    let mut next = 0_u32;
    let mut ids = || {
        next += 1;
        format!("{next:08x}")
    };
    ReportDocument::create([7; 16], input, &mut ids, NOW).unwrap()
}

fn report(line: &str) -> ReportDocument {
    document(&ReportInput::from_json(line).unwrap_or_else(|e| panic!("{line}\n{e}")))
}

fn fresh(withdrawn: &Withdrawn) -> ReportDocument {
    let mut fresh = document(&withdrawn.input);
    fresh.edit(&withdrawn.edits, NOW).unwrap();
    fresh
}

fn told() -> ReportDocument {
    let mut report = report(
        r#"{"template":"detention","title":"Задержание Светланы Ковальчук","language":"ru","fields":{"date":"2017-03-25",
        "place":{"country":"BY","locality":"Минск"},"authority":"ОМОН (со слов Ковальчук)","x-Ковальчук":"1","x-van":"белый",
        "x-list":["от Светланы","от Орлова"],
        "persons":[
          {"name":"Светлана Ковальчук","also_spelled":["Sviatlana Kavalchuk"],"role":"witness","phone":"+375 29 123-45-67","address":"Минск"},
          {"name":"Пётр Ковальчук","role":"victim","consent":"publish named","friend":"Светлана, 8 029 123-45-67"},
          {"name":"мать Светланы Ковальчук","role":"relative"},
          {"name":"Ковальчук Святлана","role":"source"}]},
        "narrative":"Светлану Ковальчук и Петра Ковальчука вывели из дома. Ковальчук С. звонила с 8 029 1234567 из Минска. СВЕТЛАНА молчала, Святлане Кавальчук стала дрэнна. Пётр Ковальчук видел Орлова.",
        "sources":["Письмо Ковальчук С."],"chain":{"from":"S. Kovalchuk","Kavalchuk":1,"n":[1,"Светланой"]}}"#,
    );
    let manifest = AttachmentManifest {
        id: "ab".repeat(16),
        name: "Ковальчук.jpg".into(),
        media_type: "image/jpeg".into(),
        size: 12,
        blake3: "0a".repeat(32),
        sha256: "1b".repeat(32),
        identity: "AGE-SECRET-KEY-1QQ".into(),
        parts: vec!["cd".repeat(32)],
    };
    let note = Edit::AddNote {
        id: "0000000a".into(),
        text: "Светлана точно согласна?".into(),
        time_ms: NOW + 7,
        reply_to: None,
    };
    report.edit(&[Edit::AddAttachment(manifest), note], NOW).unwrap();
    report
}

#[test]
fn nothing_of_the_person_remains_and_the_others_stay() {
    let withdrawn = told().without_person("00000001", true).unwrap();
    let mut fresh = fresh(&withdrawn);
    assert_eq!(withdrawn.remains(&mut fresh), Vec::<String>::new());
    let view = fresh.view();
    let text = serde_json::to_string(&view).unwrap();
    for gone in [
        "Светлан",
        "Святлан",
        "Sviatlana",
        "Kavalchuk",
        "Kovalchuk",
        "1234567",
        "123-45-67",
        "СВЕТЛАНА",
        "Кавальчук",
    ] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(view.title, "Задержание [имя скрыто]");
    assert!(
        view.narrative.starts_with("[имя скрыто] и Петра Ковальчука вывели из дома."),
        "{}",
        view.narrative
    );
    assert!(view.narrative.contains("из Минска") && view.narrative.ends_with("Пётр Ковальчук видел Орлова."));
    let people: Vec<&str> = view.people.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(people, ["Пётр Ковальчук", "мать [имя скрыто]"]);
    assert_eq!(withdrawn.also_changed, ["00000003", "00000004"]);
    assert_eq!(view.notes[0].text, "[имя скрыто] точно согласна?");
    assert_eq!((view.notes[0].time_ms, view.notes[0].id.as_str()), (NOW + 7, "0000000a"));
    assert_eq!(view.attachments[0].name, "[имя скрыто].jpg");
    assert_eq!(fresh.attachment(&"ab".repeat(16)).unwrap().parts.len(), 1);
    assert!(withdrawn.replaced > 10);
    assert!(!format!("{withdrawn:?}").contains("Светлан"));

    let without_files = told().without_person("00000001", false).unwrap();
    assert!(!without_files.edits.iter().any(|edit| matches!(edit, Edit::AddAttachment(_))));
    assert!(told().without_person("00000009", true).is_err());
}

#[test]
fn what_a_document_remembers_is_found() {
    let withdrawn = told().without_person("00000001", false).unwrap();
    assert!(!withdrawn.remains(&mut told()).is_empty());
    // Taken out within one document: the view is clean, its bytes are not.
    let mut kept = document(&withdrawn.input);
    kept.edit(&[Edit::Title("Со слов Светланы".into())], NOW).unwrap();
    kept.edit(&[Edit::Title(withdrawn.input.title.clone())], NOW).unwrap();
    assert!(withdrawn.remains(&mut kept).contains(&"title".to_owned()));
    let mut kept = document(&withdrawn.input);
    let narrative = |text: &str| Edit::Narrative(text.into());
    kept.edit(&[narrative("Kavalchuk"), narrative(&withdrawn.input.narrative)], NOW).unwrap();
    assert!(withdrawn.remains(&mut kept).contains(&"the document's bytes".to_owned()));
}

#[test]
fn every_case_of_the_grammar_goes() {
    for (name, language, narrative) in [
        (
            "Дмитрий Зайцев",
            "ru",
            "Дмитрия Зайцева, Дмитрию Зайцеву, Зайцевым, о Зайцеве, Дзмітрый Зайцаў, Dzmitry Zajcaŭ",
        ),
        ("Васіль Быкаў", "be", "Васіля Быкава, Васілю Быкаву, з Быкавым, пра Быкаве, Василий Быков"),
        ("Ольга Чёрная", "ru", "Ольге Чёрной, Ольгой, Чёрную, Вользе, О. Чёрная"),
        ("Павел Кравец", "ru", "Павла Кравца, Кравцом, Кравцу, Павлу"),
        ("Уладзімір Кот", "be", "Уладзіміра, Владимира Кота, Володимиром"),
    ] {
        let line = format!(
            r#"{{"template":"detention","language":"{language}","narrative":"{narrative}","people":[{{"name":"{name}"}}]}}"#
        );
        let withdrawn = report(&line).without_person("00000001", false).unwrap();
        let mut fresh = fresh(&withdrawn);
        assert!(withdrawn.remains(&mut fresh).is_empty());
        let left = fresh.view().narrative;
        for word in left.replace("[имя скрыто]", "").replace("[імя схавана]", "").split([' ', ',', '.'])
        {
            assert!(word.chars().count() <= 3, "{name}: {word} in {left}");
        }
    }
}

#[test]
fn everybody_of_the_real_reports_can_withdraw() {
    let lines = include_str!("data/minsk-2017.jsonl");
    let mut people = 0;
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let report = report(line);
        for person in report.view().people {
            let withdrawn = report.without_person(&person.id, false).unwrap();
            let mut fresh = fresh(&withdrawn);
            assert_eq!(withdrawn.remains(&mut fresh), Vec::<String>::new(), "{}", person.name);
            assert!(!fresh.view().people.iter().any(|other| other.name == person.name));
            people += 1;
        }
    }
    assert!(people >= 3, "only {people} people");
}
