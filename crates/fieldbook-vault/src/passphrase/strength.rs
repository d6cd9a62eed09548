//! How many guesses a passphrase withstands, and why it is not more.
//!
//! A guesser does not try letter by letter: he tries words, names, dates, walks over the keyboard, what was found in other
//! people's files, and all of that typed under another layout. So a text is cut into such pieces in the way that is
//! cheapest for him, and that cost is its strength. It is judged as typed and as the same keys under the other layouts;
//! the weakest reading counts. Where the judge knows too little it errs towards *weak*: letters that follow one another
//! as in a language are taken for one word of it, though the word is in no list of ours.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::dictionary::{DICTIONARY, Kind, LONGEST_WORD, folded};
use super::layout::{Board, lower};
use super::patterns;

/// A passphrase of fewer bits than this is not accepted for a vault.
///
/// A guess costs about a second of one core, as long as scrypt is set to that. Half of 2^50 guesses are 2^49 seconds of a
/// core, 18 million years of it; at one US cent for an hour of a rented core more than a thousand million dollars, and
/// still some ten million for somebody whose machines are a hundred times cheaper. A generated passphrase of six words has
/// 66 bits; this line is for those that people make themselves.
pub const ENOUGH_BITS: f64 = 50.0;

/// Below this many letters nothing is enough.
const SHORT: usize = 10;

/// No more letters than this are judged. What comes after them can only add.
const MOST_JUDGED: usize = 256;

/// Up to so many bits a letter, on the whole, a word of `len` letters is one as a language has them. Less for a short one,
/// where chance makes words too, and for a long one, where chance evens out and random letters must not pass for a word.
const fn natural_bits(len: usize) -> f64 {
    match len {
        0..=6 => 4.1,
        7..=LONG_WORD => 4.6,
        _ => 4.1,
    }
}

/// An unknown word costs a guesser this much at most: he has lists of a million words and their forms.
const ANY_WORD_BITS: f64 = 20.0;

/// Longer words are joined from shorter ones, and are worth more.
const LONG_WORD: usize = 12;

/// What each letter of a sentence is worth, spaces counted: a little more than people need to guess on.
const SENTENCE_BITS: f64 = 1.6;

/// What a word of one letter costs.
const LITTLE_LETTER_BITS: f64 = 3.0;

/// Why a passphrase is not stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// It has too few letters, whatever they are.
    TooShort,
    /// A notorious password, a name, a place or a saying is most of it.
    CommonPassword,
    /// It is one word, with or without something around it.
    OneWord,
    /// It is several words, but too few.
    FewWords,
    /// It is a sentence, where one word gives away the next.
    Sentence,
    /// Letters or digits in the order of the alphabet, such as `1234`.
    Sequence,
    /// The same thing again.
    Repeated,
    /// A date or a year.
    Date,
    /// Neighbouring keys, such as `qwerty`.
    KeyboardWalk,
    /// Known words, typed under another keyboard layout. Guessers try that.
    LayoutSwap,
    /// Signs in place of letters, such as `p@ssw0rd`. Guessers try that.
    Substitution,
}

/// What a judgement says. Holds nothing of the passphrase.
#[derive(Debug, Clone, PartialEq)]
pub struct Strength {
    bits: f64,
    reasons: Vec<Reason>,
}

impl Strength {
    /// How many guesses it takes, as a power of two.
    pub fn bits(&self) -> f64 {
        self.bits
    }

    /// Whether it is accepted for a vault.
    pub fn is_enough(&self) -> bool {
        self.bits >= ENOUGH_BITS && !self.reasons.contains(&Reason::TooShort)
    }

    /// Why it is not more, in the order in which it is best told. Never empty if [`is_enough`](Self::is_enough) says no.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

/// What one piece of a text is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    /// One letter that belongs to nothing.
    Letter,
    Gap,
    Word,
    /// A word in no list, or another form of one that is.
    Unlisted,
    Little,
    Notorious,
    Sequence,
    Repeated,
    Date,
    Walk,
}

/// The cheapest way to a place in the text.
#[derive(Debug, Clone, Copy)]
struct Step {
    bits: f64,
    from: usize,
    piece: Piece,
    undone: bool,
}

/// The signs that stand for letters, in two readings of what is ambiguous.
const SIGNS: [&str; 2] = ["@a4a8b(c3e6g9g1i!i|i0o5s$s7t+t2z", "@a4a8b(c3e6b9q1l!l|l0o5s$s7t+t2z"];

