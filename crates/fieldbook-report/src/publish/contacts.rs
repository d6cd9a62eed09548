//! Telephone numbers and e-mail addresses of anybody, wherever they stand in a text: nobody is asked
//! whether a number in a story may be called. Numbers of people, sums, dates and articles stay.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::skeleton::invisible;

/// Digits of a telephone number with its network code.
const DIGITS_MIN: usize = 9;
/// Characters between two digits of one number: `) - `.
const BETWEEN_MAX: usize = 3;

/// A character as it is read, and where it stands.
type Seen = (char, usize, usize);

/// Where contacts stand, in bytes, without overlaps, in order.
pub(super) fn find(text: &str) -> Vec<(usize, usize)> {
    let seen = see(text);
    let mut found = emails(&seen);
    for (start, end) in phones(&seen) {
        if found.iter().all(|(from, to)| end <= *from || start >= *to) {
            found.push((start, end));
        }
    }
    found.sort_unstable();
    found
}

fn see(text: &str) -> Vec<Seen> {
    let mut seen = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices().filter(|(_, c)| !invisible(*c)) {
        decompose_compatible(c, |part| {
            if !is_combining_mark(part) {
                seen.push((part, at, at + c.len_utf8()));
            }
        });
    }
    seen
}

fn emails(seen: &[Seen]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for at in (0..seen.len()).filter(|at| seen[*at].0 == '@') {
        let local = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
        let first = at - seen[..at].iter().rev().take_while(|(c, ..)| local(*c)).count();
        let host = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
        let mut end = at + 1 + seen[at + 1..].iter().take_while(|(c, ..)| host(*c)).count();
        while end > at + 1 && !seen[end - 1].0.is_alphanumeric() {
            end -= 1;
        }
        let dotted = seen[at + 1..end].iter().skip(1).any(|(c, ..)| *c == '.');
        let (start, end) = if first < at && dotted { (seen[first].1, seen[end - 1].2) } else { continue };
        if found.last().is_none_or(|(_, before)| start >= *before) {
            found.push((start, end));
        }
    }
    found
}

/// Digits that stand together, by index into the characters.
#[derive(Clone, Copy)]
struct Group {
    from: usize,
    to: usize,
}

fn phones(seen: &[Seen]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < seen.len() {
        if !seen[at].0.is_ascii_digit() {
            at += 1;
            continue;
        }
        let plus = plus_before(seen, at);
        let groups = run(seen, at, plus.is_some());
        at = groups.last().map_or(at + 1, |group| group.to);
        if plus.is_none() && (in_link(seen, groups[0].from) || long_year(seen, groups[0].from)) {
            continue;
        }
        let pieces = if plus.is_some() { vec![groups] } else { without_dates(seen, &groups) };
        for piece in pieces {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let digits: usize = piece.iter().map(|group| group.to - group.from).sum();
            if digits < DIGITS_MIN || (plus.is_none() && (is_sum(seen, &piece) || is_decimal(seen, &piece))) {
                continue;
            }
            let mut from = plus.unwrap_or(first.from);
            let count = |bracket| seen[from..last.to].iter().filter(|(c, ..)| *c == bracket).count();
            // The bracket of "(029) 123-45-67" goes with it.
            if count(')') > count('(') && from > 0 && seen[from - 1].0 == '(' {
                from -= 1;
            }
            found.push((seen[from].1, seen[last.to - 1].2));
        }
    }
    found
}

/// The groups of digits from here on that can be one number.
fn run(seen: &[Seen], start: usize, plus: bool) -> Vec<Group> {
    let digits = |from: usize| Group {
        from,
        to: from + seen[from..].iter().take_while(|(c, ..)| c.is_ascii_digit()).count(),
    };
    // With a dot or a slash between, it is an article or a date unless it begins like a number that is dialled.
    let dialled = plus || matches!(seen[start].0, '0' | '8');
    let mut groups = vec![digits(start)];
    while let Some(last) = groups.last() {
        let between = seen[last.to..].iter().take_while(|(c, ..)| separates(*c, dialled)).count();
        let next = last.to + between;
        if between == 0 || between > BETWEEN_MAX || !seen.get(next).is_some_and(|(c, ..)| c.is_ascii_digit())
        {
            break;
        }
        groups.push(digits(next));
    }
    groups
}

fn separates(c: char, dialled: bool) -> bool {
    matches!(c, ' ' | '\t' | '(' | ')' | '[' | ']' | '-' | '‐'..='―' | '−')
        || (dialled && matches!(c, '.' | '/'))
}

/// A plus before the digits, brackets and spaces between.
fn plus_before(seen: &[Seen], at: usize) -> Option<usize> {
    let between = seen[..at].iter().rev().take_while(|(c, ..)| matches!(c, ' ' | '(' | '[')).count();
    let plus = at.checked_sub(between + 1)?;
    (between <= BETWEEN_MAX && seen[plus].0 == '+').then_some(plus)
}

/// Whether it stands in a link: the numbers of pages are no telephones, unless the link calls one.
fn in_link(seen: &[Seen], at: usize) -> bool {
    let begin = at - seen[..at].iter().rev().take_while(|(c, ..)| !c.is_whitespace()).count();
    let before: String = seen[begin..at].iter().map(|(c, ..)| c.to_ascii_lowercase()).collect();
    let calls = ["wa.me", "whatsapp", "viber", "phone", "tel"];
    before.contains("://") && !calls.iter().any(|word| before.contains(word))
}

