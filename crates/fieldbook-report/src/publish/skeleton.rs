//! Words without their spelling: lower case, no marks, Cyrillic and Latin in one coarse alphabet, so
//! that Иванову, Ivanovu and ІВАНОВУ are one word. Coarse on purpose: it may hold two different
//! names for one (both are then replaced), it should not hold one name for two.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Where it stands, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its letters in the coarse alphabet.
    pub(super) skeleton: String,
    /// Letters and digits as written, marks and invisible characters left out.
    pub(super) letters: usize,
    pub(super) capital: bool,
    pub(super) cyrillic: bool,
    /// The parts of a word with apostrophes: l'Anna, Anna'll.
    pub(super) pieces: Vec<Token>,
}

/// Characters that nobody sees and that must not hide a name.
pub(super) fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn apostrophe(c: char) -> bool {
    matches!(c, '\'' | '´' | 'ʹ' | 'ʼ' | 'ʻ' | '‘' | '’' | '‛' | '′' | '＇')
}

/// The words of a text. Anything that is no letter, digit, mark or invisible character ends a word;
/// an apostrophe does not when letters stand on both sides.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let inside = word.is_some();
        // The apostrophe ʼ is a letter to Unicode.
        if apostrophe(c) && inside && chars.peek().is_some_and(|(_, next)| next.is_alphabetic()) {
            if let Some(word) = &mut word {
                word.breaks.push(at);
            }
            continue;
        }
        if c.is_alphanumeric() && !apostrophe(c) {
            word.get_or_insert_with(|| Word::at(at)).push(c, end);
        } else if inside && (invisible(c) || is_combining_mark(c)) {
            // Belongs to the word if the word goes on.
        } else {
            tokens.extend(word.take().map(|word| word.finish(text)));
        }
    }
    tokens.extend(word.take().map(|word| word.finish(text)));
    tokens
}

/// The skeleton of one word.
pub(super) fn skeleton(word: &str) -> String {
    tokens(word).into_iter().map(|token| token.skeleton).collect()
}

struct Word {
    start: usize,
    end: usize,
    folded: Vec<char>,
    letters: usize,
    capital: bool,
    breaks: Vec<usize>,
}

impl Word {
    fn at(start: usize) -> Self {
        Self { start, end: start, folded: Vec::new(), letters: 0, capital: false, breaks: Vec::new() }
    }

    fn push(&mut self, c: char, end: usize) {
        if self.letters == 0 {
            self.capital = c.is_uppercase();
        }
        self.letters += 1;
        self.end = end;
        decompose_compatible(c, |part| {
            if !is_combining_mark(part) {
                self.folded.extend(part.to_lowercase().filter(|c| c.is_alphanumeric()));
            }
        });
    }

    fn finish(self, text: &str) -> Token {
        let Self { start, end, mut folded, letters, capital, breaks } = self;
        // Pieces hold no apostrophe between letters, so this goes one level down and no further.
        let pieces = if breaks.is_empty() {
            Vec::new()
        } else {
            text[start..end].split(apostrophe).flat_map(tokens).collect()
        };
        let cyrillic = folded.iter().any(|c| is_cyrillic(*c));
        if cyrillic {
            for c in &mut folded {
                *c = look_alike(*c);
            }
        }
        let mut coarse = if cyrillic { from_cyrillic(&folded) } else { from_latin(&folded) };
        simplify(&mut coarse);
        Token { start, end, skeleton: coarse.into_iter().collect(), letters, capital, cyrillic, pieces }
    }
}

fn is_cyrillic(c: char) -> bool {
    ('\u{400}'..='\u{52f}').contains(&c)
}

/// Latin letters typed within a Cyrillic word (the Belarusian and Ukrainian і most of all).
fn look_alike(c: char) -> char {
    match c {
        'a' => 'а',
        'b' => 'в',
        'c' => 'с',
        'e' => 'е',
        'h' => 'н',
        'i' => 'і',
        'k' => 'к',
        'm' => 'м',
        'o' => 'о',
        'p' => 'р',
        't' => 'т',
        'x' => 'х',
        'y' => 'у',
        '0' => 'о',
        '3' => 'з',
        other => other,
    }
}

