//! The veil over a stream of bytes: how each direction begins, and the records that follow. No socket, no clock, no
//! randomness.
//!
//! ```text
//! box (128): salt, how much padding  ‖  padding, random  ‖  record  ‖  record …
//! record: length (2), tag (16)  ‖  bytes, tag (16)
//! ```
//!
//! The box is that of a datagram ([`super::boxes`]) under keys of its own. What follows is sealed with the box's key and
//! counters that go on from the box's, each used once, as Shadowsocks and TLS do with a stream. The padding stands beside the
//! first length as associated data: a bit that is turned in it is noticed like any other.
//!
//! [`Sealer`] and [`Opener`] are the two halves. An opener says how many bytes it needs next and opens them in place,
//! so that whoever reads holds no more than one record.

use std::fmt;
use std::ops::Range;

use fieldbook_proto::session::TransportSecret;

use super::boxes::{BoxKey, CannotSeal, Header, HeaderKey, SIZES, Salt, TAG};

/// Bytes of the box with which each direction begins.
pub const FIRST: usize = SIZES[0];
/// The most padding after it.
pub const PADDING_MAX: usize = 1_024;
/// The most bytes of one record: one of TLS has room.
pub const PAYLOAD_MAX: usize = 17 * 1024;
/// The most bytes that an [`Opener`] needs at once.
pub const NEEDS_MAX: usize = PAYLOAD_MAX + TAG;

/// A sealed length.
const LENGTH: usize = 2 + TAG;
/// Pieces under one key, far below what AES-GCM allows: 2^35 records are half a pebibyte.
const PIECES_MAX: u64 = 1 << 36;

/// What came is not what the other side sealed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream is damaged, or not from a device")
    }
}

impl std::error::Error for Damaged {}

/// The half that sends.
#[derive(Debug)]
pub struct Sealer {
    key: BoxKey,
    counter: u64,
    /// The box and the padding, until they have gone out before the first record.
    begins: Vec<u8>,
}

impl Sealer {
    fn new(key: BoxKey, hidden: &HeaderKey, salt: Salt, padding: &[u8]) -> Result<Self, CannotSeal> {
        let len = u16::try_from(padding.len()).ok().filter(|_| padding.len() <= PADDING_MAX);
        let len = len.ok_or(CannotSeal)?.to_be_bytes();
        let mut begins = Vec::with_capacity(FIRST + padding.len());
        key.seal(hidden, Header { salt, counter: 0 }, &len, FIRST, &mut begins)?;
        begins.extend_from_slice(padding);
        Ok(Self { key, counter: 1, begins })
    }

    /// Whether the first bytes that it sends are those of plain TLS (see [`begins_like_tls`]).
    pub fn begins_like_tls(&self) -> bool {
        begins_like_tls(&self.begins)
    }

    /// Adds to `out` the record around `payload`, of one to [`PAYLOAD_MAX`] bytes; before the first, how the stream begins.
    ///
    /// # Errors
    /// The payload has another length, or there were too many. `out` is as it was.
    pub fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CannotSeal> {
        let len = u16::try_from(payload.len()).ok().filter(|_| (1..=PAYLOAD_MAX).contains(&payload.len()));
        let (Some(len), true) = (len, self.counter < PIECES_MAX) else { return Err(CannotSeal) };
        let before = out.len();
        out.extend_from_slice(&self.begins);
        let beside = self.begins.get(FIRST..).unwrap_or_default();
        let sealed =
            [(beside, &len.to_be_bytes()[..]), (&[], payload)].iter().try_for_each(|(beside, plain)| {
                let start = out.len();
                out.extend_from_slice(plain);
                self.counter += 1;
                self.key.seal_piece(self.counter - 1, beside, out, start)
            });
        match sealed {
            Ok(()) => self.begins = Vec::new(),
            Err(_) => out.truncate(before),
        }
        sealed
    }
}

/// The half that receives.
#[derive(Debug)]
pub struct Opener {
    next: Next,
    counter: u64,
}

