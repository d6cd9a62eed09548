//! The salts that came, so that what was recorded and is sent again gets no answer: not at once, not later, and
//! not after this device's program was started anew.
//!
//! While the process runs it knows each exactly. What it knew is kept for the next process in a table of fixed
//! size, full of random bytes from the beginning: whoever finds it cannot tell how many came, or when, and
//! finds one salt only who has it already. Where memory ends the time in a salt helps: what is older than what
//! was forgotten is not taken, and where what lies far in the future was forgotten, nothing so far in the future.
//!
//! What came under the newest secret is remembered apart: a device that was removed knows earlier ones only, and what it
//! floods memory with drives out nothing that others need.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::boxes::Salt;

/// By how much the sender's clock may differ from this one's, in seconds: a week. Clocks are wrong in the field, by a
/// time zone or a day; memory, not the clock, is what stops replays. Farther off, only TCP is left.
pub const WINDOW_S: u32 = 7 * 24 * 3600;
/// Salts that are known exactly, some 5 MiB. A relay that is dialled once a second fills it in three days.
const EXACT_MAX: usize = 1 << 18;
/// However many came: who began so many seconds ago, or later, is taken.
const FRESH_S: u32 = 3600;

const KEY: usize = 32;
const MARK: usize = 8;
const MARKS: usize = 4_092;
/// Bytes of the table, and of the randomness that a new one is made of.
pub const REMEMBERED_LEN: usize = KEY + MARKS * MARK;

/// Under which of the team's secrets a salt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    /// The newest that this device knows.
    Newest,
    /// One before.
    Earlier,
}

/// Those that are known exactly.
#[derive(Default)]
struct Memory {
    salts: BTreeSet<Salt>,
    /// Of this time, or earlier, not all are known any more.
    floor_s: Option<u32>,
    /// Nor of this time, or later.
    ceiling_s: Option<u32>,
}

impl Memory {
    fn is_forgotten(&self, salt: Salt) -> bool {
        let time_s = salt.time_s();
        self.floor_s.is_some_and(|floor_s| time_s <= floor_s)
            || self.ceiling_s.is_some_and(|ceiling_s| time_s >= ceiling_s)
    }

    fn note(&mut self, salt: Salt, max: usize, now_s: u32) {
        self.salts.insert(salt);
        if self.salts.len() <= max {
            return;
        }
        // No clock that is nearly right is that far ahead, so that it costs nobody else anything.
        let far_s = now_s.saturating_add(WINDOW_S);
        if let Some(last) = self.salts.last().filter(|last| last.time_s() > far_s).copied() {
            self.salts.remove(&last);
            let ceiling_s = self.ceiling_s.get_or_insert(last.time_s());
            *ceiling_s = last.time_s().min(*ceiling_s);
        } else if let Some(first) = self.salts.pop_first() {
            let floor_s = self.floor_s.get_or_insert(0);
            *floor_s = first.time_s().min(now_s.saturating_sub(FRESH_S)).max(*floor_s);
        }
    }
}

/// All of them.
pub(super) struct Seen {
    newest: Memory,
    earlier: Memory,
    max: usize,
    table: Zeroizing<Vec<u8>>,
    marks: BTreeSet<[u8; MARK]>,
    changed: bool,
}

impl Seen {
    /// With as many random bytes, which the next process should have, too.
    pub fn begin(random: Vec<u8>) -> Option<Self> {
        Some(Self { changed: true, ..Self::new(random)? })
    }

    /// With what an earlier process left.
    pub fn new(table: Vec<u8>) -> Option<Self> {
        if table.len() != REMEMBERED_LEN {
            return None;
        }
        let marks = table[KEY..].chunks_exact(MARK).filter_map(|mark| mark.try_into().ok()).collect();
        Some(Self {
            newest: Memory::default(),
            earlier: Memory::default(),
            max: EXACT_MAX,
            table: Zeroizing::new(table),
            marks,
            changed: false,
        })
    }

    /// Whether a salt's time is one at which it may have begun, and how far off it is otherwise.
    pub fn in_time(&self, under: Under, salt: Salt, now_s: u32) -> Result<(), i64> {
        let off = i64::from(salt.time_s()) - i64::from(now_s);
        if off.unsigned_abs() > u64::from(WINDOW_S) {
            return Err(off);
        }
        if self.is_forgotten(under, salt) { Err(off) } else { Ok(()) }
    }

