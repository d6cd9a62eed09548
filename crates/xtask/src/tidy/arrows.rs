//! Arrows between crates go one way. A new arrow is a decision: change the table with its reason.

use serde_json::Value;

use super::Problem;

/// Which of our crates a crate may depend on. Those that are not listed (the program, the tests, the
/// benchmarks) may name all.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("fieldbook-proto", &[]),
    ("fieldbook-seal", &["fieldbook-proto"]),
    ("fieldbook-report", &["fieldbook-proto"]),
    ("fieldbook-depot", &["fieldbook-proto"]),
    ("fieldbook-net", &["fieldbook-proto"]),
    // Speaks to a bucket, so the same as for the daemon.
    ("fieldbook-bucket", &["fieldbook-proto", "fieldbook-depot"]),
    // Speaks to the network, so it must not be able to name a report or a content key.
    ("fieldbook-daemon", &["fieldbook-proto", "fieldbook-depot", "fieldbook-net"]),
    // Holds the content keys, so it must not be able to name the network.
    ("fieldbook-vault", &["fieldbook-proto", "fieldbook-seal", "fieldbook-report", "fieldbook-depot"]),
    ("xtask", &[]),
];

/// Which crates may depend on a library that others must stay away from.
const ONLY: &[(&str, &[&str])] = &[
    ("automerge", &["fieldbook-report"]),
    ("age", &["fieldbook-seal", "fieldbook-vault"]),
    ("rusqlite", &["fieldbook-depot", "fieldbook-vault"]),
    ("quinn", &["fieldbook-net", "fieldbook-bench"]),
    ("rustls", &["fieldbook-net", "fieldbook-bench"]),
    ("tokio-rustls", &["fieldbook-net"]),
    ("object_store", &["fieldbook-bucket"]),
];

/// What a pure crate must not depend on: IO, clocks, randomness.
const IMPURE: &[&str] =
    &["tokio", "rusqlite", "rustix", "quinn", "getrandom", "rand", "rpassword", "tempfile", "clap"];

pub const PURE: &[&str] = &["fieldbook-proto", "fieldbook-seal", "fieldbook-report"];

/// Looks at `cargo metadata --no-deps`. Dependencies of tests are free.
pub fn check(metadata: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = format!("{name}/Cargo.toml");
        let mut blame = |what: String| problems.push(Problem::new(&manifest, None, what));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let target = dependency["name"].as_str().unwrap_or_default();
            if target.starts_with("fieldbook")
                && let Some((_, allowed)) = MAY_NAME.iter().find(|(from, _)| *from == name)
                && !allowed.contains(&target)
            {
                blame(format!("{name} must not depend on {target}"));
            }
            if let Some((_, allowed)) = ONLY.iter().find(|(library, _)| *library == target)
                && !allowed.contains(&name)
                // The package of tests looks at everything from outside.
                && name != "fieldbook-tests"
            {
                blame(format!("only {} may depend on {target}", allowed.join(" and ")));
            }
            if PURE.contains(&name) && IMPURE.contains(&target) {
                blame(format!("{name} is pure and must not depend on {target}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(from: &str, to: &str, kind: Option<&str>) -> usize {
        check(&json!({ "packages": [{ "name": from, "dependencies": [{ "name": to, "kind": kind }] }] }))
            .len()
    }

    #[test]
    fn forbidden_arrows_are_found_and_the_others_are_not() {
        assert_eq!(found("fieldbook-daemon", "fieldbook-vault", None), 1);
        assert_eq!(found("fieldbook-daemon", "fieldbook-net", None), 0);
        assert_eq!(found("fieldbook-bucket", "fieldbook-depot", None), 0);
        assert_eq!(found("fieldbook-bucket", "fieldbook-vault", None), 1);
        assert_eq!(found("fieldbook-daemon", "object_store", None), 1);
        assert_eq!(found("fieldbook-vault", "fieldbook-net", None), 1);
        assert_eq!(found("fieldbook-seal", "fieldbook-report", Some("build")), 1);
        assert_eq!(found("fieldbook", "fieldbook-net", None), 0);
        assert_eq!(found("fieldbook-depot", "automerge", None), 1);
        assert_eq!(found("fieldbook-proto", "tokio", None), 1);
        assert_eq!(found("fieldbook-proto", "tokio", Some("dev")), 0);
    }
}
