//! Phone numbers, addresses, e-mails and other details of protected people, and exact places, found in
//! texts whatever stands between their letters and digits.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use crate::person::{Consent, Person};
use crate::value::FieldValue;
use crate::view::ReportView;

/// Letters a detail needs to be looked for, and digits: shorter ones stand in any text.
const LETTERS_MIN: usize = 6;
const DIGITS_MIN: usize = 5;

/// What must not stand in any text.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    needles: Vec<Vec<char>>,
}

impl Details {
    /// Takes the details of one person, but for what the place of the report says coarsely.
    pub(super) fn learn_person(&mut self, person: &Person, fields: &[(String, FieldValue)]) {
        let places = fields.iter().filter_map(|(_, value)| match value {
            FieldValue::Map(keys) => Some(keys),
            _ => None,
        });
        let coarse: Vec<Vec<char>> = places
            .flatten()
            .filter(|(key, _)| key != "exact")
            .map(|(_, value)| letters(&value.to_string()))
            .collect();
        self.learn_texts(person.extra.iter().flat_map(|(_, value)| texts(value)), &coarse);
    }

    fn learn_texts(&mut self, all: impl IntoIterator<Item = String>, coarse: &[Vec<char>]) {
        for text in all {
            let needle = letters(&text);
            // The town somebody lives in may be the town where it happened.
            if coarse.contains(&needle) {
                continue;
            }
            let digits: Vec<char> = needle.iter().copied().filter(char::is_ascii_digit).collect();
            if digits.len() >= 9 && digits.len() == needle.len() {
                // A phone number without its country and network codes.
                self.add(digits[digits.len() - 7..].to_vec());
            }
            self.add(needle);
        }
    }

    /// Takes the details of a report's people and its exact place.
    pub(super) fn learn(&mut self, view: &ReportView) {
        let mut coarse: Vec<Vec<char>> = Vec::new();
        let mut exact: Vec<String> = Vec::new();
        for (name, value) in &view.fields {
            let identifying =
                view.template().and_then(|t| t.field(name)).is_some_and(|field| field.identifying);
            match value {
                FieldValue::Map(keys) => {
                    for (key, value) in keys {
                        let text = value.to_string();
                        if key == "exact" { exact.push(text) } else { coarse.push(letters(&text)) }
                    }
                }
                // A long note is no phrase that stands anywhere else.
                FieldValue::Text(text) if identifying && text.len() <= 120 => exact.push(text.clone()),
                _ => {}
            }
        }
        let people = view.people.iter().filter(|person| person.consent < Consent::PublishNamed);
        exact.extend(people.flat_map(|person| &person.extra).flat_map(|(_, value)| texts(value)));
        self.learn_texts(exact, &coarse);
    }

    fn add(&mut self, needle: Vec<char>) {
        let digits = needle.iter().filter(|c| c.is_ascii_digit()).count();
        if (needle.len() >= LETTERS_MIN || digits >= DIGITS_MIN) && !self.needles.contains(&needle) {
            self.needles.push(needle);
        }
    }

    /// Where details stand, in bytes, without overlaps, in order.
    pub(super) fn find(&self, text: &str) -> Vec<(usize, usize)> {
        if self.needles.is_empty() {
            return Vec::new();
        }
        let folded = fold(text);
        let mut found: Vec<(usize, usize)> = Vec::new();
        for needle in &self.needles {
            for window in folded.windows(needle.len()) {
                if window.iter().zip(needle).all(|((c, _, _), n)| c == n) {
                    found.push((window[0].1, window[needle.len() - 1].2));
                }
            }
        }
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (start, end) in found {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

fn texts(value: &FieldValue) -> Vec<String> {
    match value {
        FieldValue::Text(text) => vec![text.clone()],
        FieldValue::Number(number) => vec![number.to_string()],
        FieldValue::Flag(_) => Vec::new(),
        FieldValue::List(items) => items.clone(),
        FieldValue::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        FieldValue::Other(json) => vec![json.to_string()],
    }
}

fn letters(text: &str) -> Vec<char> {
    fold(text).into_iter().map(|(c, _, _)| c).collect()
}

/// Letters and digits in lower case without marks, each with where it stands.
fn fold(text: &str) -> Vec<(char, usize, usize)> {
    let mut folded = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        decompose_compatible(c, |part| {
            if !is_combining_mark(part) {
                let kept = part.to_lowercase().filter(|c| c.is_alphanumeric());
                folded.extend(kept.map(|lower| (lower, at, at + c.len_utf8())));
            }
        });
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_found_however_it_is_written() {
        let mut details = Details::default();
        details.add(letters("+375 29 123-45-67"));
        details.add(letters("1234567"));
        details.add(letters("anna@example.org"));
        details.add(letters("ab"));
        for text in [
            "+375291234567",
            "+375 (29) 123 45 67",
            "8 029 123-45-67",
            "ANNA@example.org",
            "anna @ example . org",
        ] {
            assert_eq!(details.find(&format!("x {text} y")).len(), 1, "{text}");
        }
        assert!(details.find("ab 123-45").is_empty());
    }
}