/// How strong `text` is as a passphrase.
pub fn judge(text: &str) -> Strength {
    let typed: Zeroizing<Vec<char>> = Zeroizing::new(capped(text));
    let mut weakest = judge_reading(&typed, 0.0, false);
    for other in Board::ALL.into_iter().filter(|board| *board != Board::Us) {
        for (from, to) in [(Board::Us, other), (other, Board::Us)] {
            let swapped: Zeroizing<Vec<char>> = Zeroizing::new(
                typed.iter().map(|letter| from.under(*letter, to).unwrap_or(*letter)).collect(),
            );
            if *swapped != *typed {
                let judged = judge_reading(&swapped, 1.0, true);
                if judged.bits < weakest.bits {
                    weakest = judged;
                }
            }
        }
    }
    let unexplained = weakest.reasons.is_empty() && !weakest.is_enough();
    if (typed.len() < SHORT || unexplained) && !weakest.reasons.contains(&Reason::TooShort) {
        weakest.reasons.insert(0, Reason::TooShort);
    }
    weakest
}

/// The letters that are judged: composed, so that one letter is one, and without the spaces at the ends. Here as below a
/// list has its full room from the start, so that it does not grow and leave a copy behind.
fn capped(text: &str) -> Vec<char> {
    let mut letters = Vec::with_capacity(MOST_JUDGED);
    letters.extend(text.trim().nfc().take(MOST_JUDGED));
    letters
}

fn judge_reading(letters: &[char], handicap: f64, swapped: bool) -> Strength {
    let mut judged = Cut::of(letters).judged();
    // Single letters between signs, as in "1-2-3-4-5", are judged as what they are without the signs.
    let mut bare = Zeroizing::new(Vec::with_capacity(letters.len()));
    bare.extend(letters.iter().copied().filter(|letter| letter.is_alphanumeric()));
    if bare.len() < letters.len() {
        let words = letters.split(|letter| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        let squeezed = if words.clone().all(|word| word.len() <= 2) {
            Some(Cut::of(&bare).judged())
        } else {
            said(&bare)
        };
        judged = weaker(judged, squeezed);
    } else {
        judged = weaker(judged, said(&bare));
    }
    judged.bits += handicap;
    if swapped && judged.reasons.iter().any(|reason| *reason != Reason::TooShort) {
        judged.reasons.push(Reason::LayoutSwap);
    }
    judged
}

fn weaker(one: Strength, other: Option<Strength>) -> Strength {
    match other {
        Some(other) if other.bits < one.bits => other,
        _ => one,
    }
}

/// A saying that everybody knows, with something around it.
fn said(bare: &[char]) -> Option<Strength> {
    let mut text = Zeroizing::new(String::with_capacity(bare.len() * 4));
    bare.iter().for_each(|letter| text.push(folded(*letter)));
    let (letters, bits) = DICTIONARY.saying_in(&text)?;
    let around = bare.len().saturating_sub(letters) as f64;
    Some(Strength { bits: bits + 2.0 + 4.7 * around, reasons: vec![Reason::CommonPassword] })
}

/// A text that is being cut into the pieces that are cheapest for a guesser.
struct Cut<'text> {
    letters: &'text [char],
    folded: Zeroizing<Vec<char>>,
    unsigned: [Zeroizing<Vec<char>>; 2],
    /// How many letters from each place stood somewhere before it.
    repeated: Vec<usize>,
    steps: Vec<Option<Step>>,
}

impl<'text> Cut<'text> {
    fn of(letters: &'text [char]) -> Self {
        let small: Vec<char> = letters.iter().map(|letter| folded(*letter)).collect();
        let unsigned =
            SIGNS.map(|signs| Zeroizing::new(small.iter().map(|letter| meant(signs, *letter)).collect()));
        let mut steps = vec![None; letters.len() + 1];
        if let Some(first) = steps.first_mut() {
            *first = Some(Step { bits: 0.0, from: 0, piece: Piece::Gap, undone: false });
        }
        let repeated = repeated(&small);
        let mut cut = Self { letters, folded: Zeroizing::new(small), unsigned, repeated, steps };
        for at in 0..letters.len() {
            cut.one_letter(at);
            cut.words(at);
            cut.patterns(at);
            cut.repeats(at);
        }
        cut
    }

