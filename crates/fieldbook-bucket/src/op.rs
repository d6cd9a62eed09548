//! What the shared log says: acts on a depot, in the order in which every process does them, and the segments
//! in which they are written. The format is `protocol/bucket.md`.

use fieldbook_depot::{Judged, PeerRecord, Refusal, Source};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::codec::{DecodeError, Reader, Writer};
use fieldbook_proto::{DepotId, DeviceId, EntryId};

/// Entries or ids in one act.
pub(crate) const ITEMS_MAX: usize = 4_096;
/// Acts in one segment.
pub(crate) const OPS_MAX: usize = 4_096;
/// Bytes of one segment's content.
pub(crate) const SEGMENT_MAX: usize = 8 << 20;
/// Bytes of a setting.
const VALUE_MAX: usize = 4 << 20;
const TEXT_MAX: usize = 4_096;
const VERSION: u8 = 1;

/// The name of an entry's object: random, so that it tells nothing and is never used twice.
pub(crate) type ObjectName = [u8; 16];

/// An entry that was offered: what was found of it, and where its bytes are if it was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub id: EntryId,
    pub size: u32,
    pub from: Source,
    pub found: Result<ObjectName, Refusal>,
}

impl Item {
    pub fn judged(&self) -> Judged<'_> {
        let stored = self.found.as_ref().map_or(&[][..], |name| name);
        Judged { id: self.id, size: self.size, from: self.from, refusal: self.found.err(), stored }
    }
}

/// One act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Put(Vec<Item>),
    Forget(Vec<EntryId>),
    Quarantine(EntryId, String),
    Setting(String, Option<Vec<u8>>),
    Cursor(DepotId, u64),
    Peer(PeerRecord),
    Address(DeviceId, Vec<EntryId>),
    Past(DeviceId, DepotId, Vec<EntryId>),
    /// Objects that were written before and are in no act before this one may be removed: whoever wrote one
    /// writes it again under another name.
    Fence,
    /// The state after this segment lies in a checkpoint.
    Checkpointed(u64),
    /// What was known then had come by this time; and how far apart such notes are.
    Time(u64, u64),
}

/// One object of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From 1, without gaps.
    pub number: u64,
    /// The hash of the object before, zeros for the first: two logs never have a segment in common after they
    /// differed once.
    pub previous: [u8; 32],
    /// When it was written, by its writer's clock, in milliseconds since 1970. For retention by age only.
    pub written_ms: i64,
    pub ops: Vec<Op>,
}

impl Segment {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.number).raw(&self.previous).i64(self.written_ms);
        out.u32(len(self.ops.len()));
        for op in &self.ops {
            encode(&mut out, op);
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("version")? != VERSION {
            return Err(DecodeError::Invalid { field: "version" });
        }
        let number = reader.u64("number")?;
        let previous = reader.array("previous")?;
        let written_ms = reader.i64("written")?;
        let count = reader.count("acts", OPS_MAX)?;
        let ops = (0..count).map(|_| decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { number, previous, written_ms, ops })
    }
}

/// Lengths are below the limits above.
fn len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Whether others could read this act: what is longer than its limits must not come into the log.
pub(crate) fn readable(op: &Op) -> bool {
    let mut out = Writer::new();
    encode(&mut out, op);
    let bytes = out.finish();
    let mut reader = Reader::new(&bytes);
    decode(&mut reader).is_ok() && reader.end().is_ok()
}

/// Bytes that an act takes in a segment, about.
pub(crate) fn weight(op: &Op) -> usize {
    match op {
        Op::Put(items) => items.len() * 96,
        Op::Forget(ids) | Op::Address(_, ids) | Op::Past(_, _, ids) => ids.len() * 32 + 64,
        Op::Setting(name, value) => name.len() + value.as_ref().map_or(0, Vec::len) + 64,
        _ => TEXT_MAX,
    }
}

fn encode(out: &mut Writer, op: &Op) {
    match op {
        Op::Put(items) => {
            out.u8(1).u32(len(items.len()));
            for item in items {
                out.raw(item.id.as_bytes()).u32(item.size);
                match item.from {
                    Source::Own => out.u8(0),
                    Source::Bundle => out.u8(1),
                    Source::Unnamed => out.u8(2),
                    Source::Peer(device) => out.u8(3).raw(device.as_bytes()),
                };
                match item.found {
                    Ok(name) => out.u8(0).raw(&name),
                    Err(Refusal::WrongId) => out.u8(1),
                    Err(Refusal::WrongSize) => out.u8(2),
                };
            }
        }
        Op::Forget(ids) => {
            out.u8(2);
            encode_ids(out, ids);
        }
        Op::Quarantine(id, reason) => {
            out.u8(3).raw(id.as_bytes()).bytes(reason.as_bytes());
        }
        Op::Setting(name, value) => {
            out.u8(4).bytes(name.as_bytes());
            encode_option(out, value.as_deref());
        }
        Op::Cursor(depot, position) => {
            out.u8(5).raw(depot.as_bytes()).u64(*position);
        }
        Op::Peer(peer) => {
            out.u8(6);
            match peer.device {
                None => out.u8(0),
                Some(device) => out.u8(1).raw(device.as_bytes()),
            };
            out.bytes(peer.role.word().as_bytes()).raw(peer.depot.as_bytes());
            encode_option(out, peer.address.as_ref().map(String::as_bytes));
            out.i64(peer.last_sync_ms).u64(peer.holds_position);
        }
        Op::Address(device, ids) => {
            out.u8(7).raw(device.as_bytes());
            encode_ids(out, ids);
        }
        Op::Past(device, depot, ids) => {
            out.u8(8).raw(device.as_bytes()).raw(depot.as_bytes());
            encode_ids(out, ids);
        }
        Op::Fence => {
            out.u8(9);
        }
        Op::Checkpointed(number) => {
            out.u8(10).u64(*number);
        }
        Op::Time(time_ms, apart_ms) => {
            out.u8(11).u64(*time_ms).u64(*apart_ms);
        }
    }
}

