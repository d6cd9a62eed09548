//! The team as this vault knows it: founding, admitting, joining.
//!
//! A coordinator keeps the members' certificates and labels; a monitor keeps its own certificate,
//! the coordinators' and the desk's recipient, and never learns of another monitor.

use fieldbook_depot::Depot;
use fieldbook_proto::certificate::{Authority, Certificate, CertificateBody, Recipient, Role};
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_proto::limits::{CERTIFICATE_MAX, RECIPIENT_MAX};
use fieldbook_proto::pairing::{Admission, DeskInfo, JoinRequest};
use fieldbook_proto::{DeskId, DeviceId, TeamId};
use fieldbook_seal::{Audience, Kind, ReadingIdentity};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::names::check_name;
use crate::outgoing::{self, Outgoing};
use crate::slots;
use crate::store;
use crate::vault::{NAME_MAX, Vault, now_s};
use crate::views::{Member, TeamInfo};

const DAY_S: u64 = 24 * 60 * 60;
/// How long a member's certificate lives.
const MEMBER_LIFE_S: u64 = 90 * DAY_S;
/// The founder's is trusted by its key, received at pairing, and ended by revocation: nobody else
/// could renew it for a team of one.
const FOUNDER_LIFE_S: u64 = 3650 * DAY_S;

const TEAM_ID_CONTEXT: &str = "fieldbook 2026 team id v1";

/// The team of this device.
pub(crate) struct Team {
    pub name: String,
    pub certificate: Certificate,
    pub authority: Authority,
    pub desk: DeskId,
    pub epoch: u32,
    pub recipient: Recipient,
    /// An extra recipient on every entry, if the team has one.
    pub recovery: Option<Recipient>,
    /// The desk's reading identities by epoch, newest first; coordinators only.
    pub desk_keys: Vec<(u32, ReadingIdentity)>,
}

impl Team {
    pub fn role(&self) -> Role {
        self.certificate.body().role
    }

    pub fn info(&self) -> TeamInfo {
        TeamInfo {
            id: self.authority.team().to_string(),
            name: self.name.clone(),
            desk: self.desk.to_string(),
            epoch: self.epoch,
        }
    }

    /// The audience and recipients of an entry for the desk.
    pub fn desk_audience(&self) -> (Audience, Vec<Recipient>) {
        let audience =
            Audience { desk: Some((self.desk, self.epoch)), readers: Vec::new(), attachment: None };
        let recipients = std::iter::once(self.recipient.clone()).chain(self.recovery.clone()).collect();
        (audience, recipients)
    }

    pub fn load(db: &Connection) -> Result<Option<Self>, VaultError> {
        let Some(bytes) = store::meta(db, "team")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        let name = reader.text("team name", NAME_MAX)?.to_owned();
        let certificate = Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?;
        let desk = DeskId::from_bytes(reader.array("desk")?);
        let epoch = reader.u32("epoch")?;
        let recipient = Recipient::parse(reader.text("desk recipient", RECIPIENT_MAX)?)?;
        let recovery = match reader.text("recovery recipient", RECIPIENT_MAX)? {
            "" => None,
            text => Some(Recipient::parse(text)?),
        };
        reader.end()?;
        let authority = Authority::decode(&store::required_meta(db, "authority")?)?;
        let desk_keys = load_desk_keys(db)?;
        Ok(Some(Self { name, certificate, authority, desk, epoch, recipient, recovery, desk_keys }))
    }

    fn save(&self, db: &Connection) -> Result<(), VaultError> {
        let recovery = self.recovery.as_ref().map_or("", Recipient::as_str);
        let bytes = Writer::new()
            .bytes(self.name.as_bytes())
            .bytes(&self.certificate.encode())
            .raw(self.desk.as_bytes())
            .u32(self.epoch)
            .bytes(self.recipient.as_str().as_bytes())
            .bytes(recovery.as_bytes())
            .finish();
        store::set_meta(db, "team", &bytes)?;
        store::set_meta(db, "authority", &self.authority.encode())?;
        for (epoch, identity) in &self.desk_keys {
            db.execute(
                "INSERT OR REPLACE INTO desk_key (epoch, secret) VALUES (?1, ?2)",
                params![epoch, identity.to_text().as_bytes()],
            )?;
        }
        Ok(())
    }
}