#[derive(Debug)]
enum Next {
    /// The listener's box, for whoever dialled with this salt.
    Box {
        secret: TransportSecret,
        hidden: HeaderKey,
        dialler: Salt,
    },
    Padding(BoxKey, usize),
    /// And the padding before it, if it is the first.
    Length(BoxKey, Vec<u8>),
    Payload(BoxKey, usize),
    /// Nothing is opened any more.
    Nothing,
}

impl Opener {
    fn after_the_box(key: BoxKey, padding: usize) -> Self {
        Self { next: Next::after_the_box(key, padding), counter: 1 }
    }

    /// How many bytes the next [`Opener::open`] is to be given; from 1 to [`NEEDS_MAX`].
    pub fn needs(&self) -> usize {
        match &self.next {
            Next::Box { .. } => FIRST,
            Next::Padding(_, len) => *len,
            Next::Length(..) => LENGTH,
            Next::Payload(_, len) => len + TAG,
            Next::Nothing => 1,
        }
    }

    /// Takes that many bytes; where in them the bytes that were said lie, if a record is complete.
    ///
    /// # Errors
    /// They are not what was sealed. Then nothing is opened any more.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Range<usize>>, Damaged> {
        let next = std::mem::replace(&mut self.next, Next::Nothing);
        let (next, said) = self.step(next, bytes).ok_or(Damaged)?;
        self.next = next;
        Ok(said)
    }

    fn step(&mut self, next: Next, bytes: &mut [u8]) -> Option<(Next, Option<Range<usize>>)> {
        let opened = |key: &BoxKey, counter: &mut u64, beside: &[u8], bytes: &mut [u8]| {
            *counter += 1;
            key.open_piece(*counter - 1, beside, bytes)
        };
        match next {
            Next::Box { secret, hidden, dialler } => {
                let header = hidden.read(bytes)?;
                let key = BoxKey::stream_to_dialler(&secret, header.salt, dialler)?;
                let padding = padding_of(&key, header, bytes)?;
                self.counter = 1;
                Some((Next::after_the_box(key, padding), None))
            }
            Next::Padding(key, len) => {
                (bytes.len() == len).then(|| (Next::Length(key, bytes.to_vec()), None))
            }
            Next::Length(key, padding) => {
                opened(&key, &mut self.counter, &padding, bytes).filter(|len| *len == 2)?;
                let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                (1..=PAYLOAD_MAX).contains(&len).then_some((Next::Payload(key, len), None))
            }
            Next::Payload(key, len) => {
                opened(&key, &mut self.counter, &[], bytes).filter(|opened| *opened == len)?;
                Some((Next::Length(key, Vec::new()), Some(0..len)))
            }
            Next::Nothing => None,
        }
    }
}

impl Next {
    fn after_the_box(key: BoxKey, padding: usize) -> Self {
        match padding {
            0 => Self::Length(key, Vec::new()),
            len => Self::Padding(key, len),
        }
    }
}

/// How much padding a first box announces, if it is one.
fn padding_of(key: &BoxKey, header: Header, first: &mut [u8]) -> Option<usize> {
    if first.len() != FIRST || header.counter != 0 {
        return None;
    }
    let content = key.open(header.counter, first)?;
    let len = usize::from(u16::from_be_bytes(first[content].try_into().ok()?));
    (len <= PADDING_MAX).then_some(len)
}

/// Whether a stream begins as plain TLS does: with a record of a handshake. A veiled one never does, so that a
/// listener that takes both knows them apart by two bytes.
pub const fn begins_like_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, ..])
}

/// The two halves of whoever dials, with a salt of its own, and padding, of random bytes.
///
/// # Errors
/// The padding is too long, or the cipher is missing.
pub fn dial(secret: &TransportSecret, salt: Salt, padding: &[u8]) -> Result<(Sealer, Opener), CannotSeal> {
    let key = BoxKey::stream_to_listener(secret, salt).ok_or(CannotSeal)?;
    let sealer = Sealer::new(key, &HeaderKey::stream_to_listener(secret), salt, padding)?;
    let hidden = HeaderKey::stream_to_dialler(secret, salt);
    let next = Next::Box { secret: secret.clone(), hidden, dialler: salt };
    Ok((sealer, Opener { next, counter: 0 }))
}

