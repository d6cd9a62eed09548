//! Taking in what others wrote: from the depot's sealed entries to reports, receipts and certificates.
//!
//! Every entry is tried with this device's identity and the desk's. What opens must be signed by a
//! device whose certificate stands, and may only do what its author may: a report's entry holds
//! changes of its author's own hand. An entry that fails costs itself and nothing else: it is named
//! as a problem, or waits for what it needs (its author's certificate, an earlier change).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fieldbook_depot::{Depot, Lookup, Source};
use fieldbook_proto::certificate::{Certificate, Role};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_report::ReportDocument;
use fieldbook_seal::{Audience, Header, Kind, OpenError, ReadingIdentity, SealedEntry};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::VaultError;
use crate::merge::{MergeRefusal, MergeRequest, Merged, Merger};
use crate::names::actor_of;
use crate::outgoing::{self, Outgoing};
use crate::reports::{NewReport, ReportRow, document_bytes, insert_report, parse_report_body, save_document};
use crate::store;
use crate::team::{parse_certificate_body, save_device};
use crate::vault::{Vault, now_ms, now_s};
use crate::views::{AbsorbSummary, Problem};

const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;
/// How often what waits is tried in one go: each pass may settle one link of a long chain. What is left
/// is tried by the next.
const PASSES_MAX: usize = 16;
/// Ids in one receipt: half of an entry's largest body.
const RECEIPT_IDS_MAX: usize = 16_384;

/// How long merging the changes of one author may take in one go, before the others' come first. An
/// honest author's first ten thousand reports take half of it; a hostile one's cost this much a time.
const MERGE_BUDGET: Duration = Duration::from_secs(60);

/// What became of one entry.
enum Taken {
    /// Opened, verified and applied.
    Done,
    /// Known before, or of a kind that this version does not act on.
    Nothing,
    /// Addressed to others.
    NotForUs,
    /// Cannot be judged before something else arrives.
    Waiting(&'static str),
    /// Damaged or forged.
    Bad { device: Option<Vec<u8>>, reason: String },
}

/// A coordinator's certificate that arrived, in which entry, and the label that came with it.
type NewCoordinator = (EntryId, Certificate, String);

impl Vault {
    /// Opens what has arrived in the depot since the last time, and answers with receipts where
    /// this device is a coordinator's.
    ///
    /// # Errors
    /// The vault's or the depot's store failed. What was absorbed before stays absorbed.
    pub fn absorb(&mut self) -> Result<AbsorbSummary, VaultError> {
        let mut summary = AbsorbSummary::default();
        if self.team.is_none() {
            return Ok(summary);
        }
        self.merge_costs.clear();
        self.retry_waiting |= self.absorb_arrivals(&mut summary)?;
        for _ in 0..PASSES_MAX {
            if !self.retry_waiting {
                break;
            }
            self.retry_waiting = self.retry_all_waiting(&mut summary)?;
        }
        // Whoever used up the budget goes on the next time.
        self.retry_waiting |= self.merge_costs.values().any(|spent| *spent > MERGE_BUDGET);
        self.absorb_parts(&mut summary)?;
        self.write_receipts()?;
        self.flush()?;
        summary.waiting = self.count("SELECT count(*) FROM waiting")?;
        summary.clashes = self.count("SELECT coalesce(sum(clashes), 0) FROM report")?;
        Ok(summary)
    }

