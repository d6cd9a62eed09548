//! Receipts: what a coordinator's device signs for, and what comes back to the author.

use fieldbook_proto::{DeviceId, EntryId};
use fieldbook_seal::body::{RECEIPT_IDS_MAX, Receipt};
use fieldbook_seal::{Header, Kind};
use rusqlite::{Connection, params};

use super::take::{Taken, Taker, bad_by};
use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::store;
use crate::team::find_device;
use crate::vault::{Vault, now_ms};

pub(super) fn take(taker: &mut Taker<'_>, header: &Header, body: &[u8]) -> Result<Taken, VaultError> {
    let receipt = match Receipt::decode(body) {
        Ok(receipt) => receipt,
        Err(error) => return bad_by(header.device, error.to_string()),
    };
    let to_me = header.audience.readers.contains(&taker.me);
    for id in receipt.ids {
        if to_me && crate::rejoin::unknown_to_this_copy(taker.db, &id)? {
            store::set_meta(taker.db, crate::rejoin::SUPERSEDED, &[1])?;
        }
        taker.summary.receipts += taker
            .db
            .prepare_cached("INSERT OR IGNORE INTO receipt (entry, device, time_ms) VALUES (?1, ?2, ?3)")?
            .execute(params![id.as_bytes(), header.device.as_bytes(), receipt.time_ms])?;
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

impl Vault {
    /// Signs for what came in, one receipt per author.
    pub(super) fn write_receipts(&mut self) -> Result<(), VaultError> {
        let due: Vec<(Vec<u8>, Vec<u8>)> = self
            .db
            .prepare_cached("SELECT author, entry FROM receipt_due ORDER BY author")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        if due.is_empty() {
            return Ok(());
        }
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let tx = self.db.transaction()?;
        let due = crate::team::to_successors(&tx, due)?;
        for by_author in due.chunk_by(|(a, _), (b, _)| a == b) {
            let author = DeviceId::from_bytes(store::array(&by_author[0].0, "a device id")?);
            let Some(known) = find_device(&tx, &author)? else { continue };
            if team.authority.is_removed(&author) {
                continue;
            }
            for ids in by_author.chunks(RECEIPT_IDS_MAX) {
                let ids = ids
                    .iter()
                    .map(|(_, id)| Ok(EntryId::from_bytes(store::array(id, "an entry id")?)))
                    .collect::<Result<Vec<_>, VaultError>>()?;
                let body = Receipt { time_ms: now_ms(), ids }.encode();
                let (audience, recipients) =
                    team.audience_of(author, &known.certificate.body().keys.recipient);
                let kind = Kind::Receipt;
                let receipt = Outgoing { kind, report: None, audience, body: &body, recipients: &recipients };
                outgoing::queue(&tx, &self.device, &receipt)?;
            }
        }
        tx.execute("DELETE FROM receipt_due", [])?;
        tx.commit()?;
        Ok(())
    }
}
