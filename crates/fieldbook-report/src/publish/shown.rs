//! Fields as people read them: labels and choices in the report's language, dates in words, a number
//! together with its precision ("more than 700").

use super::redact::{PublicReport, label};
use super::words::{NO, PLACE_KEYS, YES, say};
use crate::edtf_words::{date_in_words, duration_in_words, html_datetime};
use crate::language::Language;
use crate::template::{Field, FieldKind, Template, find};
use crate::value::FieldValue;

/// A field, read out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) label: String,
    pub(super) text: String,
    /// For HTML's `<time>`: the date in the form that machines read, where there is one.
    pub(super) datetime: Option<String>,
}

/// `2017-03-25 10:00 UTC`; the number itself where it is beyond the years that people write.
pub(super) fn utc_minute(time_ms: i64) -> String {
    let (days, minutes) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000) / 60_000);
    if !(-719_162..2_932_896).contains(&days) {
        return format!("{time_ms} ms");
    }
    // Eras of 400 years from 1 March of year 0, so that a leap day ends its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// The name of the template as people call it.
pub(super) fn kind(report: &PublicReport, language: Language) -> String {
    find(&report.template).map_or_else(|| report.template.clone(), |t| t.labels.get(language).to_owned())
}

/// The title, or the kind and the date where there is none.
pub(super) fn heading(report: &PublicReport, language: Language) -> String {
    if !report.title.trim().is_empty() {
        return report.title.clone();
    }
    let date = report.fields.iter().find(|(name, _)| name == "date").and_then(|(_, value)| value.as_text());
    match date {
        Some(date) => format!("{}, {}", kind(report, language), date_in_words(date, language)),
        None => kind(report, language),
    }
}

pub(super) fn fields(report: &PublicReport, language: Language) -> Vec<Shown> {
    let template = find(&report.template);
    let mut shown = Vec::new();
    for (name, value) in &report.fields {
        let field = template.and_then(|t| t.field(name));
        if value.is_blank() {
            continue;
        }
        if let Some(number) = field.and_then(|f| f.precision_of.as_deref()) {
            // Shown with its number, or in its place when there is none ("hundreds").
            if report.fields.iter().all(|(other, _)| other != number) {
                let text = choice(field, value, language);
                shown.push(Shown { label: label(&report.template, number, language), text, datetime: None });
            }
            continue;
        }
        let datetime = match field.map(|f| f.kind) {
            Some(FieldKind::Date) => value.as_text().and_then(html_datetime).map(String::from),
            _ => None,
        };
        let text = match precision(report, template, name) {
            Some((field, precise)) => format!("{} {value}", choice(Some(field), precise, language)),
            None => read_out(field, value, language),
        };
        shown.push(Shown { label: label(&report.template, name, language), text, datetime });
    }
    shown
}

fn precision<'a>(
    report: &'a PublicReport,
    template: Option<&'a Template>,
    number: &str,
) -> Option<(&'a Field, &'a FieldValue)> {
    let field = template?.fields.iter().find(|f| f.precision_of.as_deref() == Some(number))?;
    let (_, value) = report.fields.iter().find(|(name, value)| *name == field.name && !value.is_blank())?;
    Some((field, value))
}

fn choice(field: Option<&Field>, value: &FieldValue, language: Language) -> String {
    let text = value.to_string();
    field
        .and_then(|f| f.choices.iter().find(|c| c.value == text))
        .map_or(text, |choice| choice.labels.get(language).to_owned())
}

fn read_out(field: Option<&Field>, value: &FieldValue, language: Language) -> String {
    match (field.map(|f| f.kind), value) {
        (Some(FieldKind::Date), FieldValue::Text(text)) => date_in_words(text, language),
        (Some(FieldKind::Duration), FieldValue::Text(text)) => duration_in_words(text, language),
        (_, FieldValue::Flag(flag)) => say(if *flag { &YES } else { &NO }, language).to_owned(),
        (_, FieldValue::Map(pairs)) => {
            let part = |(key, value): &(String, FieldValue)| {
                let label =
                    PLACE_KEYS.iter().find(|(k, _)| k == key).map_or(key.as_str(), |(_, p)| say(p, language));
                format!("{label}: {value}")
            };
            pairs.iter().map(part).collect::<Vec<_>>().join("; ")
        }
        _ => choice(field, value, language),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_in_words() {
        for (time_ms, words) in [
            (0, "1970-01-01 00:00 UTC"),
            (1_490_436_059_000, "2017-03-25 10:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (1_735_689_540_000, "2024-12-31 23:59 UTC"),
            (i64::MAX, "9223372036854775807 ms"),
        ] {
            assert_eq!(utc_minute(time_ms), words);
        }
    }
}
