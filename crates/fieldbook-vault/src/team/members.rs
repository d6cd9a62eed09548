//! The certificates and labels of the devices that this vault knows.

use fieldbook_proto::certificate::{Act, Authority, Certificate, Role};
use fieldbook_proto::{DeskId, DeviceId, TeamId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::VaultError;
use crate::vault::Vault;
use crate::views::{DeskView, Member};

/// A device that this vault knows.
pub(crate) struct Known {
    pub certificate: Certificate,
    pub label: String,
    /// Whether it is in the team as far as this vault is concerned, or only the author of a shared report.
    pub member: bool,
    /// The place in its issuer's chain of the entry that brought its certificate, or the last that was seen
    /// of that chain when somebody else told of it; the highest number when the issuer had been removed by
    /// then; 0 if this device made it or got it when it joined.
    pub via: u64,
    /// When an entry of it was last opened, in milliseconds since 1970.
    pub heard_ms: i64,
}

impl Known {
    pub fn id(&self) -> DeviceId {
        self.certificate.device_id()
    }
}

/// Keeps a member's certificate and label: of two certificates that by a coordinator who stands, then the
/// later one; of the labels the one that was given first, so that nobody swaps two people's names.
/// `via`: see [`Known::via`].
pub(crate) fn save_device(
    db: &Connection,
    authority: &Authority,
    certificate: &Certificate,
    label: &str,
    via: u64,
) -> Result<(), VaultError> {
    let device = certificate.device_id();
    let present = find(db, &device)?;
    let worth = |certificate: &Certificate| {
        let body = certificate.body();
        (authority.is_coordinator(&body.issuer), body.serial, body.not_after)
    };
    let later = present.as_ref().is_none_or(|known| worth(&known.certificate) < worth(certificate));
    let label = match (label, &present) {
        (_, Some(known)) if !is_stopgap(&known.label, &device) => known.label.clone(),
        ("", Some(known)) => known.label.clone(),
        ("", None) => format!("device {}", device.short()),
        (given, _) => given.to_owned(),
    };
    db.execute(
        "INSERT INTO device (id, certificate, label, via) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET label = ?3, member = 1",
        params![device.as_bytes(), certificate.encode(), label, i64::try_from(via).unwrap_or(i64::MAX)],
    )?;
    if later && present.is_some() {
        db.execute(
            "UPDATE device SET certificate = ?2, via = ?3 WHERE id = ?1",
            params![device.as_bytes(), certificate.encode(), i64::try_from(via).unwrap_or(i64::MAX)],
        )?;
    }
    Ok(())
}

/// Whether a label only stands in for one.
fn is_stopgap(label: &str, device: &DeviceId) -> bool {
    let short = device.short();
    label == format!("device {short}") || label == format!("coordinator {short}")
}

/// Gives a device another label, as this device's person says; none if it is empty.
pub(super) fn set_label(db: &Connection, device: &DeviceId, label: &str) -> Result<(), VaultError> {
    if !label.is_empty() {
        db.execute("UPDATE device SET label = ?2 WHERE id = ?1", params![device.as_bytes(), label])?;
    }
    Ok(())
}

/// Keeps the certificate of a shared report's author, so that what it writes later can be verified. It
/// makes nobody a member.
pub(crate) fn save_author(db: &Connection, certificate: &Certificate) -> Result<(), VaultError> {
    let device = certificate.device_id();
    let serial = certificate.body().serial;
    match find(db, &device)? {
        Some(known) if known.member || known.certificate.body().serial >= serial => {}
        _ => {
            db.execute(
                "INSERT INTO device (id, certificate, label, member) VALUES (?1, ?2, ?3, 0)
                 ON CONFLICT (id) DO UPDATE SET certificate = ?2",
                params![device.as_bytes(), certificate.encode(), format!("device {}", device.short())],
            )?;
        }
    }
    Ok(())
}

/// Of the devices of another team only the certificates stay, to verify what they wrote: a restored vault may
/// have been in one.
pub(super) fn only_of(db: &Connection, team: TeamId) -> Result<(), VaultError> {
    for known in all(db)?.into_iter().filter(|known| known.certificate.body().team != team) {
        db.execute("UPDATE device SET member = 0 WHERE id = ?1", [known.id().as_bytes()])?;
    }
    Ok(())
}

/// What is known of a device.
pub(crate) fn find(db: &Connection, device: &DeviceId) -> Result<Option<Known>, VaultError> {
    db.prepare_cached("SELECT certificate, label, member, via, heard_ms FROM device WHERE id = ?1")?
        .query_row([device.as_bytes()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

fn read(row: &rusqlite::Row<'_>) -> Result<Known, VaultError> {
    Ok(Known {
        certificate: Certificate::decode(&row.get::<_, Vec<u8>>(0)?)?,
        label: row.get(1)?,
        member: row.get(2)?,
        via: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
        heard_ms: row.get(4)?,
    })
}

/// Every device that is known, by label.
pub(crate) fn all(db: &Connection) -> Result<Vec<Known>, VaultError> {
    let mut statement =
        db.prepare_cached("SELECT certificate, label, member, via, heard_ms FROM device ORDER BY label, id")?;
    let mut rows = statement.query([])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        known.push(read(row)?);
    }
    Ok(known)
}

impl Vault {
    /// What is known of a device.
    pub(crate) fn member(&self, device: &DeviceId) -> Result<Option<Known>, VaultError> {
        find(&self.db, device)
    }

    /// The devices of the team that this vault knows, itself not among them.
    pub(crate) fn members(&self) -> Result<Vec<Known>, VaultError> {
        let mut members = all(&self.db)?;
        members.retain(|known| known.member && known.id() != self.me);
        Ok(members)
    }

    /// The device that a person named by its label or by the beginning of its id.
    ///
    /// # Errors
    /// [`VaultError::NoSuchDevice`], [`VaultError::SameName`], [`VaultError::Ambiguous`].
    pub fn find_device(&self, typed: &str) -> Result<DeviceId, VaultError> {
        let typed = typed.trim();
        let wanted = typed.to_lowercase();
        let mut matches: Vec<DeviceId> = Vec::new();
        let mut others = self.members()?;
        others.retain(|known| known.label.to_lowercase() == wanted);
        matches.extend(others.iter().map(Known::id));
        if self.name.to_lowercase() == wanted {
            matches.push(self.me);
        }
        if matches.len() > 1 {
            return Err(VaultError::SameName { name: typed.to_owned(), matches: matches.len() });
        }
        if matches.is_empty() && wanted.len() >= 4 {
            let all = self.members()?.iter().map(Known::id).chain([self.me]).collect::<Vec<_>>();
            matches.extend(all.into_iter().filter(|id| id.to_string().starts_with(&wanted)));
        }
        match matches.as_slice() {
            [one] => Ok(*one),
            [] => Err(VaultError::NoSuchDevice(typed.chars().take(128).collect())),
            many => Err(VaultError::Ambiguous { prefix: typed.to_owned(), matches: many.len() }),
        }
    }

    /// The members that this device knows, itself first. A monitor knows its coordinators only.
    ///
    /// # Errors
    /// The store's.
    pub fn people(&self) -> Result<Vec<Member>, VaultError> {
        let Some(team) = &self.team else { return Ok(Vec::new()) };
        let mut people = vec![self.view(&team.certificate, self.name.clone(), 0, true)];
        for known in self.members()? {
            people.push(self.view(&known.certificate, known.label, known.heard_ms, false));
        }
        Ok(people)
    }

    fn view(&self, certificate: &Certificate, label: String, heard_ms: i64, me: bool) -> Member {
        let (id, body) = (certificate.device_id(), certificate.body());
        let removal = self.team.as_ref().and_then(|team| team.authority.removal(&id));
        let now = crate::vault::now_s();
        let state = match removal.map(|removal| removal.act) {
            Some(Act::Lost) => "lost",
            Some(Act::Removed) => "removed",
            // Whoever certified it was removed, and did not keep it.
            None if self.has_fallen(&id) => "not kept",
            _ if now > body.not_after => "expired",
            _ => "member",
        };
        let demoted = removal.is_some_and(|removal| removal.act == Act::Demoted);
        let role = if demoted && body.role == Role::Coordinator { Role::Monitor } else { body.role };
        Member {
            device: id.to_string(),
            label,
            role: role.word().to_owned(),
            desk: body.desk.to_string(),
            admitted: body.admitted,
            not_after: body.not_after,
            heard_ms,
            state: state.to_owned(),
            me,
        }
    }

    /// Whether a coordinator stands no more although nobody removed it.
    pub(super) fn has_fallen(&self, device: &DeviceId) -> bool {
        self.team.as_ref().is_some_and(|team| {
            let authority = &team.authority;
            authority.ever_coordinator(device).is_some()
                && !authority.is_coordinator(device)
                && authority.removal(device).is_none()
        })
    }

    /// The desks that this device knows.
    ///
    /// # Errors
    /// The store's.
    pub fn desks(&self) -> Result<Vec<DeskView>, VaultError> {
        let team = self.team()?;
        let names = self.names()?;
        let mut ids: Vec<DeskId> = team.authority.coordinators().values().map(|c| c.body().desk).collect();
        ids.push(team.desk);
        ids.sort();
        ids.dedup();
        let members = self.members()?;
        Ok(ids
            .into_iter()
            .map(|desk| DeskView {
                id: desk.to_string(),
                name: team.desk_epoch(desk).map(|row| row.name.clone()).unwrap_or_default(),
                epoch: team.desk_epoch(desk).map_or(0, |row| row.epoch),
                coordinators: team.people_who_read(desk).iter().map(|id| names.device(id)).collect(),
                members: members
                    .iter()
                    .filter(|known| {
                        known.certificate.body().desk == desk && !team.authority.is_removed(&known.id())
                    })
                    .count()
                    + usize::from(desk == team.desk),
                mine: desk == team.desk,
                sheets: desk == team.desk && team.sheets().is_some(),
            })
            .collect())
    }
}

/// Notes when a device was last heard of.
pub(crate) fn heard(db: &Connection, device: &DeviceId, time_ms: i64) -> Result<(), VaultError> {
    db.prepare_cached("UPDATE device SET heard_ms = max(heard_ms, ?2) WHERE id = ?1")?
        .execute(params![device.as_bytes(), time_ms])?;
    Ok(())
}

/// The devices whose certificates name a desk.
pub(crate) fn at_desk(members: &[Known], desk: DeskId) -> impl Iterator<Item = &Known> {
    members.iter().filter(move |known| known.certificate.body().desk == desk)
}
