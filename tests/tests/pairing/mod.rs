//! Each sentence of issue 3 about pairing, told to the real program.

mod between;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::{fs, thread};

use fieldbook_proto::pairing::Code;
use fieldbook_tests::traces::Canary;
use fieldbook_tests::{Machine, Run, Running, free_port, pair, processes, wait_for};
use fieldbook_vault::{Passphrase, Vault};
use rustix::process::Signal;
use serde_json::Value;

use crate::reading::{ids, sync};
use between::{Way, Wire};

/// A coordinator with a team and an open invitation.
struct Inviting {
    machine: Machine,
    process: Running,
    /// What is to be said or handed over.
    code: String,
    /// Where the inviter listens.
    address: String,
}

impl Inviting {
    fn new(options: &[&str]) -> Self {
        let machine = Machine::with_vault("Coordination");
        machine.ok(&["team", "create", "Minsk 2017"]);
        Self::of(machine, options)
    }

    fn of(machine: Machine, options: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut process = invite(&machine, &address, options);
        let code = process.object_with("code")["code"].as_str().expect("a code").to_owned();
        Self { machine, process, code, address }
    }

    /// The way the invitation ended.
    fn error(&mut self) -> Value {
        self.process.ends();
        let said = self.process.err();
        let errors = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        errors.filter_map(|mut line| line.get_mut("error").map(Value::take)).next().expect("an error")
    }

    fn warnings(&self) -> Vec<String> {
        let said = self.process.err();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["warning"]["message"].as_str().map(str::to_owned)).collect()
    }
}

fn invite(machine: &Machine, address: &str, options: &[&str]) -> Running {
    let args = ["team", "invite", "--role", "monitor", "--listen", address, "--yes"];
    machine.start(&[&args, options].concat())
}

fn join(machine: &Machine, code: &str, address: &str) -> Run {
    machine.run(&["--json", "join", code, "--at", address, "--yes"])
}

/// A code of the same form whose secret differs: two of its words change places.
fn one_word_off(code: &str) -> String {
    let (words, address) = code.split_once('@').unwrap_or((code, ""));
    let mut words: Vec<&str> = words.split('-').collect();
    let last = words.len() - 1;
    let other = (0..last).rev().find(|at| words[*at] != words[last]).expect("two different words");
    words.swap(last, other);
    format!("{}@{address}", words.join("-"))
}

fn people(machine: &Machine) -> usize {
    machine.json(&["team", "people"]).len()
}

fn in_a_team(machine: &Machine) -> bool {
    machine.json(&["status"])[0]["device"]["team"] != Value::Null
}

fn check_words(lines: &[Value]) -> Option<&str> {
    lines.iter().find_map(|line| line["words"].as_str())
}

/// The newcomer works: what it writes is read by the coordinator.
fn a_report_arrives(monitor: &Machine, coordinator: &Machine) {
    let id = monitor.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    monitor.ok(&["finish", &id, "--incomplete"]);
    sync(monitor, coordinator);
    assert!(ids(coordinator).contains(&id));
}

#[test]
fn both_screens_show_the_same_words_and_the_code_works_once() {
    let mut inviting = Inviting::new(&[]);
    let (b, c) = (Machine::with_vault("Monitor"), Machine::with_vault("Late"));
    let joined = join(&b, &inviting.code, &inviting.address).exits(0).lines();
    let theirs = inviting.process.object_with("words");
    assert_eq!(check_words(&joined), theirs["words"].as_str());
    assert!(inviting.process.ends().success());
    assert_eq!(join(&c, &inviting.code, &inviting.address).code, 14, "the code was used");
    // Not by the next invitation either, at the same place.
    let mut next = invite(&inviting.machine, &inviting.address, &[]);
    next.object_with("code");
    assert_eq!(join(&c, &inviting.code, &inviting.address).exits(1).error()["code"], "wrong-code");
    drop(next);
    inviting.machine.rests();
    assert_eq!((people(&inviting.machine), in_a_team(&c)), (2, false));
}

