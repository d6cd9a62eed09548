//! Gives up what the bucket has lost for good.
//!
//! A bucket that does not give an object once may give it tomorrow: until then its entry is held, and is offered to
//! whoever lacks it. But what is gone from it for days, at each look, will not come back. Such an entry is known from then on
//! and no longer held, as one that was dropped: so devices are told that it is gone, and look for it elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_depot::{Depot as _, DepotError, Lookup};
use fieldbook_proto::EntryId;
use fieldbook_proto::codec::{DecodeError, Reader, Writer};

use crate::depot::{ALTERED, BucketDepot, LOST_MAX};

/// What is missing, and since when.
const SETTING: &str = "lost-objects";
const VERSION: u8 = 1;

/// What was given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Entries of which the bucket no longer has the bytes.
    pub missing: usize,
    /// Entries of which it gives other bytes. They are listed by `quarantined`.
    pub altered: usize,
}

impl BucketDepot {
    /// Asks the bucket again for what it did not give, and gives up what it has not given at any look for `term_ms`
    /// by the caller's time, which must not go back. To be called about once a day.
    ///
    /// # Errors
    /// The backend's; then nothing was given up that was not given up before.
    pub fn give_up_lost(&self, now_ms: u64, term_ms: u64) -> Result<GivenUp, DepotError> {
        self.log.look()?;
        let stored = self.setting(SETTING)?;
        let before = stored.as_deref().and_then(|bytes| decode(bytes).ok()).unwrap_or_default();
        let mut ids: BTreeSet<EntryId> = self.lost().keys().copied().collect();
        ids.extend(before.keys().copied());
        let ids: Vec<EntryId> = ids.into_iter().collect();
        self.get_all(&ids)?;
        // Of what another process has dropped meanwhile nothing is missing.
        let lost = self.lost().clone();
        let mut since: BTreeMap<EntryId, u64> = BTreeMap::new();
        for id in ids.iter().filter(|id| lost.contains_key(*id)) {
            if matches!(self.log.replica.get(id)?, Lookup::Held(_)) {
                since.insert(*id, before.get(id).copied().unwrap_or(now_ms));
            }
        }
        let due = |since: &u64| now_ms.saturating_sub(*since) >= term_ms;
        let (mut missing, mut altered) = (Vec::new(), Vec::new());
        for (id, _) in since.iter().filter(|(_, since)| due(since)) {
            if lost.get(id) == Some(&ALTERED) { altered.push(*id) } else { missing.push(*id) }
        }
        since.retain(|_, since| !due(since));
        let given_up = GivenUp { missing: self.forget(&missing)?, altered: altered.len() };
        for id in &altered {
            self.quarantine(id, ALTERED)?;
        }
        self.lost().retain(|id, _| since.contains_key(id) || !ids.contains(id));
        if since != before {
            let bytes = (!since.is_empty()).then(|| encode(&since));
            self.set_setting(SETTING, bytes.as_deref())?;
        }
        Ok(given_up)
    }
}

fn encode(since: &BTreeMap<EntryId, u64>) -> Vec<u8> {
    let mut writer = Writer::new();
    let most = since.iter().take(LOST_MAX);
    writer.u8(VERSION).u32(u32::try_from(most.len()).unwrap_or(0));
    for (id, since) in most {
        writer.raw(id.as_bytes()).u64(*since);
    }
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<EntryId, u64>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u8("version")? != VERSION {
        return Err(DecodeError::Invalid { field: "version" });
    }
    let mut since = BTreeMap::new();
    for _ in 0..reader.count("lost objects", LOST_MAX)? {
        since.insert(EntryId::from_bytes(reader.array("id")?), reader.u64("since")?);
    }
    reader.end()?;
    Ok(since)
}
