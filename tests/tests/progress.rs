//! How far a sync is, and how the connections of a device stand, told to the person and to the program that asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fieldbook_tests::{Machine, Run, pair, run, team_of_two, wait_for};
use serde_json::Value;

use crate::carriers::{line, shell};

/// A finished report with so many MiB that no layer can make smaller.
fn with_film(machine: &Machine, mib: usize) {
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    let mut film = vec![0; mib << 20];
    blake3::Hasher::new().update(machine.name().as_bytes()).finalize_xof().fill(&mut film);
    machine.ok(&["attach", &id, &machine.file("film.mp4", film)]);
    machine.ok(&["finish", &id, "--incomplete"]);
}

fn all<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// A sync at a terminal of so many columns.
fn at_a_terminal(machine: &Machine, columns: usize, term: &str, args: &[&str]) -> Run {
    let command = machine.command(args);
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().expect("UTF-8")).collect();
    let line = format!("stty cols {columns}; {}", shell(&words));
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    script.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("SHELL", "/bin/sh").env("TERM", term);
    run(script, b"")
}

#[test]
fn at_a_terminal_one_line_is_redrawn_that_fits_and_goes() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    let sync = ["sync", "--with", desk.address(), "--limit", "1M"];
    for columns in [120, 44] {
        with_film(&b, 3);
        let said = at_a_terminal(&b, columns, "xterm", &sync).exits(0).out();
        // What was drawn, each time from the beginning of the line.
        let drawn: Vec<&str> = said.split("\r\u{1b}[K").skip(1).collect();
        let (after, drawn) = drawn.split_last().expect("something was drawn");
        assert!(drawn.len() > 3, "{said}");
        for line in drawn {
            assert!(line.contains("Sent ") && line.contains(" entr"), "{line:?}");
            assert!(line.len() < columns && line.is_ascii() && !line.contains('\n'), "{line:?}");
            assert_eq!(line.starts_with('['), columns == 120, "{line:?}");
        }
        assert!(columns == 44 || drawn.iter().any(|line| line.contains("/s, ") && line.contains(" s left")));
        assert!(after.starts_with("Synced with "), "the line is clean again: {said:?}");
    }
    // A terminal that cannot clear a line gets lines.
    with_film(&b, 3);
    let said = at_a_terminal(&b, 100, "dumb", &sync).exits(0).out();
    assert!(said.contains("Sent ") && !said.contains('\u{1b}'), "{said:?}");
    // What is done at once draws nothing.
    let said = at_a_terminal(&b, 100, "xterm", &["sync"]).exits(0).out();
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_line_is_taken_away_too_when_the_connection_breaks() {
    let (a, b) = team_of_two();
    let mut desk = a.daemon();
    // More than can be through before the end, however slow this machine is: it is cut off.
    with_film(&b, 64);
    let address = desk.address().to_owned();
    let said = std::thread::scope(|scope| {
        let syncing =
            scope.spawn(|| at_a_terminal(&b, 100, "xterm", &["sync", "--with", &address, "--limit", "1M"]));
        wait_for("something arrives", || {
            (a.json(&["carry"])[0]["held_bytes"].as_u64() > Some(2 << 20)).then_some(())
        });
        std::thread::sleep(Duration::from_millis(500));
        a.ok(&["daemon", "stop"]);
        desk.process.ends();
        syncing.join().expect("its end")
    });
    let said = said.exits(14).out();
    let after = said.split("\r\u{1b}[K").last().expect("something was drawn");
    assert!(said.contains("Sent ") && after.starts_with("error: "), "{said:?}");
}

#[test]
fn elsewhere_a_few_lines_are_said_and_of_what_is_done_at_once_none() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    with_film(&b, 4);
    let said = b.ok(&["sync", "--with", desk.address(), "--limit", "1M"]);
    let lines = said.err().lines().filter(|line| line.starts_with("Sent ")).count();
    assert!((1..=2).contains(&lines) && !said.err().contains(['\r', '\u{1b}']), "{said:?}");
    assert!(said.out().starts_with("Synced with Coordination"), "{said:?}");
    let said = b.ok(&["sync"]);
    assert!(!said.err().contains("Sent ") && !said.err().contains("Received "), "{said:?}");
    // The other direction.
    with_film(&a, 4);
    let said = b.ok(&["sync", "--limit", "1M"]);
    assert!(said.err().contains("Received "), "{said:?}");
}

