//! What a device that was met lacks of this depot's order although it has been offered everything: so that only that is
//! offered again, and retention passes by it.
//!
//! A setting for each device that lacks something; none for the others, whose record says it all. It may be gone or
//! not read back: then everything behind the record's position is offered again, and nothing is lost.

use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::session::Lacks;
use fieldbook_proto::{DepotId, DeviceId};

use crate::{Depot, DepotError};

const VERSION: u8 = 1;
/// More than are ever written.
const STRETCHES_MAX: usize = 1 << 16;

fn name(device: &DeviceId) -> String {
    format!("lacks-{device}")
}

/// What a device's depot lacks, if it lacks anything; `holds` is up to where its record says that it holds everything.
///
/// # Errors
/// The backend's.
pub fn lacks(depot: &dyn Depot, device: &DeviceId, its: &DepotId, holds: u64) -> Result<Lacks, DepotError> {
    let stored = depot.setting(&name(device))?;
    let stored = stored.as_deref().and_then(|bytes| decode(bytes).ok());
    let mut lacks =
        stored.filter(|(of, _)| of == its).map_or_else(|| Lacks::nothing_up_to(holds), |(_, lacks)| lacks);
    lacks.raise(holds);
    Ok(lacks)
}

/// Keeps it, in the place of what was kept of that device. Where it lacks nothing, nothing is kept.
///
/// # Errors
/// The backend's.
pub fn set_lacks(
    depot: &dyn Depot,
    device: &DeviceId,
    its: &DepotId,
    lacks: &Lacks,
) -> Result<(), DepotError> {
    let name = name(device);
    let bytes = (!lacks.stretches().is_empty()).then(|| encode(its, lacks));
    if depot.setting(&name)? == bytes {
        return Ok(());
    }
    depot.set_setting(&name, bytes.as_deref())
}

fn encode(its: &DepotId, lacks: &Lacks) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(VERSION).raw(its.as_bytes()).u64(lacks.until());
    writer.u32(u32::try_from(lacks.stretches().len()).unwrap_or(0));
    for (first, last) in lacks.stretches() {
        writer.u64(*first).u64(*last);
    }
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<(DepotId, Lacks), DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u8("version")? != VERSION {
        return Err(DecodeError::Invalid { field: "version" });
    }
    let depot = DepotId::from_bytes(reader.array("depot")?);
    let until = reader.u64("until")?;
    let mut stretches = Vec::new();
    for _ in 0..reader.count("stretches", STRETCHES_MAX)? {
        stretches.push((reader.u64("first")?, reader.u64("last")?));
    }
    reader.end()?;
    let lacks = Lacks::new(until, stretches).ok_or(DecodeError::Invalid { field: "stretches" })?;
    Ok((depot, lacks))
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::session::Stretches;

    use super::*;
    use crate::{DepotKey, SqlDepot};

    #[test]
    fn what_a_device_lacks_is_kept_as_long_as_it_lacks_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = DepotId::from_bytes([1; 16]);
        let depot = SqlDepot::create(&dir.path().join("d"), &DepotKey::new([1; 32]), own).unwrap();
        let (device, its) = (DeviceId::from_bytes([2; 32]), DepotId::from_bytes([2; 16]));
        assert_eq!(lacks(&depot, &device, &its, 4).unwrap(), Lacks::nothing_up_to(4));
        let mut lacking = Stretches::default();
        lacking.add(5, 9);
        let mut some = Lacks::nothing_up_to(4);
        some.settle(20, &lacking);
        set_lacks(&depot, &device, &its, &some).unwrap();
        assert_eq!(lacks(&depot, &device, &its, 4).unwrap(), some);
        // The record knows better.
        assert_eq!(lacks(&depot, &device, &its, 30).unwrap().until(), 30);
        let another = DepotId::from_bytes([3; 16]);
        assert_eq!(lacks(&depot, &device, &another, 0).unwrap(), Lacks::nothing_up_to(0));
        depot.set_setting(&name(&device), Some(b"\x01")).unwrap();
        assert_eq!(lacks(&depot, &device, &its, 3).unwrap(), Lacks::nothing_up_to(3));
        set_lacks(&depot, &device, &its, &Lacks::nothing_up_to(30)).unwrap();
        assert_eq!(depot.setting(&name(&device)).unwrap(), None);
    }
}
