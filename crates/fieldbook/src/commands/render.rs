//! How reports look to a person. Everything that another device wrote is sanitised here.

use fieldbook_report::{FieldValue, ReportView};
use fieldbook_vault::{
    ClashView, Delivery, Holder, NoteView, Problem, ReportSummary, UnarrivedView, WaitingView,
};

use crate::sanitise::{line, text};
use crate::ui::{count, time};

/// The way that a sync took, behind an address.
pub fn by(path: &str) -> &'static str {
    match path {
        "quic" => " (UDP)",
        "tcp" => " (TCP)",
        "socks" => " (TCP, through the proxy)",
        _ => "",
    }
}

/// The first eight digits of an id.
pub fn short(id: &str) -> String {
    line(id).chars().take(8).collect()
}

/// The title, or words for its absence.
pub fn title(summary_title: &str) -> String {
    let title = line(summary_title);
    if title.trim().is_empty() { "(no title)".to_owned() } else { title }
}

/// Who holds a report, in words.
pub fn delivery(delivery: &Delivery) -> String {
    match delivery.word.as_str() {
        "draft" => "draft, only here".to_owned(),
        "only here" => "finished, only here".to_owned(),
        "carried" => match first(&delivery.relays) {
            Some((relay, since)) if delivery.long => {
                format!("was on {relay} on {since}; it may have dropped it if it was full")
            }
            Some((relay, since)) => format!("on {relay} since {since}"),
            None => "on its way, not opened yet".to_owned(),
        },
        "received" => {
            let holders: Vec<String> = delivery
                .holders
                .iter()
                .map(|holder| format!("{} at {}", line(&holder.name), time(holder.time_ms)))
                .collect();
            format!("received by {}", holders.join(", "))
        }
        "sealed" => {
            let holders: Vec<String> = delivery.holders.iter().map(|holder| line(&holder.name)).collect();
            match holders.is_empty() {
                true => "sealed; nobody has confirmed it".to_owned(),
                false => format!("sealed; received by {}", holders.join(", ")),
            }
        }
        "needs attention" => "needs attention: see `fieldbook status`".to_owned(),
        other => line(other),
    }
}

/// The first of these relays that had it, and since when.
fn first(relays: &[Holder]) -> Option<(String, String)> {
    let first = relays.iter().min_by_key(|relay| relay.time_ms)?;
    Some((line(&first.name), time(first.time_ms)))
}

/// Why a report needs its person.
pub fn attention(delivery: &Delivery) -> String {
    delivery.attention.iter().map(|why| format!("needs attention: {}\n", line(why))).collect()
}

/// The line of a report in a list.
pub fn list_line(report: &ReportSummary) -> String {
    let mut state =
        if report.mine { delivery(&report.delivery) } else { format!("from {}", line(&report.author_label)) };
    if let Some(sealed_ms) = report.sealed_ms {
        state.push_str(&match report.mine {
            true => format!("; sealed at {}", time(sealed_ms)),
            false => format!(", sealed by its author at {}", time(sealed_ms)),
        });
    }
    if report.clashes > 0 {
        state.push_str(&format!("; {} to resolve", count(report.clashes as u64, "clash", "clashes")));
    }
    if report.questions > 0 {
        state.push_str(&format!("; {} for you", count(report.questions as u64, "question", "questions")));
    }
    if report.unsaved {
        state.push_str("; a text not saved");
    }
    if report.mine && !report.delivery.attention.is_empty() {
        state.push_str("; needs attention");
    }
    if report.attachments > 0 {
        state.push_str(&format!("; {}", count(report.attachments as u64, "file", "files")));
    }
    format!(
        "{}  {}  {}  {}  [{}]",
        short(&report.id),
        pad(&line(&report.date), 21),
        pad(&line(&report.template), 15),
        title(&report.title),
        state
    )
}

/// Fills with spaces to `width` characters.
fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// The report as text, in the template's order.
pub fn report(summary: &ReportSummary, view: &ReportView, unarrived: &[UnarrivedView]) -> String {
    let mut out = format!("{}\n", title(&view.title));
    let state = if summary.state == "draft" { "draft" } else { "finished" };
    out.push_str(&format!(
        "{} · {} · {} · {} · by {} · last changed {}\n",
        line(&summary.id),
        line(&view.template),
        if view.language == "und" { "language not given".into() } else { line(&view.language) },
        state,
        line(&summary.author_label),
        time(summary.updated_ms)
    ));
    if let Some(report) = &view.addendum_to {
        out.push_str(&format!("Addendum to {}\n", short(report)));
    }
    out.push_str(&format!(
        "{}\n\n",
        if summary.mine { delivery(&summary.delivery) } else { "written by others".into() }
    ));
    if !summary.delivery.attention.is_empty() {
        out.truncate(out.trim_end().len());
        out.push_str(&format!("\n{}\n", attention(&summary.delivery)));
    }
    if let Some(sealed_ms) = summary.sealed_ms {
        out.truncate(out.trim_end().len());
        out.push_str(&format!(
            "\nsealed by its author at {}: it can no longer be read or answered there\n\n",
            time(sealed_ms)
        ));
    }
    let width = view.fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(28);
    for (name, value) in &view.fields {
        out.push_str(&format!("  {}  {}\n", pad(&line(name), width), field(value)));
    }
    if !view.narrative.trim().is_empty() {
        out.push_str(&format!("\n{}\n", text(view.narrative.trim_end())));
    }
    if !view.people.is_empty() {
        out.push_str("\nPeople\n");
        for person in &view.people {
            let also: String = person.also_spelled.iter().map(|name| format!(" / {}", line(name))).collect();
            let role =
                if person.role.is_empty() { String::new() } else { format!(", {}", line(&person.role)) };
            out.push_str(&format!(
                "  {}  {}{also}{role}; consent: {}\n",
                line(&person.id),
                line(&person.name),
                person.consent.phrase()
            ));
            for (key, value) in &person.extra {
                out.push_str(&format!("            {}: {}\n", line(key), field(value)));
            }
        }
    }
    if !view.attachments.is_empty() {
        out.push_str("\nFiles\n");
        for file in &view.attachments {
            out.push_str(&format!(
                "  {}  {} ({}, {})\n            sha256 {}\n",
                short(&file.id),
                line(&file.name),
                line(&file.media_type),
                crate::ui::size(file.size),
                line(&file.sha256)
            ));
            if let Some(lacking) = unarrived.iter().find(|one| one.attachment == file.id) {
                out.push_str(&format!("            {}\n", not_whole(lacking)));
            }
        }
    }
    if !view.sources.is_empty() {
        out.push_str("\nSources\n");
        for source in &view.sources {
            out.push_str(&format!("  {}\n", line(source)));
        }
    }
    if !view.extra.is_empty() {
        out.push_str("\nAlso imported, never published\n");
        for (name, value) in &view.extra {
            out.push_str(&format!("  {}: {}\n", line(name), field(value)));
        }
    }
    out
}

