//! Names of people whom a note mentions and whom the list of people does not have: "Call Пётр
//! Сидоренко". A full name is found by its given name (those of [`super::spellings`], in any case of
//! the grammar) with another capitalised word beside it. A name in one word is not: it would take
//! every Minister and every Monday with it.

use std::sync::LazyLock;

use super::names::Names;
use super::skeleton::{Token, tokens};
use super::spellings::given_names;
use crate::note::Note;

static GIVEN: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names::default();
    for name in given_names() {
        names.allow(0, name);
    }
    names
});

/// What the cases of the grammar add to a surname. `ов`, `ев` and the like are no case.
const CASES: [&str; 14] =
    ["ого", "его", "ому", "ему", "ым", "им", "ом", "ем", "ой", "ей", "ою", "ую", "ами", "ых"];

/// Letters of a surname that must be left.
const STEM_MIN: usize = 4;

/// Full names in these notes, as spellings to protect: words that no listed person has.
pub(super) fn names<'a>(notes: impl Iterator<Item = &'a Note>, known: &Names) -> Vec<String> {
    let mut found = Vec::new();
    for note in notes {
        let words = tokens(&note.text);
        // "Спросите Петра Сидоренко": the word before belongs to the given name only if none follows.
        let named = |at: usize| {
            words
                .get(at..at + 2)
                .is_some_and(|pair| pair[1].capital && beside(&note.text, &pair[0], &pair[1]))
        };
        for (at, pair) in words.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            let both = first.capital && second.capital && first.letters > 1 && second.letters > 1;
            let given = |word: &Token| word.letters > 2 && GIVEN.knows(word);
            if !beside(&note.text, first, second) || !both || (known.knows(first) && known.knows(second)) {
                continue;
            }
            let text = |word: &Token| note.text[word.start..word.end].to_owned();
            let surname = match (given(first), given(second)) {
                (true, _) => second,
                (false, true) if !begins_sentence(&note.text, first) && !named(at + 1) => first,
                _ => continue,
            };
            found.push(format!("{} {}", text(first), text(second)));
            found.extend(nominative(&text(surname)));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn beside(text: &str, first: &Token, second: &Token) -> bool {
    text[first.end..second.start].chars().all(|c| c == ' ' || c == '\u{a0}')
}

/// Its capital letter may be that of the sentence.
fn begins_sentence(text: &str, word: &Token) -> bool {
    let before = text[..word.start].trim_end_matches([' ', '\u{a0}', '"', '«', '(', '—', '–', '-']);
    before.is_empty() || before.ends_with(['.', '!', '?', '…', ':', '\n'])
}

/// The surname without the ending of its case, where it may have one.
fn nominative(surname: &str) -> Option<String> {
    let stem = CASES.iter().find_map(|ending| surname.strip_suffix(ending))?;
    (stem.chars().count() >= STEM_MIN).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, known: &[&str]) -> Vec<String> {
        let mut names = Names::default();
        known.iter().for_each(|name| names.protect(0, name));
        let note =
            Note { id: String::new(), actor: String::new(), time_ms: 0, text: text.into(), reply_to: None };
        super::names(std::iter::once(&note), &names)
    }

    #[test]
    fn full_names_are_found_in_any_case_and_other_words_stay() {
        assert_eq!(found("Спросите Петра Сидоренко, он видел", &[]), ["Петра Сидоренко"]);
        assert_eq!(found("говорили с Ивановым Сергеем", &[]), ["Иванов", "Ивановым Сергеем"]);
        assert_eq!(found("Call Dzmitry Zajcaŭ.", &[]), ["Dzmitry Zajcaŭ"]);
        assert!(found("Кто это видел? Ответ до Понедельника. Что сказала Ольга?", &[]).is_empty());
        assert!(found("Это Ольга Ковальчук?", &["Ольга Ковальчук"]).is_empty());
        assert!(found("The Ministry of Justice, March 2017", &[]).is_empty());
    }
}