    /// Takes note that `len` letters from `at` cost `bits`, if that is the cheapest way so far.
    fn offer(&mut self, at: usize, len: usize, bits: f64, piece: Piece, undone: bool) {
        let Some(Some(before)) = self.steps.get(at) else { return };
        let step = Step { bits: before.bits + bits, from: at, piece, undone };
        if let Some(place) = self.steps.get_mut(at + len)
            && place.is_none_or(|held| step.bits < held.bits)
        {
            *place = Some(step);
        }
    }

    fn one_letter(&mut self, at: usize) {
        let letter = self.letters[at];
        let within = |place: usize| self.letters.get(place).is_some_and(|letter| letter.is_alphanumeric());
        let between = at > 0 && within(at - 1) && within(at + 1);
        match letter {
            ' ' if between => self.offer(at, 1, 0.0, Piece::Gap, false),
            '-' | '_' | '.' | ',' | '+' | '/' if between => self.offer(at, 1, 1.5, Piece::Gap, false),
            _ => self.offer(at, 1, letter_bits(letter), Piece::Letter, false),
        }
    }

    fn words(&mut self, at: usize) {
        let mut word = Zeroizing::new(String::with_capacity(LONGEST_WORD * 4));
        self.word_of_one_letter(at);
        for len in 2..=LONGEST_WORD.min(self.letters.len() - at) {
            let capitals = capital_bits(&self.letters[at..at + len]);
            for source in 0..4 {
                let letters = match source {
                    0 | 1 => &self.folded[at..at + len],
                    _ => &self.unsigned[source - 2][at..at + len],
                };
                let undone = source >= 2;
                if undone && letters == &self.folded[at..at + len] {
                    continue;
                }
                word.clear();
                if source == 1 {
                    word.extend(letters.iter().rev());
                } else {
                    word.extend(letters);
                }
                if let Some(known) = DICTIONARY.find(&word) {
                    let piece = match known.kind {
                        Kind::Listed => Piece::Word,
                        Kind::Little => Piece::Little,
                        Kind::Notorious => Piece::Notorious,
                    };
                    let tricks = [0.0, 1.5, 1.5, 1.5][source];
                    self.offer(at, len, known.bits + capitals + tricks, piece, undone);
                }
            }
        }
        self.unknown_words(at);
    }

    /// A letter that stands alone as a word does, such as `a` or `и`.
    fn word_of_one_letter(&mut self, at: usize) {
        let free = |place: Option<usize>| {
            place.and_then(|place| self.letters.get(place)).is_none_or(|letter| !letter.is_alphanumeric())
        };
        let alone = free(at.checked_sub(1)) && free(at.checked_add(1));
        let mut letter = Zeroizing::new([0_u8; 4]);
        let known = DICTIONARY.find(self.folded[at].encode_utf8(letter.as_mut_slice()));
        if alone && known.is_some_and(|known| known.kind == Kind::Little) {
            self.offer(at, 1, LITTLE_LETTER_BITS, Piece::Little, false);
        }
    }

    /// Words of a language that we do not know, told by how their letters follow one another.
    fn unknown_words(&mut self, at: usize) {
        let (mut before, mut surprise) = (None, 0.0);
        let mut word = Zeroizing::new(String::with_capacity(LONGEST_WORD * 4));
        for len in 1..=LONGEST_WORD.min(self.letters.len() - at) {
            let next = self.folded[at + len - 1];
            let Some(bits) = DICTIONARY.surprise(before, next) else { return };
            surprise += bits;
            before = Some(next);
            word.push(next);
            let capitals = capital_bits(&self.letters[at..at + len]);
            if let Some(form) = DICTIONARY.form(&word) {
                self.offer(at, len, form + capitals, Piece::Unlisted, false);
            }
            if len >= 4 && surprise / len as f64 <= natural_bits(len) {
                let joined = 2.0 * len.saturating_sub(LONG_WORD) as f64;
                let bits = surprise.min((8.0 + 1.5 * len as f64).min(ANY_WORD_BITS) + joined);
                self.offer(at, len, bits + capitals, Piece::Unlisted, false);
            }
        }
    }

