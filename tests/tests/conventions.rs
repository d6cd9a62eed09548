//! What every command promises: exit codes, JSON Lines, passphrases, prefixes, unlock and lock.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use fieldbook_tests::{Machine, Running, SEED, free_port, run, team_of_two};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::reading::{ids, sync};

/// What is done to the bytes of a file.
type Damage = fn(&mut Vec<u8>);

/// A machine with a vault and one draft.
pub fn with_draft() -> (Machine, String) {
    let machine = Machine::with_vault("Monitor");
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", "A draft"]);
    (machine, id)
}

mod exit_code {
    use super::*;

    #[test]
    fn of_0_is_done() {
        Machine::with_vault("Monitor").ok(&["list"]);
    }

    #[test]
    fn of_1_is_failed() {
        let (machine, _) = with_draft();
        let error = machine.fails(1, &["show", "00000000000000000000000000000000"]);
        assert_eq!(error["kind"], "failed");
        machine.fails(1, &["init", "--name", "Again"]);
    }

    #[test]
    fn of_2_is_a_command_line_or_input_that_is_not_understood() {
        let (machine, id) = with_draft();
        for args in [
            &["no-such-command"][..],
            &["show"],
            &["list", "--no-such-flag"],
            &["new", "--template", "no-such-template"],
            &["edit", &id, "--set", "date=yesterday"],
            &["edit", &id, "--set", "no_such_field=1"],
            &["edit", &id, "--person", "role=witness"],
            &["edit", &id],
            &["new", "--from", "/no/such/file"],
            &["sync", "--with", "nowhere"],
            &["join", "a-code", "--at", "host:http", "--yes"],
        ] {
            assert_eq!(machine.fails(2, args)["kind"], "usage", "{args:?}");
        }
        // Nothing of it was half done.
        assert_eq!(ids(&machine), [id]);
    }

    #[test]
    fn of_3_is_partly_done() {
        let machine = Machine::with_vault("Monitor");
        let good =
            r#"{"template":"detention","title":"Good","language":"en","fields":{"date":"2017-03-25"}}"#;
        let error = machine.fails(3, &["import", &machine.file("mixed.jsonl", format!("{good}\nbad\n"))]);
        assert_eq!(error["kind"], "partial");
        machine.ok(&["team", "create", "T"]);
        machine.write(&["--template", "detention", "--title", "Without a date"]);
        // One is complete apart from its narrative, none has all: nothing is done, or some is.
        let whole = machine.write(&["--template", "detention", "--set", "date=2017", "--set", "narrative=N"]);
        machine.fails(3, &["finish", "--all"]);
        assert_eq!(machine.show(&whole)["summary"]["state"], "finished");
    }

    #[test]
    fn of_4_is_locked_and_cannot_ask_and_names_the_flag() {
        let (machine, _) = with_draft();
        let mut command = machine.bare();
        command.arg("--vault").arg(machine.vault()).args(["--no-input", "--json", "list"]);
        let error = run(command, b"").exits(4).error();
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--passphrase-file")), "{error}");
        // No terminal at all is the same.
        let mut command = machine.bare();
        command.arg("--vault").arg(machine.vault()).args(["--json", "list"]);
        let said = in_a_session_of_its_own(command);
        assert_eq!(said.exits(4).error()["kind"], "cannot-ask");
    }

    #[test]
    fn of_10_is_no_vault_here() {
        let machine = Machine::new("Monitor");
        for args in
            [&["list"][..], &["sync"], &["status"], &["unlock"], &["daemon", "--listen", "127.0.0.1:0"]]
        {
            assert_eq!(machine.fails(10, args)["kind"], "no-vault", "{args:?}");
        }
        fs::create_dir(machine.vault()).expect("an empty directory");
        machine.fails(10, &["list"]);
    }

    #[test]
    fn of_11_is_a_vault_in_use() {
        let (machine, _) = with_draft();
        // As a process of another kind would: it holds the lock and answers nothing.
        let lock = fs::File::options().write(true).open(machine.vault().join("lock")).expect("the lock");
        lock.lock().expect("nobody has it");
        assert_eq!(machine.fails(11, &["list"])["kind"], "in-use");
        drop(lock);
        machine.ok(&["list"]);
    }

