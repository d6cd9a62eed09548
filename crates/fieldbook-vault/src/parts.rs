//! The parts of attachments as they come in: each is checked once, when both it and the report that names
//! it are here, and counts as received from then on.

use std::collections::HashSet;

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::{EntryId, ReportId};
use fieldbook_seal::{Kind, OpenedEntry, ReadingIdentity, SealedEntry};
use rusqlite::params;

use crate::absorb::{judge_place, note_receipt_due};
use crate::error::VaultError;
use crate::outgoing;
use crate::problems::{self, Class, Fault};
use crate::store;
use crate::vault::Vault;
use crate::views::AbsorbSummary;

/// Ids that are looked up in the depot at once.
const PAGE: usize = 10_000;

impl Vault {
    /// Checks the attachment parts that reports name and that have arrived: from here on they count
    /// as received.
    pub(crate) fn absorb_parts(&mut self, summary: &mut AbsorbSummary) -> Result<(), VaultError> {
        let mut open: Option<(Vec<u8>, Vec<ReadingIdentity>)> = None;
        for (id, report) in self.arrived_parts()? {
            let Lookup::Held(bytes) = self.depot.get(&id)? else { continue };
            if open.as_ref().is_none_or(|(of, _)| *of != report) {
                let report_id = ReportId::from_bytes(store::array(&report, "a report id")?);
                let identities = match self.attachment_identities(&report_id) {
                    // A document that does not load has no keys to offer; its parts are named as a problem.
                    Err(error) if error.is_about_one_thing() => Vec::new(),
                    identities => identities?,
                };
                open = Some((report.clone(), identities));
            }
            let identities: Vec<&ReadingIdentity> =
                open.iter().flat_map(|(_, identities)| identities).collect();
            let verdict = self.check_part(bytes, &report, &identities)?;
            let tx = self.db.transaction()?;
            match verdict {
                Ok(opened) => {
                    let header = opened.header();
                    outgoing::record(&tx, &id, header, opened.digest())?;
                    note_receipt_due(&tx, &self.me, &id, header)?;
                    judge_place(&tx, &header.device, header.sequence)?;
                    summary.opened += 1;
                }
                Err(fault) => problems::note(&tx, Some(&id), &fault)?,
            }
            // Several reports may name it, and only one of them rightly.
            tx.execute(
                "DELETE FROM expected_part WHERE report = ?1 AND entry = ?2",
                params![report, id.as_bytes()],
            )?;
            tx.commit()?;
        }
        Ok(())
    }

    /// The parts that were waited for and are in the depot, each with the report that names it.
    fn arrived_parts(&self) -> Result<Vec<(EntryId, Vec<u8>)>, VaultError> {
        let mut arrived = Vec::new();
        let (mut report, mut entry) = (Vec::new(), Vec::new());
        loop {
            let page: Vec<(Vec<u8>, Vec<u8>)> = self
                .db
                .prepare_cached(
                    "SELECT report, entry FROM expected_part WHERE (report, entry) > (?1, ?2)
                     ORDER BY report, entry LIMIT ?3",
                )?
                .query_map(params![report, entry, PAGE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let Some(last) = page.last() else { return Ok(arrived) };
            (report, entry) = last.clone();
            let mut ids = Vec::with_capacity(page.len());
            for (report, entry) in page {
                ids.push((EntryId::from_bytes(store::array(&entry, "an entry id")?), report));
            }
            let asked: Vec<EntryId> = ids.iter().map(|(id, _)| *id).collect();
            let unknown: HashSet<EntryId> = self.depot.unknown(&asked)?.into_iter().collect();
            arrived.extend(ids.into_iter().filter(|(id, _)| !unknown.contains(id)));
        }
    }

    fn check_part(
        &self,
        bytes: Vec<u8>,
        report: &[u8],
        identities: &[&ReadingIdentity],
    ) -> Result<Result<OpenedEntry, Fault>, VaultError> {
        let opened = SealedEntry::parse(bytes).map_err(|error| error.to_string()).and_then(|sealed| {
            fieldbook_seal::decrypt(&sealed, identities).map_err(|error| error.to_string())
        });
        let unverified = match opened {
            Ok(unverified) => unverified,
            Err(reason) => {
                let reason = format!("a part of an attachment does not open: {reason}");
                return Ok(Err(Fault::of(Class::Altered, reason)));
            }
        };
        let header = unverified.header();
        let by = |class, reason: String| {
            let (device, sequence) = (Some(header.device), header.sequence);
            Fault { device, sequence, ..Fault::of(class, reason) }
        };
        let named = header.report.is_some_and(|id| id.as_bytes().as_slice() == report);
        if header.kind != Kind::AttachmentPart || !named {
            let reason = "what a report names as a part of its attachment is something else";
            return Ok(Err(by(Class::Refused, reason.to_owned())));
        }
        let Some(certificate) = self.certificate_of(&header.device)? else {
            let reason = "a part of an attachment is by a device that this one does not know";
            return Ok(Err(by(Class::Refused, reason.to_owned())));
        };
        let forged =
            by(Class::Forged, "a part of an attachment is not signed by the device that it names".into());
        Ok(unverified.verify(&certificate.body().keys).map_err(|_| forged))
    }
}
