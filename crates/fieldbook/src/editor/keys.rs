//! What a terminal sends, as keys: plain bytes, the sequences of xterm, of its likes and of the Linux console, and what is
//! pasted between the marks of bracketed paste.
//!
//! Bytes come in pieces of any length. A sequence that is not known is nothing; it never becomes text.

use zeroize::{Zeroize as _, Zeroizing};

/// A key, or a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A character that was typed.
    Text(char),
    /// A text that was pasted, as it came.
    Paste(Zeroizing<String>),
    /// A movement; whether it selects (Shift).
    Move(Motion, bool),
    Enter,
    Tab,
    Backspace,
    Delete,
    /// Removes the word before.
    DeleteWord,
    /// A letter with Ctrl; Ctrl-Space is `' '`.
    Ctrl(char),
    /// A function key.
    F(u8),
    Esc,
}

/// Where the cursor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    Left,
    Right,
    Up,
    Down,
    WordLeft,
    WordRight,
    Home,
    End,
    PageUp,
    PageDown,
    First,
    Last,
}

const ESC: u8 = 0x1b;
/// The end of what is pasted.
const PASTED: &[u8] = b"\x1b[201~";
/// Longer than any sequence of a keyboard.
const SEQUENCE_MAX: usize = 32;
/// What is pasted beyond this is left out: no text of a report may be so long.
const PASTE_MAX: usize = 2 << 20;

/// Makes keys of bytes.
#[derive(Debug, Default)]
pub struct Keys {
    pending: Zeroizing<Vec<u8>>,
    pasting: Option<Zeroizing<Vec<u8>>>,
}

/// What the beginning of the pending bytes is.
enum Found {
    /// So many bytes are this key, or nothing.
    Key(usize, Option<Key>),
    /// So many bytes say that a paste begins.
    Paste(usize),
    /// More must come.
    Part,
}

impl Keys {
    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        loop {
            if let Some(mut pasted) = self.pasting.take() {
                let end = self.pending.windows(PASTED.len()).position(|window| window == PASTED);
                // What may be the beginning of the end stays for the next bytes.
                let whole = self.pending.len().saturating_sub(PASTED.len() - 1);
                let taken = end.unwrap_or(whole);
                let room = PASTE_MAX.saturating_sub(pasted.len());
                pasted.extend_from_slice(&self.pending[..taken.min(room)]);
                self.drop_first(end.map_or(taken, |end| end + PASTED.len()));
                if end.is_none() {
                    self.pasting = Some(pasted);
                    return keys;
                }
                let text = String::from_utf8_lossy(&pasted).into_owned();
                keys.push(Key::Paste(Zeroizing::new(text)));
                continue;
            }
            if self.pending.is_empty() {
                return keys;
            }
            match first(&self.pending) {
                Found::Key(length, key) => {
                    self.drop_first(length);
                    keys.extend(key);
                }
                Found::Paste(length) => {
                    self.drop_first(length);
                    self.pasting = Some(Zeroizing::default());
                }
                Found::Part => return keys,
            }
        }
    }

    /// Whether something has begun that more bytes would end: the key Esc is the beginning of all sequences.
    pub fn is_waiting(&self) -> bool {
        self.pasting.is_none() && !self.pending.is_empty()
    }

    /// Whether something is being pasted that has not ended.
    pub const fn is_pasting(&self) -> bool {
        self.pasting.is_some()
    }

    /// Nothing more has come for a while: an Esc was the key, a paste that has no end is what came of it, and anything else is
    /// nothing.
    pub fn give_up(&mut self) -> Option<Key> {
        if let Some(mut pasted) = self.pasting.take() {
            pasted.extend_from_slice(&self.pending);
            self.drop_first(self.pending.len());
            return Some(Key::Paste(Zeroizing::new(String::from_utf8_lossy(&pasted).into_owned())));
        }
        let esc = self.pending.as_slice() == [ESC];
        self.drop_first(self.pending.len());
        esc.then_some(Key::Esc)
    }

    fn drop_first(&mut self, count: usize) {
        let left = self.pending.len() - count;
        self.pending.copy_within(count.., 0);
        self.pending[left..].zeroize();
        self.pending.truncate(left);
    }
}

