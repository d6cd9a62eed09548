//! Sealing a report: its author's device gives up the power to read it.
//!
//! What goes: the document, what search knows of it, its attachments and their keys, and the identity
//! with which coordinators answered. What stays: that there was a report, when it was sealed, its
//! entries' ids and who signed for them. The store gets a new key at the next occasion, so that what
//! remains in old blocks of the disk opens with nothing that is here.

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_seal::body::Notice;
use fieldbook_seal::{Header, Kind, OpenError, ReadingIdentity, SealedEntry};
use rusqlite::{Connection, OptionalExtension, params};

use crate::absorb::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::reports::ReportRow;
use crate::team::log;
use crate::vault::{Vault, now_ms};
use crate::views::{Delivery, Holder, ReportSummary, SealSummary};
use crate::{rekey, store};

/// After how many coordinators' receipts a report is sealed by itself; absent if never.
const AFTER: &str = "seal-after";
const WAS_COORDINATOR: &str = "it was sent when this device was a coordinator's, and a key from then opens it; \
                               what is written from now on can be sealed";
/// Most coordinators that can be waited for.
const AFTER_MAX: u32 = 64;

/// Whether a report may be sealed that not enough coordinators have confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealConsent {
    /// Only with their receipts.
    WithReceipts,
    /// Even if nobody has it: then nobody may ever read it again.
    Anyway,
}

/// When a report was sealed, if it was.
pub(crate) fn sealed_at(db: &Connection, report: &ReportId) -> Result<Option<i64>, VaultError> {
    Ok(db
        .prepare_cached("SELECT time_ms FROM sealed WHERE report = ?1")?
        .query_row([report.as_bytes()], |row| row.get(0))
        .optional()?)
}

/// What becomes of a report that is asked for and is not here.
pub(crate) fn missing(db: &Connection, report: &ReportId) -> VaultError {
    match sealed_at(db, report) {
        Ok(Some(time_ms)) => VaultError::Sealed { report: report.short(), time_ms },
        Ok(None) => VaultError::NoSuchReport(report.short()),
        Err(error) => error,
    }
}

