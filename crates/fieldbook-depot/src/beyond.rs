//! What another device said of this one's own entries beyond the position up to which it holds everything: which
//! of them it holds all the same, and which it declined. So that one attachment that a relay has no room for
//! does not hide that the reports behind it arrived. And, wherever they lie, which of them it knows and holds no
//! longer: nobody is told that they are there.
//!
//! It lies in one setting and only helps to find words: what does not read back is nothing, and what is beyond the
//! bounds is left out. Of devices that this one keeps no name of nothing is written here.

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::session::Decline;
use fieldbook_proto::{DepotId, DeviceId};

use crate::{Depot, DepotError};

/// The setting.
const SETTING: &str = "own-beyond";
const VERSION: u8 = 2;
/// Of earlier programs, which knew nothing of what was dropped.
const VERSION_WITHOUT_DROPPED: u8 = 1;
/// Devices of which it is kept.
const DEVICES_MAX: usize = 64;
/// Stretches of each kind that are kept of one.
const STRETCHES_MAX: usize = 1_024;

/// Positions one after the other, both included, and what was said of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch<T> {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// What was said.
    pub said: T,
}

/// What one device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// The device.
    pub device: DeviceId,
    /// Its depot: what is said of another one is worth nothing.
    pub depot: DepotId,
    /// What it holds, and when it said so, in milliseconds since 1970 by this device's clock. Rising.
    pub held: Vec<Stretch<i64>>,
    /// What it declined when it was offered last, and why. Rising.
    pub declined: Vec<Stretch<Decline>>,
    /// What it knows and holds no longer, and when it said so first. Rising.
    pub dropped: Vec<Stretch<i64>>,
}

impl Beyond {
    /// Nothing yet.
    pub const fn nothing(device: DeviceId, depot: DepotId) -> Self {
        Self { device, depot, held: Vec::new(), declined: Vec::new(), dropped: Vec::new() }
    }

    /// What every device said.
    ///
    /// # Errors
    /// The backend's.
    pub fn all(depot: &dyn Depot) -> Result<Vec<Self>, DepotError> {
        let stored = depot.setting(SETTING)?;
        Ok(stored.as_deref().and_then(|bytes| decode(bytes).ok()).unwrap_or_default())
    }

    /// It holds these, which are rising.
    pub fn hold(&mut self, positions: &[u64], time_ms: i64) {
        for position in positions {
            if !covers(&self.held, *position) {
                add(&mut self.held, *position, time_ms);
            }
        }
    }

    /// It declined these.
    pub fn decline(&mut self, positions: &[(u64, Decline)]) {
        for (position, why) in positions {
            if !covers(&self.declined, *position) {
                add(&mut self.declined, *position, *why);
            }
        }
    }

    /// It knows these and holds them no longer.
    pub fn drop(&mut self, positions: &[u64], time_ms: i64) {
        for position in positions {
            if !covers(&self.dropped, *position) {
                add(&mut self.dropped, *position, time_ms);
            }
        }
    }

    /// When it said that it holds this position, if it did and has not dropped it.
    pub fn holds(&self, position: u64) -> Option<i64> {
        said(&self.held, position).filter(|_| self.dropped(position).is_none())
    }

    /// When it said that it holds this position no longer, if it did.
    pub fn dropped(&self, position: u64) -> Option<i64> {
        said(&self.dropped, position)
    }

    /// Why it declined this position, if it did and has not taken it since.
    pub fn why_not(&self, position: u64) -> Option<Decline> {
        said(&self.declined, position).filter(|_| !covers(&self.held, position))
    }

