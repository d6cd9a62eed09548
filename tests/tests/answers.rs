//! What a command answers to what it was not meant to be given: a mistyped passphrase, half a command
//! line, the same report twice, a report where an entry was meant.

use std::process::Command;

use fieldbook_tests::{Machine, Run, run, wait_for};
use serde_json::json;

use crate::conventions::with_draft;
use crate::reading::ids;

/// What a command says to a person who types these lines.
fn typed(machine: &Machine, args: &[&str], lines: &str) -> Run {
    let mut words = vec![fieldbook_tests::binary::path().display().to_string()];
    words.extend(["--vault".to_owned(), machine.vault().display().to_string()]);
    words.extend(args.iter().map(|&word| word.to_owned()));
    let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    // A terminal of its own; `script` ends with the code of what it runs.
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
    command.env("SHELL", "/bin/sh");
    run(command, lines.as_bytes())
}

#[test]
fn a_wrong_present_passphrase_is_told_before_a_new_one_is_chosen() {
    let (machine, _) = with_draft();
    for open in [false, true] {
        if open {
            machine.ok(&["unlock"]);
        }
        for args in [["passphrase", "change"], ["duress", "set"]] {
            let said = typed(&machine, &args, "wrong\nwrong again\nand again\n").exits(12);
            assert!(said.out().contains("First the passphrase that opens the vault now"), "{said:?}");
            assert!(!said.out().contains("Six words"), "{said:?}");
        }
    }
}

#[test]
fn what_init_cannot_take_is_told_before_a_passphrase_is_chosen() {
    let machine = Machine::new("Monitor");
    let said = typed(&machine, &["init", "--name", "M", "--work-factor", "12"], "").exits(2);
    assert!(said.out().contains("15..=19") && !said.out().contains("Six words"), "{said:?}");
    std::fs::create_dir_all(machine.vault()).expect("a directory");
    std::fs::write(machine.vault().join("photograph.jpg"), "one").expect("a file");
    let said = machine.run(&["--json", "init", "--name", "M", "--work-factor", "15"]).exits(0);
    assert!(said.err().contains("directory-not-empty"), "{said:?}");
}

#[test]
fn who_mistypes_the_passphrase_is_asked_again_and_not_for_ever() {
    let (machine, id) = with_draft();
    let typed = |lines: &str| typed(&machine, &["list"], lines);
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

/// What is at the terminal may be read only when everything else is in order: a typed text that is then
/// refused is lost. Standard input stays open here, so a program that reads first never comes back.
#[test]
fn a_mistyped_word_is_told_before_the_text_is_read() {
    let (machine, id) = with_draft();
    let commands: [&[&str]; 5] = [
        &["new", "--template", "detentoin"],
        &["new", "--template", "detention", "--set", "dat=2017"],
        &["new", "--template", "detention", "--set", "date=yesterday"],
        &["new", "--template", "detention", "--person", "name=A,consent=perhaps"],
        &["edit", &id, "--set", "date=yesterday"],
    ];
    for args in commands {
        let (input, held_open) = std::io::pipe().expect("a pipe");
        let mut command = machine.command(args);
        command.args(["--narrative-file", "-"]).stdin(input);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("it starts");
        drop(command);
        let done = fieldbook_tests::wait_for("the refusal", || child.try_wait().expect("a child"));
        assert_eq!(done.code(), Some(2), "{args:?}");
        drop(held_open);
    }
}

#[test]
fn what_was_done_is_on_standard_output_and_the_sentences_are_beside_it() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["team", "create", "T"]);
    let line = |title: &str| {
        json!({"template": "raid", "title": title, "language": "en", "fields": {"date": "2017"}, "narrative": "n"})
            .to_string()
    };
    let file = machine.file("two.jsonl", format!("{}\n{}\n", line("One"), line("Two")));
    for args in [&["import", &file][..], &["finish", "--all", "--incomplete"]] {
        let said = machine.run(args).exits(0);
        let (out, known) = (said.out(), ids(&machine));
        assert_eq!(out.lines().count(), 2, "{said:?}");
        assert!(known.iter().all(|id| out.contains(&id[..8])), "{said:?}");
        assert!(out.contains("One") && said.err().contains("2 reports"), "{said:?}");
    }
}

#[test]
fn a_field_outside_of_the_fields_is_warned_about() {
    let machine = Machine::with_vault("Monitor");
    let report = json!({"template": "detention", "title": "One", "date": "2017", "case": 4}).to_string();
    let said = machine.run_with(&["--json", "new", "--from", "-"], report.as_bytes()).exits(0);
    let warning = &said.lines()[0]["warnings"][0];
    assert_eq!((&warning["code"], &warning["keys"]), (&json!("field-outside-fields"), &json!(["date"])));
    assert!(said.err().contains("never published"), "{said:?}");
    let good = json!({"template": "detention", "title": "Two", "fields": {"date": "2017"}}).to_string();
    let said = machine.run_with(&["--json", "new", "--from", "-"], good.as_bytes()).exits(0);
    assert_eq!((&said.lines()[0]["warnings"], said.err().as_str()), (&json!([]), ""));
}

