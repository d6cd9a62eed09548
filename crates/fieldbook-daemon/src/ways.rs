//! The way by which each device was met last, so that `status` can show it.

use std::collections::BTreeMap;

use fieldbook_depot::{Depot, DepotError};
use fieldbook_net::channel::Way;
use fieldbook_proto::DeviceId;

/// The setting: a JSON object, device id to the word of a way.
const SETTING: &str = "ways";

/// Takes note. Nothing is kept of a device that the depot keeps no record of, and nothing is written when
/// nothing is new.
pub(crate) fn note(depot: &dyn Depot, device: &DeviceId, way: Way) -> Result<(), DepotError> {
    let before = depot.setting(SETTING)?.unwrap_or_default();
    let mut ways: BTreeMap<String, String> = serde_json::from_slice(&before).unwrap_or_default();
    ways.insert(device.to_string(), way.word().to_owned());
    let recorded: Vec<String> =
        depot.peers()?.iter().filter_map(|peer| peer.device).map(|id| id.to_string()).collect();
    ways.retain(|device, _| recorded.contains(device));
    let after = serde_json::to_vec(&ways).unwrap_or_default();
    if after == before {
        return Ok(());
    }
    depot.set_setting(SETTING, Some(&after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_depot::{DepotKey, PeerRecord, SqlDepot};
    use fieldbook_proto::DepotId;
    use fieldbook_proto::certificate::Role;

    use super::*;

    #[test]
    fn the_last_way_of_each_recorded_device_is_kept_and_of_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let id = DepotId::from_bytes([1; 16]);
        let depot = SqlDepot::create(&dir.path().join("d"), &DepotKey::new([1; 32]), id).unwrap();
        let [known, unknown] = [3, 4].map(|seed| DeviceId::from_bytes([seed; 32]));
        let record = PeerRecord {
            device: Some(known),
            role: Role::Monitor,
            depot: id,
            address: None,
            last_sync_ms: 1,
            holds_position: 0,
        };
        depot.record_peer(record).unwrap();
        note(&depot, &known, Way::Quic).unwrap();
        note(&depot, &unknown, Way::Tcp).unwrap();
        note(&depot, &known, Way::Socks).unwrap();
        let kept = depot.setting(SETTING).unwrap().unwrap();
        assert_eq!(kept, format!("{{\"{known}\":\"socks\"}}").into_bytes());
    }
}