    fn patterns(&mut self, at: usize) {
        let mut found = Vec::new();
        patterns::sequences(&self.folded[at..], |len, bits| found.push((len, bits, Piece::Sequence)));
        patterns::dates(&self.folded[at..], |len, bits| found.push((len, bits, Piece::Date)));
        patterns::walks(&self.letters[at..], |len, bits| found.push((len, bits, Piece::Walk)));
        for (len, bits, piece) in found {
            let capitals =
                if piece == Piece::Sequence { capital_bits(&self.letters[at..at + len]) } else { 0.0 };
            self.offer(at, len, bits + capitals, piece, false);
        }
    }

    /// What stood in the text before: which place, and how much of it.
    fn repeats(&mut self, at: usize) {
        let longest = self.repeated.get(at).copied().unwrap_or(0);
        for len in 3..=longest {
            let bits = 1.0 + (at as f64).log2() + (len as f64).log2();
            self.offer(at, len, bits, Piece::Repeated, false);
        }
    }

    /// What the cheapest cut costs, and why that is so little.
    fn judged(&self) -> Strength {
        let mut bits = self.steps.last().copied().flatten().map_or(0.0, |step| step.bits);
        let (mut loose, mut listed, mut unlisted, mut little, mut notorious) = (0, 0, 0, 0, 0);
        let mut reasons = Vec::new();
        let mut at = self.letters.len();
        while at > 0 {
            let Some(step) = self.steps.get(at).copied().flatten() else { break };
            match step.piece {
                Piece::Letter => loose += 1,
                Piece::Gap => {}
                Piece::Word => listed += 1,
                Piece::Unlisted => unlisted += 1,
                Piece::Little => little += 1,
                Piece::Notorious => notorious += 1,
                Piece::Sequence => reasons.push(Reason::Sequence),
                Piece::Repeated => reasons.push(Reason::Repeated),
                Piece::Date => reasons.push(Reason::Date),
                Piece::Walk => reasons.push(Reason::KeyboardWalk),
            }
            if step.undone {
                reasons.push(Reason::Substitution);
            }
            // Every step leads back by one letter at least.
            at = step.from;
        }
        // Words by chance have few little ones among them, and the forms that stand in dictionaries.
        let grammar = little >= 2 && unlisted >= 1 || little >= 3;
        let sentence = SENTENCE_BITS * self.letters.len() as f64;
        let words = listed + unlisted + little;
        if grammar && loose <= 2 && sentence < bits {
            bits = sentence;
            reasons.push(Reason::Sentence);
        } else if notorious > 0 && words <= notorious {
            reasons.push(Reason::CommonPassword);
        } else if words + notorious == 1 {
            reasons.push(Reason::OneWord);
        } else if words + notorious > 1 {
            reasons.push(Reason::FewWords);
        }
        if reasons.is_empty() && loose > 0 && bits < ENOUGH_BITS {
            reasons.push(Reason::TooShort);
        }
        reasons.sort_unstable();
        reasons.dedup();
        Strength { bits, reasons }
    }
}

/// For each place how many letters from there are the same as from some earlier place.
fn repeated(letters: &[char]) -> Vec<usize> {
    let mut longest = vec![0; letters.len()];
    for distance in 1..letters.len() {
        let mut same = 0;
        for at in (distance..letters.len()).rev() {
            same = if letters[at] == letters[at - distance] { same + 1 } else { 0 };
            longest[at] = same.max(longest[at]);
        }
    }
    longest
}

fn meant(signs: &str, letter: char) -> char {
    let mut signs = signs.chars();
    while let (Some(sign), Some(meant)) = (signs.next(), signs.next()) {
        if sign == letter {
            return meant;
        }
    }
    letter
}

/// What a letter costs that belongs to nothing.
fn letter_bits(letter: char) -> f64 {
    match letter {
        '0'..='9' => 3.3,
        'a'..='z' => 4.7,
        'A'..='Z' => 5.7,
        '!'..='~' => 5.0,
        _ if letter.is_whitespace() => 1.0,
        _ if letter.is_uppercase() => 6.0,
        _ => 5.0,
    }
}

/// What capitals add to a word: little for the first or for all, more for those in the middle.
fn capital_bits(word: &[char]) -> f64 {
    let capitals = word.iter().filter(|letter| lower(**letter) != **letter).count();
    let first = word.first().is_some_and(|letter| lower(*letter) != *letter);
    match capitals {
        0 => 0.0,
        1 if first => 1.0,
        all if all == word.len() => 1.0,
        some => 2.0 + (some.min(word.len() - some) as f64),
    }
}

#[cfg(test)]
mod tests;
