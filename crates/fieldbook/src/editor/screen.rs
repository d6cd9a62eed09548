//! Draws a text that is written: a row that says what it is, the text, how it stands, and the keys. Only rows that changed
//! are sent, and what a row says is safe for a terminal whoever wrote it.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use zeroize::Zeroizing;

use super::buffer::Buffer;
use super::layout::{self, Row, is_plain, shown};
use super::terminal::Terminal;
use super::words;

/// With fewer rows there are neither title nor keys.
const ROWS_FOR_ALL: usize = 6;

/// A row as it is sent, and how many columns it takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    bytes: Zeroizing<String>,
    columns: usize,
}

impl Line {
    fn new(columns: usize) -> Self {
        Self { bytes: Zeroizing::new(String::with_capacity(16 * columns + 64)), columns: 0 }
    }

    /// Adds a grapheme, made safe; false if it has no room.
    fn put(&mut self, grapheme: &str, columns: usize) -> bool {
        let (safe, taken) = shown(grapheme);
        if self.columns + taken > columns {
            return false;
        }
        self.bytes.push_str(&safe);
        self.columns += taken;
        if !is_plain(&safe, taken) {
            let _ = write!(self.bytes, "\x1b[{}G", self.columns + 1);
        }
        true
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    /// Row by row, as it was sent.
    sent: Vec<Line>,
    size: (usize, usize),
    /// The first row of the text that is shown.
    top: usize,
    rows: Vec<Row>,
    /// How many rows the word on how it stands takes.
    below: usize,
    /// Of which text, in which width, the rows are.
    rows_of: Option<(u64, usize)>,
}

impl Screen {
    /// The rows of the text as they are broken now.
    pub fn rows(&mut self, buffer: &Buffer, terminal: &Terminal) -> &[Row] {
        let size = terminal.size();
        if size != self.size {
            self.size = size;
            self.sent.clear();
        }
        if self.rows_of != Some((buffer.revision(), size.0)) {
            self.rows = layout::rows(buffer.text(), size.0);
            self.rows_of = Some((buffer.revision(), size.0));
        }
        &self.rows
    }

    /// How many rows of the text are seen at once.
    pub fn height(&self) -> usize {
        let others = self.below.max(1) + if self.size.1 >= ROWS_FOR_ALL { 2 } else { 0 };
        self.size.1.saturating_sub(others).max(1)
    }

    /// The screen shows something else by now, or another text is shown: all of it is sent once more.
    pub fn begin_anew(&mut self) {
        self.sent.clear();
        self.rows_of = None;
    }

