//! The encrypted part of a pairing: ChaCha20-Poly1305 with a key and a counter for each direction.
//!
//! A content (kind, length, bytes, zeros up to a multiple of 4 KiB, so that its size tells little)
//! is cut into fragments; each fragment is one sealed message that begins with whether more follow.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

use super::handshake::{Keys, Side};
use super::message::{Message, SEALED};
use super::{MESSAGE_MAX, PairingError};
use crate::codec::{DecodeError, Reader};

/// Content bytes in one sealed message: room is left for its kind, its flag and the tag.
const FRAGMENT_MAX: usize = MESSAGE_MAX - 64;
/// Contents are padded to a multiple of this.
const PAD: usize = 4 * 1024;
/// Kind and length ahead of a content.
const PREFIX: usize = 1 + 4;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// A content's kind and bytes.
type Content = (u8, Zeroizing<Vec<u8>>);

/// A direction: its cipher and how many messages it has carried.
struct Direction {
    cipher: ChaCha20Poly1305,
    count: u64,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Self {
        Self { cipher: ChaCha20Poly1305::new(Key::from_slice(key)), count: 0 }
    }

    /// Four zero bytes and the counter. The key serves one direction of one pairing, so no nonce
    /// comes twice.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.count.to_be_bytes());
        self.count += 1;
        Nonce::from(nonce)
    }
}

/// Both directions, seen from one side.
pub(super) struct Channel {
    out: Direction,
    back: Direction,
    /// Fragments of a content whose last one has not come.
    partial: Zeroizing<Vec<u8>>,
}

impl Channel {
    pub(super) fn new(side: Side, keys: &Keys) -> Self {
        let (out, back) = match side {
            Side::Joiner => (&keys.to_inviter, &keys.to_joiner),
            Side::Inviter => (&keys.to_joiner, &keys.to_inviter),
        };
        Self { out: Direction::new(out), back: Direction::new(back), partial: Zeroizing::default() }
    }

    /// Encrypts a content into the messages that carry it.
    pub(super) fn seal(&mut self, kind: u8, content: &[u8]) -> Result<Vec<Vec<u8>>, PairingError> {
        let too_long = DecodeError::TooLong { field: "content", limit: u32::MAX as usize };
        let len = u32::try_from(content.len()).map_err(|_| PairingError::Unsendable(too_long))?;
        let mut whole = Zeroizing::new(Vec::with_capacity(padded(content.len())));
        whole.push(kind);
        whole.extend_from_slice(&len.to_be_bytes());
        whole.extend_from_slice(content);
        whole.resize(padded(content.len()), 0);
        let mut messages = Vec::new();
        let mut fragments = whole.chunks(FRAGMENT_MAX).peekable();
        while let Some(fragment) = fragments.next() {
            let mut plain = Zeroizing::new(Vec::with_capacity(1 + fragment.len()));
            plain.push(if fragments.peek().is_some() { MORE } else { LAST });
            plain.extend_from_slice(fragment);
            let nonce = self.out.nonce();
            let sealed = self
                .out
                .cipher
                .encrypt(&nonce, Payload { msg: &plain, aad: &[SEALED] })
                .map_err(|_| PairingError::Altered)?;
            messages.push(Message::Sealed(&sealed).encode());
        }
        Ok(messages)
    }

    /// Decrypts one sealed message. Some when the content is whole: its kind and its bytes, at most
    /// `limit`.
    pub(super) fn open(&mut self, ciphertext: &[u8], limit: usize) -> Result<Option<Content>, PairingError> {
        let nonce = self.back.nonce();
        let plain = self
            .back
            .cipher
            .decrypt(&nonce, Payload { msg: ciphertext, aad: &[SEALED] })
            .map(Zeroizing::new)
            .map_err(|_| PairingError::Altered)?;
        let (flag, fragment) = plain.split_first().ok_or(DecodeError::Truncated { field: "fragment" })?;
        if self.partial.is_empty() {
            // The first fragment announces the length, so memory is taken once and within the limit.
            let mut reader = Reader::new(fragment);
            reader.u8("content")?;
            let len = reader.u32("content")? as usize;
            if len > limit {
                return Err(DecodeError::TooLong { field: "content", limit }.into());
            }
            self.partial.reserve_exact(padded(len));
        }
        if self.partial.len() + fragment.len() > self.partial.capacity() {
            return Err(DecodeError::TooLong { field: "content", limit }.into());
        }
        self.partial.extend_from_slice(fragment);
        match *flag {
            MORE => Ok(None),
            LAST => unpad(&std::mem::take(&mut self.partial)).map(Some),
            _ => Err(DecodeError::Invalid { field: "fragment" }.into()),
        }
    }
}

const fn padded(len: usize) -> usize {
    (PREFIX + len).next_multiple_of(PAD)
}

fn unpad(whole: &[u8]) -> Result<Content, PairingError> {
    let mut reader = Reader::new(whole);
    let kind = reader.u8("content")?;
    let content = Zeroizing::new(reader.bytes("content", whole.len())?.to_vec());
    if whole.len() != padded(content.len()) || reader.rest().iter().any(|byte| *byte != 0) {
        return Err(DecodeError::Invalid { field: "padding" }.into());
    }
    Ok((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let keys = Keys::derive(&[1; 32], &[2; 32]);
        (Channel::new(Side::Joiner, &keys), Channel::new(Side::Inviter, &keys))
    }

    fn carry(
        from: &mut Channel,
        to: &mut Channel,
        content: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, PairingError> {
        let mut whole = None;
        for message in from.seal(7, content)? {
            assert!(message.len() <= MESSAGE_MAX);
            assert!(whole.is_none(), "nothing follows the last fragment");
            whole = to.open(&message[1..], limit)?;
        }
        let (kind, content) = whole.unwrap();
        assert_eq!(kind, 7);
        Ok(content.to_vec())
    }

    #[test]
    fn contents_of_any_size_arrive_whole_in_both_directions() {
        let (mut joiner, mut inviter) = pair();
        for len in [0, 1, 4_091, 4_092, FRAGMENT_MAX, FRAGMENT_MAX + 1, 300_000] {
            let content = vec![7; len];
            assert_eq!(carry(&mut joiner, &mut inviter, &content, len), Ok(content.clone()), "{len}");
            assert_eq!(carry(&mut inviter, &mut joiner, &content, len), Ok(content), "{len}");
        }
        let too_long = DecodeError::TooLong { field: "content", limit: 9 };
        assert_eq!(carry(&mut joiner, &mut inviter, &[7; 10], 9), Err(too_long.into()));
    }

    #[test]
    fn a_message_altered_repeated_or_reflected_is_refused() {
        let (mut joiner, mut inviter) = pair();
        let message = joiner.seal(1, b"content").unwrap().remove(0);
        assert_eq!(joiner.open(&message[1..], 100), Err(PairingError::Altered), "reflected");
        let mut altered = message.clone();
        altered[9] ^= 1;
        assert_eq!(pair().1.open(&altered[1..], 100), Err(PairingError::Altered));
        assert!(inviter.open(&message[1..], 100).is_ok());
        assert_eq!(inviter.open(&message[1..], 100), Err(PairingError::Altered), "repeated");
    }
}
