//! Every dependency is named once, in the root manifest, and justified in `docs/dependencies.md`.

use std::collections::BTreeSet;

use super::{Problem, Tree};

const ROOT: &str = "Cargo.toml";
const PAGE: &str = "docs/dependencies.md";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let text = |path: &str| tree.get(path).map_or("", String::as_str);
    let named: BTreeSet<&str> = section(text(ROOT), |header| header == "workspace.dependencies")
        .map(|(_, name, _)| name)
        .filter(|name| !name.starts_with("fieldbook"))
        .collect();
    // A row of the table: | `name` | what for | …
    let justified: BTreeSet<&str> = text(PAGE)
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let mut problems = Vec::new();
    for name in named.difference(&justified) {
        problems.push(Problem::new(PAGE, None, format!("`{name}` is used and not justified")));
    }
    for name in justified.difference(&named) {
        problems.push(Problem::new(PAGE, None, format!("`{name}` is justified and not used")));
    }
    for (path, manifest) in tree.iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let folder = path.trim_end_matches("Cargo.toml");
        for (line, name, _) in section(manifest, |header| header.ends_with("dependencies")) {
            let name = name.trim_end_matches(".workspace").replace('-', "_");
            let mut sources =
                tree.range(folder.to_owned()..).take_while(|(path, _)| path.starts_with(folder));
            if !sources.any(|(path, text)| path.ends_with(".rs") && text.contains(&name)) {
                problems.push(Problem::new(path, line, format!("`{name}` is named and not used")));
            }
        }
        for (line, name, value) in section(manifest, |header| header.ends_with("dependencies")) {
            if !name.ends_with(".workspace") && !value.contains("workspace = true") {
                problems.push(Problem::new(
                    path,
                    line,
                    format!("`{name}` has its version in the root manifest only"),
                ));
            }
        }
    }
    problems
}

/// The lines `name = value` of the sections whose header passes, with their numbers from 1.
fn section(manifest: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut inside = false;
    manifest.lines().enumerate().filter_map(move |(number, line)| {
        if let Some(header) = line.strip_prefix('[') {
            inside = wanted(header.trim_end_matches(']'));
            return None;
        }
        let (name, value) = line.split_once('=').filter(|_| inside && !line.starts_with('#'))?;
        Some((number + 1, name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &str, page: &str, member: &str) -> Vec<String> {
        let files = [
            (ROOT, root),
            (PAGE, page),
            ("crates/a/Cargo.toml", member),
            ("crates/a/src/lib.rs", "use age::x;"),
        ];
        let tree = files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        check(&tree).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn manifest_page_and_members_agree() {
        let root = "[workspace.dependencies]\nage = \"1\"\nfieldbook-a = { path = \"a\" }\n# x = 1\n[profile.dev]\nz = 1\n";
        let page = "| `age` | sealing |\n";
        let member = "[package]\nname = \"a\"\n[dependencies]\nage.workspace = true\n";
        assert!(found(root, page, member).is_empty());
        assert_eq!(found(root, "", member), ["`age` is used and not justified"]);
        assert_eq!(found("", page, member), ["`age` is justified and not used"]);
        let member = "[dev-dependencies]\nage = \"2\"\n";
        assert_eq!(found(root, page, member), ["`age` has its version in the root manifest only"]);
        let member = "[dependencies]\nbytes = { workspace = true }\n";
        assert_eq!(found(root, page, member), ["`bytes` is named and not used"]);
    }
}
