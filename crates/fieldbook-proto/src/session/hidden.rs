//! How far this device has read with devices of which it keeps no name: a fixed number of boxes, each a
//! position under a key that follows from a secret of this depot and from the other device.
//!
//! Whoever has the depot and its key sees 64 boxes of random bytes. Which are in use, and so how many
//! devices were met, cannot be told; that one of them is a given device's only by whoever already has that
//! device's id and its depot's. Randomness is passed in.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

use crate::{DepotId, DeviceId};

const SECRET: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
const BOX: usize = NONCE + size_of::<u64>() + TAG;
/// Devices that can be remembered; of more a random one is forgotten, and meets this one as if anew.
const BOXES: usize = 64;

/// Bytes of the encoding, and of the randomness that a new one is made of.
pub const HIDDEN_CURSORS_LEN: usize = SECRET + BOXES * BOX;

/// Positions in the arrival orders of unnamed devices.
#[derive(Clone)]
pub struct HiddenCursors(Zeroizing<Vec<u8>>);

impl fmt::Debug for HiddenCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HiddenCursors")
    }
}

impl HiddenCursors {
    /// Takes a stored one; or makes one of as many random bytes, which remembers nobody.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == HIDDEN_CURSORS_LEN).then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// As it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn cipher(&self, device: &DeviceId, depot: &DepotId) -> ChaCha20Poly1305 {
        let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 hidden cursor v1");
        hasher.update(&self.0[..SECRET]).update(device.as_bytes()).update(depot.as_bytes());
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        ChaCha20Poly1305::new(Key::from_slice(&*key))
    }

    /// The box that opens, and what is in it.
    fn find(&self, cipher: &ChaCha20Poly1305) -> Option<(usize, u64)> {
        self.0[SECRET..].chunks_exact(BOX).enumerate().find_map(|(number, sealed)| {
            let (nonce, sealed) = sealed.split_at(NONCE);
            let position = cipher.decrypt(Nonce::from_slice(nonce), sealed).ok()?;
            Some((number, u64::from_be_bytes(position.try_into().ok()?)))
        })
    }

    /// How far this device has read in the order of that depot of that device; 0 if it is not remembered.
    pub fn get(&self, device: &DeviceId, depot: &DepotId) -> u64 {
        self.find(&self.cipher(device, depot)).map_or(0, |(_, position)| position)
    }

    /// Remembers it. `random`: the nonce, and which box to use if none is this device's.
    pub fn set(&mut self, device: &DeviceId, depot: &DepotId, position: u64, random: [u8; 13]) {
        let cipher = self.cipher(device, depot);
        let (nonce, choice) = random.split_at(NONCE);
        let number = self.find(&cipher).map_or(usize::from(choice[0]) % BOXES, |(number, _)| number);
        let Ok(sealed) = cipher.encrypt(Nonce::from_slice(nonce), position.to_be_bytes().as_slice()) else {
            return;
        };
        let start = SECRET + number * BOX;
        self.0[start..start + NONCE].copy_from_slice(nonce);
        self.0[start + NONCE..start + BOX].copy_from_slice(&sealed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn new() -> HiddenCursors {
        let bytes: Vec<u8> = (0..HIDDEN_CURSORS_LEN).map(|n| (n * 7 % 251) as u8).collect();
        HiddenCursors::from_bytes(&bytes).unwrap()
    }

    fn device(n: u8) -> (DeviceId, DepotId) {
        (DeviceId::from_bytes([n; 32]), DepotId::from_bytes([n; 16]))
    }

    #[test]
    fn each_device_finds_its_own_position_in_one_box_and_nobody_elses() {
        let mut cursors = new();
        let (a, b) = (device(1), device(2));
        assert_eq!(cursors.get(&a.0, &a.1), 0);
        cursors.set(&a.0, &a.1, 5, [0; 13]);
        let after_one = cursors.clone();
        cursors.set(&b.0, &b.1, 9, [1; 13]);
        cursors.set(&a.0, &a.1, 70, [2; 13]);
        let again = HiddenCursors::from_bytes(cursors.as_bytes()).unwrap();
        assert_eq!((again.get(&a.0, &a.1), again.get(&b.0, &b.1)), (70, 9));
        assert_eq!(again.get(&a.0, &b.1), 0, "of another depot");
        // A later position goes into the same box: nobody counts syncs by boxes.
        let changed = |before: &HiddenCursors, after: &HiddenCursors| {
            let of = |cursors: &HiddenCursors| cursors.as_bytes()[SECRET..].to_vec();
            let (before, after) = (of(before), of(after));
            before.chunks(BOX).zip(after.chunks(BOX)).filter(|(one, other)| one != other).count()
        };
        assert_eq!(changed(&new(), &after_one), 1);
        assert_eq!(changed(&new(), &again), 2);
    }

    #[test]
    fn no_name_stands_in_it_and_its_length_never_changes() {
        let mut cursors = new();
        for n in 0..200 {
            let (device, depot) = device(n);
            cursors.set(&device, &depot, u64::from(n), [n; 13]);
            let bytes = cursors.as_bytes();
            assert_eq!(bytes.len(), HIDDEN_CURSORS_LEN);
            assert!(!bytes.windows(16).any(|window| window == depot.as_bytes()));
            assert!(!bytes.windows(32).any(|window| window == device.as_bytes()));
        }
        assert!(HiddenCursors::from_bytes(&[0; 7]).is_none());
    }
}
