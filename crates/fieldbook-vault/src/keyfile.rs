//! The key file of a pair of stores: their keys, encrypted to the identity that the pair's slot holds.
//!
//! It is what makes a new key for the vault cheap and safe: the slots, and with them the passphrase,
//! stay as they are. While the key changes it holds both keys. Every key file has one size.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read as _, Write};
use std::iter;
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use age::x25519;
use fieldbook_proto::codec::Reader;
use zeroize::Zeroizing;

use crate::durable;
use crate::error::VaultError;
use crate::layout::Layout;
use crate::slots;

/// Bytes of a key file. age adds a stanza of random length to a header; the payload makes up for it.
pub(crate) const KEY_FILE_LEN: usize = 1024;
/// age's authentication tag at the end of a payload of one chunk.
const TAG_LEN: usize = 16;
const VERSION: u8 = 1;
/// Version, two keys, whether there is a next one, the next one.
const USED: usize = 1 + 32 + 32 + 1 + 32;
/// Bytes of an X25519 identity as age writes it.
pub(crate) const IDENTITY_LEN: usize = 74;

pub(crate) type Key = Zeroizing<[u8; 32]>;

/// The random keys of one pair of stores.
pub(crate) struct Keys {
    pub vault: Key,
    pub depot: Key,
    /// While the vault's key changes: the one that comes.
    pub next: Option<Key>,
}

/// A key from the system's random source.
pub(crate) fn random_key() -> Result<Key, VaultError> {
    let mut key = Zeroizing::new([0; 32]);
    slots::fill(&mut *key)?;
    Ok(key)
}

impl Keys {
    pub fn generate() -> Result<Self, VaultError> {
        Ok(Self { vault: random_key()?, depot: random_key()?, next: None })
    }

    fn parse(payload: &[u8]) -> Result<Self, VaultError> {
        if payload.first() != Some(&VERSION) {
            return Err(VaultError::NewerVersion);
        }
        let mut reader = Reader::new(&payload[1..]);
        let mut key = || -> Result<Key, VaultError> { Ok(Zeroizing::new(reader.array("key")?)) };
        let (vault, depot) = (key()?, key()?);
        let changing = reader.u8("change")? == 1;
        let next = Zeroizing::new(reader.array("key")?);
        Ok(Self { vault, depot, next: changing.then_some(next) })
    }
}

/// The identity in a slot, to which the pair's key file is encrypted.
pub(crate) struct Kek(x25519::Identity);

impl Kek {
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Its text, [`IDENTITY_LEN`] bytes.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    pub fn parse(text: &[u8]) -> Result<Self, VaultError> {
        let text = std::str::from_utf8(text).ok();
        let identity = text.and_then(|text| x25519::Identity::from_str(text).ok());
        identity.map(Self).ok_or_else(|| VaultError::damaged("the identity in a key slot does not read back"))
    }

    /// The bytes of a key file.
    pub fn wrap(&self, keys: &Keys) -> Result<Vec<u8>, VaultError> {
        let failed = || VaultError::damaged("a key file could not be made");
        let recipient = self.0.to_public();
        let encryptor = age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            .map_err(|_| failed())?;
        let mut out = Vec::with_capacity(KEY_FILE_LEN);
        let written = Cell::new(0);
        let mut writer =
            encryptor.wrap_output(Counting { out: &mut out, written: &written }).map_err(|_| failed())?;
        // What stands there now is the header and the nonce.
        let room = KEY_FILE_LEN.checked_sub(written.get() + TAG_LEN).filter(|room| *room >= USED);
        let mut payload = Zeroizing::new(vec![0; room.ok_or_else(failed)?]);
        payload[0] = VERSION;
        payload[1..33].copy_from_slice(&*keys.vault);
        payload[33..65].copy_from_slice(&*keys.depot);
        if let Some(next) = &keys.next {
            payload[65] = 1;
            payload[66..98].copy_from_slice(&**next);
        }
        writer.write_all(&payload).and_then(|()| writer.finish()).map_err(|_| failed())?;
        Ok(out)
    }

    /// The keys in a key file.
    pub fn unwrap(&self, file: &[u8]) -> Result<Keys, VaultError> {
        let damaged = || VaultError::damaged("a key file does not read back");
        if file.len() != KEY_FILE_LEN {
            return Err(VaultError::damaged("a key file has the wrong length"));
        }
        let decryptor = age::Decryptor::new(file).map_err(|_| damaged())?;
        let mut reader =
            decryptor.decrypt(iter::once(&self.0 as &dyn age::Identity)).map_err(|_| damaged())?;
        let mut payload = Zeroizing::new(Vec::with_capacity(KEY_FILE_LEN));
        reader.read_to_end(&mut payload).map_err(|_| damaged())?;
        Keys::parse(&payload)
    }

    /// Writes the key file of this pair.
    pub fn write(&self, layout: &Layout, slot: usize, keys: &Keys) -> Result<(), VaultError> {
        durable::replace(layout, &layout.keys(slot), &self.wrap(keys)?)
    }

    /// Reads the key file of this pair.
    pub fn read(&self, layout: &Layout, slot: usize) -> Result<Keys, VaultError> {
        let path = layout.keys(slot);
        let doing = "the vault's key file could not be read";
        let len = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::damaged("its key file is missing"));
            }
            found => found.map_err(VaultError::io(doing))?.len(),
        };
        if len != KEY_FILE_LEN as u64 {
            return Err(VaultError::damaged("a key file has the wrong length"));
        }
        self.unwrap(&fs::read(&path).map_err(VaultError::io(doing))?)
    }
}

/// Writes the key files of a new vault: the real pair's, and an equal one of keys to nothing under an
/// identity that nobody keeps.
pub(crate) fn write_both(layout: &Layout, slot: usize, kek: &Kek, keys: &Keys) -> Result<(), VaultError> {
    Kek::generate().write(layout, 1 - slot, &Keys::generate()?)?;
    kek.write(layout, slot, keys)
}

struct Counting<'a> {
    out: &'a mut Vec<u8>,
    written: &'a Cell<usize>,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        self.written.set(self.out.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_every_key_file_has_one_size() {
        let kek = Kek::generate();
        assert_eq!(kek.to_text().len(), IDENTITY_LEN);
        let mut keys = Keys::generate().unwrap();
        for changing in [false, true].repeat(50) {
            keys.next = changing.then(|| random_key().unwrap());
            let file = kek.wrap(&keys).unwrap();
            assert_eq!(file.len(), KEY_FILE_LEN);
            let again = Kek::parse(kek.to_text().as_bytes()).unwrap().unwrap(&file).unwrap();
            assert_eq!(
                (again.vault, again.depot, again.next),
                (keys.vault.clone(), keys.depot.clone(), keys.next.clone())
            );
        }
    }

    #[test]
    fn another_identity_or_a_damaged_file_opens_nothing_and_panics_never() {
        let kek = Kek::generate();
        let file = kek.wrap(&Keys::generate().unwrap()).unwrap();
        assert!(Kek::generate().unwrap(&file).is_err());
        for at in (0..file.len()).step_by(7) {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(kek.unwrap(&damaged).is_err(), "byte {at}");
            assert!(kek.unwrap(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(Kek::parse(b"AGE-SECRET-KEY-1").is_err());
    }
}
