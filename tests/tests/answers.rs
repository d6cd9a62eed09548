//! What a command answers to what it was not meant to be given: a mistyped passphrase, half a command
//! line, the same report twice, a report where an entry was meant.

use std::process::Command;

use fieldbook_tests::{Machine, run};
use serde_json::json;

use crate::conventions::with_draft;
use crate::reading::ids;

#[test]
fn who_mistypes_the_passphrase_is_asked_again_and_not_for_ever() {
    let (machine, id) = with_draft();
    let typed = |lines: &str| {
        let mut words = vec![fieldbook_tests::binary::path().display().to_string()];
        words.extend(["--vault".to_owned(), machine.vault().display().to_string(), "list".to_owned()]);
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        // A terminal of its own; `script` ends with the code of what it runs.
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
        command.env("SHELL", "/bin/sh");
        run(command, lines.as_bytes())
    };
    let said = typed(&format!("wrong\n{}\n", machine.passphrase())).exits(0);
    assert!(said.out().contains(&id[..8]), "{said:?}");
    assert!(
        said.out().contains(&machine.vault().display().to_string()),
        "the prompt names the vault: {said:?}"
    );
    let said = typed("wrong\nwrong again\nand again\nand more\n").exits(12);
    assert_eq!(said.out().matches("Passphrase for").count(), 3, "{said:?}");
}

#[test]
fn a_usage_error_is_short_for_a_program() {
    let machine = Machine::with_vault("Monitor");
    for args in [&["bogus"][..], &["finish"], &["daemon"], &["export", "a", "--out", "D", "--format", "pdf"]]
    {
        let error = machine.fails(2, args);
        let message = error["message"].as_str().expect("a message");
        assert!(!message.contains("Usage:") && !message.starts_with("error"), "{error}");
        assert!(error["hint"].is_string(), "{error}");
    }
}

#[test]
fn the_same_report_given_twice_is_said_to_be_there() {
    let machine = Machine::with_vault("Monitor");
    let report =
        json!({"template": "detention", "title": "One", "language": "en", "fields": {"date": "2017"},
        "narrative": "n"})
        .to_string();
    let new = |args: &[&str]| machine.run_with(args, report.as_bytes()).exits(0);
    assert_eq!(new(&["--json", "new", "--from", "-"]).lines()[0]["already_there"], false);
    assert_eq!(new(&["--json", "new", "--from", "-"]).lines()[0]["already_there"], true);
    let said = new(&["new", "--from", "-"]);
    assert!(!said.out().contains("Saved") && said.out().contains("already"), "{said:?}");
    assert_eq!(ids(&machine).len(), 1);
}

#[test]
fn an_entry_goes_to_standard_output_and_is_named_by_its_report_if_that_has_no_other() {
    let (machine, id) = with_draft();
    machine.ok(&["team", "create", "T"]);
    machine.ok(&["finish", &id, "--incomplete"]);
    let entries = machine.json(&["entry", "list", &id]);
    let entry = entries[0]["id"].as_str().expect("an id");
    let bytes = machine.ok(&["entry", "export", entry]).stdout;
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"), "a standard age file");
    assert_eq!(machine.ok(&["entry", "export", &id]).stdout, bytes);
    machine.ok(&["edit", &id, "--set", "title=Another"]);
    assert_eq!(machine.fails(2, &["entry", "export", &id, "--out", "e.age"])["code"], "several-entries");
    assert_eq!(machine.fails(1, &["entry", "export", "ffffff", "--out", "e.age"])["code"], "no-such-entry");
}
