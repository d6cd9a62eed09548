//! Dates as people know them: EDTF (the Extended Date/Time Format, ISO 8601-2:2019, Annex A, and the
//! Library of Congress specification of 2019): levels 0 and 1, sets `[a,b]` and `{a,b}` of level 2,
//! and unspecified digits anywhere at the end of a part (`2017-03-2X`).
//!
//! A text is checked, and kept exactly as it was written; [`crate::edtf_words`] reads it out.

use std::fmt;

/// A checked date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edtf {
    /// One date, however precise.
    One(Date),
    /// From one date to another; `1999/2000`, `2017-03-22/..`, `/2017`.
    Interval(Bound, Bound),
    /// One of these, it is not known which: `[2017-03-25,2017-03-26]`. Also what a clash of dates
    /// becomes when both are kept.
    OneOf(Vec<Member>),
    /// All of these: `{2017-03-25,2017-04-01}`.
    AllOf(Vec<Member>),
}

/// An end of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A date.
    Date(Date),
    /// `..`: goes on, or has no beginning.
    Open,
    /// Nothing written: not known.
    Unknown,
}

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// One date.
    Date(Date),
    /// `a..b`, `..b`, `a..`.
    Range(Option<Date>, Option<Date>),
}

/// How sure the writer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// `?`
    Uncertain,
    /// `~`
    Approximate,
    /// `%`
    Both,
}

/// A single date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Date {
    /// Four characters, digits with `X` at the end for what is not known; or `Y` and a long year; a
    /// leading `-` for years before 0000.
    pub year: String,
    /// Two characters: `01`–`12`, `21`–`24` for a season, or with `X`.
    pub month: Option<String>,
    /// Two characters, or with `X`.
    pub day: Option<String>,
    /// Time of day as written, without the `T`.
    pub time: Option<String>,
    /// `?`, `~` or `%` at the end.
    pub qualifier: Option<Qualifier>,
}

/// Why a text is not a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdtfError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong, in words.
    pub reason: &'static str,
}

impl fmt::Display for EdtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a date: {}. Write 2017-03-25, 2017-03, 2017, 2017-21 (spring), 2017-03-25~ (about), \
             2017-03-25? (not sure), 2017-03-2X (a day in the twenties), 2017-03-22/2017-03-24 (from, to) or \
             [2017-03-25,2017-03-26] (one of them)",
            self.text, self.reason
        )
    }
}

impl std::error::Error for EdtfError {}

/// Longest date, in bytes.
pub const EDTF_MAX: usize = 1024;

impl Edtf {
    /// Checks a text.
    ///
    /// # Errors
    /// [`EdtfError`] with the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, EdtfError> {
        let fail = |reason| EdtfError { text: text.chars().take(40).collect(), reason };
        if text.len() > EDTF_MAX {
            return Err(fail("it is too long"));
        }
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        let set = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(inner) = set('[', ']') {
            return members(inner).map(Self::OneOf).map_err(fail);
        }
        if let Some(inner) = set('{', '}') {
            return members(inner).map(Self::AllOf).map_err(fail);
        }
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(one), None, _) => date(one).map(Self::One).map_err(fail),
            (Some(from), Some(to), None) => interval(from, to).map_err(fail),
            _ => Err(fail("it has more than one slash")),
        }
    }
}

impl Date {
    /// The season's number, 21 (spring) to 24 (winter).
    pub fn season(&self) -> Option<u8> {
        self.month.as_ref().and_then(|m| m.parse().ok()).filter(|m| (21..=24).contains(m))
    }

    /// Whether HTML's `<time datetime>` can carry this date as it stands: a full year, month or day.
    pub fn is_plain(&self) -> bool {
        let digits =
            |part: &Option<String>| part.as_ref().is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()));
        self.qualifier.is_none()
            && self.season().is_none()
            && self.year.len() == 4
            && self.year.bytes().all(|b| b.is_ascii_digit())
            && self.year != "0000"
            && digits(&self.month)
            && digits(&self.day)
    }
}

