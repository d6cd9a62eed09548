//! Recovery sheets: made by a coordinator for its desk, and tried.
//!
//! What the sheets give back is an identity to which everything of the desk is sealed, and the keys of
//! the *paper device*, a coordinator like any other. The paper device writes one entry, the *charter*:
//! an admission of itself, sealed to the recovery identity alone. Nobody else can sign it, so whoever
//! puts the sheets together learns from it, and not from some entry that anybody could have made, which
//! team it is and whom to believe.

use fieldbook_depot::Depot;
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Act, CertificateBody, Recipient, Role};
use fieldbook_proto::limits::ENTRY_BODY_MAX;
use fieldbook_proto::pairing::{Admission, DeskInfo, EPOCHS_MAX};
use fieldbook_seal::body::Grant;
use fieldbook_seal::recovery::{RecoverySecret, Share, combine};
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind, SealedEntry, decrypt, seal};
use rusqlite::params;
use zeroize::Zeroizing;

use super::Team;
use super::founding::FOUNDER_LIFE_S;
use super::house::House;
use super::keeping::Keep;
use crate::error::VaultError;
use crate::slots;
use crate::vault::{Vault, now_ms, now_s};
use crate::views::RecoveryCheck;

/// What the coordinators call the paper device.
pub(super) const LABEL: &str = "recovery sheets";
/// The charter's place in the paper device's chain, in which nothing follows it.
const CHARTER_SEQUENCE: u64 = 1;
const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;

impl Vault {
    /// Whether everything this device writes is also sealed to recovery sheets.
    pub fn has_recovery(&self) -> bool {
        self.team.as_ref().is_some_and(|team| team.sheets().is_some())
    }

    /// Makes recovery sheets for this device's desk. From now on everything that its devices write is
    /// sealed to them too, as soon as they hear of it. Sheets that the desk had lose their authority;
    /// what was written until then they still open.
    ///
    /// The sheets exist in what this returns and nowhere else.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], [`VaultError::Split`], [`VaultError::TooLarge`] for a team too
    /// large for a charter, or the store's.
    pub fn create_recovery(&mut self, threshold: usize, shares: usize) -> Result<Vec<Share>, VaultError> {
        let mut random = Zeroizing::new([0; 32]);
        slots::fill(&mut *random)?;
        let secret = RecoverySecret::from_bytes(&random);
        let mut failed = Ok(());
        let sheets = secret.split(threshold, shares, |bytes| {
            if let Err(error) = slots::fill(bytes) {
                failed = Err(error);
            }
        })?;
        failed?;
        let paper = secret.paper_device();
        let names = self.coordinator_names()?;
        self.in_house(|house| house.take_sheets(&paper, names))?;
        Ok(sheets)
    }

    /// Tries recovery sheets: whose they are, and how much of what this device carries they open.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`VaultError::Combine`], [`VaultError::NoTeam`], or the store's.
    pub fn check_recovery(&self, shares: &[Share]) -> Result<RecoveryCheck, VaultError> {
        let secret = combine(shares)?;
        let identity = secret.identity();
        let paper = secret.paper_device();
        let current = self.team()?.sheets() == Some(&identity.recipient());
        let mut check = RecoveryCheck { current, ..RecoveryCheck::default() };
        self.each_held(|sealed| {
            check.entries += 1;
            if let Ok(opened) = decrypt(sealed, &[&identity]) {
                check.opens += 1;
                check.charter |= opened.header().device == paper.id();
            }
        })?;
        Ok(check)
    }

    /// The admission of the paper device, as it wrote it itself.
    pub(super) fn find_charter(&self, secret: &RecoverySecret) -> Result<Option<Admission>, VaultError> {
        let (identity, paper) = (secret.identity(), secret.paper_device());
        let mut charter = None;
        self.each_held(|sealed| {
            let Ok(opened) = decrypt(sealed, &[&identity]) else { return };
            if opened.header().device != paper.id() || opened.header().kind != Kind::Grant {
                return;
            }
            let Ok(opened) = opened.verify(&paper.keys()) else { return };
            let found = Grant::decode(opened.body()).ok().and_then(|grant| grant.charter);
            charter = charter.take().or_else(|| found.and_then(|bytes| Admission::decode(&bytes).ok()));
        })?;
        Ok(charter)
    }