    pub(crate) fn count(&self, sql: &str) -> Result<usize, VaultError> {
        let count: i64 = self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The certificate of a device, if this vault knows it.
    pub(crate) fn certificate_of(
        &self,
        device: &fieldbook_proto::DeviceId,
    ) -> Result<Option<Certificate>, VaultError> {
        certificate_of(&self.db, device)
    }

    fn absorb_arrivals(&mut self, summary: &mut AbsorbSummary) -> Result<bool, VaultError> {
        let mut cursor = match store::meta(&self.db, "absorbed")? {
            Some(bytes) => u64::from_be_bytes(store::array(&bytes, "the absorbed position")?),
            None => 0,
        };
        let mut any = false;
        loop {
            let batch = self.depot.arrivals_with_bytes(cursor, BATCH_ENTRIES, BATCH_BYTES)?;
            let Some((last, _)) = batch.last() else { return Ok(any) };
            cursor = last.position;
            let entries = batch
                .into_iter()
                .filter(|(arrival, _)| arrival.from != Source::Own)
                .filter_map(|(arrival, bytes)| Some((arrival.id, bytes?)))
                .collect();
            any |= self.take_all(entries, Some(cursor), summary)?;
        }
    }

    /// Tries again what waited. Whether anything came of it.
    fn retry_all_waiting(&mut self, summary: &mut AbsorbSummary) -> Result<bool, VaultError> {
        let ids: Vec<Vec<u8>> = self
            .db
            .prepare_cached("SELECT entry FROM waiting")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let (mut any, mut entries, mut size) = (false, Vec::new(), 0);
        for id in ids {
            let id = EntryId::from_bytes(store::array(&id, "an entry id")?);
            if let Lookup::Held(bytes) = self.depot.get(&id)? {
                size += bytes.len() as u64;
                entries.push((id, bytes));
            }
            if entries.len() >= BATCH_ENTRIES || size >= BATCH_BYTES {
                any |= self.take_all(std::mem::take(&mut entries), None, summary)?;
                size = 0;
            }
        }
        any |= self.take_all(entries, None, summary)?;
        Ok(any)
    }

    /// Takes a batch in one transaction. Whether anything was applied.
    fn take_all(
        &mut self,
        entries: Vec<(EntryId, Vec<u8>)>,
        cursor: Option<u64>,
        summary: &mut AbsorbSummary,
    ) -> Result<bool, VaultError> {
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let mut identities = vec![self.device.identity()];
        identities.extend(team.desk_keys.iter().map(|(_, identity)| identity));
        let mut new_coordinators = Vec::new();
        let mut any = false;
        let mut tx = self.db.transaction()?;
        for (id, bytes) in entries {
            let savepoint = tx.savepoint()?;
            let mut taker = Taker {
                db: &savepoint,
                vault: Reading { me: self.me, team, identities: &identities },
                summary,
                new_coordinators: &mut new_coordinators,
                merger: self.merger.as_mut(),
                costs: &mut self.merge_costs,
            };
            let taken = match taker.take(id, bytes) {
                // What a document or a certificate does not allow is the fault of what was sent.
                Err(error @ (VaultError::Report(_) | VaultError::Input(_) | VaultError::Untrusted(_))) => {
                    Taken::Bad { device: None, reason: error.to_string() }
                }
                taken => taken?,
            };
            let applied = matches!(taken, Taken::Done | Taken::Nothing);
            if applied {
                savepoint.execute("DELETE FROM waiting WHERE entry = ?1", [id.as_bytes()])?;
                savepoint.commit()?;
            } else {
                savepoint.finish()?;
            }
            match taken {
                Taken::Done => {
                    any = true;
                    summary.opened += 1;
                }
                Taken::Nothing => {}
                Taken::NotForUs => summary.not_for_us += 1,
                Taken::Waiting(reason) => {
                    tx.prepare_cached("INSERT OR REPLACE INTO waiting (entry, reason) VALUES (?1, ?2)")?
                        .execute(params![id.as_bytes(), reason])?;
                }
                Taken::Bad { device, reason } => {
                    tx.execute("DELETE FROM waiting WHERE entry = ?1", [id.as_bytes()])?;
                    let problem = note_problem(&tx, &id, device, reason)?;
                    summary.problems.extend(problem);
                }
            }
        }
        if let Some(cursor) = cursor {
            store::set_meta(&tx, "absorbed", &cursor.to_be_bytes())?;
        }
        let mut authority = None;
        for (id, certificate, label) in new_coordinators {
            let authority = authority.get_or_insert_with(|| team.authority.clone());
            match authority.add_coordinator(certificate.clone()) {
                Ok(()) => save_device(&tx, &certificate, &label)?,
                Err(error) => summary.problems.extend(note_problem(&tx, &id, None, error.to_string())?),
            }
        }
        if let Some(authority) = &authority {
            store::set_meta(&tx, "authority", &authority.encode())?;
        }
        tx.commit()?;
        if let (Some(authority), Some(team)) = (authority, self.team.as_mut()) {
            team.authority = authority;
            self.tell_depot_authority()?;
        }
        Ok(any)
    }

    /// Signs for what came in, one receipt per author.
    fn write_receipts(&mut self) -> Result<(), VaultError> {
        let due: Vec<(Vec<u8>, Vec<u8>)> = self
            .db
            .prepare_cached("SELECT author, entry FROM receipt_due ORDER BY author")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        if due.is_empty() {
            return Ok(());
        }
        let tx = self.db.transaction()?;
        for by_author in due.chunk_by(|(a, _), (b, _)| a == b) {
            let author = fieldbook_proto::DeviceId::from_bytes(store::array(&by_author[0].0, "a device id")?);
            let Some(certificate) = certificate_of(&tx, &author)? else { continue };
            let recipients = [certificate.body().keys.recipient.clone()];
            for ids in by_author.chunks(RECEIPT_IDS_MAX) {
                let mut body = Writer::new();
                body.i64(now_ms()).u32(u32::try_from(ids.len()).unwrap_or(u32::MAX));
                ids.iter().for_each(|(_, id)| {
                    body.raw(id);
                });
                let audience = Audience { desk: None, readers: vec![author], attachment: None };
                outgoing::queue(
                    &tx,
                    &self.device,
                    &Outgoing {
                        kind: Kind::Receipt,
                        report: None,
                        audience,
                        body: &body.finish(),
                        recipients: &recipients,
                    },
                )?;
            }
        }
        tx.execute("DELETE FROM receipt_due", [])?;
        tx.commit()?;
        Ok(())
    }
}

/// What opening needs of the vault, apart from its database.
struct Reading<'a> {
    me: fieldbook_proto::DeviceId,
    team: &'a crate::team::Team,
    identities: &'a [&'a ReadingIdentity],
}

