//! The words of the command line, as values of the report: read by the report's template.

use fieldbook_report::template::{self, Template};
use fieldbook_report::{Edit, FieldValue, InputError, NewPerson, ReportInput, parse_person};
use fieldbook_vault::{Passphrase, VaultError};

use super::protocol::{Changes, NewReport};
use super::wire::Hex;
use crate::error::Failure;

/// A passphrase.
pub fn passphrase(typed: &Hex) -> Result<Passphrase, Failure> {
    std::str::from_utf8(&typed.0)
        .map(|text| Passphrase::new(text.to_owned()))
        .map_err(|_| Failure::usage("passphrase-not-text", "the passphrase is not UTF-8"))
}

/// A new report.
pub fn new_report(new: &NewReport) -> Result<ReportInput, Failure> {
    let template = find(&new.template)?;
    let mut input =
        ReportInput { template: new.template.clone(), language: "und".to_owned(), ..ReportInput::default() };
    for edit in edits(template, &new.changes)? {
        match edit {
            Edit::Title(title) => input.title = title,
            Edit::Language(language) => input.language = language,
            Edit::Narrative(narrative) => input.narrative = narrative,
            Edit::AddSource(source) => input.sources.push(source),
            Edit::AddPerson(person) => input.people.push(NewPerson {
                name: person.name,
                also_spelled: person.also_spelled,
                role: person.role,
                consent: person.consent,
                extra: person.extra,
            }),
            Edit::Field { name, value } => set_field(&mut input.fields, &name, value),
            _ => return Err(Failure::usage("input", "a new report has nothing that could be taken out")),
        }
    }
    Ok(input)
}

/// Whether a new report can be made of this, so that nothing is typed for one that cannot.
///
/// # Errors
/// What is not understood, as [`new_report`] and the vault would say it.
pub fn check_new(new: &NewReport) -> Result<(), Failure> {
    new_report(new)?.check().map(|_| ()).map_err(refused)
}

/// `place.locality` is a key of the field `place`.
fn set_field(fields: &mut Vec<(String, FieldValue)>, name: &str, value: Option<FieldValue>) {
    let (name, key) = name.split_once('.').map_or((name, None), |(name, key)| (name, Some(key)));
    let at = fields.iter().position(|(known, _)| known == name);
    match (key, value, at) {
        (None, None, Some(at)) => drop(fields.remove(at)),
        (None, Some(value), Some(at)) => fields[at].1 = value,
        (None, Some(value), None) => fields.push((name.to_owned(), value)),
        (None | Some(_), None, None) => {}
        (Some(key), Some(value), None) => {
            fields.push((name.to_owned(), FieldValue::Map(vec![(key.to_owned(), value)])));
        }
        (Some(key), value, Some(at)) => {
            if let FieldValue::Map(pairs) = &mut fields[at].1 {
                set_field(pairs, key, value);
            }
        }
    }
}

/// Changes to a report of this template.
pub fn edits(template: &Template, changes: &Changes) -> Result<Vec<Edit>, Failure> {
    let mut edits = Vec::new();
    for setting in &changes.set {
        edits.push(Edit::parse_set(template, setting).map_err(refused)?);
    }
    for name in &changes.unset {
        edits.push(Edit::parse_set(template, &format!("{name}=")).map_err(refused)?);
    }
    edits.extend(changes.title.clone().map(Edit::Title));
    edits.extend(changes.language.clone().map(Edit::Language));
    edits.extend(changes.narrative.clone().map(Edit::Narrative));
    for person in &changes.people {
        edits.push(Edit::AddPerson(parse_person(person, person_id()?).map_err(refused)?));
    }
    for setting in &changes.set_person {
        edits.push(set_person(setting)?);
    }
    edits.extend(changes.remove_person.iter().cloned().map(Edit::RemovePerson));
    edits.extend(changes.sources.iter().cloned().map(Edit::AddSource));
    edits.extend(changes.remove_source.iter().cloned().map(Edit::RemoveSource));
    Ok(edits)
}

/// `ID:key=value`.
fn set_person(setting: &str) -> Result<Edit, Failure> {
    let parts = setting.split_once(':').and_then(|(id, rest)| Some((id, rest.split_once('=')?)));
    let Some((id, (key, value))) = parts else {
        return Err(Failure::usage("input", "a person is changed with PERSON:KEY=VALUE"));
    };
    let value = match (key.trim(), value.trim()) {
        (_, "") => None,
        ("also_spelled", names) => {
            Some(FieldValue::List(names.split(';').map(|name| name.trim().to_owned()).collect()))
        }
        (_, text) => Some(FieldValue::Text(text.to_owned())),
    };
    Ok(Edit::SetPerson { id: id.trim().to_owned(), key: key.trim().to_owned(), value })
}

/// The template of this name.
pub fn find(name: &str) -> Result<&'static Template, Failure> {
    template::find(name).ok_or_else(|| refused(InputError::UnknownTemplate { name: name.to_owned() }))
}

fn refused(error: InputError) -> Failure {
    VaultError::Input(error).into()
}

fn person_id() -> Result<String, Failure> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|_| VaultError::Randomness)?;
    Ok(fieldbook_proto::encode_hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(set: &[&str]) -> Changes {
        Changes { set: set.iter().map(ToString::to_string).collect(), ..Changes::default() }
    }

    #[test]
    fn a_new_report_is_made_from_the_words_of_the_command_line() {
        let new = NewReport {
            template: "detention".into(),
            changes: Changes {
                people: vec!["name=A. B.,role=witness,consent=internal".into()],
                ..changes(&["date=2017-03-25", "narrative=N", "place.country=BY", "place.locality=Minsk"])
            },
            once: None,
        };
        let input = new_report(&new).unwrap();
        assert_eq!((input.narrative.as_str(), input.people[0].name.as_str()), ("N", "A. B."));
        let place = input.fields.iter().find(|(name, _)| name == "place").unwrap();
        assert_eq!(place.1.to_json(), serde_json::json!({"country": "BY", "locality": "Minsk"}));
        assert!(input.check().is_ok());
    }

    #[test]
    fn what_is_not_understood_is_a_mistake_of_usage() {
        let template = find("detention").unwrap();
        for set in ["date", "date=yesterday", "dat=2017"] {
            assert_eq!(edits(template, &changes(&[set])).unwrap_err().kind.exit(), 2, "{set}");
        }
        assert_eq!(find("bogus").unwrap_err().kind.exit(), 2);
        assert!(set_person("12345678:role=source").is_ok());
        assert!(set_person("12345678").is_err());
    }
}
