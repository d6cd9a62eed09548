//! The languages in which templates and publications speak.

/// A language with labels. A report may be written in any language (a BCP 47 tag); its labels then
/// fall back to English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// en
    English,
    /// ru
    Russian,
    /// be
    Belarusian,
    /// uk
    Ukrainian,
}

impl Language {
    /// Every language with labels.
    pub const ALL: [Self; 4] = [Self::English, Self::Russian, Self::Belarusian, Self::Ukrainian];

    /// The language of a BCP 47 tag; English for any other.
    pub fn of(tag: &str) -> Self {
        match tag.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase().as_str() {
            "ru" => Self::Russian,
            "be" => Self::Belarusian,
            "uk" => Self::Ukrainian,
            _ => Self::English,
        }
    }

    /// Its BCP 47 tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
            Self::Belarusian => "be",
            Self::Ukrainian => "uk",
        }
    }
}

/// Whether a text has the shape of a BCP 47 tag: letters and digits in parts of 1 to 8, joined by `-`.
pub fn is_language_tag(text: &str) -> bool {
    text.len() <= crate::limits::LANGUAGE_MAX
        && text.split('-').enumerate().all(|(index, part)| {
            (1..=8).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric())
                && (index > 0 || (part.len() >= 2 && part.bytes().all(|b| b.is_ascii_alphabetic())))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for good in ["en", "be-tarask", "und", "sr-Latn-RS"] {
            assert!(is_language_tag(good), "{good}");
        }
        for bad in ["", "e", "русский", "en_GB", "en-", "English language"] {
            assert!(!is_language_tag(bad), "{bad}");
        }
        assert_eq!(Language::of("be-tarask"), Language::Belarusian);
        assert_eq!(Language::of("ka"), Language::English);
    }
}
