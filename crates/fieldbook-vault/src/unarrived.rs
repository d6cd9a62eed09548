//! Attachments of which parts have not come: reports travel before their attachments, so such a report can be
//! read, and looks whole unless somebody says that it is not.

use std::collections::BTreeMap;

use fieldbook_proto::{AttachmentId, ReportId};
use rusqlite::params;

use crate::error::VaultError;
use crate::findings::Problem;
use crate::names::Names;
use crate::problems::{Class, Fault, shown};
use crate::reports::{ReportRow, load_document};
use crate::store;
use crate::vault::Vault;
use crate::views::UnarrivedView;

/// What follows, and what to do.
const CONSEQUENCE: &str = "The report is here, and this file cannot be saved yet. Nothing is lost by it: reports travel \
                           before their attachments. Sync again; if the parts do not come, sync with the device that \
                           wrote the report, or have it bring them by stick. `fieldbook carry` says whether this \
                           device takes attachments.";

impl Vault {
    /// The attachments of a report of which parts have not come.
    pub(crate) fn unarrived(&self, row: &ReportRow) -> Result<Vec<UnarrivedView>, VaultError> {
        let mut lacking: BTreeMap<String, usize> = self
            .db
            .prepare_cached(
                "SELECT attachment, count(*) FROM expected_part WHERE report = ?1 GROUP BY attachment",
            )?
            .query_map([row.id.as_bytes()], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))?
            .map(|found| {
                let (attachment, parts) = found?;
                let id = AttachmentId::from_bytes(store::array(&attachment, "an attachment id")?);
                Ok((id.to_string(), usize::try_from(parts).unwrap_or(0)))
            })
            .collect::<Result<_, VaultError>>()?;
        if lacking.is_empty() {
            return Ok(Vec::new());
        }
        let attachments = load_document(&self.db, &self.me, row.number)?.attachments();
        let unarrived = attachments.into_iter().filter_map(|manifest| {
            let lacking = lacking.remove(&manifest.id)?;
            let of = manifest.parts.len();
            let have = of.saturating_sub(lacking);
            Some(UnarrivedView { attachment: manifest.id, name: manifest.name, have, of })
        });
        Ok(unarrived.collect())
    }

    /// The same of every report, as what is missing; at most so many reports.
    pub(crate) fn unarrived_everywhere(&self, max: usize) -> Result<Vec<Problem>, VaultError> {
        let reports: Vec<Vec<u8>> = self
            .db
            .prepare_cached("SELECT DISTINCT report FROM expected_part ORDER BY report LIMIT ?1")?
            .query_map(params![i64::try_from(max).unwrap_or(i64::MAX)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let names = self.names()?;
        let mut missing = Vec::new();
        for report in reports {
            let id = ReportId::from_bytes(store::array(&report, "a report id")?);
            // What was expected of one that was dropped, or sealed, is of no interest.
            let Some(row) = ReportRow::find(&self.db, &id)? else { continue };
            match self.unarrived(&row) {
                // A document that does not load is named as a problem of its own.
                Err(error) if error.is_about_one_thing() => {}
                unarrived => missing.extend(unarrived?.iter().map(|one| problem(&names, &row, one))),
            }
        }
        Ok(missing)
    }
}

fn problem(names: &Names, row: &ReportRow, one: &UnarrivedView) -> Problem {
    let lacking = one.of.saturating_sub(one.have);
    let have = if lacking == 1 { "parts has" } else { "parts have" };
    let reason = format!(
        "{lacking} of {} {have} not arrived of the file \"{}\" in report {}",
        one.of,
        one.name,
        row.id.short()
    );
    let fault = Fault { device: Some(row.author), proven: true, ..Fault::of(Class::Missing, reason) };
    let mut problem = shown(names, None, &fault, 0);
    CONSEQUENCE.clone_into(&mut problem.consequence);
    problem
}
