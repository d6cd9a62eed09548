//! What a text has that the vault does not: only that is remembered while the vault is locked.

use std::hash::{BuildHasher as _, RandomState};

use zeroize::Zeroizing;

/// The part of a text that differs from what is kept, and where it belongs.
#[derive(Debug)]
pub struct Rest {
    /// So many bytes at the beginning, and at the end, are as in what is kept.
    before: usize,
    after: usize,
    middle: Zeroizing<String>,
    /// What tells the kept text, and the whole one, from others.
    kept: u64,
    whole: u64,
    state: RandomState,
}

impl Rest {
    /// What `text` has beside `kept`.
    pub fn of(kept: &str, text: &str) -> Self {
        let same = |(one, other): &(char, char)| one == other;
        let length = |(one, _): (char, char)| one.len_utf8();
        let before: usize = kept.chars().zip(text.chars()).take_while(same).map(length).sum();
        let ends = kept[before..].chars().rev().zip(text[before..].chars().rev());
        let after: usize = ends.take_while(same).map(length).sum();
        let state = RandomState::new();
        Self {
            before,
            after,
            middle: Zeroizing::new(text[before..text.len() - after].to_owned()),
            kept: state.hash_one(kept),
            whole: state.hash_one(text),
            state,
        }
    }

    /// The whole text, from what is kept; `None` if that is the whole text already. If something else is kept by now,
    /// the part stands at its end: nothing that was written is lost.
    pub fn onto(&self, kept: &str) -> Option<Zeroizing<String>> {
        let told = self.state.hash_one(kept);
        if told == self.whole {
            return None;
        }
        let pieces = match (kept.get(..self.before), kept.len().checked_sub(self.after)) {
            (Some(before), Some(from)) if told == self.kept => {
                [before, &self.middle, kept.get(from..).unwrap_or_default()]
            }
            _ => [kept, if kept.is_empty() { "" } else { "\n" }, &self.middle],
        };
        let mut whole = Zeroizing::new(String::with_capacity(pieces.iter().map(|piece| piece.len()).sum()));
        pieces.iter().for_each(|piece| whole.push_str(piece));
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_not_kept_is_remembered() {
        let rest = Rest::of("Их забрали. Потом тихо.", "Их забрали в полдень. Потом тихо.");
        assert_eq!(rest.middle.as_str(), " в полдень");
        assert_eq!(rest.onto("another"), Some(Zeroizing::new("another\n в полдень".to_owned())));
        assert_eq!(rest.onto("Их забрали в полдень. Потом тихо."), None);
    }

    proptest! {
        #[test]
        fn with_what_is_kept_it_is_the_whole_again(kept in "[aы\u{301}\n]{0,9}", text in "[aы\u{301}\n]{0,9}") {
            let whole = Rest::of(&kept, &text).onto(&kept).map(|whole| whole.to_string());
            prop_assert_eq!(whole.unwrap_or(kept), text);
        }
    }
}
