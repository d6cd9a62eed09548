//! JSON Lines in the form of import files: one report a line.

use serde_json::Value;

use super::redact::{PublicReport, Redacted};
use super::supplements::Supplements;
use super::words::INTERNAL;
use crate::input::import_form;
use crate::person::Person;
use crate::value::FieldValue;

pub(super) fn lines(redacted: &Redacted) -> String {
    let mut out = String::new();
    for report in &redacted.reports {
        let mut json = line(report);
        if let (true, Value::Object(map)) = (redacted.internal, &mut json) {
            map.insert("notice".into(), INTERNAL.into());
        }
        out.push_str(&json.to_string());
        out.push('\n');
    }
    out
}

fn line(report: &PublicReport) -> Value {
    let persons = report
        .people
        .iter()
        .map(|person| {
            Person {
                id: String::new(),
                name: person.name.clone(),
                also_spelled: person.also_spelled.clone(),
                role: person.role.clone(),
                consent: person.consent,
                extra: person.extra.clone(),
            }
            .to_json()
        })
        .collect();
    let mut extra = report.extra.clone();
    if report.attachments_withheld > 0 {
        let count = i64::try_from(report.attachments_withheld).unwrap_or(i64::MAX);
        extra.push(("attachments_withheld".into(), FieldValue::Number(count)));
    }
    if let (false, Ok(files)) = (report.attachments.is_empty(), serde_json::to_value(&report.attachments)) {
        extra.push(("attachments".into(), FieldValue::from_json(files)));
    }
    match report.supplements.filter(|_| report.addendum_to.is_none()) {
        Some(Supplements::Report(number)) => {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            extra.push(("supplements".into(), FieldValue::Number(number)));
        }
        Some(Supplements::Elsewhere) => extra.push(("supplements".into(), "elsewhere".into())),
        None => {}
    }
    if let (false, Ok(notes)) = (report.notes.is_empty(), serde_json::to_value(&report.notes)) {
        // What an import brought along under the same name stays.
        let taken = extra.iter().any(|(key, _)| key == "notes");
        let key = if taken { "fieldbook_notes" } else { "notes" };
        extra.push((key.into(), FieldValue::from_json(notes)));
    }
    import_form(
        &report.template,
        &report.title,
        &report.language,
        &report.fields,
        persons,
        &report.narrative,
        &report.sources,
        report.addendum_to.as_deref(),
        &extra,
    )
}
