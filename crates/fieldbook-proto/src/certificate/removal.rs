//! The removal of a device, as a coordinator signs it.

use crate::certificate::verify;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{COORDINATORS_MAX, REMOVAL_MAX, REMOVALS_OF_ONE_MAX};
use crate::{DeviceId, EntryId, TeamId};

const VERSION: u8 = 1;
const SIGNATURE_LABEL: &[u8] = b"fieldbook removal v1\0";
const HASH_CONTEXT: &str = "fieldbook 2026 removal hash v1";

/// The name of one signed removal: BLAKE3 in key-derivation mode over its encoding.
pub type RemovalHash = [u8; 32];

/// What is done to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// It no longer belongs to the team.
    Removed,
    /// The same, and whoever holds it now is not the person it was given to.
    Lost,
    /// It is no longer a coordinator's; with a new certificate it stays in the team as a monitor's.
    Demoted,
}

impl Act {
    const fn code(self) -> u8 {
        match self {
            Self::Removed => 1,
            Self::Lost => 2,
            Self::Demoted => 3,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            1 => Ok(Self::Removed),
            2 => Ok(Self::Lost),
            3 => Ok(Self::Demoted),
            _ => Err(DecodeError::Invalid { field: "act" }),
        }
    }

    /// The word used in commands and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Demoted => "demoted",
        }
    }
}

/// A signed removal: well formed, but not yet judged. See [`super::Authority::add_removal`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// The team.
    pub team: TeamId,
    /// The coordinator who removes.
    pub issuer: DeviceId,
    /// The place in the issuer's chain of the entry that carries this.
    pub sequence: u64,
    /// The device that is removed.
    pub device: DeviceId,
    /// How.
    pub act: Act,
    /// The highest sequence number of the device's chain that the issuer had seen. What the device wrote
    /// up to there stands; what comes later was, as far as anybody can tell, written after the removal.
    pub cut: u64,
    /// The entry that stands there. With it the whole chain up to the cut is named, since each entry names
    /// the one before: nothing can be put into it afterwards. Absent if the issuer had seen none.
    pub cut_entry: Option<EntryId>,
    /// Of the coordinators whom the removed device certified, those who stay; ascending, at most
    /// [`COORDINATORS_MAX`]. All others it certified fall with it.
    pub keeps: Vec<DeviceId>,
    /// Of the removals that the device itself had signed, those that stay in force; ascending, at most
    /// [`REMOVALS_OF_ONE_MAX`]. All others are void, whatever number they claim to have: a removed
    /// coordinator cannot sign one today and say that it was yesterday.
    pub honours: Vec<RemovalHash>,
    /// When, as the issuer's clock claimed, in seconds since 1970. Decides nothing.
    pub time_s: u64,
    /// The issuer's signature over [`Removal::signed_bytes`].
    pub signature: [u8; 64],
}

impl Removal {
    /// The bytes that the issuer signs: a domain-separation label and all fields.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .raw(SIGNATURE_LABEL)
            .u8(VERSION)
            .raw(self.team.as_bytes())
            .raw(self.issuer.as_bytes())
            .u64(self.sequence)
            .raw(self.device.as_bytes())
            .u8(self.act.code())
            .u64(self.cut);
        match &self.cut_entry {
            Some(entry) => writer.u8(1).raw(entry.as_bytes()),
            None => writer.u8(0),
        };
        writer.u32(u32::try_from(self.keeps.len()).unwrap_or(u32::MAX));
        for device in &self.keeps {
            writer.raw(device.as_bytes());
        }
        writer.u32(u32::try_from(self.honours.len()).unwrap_or(u32::MAX));
        for hash in &self.honours {
            writer.raw(hash);
        }
        writer.u64(self.time_s).finish()
    }

    /// The name of this removal, by which another one honours it.
    pub fn hash(&self) -> RemovalHash {
        blake3::derive_key(HASH_CONTEXT, &self.encode())
    }

    /// Whether the device is out of the team, rather than no longer a coordinator's.
    pub fn ends_membership(&self) -> bool {
        self.act != Act::Demoted
    }

    /// The encoding: the signed bytes without their label, then the signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.signed_bytes().split_off(SIGNATURE_LABEL.len());
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads a whole removal.
    ///
    /// # Errors
    /// Anything but one well-formed removal of at most [`REMOVAL_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > REMOVAL_MAX {
            return Err(DecodeError::TooLong { field: "removal", limit: REMOVAL_MAX });
        }
        let mut reader = Reader::new(bytes);
        if reader.u8("removal version")? != VERSION {
            return Err(DecodeError::Invalid { field: "removal version" });
        }
        let mut removal = Self {
            team: TeamId::from_bytes(reader.array("team")?),
            issuer: DeviceId::from_bytes(reader.array("issuer")?),
            sequence: reader.u64("sequence")?,
            device: DeviceId::from_bytes(reader.array("device")?),
            act: Act::from_code(reader.u8("act")?)?,
            cut: reader.u64("cut")?,
            cut_entry: None,
            keeps: Vec::new(),
            honours: Vec::new(),
            time_s: 0,
            signature: [0; 64],
        };
        removal.cut_entry = match reader.u8("cut entry")? {
            0 => None,
            1 => Some(EntryId::from_bytes(reader.array("cut entry")?)),
            _ => return Err(DecodeError::Invalid { field: "cut entry" }),
        };
        for _ in 0..reader.count("keeps", COORDINATORS_MAX)? {
            push(&mut removal.keeps, DeviceId::from_bytes(reader.array("keeps")?), "keeps")?;
        }
        for _ in 0..reader.count("honours", REMOVALS_OF_ONE_MAX)? {
            push(&mut removal.honours, reader.array("honours")?, "honours")?;
        }
        removal.time_s = reader.u64("time")?;
        removal.signature = reader.array("signature")?;
        reader.end()?;
        Ok(removal)
    }

    pub(super) fn signed_by(&self, key: &[u8; 32]) -> bool {
        verify(key, &self.signed_bytes(), &self.signature)
    }
}

/// Lists stand in one order, so that each removal has one encoding.
fn push<T: Ord>(list: &mut Vec<T>, item: T, field: &'static str) -> Result<(), DecodeError> {
    if list.last().is_some_and(|last| *last >= item) {
        return Err(DecodeError::Invalid { field });
    }
    list.push(item);
    Ok(())
}
