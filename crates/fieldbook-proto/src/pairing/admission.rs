//! What travels inside the channel: the joiner's request and the coordinator's admission.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::code::is_address;
use super::{ADDRESS_MAX, ADDRESSES_MAX, EPOCHS_MAX, NAME_MAX};
use crate::certificate::{Certificate, DeviceKeys, Recipient};
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{
    AUTHORITY_CERTIFICATES_MAX, CERTIFICATE_MAX, COORDINATORS_MAX, RECIPIENT_MAX, REMOVAL_MAX, REMOVALS_MAX,
};
use crate::{DeskId, DeviceId};

const VERSION: u8 = 1;
/// A request of a device that was another one before.
const VERSION_FORMER: u8 = 2;
/// Longest text of an age identity; room for post-quantum ones.
const IDENTITY_MAX: usize = 256;
/// Largest encoded [`crate::certificate::Authority`].
const AUTHORITY_MAX: usize =
    16 + AUTHORITY_CERTIFICATES_MAX * (4 + CERTIFICATE_MAX) + REMOVALS_MAX * (4 + REMOVAL_MAX);

/// Largest encoded request, in bytes.
pub(super) const REQUEST_MAX: usize = 1 + 64 + 4 + RECIPIENT_MAX + 4 + NAME_MAX + DeviceId::LEN + 8;
/// Largest encoded admission, in bytes: nearly all of it the authority of a very large team.
pub(super) const ADMISSION_MAX: usize = AUTHORITY_MAX + 128 * 1024;

/// Who asks to be admitted. The keys were not proven to be its own: they are of use only to whoever
/// holds their secrets, and a coordinator refuses those of a device that it already knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The device's public keys.
    pub keys: DeviceKeys,
    /// What its person calls it: at most [`NAME_MAX`] bytes, no control characters.
    pub name: String,
    /// The device that its notebook was before it was restored from a backup or copied, if it says so.
    pub former: Option<FormerDevice>,
}

/// A device that goes on no more: its notebook says that it is another one now. Nothing proves it; whether
/// it is believed is for the inviting person to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerDevice {
    /// Its id.
    pub device: DeviceId,
    /// The number of the last entry of its chain that the notebook holds: what it wrote up to there may
    /// still arrive through its successor.
    pub sequence: u64,
}

impl JoinRequest {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(if self.former.is_some() { VERSION_FORMER } else { VERSION });
        self.keys.encode(&mut writer);
        writer.bytes(self.name.as_bytes());
        if let Some(former) = &self.former {
            writer.raw(former.device.as_bytes()).u64(former.sequence);
        }
        writer.finish()
    }

    /// Reads a whole request.
    ///
    /// # Errors
    /// Anything but the encoding of a request within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let with_former = match reader.u8("version")? {
            VERSION => false,
            VERSION_FORMER => true,
            _ => return Err(DecodeError::Invalid { field: "version" }),
        };
        let (keys, name) = (DeviceKeys::decode(&mut reader)?, name(&mut reader, "name")?);
        let former = if with_former {
            let device = DeviceId::from_bytes(reader.array("former device")?);
            Some(FormerDevice { device, sequence: reader.u64("former sequence")? })
        } else {
            None
        };
        let request = Self { keys, name, former };
        reader.end()?;
        Ok(request)
    }
}

/// The desk that the newcomer reports to, or reads for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskInfo {
    /// The desk.
    pub id: DeskId,
    /// The epoch of its current reading identity.
    pub epoch: u32,
    /// The public half of that identity.
    pub recipient: Recipient,
}

