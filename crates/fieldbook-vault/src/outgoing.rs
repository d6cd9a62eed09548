//! From a save to a sealed entry: sealed and put in the outbox in the same transaction as the
//! document, then handed to the depot.
//!
//! The chain of this device (sequence number, id of the previous entry) advances in that
//! transaction too, so a crash anywhere loses nothing, sends nothing twice, and never forks.

use fieldbook_depot::{Depot, Incoming, Source};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::{EntryId, ReportId, certificate::Recipient};
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind};
use rusqlite::{Connection, params};

use crate::error::VaultError;
use crate::rejoin;
use crate::store;
use crate::vault::{Vault, now_ms};

/// Longest run of automerge changes in one entry. Below the entry's limit by as much as a return
/// copy, which carries a whole sealed entry as its body, adds.
pub(crate) const CHANGES_MAX: usize = 768 * 1024;

const FLUSH_ENTRIES: i64 = 512;

/// An entry to be sealed.
pub(crate) struct Outgoing<'a> {
    pub kind: Kind,
    pub report: Option<ReportId>,
    pub audience: Audience,
    pub body: &'a [u8],
    pub recipients: &'a [Recipient],
}

/// The last entry of this device's chain.
#[derive(Default)]
struct Chain {
    sequence: u64,
    last: Option<EntryId>,
}

impl Chain {
    fn load(db: &Connection) -> Result<Self, VaultError> {
        let Some(bytes) = store::meta(db, "chain")? else { return Ok(Self::default()) };
        let mut reader = Reader::new(&bytes);
        let chain = Self {
            sequence: reader.u64("sequence")?,
            last: Some(EntryId::from_bytes(reader.array("last entry")?)),
        };
        reader.end()?;
        Ok(chain)
    }
}

/// The number of the last entry of this device's chain, and its id; 0 and none before the first.
pub(crate) fn chain_end(db: &Connection) -> Result<(u64, Option<EntryId>), VaultError> {
    let chain = Chain::load(db)?;
    Ok((chain.sequence, chain.last))
}

/// The number that the next entry of this device's chain will have.
pub(crate) fn next_sequence(db: &Connection) -> Result<u64, VaultError> {
    Ok(Chain::load(db)?.sequence + 1)
}

/// Seals an entry and puts it into the outbox. `db` must be inside the transaction of the save.
pub(crate) fn queue(
    db: &Connection,
    device: &DeviceSecret,
    outgoing: &Outgoing<'_>,
) -> Result<(EntryId, Header), VaultError> {
    queue_padded(db, device, outgoing, 1)
}

/// As [`queue`], with the number of recipients filled up to a multiple of `step` by keys that nobody has.
pub(crate) fn queue_padded(
    db: &Connection,
    device: &DeviceSecret,
    outgoing: &Outgoing<'_>,
    step: usize,
) -> Result<(EntryId, Header), VaultError> {
    // A second device with this one's keys must never go on with its chain.
    rejoin::check(db)?;
    if outgoing.recipients.is_empty() {
        return Err(VaultError::DeskClosed);
    }
    // Whoever takes this device must not be able to open what it wrote. Somebody else's certificate may
    // carry this device's recipient: whoever made that one cannot open the entry either.
    let own = device.keys().recipient;
    let recipients: Vec<Recipient> = outgoing.recipients.iter().filter(|to| **to != own).cloned().collect();
    if recipients.is_empty() || outgoing.audience.readers.contains(&device.id()) {
        return Err(VaultError::SealedToItself);
    }
    let chain = Chain::load(db)?;
    let header = Header {
        kind: outgoing.kind,
        device: device.id(),
        sequence: chain.sequence + 1,
        previous: chain.last,
        time_ms: now_ms(),
        report: outgoing.report,
        audience: outgoing.audience.clone(),
    };
    let signed = fieldbook_seal::sign(&header, outgoing.body, device)?;
    let sealed = fieldbook_seal::seal_padded(&signed, &recipients, step)?;
    let id = sealed.id();
    db.prepare_cached("INSERT INTO outbox (id, bytes) VALUES (?1, ?2)")?
        .execute(params![id.as_bytes(), sealed.as_bytes()])?;
    record(db, &id, &header, signed.digest())?;
    store::set_meta(db, "chain", &Writer::new().u64(header.sequence).raw(id.as_bytes()).finish())?;
    Ok((id, header))
}