#[test]
fn a_code_in_use_is_not_good_for_a_second_device_that_waits() {
    let mut inviting = Inviting::new(&[]);
    let first = between::join_as(&inviting.address, &inviting.code.parse().expect("a code"));
    assert!(first.words.is_some());
    let (code, address) = (inviting.code.clone(), inviting.address.clone());
    let second = thread::spawn(move || {
        let c = Machine::with_vault("Second");
        let said = join(&c, &code, &address);
        (said.code, in_a_team(&c))
    });
    // It is accepted by the system and waits its turn; then the first one breaks off.
    wait_for("the second device", || (connections_to(&inviting.address) >= 2).then_some(()));
    drop(first);
    assert_eq!(inviting.error()["code"], "connection-lost");
    let (exit, joined) = second.join().expect("the second device");
    assert!(exit != 0 && !joined, "{exit}");
    assert_eq!(people(&inviting.machine), 1);
}

/// Established connections whose local end is `address`, as the system counts them.
fn connections_to(address: &str) -> usize {
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = fs::read_to_string("/proc/net/tcp").expect("the connections of this machine");
    let local = format!("0100007F:{port:04X}");
    // Columns: number, local address, remote address, state (01 is established).
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|line| line.get(1) == Some(&local.as_str()) && line.get(3) == Some(&"01")).count()
}

#[test]
fn an_expired_code_admits_nobody() {
    let mut inviting = Inviting::new(&["--expires", "1s"]);
    assert_eq!(inviting.error()["code"], "invitation-expired");
    let b = Machine::with_vault("Monitor");
    assert_eq!(join(&b, &inviting.code, &inviting.address).code, 14);
    assert!(!in_a_team(&b));
}

#[test]
fn the_life_of_a_code_has_a_form_and_a_limit() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    for (span, code) in
        [("15d", "expires-late"), ("337h", "expires-late"), ("soon", "usage"), ("0h", "usage")]
    {
        let said = a.fails(2, &["team", "invite", "--role", "monitor", "--expires", span]);
        assert_eq!(said["code"], code, "{span}");
    }
    let address = format!("127.0.0.1:{}", free_port());
    for (span, hours) in [("30m", 0.5), ("48h", 48.0), ("7d", 168.0), ("14d", 336.0)] {
        let mut invitation = invite(&a, &address, &["--expires", span]);
        let until = invitation.object_with("expires_ms")["expires_ms"].as_f64().expect("a time");
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs_f64();
        let left = (until / 1000.0 - now) / 3600.0;
        assert!((hours - 0.1..=hours + 0.01).contains(&left), "{span}: {left} hours");
    }
}

#[test]
fn three_wrong_guesses_end_a_code_for_the_right_words_too() {
    let mut inviting = Inviting::new(&[]);
    let c = Machine::with_vault("Stranger");
    for guess in 1..=3 {
        let wrong = one_word_off(&inviting.code);
        assert_eq!(join(&c, &wrong, &inviting.address).exits(1).error()["code"], "wrong-code", "{guess}");
    }
    assert_ne!(join(&c, &inviting.code, &inviting.address).code, 0, "three wrong guesses end a code");
    assert!(!in_a_team(&c));
    // The inviter's screen said so, each time.
    assert_eq!(inviting.error()["code"], "invitation-dead");
    let warnings = inviting.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("1 of 3") && warnings[1].contains("2 of 3"), "{warnings:?}");
    assert_eq!(people(&inviting.machine), 1);
    // A new code works.
    pair(&inviting.machine, &c, "monitor");
}

#[test]
fn two_slips_do_not_end_a_code() {
    let mut inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    for _ in 0..2 {
        join(&b, &one_word_off(&inviting.code), &inviting.address).exits(1);
    }
    join(&b, &inviting.code, &inviting.address).exits(0);
    assert!(inviting.process.ends().success());
}