/// That a file is not whole yet, and what to do.
fn not_whole(one: &UnarrivedView) -> String {
    let lacking = one.of.saturating_sub(one.have);
    format!(
        "NOT WHOLE: {lacking} of {} {} not arrived. Sync again, or have its author bring it by stick",
        one.of,
        if lacking == 1 { "parts has" } else { "parts have" }
    )
}

/// A field's value on one line.
pub fn field(value: &FieldValue) -> String {
    line(&value.to_string())
}

/// The name of a field as people type it: `fields.date` is `date`, unless the report has one of its own by that name.
pub fn field_name(path: &str) -> String {
    const OWN: [&str; 11] = [
        "title",
        "language",
        "narrative",
        "template",
        "sources",
        "people",
        "attachments",
        "notes",
        "addendum_to",
        "extra",
        "fieldbook",
    ];
    let own = |name: &str| OWN.contains(&name.split('.').next().unwrap_or(name));
    line(path.strip_prefix("fields.").filter(|name| !own(name)).unwrap_or(path))
}

/// A question, a note or an answer: who, when, and the words below.
pub fn note(note: &NoteView) -> String {
    let what = match (&note.reply_to, note.open) {
        (Some(id), _) => format!(" answers {}", short(id)),
        (None, true) => ", not answered".to_owned(),
        (None, false) => String::new(),
    };
    let who = if note.mine { "you".to_owned() } else { line(&note.who) };
    let mut out = format!("  {}  {who}, {}{what}\n", short(&note.id), time(note.time_ms));
    for words in text(note.text.trim()).lines() {
        out.push_str(&format!("            {words}\n"));
    }
    out
}

/// The values of a clash, one a line.
pub fn clash(clash: &ClashView) -> String {
    let mut out = format!("  {}\n", field_name(&clash.field));
    for value in &clash.values {
        out.push_str(&format!(
            "    {}  — {}, {}{}\n",
            field(&value.value),
            line(&value.who),
            time(value.time_ms),
            if value.shown { " (shown until you decide)" } else { "" }
        ));
    }
    out
}

/// A problem: which device and number, what is wrong, what follows.
pub fn problem(problem: &Problem) -> String {
    let mut about = match (&problem.who, problem.proven) {
        (Some(who), true) => vec![line(who)],
        (Some(who), false) => vec![format!("in the name of {} (not proven)", line(who))],
        (None, _) if problem.class == "set-aside" => vec!["this device".to_owned()],
        (None, _) => vec!["by a device that is not known".to_owned()],
    };
    about.extend(problem.sequence.map(|sequence| format!("number {sequence}")));
    about.extend(problem.entry.as_deref().map(|id| format!("entry {}", short(id))));
    about.extend(problem.brought_by.as_deref().map(|who| format!("brought by {}", line(who))));
    if problem.time_ms > 0 {
        about.push(format!("noticed at {}", time(problem.time_ms)));
    }
    format!(
        "{}: {}\n    {}.\n    {}\n",
        problem_class(&problem.class),
        about.join(", "),
        capital(&line(&problem.reason)),
        line(&problem.consequence)
    )
}

/// The classes of problems as people read them; the handbook has a paragraph for each.
fn problem_class(class: &str) -> String {
    match class {
        "altered" => "Altered",
        "forged" => "Forged",
        "refused" => "Not allowed",
        "misdirected" => "Passed on",
        "forked" => "Two histories",
        "replaced" => "Out of order",
        "duplicated" => "Sent twice",
        "older-copy" => "Older copy",
        "missing" => "Missing",
        "set-aside" => "Set aside",
        other => return line(other),
    }
    .to_owned()
}

/// What waits, for what, and since when.
pub fn waiting(waiting: &WaitingView) -> String {
    let mut about = vec![count(waiting.entries as u64, "entry", "entries")];
    about.extend(waiting.who.as_deref().map(|who| format!("said to be by {}", line(who))));
    about.extend(waiting.numbers.map(|(first, last)| match first == last {
        true => format!("number {first}"),
        false => format!("numbers {first} to {last}"),
    }));
    if waiting.since_ms > 0 {
        about.push(format!("since {}", time(waiting.since_ms)));
    }
    format!("Waiting: {}\n    {}.\n", about.join(", "), capital(&line(&waiting.reason)))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