#[test]
fn a_sync_that_reaches_nobody_says_whom_it_tries_and_each_reason_once() {
    let machine = Machine::with_vault("Coordinator");
    machine.ok(&["team", "create", "T"]);
    let said = machine.run(&["sync", "--with", "no-such-device.invalid:4040"]).exits(14);
    let err = said.err();
    assert!(err.starts_with("Trying no-such-device.invalid:4040 …\nerror: "), "{said:?}");
    assert_eq!(err.matches("\"no-such-device.invalid\" can be found").count(), 1, "{said:?}");
    assert_eq!((err.matches("hint:").count(), said.out().as_str()), (1, ""), "{said:?}");
}

#[test]
fn a_host_that_nobody_knows_is_called_so_by_whoever_needs_it() {
    let machine = Machine::with_vault("Coordinator");
    machine.ok(&["team", "create", "T"]);
    for (code, args) in [
        (1, &["team", "invite", "--role", "monitor", "--listen", "no-such.invalid:0"][..]),
        (2, &["daemon", "--listen", "no-such.invalid:0"]),
    ] {
        let error = machine.fails(code, args);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("\"no-such.invalid\" can be found"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_a_hint() {
    let (machine, id) = with_draft();
    for args in [
        &["new", "--from", "gone.json"][..],
        &["new", "--template", "raid", "--narrative-file", "gone.json"],
        &["import", "gone.json"],
        &["attach", &id, "gone.json"],
    ] {
        let error = machine.fails(2, args);
        assert_eq!(error["message"], "gone.json cannot be read: no such file or directory", "{args:?}");
        assert!(error["hint"].is_string(), "{args:?}");
    }
}

#[test]
fn a_passphrase_that_can_be_guessed_is_refused_unless_that_is_wanted() {
    for (passphrase, weak) in [
        ("hunter2", true),
        ("пароль123", true),
        ("zebra canoe lantern", true),
        ("zebra canoe lantern velvet orchard pencil", false),
    ] {
        let machine = Machine::new("Monitor");
        let file = machine.secret_file("weak", passphrase);
        let init = |more: &[&str]| {
            let mut command = machine.bare();
            command.arg("--vault").arg(machine.vault()).args(["--passphrase-file", &file]);
            command.args(["init", "--name", "M", "--work-factor", "15"]).args(more);
            run(command, b"")
        };
        let said = init(&[]).exits(if weak { 2 } else { 0 });
        assert_eq!(said.err().contains("too easy to guess"), weak, "{said:?}");
        assert_eq!(machine.vault().exists(), !weak, "nothing was made");
        if weak {
            assert!(init(&["--weak-passphrase"]).exits(0).err().contains("six words by chance are better"));
        }
        let again = machine.secret_file("passphrase", &format!("{passphrase}\n"));
        machine.ok(&["list"]);
        drop(again);
    }
}

#[test]
fn words_are_drawn_in_four_languages_and_taken_by_a_vault() {
    let machine = Machine::new("Monitor");
    let mut drawn: Vec<String> = ["en", "ru", "uk", "be"]
        .iter()
        .map(|code| machine.ok(&["passphrase", "suggest", "--language", code]).out().trim().to_owned())
        .collect();
    assert!(drawn.iter().all(|words| words.split(' ').count() == 6), "{drawn:?}");
    let russian = drawn.swap_remove(1);
    machine.secret_file("passphrase", &format!("{russian}\n"));
    machine.ok(&["init", "--name", "Monitor", "--work-factor", "15"]);
    // The same keys, typed while the keyboard was in Latin letters.
    const CYRILLIC: &str = "йцукенгшщзхъфывапролджэячсмитьбю";
    const LATIN: &str = "qwertyuiop[]asdfghjkl;'zxcvbnm,.";
    let typed: String = russian
        .chars()
        .map(|letter| {
            CYRILLIC.chars().zip(LATIN.chars()).find(|(c, _)| *c == letter).map_or(letter, |(_, l)| l)
        })
        .collect();
    assert!(typed.is_ascii(), "{typed}");
    machine.secret_file("passphrase", &format!("{typed}\n"));
    machine.ok(&["list"]);
}

#[test]
fn a_key_file_is_needed_besides_the_passphrase_and_can_be_dropped() {
    let machine = Machine::new("Monitor");
    let key = machine.path("stick.key");
    let key = key.to_str().expect("UTF-8");
    machine.ok(&["passphrase", "key-file", key]);
    machine.ok(&["--key-file", key, "init", "--name", "Monitor", "--work-factor", "15"]);
    assert_eq!(machine.fails(12, &["list"])["code"], "wrong-passphrase");
    machine.ok(&["--key-file", key, "list"]);
    let file = machine.path("passphrase");
    let file = file.to_str().expect("UTF-8");
    machine.ok(&["--key-file", key, "passphrase", "change", "--new-passphrase-file", file, "--no-key-file"]);
    machine.ok(&["list"]);
    assert_eq!(machine.fails(12, &["--key-file", key, "list"])["code"], "wrong-passphrase");
}

#[test]
fn who_invites_a_coordinator_is_told_before_the_code_what_it_will_read() {
    let machine = Machine::with_vault("Coordinator");
    machine.ok(&["team", "create", "T"]);
    let mut waiting = machine.start(&["team", "invite", "--role", "coordinator", "--listen", "127.0.0.1:0"]);
    waiting.object_with("code");
    wait_for("the warning", || {
        waiting.err().contains("read everything that is written to the desk from now on").then_some(())
    });
    waiting.kill();
}