/// Every wrong guess is told the same two bytes, whatever the code is, whatever was guessed, and however often;
/// before them it gets one message of fixed form. What is in that is argued in protocol/pairing.md.
#[test]
fn a_wrong_guess_learns_that_it_was_wrong_and_nothing_else() {
    let mut answers = Vec::new();
    for options in [&[][..], &["--qr"]] {
        let mut inviting = Inviting::new(options);
        for guess in 0..3_u8 {
            let guess = Code::new([guess; 8], Vec::new()).expect("a code");
            // Under a long code only who has the key of its veil gets as far as a guess.
            let key = inviting.code.parse::<Code>().expect("a code").veil_key();
            assert_eq!(key.is_some(), !options.is_empty());
            let mut run = match key {
                None => between::join_as(&inviting.address, &guess),
                Some(key) => between::join_behind(&inviting.address, *key, &guess),
            };
            assert!(run.words.is_none());
            assert_eq!(run.received.len(), 2);
            assert_eq!((run.received[0].len(), &run.received[1][..]), (66, &[9, 1][..]));
            assert!(between::receive(&mut run.stream).is_err(), "the line is closed");
            answers.push(run.received[0].clone());
        }
        assert_eq!(inviting.error()["code"], "invitation-dead");
    }
    // The one message is fresh each time: nonce and point.
    for (at, a) in answers.iter().enumerate() {
        assert!(answers[at + 1..].iter().all(|b| a[1..33] != b[1..33] && a[34..] != b[34..]));
    }
}

#[test]
fn who_listens_hears_no_name_no_key_and_no_word() {
    for options in [&[][..], &["--qr"]] {
        let mut inviting = Inviting::new(options);
        let b = Machine::with_vault("Vitebsk-3");
        let in_words = options.is_empty();
        let wire = if in_words { Wire::tap(&inviting.address) } else { Wire::tap_veiled(&inviting.address) };
        let joined = join(&b, &inviting.code, &wire.address).exits(0).lines();
        assert!(inviting.process.ends().success());
        let mut secrets: Vec<Canary> = ["Coordination", "Minsk 2017", "Vitebsk-3"].map(Canary::word).to_vec();
        let shown = check_words(&joined).expect("check words");
        let spoken = inviting.code.split('@').next().expect("a code");
        secrets.extend(
            spoken.split('-').chain(shown.split(' ')).filter(|word| word.len() >= 5).map(Canary::word),
        );
        for machine in [&inviting.machine, &b] {
            let vault = Vault::open(&machine.vault(), &Passphrase::new(machine.passphrase().to_owned()));
            let vault = vault.expect("the vault");
            let keys = vault.join_request().keys;
            secrets.push(Canary::bytes("signing key", &keys.signing));
            secrets.push(Canary::bytes("transport key", &keys.transport));
            secrets.push(Canary::word(keys.recipient.as_str()));
            secrets.push(Canary::bytes("device id", keys.device_id().as_bytes()));
        }
        let heard = wire.heard();
        assert!(heard.len() > 8_000, "{} bytes of a whole pairing", heard.len());
        for secret in &secrets {
            assert_eq!(secret.find(&heard), None, "{secret:?}");
        }
        // All that is in clear is what every pairing under words begins with; under a long code nothing is.
        let named = heard.windows(6).filter(|bytes| bytes == b"FBPAIR").count();
        assert_eq!(named, usize::from(in_words));
        assert!(!in_words || wire.messages(Way::ToInviter)[0].starts_with(b"\x01FBPAIR\x01"));
    }
}

#[test]
fn somebody_between_without_the_code_gets_nothing_from_either_side() {
    let inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    let guess: Code = one_word_off(&inviting.code).parse().expect("a code");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let towards_joiner = {
        let guess = guess.clone();
        thread::spawn(move || between::invite_as(&listener, &guess))
    };
    let said = join(&b, &inviting.code, &at);
    let towards_joiner = towards_joiner.join().expect("the one between");
    let towards_inviter = between::join_as(&inviting.address, &guess);
    assert_eq!(said.exits(1).error()["code"], "wrong-code");
    assert!(towards_joiner.words.is_none() && towards_inviter.words.is_none());
    assert!(!in_a_team(&b));
    // Its guess was counted.
    wait_for("the warning", || (inviting.warnings().len() == 1).then_some(()));
}

