//! The drafts of a vault that becomes a new device: written anew by its hand, under new ids.
//!
//! New ids, because the other copy may finish the same draft as its own: a report has one author, and of two
//! with one id the second would be refused. So at worst the same words arrive twice.

use std::collections::HashMap;

use fieldbook_depot::{Depot, Lookup, SqlDepot};
use fieldbook_proto::{AttachmentId, DeviceId, EntryId, ReportId};
use fieldbook_report::{AttachmentManifest, ReportDocument};
use fieldbook_seal::{ReadingIdentity, SealedEntry};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::VaultError;
use crate::names::actor_of;
use crate::reports::{document_bytes, save_document};
use crate::slots;
use crate::store;
use crate::vault::now_ms;

struct Draft {
    number: i64,
    old: ReportId,
    new: ReportId,
    updated_ms: i64,
}

/// Makes every draft one of `me`. A draft whose document does not read back is left as it is.
pub(super) fn write_anew(db: &Connection, depot: &SqlDepot, me: &DeviceId) -> Result<(), VaultError> {
    let drafts = all(db)?;
    let new_ids: HashMap<String, ReportId> =
        drafts.iter().map(|draft| (draft.old.to_string(), draft.new)).collect();
    for draft in &drafts {
        let Ok(document) = ReportDocument::reopen(actor_of(me), &document_bytes(db, draft.number)?) else {
            continue;
        };
        let attachments = document.attachments();
        let adds_to = document.view().addendum_to;
        let adds_to = adds_to.map(|id| new_ids.get(&id).map(ReportId::to_string).unwrap_or(id));
        let Ok(mut anew) = document.anew(actor_of(me), adds_to, attachments.clone(), now_ms()) else {
            continue;
        };
        for manifest in &attachments {
            open_parts(db, depot, manifest)?;
        }
        let answers = ReadingIdentity::generate();
        db.execute(
            "UPDATE report SET id = ?2, author = ?3, sent_heads = x'', return_secret = ?4, return_recipient = ?5
             WHERE number = ?1",
            params![
                draft.number,
                draft.new.as_bytes(),
                me.as_bytes(),
                answers.to_text().as_bytes(),
                answers.recipient().as_str(),
            ],
        )?;
        save_document(db, draft.number, &mut anew, false)?;
        db.execute(
            "UPDATE report SET updated_ms = ?2 WHERE number = ?1",
            params![draft.number, draft.updated_ms],
        )?;
        db.execute(
            "UPDATE attachment SET report = ?2 WHERE report = ?1",
            params![draft.old.as_bytes(), draft.new.as_bytes()],
        )?;
        // Parts that the old device had sealed for it belong to no report any more.
        db.execute("UPDATE entry SET report = NULL WHERE report = ?1", [draft.old.as_bytes()])?;
    }
    Ok(())
}

fn all(db: &Connection) -> Result<Vec<Draft>, VaultError> {
    let mut statement = db.prepare("SELECT number, id, updated_ms FROM report WHERE finished = 0")?;
    let mut rows = statement.query([])?;
    let mut drafts = Vec::new();
    while let Some(row) = rows.next()? {
        let mut random = [0; 16];
        slots::fill(&mut random)?;
        drafts.push(Draft {
            number: row.get(0)?,
            old: ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a report id")?),
            new: ReportId::from_bytes(random),
            updated_ms: row.get(2)?,
        });
    }
    Ok(drafts)
}

/// Readies an attachment to be sealed by the new device: parts that the old one sealed already, in a `finish`
/// that broke off, are opened again.
fn open_parts(db: &Connection, depot: &SqlDepot, manifest: &AttachmentManifest) -> Result<(), VaultError> {
    let (Ok(id), Ok(identity)) =
        (manifest.id.parse::<AttachmentId>(), ReadingIdentity::parse(&manifest.identity))
    else {
        return Ok(());
    };
    let sealed: Vec<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT number, entry FROM attachment_part WHERE attachment = ?1 AND entry IS NOT NULL",
        )?
        .query_map([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (number, entry) in sealed {
        let entry = EntryId::from_bytes(store::array(&entry, "an entry id")?);
        // What cannot be opened stays named by its entry: it is signed, and readers will take it.
        let Some(bytes) = opened(db, depot, &entry, &identity)? else { continue };
        db.execute(
            "UPDATE attachment_part SET bytes = ?3, entry = NULL WHERE attachment = ?1 AND number = ?2",
            params![id.as_bytes(), number, bytes],
        )?;
    }
    Ok(())
}

/// What a part says that this vault itself sealed.
fn opened(
    db: &Connection,
    depot: &SqlDepot,
    entry: &EntryId,
    identity: &ReadingIdentity,
) -> Result<Option<Vec<u8>>, VaultError> {
    let waiting: Option<Vec<u8>> = db
        .prepare_cached("SELECT bytes FROM outbox WHERE id = ?1")?
        .query_row([entry.as_bytes()], |row| row.get(0))
        .optional()?;
    let bytes = match (waiting, depot.get(entry)?) {
        (Some(bytes), _) | (None, Lookup::Held(bytes)) => bytes,
        (None, _) => return Ok(None),
    };
    let unverified =
        SealedEntry::parse(bytes).ok().and_then(|sealed| fieldbook_seal::decrypt(&sealed, &[identity]).ok());
    Ok(unverified.map(|unverified| unverified.claimed_body().to_vec()))
}
