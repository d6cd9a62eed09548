//! How this device stands, and the entries behind a report.

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_seal::Kind;
use rusqlite::params;

use crate::absorb::{AFTER_REMOVAL, NOT_SHARED};
use crate::error::VaultError;
use crate::findings::WaitingView;
use crate::problems::{SHOWN_MAX, SUPERSEDED};
use crate::reports::ReportRow;
use crate::store;
use crate::vault::Vault;
use crate::views::{EntryInfo, ListFilter, Status};

/// The word for an entry's kind in commands and JSON.
const KINDS: [(Kind, &str); 10] = [
    (Kind::Report, "report"),
    (Kind::AttachmentPart, "attachment part"),
    (Kind::Share, "share"),
    (Kind::Grant, "grant"),
    (Kind::Certificate, "certificate"),
    (Kind::Revocation, "revocation"),
    (Kind::Receipt, "receipt"),
    (Kind::Forget, "forget request"),
    (Kind::Return, "return copy"),
    (Kind::Notice, "notice"),
];

impl Vault {
    /// How this device stands.
    ///
    /// # Errors
    /// The vault's or the depot's store failed.
    pub fn status(&self) -> Result<Status, VaultError> {
        let reports = self.list(&ListFilter::default())?;
        let in_state = |word: &str| reports.iter().filter(|report| report.delivery.word == word).count();
        let stats = self.depot.stats()?;
        let peers = self.met()?;
        let mut problems = self.problems_after(0, SHOWN_MAX)?;
        let noted = self.count("SELECT count(*) FROM problem")?;
        let problems_more = noted.saturating_sub(problems.len());
        problems.extend(self.refused_by_depot()?.into_iter().rev().take(SHOWN_MAX));
        problems.extend(self.failed_steps()?);
        Ok(Status {
            device: self.device(),
            drafts: in_state("draft"),
            only_here: in_state("only here"),
            carried: in_state("carried"),
            on_relay: reports
                .iter()
                .filter(|report| report.delivery.word == "carried" && !report.delivery.relays.is_empty())
                .count(),
            attention: reports.iter().filter(|report| !report.delivery.attention.is_empty()).count(),
            removed_held: reports.iter().filter(|report| !report.delivery.removed.is_empty()).count(),
            received: in_state("received"),
            sealed: in_state("sealed"),
            seal_after: self.seal_after()?,
            unfinished: self.kept_from_sealing()?.len(),
            unsaved: reports.iter().filter(|report| report.unsaved).count(),
            rekey_due: crate::rekey::is_due(&self.db)?,
            theirs: in_state("theirs"),
            clashes: reports.iter().map(|report| report.clashes).sum(),
            questions: reports.iter().map(|report| report.questions).sum(),
            waiting: self.count("SELECT count(*) FROM waiting")?,
            not_shared: self.not_shared()?,
            waiting_for: self.waiting_for()?,
            problems,
            problems_more,
            missing: self.missing(SHOWN_MAX)?.into_iter().take(SHOWN_MAX).collect(),
            superseded: store::meta(&self.db, SUPERSEDED)?.is_some(),
            depot_entries: stats.held,
            depot_bytes: stats.held_bytes,
            peers,
            invited_to: self.invited_to()?,
        })
    }

    fn not_shared(&self) -> Result<usize, VaultError> {
        let count: i64 = self
            .db
            .prepare_cached("SELECT count(*) FROM waiting WHERE reason = ?1")?
            .query_row([NOT_SHARED], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// What waits, by what it waits for and whose it says it is.
    pub(crate) fn waiting_for(&self) -> Result<Vec<WaitingView>, VaultError> {
        let names = self.names()?;
        let mut statement = self.db.prepare_cached(
            "SELECT reason, device, count(*), min(sequence), max(sequence), min(since_ms) FROM waiting
             GROUP BY reason, device ORDER BY min(since_ms) LIMIT ?1",
        )?;
        let mut rows = statement.query([i64::try_from(SHOWN_MAX).unwrap_or(i64::MAX)])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            let (reason, device): (String, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
            let device = device
                .map(|bytes| store::array(&bytes, "a device id").map(DeviceId::from_bytes))
                .transpose()?;
            let number = |column| -> Result<u64, VaultError> {
                Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
            };
            let (first, last) = (number(3)?, number(4)?);
            list.push(WaitingView {
                expected: [NOT_SHARED, AFTER_REMOVAL].contains(&reason.as_str()),
                reason,
                device: device.as_ref().map(ToString::to_string),
                who: device.map(|device| names.device(&device)),
                entries: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                numbers: (first > 0).then_some((first, last)),
                since_ms: row.get(5)?,
            });
        }
        Ok(list)
    }

    /// The sealed entries that this device made or opened for a report, oldest first.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], or the store's.
    pub fn entries(&self, id: ReportId) -> Result<Vec<EntryInfo>, VaultError> {
        if crate::sealing::sealed_at(&self.db, &id)?.is_none() {
            ReportRow::get(&self.db, &id)?;
        }
        let names = self.names()?;
        let mut statement = self.db.prepare_cached(
            "SELECT id, device, sequence, kind, time_ms FROM entry WHERE report = ?1 ORDER BY time_ms, sequence",
        )?;
        let mut rows = statement.query(params![id.as_bytes()])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "an entry id")?);
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a device id")?);
            let kind: u8 = row.get(3)?;
            let size = match self.depot.get(&entry)? {
                Lookup::Held(bytes) => Some(bytes.len() as u64),
                _ => None,
            };
            entries.push(EntryInfo {
                id: entry.to_string(),
                kind: KINDS
                    .iter()
                    .find(|(known, _)| *known as u8 == kind)
                    .map_or("unknown", |(_, word)| word)
                    .to_owned(),
                device: device.to_string(),
                who: names.device(&device),
                sequence: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                time_ms: row.get(4)?,
                size,
            });
        }
        Ok(entries)
    }

    /// The sealed bytes of an entry, as they travel: a standard age file.
    ///
    /// # Errors
    /// [`VaultError::NoSuchEntry`], [`VaultError::Ambiguous`], or the store's.
    pub fn entry_bytes(&self, prefix: &str) -> Result<(String, Vec<u8>), VaultError> {
        let missing = || VaultError::NoSuchEntry(prefix.chars().take(64).collect());
        let id = EntryId::from_bytes(store::id_by_prefix(&self.db, "entry", prefix, missing)?);
        match self.depot.get(&id)? {
            Lookup::Held(bytes) => Ok((id.to_string(), bytes)),
            _ => Err(missing()),
        }
    }
}