    /// Keeps it, in the place of what the device said before. What it holds anyway, up to `holds`, is not kept
    /// twice.
    ///
    /// # Errors
    /// The backend's.
    pub fn store(mut self, depot: &dyn Depot, holds: u64) -> Result<(), DepotError> {
        self.held.retain(|stretch| stretch.last > holds);
        self.declined.retain(|stretch| stretch.last > holds);
        // Of what came last somebody may still be waiting to hear.
        keep_the_last(&mut self.held);
        keep_the_last(&mut self.declined);
        keep_the_last(&mut self.dropped);
        let mut all = Self::all(depot)?;
        let before = all.clone();
        all.retain(|beyond| beyond.device != self.device);
        // A device that is forgotten takes its word along.
        let peers = depot.peers()?;
        all.retain(|beyond| peers.iter().any(|peer| peer.device == Some(beyond.device)));
        if !(self.held.is_empty() && self.declined.is_empty() && self.dropped.is_empty()) {
            all.insert(0, self);
        }
        all.truncate(DEVICES_MAX);
        if all == before {
            return Ok(());
        }
        let bytes = (!all.is_empty()).then(|| encode(&all));
        depot.set_setting(SETTING, bytes.as_deref())
    }
}

fn keep_the_last<T>(stretches: &mut Vec<T>) {
    stretches.drain(..stretches.len().saturating_sub(STRETCHES_MAX));
}

fn covers<T>(stretches: &[Stretch<T>], position: u64) -> bool {
    at(stretches, position).is_some()
}

fn said<T: Copy>(stretches: &[Stretch<T>], position: u64) -> Option<T> {
    at(stretches, position).map(|stretch| stretch.said)
}

fn at<T>(stretches: &[Stretch<T>], position: u64) -> Option<&Stretch<T>> {
    let next = stretches.partition_point(|stretch| stretch.last < position);
    stretches.get(next).filter(|stretch| stretch.first <= position)
}

/// A position that lies in none of them.
fn add<T: PartialEq>(stretches: &mut Vec<Stretch<T>>, position: u64, said: T) {
    let next = stretches.partition_point(|stretch| stretch.last < position);
    if let Some(before) = next.checked_sub(1).and_then(|before| stretches.get_mut(before))
        && before.last.checked_add(1) == Some(position)
        && before.said == said
    {
        before.last = position;
    } else {
        stretches.insert(next, Stretch { first: position, last: position, said });
    }
}

