//! A fresh machine: one command plays the whole story.

use std::fs;

use fieldbook_tests::{Machine, run, traces};

#[test]
fn the_demo_plays_the_story_and_leaves_a_publication_to_open() {
    let machine = Machine::new("Visitor");
    let out = machine.path("publication");
    let mut command = machine.bare();
    command.arg("demo").arg("--out").arg(&out);
    let said = run(command, b"").exits(0);
    let pages: Vec<String> = traces::files(&out)
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "html"))
        .map(|file| fs::read_to_string(file).expect("a page"))
        .collect();
    assert!(!pages.is_empty(), "{said:?}");
    let all = pages.join("\n");
    assert!(all.contains("Raid on the office") && all.contains("Michail Žamchužny"));
    assert!(all.trim_start().to_lowercase().starts_with("<!doctype html"));
    // A page that works without a network, and asks nobody for anything.
    for from_elsewhere in ["src=\"http", "href=\"http://", "<script src", "@import"] {
        assert!(!all.contains(from_elsewhere), "{from_elsewhere}");
    }
    // Whoever the narration adds without consent is not in the pages.
    let protected: Vec<String> = said
        .out()
        .lines()
        .chain(said.err().lines())
        .filter(|line| line.contains("consent=internal"))
        .filter_map(|line| line.split("name=").nth(1)?.split(',').next().map(str::to_owned))
        .collect();
    assert!(!protected.is_empty(), "the story has somebody to protect: {said:?}");
    for name in protected {
        for word in name.split_whitespace().filter(|word| word.chars().count() > 3) {
            assert!(!all.contains(word), "{word} is in the publication");
        }
    }
    // Nothing keeps running, and nothing but the publication is left.
    machine.rests();
    for dir in ["home", "tmp", "run"] {
        assert_eq!(traces::files(&machine.root().join(dir)), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn the_demo_narrates_and_can_be_piped() {
    let machine = Machine::new("Visitor");
    let mut command = machine.bare();
    command.arg("--json").arg("demo").arg("--out").arg(machine.path("publication"));
    let lines = run(command, b"").exits(0).lines();
    assert!(!lines.is_empty());
}
