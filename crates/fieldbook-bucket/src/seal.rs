//! What is written of the log into the bucket: boxed under a key that the provider does not have, and bound to
//! the name that it lies under, so that one object cannot stand in the place of another.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use fieldbook_depot::{DepotError, DepotKey};
use zeroize::Zeroizing;

const CONTEXT: &str = "fieldbook 2026 bucket v1 object";
const VERSION: u8 = 1;
const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// Short contents are filled up to a multiple of this, so that their length does not tell what happened.
const GRAIN: usize = 512;
/// What boxing adds to the content at most.
pub(crate) const OVERHEAD_MAX: usize = 1 + SALT_LEN + TAG_LEN + 4 + GRAIN;

/// Seals and opens. Each object has a salt and with it a key of its own, so that the nonce can be constant.
pub(crate) struct Sealer {
    key: DepotKey,
}

impl Sealer {
    pub fn new(key: &DepotKey) -> Self {
        Self { key: key.clone() }
    }

    fn cipher(&self, salt: &[u8; SALT_LEN]) -> ChaCha20Poly1305 {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.key.as_bytes()).update(salt);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        ChaCha20Poly1305::new((&*key).into())
    }

    /// The object that holds `content` under `name`.
    pub fn seal(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, DepotError> {
        self.seal_with(&random()?, name, content)
    }

    fn seal_with(&self, salt: &[u8; SALT_LEN], name: &str, content: &[u8]) -> Result<Vec<u8>, DepotError> {
        let len = u32::try_from(content.len()).map_err(|_| too_large())?;
        let mut plain = Zeroizing::new(Vec::with_capacity((4 + content.len()).next_multiple_of(GRAIN)));
        plain.extend_from_slice(&len.to_be_bytes());
        plain.extend_from_slice(content);
        let filled = plain.len().next_multiple_of(GRAIN);
        plain.resize(filled, 0);
        let payload = Payload { msg: &plain, aad: name.as_bytes() };
        let boxed = self.cipher(salt).encrypt(&Nonce::default(), payload).map_err(|_| too_large())?;
        Ok([&[VERSION][..], salt, &boxed].concat())
    }

    /// The content of the object under `name`.
    pub fn open(&self, name: &str, object: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (version, rest) = object.split_first().ok_or(OpenError::Altered)?;
        if *version > VERSION {
            return Err(OpenError::Newer);
        }
        let (salt, boxed) = rest.split_first_chunk().ok_or(OpenError::Altered)?;
        let payload = Payload { msg: boxed, aad: name.as_bytes() };
        let plain = self.cipher(salt).decrypt(&Nonce::default(), payload);
        let mut plain = Zeroizing::new(plain.map_err(|_| OpenError::Altered)?);
        let len = plain.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize);
        let len = len.filter(|len| *len <= plain.len() - 4).ok_or(OpenError::Altered)?;
        plain.drain(..4);
        plain.truncate(len);
        Ok(plain)
    }
}

/// Why an object did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It is not what was written under this name, or not under this key.
    Altered,
    /// A newer program wrote it.
    Newer,
}

impl OpenError {
    /// In words, for the object that `what` names.
    pub fn of(self, what: &str) -> DepotError {
        match self {
            Self::Altered => {
                DepotError::Damaged(format!("{what} in the bucket is not what was written there"))
            }
            Self::Newer => newer(),
        }
    }
}

pub(crate) fn newer() -> DepotError {
    DepotError::NewerVersion { found: i64::from(VERSION) + 1, known: i64::from(VERSION) }
}

fn too_large() -> DepotError {
    DepotError::Damaged("something is too large for one object of the bucket".to_owned())
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DepotError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DepotError::Io(std::io::ErrorKind::Other.into()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
