//! Somebody takes back their consent: who it is, in which reports they stand, and each report without them.
//!
//! A document remembers what was taken out of it, so a report without somebody is a new report, and the old
//! one is forgotten whole. Nobody can look for a person in files: its attachments go with it, unless whoever
//! forgets looked at them and says that they may stay. Then they are sealed anew, under a key of their own.

use fieldbook_proto::ReportId;
use fieldbook_report::publish::{mentions, people_named};
use fieldbook_report::{Edit, ReportView};

use crate::error::VaultError;
use crate::reports::{ReportRow, load_document};
use crate::vault::{Vault, now_ms};
use crate::views::{ForgetSummary, ListFilter, PersonFound};

impl Vault {
    /// Where somebody stands: in one report, by their id in it or by name, or by name in every report that
    /// this device may ask to forget. Reports whose texts only mention the name come last, without a person.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`] and what [`Vault::forget`] says for a report that was named; the store's.
    pub fn find_people(&self, report: Option<ReportId>, who: &str) -> Result<Vec<PersonFound>, VaultError> {
        let mut found = Vec::new();
        if let Some(report) = report {
            self.may_forget(&report)?;
            self.find_people_in(&report, who, true, &mut found)?;
        } else {
            for summary in self.list(&ListFilter::default())? {
                let Ok(report) = summary.id.parse::<ReportId>() else { continue };
                match self.may_forget(&report) {
                    Ok(_) => self.find_people_in(&report, who, false, &mut found)?,
                    Err(VaultError::NotCoordinator | VaultError::OtherDesk | VaultError::Sealed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        found.sort_by_key(|one| one.person.is_none());
        Ok(found)
    }

    fn find_people_in(
        &self,
        report: &ReportId,
        who: &str,
        by_id: bool,
        found: &mut Vec<PersonFound>,
    ) -> Result<(), VaultError> {
        let row = ReportRow::get(&self.db, report)?;
        let view: ReportView = load_document(&self.db, &self.me, row.number)?.view();
        let one = |person: Option<&fieldbook_report::Person>| PersonFound {
            report: report.to_string(),
            title: view.title.clone(),
            finished: row.finished,
            person: person.map(|person| person.id.clone()),
            name: person.map(|person| person.name.clone()).unwrap_or_default(),
            role: person.map(|person| person.role.clone()).unwrap_or_default(),
            attachments: view.attachments.len(),
        };
        let mut people = people_named(&view, who);
        if by_id {
            people.extend(view.people.iter().filter(|person| person.id == who));
        }
        match people.first() {
            // Others of the same name go with the first.
            Some(person) => found.push(one(Some(person))),
            None if mentions(&view, who) => found.push(one(None)),
            None => {}
        }
        Ok(())
    }

    /// A fresh report without the person, then the old one is forgotten. If the program ends in between,
    /// both are there, and it can be done again.
    pub(crate) fn forget_person(
        &mut self,
        report: &ReportId,
        person: &str,
        keep_attachments: bool,
    ) -> Result<ForgetSummary, VaultError> {
        let row = self.may_forget(report)?;
        // It would go with the old report, and may name the person.
        if crate::unfinished::is_any_left(&self.db, report)? {
            return Err(VaultError::Unfinished { report: report.short() });
        }
        let document = load_document(&self.db, &self.me, row.number)?;
        let withdrawn = document.without_person(person, keep_attachments)?;
        let id = self.create_report(&withdrawn.input)?.id;
        let new: ReportId = id.parse().map_err(|_| VaultError::damaged("a report id"))?;
        let fill = self.fill(&new, &withdrawn.edits).and_then(|()| {
            let mut document = load_document(&self.db, &self.me, ReportRow::get(&self.db, &new)?.number)?;
            match withdrawn.remains(&mut document) {
                places if places.is_empty() => Ok(()),
                places => Err(VaultError::StillNamed { places }),
            }
        });
        if let Err(error) = fill {
            self.forget_report(&new, None)?;
            return Err(error);
        }
        if row.finished {
            self.finish(new, true)?;
        }
        let mut summary = self.forget_report(report, Some(new))?;
        summary.replaced_by = Some(id);
        summary.texts_changed = withdrawn.replaced;
        summary.also_changed = withdrawn.also_changed.len();
        summary.attachments_kept = if keep_attachments { document.attachments().len() } else { 0 };
        Ok(summary)
    }

    /// The notes of the old report, and copies of its attachments if they are to stay.
    fn fill(&mut self, new: &ReportId, edits: &[Edit]) -> Result<(), VaultError> {
        let mut done = Vec::new();
        let mut copied = Vec::new();
        for edit in edits {
            done.push(match edit {
                Edit::AddAttachment(manifest) => {
                    let copy = self.copy_attachment(manifest, new)?;
                    copied.push(copy.id.clone());
                    Edit::AddAttachment(copy)
                }
                other => other.clone(),
            });
        }
        self.change(*new, |document| Ok(document.edit(&done, now_ms())?))?;
        self.attachments_complete(&copied)
    }
}