fn first(bytes: &[u8]) -> Found {
    match bytes[0] {
        ESC => match bytes.get(1) {
            None => Found::Part,
            Some(b'[') => sequence(bytes),
            Some(b'O') => match bytes.get(2) {
                None => Found::Part,
                Some(last) => Found::Key(3, of_letter(*last, 0)),
            },
            // Esc, and then something of its own.
            Some(&ESC) => Found::Key(1, Some(Key::Esc)),
            Some(_) => match character(&bytes[1..]) {
                Some((length, typed)) => Found::Key(1 + length, with_alt(typed)),
                None => Found::Part,
            },
        },
        b'\r' | b'\n' => Found::Key(1, Some(Key::Enter)),
        b'\t' => Found::Key(1, Some(Key::Tab)),
        0x7f | 0x08 => Found::Key(1, Some(Key::Backspace)),
        0 => Found::Key(1, Some(Key::Ctrl(' '))),
        byte @ 1..=0x1a => Found::Key(1, Some(Key::Ctrl(char::from(byte - 1 + b'a')))),
        0x1c..0x20 => Found::Key(1, None),
        _ => match character(bytes) {
            Some((length, typed)) => Found::Key(length, typed.map(Key::Text)),
            None => Found::Part,
        },
    }
}

/// The first character and its length; `None` if more bytes must come, no character if it is none.
fn character(bytes: &[u8]) -> Option<(usize, Option<char>)> {
    let length = match bytes[0] {
        0..0x80 => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((1, None)),
    };
    let have = &bytes[..length.min(bytes.len())];
    match std::str::from_utf8(have) {
        Ok(text) => Some((length, text.chars().next())),
        Err(error) if error.error_len().is_none() => None,
        Err(error) => Some((error.error_len().unwrap_or(1), None)),
    }
}

fn with_alt(typed: Option<char>) -> Option<Key> {
    match typed? {
        'b' => Some(Key::Move(Motion::WordLeft, false)),
        'f' => Some(Key::Move(Motion::WordRight, false)),
        '<' => Some(Key::Move(Motion::First, false)),
        '>' => Some(Key::Move(Motion::Last, false)),
        '\u{7f}' | '\u{8}' => Some(Key::DeleteWord),
        _ => None,
    }
}

/// What begins with Esc and `[`: parameters, what stands between, and a last byte that says what it is.
fn sequence(bytes: &[u8]) -> Found {
    let body = &bytes[2..];
    // The Linux console's F1 to F5.
    if body.first() == Some(&b'[') {
        return match body.get(1) {
            None => Found::Part,
            Some(letter @ b'A'..=b'E') => Found::Key(4, Some(Key::F(letter - b'A' + 1))),
            Some(_) => Found::Key(4, None),
        };
    }
    let Some(end) = body.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return if body.len() < SEQUENCE_MAX { Found::Part } else { Found::Key(bytes.len(), None) };
    };
    let last = body[end];
    if !(0x40..=0x7e).contains(&last) {
        // It was broken off: what stands here is something of its own.
        return Found::Key(2 + end, None);
    }
    let length = 2 + end + 1;
    let text = std::str::from_utf8(&body[..end]).unwrap_or_default();
    // Behind a colon stands what is not needed.
    let parsed = |number: &str| number.split(':').next().unwrap_or_default().parse::<u16>();
    let mut numbers = text.split(';').map(|number| parsed(number).unwrap_or(0));
    let (number, second) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
    // 1 and the sum of Shift 1, Alt 2, Ctrl 4.
    let held = second.saturating_sub(1);
    match last {
        b'~' if number == 200 => Found::Paste(length),
        // As terminals do that tell more of a key: xterm, if it was asked to, and kitty and its likes.
        b'~' if number == 27 => Found::Key(length, of_character(numbers.next().unwrap_or(0), held)),
        b'u' => Found::Key(length, of_character(number, held)),
        b'~' => Found::Key(length, of_number(number, held)),
        letter => Found::Key(length, of_letter(letter, held)),
    }
}

