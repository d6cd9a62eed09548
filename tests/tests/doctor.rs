//! `doctor` names what stands in the way of a sync, and `status --watch` says what changes.

use std::net::UdpSocket;

use fieldbook_tests::{Machine, free_port, team_of_two};
use serde_json::Value;

use crate::relay::{relay_of, runs};

/// What it found, and whether any way led to a device of the team.
fn examined(machine: &Machine, args: &[&str], exit: i32) -> Vec<Value> {
    let mut all = vec!["--json", "doctor"];
    all.extend(args);
    machine.run(&all).exits(exit).lines()
}

fn checks<'a>(said: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let of_it = said.iter().filter(|line| line["event"] == "check" && line["check"] == check);
    of_it
        .map(|line| (line["verdict"].as_str().expect("a word"), line["found"].as_str().expect("words")))
        .collect()
}

fn tried(said: &[Value]) -> Vec<(&str, &str)> {
    let tried = said.iter().filter(|line| line["event"] == "tried");
    tried
        .map(|line| (line["path"].as_str().unwrap_or(""), line["outcome"].as_str().expect("a word")))
        .collect()
}

#[test]
fn where_nothing_stands_in_the_way_it_says_so_and_leaves_no_trace() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    let said = examined(&b, &["--with", daemon.address()], 0);
    assert_eq!(tried(&said), [("quic", "met"), ("tcp", "met")]);
    for check in ["team", "membership", "clock", "waiting", "daemon", "address"] {
        assert!(matches!(checks(&said, check)[..], [("good", _)]), "{check}: {said:?}");
    }
    assert_eq!(said.last().expect("an end")["bad"], 0);
    // Looking is no sync: this device remembers nobody by it.
    assert_eq!(b.json(&["status"])[0]["peers"].as_array().expect("a list").len(), 0);
    // What waits is said, and where it was reached before is known.
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["sync", "--with", daemon.address()]);
    let said = examined(&b, &[], 0);
    assert!(checks(&said, "address")[0].1.starts_with(daemon.address()), "{said:?}");
    assert!(b.ok(&["doctor"]).out().contains("Nothing stands in the way."));
}

#[test]
fn udp_that_is_blocked_is_no_fault_where_tcp_works() {
    let (a, b) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let mut daemon = a.start(&["daemon", "--listen", &address, "--no-udp"]);
    daemon.object_with("listening");
    let _swallows = UdpSocket::bind(&address).expect("a socket");
    let said = examined(&b, &["--with", &address], 0);
    assert_eq!(tried(&said), [("quic", "no-connection"), ("tcp", "met")]);
    assert!(matches!(checks(&said, "address")[..], [("notice", words)] if words.contains("UDP")), "{said:?}");
    assert_eq!(said.last().expect("an end")["bad"], 0);
}

#[test]
fn nobody_there_a_name_that_leads_nowhere_and_another_team_are_told_apart() {
    let (_a, b) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let said = examined(&b, &["--with", &address], 14);
    assert!(checks(&said, "address")[0].1.contains("no way leads there"), "{said:?}");
    let said = examined(&b, &["--with", "nobody.invalid:4040"], 14);
    assert_eq!(tried(&said), [("", "no-name")]);
    assert!(checks(&said, "address")[0].1.contains("leads nowhere"), "{said:?}");
    // Another team's desk does not answer behind the veil; otherwise it hears one message, and says nothing.
    let (other, _) = team_of_two();
    let daemon = other.daemon_with(&["--unveiled"]);
    let said = examined(&b, &["--with", daemon.address()], 14);
    assert_eq!(tried(&said), [("quic", "no-connection"), ("tcp", "no-connection")]);
    let advice = said.iter().find(|line| line["check"] == "address").expect("an address");
    assert!(advice["do"].as_str().expect("words").contains("another team's"), "{said:?}");
    let plain = format!("quic://{}", daemon.address());
    let said = examined(&b, &["--with", &plain], 14);
    assert_eq!(tried(&said), [("quic", "turned-away"), ("tcp", "turned-away")]);
    assert!(checks(&said, "address")[0].1.contains("does not take this device in"), "{said:?}");
    let words = b.run(&["doctor", "--with", &plain]).exits(14);
    assert!(words.out().contains("BAD") && words.out().contains("another team's"), "{words:?}");
    assert!(words.err().contains("your work is safe here"), "{words:?}");
    // Something that is no Fieldbook at all.
    let web = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = web.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            use std::io::Write as _;
            let _ = stream.expect("a stream").write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let said = examined(&b, &["--with", &at], 14);
    assert_eq!(tried(&said)[1].0, "tcp");
    assert_ne!(tried(&said)[1].1, "met");
}

#[test]
fn who_was_removed_is_told_what_it_may_be() {
    let (a, b) = team_of_two();
    let device = b.json(&["status"])[0]["device"]["id"].as_str().expect("an id").to_owned();
    a.ok(&["team", "remove", &device, "--yes"]);
    let daemon = a.daemon();
    let said = examined(&b, &["--with", daemon.address()], 14);
    assert!(tried(&said).iter().all(|(_, outcome)| *outcome == "turned-away"), "{said:?}");
    let advice = said.iter().find(|line| line["check"] == "address").expect("an address");
    assert!(advice["do"].as_str().expect("words").contains("removed"), "{said:?}");
}

#[test]
fn a_relay_that_has_not_heard_of_a_new_epoch_is_met_as_a_sync_meets_it() {
    let (a, _b) = team_of_two();
    let relay = relay_of(&a, &[]);
    let at = runs(&relay);
    a.ok(&["sync", "--with", &at.address]);
    a.ok(&["team", "remove", "Monitor", "--yes"]);
    let said = examined(&a, &["--with", &at.address], 0);
    assert_eq!(tried(&said), [("quic", "met"), ("tcp", "met")]);
    a.ok(&["sync", "--with", &at.address]);
    at.ends();
}

#[test]
fn without_a_team_that_is_what_it_says() {
    let alone = Machine::with_vault("Alone");
    let said = examined(&alone, &[], 1);
    assert!(matches!(checks(&said, "team")[..], [("bad", _)]), "{said:?}");
    assert_eq!(said.last().expect("an end")["bad"], 1);
    let words = alone.run(&["doctor"]).exits(1);
    assert!(words.err().contains("1 thing stands in the way of a sync"), "{words:?}");
}

#[test]
fn watching_says_what_changes_and_nothing_else() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    b.ok(&["unlock"]);
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    let mut watch = b.start(&["status", "--watch"]);
    let first = watch.object_with("drafts");
    assert_eq!((first["drafts"].as_u64(), first["only_here"].as_u64()), (Some(1), Some(0)));
    b.ok(&["finish", &id, "--incomplete"]);
    assert_eq!(watch.object_with("drafts")["only_here"], 1);
    b.ok(&["sync", "--with", daemon.address()]);
    let mut last = watch.object_with("drafts");
    while last["only_here"] == 1 {
        last = watch.object_with("drafts");
    }
    assert_eq!(last["peers"].as_array().expect("a list").len(), 1, "{last}");
    // It ends with what it looks at.
    b.ok(&["lock"]);
    assert_eq!(watch.ends().code(), Some(4), "{}", watch.err());
    assert!(watch.err().contains("the vault was locked"), "{}", watch.err());
    // A locked vault is not watched: nobody else could use it meanwhile.
    let error = b.fails(4, &["status", "--watch"]);
    assert_eq!(error["code"], "not-unlocked");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("`fieldbook unlock`")), "{error}");
}
