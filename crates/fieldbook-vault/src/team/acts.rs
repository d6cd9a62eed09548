//! What a coordinator's person does to the team: remove, change a role, name the desk.

use fieldbook_depot::Depot;
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Act, Certificate, Role};
use rusqlite::params;

use super::house::{House, Standing};
use super::keeping::Keep;
use crate::error::VaultError;
use crate::names::check_name;
use crate::vault::{Vault, now_s};
use crate::views::{Member, RemovalSummary};

/// How often the team is put in order although nothing has happened.
const HOUSE_EVERY_S: u64 = 24 * 60 * 60;

impl Vault {
    /// Lets a coordinator act in one transaction, then hands on what came of it.
    pub(super) fn in_house<T>(
        &mut self,
        act: impl FnOnce(&mut House<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.in_house_as(Standing::Stands, act)
    }

    fn in_house_as<T>(
        &mut self,
        standing: Standing,
        act: impl FnOnce(&mut House<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let tx = self.db.transaction()?;
        let mut house = House::open(&tx, &self.device, standing)?;
        let done = act(&mut house)?;
        let addressed = std::mem::take(&mut house.addressed);
        drop(house);
        tx.commit()?;
        self.reload_team()?;
        self.flush()?;
        for (device, entry) in addressed {
            self.depot.address_to(&device, &[entry])?;
        }
        Ok(done)
    }

    /// Certifies a device and lets the others know.
    pub(super) fn announce(&mut self, certificate: &Certificate, label: &str) -> Result<(), VaultError> {
        self.in_house(|house| house.announce(certificate, label))
    }

    /// Puts the team in order, if this device is a coordinator's and anything has changed since it did
    /// so last, or a day has passed: renews certificates, rotates what a removed device knows, tells the desk's monitors.
    pub(crate) fn keep_house(&mut self) -> Result<(), VaultError> {
        // Certificates run out while nothing happens.
        let due = self.house_due || now_s().abs_diff(self.house_kept_s) >= HOUSE_EVERY_S;
        // While sheets are read, this device does not know yet who is in the team.
        if !due || self.lent.is_some() {
            return Ok(());
        }
        let standing = self.team.as_ref().is_some_and(|team| team.authority.is_coordinator(&self.me));
        if standing {
            self.in_house(|house| house.put_in_order())?;
        }
        self.house_due = false;
        self.house_kept_s = now_s();
        Ok(())
    }

    /// Removes a device from the team. `lost`: whoever has it now is not the one it was given to; then of
    /// the coordinators whom it admitted none stays, see [`Vault::remove_lost`].
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], [`VaultError::NoSuchDevice`] for this device itself and for one
    /// that is not in the team, or the store's.
    pub fn remove_device(&mut self, device: DeviceId, lost: bool) -> Result<RemovalSummary, VaultError> {
        let act = if lost { Act::Lost } else { Act::Removed };
        self.end_standing(device, act, &Keep::by_default(act))
    }

    /// Removes a lost device, and keeps these of the coordinators whom it admitted.
    ///
    /// # Errors
    /// As [`Vault::remove_device`].
    pub fn remove_lost(
        &mut self,
        device: DeviceId,
        keep: Vec<DeviceId>,
    ) -> Result<RemovalSummary, VaultError> {
        self.end_standing(device, Act::Lost, &Keep::Only(keep))
    }

    /// What a removal would mean, without doing it. `keep`: as in [`Vault::remove_lost`], if `lost`.
    ///
    /// # Errors
    /// As [`Vault::remove_device`].
    pub fn removal_preview(
        &self,
        device: DeviceId,
        lost: bool,
        keep: Vec<DeviceId>,
    ) -> Result<RemovalSummary, VaultError> {
        if lost {
            self.removal_summary(device, Act::Lost, &Keep::Only(keep))
        } else {
            self.removal_summary(device, Act::Removed, &Keep::All)
        }
    }

    fn end_standing(
        &mut self,
        device: DeviceId,
        act: Act,
        keep: &Keep,
    ) -> Result<RemovalSummary, VaultError> {
        let mut summary = self.removal_summary(device, act, keep)?;
        let cut = summary.cut;
        summary.counts = self.in_house_as(Standing::MayAnswer, |house| {
            let counts = house.remove(device, act, cut, keep)?;
            house.put_in_order()?;
            Ok(counts)
        })?;
        Ok(summary)
    }

    /// Why this device may not act for the team.
    pub(super) fn not_coordinator(&self) -> Result<VaultError, VaultError> {
        match House::open(&self.db, &self.device, Standing::Stands) {
            Err(why) => Ok(why),
            Ok(_) => Ok(VaultError::NotCoordinator),
        }
    }

    pub(super) fn removal_summary(
        &self,
        device: DeviceId,
        act: Act,
        keep: &Keep,
    ) -> Result<RemovalSummary, VaultError> {
        let team = self.team()?;
        let answers = team.authority.answerable(&self.me).is_some_and(|removal| removal.issuer == device);
        let may = team.authority.is_coordinator(&self.me) || answers && act != Act::Demoted;
        if !may {
            return Err(self.not_coordinator()?);
        }
        let known = self.member(&device)?.filter(|known| known.member && device != self.me);
        let known = known.ok_or_else(|| VaultError::NoSuchDevice(device.short()))?;
        if team.authority.is_removed(&device) {
            return Err(VaultError::NoSuchDevice(known.label));
        }
        let cut: i64 = self.db.query_row(
            "SELECT coalesce(max(sequence), 0) FROM entry WHERE device = ?1",
            [device.as_bytes()],
            |row| row.get(0),
        )?;
        let wrote: i64 = self.db.query_row(
            "SELECT count(*) FROM report WHERE author = ?1",
            params![device.as_bytes()],
            |row| row.get(0),
        )?;
        let of_desk = team.authority.reads_for(&device, team.desk);
        let could_read: i64 = self.db.query_row(
            "SELECT count(*) FROM report WHERE finished = 1
                 AND (?1 OR id IN (SELECT report FROM share WHERE device = ?2))",
            params![of_desk, device.as_bytes()],
            |row| row.get(0),
        )?;
        let kept = team.kept_without(&device, &self.me, keep);
        let primary = team.authority.ever_coordinator(&device);
        let coordinator = team.authority.is_coordinator(&device);
        let desk = primary.unwrap_or(&known.certificate).body().desk;
        let paper = team.paper_device();
        let made_sheets = paper.and_then(|paper| team.authority.ever_coordinator(&paper));
        let made_sheets = made_sheets.is_some_and(|paper| paper.body().issuer == device);
        let readers = team.people_who_read(desk);
        let name = team.desk_epoch(desk).map(|row| row.name.clone()).filter(|name| !name.is_empty());
        let others = self.members()?;
        let to_tell =
            others.iter().filter(|other| other.id() != device && !team.authority.is_removed(&other.id()));
        Ok(RemovalSummary {
            device: device.to_string(),
            label: known.label.clone(),
            act: act.word().to_owned(),
            was_coordinator: coordinator,
            was_relay: known.certificate.body().role == Role::Relay,
            of_desk,
            could_read: usize::try_from(could_read).unwrap_or(0),
            wrote: usize::try_from(wrote).unwrap_or(0),
            cut: u64::try_from(cut).unwrap_or(0),
            to_tell: to_tell.count(),
            counts: true,
            admitted: team.admitted_by(&self.db, &device, &kept)?,
            ends_sheets: made_sheets && paper.is_none_or(|paper| !kept.contains(&paper)),
            closes_desk: coordinator && readers == [device],
            desk: name.unwrap_or_else(|| desk.short()),
        })
    }

    /// Gives a device another role: a monitor's becomes a coordinator's of the same desk, which reads
    /// nothing written before; a coordinator's becomes a monitor's, and the desk's key is rotated. A
    /// coordinator who fell with the one who admitted it, and is made a coordinator's, stands again.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], [`VaultError::NoSuchDevice`]; [`VaultError::RoleChange`] for what
    /// cannot be: to or from a relay, or a device that was a coordinator's before.
    pub fn set_role(&mut self, device: DeviceId, role: Role) -> Result<Member, VaultError> {
        let team = self.team()?;
        let known = self.member(&device)?.filter(|known| known.member && device != self.me);
        let known = known.ok_or_else(|| VaultError::NoSuchDevice(device.short()))?;
        if team.authority.is_removed(&device) {
            return Err(VaultError::NoSuchDevice(known.label));
        }
        let demoted = team.authority.removal(&device).is_some();
        let now = match known.certificate.body().role {
            Role::Coordinator if demoted => Role::Monitor,
            role => role,
        };
        let again = self.has_fallen(&device) && role == Role::Coordinator;
        match (now, role) {
            _ if again => {
                // This one keeps it, although whoever admitted it fell.
                self.in_house(|house| {
                    let certificate = house.reissue(&known.certificate, Role::Coordinator);
                    house.announce(&certificate, "")?;
                    house.put_in_order()
                })?;
            }
            _ if now == role => {}
            (Role::Monitor, Role::Coordinator) if demoted => return Err(VaultError::RoleChange),
            (Role::Monitor, Role::Coordinator) => {
                self.in_house(|house| {
                    let certificate = house.reissue(&known.certificate, Role::Coordinator);
                    house.announce(&certificate, &known.label)?;
                    house.put_in_order()
                })?;
            }
            (Role::Coordinator, Role::Monitor) => {
                // The new certificate follows from putting things in order.
                self.end_standing(device, Act::Demoted, &Keep::All)?;
            }
            _ => return Err(VaultError::RoleChange),
        }
        let id = device.to_string();
        let member = self.people()?.into_iter().find(|member| member.device == id);
        member.ok_or_else(|| VaultError::NoSuchDevice(device.short()))
    }

    /// Names this device's desk, for those who see several.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], an impossible name, or the store's.
    pub fn name_desk(&mut self, name: &str) -> Result<(), VaultError> {
        let name = check_name(name)?;
        self.in_house(|house| {
            house.name_desk(&name)?;
            house.put_in_order()
        })
    }
}