/// The first box of somebody who knows a secret.
#[derive(Debug)]
pub struct Begun {
    salt: Salt,
    key: BoxKey,
    padding: usize,
    secret: TransportSecret,
}

impl Begun {
    /// Reads the first [`FIRST`] bytes of a stream under a secret, `hidden` being its key for headers.
    pub fn read(secret: &TransportSecret, hidden: &HeaderKey, first: &[u8; FIRST]) -> Option<Self> {
        let header = hidden.read(first)?;
        // Of strangers' bytes hardly any get to the cost of a key.
        if header.counter != 0 {
            return None;
        }
        let key = BoxKey::stream_to_listener(secret, header.salt)?;
        let padding = padding_of(&key, header, &mut first.clone())?;
        Some(Self { salt: header.salt, key, padding, secret: secret.clone() })
    }

    /// Whose it is. Nothing says that it did not come before.
    pub const fn salt(&self) -> Salt {
        self.salt
    }

    /// The two halves of whoever listens, with a salt of its own, and padding, of random bytes.
    ///
    /// # Errors
    /// As [`dial`].
    pub fn answer(self, own: Salt, padding: &[u8]) -> Result<(Sealer, Opener), CannotSeal> {
        let Self { salt, key, padding: theirs, secret } = self;
        let answers = BoxKey::stream_to_dialler(&secret, own, salt).ok_or(CannotSeal)?;
        let hidden = HeaderKey::stream_to_dialler(&secret, salt);
        Ok((Sealer::new(answers, &hidden, own, padding)?, Opener::after_the_box(key, theirs)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(seed: u8) -> TransportSecret {
        TransportSecret::new(1, [seed; 32])
    }

    fn salt(seed: u8) -> Salt {
        Salt::new(1_700_000_000, [seed; 6])
    }

    fn begun(secret: &TransportSecret, stream: &[u8]) -> Option<Begun> {
        let first = stream.first_chunk()?;
        Begun::read(secret, &HeaderKey::stream_to_listener(secret), first)
    }

    /// What is said in `stream`, and whether it is damaged after that.
    fn read(opener: &mut Opener, stream: &[u8]) -> (Vec<u8>, bool) {
        let (mut stream, mut said) = (stream.to_vec(), Vec::new());
        let mut rest = &mut stream[..];
        while rest.len() >= opener.needs() {
            let (next, after) = rest.split_at_mut(opener.needs());
            match opener.open(next) {
                Ok(Some(range)) => said.extend_from_slice(&next[range]),
                Ok(None) => {}
                Err(Damaged) => return (said, true),
            }
            rest = after;
        }
        (said, false)
    }

    /// As a listener that knows one secret.
    fn heard(stream: &[u8]) -> Option<(Vec<u8>, bool)> {
        let (_, mut opener) = begun(&secret(1), stream)?.answer(salt(9), &[]).unwrap();
        Some(read(&mut opener, &stream[FIRST..]))
    }

    fn said(payloads: &[&[u8]], padding: &[u8]) -> Vec<u8> {
        let (mut sealer, _) = dial(&secret(1), salt(1), padding).unwrap();
        let mut out = Vec::new();
        payloads.iter().for_each(|payload| sealer.seal(payload, &mut out).unwrap());
        out
    }

    #[test]
    fn both_ways_what_was_sealed_comes_out_and_everything_goes_out_at_once() {
        let (mut sealer, mut opener) = dial(&secret(1), salt(1), &[7; 300]).unwrap();
        let mut there = Vec::new();
        sealer.seal(b"client hello", &mut there).unwrap();
        assert_eq!(there.len(), FIRST + 300 + LENGTH + 12 + TAG, "box, padding and hello in one");
        let (mut answering, mut hearing) =
            begun(&secret(1), &there).unwrap().answer(salt(2), &[8; 1_024]).unwrap();
        assert_eq!(read(&mut hearing, &there[FIRST..]), (b"client hello".to_vec(), false));
        let mut back = Vec::new();
        answering.seal(&[5; PAYLOAD_MAX], &mut back).unwrap();
        answering.seal(b"x", &mut back).unwrap();
        let (said, damaged) = read(&mut opener, &back);
        assert!(said == [&[5; PAYLOAD_MAX][..], b"x"].concat() && !damaged);
        // Further records have no box before them.
        let before = there.len();
        sealer.seal(b"more", &mut there).unwrap();
        assert_eq!(there.len() - before, LENGTH + 4 + TAG);
        assert_eq!(read(&mut hearing, &there[before..]), (b"more".to_vec(), false));
    }

    #[test]
    fn no_bit_can_be_turned_not_even_in_the_padding() {
        let good = said(&[b"one", b"two"], &[3; 40]);
        assert_eq!(heard(&good), Some((b"onetwo".to_vec(), false)));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let heard = heard(&bad);
            if bit / 8 < FIRST {
                assert_eq!(heard, None, "bit {bit}");
                continue;
            }
            let (said, damaged) = heard.unwrap();
            assert!(damaged && b"onetwo".starts_with(&said) && said.len() < 6, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_says_what_came_and_waits_for_the_rest() {
        let good = said(&[b"one", b"two"], &[3; 40]);
        for len in 0..good.len() {
            match heard(&good[..len]) {
                None => assert!(len < FIRST),
                Some((said, damaged)) => assert!(!damaged && b"onetwo".starts_with(&said), "{len} bytes"),
            }
        }
    }

    #[test]
    fn records_come_once_and_in_their_order() {
        let begins = said(&[b"one"], &[]);
        let all = said(&[b"one", b"two", b"six"], &[]);
        let record = LENGTH + 3 + TAG;
        let at = |n: usize| &all[begins.len() + n * record..][..record];
        for (wrong, said) in [
            ([&begins[..], at(1)].concat(), &b"one"[..]),
            ([&begins[..], at(0), at(0)].concat(), b"onetwo"),
            ([&begins[..], at(1), at(0)].concat(), b"one"),
            ([&begins[..FIRST], at(0)].concat(), b""),
        ] {
            assert_eq!(heard(&wrong), Some((said.to_vec(), true)));
        }
        // After one that is damaged nothing is opened, though it be good.
        let (_, mut opener) = begun(&secret(1), &all).unwrap().answer(salt(9), &[]).unwrap();
        assert_eq!(opener.open(&mut [0; LENGTH]), Err(Damaged));
        assert_eq!(read(&mut opener, &all[FIRST..]), (Vec::new(), true));
    }

    #[test]
    fn nothing_is_good_in_the_other_direction_or_on_another_stream() {
        let (mut sealer, mut opener) = dial(&secret(1), salt(1), &[]).unwrap();
        let mut there = Vec::new();
        sealer.seal(b"hello", &mut there).unwrap();
        assert_eq!(read(&mut opener, &there), (Vec::new(), true), "reflected");
        let (mut answering, _) = begun(&secret(1), &there).unwrap().answer(salt(2), &[]).unwrap();
        let mut back = Vec::new();
        answering.seal(b"answer", &mut back).unwrap();
        assert!(begun(&secret(1), &back).is_none(), "an answer begins nothing");
        let (_, mut other) = dial(&secret(1), salt(3), &[]).unwrap();
        assert_eq!(read(&mut other, &back), (Vec::new(), true), "an answer to another");
        assert!(begun(&secret(2), &there).is_none(), "of another team, or epoch");
        // Records of one stream after the beginning of another.
        let elsewhere = {
            let (mut sealer, _) = dial(&secret(1), salt(4), &[]).unwrap();
            let mut out = Vec::new();
            sealer.seal(b"hello", &mut out).unwrap();
            out
        };
        assert_eq!(heard(&[&there[..FIRST], &elsewhere[FIRST..]].concat()), Some((Vec::new(), true)));
    }

    #[test]
    fn a_box_of_datagrams_begins_no_stream() {
        let key = BoxKey::to_listener(&secret(1), salt(1)).unwrap();
        let mut out = Vec::new();
        let header = Header { salt: salt(1), counter: 0 };
        key.seal(&HeaderKey::to_listener(&secret(1)), header, &[0, 0], FIRST, &mut out).unwrap();
        assert!(begun(&secret(1), &out).is_none());
    }

    #[test]
    fn a_box_that_says_anything_else_than_a_length_begins_nothing() {
        let key = || BoxKey::stream_to_listener(&secret(1), salt(1)).unwrap();
        let hidden = HeaderKey::stream_to_listener(&secret(1));
        let begins = |counter: u64, content: &[u8]| {
            let mut out = Vec::new();
            key().seal(&hidden, Header { salt: salt(1), counter }, content, FIRST, &mut out).unwrap();
            begun(&secret(1), &out).map(|begun| begun.padding)
        };
        assert_eq!(begins(0, &[4, 0]), Some(1_024));
        for (counter, content) in
            [(1, &[0, 0][..]), (0, &[4, 1]), (0, &[0xff, 0xff]), (0, &[0]), (0, &[0, 0, 0])]
        {
            assert_eq!(begins(counter, content), None, "{counter} {content:?}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_on_both_sides() {
        let (mut sealer, _) = dial(&secret(1), salt(1), &[]).unwrap();
        let mut out = vec![1];
        for payload in [&[][..], &[0; PAYLOAD_MAX + 1], &[0; 70_000]] {
            assert_eq!(sealer.seal(payload, &mut out), Err(CannotSeal));
        }
        assert_eq!(out, [1]);
        sealer.counter = PIECES_MAX;
        assert_eq!(sealer.seal(&[1], &mut out), Err(CannotSeal));
        assert!(dial(&secret(1), salt(1), &[0; PADDING_MAX + 1]).is_err());
        for len in [0, PAYLOAD_MAX + 1, 0xffff] {
            let (sealer, _) = dial(&secret(1), salt(1), &[]).unwrap();
            let mut out = sealer.begins.clone();
            out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            sealer.key.seal_piece(1, &[], &mut out, FIRST).unwrap();
            assert_eq!(heard(&out), Some((Vec::new(), true)), "{len}");
        }
    }

    #[test]
    fn a_beginning_like_that_of_tls_is_known() {
        let dialled = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            dial(&secret(1), Salt::new(7, [a, b, c, d, 0, 0]), &[]).unwrap().0
        };
        let one = |sealer: &Sealer| sealer.begins[..2] == [0x16, 0x03];
        let mut found = (0..1_000_000).map(dialled).find(one).expect("one of 65,536");
        assert!(found.begins_like_tls());
        let mut out = Vec::new();
        found.seal(b"x", &mut out).unwrap();
        assert!(begins_like_tls(&out) && !begins_like_tls(&out[1..]) && !begins_like_tls(&[0x16]));
        assert!(!dialled(0).begins_like_tls());
    }

    proptest! {
        #[test]
        fn noise_of_any_length_begins_nothing_and_panics_nowhere(noise in prop::collection::vec(any::<u8>(), 0..3_000)) {
            prop_assert!(begun(&secret(1), &noise).is_none());
            let (_, mut opener) = dial(&secret(1), salt(1), &[]).unwrap();
            let (said, damaged) = read(&mut opener, &noise);
            prop_assert!(said.is_empty() && damaged == (noise.len() >= FIRST));
        }

        #[test]
        fn a_true_beginning_with_noise_after_it_says_nothing(noise in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let good = said(&[b"one"], &[3; 40]);
            let (said, damaged) = heard(&[&good[..FIRST], &noise].concat()).unwrap();
            prop_assert!(said.is_empty() && damaged == (noise.len() >= 40 + LENGTH));
        }
    }
}
