//! One mechanism a file. A long file says why it is one; a very long one is only ever a table.

use super::Problem;

/// Beyond this a file explains itself: a comment in its first lines contains [`REASON`].
const EXPLAIN: usize = 600;

/// Beyond this only tables and word lists may go.
const MOST: usize = 1_000;

/// How the explanation is recognised.
const REASON: &str = "one file because";

/// In how many first lines it is looked for.
const FIRST_LINES: usize = 40;

pub fn check(path: &str, text: &str) -> Vec<Problem> {
    let len = text.lines().count();
    let is_table =
        path.rsplit('/').next().is_some_and(|name| name.contains("table") || name.contains("wordlist"));
    if len <= EXPLAIN || is_table {
        return Vec::new();
    }
    let what = if len > MOST {
        format!("{len} lines; no file but a table has more than {MOST}")
    } else if !text.lines().take(FIRST_LINES).any(|line| line.starts_with("//") && line.contains(REASON)) {
        format!("{len} lines; beyond {EXPLAIN} its first lines say why it is \"{REASON} …\"")
    } else {
        return Vec::new();
    };
    vec![Problem::new(path, None, what)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_explain_themselves_and_very_long_ones_are_tables() {
        let text = |lines: usize| format!("//! Words.\n{}", "\n".repeat(lines - 1));
        assert!(check("a.rs", &text(600)).is_empty());
        assert_eq!(check("a.rs", &text(601)).len(), 1);
        assert!(
            check("a.rs", &format!("//! It is one file because the states meet here.\n{}", text(700)))
                .is_empty()
        );
        assert_eq!(check("a.rs", &format!("//! It is one file because.\n{}", text(1_000))).len(), 1);
        assert!(check("src/wordlist.rs", &text(2_000)).is_empty());
    }
}
