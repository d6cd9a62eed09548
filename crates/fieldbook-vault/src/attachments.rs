//! Attachments: the original bytes, hashed as they are read, in parts of at most 1 MiB.
//!
//! While the report is a draft the parts lie in the vault. When they may leave, each becomes a
//! sealed entry under an age identity of this attachment; that identity, the hashes and the entries'
//! ids stand in the report's document, so whoever may read the report may read the attachment.
//! Memory stays at a part, whatever the size.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use fieldbook_depot::{Depot, Lookup};
use fieldbook_proto::{AttachmentId, EntryId, ReportId};
use fieldbook_report::{AttachmentManifest, Edit};
use fieldbook_seal::{Audience, Kind, ReadingIdentity, SealedEntry};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::error::VaultError;
use crate::outgoing::{self, Outgoing};
use crate::reports::{ReportRow, load_document};
use crate::slots;
use crate::store;
use crate::vault::{Vault, now_ms};
use crate::views::Attached;

/// Bytes in a part: 1 MiB.
pub const PART_LEN: usize = fieldbook_proto::limits::ENTRY_BODY_MAX;

/// How many sealed parts wait in the outbox before they are handed on: bounds the vault's growth.
const PARTS_PER_FLUSH: usize = 8;

/// Notes the parts that a manifest names, so that they are checked when they arrive.
pub(crate) fn expect_parts(
    db: &Connection,
    report: &ReportId,
    manifest: &AttachmentManifest,
) -> Result<(), VaultError> {
    let Ok(attachment) = manifest.id.parse::<AttachmentId>() else { return Ok(()) };
    for part in manifest.parts.iter().take(fieldbook_report::limits::PARTS_MAX) {
        let Ok(entry) = part.parse::<EntryId>() else { continue };
        db.prepare_cached(
            "INSERT OR IGNORE INTO expected_part (entry, attachment, report)
             SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id = ?1)",
        )?
        .execute(params![entry.as_bytes(), attachment.as_bytes(), report.as_bytes()])?;
    }
    Ok(())
}

impl Vault {
    /// Adds a file to a report. The file itself is not changed or removed.
    ///
    /// # Errors
    /// The file cannot be read, or the store's. Nothing is added then.
    pub fn attach(
        &mut self,
        id: ReportId,
        path: &Path,
        name: Option<&str>,
        media_type: &str,
    ) -> Result<Attached, VaultError> {
        let file =
            File::open(path).map_err(VaultError::io(format!("{} could not be opened", path.display())))?;
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.map(str::to_owned).or(file_name).unwrap_or_else(|| "attachment".to_owned());
        let row = ReportRow::get(&self.db, &id)?;
        let mut manifest = self.store_parts(&id, file, path)?;
        manifest.name = name;
        manifest.media_type = media_type.to_owned();
        let attachment = crate::store::array(&parse_id(&manifest.id)?.as_bytes()[..], "an attachment id")?;
        if row.finished {
            manifest.parts = self.seal_parts(&id, &manifest)?;
        }
        let attachment_id = manifest.id.clone();
        self.change(id, |document| Ok(document.edit(&[Edit::AddAttachment(manifest)], now_ms())?))?;
        self.db.execute(
            "UPDATE attachment SET complete = 1 WHERE id = ?1",
            [AttachmentId::from_bytes(attachment).as_bytes()],
        )?;
        let shown = self.show(id)?;
        let attachment = shown
            .content
            .attachments
            .into_iter()
            .find(|attachment| attachment.id == attachment_id)
            .ok_or(VaultError::NoSuchAttachment(attachment_id))?;
        Ok(Attached { report: shown.summary, attachment })
    }

