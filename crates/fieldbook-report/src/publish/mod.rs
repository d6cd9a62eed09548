//! Publications: safe by default. What has no consent, what is marked identifying, what no template
//! knows, and files (which cannot be cleaned yet) stay out; everything that was changed is listed; and
//! the finished files are searched once more for every protected name before they are handed over.
//!
//! ```
//! use fieldbook_report::publish::{Format, RedactOptions, export};
//! # use fieldbook_report::{ReportDocument, ReportInput};
//! # let input = ReportInput::from_json(r#"{"template":"detention","language":"en","narrative":"Anna Ivanova saw it.",
//! #   "fields":{"persons":[{"name":"Anna Ivanova","role":"witness"}]}}"#)?;
//! # let view = ReportDocument::create([1; 16], &input, &mut || "00000001".into(), 0)?.view();
//! let publication = export(&[view], Format::Markdown, &RedactOptions::default())?;
//! let text = String::from_utf8_lossy(&publication.files[0].1).into_owned();
//! assert!(text.contains("Witness 1 saw it."));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod contacts;
mod csv;
mod details;
mod html;
mod json;
mod markdown;
mod mentioned;
mod named;
mod names;
mod redact;
mod shown;
mod skeleton;
mod spellings;
mod supplements;
mod withdrawal;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::fmt;

pub use named::{mentions, people_named};
pub use redact::{
    LogEntry, PrivateLog, PrivatePseudonym, PublicPerson, PublicReport, RedactOptions, Redacted,
    RedactionLog, What, redact,
};
pub use supplements::Supplements;
pub use withdrawal::Withdrawn;

use crate::language::Language;
use crate::note::Note;
use crate::view::ReportView;

/// A form of publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `reports.html`
    Html,
    /// `reports.md`
    Markdown,
    /// `reports.jsonl`, in the form of import files.
    Json,
    /// `reports.csv`
    Csv,
}

impl Format {
    /// Reads `html`, `md`, `json` or `csv`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "html" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Markdown),
            "json" | "jsonl" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Files ready to be written, and what was done to make them so.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Names without a folder, and their bytes. The last is `redactions.json`, except in an internal
    /// export, whose file names begin with `INTERNAL-`.
    pub files: Vec<(String, Vec<u8>)>,
    /// What was replaced and left out; also among the files.
    pub log: RedactionLog,
    /// With names, for the screen only.
    pub private: PrivateLog,
}

/// Why nothing was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// A protected name or detail would have been published.
    Leak {
        /// Where.
        leaks: Vec<Leak>,
    },
    /// Addenda whose reports are not among those to be published.
    AddendumAlone {
        /// Their places among the reports, from 1.
        numbers: Vec<usize>,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaks = match self {
            Self::Leak { leaks } => leaks,
            Self::AddendumAlone { numbers } => {
                return write!(
                    f,
                    "the export was refused: {} of the reports supplement others that are not in it; a reader would \
                     not know to what they belong",
                    numbers.len()
                );
            }
        };
        let first = leaks.first().map_or_else(String::new, |leak| format!(", first in {}", leak.file));
        write!(
            f,
            "the export was refused: a name or detail of a protected person would stand in it ({} times{first}); \
             change the text or the person's consent, and report this as a fault of Fieldbook",
            leaks.len()
        )
    }
}

impl std::error::Error for PublishError {}

/// A place in a finished file where a protected name or detail stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The file's name.
    pub file: String,
    /// What stands there. Not for any file.
    pub text: String,
}

/// Redacts, renders and checks.
///
/// # Errors
/// [`PublishError::Leak`] when the finished files still hold what must not be published;
/// [`PublishError::AddendumAlone`] when an addendum would be published without its report, unless
/// that was asked for.
pub fn export(
    views: &[ReportView],
    format: Format,
    options: &RedactOptions,
) -> Result<Publication, PublishError> {
    if !options.include_unredacted && !options.addenda_alone {
        let numbers = supplements::alone(views, options);
        if !numbers.is_empty() {
            return Err(PublishError::AddendumAlone { numbers });
        }
    }
    let redacted = redact(views, options);
    let files = render(&redacted, format);
    let leaks = leaks(&files, &redacted);
    if !leaks.is_empty() {
        return Err(PublishError::Leak { leaks });
    }
    Ok(Publication { files, log: redacted.log, private: redacted.private })
}

/// The files of a publication. [`export`] checks them; whoever calls this alone has to.
pub fn render(redacted: &Redacted, format: Format) -> Vec<(String, Vec<u8>)> {
    let (name, text) = match format {
        Format::Html => ("reports.html", html::page(redacted)),
        Format::Markdown => ("reports.md", markdown::page(redacted)),
        Format::Json => ("reports.jsonl", json::lines(redacted)),
        Format::Csv => ("reports.csv", csv::table(redacted)),
    };
    if redacted.internal {
        return vec![(format!("INTERNAL-{name}"), text.into_bytes())];
    }
    // Serialising plain structs to memory cannot fail.
    let log = serde_json::to_vec_pretty(&redacted.log).unwrap_or_default();
    vec![(name.to_owned(), text.into_bytes()), ("redactions.json".to_owned(), log)]
}

