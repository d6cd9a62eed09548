//! Who had no room for something at the last sync, so that `status` and `show` can say why a report is still
//! only here.

use std::collections::BTreeMap;

use fieldbook_depot::Depot;
use fieldbook_proto::DeviceId;
use fieldbook_proto::session::Declined;

use crate::error::DaemonError;

/// The setting: a JSON object, device id to the reasons, as numbers of entries.
const SETTING: &str = "declined-by";

/// By device what it declined, by reason.
type DeclinedBy = BTreeMap<String, BTreeMap<String, u64>>;

fn read(stored: Option<&[u8]>) -> DeclinedBy {
    stored.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default()
}

/// Takes note of what a named device declined in a session; nothing is written when nothing is new.
pub(crate) fn note(depot: &dyn Depot, device: &DeviceId, declined: Declined) -> Result<(), DaemonError> {
    let before = depot.setting(SETTING)?;
    let mut by = read(before.as_deref());
    let reasons = [
        ("full", declined.full),
        ("share", declined.share),
        ("size", declined.size),
        ("other", declined.other),
    ];
    let reasons: BTreeMap<String, u64> = reasons
        .into_iter()
        .filter(|(_, entries)| *entries > 0)
        .map(|(why, entries)| (why.to_owned(), entries))
        .collect();
    match reasons.is_empty() {
        true => by.remove(&device.to_string()),
        false => by.insert(device.to_string(), reasons),
    };
    // A device that is forgotten takes its word along.
    let recorded: Vec<String> =
        depot.peers()?.iter().filter_map(|peer| peer.device).map(|id| id.to_string()).collect();
    by.retain(|device, _| recorded.contains(device));
    let after = if by.is_empty() { None } else { serde_json::to_vec(&by).ok() };
    if after != before {
        depot.set_setting(SETTING, after.as_deref())?;
    }
    Ok(())
}

/// Whether a device had no room for more of ours at the last sync.
pub(crate) fn had_no_room(depot: &dyn Depot, device: &DeviceId) -> Result<bool, DaemonError> {
    let by = read(depot.setting(SETTING)?.as_deref());
    let reasons = by.get(&device.to_string());
    Ok(reasons.is_some_and(|reasons| ["full", "share"].iter().any(|why| reasons.contains_key(*why))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, PeerRecord, SqlDepot};
    use fieldbook_proto::DepotId;
    use fieldbook_proto::certificate::Role;

    use super::*;

    #[test]
    fn what_a_device_declined_last_is_kept_and_goes_when_it_takes_everything() {
        let dir = tempfile::tempdir().unwrap();
        let id = DepotId::from_bytes([1; 16]);
        let depot = SqlDepot::create(&dir.path().join("d"), &DepotKey::new([1; 32]), id).unwrap();
        let [relay, unrecorded] = [3, 4].map(|seed| DeviceId::from_bytes([seed; 32]));
        let record = PeerRecord {
            device: Some(relay),
            role: Role::Relay,
            depot: id,
            address: None,
            last_sync_ms: 1,
            holds_position: 0,
        };
        depot.record_peer(record).unwrap();
        let full = Declined { full: 2, ..Declined::default() };
        note(&depot, &relay, full).unwrap();
        note(&depot, &unrecorded, full).unwrap();
        let kept = depot.setting(SETTING).unwrap().unwrap();
        assert_eq!(kept, format!("{{\"{relay}\":{{\"full\":2}}}}").into_bytes());
        note(&depot, &relay, Declined::default()).unwrap();
        assert_eq!(depot.setting(SETTING).unwrap(), None);
    }
}
