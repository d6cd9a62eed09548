//! Whose a datagram is: the team's, by the secrets that this device keeps, or nobody's.
//!
//! Under the newest secret each is tried, at the cost of three hashes and as many short authenticators. Under earlier
//! ones only some are: a beacon of those is a hint for people and nothing hangs on it.

use fieldbook_net::tries::Tries;
use fieldbook_proto::lan::{self, Beacon, HourKey, Salt};
use fieldbook_proto::session::TransportSecret;

/// Datagrams a second that are tried under earlier secrets.
const OLDER_TRIES: u32 = 16;

/// The keys of now.
#[derive(Debug)]
pub(super) struct Keys {
    secrets: Vec<TransportSecret>,
    hour: Option<u64>,
    newest: Vec<HourKey>,
    older: Vec<HourKey>,
    tries: Tries,
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Of a device with the newest secret.
    Newest(Salt, Beacon),
    /// Of one with an earlier one: it may have been removed from the team, or not have heard yet that another was.
    Older(Salt, Beacon),
    /// Noise.
    Nothing,
}

impl Default for Keys {
    fn default() -> Self {
        let (secrets, newest, older) = (Vec::new(), Vec::new(), Vec::new());
        Self { secrets, hour: None, newest, older, tries: Tries::each_second(OLDER_TRIES) }
    }
}

impl Keys {
    /// From now on the team is known by these, the newest first.
    pub fn set_secrets(&mut self, secrets: Vec<TransportSecret>) {
        (self.secrets, self.hour) = (secrets, None);
    }

    /// The one under which this device's beacons go at this time.
    pub fn own(&mut self, now_s: u64) -> Option<HourKey> {
        self.renew(now_s);
        self.newest.first().cloned()
    }

    pub fn open(&mut self, now_s: u64, datagram: &[u8]) -> Opened {
        if datagram.len() != lan::LEN {
            return Opened::Nothing;
        }
        self.renew(now_s);
        let by = |keys: &[HourKey]| keys.iter().find_map(|key| key.open(datagram));
        if let Some((salt, beacon)) = by(&self.newest) {
            return Opened::Newest(salt, beacon);
        }
        if self.older.is_empty() || !self.tries.may(now_s) {
            return Opened::Nothing;
        }
        by(&self.older).map_or(Opened::Nothing, |(salt, beacon)| Opened::Older(salt, beacon))
    }

    fn renew(&mut self, now_s: u64) {
        let hours = lan::hours(now_s);
        if self.hour == Some(hours[0]) {
            return;
        }
        self.hour = Some(hours[0]);
        let keys = |secret: &TransportSecret| hours.map(|hour| HourKey::of(secret, hour));
        let mut all = self.secrets.iter().map(keys);
        self.newest = all.next().map(Vec::from).unwrap_or_default();
        self.older = all.flatten().collect();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn secret(epoch: u8) -> TransportSecret {
        TransportSecret::new(u32::from(epoch), [epoch; 32])
    }

    fn keys(epochs: &[u8]) -> Keys {
        let mut keys = Keys::default();
        keys.set_secrets(epochs.iter().copied().map(secret).collect());
        keys
    }

    fn beacon() -> Beacon {
        Beacon { address: [1; 16], port: 1, heard: Vec::new() }
    }

    #[test]
    fn the_newest_secret_counts_and_earlier_ones_are_told_apart() {
        let mut ours = keys(&[5, 4, 3]);
        for (epoch, expected) in [
            (5, Opened::Newest([9; 16], beacon())),
            (4, Opened::Older([9; 16], beacon())),
            (3, Opened::Older([9; 16], beacon())),
            (6, Opened::Nothing),
            (2, Opened::Nothing),
        ] {
            let sent = keys(&[epoch]).own(NOW).unwrap().seal([9; 16], &beacon());
            assert_eq!(ours.open(NOW, &sent), expected, "epoch {epoch}");
        }
        assert!(keys(&[]).own(NOW).is_none());
    }

    #[test]
    fn an_hour_more_or_less_is_heard_and_two_are_not() {
        let hour = lan::HOUR_S;
        for (off, heard) in [(0, true), (hour, true), (2 * hour, false)] {
            for time in [NOW + off, NOW - off] {
                let sent = keys(&[5]).own(time).unwrap().seal([9; 16], &beacon());
                assert_eq!(keys(&[5]).open(NOW, &sent) != Opened::Nothing, heard, "{off} seconds");
            }
        }
        // Keys follow the clock, and the team.
        let mut ours = keys(&[5]);
        let sent = keys(&[5]).own(NOW).unwrap().seal([9; 16], &beacon());
        assert_ne!(ours.open(NOW, &sent), Opened::Nothing);
        assert_eq!(ours.open(NOW + 3 * hour, &sent), Opened::Nothing);
        ours.set_secrets(vec![secret(6)]);
        assert_eq!(ours.open(NOW, &sent), Opened::Nothing);
    }

    #[test]
    fn noise_uses_up_the_tries_of_earlier_secrets_and_none_of_the_newest() {
        let mut ours = keys(&[5, 4]);
        (0..10_000_u32).for_each(|n| {
            let noise: Vec<u8> = n.to_be_bytes().repeat(lan::LEN / 4);
            assert_eq!(ours.open(NOW, &noise), Opened::Nothing);
        });
        let older = keys(&[4]).own(NOW).unwrap().seal([9; 16], &beacon());
        assert_eq!(ours.open(NOW, &older), Opened::Nothing, "no tries are left in this second");
        let newest = keys(&[5]).own(NOW).unwrap().seal([9; 16], &beacon());
        assert_eq!(ours.open(NOW, &newest), Opened::Newest([9; 16], beacon()));
        assert_eq!(ours.open(NOW + 1, &older), Opened::Older([9; 16], beacon()));
    }
}
