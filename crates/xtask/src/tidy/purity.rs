//! Pure crates do no IO and own no clock and no randomness: whoever runs them passes these in.

use super::{Problem, arrows};

/// Parts of the standard library that a pure crate must not name.
const FORBIDDEN_STD: &[&str] = &["fs", "net", "process", "thread", "env", "os"];

/// Words that betray a clock or randomness however they were imported.
const FORBIDDEN: &[&str] = &["SystemTime", "Instant", "getrandom", "OsRng", "thread_rng", "rand"];

/// Looks at one source file; only pure crates are judged, and their test modules are free.
pub fn check(path: &str, text: &str) -> Vec<Problem> {
    if !arrows::PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/src/"))) {
        return Vec::new();
    }
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |token| token.1);
    let mut problems = Vec::new();
    for at in 0..tokens.len() {
        let line = tokens[at].0;
        let mut blame =
            |what: &str| problems.push(Problem::new(path, line, format!("a pure crate names {what}")));
        if FORBIDDEN.contains(&word(at)) && (word(at) != "rand" || word(at + 1) == ":") {
            blame(word(at));
        }
        if word(at) == "std" && word(at + 1) == ":" && word(at + 2) == ":" {
            for name in named(&tokens, at + 3) {
                if FORBIDDEN_STD.contains(&name) {
                    blame(&format!("std::{name}"));
                }
            }
        }
    }
    problems
}

/// The names right after `std::`: one, or those at the top of a group in braces.
fn named<'a>(tokens: &[(usize, &'a str)], start: usize) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut before = "";
    for (_, token) in tokens.iter().skip(start) {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            name if depth == 0 => {
                names.push(name);
                break;
            }
            name if depth == 1 && matches!(before, "{" | ",") => names.push(name),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        before = token;
    }
    names
}

/// Words and signs with their lines, without comments, text and the test module at the foot.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let next = lines.get(number + 1).copied().unwrap_or_default();
        if line.trim() == "#[cfg(test)]" && next.trim_start().starts_with("mod ") {
            break;
        }
        for (part, code) in line.split('"').enumerate() {
            // Every second part stands in quotes. An escaped quote may hide a word, not invent one.
            if part % 2 == 1 {
                continue;
            }
            let (code, comment) = code.split_once("//").map_or((code, false), |(code, _)| (code, true));
            let mut rest = code;
            while let Some(first) = rest.chars().next() {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                let len = if is_word(first) {
                    rest.find(|c: char| !is_word(c)).unwrap_or(rest.len())
                } else {
                    first.len_utf8()
                };
                let (token, after) = rest.split_at(len);
                if !token.trim().is_empty() {
                    tokens.push((number + 1, token));
                }
                rest = after;
            }
            if comment {
                break;
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Option<usize>> {
        check("crates/fieldbook-seal/src/x.rs", text).into_iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn io_clocks_and_randomness_are_found_however_they_are_imported() {
        assert_eq!(lines("use std::fs;\n"), [Some(1)]);
        assert_eq!(lines("\nlet x = std::net::TcpStream::connect(a);"), [Some(2)]);
        assert_eq!(lines("use std::{\n    fmt,\n    fs::File,\n};"), [Some(1)]);
        assert_eq!(lines("use std::time::{Duration, Instant};"), [Some(1)]);
        assert_eq!(lines("let mut rng = rand::rng();"), [Some(1)]);
    }

    #[test]
    fn comments_texts_tests_and_other_crates_are_free() {
        assert!(lines("// std::fs\n/// Instant\nlet a = \"std::fs\";").is_empty());
        assert!(lines("use std::fmt;\nuse std::collections::BTreeMap;\nlet rand = 3;").is_empty());
        assert!(lines("use std::{fmt::{self, fs}};").is_empty());
        assert!(lines("#[cfg(test)]\nmod tests {\n    use std::fs;\n}").is_empty());
        assert!(check("crates/fieldbook-depot/src/x.rs", "use std::fs;").is_empty());
    }
}
