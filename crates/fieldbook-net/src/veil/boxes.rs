//! The box around one datagram: keys, sizes, sealing and opening. No socket, no clock, no randomness.
//!
//! ```text
//! masked header (15)  ‖  AES-256-GCM of: content ‖ 0x80 ‖ zeros  ‖  tag (16)
//! ```
//!
//! The header is the sender's salt and a counter that never repeats under it. It is hidden by a mask that
//! follows from the tag under a key of the team: the construction HN1 of "Nonces are Noticed" (Bellare, Ng,
//! Tackmann, CRYPTO 2019), which QUIC's own header protection uses (RFC 9001, section 5.4). So no byte of
//! a box is the same in two of them, and no byte tells who sent it.

use std::fmt;
use std::ops::Range;

use fieldbook_proto::session::TransportSecret;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::quic::PacketKey;
use zeroize::Zeroizing;

/// Lengths that a datagram can have, so that the lengths of QUIC's packets do not show: an acknowledgement; a
/// hello or another small frame; QUIC's first packets, the least that every network carries (1,280 bytes of IPv6
/// with its header and UDP's); a full Ethernet frame.
pub const SIZES: [usize; 4] = [128, 512, 1232, 1452];
/// The longest content, which is the longest packet that QUIC may make.
pub const CONTENT_MAX: usize = SIZES[3] - OVERHEAD;
/// What a box takes beyond its content, at least.
pub const OVERHEAD: usize = HEADER + 1 + TAG;

const HEADER: usize = Salt::LEN + COUNTER;
const COUNTER: usize = 5;
pub(super) const TAG: usize = 16;
/// Where the content ends and padding begins.
const END: u8 = 0x80;
/// Boxes that may be sealed under one salt.
pub const COUNTER_MAX: u64 = (1 << (8 * COUNTER)) - 1;

/// Whose box it is: the time at which its sender began, and six random bytes. One for each socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Salt([u8; Self::LEN]);

impl Salt {
    /// Bytes of one.
    pub const LEN: usize = 10;

    /// Made at this time, in seconds since 1970, by the maker's clock.
    pub fn new(time_s: u32, random: [u8; 6]) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&time_s.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }

    /// When it was made, by its maker's clock.
    pub const fn time_s(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// As it stands in a header.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// What stands before a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose it is.
    pub salt: Salt,
    /// Which of that salt's, from 0.
    pub counter: u64,
}

/// Hides and shows headers.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderKey")
    }
}

impl HeaderKey {
    /// Of boxes that go to whoever listens.
    pub fn to_listener(secret: &TransportSecret) -> Self {
        Self(secret.derive("fieldbook 2026 veil v1 header to the listener", b""))
    }

    /// Of boxes that go back to whoever dialled with this salt.
    pub fn to_dialler(secret: &TransportSecret, dialler: Salt) -> Self {
        Self(secret.derive("fieldbook 2026 veil v1 header to the dialler", dialler.as_bytes()))
    }

    /// Of the box with which whoever dials begins a stream.
    pub fn stream_to_listener(secret: &TransportSecret) -> Self {
        Self(secret.derive("fieldbook 2026 veil v1 stream header to the listener", b""))
    }

    /// Of the box with which a listener begins its answer on the stream that was begun with this salt.
    pub fn stream_to_dialler(secret: &TransportSecret, dialler: Salt) -> Self {
        Self(secret.derive("fieldbook 2026 veil v1 stream header to the dialler", dialler.as_bytes()))
    }

    fn mask(&self, tag: &[u8]) -> [u8; HEADER] {
        let hash = blake3::keyed_hash(&self.0, tag);
        let mut mask = [0; HEADER];
        mask.copy_from_slice(&hash.as_bytes()[..HEADER]);
        mask
    }

    /// What the header of a datagram is if it was hidden under this key. Nothing is proven by it.
    pub fn read(&self, datagram: &[u8]) -> Option<Header> {
        let (hidden, sealed) = datagram.split_first_chunk::<HEADER>()?;
        let (_, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut header = self.mask(tag);
        header.iter_mut().zip(hidden).for_each(|(shown, hidden)| *shown ^= hidden);
        let (salt, counter) = header.split_first_chunk::<{ Salt::LEN }>()?;
        let counter = counter.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Some(Header { salt: Salt(*salt), counter })
    }
}

/// Seals and opens the boxes of one salt.
pub struct BoxKey(Box<dyn PacketKey>);

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxKey")
    }
}