    #[test]
    fn of_12_is_a_wrong_passphrase() {
        let (machine, _) = with_draft();
        machine.secret_file("passphrase", "not the passphrase\n");
        assert_eq!(machine.fails(12, &["list"])["kind"], "wrong-passphrase");
        machine.fails(12, &["unlock"]);
    }

    #[test]
    fn of_13_is_clashes_that_wait_for_a_person() {
        let (a, b) = team_of_two();
        let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
        b.ok(&["finish", &id, "--incomplete"]);
        sync(&b, &a);
        a.ok(&["edit", &id, "--set", "date=2017-03-26"]);
        b.ok(&["edit", &id, "--set", "date=2017-03-27"]);
        sync(&b, &a);
        let said = a.run(&["--json", "conflicts"]).exits(13);
        assert!(!said.lines().is_empty());
    }

    #[test]
    fn of_14_is_nobody_reachable() {
        let (a, b) = team_of_two();
        let nobody = format!("127.0.0.1:{}", free_port());
        let error = b.fails(14, &["sync", "--with", &nobody]);
        assert_eq!(error["kind"], "unreachable");
        assert!(
            error["message"].to_string().contains("safe") || error["hint"].to_string().contains("safe"),
            "{error}"
        );
        drop(a);
    }

    #[test]
    fn of_15_is_an_export_refused() {
        let (a, b) = team_of_two();
        let id = b.write(&["--template", "detention", "--set", "date=2017-03-25", "--set", "narrative=N"]);
        b.ok(&["finish", &id]);
        sync(&b, &a);
        a.ok(&["edit", &id, "--set", "authority=KGB"]);
        b.ok(&["edit", &id, "--set", "authority=OMON"]);
        sync(&b, &a);
        // Which of two values is true is for a person to say, before the world reads it.
        let out = a.path("out");
        let out = out.to_str().expect("UTF-8");
        let error = a.fails(15, &["export", &id, "--format", "html", "--out", out]);
        assert_eq!(error["kind"], "export-refused");
        assert!(!fs::exists(out).expect("a path"), "nothing was written");
    }

    #[test]
    fn of_16_is_damaged_or_tampered_with() {
        let (machine, _) = with_draft();
        for name in ["0.a", "1.a"] {
            spoil(&machine, name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55));
        }
        assert_eq!(machine.fails(16, &["list"])["kind"], "damaged");
    }

    #[test]
    fn of_17_is_a_version_mismatch() {
        // A process that listens where the agent would and speaks a later version.
        use std::io::{Read as _, Write as _};
        let (machine, _) = with_draft();
        machine.ok(&["unlock"]);
        let socket = fieldbook_tests::traces::sockets(&machine.root().join("run"))
            .into_iter()
            .find(|path| path.ends_with("agent"))
            .expect("the agent's socket");
        machine.ok(&["lock"]);
        let _ = fs::remove_file(&socket);
        let dir = socket.parent().expect("its directory");
        let _ = fs::DirBuilder::new().mode(0o700).create(dir);
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let later = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut length = [0; 4];
            stream.read_exact(&mut length).expect("a frame");
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame).expect("a frame");
            let answer = json!({"refused": {"kind": "version", "code": "agent-version", "message": "version 2 is spoken here"}})
                .to_string();
            stream.write_all(&(answer.len() as u32).to_be_bytes()).expect("an answer");
            stream.write_all(answer.as_bytes()).expect("an answer");
        });
        assert_eq!(machine.fails(17, &["list"])["kind"], "version");
        later.join().expect("the later version");
    }

    #[test]
    fn of_130_is_interrupted() {
        let (machine, _) = with_draft();
        machine.ok(&["team", "create", "T"]);
        let address = format!("127.0.0.1:{}", free_port());
        let mut waiting = machine.start(&["team", "invite", "--role", "monitor", "--listen", &address]);
        waiting.object_with("code");
        waiting.signal(Signal::INT);
        assert_eq!(waiting.ends().code(), Some(130), "{}", waiting.err());
        machine.ok(&["list"]);
    }

    #[test]
    fn of_every_kind_is_documented_in_the_help() {
        let machine = Machine::new("Reader");
        let help = machine.run(&["--help"]).exits(0).out();
        for code in [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 130] {
            assert!(
                help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
                "{code}: {help}"
            );
        }
    }
}

