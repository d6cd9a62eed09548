//! Text that others wrote, made harmless for a terminal.
//!
//! A label, a title or a narrative comes from another device. Printed as it is, it could move the
//! cursor, change the title of the window, or (with bidirectional overrides) make a line read as
//! something else. Such characters are replaced, never passed on.

/// Whether a character may act on a terminal instead of being shown.
fn acts(character: char) -> bool {
    matches!(character,
        // C0 and C1 controls, DEL: escape sequences begin with one of them.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators, and characters that nobody sees: any number of them, behind any letter, would carry
        // what one cannot read. What joins letters and signs, and tells a sign's form, is needed.
        | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{2065}' | '\u{206a}'..='\u{206f}'
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// One line of untrusted text: line ends and tabs become spaces, acting characters U+FFFD.
pub fn line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if acts(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Untrusted text of several lines: line ends stay, acting characters become U+FFFD.
pub fn text(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            c if acts(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Text that somebody types or pastes: line ends become LF, tabs spaces, and acting characters are left out.
pub fn typed(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', " ");
    text.chars().filter(|c| *c == '\n' || !acts(*c)).collect()
}

/// JSON text in which acting characters are written as `\uXXXX`: the value is unchanged, and a
/// terminal that shows it is safe. (JSON has such characters inside strings only.)
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31mc\u{202e}d\u{2066}e\u{e0041}f\u{7}g\rh";

    #[test]
    fn nothing_that_acts_reaches_the_terminal() {
        for clean in [line(HOSTILE), text(HOSTILE)] {
            assert_eq!(clean, "a\u{fffd}[2Jb\u{fffd}31mc\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h");
        }
        assert_eq!(line("one\ntwo"), "one two");
        assert_eq!(line("a\u{e0101}b\u{34f}c\u{ad}d\u{3164}"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(text("one\r\ntwo"), "one\ntwo");
    }

    #[test]
    fn names_in_four_languages_are_left_as_they_are() {
        for name in ["Michail Žamchužny", "Масавыя затрыманні", "Переслідування", "می‌خواهم", "👩‍⚖️"]
        {
            assert_eq!(line(name), name);
        }
    }

    #[test]
    fn json_keeps_its_value_and_loses_its_teeth() {
        let plain = serde_json::to_string(HOSTILE).unwrap();
        let safe = json(&plain);
        assert!(!safe.chars().any(acts));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), HOSTILE);
    }
}
