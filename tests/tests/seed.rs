//! The 23 records of the seed data go through a monitor's vault, a sync and a coordinator's vault, and
//! come out as they went in.

use std::fs;

use fieldbook_tests::{SEED, team_of_two, traces};
use serde_json::Value;

use crate::reading::{ids, sync};

fn seed() -> Vec<Value> {
    let text = fs::read_to_string(SEED).expect("the seed data");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// Every object in a JSON or JSON Lines text that has a template.
fn records(text: &str) -> Vec<Value> {
    fn collect(value: Value, into: &mut Vec<Value>) {
        match value {
            Value::Object(map) if map.contains_key("template") => into.push(Value::Object(map)),
            Value::Object(map) => map.into_iter().for_each(|(_, value)| collect(value, into)),
            Value::Array(items) => items.into_iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    match serde_json::from_str(text) {
        Ok(value) => collect(value, &mut found),
        Err(_) => {
            text.lines()
                .for_each(|line| collect(serde_json::from_str(line).expect("JSON Lines"), &mut found));
        }
    }
    found
}

/// Everything in `original` is in `copy`, value by value; lists are equal in length and order.
fn assert_kept(original: &Value, copy: &Value, at: &str) {
    match (original, copy) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let there = found.get(key).unwrap_or_else(|| panic!("{at}.{key} is lost in {copy}"));
                assert_kept(value, there, &format!("{at}.{key}"));
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            assert_eq!(wanted.len(), found.len(), "{at}");
            for (number, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                assert_kept(wanted, found, &format!("{at}[{number}]"));
            }
        }
        // A template may be named with its version.
        (Value::String(wanted), Value::String(found)) if at.ends_with(".template") => {
            assert_eq!(found.split('@').next(), Some(wanted.as_str()), "{at}");
        }
        _ => assert_eq!(original, copy, "{at}"),
    }
}

#[test]
fn all_23_records_arrive_intact_value_by_value() {
    let originals = seed();
    assert_eq!(originals.len(), 23);
    let (a, b) = team_of_two();
    b.ok(&["import", SEED]);
    b.ok(&["finish", "--all", "--incomplete"]);
    sync(&b, &a);
    assert_eq!(ids(&a).len(), 23);

    let out = a.path("internal");
    a.ok(&["export", "--all", "--internal", "--format", "json", "--out", out.to_str().expect("UTF-8")]);
    let mut exported: Vec<Value> = Vec::new();
    for file in traces::files(&out) {
        if file.extension().is_some_and(|extension| extension == "json" || extension == "jsonl") {
            exported.extend(records(&fs::read_to_string(&file).expect("a file of the export")));
        }
    }
    assert_eq!(exported.len(), 23);
    for original in &originals {
        let title = &original["title"];
        let copy =
            exported.iter().find(|copy| copy["title"] == *title).unwrap_or_else(|| panic!("{title} is lost"));
        assert_kept(original, copy, title.as_str().unwrap_or_default());
        // And nothing was invented: fields are exactly those of the record.
        let keys = |value: &Value| {
            let mut keys: Vec<String> =
                value["fields"].as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(original), keys(copy), "{title}");
    }
}

#[test]
fn an_internal_export_imports_elsewhere_as_the_same_reports() {
    let (a, b) = team_of_two();
    b.ok(&["import", SEED]);
    b.ok(&["finish", "--all", "--incomplete"]);
    let out = b.path("internal");
    b.ok(&["export", "--all", "--internal", "--format", "json", "--out", out.to_str().expect("UTF-8")]);
    let lines: String = traces::files(&out)
        .iter()
        .flat_map(|file| records(&fs::read_to_string(file).expect("a file")))
        .map(|record| {
            // The warning that such an export carries is no part of the report, and is not imported.
            assert!(record["notice"].is_string(), "{record}");
            format!("{record}\n")
        })
        .collect();
    a.ok(&["import", &a.file("again.jsonl", lines)]);
    let contents = |machine: &fieldbook_tests::Machine| {
        let mut found: Vec<String> = ids(machine)
            .iter()
            .map(|id| {
                let mut content = machine.show(id)["content"].clone();
                // People are numbered anew by each import.
                for person in content["people"].as_array_mut().into_iter().flatten() {
                    person["id"] = Value::Null;
                }
                content.to_string()
            })
            .collect();
        found.sort();
        found
    };
    assert_eq!(contents(&a), contents(&b));
}

#[test]
fn precision_words_dates_and_four_languages_stand_in_every_publication() {
    let (_, b) = team_of_two();
    b.ok(&["import", SEED]);
    b.ok(&["finish", "--all", "--incomplete"]);
    for format in ["html", "md", "json", "csv"] {
        let out = b.path(format);
        b.ok(&["export", "--all", "--format", format, "--out", out.to_str().expect("UTF-8")]);
        let text: String =
            traces::files(&out).iter().map(|file| fs::read_to_string(file).expect("UTF-8") + "\n").collect();
        // For people in the words of the report's language, for programs as they were written.
        let written: &[&str] = match format {
            "html" | "md" => &[
                "more than 700",
                "almost 150",
                "больш за 1000",
                "более 30",
                "вясна 2017",
                "25 March 2017 – 26 March 2017",
                "22 марта 2017 – 24 марта 2017",
                "1999 – 2000",
                "19 December 2010",
            ],
            _ => &[
                "more than",
                "almost",
                "1000",
                "150",
                "2017-21",
                "2017-03-25/2017-03-26",
                "2017-03-22/2017-03-24",
                "1999/2000",
                "2010-12-19",
            ],
        };
        for expected in written.iter().copied().chain([
            "hundreds",
            "Задержания накануне демонстрации",
            "Масавыя затрыманні вясны 2017 года",
            "Переслідування незалежних журналістів",
            "Full exoneration of all former political prisoners",
            "Michail Žamchužny",
            "Elena Tonkacheva",
        ]) {
            assert!(text.contains(expected), "{format}: {expected} is missing");
        }
    }
}
