//! Style as a test: arrows between crates, purity, doors to the network, file sizes, banned words, vectors, dependencies.
//!
//! Each check is a function from text to problems, with its own tests; this page only gathers the tree
//! and runs them.

mod arrows;
mod dependencies;
mod doors;
mod purity;
mod sizes;
mod vectors;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, from the root of the repository.
    path: String,
    /// The line, from 1, where one is to blame.
    line: Option<usize>,
    what: String,
}

impl Problem {
    fn new(path: &str, line: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: line.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

/// What a look at the whole tree found.
#[derive(Debug)]
pub struct Report {
    /// How many files were looked at.
    pub files: usize,
    /// What is to be mended.
    pub problems: Vec<Problem>,
}

/// The text files of the repository by their path from its root.
type Tree = BTreeMap<String, String>;

/// Looks at every file that git tracks or would add.
pub fn check() -> io::Result<Report> {
    let root = root();
    let tree = read_tree(&root)?;
    let mut problems = Vec::new();
    problems.extend(arrows::check(&metadata(&root)?));
    problems.extend(dependencies::check(&tree));
    problems.extend(vectors::check(&tree));
    for (path, text) in &tree {
        problems.extend(words::check(path, text));
        if path.ends_with(".rs") {
            problems.extend(sizes::check(path, text));
            problems.extend(purity::check(path, text));
            problems.extend(doors::check(path, text));
        }
    }
    Ok(Report { files: tree.len(), problems })
}

fn root() -> PathBuf {
    // This crate lies two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

fn read_tree(root: &Path) -> io::Result<Tree> {
    let listed = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut tree = Tree::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        match fs::read(root.join(path)) {
            // What is not text (pictures, vectors in binary) has no style.
            Ok(bytes) => {
                if let Ok(text) = String::from_utf8(bytes) {
                    tree.insert(path.to_owned(), text);
                } else {
                    tree.insert(path.to_owned(), String::new());
                }
            }
            // Deleted and not yet committed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(tree)
}

fn metadata(root: &Path) -> io::Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let text = output(Command::new(cargo).current_dir(root).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]))?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
