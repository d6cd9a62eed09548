//! Own reports that only somebody removed could read are sent again.
//!
//! A coordinator in wrong hands can tell one monitor of an epoch of the desk that nobody else knows of.
//! What the monitor then sends is closed to the others, until that coordinator is removed and the others'
//! epoch is current again. Then the monitor seals it anew. So does one whose coordinator left before the
//! others had what it sent.

use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_seal::Kind;
use rusqlite::{Connection, params};

use crate::error::VaultError;
use crate::reports::{ReportRow, Sender, load_document, queue_changes};
use crate::store;
use crate::team::Team;
use crate::vault::Vault;

/// The epochs that were dealt with: of each the hash of its recipient.
const DONE: &str = "sent-again";

impl Vault {
    /// Seals whole once more, for the current epoch, every finished report of this device that was sealed to
    /// an epoch whose issuer no longer speaks for the desk and that nobody who stands has signed for. How
    /// many.
    pub(crate) fn send_again(&mut self) -> Result<usize, VaultError> {
        let Some(team) = &self.team else { return Ok(0) };
        let speaks = |issuer: &DeviceId| team.authority.reads_for(issuer, team.desk);
        // Not before an epoch is here that only those can open who still read for the desk.
        if !team.open_epoch().is_some_and(|row| speaks(&row.issuer) && row.readers.iter().all(speaks)) {
            return Ok(0);
        }
        let mut done = store::meta(&self.db, DONE)?.unwrap_or_default();
        let mut epochs = Vec::new();
        for row in team.desk_epochs.iter().filter(|row| row.desk == team.desk && !speaks(&row.issuer)) {
            let hash = blake3::hash(row.recipient.as_str().as_bytes());
            if !done.chunks(32).any(|known| known == hash.as_bytes()) {
                done.extend_from_slice(hash.as_bytes());
                epochs.push(row.epoch);
            }
        }
        if epochs.is_empty() {
            return Ok(0);
        }
        let tx = self.db.transaction()?;
        let mut reports = Vec::new();
        for epoch in epochs {
            reports.extend(unread(&tx, team, &self.me, epoch)?);
        }
        reports.sort();
        reports.dedup();
        for report in &reports {
            tx.execute(
                "UPDATE entry SET superseded = 1 WHERE report = ?1 AND device = ?2 AND kind = ?3",
                params![report.as_bytes(), self.me.as_bytes(), Kind::Report as u8],
            )?;
            // From its beginning: what was sent in that epoch is in nobody's hands.
            let mut row = ReportRow::get(&tx, report)?;
            row.sent_heads.clear();
            let mut document = load_document(&tx, &self.me, row.number)?;
            let sender = Sender { device: &self.device, team, author_recipient: None };
            queue_changes(&sender, &tx, &row, &mut document)?;
        }
        store::set_meta(&tx, DONE, &done)?;
        tx.commit()?;
        Ok(reports.len())
    }
}

/// The reports of this device with an entry that was sealed to this epoch and that no coordinator who
/// stands has signed for.
fn unread(db: &Connection, team: &Team, me: &DeviceId, epoch: u32) -> Result<Vec<ReportId>, VaultError> {
    let mut entries = db.prepare_cached(
        "SELECT r.id, e.id FROM report r JOIN entry e ON e.report = r.id
         WHERE r.author = ?1 AND r.finished = 1 AND e.device = ?1 AND e.kind = ?2 AND e.epoch = ?3",
    )?;
    let mut receipts = db.prepare_cached("SELECT device FROM receipt WHERE entry = ?1")?;
    let mut rows = entries.query(params![me.as_bytes(), Kind::Report as u8, epoch])?;
    let mut unread = Vec::new();
    while let Some(row) = rows.next()? {
        let report = ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a report id")?);
        let entry: Vec<u8> = row.get(1)?;
        let mut signed = receipts.query([entry])?;
        let mut stands = false;
        while let Some(row) = signed.next()? {
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a device id")?);
            stands |= team.authority.reads_for(&device, team.desk);
        }
        if !stands {
            unread.push(report);
        }
    }
    Ok(unread)
}
