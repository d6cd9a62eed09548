//! Key slots: the passphrase wraps the identity that opens the key file of a pair of stores.
//!
//! The file holds two slots of the same size, each a standard age file with an scrypt stanza
//! (age specification, "scrypt recipient") around a payload of fixed length. One is real; the other
//! is, until a duress passphrase is set, filler that nothing opens and nobody can tell from a slot.
//! Both are always tried, side by side, so that the time tells nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::iter;
use std::time::{Duration, Instant};

use age::scrypt;
use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::keyfile::{IDENTITY_LEN, Kek, Keys};
use crate::layout::Layout;
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
/// After the identity: 1 if opening this slot destroys the other pair's keys.
const DESTROYS_AT: usize = 1 + IDENTITY_LEN;
/// The cost at which filler is made: nobody will ever open it, so that it need not be paid.
const FILLER_FACTOR: u8 = 1;

/// What a slot that opened holds.
pub(crate) enum Held {
    /// The identity to which the pair's key file is encrypted.
    Identity {
        /// The identity.
        kek: Kek,
        /// Opening this slot destroys the other pair's keys.
        destroys: bool,
    },
    /// Version 1: the keys themselves, and the work factor that their owner chose.
    Keys(Keys, u8),
}

fn payload_of(kek: &Kek, destroys: bool) -> Zeroizing<[u8; PAYLOAD_LEN]> {
    let mut payload = Zeroizing::new([0; PAYLOAD_LEN]);
    payload[0] = VERSION;
    payload[1..=IDENTITY_LEN].copy_from_slice(kek.to_text().as_bytes());
    payload[DESTROYS_AT] = u8::from(destroys);
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
        VERSION => Ok(Held::Identity {
            kek: Kek::parse(&payload[1..=IDENTITY_LEN])?,
            destroys: payload[DESTROYS_AT] == 1,
        }),
        _ => Err(VaultError::NewerVersion),
    }
}

/// Fills a buffer from the system's random source.
pub(crate) fn fill(buffer: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(buffer).map_err(|_| VaultError::Randomness)
}