/// Takes one entry, inside its own savepoint.
struct Taker<'a> {
    db: &'a Connection,
    vault: Reading<'a>,
    summary: &'a mut AbsorbSummary,
    new_coordinators: &'a mut Vec<NewCoordinator>,
    merger: &'a mut dyn Merger,
    costs: &'a mut HashMap<DeviceId, Duration>,
}

impl Taker<'_> {
    fn take(&mut self, id: EntryId, bytes: Vec<u8>) -> Result<Taken, VaultError> {
        if is_known(self.db, &id)? {
            return Ok(Taken::Nothing);
        }
        let bad = |reason: String| Ok(Taken::Bad { device: None, reason });
        let sealed = match SealedEntry::parse(bytes) {
            Ok(sealed) => sealed,
            Err(error) => return bad(error.to_string()),
        };
        let unverified = match fieldbook_seal::decrypt(&sealed, self.vault.identities) {
            Ok(unverified) => unverified,
            Err(OpenError::NotForUs) => return Ok(Taken::NotForUs),
            Err(error) => return bad(error.to_string()),
        };
        let device = unverified.header().device;
        if device == self.vault.me {
            return bad("it claims to be by this device, which did not write it".to_owned());
        }
        let Some(certificate) = certificate_of(self.db, &device)? else {
            return Ok(Taken::Waiting("its author's certificate has not arrived"));
        };
        let author = match self.vault.team.authority.judge(&certificate, now_s()) {
            Ok(author) => author,
            Err(error) => return by(device, error.to_string()),
        };
        let opened = match unverified.verify(&author.body().keys) {
            Ok(opened) => opened,
            Err(error) => return by(device, error.to_string()),
        };
        let header = opened.header().clone();
        let taken = match header.kind {
            Kind::Report => self.take_changes(&header, author.body().role, opened.body())?,
            Kind::Return if author.body().role == Role::Coordinator => {
                self.take_return(&header, &certificate, opened.body())?
            }
            Kind::Receipt if author.body().role == Role::Coordinator => {
                self.take_receipt(&header, opened.body())?
            }
            Kind::Certificate if author.body().role == Role::Coordinator => {
                self.take_certificate(id, opened.body())?
            }
            Kind::Return | Kind::Receipt | Kind::Certificate => {
                return by(device, "only a coordinator may send this".to_owned());
            }
            _ => Taken::Nothing,
        };
        if matches!(taken, Taken::Done | Taken::Nothing) {
            outgoing::record(self.db, &id, &header)?;
            check_chain(self.db, &id, &header, self.summary)?;
            if self.vault.team.role() == Role::Coordinator && header.kind == Kind::Report {
                note_receipt_due(self.db, &self.vault.me, &id, &header)?;
            }
        }
        Ok(taken)
    }

    /// Changes of a report, by the hand of the entry's author.
    fn take_changes(&mut self, header: &Header, role: Role, body: &[u8]) -> Result<Taken, VaultError> {
        let Some(report) = header.report else {
            return by(header.device, "it names no report".to_owned());
        };
        let (return_recipient, changes) = match parse_report_body(body) {
            Ok(parsed) => parsed,
            Err(error) => return by(header.device, error.to_string()),
        };
        let hand = actor_of(&header.device);
        let existing = ReportRow::find(self.db, &report)?;
        if existing.as_ref().is_some_and(|row| row.author != header.device && role != Role::Coordinator) {
            return by(header.device, "it changes a report that another device wrote".to_owned());
        }
        let document = existing.as_ref().map(|row| document_bytes(self.db, row.number)).transpose()?;
        let me = actor_of(&self.vault.me);
        let spent = self.costs.entry(header.device).or_default();
        if *spent > MERGE_BUDGET {
            return Ok(Taken::Waiting("its author's changes take too long to merge; others' come first"));
        }
        let begun = Instant::now();
        let merged = self.merger.merge(&MergeRequest { me, hand, document: document.as_deref(), changes });
        *spent += begun.elapsed();
        let mut document = match merged {
            // What does not load here, although it merged there, is refused like what did not merge.
            Ok(Merged { document: Some(bytes) }) => match ReportDocument::load(me, &bytes) {
                Ok(document) => document,
                Err(error) => return by(header.device, error.to_string()),
            },
            Ok(Merged { document: None }) => return Ok(Taken::Done),
            Err(MergeRefusal::MissingChanges) => {
                return Ok(Taken::Waiting("it builds on a change that has not arrived"));
            }
            Err(MergeRefusal::Unavailable) => {
                return Ok(Taken::Waiting("the process that merges could not be started"));
            }
            Err(MergeRefusal::Refused(reason)) => return by(header.device, reason),
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

    /// A coordinator's changes to a report of this device, opened with the report's return identity.
    fn take_return(
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
            Ok(_) => by(header.device, "its inner entry is about something else".to_owned()),
            Err(reason) => by(header.device, reason),
        }
    }

    fn take_receipt(&mut self, header: &Header, body: &[u8]) -> Result<Taken, VaultError> {
        let mut reader = Reader::new(body);
        let parsed = (|| {
            let time_ms = reader.i64("time")?;
            let count = reader.count("receipts", RECEIPT_IDS_MAX)?;
            let ids = (0..count).map(|_| reader.array::<32>("entry")).collect::<Result<Vec<_>, _>>()?;
            reader.end().map(|()| (time_ms, ids))
        })();
        let (time_ms, ids) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return by(header.device, error.to_string()),
        };
        for id in ids {
            self.summary.receipts += self
                .db
                .prepare_cached("INSERT OR IGNORE INTO receipt (entry, device, time_ms) VALUES (?1, ?2, ?3)")?
                .execute(params![id, header.device.as_bytes(), time_ms])?;
        }
        Ok(Taken::Done)
    }

    /// A member admitted by another coordinator, or, for a monitor, a new coordinator.
    fn take_certificate(&mut self, id: EntryId, body: &[u8]) -> Result<Taken, VaultError> {
        let (certificate, label) = match parse_certificate_body(body) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Taken::Bad { device: None, reason: error.to_string() }),
        };
        if let Err(error) = self.vault.team.authority.judge(&certificate, now_s()) {
            return Ok(Taken::Bad { device: None, reason: error.to_string() });
        }
        // Whoever is a coordinator stays one under the certificate that stands.
        let device = certificate.device_id();
        if device == self.vault.me || self.vault.team.authority.coordinators().contains_key(&device) {
            return Ok(Taken::Done);
        }
        if let Err(error) = fieldbook_seal::check_recipient(&certificate.body().keys.recipient) {
            return Ok(Taken::Bad { device: None, reason: error.to_string() });
        }
        if certificate.body().role == Role::Coordinator {
            self.new_coordinators.push((id, certificate, label));
        } else if self.vault.team.role() == Role::Coordinator {
            save_device(self.db, &certificate, &label)?;
        }
        Ok(Taken::Done)
    }
}

