//! Forgetting: a report is destroyed wherever an honest device holds it, and does not come back.
//!
//! A coordinator of the report's desk is obeyed at once by every device: those that read the report destroy
//! it, those that only carry its entries drop them. An author's request is carried out on its own device at
//! once, and waits at the coordinators for one of them to confirm it: whoever forces an author cannot make
//! the evidence disappear. The author's own depot keeps the sealed entries until then; it cannot open them.
//!
//! What stays is that something was forgotten, when and by whom. The vault is due for a new key then.

use std::collections::BTreeSet;

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Author, Recipient, Role};
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_seal::body::{FORGET_ENTRIES_MAX, Forget, ForgetItem};
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind};
use rusqlite::{Connection, OptionalExtension, params};

use crate::absorb::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::reports::ReportRow;
use crate::store;
use crate::team::{Team, all_devices, find_device, log};
use crate::vault::{Vault, now_ms};
use crate::views::{ForgetRequestView, ForgetSummary, ForgetWhat};

/// Devices that one entry is sealed to when those that only carry are told. Together with the desk and the
/// recovery sheets it stays below an entry's most.
const TOLD_AT_ONCE: usize = 45;
/// The number of recipients is filled up to this, so that nobody can count the desk's devices.
const RECIPIENTS_STEP: usize = 48;
/// Entry ids in one request.
const ENTRIES_AT_ONCE: usize = FORGET_ENTRIES_MAX;
/// The kinds of entries that belong to reports.
const OF_REPORTS: [Kind; 4] = [Kind::Report, Kind::AttachmentPart, Kind::Share, Kind::Return];
/// Set when the vault's file is to get a new key as soon as it closes.
const REKEY_DUE: &str = "rekey-due";

/// Whether a report was forgotten here.
pub(crate) fn is_forgotten(db: &Connection, report: &ReportId) -> Result<bool, VaultError> {
    Ok(db.prepare_cached("SELECT 1 FROM forgotten WHERE report = ?1")?.exists([report.as_bytes()])?)
}

/// Every sealed entry that belongs to a report, as this vault has seen for itself: it opened and verified
/// them, or made them. What a report only names as parts of its attachments is its author's word, and may be
/// the entries of somebody else. Of a part that has not arrived nobody has the key after this.
fn entries_of(db: &Connection, report: &ReportId) -> Result<BTreeSet<EntryId>, VaultError> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM entry WHERE report = ?1
         UNION SELECT entry FROM attachment_part WHERE entry IS NOT NULL
                   AND attachment IN (SELECT id FROM attachment WHERE report = ?1)",
    )?;
    let mut rows = statement.query([report.as_bytes()])?;
    let mut entries = BTreeSet::new();
    while let Some(row) = rows.next()? {
        entries.insert(EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "an entry id")?));
    }
    Ok(entries)
}

