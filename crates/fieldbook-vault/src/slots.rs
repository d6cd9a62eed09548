//! Key slots: the passphrase wraps the identity that opens the key file of a pair of stores.
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
use crate::keyfile::{IDENTITY_LEN, Kek, Keys};
use crate::passphrase::Passphrase;

/// Lowest scrypt work factor (log2 of N) that a vault accepts: 32 MiB and about 0.1 s a guess.
pub const WORK_FACTOR_MIN: u8 = 15;
/// Highest: 512 MiB and about 2 s a guess.
pub const WORK_FACTOR_MAX: u8 = 19;
/// What is chosen automatically lies between these: an old laptop must be able to open both slots
/// at once (2 × 256 MiB at 18).
const WORK_FACTOR_AUTOMATIC: std::ops::RangeInclusive<u8> = 16..=18;

const PAYLOAD_LEN: usize = 256;
const VERSION: u8 = 2;

/// What a slot that opened holds.
pub(crate) enum Held {
    /// The identity to which the pair's key file is encrypted.
    Identity(Kek),
    /// Version 1: the keys themselves, and the work factor that their owner chose.
    Keys(Keys, u8),
}

fn payload_of(kek: &Kek) -> Zeroizing<[u8; PAYLOAD_LEN]> {
    let mut payload = Zeroizing::new([0; PAYLOAD_LEN]);
    payload[0] = VERSION;
    payload[1..=IDENTITY_LEN].copy_from_slice(kek.to_text().as_bytes());
    payload
}

fn parse_payload(payload: &[u8], work_factor: u8) -> Result<Held, VaultError> {
    if payload.len() != PAYLOAD_LEN {
        return Err(VaultError::damaged("a key slot has the wrong length"));
    }
    match payload[0] {
        1 => {
            let mut keys = Keys::generate()?;
            keys.vault.copy_from_slice(&payload[1..33]);
            keys.depot.copy_from_slice(&payload[33..65]);
            Ok(Held::Keys(keys, work_factor))
        }
        VERSION => Ok(Held::Identity(Kek::parse(&payload[1..=IDENTITY_LEN])?)),
        _ => Err(VaultError::NewerVersion),
    }
}

/// Fills a buffer from the system's random source.
pub(crate) fn fill(buffer: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(buffer).map_err(|_| VaultError::Randomness)
}

/// The bytes of the slot file: `kek` wrapped in slot number `real`, filler in the other.
pub(crate) fn write_slots(
    kek: &Kek,
    passphrase: &Passphrase,
    work_factor: Option<u8>,
    real: usize,
) -> Result<Vec<u8>, VaultError> {
    let work_factor = match work_factor {
        None => automatic_work_factor(),
        Some(chosen) if (WORK_FACTOR_MIN..=WORK_FACTOR_MAX).contains(&chosen) => chosen,
        Some(_) => return Err(VaultError::WorkFactor),
    };
    let real_slot = wrap(&*payload_of(kek), passphrase.to_secret(), work_factor)?;
    let mut unknown = [0; 32];
    fill(&mut unknown)?;
    let filler_passphrase = SecretString::from(fieldbook_proto::encode_hex(&unknown));
    let filler = wrap(&*payload_of(&Kek::generate()), filler_passphrase, work_factor)?;
    Ok(if real == 0 { [real_slot, filler] } else { [filler, real_slot] }.concat())
}

/// Tries both slots; which one opened, and what it holds.
pub(crate) fn open_slots(file: &[u8], passphrase: &Passphrase) -> Result<(usize, Held), VaultError> {
    if file.is_empty() || !file.len().is_multiple_of(2) || file.len() > 8 * 1024 {
        return Err(VaultError::damaged("the key slots have an impossible size"));
    }
    let (first, second) = file.split_at(file.len() / 2);
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| unwrap(second, passphrase));
        (unwrap(first, passphrase), second.join().unwrap_or(Err(VaultError::WrongPassphrase)))
    });
    match (first, second) {
        (Ok(held), _) => Ok((0, held)),
        (_, Ok(held)) => Ok((1, held)),
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

fn unwrap(slot: &[u8], passphrase: &Passphrase) -> Result<Held, VaultError> {
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
    parse_payload(&payload, work_factor_of(slot))
}

/// The work factor in the header of a slot that opened: `-> scrypt SALT FACTOR`.
fn work_factor_of(slot: &[u8]) -> u8 {
    let mut lines = slot.split(|byte| *byte == b'\n');
    let stanza = lines.find_map(|line| line.strip_prefix(b"-> scrypt ")).unwrap_or_default();
    let factor = stanza.split(|byte| *byte == b' ').nth(1).and_then(|text| std::str::from_utf8(text).ok());
    let factor = factor.and_then(|text| text.parse().ok()).unwrap_or(*WORK_FACTOR_AUTOMATIC.start());
    factor.clamp(WORK_FACTOR_MIN, WORK_FACTOR_MAX)
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
            let kek = Kek::generate();
            let passphrase = Passphrase::new("correct horse".into());
            let file = write_slots(&kek, &passphrase, Some(WORK_FACTOR_MIN), real).unwrap();
            let (slot, held) = open_slots(&file, &passphrase).unwrap();
            let Held::Identity(opened) = held else { panic!("an old slot") };
            assert_eq!((slot, opened.to_text()), (real, kek.to_text()));
            let wrong = Passphrase::new("correct horsf".into());
            assert!(matches!(open_slots(&file, &wrong), Err(VaultError::WrongPassphrase)));
        }
    }

    #[test]
    fn both_slots_have_one_size_whatever_the_passphrase() {
        let kek = Kek::generate();
        let sizes: Vec<usize> = ["a", "a much longer passphrase, of many words"]
            .into_iter()
            .map(|text| {
                let passphrase = Passphrase::new(text.into());
                write_slots(&kek, &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap().len()
            })
            .collect();
        assert_eq!(sizes[0], sizes[1]);
        assert_eq!(sizes[0] % 2, 0);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic() {
        let kek = Kek::generate();
        let passphrase = Passphrase::new("p".into());
        let file = write_slots(&kek, &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap();
        for cut in [0, 1, 7, file.len() / 2, file.len() - 2] {
            assert!(open_slots(&file[..cut], &passphrase).is_err());
        }
        assert!(open_slots(&vec![0xff; 9000], &passphrase).is_err());
    }

    #[test]
    fn a_slot_of_version_1_gives_its_keys_and_its_work_factor() {
        let mut payload = [0; PAYLOAD_LEN];
        payload[0] = 1;
        payload[1..33].fill(7);
        payload[33..65].fill(8);
        for factor in [WORK_FACTOR_MIN, WORK_FACTOR_MIN + 1] {
            let slot = wrap(&payload, SecretString::from("p"), factor).unwrap();
            let Held::Keys(keys, found) = unwrap(&slot, &Passphrase::new("p".into())).unwrap() else {
                panic!("not version 1")
            };
            assert_eq!((*keys.vault, *keys.depot, found), ([7; 32], [8; 32], factor));
            assert!(keys.next.is_none());
        }
        payload[0] = VERSION + 1;
        let slot = wrap(&payload, SecretString::from("p"), WORK_FACTOR_MIN).unwrap();
        assert!(matches!(unwrap(&slot, &Passphrase::new("p".into())), Err(VaultError::NewerVersion)));
    }
}