fn by(device: fieldbook_proto::DeviceId, reason: String) -> Result<Taken, VaultError> {
    Ok(Taken::Bad { device: Some(device.as_bytes().to_vec()), reason })
}

fn is_known(db: &Connection, id: &EntryId) -> Result<bool, VaultError> {
    Ok(db
        .prepare_cached("SELECT 1 FROM entry WHERE id = ?1")?
        .query_row([id.as_bytes()], |_| Ok(()))
        .optional()?
        .is_some())
}

fn certificate_of(
    db: &Connection,
    device: &fieldbook_proto::DeviceId,
) -> Result<Option<Certificate>, VaultError> {
    let bytes: Option<Vec<u8>> = db
        .prepare_cached("SELECT certificate FROM device WHERE id = ?1")?
        .query_row([device.as_bytes()], |row| row.get(0))
        .optional()?;
    bytes.map(|bytes| Certificate::decode(&bytes).map_err(VaultError::from)).transpose()
}

pub(crate) fn note_receipt_due(
    db: &Connection,
    me: &fieldbook_proto::DeviceId,
    id: &EntryId,
    header: &Header,
) -> Result<(), VaultError> {
    if header.device != *me {
        db.prepare_cached("INSERT OR IGNORE INTO receipt_due (entry, author) VALUES (?1, ?2)")?
            .execute(params![id.as_bytes(), header.device.as_bytes()])?;
    }
    Ok(())
}