    /// Whether a salt is of a time of which not all are known any more.
    pub fn is_forgotten(&self, under: Under, salt: Salt) -> bool {
        // What is an earlier secret now was the newest once.
        self.newest.is_forgotten(salt) || (under == Under::Earlier && self.earlier.is_forgotten(salt))
    }

    /// Whether this salt came before.
    pub fn has(&self, salt: Salt) -> bool {
        self.newest.salts.contains(&salt)
            || self.earlier.salts.contains(&salt)
            || self.marks.contains(&self.mark(salt))
    }

    /// It came. `random` chooses what is forgotten for it.
    pub fn note(&mut self, under: Under, salt: Salt, now_s: u32, random: u64) {
        let mark = self.mark(salt);
        let (memory, begin) = match under {
            Under::Newest => (&mut self.newest, 0),
            Under::Earlier => (&mut self.earlier, MARKS / 2),
        };
        memory.note(salt, self.max, now_s);
        let number = begin + usize::try_from(random % (MARKS as u64 / 2)).unwrap_or(0);
        let place = KEY + number * MARK..KEY + (number + 1) * MARK;
        if let Ok(before) = self.table[place.clone()].try_into() {
            let before: [u8; MARK] = before;
            self.marks.remove(&before);
        }
        self.table[place].copy_from_slice(&mark);
        self.marks.insert(mark);
        self.changed = true;
    }

    /// What the next process should know, if that has changed since it was asked last.
    pub fn remembered(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        std::mem::take(&mut self.changed).then(|| self.table.clone())
    }

    /// It could not be kept.
    pub fn not_kept(&mut self) {
        self.changed = true;
    }

    fn mark(&self, salt: Salt) -> [u8; MARK] {
        let mut hasher = blake3::Hasher::new_derive_key("fieldbook 2026 veil v1 mark");
        hasher.update(&self.table[..KEY]).update(salt.as_bytes());
        let mut mark = [0; MARK];
        mark.copy_from_slice(&hasher.finalize().as_bytes()[..MARK]);
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::Under::{Earlier, Newest};
    use super::*;

    const NOW: u32 = 1_700_000_000;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"a test").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn salt(time_s: u32, n: u32) -> Salt {
        let [a, b, c, d] = n.to_be_bytes();
        Salt::new(time_s, [a, b, c, d, 0, 0])
    }

    #[test]
    fn what_came_is_known_to_this_process_and_to_the_next() {
        let mut seen = Seen::new(random(REMEMBERED_LEN)).unwrap();
        assert!(seen.remembered().is_none());
        for n in 0..100 {
            assert!(!seen.has(salt(NOW, n)));
            seen.note(Newest, salt(NOW, n), NOW, u64::from(n) * 977);
            assert!(seen.has(salt(NOW, n)));
        }
        let kept = seen.remembered().unwrap();
        assert_eq!(kept.len(), REMEMBERED_LEN);
        assert!(seen.remembered().is_none(), "nothing new");
        seen.not_kept();
        assert!(seen.remembered().is_some_and(|again| again == kept));
        let next = Seen::new(kept.to_vec()).unwrap();
        assert!((0..100).all(|n| next.has(salt(NOW, n))));
        assert!(!next.has(salt(NOW, 100)));
        assert!(Seen::new(vec![0; REMEMBERED_LEN - 1]).is_none());
    }

