//! Spans of time as people type them: 90s, 30m, 48h, 7d.

use std::fmt;
use std::str::FromStr;

/// A span of whole seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(u64);

impl Span {
    /// Its seconds.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// So many minutes.
    pub const fn of_minutes(minutes: u32) -> Self {
        Self(minutes as u64 * 60)
    }
}

/// In words, by the largest unit that it is whole in.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
        let (size, name) =
            UNITS.into_iter().find(|(size, _)| self.0.is_multiple_of(*size)).unwrap_or((1, "second"));
        let number = self.0 / size;
        write!(f, "{number} {name}{}", if number == 1 { "" } else { "s" })
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a time such as 90s, 30m, 48h or 7d is expected".to_owned();
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(expected()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
        match number.checked_mul(unit) {
            Some(seconds) if seconds > 0 => Ok(Self(seconds)),
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        assert_eq!("30m".parse(), Ok(Span(1800)));
        assert_eq!("7d".parse(), Ok(Span(604_800)));
        for (text, words) in
            [("90s", "90 seconds"), ("60m", "1 hour"), ("30m", "30 minutes"), ("2d", "2 days")]
        {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), words);
        }
        for bad in
            ["", "m", "30", "0s", "-1s", "1.5h", "30 m", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
