//! The chains of devices: what their entries' numbers and names of predecessors prove.
//!
//! The verdict on a place follows from what is known at it, before it and after it, and from nothing
//! else: whenever an entry comes to one of them it is made anew, so that whatever order entries come in,
//! all readers who have the same ones say the same. A missing neighbour proves nothing: it may be on its
//! way, or addressed to others (`gaps.rs`).

use std::collections::{BTreeMap, BTreeSet};

use fieldbook_proto::certificate::Removal;
use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::Header;
use rusqlite::{Connection, params};

use crate::error::VaultError;
use crate::problems::{self, Class, Fault};
use crate::store;

/// The verdicts that are made here.
const OF_CHAINS: [Class; 3] = [Class::Forked, Class::Replaced, Class::Duplicated];

/// An entry of a chain, as far as its place is concerned.
struct Link {
    id: Vec<u8>,
    previous: Option<Vec<u8>>,
    /// None in what the first version of a vault took in: then nothing tells a copy from another entry.
    digest: Option<Vec<u8>>,
}

/// What is known at a place of a chain and beside it.
#[derive(Default)]
struct Places {
    before: Vec<Link>,
    here: Vec<Link>,
    after: Vec<Link>,
}

impl Places {
    fn load(db: &Connection, device: &DeviceId, sequence: u64) -> Result<Self, VaultError> {
        let mut places = Self::default();
        let Ok(at) = i64::try_from(sequence) else { return Ok(places) };
        let mut statement = db.prepare_cached(
            "SELECT sequence, id, previous, digest FROM entry WHERE device = ?1 AND sequence BETWEEN ?2 AND ?3",
        )?;
        let mut rows =
            statement.query(params![device.as_bytes(), at.saturating_sub(1), at.saturating_add(1)])?;
        while let Some(row) = rows.next()? {
            let place: i64 = row.get(0)?;
            let link = Link { id: row.get(1)?, previous: row.get(2)?, digest: row.get(3)? };
            match place.cmp(&at) {
                std::cmp::Ordering::Less => places.before.push(link),
                std::cmp::Ordering::Equal => places.here.push(link),
                std::cmp::Ordering::Greater => places.after.push(link),
            }
        }
        Ok(places)
    }

    /// What is wrong at the place itself.
    fn here(&self) -> BTreeSet<&'static str> {
        let mut classes = BTreeSet::new();
        let mut signed: BTreeMap<&[u8], usize> = BTreeMap::new();
        for link in &self.here {
            *signed.entry(link.digest.as_deref().unwrap_or(&link.id)).or_default() += 1;
        }
        if signed.len() > 1 {
            classes.insert(Class::Forked.word());
        }
        if signed.values().any(|copies| *copies > 1) {
            classes.insert(Class::Duplicated.word());
        }
        if !follows(&self.before, &self.here) {
            classes.insert(Class::Replaced.word());
        }
        classes
    }
}

/// Whether everything at a place names something that is known at the place before it, if anything is.
fn follows(before: &[Link], here: &[Link]) -> bool {
    let named = |link: &Link| before.iter().any(|other| link.previous.as_ref() == Some(&other.id));
    before.is_empty() || here.iter().all(named)
}

/// Judges a place of a chain, at which something arrived, and the one after it.
pub(crate) fn judge_place(db: &Connection, device: &DeviceId, sequence: u64) -> Result<(), VaultError> {
    let places = Places::load(db, device, sequence)?;
    settle(db, device, sequence, &OF_CHAINS, &places.here())?;
    let mut next = BTreeSet::new();
    if !follows(&places.here, &places.after) {
        next.insert(Class::Replaced.word());
    }
    settle(db, device, sequence.saturating_add(1), &[Class::Replaced], &next)
}

