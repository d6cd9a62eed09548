//! Receipts: what a coordinator's device signs for, and what comes back to the author.

use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{RECEIPT_IDS_MAX, Receipt};
use fieldbook_seal::{DeviceSecret, Header, Kind};
use rusqlite::{Connection, params};

use super::own;
use super::take::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::problems::{self, Class, Fault};
use crate::store;
use crate::team::{Team, find_device};
use crate::vault::{Vault, now_ms};

pub(super) fn take(
    taker: &mut Taker<'_>,
    id: &EntryId,
    header: &Header,
    body: &[u8],
) -> Result<Taken, VaultError> {
    let receipt = match Receipt::decode(body) {
        Ok(receipt) => receipt,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    // It names one reader, the author of what is signed for.
    let author = match header.audience.readers.as_slice() {
        [author] => Some(*author),
        _ => None,
    };
    let sequence = |index: usize| {
        let sequence = receipt.sequences.get(index).copied().unwrap_or(0);
        i64::try_from(sequence).unwrap_or(0)
    };
    for (index, id) in receipt.ids.iter().enumerate() {
        taker.summary.receipts += taker
            .db
            .prepare_cached(
                "INSERT OR IGNORE INTO receipt (entry, device, time_ms, author, sequence)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                id.as_bytes(),
                header.device.as_bytes(),
                receipt.time_ms,
                author.as_ref().map(|id| id.as_bytes().as_slice()),
                sequence(index)
            ])?;
    }
    if author == Some(taker.me) {
        own::compare_with_receipt(taker, id, header, &receipt)?;
    }
    Ok(Taken::Done)
}

/// Notes that this device, a coordinator's, has to sign for an entry.
pub(crate) fn note_receipt_due(
    db: &Connection,
    me: &DeviceId,
    id: &EntryId,
    header: &Header,
) -> Result<(), VaultError> {
    if header.device != *me {
        db.prepare_cached("INSERT OR IGNORE INTO receipt_due (entry, author) VALUES (?1, ?2)")?
            .execute(params![id.as_bytes(), header.device.as_bytes()])?;
    }
    Ok(())
}

/// An entry that is to be signed for, and its place in its author's chain.
struct Due {
    author: Vec<u8>,
    entry: EntryId,
    sequence: u64,
}

impl Vault {
    /// Signs for what came in, one receipt per author. An author to whom nothing can be sealed gets none,
    /// which is noted, and keeps nobody else from theirs.
    pub(super) fn write_receipts(&mut self) -> Result<(), VaultError> {
        let mut due = self.receipts_due()?;
        if due.is_empty() {
            return Ok(());
        }
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let mut tx = self.db.transaction()?;
        to_successors(&tx, &mut due)?;
        for by_author in due.chunk_by(|a, b| a.author == b.author) {
            let author = DeviceId::from_bytes(store::array(&by_author[0].author, "a device id")?);
            let savepoint = tx.savepoint()?;
            match sign_for(&savepoint, &self.device, team, author, by_author) {
                Ok(()) => savepoint.commit()?,
                Err(error) if error.is_about_one_thing() => {
                    savepoint.finish()?;
                    let reason = format!("its entry could not be signed for: {error}");
                    let fault = Fault {
                        device: Some(author),
                        sequence: by_author[0].sequence,
                        proven: true,
                        ..Fault::of(Class::SetAside, reason)
                    };
                    problems::note(&tx, Some(&by_author[0].entry), &fault)?;
                }
                Err(error) => return Err(error),
            }
        }
        tx.execute("DELETE FROM receipt_due", [])?;
        tx.commit()?;
        Ok(())
    }

    fn receipts_due(&self) -> Result<Vec<Due>, VaultError> {
        let mut statement = self.db.prepare_cached(
            // The number of another chain, of a device that this one replaced, would say nothing.
            "SELECT author, receipt_due.entry, CASE WHEN device = author THEN sequence ELSE 0 END
             FROM receipt_due LEFT JOIN entry ON entry.id = receipt_due.entry ORDER BY author",
        )?;
        let mut rows = statement.query([])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(Due {
                author: row.get(0)?,
                entry: EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "an entry id")?),
                sequence: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            });
        }
        Ok(due)
    }
}

/// Receipts for a device that was replaced go to the one that took its place. The numbers of the old chain say
/// nothing about the new one.
fn to_successors(db: &Connection, due: &mut [Due]) -> Result<(), VaultError> {
    for due in due.iter_mut() {
        if let Some(successor) = crate::team::successor(db, &due.author)? {
            due.author = successor;
            due.sequence = 0;
        }
    }
    due.sort_by(|a, b| a.author.cmp(&b.author));
    Ok(())
}

fn sign_for(
    db: &Connection,
    device: &DeviceSecret,
    team: &Team,
    author: DeviceId,
    due: &[Due],
) -> Result<(), VaultError> {
    let Some(known) = find_device(db, &author)? else { return Ok(()) };
    if team.authority.is_removed(&author) {
        return Ok(());
    }
    for due in due.chunks(RECEIPT_IDS_MAX) {
        let receipt = Receipt {
            time_ms: now_ms(),
            ids: due.iter().map(|due| due.entry).collect(),
            sequences: due.iter().map(|due| due.sequence).collect(),
        };
        let body = receipt.encode();
        let (audience, recipients) = team.audience_of(author, &known.certificate.body().keys.recipient);
        let kind = Kind::Receipt;
        let entry = Outgoing { kind, report: None, audience, body: &body, recipients: &recipients };
        outgoing::queue(db, device, &entry)?;
    }
    Ok(())
}
