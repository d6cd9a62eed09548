//! How this device stands, and the entries behind a report.

use std::collections::BTreeMap;

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::{DeviceId, EntryId, ReportId};
use fieldbook_seal::Kind;
use rusqlite::params;

use crate::absorb::NOT_SHARED;
use crate::error::VaultError;
use crate::reports::ReportRow;
use crate::store;
use crate::vault::Vault;
use crate::views::{EntryInfo, ListFilter, PeerView, Problem, Status};

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
        let names = self.names()?;
        let reports = self.list(&ListFilter::default())?;
        let in_state = |word: &str| reports.iter().filter(|report| report.delivery.word == word).count();
        let stats = self.depot.stats()?;
        let paths = self.paths()?;
        let peers = self
            .depot
            .peers()?
            .into_iter()
            .map(|peer| PeerView {
                name: names.device(&peer.device),
                device: peer.device.to_string(),
                role: peer.role.word().to_owned(),
                address: peer.address,
                path: paths.get(&peer.device.to_string()).cloned(),
                last_sync_ms: peer.last_sync_ms,
            })
            .collect();
        Ok(Status {
            device: self.device(),
            drafts: in_state("draft"),
            only_here: in_state("only here"),
            carried: in_state("carried"),
            received: in_state("received"),
            sealed: in_state("sealed"),
            seal_after: self.seal_after()?,
            rekey_due: crate::rekey::is_due(&self.db)?,
            theirs: in_state("theirs"),
            clashes: reports.iter().map(|report| report.clashes).sum(),
            questions: reports.iter().map(|report| report.questions).sum(),
            waiting: self.count("SELECT count(*) FROM waiting")?,
            not_shared: self.not_shared()?,
            problems: self.problems()?,
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

    /// The way of the last sync with each device, as the network processes noted it.
    fn paths(&self) -> Result<BTreeMap<String, String>, VaultError> {
        let stored = self.depot.setting("ways")?.unwrap_or_default();
        Ok(serde_json::from_slice(&stored).unwrap_or_default())
    }

    /// The addresses that came with the admission.
    fn invited_to(&self) -> Result<Vec<String>, VaultError> {
        let stored = self.depot.setting("addresses")?.unwrap_or_default();
        Ok(serde_json::from_slice(&stored).unwrap_or_default())
    }

    /// What is wrong with entries that came in.
    ///
    /// # Errors
    /// The store's.
    pub fn problems(&self) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let mut statement =
            self.db.prepare_cached("SELECT entry, device, reason, time_ms FROM problem ORDER BY time_ms")?;
        let mut rows = statement.query([])?;
        let mut problems = Vec::new();
        while let Some(row) = rows.next()? {
            let device: Option<Vec<u8>> = row.get(1)?;
            let device = device
                .map(|bytes| store::array(&bytes, "a device id").map(DeviceId::from_bytes))
                .transpose()?;
            problems.push(Problem {
                entry: fieldbook_proto::encode_hex(&row.get::<_, Vec<u8>>(0)?),
                who: device.map(|device| names.device(&device)),
                reason: row.get(2)?,
                time_ms: row.get(3)?,
            });
        }
        Ok(problems)
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