/// Destroys what this vault holds of a report, and remembers that it did. Nothing tells afterwards which of
/// the known entries were the report's.
fn destroy(db: &Connection, report: &ReportId, by: &DeviceId, time_ms: i64) -> Result<(), VaultError> {
    let id = report.as_bytes().as_slice();
    let number: Option<i64> = db
        .prepare_cached("SELECT number FROM report WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if let Some(number) = number {
        for sql in [
            "DELETE FROM report_text WHERE rowid = ?1",
            "DELETE FROM document WHERE report = ?1",
            "DELETE FROM report WHERE number = ?1",
        ] {
            db.prepare_cached(sql)?.execute([number])?;
        }
    }
    for sql in [
        "DELETE FROM attachment_part WHERE attachment IN (SELECT id FROM attachment WHERE report = ?1)",
        "DELETE FROM attachment WHERE report = ?1",
        // Parts that have not come are no gap in their author's chain; if they come, nobody can open them.
        "INSERT OR IGNORE INTO dropped (entry, due) SELECT entry, 0 FROM expected_part WHERE report = ?1",
        "DELETE FROM expected_part WHERE report = ?1",
        "DELETE FROM receipt WHERE entry IN (SELECT id FROM entry WHERE report = ?1)",
        "DELETE FROM receipt_due WHERE entry IN (SELECT id FROM entry WHERE report = ?1)",
        "DELETE FROM problem WHERE entry IN (SELECT id FROM entry WHERE report = ?1)",
        "UPDATE entry SET report = NULL WHERE report = ?1",
        "DELETE FROM share WHERE report = ?1",
        "DELETE FROM sealed WHERE report = ?1",
        "DELETE FROM forget_request WHERE report = ?1",
    ] {
        db.prepare_cached(sql)?.execute([id])?;
    }
    db.prepare_cached("INSERT OR IGNORE INTO forgotten (report, by, time_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![id, by.as_bytes(), time_ms])?;
    store::set_meta(db, REKEY_DUE, &[1])
}

/// Lets the depot drop these entries once the transaction stands; a crash in between loses nothing.
fn drop_later(db: &Connection, entries: impl IntoIterator<Item = EntryId>) -> Result<(), VaultError> {
    for id in entries {
        for sql in [
            "INSERT INTO dropped (entry, due) VALUES (?1, 1) ON CONFLICT (entry) DO UPDATE SET due = 1",
            // What was not handed to the depot yet never leaves.
            "DELETE FROM outbox WHERE id = ?1",
            "DELETE FROM waiting WHERE entry = ?1",
        ] {
            db.prepare_cached(sql)?.execute([id.as_bytes()])?;
        }
    }
    Ok(())
}

/// An entry of a report that was forgotten: dropped, whatever it says.
pub(crate) fn drop_arrival(taker: &Taker<'_>, id: &EntryId) -> Result<(), VaultError> {
    drop_later(taker.db, [*id])
}

/// A request by another device.
pub(crate) fn take(
    taker: &mut Taker<'_>,
    id: EntryId,
    header: &Header,
    author: &Author,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let request = match Forget::decode(body) {
        Ok(request) => request,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    for item in &request.items {
        let taken = match &item.report {
            None => take_entries(taker, &id, header, &item.entries)?,
            Some(report) if author.role == Role::Coordinator => {
                take_order(taker, &id, header, report, &item.entries)?
            }
            Some(report) => take_request(taker, &id, header, report)?,
        };
        if let Some(refused) = taken {
            return Ok(refused);
        }
    }
    Ok(Taken::Done)
}

/// A coordinator tells those who only carry which entries to drop. They cannot see what was in them; that
/// they dropped them, how many and on whose word, stands in their log.
fn take_entries(
    taker: &Taker<'_>,
    id: &EntryId,
    header: &Header,
    entries: &[EntryId],
) -> Result<Option<Taken>, VaultError> {
    if !taker.authority.is_coordinator(&header.device) {
        return not_its(header.device).map(Some);
    }
    if taker.authority.reads_for(&header.device, taker.team.desk) {
        let dropped = drop_foreign(taker.db, entries, None)?;
        if dropped > 0 {
            let what = if dropped == 1 { "sealed entry" } else { "sealed entries" };
            let detail = format!("{dropped} {what} that it could not read");
            let act = log::Act { kind: "forgot", subject: None, detail: &detail };
            log::note(taker.db, header.time_ms, &header.device, &act, Some(id))?;
        }
    }
    Ok(None)
}

/// Drops entries that somebody says belong to a report (or to one that is none of this device's business),
/// but for those that this vault knows to belong to another, or that another names as its parts. How many.
fn drop_foreign(
    db: &Connection,
    entries: &[EntryId],
    report: Option<&ReportId>,
) -> Result<usize, VaultError> {
    let of = report.map(|report| report.as_bytes().as_slice());
    let mut drop = Vec::new();
    for id in entries {
        let known: Option<(Option<Vec<u8>>, u8)> = db
            .prepare_cached("SELECT report, kind FROM entry WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let may = match known {
            None => !db
                .prepare_cached("SELECT 1 FROM expected_part WHERE entry = ?1 AND report IS NOT ?2")?
                .exists(params![id.as_bytes(), of])?,
            Some((None, kind)) => OF_REPORTS.iter().any(|of_reports| of_reports.code() == kind),
            Some((known, _)) => known.as_deref() == of,
        };
        if may {
            drop.push(*id);
        }
    }
    let dropped = drop.len();
    drop_later(db, drop)?;
    Ok(dropped)
}

/// A coordinator of the report's desk: obeyed at once.
fn take_order(
    taker: &Taker<'_>,
    id: &EntryId,
    header: &Header,
    report: &ReportId,
    entries: &[EntryId],
) -> Result<Option<Taken>, VaultError> {
    let own_desk = taker.authority.reads_for(&header.device, taker.team.desk);
    let row = ReportRow::find(taker.db, report)?;
    let may = match &row {
        Some(row) if row.author != taker.me => match find_device(taker.db, &row.author)? {
            Some(known) => taker.authority.reads_for(&header.device, known.certificate.body().desk),
            None => own_desk,
        },
        Some(_) => own_desk,
        None if is_forgotten(taker.db, report)? => return Ok(None),
        // Another desk's, which may have been shared: then the share is on its way.
        None if !own_desk => {
            return Ok(Some(Taken::Waiting("it asks to forget a report that has not arrived")));
        }
        None => true,
    };
    if !may {
        return not_its(header.device).map(Some);
    }
    let known = entries_of(taker.db, report)?;
    drop_foreign(taker.db, entries, Some(report))?;
    drop_later(taker.db, known)?;
    destroy(taker.db, report, &header.device, header.time_ms)?;
    let act = log::Act { kind: "forgot", subject: Some(report.as_bytes()), detail: "" };
    log::note(taker.db, header.time_ms, &header.device, &act, Some(id))?;
    Ok(None)
}

/// An author asks: a coordinator of its desk decides.
fn take_request(
    taker: &Taker<'_>,
    id: &EntryId,
    header: &Header,
    report: &ReportId,
) -> Result<Option<Taken>, VaultError> {
    if taker.team.role() != Role::Coordinator || is_forgotten(taker.db, report)? {
        return Ok(None);
    }
    let Some(row) = ReportRow::find(taker.db, report)? else {
        return Ok(Some(Taken::Waiting("it asks to forget a report that has not arrived")));
    };
    if row.author != header.device {
        return not_its(header.device).map(Some);
    }
    taker
        .db
        .prepare_cached(
            "INSERT OR IGNORE INTO forget_request (report, device, time_ms, entry) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![report.as_bytes(), header.device.as_bytes(), header.time_ms, id.as_bytes()])?;
    let act = log::Act { kind: "asked to forget", subject: Some(report.as_bytes()), detail: "" };
    log::note(taker.db, header.time_ms, &header.device, &act, Some(id))?;
    Ok(None)
}

fn not_its(device: DeviceId) -> Result<Taken, VaultError> {
    bad_by(device, "it asks to forget a report that is not its own, nor of its desk".to_owned())
}

/// Who writes a request, inside a transaction.
struct Writer<'a> {
    db: &'a Connection,
    device: &'a DeviceSecret,
    team: &'a Team,
    replaced_by: Option<ReportId>,
}

impl Writer<'_> {
    /// The request in as many entries as it takes.
    fn write(
        &self,
        report: Option<ReportId>,
        entries: &[EntryId],
        (audience, recipients): &(Audience, Vec<Recipient>),
        step: usize,
    ) -> Result<Option<EntryId>, VaultError> {
        let runs: Vec<&[EntryId]> =
            if entries.is_empty() { vec![entries] } else { entries.chunks(ENTRIES_AT_ONCE).collect() };
        let mut first = None;
        for run in runs {
            let replaced_by = self.replaced_by.filter(|_| report.is_some());
            let item = ForgetItem { report, entries: run.to_vec(), replaced_by };
            let body = Forget { items: vec![item] }.encode();
            let audience = audience.clone();
            let entry = Outgoing { kind: Kind::Forget, report: None, audience, body: &body, recipients };
            let (id, _) = outgoing::queue_padded(self.db, self.device, &entry, step)?;
            first.get_or_insert(id);
        }
        Ok(first)
    }

    /// A coordinator's: to the desk, to whoever reads the report, to its author, and to all who carry.
    fn order(&self, row: &ReportRow, entries: &[EntryId]) -> Result<Option<EntryId>, VaultError> {
        let me = self.device.id();
        let mut to = self.team.desk_audience();
        crate::shares::also_readers(self.db, self.team, &me, row, &mut to)?;
        let author = find_device(self.db, &row.author)?.filter(|_| row.author != me);
        if let Some(author) = author.filter(|author| !self.team.authority.is_removed(&author.id())) {
            to.0.readers.push(author.id());
            to.1.push(author.certificate.body().keys.recipient.clone());
        }
        let order = self.write(Some(row.id), entries, &to, 1)?;
        if entries.is_empty() {
            return Ok(order);
        }
        let carriers: Vec<Recipient> = all_devices(self.db)?
            .into_iter()
            .filter(|known| known.member && known.id() != me)
            .filter(|known| !self.team.authority.is_removed(&known.id()))
            .filter(|known| !self.team.authority.reads_for(&known.id(), self.team.desk))
            .map(|known| known.certificate.body().keys.recipient.clone())
            .collect();
        for carriers in carriers.chunks(TOLD_AT_ONCE) {
            let (audience, mut recipients) = self.team.desk_audience();
            recipients.extend_from_slice(carriers);
            self.write(None, entries, &(audience, recipients), RECIPIENTS_STEP)?;
        }
        Ok(order)
    }
}

impl Vault {
    /// Forgets a report, or a person in it. A coordinator's word holds for the whole team; an author's for its own device, and
    /// for the team once a coordinator has confirmed it. A draft is simply destroyed.
    ///
    /// # Errors
    /// [`VaultError::StillNamed`] when a text still names the person, [`VaultError::NotArrived`] when an
    /// attachment that is to stay is not here whole: then nothing is forgotten.
    /// [`VaultError::NoSuchReport`]; [`VaultError::NotCoordinator`] for a report that a monitor did not
    /// write, [`VaultError::OtherDesk`] for one of another desk; the store's.
    pub fn forget(&mut self, what: &ForgetWhat) -> Result<ForgetSummary, VaultError> {
        match what {
            ForgetWhat::Report(report) => self.forget_report(report, None),
            ForgetWhat::Person { report, person, keep_attachments } => {
                self.forget_person(report, person, *keep_attachments)
            }
        }
    }

    /// The report, if this device may ask to forget it.
    pub(crate) fn may_forget(&self, report: &ReportId) -> Result<ReportRow, VaultError> {
        let row = ReportRow::get(&self.db, report)?;
        let own = row.author == self.me || crate::rejoin::was(&self.db, &row.author)?;
        if !own && !self.coordinates() {
            return Err(VaultError::NotCoordinator);
        }
        if !own && !self.of_this_desk(&row.author)? {
            return Err(VaultError::OtherDesk);
        }
        Ok(row)
    }

    fn coordinates(&self) -> bool {
        self.team.as_ref().is_some_and(|team| team.authority.is_coordinator(&self.me))
    }

    pub(crate) fn forget_report(
        &mut self,
        report: &ReportId,
        replaced_by: Option<ReportId>,
    ) -> Result<ForgetSummary, VaultError> {
        let row = self.may_forget(report)?;
        let coordinates = self.coordinates();
        let now = now_ms();
        let tx = self.db.transaction()?;
        let entries: Vec<EntryId> = entries_of(&tx, report)?.into_iter().collect();
        let mut summary =
            ForgetSummary { report: report.to_string(), entries: entries.len(), ..Default::default() };
        let mut order = None;
        // What this notebook wrote as another device goes from here; others would not take its word for it.
        let told = row.author == self.me || coordinates;
        if let (true, true, Some(team)) = (row.finished, told, &self.team) {
            let writer = Writer { db: &tx, device: &self.device, team, replaced_by };
            if coordinates {
                order = writer.order(&row, &entries)?;
            } else {
                let mut to = team.desk_audience();
                crate::shares::also_readers(&tx, team, &self.me, &row, &mut to)?;
                order = writer.write(Some(*report), &entries, &to, 1)?;
                summary.waits_for_coordinator = true;
            }
        }
        destroy(&tx, report, &self.me, now)?;
        if !summary.waits_for_coordinator {
            drop_later(&tx, entries)?;
        }
        if row.finished {
            let act = log::Act { kind: "forgot", subject: Some(report.as_bytes()), detail: "" };
            log::note(&tx, now, &self.me, &act, order.as_ref())?;
        }
        tx.commit()?;
        self.finish_forgetting()?;
        self.flush()?;
        Ok(summary)
    }

    /// What authors have asked to be forgotten and no coordinator has confirmed yet, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn forget_requests(&self) -> Result<Vec<ForgetRequestView>, VaultError> {
        let names = self.names()?;
        let mut statement =
            self.db.prepare_cached("SELECT report, device, time_ms FROM forget_request ORDER BY time_ms")?;
        let mut rows = statement.query([])?;
        let mut requests = Vec::new();
        while let Some(row) = rows.next()? {
            let report = ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a report id")?);
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a device id")?);
            requests.push(ForgetRequestView {
                title: self.summary(report)?.title,
                report: report.to_string(),
                who: names.device(&device),
                device: device.to_string(),
                time_ms: row.get(2)?,
            });
        }
        Ok(requests)
    }

    /// Confirms an author's request: the whole team forgets the report.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`] when nobody asked; else as [`Vault::forget`].
    pub fn confirm_forget(&mut self, report: ReportId) -> Result<ForgetSummary, VaultError> {
        let asked = self
            .db
            .prepare_cached("SELECT 1 FROM forget_request WHERE report = ?1")?
            .exists([report.as_bytes()])?;
        if !asked {
            return Err(VaultError::NoSuchReport(report.short()));
        }
        self.forget(&ForgetWhat::Report(report))
    }

    /// Lets the depot drop what was forgotten, also after a crash.
    pub(crate) fn finish_forgetting(&mut self) -> Result<(), VaultError> {
        let mut ids = Vec::new();
        {
            let mut statement = self.db.prepare_cached("SELECT entry FROM dropped WHERE due = 1")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                ids.push(EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "an entry id")?));
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.depot.forget(&ids)?;
        // The ids stay: what is gone on purpose is not missing.
        self.db.execute("UPDATE dropped SET due = 0 WHERE due = 1", [])?;
        Ok(())
    }
}