fn encode_ids(out: &mut Writer, ids: &[EntryId]) {
    out.u32(len(ids.len()));
    for id in ids {
        out.raw(id.as_bytes());
    }
}

fn encode_option(out: &mut Writer, value: Option<&[u8]>) {
    match value {
        None => out.u8(0),
        Some(value) => out.u8(1).bytes(value),
    };
}

fn decode(reader: &mut Reader<'_>) -> Result<Op, DecodeError> {
    Ok(match reader.u8("act")? {
        1 => {
            let count = reader.count("entries", ITEMS_MAX)?;
            Op::Put((0..count).map(|_| decode_item(reader)).collect::<Result<_, _>>()?)
        }
        2 => Op::Forget(decode_ids(reader)?),
        3 => Op::Quarantine(decode_id(reader)?, reader.text("reason", TEXT_MAX)?.to_owned()),
        4 => {
            let name = reader.text("setting", TEXT_MAX)?.to_owned();
            Op::Setting(name, decode_option(reader, "value", VALUE_MAX)?.map(<[u8]>::to_vec))
        }
        5 => Op::Cursor(decode_depot(reader)?, reader.u64("position")?),
        6 => Op::Peer(decode_peer(reader)?),
        7 => Op::Address(decode_device(reader)?, decode_ids(reader)?),
        8 => Op::Past(decode_device(reader)?, decode_depot(reader)?, decode_ids(reader)?),
        9 => Op::Fence,
        10 => Op::Checkpointed(reader.u64("checkpoint")?),
        11 => Op::Time(reader.u64("time")?, reader.u64("apart")?),
        _ => return Err(DecodeError::Invalid { field: "act" }),
    })
}

fn decode_item(reader: &mut Reader<'_>) -> Result<Item, DecodeError> {
    let (id, size) = (decode_id(reader)?, reader.u32("size")?);
    let from = match reader.u8("origin")? {
        0 => Source::Own,
        1 => Source::Bundle,
        2 => Source::Unnamed,
        3 => Source::Peer(decode_device(reader)?),
        _ => return Err(DecodeError::Invalid { field: "origin" }),
    };
    let found = match reader.u8("judgement")? {
        0 => Ok(reader.array("object")?),
        1 => Err(Refusal::WrongId),
        2 => Err(Refusal::WrongSize),
        _ => return Err(DecodeError::Invalid { field: "judgement" }),
    };
    Ok(Item { id, size, from, found })
}

fn decode_peer(reader: &mut Reader<'_>) -> Result<PeerRecord, DecodeError> {
    let device = match reader.u8("device")? {
        0 => None,
        1 => Some(decode_device(reader)?),
        _ => return Err(DecodeError::Invalid { field: "device" }),
    };
    let role = reader.text("role", 16)?;
    let role = [Role::Coordinator, Role::Monitor, Role::Relay].into_iter().find(|known| known.word() == role);
    let role = role.ok_or(DecodeError::Invalid { field: "role" })?;
    let depot = decode_depot(reader)?;
    let address = decode_option(reader, "address", TEXT_MAX)?;
    let address = address.map(|text| String::from_utf8(text.to_vec())).transpose();
    let address = address.map_err(|_| DecodeError::Invalid { field: "address" })?;
    let (last_sync_ms, holds_position) = (reader.i64("last sync")?, reader.u64("holds")?);
    Ok(PeerRecord { device, role, depot, address, last_sync_ms, holds_position })
}

fn decode_ids(reader: &mut Reader<'_>) -> Result<Vec<EntryId>, DecodeError> {
    let count = reader.count("ids", ITEMS_MAX)?;
    (0..count).map(|_| decode_id(reader)).collect()
}

fn decode_id(reader: &mut Reader<'_>) -> Result<EntryId, DecodeError> {
    Ok(EntryId::from_bytes(reader.array("id")?))
}

fn decode_device(reader: &mut Reader<'_>) -> Result<DeviceId, DecodeError> {
    Ok(DeviceId::from_bytes(reader.array("device")?))
}

fn decode_depot(reader: &mut Reader<'_>) -> Result<DepotId, DecodeError> {
    Ok(DepotId::from_bytes(reader.array("depot")?))
}

fn decode_option<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
) -> Result<Option<&'a [u8]>, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(None),
        1 => Ok(Some(reader.bytes(field, limit)?)),
        _ => Err(DecodeError::Invalid { field }),
    }
}