fn of_letter(letter: u8, held: u16) -> Option<Key> {
    Some(match letter {
        b'A' => motion(Motion::Up, Motion::Up, held),
        b'B' => motion(Motion::Down, Motion::Down, held),
        b'C' => motion(Motion::Right, Motion::WordRight, held),
        b'D' => motion(Motion::Left, Motion::WordLeft, held),
        b'H' => motion(Motion::Home, Motion::First, held),
        b'F' => motion(Motion::End, Motion::Last, held),
        b'P'..=b'S' => Key::F(letter - b'P' + 1),
        // Enter of the number block.
        b'M' => Key::Enter,
        _ => return None,
    })
}

fn of_number(number: u16, held: u16) -> Option<Key> {
    Some(match number {
        1 | 7 => motion(Motion::Home, Motion::First, held),
        4 | 8 => motion(Motion::End, Motion::Last, held),
        5 => motion(Motion::PageUp, Motion::PageUp, held),
        6 => motion(Motion::PageDown, Motion::PageDown, held),
        3 => Key::Delete,
        11..=15 => Key::F((number - 10) as u8),
        17..=21 => Key::F((number - 11) as u8),
        23 | 24 => Key::F((number - 12) as u8),
        _ => return None,
    })
}

/// A character, by its number, and what was held with it.
fn of_character(number: u16, held: u16) -> Option<Key> {
    let typed = char::from_u32(number.into())?;
    let (alt, ctrl) = (held & 0b10 != 0, held & 0b100 != 0);
    Some(match typed {
        '\r' => Key::Enter,
        '\t' => Key::Tab,
        '\u{1b}' => Key::Esc,
        '\u{7f}' | '\u{8}' if alt || ctrl => Key::DeleteWord,
        '\u{7f}' | '\u{8}' => Key::Backspace,
        _ if ctrl => Key::Ctrl(on_latin_keys(typed.to_lowercase().next()?)?),
        _ if alt => with_alt(Some(typed))?,
        // Keys that have no character are told in this way too.
        _ if typed.is_control() || ('\u{e000}'..='\u{f8ff}').contains(&typed) => return None,
        _ => Key::Text(typed),
    })
}

/// The Latin letter on the key of this one: a keyboard that is switched to Cyrillic has the same keys.
fn on_latin_keys(letter: char) -> Option<char> {
    const KEYS: [(&str, &str); 2] = [
        ("йцукенгшщзфывапролдячсмить", "qwertyuiopasdfghjklzxcvbnm"),
        // Where Belarusian and Ukrainian differ.
        ("ўі", "os"),
    ];
    if letter.is_ascii_lowercase() || letter == ' ' {
        return Some(letter);
    }
    KEYS.iter()
        .find_map(|(own, latin)| own.chars().zip(latin.chars()).find(|(own, _)| *own == letter))
        .map(|key| key.1)
}

