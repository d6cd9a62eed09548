//! Publications: chosen, redacted, rendered and checked in the agent; the client writes the files.

use std::collections::BTreeMap;

use fieldbook_report::ReportView;
use fieldbook_report::publish::{self, Format, PrivateLog, PublishError, RedactOptions, RedactionLog, What};
use fieldbook_vault::{ListFilter, ReportSummary, Vault};
use serde_json::{Value, json};

use super::protocol::{Export, ExportPart, Exported};
use super::wire::Hex;
use crate::error::{Failure, Kind};
use crate::ui::count;

/// Bytes of a file in one frame.
const CHUNK: usize = 1 << 20;

/// Renders a publication and sends its files.
pub fn publish(
    vault: &Vault,
    export: &Export,
    item: &mut dyn FnMut(Value) -> Result<(), Failure>,
) -> Result<Exported, Failure> {
    let format = Format::parse(&export.format)
        .ok_or_else(|| Failure::usage("format", "a format is html, md, json or csv"))?;
    let (chosen, drafts_left_out) = choose(vault, export)?;
    let views: Vec<ReportView> = chosen
        .iter()
        .map(|report| Ok(vault.show(vault.find(&report.id)?)?.content))
        .collect::<Result<_, Failure>>()?;
    let options = RedactOptions {
        include_unredacted: export.internal,
        ids: chosen.iter().map(|report| report.id.clone()).collect(),
        addenda_alone: export.addenda_alone,
    };
    let publication = publish::export(&views, format, &options).map_err(refused)?;
    for (file, bytes) in &publication.files {
        // An empty file is a file too.
        let chunks = bytes.chunks(CHUNK).chain(bytes.is_empty().then_some(&[][..]));
        for chunk in chunks {
            let part = ExportPart { file: file.clone(), bytes: Hex::new(chunk.to_vec()) };
            item(
                serde_json::to_value(part).map_err(|error| Failure::failed("internal", error.to_string()))?,
            )?;
        }
    }
    Ok(Exported {
        reports: views.len(),
        drafts_left_out,
        words: if export.internal { Vec::new() } else { words(&publication.log, &publication.private) },
        log: json!({
            "entries": publication.log.entries,
            "pseudonyms": if export.internal { Vec::new() } else { publication.private.pseudonyms },
        }),
    })
}

/// The reports in the order of their dates, and how many drafts "all" leaves out.
fn choose(vault: &Vault, export: &Export) -> Result<(Vec<ReportSummary>, usize), Failure> {
    let mut chosen: BTreeMap<(String, i64, String), ReportSummary> = BTreeMap::new();
    let mut drafts = 0;
    let summaries = match export.reports.as_slice() {
        [] => vault.list(&ListFilter::default())?,
        ids => {
            ids.iter().map(|id| Ok(vault.summary(vault.find(id)?)?)).collect::<Result<Vec<_>, Failure>>()?
        }
    };
    for report in summaries {
        if report.state == "sealed" {
            // In "all" there is nothing of it; by its id it was refused before.
            continue;
        }
        if export.reports.is_empty() && report.state == "draft" {
            drafts += 1;
        } else if report.state == "draft" && !export.internal {
            let message =
                format!("{} is a draft, and drafts are not published; nothing was written", &report.id[..8]);
            return Err(Failure::new(Kind::ExportRefused, "draft", message)
                .hint("finish it first, or export it for your team with --internal"));
        } else {
            chosen.insert((report.date.clone(), report.created_ms, report.id.clone()), report);
        }
    }
    let waiting: Vec<&str> =
        chosen.values().filter(|report| report.clashes > 0).map(|report| &report.id[..8]).collect();
    if !waiting.is_empty() && !export.with_clashes {
        let message = format!("clashes wait for a person in {}; nothing was written", waiting.join(", "));
        return Err(Failure::new(Kind::ExportRefused, "clashes", message).hint(
            "decide them with `fieldbook resolve`, or give --with-clashes to publish what `show` shows",
        ));
    }
    if chosen.is_empty() {
        return Err(Failure::new(
            Kind::ExportRefused,
            "nothing-to-export",
            "there is no finished report to export",
        )
        .hint("`fieldbook finish` finishes drafts"));
    }
    Ok((chosen.into_values().collect(), drafts))
}

fn refused(error: PublishError) -> Failure {
    match &error {
        PublishError::Leak { .. } => Failure::new(Kind::ExportRefused, "leak", error.to_string()),
        PublishError::AddendumAlone { .. } => {
            Failure::new(Kind::ExportRefused, "addendum-alone", error.to_string())
                .hint("name their reports too, or give --addenda-alone if those are published elsewhere")
        }
    }
}

/// What was replaced or left out, for the coordinator's screen.
fn words(log: &RedactionLog, private: &PrivateLog) -> Vec<String> {
    let mut words = Vec::new();
    for person in &private.pseudonyms {
        let names = person.names.join(" / ");
        let times = match person.replaced {
            0 => "in the list of people".to_owned(),
            number => format!("and {} in texts", count(number as u64, "time", "times")),
        };
        words.push(format!("Replaced by a pseudonym: {names} → {} {times}", person.pseudonym));
        if person.contradicts {
            words.push(format!(
                "  {names}: one report says to publish the name, another not; the stricter holds"
            ));
        }
    }
    let mut left_out: BTreeMap<(What, &str), (usize, Vec<usize>)> = BTreeMap::new();
    for entry in log.entries.iter().filter(|entry| !matches!(entry.what, What::NameReplaced)) {
        let group = left_out.entry((entry.what, entry.place.as_str())).or_default();
        group.0 += entry.count;
        group.1.push(entry.report);
    }
    for ((what, place), (number, reports)) in left_out {
        let did = match what {
            What::NameReplaced | What::AmbiguousNameReplaced | What::DetailReplaced => "Replaced",
            _ => "Left out",
        };
        let what = match what {
            What::NameReplaced => "name",
            What::AmbiguousNameReplaced => "name that a protected person shares",
            What::DetailReplaced => "detail that leads to a person",
            What::IdentifyingFieldLeftOut => "field that can lead to a person",
            What::UnknownFieldLeftOut => "field that no template knows",
            What::PersonDetailsLeftOut => "details of people",
            What::AttachmentsLeftOut => "attachments, which cannot be cleaned yet",
        };
        let reports: Vec<String> = reports.iter().map(ToString::to_string).collect();
        words.push(format!("{did}: {what} ({number}), {place}, in report {}", reports.join(", ")));
    }
    words
}