    #[test]
    fn a_clock_that_is_wrong_by_days_is_taken_and_by_a_month_is_not() {
        let seen = Seen::new(random(REMEMBERED_LEN)).unwrap();
        let day = 24 * 3600;
        for good in [NOW, NOW - 3 * day, NOW + 3 * day, NOW - WINDOW_S, NOW + WINDOW_S] {
            assert_eq!(seen.in_time(Newest, salt(good, 1), NOW), Ok(()));
        }
        assert_eq!(seen.in_time(Newest, salt(NOW - 30 * day, 1), NOW), Err(-30 * i64::from(day)));
        assert_eq!(seen.in_time(Newest, salt(0, 1), NOW), Err(-i64::from(NOW)));
        assert_eq!(seen.in_time(Newest, salt(u32::MAX, 1), 0), Err(i64::from(u32::MAX)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_taken_again() {
        let mut seen = Seen { max: 100, ..Seen::new(random(REMEMBERED_LEN)).unwrap() };
        let begin = NOW - 2 * FRESH_S;
        for n in 0..1_000 {
            seen.note(Newest, salt(begin + n, n), begin + n, 0);
        }
        let now = begin + 999;
        assert_eq!(seen.newest.salts.len(), 100);
        assert!(seen.marks.len() <= MARKS + 1);
        // Those of the last hour are taken in any case: somebody who floods keeps nobody out.
        assert_eq!(seen.newest.floor_s, Some(now - FRESH_S));
        assert_eq!(seen.in_time(Newest, salt(now - FRESH_S, 5_000), now), Err(-i64::from(FRESH_S)));
        assert_eq!(seen.in_time(Newest, salt(now - FRESH_S + 1, 5_000), now), Ok(()));
        // A stream has no week, and is bound by what was forgotten all the same.
        assert!(
            seen.is_forgotten(Newest, salt(0, 5_000))
                && seen.is_forgotten(Newest, salt(now - FRESH_S, 5_000))
        );
        assert!(
            !seen.is_forgotten(Newest, salt(now - FRESH_S + 1, 5_000))
                && !seen.is_forgotten(Newest, salt(u32::MAX, 1))
        );
        assert!(!Seen::new(random(REMEMBERED_LEN)).unwrap().is_forgotten(Newest, salt(0, 1)), "nothing was");
        // With nobody in a hurry nothing that came gets through.
        let later = now + FRESH_S + 1;
        for n in 1_000..1_100 {
            seen.note(Newest, salt(later + n, n), later + n, 0);
        }
        assert!((0..1_000).all(|n| {
            let one = salt(begin + n, n);
            seen.has(one) || seen.in_time(Newest, one, later).is_err()
        }));
    }

    #[test]
    fn who_floods_under_an_earlier_secret_spoils_nothing_under_the_newest() {
        let mut seen = Seen { max: 100, ..Seen::new(random(REMEMBERED_LEN)).unwrap() };
        seen.note(Newest, salt(NOW, 1), NOW, 5);
        for n in 0..1_000 {
            seen.note(Earlier, salt(NOW - n, n), NOW, u64::from(n));
            seen.note(Earlier, salt(u32::MAX - n, n), NOW, u64::from(n));
        }
        assert!(seen.has(salt(NOW, 1)));
        let next = Seen::new(seen.remembered().unwrap().to_vec()).unwrap();
        assert!(next.has(salt(NOW, 1)), "after a restart, too");
        for any in [0, NOW - WINDOW_S, NOW, u32::MAX] {
            assert!(!seen.is_forgotten(Newest, salt(any, 7)), "{any}");
        }
        assert!(seen.is_forgotten(Earlier, salt(NOW - WINDOW_S, 7)));
        // What came under the newest is known when that is an earlier one.
        for n in 0..1_000 {
            seen.note(Newest, salt(NOW + n, n), NOW + n, 0);
        }
        let one = salt(NOW - FRESH_S, 7);
        assert!(seen.is_forgotten(Newest, one) && seen.is_forgotten(Earlier, one));
    }

    #[test]
    fn who_floods_from_the_future_shuts_out_the_future_alone() {
        let mut seen = Seen { max: 100, ..Seen::new(random(REMEMBERED_LEN)).unwrap() };
        for n in 0..50 {
            seen.note(Newest, salt(NOW - n, n), NOW, 0);
        }
        for n in 0..1_000 {
            seen.note(Newest, salt(u32::MAX - n, n), NOW, 0);
        }
        assert_eq!(seen.newest.salts.len(), 100);
        assert!((0..50).all(|n| seen.has(salt(NOW - n, n))), "they are all known still");
        assert!((0..1_000).all(|n| {
            let one = salt(u32::MAX - n, n);
            seen.has(one) || seen.is_forgotten(Newest, one)
        }));
        for honest in [0, NOW - 30 * 24 * 3600, NOW, NOW + WINDOW_S] {
            assert!(!seen.is_forgotten(Newest, salt(honest, 9_000)), "{honest}");
        }
    }
}
