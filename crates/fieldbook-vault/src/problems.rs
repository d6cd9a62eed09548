//! What is wrong with what came in: of which kind, by whom, at which place, and what follows from it.
//!
//! A problem is noted once and stays, but for the verdicts on chains (`absorb/chain.rs`), which are
//! judged anew with every entry that arrives beside them.

use fieldbook_depot::{Depot, Lookup, Source};
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::{Connection, params};

use crate::absorb::judge_place;
use crate::error::VaultError;
use crate::findings::Problem;
use crate::names::Names;
use crate::store;
use crate::vault::{Vault, now_ms};

/// Problems in one answer; `verify` shows all.
pub(crate) const SHOWN_MAX: usize = 200;
/// Under these names in `meta` stands what this device could not do of late, and why.
const FAILED: &str = "failed: ";
/// Set when this vault is known to be an older copy of one that went on writing.
pub(crate) const SUPERSEDED: &str = "superseded";

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Bytes that were changed on the way or on the disk.
    Altered,
    /// A signature that is not of the device that the entry names.
    Forged,
    /// Genuine, but its author may not do that, or it cannot be read.
    Refused,
    /// Genuine, but sealed to this device by somebody whom its author did not ask to.
    Misdirected,
    /// Two different entries at one place of a chain.
    Forked,
    /// An entry that does not follow the one before it.
    Replaced,
    /// One signed entry, sealed twice.
    Duplicated,
    /// This vault is an older copy.
    OlderCopy,
    /// A place of a chain that is not here.
    Missing,
    /// Something that this device could not do.
    SetAside,
}

impl Class {
    const ALL: [Self; 10] = [
        Self::Altered,
        Self::Forged,
        Self::Refused,
        Self::Misdirected,
        Self::Forked,
        Self::Replaced,
        Self::Duplicated,
        Self::OlderCopy,
        Self::Missing,
        Self::SetAside,
    ];

    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Forged => "forged",
            Self::Refused => "refused",
            Self::Misdirected => "misdirected",
            Self::Forked => "forked",
            Self::Replaced => "replaced",
            Self::Duplicated => "duplicated",
            Self::OlderCopy => "older-copy",
            Self::Missing => "missing",
            Self::SetAside => "set-aside",
        }
    }

    fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|class| class.word() == word).unwrap_or(Self::Refused)
    }

    /// What follows from it, and what to do.
    const fn consequence(self) -> &'static str {
        match self {
            Self::Altered => {
                "It was not used, and nothing else is affected. If the true entry comes, it is taken as if \
                 nothing had happened."
            }
            Self::Forged => {
                "It was not used. It is not by the device that it names: anybody can write a name. Do not blame \
                 that device; ask how the entry came here."
            }
            Self::Refused => {
                "It was not used; what this device sent before and sends later is. If it was no mistake of its \
                 program, ask its person, and think of removing it."
            }
            Self::Misdirected => {
                "It was not used. Its author did nothing wrong: somebody who could read it passed it on. What \
                 it says may be known to others than was meant."
            }
            Self::Forked => {
                "Both were taken in, and nobody can tell which one was meant. The device was copied, or restored \
                 from a backup: let it join again as a new device, and remove the old one. If nobody did that, \
                 somebody has its keys."
            }
            Self::Replaced => {
                "What this device wrote there at first is not here. What is here is by the device itself, but do \
                 not build on its order. Ask its person, and the other coordinators what they have there."
            }
            Self::Duplicated => {
                "It counts once and changes nothing. Its author did nothing wrong: somebody who could read it \
                 sealed it once more."
            }
            Self::OlderCopy => {
                "Do not write with this vault: two copies of one device would contradict each other. What is in \
                 it stays readable. Join the team again as a new device."
            }
            Self::Missing => {
                "What stands there cannot be read here; the rest can. Most often it is on its way: sync. If it \
                 does not come, somebody on the way keeps it back: take it from the device itself."
            }
            Self::SetAside => "Everything else went on. Nothing was lost.",
        }
    }
}

/// Something wrong, before it is noted.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub class: Class,
    /// Who made it, if anybody is named.
    pub device: Option<DeviceId>,
    /// Whether a signature proves that.
    pub proven: bool,
    /// Its place in the chain; 0 if it has none.
    pub sequence: u64,
    /// What is wrong. Empty where it follows from the class.
    pub reason: String,
}

impl Fault {
    /// By nobody in particular.
    pub fn of(class: Class, reason: impl Into<String>) -> Self {
        Self { class, device: None, proven: false, sequence: 0, reason: reason.into() }
    }
}

/// Notes what is wrong with an entry, or with none, once.
pub(crate) fn note(db: &Connection, entry: Option<&EntryId>, fault: &Fault) -> Result<(), VaultError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO problem (class, entry, device, proven, sequence, reason, time_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        fault.class.word(),
        entry.map(|id| id.as_bytes().as_slice()),
        fault.device.as_ref().map(|id| id.as_bytes().as_slice()),
        fault.proven,
        i64::try_from(fault.sequence).unwrap_or(i64::MAX),
        fault.reason,
        now_ms(),
    ])?;
    Ok(())
}

/// The number of the last problem that was noted.
pub(crate) fn last_number(db: &Connection) -> Result<i64, VaultError> {
    Ok(db.prepare_cached("SELECT coalesce(max(number), 0) FROM problem")?.query_row([], |row| row.get(0))?)
}