fn encode(all: &[Beyond]) -> Vec<u8> {
    fn list<T>(writer: &mut Writer, stretches: &[Stretch<T>], said: impl Fn(&mut Writer, &T)) {
        writer.u32(u32::try_from(stretches.len()).unwrap_or(0));
        for stretch in stretches {
            writer.u64(stretch.first).u64(stretch.last);
            said(writer, &stretch.said);
        }
    }
    let mut writer = Writer::new();
    writer.u8(VERSION).u32(u32::try_from(all.len()).unwrap_or(0));
    for beyond in all {
        writer.raw(beyond.device.as_bytes()).raw(beyond.depot.as_bytes());
        list(&mut writer, &beyond.held, |writer, time_ms| {
            writer.i64(*time_ms);
        });
        list(&mut writer, &beyond.declined, |writer, why| {
            writer.u8(why.code());
        });
        list(&mut writer, &beyond.dropped, |writer, time_ms| {
            writer.i64(*time_ms);
        });
    }
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<Vec<Beyond>, DecodeError> {
    fn list<T>(
        reader: &mut Reader<'_>,
        said: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<Vec<Stretch<T>>, DecodeError> {
        let mut stretches: Vec<Stretch<T>> = Vec::new();
        for _ in 0..reader.count("stretches", STRETCHES_MAX)? {
            let (first, last) = (reader.u64("first")?, reader.u64("last")?);
            if first > last || stretches.last().is_some_and(|before| before.last >= first) {
                return Err(DecodeError::Invalid { field: "stretch" });
            }
            stretches.push(Stretch { first, last, said: said(reader)? });
        }
        Ok(stretches)
    }
    let mut reader = Reader::new(bytes);
    let version = reader.u8("version")?;
    if ![VERSION, VERSION_WITHOUT_DROPPED].contains(&version) {
        return Err(DecodeError::Invalid { field: "version" });
    }
    let mut all = Vec::new();
    for _ in 0..reader.count("devices", DEVICES_MAX)? {
        let device = DeviceId::from_bytes(reader.array("device")?);
        let depot = DepotId::from_bytes(reader.array("depot")?);
        let held = list(&mut reader, |reader| reader.i64("time"))?;
        let declined = list(&mut reader, |reader| {
            Decline::from_code(reader.u8("reason")?).ok_or(DecodeError::Invalid { field: "reason" })
        })?;
        let dropped = match version {
            VERSION => list(&mut reader, |reader| reader.i64("time"))?,
            _ => Vec::new(),
        };
        all.push(Beyond { device, depot, held, declined, dropped });
    }
    reader.end()?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::certificate::Role;

    use super::*;
    use crate::{DepotKey, PeerRecord, SqlDepot};

    #[test]
    fn what_a_device_said_is_kept_in_stretches_and_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let own = DepotId::from_bytes([1; 16]);
        let depot = SqlDepot::create(&dir.path().join("d"), &DepotKey::new([1; 32]), own).unwrap();
        let (device, its) = (DeviceId::from_bytes([2; 32]), DepotId::from_bytes([2; 16]));
        let record = |device| PeerRecord {
            device: Some(device),
            role: Role::Relay,
            depot: its,
            address: None,
            last_sync_ms: 1,
            holds_position: 0,
        };
        depot.record_peer(record(device)).unwrap();
        let mut beyond = Beyond::nothing(device, its);
        beyond.decline(&[(5, Decline::Full), (6, Decline::Full), (7, Decline::Size)]);
        beyond.hold(&[8, 9, 20], 100);
        beyond.hold(&[9, 10], 200);
        let stretch = |first, last, said| Stretch { first, last, said };
        assert_eq!(beyond.held, [stretch(8, 9, 100), stretch(10, 10, 200), stretch(20, 20, 100)]);
        beyond.clone().store(&depot, 3).unwrap();
        assert_eq!(Beyond::all(&depot).unwrap(), [beyond.clone()]);
        let said: Vec<_> = (4..12).map(|at| (beyond.holds(at), beyond.why_not(at))).collect();
        assert_eq!(said[..2], [(None, None), (None, Some(Decline::Full))]);
        assert_eq!(
            said[3..],
            [
                (None, Some(Decline::Size)),
                (Some(100), None),
                (Some(100), None),
                (Some(200), None),
                (None, None)
            ]
        );
        // What it holds up to somewhere is not kept twice, and nothing is left of who is forgotten.
        beyond.clone().store(&depot, 9).unwrap();
        assert_eq!(Beyond::all(&depot).unwrap()[0].held.len(), 2);
        let other = DeviceId::from_bytes([3; 32]);
        beyond.clone().store(&depot, 30).unwrap();
        assert_eq!(Beyond::all(&depot).unwrap(), []);
        let mut many = Beyond::nothing(other, its);
        many.hold(&(0..5_000).map(|at| 2 * at).collect::<Vec<_>>(), 1);
        many.store(&depot, 0).unwrap();
        let kept = Beyond::all(&depot).unwrap().remove(0);
        assert_eq!(kept.held.len(), STRETCHES_MAX);
        assert_eq!((kept.holds(0), kept.holds(9_998)), (None, Some(1)), "the last are kept");
        beyond.store(&depot, 0).unwrap();
        assert_eq!(Beyond::all(&depot).unwrap().len(), 1, "the other was never recorded");
        // What was dropped stays so wherever it lies; and what an earlier program wrote reads back.
        let mut gone = Beyond::nothing(device, its);
        gone.hold(&[8, 40], 100);
        gone.drop(&[8], 300);
        gone.clone().store(&depot, 30).unwrap();
        let kept = Beyond::all(&depot).unwrap().into_iter().find(|kept| kept.device == device).unwrap();
        assert_eq!((kept.holds(8), kept.dropped(8), kept.holds(40)), (None, Some(300), Some(100)));
        let mut earlier = Writer::new();
        earlier.u8(1).u32(1).raw(device.as_bytes()).raw(its.as_bytes());
        earlier.u32(1).u64(3).u64(4).i64(7).u32(0);
        let earlier = decode(&earlier.finish()).unwrap();
        assert_eq!((earlier[0].holds(3), earlier[0].dropped.len()), (Some(7), 0));
        depot.set_setting(SETTING, Some(b"\x01\xff\xff\xff\xff")).unwrap();
        assert_eq!(Beyond::all(&depot).unwrap(), []);
    }
}