fn load_desk_keys(db: &Connection) -> Result<Vec<(u32, ReadingIdentity)>, VaultError> {
    let mut statement = db.prepare("SELECT epoch, secret FROM desk_key ORDER BY epoch DESC")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let secret = Zeroizing::new(row.get::<_, Vec<u8>>(1)?);
        let text = std::str::from_utf8(&secret).map_err(|_| VaultError::damaged("a desk key is not text"))?;
        let identity =
            ReadingIdentity::parse(text).map_err(|_| VaultError::damaged("a desk key does not read back"))?;
        keys.push((row.get(0)?, identity));
    }
    Ok(keys)
}

/// Keeps a member's certificate and label.
pub(crate) fn save_device(db: &Connection, certificate: &Certificate, label: &str) -> Result<(), VaultError> {
    db.execute(
        "INSERT INTO device (id, certificate, label) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET certificate = ?2, label = ?3",
        params![certificate.device_id().as_bytes(), certificate.encode(), label],
    )?;
    Ok(())
}

/// The body of a certificate entry: the certificate, and the label others gave the device.
pub(crate) fn certificate_body(certificate: &Certificate, label: &str) -> Vec<u8> {
    Writer::new().bytes(&certificate.encode()).bytes(label.as_bytes()).finish()
}

/// Reads a certificate entry's body.
pub(crate) fn parse_certificate_body(body: &[u8]) -> Result<(Certificate, String), VaultError> {
    let mut reader = Reader::new(body);
    let certificate = Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?;
    let label = reader.text("label", NAME_MAX)?.to_owned();
    reader.end()?;
    Ok((certificate, label))
}

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
        let mut random = Zeroizing::new([0; 16 + 16 + 32]);
        slots::fill(&mut *random)?;
        let founding = [self.me.as_bytes().as_slice(), &random[..16]].concat();
        let team_id =
            TeamId::from_bytes(store::array(&blake3::derive_key(TEAM_ID_CONTEXT, &founding)[..16], "id")?);
        let desk = DeskId::from_bytes(store::array(&random[16..32], "desk id")?);
        let desk_identity = ReadingIdentity::generate();
        let now = now_s();
        let certificate = self.device.issue(CertificateBody {
            team: team_id,
            keys: self.device.keys(),
            role: Role::Coordinator,
            desk,
            admitted: now,
            not_after: now + FOUNDER_LIFE_S,
            issuer: self.me,
        });
        let authority =
            Authority::new(certificate.clone()).map_err(|error| VaultError::Untrusted(error.to_string()))?;
        let team = Team {
            name,
            certificate,
            authority,
            desk,
            epoch: 1,
            recipient: desk_identity.recipient(),
            recovery: None,
            desk_keys: vec![(1, desk_identity)],
        };
        let transport_secrets = vec![(1, store::array(&random[32..], "transport secret")?)];
        self.enter(team, &transport_secrets, &[], &[])
    }

    /// What this device sends to be admitted.
    pub fn join_request(&self) -> JoinRequest {
        JoinRequest { keys: self.device.keys(), name: self.name.clone() }
    }

    /// Admits a device: certifies it, remembers its label, and lets the other coordinators know.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], an impossible name, or the store's.
    pub fn admit(&mut self, request: &JoinRequest, role: Role) -> Result<Admission, VaultError> {
        let team = self.team()?;
        if team.role() != Role::Coordinator {
            return Err(VaultError::NotCoordinator);
        }
        let label = check_name(&request.name)?;
        let now = now_s();
        let certificate = self.device.issue(CertificateBody {
            team: team.authority.team(),
            keys: request.keys.clone(),
            role,
            desk: team.desk,
            admitted: now,
            not_after: now + MEMBER_LIFE_S,
            issuer: self.me,
        });
        let newcomer = certificate.device_id();
        let others = self.members()?;
        fieldbook_seal::check_recipient(&request.keys.recipient)
            .map_err(|error| VaultError::Untrusted(error.to_string()))?;
        // A device may come again (its first pairing broke off), but not as something else.
        let known = others.iter().find(|(id, _, _)| *id == newcomer);
        if newcomer == self.me || known.is_some_and(|(_, member, _)| member.body().role != role) {
            return Err(VaultError::Untrusted(
                "the device is in the team already, in another role".to_owned(),
            ));
        }
        if team.authority.revoked().contains(&newcomer) {
            return Err(VaultError::Untrusted("the device was removed from the team".to_owned()));
        }
        if role == Role::Coordinator {
            let mut authority = team.authority.clone();
            let added = authority.add_coordinator(certificate.clone());
            added.map_err(|error| VaultError::Untrusted(error.to_string()))?;
        }
        let transport_secrets = parse_transport_secrets(&self.depot)?;
        let (audience, recipients) = team.desk_audience();
        let body = certificate_body(&certificate, &label);
        let device = &self.device;
        let tx = self.db.transaction()?;
        save_device(&tx, &certificate, &label)?;
        let announce = |audience, recipients: &[Recipient]| {
            let kind = Kind::Certificate;
            outgoing::queue(&tx, device, &Outgoing { kind, report: None, audience, body: &body, recipients })
        };
        announce(audience, &recipients)?;
        if role == Role::Coordinator {
            // Each monitor learns of the new coordinator in an entry of its own: a common one would
            // name its readers to each other.
            for (id, member, _) in &others {
                if *id == newcomer || member.body().role != Role::Monitor {
                    continue;
                }
                let audience = Audience { desk: None, readers: vec![*id], attachment: None };
                announce(audience, std::slice::from_ref(&member.body().keys.recipient))?;
            }
        }
        tx.commit()?;
        if role == Role::Coordinator {
            self.trust_coordinator(certificate.clone(), &label)?;
        }
        self.flush()?;
        let coordinator_names = self.coordinator_names()?;
        let team = self.team()?;
        let desk_identities = match role {
            Role::Coordinator => team.desk_keys.iter().map(|(epoch, key)| (*epoch, key.to_text())).collect(),
            Role::Monitor | Role::Relay => Vec::new(),
        };
        Ok(Admission {
            certificate,
            authority: team.authority.encode(),
            team_name: team.name.clone(),
            desk: DeskInfo { id: team.desk, epoch: team.epoch, recipient: team.recipient.clone() },
            transport_secrets,
            coordinator_names,
            recovery: team.recovery.clone(),
            desk_identities,
            addresses: Vec::new(),
        })
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
        let authority = Authority::decode(&admission.authority)
            .map_err(|error| VaultError::Untrusted(error.to_string()))?;
        let device = authority
            .judge(&admission.certificate, now_s())
            .map_err(|error| VaultError::Untrusted(error.to_string()))?;
        if device.id() != self.me {
            return Err(untrusted("the certificate is for another device"));
        }
        let mut desk_keys = Vec::new();
        for (epoch, text) in &admission.desk_identities {
            let identity =
                ReadingIdentity::parse(text).map_err(|_| untrusted("a desk identity does not read"))?;
            desk_keys.push((*epoch, identity));
        }
        let team = Team {
            name: check_name(&admission.team_name)?,
            certificate: admission.certificate.clone(),
            authority,
            desk: admission.desk.id,
            epoch: admission.desk.epoch,
            recipient: admission.desk.recipient.clone(),
            recovery: admission.recovery.clone(),
            desk_keys,
        };
        let mut coordinators = Vec::new();
        for (id, certificate) in team.authority.coordinators() {
            let name = admission.coordinator_names.iter().find(|(device, _)| device == id);
            let label = name.map_or_else(|| format!("coordinator {}", id.short()), |(_, name)| name.clone());
            coordinators.push((certificate.clone(), check_name(&label)?));
        }
        self.enter(team, &admission.transport_secrets, &admission.addresses, &coordinators)
    }

    /// The members that this device knows, itself included.
    ///
    /// # Errors
    /// The store's.
    pub fn people(&self) -> Result<Vec<Member>, VaultError> {
        let mut people: Vec<Member> = self
            .members()?
            .into_iter()
            .map(|(id, certificate, label)| member(id, &certificate, label, false))
            .collect();
        people.retain(|known| known.device != self.me.to_string());
        if let Some(team) = &self.team {
            people.insert(0, member(self.me, &team.certificate, self.name.clone(), true));
        }
        Ok(people)
    }

    /// The desk's current reading identity, for recovery with stock `age`. A secret: with it every
    /// entry of the desk's current epoch can be read.
    ///
    /// # Errors
    /// [`VaultError::NotCoordinator`], [`VaultError::NoTeam`].
    pub fn desk_identity_text(&self) -> Result<Zeroizing<String>, VaultError> {
        let (_, identity) = self.team()?.desk_keys.first().ok_or(VaultError::NotCoordinator)?;
        Ok(identity.to_text())
    }

    /// Believes a coordinator whose certificate another coordinator signed.
    pub(crate) fn trust_coordinator(
        &mut self,
        certificate: Certificate,
        label: &str,
    ) -> Result<(), VaultError> {
        let team = self.team.as_mut().ok_or(VaultError::NoTeam)?;
        let mut authority = team.authority.clone();
        authority
            .add_coordinator(certificate.clone())
            .map_err(|error| VaultError::Untrusted(error.to_string()))?;
        let tx = self.db.transaction()?;
        store::set_meta(&tx, "authority", &authority.encode())?;
        save_device(&tx, &certificate, label)?;
        tx.commit()?;
        team.authority = authority;
        self.tell_depot_authority()
    }

    /// Whom the network process is to believe, if it was not told: a crash may have come between.
    pub(crate) fn tell_depot_authority(&self) -> Result<(), VaultError> {
        let Some(team) = &self.team else { return Ok(()) };
        let authority = team.authority.encode();
        if self.depot.setting("authority")?.as_deref() != Some(authority.as_slice()) {
            self.depot.set_setting("authority", Some(&authority))?;
        }
        Ok(())
    }

    pub(crate) fn members(&self) -> Result<Vec<(DeviceId, Certificate, String)>, VaultError> {
        let mut statement = self.db.prepare_cached("SELECT certificate, label FROM device ORDER BY label")?;
        let mut rows = statement.query([])?;
        let mut members = Vec::new();
        while let Some(row) = rows.next()? {
            let certificate = Certificate::decode(&row.get::<_, Vec<u8>>(0)?)?;
            members.push((certificate.device_id(), certificate, row.get(1)?));
        }
        Ok(members)
    }

    fn coordinator_names(&self) -> Result<Vec<(DeviceId, String)>, VaultError> {
        let names = self.names()?;
        Ok(self.team()?.authority.coordinators().keys().map(|id| (*id, names.device(id))).collect())
    }

    /// Writes the team into the vault, and what the network process needs of it into the depot.
    fn enter(
        &mut self,
        team: Team,
        transport_secrets: &[(u32, [u8; 32])],
        addresses: &[String],
        coordinators: &[(Certificate, String)],
    ) -> Result<TeamInfo, VaultError> {
        self.depot.set_setting("authority", Some(&team.authority.encode()))?;
        self.depot.set_setting("transport-secrets", Some(&encode_transport_secrets(transport_secrets)))?;
        if !addresses.is_empty() {
            let json = serde_json::to_vec(addresses).unwrap_or_default();
            self.depot.set_setting("addresses", Some(&json))?;
        }
        self.depot.set_setting("certificate", Some(&team.certificate.encode()))?;
        let tx = self.db.transaction()?;
        team.save(&tx)?;
        for (certificate, label) in coordinators {
            save_device(&tx, certificate, label)?;
        }
        tx.commit()?;
        let info = team.info();
        self.team = Some(team);
        Ok(info)
    }
}

fn member(id: DeviceId, certificate: &Certificate, label: String, me: bool) -> Member {
    let body = certificate.body();
    Member {
        device: id.to_string(),
        label,
        role: body.role.word().to_owned(),
        admitted: body.admitted,
        not_after: body.not_after,
        me,
    }
}

fn encode_transport_secrets(secrets: &[(u32, [u8; 32])]) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new();
    writer.u32(u32::try_from(secrets.len()).unwrap_or(u32::MAX));
    for (epoch, secret) in secrets {
        writer.u32(*epoch).raw(secret);
    }
    Zeroizing::new(writer.finish())
}

fn parse_transport_secrets(depot: &impl Depot) -> Result<Vec<(u32, [u8; 32])>, VaultError> {
    let bytes = Zeroizing::new(depot.setting("transport-secrets")?.unwrap_or_default());
    let mut reader = Reader::new(&bytes);
    let mut secrets = Vec::new();
    for _ in 0..reader.count("transport secrets", 64)? {
        secrets.push((reader.u32("epoch")?, reader.array("transport secret")?));
    }
    reader.end()?;
    Ok(secrets)
}
