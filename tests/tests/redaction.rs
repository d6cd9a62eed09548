//! Publishing is safe by default: who did not agree to be named is not named, anywhere, in any form.

use std::fs;
use std::path::{Path, PathBuf};

use fieldbook_tests::traces::{self, Canary};
use fieldbook_tests::{Machine, PHOTO};
use serde_json::{Value, json};

const FORMATS: [&str; 4] = ["html", "md", "json", "csv"];

/// What must not be found after publication: the stems of every protected name, in every spelling.
const PROTECTED: [&str; 8] =
    ["Воробь", "Воробье", "Варабьёв", "Sinkievi", "Сінкев", "Zhvirblianski", "Жвірбл", "Kanareika"];

/// A coordinator with reports that name people in all the ways that people are named.
fn newsroom() -> Machine {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let reports = [
        json!({"template": "detention", "title": "Задержание Анны Воробьёвой", "language": "ru",
            "fields": {"date": "2017-03-25", "authority": "РУВД, по словам Воробьевой",
                "reason_given": "«Воробьёва Анна» в списке", "x-note": "сестра: ВОРОБЬЁВА",
                "persons": [
                    {"name": "Анна Воробьёва", "also_spelled": ["Ганна Вараб'ёва", "Ганна Варабьёва"], "role": "victim",
                        "consent": "publish anonymised", "address": "Воробьёвой, Ленина 5"},
                    {"name": "Ihar Sinkievič", "also_spelled": ["Ігар Сінкевіч"], "role": "witness"}]},
            "narrative": "Анну Воробьёву задержали у ворот. Вместе с Анной Воробьевой стоял И. Сінкевіч. \
                О Воробьёвой спрашивали дважды; с Воробьевой не говорил никто. Sinkievič saw it. Sinkieviča забралі.",
            "sources": ["Интервью с Анной Воробьёвой"]}),
        json!({"template": "trial", "title": "The trial of Michail Žamchužny", "language": "en",
            "fields": {"date": "2015", "persons": [
                {"name": "Michail Žamchužny", "role": "accused", "consent": "publish named"},
                {"name": "Kastus Zhvirblianski", "also_spelled": ["Кастусь Жвірблянскі"], "role": "source",
                    "consent": "share with named bodies"}]},
            "narrative": "Michail Žamchužny was convicted. Zhvirblianski's notes say so; ZHVIRBLIANSKI was there, \
                and so was Anna's colleague Ihar Sinkievič, who is in another report. Са слоў Жвірблянскага.",
            "sources": ["Notes of Kastus Zhvirblianski"]}),
    ];
    let lines: String = reports.iter().map(|report| format!("{report}\n")).collect();
    a.ok(&["import", &a.file("reports.jsonl", lines)]);
    let first = a.reports()[0]["id"].as_str().expect("an id").to_owned();
    let photo = a.path("Воробьёва у ворот.jpg");
    fs::copy(PHOTO, &photo).expect("a copy");
    a.ok(&["attach", &first, photo.to_str().expect("UTF-8")]);
    a.ok(&["finish", "--all", "--incomplete"]);
    a
}

fn export(machine: &Machine, format: &str, more: &[&str]) -> (PathBuf, fieldbook_tests::Run) {
    let out = machine.path(&format!("{format}{}", more.len()));
    let dir = out.to_str().expect("UTF-8").to_owned();
    let run = machine.ok(&[&["export", "--all", "--format", format, "--out", &dir], more].concat());
    (out, run)
}

fn all_bytes(dir: &Path) -> Vec<u8> {
    traces::files(dir).iter().flat_map(|file| fs::read(file).expect("a file of the publication")).collect()
}

#[test]
fn nobody_without_consent_is_named_in_any_byte_of_any_format() {
    let a = newsroom();
    let canaries: Vec<Canary> = PROTECTED.iter().map(|stem| Canary::word(stem)).collect();
    for format in FORMATS {
        let (dir, _) = export(&a, format, &[]);
        assert!(!traces::files(&dir).is_empty(), "{format}: nothing was published");
        let found = traces::search(&[&dir], &canaries);
        assert!(found.is_empty(), "{format}: {found:?}");
        // HTML and JSON can also spell a letter as a number.
        let bytes = all_bytes(&dir);
        for numeric in ["&#1042;", "&#x412;", "&#x0412;", "\\u0412", "\\u0432\\u043e\\u0440"] {
            let found =
                bytes.windows(numeric.len()).any(|window| window.eq_ignore_ascii_case(numeric.as_bytes()));
            assert!(!found, "{format}: a Cyrillic letter is written as {numeric}");
        }
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(text.contains("Michail Žamchužny"), "{format}: who agreed to be named is named");
        assert!(text.contains("задержали у ворот"), "{format}: the rest of the story is there");
        assert!(
            !text.contains("53.9") && !text.contains("Canarycam"),
            "{format}: what the photograph says of itself"
        );
        assert!(!text.contains("AGE-SECRET-KEY"), "{format}");
    }
}