/// Everything that a newcomer needs. Holds secrets: `Debug` leaves them out, drop wipes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Admission {
    /// The newcomer's certificate.
    pub certificate: Certificate,
    /// Whom to believe, as [`crate::certificate::Authority::encode`] wrote it.
    pub authority: Vec<u8>,
    /// The team's name, at most [`NAME_MAX`] bytes.
    pub team_name: String,
    /// The newcomer's desk.
    pub desk: DeskInfo,
    /// The transport secret of each epoch, newest first, at most [`EPOCHS_MAX`].
    pub transport_secrets: Vec<(u32, [u8; 32])>,
    /// What to call the coordinators.
    pub coordinator_names: Vec<(DeviceId, String)>,
    /// The team's recovery recipient, if it has one.
    pub recovery: Option<Recipient>,
    /// The desk's reading identities by epoch (age secrets, as text): for coordinators, else empty.
    pub desk_identities: Vec<(u32, Zeroizing<String>)>,
    /// Where to sync, `host:port` each, at most [`ADDRESSES_MAX`].
    pub addresses: Vec<String>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        for (_, secret) in &mut self.transport_secrets {
            secret.zeroize();
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("device", &self.certificate.device_id())
            .field("desk", &self.desk.id)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// The encoding. A value beyond a limit is encoded all the same and refused by
    /// [`Admission::decode`], which the inviter applies to what it is about to send.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let certificate = self.certificate.encode();
        let names: usize = self.coordinator_names.iter().map(|(_, name)| 36 + name.len()).sum();
        let identities: usize = self.desk_identities.iter().map(|(_, text)| 8 + text.len()).sum();
        let addresses: usize = self.addresses.iter().map(|address| 4 + address.len()).sum();
        let fixed = 64 + 2 * (4 + RECIPIENT_MAX) + self.team_name.len() + 36 * self.transport_secrets.len();
        let size = fixed + certificate.len() + self.authority.len() + names + identities + addresses;
        // Sized once, so that no copy of a secret is left behind by a growing vector.
        let mut out = Fields(Zeroizing::new(Vec::with_capacity(size)));
        out.raw(&[VERSION]).bytes(&certificate).bytes(&self.authority).bytes(self.team_name.as_bytes());
        out.raw(self.desk.id.as_bytes()).number(self.desk.epoch);
        out.bytes(self.desk.recipient.as_str().as_bytes());
        out.count(self.transport_secrets.len());
        for (epoch, secret) in &self.transport_secrets {
            out.number(*epoch).raw(secret);
        }
        out.count(self.coordinator_names.len());
        for (device, name) in &self.coordinator_names {
            out.raw(device.as_bytes()).bytes(name.as_bytes());
        }
        match &self.recovery {
            Some(recipient) => out.raw(&[1]).bytes(recipient.as_str().as_bytes()),
            None => out.raw(&[0]),
        };
        out.count(self.desk_identities.len());
        for (epoch, text) in &self.desk_identities {
            out.number(*epoch).bytes(text.as_bytes());
        }
        out.count(self.addresses.len());
        for address in &self.addresses {
            out.bytes(address.as_bytes());
        }
        debug_assert!(out.0.len() <= size, "the vector was sized for everything");
        out.0
    }

    /// Reads a whole admission. The authority is not judged here, nor the certificate.
    ///
    /// # Errors
    /// Anything but the encoding of an admission within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let mut admission = Self {
            certificate: Certificate::decode(reader.bytes("certificate", CERTIFICATE_MAX)?)?,
            authority: reader.bytes("authority", AUTHORITY_MAX)?.to_vec(),
            team_name: name(&mut reader, "team name")?,
            desk: DeskInfo {
                id: DeskId::from_bytes(reader.array("desk")?),
                epoch: reader.u32("desk epoch")?,
                recipient: recipient(&mut reader)?,
            },
            transport_secrets: Vec::new(),
            coordinator_names: Vec::new(),
            recovery: None,
            desk_identities: Vec::new(),
            addresses: Vec::new(),
        };
        // From here on secrets are inside a value that wipes itself, whatever fails next.
        let count = reader.count("transport secrets", EPOCHS_MAX)?;
        admission.transport_secrets.reserve_exact(count);
        for _ in 0..count {
            let epoch = reader.u32("transport epoch")?;
            admission.transport_secrets.push((epoch, reader.array("transport secret")?));
        }
        for _ in 0..reader.count("coordinator names", COORDINATORS_MAX)? {
            let device = DeviceId::from_bytes(reader.array("coordinator")?);
            admission.coordinator_names.push((device, name(&mut reader, "coordinator name")?));
        }
        admission.recovery = match reader.u8("recovery")? {
            0 => None,
            1 => Some(recipient(&mut reader)?),
            _ => return Err(DecodeError::Invalid { field: "recovery" }),
        };
        for _ in 0..reader.count("desk identities", EPOCHS_MAX)? {
            let epoch = reader.u32("desk epoch")?;
            let text = reader.text("desk identity", IDENTITY_MAX)?;
            admission.desk_identities.push((epoch, Zeroizing::new(text.to_owned())));
        }
        for _ in 0..reader.count("addresses", ADDRESSES_MAX)? {
            let address = reader.text("address", ADDRESS_MAX)?;
            if !is_address(address) {
                return Err(DecodeError::Invalid { field: "address" });
            }
            admission.addresses.push(address.to_owned());
        }
        reader.end()?;
        Ok(admission)
    }
}

