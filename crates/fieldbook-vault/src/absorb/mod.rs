//! Taking in what others wrote: from the depot's sealed entries to reports, receipts and certificates.
//!
//! Every entry is tried with this device's identity and the desk's. What opens must be signed by a
//! device whose certificate stands, and may only do what its author may: a report's entry holds
//! changes of its author's own hand. An entry that fails costs itself and nothing else: it is named
//! as a problem, or waits for what it needs (its author's certificate, an earlier change).

mod audience;
mod chain;
mod changes;
mod own;
mod receipts;
mod take;

use std::rc::Rc;

use fieldbook_depot::{Depot, Lookup, Source};
use fieldbook_proto::certificate::Certificate;
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::params;

use crate::error::VaultError;
use crate::problems::{self, SHOWN_MAX, SUPERSEDED};
use crate::store;
use crate::vault::{Vault, now_ms};
use crate::views::AbsorbSummary;

pub(crate) use chain::{chain_words, judge_place};
pub(crate) use changes::NOT_SHARED;
pub(crate) use receipts::note_receipt_due;
pub(crate) use take::{AFTER_REMOVAL, Aftermath, Taken, Taker, bad_by};

const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;
/// How often what waits is tried in one go: each pass may settle one link of a long chain. What is left
/// is tried by the next.
const PASSES_MAX: usize = 16;

impl Vault {
    /// Opens what has arrived in the depot since the last time, and answers with receipts where
    /// this device is a coordinator's. What somebody sent may fail, or keep this device from something that
    /// it does afterwards: it is named, and everything else goes on.
    ///
    /// # Errors
    /// The vault's or the depot's store failed. What was absorbed before stays absorbed.
    pub fn absorb(&mut self) -> Result<AbsorbSummary, VaultError> {
        let mut summary = AbsorbSummary::default();
        if self.team.is_none() {
            return Ok(summary);
        }
        let noted = problems::last_number(&self.db)?;
        let done = self.take_in(&mut summary).and_then(|()| self.follow_up(&mut summary));
        // Whatever was made until then leaves all the same.
        let flushed = self.flush();
        done?;
        flushed?;
        summary.problems = self.problems_after(noted, SHOWN_MAX)?;
        summary.problems.extend(self.failed_steps()?);
        summary.waiting = self.count("SELECT count(*) FROM waiting")?;
        summary.clashes = self.count("SELECT coalesce(sum(clashes), 0) FROM report")?;
        Ok(summary)
    }

    fn take_in(&mut self, summary: &mut AbsorbSummary) -> Result<(), VaultError> {
        self.merge_costs.clear();
        self.retry_waiting |= self.absorb_arrivals(summary)?;
        for _ in 0..PASSES_MAX {
            if !self.retry_waiting {
                break;
            }
            self.retry_waiting = self.retry_all_waiting(summary)?;
            self.retry_waiting |= self.absorb_arrivals(summary)?;
        }
        // Whoever used up the budget goes on the next time.
        self.retry_waiting |= self.merge_costs.values().any(|spent| *spent > changes::MERGE_BUDGET);
        Ok(())
    }

    /// What follows from what came in. Each step is done whatever became of the others.
    fn follow_up(&mut self, summary: &mut AbsorbSummary) -> Result<(), VaultError> {
        self.finish_forgetting()?;
        self.step("look at parts of attachments", |vault| vault.absorb_parts(summary))?;
        if !self.may_sign()? {
            return Ok(());
        }
        self.step("sign for what came in", Self::write_receipts)?;
        summary.sealed = self.step("seal reports by itself", Self::seal_by_itself)?;
        self.step("share reports again", Self::share_again)?;
        self.step("put the team in order", Self::keep_house)?;
        self.step("send reports once more", Self::send_again)?;
        Ok(())
    }

    /// Does something that one hostile certificate, epoch or report may keep from being done. Then it is
    /// named, in `status` too, until it can be done again.
    fn step<T: Default>(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        match act(self) {
            Err(error) if error.is_about_one_thing() => {
                self.note_step(what, Some(&error))?;
                Ok(T::default())
            }
            done => {
                let done = done?;
                self.note_step(what, None)?;
                Ok(done)
            }
        }
    }

