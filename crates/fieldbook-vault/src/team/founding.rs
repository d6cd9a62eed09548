//! Founding a team, admitting a device, joining.

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, Role};
use fieldbook_proto::pairing::{Admission, DeskInfo, EPOCHS_MAX, JoinRequest};
use fieldbook_proto::{DeskId, DeviceId, TeamId};
use fieldbook_seal::ReadingIdentity;
use zeroize::Zeroizing;

use super::epochs::{self, DeskEpochRow, TransportRow};
use super::members::{only_of, save_device};
use super::{Team, save_desk_key};
use crate::error::VaultError;
use crate::names::check_name;
use crate::slots;
use crate::store;
use crate::vault::{Vault, now_s};
use crate::views::TeamInfo;

const DAY_S: u64 = 24 * 60 * 60;
/// How long a member's certificate lives.
pub(super) const MEMBER_LIFE_S: u64 = 90 * DAY_S;
/// The founder's is trusted by its key, received at pairing, and ended by removal: nobody else could
/// renew it for a team of one.
pub(super) const FOUNDER_LIFE_S: u64 = 3650 * DAY_S;
/// Most transport secrets in a monitor's admission. Whoever others connect to gets all that are accepted:
/// a device that slept knows an old one.
const MONITOR_SECRETS_MAX: usize = 8;

/// What a relay is told in place of its team's name.
const TEAM_OF_A_RELAY: &str = "a team";

const TEAM_ID_CONTEXT: &str = "fieldbook 2026 team id v1";

impl Vault {
    /// Founds a team; this device becomes its first coordinator, with a desk of its own.
    ///
    /// # Errors
    /// [`VaultError::AlreadyInTeam`], an impossible name, or the store's.
    pub fn create_team(&mut self, name: &str) -> Result<TeamInfo, VaultError> {
        if self.team.is_some() {
            return Err(VaultError::AlreadyInTeam);
        }
        let name = check_name(name)?;
        let mut random = Zeroizing::new([0; 16 + 32]);
        slots::fill(&mut *random)?;
        let founding = [self.me.as_bytes().as_slice(), &random[..16]].concat();
        let team_id =
            TeamId::from_bytes(store::array(&blake3::derive_key(TEAM_ID_CONTEXT, &founding)[..16], "id")?);
        let desk = DeskId::founded_by(&self.me);
        let identity = ReadingIdentity::generate();
        let now = now_s();
        let certificate = self.device.issue(CertificateBody {
            team: team_id,
            keys: self.device.keys(),
            role: Role::Coordinator,
            desk,
            admitted: now,
            not_after: now + FOUNDER_LIFE_S,
            issuer: self.me,
            serial: 0,
        });
        let authority = Authority::new(certificate.clone()).map_err(VaultError::untrusted)?;
        let epoch = DeskEpochRow {
            desk,
            epoch: 1,
            recipient: identity.recipient(),
            name: name.clone(),
            issuer: self.me,
            readers: vec![self.me],
        };
        let secret = Zeroizing::new(store::array(&random[16..], "transport secret")?);
        let transport = TransportRow { epoch: 1, secret, issuer: self.me, without: Vec::new() };
        let tx = self.db.transaction()?;
        only_of(&tx, team_id)?;
        Team::new(name, certificate, authority, desk, None).save(&tx)?;
        save_desk_key(&tx, 1, &identity, &self.me)?;
        epochs::save_desk_epoch(&tx, &epoch)?;
        epochs::save_transport(&tx, &transport)?;
        tx.commit()?;
        self.reload_team()?;
        Ok(self.team()?.info())
    }

    /// What this device sends to be admitted.
    pub fn join_request(&self) -> JoinRequest {
        let former = crate::rejoin::former(&self.db).ok().and_then(|former| former.last().copied());
        JoinRequest { keys: self.device.keys(), name: self.name.clone(), former }
    }

    /// Admits a device to this device's desk: certifies it, remembers its label, and lets the others
    /// know. A new coordinator gets a new epoch of the desk's reading identity and no older one: it reads
    /// nothing that was written before.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], an impossible name, or the store's.
    pub fn admit(&mut self, request: &JoinRequest, role: Role) -> Result<Admission, VaultError> {
        let desk = self.team()?.desk;
        self.admit_to(request, role, desk)
    }

