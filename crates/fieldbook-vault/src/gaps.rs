//! What this device should have and has not: places of chains at which nothing is known.
//!
//! Only of chains that it can see whole. Everything that a device of a desk writes is sealed to the desk, so
//! a coordinator can count its desk's; every device can count its own. An entry names the one before it, so
//! of each gap the last one's id is known, and the depot tells whether it is on its way or kept back, was
//! dropped on purpose, or is here and meant for others. How a chain goes on after the last entry that came
//! no chain can tell: there the receipts of the desk's other coordinators do.

use std::collections::BTreeMap;

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::{OptionalExtension, params};

use crate::error::VaultError;
use crate::findings::{ChainView, Problem};
use crate::outgoing;
use crate::problems::{Class, Fault, SHOWN_MAX, shown};
use crate::store;
use crate::vault::Vault;

/// Ids that are looked up in the depot at once.
const PAGE: usize = 10_000;

/// A run of places at which nothing is known, its first and last, and when that was noticed.
type Gap = (u64, u64, i64);

/// What is known of one chain.
struct Chain {
    device: DeviceId,
    /// Places at which an entry is known, waits or was refused.
    entries: usize,
    first: u64,
    last: u64,
    gaps: Vec<Gap>,
}

/// Every place of a chain at which something is known: opened, waiting, or refused although it is genuine.
const PLACES: &str = "SELECT sequence, max(seen) FROM (
        SELECT sequence, seen_ms AS seen FROM entry WHERE device = ?1
        UNION ALL SELECT sequence, since_ms FROM waiting WHERE device = ?1 AND sequence > 0
        UNION ALL SELECT sequence, time_ms FROM problem
            WHERE device = ?1 AND proven = 1 AND sequence > 0 AND entry IS NOT NULL AND class <> 'older-copy')
    GROUP BY sequence ORDER BY sequence";

impl Vault {
    /// The chains that this device should see whole, and what is missing of each.
    ///
    /// # Errors
    /// The store's.
    pub fn chains(&self) -> Result<Vec<ChainView>, VaultError> {
        let names = self.names()?;
        let chains = self.load_chains()?;
        let view = |chain: Chain| ChainView {
            device: chain.device.to_string(),
            who: names.device(&chain.device),
            entries: chain.entries,
            first: chain.first,
            last: chain.last,
            gaps: chain.gaps.into_iter().map(|(from, to, _)| (from, to)).collect(),
        };
        Ok(chains.into_iter().map(view).collect())
    }

    /// What is missing, as far as it is not known to be here or dropped on purpose; attachments of at most so many
    /// reports.
    pub(crate) fn missing(&self, reports: usize) -> Result<Vec<Problem>, VaultError> {
        let mut missing = self.unarrived_everywhere(reports)?;
        let mut counted = BTreeMap::new();
        for chain in self.load_chains()? {
            for (from, to, since) in &chain.gaps {
                missing.extend(self.judge_gap(&chain.device, *from, *to, *since)?);
            }
            counted.insert(chain.device, chain.gaps);
        }
        missing.extend(self.held_by_others(&counted)?);
        Ok(missing)
    }

    fn load_chains(&self) -> Result<Vec<Chain>, VaultError> {
        let Some(team) = &self.team else { return Ok(Vec::new()) };
        let mut devices = vec![self.me];
        if team.role() == Role::Coordinator {
            let mates = self.members()?;
            devices.extend(
                crate::team::at_desk(&mates, team.desk)
                    .map(crate::team::Known::id)
                    .filter(|id| *id != self.me),
            );
        }
        let mut chains = Vec::new();
        for device in devices {
            chains.extend(self.load_chain(device)?);
        }
        Ok(chains)
    }

    fn load_chain(&self, device: DeviceId) -> Result<Option<Chain>, VaultError> {
        let team = self.team()?;
        let mut statement = self.db.prepare_cached(PLACES)?;
        let mut rows = statement.query([device.as_bytes()])?;
        let mut chain = Chain { device, entries: 0, first: 0, last: 0, gaps: Vec::new() };
        // A newcomer cannot read how others' chains began.
        let newcomer = device != self.me && team.desk_keys.iter().all(|key| key.epoch > 1);
        while let Some(row) = rows.next()? {
            let sequence = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            if chain.entries == 0 {
                chain.first = sequence;
            }
            let begins = chain.entries == 0 && newcomer;
            if sequence > chain.last + 1 && !begins {
                chain.gaps.push((chain.last + 1, sequence - 1, row.get(1)?));
            }
            chain.entries += 1;
            chain.last = sequence;
        }
        if device == self.me {
            let (end, _) = outgoing::chain_end(&self.db)?;
            if end > chain.last {
                chain.gaps.push((chain.last + 1, end, 0));
            }
        }
        Ok((chain.entries > 0 || !chain.gaps.is_empty()).then_some(chain))
    }

