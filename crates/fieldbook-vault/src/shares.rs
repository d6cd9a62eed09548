//! Reports that are given to a coordinator who could not read them: one who came later, or one of
//! another desk.
//!
//! A share carries the whole document as it is, whatever the hands in it: the coordinator who shares
//! vouches for them. From then on the devices that write to the report seal their changes to its readers
//! too; a change by somebody who had not heard of them yet is given to them by whoever shared. Everybody who can read the report has the act in its log.

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_proto::certificate::{Author, Certificate, CertificateError, Recipient, Role};
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_seal::body::{Notice, Share};
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind};
use rusqlite::{Connection, params};

use crate::absorb::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::names::actor_of;
use crate::outgoing::{self, CHANGES_MAX, Outgoing};
use crate::problems::{self, Class, Fault};
use crate::reports::{
    NewReport, ReportRow, document_bytes, insert_report, load_document, pack, save_document,
};
use crate::store;
use crate::team::{Team, find_device, log, save_author};
use crate::vault::{Vault, now_ms};
use crate::views::{ShareSelection, ShareSummary};

/// Reports that are shared in one transaction.
const BATCH: usize = 256;
/// Readers beside the desk to whom one report's changes are sealed: with the desks, the recovery sheets and
/// the author they stay below an entry's most.
const READERS_MAX: usize = 48;
/// The word in the log.
const SHARED: &str = "shared";

/// What this device seals for a report beside its own desk: the desk of the report's author, if it is
/// another one, and the coordinators it was shared with or by.
pub(crate) fn also_readers(
    db: &Connection,
    team: &Team,
    me: &DeviceId,
    row: &ReportRow,
    (audience, recipients): &mut (Audience, Vec<Recipient>),
) -> Result<(), VaultError> {
    let mut statement = db.prepare_cached("SELECT device, by FROM share WHERE report = ?1")?;
    let mut rows = statement.query([row.id.as_bytes()])?;
    let mut devices = BTreeSet::new();
    while let Some(row) = rows.next()? {
        for column in ["device", "by"] {
            let id: Vec<u8> = row.get(column)?;
            devices.insert(DeviceId::from_bytes(store::array(&id, "a device id")?));
        }
    }
    if devices.is_empty() {
        return Ok(());
    }
    devices.remove(me);
    let standing = team.authority.coordinators();
    let readers = devices.iter().filter_map(|id| Some((*id, standing.get(id)?)));
    for (id, certificate) in readers.take(READERS_MAX) {
        audience.readers.push(id);
        recipients.push(certificate.body().keys.recipient.clone());
    }
    if let Some(desk) = desk_of(db, team, me, &row.author)?.filter(|desk| *desk != team.desk)
        && let Some(epoch) = team.desk_epoch(desk)
    {
        recipients.push(epoch.recipient.clone());
    }
    Ok(())
}

/// The desk that a report's author reports to.
fn desk_of(
    db: &Connection,
    team: &Team,
    me: &DeviceId,
    author: &DeviceId,
) -> Result<Option<fieldbook_proto::DeskId>, VaultError> {
    if author == me {
        return Ok(Some(team.desk));
    }
    Ok(find_device(db, author)?.map(|known| known.certificate.body().desk))
}

/// The coordinators whom a report was shared with.
pub(crate) fn shared_with(db: &Connection, report: &ReportId) -> Result<Vec<DeviceId>, VaultError> {
    let mut statement = db.prepare_cached("SELECT device FROM share WHERE report = ?1")?;
    let mut rows = statement.query([report.as_bytes()])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        devices.push(DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a device id")?));
    }
    Ok(devices)
}

fn is_shared(db: &Connection, report: &ReportId, device: &DeviceId) -> Result<bool, VaultError> {
    Ok(db
        .prepare_cached("SELECT 1 FROM share WHERE report = ?1 AND device = ?2")?
        .exists(params![report.as_bytes(), device.as_bytes()])?)
}