    /// Shows every entry whose bytes are here.
    fn each_held(&self, mut show: impl FnMut(&SealedEntry)) -> Result<(), VaultError> {
        let mut after = 0;
        loop {
            let batch = self.depot.arrivals_with_bytes(after, BATCH_ENTRIES, BATCH_BYTES)?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = last.position;
            for bytes in batch.into_iter().filter_map(|(_, bytes)| bytes) {
                if let Ok(sealed) = SealedEntry::parse(bytes) {
                    show(&sealed);
                }
            }
        }
    }
}

impl House<'_> {
    /// Makes the paper device a coordinator and its recipient the desk's recovery recipient, in place of
    /// the one before, and writes its charter.
    fn take_sheets(
        &mut self,
        paper: &DeviceSecret,
        names: Vec<(DeviceId, String)>,
    ) -> Result<(), VaultError> {
        let before = self.team.paper_device();
        let now = now_s();
        let certificate = self.device.issue(CertificateBody {
            team: self.team.authority.team(),
            keys: paper.keys(),
            role: Role::Coordinator,
            desk: self.team.desk,
            admitted: now,
            not_after: now + FOUNDER_LIFE_S,
            issuer: self.me,
            serial: 0,
        });
        self.announce(&certificate, LABEL)?;
        self.set_recovery(&paper.keys().recipient)?;
        if let Some(device) = before {
            // What the charter of the sheets before says stands: it was written when they stood.
            self.remove(device, Act::Removed, CHARTER_SEQUENCE, &Keep::All)?;
        }
        self.put_in_order()?;
        self.write_charter(
            paper,
            Admission {
                certificate,
                authority: self.team.authority.encode(),
                team_name: self.team.name.clone(),
                desk: self.desk_info(),
                transport_secrets: self
                    .team
                    .transport_in_order()
                    .iter()
                    .take(EPOCHS_MAX)
                    .map(|row| (row.epoch, *row.secret))
                    .collect(),
                coordinator_names: names,
                recovery: self.team.sheets().cloned(),
                desk_identities: self
                    .team
                    .desk_keys
                    .iter()
                    .take(EPOCHS_MAX)
                    .map(|key| (key.epoch, key.identity.to_text()))
                    .collect(),
                addresses: Vec::new(),
            },
        )
    }

    /// From here on every entry of this device is sealed to `recipient` too, and those of the desk's
    /// other coordinators when they read this. Its monitors are told when the house is put in order.
    fn set_recovery(&mut self, recipient: &Recipient) -> Result<(), VaultError> {
        Team::set_recovery(self.db, recipient)?;
        self.team.recovery = Some(recipient.clone());
        let grant = Grant { recovery: Some(recipient.clone()), ..Grant::default() };
        let mut mates = self.other_coordinators();
        mates.retain(|(id, _)| self.team.authority.reads_for(id, self.team.desk));
        self.write(Kind::Grant, &grant.encode(), &mates)?;
        Ok(())
    }

    fn desk_info(&self) -> DeskInfo {
        let row = self.team.desk_epoch(self.team.desk);
        DeskInfo {
            id: self.team.desk,
            epoch: row.map_or(0, |row| row.epoch),
            recipient: row.map_or_else(|| self.device.keys().recipient, |row| row.recipient.clone()),
        }
    }

    /// The one entry of the paper device's chain. Only the sheets open it.
    fn write_charter(&mut self, paper: &DeviceSecret, admission: Admission) -> Result<(), VaultError> {
        let grant = Grant { charter: Some(admission.encode()), ..Grant::default() };
        let body = Zeroizing::new(grant.encode());
        if body.len() > ENTRY_BODY_MAX {
            return Err(VaultError::TooLarge { what: "the charter of the team", limit: ENTRY_BODY_MAX });
        }
        let header = Header {
            kind: Kind::Grant,
            device: paper.id(),
            sequence: CHARTER_SEQUENCE,
            previous: None,
            time_ms: now_ms(),
            report: None,
            audience: Audience { desk: None, readers: vec![paper.id()], attachment: None },
        };
        let sealed = seal(&header, &body, paper, &[paper.keys().recipient])?;
        self.db.execute(
            "INSERT INTO outbox (id, bytes) VALUES (?1, ?2)",
            params![sealed.id().as_bytes(), sealed.as_bytes()],
        )?;
        Ok(())
    }
}
