//! The seed records of the project: real wording, four languages, EDTF dates, precision words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use fieldbook_report::{NewPerson, ReportDocument, ReportInput};
use serde_json::Value;

const SEED: &str = include_str!("data/minsk-2017.jsonl");

fn ids() -> impl FnMut() -> String {
    let mut next = 0_u32;
    move || {
        next += 1;
        format!("{next:08x}")
    }
}

#[test]
fn every_record_survives_import_export_import_value_for_value() {
    let mut count = 0;
    for line in SEED.lines() {
        let original: Value = serde_json::from_str(line).unwrap();
        let input = ReportInput::from_json(line).unwrap_or_else(|e| panic!("{line}\n{e}"));
        assert_eq!(input.to_json(), original);
        let mut document = ReportDocument::create([1; 16], &input, &mut ids(), 1_499_126_400_000).unwrap();
        let exported = document.view().to_import_json();
        assert_eq!(exported, original, "{}", input.title);
        let again = ReportInput::from_json(&exported.to_string()).unwrap();
        let mut second = ReportDocument::create([2; 16], &again, &mut ids(), 1_499_126_400_000).unwrap();
        assert_eq!(second.view(), document.view());
        let loaded = ReportDocument::load([3; 16], &document.save()).unwrap();
        assert_eq!(loaded.view(), second.view());
        assert_eq!(ReportDocument::load([3; 16], &second.save()).unwrap().view(), document.view());
        assert_eq!(document.missing(), Vec::<String>::new(), "{}", input.title);
        assert!(document.clashes().is_empty());
        count += 1;
    }
    assert_eq!(count, 23);
}

#[test]
fn every_field_of_the_seed_is_known_to_its_template() {
    for line in SEED.lines() {
        let input = ReportInput::from_json(line).unwrap();
        let template = fieldbook_report::find(&input.template).unwrap();
        for (name, _) in &input.fields {
            assert!(template.field(name).is_some(), "{}.{name}", input.template);
        }
    }
}

#[test]
fn what_no_template_knows_is_kept_as_it_is() {
    let line = r#"{"template":"detention@1","title":"","language":"und","fields":{"van":{"colour":"blue","plates":[1,null,{"a":1.5}]},
        "big":18446744073709551615,"empty":[],"none":{},"place":{"country":"BY","floor":3}},"narrative":"","checked":[true,"x"]}"#;
    let input = ReportInput::from_json(line).unwrap();
    let document = ReportDocument::create([1; 16], &input, &mut ids(), 0).unwrap();
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["template"] = "detention".into();
    assert_eq!(document.view().to_import_json(), expected);
}

#[test]
fn people_keep_their_order_whatever_their_ids() {
    let people =
        ["Zoya", "Anna", "Maria"].map(|name| NewPerson { name: name.into(), ..NewPerson::default() });
    let input = ReportInput {
        template: "raid".into(),
        language: "en".into(),
        people: people.to_vec(),
        ..ReportInput::default()
    };
    let mut next = 9_u32;
    let mut ids = || {
        next -= 1;
        format!("{next:08x}")
    };
    let document = ReportDocument::create([1; 16], &input, &mut ids, 0).unwrap();
    let names: Vec<String> = document.view().people.into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["Zoya", "Anna", "Maria"]);
}