    /// Writes an attachment out, checked against the hash taken when it was added. An explicit
    /// export: what `out` does with it is its owner's matter.
    ///
    /// # Errors
    /// [`VaultError::NoSuchAttachment`], [`VaultError::NotArrived`], [`VaultError::Damaged`] when
    /// the bytes do not match their hash.
    pub fn save_attachment(
        &self,
        id: ReportId,
        wanted: &str,
        out: &mut dyn Write,
    ) -> Result<AttachmentManifest, VaultError> {
        let manifest = self.manifest(&id, wanted)?;
        let identity = attachment_identity(&manifest)?;
        let count = self.part_count(&manifest)?;
        let mut hasher = blake3::Hasher::new();
        let mut written = 0;
        for number in 0..count {
            let Some(bytes) = self.part(&manifest, &identity, number)? else {
                return Err(VaultError::NotArrived { have: self.parts_here(&manifest)?, of: count });
            };
            hasher.update(&bytes);
            written += bytes.len() as u64;
            out.write_all(&bytes).map_err(VaultError::io("the attachment could not be written"))?;
        }
        if hasher.finalize().to_hex().as_str() != manifest.blake3 || written != manifest.size {
            return Err(VaultError::damaged("an attachment does not match the hash taken when it was added"));
        }
        Ok(manifest)
    }

