//! Lines for a terminal: broken between words, never within one, and never within a command that somebody may copy.

use std::os::fd::AsFd;

use rustix::termios::{isatty, tcgetwinsize};
use unicode_width::UnicodeWidthStr as _;
use zeroize::Zeroizing;

/// The text as it is to be sent there: as it is, unless that is a terminal that says how wide it is.
pub fn fitting(text: &str, to: impl AsFd) -> Zeroizing<String> {
    let columns = if isatty(&to) { tcgetwinsize(&to).map_or(0, |size| size.ws_col) } else { 0 };
    Zeroizing::new(if columns == 0 { text.to_owned() } else { wrapped(text, columns.into()) })
}

/// No line longer than so many columns, but for a word that is. What a line begins with stands before each of its rows.
fn wrapped(text: &str, columns: usize) -> String {
    // As much as may come: a buffer that grows leaves copies behind.
    let mut out = String::with_capacity(2 * text.len());
    for line in text.split_inclusive('\n') {
        // Whoever draws with escapes has laid it out already.
        if line.trim_end().width() <= columns || line.contains('\x1b') {
            out.push_str(line);
            continue;
        }
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        let indent = if indent.len() * 2 < columns { indent } else { "" };
        let (content, end) = line.split_at(line.trim_end_matches([' ', '\n']).len());
        let mut at = 0;
        for (gap, word) in Words(content) {
            let (space, width) = (gap.width(), word.width());
            if at > indent.len() && at + space + width > columns {
                out.push('\n');
                out.push_str(indent);
                at = indent.len();
            } else {
                out.push_str(gap);
                at += space;
            }
            out.push_str(word);
            at += width;
        }
        // A question ends with a space.
        out.push_str(end);
    }
    out
}

/// Each word, and the spaces before it. What stands between two backticks is one.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.len() - self.0.trim_start_matches(' ').len();
        let (gap, rest) = self.0.split_at(start);
        if rest.is_empty() {
            return None;
        }
        // In the midst of a word it is an apostrophe.
        let (mut quoted, mut before) = (false, ' ');
        let end = rest.char_indices().find(|(_, c)| {
            quoted ^= *c == '`' && (quoted || [' ', '(', '['].contains(&before));
            before = *c;
            *c == ' ' && !quoted
        });
        // A backtick that nothing closes is one like any other.
        let end = match end {
            None if quoted => rest.find(' '),
            end => end.map(|(at, _)| at),
        };
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = rest;
        Some((gap, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("short", 10), "short");
        assert_eq!(wrapped("one two three\nfour", 8), "one two\nthree\nfour");
        assert_eq!(wrapped("  один два три\n", 9), "  один\n  два три\n");
        assert_eq!(wrapped("id  wide   gap", 9), "id  wide\ngap");
        // A word that is longer than a line is left to the terminal.
        assert_eq!(wrapped("a verylongword b", 6), "a\nverylongword\nb");
        assert_eq!(wrapped("漢字 漢字 漢字", 9), "漢字 漢字\n漢字");
        assert_eq!(wrapped("one two? ", 5), "one\ntwo? ");
        assert_eq!(wrapped("one two \n", 7), "one two \n");
    }

    #[test]
    fn a_command_stays_in_one_row_and_a_lost_backtick_does_no_harm() {
        assert_eq!(wrapped("see `edit ab --write` now", 18), "see\n`edit ab --write`\nnow");
        assert_eq!(wrapped("it's ` one two three", 8), "it's `\none two\nthree");
        assert_eq!(wrapped("об`єкт і суб`єкт тут", 9), "об`єкт і\nсуб`єкт\nтут");
        assert_eq!(wrapped("\x1b[30;47m  ##  \x1b[0m", 8), "\x1b[30;47m  ##  \x1b[0m");
    }
}