#[test]
fn what_was_replaced_or_left_out_is_listed() {
    let a = newsroom();
    let (_, said) = export(&a, "md", &[]);
    let words = said.out() + &said.err();
    assert!(words.to_lowercase().contains("pseudonym") || words.contains("replaced"), "{words}");
    assert!(
        words.contains("Воробь") || words.contains("Person"),
        "the person is named by something: {words}"
    );
    let dir = a.path("listed");
    let lines = a.json(&["export", "--all", "--format", "md", "--out", dir.to_str().expect("UTF-8")]);
    let log = lines.iter().find_map(|line| line.get("log")).unwrap_or(&Value::Null);
    assert!(log.is_object() || log.is_array(), "{lines:?}");
    let text = log.to_string();
    assert!(
        text.contains("photo") || text.contains(".jpg") || text.contains("attachment"),
        "the photograph: {text}"
    );
}

#[test]
fn one_person_has_one_pseudonym_throughout_a_publication_in_every_format() {
    let a = newsroom();
    let (dir, _) = export(&a, "json", &[]);
    let text = String::from_utf8(all_bytes(&dir)).expect("UTF-8");
    // Ihar Sinkievič stands in both reports, in one of them only in the text.
    let story = text.split("another report").next().expect("text before");
    let before: String = story.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    let pseudonym = before
        .rsplit_once("colleague ")
        .and_then(|(_, rest)| rest.split([',', '.', '"']).next())
        .expect("the words in place of the name")
        .trim();
    assert!(!pseudonym.is_empty());
    assert!(text.matches(pseudonym).count() > 1, "{pseudonym:?} stands once only in {text}");
}

#[test]
fn fields_marked_as_identifying_stay_out_and_an_internal_export_has_everything() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let id = a.write(&[
        "--template",
        "detention",
        "--set",
        "date=2017-03-25",
        "--set",
        "internal_note=Telephone of the aunt: quokkaphone",
        "--set",
        "place.exact=Lenina 5, flat quokkaflat",
        "--set",
        "narrative=Somebody was taken.",
        "--person",
        "name=Ihar Sinkievič,role=witness,consent=internal",
    ]);
    a.ok(&["finish", &id]);
    for format in FORMATS {
        let (dir, _) = export(&a, format, &[]);
        let text = String::from_utf8(all_bytes(&dir)).expect("UTF-8");
        for secret in ["quokkaphone", "quokkaflat", "Sinkievič"] {
            assert!(!text.contains(secret), "{format}: {secret}");
        }
        assert!(text.contains("Somebody was taken."));
    }
    let (dir, _) = export(&a, "json", &["--internal"]);
    let text = String::from_utf8(all_bytes(&dir)).expect("UTF-8");
    for word in ["quokkaphone", "quokkaflat", "Sinkievič"] {
        assert!(text.contains(word), "{word} is not in the internal export");
    }
}

#[test]
fn an_export_never_overwrites_and_a_draft_is_not_published() {
    let a = newsroom();
    let (dir, _) = export(&a, "html", &[]);
    let before = all_bytes(&dir);
    let again = a.run(&["export", "--all", "--format", "html", "--out", dir.to_str().expect("UTF-8")]);
    assert_ne!(again.code, 0, "{again:?}");
    assert_eq!(all_bytes(&dir), before);
    let draft = a.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", "quokkadraft"]);
    let out = a.path("with-draft");
    a.ok(&["export", "--all", "--format", "md", "--out", out.to_str().expect("UTF-8")]);
    assert!(!String::from_utf8_lossy(&all_bytes(&out)).contains("quokkadraft"));
    let out = a.path("draft-alone");
    let refused = a.run(&["export", &draft, "--format", "md", "--out", out.to_str().expect("UTF-8")]);
    assert!(refused.code == 15 || refused.code == 1, "{refused:?}");
    assert!(!out.exists(), "nothing was written");
}