/// The slot file of a vault.
pub(crate) fn read(layout: &Layout) -> Result<Vec<u8>, VaultError> {
    let mut slots = Vec::new();
    match File::open(layout.slots()) {
        Ok(file) => file
            .take(64 * 1024)
            .read_to_end(&mut slots)
            .map_err(VaultError::io("the key slots could not be read"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(VaultError::NoVault),
        Err(error) => return Err(VaultError::io("the key slots could not be read")(error)),
    };
    Ok(slots)
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
    let real_slot = wrap(&*payload_of(kek, false), passphrase.to_secret(), work_factor)?;
    let filler = filler_like(&real_slot)?;
    Ok(if real == 0 { [real_slot, filler] } else { [filler, real_slot] }.concat())
}

/// The bytes of the slot file with slot number `slot` made anew, at the cost that it had, and the other one
/// as it is.
pub(crate) fn rewrite_slot(
    file: &[u8],
    slot: usize,
    kek: &Kek,
    destroys: bool,
    passphrase: &Passphrase,
) -> Result<Vec<u8>, VaultError> {
    let (first, second) = halves(file)?;
    let old = if slot == 0 { first } else { second };
    let new = wrap(&*payload_of(kek, destroys), passphrase.to_secret(), work_factor_of(old))?;
    if new.len() != old.len() {
        return Err(VaultError::damaged("a key slot has the wrong length"));
    }
    Ok(if slot == 0 { [&new, second] } else { [first, &new] }.concat())
}

/// The bytes of the slot file with filler in slot number `slot`, and the other one as it is.
pub(crate) fn with_filler(file: &[u8], slot: usize) -> Result<Vec<u8>, VaultError> {
    let (first, second) = halves(file)?;
    Ok(if slot == 0 {
        [&filler_like(second)?[..], second].concat()
    } else {
        [first, &filler_like(first)?[..]].concat()
    })
}

/// How each half of a slot file begins once the vault's keys were destroyed on purpose. No slot begins so.
const DESTROYED: &[u8; 16] = b"keys destroyed.\n";

/// What takes the place of a slot file of this length, so that nothing opens any more and everybody can know: whoever was
/// cut off after this write can go on without a passphrase. The rest is noise.
pub(crate) fn destroyed(len: usize) -> Result<Vec<u8>, VaultError> {
    let mut file = vec![0; len.max(2 * DESTROYED.len())];
    fill(&mut file)?;
    for at in [0, file.len() / 2] {
        file[at..at + DESTROYED.len()].copy_from_slice(DESTROYED);
    }
    Ok(file)
}

/// Whether a slot file says that its vault's keys were destroyed. One half is enough: the disk may have lost its power
/// between the two.
pub(crate) fn are_destroyed(file: &[u8]) -> bool {
    file.starts_with(DESTROYED) || file[file.len() / 2..].starts_with(DESTROYED)
}

/// The two slots in a slot file.
pub(crate) fn halves(file: &[u8]) -> Result<(&[u8], &[u8]), VaultError> {
    if file.is_empty() || !file.len().is_multiple_of(2) || file.len() > 8 * 1024 {
        return Err(VaultError::damaged("the key slots have an impossible size"));
    }
    Ok(file.split_at(file.len() / 2))
}

/// What nobody can tell from the slot that is given, and nothing opens: a slot under a random passphrase that is
/// dropped, whose header claims the same cost. Without the passphrase a header that says one cost and a key
/// that was wrapped at another are both random bytes.
fn filler_like(slot: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut unknown = Zeroizing::new([0; 32]);
    fill(&mut *unknown)?;
    let passphrase = SecretString::from(fieldbook_proto::encode_hex(&*unknown));
    let cheap = wrap(&*payload_of(&Kek::generate(), false), passphrase, FILLER_FACTOR)?;
    let stanza = cheap.windows(STANZA.len()).position(|window| window == STANZA);
    let end = stanza.and_then(|at| Some(at + cheap[at..].iter().position(|byte| *byte == b'\n')?));
    let (Some(at), Some(end)) = (stanza, end) else {
        return Err(VaultError::damaged("a key slot could not be written"));
    };
    let salt = cheap[at + STANZA.len()..end].split(|byte| *byte == b' ').next().unwrap_or_default();
    let factor = work_factor_of(slot).to_string();
    let filler = [&cheap[..at], STANZA, salt, b" ", factor.as_bytes(), &cheap[end..]].concat();
    if filler.len() != slot.len() {
        return Err(VaultError::damaged("a key slot has the wrong length"));
    }
    Ok(filler)
}

/// A slot that opened.
pub(crate) struct Opened {
    /// Which of the two.
    pub slot: usize,
    /// What it holds.
    pub held: Held,
    /// What was meant by what was typed: whoever makes the slot anew must take this.
    pub meant: Passphrase,
}

/// Tries both slots. If neither opens, the same keys are read under other keyboard layouts, which takes as long again for
/// each.
pub(crate) fn open_slots(file: &[u8], passphrase: &Passphrase) -> Result<Opened, VaultError> {
    if are_destroyed(file) {
        return Err(VaultError::KeysDestroyed);
    }
    let mut refused = VaultError::WrongPassphrase;
    for (n, meant) in passphrase.readings().into_iter().enumerate() {
        match open_as_typed(file, &meant) {
            Err(error) if n == 0 => refused = error,
            Err(_) => {}
            Ok((slot, held)) => return Ok(Opened { slot, held, meant }),
        }
        if !matches!(refused, VaultError::WrongPassphrase) {
            break;
        }
    }
    Err(refused)
}

fn open_as_typed(file: &[u8], passphrase: &Passphrase) -> Result<(usize, Held), VaultError> {
    let (first, second) = halves(file)?;
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

/// How the scrypt stanza of a header begins.
const STANZA: &[u8] = b"-> scrypt ";

/// The work factor in the header of a slot: `-> scrypt SALT FACTOR`.
fn work_factor_of(slot: &[u8]) -> u8 {
    let mut lines = slot.split(|byte| *byte == b'\n');
    let stanza = lines.find_map(|line| line.strip_prefix(STANZA)).unwrap_or_default();
    let factor = stanza.split(|byte| *byte == b' ').nth(1).and_then(|text| std::str::from_utf8(text).ok());
    let factor = factor.and_then(|text| text.parse().ok()).unwrap_or(*WORK_FACTOR_AUTOMATIC.start());
    factor.clamp(WORK_FACTOR_MIN, WORK_FACTOR_MAX)
}

/// The work factor whose time is measured: 8 MiB, quick on any machine.
const PROBE_FACTOR: u8 = 13;
/// A guess is to take at least this long: no step between two factors comes nearer to a second on both sides, since each
/// doubles the time.
const GUESS_LEAST: Duration = Duration::from_millis(700);
/// The quickest of so many probes counts: whatever else the machine had to do makes a probe slow, and a vault weak.
const PROBES: usize = 3;

/// About one second on this machine, within [`WORK_FACTOR_AUTOMATIC`].
fn automatic_work_factor() -> u8 {
    let probe = || {
        let mut recipient = scrypt::Recipient::new(SecretString::from("calibration"));
        recipient.set_work_factor(PROBE_FACTOR);
        let start = Instant::now();
        let _ = age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient));
        start.elapsed()
    };
    work_factor_for((0..PROBES).map(|_| probe()).min().unwrap_or_default())
}

/// The work factor for a machine on which [`PROBE_FACTOR`] takes so long: the least that takes [`GUESS_LEAST`], as far as that
/// lies within [`WORK_FACTOR_AUTOMATIC`]. Each step takes twice as long as the one before.
fn work_factor_for(probe: Duration) -> u8 {
    let takes = |factor: u8| probe.saturating_mul(1 << (factor - PROBE_FACTOR));
    let most = *WORK_FACTOR_AUTOMATIC.end();
    WORK_FACTOR_AUTOMATIC.into_iter().find(|factor| takes(*factor) >= GUESS_LEAST).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passphrase::Board;

    #[test]
    fn the_cost_is_about_a_second_where_the_machine_is_neither_very_fast_nor_very_slow() {
        let micros = Duration::from_micros;
        let takes = |probe: Duration, factor: u8| probe * (1 << (factor - PROBE_FACTOR));
        let mut chosen = Vec::new();
        for probe in (1..1_000).map(|n| micros(n * 250)) {
            let factor = work_factor_for(probe);
            let second = takes(probe, factor);
            match factor {
                // The floor: a slower machine waits longer.
                16 => assert!(second >= GUESS_LEAST, "{probe:?}"),
                17 => assert!((GUESS_LEAST..2 * GUESS_LEAST).contains(&second), "{probe:?}: {second:?}"),
                // The ceiling: on a faster machine it takes less than that.
                18 => assert!(second < 2 * GUESS_LEAST, "{probe:?}: {second:?}"),
                other => panic!("{probe:?}: {other}"),
            }
            chosen.push(factor);
        }
        assert!(chosen.is_sorted_by(|a, b| a >= b), "a slower machine never pays more");
        for (probe, factor) in [
            (Duration::ZERO, 18),
            (micros(43_749), 18),
            (micros(43_750), 17),
            (micros(87_499), 17),
            (micros(87_500), 16),
            (Duration::from_secs(60), 16),
            (Duration::MAX, 16),
        ] {
            assert_eq!(work_factor_for(probe), factor, "{probe:?}");
        }
        // From 22 to 175 ms for the probe it is between 0.7 and 1.4 seconds, wherever that is.
        for probe in (22..175).map(Duration::from_millis) {
            let second = takes(probe, work_factor_for(probe));
            assert!((GUESS_LEAST..2 * GUESS_LEAST).contains(&second), "{probe:?}: {second:?}");
        }
    }

    #[test]
    fn what_is_measured_here_leads_to_a_cost_that_every_version_opens() {
        let factor = automatic_work_factor();
        assert!(WORK_FACTOR_AUTOMATIC.contains(&factor));
        assert!((WORK_FACTOR_MIN..=WORK_FACTOR_MAX).contains(&factor));
    }

    #[test]
    fn the_passphrase_opens_its_slot_and_another_does_not() {
        for real in [0, 1] {
            let kek = Kek::generate();
            let passphrase = Passphrase::new("correct horse".into());
            let file = write_slots(&kek, &passphrase, Some(WORK_FACTOR_MIN), real).unwrap();
            let Opened { slot, held, .. } = open_slots(&file, &passphrase).unwrap();
            let Held::Identity { kek: opened, destroys } = held else { panic!("an old slot") };
            assert_eq!((slot, opened.to_text(), destroys), (real, kek.to_text(), false));
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

    /// What a slot shows to whoever has no passphrase: everything but the random parts.
    fn shape(slot: &[u8]) -> (usize, Vec<usize>, u8) {
        let header = slot.split(|byte| *byte == b'\n').take(4).map(<[u8]>::len).collect();
        (slot.len(), header, work_factor_of(slot))
    }

    #[test]
    fn filler_looks_like_a_slot_and_never_twice_the_same() {
        let passphrase = Passphrase::new("p".into());
        for factor in [WORK_FACTOR_MIN, WORK_FACTOR_MIN + 1] {
            let file = write_slots(&Kek::generate(), &passphrase, Some(factor), 1).unwrap();
            let (filler, real) = halves(&file).unwrap();
            assert_eq!(shape(filler), shape(real));
            assert_eq!(work_factor_of(filler), factor);
            let destroyed = with_filler(&file, 1).unwrap();
            let (same, other) = halves(&destroyed).unwrap();
            assert_eq!((same, shape(other)), (filler, shape(real)));
            assert!(matches!(open_slots(&destroyed, &passphrase), Err(VaultError::WrongPassphrase)));
            assert!(!are_destroyed(&file) && !are_destroyed(&destroyed));
        }
    }

    #[test]
    fn destroyed_slots_say_so_also_when_half_of_them_was_written() {
        let passphrase = Passphrase::new("p".into());
        let file = write_slots(&Kek::generate(), &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap();
        let gone = destroyed(file.len()).unwrap();
        assert!(gone.len() == file.len() && gone != destroyed(file.len()).unwrap());
        let half = file.len() / 2;
        for torn in
            [&gone[..], &[&gone[..half], &file[half..]].concat(), &[&file[..half], &gone[half..]].concat()]
        {
            assert!(are_destroyed(torn));
            assert!(matches!(open_slots(torn, &passphrase), Err(VaultError::KeysDestroyed)));
        }
        for len in [0, 1, 15, 31] {
            assert!(are_destroyed(&destroyed(len).unwrap()) && !are_destroyed(&vec![0; len]));
        }
    }

    #[test]
    fn the_right_keys_under_the_wrong_layout_open_it() {
        let passphrase = Passphrase::new("зебра каноэ фонарь".into());
        let file = write_slots(&Kek::generate(), &passphrase, Some(WORK_FACTOR_MIN), 0).unwrap();
        let typed = crate::passphrase::retype("зебра каноэ фонарь", Board::Russian, Board::Us).unwrap();
        assert!(typed.is_ascii());
        let opened = open_slots(&file, &Passphrase::new(typed.to_string())).unwrap();
        assert_eq!((opened.slot, opened.meant.as_bytes()), (0, passphrase.as_bytes()));
    }

    #[test]
    fn a_slot_is_made_anew_beside_the_other_one() {
        let (own, duress) = (Passphrase::new("own".into()), Passphrase::new("duress".into()));
        let (kek, decoy) = (Kek::generate(), Kek::generate());
        let file = write_slots(&kek, &own, Some(WORK_FACTOR_MIN), 0).unwrap();
        let both = rewrite_slot(&file, 1, &decoy, true, &duress).unwrap();
        assert_eq!(both[..file.len() / 2], file[..file.len() / 2]);
        assert_eq!(shape(&both[..file.len() / 2]), shape(&both[file.len() / 2..]));
        for (passphrase, slot, identity, kills) in [(&own, 0, &kek, false), (&duress, 1, &decoy, true)] {
            let Opened { slot: opened, held, .. } = open_slots(&both, passphrase).unwrap();
            let Held::Identity { kek, destroys } = held else { panic!("an old slot") };
            assert_eq!((opened, destroys, kek.to_text()), (slot, kills, identity.to_text()));
        }
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