fn interval(from: &str, to: &str) -> Result<Edtf, &'static str> {
    let bound = |text: &str| match text {
        "" => Ok(Bound::Unknown),
        ".." => Ok(Bound::Open),
        other => date(other).map(Bound::Date),
    };
    let (from, to) = (bound(from)?, bound(to)?);
    match (&from, &to) {
        (Bound::Date(a), Bound::Date(b)) => {
            if plainly_after(a, b) {
                return Err("it ends before it begins");
            }
        }
        (Bound::Date(_), _) | (_, Bound::Date(_)) => {}
        _ => return Err("an interval needs at least one date"),
    }
    Ok(Edtf::Interval(from, to))
}

/// Compared only where both are written in digits to the same precision.
fn plainly_after(a: &Date, b: &Date) -> bool {
    let key = |d: &Date| [Some(d.year.clone()), d.month.clone(), d.day.clone()];
    let (ka, kb) = (key(a), key(b));
    let comparable = ka.iter().zip(&kb).all(|(x, y)| x.is_some() == y.is_some())
        && ka.iter().chain(&kb).flatten().all(|part| part.bytes().all(|c| c.is_ascii_digit()));
    comparable && ka > kb
}

fn members(inner: &str) -> Result<Vec<Member>, &'static str> {
    inner
        .split(',')
        .map(str::trim)
        .map(|member| match member.split_once("..") {
            None => date(member).map(Member::Date),
            Some((from, to)) => {
                let end = |text: &str| if text.is_empty() { Ok(None) } else { date(text).map(Some) };
                match (end(from)?, end(to)?) {
                    (None, None) => Err("a range in a set needs at least one date"),
                    (from, to) => Ok(Member::Range(from, to)),
                }
            }
        })
        .collect()
}

fn date(text: &str) -> Result<Date, &'static str> {
    let (body, qualifier) = match text.char_indices().next_back() {
        Some((at, '?')) => (&text[..at], Some(Qualifier::Uncertain)),
        Some((at, '~')) => (&text[..at], Some(Qualifier::Approximate)),
        Some((at, '%')) => (&text[..at], Some(Qualifier::Both)),
        _ => (text, None),
    };
    let (calendar, time) = match body.split_once('T') {
        Some((calendar, time)) => (calendar, Some(time)),
        None => (body, None),
    };
    if let Some(long) = calendar.strip_prefix('Y') {
        let digits = long.strip_prefix('-').unwrap_or(long);
        let good = (5..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !good || time.is_some() {
            return Err("after Y comes a year of five digits or more");
        }
        return Ok(Date { year: calendar.to_owned(), month: None, day: None, time: None, qualifier });
    }
    let (sign, rest) = match calendar.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", calendar),
    };
    let mut parts = rest.split('-');
    let (year, month, day) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    if parts.next().is_some() {
        return Err("it has more than year, month and day");
    }
    if !shaped(year, 4) {
        return Err("a year has four digits (X for what is not known)");
    }
    if let Some(month) = month {
        check_month(month)?;
        if day.is_some() && month.parse::<u8>().is_ok_and(|m| m > 12) {
            return Err("a season has no day");
        }
    }
    if let Some(day) = day {
        check_day(year, month.unwrap_or("XX"), day)?;
    }
    if let Some(time) = time {
        if day.is_none_or(|d| d.contains('X')) {
            return Err("a time needs a full date");
        }
        check_time(time)?;
    }
    Ok(Date {
        year: format!("{sign}{year}"),
        month: month.map(String::from),
        day: day.map(String::from),
        time: time.map(String::from),
        qualifier,
    })
}

/// Digits, then `X` to the end: `2017`, `201X`, `XXXX`.
fn shaped(part: &str, len: usize) -> bool {
    let digits = part.bytes().take_while(u8::is_ascii_digit).count();
    part.len() == len && part.bytes().skip(digits).all(|b| b == b'X')
}

fn check_month(month: &str) -> Result<(), &'static str> {
    let reason = "a month is 01 to 12, a season 21 (spring) to 24 (winter), XX if not known";
    if !shaped(month, 2) {
        return Err(reason);
    }
    match month.parse::<u8>() {
        Ok(1..=12 | 21..=24) => Ok(()),
        Ok(_) => Err(reason),
        Err(_) if matches!(month, "XX" | "0X" | "1X") => Ok(()),
        Err(_) => Err(reason),
    }
}

