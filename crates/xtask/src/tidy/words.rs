//! Words that never land: placeholders, debugging, names that say nothing, paths of one machine.

use super::Problem;

/// Written in two halves so that this file does not contain them.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "a placeholder"),
    (concat!("unimple", "mented!("), "a placeholder"),
    (concat!("TO", "DO"), "a note to finish later: finish it or file an issue"),
    (concat!("FIX", "ME"), "a note to finish later: finish it or file an issue"),
    (concat!("db", "g!("), "a debugging aid"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

/// Names of modules and folders that could mean anything.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Files written by tools.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json"];

pub fn check(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if path.ends_with(".rs") {
        let parts = path.strip_suffix(".rs").unwrap_or(path).split('/');
        problems.extend(parts.filter(|part| EMPTY_NAMES.contains(part)).map(|part| {
            Problem::new(path, None, format!("\"{part}\" names nothing; say what the module does"))
        }));
    }
    if GENERATED.iter().any(|name| path.ends_with(name)) {
        return problems;
    }
    for (number, line) in text.lines().enumerate() {
        for (word, what) in BANNED {
            if line.contains(word) {
                problems.push(Problem::new(path, number + 1, format!("\"{word}\" is {what}")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_and_empty_names_are_found() {
        for (word, _) in BANNED {
            let found = check("docs/a.md", &format!("fine\nx {word} y\n"));
            assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [Some(2)], "{word}");
        }
        assert_eq!(check("crates/a/src/util.rs", "").len(), 1);
        assert_eq!(check("crates/a/src/helpers/x.rs", "").len(), 1);
        assert!(check("crates/a/src/utility.rs", "let todo = 1;").is_empty());
        assert!(check("Cargo.lock", concat!("TO", "DO")).is_empty());
    }
}
