//! A beacon: the datagram by which a device tells its team that it is in this network, and nobody else anything.
//!
//! ```text
//! salt (16, random)  ‖  ChaCha20-Poly1305 of the content (96)  ‖  tag (16)
//! ```
//!
//! The key comes from the team's transport secret, the hour and the salt, and is used once. So each byte of a beacon is
//! random for whoever does not know the secret, and two of one device have nothing in common. `protocol/lan.md`.

use std::fmt;

use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use zeroize::Zeroizing;

use crate::codec::{DecodeError, Reader, Writer};
use crate::session::TransportSecret;

/// Bytes of every beacon.
pub const LEN: usize = 128;
/// Bytes of a salt.
pub const SALT: usize = 16;
/// Bytes of a mark.
pub const MARK: usize = 8;
/// Beacons that one beacon says were heard.
pub const HEARD_MAX: usize = 8;
/// Seconds for which one key is good, by the sender's clock.
pub const HOUR_S: u64 = 3_600;

const TAG: usize = 16;
const CONTENT: usize = LEN - SALT - TAG;
const VERSION: u8 = 1;

/// What makes two beacons differ: random, new for each.
pub type Salt = [u8; SALT];
/// By which a beacon is called in another one: the beginning of its salt.
pub type Mark = [u8; MARK];

/// The mark of the beacon with this salt.
pub fn mark(salt: &Salt) -> Mark {
    let mut mark = [0; MARK];
    mark.copy_from_slice(&salt[..MARK]);
    mark
}

/// The hours whose keys are tried at this time, the likeliest first: clocks may differ.
pub const fn hours(now_s: u64) -> [u64; 3] {
    let hour = now_s / HOUR_S;
    [hour, hour.saturating_sub(1), hour.saturating_add(1)]
}

/// What a beacon says. Not who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// The address that it is sent from, of IPv6, or of IPv4 as it is mapped there: from elsewhere it is a recording.
    pub address: [u8; 16],
    /// Where its sender listens, at that address.
    pub port: u16,
    /// Beacons that its sender has heard in this network, at most [`HEARD_MAX`].
    pub heard: Vec<Mark>,
}

impl Beacon {
    fn encode(&self) -> [u8; CONTENT] {
        let heard = &self.heard[..self.heard.len().min(HEARD_MAX)];
        let mut writer = Writer::new();
        writer.u8(VERSION).raw(&self.address).u16(self.port).u8(u8::try_from(heard.len()).unwrap_or(0));
        for mark in heard {
            writer.raw(mark);
        }
        let mut content = [0; CONTENT];
        content.iter_mut().zip(writer.finish()).for_each(|(to, byte)| *to = byte);
        content
    }

    fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        if reader.u8("version")? != VERSION {
            return Err(DecodeError::Invalid { field: "version" });
        }
        let (address, port) = (reader.array("address")?, reader.u16("port")?);
        let count = usize::from(reader.u8("heard")?);
        if count > HEARD_MAX {
            return Err(DecodeError::TooLong { field: "heard", limit: HEARD_MAX });
        }
        let heard = (0..count).map(|_| reader.array("mark")).collect::<Result<_, _>>()?;
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Invalid { field: "padding" });
        }
        Ok(Self { address, port, heard })
    }
}

/// Seals and opens the beacons of one hour, under the transport secret of one epoch.
#[derive(Clone)]
pub struct HourKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for HourKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HourKey")
    }
}

impl HourKey {
    /// Of this hour since 1970.
    pub fn of(secret: &TransportSecret, hour: u64) -> Self {
        Self(secret.derive("fieldbook 2026 lan v1 hour", &hour.to_be_bytes()))
    }

    /// One key for each salt: the nonce can be constant.
    fn cipher(&self, salt: &[u8]) -> ChaCha20Poly1305 {
        let key = Zeroizing::new(*blake3::keyed_hash(&self.0, salt).as_bytes());
        ChaCha20Poly1305::new(Key::from_slice(&*key))
    }

    /// The datagram. The salt must be random and new.
    pub fn seal(&self, salt: Salt, beacon: &Beacon) -> [u8; LEN] {
        let mut datagram = [0; LEN];
        let mut content = beacon.encode();
        // Encryption fails only for messages of 256 GiB.
        let sealed = self.cipher(&salt).encrypt_in_place_detached(&Nonce::default(), b"", &mut content);
        let tag = sealed.unwrap_or_default();
        let parts = salt.iter().chain(&content).chain(&tag);
        datagram.iter_mut().zip(parts).for_each(|(to, byte)| *to = *byte);
        datagram
    }

    /// What a datagram says, and its salt; nothing if it is no beacon under this key.
    pub fn open(&self, datagram: &[u8]) -> Option<(Salt, Beacon)> {
        let datagram: &[u8; LEN] = datagram.try_into().ok()?;
        let (salt, sealed) = datagram.split_first_chunk::<SALT>()?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut content = [0; CONTENT];
        content.copy_from_slice(sealed);
        let tag = Tag::from_slice(tag);
        let cipher = self.cipher(salt);
        cipher.decrypt_in_place_detached(&Nonce::default(), b"", &mut content, tag).ok()?;
        Some((*salt, Beacon::decode(&content).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 500_000;

    fn key(seed: u8, hour: u64) -> HourKey {
        HourKey::of(&TransportSecret::new(1, [seed; 32]), hour)
    }

    fn salt(number: u64) -> Salt {
        let mut salt = [0; SALT];
        blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut salt);
        salt
    }

    fn beacon() -> Beacon {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 192, 168, 1, 7]);
        Beacon { address, port: 4040, heard: vec![[7; MARK], [9; MARK]] }
    }

