//! One file of Markdown (CommonMark). Whatever the reports contain is text: nothing in it becomes
//! markup, a link or HTML.

use super::redact::{PublicReport, Redacted};
use super::shown::{fields, heading, kind};
use super::words::{
    ATTACHMENTS, ATTACHMENTS_WITHHELD, CHANGED, INTERNAL, NARRATIVE, NOTES, OTHER, PEOPLE, REPORTS, SOURCES,
    say,
};
use crate::language::Language;

pub(super) fn page(redacted: &Redacted) -> String {
    let language = super::main_language(redacted);
    let mut out = String::new();
    if redacted.internal {
        out.push_str(&format!("**{INTERNAL}**\n\n"));
    }
    out.push_str(&format!("# {}\n", escape(say(&REPORTS, language))));
    if !redacted.internal && !redacted.log.entries.is_empty() {
        out.push_str(&format!("\n{}\n", escape(say(&CHANGED, language))));
    }
    for report in &redacted.reports {
        section(&mut out, report);
    }
    out
}

fn section(out: &mut String, report: &PublicReport) {
    let language = Language::of(&report.language);
    out.push_str(&format!("\n## {}. {}\n\n", report.number, escape(&heading(report, language))));
    out.push_str(&format!("{}\n\n", escape(&kind(report, language))));
    if let Some(line) = super::supplements_line(report) {
        out.push_str(&format!("{}\n\n", escape(&line)));
    }
    for field in fields(report, language) {
        out.push_str(&format!("- **{}**: {}\n", escape(&field.label), escape(&field.text)));
    }
    if !report.narrative.trim().is_empty() {
        out.push_str(&format!("\n### {}\n\n", escape(say(&NARRATIVE, language))));
        for paragraph in report.narrative.lines().map(str::trim).filter(|line| !line.is_empty()) {
            out.push_str(&format!("{}\n\n", escape(paragraph)));
        }
    }
    list(out, say(&PEOPLE, language), &super::people_lines(report));
    list(out, say(&SOURCES, language), &report.sources);
    let files: Vec<String> =
        report.attachments.iter().map(|a| format!("{} ({}, {} B)", a.name, a.media_type, a.size)).collect();
    list(out, say(&ATTACHMENTS, language), &files);
    let extra: Vec<String> = report.extra.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    list(out, say(&OTHER, language), &extra);
    list(out, say(&NOTES, language), &super::notes_lines(report));
    if report.attachments_withheld > 0 {
        out.push_str(&format!(
            "\n{}: {}\n",
            escape(say(&ATTACHMENTS_WITHHELD, language)),
            report.attachments_withheld
        ));
    }
}

fn list(out: &mut String, heading: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    out.push_str(&format!("\n### {}\n\n", escape(heading)));
    for item in items {
        out.push_str(&format!("- {}\n", escape(item)));
    }
}

/// One line of plain text: ASCII punctuation that can mean something is escaped, line ends become
/// spaces, control characters go.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let text = text.trim();
    let numbered = text.find(|c: char| !c.is_ascii_digit());
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {}
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!'
            | '$' => {
                out.extend(['\\', c]);
            }
            '+' | '-' | '=' if at == 0 => out.extend(['\\', c]),
            '.' | ')' if at > 0 && numbered == Some(at) => out.extend(['\\', c]),
            // Keeps bare addresses from becoming links.
            ':' if text[at..].starts_with("://") => out.push_str("\\:"),
            c => out.push(c),
        }
    }
    out
}