    /// Admits a device as the first coordinator of a desk of its own, which this device will not read.
    /// The desk gets its name from its coordinator's device, see [`Vault::name_desk`].
    ///
    /// # Errors
    /// As [`Vault::admit`].
    pub fn admit_to_new_desk(&mut self, request: &JoinRequest) -> Result<Admission, VaultError> {
        self.admit_to(request, Role::Coordinator, DeskId::founded_by(&request.keys.device_id()))
    }

    fn admit_to(&mut self, request: &JoinRequest, role: Role, desk: DeskId) -> Result<Admission, VaultError> {
        let untrusted = |why: &str| VaultError::Untrusted(why.to_owned());
        let team = self.team()?;
        if team.role() != Role::Coordinator {
            return Err(self.not_coordinator()?);
        }
        let label = check_name(&request.name)?;
        fieldbook_seal::check_recipient(&request.keys.recipient).map_err(VaultError::untrusted)?;
        let newcomer = request.keys.device_id();
        let known = self.member(&newcomer)?;
        // A device may come again (its first pairing broke off), but not as something else.
        let same = |member: &Certificate| member.body().role == role && member.body().desk == desk;
        if newcomer == self.me || known.as_ref().is_some_and(|known| !same(&known.certificate)) {
            return Err(untrusted("the device is in the team already, in another role or at another desk"));
        }
        if team.authority.is_removed(&newcomer) {
            return Err(untrusted(
                "the device was removed from the team; make a new vault on it to join again",
            ));
        }
        let now = now_s();
        let certificate = self.device.issue(CertificateBody {
            team: team.authority.team(),
            keys: request.keys.clone(),
            role,
            desk,
            admitted: known.as_ref().map_or(now, |known| known.certificate.body().admitted),
            not_after: now + MEMBER_LIFE_S,
            issuer: self.me,
            serial: known.as_ref().map_or(0, |known| known.certificate.body().serial.saturating_add(1)),
        });
        self.announce(&certificate, &label)?;
        self.keep_house()?;
        let team = self.team()?;
        let own_desk = desk == team.desk;
        let mut desk_identities = Vec::new();
        let info = match team.desk_epoch(desk) {
            Some(row) => {
                if role == Role::Coordinator && own_desk {
                    desk_identities.extend(self.desk_identity_of(row)?);
                }
                DeskInfo { id: desk, epoch: row.epoch, recipient: row.recipient.clone() }
            }
            // A new desk: its coordinator makes the first epoch; until then its own key stands for it.
            None => DeskInfo { id: desk, epoch: 0, recipient: request.keys.recipient.clone() },
        };
        let transport = team.transport_in_order();
        // Whoever runs a relay need not be of the team, and has its keys: it hears no name.
        let relay = role == Role::Relay;
        Ok(Admission {
            certificate,
            authority: team.authority.without_vouched().encode(),
            team_name: if relay { TEAM_OF_A_RELAY.to_owned() } else { team.name.clone() },
            desk: info,
            transport_secrets: transport
                .iter()
                .take(if role == Role::Monitor { MONITOR_SECRETS_MAX } else { EPOCHS_MAX })
                .map(|row| (row.epoch, *row.secret))
                .collect(),
            coordinator_names: if relay { Vec::new() } else { self.coordinator_names()? },
            recovery: team.sheets().filter(|_| own_desk).cloned(),
            desk_identities,
            addresses: Vec::new(),
        })
    }

    /// The reading identity of an epoch, as an admission carries it.
    fn desk_identity_of(&self, row: &DeskEpochRow) -> Result<Option<(u32, Zeroizing<String>)>, VaultError> {
        let key = self.team()?.desk_keys.iter().find(|key| key.identity.recipient() == row.recipient);
        Ok(key.map(|key| (key.epoch, key.identity.to_text())))
    }

