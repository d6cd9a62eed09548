//! A text as rows of a screen: wrapped softly between words, where a row has room for so many columns.
//!
//! What is shown of a text is decided here too: characters that act on a terminal are replaced, whoever wrote them.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::sanitise;

/// More characters than this are no letter of any language, and no sign with all that belongs to it.
const GRAPHEME_MAX: usize = 8;

/// A row: the part of the text from `start` to `end`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub start: usize,
    pub end: usize,
    /// The line ends here; else it goes on in the next row.
    pub last: bool,
}

/// What is shown for a grapheme, and how many columns it takes: one or two.
pub fn shown(grapheme: &str) -> (Cow<'_, str>, usize) {
    let plain = grapheme.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if plain {
        return (Cow::Borrowed(grapheme), grapheme.len());
    }
    if grapheme.chars().nth(GRAPHEME_MAX).is_some() {
        return (Cow::Borrowed("\u{fffd}"), 1);
    }
    let safe = sanitise::line(grapheme);
    match safe.width() {
        0 => (Cow::Borrowed("\u{fffd}"), 1),
        // A terminal gives no character more than two; where it gives it more, the next one is put over it.
        width => (Cow::Owned(safe), width.min(2)),
    }
}

/// Whether every terminal gives this one column. Behind anything else it is said where the next one stands, so that nothing
/// can hide what follows it.
pub fn is_plain(shown: &str, columns: usize) -> bool {
    columns == 1 && shown.chars().nth(1).is_none()
}

/// The rows of a text, at least one.
pub fn rows(text: &str, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = 0;
    for line in text.split('\n') {
        wrap(text, at, at + line.len(), width.max(2), &mut rows);
        at += line.len() + 1;
    }
    rows
}

/// The rows of one line.
fn wrap(text: &str, from: usize, to: usize, width: usize, rows: &mut Vec<Row>) {
    let (mut start, mut column) = (from, 0);
    // Behind the last space of this row, and its column.
    let mut after_space: Option<(usize, usize)> = None;
    for (offset, grapheme) in text[from..to].grapheme_indices(true) {
        let (at, taken) = (from + offset, shown(grapheme).1);
        let space = grapheme == " " || grapheme == "\t";
        // A space that has no room hangs over the edge.
        if column + taken > width && !space {
            let (cut, cut_column) = after_space.take().unwrap_or((at, column));
            rows.push(Row { start, end: cut, last: false });
            start = cut;
            column = column.saturating_sub(cut_column);
            // A word that is longer than a row, behind spaces that hung over.
            if column + taken > width {
                rows.push(Row { start, end: at, last: false });
                (start, column) = (at, 0);
            }
        }
        column += taken;
        if space {
            after_space = Some((at + grapheme.len(), column));
        }
    }
    rows.push(Row { start, end: to, last: true });
}

/// The row in which a place is.
pub fn row_of(rows: &[Row], at: usize) -> usize {
    rows.partition_point(|row| row.start <= at).saturating_sub(1)
}

/// The column of a place in its row.
pub fn column_of(text: &str, row: &Row, at: usize) -> usize {
    let end = at.clamp(row.start, row.end);
    text[row.start..end].graphemes(true).map(|grapheme| shown(grapheme).1).sum()
}

/// The place in a row that is at this column, or the last one before it.
pub fn at_column(text: &str, row: &Row, column: usize) -> usize {
    let mut passed = 0;
    let mut before = row.start;
    for (offset, grapheme) in text[row.start..row.end].grapheme_indices(true) {
        before = row.start + offset;
        let taken = shown(grapheme).1;
        if passed + taken > column {
            return before;
        }
        passed += taken;
    }
    // The end of a row that goes on is the beginning of the next one.
    if row.last { row.end } else { before }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(text: &str, width: usize) -> Vec<&str> {
        rows(text, width).iter().map(|row| &text[row.start..row.end]).collect()
    }

    #[test]
    fn rows_end_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrapped("one two three", 7), ["one two ", "three"]);
        assert_eq!(wrapped("Масавыя затрыманні\n", 10), ["Масавыя ", "затрыманні", ""]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("a abcdefghij", 4), ["a ", "abcd", "efgh", "ij"]);
        assert_eq!(wrapped("ab    cd", 4), ["ab    ", "cd"]);
        assert_eq!(wrapped("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrapped("", 9), [""]);
    }

    #[test]
    fn marks_stay_with_their_letter_and_wide_letters_take_two_columns() {
        let text = "e\u{301}漢x";
        let row = rows(text, 20)[0];
        assert_eq!(column_of(text, &row, text.len()), 4);
        assert_eq!(at_column(text, &row, 1), 3);
        assert_eq!(at_column(text, &row, 2), 3, "no half of a wide letter");
        assert_eq!(at_column(text, &row, 99), text.len());
    }

    #[test]
    fn nothing_that_acts_is_shown() {
        for hostile in ["\u{1b}", "\u{9b}", "\u{7}", "\r", "\u{202e}", "\u{200b}", "\u{301}"] {
            assert_eq!(shown(hostile), (Cow::Borrowed("\u{fffd}"), 1), "{hostile:?}");
        }
        assert_eq!(shown("\t"), (Cow::Borrowed(" "), 1));
        let many = format!("a{}", "\u{301}".repeat(8));
        assert_eq!(shown(&many), (Cow::Borrowed("\u{fffd}"), 1));
        assert_eq!(shown("a\u{e0101}\u{e0102}").0, "a\u{fffd}\u{fffd}");
        assert_eq!(shown("👨‍👩‍👧‍👦"), (Cow::Borrowed("👨‍👩‍👧‍👦"), 2));
    }

    proptest! {
        #[test]
        fn every_row_fits_and_nothing_is_lost(text in "[a-z а-я\n漢\u{301}\t]{0,120}", width in 2usize..30) {
            let rows = rows(&text, width);
            let mut at = 0;
            for row in &rows {
                prop_assert_eq!(row.start, at);
                let shown = text[row.start..row.end].trim_end_matches([' ', '\t']);
                let columns: usize = shown.graphemes(true).map(|grapheme| super::shown(grapheme).1).sum();
                prop_assert!(columns <= width, "{:?}", shown);
                at = row.end + usize::from(row.last);
            }
            prop_assert_eq!(at, text.len() + 1);
            for (place, _) in text.grapheme_indices(true) {
                let row = row_of(&rows, place);
                prop_assert!(rows[row].start <= place && place <= rows[row].end);
                let found = at_column(&text, &rows[row], column_of(&text, &rows[row], place));
                prop_assert_eq!(row_of(&rows, found), row, "a movement stays in its row");
            }
        }
    }
}
