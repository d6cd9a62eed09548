//! One block: a salt, a small box that says where the block belongs, and a large one with its bytes.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

use crate::BundleId;
use crate::codec::{DecodeError, Reader, Writer};
use crate::session::TransportSecret;

/// Bytes of a block. Every part is a whole number of them.
pub const BLOCK_LEN: usize = 16_384;
/// Random bytes at the beginning of a block, from which its key comes.
pub const SALT_LEN: usize = 32;
/// Version, flags, bundle, part, number, first, used.
const HEAD_PLAIN: usize = 1 + 1 + BundleId::LEN + 2 + 4 + 2 + 2;
const TAG: usize = 16;
/// What must be read of a block to know whether it is one of the team's: the salt and the small box.
pub const HEAD_LEN: usize = SALT_LEN + HEAD_PLAIN + TAG;
/// How many bytes of records a block holds.
pub const BODY_LEN: usize = BLOCK_LEN - HEAD_LEN - TAG;

const CONTEXT: &str = "fieldbook 2026 bundle v1 block";
/// The two boxes of a block.
const HEAD_NONCE: [u8; 12] = [0; 12];
const BODY_NONCE: [u8; 12] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// In place of an offset: no record begins in this block.
const NO_RECORD: u16 = u16::MAX;

/// Where a block belongs, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The version of the format. The head keeps its layout in all versions.
    pub version: u8,
    /// The bundle.
    pub bundle: BundleId,
    /// Which of its parts, from 0.
    pub part: u16,
    /// Which block of the part, from 0.
    pub number: u32,
    /// No block of this part follows.
    pub last: bool,
    /// No part of this bundle follows. Only said in the last block of a part.
    pub last_part: bool,
    /// Where in the body the first record begins that begins in this block.
    pub first: Option<u16>,
    /// How many bytes of the body are records; zeros follow.
    pub used: u16,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.last) | u8::from(self.last_part) << 1;
        let mut writer = Writer::new();
        writer.u8(self.version).u8(flags).raw(self.bundle.as_bytes()).u16(self.part).u32(self.number);
        writer.u16(self.first.unwrap_or(NO_RECORD)).u16(self.used).finish()
    }

    /// A head of another version is read as far as this: its other fields may mean something else.
    fn decode(plain: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(plain);
        let version = reader.u8("version")?;
        let flags = reader.u8("flags")?;
        let head = Self {
            version,
            bundle: BundleId::from_bytes(reader.array("bundle")?),
            part: reader.u16("part")?,
            number: reader.u32("number")?,
            last: flags & 1 != 0,
            last_part: flags & 2 != 0,
            first: Some(reader.u16("first")?).filter(|first| *first != NO_RECORD),
            used: reader.u16("used")?,
        };
        reader.end()?;
        if version != super::VERSION {
            return Ok(head);
        }
        if flags > 3 || flags == 2 {
            return Err(DecodeError::Invalid { field: "flags" });
        }
        if usize::from(head.used) > BODY_LEN {
            return Err(DecodeError::Invalid { field: "used" });
        }
        if head.first.is_some_and(|first| first >= head.used) {
            return Err(DecodeError::Invalid { field: "first" });
        }
        Ok(head)
    }
}

fn cipher(secret: &TransportSecret, salt: &[u8; SALT_LEN]) -> ChaCha20Poly1305 {
    secret.derived_cipher(CONTEXT, salt)
}

/// Appends a block to `out`. `salt` is random and used for no other block: the nonces are constant.
/// Of `body`, which has at most [`BODY_LEN`] bytes, `head.used` says how many count.
pub fn seal_block(
    secret: &TransportSecret,
    salt: &[u8; SALT_LEN],
    head: &Head,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let cipher = cipher(secret, salt);
    out.extend_from_slice(salt);
    for (nonce, plain, len) in [(HEAD_NONCE, &head.encode()[..], HEAD_PLAIN), (BODY_NONCE, body, BODY_LEN)] {
        let from = out.len();
        out.extend_from_slice(&plain[..plain.len().min(len)]);
        out.resize(from + len, 0);
        // Encryption fails only for messages of 256 GiB.
        let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), &[], &mut out[from..]);
        out.extend_from_slice(&tag.unwrap_or_default());
    }
}

/// Opens one box into `out`.
fn open_box(cipher: &ChaCha20Poly1305, nonce: [u8; 12], sealed: &[u8], out: &mut [u8]) -> Option<()> {
    let (boxed, tag) = sealed.split_at_checked(out.len())?;
    let tag: [u8; TAG] = tag.try_into().ok()?;
    out.copy_from_slice(boxed);
    cipher.decrypt_in_place_detached(&Nonce::from(nonce), &[], out, &Tag::from(tag)).ok()
}

/// Opens the head of a block, of which `bytes` is the beginning. Tells which of the secrets fitted.
/// `None`: it is of no team that these are the secrets of, or damaged. Costs a microsecond a secret.
pub fn open_head(bytes: &[u8], secrets: &[TransportSecret]) -> Option<(usize, Head)> {
    let (salt, rest) = bytes.split_first_chunk::<SALT_LEN>()?;
    let sealed = rest.get(..HEAD_LEN - SALT_LEN)?;
    secrets.iter().enumerate().find_map(|(at, secret)| {
        let mut plain = [0; HEAD_PLAIN];
        open_box(&cipher(secret, salt), HEAD_NONCE, sealed, &mut plain)?;
        Some((at, Head::decode(&plain).ok()?))
    })
}

/// A block that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Everything in it is as it was written: the head, and the bytes of records.
    Whole(Head, Vec<u8>),
    /// It is the team's, of a version that this module does not know.
    Newer(Head),
    /// The head tells where it belongs; the rest is damaged.
    Damaged(Head),
    /// Not even that.
    Foreign,
}

/// Opens a block; `secrets` as for [`open_head`], the one that fitted is told.
pub fn open_block(bytes: &[u8], secrets: &[TransportSecret]) -> (Option<usize>, Opened) {
    let Some((at, head)) = open_head(bytes, secrets) else { return (None, Opened::Foreign) };
    if head.version != super::VERSION {
        return (Some(at), Opened::Newer(head));
    }
    let opened = || {
        let salt = bytes.first_chunk::<SALT_LEN>()?;
        let mut body = vec![0; BODY_LEN];
        open_box(&cipher(secrets.get(at)?, salt), BODY_NONCE, bytes.get(HEAD_LEN..)?, &mut body)?;
        body.truncate(usize::from(head.used));
        Some(body)
    };
    (Some(at), opened().map_or(Opened::Damaged(head), |body| Opened::Whole(head, body)))
}
