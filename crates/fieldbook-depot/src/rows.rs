//! How what stands in the tables is read.

use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, EntryId};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::DepotError;
use crate::depot::{Arrival, Source, State};

/// The number of the origin that stands for all devices of which no name is kept.
pub(crate) const UNNAMED: i64 = -1;

pub(crate) fn read_arrival(row: &Row<'_>) -> Result<Arrival, DepotError> {
    Ok(Arrival {
        position: unsigned(row.get(0)?)?,
        id: EntryId::from_bytes(row.get(1)?),
        size: row.get(2)?,
        from: read_source(row.get(3)?, row.get_ref(5)?)?,
        state: read_state(row.get(4)?)?,
    })
}

pub(crate) fn read_source(origin: i64, device: ValueRef<'_>) -> Result<Source, DepotError> {
    match (origin, device) {
        (0, _) => Ok(Source::Own),
        (1, _) => Ok(Source::Bundle),
        (UNNAMED, _) => Ok(Source::Unnamed),
        (_, ValueRef::Blob(bytes)) => bytes
            .try_into()
            .map(|bytes| Source::Peer(DeviceId::from_bytes(bytes)))
            .map_err(|_| DepotError::damaged("a device id has the wrong length")),
        _ => Err(DepotError::damaged("an entry came from nowhere")),
    }
}

/// A peer's device; none where all unnamed ones stand together.
pub(crate) fn read_peer(device: ValueRef<'_>) -> Result<Option<DeviceId>, DepotError> {
    match device {
        ValueRef::Blob([]) => Ok(None),
        ValueRef::Blob(bytes) => bytes
            .try_into()
            .map(|bytes| Some(DeviceId::from_bytes(bytes)))
            .map_err(|_| DepotError::damaged("a device id has the wrong length")),
        _ => Err(DepotError::damaged("a peer has no device id")),
    }
}

pub(crate) fn read_role(word: ValueRef<'_>) -> Result<Role, DepotError> {
    [Role::Coordinator, Role::Monitor, Role::Relay]
        .into_iter()
        .find(|role| word.as_bytes() == Ok(role.word().as_bytes()))
        .ok_or_else(|| DepotError::damaged("a peer has an impossible role"))
}

pub(crate) const fn state_code(state: State) -> i64 {
    match state {
        State::Held => 0,
        State::Gone => 1,
        State::Quarantined => 2,
    }
}

pub(crate) fn read_state(code: i64) -> Result<State, DepotError> {
    match code {
        0 => Ok(State::Held),
        1 => Ok(State::Gone),
        2 => Ok(State::Quarantined),
        _ => Err(DepotError::damaged("an entry has an impossible state")),
    }
}

/// SQLite's integers are signed; nothing here reaches 2^63.
pub(crate) fn sql_int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> Result<u64, DepotError> {
    u64::try_from(value).map_err(|_| DepotError::damaged("a count is negative"))
}
