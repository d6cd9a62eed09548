//! One device in the place of another: the new one is admitted, the old one removed as lost, and what the old
//! one wrote is receipted to its successor.

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Act, Role};
use fieldbook_proto::pairing::{Admission, JoinRequest};
use fieldbook_seal::Kind;
use rusqlite::{Connection, OptionalExtension, params};

use super::keeping::Keep;
use super::log;
use crate::error::VaultError;
use crate::vault::{Vault, now_ms};
use crate::views::RemovalSummary;

/// The device to which receipts for another one's entries go, however often it was replaced.
pub(crate) fn successor(db: &Connection, device: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
    let mut last = None;
    let mut at = device.to_vec();
    // A circle cannot be: a device that was removed does not come back.
    while let Some(next) = db
        .prepare_cached("SELECT new FROM replacement WHERE old = ?1")?
        .query_row([&at], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
    {
        last = Some(next.clone());
        at = next;
    }
    Ok(last)
}

/// What a newcomer means for the members that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resemblance {
    /// A standing member, not the newcomer, that is called the same.
    pub same_name: Option<DeviceId>,
    /// The standing member that the newcomer says it was before it was restored.
    pub was: Option<DeviceId>,
}

impl Vault {
    /// Whether a newcomer may be somebody who is in the team already.
    ///
    /// # Errors
    /// The store's.
    pub fn resemblance(&self, request: &JoinRequest) -> Result<Resemblance, VaultError> {
        let newcomer = request.keys.device_id();
        let Some(team) = &self.team else { return Ok(Resemblance::default()) };
        let standing = |id: &DeviceId| *id != newcomer && !team.authority.is_removed(id);
        let name = request.name.trim().to_lowercase();
        let mut found = Resemblance::default();
        for known in self.members()?.into_iter().filter(|known| standing(&known.id())) {
            if known.label.to_lowercase() == name {
                found.same_name = Some(known.id());
            }
            if request.former.is_some_and(|former| former.device == known.id()) {
                found.was = Some(known.id());
            }
        }
        Ok(found)
    }

    /// Admits a device in the place of another one of the team, which is removed as lost: its chain ends with
    /// what is here or, if the newcomer says that it was this device before, with what the newcomer brings.
    /// The admission already tells of the removal. Receipts for what the old device wrote go to the new one.
    ///
    /// # Errors
    /// As [`Vault::admit`] and [`Vault::remove_device`]. A pairing that broke off afterwards can be
    /// repeated.
    pub fn admit_in_place_of(
        &mut self,
        request: &JoinRequest,
        role: Role,
        old: DeviceId,
    ) -> Result<(Admission, Option<RemovalSummary>), VaultError> {
        let newcomer = request.keys.device_id();
        if old == newcomer {
            return Err(VaultError::NoSuchDevice(old.short()));
        }
        let said = request.former.filter(|former| former.device == old).map_or(0, |former| former.sequence);
        if self.team()?.authority.is_removed(&old) {
            // Before, or by this very admission, whose pairing broke off.
            let admission = self.admit(request, role)?;
            note(&self.db, &self.me, &old, &newcomer, said)?;
            return Ok((admission, None));
        }
        // Refused before anybody is admitted.
        let mut summary = self.removal_summary(old, Act::Lost, &Keep::All)?;
        self.admit(request, role)?;
        summary.cut = summary.cut.max(said);
        let cut = summary.cut;
        summary.counts = self.in_house(|house| {
            let counts = house.remove(old, Act::Lost, cut, &Keep::All)?;
            if counts {
                note(house.db, &house.me, &old, &newcomer, said)?;
            }
            house.put_in_order()?;
            Ok(counts)
        })?;
        // As things stand now: without the old device, and with what was made anew because of it.
        Ok((self.admit(request, role)?, Some(summary)))
    }
}

/// `upto`: the last entry of the old device that the new one says it holds.
fn note(db: &Connection, me: &DeviceId, old: &DeviceId, new: &DeviceId, upto: u64) -> Result<(), VaultError> {
    if successor(db, old.as_bytes())?.as_deref() == Some(new.as_bytes()) {
        return Ok(());
    }
    db.execute(
        "INSERT OR REPLACE INTO replacement (old, new) VALUES (?1, ?2)",
        params![old.as_bytes(), new.as_bytes()],
    )?;
    // What was receipted to the old device is receipted once more: the new one cannot open that.
    db.execute(
        "INSERT OR IGNORE INTO receipt_due (entry, author) SELECT id, ?2 FROM entry
         WHERE device = ?1 AND kind IN (?3, ?4) AND report IS NOT NULL AND sequence <= ?5",
        params![
            old.as_bytes(),
            new.as_bytes(),
            Kind::Report.code(),
            Kind::AttachmentPart.code(),
            i64::try_from(upto).unwrap_or(i64::MAX),
        ],
    )?;
    let detail = format!("by device {}", new.short());
    let act = log::Act { kind: "replaced", subject: Some(old.as_bytes()), detail: &detail };
    log::note(db, now_ms(), me, &act, None)
}

/// On a coordinator's device that came back as another one: it signs once more for all that it holds, for
/// its former receipts count no longer.
pub(super) fn sign_again(db: &Connection) -> Result<(), VaultError> {
    if crate::rejoin::former(db)?.is_empty() {
        return Ok(());
    }
    db.execute(
        "INSERT OR IGNORE INTO receipt_due (entry, author) SELECT id, device FROM entry
         WHERE kind IN (?1, ?2) AND report IS NOT NULL AND device IN (SELECT id FROM device)
             AND device NOT IN (SELECT id FROM former_device)",
        [Kind::Report.code(), Kind::AttachmentPart.code()],
    )?;
    Ok(())
}