fn check_day(year: &str, month: &str, day: &str) -> Result<(), &'static str> {
    if !shaped(day, 2) || !matches!(day.as_bytes()[0], b'0'..=b'3' | b'X') {
        return Err("a day has two digits (X for what is not known)");
    }
    let Ok(number) = day.parse::<u8>() else { return Ok(()) };
    let leap = match year.parse::<u32>() {
        Ok(y) => y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400)),
        Err(_) => true,
    };
    let longest = match month {
        "04" | "06" | "09" | "11" => 30,
        "02" if leap => 29,
        "02" => 28,
        _ => 31,
    };
    if (1..=longest).contains(&number) { Ok(()) } else { Err("that month has no such day") }
}

fn check_time(time: &str) -> Result<(), &'static str> {
    let reason = "a time is written 14:30 or 14:30:00, with Z or +03:00 after it if the zone is known";
    let (clock, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, ""),
    };
    let two = |text: &str, max: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|n| n <= max);
    let mut parts = clock.split(':');
    let good_clock = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(h), Some(m), None, None) => two(h, 23) && two(m, 59),
        (Some(h), Some(m), Some(s), None) => two(h, 23) && two(m, 59) && two(s, 60),
        _ => false,
    };
    let good_zone = match zone {
        "" | "Z" => true,
        other => {
            let offset = &other[1..];
            match offset.split_once(':') {
                Some((h, m)) => two(h, 14) && two(m, 59),
                None => two(offset, 14),
            }
        }
    };
    if good_clock && good_zone { Ok(()) } else { Err(reason) }
}

/// Checks an ISO 8601 duration such as `PT2H30M`, `P3Y`, `P2W`.
pub fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    let dated = units(date, "YMWD");
    let timed = match time {
        None => Some(0),
        Some(time) => units(time, "HMS").filter(|&n| n > 0),
    };
    matches!((dated, timed), (Some(d), Some(t)) if d + t > 0)
}

/// Counts `number unit` pairs whose units stand in the given order; a fraction may stand in any.
fn units(text: &str, order: &str) -> Option<usize> {
    let (mut next, mut count, mut digits) = (0, 0, 0);
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits += 1;
        } else if matches!(c, '.' | ',') && digits > 0 {
            continue;
        } else {
            let at = order.find(c)?;
            if at < next || digits == 0 {
                return None;
            }
            (next, digits, count) = (at + 1, 0, count + 1);
        }
    }
    (digits == 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_know_of_a_date_is_accepted() {
        for good in [
            "2017",
            "2017-03",
            "2017-03-25",
            "2017-21",
            "1999/2000",
            "2017-03-25/2017-03-26",
            "2017-03-25~",
            "2017-03-25?",
            "2017-03%",
            "2017-03-2X",
            "2017-03-XX",
            "2017-XX-XX",
            "201X",
            "20XX",
            "2017-03-22/..",
            "../2017",
            "2017/",
            "/2017",
            "[2017-03-25,2017-03-26]",
            "{1999,2000}",
            "[..2017-03]",
            "[1999..2001]",
            "-0044",
            "Y170000002",
            "2017-03-25T11:40",
            "2017-03-25T11:40:00+03:00",
            "2016-02-29",
            "2XXX-02-29",
        ] {
            assert!(Edtf::parse(good).is_ok(), "{good}: {:?}", Edtf::parse(good));
        }
    }

    #[test]
    fn what_is_no_date_is_refused_with_a_reason() {
        for bad in [
            "",
            "25.03.2017",
            "2017-3-25",
            "2017-13",
            "2017-20",
            "2017-25",
            "2017-02-29",
            "2017-04-31",
            "2017-00",
            "2017-03-00",
            "2017-21-01",
            "17",
            "2017/2016",
            "2017-03-26/2017-03-25",
            "/",
            "../..",
            "a/b/c",
            "2017/2018/2019",
            "[]",
            "[2017,x]",
            "20X7",
            "X017",
            "2017-03-25T25:00",
            "2017-03T10:00",
            "вчера",
            "2017-03-4X",
            "2017-03-25 ",
            "2017-2X",
            "Y17",
            "~",
            "2017~~",
        ] {
            assert!(Edtf::parse(bad).is_err(), "{bad}");
        }
        assert!(Edtf::parse("2017-02-29").unwrap_err().to_string().contains("no such day"));
    }

    #[test]
    fn durations() {
        for good in ["PT2H30M", "P3Y", "P2W", "P1Y2M3DT4H5M6S", "PT0.5H"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "P", "PT", "2H", "PT2", "P2H", "PT2M3H", "PTH", "P1DT"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