    #[test]
    fn another_hour_another_secret_and_every_turned_bit_are_silence() {
        let good = key(1, HOUR).seal(salt(1), &beacon());
        assert_eq!(key(1, HOUR).open(&good), Some((salt(1), beacon())));
        for other in [key(1, HOUR + 1), key(1, HOUR - 1), key(2, HOUR)] {
            assert_eq!(other.open(&good), None);
        }
        for bit in 0..LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(1, HOUR).open(&bad), None, "bit {bit}");
        }
        for len in 0..LEN {
            assert_eq!(key(1, HOUR).open(&good[..len]), None, "{len} bytes");
        }
        assert_eq!(key(1, HOUR).open(&[&good[..], &[0]].concat()), None);
    }

    #[test]
    fn clocks_may_differ_by_an_hour() {
        let now = HOUR * HOUR_S + 7;
        assert_eq!(hours(now), [HOUR, HOUR - 1, HOUR + 1]);
        assert_eq!(hours(0), [0, 0, 1]);
        assert_eq!(hours(u64::MAX)[0], u64::MAX / HOUR_S);
    }

    /// How far the counts of byte values are from even, by chi-square: 255 is expected, with a deviation of 22.6.
    fn unevenness(bytes: impl Iterator<Item = u8>) -> f64 {
        let (mut counts, mut all) = ([0_u32; 256], 0_u32);
        bytes.for_each(|byte| {
            counts[usize::from(byte)] += 1;
            all += 1;
        });
        let expected = f64::from(all) / 256.0;
        counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
    }

    /// The salts here are not chance's, so neither is the result.
    #[test]
    fn ten_thousand_beacons_of_one_device_look_random_and_have_nothing_in_common() {
        // The worst case for what must not show: the same content, in one hour.
        let key = key(1, HOUR);
        let beacons: Vec<[u8; LEN]> = (0..10_000).map(|number| key.seal(salt(number), &beacon())).collect();
        let even = unevenness(beacons.iter().flatten().copied());
        assert!((130.0..420.0).contains(&even), "all bytes: {even}");
        for place in 0..LEN {
            let even = unevenness(beacons.iter().map(|beacon| beacon[place]));
            assert!((130.0..420.0).contains(&even), "the bytes at {place}: {even}");
        }
        let ones: u32 = beacons.iter().flatten().map(|byte| byte.count_ones()).sum();
        let bits = 10_000.0 * LEN as f64 * 8.0;
        assert!((f64::from(ones) - bits / 2.0).abs() < 3.0 * bits.sqrt(), "{ones} of {bits} bits");
        // Two neighbours, for what lasts from one to the next: each place is equal in one of 256.
        for place in 0..LEN {
            let equal = beacons.windows(2).filter(|two| two[0][place] == two[1][place]).count();
            assert!((5..100).contains(&equal), "place {place}: {equal}");
        }
        // No eight bytes anywhere are those of another, or of another place: 1.2 million windows.
        let windows = beacons.iter().flat_map(|beacon| beacon.windows(8));
        let number = 10_000 * (LEN - 7);
        assert_eq!(windows.collect::<HashSet<_>>().len(), number, "two have eight bytes in common");
    }

    #[test]
    fn a_content_has_one_encoding() {
        let good = beacon().encode();
        assert_eq!(Beacon::decode(&good).unwrap(), beacon());
        let changed = |at: usize, to: u8| {
            let mut bad = good;
            bad[at] = to;
            Beacon::decode(&bad)
        };
        assert_eq!(changed(0, 2), Err(DecodeError::Invalid { field: "version" }));
        assert_eq!(changed(19, 9), Err(DecodeError::TooLong { field: "heard", limit: HEARD_MAX }));
        assert_eq!(changed(CONTENT - 1, 1), Err(DecodeError::Invalid { field: "padding" }));
        assert_eq!(changed(19, 1), Err(DecodeError::Invalid { field: "padding" }));
        let many = Beacon { heard: vec![[1; MARK]; 20], ..beacon() };
        assert_eq!(Beacon::decode(&many.encode()).unwrap().heard.len(), HEARD_MAX);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(address: [u8; 16], port: u16, heard in prop::collection::vec(any::<Mark>(), 0..=HEARD_MAX), salt: Salt) {
            let beacon = Beacon { address, port, heard };
            prop_assert_eq!(key(3, HOUR).open(&key(3, HOUR).seal(salt, &beacon)), Some((salt, beacon)));
        }

        #[test]
        fn noise_of_any_length_is_silence(noise in prop::collection::vec(any::<u8>(), 0..300), exact: [[u8; 32]; 4]) {
            prop_assert_eq!(key(3, HOUR).open(&noise), None);
            prop_assert_eq!(key(3, HOUR).open(&exact.concat()), None);
        }
    }
}