impl Vault {
    /// Seals a finished report of this device: from now on it cannot be read here, by anybody, with any
    /// passphrase. Coordinators who have it keep it, and are told.
    ///
    /// # Errors
    /// [`VaultError::CannotSeal`] for a draft, another device's report, on a coordinator's device, and for
    /// what a device sent that was a coordinator's then;
    /// [`VaultError::BeingWritten`] while somebody writes in it; [`VaultError::Unfinished`] when a text was written and not
    /// saved, and [`VaultError::NotConfirmed`] when not enough coordinators have signed for all of it, unless `consent` says
    /// [`SealConsent::Anyway`]; [`VaultError::Sealed`] if it is already; the store's.
    /// Nothing is sealed then.
    pub fn seal_report(&mut self, id: ReportId, consent: SealConsent) -> Result<SealSummary, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let team = self.team()?;
        if team.role() == Role::Coordinator {
            return Err(VaultError::CannotSeal(
                "coordinators read what the desk receives: here it could be read again",
            ));
        }
        let former = crate::rejoin::was(&self.db, &row.author)?;
        if row.author != self.me && !former {
            return Err(VaultError::CannotSeal("another device wrote this report"));
        }
        if !row.finished {
            return Err(VaultError::CannotSeal("a draft was never sent: nobody else has it"));
        }
        // The keys that this device was given as a coordinator's do not go with the role: they lie in the
        // sealed entries that it carries, and open with the device's own key.
        if self.opens_here(&id)? {
            return Err(VaultError::CannotSeal(WAS_COORDINATOR));
        }
        team.desk_reads()?;
        if self.being_written.contains(&id) {
            return Err(VaultError::BeingWritten { report: id.short() });
        }
        if consent == SealConsent::WithReceipts && crate::unfinished::is_any_left(&self.db, &id)? {
            return Err(VaultError::Unfinished { report: id.short() });
        }
        let needed = self.seal_after()?.unwrap_or(1);
        let (holders, missing) = self.who_confirmed(&row)?;
        if holders.len() < needed as usize && consent == SealConsent::WithReceipts {
            let have = holders.into_iter().map(|holder| holder.name).collect();
            return Err(VaultError::NotConfirmed { have, missing, needed });
        }
        let time_ms = now_ms();
        let body = Notice::Sealed { report: id }.encode();
        let (audience, recipients) = team.desk_audience();
        let tx = self.db.transaction()?;
        let notice =
            Outgoing { kind: Kind::Notice, report: Some(id), audience, body: &body, recipients: &recipients };
        // Of what this notebook wrote as another device nobody else's word would count, and nobody answers it.
        let entry = if former { None } else { Some(outgoing::queue(&tx, &self.device, &notice)?.0) };
        forget_report(&tx, &row, &id)?;
        tx.execute("INSERT INTO sealed (report, time_ms) VALUES (?1, ?2)", params![id.as_bytes(), time_ms])?;
        let act = log::Act { kind: "sealed", subject: Some(id.as_bytes().as_slice()), detail: "" };
        log::note(&tx, time_ms, &self.me, &act, entry.as_ref())?;
        rekey::ask(&tx)?;
        tx.commit()?;
        self.flush()?;
        Ok(SealSummary { id: id.to_string(), sealed_ms: time_ms, holders, missing })
    }

    /// Seals every finished report of this device that enough coordinators have confirmed.
    ///
    /// # Errors
    /// As [`Vault::seal_report`]; what was sealed before stays sealed.
    pub fn seal_received(&mut self) -> Result<Vec<SealSummary>, VaultError> {
        let mine: Vec<Vec<u8>> = self
            .db
            .prepare_cached(
                "SELECT id FROM report WHERE finished = 1
                     AND (author = ?1 OR author IN (SELECT id FROM former_device)) ORDER BY number",
            )?
            .query_map([self.me.as_bytes()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut sealed = Vec::new();
        for id in mine {
            let id = ReportId::from_bytes(store::array(&id, "a report id")?);
            match self.seal_report(id, SealConsent::WithReceipts) {
                Ok(summary) => sealed.push(summary),
                Err(
                    VaultError::NotConfirmed { .. }
                    | VaultError::CannotSeal(_)
                    | VaultError::DeskClosed
                    | VaultError::BeingWritten { .. }
                    | VaultError::Unfinished { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sealed)
    }

    /// From now on each report seals itself when so many coordinators have confirmed all of it (1 to 64);
    /// none does after `None`. The number also holds for [`Vault::seal_report`], which else asks for one.
    ///
    /// # Errors
    /// [`VaultError::CannotSeal`] for another number and on a coordinator's device; the store's.
    pub fn set_seal_after(&mut self, coordinators: Option<u32>) -> Result<(), VaultError> {
        if self.team.as_ref().is_some_and(|team| team.role() == Role::Coordinator) {
            return Err(VaultError::CannotSeal(
                "coordinators read what the desk receives: here it could be read again",
            ));
        }
        match coordinators {
            None => {
                self.db.execute("DELETE FROM meta WHERE name = ?1", [AFTER])?;
            }
            Some(number @ 1..=AFTER_MAX) => store::set_meta(&self.db, AFTER, &number.to_be_bytes())?,
            Some(_) => {
                return Err(VaultError::CannotSeal("the number of coordinators must be between 1 and 64"));
            }
        }
        Ok(())
    }

    /// After how many coordinators' receipts reports seal themselves.
    ///
    /// # Errors
    /// The store's.
    pub fn seal_after(&self) -> Result<Option<u32>, VaultError> {
        let number = store::meta(&self.db, AFTER)?;
        number.map(|bytes| Ok(u32::from_be_bytes(store::array(&bytes, "a number")?))).transpose()
    }

    /// Seals what has been confirmed, if it was asked to do so by itself.
    pub(crate) fn seal_by_itself(&mut self) -> Result<usize, VaultError> {
        let monitor = self.team.as_ref().is_some_and(|team| team.role() != Role::Coordinator);
        if !monitor || self.seal_after()?.is_none() {
            return Ok(0);
        }
        Ok(self.seal_received()?.len())
    }

    /// The coordinators in good standing who can read a report and signed for all of it, and the names of
    /// the desk's others. Anybody in the team can sign a receipt; only those are counted to whom the report
    /// is sealed, and not the recovery sheets, which nobody reads on an ordinary day.
    fn who_confirmed(&self, row: &ReportRow) -> Result<(Vec<Holder>, Vec<String>), VaultError> {
        let team = self.team()?;
        let names = self.names()?;
        let mut readers = team.authority.readers_of(team.desk);
        let desk = readers.len();
        readers.extend(crate::shares::shared_with(&self.db, &row.id)?);
        let standing = team.authority.coordinators();
        let on_paper = |id: &DeviceId| {
            standing
                .get(id)
                .is_some_and(|certificate| team.recovery.as_ref() == Some(&certificate.body().keys.recipient))
        };
        let may = |id: &DeviceId| standing.contains_key(id) && !on_paper(id);
        let mut holders = self.delivery(&row.id)?.holders(&row.id, &names);
        holders.retain(|holder| readers.iter().any(|id| may(id) && id.to_string() == holder.device));
        let has = |id: &DeviceId| holders.iter().any(|holder| holder.device == id.to_string());
        let missing =
            readers[..desk].iter().filter(|id| may(id) && !has(id)).map(|id| names.device(id)).collect();
        Ok((holders, missing))
    }

    /// Whether a key in this vault opens what is known to have been sent of a report: this device was a
    /// coordinator's then, and the desk's key of that time is in its vault and in what it carries. (Answers to
    /// its author open here too, and what is in them with the report's return key only, which goes.)
    fn opens_here(&self, report: &ReportId) -> Result<bool, VaultError> {
        let keys = &self.team()?.desk_keys;
        if keys.is_empty() {
            return Ok(false);
        }
        let identities: Vec<&ReadingIdentity> =
            keys.iter().map(|key| &key.identity).chain([self.device.identity()]).collect();
        let sent: Vec<Vec<u8>> = self
            .db
            .prepare_cached("SELECT id FROM entry WHERE report = ?1 AND kind <> ?2")?
            .query_map(params![report.as_bytes(), Kind::Return as u8], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in sent {
            let id = EntryId::from_bytes(store::array(&id, "an entry id")?);
            // What is no longer here to be tried may be elsewhere.
            let Lookup::Held(bytes) = self.depot.get(&id)? else { return Ok(true) };
            let shut = SealedEntry::parse(bytes).is_ok_and(|sealed| {
                matches!(fieldbook_seal::decrypt(&sealed, &identities), Err(OpenError::NotForUs))
            });
            if !shut {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The reports that this device wrote and can read no more, as lists show them.
    pub(crate) fn sealed_summaries(&self) -> Result<Vec<ReportSummary>, VaultError> {
        let names = self.names()?;
        let deliveries = self.deliveries()?;
        let mut statement = self.db.prepare_cached(
            "SELECT report, time_ms FROM sealed WHERE report NOT IN (SELECT id FROM report) ORDER BY time_ms DESC",
        )?;
        let mut rows = statement.query([])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            let id = ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a report id")?);
            let time_ms = row.get(1)?;
            list.push(ReportSummary {
                id: id.to_string(),
                template: String::new(),
                title: String::new(),
                language: String::new(),
                date: String::new(),
                state: "sealed".to_owned(),
                author_device: self.me.to_string(),
                author_label: names.device(&self.me),
                mine: true,
                created_ms: time_ms,
                updated_ms: time_ms,
                clashes: 0,
                questions: 0,
                unsaved: false,
                attachments: 0,
                people: 0,
                delivery: Delivery {
                    word: "sealed".to_owned(),
                    holders: deliveries.holders(&id, &names),
                    relays: deliveries.relays(&id, &names),
                    long: false,
                    removed: Vec::new(),
                    attention: Vec::new(),
                },
                sealed_ms: Some(time_ms),
            });
        }
        Ok(list)
    }
}

/// Removes everything of a report but its entries' ids and what was signed for them.
pub(crate) fn forget_report(db: &Connection, row: &ReportRow, id: &ReportId) -> Result<(), VaultError> {
    // Without this, the search index keeps words of deleted rows.
    db.execute("INSERT INTO report_text (report_text, rank) VALUES ('secure-delete', 1)", [])?;
    db.execute("DELETE FROM report_text WHERE rowid = ?1", [row.number])?;
    db.execute("DELETE FROM document WHERE report = ?1", [row.number])?;
    // With it goes what was written and not saved: a trigger of the store sees to that.
    db.execute("DELETE FROM report WHERE number = ?1", [row.number])?;
    let id = id.as_bytes();
    db.execute(
        "DELETE FROM attachment_part WHERE attachment IN (SELECT id FROM attachment WHERE report = ?1)",
        [id],
    )?;
    db.execute("DELETE FROM attachment WHERE report = ?1", [id])?;
    db.execute("DELETE FROM expected_part WHERE report = ?1", [id])?;
    Ok(())
}

/// Word that its author sealed a report.
pub(crate) fn take_notice(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    report: ReportId,
) -> Result<Taken, VaultError> {
    let Some(row) = ReportRow::find(taker.db, &report)? else {
        let forgotten = taker
            .db
            .prepare_cached("SELECT 1 FROM forgotten WHERE report = ?1")?
            .exists([report.as_bytes()])?;
        return Ok(if forgotten { Taken::Nothing } else { Taken::Waiting("its report has not arrived") });
    };
    if row.author != header.device {
        return bad_by(header.device, "it seals a report that another device wrote".to_owned());
    }
    taker.db.execute(
        "INSERT OR IGNORE INTO sealed (report, time_ms) VALUES (?1, ?2)",
        params![report.as_bytes(), header.time_ms],
    )?;
    let act = log::Act { kind: "sealed", subject: Some(report.as_bytes().as_slice()), detail: "" };
    log::note(taker.db, header.time_ms, &header.device, &act, Some(&id))?;
    Ok(Taken::Done)
}