#[test]
fn somebody_between_with_the_code_is_betrayed_by_the_check_words() {
    let mut inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    let code: Code = inviting.code.parse().expect("a code");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let towards_joiner = {
        let code = code.clone();
        thread::spawn(move || between::invite_as(&listener, &code))
    };
    let mut joiner = b.start(&["join", &inviting.code, "--at", &at, "--yes"]);
    let towards_joiner = towards_joiner.join().expect("the one between");
    let towards_inviter = between::join_as(&inviting.address, &code);
    let (on_b, on_a) = (joiner.object_with("words"), inviting.process.object_with("words"));
    assert_eq!(on_b["words"].as_str(), towards_joiner.words.as_deref());
    assert_eq!(on_a["words"].as_str(), towards_inviter.words.as_deref());
    assert_ne!(on_a["words"], on_b["words"], "the people see that somebody is between them");
    // They say so by breaking off: nobody is in the team.
    drop((towards_inviter, towards_joiner));
    joiner.ends();
    assert_eq!(inviting.error()["code"], "connection-lost");
    assert_eq!((people(&inviting.machine), in_a_team(&b)), (1, false));
}

#[test]
fn a_long_code_goes_by_file_by_input_and_by_qr_code_and_never_by_argument() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let address = format!("127.0.0.1:{}", free_port());

    let file = a.path("for-vitebsk.txt").to_string_lossy().into_owned();
    let mut invitation = invite(&a, &address, &["--code-file", &file]);
    let said = invitation.object_with("code_file");
    assert_eq!((said["code_file"].as_str(), said.get("code")), (Some(file.as_str()), None));
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let code = fs::read_to_string(&file).expect("the file");
    let code = code.trim();
    assert!(code.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()), "{code}");
    for process in a.processes() {
        let arguments = String::from_utf8_lossy(&process.arguments).into_owned();
        let named = arguments.contains("invite") && arguments.contains(&address);
        assert!(named || !arguments.contains(&address), "an address in {arguments}");
        assert!(!arguments.contains(code), "a code in {arguments}");
    }
    // It is not written over, whatever it holds.
    assert_eq!(
        a.fails(1, &["team", "invite", "--role", "monitor", "--code-file", &file])["code"],
        "file-exists"
    );
    let b = Machine::with_vault("By file");
    b.ok(&["join", "--file", &file, "--yes"]);
    assert!(invitation.ends().success());
    assert_eq!(a.json(&["exports"])[0]["kind"], "code", "it is known that it lies there");
    assert_eq!(b.fails(1, &["join", "--file", &file, "--yes"])["code"], "already-in-team");

    let mut invitation = invite(&a, &address, &["--qr"]);
    let code = invitation.object_with("code")["code"].as_str().expect("a code").to_owned();
    let c = Machine::with_vault("By input");
    // As somebody types it from a screen.
    let typed = format!("{}\n", code.to_lowercase().replace('0', "o")).replace('1', "l");
    c.run_with(&["join", "-", "--yes"], typed.as_bytes()).exits(0);
    assert!(invitation.ends().success());
    a_report_arrives(&c, &a);

    let mut screen =
        a.command(&["team", "invite", "--role", "monitor", "--listen", &address, "--qr", "--yes"]);
    screen.args(["--expires", "1s"]);
    let drawn = fieldbook_tests::run(screen, b"").exits(1).out();
    assert!(drawn.lines().filter(|line| line.contains('█')).count() > 12, "{drawn}");
}