/// Without a controlling terminal, whatever started the tests.
fn in_a_session_of_its_own(command: Command) -> fieldbook_tests::Run {
    let mut session = Command::new("setsid");
    session.arg("--wait").arg(command.get_program()).args(command.get_args());
    session.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            session.env(name, value);
        }
    }
    session.process_group(0);
    run(session, b"")
}

fn spoil(machine: &Machine, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = machine.vault().join(name);
    let mut bytes = fs::read(&path).expect("a file of the vault");
    change(&mut bytes);
    fs::write(&path, bytes).expect("a file of the vault");
}

#[test]
fn every_line_of_json_has_its_version_and_keys_are_words() {
    let (a, b) = team_of_two();
    b.ok(&["import", SEED]);
    let id = ids(&b)[0].clone();
    b.ok(&["finish", "--all", "--incomplete"]);
    let daemon = a.daemon();
    for args in [
        &["list"][..],
        &["show", &id],
        &["history", &id],
        &["conflicts"],
        &["status"],
        &["entry", "list", &id],
        &["templates"],
        &["templates", "detention"],
        &["edit", &id, "--title", "x"],
        &["sync", "--with", daemon.address()],
        &["unlock"],
        &["lock"],
    ] {
        let said = b.run(&[&["--json"], args].concat()).exits(0);
        // `lines` checks each of them.
        for line in said.lines() {
            for key in line.as_object().into_iter().flat_map(serde_json::Map::keys) {
                assert!(
                    key.bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                    "{key}"
                );
            }
        }
        assert!(said.stderr.is_empty() || said.err().lines().all(|line| line.starts_with('{')), "{said:?}");
    }
    for args in [&["daemon", "status"][..], &["team", "people"]] {
        let said = a.run(&[&["--json"], args].concat());
        if said.code == 0 {
            assert!(!said.lines().is_empty());
        }
    }
}

#[test]
fn a_failure_is_one_object_on_stderr_and_nothing_on_stdout() {
    let (machine, _) = with_draft();
    for (code, args) in [(1, &["show", "ffff"][..]), (2, &["show"]), (2, &["bogus"])] {
        let said = machine.run(&[&["--json"], args].concat()).exits(code);
        assert!(said.stdout.is_empty(), "{said:?}");
        said.error();
    }
    // For a person: words, then what to do.
    let said = machine.run(&["show", "ffff"]).exits(1);
    assert!(
        said.stdout.is_empty() && said.err().starts_with("error: ") && said.err().contains("\nhint: "),
        "{said:?}"
    );
}

#[test]
fn the_passphrase_comes_from_a_file_a_descriptor_a_command_or_a_file_named_in_the_environment() {
    let (machine, id) = with_draft();
    let file = machine.path("passphrase");
    let base = |args: &[&str]| {
        let mut command = machine.bare();
        command.arg("--vault").arg(machine.vault()).args(["--json", "--no-input"]).args(args);
        command
    };
    let found = |said: fieldbook_tests::Run| {
        assert!(said.exits(0).lines().iter().any(|line| line["id"] == id.as_str()));
    };
    found(run(base(&["--passphrase-file", file.to_str().expect("UTF-8"), "list"]), b""));
    let typed = format!("{}\n", machine.passphrase());
    found(run(base(&["--passphrase-fd", "0", "list"]), typed.as_bytes()));
    found(run(base(&["--passphrase-command", &format!("cat '{}'", file.display()), "list"]), b""));
    // Password stores print notes below the passphrase, some of them late.
    let notes = format!("cat '{}'; sleep 0.1; echo login: x || exit 9", file.display());
    found(run(base(&["--passphrase-command", &notes, "list"]), b""));
    let failed = run(base(&["--passphrase-command", "exit 3", "list"]), b"").exits(1).error();
    assert_eq!(failed["code"], "passphrase-command");
    let mut command = base(&["list"]);
    command.env("FIELDBOOK_PASSPHRASE_FILE", &file);
    found(run(command, b""));
    // The vault too can be named in the environment.
    let mut command = machine.bare();
    command.env("FIELDBOOK_VAULT", machine.vault()).env("FIELDBOOK_PASSPHRASE_FILE", &file);
    command.args(["--json", "list"]);
    found(run(command, b""));
    // The report may follow the passphrase on the same pipe.
    let report =
        r#"{"template":"detention","title":"After the passphrase","language":"en","fields":{"date":"2017"}}"#;
    run(base(&["--passphrase-fd", "0", "new", "--from", "-"]), format!("{typed}{report}").as_bytes())
        .exits(0);
    assert_eq!(ids(&machine).len(), 2);
    // Two sources are a mistake; a passphrase as an argument or in the environment is not even offered.
    run(base(&["--passphrase-fd", "0", "--passphrase-command", "true", "list"]), b"").exits(2);
    run(base(&["--passphrase", machine.passphrase(), "list"]), b"").exits(2);
    let mut command = base(&["list"]);
    command.env("FIELDBOOK_PASSPHRASE", machine.passphrase());
    run(command, b"").exits(4);
}

