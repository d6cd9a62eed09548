//! Every folder of test vectors belongs to a page of the protocol and holds something.

use std::collections::BTreeSet;

use super::{Problem, Tree};

const FOLDER: &str = "protocol/vectors/";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let sections: BTreeSet<&str> = tree
        .keys()
        .filter_map(|path| path.strip_prefix(FOLDER)?.split_once('/'))
        .map(|(section, _)| section)
        .collect();
    let pages = || tree.iter().filter(|(path, _)| path.starts_with("protocol/") && path.ends_with(".md"));
    let mut problems = Vec::new();
    for section in sections {
        let folder = format!("{FOLDER}{section}");
        let holds_one = tree.keys().any(|path| {
            path.strip_prefix(&format!("{folder}/"))
                .is_some_and(|rest| !rest.is_empty() && !rest.ends_with(".md"))
        });
        if !holds_one {
            problems.push(Problem::new(&folder, None, "holds no vector"));
        }
        let mention = format!("vectors/{section}");
        if !pages().any(|(_, text)| text.contains(&mention)) {
            problems.push(Problem::new(&folder, None, "no page of the protocol mentions these vectors"));
        }
    }
    // A page that points at vectors which are not there.
    for (path, text) in pages() {
        for (number, line) in text.lines().enumerate() {
            for rest in line.split("vectors/").skip(1) {
                let section: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
                    .collect();
                let folder = format!("{FOLDER}{section}/");
                if !section.is_empty() && !tree.keys().any(|path| path.starts_with(&folder)) {
                    problems.push(Problem::new(
                        path,
                        number + 1,
                        format!("there are no vectors in {folder}"),
                    ));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> usize {
        check(&files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()).len()
    }

    #[test]
    fn vectors_and_pages_name_each_other() {
        let vector = ("protocol/vectors/entry/short.json", "{}");
        assert_eq!(found(&[vector, ("protocol/entry.md", "see `vectors/entry/`")]), 0);
        assert_eq!(found(&[vector, ("protocol/entry.md", "no word")]), 1);
        assert_eq!(found(&[vector, ("protocol/entry.md", "vectors/entry and vectors/other")]), 1);
        assert_eq!(found(&[("protocol/vectors/entry/README.md", ""), ("protocol/a.md", "vectors/entry")]), 1);
    }
}
