//! `verify`: everything that this device carries and knows, looked at once more.
//!
//! Each sealed entry is read, compared with its id, opened if a key here opens it, its signature checked and
//! what it says of itself compared with what the vault remembers; this device's own chain is followed to
//! its end. Then all that was noticed before is told: what was refused, faults in chains, what is missing,
//! what waits. Memory stays at a batch of entries.

use fieldbook_depot::{Arrival, Depot, Source};
use fieldbook_proto::certificate::DeviceKeys;
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::{Header, OpenError, ReadingIdentity, SealedEntry};
use rusqlite::{OptionalExtension, params};

use crate::absorb::judge_place;
use crate::error::VaultError;
use crate::findings::{Finding, Problem, Verified};
use crate::outgoing;
use crate::problems::{Class, Fault, shown};
use crate::store;
use crate::vault::Vault;

const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;
/// Ids that are looked up in the depot at once.
const PAGE: usize = 10_000;

/// What follows when sealed bytes are lost or spoilt after they were taken in.
const BYTES_LOST: &str = "What this device read of it is still here. It can no longer be passed on or proven from \
                          here: copy the vault's directory to another medium, and sync with those who have it.";

/// What the vault remembers of an entry.
struct Remembered {
    device: Vec<u8>,
    sequence: i64,
    previous: Option<Vec<u8>>,
    digest: Option<Vec<u8>>,
}

/// What became of an entry that was looked at.
enum Look {
    Opened,
    Known,
    ForOthers,
    Wrong(Fault),
    /// Its bytes are not those that were taken in.
    Spoilt(Fault),
}

impl Vault {
    /// Looks at everything once more and tells what it finds, the chains first.
    ///
    /// # Errors
    /// The vault's or the depot's store failed, or `tell` did.
    pub fn verify<E: From<VaultError>>(
        &self,
        tell: &mut dyn FnMut(Finding) -> Result<(), E>,
    ) -> Result<Verified, E> {
        let mut verified = Verified::default();
        let mut wrong = self.look_at_entries(&mut verified)?;
        wrong.extend(self.look_for_bytes()?);
        wrong.extend(self.follow_own_chain()?);
        for chain in self.chains()? {
            tell(Finding::Chain(chain))?;
        }
        let mut problems = wrong;
        problems.extend(self.problems()?);
        problems.extend(self.refused_by_depot()?);
        problems.extend(self.failed_steps()?);
        problems.extend(self.missing(usize::MAX)?);
        for problem in problems {
            if problem.tampered() {
                verified.tampered += 1
            } else {
                verified.missing += 1
            }
            tell(Finding::Problem(problem))?;
        }
        for waiting in self.waiting_for()? {
            if !waiting.expected {
                verified.waiting += waiting.entries;
            }
            tell(Finding::Waiting(waiting))?;
        }
        Ok(verified)
    }