    /// Takes an admission: this device now belongs to the team.
    ///
    /// # Errors
    /// [`VaultError::AlreadyInTeam`]; [`VaultError::Untrusted`] when the admission is for another
    /// device or its signatures do not stand.
    pub fn adopt(&mut self, admission: &Admission) -> Result<TeamInfo, VaultError> {
        if self.team.is_some() {
            return Err(VaultError::AlreadyInTeam);
        }
        let untrusted = |why: &str| VaultError::Untrusted(why.to_owned());
        let mut authority = Authority::decode(&admission.authority).map_err(VaultError::untrusted)?;
        let device = authority.judge(&admission.certificate, now_s()).map_err(VaultError::untrusted)?;
        if device.id() != self.me {
            return Err(untrusted("the certificate is for another device"));
        }
        if device.body().role == Role::Coordinator {
            authority.add_coordinator(admission.certificate.clone()).map_err(VaultError::untrusted)?;
        }
        let desk = admission.desk.id;
        if admission.certificate.body().desk != desk {
            return Err(untrusted("the certificate is for another desk"));
        }
        fieldbook_seal::check_recipient(&admission.desk.recipient).map_err(VaultError::untrusted)?;
        let mut identities = Vec::new();
        for (epoch, text) in &admission.desk_identities {
            let identity =
                ReadingIdentity::parse(text).map_err(|_| untrusted("a desk identity does not read"))?;
            identities.push((*epoch, identity));
        }
        let founds = desk == DeskId::founded_by(&self.me) && authority.is_coordinator(&self.me);
        let (epoch, readers, issuer) = if founds {
            identities.push((1, ReadingIdentity::generate()));
            (1, vec![self.me], self.me)
        } else {
            (admission.desk.epoch, authority.readers_of(desk), admission.certificate.body().issuer)
        };
        let recipient = match identities.last() {
            Some((_, identity)) if founds => identity.recipient(),
            _ => admission.desk.recipient.clone(),
        };
        let row = DeskEpochRow { desk, epoch, recipient, name: String::new(), issuer, readers };
        let name = check_name(&admission.team_name)?;
        let mut coordinators = Vec::new();
        for (id, certificate) in authority.coordinators() {
            let given = admission.coordinator_names.iter().find(|(device, _)| device == id);
            let label = given.map_or_else(|| format!("coordinator {}", id.short()), |(_, name)| name.clone());
            if *id != self.me {
                coordinators.push((certificate.clone(), check_name(&label)?));
            }
        }
        if !admission.addresses.is_empty() {
            let json = serde_json::to_vec(&admission.addresses).unwrap_or_default();
            self.depot.set_setting("addresses", Some(&json))?;
            let inviter = admission.certificate.body().issuer;
            self.depot.set_setting("addresses-of", Some(inviter.as_bytes()))?;
        }
        let tx = self.db.transaction()?;
        for (epoch, secret) in &admission.transport_secrets {
            let secret = Zeroizing::new(*secret);
            let issuer = admission.certificate.body().issuer;
            let without = authority.removed().into_iter().collect();
            epochs::save_transport(&tx, &TransportRow { epoch: *epoch, secret, issuer, without })?;
        }
        epochs::save_desk_epoch(&tx, &row)?;
        for (epoch, identity) in &identities {
            save_desk_key(&tx, *epoch, identity, &issuer)?;
        }
        for (certificate, label) in &coordinators {
            save_device(&tx, &authority, certificate, label, 0)?;
        }
        only_of(&tx, authority.team())?;
        let recovery = admission.recovery.clone();
        Team::new(name, admission.certificate.clone(), authority, desk, recovery).save(&tx)?;
        if admission.certificate.body().role == Role::Coordinator {
            super::replacing::sign_again(&tx)?;
        }
        tx.commit()?;
        self.reload_team()?;
        self.keep_house()?;
        Ok(self.team()?.info())
    }

    /// The desk's current reading identity, for recovery with stock `age`. A secret: with it every
    /// entry of the desk's current epoch can be read.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], [`VaultError::NoTeam`].
    pub fn desk_identity_text(&self) -> Result<Zeroizing<String>, VaultError> {
        let key = self.team()?.desk_keys.first().ok_or(VaultError::NotCoordinator)?;
        Ok(key.identity.to_text())
    }

    pub(super) fn coordinator_names(&self) -> Result<Vec<(DeviceId, String)>, VaultError> {
        let names = self.names()?;
        Ok(self.team()?.authority.coordinators().keys().map(|id| (*id, names.device(id))).collect())
    }
}
