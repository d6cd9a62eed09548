//! Grants: epochs and their secrets, and what a coordinator passes on of the team.

use std::fmt;

use fieldbook_proto::DeskId;
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Recipient, Removal};
use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::limits::{COORDINATORS_MAX, ENTRY_BODY_MAX, RECIPIENT_MAX, REMOVAL_MAX, REMOVALS_MAX};
use zeroize::Zeroizing;

use super::membership::Announcement;
use super::{count, present, read_devices, write_devices};

const VERSION: u8 = 1;
/// Removals, or certificates, in one grant.
pub const GRANT_ITEMS_MAX: usize = 64;
const NAME_MAX: usize = 128;
const IDENTITY_MAX: usize = 256;
const CHARTER_MAX: usize = ENTRY_BODY_MAX - 64 * 1024;

/// An epoch of the transport secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TransportEpoch {
    /// Its number.
    pub epoch: u32,
    /// The secret.
    pub secret: Zeroizing<[u8; 32]>,
    /// The removed devices that it was made without.
    pub without: Vec<DeviceId>,
}

/// An epoch of a desk's reading identity.
#[derive(Clone, PartialEq, Eq)]
pub struct DeskEpoch {
    /// The desk.
    pub desk: DeskId,
    /// Its number.
    pub epoch: u32,
    /// The public half.
    pub recipient: Recipient,
    /// The desk's name, or empty: at most 128 bytes, no control characters.
    pub name: String,
    /// The coordinators who are given the secret half.
    pub readers: Vec<DeviceId>,
    /// The secret half, an age identity as text, for those coordinators only.
    pub identity: Option<Zeroizing<String>>,
}

/// What a grant gives; every part may be absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// A transport secret.
    pub transport: Option<TransportEpoch>,
    /// A desk's epoch.
    pub desk: Option<DeskEpoch>,
    /// The recovery recipient.
    pub recovery: Option<Recipient>,
    /// For the recovery sheets: an encoded [`fieldbook_proto::pairing::Admission`].
    pub charter: Option<Zeroizing<Vec<u8>>>,
    /// Removals as their issuers signed them, at most [`GRANT_ITEMS_MAX`].
    pub removals: Vec<Removal>,
    /// Certificates of coordinators, or for a new coordinator those of its desk's members; at most
    /// [`GRANT_ITEMS_MAX`].
    pub coordinators: Vec<Announcement>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("transport", &self.transport.as_ref().map(|transport| transport.epoch))
            .field("desk", &self.desk.as_ref().map(|desk| (desk.desk, desk.epoch)))
            .field("removals", &self.removals.len())
            .field("coordinators", &self.coordinators.len())
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// The encoding. It wipes itself: it may hold secrets.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.u8(VERSION).u8(u8::from(self.transport.is_some()));
        if let Some(transport) = &self.transport {
            writer.u32(transport.epoch).raw(&*transport.secret);
            write_devices(&mut writer, &transport.without);
        }
        writer.u8(u8::from(self.desk.is_some()));
        if let Some(desk) = &self.desk {
            writer.raw(desk.desk.as_bytes()).u32(desk.epoch).bytes(desk.recipient.as_str().as_bytes());
            writer.bytes(desk.name.as_bytes());
            write_devices(&mut writer, &desk.readers);
            writer.u8(u8::from(desk.identity.is_some()));
            if let Some(identity) = &desk.identity {
                writer.bytes(identity.as_bytes());
            }
        }
        writer.u8(u8::from(self.recovery.is_some()));
        if let Some(recovery) = &self.recovery {
            writer.bytes(recovery.as_str().as_bytes());
        }
        writer.u8(u8::from(self.charter.is_some()));
        if let Some(charter) = &self.charter {
            writer.bytes(charter);
        }
        writer.u32(count(self.removals.len()));
        for removal in &self.removals {
            writer.bytes(&removal.encode());
        }
        writer.u32(count(self.coordinators.len()));
        for announcement in &self.coordinators {
            writer.raw(&announcement.encode());
        }
        Zeroizing::new(writer.finish())
    }

    /// Reads a whole grant.
    ///
    /// # Errors
    /// Anything but one well-formed grant within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("grant version")? != VERSION {
            return Err(DecodeError::Invalid { field: "grant version" });
        }
        let mut grant = Self::default();
        if present(&mut reader, "transport")? {
            grant.transport = Some(TransportEpoch {
                epoch: reader.u32("transport epoch")?,
                secret: Zeroizing::new(reader.array("transport secret")?),
                without: read_devices(&mut reader, "without", REMOVALS_MAX)?,
            });
        }
        if present(&mut reader, "desk")? {
            grant.desk = Some(read_desk(&mut reader)?);
        }
        if present(&mut reader, "recovery")? {
            grant.recovery = Some(Recipient::parse(reader.text("recovery", RECIPIENT_MAX)?)?);
        }
        if present(&mut reader, "charter")? {
            grant.charter = Some(Zeroizing::new(reader.bytes("charter", CHARTER_MAX)?.to_vec()));
        }
        for _ in 0..reader.count("removals", GRANT_ITEMS_MAX)? {
            grant.removals.push(Removal::decode(reader.bytes("removal", REMOVAL_MAX)?)?);
        }
        for _ in 0..reader.count("certificates", GRANT_ITEMS_MAX)? {
            grant.coordinators.push(Announcement::read(&mut reader)?);
        }
        reader.end()?;
        Ok(grant)
    }
}

fn read_desk(reader: &mut Reader<'_>) -> Result<DeskEpoch, DecodeError> {
    let mut desk = DeskEpoch {
        desk: DeskId::from_bytes(reader.array("desk")?),
        epoch: reader.u32("desk epoch")?,
        recipient: Recipient::parse(reader.text("desk recipient", RECIPIENT_MAX)?)?,
        name: reader.text("desk name", NAME_MAX)?.to_owned(),
        readers: read_devices(reader, "desk readers", COORDINATORS_MAX)?,
        identity: None,
    };
    if desk.name.chars().any(char::is_control) {
        return Err(DecodeError::Invalid { field: "desk name" });
    }
    if present(reader, "desk identity")? {
        desk.identity = Some(Zeroizing::new(reader.text("desk identity", IDENTITY_MAX)?.to_owned()));
    }
    Ok(desk)
}