#[test]
fn after_unlock_no_command_asks_and_after_lock_every_command_does() {
    let (machine, id) = with_draft();
    let without = |args: &[&str]| {
        let mut command = machine.bare();
        command.arg("--vault").arg(machine.vault()).args(["--json", "--no-input"]).args(args);
        run(command, b"")
    };
    without(&["list"]).exits(4);
    machine.ok(&["unlock"]);
    for args in
        [&["list"][..], &["show", &id], &["edit", &id, "--title", "Edited"], &["history", &id], &["status"]]
    {
        without(args).exits(0);
    }
    machine.ok(&["unlock"]);
    without(&["lock"]).exits(0);
    without(&["list"]).exits(4);
    without(&["lock"]).exits(0);
    assert_eq!(machine.show(&id)["content"]["title"], "Edited");
}

#[test]
fn commands_at_once_never_find_the_vault_in_use() {
    for unlocked in [true, false] {
        let (machine, id) = with_draft();
        if unlocked {
            machine.ok(&["unlock"]);
        }
        let runs: Vec<fieldbook_tests::Run> = std::thread::scope(|scope| {
            let machine = &machine;
            let id = id.as_str();
            let handles: Vec<_> = (0..6)
                .map(|number| {
                    scope.spawn(move || match number % 3 {
                        0 => machine.run(&["edit", id, "--set", &format!("people_detained={number}")]),
                        1 => machine.run(&["list"]),
                        _ => machine.run(&["new", "--template", "detention", "--set", "date=2017"]),
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().expect("a command")).collect()
        });
        for said in runs {
            said.exits(0);
        }
        assert_eq!(ids(&machine).len(), 3);
    }
}

#[test]
fn a_daemon_does_not_keep_commands_from_the_vault_and_there_is_one_daemon() {
    let (a, _b) = team_of_two();
    let daemon = a.daemon();
    a.ok(&["list"]);
    let id = a.write(&["--template", "detention", "--set", "date=2017"]);
    a.ok(&["finish", &id, "--incomplete"]);
    a.ok(&["daemon", "status"]);
    let second = a.run(&["--json", "daemon", "--listen", &format!("127.0.0.1:{}", free_port())]);
    assert_eq!(second.code, 11, "{second:?}");
    drop(daemon);
    assert_ne!(a.run(&["daemon", "status"]).code, 0);
    a.daemon();
}

#[test]
fn damage_to_any_file_of_the_vault_is_an_answer_and_never_a_panic() {
    let (a, b) = team_of_two();
    b.ok(&["import", SEED]);
    b.ok(&["finish", "--all", "--incomplete"]);
    let daemon = a.daemon();
    b.ok(&["sync", "--with", daemon.address()]);
    let files: Vec<(String, Vec<u8>)> = fs::read_dir(b.vault())
        .expect("the vault")
        .flatten()
        .map(|entry| {
            (entry.file_name().into_string().expect("UTF-8"), fs::read(entry.path()).expect("a file"))
        })
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    let damages: [(&str, Damage); 5] = [
        ("a bit at the beginning", |bytes| bytes[0] ^= 1),
        ("a byte in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
        }),
        ("the last byte", |bytes| *bytes.last_mut().expect("a byte") ^= 0x80),
        ("half of it is gone", |bytes| bytes.truncate(bytes.len() / 2)),
        ("everything is gone", Vec::clear),
    ];
    for (name, original) in &files {
        for (what, damage) in &damages {
            spoil(&b, name, damage);
            for args in [&["list"][..], &["status"], &["sync", "--with", daemon.address()]] {
                let said = b.run(args);
                let allowed = [0, 12, 16].contains(&said.code) || (name == "slots" && said.code == 10);
                assert!(allowed, "{name}, {what}: {said:?}");
                assert!(!said.err().contains("internal error"), "{name}, {what}: {said:?}");
            }
            // What is repaired works as before.
            for (name, original) in &files {
                fs::write(b.vault().join(name), original).expect("a repair");
            }
            for suffix in ["-wal", "-shm"] {
                for store in ["0.a", "1.a", "0.b", "1.b"] {
                    let beside = b.vault().join(format!("{store}{suffix}"));
                    if !files.iter().any(|(name, _)| *name == format!("{store}{suffix}")) {
                        let _ = fs::remove_file(beside);
                    }
                }
            }
        }
        assert_eq!(ids(&b).len(), 23, "after the repair of {name}, {} bytes", original.len());
    }
}

#[test]
fn a_report_of_a_damaged_page_is_never_shown_as_if_it_were_whole() {
    // Every page is authenticated: a flipped bit anywhere in the store is either unused space or exit 16.
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["import", SEED]);
    let before: Vec<Value> = ids(&machine).iter().map(|id| machine.show(id)["content"].clone()).collect();
    let all = ids(&machine);
    for store in ["0.a", "1.a"] {
        let path = machine.vault().join(store);
        let original = fs::read(&path).expect("a store");
        for part in 1..8 {
            let mut bytes = original.clone();
            let at = bytes.len() * part / 8;
            bytes[at] ^= 4;
            fs::write(&path, &bytes).expect("a store");
            for (id, content) in all.iter().zip(&before).step_by(7) {
                let said = machine.run(&["--json", "show", id]);
                match said.code {
                    0 => assert_eq!(&said.lines()[0]["content"], content),
                    16 => {}
                    _ => panic!("{store} at {at}: {said:?}"),
                }
            }
            fs::write(&path, &original).expect("a store");
        }
    }
    assert_eq!(ids(&machine), all);
}

#[test]
fn the_reader_of_the_output_may_go_away() {
    let machine = Machine::with_vault("Monitor");
    machine.ok(&["import", SEED]);
    let mut shell = Command::new("sh");
    let list = machine.command(&["list"]);
    let words: Vec<String> = std::iter::once(list.get_program())
        .chain(list.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
        .collect();
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.root().join("run"));
    shell.args(["-c", &format!("{} | head -n 1", words.join(" "))]);
    let said = run(shell, b"").exits(0);
    assert!(!said.err().contains("panic") && !said.err().contains("Broken pipe"), "{said:?}");
}

#[test]
fn a_title_cannot_act_on_the_terminal() {
    let machine = Machine::with_vault("Monitor");
    let report = json!({"template": "detention", "title": "a\u{1b}[2J\u{1b}]0;owned\u{7}b\u{202e}c", "language": "en",
        "fields": {"date": "2017"}, "narrative": "x\u{9b}31my"});
    machine.run_with(&["new", "--from", "-"], report.to_string().as_bytes()).exits(0);
    let id = ids(&machine)[0].clone();
    for args in [&["list"][..], &["show", &id], &["history", &id], &["--json", "show", &id]] {
        let said = machine.ok(args);
        let bad = said.out().chars().find(|c| matches!(c, '\u{1b}' | '\u{7}' | '\u{9b}' | '\u{202e}'));
        assert_eq!(bad, None, "{said:?}");
    }
}

#[test]
fn an_interrupted_daemon_says_goodbye() {
    let (a, _b) = team_of_two();
    let mut daemon = a.daemon();
    daemon.process.signal(Signal::TERM);
    let status = daemon.process.ends();
    assert!(status.code().is_some(), "it ended by itself: {status}");
    let _: Running = daemon.process;
}