    fn look_at_entries(&self, verified: &mut Verified) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let own = self.device.keys();
        let mut identities = vec![self.device.identity()];
        if let Some(team) = &self.team {
            identities.extend(team.desk_keys.iter().map(|key| &key.identity));
        }
        let mut wrong = Vec::new();
        let mut after = 0;
        loop {
            let batch = self.depot.arrivals_with_bytes(after, BATCH_ENTRIES, BATCH_BYTES)?;
            let Some((last, _)) = batch.last() else { return Ok(wrong) };
            after = last.position;
            for (arrival, bytes) in batch {
                let Some(bytes) = bytes else { continue };
                verified.entries += 1;
                match self.look_at(&arrival, bytes, &identities, &own)? {
                    Look::Opened => verified.opened += 1,
                    Look::Known => verified.known += 1,
                    Look::ForOthers => verified.for_others += 1,
                    Look::Spoilt(fault) => {
                        let mut problem = shown(&names, Some(arrival.id.to_string()), &fault, 0);
                        BYTES_LOST.clone_into(&mut problem.consequence);
                        wrong.push(problem);
                    }
                    Look::Wrong(fault) => {
                        let mut problem = shown(&names, Some(arrival.id.to_string()), &fault, 0);
                        if let Source::Peer(device) = arrival.from {
                            problem.brought_by = Some(names.device(&device));
                        }
                        wrong.push(problem);
                    }
                }
            }
        }
    }

    fn look_at(
        &self,
        arrival: &Arrival,
        bytes: Vec<u8>,
        identities: &[&ReadingIdentity],
        own: &DeviceKeys,
    ) -> Result<Look, VaultError> {
        let remembered = self.remembered(&arrival.id)?;
        let fault = |class: Class, reason: &str| {
            let mut fault = Fault::of(class, reason);
            if let Some(known) = &remembered {
                fault.device = known.device.as_slice().try_into().ok().map(DeviceId::from_bytes);
                fault.sequence = u64::try_from(known.sequence).unwrap_or(0);
                fault.proven = true;
            }
            fault
        };
        let wrong = |class: Class, reason: &str| Ok(Look::Wrong(fault(class, reason)));
        if EntryId::of(&bytes) != arrival.id {
            let reason = "its bytes were changed on this device's disk after it was taken in";
            return Ok(Look::Spoilt(fault(Class::Altered, reason)));
        }
        // What was refused when it came is among the problems that were noted then.
        let noted = self
            .db
            .prepare_cached("SELECT 1 FROM problem WHERE entry = ?1")?
            .exists([arrival.id.as_bytes()])?;
        if noted && remembered.is_none() {
            return Ok(Look::Known);
        }
        let Ok(sealed) = SealedEntry::parse(bytes) else {
            return wrong(Class::Altered, "it is no sealed entry");
        };
        let unverified = match fieldbook_seal::decrypt(&sealed, identities) {
            Ok(unverified) => unverified,
            Err(OpenError::NotForUs) if remembered.is_some() => return Ok(Look::Known),
            Err(OpenError::NotForUs) => return Ok(Look::ForOthers),
            Err(error) => return wrong(Class::Altered, &error.to_string()),
        };
        let device = unverified.header().device;
        let certificate = self.certificate_of(&device)?;
        let keys = if device == self.me { Some(own) } else { certificate.as_ref().map(|c| &c.body().keys) };
        let Some(keys) = keys else {
            // It waits for its author's certificate, which is told elsewhere.
            return Ok(Look::Known);
        };
        let Ok(opened) = unverified.verify(keys) else {
            return wrong(Class::Forged, "its signature does not match: it was forged or altered");
        };
        let (header, digest) = (opened.header(), opened.digest());
        match &remembered {
            Some(known) if !agrees(known, header, digest) => {
                wrong(Class::Altered, "this vault remembers something else of it than it says itself")
            }
            Some(known) if known.digest.is_none() => {
                // The first version of a vault did not keep it; without it a copy looks like a fork.
                self.db
                    .prepare_cached("UPDATE entry SET digest = ?2 WHERE id = ?1")?
                    .execute(params![arrival.id.as_bytes(), digest])?;
                judge_place(&self.db, &header.device, header.sequence)?;
                Ok(Look::Opened)
            }
            _ => Ok(Look::Opened),
        }
    }

    fn remembered(&self, id: &EntryId) -> Result<Option<Remembered>, VaultError> {
        Ok(self
            .db
            .prepare_cached("SELECT device, sequence, previous, digest FROM entry WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| {
                Ok(Remembered {
                    device: row.get(0)?,
                    sequence: row.get(1)?,
                    previous: row.get(2)?,
                    digest: row.get(3)?,
                })
            })
            .optional()?)
    }

    /// Entries that this vault remembers and whose bytes are nowhere, although nobody dropped them.
    fn look_for_bytes(&self) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let mut wrong = Vec::new();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let page: Vec<(Vec<u8>, Vec<u8>, i64)> = self
                .db
                .prepare_cached(
                    "SELECT id, device, sequence FROM entry WHERE id > ?1
                         AND id NOT IN (SELECT id FROM outbox) AND id NOT IN (SELECT entry FROM dropped)
                     ORDER BY id LIMIT ?2",
                )?
                .query_map(params![after, PAGE as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            let Some(last) = page.last() else { return Ok(wrong) };
            after = last.0.clone();
            let mut ids = Vec::with_capacity(page.len());
            for (id, _, _) in &page {
                ids.push(EntryId::from_bytes(store::array(id, "an entry id")?));
            }
            for id in self.depot.unknown(&ids)? {
                let row = page.iter().find(|(known, _, _)| known == id.as_bytes());
                let Some((_, device, sequence)) = row else { continue };
                let fault = Fault {
                    device: Some(DeviceId::from_bytes(store::array(device, "a device id")?)),
                    proven: true,
                    sequence: u64::try_from(*sequence).unwrap_or(0),
                    ..Fault::of(Class::Missing, "it was here, and its sealed bytes are here no more")
                };
                let mut problem = shown(&names, Some(id.to_string()), &fault, 0);
                BYTES_LOST.clone_into(&mut problem.consequence);
                wrong.push(problem);
            }
        }
    }

    /// The last entry that this device wrote must be the one that its chain ends with.
    fn follow_own_chain(&self) -> Result<Option<Problem>, VaultError> {
        let (sequence, last) = outgoing::chain_end(&self.db)?;
        let Some(last) = last else { return Ok(None) };
        let same = self.remembered(&last)?.is_some_and(|known| {
            known.device == self.me.as_bytes() && u64::try_from(known.sequence) == Ok(sequence)
        });
        if same {
            return Ok(None);
        }
        let reason =
            "the end of this device's own chain is not the entry that this vault remembers as its last";
        let fault =
            Fault { device: Some(self.me), proven: true, sequence, ..Fault::of(Class::Altered, reason) };
        Ok(Some(shown(&self.names()?, Some(last.to_string()), &fault, 0)))
    }
}

/// Whether an entry says of itself what the vault remembers of it.
fn agrees(known: &Remembered, header: &Header, digest: [u8; 32]) -> bool {
    known.device == header.device.as_bytes()
        && u64::try_from(known.sequence) == Ok(header.sequence)
        && known.previous.as_deref() == header.previous.as_ref().map(|id| id.as_bytes().as_slice())
        && known.digest.as_deref().is_none_or(|known| known == digest)
}
