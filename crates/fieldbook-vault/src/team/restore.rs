//! Recovery sheets put together: what they open becomes readable, and a new device may speak for the
//! desk whose coordinators' devices are lost.

use fieldbook_proto::certificate::{Authority, CertificateBody, Role};
use fieldbook_proto::pairing::Admission;
use fieldbook_seal::ReadingIdentity;
use fieldbook_seal::recovery::{RecoverySecret, Share, combine};
use zeroize::Zeroizing;

use super::epochs::{DeskEpochRow, TransportRow, save_desk_epoch, save_transport};
use super::founding::MEMBER_LIFE_S;
use super::members::{only_of, save_device};
use super::{Team, save_desk_key};
use crate::error::VaultError;
use crate::names::check_name;
use crate::store;
use crate::vault::{Vault, now_s};
use crate::views::RecoveryRestored;

impl Vault {
    /// Opens whatever this device carries and the sheets open.
    ///
    /// On a coordinator's device that is what it adds to what it could read. On a device without a
    /// team, the sheets certify the device (its own keys, no others) as a coordinator's of the desk that
    /// made them; its depot must hold the desk's entries, for example by [`Vault::import_entries`].
    ///
    /// # Errors
    /// [`VaultError::Combine`]; [`VaultError::NoCharter`] if no entry here says which team the sheets
    /// belong to; [`VaultError::OtherSheets`] if they are of another team than this device;
    /// [`VaultError::NotCoordinator`] on a monitor's or relay's device; or the store's.
    pub fn restore_recovery(&mut self, shares: &[Share]) -> Result<RecoveryRestored, VaultError> {
        let secret = combine(shares)?;
        let before = self.count("SELECT count(*) FROM report")?;
        let charter = self.find_charter(&secret)?;
        let joined = self.team.is_none();
        match (&self.team, charter) {
            (None, None) => return Err(VaultError::NoCharter),
            (None, Some(charter)) => self.enter_with(&secret, &charter)?,
            (Some(team), charter) => {
                if team.role() != Role::Coordinator {
                    return Err(VaultError::NotCoordinator);
                }
                if let Some(charter) = charter {
                    self.take_desk_keys(&charter)?;
                } else if team.recovery.as_ref() != Some(&secret.identity().recipient()) {
                    return Err(VaultError::OtherSheets);
                }
            }
        }
        self.read_anew(secret.identity())?;
        if joined {
            let (certificate, name) = (self.team()?.certificate.clone(), self.name.clone());
            self.announce(&certificate, &name)?;
        }
        let reports = self.count("SELECT count(*) FROM report")?;
        Ok(RecoveryRestored {
            team: self.team()?.name.clone(),
            joined,
            imported: None,
            reports,
            new_reports: reports.saturating_sub(before),
        })
    }

    /// Enters the team as a coordinator whom the paper device admits.
    fn enter_with(&mut self, secret: &RecoverySecret, charter: &Admission) -> Result<(), VaultError> {
        let paper = secret.paper_device();
        let mut authority = Authority::decode(&charter.authority).map_err(VaultError::untrusted)?;
        let desk = charter.desk.id;
        if !authority.reads_for(&paper.id(), desk) {
            return Err(VaultError::untrusted("the sheets were replaced before this was written"));
        }
        let now = now_s();
        let certificate = paper.issue(CertificateBody {
            team: authority.team(),
            keys: self.device.keys(),
            role: Role::Coordinator,
            desk,
            admitted: now,
            not_after: now + MEMBER_LIFE_S,
            issuer: paper.id(),
            serial: 0,
        });
        // As it was: that this device is among the readers now is a reason to rotate.
        let row = DeskEpochRow {
            desk,
            epoch: charter.desk.epoch,
            recipient: charter.desk.recipient.clone(),
            name: String::new(),
            issuer: paper.id(),
            readers: authority.readers_of(desk),
        };
        authority.add_coordinator(certificate.clone()).map_err(VaultError::untrusted)?;
        let name = check_name(&charter.team_name)?;
        let issuer = paper.id();
        let tx = self.db.transaction()?;
        for (epoch, secret) in &charter.transport_secrets {
            let without = authority.removed().into_iter().collect();
            let secret = Zeroizing::new(*secret);
            save_transport(&tx, &TransportRow { epoch: *epoch, secret, issuer: paper.id(), without })?;
        }
        save_desk_epoch(&tx, &row)?;
        for (epoch, text) in &charter.desk_identities {
            save_desk_key(&tx, *epoch, &identity(text)?, &issuer)?;
        }
        for (id, certificate) in authority.coordinators().iter().filter(|(id, _)| **id != self.me) {
            let given = charter.coordinator_names.iter().find(|(device, _)| device == id);
            let label = match given {
                Some((_, label)) => label.clone(),
                None if *id == paper.id() => super::sheets::LABEL.to_owned(),
                None => format!("coordinator {}", id.short()),
            };
            save_device(&tx, &authority, certificate, &check_name(&label)?, 0)?;
        }
        only_of(&tx, authority.team())?;
        Team::new(name, certificate, authority, desk, charter.recovery.clone()).save(&tx)?;
        super::replacing::sign_again(&tx)?;
        tx.commit()?;
        self.reload_team()
    }

    /// On a coordinator's device of the same desk, the charter brings the desk's earlier keys.
    fn take_desk_keys(&mut self, charter: &Admission) -> Result<(), VaultError> {
        let team = self.team()?;
        if charter.certificate.body().team != team.authority.team() {
            return Err(VaultError::OtherSheets);
        }
        if charter.desk.id != team.desk {
            return Ok(());
        }
        let issuer = charter.certificate.device_id();
        let tx = self.db.transaction()?;
        for (epoch, text) in &charter.desk_identities {
            save_desk_key(&tx, *epoch, &identity(text)?, &issuer)?;
        }
        tx.commit()?;
        self.reload_team()
    }

    /// Tries every entry that this device carries once more, with one more identity. The house is put in
    /// order only when all of it was read: before, this device does not know who is in it.
    fn read_anew(&mut self, identity: ReadingIdentity) -> Result<(), VaultError> {
        self.lent = Some(identity);
        let read = self.read_until_no_key_is_new();
        self.lent = None;
        read?;
        self.house_due = true;
        self.keep_house()?;
        self.flush()?;
        Ok(())
    }

    /// A grant that is read late may hold the key of what was passed over before it.
    fn read_until_no_key_is_new(&mut self) -> Result<(), VaultError> {
        loop {
            let keys = self.team()?.desk_keys.len();
            store::set_meta(&self.db, "absorbed", &0_u64.to_be_bytes())?;
            self.retry_waiting = true;
            self.absorb()?;
            if self.team()?.desk_keys.len() == keys {
                return Ok(());
            }
        }
    }
}

fn identity(text: &str) -> Result<ReadingIdentity, VaultError> {
    ReadingIdentity::parse(text).map_err(|_| VaultError::untrusted("a desk identity does not read"))
}