/// Notes what is wrong with an entry, once.
pub(crate) fn note_problem(
    db: &Connection,
    id: &EntryId,
    device: Option<Vec<u8>>,
    reason: String,
) -> Result<Option<Problem>, VaultError> {
    let time_ms = now_ms();
    let new = db
        .prepare_cached(
            "INSERT OR IGNORE INTO problem (entry, device, reason, time_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id.as_bytes(), device, reason, time_ms])?;
    Ok((new > 0).then(|| Problem { entry: id.to_string(), who: None, reason, time_ms }))
}

/// Compares an entry with its neighbours in its author's chain. A missing neighbour proves nothing
/// (it may be on its way, or addressed to others); two entries in one place, or a neighbour of
/// another id, prove that the author's device was copied or restored, or that it lies.
pub(crate) fn check_chain(
    db: &Connection,
    id: &EntryId,
    header: &Header,
    summary: &mut AbsorbSummary,
) -> Result<(), VaultError> {
    let sequence = i64::try_from(header.sequence).unwrap_or(i64::MAX);
    let device = header.device.as_bytes().as_slice();
    let mut statement = db.prepare_cached(
        "SELECT id, sequence, previous FROM entry WHERE device = ?1 AND sequence BETWEEN ?2 - 1 AND ?2 + 1 AND id <> ?3",
    )?;
    let mut rows = statement.query(params![device, sequence, id.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let (other, other_sequence, other_previous): (Vec<u8>, i64, Option<Vec<u8>>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let fault = if other_sequence == sequence {
            Some(format!(
                "number {sequence} of its author's chain exists twice: the device was copied or restored from a backup"
            ))
        } else if other_sequence < sequence {
            let named = header.previous.as_ref().map(|id| id.as_bytes().as_slice());
            (named != Some(other.as_slice())).then(|| format!("number {sequence} of its author's chain does not follow number {other_sequence}: an entry was replaced"))
        } else {
            (other_previous.as_deref() != Some(id.as_bytes().as_slice())).then(|| format!("number {other_sequence} of its author's chain does not follow this entry: an entry was replaced"))
        };
        if let Some(reason) = fault {
            summary.problems.extend(note_problem(db, id, Some(device.to_vec()), reason)?);
        }
    }
    Ok(())
}