/// The long years of EDTF: Y170000002.
fn long_year(seen: &[Seen], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| seen[index].0);
    let year = if before(1) == Some('-') { 2 } else { 1 };
    before(year) == Some('Y') && !before(year + 1).is_some_and(char::is_alphanumeric)
}

/// The run without its dates: what is left may be the number of people that follows one.
fn without_dates(seen: &[Seen], groups: &[Group]) -> Vec<Vec<Group>> {
    let mut pieces = vec![Vec::new()];
    let mut at = 0;
    while at < groups.len() {
        let length = date(seen, &groups[at..], at == 0);
        if length == 0 {
            if let Some(piece) = pieces.last_mut() {
                piece.push(groups[at]);
            }
            at += 1;
        } else {
            pieces.push(Vec::new());
            at += length;
        }
    }
    pieces
}

/// How many groups make a date: 2017-03-25, 25.03.2017, 2017-03, 03.2017, 2015–2017, 20170325, and a
/// year that begins the run.
fn date(seen: &[Seen], groups: &[Group], first: bool) -> usize {
    let number = |index: usize| -> Option<(usize, u32)> {
        let group = groups.get(index)?;
        let digits: String = seen[group.from..group.to].iter().map(|(c, ..)| c).collect();
        Some((digits.len(), digits.parse().ok()?))
    };
    let year = |n: Option<(usize, u32)>| matches!(n, Some((4, 1900..=2099)));
    let month = |n: Option<(usize, u32)>| matches!(n, Some((1..=2, 1..=12)));
    let season = |n: Option<(usize, u32)>| matches!(n, Some((2, 21..=24)));
    let day = |n: Option<(usize, u32)>| matches!(n, Some((1..=2, 1..=31)));
    let (one, two, three) = (number(0), number(1), number(2));
    if (year(one) && month(two) && day(three)) || (day(one) && month(two) && year(three)) {
        3
    } else if (year(one) && (year(two) || (first && (month(two) || season(two)))))
        || (first && month(one) && year(two))
    {
        2
    } else if (year(one) && (first || groups.len() == 1))
        || matches!(one, Some((8, n)) if (1900..=2099).contains(&(n / 10_000))
            && (1..=12).contains(&(n / 100 % 100)) && (1..=31).contains(&(n % 100)))
    {
        1
    } else {
        0
    }
}

/// A round number, written in one or in threes: 1 250 000 000.
fn is_sum(seen: &[Seen], groups: &[Group]) -> bool {
    let digits = || groups.iter().flat_map(|group| &seen[group.from..group.to]);
    let length = |group: &Group| group.to - group.from;
    let threes = groups.len() == 1 || (length(&groups[0]) <= 3 && groups[1..].iter().all(|g| length(g) == 3));
    let zeros = digits().filter(|(c, ..)| *c == '0').count();
    threes && digits().next().is_some_and(|(c, ..)| *c != '0') && zeros * 2 >= digits().count()
}

/// 0.123456789
fn is_decimal(seen: &[Seen], groups: &[Group]) -> bool {
    matches!(groups, [one, two] if one.to + 1 == two.from && seen[one.to].0 == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephones_and_addresses_are_found_whole() {
        for contact in [
            "+375 29 123-45-67",
            "+375291234567",
            "＋375 (29) 123‑45‑67",
            "+1 (212) 555 0100",
            "+ (375) 29 123 45 67",
            "+375.29.123.45.67",
            "8 029 123-45-67",
            "(029) 123-45-67",
            "8/029/123-45-67",
            "80291234567",
            "291 234 567",
            "+380\u{a0}44 123\u{200b}45 67",
            "00375 29 1234567",
            "anna.k+x@example.org",
            "анна@пример.бел",
            "A_N@mail.example.co.uk",
        ] {
            let text = format!("Пишите: {contact}, или. И ещё ({contact}).");
            let found: Vec<&str> = find(&text).into_iter().map(|(a, b)| &text[a..b]).collect();
            assert_eq!(found, [contact, contact], "{text}");
        }
        assert_eq!(find("https://wa.me/375291234567").len(), 1);
        assert_eq!(find("25.03.2017 8 029 123-45-67").len(), 1);
    }

    #[test]
    fn dates_numbers_articles_and_links_stay() {
        for text in [
            "2017-03-25 700 человек, 2017-03-25/2017-03-26, 25.03.2017–26.03.2017, 25-03-2017 26-03-2017",
            "08.03.2017 08.04.2017; 20170325 20170326; 2017-21; 1999 – 2000; 2015-2017 700; 2014 2015 2016 2017",
            "В 2017 1 000 000 человек; 1 250 000 000 рублей; 100 000 - 200 000; 1000000000; 1,250,750,125",
            "ст. 193.1, 342, 364 УК; 193.1 342.1 364.1; часть 1/342/364/193",
            "PT2H30M, 10:00–12:30, 53.902512, 27.561481, 0.123456789, Y170000002, 2017-03-25T10:30:00Z",
            "https://example.org/a/2838974312.html, @handle, medium.com/@x, a @ b, @SUM(1), дело № 12345678",
        ] {
            let found: Vec<&str> = find(text).into_iter().map(|(a, b)| &text[a..b]).collect();
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }
}