/// Makes what is noted of a place what it should be; what stays keeps the time when it was noticed.
fn settle(
    db: &Connection,
    device: &DeviceId,
    sequence: u64,
    judged: &[Class],
    found: &BTreeSet<&'static str>,
) -> Result<(), VaultError> {
    let at = i64::try_from(sequence).unwrap_or(i64::MAX);
    let noted: Vec<String> = db
        .prepare_cached("SELECT class FROM problem WHERE entry IS NULL AND device = ?1 AND sequence = ?2")?
        .query_map(params![device.as_bytes(), at], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for class in judged {
        let (was, is) = (noted.iter().any(|noted| noted == class.word()), found.contains(class.word()));
        if is && !was {
            let fault =
                Fault { class: *class, device: Some(*device), proven: true, sequence, reason: String::new() };
            problems::note(db, None, &fault)?;
        } else if was && !is {
            db.prepare_cached(
                "DELETE FROM problem WHERE entry IS NULL AND device = ?1 AND sequence = ?2 AND class = ?3",
            )?
            .execute(params![device.as_bytes(), at, class.word()])?;
        }
    }
    Ok(())
}

/// Whether the same signed entry is known under another id.
pub(crate) fn is_copy(db: &Connection, header: &Header, digest: [u8; 32]) -> Result<bool, VaultError> {
    let at = i64::try_from(header.sequence).unwrap_or(i64::MAX);
    Ok(db
        .prepare_cached("SELECT 1 FROM entry WHERE device = ?1 AND sequence = ?2 AND digest = ?3")?
        .exists(params![header.device.as_bytes(), at, digest])?)
}

/// What would be wrong with the chain of an author who was removed, if this entry were in it.
pub(crate) fn misfit(
    db: &Connection,
    id: &EntryId,
    header: &Header,
    digest: [u8; 32],
    removal: &Removal,
) -> Result<Option<Fault>, VaultError> {
    let mut places = Places::load(db, &header.device, header.sequence)?;
    let fault = |class, reason: String| {
        Some(Fault { class, device: Some(header.device), proven: true, sequence: header.sequence, reason })
    };
    if !places.here.is_empty() && !is_copy(db, header, digest)? {
        let reason = format!("another entry is known at number {}", header.sequence);
        return Ok(fault(Class::Forked, reason));
    }
    let last = removal.cut_entry.filter(|_| header.sequence == removal.cut);
    if last.is_some_and(|last| last != *id) && !is_copy(db, header, digest)? {
        let reason = format!("its removal names another entry as number {}", header.sequence);
        return Ok(fault(Class::Forked, reason));
    }
    places.here.push(Link {
        id: id.as_bytes().to_vec(),
        previous: header.previous.as_ref().map(|id| id.as_bytes().to_vec()),
        digest: Some(digest.to_vec()),
    });
    if !follows(&places.before, &places.here) || !follows(&places.here, &places.after) {
        let reason = format!("it does not fit between the entries beside number {}", header.sequence);
        return Ok(fault(Class::Replaced, reason));
    }
    Ok(None)
}

/// A verdict on a place, in words, with the entries that it is about.
pub(crate) fn chain_words(
    db: &Connection,
    device: &DeviceId,
    sequence: u64,
    class: Class,
) -> Result<String, VaultError> {
    let places = Places::load(db, device, sequence)?;
    let short = |links: &[Link]| -> Result<String, VaultError> {
        let ids = links
            .iter()
            .map(|link| Ok(EntryId::from_bytes(store::array(&link.id, "an entry id")?).short()))
            .collect::<Result<Vec<_>, VaultError>>()?;
        Ok(ids.join(", "))
    };
    Ok(match class {
        Class::Forked => format!(
            "its number {sequence} exists twice, and says two different things (entries {})",
            short(&places.here)?
        ),
        Class::Duplicated => {
            let authentic = places
                .here
                .iter()
                .find(|link| places.after.iter().any(|next| next.previous.as_ref() == Some(&link.id)));
            let which = match authentic {
                Some(link) => format!("; its own is {}", short(std::slice::from_ref(link))?),
                None => String::new(),
            };
            format!(
                "its number {sequence} came sealed more than once (entries {}{which})",
                short(&places.here)?
            )
        }
        _ => format!(
            "its number {sequence} does not follow what is known as its number {}: an entry was replaced, or \
             put in another order",
            sequence.saturating_sub(1)
        ),
    })
}