    /// Shows it all. `asking`: the status is a question, and the keys of the text are not for it.
    pub fn draw(&mut self, terminal: &Terminal, title: &str, buffer: &Buffer, status: &str, asking: bool) {
        self.rows(buffer, terminal);
        let (columns, rows) = self.size;
        let mut below = layout::rows(status, columns);
        below.truncate((rows / 3).max(1));
        self.below = below.len();
        let (height, all) = (self.height(), rows >= ROWS_FOR_ALL);
        let at = layout::row_of(&self.rows, buffer.cursor());
        self.top = self.top.clamp((at + 1).saturating_sub(height), at);
        let mut lines: Vec<Line> = Vec::with_capacity(rows);
        if all {
            lines.push(bar(title, columns));
        }
        for row in (self.top..self.top + height).map(|number| self.rows.get(number)) {
            lines.push(row.map_or_else(Line::default, |row| {
                line(&buffer.text()[row.start..row.end], row.start, buffer.selection(), columns)
            }));
        }
        lines.extend(below.iter().map(|row| bar(&status[row.start..row.end], columns)));
        if all {
            lines.push(help(if asking { &words::HELP[..1] } else { &words::HELP }, columns));
        }
        let mut out = Zeroizing::new(String::with_capacity(rows * (4 * columns + 64)));
        out.push_str("\x1b[?25l");
        for (number, line) in lines.iter().enumerate() {
            if self.sent.get(number) != Some(line) {
                let _ = write!(out, "\x1b[{};1H\x1b[0m{}\x1b[0m", number + 1, line.bytes.as_str());
                // In the last column the cursor stands on what it wrote.
                out.push_str(if line.columns >= columns { "" } else { "\x1b[K" });
            }
        }
        let column = layout::column_of(buffer.text(), &self.rows[at], buffer.cursor()).min(columns - 1);
        // Where it is asked something the cursor does not stand in the text, as if it went on there.
        let (row, column) =
            if asking { (height + usize::from(all), 0) } else { (at - self.top + usize::from(all), column) };
        let _ = write!(out, "\x1b[{};{}H\x1b[?25h", row + 1, column + 1);
        // What a terminal did not take is sent once more.
        self.sent = if terminal.show(out.as_bytes()) { lines } else { Vec::new() };
    }
}

/// Part of the text, which begins at `start`, as far as there are columns.
fn line(text: &str, start: usize, selection: Option<Range<usize>>, columns: usize) -> Line {
    let mut line = Line::new(columns);
    let mut marked = false;
    for (offset, grapheme) in text.grapheme_indices(true) {
        let mark = selection.as_ref().is_some_and(|range| range.contains(&(start + offset)));
        if mark != marked {
            line.bytes.push_str(if mark { "\x1b[7m" } else { "\x1b[27m" });
            marked = mark;
        }
        if !line.put(grapheme, columns) {
            break;
        }
    }
    line
}

/// Words of ours, or a title, in a row of its own.
fn bar(text: &str, columns: usize) -> Line {
    let mut bar = Line::new(columns);
    bar.bytes.push_str("\x1b[7m");
    let _ = text.graphemes(true).all(|grapheme| bar.put(grapheme, columns));
    bar.bytes.extend(std::iter::repeat_n(' ', columns - bar.columns));
    bar.columns = columns;
    bar
}

/// As many keys as fit.
fn help(words: &[&str], columns: usize) -> Line {
    let mut help = Line::new(columns);
    for word in words {
        let gap = if help.columns == 0 { "" } else { "   " };
        if help.columns + gap.len() + word.len() > columns {
            break;
        }
        help.bytes.push_str(gap);
        help.bytes.push_str(word);
        help.columns = help.bytes.len();
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_can_act_on_the_terminal() {
        let hostile = "a\u{1b}]0;title\u{7}\u{1b}[2Jb\u{9b}31m\r";
        for shown in [line(hostile, 0, None, 80), bar(hostile, 80)] {
            let own = shown.bytes.replace("\x1b[7m", "").replace("\x1b[27m", "");
            assert!(own.chars().all(|c| !c.is_control()), "{own:?}");
            assert!(own.contains("\u{fffd}]0;title\u{fffd}\u{fffd}[2Jb"), "{own:?}");
        }
    }

    #[test]
    fn what_is_selected_stands_out_and_no_line_is_longer_than_the_screen() {
        assert_eq!(line("abc", 10, Some(11..12), 80).bytes.as_str(), "a\x1b[7mb\x1b[27mc");
        let wide = line("漢字漢", 0, None, 5);
        assert_eq!((wide.bytes.as_str(), wide.columns), ("漢\x1b[3G字\x1b[5G", 4));
        assert_eq!(line("abc", 0, Some(0..3), 3).columns, 3);
        assert!(help(&words::HELP, 30).columns <= 30 && help(&words::HELP, 30).bytes.contains("LOCK"));
    }

    #[test]
    fn what_takes_more_columns_on_some_terminals_hides_nothing_behind_it() {
        let text = "a👩\u{200d}👩\u{200d}👩b";
        assert_eq!(line(text, 0, None, 80).bytes.as_str(), "a👩\u{200d}👩\u{200d}👩\x1b[4Gb");
        assert_eq!(line("e\u{301}x", 0, None, 80).bytes.as_str(), "e\u{301}\x1b[2Gx");
        let chain = format!("{}hidden", ["👩"; 9].join("\u{200d}"));
        assert_eq!(line(&chain, 0, None, 80).bytes.as_str(), "\u{fffd}hidden");
    }
}