/// Remembers an entry that this vault made or opened, whether it is another ciphertext of one that it
/// knows, and when that was. `digest`: of what was signed.
pub(crate) fn record(
    db: &Connection,
    id: &EntryId,
    header: &Header,
    digest: [u8; 32],
) -> Result<(), VaultError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO entry
             (id, device, sequence, previous, kind, report, time_ms, digest, epoch, seen_ms, copy)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             EXISTS (SELECT 1 FROM entry WHERE device = ?2 AND sequence = ?3 AND digest = ?8))",
    )?
    .execute(params![
        id.as_bytes(),
        header.device.as_bytes(),
        i64::try_from(header.sequence).unwrap_or(i64::MAX),
        header.previous.as_ref().map(|id| id.as_bytes().as_slice()),
        header.kind as u8,
        header.report.as_ref().map(|id| id.as_bytes().as_slice()),
        header.time_ms,
        digest,
        header.audience.desk.map(|(_, epoch)| epoch),
        now_ms(),
    ])?;
    Ok(())
}

impl Vault {
    /// Hands what waits in the outbox to the depot, where the network finds it. How many entries.
    ///
    /// # Errors
    /// The vault's or the depot's store failed; the entries stay in the outbox.
    pub fn flush(&mut self) -> Result<usize, VaultError> {
        let mut handed = 0;
        loop {
            let batch = self.outbox_batch()?;
            if batch.is_empty() {
                return Ok(handed);
            }
            let incoming: Vec<Incoming<'_>> =
                batch.iter().map(|(_, id, bytes)| Incoming { id: *id, bytes, from: Source::Own }).collect();
            self.depot.put(&incoming)?;
            // The entries are durable in the depot. That the outbox is empty need not be: if the power
            // fails now they are put once more, which changes nothing. So this commit waits for no disk.
            self.db.pragma_update(None, "synchronous", "NORMAL")?;
            let cleared = self.clear_outbox(&batch);
            self.db.pragma_update(None, "synchronous", "FULL")?;
            cleared?;
            handed += batch.len();
        }
    }

    /// Takes entries that the depot has out of the outbox, and notes where they stand there.
    fn clear_outbox(&mut self, batch: &[(i64, EntryId, Vec<u8>)]) -> Result<(), VaultError> {
        let tx = self.db.transaction()?;
        for (number, id, _) in batch {
            let position = self.depot.position(id)?.unwrap_or(0);
            tx.prepare_cached("UPDATE entry SET position = ?2 WHERE id = ?1")?
                .execute(params![id.as_bytes(), i64::try_from(position).unwrap_or(i64::MAX)])?;
            tx.prepare_cached("DELETE FROM outbox WHERE number = ?1")?.execute([number])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// The oldest entries of the outbox, at most 512 and about 8 MiB.
    fn outbox_batch(&self) -> Result<Vec<(i64, EntryId, Vec<u8>)>, VaultError> {
        let mut statement =
            self.db.prepare_cached("SELECT number, id, bytes FROM outbox ORDER BY number LIMIT ?1")?;
        let mut rows = statement.query([FLUSH_ENTRIES])?;
        let mut batch = Vec::new();
        let mut size = 0;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(2)?;
            size += bytes.len();
            batch.push((
                row.get(0)?,
                EntryId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "an entry id")?),
                bytes,
            ));
            if size > 8 << 20 {
                break;
            }
        }
        Ok(batch)
    }
}