#[test]
fn what_is_no_code_is_refused_before_anybody_is_called() {
    let b = Machine::with_vault("Monitor");
    let long = Code::long([7; 16], vec!["127.0.0.1:9".into()]).expect("a code").to_string();
    let slip = format!("{}{}", if long.starts_with('Z') { 'Y' } else { 'Z' }, &long[1..]);
    let binary = b.file("binary", [0xff; 40]);
    let endless = b.file("long", "A1".repeat(10_000));
    let cases: [&[&str]; 5] = [
        &["join", "one-two-three", "--yes"],
        &["join", &slip, "--yes"],
        &["join", &long[..40], "--yes"],
        &["join", "--file", &binary, "--yes"],
        &["join", "--file", &endless, "--yes"],
    ];
    for case in cases {
        assert_eq!(b.fails(2, case)["code"], "bad-code", "{case:?}");
    }
    assert_eq!(b.fails(2, &["join", "--file", "nowhere", "--yes"])["code"], "code-unreadable");
    assert_eq!(b.fails(4, &["join", "--yes"])["code"], "cannot-ask");
}

#[test]
fn several_addresses_are_tried_in_their_order() {
    let (first, second) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    let args = ["team", "invite", "--role", "monitor", "--yes", "--listen", &first, "--listen", &second];
    let mut invitation = a.start(&args);
    let said = invitation.object_with("code");
    assert_eq!(said["listen"], serde_json::json!([first, second]));
    let code = said["code"].as_str().expect("a code").to_owned();
    // Nobody; something that hangs up; something that talks nonsense; and at last the inviter's second address.
    let nobody = format!("127.0.0.1:{}", free_port());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = listener.local_addr().expect("an address").to_string();
    let heard = thread::spawn(move || {
        drop(listener.accept().expect("a caller"));
        let (mut caller, _) = listener.accept().expect("a caller");
        let first = between::receive(&mut caller).expect("its first message");
        between::send(&mut caller, b"HTTP/1.1 400 Bad Request").expect("an answer");
        (first, between::receive(&mut caller))
    });
    let b = Machine::with_vault("Monitor");
    b.ok(&["join", &code, "--at", &nobody, "--at", &other, "--at", &other, "--at", &second, "--yes"]);
    assert!(invitation.ends().success());
    let (first_message, then) = heard.join().expect("the other");
    assert_eq!(
        first_message.len(),
        73,
        "a commitment and a point, which depend on no secret that could be tested"
    );
    assert!(then.map_or(true, |message| message[0] == 9), "nothing but a farewell follows");
}

#[test]
fn interrupted_or_killed_nothing_stays_open() {
    let b = Machine::with_vault("Monitor");
    let mut a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    for signal in [Signal::INT, Signal::KILL] {
        let mut inviting = Inviting::of(a, &[]);
        assert!(TcpStream::connect(&inviting.address).is_ok());
        inviting.process.signal(signal);
        let status = inviting.process.ends();
        assert!(signal == Signal::KILL || status.code() == Some(130), "{status}");
        inviting.machine.rests();
        assert!(TcpStream::connect(&inviting.address).is_err());
        assert_eq!(join(&b, &inviting.code, &inviting.address).code, 14);
        a = inviting.machine;
    }
    pair(&a, &b, "monitor");
}

#[test]
fn locking_the_vault_ends_its_invitation_and_says_so() {
    let a = Machine::with_vault("Coordination");
    a.ok(&["team", "create", "Minsk 2017"]);
    a.ok(&["unlock"]);
    let mut inviting = Inviting::of(a, &[]);
    inviting.machine.ok(&["lock"]);
    assert_eq!(inviting.error()["code"], "locked");
    assert!(TcpStream::connect(&inviting.address).is_err());
}

#[test]
fn a_device_that_is_in_the_team_is_not_admitted_a_second_time() {
    let inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    join(&b, &inviting.code, &inviting.address).exits(0);
    let mut again = Inviting::of(inviting.machine, &[]);
    assert_eq!(join(&b, &again.code, &again.address).exits(1).error()["code"], "already-in-team");
    assert!(again.process.runs(), "and the code is still good");
    let c = Machine::with_vault("Another");
    join(&c, &again.code, &again.address).exits(0);
    assert!(again.process.ends().success());
    assert_eq!(people(&again.machine), 3);
}

