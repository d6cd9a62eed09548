//! What is remembered of a bundle while it is written, so that the same command goes on after a cut.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use fieldbook_proto::BundleId;
use fieldbook_proto::codec::{DecodeError, Reader, Writer};

use super::BundleError;
use super::selection::Place;
use crate::Depot;

const SETTING: &str = "bundle-unfinished";
const VERSION: u8 = 1;
const TEXT_MAX: usize = 16 * 1024;
const PARTS_MAX: usize = u16::MAX as usize;

/// A bundle that is being written. Whatever lies on the stick, this says what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Where to, for whom and how it is written: another command begins anew.
    pub command: Vec<u8>,
    pub bundle: BundleId,
    pub since: u64,
    pub head: u64,
    /// What is in whole parts lies before it.
    pub place: Place,
    /// The whole parts, in their order.
    pub parts: Vec<OsString>,
    /// The names of the part that is being written, until it is among the whole ones.
    pub begun: Vec<OsString>,
}

impl Unfinished {
    pub fn load(depot: &dyn Depot) -> Result<Option<Self>, BundleError> {
        let stored = depot.setting(SETTING)?;
        // One that does not read back is begun anew: nothing is lost by it.
        Ok(stored.and_then(|bytes| Self::decode(&bytes).ok()))
    }

    pub fn store(&self, depot: &dyn Depot) -> Result<(), BundleError> {
        Ok(depot.set_setting(SETTING, Some(&self.encode()))?)
    }

    /// It is written, or given up.
    pub fn forget(depot: &dyn Depot) -> Result<(), BundleError> {
        Ok(depot.set_setting(SETTING, None)?)
    }

    /// Removes what there is in `dir` of the part that was interrupted.
    pub fn clear(&mut self, dir: &Path) {
        for name in self.begun.drain(..).filter(|name| !self.parts.contains(name)) {
            // One that does not exist is what is wanted; one that stays is an incomplete part that reads so.
            let _ = std::fs::remove_file(dir.join(name));
        }
    }

    /// Whether its whole parts are still in `dir`.
    pub fn is_there(&self, dir: &Path) -> bool {
        self.parts.iter().all(|name| dir.join(name).metadata().is_ok_and(|file| file.len() > 0))
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION).bytes(&self.command).raw(self.bundle.as_bytes()).u64(self.since).u64(self.head);
        writer.u8(u8::from(self.place.large)).u64(self.place.after);
        for names in [&self.parts, &self.begun] {
            writer.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
            for name in names {
                writer.bytes(name.as_encoded_bytes());
            }
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("version")? != VERSION {
            return Err(DecodeError::Invalid { field: "version" });
        }
        let command = reader.bytes("command", TEXT_MAX)?.to_vec();
        let bundle = BundleId::from_bytes(reader.array("bundle")?);
        let (since, head) = (reader.u64("since")?, reader.u64("head")?);
        let place = Place { large: reader.u8("large")? != 0, after: reader.u64("after")? };
        let mut names = || {
            let count = reader.count("names", PARTS_MAX)?;
            (0..count).map(|_| name(reader.bytes("name", TEXT_MAX)?)).collect::<Result<Vec<_>, _>>()
        };
        let (parts, begun) = (names()?, names()?);
        reader.end()?;
        Ok(Self { command, bundle, since, head, place, parts, begun })
    }
}

/// A name as it was encoded. Only such as need no more than UTF-8 are read back: our own are digits, and
/// one file that the user named otherwise is begun anew.
fn name(bytes: &[u8]) -> Result<OsString, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { field: "name" })?;
    Ok(OsStr::new(text).to_owned())
}