/// The alphabet: one letter for г, х, ц and ч, which the transliterations write h, g, kh, ch, c, ts.
fn from_cyrillic(word: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(word.len());
    for c in word {
        match c {
            'а' | 'я' => out.push('a'),
            'б' => out.push('b'),
            'в' => out.push('v'),
            'г' | 'ґ' | 'х' | 'ц' | 'ч' => out.push('g'),
            'д' => out.push('d'),
            'е' | 'ё' | 'є' | 'э' => out.push('e'),
            'ж' | 'з' => out.push('z'),
            'и' | 'й' | 'і' | 'ї' | 'ы' | 'ј' => out.push('i'),
            'к' => out.push('k'),
            'л' => out.push('l'),
            'м' => out.push('m'),
            'н' => out.push('n'),
            'о' => out.push('o'),
            'п' => out.push('p'),
            'р' => out.push('r'),
            'с' | 'ш' | 'щ' => out.push('s'),
            'т' => out.push('t'),
            'у' | 'ў' | 'ю' => out.push('u'),
            'ф' => out.push('f'),
            'ь' | 'ъ' => {}
            other => out.push(*other),
        }
    }
    out
}

/// Digraphs of the usual transliterations, the longest first.
const LATIN: [(&str, &str); 29] = [
    ("shch", "s"),
    ("szcz", "s"),
    ("sch", "s"),
    ("dzh", "dz"),
    ("sh", "s"),
    ("sz", "s"),
    ("zh", "z"),
    ("rz", "z"),
    ("kh", "g"),
    ("ch", "g"),
    ("cz", "g"),
    ("ts", "g"),
    ("tz", "g"),
    ("yu", "u"),
    ("iu", "u"),
    ("ju", "u"),
    ("ya", "a"),
    ("ia", "a"),
    ("ja", "a"),
    ("yo", "e"),
    ("jo", "e"),
    ("io", "e"),
    ("ye", "e"),
    ("ie", "e"),
    ("je", "e"),
    ("ph", "f"),
    ("th", "t"),
    ("x", "ks"),
    ("ß", "s"),
];

fn from_latin(word: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some(first) = rest.first() {
        let digraph = LATIN.iter().find(|(from, _)| {
            let mut at = rest.iter();
            from.chars().all(|c| at.next() == Some(&c))
        });
        if let Some((from, to)) = digraph {
            out.extend(to.chars());
            rest = &rest[from.chars().count()..];
            continue;
        }
        out.push(match first {
            'c' | 'h' => 'g',
            'j' | 'y' | 'ı' => 'i',
            'w' => 'v',
            'q' => 'k',
            'ł' => 'l',
            'ø' => 'o',
            'đ' => 'd',
            'æ' => 'e',
            other => *other,
        });
        rest = &rest[1..];
    }
    out
}

pub(super) fn is_vowel(c: char) -> bool {
    matches!(c, 'a' | 'e' | 'i' | 'o' | 'u')
}

/// Doubled letters become one, and an i beside another vowel goes: Мария, Maria, Mariya, Marija.
fn simplify(word: &mut Vec<char>) {
    word.dedup_by(|a, b| a == b && a.is_alphabetic());
    let source = word.clone();
    let mut index = 0_usize;
    word.retain(|c| {
        let before = index.checked_sub(1).and_then(|i| source.get(i));
        let after = source.get(index + 1);
        index += 1;
        let beside = |neighbour: Option<&char>| neighbour.is_some_and(|n| is_vowel(*n) && *n != 'i');
        // A leading i stays: Ирина and Рина are two.
        !(*c == 'i' && index > 1 && (beside(before) || beside(after)))
    });
    word.dedup_by(|a, b| a == b && a.is_alphabetic());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_have_one_skeleton() {
        for spellings in [
            &["Мария", "Maria", "Mariya", "Marija", "МАРИЯ", "Ма\u{301}рия", "Ма\u{ad}ри\u{200b}я", "Mapия"]
                [..],
            &["Михаил", "Mikhail", "Michail", "Міхаіл"],
            &["Žamchužny", "Жамчужны", "Жамчужный", "Zhamchuzhny"],
            &["Ковальчук", "Kovalchuk", "Kovalčuk", "Kowalczuk"],
            &["Пётр", "Петр", "Pyotr", "Petr"],
            &["Сергей", "Sergey", "Sergei", "Sergej"],
            &["Д'яченко", "Дʼяченко", "Д’яченко", "Дяченко", "Diachenko"],
            &["Елена", "Elena", "Yelena", "Jelena"],
            &["Быкаў", "Быкау", "Bykaŭ", "Bykau"],
        ] {
            let first = skeleton(spellings[0]);
            for other in spellings {
                assert_eq!(skeleton(other), first, "{other} against {}", spellings[0]);
            }
        }
        assert_ne!(skeleton("Иван"), skeleton("Анна"));
    }

    #[test]
    fn a_token_knows_where_it_stands() {
        let text = "Анна-Мария, д’Арк.";
        let words: Vec<&str> = tokens(text).iter().map(|t| &text[t.start..t.end]).collect();
        assert_eq!(words, ["Анна", "Мария", "д’Арк"]);
    }
}