/// With Ctrl or Alt it goes further.
fn motion(near: Motion, far: Motion, held: u16) -> Key {
    Key::Move(if held & 0b110 != 0 { far } else { near }, held & 1 != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Keys::default().feed(bytes)
    }

    #[test]
    fn the_keys_of_terminals_are_understood() {
        use Motion::*;
        let moves = |motion| vec![Key::Move(motion, false)];
        for (bytes, wanted) in [
            (&b"a"[..], vec![Key::Text('a')]),
            ("ыЩ".as_bytes(), vec![Key::Text('ы'), Key::Text('Щ')]),
            (b"\x1b[A", moves(Up)),
            (b"\x1bOA", moves(Up)),
            (b"\x1b[1;5C", moves(WordRight)),
            (b"\x1b[1;2D", vec![Key::Move(Left, true)]),
            (b"\x1b[1;6D", vec![Key::Move(WordLeft, true)]),
            (b"\x1b[1~", moves(Home)),
            (b"\x1b[H", moves(Home)),
            (b"\x1b[4~", moves(End)),
            (b"\x1b[1;5F", moves(Last)),
            (b"\x1b[5~", moves(PageUp)),
            (b"\x1bb", moves(WordLeft)),
            (b"\x1b[3~", vec![Key::Delete]),
            (b"\x7f\x08", vec![Key::Backspace, Key::Backspace]),
            (b"\x1b\x7f", vec![Key::DeleteWord]),
            (b"\r\n", vec![Key::Enter, Key::Enter]),
            (b"\x0c\x13\x00", vec![Key::Ctrl('l'), Key::Ctrl('s'), Key::Ctrl(' ')]),
            (b"\x1b[24~\x1b[[B\x1bOQ", vec![Key::F(12), Key::F(2), Key::F(2)]),
            (b"\x1b\x1b[A", vec![Key::Esc, Key::Move(Up, false)]),
            // Ctrl-L and Ctrl-S in the ways of terminals that tell more, and on Cyrillic keys.
            (b"\x1b[27;5;108~\x1b[108;5u\x1b[1076;5u\x1b[27;5;1044~", vec![Key::Ctrl('l'); 4]),
            (b"\x1b[115;5u\x1b[1110;5u\x1b[32;5u", vec![Key::Ctrl('s'), Key::Ctrl('s'), Key::Ctrl(' ')]),
            (b"\x1b[27;2;13~\x1b[27u\x1b[97;1:1u", vec![Key::Enter, Key::Esc, Key::Text('a')]),
            (b"\x1b[57358u\x1b[98;3u", moves(WordLeft)),
            // Of these nothing becomes text.
            (b"\x1b[?1;2c\x1b[<0;1;1M\x1b[99~\x1b[I", vec![Key::Enter]),
            (b"\xff\xc3(", vec![Key::Text('(')]),
        ] {
            assert_eq!(keys(bytes), wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_lone_esc_is_a_key_once_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b"), []);
        assert!(keys.is_waiting());
        assert_eq!(keys.give_up(), Some(Key::Esc));
        assert!(!keys.is_waiting());
        keys.feed(b"\x1b[1;");
        assert_eq!((keys.give_up(), keys.feed(b"x")), (None, vec![Key::Text('x')]));
    }

    #[test]
    fn what_is_pasted_is_one_text_whatever_is_in_it() {
        let text = "one\rtwo \x1b[31m\x03три";
        let bytes = [b"\x1b[200~", text.as_bytes(), b"\x1b[201~z"].concat();
        let wanted = vec![Key::Paste(Zeroizing::new(text.into())), Key::Text('z')];
        assert_eq!(keys(&bytes), wanted);
        // Byte by byte it is the same.
        let mut one = Keys::default();
        assert_eq!(bytes.iter().flat_map(|byte| one.feed(&[*byte])).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_paste_that_has_no_end_is_what_came_of_it_and_then_keys_are_keys() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed("\x1b[200~три\x1b[20".as_bytes()), []);
        assert!(keys.is_pasting());
        assert_eq!(keys.give_up(), Some(Key::Paste(Zeroizing::new("три\x1b[20".to_owned()))));
        assert!(!keys.is_pasting() && !keys.is_waiting());
        assert_eq!(keys.feed(b"\x0c\x1b[201~"), vec![Key::Ctrl('l')]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let whole = keys(&bytes);
            let cut = cut.min(bytes.len());
            let mut parts = Keys::default();
            let mut found = parts.feed(&bytes[..cut]);
            found.extend(parts.feed(&bytes[cut..]));
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn text_is_text(text in "[^\\p{Cc}]{0,50}") {
            let typed: String = keys(text.as_bytes())
                .into_iter()
                .map(|key| match key { Key::Text(typed) => typed, _ => '\u{0}' })
                .collect();
            prop_assert_eq!(typed, text);
        }
    }
}