/// Searches finished files for protected names and details: as they stand, and with the escapes of
/// HTML, Markdown, JSON and CSV undone. Words that the publication itself uses are no leak.
pub fn leaks(files: &[(String, Vec<u8>)], redacted: &Redacted) -> Vec<Leak> {
    let vocabulary = words::vocabulary();
    let mut leaks = Vec::new();
    for (file, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        let seen = unescaped(file, &text);
        // The escapes of JSON are letters: read raw, `\\t` would join the word behind it.
        let raw = if file.ends_with(".json") || file.ends_with(".jsonl") {
            String::new()
        } else {
            text.to_string()
        };
        for form in [raw, seen] {
            for hit in redacted.names.find(&form) {
                let words = skeleton::tokens(&form[hit.start..hit.end]);
                if words.iter().any(|word| !vocabulary.contains(&word.skeleton)) {
                    leaks.push(Leak { file: file.clone(), text: form[hit.start..hit.end].to_owned() });
                }
            }
            for (start, end) in redacted.details.find(&form) {
                leaks.push(Leak { file: file.clone(), text: form[start..end].to_owned() });
            }
        }
    }
    leaks.sort_by(|a, b| (&a.file, &a.text).cmp(&(&b.file, &b.text)));
    leaks.dedup();
    leaks
}

/// The text as a reader of the format sees it.
fn unescaped(file: &str, text: &str) -> String {
    let (_, format) = file.rsplit_once('.').unwrap_or_default();
    match format {
        "html" => [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
            .iter()
            .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain)),
        "csv" => text.replace("\"\"", "\""),
        "md" => {
            let mut chars = text.chars();
            let next = || chars.next().and_then(|c| if c == '\\' { chars.next() } else { Some(c) });
            std::iter::from_fn(next).collect()
        }
        _ => {
            let mut out = String::new();
            match serde_json::from_str(text) {
                Ok(json) => strings(&json, &mut out),
                Err(_) => text
                    .lines()
                    .filter_map(|l| serde_json::from_str(l).ok())
                    .for_each(|j| strings(&j, &mut out)),
            }
            out
        }
    }
}

/// Every text of a JSON value, keys included, a line each.
fn strings(json: &serde_json::Value, out: &mut String) {
    match json {
        serde_json::Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                out.push_str(key);
                out.push('\n');
                strings(value, out);
            }
        }
        _ => {}
    }
}

/// The language of most of the reports: headings above all of them speak it.
fn main_language(redacted: &Redacted) -> Language {
    let mut counts: BTreeMap<Language, usize> = BTreeMap::new();
    for report in &redacted.reports {
        *counts.entry(Language::of(&report.language)).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(language, count)| (*count, std::cmp::Reverse(*language)))
        .map_or(Language::English, |(l, _)| l)
}

/// "Addendum to report 3", in the language of the report.
fn supplements_line(report: &PublicReport) -> Option<String> {
    let language = Language::of(&report.language);
    Some(match report.supplements? {
        Supplements::Report(number) => format!("{} {number}", words::say(&words::SUPPLEMENTS, language)),
        Supplements::Elsewhere => words::say(&words::SUPPLEMENTS_ELSEWHERE, language).to_owned(),
    })
}

/// "1a2b3c4d, 2017-03-25 10:00 UTC, 0102030405060708: Who saw it?" For an internal export.
fn notes_lines(report: &PublicReport) -> Vec<String> {
    let line = |note: &Note| {
        let answers = note.reply_to.as_ref().map_or_else(String::new, |id| format!(" → {id}"));
        let time = shown::utc_minute(note.time_ms);
        let author = note.actor.get(..16).unwrap_or(&note.actor);
        format!("{}{answers}, {time}, {author}: {}", note.id, note.text)
    };
    report.notes.iter().map(line).collect()
}

/// "Witness 1 – witness", "Elena Tonkacheva (…) – victim", in the language of the report.
fn people_lines(report: &PublicReport) -> Vec<String> {
    let language = Language::of(&report.language);
    report
        .people
        .iter()
        .map(|person| {
            let mut line = person.name.clone();
            if !person.also_spelled.is_empty() {
                line.push_str(&format!(" ({})", person.also_spelled.join("; ")));
            }
            if !person.role.is_empty() {
                line.push_str(&format!(" – {}", words::role(&person.role, person.pseudonym, language)));
            }
            for (key, value) in &person.extra {
                line.push_str(&format!("; {key}: {value}"));
            }
            line
        })
        .collect()
}