    fn judge_gap(
        &self,
        device: &DeviceId,
        from: u64,
        to: u64,
        since_ms: i64,
    ) -> Result<Option<Problem>, VaultError> {
        let last = self.named_before(device, to)?;
        let mut lacking = to - from + 1;
        let mut entry = None;
        if let Some(id) = &last {
            match self.depot.get(id)? {
                // It opens with none of this device's keys, or was dropped on purpose.
                Lookup::Held(_) | Lookup::Gone => return Ok(None),
                Lookup::Unknown => {}
            }
            if self.db.prepare_cached("SELECT 1 FROM dropped WHERE entry = ?1")?.exists([id.as_bytes()])? {
                return Ok(None);
            }
            // Reports travel before their attachments, whose parts come before them in the chain.
            lacking = lacking.saturating_sub(self.parts_expected_with(id)?);
            if lacking == 0 {
                return Ok(None);
            }
            entry = Some(id.to_string());
        }
        let reason = match (from == to, lacking == to - from + 1) {
            (true, _) => format!("its number {to} is not here"),
            (false, true) => format!("its numbers {from} to {to} are not here"),
            (false, false) => format!(
                "of its numbers {from} to {to}, {lacking} are not here, beside parts of attachments that are on \
                 their way"
            ),
        };
        let fault =
            Fault { device: Some(*device), proven: true, sequence: to, ..Fault::of(Class::Missing, reason) };
        Ok(Some(shown(&self.names()?, entry, &fault, since_ms)))
    }

    /// The id of the entry at a place, as the one after it names it.
    fn named_before(&self, device: &DeviceId, place: u64) -> Result<Option<EntryId>, VaultError> {
        let id: Option<Vec<u8>> = self
            .db
            .prepare_cached(
                "SELECT previous FROM entry WHERE device = ?1 AND sequence = ?2 AND previous IS NOT NULL
                 UNION ALL SELECT previous FROM waiting
                     WHERE device = ?1 AND sequence = ?2 AND previous IS NOT NULL LIMIT 1",
            )?
            .query_row(
                params![device.as_bytes(), i64::try_from(place).unwrap_or(0).saturating_add(1)],
                |row| row.get(0),
            )
            .optional()?;
        id.map(|id| Ok(EntryId::from_bytes(store::array(&id, "an entry id")?))).transpose()
    }

    /// If a report names this entry as a part of an attachment: how many of its parts have not come.
    fn parts_expected_with(&self, id: &EntryId) -> Result<u64, VaultError> {
        let count: i64 = self
            .db
            .prepare_cached(
                "SELECT count(*) FROM expected_part WHERE report IN (SELECT report FROM expected_part WHERE entry = ?1)",
            )?
            .query_row([id.as_bytes()], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Entries of this desk that another of its coordinators signed for and this device's depot does not know.
    /// `counted`: what is known to lack, by device; that is named there.
    fn held_by_others(&self, counted: &BTreeMap<DeviceId, Vec<Gap>>) -> Result<Vec<Problem>, VaultError> {
        if self.team.as_ref().is_none_or(|team| team.role() != Role::Coordinator) {
            return Ok(Vec::new());
        }
        let names = self.names()?;
        let mut statement = self.db.prepare_cached(
            "SELECT receipt.entry, receipt.device, author, receipt.sequence, receipt.time_ms FROM receipt
             WHERE author IS NOT NULL AND author <> ?1
               AND NOT EXISTS (SELECT 1 FROM entry WHERE id = receipt.entry)
               AND NOT EXISTS (SELECT 1 FROM dropped WHERE entry = receipt.entry)
               AND receipt.entry NOT IN (SELECT entry FROM expected_part)
             ORDER BY author, receipt.sequence",
        )?;
        let mut rows = statement.query([self.me.as_bytes()])?;
        let mut found: BTreeMap<EntryId, (DeviceId, DeviceId, u64, i64)> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let device = |column| -> Result<DeviceId, VaultError> {
                Ok(DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(column)?, "a device id")?))
            };
            let id = EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "an entry id")?);
            let sequence = u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0);
            found.entry(id).or_insert((device(1)?, device(2)?, sequence, row.get(4)?));
        }
        let ids: Vec<EntryId> = found.keys().copied().collect();
        let mut missing = Vec::new();
        for page in ids.chunks(PAGE) {
            for id in self.depot.unknown(page)? {
                let Some((holder, author, sequence, time_ms)) = found.get(&id).copied() else { continue };
                let gaps = counted.get(&author).map(Vec::as_slice).unwrap_or_default();
                if gaps.iter().any(|(from, to, _)| (*from..=*to).contains(&sequence)) {
                    continue;
                }
                let reason = format!("{} has it and this device has not", names.device(&holder));
                let fault = Fault {
                    device: Some(author),
                    proven: false,
                    sequence,
                    ..Fault::of(Class::Missing, reason)
                };
                missing.push(shown(&names, Some(id.to_string()), &fault, time_ms));
                if missing.len() >= SHOWN_MAX {
                    return Ok(missing);
                }
            }
        }
        Ok(missing)
    }
}
