//! Key slots: the passphrase wraps the vault key and the depot key.
//!
//! The file holds two slots of the same size, each a standard age file with an scrypt stanza
//! (age specification, "scrypt recipient") around a payload of fixed length. One is real; the other
//! is, until a duress passphrase is set, the same construction under a random passphrase that
//! nobody knows. Both are always tried, side by side, so that the time tells nothing.

use std::io::{Read, Write};
use std::iter;

use age::scrypt;
use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::passphrase::Passphrase;

/// Lowest scrypt work factor (log2 of N) that a vault accepts: 32 MiB and about 0.1 s a guess.
pub const WORK_FACTOR_MIN: u8 = 15;
/// Highest: 512 MiB and about 2 s a guess.
pub const WORK_FACTOR_MAX: u8 = 19;
/// What is chosen automatically lies between these: an old laptop must be able to open both slots
/// at once (2 × 256 MiB at 18).
const WORK_FACTOR_AUTOMATIC: std::ops::RangeInclusive<u8> = 16..=18;

const PAYLOAD_LEN: usize = 256;
const VERSION: u8 = 1;

/// The random keys of one pair of stores.
pub(crate) struct Keys {
    pub vault: Zeroizing<[u8; 32]>,
    pub depot: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub fn generate() -> Result<Self, VaultError> {
        let mut keys = Self { vault: Zeroizing::new([0; 32]), depot: Zeroizing::new([0; 32]) };
        fill(&mut *keys.vault)?;
        fill(&mut *keys.depot)?;
        Ok(keys)
    }

    fn to_payload(&self) -> Zeroizing<[u8; PAYLOAD_LEN]> {
        let mut payload = Zeroizing::new([0; PAYLOAD_LEN]);
        payload[0] = VERSION;
        payload[1..33].copy_from_slice(&*self.vault);
        payload[33..65].copy_from_slice(&*self.depot);
        payload
    }

    fn from_payload(payload: &[u8]) -> Result<Self, VaultError> {
        if payload.len() != PAYLOAD_LEN {
            return Err(VaultError::damaged("a key slot has the wrong length"));
        }
        if payload[0] != VERSION {
            return Err(VaultError::NewerVersion);
        }
        let mut keys = Self { vault: Zeroizing::new([0; 32]), depot: Zeroizing::new([0; 32]) };
        keys.vault.copy_from_slice(&payload[1..33]);
        keys.depot.copy_from_slice(&payload[33..65]);
        Ok(keys)
    }
}

/// Fills a buffer from the system's random source.
pub(crate) fn fill(buffer: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(buffer).map_err(|_| VaultError::Randomness)
}

/// The bytes of the slot file: `keys` wrapped in slot number `real`, filler in the other.
pub(crate) fn write_slots(
    keys: &Keys,
    passphrase: &Passphrase,
    work_factor: Option<u8>,
    real: usize,
) -> Result<Vec<u8>, VaultError> {
    let work_factor = match work_factor {
        None => automatic_work_factor(),
        Some(chosen) if (WORK_FACTOR_MIN..=WORK_FACTOR_MAX).contains(&chosen) => chosen,
        Some(_) => return Err(VaultError::WorkFactor),
    };
    let real_slot = wrap(&*keys.to_payload(), passphrase.to_secret(), work_factor)?;
    let mut unknown = [0; 32];
    fill(&mut unknown)?;
    let filler_passphrase = SecretString::from(fieldbook_proto::encode_hex(&unknown));
    let filler = wrap(&*Keys::generate()?.to_payload(), filler_passphrase, work_factor)?;
    Ok(if real == 0 { [real_slot, filler] } else { [filler, real_slot] }.concat())
}