#[test]
fn a_program_hears_of_the_way_of_each_second_and_of_the_end_and_the_result_is_last() {
    let (a, b) = team_of_two();
    let desk = a.daemon();
    with_film(&b, 4);
    let begun = Instant::now();
    let lines = b.json(&["sync", "--with", desk.address(), "--limit", "1M"]);
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("not for ever");
    assert_eq!(lines.last().expect("a result")["event"], "synced", "{lines:?}");
    let connected = all(&lines, "connected");
    assert_eq!((connected.len(), connected[0]["address"].as_str()), (1, Some(desk.address())));
    assert!(connected[0]["path"] == "quic" || connected[0]["path"] == "tcp", "{connected:?}");
    let progress = all(&lines, "progress");
    assert!((2..=seconds + 2).contains(&progress.len()), "about one a second: {lines:?}");
    let number = |of: &Value, key: &str| of["sent"][key].as_u64().expect("a number");
    let mut before = 0;
    for step in &progress {
        let (entries, of) = (number(step, "entries"), number(step, "of_entries"));
        assert!(before <= entries && entries <= of, "{step}");
        assert!(number(step, "bytes") <= number(step, "of_bytes"), "{step}");
        before = entries;
        let known: BTreeSet<&str> = step.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = ["event", "left_s", "rate", "received", "sent", "v"];
        assert_eq!(known, BTreeSet::from(expected), "numbers, and nobody's name");
    }
    let known = progress.iter().filter(|step| step["sent"]["exact"] == true);
    assert!(known.clone().count() > 0 && known.clone().all(|step| number(step, "of_bytes") > 4 << 20));
    let done = all(&lines, "done");
    let result = lines.last().expect("a result");
    assert_eq!((done.len(), &done[0]["traffic"]), (1, &result["traffic"]));
    assert!(before <= result["traffic"]["sent"].as_u64().expect("a number"));
    let lines = b.json(&["sync"]);
    assert!(all(&lines, "progress").is_empty(), "nothing was moved: {lines:?}");
}

#[test]
fn a_stick_says_it_too() {
    let (_a, b) = team_of_two();
    with_film(&b, 2);
    let out = b.path("stick");
    let lines = b.json(&["bundle", "write", out.to_str().expect("UTF-8")]);
    let progress = all(&lines, "progress");
    assert!(!progress.is_empty() && progress[0]["of"].as_u64() > Some(2 << 20), "{lines:?}");
    assert!(progress.iter().all(|step| step["bytes"].as_u64() <= step["of"].as_u64()), "{lines:?}");
}

#[test]
fn a_limit_holds_over_a_pipe_on_the_side_that_gives_it() {
    let (a, b) = team_of_two();
    with_film(&b, 2);
    let there = line(&a, &["sync", "--stdio", "--serve"]);
    let begun = Instant::now();
    let lines = b.json(&["sync", "--through", &there, "--limit", "1M"]);
    assert!(begun.elapsed() > Duration::from_millis(1_900), "{:?}", begun.elapsed());
    assert_eq!(all(&lines, "connected")[0]["path"], "stdio");
    assert!(!all(&lines, "progress").is_empty(), "{lines:?}");
    // The side that answers may be slow, too, and says nothing to whoever connected.
    with_film(&b, 2);
    let there = line(&a, &["sync", "--stdio", "--serve", "--limit", "1M"]);
    let begun = Instant::now();
    let said = b.run(&["--json", "sync", "--through", &there]).exits(0);
    assert!(begun.elapsed() > Duration::from_millis(1_900), "{:?}", begun.elapsed());
    assert_eq!(said.err(), "");
}