/// Whether a report came to this device by a share: its readers vouch for what is in it.
fn is_given(db: &Connection, number: i64) -> Result<bool, VaultError> {
    Ok(db
        .prepare_cached("SELECT given FROM report WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?)
}

fn note_share(
    db: &Connection,
    report: &ReportId,
    device: &DeviceId,
    by: &DeviceId,
    time_ms: i64,
) -> Result<(), VaultError> {
    db.prepare_cached("INSERT OR IGNORE INTO share (report, device, by, time_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![report.as_bytes(), device.as_bytes(), by.as_bytes(), time_ms])?;
    Ok(())
}

/// A line for one report and its readers, on every side that hears of it. The coordinators of the desk hear
/// of it twice: they read what its author is told.
fn log_share(
    db: &Connection,
    time_ms: i64,
    by: &DeviceId,
    report: &ReportId,
    with: &[DeviceId],
    entry: &EntryId,
) -> Result<(), VaultError> {
    let devices: Vec<String> = with.iter().map(DeviceId::short).collect();
    let detail = format!("with device {}", devices.join(", "));
    let told = db
        .prepare_cached("SELECT 1 FROM act WHERE device = ?1 AND kind = ?2 AND subject = ?3 AND detail = ?4")?
        .exists(params![by.as_bytes(), SHARED, report.as_bytes(), detail])?;
    if told {
        return Ok(());
    }
    let act = log::Act { kind: SHARED, subject: Some(report.as_bytes()), detail: &detail };
    log::note(db, time_ms, by, &act, Some(entry))
}

/// A report that another coordinator shares with this device.
///
/// The sharer vouches for other people's words only where this device cannot hear them from themselves. To a
/// report that it reads anyway a share adds the sharer's own hand and nothing else: else a coordinator could
/// put words into an author's mouth, in whose place the author's own would then be refused. An honest share
/// may be ahead of what the authors sent, so it waits for that. Changes in this device's own hand are never
/// taken from anybody (see [`crate::merge`]).
pub(crate) fn take(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let Some(report) = header.report else {
        return bad_by(header.device, "it names no report".to_owned());
    };
    let share = match Share::decode(body) {
        Ok(share) => share,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    // Sealed to the sharer's desk too, so that its coordinators can check the chain. They are not given the
    // report by it: a newcomer among them reads nothing older than itself unless somebody means it to.
    if taker.team.role() != Role::Coordinator || !header.audience.readers.contains(&taker.me) {
        return Ok(Taken::Nothing);
    }
    let author = share.author.device_id();
    let desk = share.author.body().desk;
    if !taker.authority.reads_for(&header.device, desk) {
        return bad_by(header.device, "it shares a report of a desk that is not its own".to_owned());
    }
    let existing = ReportRow::find(taker.db, &report)?;
    if existing.as_ref().is_some_and(|row| row.author != author) {
        return bad_by(header.device, "it names another author of a report than the one known".to_owned());
    }
    // What a document may have as a whole, its author's device could not have sent in one piece either.
    if share.changes.len() > CHANGES_MAX {
        return bad_by(header.device, "the report in it is larger than an entry's may be".to_owned());
    }
    if author != taker.me {
        // One that cannot be sealed to could never be answered.
        if let Err(error) = fieldbook_seal::check_recipient(&share.author.body().keys.recipient) {
            return bad_by(header.device, error.to_string());
        }
        match taker.authority.judge_author(&share.author, 1) {
            Ok(_) | Err(CertificateError::AfterRemoval) => save_author(taker.db, &share.author)?,
            Err(CertificateError::UnknownIssuer | CertificateError::IssuerRemoved) => {
                return Ok(Taken::Waiting(
                    "the certificate of a shared report's author cannot be judged yet",
                ));
            }
            Err(error) => return bad_by(header.device, error.to_string()),
        }
    }
    // What its author sealed does not come back to its device by a share.
    if author == taker.me && existing.is_none() {
        return Ok(Taken::Nothing);
    }
    let vouched = match &existing {
        Some(row) => is_given(taker.db, row.number)?,
        // Whoever has had the desk's key from the first reads all that is written to the desk.
        None => desk != taker.team.desk || taker.team.desk_keys.iter().all(|key| key.epoch > 1),
    };
    let hand = if vouched { None } else { Some(actor_of(&header.device)) };
    note_share(taker.db, &report, &taker.me, &header.device, header.time_ms)?;
    log_share(taker.db, header.time_ms, &header.device, &report, &[taker.me], &id)?;
    let document = existing.as_ref().map(|row| document_bytes(taker.db, row.number)).transpose()?;
    let mut document = match taker.merge(&header.device, hand, document.as_deref(), &share.changes)? {
        Ok(Some(document)) => document,
        Ok(None) => return Ok(Taken::Done),
        Err(refused) => return Ok(refused),
    };
    let number = match &existing {
        Some(row) => {
            taker.summary.reports_changed += 1;
            row.number
        }
        None => {
            taker.summary.reports_new += 1;
            let new =
                NewReport { id: report, author, finished: true, return_identity: None, import_hash: None };
            let number = insert_report(taker.db, &new)?;
            taker
                .db
                .prepare_cached("UPDATE report SET given = ?2 WHERE number = ?1")?
                .execute(params![number, vouched])?;
            number
        }
    };
    if let Some(recipient) = share.return_recipient.filter(|to| fieldbook_seal::check_recipient(to).is_ok()) {
        taker
            .db
            .prepare_cached(
                "UPDATE report SET return_recipient = ?2
                 WHERE number = ?1 AND return_secret IS NULL AND return_recipient IS NULL",
            )?
            .execute(params![number, recipient.as_str()])?;
    }
    save_document(taker.db, number, &mut document, true)?;
    for manifest in document.attachments() {
        crate::attachments::expect_parts(taker.db, &report, &manifest)?;
    }
    Ok(Taken::Done)
}

/// Word that reports were shared: to the coordinators of the desk and the new reader of all, to an author
/// of its own.
pub(crate) fn take_notice(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    _author: &Author,
    reports: &[ReportId],
    with: &[DeviceId],
) -> Result<Taken, VaultError> {
    for report in reports {
        // Of a report that is not here only the line in the log is kept.
        if let Some(row) = ReportRow::find(taker.db, report)? {
            let desk = desk_of(taker.db, taker.team, &taker.me, &row.author)?;
            if !desk.is_some_and(|desk| taker.authority.reads_for(&header.device, desk)) {
                return bad_by(header.device, "it shares a report of a desk that is not its own".to_owned());
            }
            for device in with {
                note_share(taker.db, report, device, &header.device, header.time_ms)?;
            }
        }
        log_share(taker.db, header.time_ms, &header.device, report, with, &id)?;
    }
    Ok(Taken::Done)
}

impl Vault {
    /// Gives finished reports of this desk to another coordinator, who then reads them, their later
    /// changes, and can answer their authors. The desk, the reader and each author hear of it.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`] unless this device is a coordinator's, [`VaultError::NotAReader`]
    /// unless the other one is, [`VaultError::OtherDesk`] for a named report that is not of this desk,
    /// [`VaultError::NoSuchReport`], or the store's. Batches that were shared before an error stay shared.
    pub fn share(&mut self, selection: &ShareSelection, with: DeviceId) -> Result<ShareSummary, VaultError> {
        let team = self.team()?;
        let standing = team.authority.coordinators();
        if !standing.contains_key(&self.me) {
            return Err(VaultError::NotCoordinator);
        }
        let reader = standing.get(&with).filter(|_| with != self.me);
        let recipient = match reader {
            Some(certificate) => certificate.body().keys.recipient.clone(),
            None => return Err(VaultError::NotAReader(self.names()?.device(&with))),
        };
        let reader_label = self.names()?.device(&with);
        let mut summary =
            ShareSummary { device: with.to_string(), label: reader_label, ..Default::default() };
        let wanted = self.selected(selection, &mut summary)?;
        let mut shared = Vec::new();
        for id in wanted {
            let known = is_shared(&self.db, &id, &with)?;
            if known { summary.already += 1 } else { shared.push(id) }
        }
        for batch in shared.chunks(BATCH) {
            self.share_batch(batch, with, &recipient, &mut summary)?;
            self.flush()?;
        }
        Ok(summary)
    }

    /// The reports that may be shared: those named, and those of this desk that the filter finds.
    fn selected(
        &self,
        selection: &ShareSelection,
        summary: &mut ShareSummary,
    ) -> Result<Vec<ReportId>, VaultError> {
        let mut wanted = Vec::new();
        for id in &selection.reports {
            let row = ReportRow::get(&self.db, id)?;
            if !self.of_this_desk(&row.author)? {
                return Err(VaultError::OtherDesk);
            }
            if row.finished { wanted.push(*id) } else { summary.left_out += 1 }
        }
        if let Some(filter) = &selection.filter {
            for report in self.list(filter)? {
                let author = report.author_device.parse().map_err(|_| VaultError::damaged("a device id"))?;
                if report.state == "finished" && self.of_this_desk(&author)? {
                    wanted.push(report.id.parse().map_err(|_| VaultError::damaged("a report id"))?);
                } else {
                    summary.left_out += 1;
                }
            }
        }
        let mut seen = BTreeSet::new();
        wanted.retain(|id| seen.insert(*id));
        Ok(wanted)
    }

    /// Whether an author reports to the desk that this device reads for.
    pub(crate) fn of_this_desk(&self, author: &DeviceId) -> Result<bool, VaultError> {
        let team = self.team()?;
        let desk = desk_of(&self.db, team, &self.me, author)?;
        Ok(desk.is_some_and(|desk| team.authority.reads_for(&self.me, desk)))
    }

    /// Gives reports again to readers who missed a change by somebody who did not know of them.
    pub(crate) fn share_again(&mut self) -> Result<(), VaultError> {
        let due = self.missed()?;
        if due.is_empty() {
            return Ok(());
        }
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let mut tx = self.db.transaction()?;
        for (report, device) in due {
            let reader = team.authority.coordinators().get(&device);
            let row = ReportRow::find(&tx, &report)?;
            let (Some(row), Some(reader)) = (row, reader) else { continue };
            let savepoint = tx.savepoint()?;
            match give(&savepoint, &self.device, team, &row, device, &reader.body().keys.recipient) {
                Ok(_) => savepoint.commit()?,
                Err(error) if error.is_about_one_thing() => {
                    savepoint.finish()?;
                    note_not_given(&tx, &row, &error)?;
                }
                Err(error) => return Err(error),
            }
        }
        tx.execute("DELETE FROM missed", [])?;
        tx.commit()?;
        Ok(())
    }

    /// The reports that are to be given again, each with its reader.
    fn missed(&self) -> Result<BTreeSet<(ReportId, DeviceId)>, VaultError> {
        let mut statement = self.db.prepare_cached("SELECT report, device FROM missed")?;
        let mut rows = statement.query([])?;
        let mut due = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let report = ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a report id")?);
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a device id")?);
            due.insert((report, device));
        }
        Ok(due)
    }

    fn share_batch(
        &mut self,
        batch: &[ReportId],
        with: DeviceId,
        recipient: &Recipient,
        summary: &mut ShareSummary,
    ) -> Result<(), VaultError> {
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let now = now_ms();
        let mut tx = self.db.transaction()?;
        let mut authors: BTreeMap<DeviceId, (Certificate, Vec<ReportId>)> = BTreeMap::new();
        let mut given = Vec::with_capacity(batch.len());
        for id in batch {
            let row = ReportRow::get(&tx, id)?;
            let savepoint = tx.savepoint()?;
            let (author, entries) = match give(&savepoint, &self.device, team, &row, with, recipient) {
                Ok(done) => {
                    savepoint.commit()?;
                    done
                }
                // One that cannot be given keeps nobody from the others.
                Err(error) if error.is_about_one_thing() => {
                    savepoint.finish()?;
                    note_not_given(&tx, &row, &error)?;
                    summary.left_out += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            given.push(*id);
            note_share(&tx, id, &with, &self.me, now)?;
            summary.shared += 1;
            summary.entries += entries;
            authors.entry(row.author).or_insert_with(|| (author, Vec::new())).1.push(*id);
        }
        let notice = |reports: &[ReportId], (audience, recipients): (Audience, Vec<Recipient>)| {
            let body = Notice::Shared { reports: reports.to_vec(), with: vec![with] }.encode();
            let entry =
                Outgoing { kind: Kind::Notice, report: None, audience, body: &body, recipients: &recipients };
            outgoing::queue(&tx, &self.device, &entry)
        };
        if given.is_empty() {
            return Ok(tx.commit()?);
        }
        let (told, _) = notice(&given, team.audience_of(with, recipient))?;
        for id in &given {
            log_share(&tx, now, &self.me, id, &[with], &told)?;
        }
        for (author, (certificate, reports)) in &authors {
            if *author != self.me && *author != with && !team.authority.is_removed(author) {
                notice(reports, team.audience_of(*author, &certificate.body().keys.recipient))?;
                summary.authors_told += 1;
            }
        }
        tx.commit()?;
        Ok(())
    }
}

/// Seals a whole report for a reader. The certificate of its author, and how many entries it took.
fn give(
    db: &Connection,
    device: &DeviceSecret,
    team: &Team,
    row: &ReportRow,
    with: DeviceId,
    recipient: &Recipient,
) -> Result<(Certificate, usize), VaultError> {
    let me = device.id();
    let author = match find_device(db, &row.author)? {
        _ if row.author == me => team.certificate.clone(),
        Some(known) => known.certificate,
        None => return Err(VaultError::NoSuchDevice(row.author.short())),
    };
    let runs = whole(db, &me, row.number)?;
    let entries = runs.len();
    for changes in runs {
        let return_recipient = row.return_recipient.clone();
        let body = Share { author: author.clone(), return_recipient, changes }.encode();
        let (audience, recipients) = team.audience_of(with, recipient);
        let (kind, report) = (Kind::Share, Some(row.id));
        let entry = Outgoing { kind, report, audience, body: &body, recipients: &recipients };
        outgoing::queue(db, device, &entry)?;
    }
    Ok((author, entries))
}

/// Notes that a report could not be given to a reader.
fn note_not_given(db: &Connection, row: &ReportRow, error: &VaultError) -> Result<(), VaultError> {
    let reason = format!("report {} could not be shared: {error}", row.id.short());
    let fault = Fault { device: Some(row.author), ..Fault::of(Class::SetAside, reason) };
    problems::note(db, None, &fault)
}

/// Notes the readers whom this device gave a report and whom the author of a change did not know of: they
/// are given it again.
pub(crate) fn note_missed(taker: &Taker<'_>, header: &Header) -> Result<(), VaultError> {
    let Some(report) = header.report else { return Ok(()) };
    let mut statement = taker.db.prepare_cached("SELECT device FROM share WHERE report = ?1 AND by = ?2")?;
    let mut rows = statement.query(params![report.as_bytes(), taker.me.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let id: Vec<u8> = row.get(0)?;
        let device = DeviceId::from_bytes(store::array(&id, "a device id")?);
        if device != header.device && !header.audience.readers.contains(&device) {
            taker
                .db
                .prepare_cached("INSERT OR IGNORE INTO missed (report, device) VALUES (?1, ?2)")?
                .execute(params![report.as_bytes(), device.as_bytes()])?;
        }
    }
    Ok(())
}

/// A report's document in runs that fit an entry. As it is stored if that fits: then automerge need not
/// load it.
fn whole(db: &Connection, me: &DeviceId, number: i64) -> Result<Vec<Vec<u8>>, VaultError> {
    let stored = document_bytes(db, number)?;
    if stored.len() <= CHANGES_MAX {
        return Ok(vec![stored]);
    }
    pack(load_document(db, me, number)?.changes_since(&[]))
}