/// Tries both slots; which one opened, and its keys.
pub(crate) fn open_slots(file: &[u8], passphrase: &Passphrase) -> Result<(usize, Keys), VaultError> {
    if file.is_empty() || !file.len().is_multiple_of(2) || file.len() > 8 * 1024 {
        return Err(VaultError::damaged("the key slots have an impossible size"));
    }
    let (first, second) = file.split_at(file.len() / 2);
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| unwrap(second, passphrase));
        (unwrap(first, passphrase), second.join().unwrap_or(Err(VaultError::WrongPassphrase)))
    });
    match (first, second) {
        (Ok(keys), _) => Ok((0, keys)),
        (_, Ok(keys)) => Ok((1, keys)),
        // One damaged slot must not hide that the other only refused the passphrase.
        (Err(VaultError::WrongPassphrase), _) | (_, Err(VaultError::WrongPassphrase)) => {
            Err(VaultError::WrongPassphrase)
        }
        (Err(error), _) => Err(error),
    }
}

fn wrap(payload: &[u8], passphrase: SecretString, work_factor: u8) -> Result<Vec<u8>, VaultError> {
    let mut recipient = scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(work_factor);
    let failed = |_| VaultError::damaged("a key slot could not be written");
    let encryptor = age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
        .map_err(|_| VaultError::damaged("a key slot could not be written"))?;
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).map_err(failed)?;
    writer.write_all(payload).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}

fn unwrap(slot: &[u8], passphrase: &Passphrase) -> Result<Keys, VaultError> {
    let damaged = || VaultError::damaged("a key slot does not read back");
    let mut identity = scrypt::Identity::new(passphrase.to_secret());
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let decryptor = age::Decryptor::new(slot).map_err(|_| damaged())?;
    let mut reader = match decryptor.decrypt(iter::once(&identity as &dyn age::Identity)) {
        Ok(reader) => reader,
        Err(age::DecryptError::DecryptionFailed | age::DecryptError::NoMatchingKeys) => {
            return Err(VaultError::WrongPassphrase);
        }
        Err(_) => return Err(damaged()),
    };
    let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD_LEN + 1));
    reader.by_ref().take(PAYLOAD_LEN as u64 + 1).read_to_end(&mut payload).map_err(|_| damaged())?;
    Keys::from_payload(&payload)
}

/// About one second on this machine, within [`WORK_FACTOR_AUTOMATIC`].
fn automatic_work_factor() -> u8 {
    let probe = 13;
    let mut recipient = scrypt::Recipient::new(SecretString::from("calibration"));
    recipient.set_work_factor(probe);
    let start = std::time::Instant::now();
    let _ = age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient));
    let mut estimate = start.elapsed();
    let mut chosen = probe;
    while estimate.as_millis() < 700 && chosen < *WORK_FACTOR_AUTOMATIC.end() {
        estimate *= 2;
        chosen += 1;
    }
    chosen.max(*WORK_FACTOR_AUTOMATIC.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passphrase_opens_its_slot_and_another_does_not() {
        for real in [0, 1] {
            let keys = Keys::generate().unwrap();
            let passphrase = Passphrase::new("correct horse".into());
            let file = write_slots(&keys, &passphrase, Some(WORK_FACTOR_MIN), real).unwrap();
            let (slot, opened) = open_slots(&file, &passphrase).unwrap();
            assert_eq!((slot, *opened.vault, *opened.depot), (real, *keys.vault, *keys.depot));
            let wrong = Passphrase::new("correct horsf".into());
            assert!(matches!(open_slots(&file, &wrong), Err(VaultError::WrongPassphrase)));
        }
    }

    #[test]
    fn both_slots_have_one_size_whatever_the_passphrase() {
        let keys = Keys::generate().unwrap();
        let sizes: Vec<usize> = ["a", "a much longer passphrase, of many words"]
            .into_iter()
            .map(|text| {
                let passphrase = Passphrase::new(text.into());
                write_slots(&keys, &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap().len()
            })
            .collect();
        assert_eq!(sizes[0], sizes[1]);
        assert_eq!(sizes[0] % 2, 0);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic() {
        let keys = Keys::generate().unwrap();
        let passphrase = Passphrase::new("p".into());
        let file = write_slots(&keys, &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap();
        for cut in [0, 1, 7, file.len() / 2, file.len() - 2] {
            assert!(open_slots(&file[..cut], &passphrase).is_err());
        }
        assert!(open_slots(&vec![0xff; 9000], &passphrase).is_err());
    }
}