impl BoxKey {
    /// Of boxes that whoever dialled with this salt sends.
    pub fn to_listener(secret: &TransportSecret, dialler: Salt) -> Option<Self> {
        Self::of(&secret.derive("fieldbook 2026 veil v1 box to the listener", dialler.as_bytes()))
    }

    /// Of boxes that a listener sends to whoever dialled it.
    pub fn to_dialler(secret: &TransportSecret, listener: Salt, dialler: Salt) -> Option<Self> {
        let both = [&listener.as_bytes()[..], dialler.as_bytes()].concat();
        Self::of(&secret.derive("fieldbook 2026 veil v1 box to the dialler", &both))
    }

    /// Of what whoever dials says on the stream that was begun with this salt.
    pub fn stream_to_listener(secret: &TransportSecret, dialler: Salt) -> Option<Self> {
        Self::of(&secret.derive("fieldbook 2026 veil v1 stream to the listener", dialler.as_bytes()))
    }

    /// Of what a listener answers there.
    pub fn stream_to_dialler(secret: &TransportSecret, listener: Salt, dialler: Salt) -> Option<Self> {
        let both = [&listener.as_bytes()[..], dialler.as_bytes()].concat();
        Self::of(&secret.derive("fieldbook 2026 veil v1 stream to the dialler", &both))
    }

    /// None only if the cryptographic library lacks the cipher.
    fn of(key: &[u8; 32]) -> Option<Self> {
        let cipher = TLS13_AES_256_GCM_SHA384.tls13()?.quic?;
        Some(Self(cipher.packet_key(AeadKey::from(*key), Iv::from([0; 12]))))
    }

    /// Adds to `out` the box around `content`, of the length `size` (see [`size_of_box`]).
    ///
    /// # Errors
    /// The content is too long for the size, or the counter beyond [`COUNTER_MAX`].
    pub fn seal(
        &self,
        header_key: &HeaderKey,
        header: Header,
        content: &[u8],
        size: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CannotSeal> {
        if content.len() + OVERHEAD > size || header.counter > COUNTER_MAX {
            return Err(CannotSeal);
        }
        let start = out.len();
        out.extend_from_slice(header.salt.as_bytes());
        out.extend_from_slice(&header.counter.to_be_bytes()[8 - COUNTER..]);
        out.extend_from_slice(content);
        out.push(END);
        out.resize(start + size - TAG, 0);
        let sealed = self.0.encrypt_in_place(header.counter, b"", &mut out[start + HEADER..]);
        let Ok(tag) = sealed else {
            out.truncate(start);
            return Err(CannotSeal);
        };
        out.extend_from_slice(tag.as_ref());
        let mask = header_key.mask(tag.as_ref());
        out[start..start + HEADER].iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        Ok(())
    }

    /// Seals what lies in `out` from `start` on, together with `beside`, and adds the tag: a piece of a stream.
    pub(super) fn seal_piece(
        &self,
        counter: u64,
        beside: &[u8],
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), CannotSeal> {
        let piece = out.get_mut(start..).ok_or(CannotSeal)?;
        let tag = self.0.encrypt_in_place(counter, beside, piece).map_err(|_| CannotSeal)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens such a piece in place: how long it is without its tag.
    pub(super) fn open_piece(&self, counter: u64, beside: &[u8], piece: &mut [u8]) -> Option<usize> {
        self.0.decrypt_in_place(counter, beside, piece).ok().map(|plain| plain.len())
    }

    /// Opens a box in place; where its content lies then. What lies there is good for nothing if this is none.
    pub fn open(&self, counter: u64, datagram: &mut [u8]) -> Option<Range<usize>> {
        let plain = self.0.decrypt_in_place(counter, b"", datagram.get_mut(HEADER..)?).ok()?;
        let len = plain.iter().rposition(|byte| *byte != 0)?;
        (plain[len] == END).then_some(HEADER..HEADER + len)
    }
}

/// The length of the box around a content of this length.
pub fn size_of_box(content: usize) -> Option<usize> {
    SIZES.into_iter().find(|size| content + OVERHEAD <= *size)
}

/// Whether a datagram has the length of a box.
pub fn is_size(len: usize) -> bool {
    SIZES.contains(&len)
}

/// The content is too long, or too many boxes were sealed under one salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotSeal;

impl fmt::Display for CannotSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a datagram cannot be veiled")
    }
}

impl std::error::Error for CannotSeal {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(seed: u8) -> TransportSecret {
        TransportSecret::new(1, [seed; 32])
    }

