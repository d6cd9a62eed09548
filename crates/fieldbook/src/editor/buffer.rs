//! The text that is written: its cursor, what is selected, what can be undone. It knows nothing of a screen.
//!
//! Whatever held words is wiped when it goes, also when a text has to move because it grew.

use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};
use zeroize::Zeroizing;

use crate::sanitise;

/// How much room a text has before it has to move.
const ROOM: usize = 64 << 10;
/// Most that is kept to be undone, in bytes of text.
const UNDO_MAX: usize = 4 << 20;

/// A text that is being written.
#[derive(Debug)]
pub struct Buffer {
    text: Zeroizing<String>,
    cursor: usize,
    /// Where the selection began.
    anchor: Option<usize>,
    /// Every movement selects.
    marking: bool,
    limit: usize,
    done: Vec<Change>,
    undone: Vec<Change>,
    cut: Zeroizing<String>,
    /// The next character that is typed is undone by itself.
    apart: bool,
    revision: u64,
}

/// One change: what stood at a place, and what stands there now.
#[derive(Debug)]
struct Change {
    at: usize,
    removed: Zeroizing<String>,
    inserted: Zeroizing<String>,
    cursor: usize,
}

/// There is no room for so much.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Buffer {
    /// The text as it is; at most `limit` bytes of it may be written.
    pub fn new(text: &str, limit: usize) -> Self {
        let mut own = Zeroizing::new(String::with_capacity(text.len() + ROOM));
        own.push_str(text);
        let empty = Zeroizing::default;
        Self {
            cursor: own.len(),
            text: own,
            anchor: None,
            marking: false,
            limit: limit.max(text.len()),
            done: Vec::new(),
            undone: Vec::new(),
            cut: empty(),
            apart: true,
            revision: 0,
        }
    }

    /// Another one after every change of the text.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub const fn cursor(&self) -> usize {
        self.cursor
    }

    /// What is selected, if it is more than nothing.
    pub fn selection(&self) -> Option<Range<usize>> {
        let anchor = self.anchor?;
        (anchor != self.cursor).then(|| anchor.min(self.cursor)..anchor.max(self.cursor))
    }

    /// Puts the cursor somewhere; `selecting` goes on with the selection or begins one, else it ends.
    pub fn go(&mut self, to: usize, selecting: bool) {
        let selecting = selecting || self.marking;
        self.anchor = if selecting { self.anchor.or(Some(self.cursor)) } else { None };
        self.cursor = self.text.floor_char_boundary(to.min(self.text.len()));
        self.apart = true;
    }

    /// From now on every movement selects; or none does any more.
    pub fn mark(&mut self) {
        self.marking = !self.marking;
        self.anchor = self.marking.then_some(self.cursor);
    }

    /// Whether every movement selects.
    pub const fn is_marking(&self) -> bool {
        self.marking
    }

    /// The place before the grapheme to the left.
    pub fn left(&self) -> usize {
        let mut place = GraphemeCursor::new(self.cursor, self.text.len(), true);
        place.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    /// The place behind the grapheme to the right.
    pub fn right(&self) -> usize {
        let mut place = GraphemeCursor::new(self.cursor, self.text.len(), true);
        place.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    /// The beginning of the word to the left.
    pub fn word_left(&self) -> usize {
        let mut pieces = self.text[..self.cursor].split_word_bound_indices().rev();
        pieces.find(|(_, piece)| is_word(piece)).map_or(0, |(at, _)| at)
    }

    /// The end of the word to the right.
    pub fn word_right(&self) -> usize {
        let mut pieces = self.text[self.cursor..].split_word_bound_indices();
        let found = pieces.find(|(_, piece)| is_word(piece));
        found.map_or(self.text.len(), |(at, piece)| self.cursor + at + piece.len())
    }

    /// Types a character. One that would act on a terminal is left out.
    pub fn type_in(&mut self, typed: char) -> Result<(), Full> {
        let mut bytes = [0; 4];
        let text = Zeroizing::new(sanitise::typed(typed.encode_utf8(&mut bytes)));
        if text.is_empty() {
            return Ok(());
        }
        let range = self.selection().unwrap_or(self.cursor..self.cursor);
        // A word is undone as a whole.
        let joined = range.is_empty() && !self.apart && !typed.is_whitespace();
        let last = self.done.last_mut().filter(|change| change.at + change.inserted.len() == range.start);
        match last {
            Some(change) if joined && change.removed.is_empty() => {
                room_for(&self.text, &range, &text, self.limit)?;
                push(&mut change.inserted, &text);
                self.undone.clear();
                self.put(range, &text);
                Ok(())
            }
            _ => {
                self.replace(range, &text)?;
                self.apart = false;
                Ok(())
            }
        }
    }

    /// Puts in a text that was pasted, without whatever acts on a terminal.
    pub fn paste(&mut self, text: &str) -> Result<(), Full> {
        let text = Zeroizing::new(sanitise::typed(text));
        let range = self.selection().unwrap_or(self.cursor..self.cursor);
        self.replace(range, &text)
    }

    /// Removes what is selected, else from the cursor to `to`.
    pub fn delete_to(&mut self, to: usize) {
        let range = self.selection().unwrap_or(self.cursor.min(to)..self.cursor.max(to));
        // What becomes shorter has room.
        let _ = self.replace(range, "");
    }

    /// Removes what is selected, else the line, to be put in elsewhere.
    pub fn cut(&mut self) {
        let range = self.selection().unwrap_or_else(|| self.line());
        self.cut = Zeroizing::new(self.text[range.clone()].to_owned());
        let _ = self.replace(range, "");
    }

    /// Remembers what is selected, else the line, to be put in elsewhere.
    pub fn copy(&mut self) {
        let range = self.selection().unwrap_or_else(|| self.line());
        self.cut = Zeroizing::new(self.text[range].to_owned());
        self.end_selection();
    }

    /// Puts in what was cut or copied.
    pub fn put_back(&mut self) -> Result<(), Full> {
        let text = self.cut.clone();
        let range = self.selection().unwrap_or(self.cursor..self.cursor);
        self.replace(range, &text)
    }

    /// The line of the cursor, with its end.
    fn line(&self) -> Range<usize> {
        let start = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at + 1);
        start..end
    }

    /// Takes back the last change.
    pub fn undo(&mut self) {
        let Some(change) = self.done.pop() else { return };
        self.put(change.at..change.at + change.inserted.len(), &change.removed);
        self.cursor = change.cursor;
        self.end_selection();
        self.undone.push(change);
    }

    /// Does again what was taken back.
    pub fn redo(&mut self) {
        let Some(change) = self.undone.pop() else { return };
        self.put(change.at..change.at + change.removed.len(), &change.inserted);
        self.end_selection();
        self.done.push(change);
    }

    fn replace(&mut self, range: Range<usize>, new: &str) -> Result<(), Full> {
        if range.is_empty() && new.is_empty() {
            return Ok(());
        }
        room_for(&self.text, &range, new, self.limit)?;
        let removed = Zeroizing::new(self.text[range.clone()].to_owned());
        let inserted = Zeroizing::new(new.to_owned());
        self.done.push(Change { at: range.start, removed, inserted, cursor: self.cursor });
        self.undone.clear();
        self.forget_the_oldest();
        self.put(range, new);
        self.end_selection();
        Ok(())
    }

    fn end_selection(&mut self) {
        (self.anchor, self.marking, self.apart) = (None, false, true);
    }

    fn forget_the_oldest(&mut self) {
        let size = |change: &Change| change.removed.len() + change.inserted.len() + 64;
        let mut kept: usize = self.done.iter().map(size).sum();
        // What was done last can always be undone.
        while kept > UNDO_MAX && self.done.len() > 1 {
            kept -= size(&self.done.remove(0));
        }
    }

    fn put(&mut self, range: Range<usize>, new: &str) {
        let length = self.text.len() - range.len() + new.len();
        if length > self.text.capacity() {
            let mut moved = Zeroizing::new(String::with_capacity(length + ROOM.max(length / 2)));
            moved.push_str(&self.text);
            self.text = moved;
        }
        self.cursor = range.start + new.len();
        self.revision += 1;
        self.text.replace_range(range, new);
    }
}

