//! CSV (RFC 4180): one row per report, the columns of all of them, values as machines read them (EDTF
//! dates, precision in its own column).
//!
//! The file begins with a byte order mark: without it the spreadsheet programs that most people have
//! take UTF-8 for a local encoding and break every Cyrillic letter. A text that a spreadsheet would
//! run as a formula gets an apostrophe before it.

use super::redact::{PublicReport, Redacted};
use super::supplements::Supplements;
use super::words::INTERNAL;
use crate::value::FieldValue;

pub(super) fn table(redacted: &Redacted) -> String {
    let mut columns: Vec<String> = Vec::new();
    let rows: Vec<Vec<(String, String)>> = redacted.reports.iter().map(cells).collect();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    // Long texts last: a table is read from the left.
    columns.sort_by_key(|name| match name.as_str() {
        "number" | "template" | "title" | "language" => 0,
        "narrative" | "persons" | "sources" | "notes (internal)" | "attachments_withheld" => 2,
        _ => 1,
    });
    let mut out = String::from("\u{feff}");
    if redacted.internal {
        out.push_str(&format!("{}\r\n", quote(INTERNAL)));
    }
    line(&mut out, columns.iter().map(|name| quote(&safe(name))));
    for row in &rows {
        let cell = |column: &String| {
            row.iter().find(|(name, _)| name == column).map_or("", |(_, text)| text.as_str())
        };
        line(&mut out, columns.iter().map(|column| quote(cell(column))));
    }
    out
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    out.push_str(&cells.collect::<Vec<_>>().join(","));
    out.push_str("\r\n");
}

fn cells(report: &PublicReport) -> Vec<(String, String)> {
    let mut cells = vec![
        ("number".to_owned(), report.number.to_string()),
        ("template".to_owned(), safe(&report.template)),
        ("title".to_owned(), safe(&report.title)),
        ("language".to_owned(), safe(&report.language)),
    ];
    for (name, value) in report.fields.iter().chain(&report.extra) {
        match value {
            FieldValue::Map(pairs) => {
                cells.extend(pairs.iter().map(|(key, value)| (format!("{name}.{key}"), cell(value))));
            }
            value => cells.push((name.clone(), cell(value))),
        }
    }
    cells.push(("narrative".to_owned(), safe(&report.narrative)));
    cells.push(("persons".to_owned(), safe(&super::people_lines(report).join("; "))));
    cells.push(("sources".to_owned(), safe(&report.sources.join("; "))));
    match report.supplements {
        Some(Supplements::Report(number)) => cells.push(("supplements".to_owned(), number.to_string())),
        Some(Supplements::Elsewhere) => cells.push(("supplements".to_owned(), "elsewhere".to_owned())),
        None => {}
    }
    if !report.notes.is_empty() {
        cells.push(("notes (internal)".to_owned(), safe(&super::notes_lines(report).join("; "))));
    }
    cells.push(("attachments_withheld".to_owned(), report.attachments_withheld.to_string()));
    cells
}

fn cell(value: &FieldValue) -> String {
    match value {
        FieldValue::Number(_) | FieldValue::Flag(_) => value.to_string(),
        value => safe(&value.to_string()),
    }
}

/// Against formulas (CWE-1236): spreadsheets run what begins with one of these.
fn safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn quote(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n', ';']) || text.starts_with([' ', '\'']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