    fn sealed(content: &[u8], counter: u64) -> Vec<u8> {
        let salt = Salt::new(7, [7; 6]);
        let key = BoxKey::to_listener(&secret(1), salt).unwrap();
        let mut out = Vec::new();
        let size = size_of_box(content.len()).unwrap();
        let header = Header { salt, counter };
        key.seal(&HeaderKey::to_listener(&secret(1)), header, content, size, &mut out).unwrap();
        out
    }

    /// What a listener makes of it.
    fn open(secret: &TransportSecret, datagram: &[u8]) -> Option<Vec<u8>> {
        let header = HeaderKey::to_listener(secret).read(datagram)?;
        let mut datagram = datagram.to_vec();
        let content = BoxKey::to_listener(secret, header.salt)?.open(header.counter, &mut datagram)?;
        Some(datagram[content].to_vec())
    }

    #[test]
    fn the_first_packet_of_quic_fits_into_what_every_network_carries() {
        assert_eq!(OVERHEAD, 32);
        // 1,280 bytes, less the headers of IPv6 (40) and UDP (8).
        assert_eq!(size_of_box(1_200), Some(1_280 - 48));
        assert_eq!(size_of_box(CONTENT_MAX), Some(1_500 - 48));
        assert_eq!(size_of_box(CONTENT_MAX + 1), None);
    }

    #[test]
    fn no_bit_can_be_turned_and_no_byte_left_out_or_added() {
        let good = sealed(b"content", 3);
        assert_eq!(open(&secret(1), &good).unwrap(), b"content");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&secret(1), &bad), None, "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(open(&secret(1), &good[..len]), None, "{len} bytes");
        }
        assert_eq!(open(&secret(1), &[&good[..], &[0]].concat()), None);
        assert_eq!(open(&secret(2), &good), None, "of another team, or epoch");
    }

    #[test]
    fn an_answer_is_for_one_dialler_and_no_box_is_good_in_the_other_direction() {
        let (ours, theirs, other) = (Salt::new(1, [1; 6]), Salt::new(2, [2; 6]), Salt::new(1, [3; 6]));
        let key = BoxKey::to_dialler(&secret(1), theirs, ours).unwrap();
        let hidden = HeaderKey::to_dialler(&secret(1), ours);
        let mut out = Vec::new();
        let header = Header { salt: theirs, counter: 9 };
        key.seal(&hidden, header, b"answer", 128, &mut out).unwrap();
        assert_eq!(hidden.read(&out), Some(header));
        assert_ne!(HeaderKey::to_dialler(&secret(1), other).read(&out), Some(header));
        let to_another = BoxKey::to_dialler(&secret(1), theirs, other).unwrap();
        assert_eq!(to_another.open(9, &mut out.clone()), None);
        assert_eq!(open(&secret(1), &out), None);
        assert_eq!(key.open(9, &mut out), Some(HEADER..HEADER + 6));
    }

    #[test]
    fn boxes_of_one_content_have_nothing_in_common() {
        let boxes: Vec<Vec<u8>> = (0..64).map(|counter| sealed(b"", counter)).collect();
        for at in 0..128 {
            let mut values: Vec<u8> = boxes.iter().map(|one| one[at]).collect();
            values.sort_unstable();
            values.dedup();
            // 64 of 256 values: 57 different ones are expected.
            assert!(values.len() > 40, "byte {at}: {}", values.len());
        }
    }

    #[test]
    fn too_long_or_too_many_is_refused_and_leaves_nothing() {
        let salt = Salt::new(1, [1; 6]);
        let key = BoxKey::to_listener(&secret(1), salt).unwrap();
        let hidden = HeaderKey::to_listener(&secret(1));
        let mut out = vec![1];
        for (content, counter) in [(97, 0), (96, COUNTER_MAX + 1)] {
            let header = Header { salt, counter };
            assert_eq!(key.seal(&hidden, header, &vec![0; content], 128, &mut out), Err(CannotSeal));
        }
        assert_eq!(out, [1]);
        key.seal(&hidden, Header { salt, counter: COUNTER_MAX }, &[0; 96], 128, &mut out).unwrap();
        assert_eq!(out.len(), 129);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(content in prop::collection::vec(any::<u8>(), 0..=CONTENT_MAX), counter in 0..=COUNTER_MAX) {
            let sealed = sealed(&content, counter);
            prop_assert!(is_size(sealed.len()));
            prop_assert_eq!(open(&secret(1), &sealed), Some(content));
        }

        #[test]
        fn noise_of_any_length_opens_nothing(noise in prop::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(open(&secret(1), &noise), None);
        }
    }
}