fn room_for(text: &str, range: &Range<usize>, new: &str, limit: usize) -> Result<(), Full> {
    let length = text.len() - range.len() + new.len();
    if length > limit && new.len() > range.len() { Err(Full) } else { Ok(()) }
}

/// Adds to a text that may have to move.
fn push(text: &mut Zeroizing<String>, more: &str) {
    if text.len() + more.len() > text.capacity() {
        let mut moved = Zeroizing::new(String::with_capacity(2 * (text.len() + more.len())));
        moved.push_str(text);
        *text = moved;
    }
    text.push_str(more);
}

fn is_word(piece: &str) -> bool {
    piece.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buffer(text: &str) -> Buffer {
        Buffer::new(text, 1 << 20)
    }

    fn typed(text: &str) -> Buffer {
        let mut buffer = buffer("");
        text.chars().for_each(|c| buffer.type_in(c).unwrap());
        buffer
    }

    #[test]
    fn graphemes_are_passed_and_removed_whole() {
        let mut buffer = buffer("aй\u{306}👩‍⚖️z");
        buffer.go(buffer.left(), false);
        buffer.delete_to(buffer.left());
        assert_eq!(buffer.text(), "aй\u{306}z");
        buffer.delete_to(buffer.left());
        assert_eq!(buffer.text(), "az");
        buffer.go(0, false);
        buffer.delete_to(buffer.right());
        assert_eq!(buffer.text(), "z");
    }

    #[test]
    fn words_of_any_language_are_passed() {
        let mut buffer = buffer("Их забрали, \"в полдень\".");
        buffer.go(buffer.word_left(), false);
        assert!(buffer.text()[buffer.cursor()..].starts_with("полдень"));
        buffer.go(0, false);
        buffer.go(buffer.word_right(), false);
        buffer.go(buffer.word_right(), false);
        assert_eq!(&buffer.text()[..buffer.cursor()], "Их забрали");
    }

    #[test]
    fn a_word_is_undone_at_once_and_done_again() {
        let mut buffer = typed("один два");
        buffer.undo();
        assert_eq!(buffer.text(), "один");
        buffer.undo();
        assert_eq!(buffer.text(), "");
        (0..3).for_each(|_| buffer.redo());
        assert_eq!(buffer.text(), "один два");
        buffer.undo();
        buffer.type_in('x').unwrap();
        buffer.redo();
        assert_eq!(buffer.text(), "одинx", "what was written since is not overwritten");
    }

    #[test]
    fn what_is_selected_is_cut_and_put_in_elsewhere() {
        let mut buffer = buffer("one two\nthree\n");
        buffer.go(0, false);
        buffer.go(4, true);
        assert_eq!(buffer.selection(), Some(0..4));
        buffer.cut();
        buffer.go(buffer.text().len(), false);
        buffer.put_back().unwrap();
        assert_eq!(buffer.text(), "two\nthree\none ");
        buffer.go(0, false);
        buffer.cut();
        assert_eq!(buffer.text(), "three\none ", "a line, where nothing is selected");
        buffer.go(0, false);
        buffer.go(buffer.text().len(), true);
        buffer.type_in('x').unwrap();
        assert_eq!(buffer.text(), "x");
        buffer.undo();
        assert_eq!(buffer.text(), "three\none ");
    }

    #[test]
    fn what_acts_on_a_terminal_is_not_taken_in() {
        let mut buffer = buffer("");
        buffer.paste("a\r\nb\rc\u{1b}[31m\u{7}\u{202e}d\te").unwrap();
        assert_eq!(buffer.text(), "a\nb\nc[31md e");
        buffer.type_in('\u{9b}').unwrap();
        assert_eq!(buffer.text(), "a\nb\nc[31md e");
    }

    #[test]
    fn a_text_is_as_long_as_a_report_can_carry_and_no_longer() {
        let mut buffer = Buffer::new("abc", 4);
        buffer.type_in('d').unwrap();
        assert_eq!(buffer.type_in('e'), Err(Full));
        assert_eq!(buffer.paste("xy"), Err(Full));
        buffer.delete_to(buffer.left());
        buffer.type_in('e').unwrap();
        assert_eq!(buffer.text(), "abce");
        // One that others made longer can be made shorter.
        let mut buffer = Buffer::new("abcdef", 4);
        buffer.delete_to(buffer.left());
        assert_eq!(buffer.text(), "abcde");
    }

    #[derive(Debug, Clone)]
    enum Act {
        Type(char),
        Paste(String),
        Go(usize, bool),
        Left(bool),
        Right(bool),
        Word,
        Backspace,
        Delete,
        Cut,
        PutBack,
        Undo,
        Redo,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => prop_oneof![Just('a'), Just(' '), Just('ы'), Just('\n'), Just('\u{301}'), Just('漢'), any::<char>()].prop_map(Act::Type),
            1 => "[a-z\\x00-\\x20\u{301}ы👩]{0,9}".prop_map(Act::Paste),
            2 => (0usize..60, any::<bool>()).prop_map(|(to, select)| Act::Go(to, select)),
            2 => any::<bool>().prop_map(Act::Left),
            2 => any::<bool>().prop_map(Act::Right),
            1 => Just(Act::Word),
            2 => Just(Act::Backspace),
            1 => Just(Act::Delete),
            1 => Just(Act::Cut),
            1 => Just(Act::PutBack),
            1 => Just(Act::Undo),
            1 => Just(Act::Redo),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_done_can_be_undone(acts in prop::collection::vec(act(), 0..60), begin in "[a-zы\n]{0,20}") {
            let mut buffer = buffer(&begin);
            for act in acts {
                match act {
                    Act::Type(c) => buffer.type_in(c).unwrap(),
                    Act::Paste(text) => buffer.paste(&text).unwrap(),
                    Act::Go(to, select) => buffer.go(to, select),
                    Act::Left(select) => buffer.go(buffer.left(), select),
                    Act::Right(select) => buffer.go(buffer.right(), select),
                    Act::Word => buffer.go(buffer.word_left(), false),
                    Act::Backspace => buffer.delete_to(buffer.left()),
                    Act::Delete => buffer.delete_to(buffer.right()),
                    Act::Cut => buffer.cut(),
                    Act::PutBack => buffer.put_back().unwrap(),
                    Act::Undo => buffer.undo(),
                    Act::Redo => buffer.redo(),
                }
                prop_assert!(buffer.text().is_char_boundary(buffer.cursor()));
                prop_assert!(buffer.selection().is_none_or(|range| range.end <= buffer.text().len()));
            }
            let end = buffer.text().to_owned();
            let mut steps = 0;
            while !buffer.done.is_empty() {
                buffer.undo();
                steps += 1;
            }
            prop_assert_eq!(buffer.text(), &begin);
            (0..steps).for_each(|_| buffer.redo());
            prop_assert_eq!(buffer.text(), &end);
        }
    }
}
