//! One page of HTML for all reports: no script, nothing loaded from anywhere, fit for print and for
//! screen readers.

use super::redact::{PublicReport, Redacted};
use super::shown::{fields, heading, kind};
use super::supplements::Supplements;
use super::words::{
    ATTACHMENTS, ATTACHMENTS_WITHHELD, CHANGED, CONTENTS, INTERNAL, NARRATIVE, NOTES, OTHER, PEOPLE, REPORTS,
    SOURCES, say,
};
use crate::language::Language;

pub(super) const STYLE: &str = "body{font-family:system-ui,sans-serif;line-height:1.5;max-width:46rem;margin:auto;padding:1rem;color:#111;\
overflow-wrap:anywhere}dt{font-weight:bold}dd{margin:0 0 .5rem 0}.text{white-space:pre-wrap}\
.note{border-left:.25rem solid #777;padding-left:.75rem}article{margin-top:3rem}\
@media print{nav{display:none}article{break-inside:avoid-page}}";

pub(super) fn page(redacted: &Redacted) -> String {
    let language = super::main_language(redacted);
    let title = if redacted.internal {
        format!("{INTERNAL} · {}", say(&REPORTS, language))
    } else {
        say(&REPORTS, language).to_owned()
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        language.tag(),
        escape(&title),
    );
    out.push_str(&format!("<header>\n<h1>{}</h1>\n", escape(&title)));
    if !redacted.internal && !redacted.log.entries.is_empty() {
        out.push_str(&format!("<p class=\"note\">{}</p>\n", escape(say(&CHANGED, language))));
    }
    let contents = escape(say(&CONTENTS, language));
    out.push_str(&format!("</header>\n<nav aria-label=\"{contents}\">\n<h2>{contents}</h2>\n<ol>\n"));
    for report in &redacted.reports {
        let own = Language::of(&report.language);
        out.push_str(&format!(
            "<li lang=\"{}\"><a href=\"#report-{}\">{}</a></li>\n",
            escape(&report.language),
            report.number,
            escape(&heading(report, own))
        ));
    }
    out.push_str("</ol>\n</nav>\n<main>\n");
    for report in &redacted.reports {
        article(&mut out, report, redacted.internal);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn article(out: &mut String, report: &PublicReport, internal: bool) {
    let language = Language::of(&report.language);
    let number = report.number;
    out.push_str(&format!(
        "<article id=\"report-{number}\" lang=\"{}\" aria-labelledby=\"title-{number}\">\n<h2 id=\"title-{number}\">{}</h2>\n<p lang=\"{}\">{}</p>\n",
        escape(&report.language),
        escape(&heading(report, language)),
        language.tag(),
        escape(&kind(report, language)),
    ));
    if internal {
        out.push_str(&format!("<p class=\"note\" lang=\"en\">{INTERNAL}</p>\n"));
    }
    if let Some(line) = super::supplements_line(report) {
        let line = escape(&line);
        let line = match report.supplements {
            Some(Supplements::Report(number)) => format!("<a href=\"#report-{number}\">{line}</a>"),
            _ => line,
        };
        out.push_str(&format!("<p class=\"note\" lang=\"{}\">{line}</p>\n", language.tag()));
    }
    out.push_str("<dl>\n");
    for field in fields(report, language) {
        let text = escape(&field.text);
        let text = match field.datetime {
            Some(machine) => format!("<time datetime=\"{}\">{text}</time>", escape(&machine)),
            None => text,
        };
        out.push_str(&format!("<dt>{}</dt><dd class=\"text\">{text}</dd>\n", escape(&field.label)));
    }
    out.push_str("</dl>\n");
    if !report.narrative.trim().is_empty() {
        let heading = escape(say(&NARRATIVE, language));
        out.push_str(&format!(
            "<h3>{heading}</h3>\n<p class=\"text\">{}</p>\n",
            escape(report.narrative.trim())
        ));
    }
    list(out, say(&PEOPLE, language), &super::people_lines(report));
    list(out, say(&SOURCES, language), &report.sources);
    let files: Vec<String> = report
        .attachments
        .iter()
        .map(|a| format!("{} ({}, {} B, SHA-256 {})", a.name, a.media_type, a.size, a.sha256))
        .collect();
    list(out, say(&ATTACHMENTS, language), &files);
    let extra: Vec<String> = report.extra.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    list(out, say(&OTHER, language), &extra);
    list(out, say(&NOTES, language), &super::notes_lines(report));
    if report.attachments_withheld > 0 {
        let text = escape(say(&ATTACHMENTS_WITHHELD, language));
        out.push_str(&format!("<p class=\"note\">{text}: {}</p>\n", report.attachments_withheld));
    }
    out.push_str("</article>\n");
}

fn list(out: &mut String, heading: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    out.push_str(&format!("<h3>{}</h3>\n<ul>\n", escape(heading)));
    for item in items {
        out.push_str(&format!("<li>{}</li>\n", escape(item)));
    }
    out.push_str("</ul>\n");
}

/// Text for an element or an attribute in double quotes. Control characters that HTML forbids go.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