    pub(crate) fn count(&self, sql: &str) -> Result<usize, VaultError> {
        let count: i64 = self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The certificate of a device, if this vault knows it.
    pub(crate) fn certificate_of(&self, device: &DeviceId) -> Result<Option<Certificate>, VaultError> {
        Ok(self.member(device)?.map(|known| known.certificate))
    }

    fn absorb_arrivals(&mut self, summary: &mut AbsorbSummary) -> Result<bool, VaultError> {
        let mut any = false;
        loop {
            // Read anew each time: a key that came with the last batch sends it back to the beginning.
            let mut cursor = match store::meta(&self.db, "absorbed")? {
                Some(bytes) => u64::from_be_bytes(store::array(&bytes, "the absorbed position")?),
                None => 0,
            };
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
        identities.extend(team.desk_keys.iter().map(|key| &key.identity));
        identities.extend(&self.lent);
        // Shared until an entry changes it: most do not, and each may have to be undone.
        let mut authority = Rc::new(team.authority.clone());
        let keys = self.device.keys();
        let mut after = Aftermath::default();
        let mut any = false;
        let mut tx = self.db.transaction()?;
        for (id, bytes) in entries {
            let savepoint = tx.savepoint()?;
            let before = Rc::clone(&authority);
            let mut taker = Taker {
                db: &savepoint,
                me: self.me,
                keys: &keys,
                team,
                authority: &mut authority,
                identities: &identities,
                summary,
                merger: self.merger.as_mut(),
                costs: &mut self.merge_costs,
                after: &mut after,
                lent: self.lent.is_some(),
                claim: None,
            };
            let taken = taker.take(id, bytes)?;
            let claim = taker.claim.take();
            let applied = matches!(taken, Taken::Done | Taken::Nothing);
            if applied {
                savepoint.execute("DELETE FROM waiting WHERE entry = ?1", [id.as_bytes()])?;
                savepoint.commit()?;
            } else {
                savepoint.finish()?;
                authority = before;
            }
            match taken {
                Taken::Done => {
                    any = true;
                    summary.opened += 1;
                }
                Taken::Nothing => {}
                Taken::NotForUs => summary.not_for_us += 1,
                Taken::Waiting(reason) => {
                    let claim = claim.as_ref();
                    tx.prepare_cached(
                        "INSERT INTO waiting (entry, reason, device, sequence, previous, since_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (entry) DO UPDATE SET reason = ?2",
                    )?
                    .execute(params![
                        id.as_bytes(),
                        reason,
                        claim.map(|claim| claim.device.as_bytes().as_slice()),
                        claim.map_or(0, |claim| i64::try_from(claim.sequence).unwrap_or(0)),
                        claim.and_then(|claim| claim.previous.as_ref()).map(|id| id.as_bytes().as_slice()),
                        now_ms(),
                    ])?;
                }
                Taken::Bad(fault) => {
                    tx.execute("DELETE FROM waiting WHERE entry = ?1", [id.as_bytes()])?;
                    problems::note(&tx, Some(&id), &fault)?;
                }
            }
        }
        for (entry, fault) in &after.older_copy {
            problems::note(&tx, Some(entry), fault)?;
            store::set_meta(&tx, SUPERSEDED, &[1])?;
        }
        if let Some(cursor) = if after.new_key { Some(0) } else { cursor } {
            store::set_meta(&tx, "absorbed", &cursor.to_be_bytes())?;
        }
        if *authority != team.authority {
            store::set_meta(&tx, "authority", &authority.encode())?;
            after.team_changed = true;
        }
        tx.commit()?;
        if after.team_changed {
            self.reload_team()?;
        }
        for (device, entry) in after.addressed {
            self.depot.address_to(&device, &[entry])?;
        }
        if !after.forget.is_empty() {
            self.depot.forget(&after.forget)?;
        }
        Ok(any)
    }
}
