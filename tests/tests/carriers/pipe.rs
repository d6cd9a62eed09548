//! A sync over standard input and output: nothing but the protocol goes there, and no question is asked
//! there.

use std::io::Write as _;
use std::process::{Child, Stdio};

use fieldbook_tests::{DEADLINE, Machine, run, team_of_two, wait_for};

use super::{line, shell};
use crate::making::finished_plain as finished;
use crate::reading::ids;

fn ends(child: &mut Child) -> i32 {
    wait_for("its end", || child.try_wait().expect("a child")).code().unwrap_or(-1)
}

fn heard(from: &mut Option<impl std::io::Read>) -> String {
    let mut text = String::new();
    from.take().expect("a pipe").read_to_string(&mut text).expect("text");
    text
}

/// Both sides, their inputs and outputs joined. What each printed beside it.
fn joined(asking: &Machine, answering: &Machine) -> [(i32, String); 2] {
    let mut server = answering
        .command(&["sync", "--stdio", "--serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut client = asking
        .command(&["--json", "sync", "--stdio"])
        .stdin(server.stdout.take().expect("a pipe"))
        .stdout(server.stdin.take().expect("a pipe"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let codes = [ends(&mut client), ends(&mut server)];
    let [said, served] = [heard(&mut client.stderr), heard(&mut server.stderr)];
    [(codes[0], said), (codes[1], served)]
}

#[test]
fn two_programs_joined_by_pipes_sync() {
    let (a, b) = team_of_two();
    let id = finished(&b);
    let [(code, said), (served, beside)] = joined(&b, &a);
    assert_eq!((code, served), (0, 0), "{said}\n{beside}");
    assert_eq!(ids(&a), [id]);
    // What would have been printed on standard output stands on standard error.
    let line = said.lines().find(|line| line.contains("\"synced\"")).expect("what it did");
    let done: serde_json::Value = serde_json::from_str(line).expect("an object");
    assert_eq!((done["path"].as_str(), done["traffic"]["in_step"].as_bool()), (Some("stdio"), Some(true)));
    // The one that answers has nothing to say to whoever connected.
    assert_eq!(beside, "");
    for machine in [&a, &b] {
        assert_eq!(machine.json(&["status"])[0]["peers"][0]["path"], "stdio");
    }
    // The other way round, with vaults that are open.
    a.ok(&["unlock"]);
    let [(code, said), (served, beside)] = joined(&a, &b);
    assert_eq!((code, served), (0, 0), "{said}\n{beside}");
}

#[test]
fn a_command_is_the_other_end() {
    let (a, b) = team_of_two();
    let id = finished(&b);
    let through = line(&a, &["sync", "--stdio", "--serve"]);
    let said = b.ok(&["sync", "--through", &through]);
    assert!(said.out().starts_with("Synced with Coordination over the pipe: sent "), "{said:?}");
    assert_eq!(ids(&a), [id]);
    assert!(b.ok(&["status"]).out().contains("Synced with Coordination (over a pipe), last"));
    // A command that is no device, and one that ends at once.
    for (other, words) in [
        ("cat", "is no device of your team"),
        ("yes", "is no device of your team"),
        ("echo hello", "is no device of your team"),
        ("exit 3", "the command ended with 3, and no device"),
        ("no-such-program 2>/dev/null", "the command ended with 127, and no device"),
    ] {
        let error = b.fails(14, &["sync", "--through", other]);
        assert!(error["message"].as_str().expect("words").contains(words), "{other}: {error}");
    }
    // A device of nobody's.
    let stranger = Machine::with_vault("Stranger");
    stranger.ok(&["team", "create", "Another"]);
    let through = format!("{} 2>/dev/null", line(&stranger, &["sync", "--stdio", "--serve"]));
    b.fails(14, &["sync", "--through", &through]);
}

#[test]
fn not_a_byte_on_standard_output_before_the_other_side_has_shown_itself() {
    let (a, _b) = team_of_two();
    for (input, code) in [(&b""[..], 14), (b"hello\nhello\n", 14), (&[0; 10_000], 14)] {
        let said = run(a.command(&["sync", "--stdio", "--serve"]), input).exits(code);
        // A TLS alert at most, to somebody who began a handshake and did not go on.
        assert!(said.stdout.len() < 16, "{said:?}");
    }
}

#[test]
fn a_passphrase_is_never_asked_for_or_read_where_the_protocol_is() {
    let (a, _b) = team_of_two();
    let locked = |args: &[&str]| {
        let mut command = a.bare();
        command.arg("--vault").arg(a.vault()).args(args).args(["--json", "sync", "--stdio", "--serve"]);
        // No terminal of its own, whatever this test has.
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_str().expect("UTF-8")).collect();
        let mut without = a.bare();
        without = {
            let mut setsid = std::process::Command::new("setsid");
            setsid.args(["--wait", "sh", "-c", &shell(&words)]);
            setsid.env_clear().envs(without.get_envs().filter_map(|(name, value)| Some((name, value?))));
            setsid
        };
        run(without, b"correct horse\n")
    };
    for (args, code, name) in [
        (&[][..], 4, "cannot-ask"),
        (&["--passphrase-fd", "0"], 2, "descriptor-taken"),
        (&["--passphrase-fd", "1"], 2, "descriptor-taken"),
    ] {
        let said = locked(args).exits(code);
        assert_eq!(said.error()["code"], name, "{said:?}");
        assert_eq!(said.out(), "", "{said:?}");
        assert!(said.error()["hint"].as_str().expect("a hint").contains("--passphrase-file"), "{said:?}");
    }
    // A command that gives the passphrase does not swallow the protocol.
    let file = a.path("passphrase").display().to_string();
    let greedy = format!("cat >/dev/null; cat {}", shell(&[&file]));
    let mut child = a
        .bare()
        .arg("--vault")
        .arg(a.vault())
        .args(["--passphrase-command", &greedy, "sync", "--stdio", "--serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It is open, and waits for a handshake: noise ends it as noise does.
    let mut input = child.stdin.take().expect("a pipe");
    let _ = input.write_all(&[0; 100]);
    assert_eq!(ends(&mut child), 14, "{DEADLINE:?}");
    drop(input);
}

#[test]
fn a_terminal_is_told_what_to_do_instead() {
    let (a, _b) = team_of_two();
    let mut words = vec![fieldbook_tests::binary::path().display().to_string()];
    words.extend(["--vault".to_owned(), a.vault().display().to_string()]);
    words.extend(["sync".to_owned(), "--stdio".to_owned()]);
    let line = shell(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut command = std::process::Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    let said = run(command, b"").exits(2);
    assert!(said.out().contains("--through"), "{said:?}");
}
