//! Changes of reports, from their authors and back from coordinators.

use std::time::{Duration, Instant};

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Certificate, Role};
use fieldbook_report::{ActorId, ReportDocument};
use fieldbook_seal::{Header, Kind, SealedEntry};
use rusqlite::params;

use super::take::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::merge::{MergeRefusal, MergeRequest, Merged};
use crate::names::actor_of;
use crate::outgoing::CHANGES_MAX;
use crate::reports::{NewReport, ReportRow, document_bytes, insert_report, parse_report_body, save_document};
use crate::vault::Vault;

/// How long merging the changes of one author may take in one go, before the others' come first. An
/// honest author's first ten thousand reports take half of it; a hostile one's cost this much a time.
pub(super) const MERGE_BUDGET: Duration = Duration::from_secs(60);

const MISSING: &str = "it builds on a change that has not arrived";
const OTHER_HAND: &str = "it holds changes by others, which they have not sent themselves";
/// Why an entry waits that belongs to a report which this coordinator was not given.
pub(crate) const NOT_SHARED: &str =
    "it is part of a report from before this device's admission; a coordinator can share the report";

impl Taker<'_> {
    /// Changes of a report, by the hand of the entry's author.
    pub(super) fn take_changes(
        &mut self,
        header: &Header,
        role: Role,
        body: &[u8],
    ) -> Result<Taken, VaultError> {
        let Some(report) = header.report else {
            return bad_by(header.device, "it names no report".to_owned());
        };
        if role == Role::Relay {
            return bad_by(header.device, "a relay's device carries reports and writes none".to_owned());
        }
        let (return_recipient, changes) = match parse_report_body(body) {
            Ok(parsed) => parsed,
            Err(error) => return bad_by(header.device, error.to_string()),
        };
        // What no honest device sends could not be passed on to a reader either.
        if changes.len() > CHANGES_MAX {
            return bad_by(header.device, "its changes are larger than an entry's may be".to_owned());
        }
        let hand = actor_of(&header.device);
        let existing = ReportRow::find(self.db, &report)?;
        if existing.as_ref().is_some_and(|row| row.author != header.device && role != Role::Coordinator) {
            return bad_by(header.device, "it changes a report that another device wrote".to_owned());
        }
        let document = existing.as_ref().map(|row| document_bytes(self.db, row.number)).transpose()?;
        let mut document = match self.merge(&header.device, Some(hand), document.as_deref(), changes)? {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(Taken::Done),
            Err(Taken::Waiting(OTHER_HAND)) => {
                return bad_by(header.device, "it holds a change by another device".to_owned());
            }
            Err(Taken::Waiting(MISSING)) if existing.is_none() && self.may_be_older(header) => {
                return Ok(Taken::Waiting(NOT_SHARED));
            }
            Err(refused) => return Ok(refused),
        };
        let number = match &existing {
            Some(row) => row.number,
            None => {
                // All changes are by this author and none is missing: it began the report.
                let new = NewReport {
                    id: report,
                    author: header.device,
                    finished: true,
                    return_identity: None,
                    import_hash: None,
                };
                self.summary.reports_new += 1;
                insert_report(self.db, &new)?
            }
        };
        if existing.is_some() {
            self.summary.reports_changed += 1;
        }
        let by_author = existing.as_ref().is_none_or(|row| row.author == header.device);
        // One that cannot be sealed to would keep coordinators from correcting the report.
        let return_recipient = return_recipient.filter(|to| fieldbook_seal::check_recipient(to).is_ok());
        if let (true, Some(recipient)) = (by_author, return_recipient) {
            self.db
                .prepare_cached(
                    "UPDATE report SET return_recipient = ?2 WHERE number = ?1 AND return_secret IS NULL",
                )?
                .execute(params![number, recipient.as_str()])?;
        }
        save_document(self.db, number, &mut document, true)?;
        for manifest in document.attachments() {
            crate::attachments::expect_parts(self.db, &report, &manifest)?;
        }
        Ok(Taken::Done)
    }

    /// Merges changes into a document, or begins one with them. None if all were known; else what becomes
    /// of the entry.
    pub(crate) fn merge(
        &mut self,
        author: &DeviceId,
        hand: Option<ActorId>,
        document: Option<&[u8]>,
        changes: &[u8],
    ) -> Result<Result<Option<ReportDocument>, Taken>, VaultError> {
        let me = actor_of(&self.me);
        let spent = self.costs.entry(*author).or_default();
        if *spent > MERGE_BUDGET {
            return Ok(Err(Taken::Waiting(
                "its author's changes take too long to merge; others' come first",
            )));
        }
        let begun = Instant::now();
        let merged = self.merger.merge(&MergeRequest { me, hand, document, changes });
        *spent += begun.elapsed();
        Ok(match merged {
            // What does not load here, although it merged there, is refused like what did not merge.
            Ok(Merged { document: Some(bytes) }) => match ReportDocument::load(me, &bytes) {
                Ok(document) => Ok(Some(document)),
                Err(error) => Err(bad_by(*author, error.to_string())?),
            },
            Ok(Merged { document: None }) => Ok(None),
            Err(MergeRefusal::MissingChanges) => Err(Taken::Waiting(MISSING)),
            Err(MergeRefusal::OtherHand) => Err(Taken::Waiting(OTHER_HAND)),
            Err(MergeRefusal::Unavailable) => {
                Err(Taken::Waiting("the process that merges could not be started"))
            }
            Err(MergeRefusal::Refused(reason)) => Err(bad_by(*author, reason)?),
        })
    }

    /// Whether the beginning of a report that is not known here may be sealed to others only: this device
    /// joined its desk when it had another key, or the change is a coordinator's, who works on reports
    /// that were shared.
    fn may_be_older(&self, header: &Header) -> bool {
        self.team.role() == Role::Coordinator
            && (self.team.desk_keys.iter().all(|key| key.epoch > 1)
                || self.authority.is_coordinator(&header.device))
    }

    /// A coordinator's changes to a report of this device, opened with the report's return identity.
    pub(super) fn take_return(
        &mut self,
        header: &Header,
        certificate: &Certificate,
        body: &[u8],
    ) -> Result<Taken, VaultError> {
        let identity = match header.report {
            Some(report) => Vault::return_identity(self.db, &report)?,
            None => None,
        };
        // A report that this device has forgotten: nothing opens, by design.
        let Some(identity) = identity else { return Ok(Taken::Nothing) };
        let inner = SealedEntry::parse(body.to_vec())
            .map_err(|error| error.to_string())
            .and_then(|sealed| {
                fieldbook_seal::decrypt(&sealed, &[&identity]).map_err(|error| error.to_string())
            })
            .and_then(|unverified| {
                unverified.verify(&certificate.body().keys).map_err(|error| error.to_string())
            });
        match inner {
            Ok(opened) if opened.header().kind == Kind::Report && opened.header().report == header.report => {
                let inner_header = opened.header().clone();
                self.take_changes(&inner_header, Role::Coordinator, opened.body())
            }
            Ok(_) => bad_by(header.device, "its inner entry is about something else".to_owned()),
            Err(reason) => bad_by(header.device, reason),
        }
    }
}
