//! A draft by another hand: the same report, in a document that no other hand has touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use fieldbook_report::{AttachmentManifest, Edit, FieldValue, Person, ReportDocument, ReportInput};

const NOW: i64 = 1_490_436_000_000;
const FIRST: [u8; 16] = [1; 16];
const SECOND: [u8; 16] = [2; 16];
/// What one sealed entry takes.
const CHANGE_MAX: usize = 768 * 1024;

fn report() -> ReportDocument {
    let input = ReportInput::from_json(
        r#"{"template":"detention","title":"Detention","language":"en","fields":{"date":"2017-03-25",
        "place":{"country":"BY","locality":"Minsk"},"people_detained":57,"x-note":["a","b"],
        "persons":[{"name":"Anna","role":"witness","consent":"publish named","phone":"1"},{"name":"Boris"}]},
        "narrative":"They were taken from the office.","sources":["an observer","a video"],"unknown":{"a":[1,null]}}"#,
    );
    let mut next = 0_u32;
    let mut ids = || {
        next += 1;
        format!("{next:08x}")
    };
    ReportDocument::create(FIRST, &input.unwrap(), &mut ids, NOW).unwrap()
}

fn attachment(n: u8) -> AttachmentManifest {
    AttachmentManifest {
        id: format!("{n:032x}"),
        name: format!("photo {n}.jpg"),
        media_type: "image/jpeg".into(),
        size: 5,
        blake3: "0".repeat(64),
        sha256: "1".repeat(64),
        identity: "AGE-SECRET-KEY-1TEST".into(),
        parts: Vec::new(),
    }
}

fn note(id: &str, reply_to: Option<&str>) -> Edit {
    let reply_to = reply_to.map(str::to_owned);
    Edit::AddNote { id: id.into(), text: "a question".into(), time_ms: NOW, reply_to }
}

/// The same report but for whose notes they are; all of it by the second hand, in pieces that fit an entry.
#[track_caller]
fn same(document: &ReportDocument) -> ReportDocument {
    let view = document.view();
    let mut anew = document.anew(SECOND, view.addendum_to.clone(), document.attachments(), NOW + 1).unwrap();
    let mut expected = view;
    for note in &mut expected.notes {
        note.actor = "02".repeat(16);
    }
    assert_eq!(anew.view(), expected);
    assert!(anew.clashes().is_empty());
    assert!(anew.history().iter().all(|item| item.actor == "02".repeat(16)));
    assert!(anew.changes_since(&[]).iter().all(|change| change.len() <= CHANGE_MAX));
    // As a coordinator takes it from the new device.
    let chunks = anew.changes_since(&[]).concat();
    let received = ReportDocument::receive([9; 16], &chunks, SECOND).unwrap();
    assert_eq!(received.view(), anew.view());
    anew
}

#[test]
fn everything_that_a_draft_shows_is_there() {
    let mut draft = report();
    same(&draft);
    draft
        .edit(
            &[
                Edit::AddAttachment(attachment(1)),
                Edit::AddAttachment(attachment(2)),
                Edit::RemoveAttachment(attachment(1).id),
                Edit::RemovePerson("00000002".into()),
                Edit::Field { name: "place.locality".into(), value: None },
                Edit::Narrative("They were taken, all of them.".into()),
                note("0000000a", None),
                note("0000000b", Some("0000000a")),
            ],
            NOW,
        )
        .unwrap();
    let mut anew = same(&draft);
    assert_eq!(anew.attachments(), [attachment(2)]);
    // Its life goes on, also where two write apart: the places are there.
    assert!(
        anew.edit(&[Edit::Field { name: "place.locality".into(), value: Some("Brest".into()) }], NOW)
            .unwrap()
    );
    let other = ReportDocument::load(FIRST, &anew.save()).unwrap();
    assert_eq!(other.view(), anew.view());
}

#[test]
fn what_was_deleted_before_is_not_taken_along() {
    let mut draft = report();
    draft.edit(&[Edit::Narrative("Nothing to see.".into())], NOW).unwrap();
    let history = |document: &ReportDocument| serde_json::to_string(&document.history()).unwrap();
    assert!(history(&draft).contains("office"));
    let anew = same(&draft);
    assert!(!history(&anew).contains("office"));
}

#[test]
fn a_draft_that_grew_beyond_what_can_be_given_at_once_still_fits_entry_by_entry() {
    let mut input =
        ReportInput::from_json(r#"{"template":"detention","title":"Long","language":"en"}"#).unwrap();
    input.narrative = "слово ".repeat(40_000);
    let mut draft = ReportDocument::create(FIRST, &input, &mut || "00000001".into(), NOW).unwrap();
    let long = |n: usize| FieldValue::Text(format!("{n:04} ").repeat(3_000));
    for n in 0..120 {
        draft.edit(&[Edit::Field { name: format!("x-{n}"), value: Some(long(n)) }], NOW).unwrap();
    }
    for n in 0..3_usize {
        let person = Person {
            id: format!("000000f{n}"),
            name: "Somebody".into(),
            also_spelled: Vec::new(),
            role: String::new(),
            consent: fieldbook_report::Consent::Internal,
            extra: Vec::new(),
        };
        let id = person.id.clone();
        draft.edit(&[Edit::AddPerson(person)], NOW).unwrap();
        for k in 0..60 {
            let (key, value) = (format!("detail {k}"), Some(long(n * k)));
            draft.edit(&[Edit::SetPerson { id: id.clone(), key, value }], NOW).unwrap();
        }
    }
    same(&draft);
}

#[test]
fn what_takes_the_place_of_the_attachments_and_of_the_report_it_adds_to_is_taken() {
    let draft = report();
    let anew = draft.anew(SECOND, Some("00".repeat(16)), vec![attachment(3)], NOW).unwrap();
    assert_eq!(anew.view().addendum_to, Some("00".repeat(16)));
    assert_eq!(anew.attachments(), [attachment(3)]);
}