/// Takes over what the first version noted. It called two ciphertexts of one entry a fork, and kept to its
/// verdicts; those are made anew.
pub(crate) fn migrate(db: &Connection) -> Result<(), VaultError> {
    const OF_CHAINS: &str = "reason LIKE '%of its author''s chain%'";
    let places: Vec<(Vec<u8>, i64)> = db
        .prepare(&format!(
            "SELECT DISTINCT entry.device, sequence FROM first_problem JOIN entry ON entry.id = entry WHERE {OF_CHAINS}"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    db.execute_batch(&format!(
        "INSERT OR IGNORE INTO problem (class, entry, device, proven, sequence, reason, time_ms)
             SELECT 'refused', entry, device, 0, 0, reason, time_ms FROM first_problem WHERE NOT ({OF_CHAINS});
         DROP TABLE first_problem;"
    ))?;
    for (device, sequence) in places {
        let device = DeviceId::from_bytes(store::array(&device, "a device id")?);
        judge_place(db, &device, u64::try_from(sequence).unwrap_or(0))?;
    }
    Ok(())
}

/// A problem as it is shown.
pub(crate) fn shown(names: &Names, entry: Option<String>, fault: &Fault, time_ms: i64) -> Problem {
    Problem {
        class: fault.class.word().to_owned(),
        entry,
        device: fault.device.as_ref().map(ToString::to_string),
        who: fault.device.as_ref().map(|device| names.device(device)),
        proven: fault.proven,
        sequence: (fault.sequence > 0).then_some(fault.sequence),
        reason: fault.reason.clone(),
        consequence: fault.class.consequence().to_owned(),
        brought_by: None,
        time_ms,
    }
}

impl Vault {
    /// What is wrong with entries that came in and with the chains that they are in, the latest last.
    ///
    /// # Errors
    /// The store's.
    pub fn problems(&self) -> Result<Vec<Problem>, VaultError> {
        self.problems_after(0, usize::MAX)
    }

    /// As [`Vault::problems`]: the latest `max` of those that were noted after a number.
    pub(crate) fn problems_after(&self, after: i64, max: usize) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let mut statement = self.db.prepare_cached(
            "SELECT class, entry, device, proven, sequence, reason, time_ms FROM problem WHERE number > ?1
             ORDER BY number DESC LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, i64::try_from(max).unwrap_or(i64::MAX)])?;
        let mut problems = Vec::new();
        while let Some(row) = rows.next()? {
            let device: Option<Vec<u8>> = row.get(2)?;
            let device = device
                .map(|bytes| store::array(&bytes, "a device id").map(DeviceId::from_bytes))
                .transpose()?;
            let mut fault = Fault {
                class: Class::from_word(&row.get::<_, String>(0)?),
                device,
                proven: row.get(3)?,
                sequence: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                reason: row.get(5)?,
            };
            let entry: Option<Vec<u8>> = row.get(1)?;
            let entry = entry
                .map(|bytes| store::array(&bytes, "an entry id").map(EntryId::from_bytes))
                .transpose()?;
            if fault.reason.is_empty()
                && let Some(device) = &fault.device
            {
                fault.reason = crate::absorb::chain_words(&self.db, device, fault.sequence, fault.class)?;
            }
            let mut problem = shown(&names, entry.as_ref().map(ToString::to_string), &fault, row.get(6)?);
            problem.brought_by = self.brought_by(entry.as_ref(), &names)?;
            problems.push(problem);
        }
        problems.reverse();
        Ok(problems)
    }

    /// Over whose connection an entry came.
    fn brought_by(&self, entry: Option<&EntryId>, names: &Names) -> Result<Option<String>, VaultError> {
        let Some(position) = entry.map(|id| self.depot.position(id)).transpose()?.flatten() else {
            return Ok(None);
        };
        let arrival = self.depot.arrivals(position.saturating_sub(1), 1, u64::MAX)?.pop();
        Ok(arrival.and_then(|arrival| from(arrival.from, names)))
    }

    /// What the depot refused: bytes that are not those that their id names, and the like.
    pub(crate) fn refused_by_depot(&self) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let mut problems = Vec::new();
        for bad in self.depot.quarantined()? {
            let fault = Fault::of(Class::Altered, bad.reason);
            let mut problem = shown(&names, Some(bad.id.to_string()), &fault, 0);
            problem.brought_by = from(bad.from, &names);
            if self.depot.position(&bad.id)?.is_some() && self.depot.get(&bad.id)? != Lookup::Gone {
                "The true entry has come since: nothing is missing.".clone_into(&mut problem.consequence);
            }
            problems.push(problem);
        }
        Ok(problems)
    }

    /// Notes that something that is done after each absorption could not be, or can again.
    pub(crate) fn note_step(&self, what: &str, error: Option<&VaultError>) -> Result<(), VaultError> {
        let name = format!("{FAILED}{what}");
        match error {
            Some(error) => store::set_meta(&self.db, &name, error.to_string().as_bytes()),
            None => {
                self.db.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name])?;
                Ok(())
            }
        }
    }

    /// What could not be done the last time.
    pub(crate) fn failed_steps(&self) -> Result<Vec<Problem>, VaultError> {
        let names = self.names()?;
        let mut statement =
            self.db.prepare_cached("SELECT name, value FROM meta WHERE substr(name, 1, 8) = ?1")?;
        let mut rows = statement.query([FAILED])?;
        let mut problems = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, why): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let what = name.strip_prefix(FAILED).unwrap_or_default();
            let reason = format!("this device could not {what}: {}", String::from_utf8_lossy(&why));
            problems.push(shown(&names, None, &Fault::of(Class::SetAside, reason), 0));
        }
        Ok(problems)
    }
}

fn from(source: Source, names: &Names) -> Option<String> {
    match source {
        Source::Peer(device) => Some(names.device(&device)),
        Source::Own | Source::Unnamed | Source::Bundle => None,
    }
}