/// The encoding of [`Writer`] into a vector that is wiped.
struct Fields(Zeroizing<Vec<u8>>);

impl Fields {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn count(&mut self, len: usize) -> &mut Self {
        self.number(u32::try_from(len).unwrap_or(u32::MAX))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let field = "version";
    if reader.u8(field)? == VERSION { Ok(()) } else { Err(DecodeError::Invalid { field }) }
}

/// A name is shown on other people's screens: no control characters.
fn name(reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let text = reader.text(field, NAME_MAX)?;
    if text.chars().any(char::is_control) { Err(DecodeError::Invalid { field }) } else { Ok(text.to_owned()) }
}

fn recipient(reader: &mut Reader<'_>) -> Result<Recipient, DecodeError> {
    Recipient::parse(reader.text("recipient", RECIPIENT_MAX)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::TeamId;
    use crate::certificate::{CertificateBody, Role};

    pub(in crate::pairing) fn request() -> JoinRequest {
        let recipient = Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap();
        JoinRequest {
            keys: DeviceKeys { signing: [1; 32], transport: [2; 32], recipient },
            name: "Vitebsk 3".into(),
            former: None,
        }
    }

    pub(in crate::pairing) fn admission() -> Admission {
        let keys = request().keys;
        let recipient = keys.recipient.clone();
        let body = CertificateBody {
            team: TeamId::from_bytes([3; 16]),
            issuer: DeviceId::from_bytes([4; 32]),
            keys,
            role: Role::Coordinator,
            desk: DeskId::from_bytes([5; 16]),
            admitted: 1,
            not_after: 2,
            serial: 0,
        };
        Admission {
            certificate: Certificate::new(body, [6; 64]),
            authority: vec![7; 500],
            team_name: "Viasna".into(),
            desk: DeskInfo { id: DeskId::from_bytes([5; 16]), epoch: 2, recipient: recipient.clone() },
            transport_secrets: vec![(2, [8; 32]), (1, [9; 32])],
            coordinator_names: vec![(DeviceId::from_bytes([4; 32]), "Alena".into())],
            recovery: Some(recipient),
            desk_identities: vec![(2, Zeroizing::new("AGE-SECRET-KEY-1TEST".into()))],
            addresses: vec!["relay.example:443".into()],
        }
    }

    #[test]
    fn both_come_back_whole_and_nothing_shorter_or_longer_does() {
        let bytes = request().encode();
        assert_eq!(JoinRequest::decode(&bytes), Ok(request()));
        assert!((0..bytes.len()).all(|end| JoinRequest::decode(&bytes[..end]).is_err()));
        let former = FormerDevice { device: DeviceId::from_bytes([7; 32]), sequence: 300 };
        let restored = JoinRequest { former: Some(former), ..request() };
        let bytes = restored.encode();
        assert_eq!(JoinRequest::decode(&bytes), Ok(restored));
        assert!((0..bytes.len()).all(|end| JoinRequest::decode(&bytes[..end]).is_err()));
        let mut bytes = admission().encode().to_vec();
        assert_eq!(Admission::decode(&bytes), Ok(admission()));
        assert!((0..bytes.len()).all(|end| Admission::decode(&bytes[..end]).is_err()));
        bytes.push(0);
        assert_eq!(Admission::decode(&bytes), Err(DecodeError::Trailing { bytes: 1 }));
    }

    #[test]
    fn limits_hold() {
        let long = JoinRequest { name: "n".repeat(129), ..request() };
        assert_eq!(
            JoinRequest::decode(&long.encode()),
            Err(DecodeError::TooLong { field: "name", limit: 128 })
        );
        let sly = JoinRequest { name: "a\u{1b}[2J".into(), ..request() };
        assert_eq!(JoinRequest::decode(&sly.encode()), Err(DecodeError::Invalid { field: "name" }));
        let mut many = admission();
        many.transport_secrets = vec![(1, [0; 32]); EPOCHS_MAX + 1];
        let too_long = DecodeError::TooLong { field: "transport secrets", limit: EPOCHS_MAX };
        assert_eq!(Admission::decode(&many.encode()), Err(too_long));
        let mut nowhere = admission();
        nowhere.addresses = vec!["nowhere".into()];
        assert_eq!(Admission::decode(&nowhere.encode()), Err(DecodeError::Invalid { field: "address" }));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", admission());
        assert!(!shown.contains("SECRET") && !shown.contains("8, 8"), "{shown}");
    }
}