/// The admission is on its way when the line breaks, or the inviter's machine dies. The coordinator knows the device
/// then and the device does not know the team; the next invitation makes one whole member of it.
#[test]
fn a_pairing_cut_before_the_admission_arrives_is_repeated_without_a_second_member() {
    for crash in [false, true] {
        let mut inviting = Inviting::new(&[]);
        let b = Machine::with_vault("Monitor");
        let (reached, is_reached) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = std::sync::Mutex::new(may_go);
        // To the joiner go the answer, the proof, and then the admission.
        let wire = Wire::cut(&inviting.address, Way::ToJoiner, 2, move || {
            let _ = reached.send(());
            let _ = may_go.lock().expect("a word").recv();
        });
        let mut joining = b.start(&["join", &inviting.code, "--at", &wire.address, "--yes"]);
        is_reached.recv_timeout(fieldbook_tests::DEADLINE).expect("the admission on its way");
        if crash {
            let pids: Vec<u32> = inviting.machine.processes().iter().map(|process| process.pid).collect();
            processes::shoot(&pids);
        }
        drop(go);
        assert!(!joining.ends().success());
        inviting.process.ends();
        assert!(!in_a_team(&b));
        if !crash {
            assert_eq!(inviting.error()["code"], "connection-lost");
            assert!(
                inviting.error()["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("its screen says whether"))
            );
        }
        let whole = repeated(inviting.machine, &b);
        assert_eq!(people(&whole), 2, "one member, not two");
        a_report_arrives(&b, &whole);
    }
}

#[test]
fn a_pairing_cut_before_the_request_leaves_nothing_on_either_side() {
    let mut inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    // To the inviter go the first message, the proof, and then the request.
    let wire = Wire::cut(&inviting.address, Way::ToInviter, 2, || ());
    assert_eq!(join(&b, &inviting.code, &wire.address).exits(14).error()["code"], "connection-lost");
    assert_eq!(inviting.error()["code"], "connection-lost");
    assert_eq!((people(&inviting.machine), in_a_team(&b)), (1, false));
    let whole = repeated(inviting.machine, &b);
    assert_eq!(people(&whole), 2);
}

#[test]
fn a_lost_last_word_leaves_two_whole_sides() {
    let mut inviting = Inviting::new(&[]);
    let b = Machine::with_vault("Monitor");
    let wire = Wire::cut(&inviting.address, Way::ToInviter, 3, || ());
    join(&b, &inviting.code, &wire.address).exits(0);
    assert_eq!(inviting.error()["code"], "connection-lost");
    assert_eq!((people(&inviting.machine), in_a_team(&b)), (2, true));
    a_report_arrives(&b, &inviting.machine);
}

fn repeated(coordinator: Machine, newcomer: &Machine) -> Machine {
    let mut again = Inviting::of(coordinator, &[]);
    join(newcomer, &again.code, &again.address).exits(0);
    assert!(again.process.ends().success());
    again.machine
}

/// Nothing of a code or an invitation is kept: not by the vault, not in any file of either machine.
#[test]
fn no_code_is_ever_written_down() {
    let mut inviting = Inviting::new(&["--qr"]);
    let b = Machine::with_vault("Monitor");
    b.run_with(&["join", "-", "--yes"], inviting.code.as_bytes()).exits(0);
    assert!(inviting.process.ends().success());
    let secret = Canary::word(&inviting.code);
    for machine in [&inviting.machine, &b] {
        for file in fieldbook_tests::traces::files(machine.root()) {
            let bytes = fs::read(&file).expect("a file");
            assert_eq!(secret.find(&bytes), None, "{}", Path::new(&file).display());
        }
    }
}
