//! Patterns that fingers and calendars make: rows of the alphabet, walks over the keyboard, dates.
//!
//! Each function looks at the beginning of `text` and calls `found` with a length and what that much costs a guesser.

use super::layout::Board;

/// Rows in which letters stand next to one another.
const ROWS: [&str; 6] = [
    "01234567890",
    "zyxwvutsrqponmlkjihgfedcba",
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "абвгдежзійклмнопрстуўфхцчшыьэюя",
];

/// A row of the alphabet or of digits, forwards or backwards, three letters and more. `text` is folded.
pub(super) fn sequences(text: &[char], mut found: impl FnMut(usize, f64)) {
    for row in ROWS {
        let row: Vec<char> = row.chars().collect();
        for step in [1_isize, -1] {
            let len = run_in(&row, step, text);
            for len in 3..=len {
                // Where it starts (the beginning is tried first), which way, and how far.
                let start = if ['a', '1', '0', 'а'].contains(&text[0]) { 1.0 } else { 3.0 };
                found(len, start + 1.0 + (len as f64).log2());
            }
        }
    }
}

fn run_in(row: &[char], step: isize, text: &[char]) -> usize {
    let starts = text.first().map(|first| row.iter().enumerate().filter(move |(_, held)| *held == first));
    let lengths = starts.into_iter().flatten().map(|(start, _)| {
        let mut at = Some(start);
        let run = text.iter().take_while(|letter| {
            let held = at.and_then(|at| row.get(at));
            at = at.and_then(|at| at.checked_add_signed(step));
            held == Some(letter)
        });
        run.count()
    });
    lengths.max().unwrap_or(0)
}

/// A key in a row of the keyboard; rows are shifted by about half a key each.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    row: i32,
    /// In quarters of a key from the left edge.
    at: i32,
}

impl Key {
    /// The key of a letter under the first layout that has it.
    fn of(letter: char) -> Option<Self> {
        let key = Board::ALL.into_iter().find_map(|board| board.key_of(letter))? % 47;
        Some(match i32::try_from(key).ok()? {
            key @ 0..13 => Self { row: 0, at: key * 4 },
            key @ 13..26 => Self { row: 1, at: (key - 13) * 4 + 6 },
            key @ 26..37 => Self { row: 2, at: (key - 26) * 4 + 7 },
            key => Self { row: 3, at: (key - 37) * 4 + 9 },
        })
    }

    /// The way to a neighbour: rows, and left or right. `None` if the keys do not touch.
    fn way_to(self, next: Self) -> Option<(i32, i32)> {
        let (rows, across) = (next.row - self.row, next.at - self.at);
        let touches = match rows {
            0 => across.abs() <= 4,
            -1 | 1 => across.abs() < 4,
            _ => false,
        };
        touches.then_some((rows, across.signum()))
    }
}

/// A walk over neighbouring keys, four and more, or three without a turn.
pub(super) fn walks(text: &[char], mut found: impl FnMut(usize, f64)) {
    let (mut before, mut way, mut turns) = (None, None, 0_u32);
    for (at, letter) in text.iter().enumerate() {
        let Some(key) = Key::of(*letter) else { return };
        if let Some(before) = before {
            let Some(next) = Key::way_to(before, key) else { return };
            if way.is_some_and(|way| way != next) {
                turns += 1;
            }
            way = Some(next);
        }
        before = Some(key);
        let len = at + 1;
        if len >= 4 || len == 3 && turns == 0 {
            // On which key it starts, how far it goes, and where it turns to.
            found(len, 4.5 + (len as f64).log2() + 2.3 * f64::from(turns));
        }
    }
}

/// A year, or a day with or without its year, in the common orders.
pub(super) fn dates(text: &[char], mut found: impl FnMut(usize, f64)) {
    let digits = |from: usize, len: usize| -> Option<u32> {
        text.get(from..from + len)?.iter().try_fold(0, |sum, digit| Some(sum * 10 + digit.to_digit(10)?))
    };
    let year = |from| digits(from, 4).is_some_and(|year| (1900..2050).contains(&year));
    let month = |from| digits(from, 2).is_some_and(|month| (1..=12).contains(&month));
    let day = |from| digits(from, 2).is_some_and(|day| (1..=31).contains(&day));
    let day_of_year =
        |first: usize, second: usize| day(first) && month(second) || month(first) && day(second);
    // The two gaps of a date hold the same sign.
    let gaps = |first: usize, second: usize| {
        text.get(first).is_some_and(|sign| ['.', '-', '/', ' ', '_'].contains(sign))
            && text.get(first) == text.get(second)
    };

    const YEAR: f64 = 6.5;
    const DAY: f64 = 8.5;
    if year(0) {
        found(4, YEAR);
    }
    if day_of_year(0, 2) {
        found(4, DAY);
        if digits(4, 2).is_some() {
            found(6, DAY + YEAR);
        }
        if year(4) {
            found(8, DAY + YEAR);
        }
    }
    if year(0) && day_of_year(4, 6) {
        found(8, DAY + YEAR);
    }
    if day_of_year(0, 3) && gaps(2, 5) {
        if digits(6, 2).is_some() {
            found(8, DAY + YEAR + 1.0);
        }
        if year(6) {
            found(10, DAY + YEAR + 1.0);
        }
    }
    if year(0) && gaps(4, 7) && day_of_year(5, 8) {
        found(10, DAY + YEAR + 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(look: impl Fn(&[char], &mut dyn FnMut(usize, f64)), text: &str) -> usize {
        let letters: Vec<char> = text.chars().collect();
        let mut longest = 0;
        look(&letters, &mut |len, bits| {
            assert!(bits > 0.0 && bits < 60.0, "{text}: {bits}");
            longest = longest.max(len);
        });
        longest
    }

    #[test]
    fn rows_of_the_alphabet_are_found_both_ways() {
        let run = |text| longest(|text, found| sequences(text, found), text);
        for (text, len) in [
            ("123456", 6),
            ("987x", 3),
            ("7890", 4),
            ("abcdz", 4),
            ("zyxw", 4),
            ("абвгд", 5),
            ("абвгґд", 6),
            ("яюэь", 4),
            ("ab", 0),
            ("135", 0),
            ("", 0),
        ] {
            assert_eq!(run(text), len, "{text}");
        }
    }

    #[test]
    fn walks_over_the_keyboard_are_found_under_any_layout() {
        let walk = |text| longest(|text, found| walks(text, found), text);
        for (text, len) in [
            ("qwerty", 6),
            ("QWERTY", 6),
            ("йцукен", 6),
            ("1qaz", 4),
            ("qazx", 4),
            ("zaq1", 4),
            ("ґїх", 3),
            ("ўшгн", 4),
            ("asdf asdf", 4),
            ("qpalz", 0),
            ("apple", 0),
            ("日本", 0),
        ] {
            assert_eq!(walk(text), len, "{text}");
        }
    }

    #[test]
    fn dates_are_found_in_the_common_orders() {
        let date = |text| longest(|text, found| dates(text, found), text);
        for (text, len) in [
            ("2017", 4),
            ("1899", 0),
            ("31122020", 8),
            ("12312020", 8),
            ("20201231", 8),
            ("311285", 6),
            ("3112", 4),
            ("9876", 0),
            ("31.12.1985", 10),
            ("31.12-1985", 0),
            ("1985-12-31", 10),
            ("31/12/85", 8),
            ("", 0),
            ("20", 0),
        ] {
            assert_eq!(date(text), len, "{text}");
        }
    }
}