#[test]
fn status_shows_who_is_connected_by_which_way_and_what_goes_on() {
    let (a, b) = team_of_two();
    let status = |machine: &Machine| machine.json(&["status"]).remove(0);
    assert!(b.ok(&["status"]).out().contains("Daemon  does not run"));
    assert_eq!(status(&b)["daemon"], Value::Null);
    let desk = a.daemon();
    let mut laptop = b.start(&["daemon", "--with", desk.address(), "--limit", "400K"]);
    laptop.object_with("with");
    let connection = |machine: &Machine| status(machine)["daemon"]["connections"][0].clone();
    let rests = wait_for("both at rest", || Some(connection(&b)).filter(|one| one["state"] == "rests"));
    assert_eq!(rests["name"], "Coordination");
    // A busy machine may be quicker by TCP.
    let way = if rests["path"] == "quic" { "UDP" } else { "TCP" };
    assert_eq!(rests["address"], desk.address());
    assert!(rests["since_ms"].as_i64() > Some(1_490_000_000_000), "{rests}");
    let text = b.ok(&["status"]).out();
    assert!(text.contains(&format!("with Coordination at {} ({way}) since 20", desk.address())), "{text}");
    assert!(text.contains("in step, at rest"), "{text}");
    // The coordinator knows its monitors.
    assert!(connection(&a)["name"].is_string());

    // Commands share an open vault.
    b.ok(&["unlock"]);
    let mut watching = b.start(&["status", "--watch"]);
    with_film(&b, 6);
    let sending = wait_for("the film on its way", || {
        Some(connection(&b)).filter(|one| one["sending_bytes"].as_u64() > Some(1 << 20))
    });
    assert_eq!((&sending["state"], &sending["receiving"]), (&"sending".into(), &0.into()), "{sending}");
    let receiving = connection(&a);
    assert!(receiving["receiving"].as_u64() > Some(0), "{receiving}");
    let text = b.ok(&["status"]).out();
    assert!(text.contains(": sending ") && text.contains("only here: the daemon is sending"), "{text}");
    wait_for("the end", || Some(connection(&b)).filter(|one| one["state"] == "rests"));
    let seen = |line: &Value| line["daemon"]["connections"][0]["sending"].as_u64() > Some(0);
    while !seen(&watching.object_with("daemon")) {}
    laptop.kill();
    drop(desk);

    // Nobody is there: until when it waits, and why.
    let mut laptop = b.start(&["daemon", "--with", "127.0.0.1:9"]);
    laptop.object_with("with");
    let waits = wait_for("a failed try", || {
        let waits = status(&b)["daemon"]["waiting"][0].clone();
        (waits["next_try_ms"].is_i64() && waits["last_error"].is_string()).then_some(waits)
    });
    assert_eq!(waits["address"], "127.0.0.1:9");
    let text =
        wait_for("a pause", || Some(b.ok(&["status"]).out()).filter(|text| text.contains("Next try at")));
    assert!(text.contains("127.0.0.1:9: not connected: "), "{text}");
}

#[test]
fn two_monitors_that_are_connected_see_a_device_of_the_team_and_no_name() {
    let coordinator = Machine::with_vault("Coordination");
    coordinator.ok(&["team", "create", "Team"]);
    let [one, other] = ["Wombat", "Numbat"].map(Machine::with_vault);
    [&one, &other].iter().for_each(|machine| drop(pair(&coordinator, machine, "monitor")));
    let desk = one.daemon();
    let mut laptop = other.start(&["daemon", "--with", desk.address()]);
    laptop.object_with("with");
    let id =
        |machine: &Machine| machine.json(&["status"])[0]["device"]["id"].as_str().expect("it").to_owned();
    for (machine, stranger) in [(&one, &other), (&other, &one)] {
        let status = wait_for("a connection", || {
            let status = machine.json(&["status"]).remove(0);
            (status["daemon"]["connections"][0]["state"] == "rests").then_some(status)
        });
        let connection = &status["daemon"]["connections"][0];
        assert!(connection["name"].is_null() && connection["device"].is_null(), "{connection}");
        let daemon = machine.json(&["daemon", "status"]).remove(0);
        for said in [status.to_string(), daemon.to_string(), machine.ok(&["status"]).out()] {
            assert!(!said.contains(stranger.name()) && !said.contains(&id(stranger)[..8]), "{said}");
        }
        assert!(machine.ok(&["status"]).out().contains("with a device of the team"));
    }
}