    /// Seals the parts of an attachment, one transaction each, and returns their entries' ids in
    /// order. Parts that an interrupted attempt sealed are not sealed again.
    pub(crate) fn seal_parts(
        &mut self,
        id: &ReportId,
        manifest: &AttachmentManifest,
    ) -> Result<Vec<String>, VaultError> {
        let attachment = parse_id(&manifest.id)?;
        let recipient = attachment_identity(manifest)?.recipient();
        let audience = Audience { attachment: Some(attachment), ..self.team()?.desk_audience().0 };
        let numbers: Vec<(i64, Option<Vec<u8>>)> = self
            .db
            .prepare_cached(
                "SELECT number, entry FROM attachment_part WHERE attachment = ?1 ORDER BY number",
            )?
            .query_map([attachment.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut entries = Vec::new();
        for (number, sealed) in numbers {
            if let Some(entry) = sealed {
                entries.push(EntryId::from_bytes(store::array(&entry, "an entry id")?).to_string());
                continue;
            }
            let tx = self.db.transaction()?;
            let bytes: Vec<u8> = tx
                .prepare_cached("SELECT bytes FROM attachment_part WHERE attachment = ?1 AND number = ?2")?
                .query_row(params![attachment.as_bytes(), number], |row| row.get(0))?;
            let (entry, _) = outgoing::queue(
                &tx,
                &self.device,
                &Outgoing {
                    kind: Kind::AttachmentPart,
                    report: Some(*id),
                    audience: audience.clone(),
                    body: &bytes,
                    recipients: std::slice::from_ref(&recipient),
                },
            )?;
            tx.prepare_cached(
                "UPDATE attachment_part SET entry = ?3, bytes = NULL WHERE attachment = ?1 AND number = ?2",
            )?
            .execute(params![attachment.as_bytes(), number, entry.as_bytes()])?;
            tx.commit()?;
            entries.push(entry.to_string());
            if entries.len() % PARTS_PER_FLUSH == 0 {
                self.flush()?;
            }
        }
        Ok(entries)
    }

    /// The age identities of a report's attachments, but for those that do not read: somebody else may
    /// have written them.
    pub(crate) fn attachment_identities(&self, id: &ReportId) -> Result<Vec<ReadingIdentity>, VaultError> {
        let row = ReportRow::get(&self.db, id)?;
        let document = load_document(&self.db, &self.me, row.number)?;
        Ok(document.attachments().iter().filter_map(|manifest| attachment_identity(manifest).ok()).collect())
    }

    /// Removes the parts of attachments whose adding was interrupted: no report names them.
    pub(crate) fn clear_incomplete_attachments(&mut self) -> Result<(), VaultError> {
        let pending: Vec<(Vec<u8>, Vec<u8>)> = self
            .db
            .prepare("SELECT id, report FROM attachment WHERE complete = 0")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (attachment, report) in pending {
            let attachment = AttachmentId::from_bytes(store::array(&attachment, "an attachment id")?);
            let report = ReportId::from_bytes(store::array(&report, "a report id")?);
            let named = match ReportRow::find(&self.db, &report)? {
                Some(row) => load_document(&self.db, &self.me, row.number)?
                    .attachments()
                    .iter()
                    .any(|manifest| manifest.id == attachment.to_string()),
                None => false,
            };
            let tx = self.db.transaction()?;
            if named {
                tx.execute("UPDATE attachment SET complete = 1 WHERE id = ?1", [attachment.as_bytes()])?;
            } else {
                // Parts that were sealed already belong to no report: nobody will ever sign for them.
                tx.execute(
                    "UPDATE entry SET report = NULL WHERE id IN
                         (SELECT entry FROM attachment_part WHERE attachment = ?1 AND entry IS NOT NULL)",
                    [attachment.as_bytes()],
                )?;
                tx.execute("DELETE FROM attachment_part WHERE attachment = ?1", [attachment.as_bytes()])?;
                tx.execute("DELETE FROM attachment WHERE id = ?1", [attachment.as_bytes()])?;
            }
            tx.commit()?;
        }
        Ok(())
    }

    /// Reads a file into the vault, part by part, hashing as it goes.
    fn store_parts(
        &mut self,
        id: &ReportId,
        mut file: File,
        path: &Path,
    ) -> Result<AttachmentManifest, VaultError> {
        let mut random = [0; 16];
        slots::fill(&mut random)?;
        let attachment = AttachmentId::from_bytes(random);
        let identity = ReadingIdentity::generate();
        self.db.execute(
            "INSERT INTO attachment (id, report, complete) VALUES (?1, ?2, 0)",
            params![attachment.as_bytes(), id.as_bytes()],
        )?;
        let (mut blake3, mut sha256, mut size) = (blake3::Hasher::new(), Sha256::new(), 0);
        let mut part = Vec::with_capacity(PART_LEN);
        for number in 0_i64.. {
            part.clear();
            Read::by_ref(&mut file)
                .take(PART_LEN as u64)
                .read_to_end(&mut part)
                .map_err(VaultError::io(format!("{} could not be read", path.display())))?;
            if part.is_empty() {
                break;
            }
            blake3.update(&part);
            sha256.update(&part);
            size += part.len() as u64;
            self.db
                .prepare_cached(
                    "INSERT INTO attachment_part (attachment, number, bytes) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![attachment.as_bytes(), number, part])?;
        }
        Ok(AttachmentManifest {
            id: attachment.to_string(),
            name: String::new(),
            media_type: String::new(),
            size,
            blake3: blake3.finalize().to_hex().to_string(),
            sha256: fieldbook_proto::encode_hex(&sha256.finalize()),
            identity: identity.to_text().to_string(),
            parts: Vec::new(),
        })
    }

    /// Copies an attachment's bytes into another report, checked against the hash taken when it was added,
    /// under an id and a key of its own. The report is a draft that does not name it yet.
    pub(crate) fn copy_attachment(
        &mut self,
        manifest: &AttachmentManifest,
        to: &ReportId,
    ) -> Result<AttachmentManifest, VaultError> {
        let from = attachment_identity(manifest)?;
        let count = self.part_count(manifest)?;
        let mut random = [0; 16];
        slots::fill(&mut random)?;
        let (attachment, identity) = (AttachmentId::from_bytes(random), ReadingIdentity::generate());
        self.db.execute(
            "INSERT INTO attachment (id, report, complete) VALUES (?1, ?2, 0)",
            params![attachment.as_bytes(), to.as_bytes()],
        )?;
        let mut hasher = blake3::Hasher::new();
        for number in 0..count {
            let Some(bytes) = self.part(manifest, &from, number)? else {
                return Err(VaultError::NotArrived { have: self.parts_here(manifest)?, of: count });
            };
            hasher.update(&bytes);
            self.db
                .prepare_cached(
                    "INSERT INTO attachment_part (attachment, number, bytes) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![attachment.as_bytes(), i64::try_from(number).unwrap_or(i64::MAX), bytes])?;
        }
        if hasher.finalize().to_hex().as_str() != manifest.blake3 {
            return Err(VaultError::damaged("an attachment does not match the hash taken when it was added"));
        }
        Ok(AttachmentManifest {
            id: attachment.to_string(),
            identity: identity.to_text().to_string(),
            parts: Vec::new(),
            ..manifest.clone()
        })
    }

    /// These attachments are named by their report.
    pub(crate) fn attachments_complete(&self, ids: &[String]) -> Result<(), VaultError> {
        for id in ids {
            self.db
                .execute("UPDATE attachment SET complete = 1 WHERE id = ?1", [parse_id(id)?.as_bytes()])?;
        }
        Ok(())
    }

    fn manifest(&self, id: &ReportId, wanted: &str) -> Result<AttachmentManifest, VaultError> {
        let row = ReportRow::get(&self.db, id)?;
        let document = load_document(&self.db, &self.me, row.number)?;
        let lowered = wanted.to_ascii_lowercase();
        let mut matches: Vec<AttachmentManifest> = document
            .attachments()
            .into_iter()
            .filter(|manifest| {
                manifest.name == wanted || (!lowered.is_empty() && manifest.id.starts_with(&lowered))
            })
            .collect();
        match (matches.pop(), matches.len()) {
            (Some(manifest), 0) => Ok(manifest),
            (Some(_), more) => Err(VaultError::Ambiguous { prefix: wanted.to_owned(), matches: more + 1 }),
            (None, _) => Err(VaultError::NoSuchAttachment(wanted.to_owned())),
        }
    }

    /// A part's bytes: from the vault while it is a draft's, else from its sealed entry.
    fn part(
        &self,
        manifest: &AttachmentManifest,
        identity: &ReadingIdentity,
        number: usize,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let attachment = parse_id(&manifest.id)?;
        let stored: Option<Option<Vec<u8>>> = self
            .db
            .prepare_cached("SELECT bytes FROM attachment_part WHERE attachment = ?1 AND number = ?2")?
            .query_row(params![attachment.as_bytes(), i64::try_from(number).unwrap_or(i64::MAX)], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(bytes) = stored.flatten() {
            return Ok(Some(bytes));
        }
        let Some(entry) = manifest.parts.get(number).and_then(|id| id.parse::<EntryId>().ok()) else {
            return Ok(None);
        };
        let Lookup::Held(bytes) = self.depot.get(&entry)? else { return Ok(None) };
        let damaged = || VaultError::damaged("a part of an attachment does not open");
        let sealed = SealedEntry::parse(bytes).map_err(|_| damaged())?;
        let unverified = fieldbook_seal::decrypt(&sealed, &[identity]).map_err(|_| damaged())?;
        let author = unverified.header().device;
        let keys = if author == self.me {
            self.device.keys()
        } else {
            self.certificate_of(&author)?.ok_or_else(damaged)?.body().keys.clone()
        };
        let opened = unverified.verify(&keys).map_err(|_| damaged())?;
        if opened.header().audience.attachment != Some(attachment) {
            return Err(damaged());
        }
        Ok(Some(opened.body().to_vec()))
    }

    fn part_count(&self, manifest: &AttachmentManifest) -> Result<usize, VaultError> {
        if manifest.parts.is_empty() {
            let attachment = parse_id(&manifest.id)?;
            let count: i64 = self
                .db
                .prepare_cached("SELECT count(*) FROM attachment_part WHERE attachment = ?1")?
                .query_row([attachment.as_bytes()], |row| row.get(0))?;
            return Ok(usize::try_from(count).unwrap_or(0));
        }
        Ok(manifest.parts.len())
    }

    fn parts_here(&self, manifest: &AttachmentManifest) -> Result<usize, VaultError> {
        let mut here = 0;
        for part in manifest.parts.iter().filter_map(|id| id.parse::<EntryId>().ok()) {
            here += usize::from(matches!(self.depot.get(&part)?, Lookup::Held(_)));
        }
        Ok(here)
    }
}

fn parse_id(text: &str) -> Result<AttachmentId, VaultError> {
    text.parse().map_err(|_| VaultError::damaged("an attachment's id does not read"))
}

fn attachment_identity(manifest: &AttachmentManifest) -> Result<ReadingIdentity, VaultError> {
    ReadingIdentity::parse(&manifest.identity)
        .map_err(|_| VaultError::damaged("an attachment's key does not read"))
}
