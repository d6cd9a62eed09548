//! A SOCKS5 proxy that others wrote (microsocks), in a network that is this test's own: what is not to
//! happen can be seen there, packet by packet.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use fieldbook_tests::{Daemon, Machine, Run, free_port, team_of_two, wait_for};
use serde_json::Value;

use super::capture::{Capture, Seen};
use super::{synced, tried, world};
use crate::making::finished_plain as finished;
use crate::reading::ids;

/// The address that the proxy connects from: whatever else connects is not the proxy.
const PROXYS_OWN: &str = "127.0.0.9";
/// A name that only the proxy knows.
const NAME: &str = "desk.invalid";

/// The proxy, until it is dropped.
pub struct Proxy {
    process: Child,
    address: SocketAddr,
}

impl Proxy {
    /// A proxy that knows [`NAME`], as one of the world outside knows names that this network does not.
    pub fn start(machine: &Machine, options: &[&str]) -> Self {
        Self::start_at(machine, SocketAddr::from(([127, 0, 0, 1], free_port())), options)
    }

    fn start_at(machine: &Machine, address: SocketAddr, options: &[&str]) -> Self {
        let hosts = machine.file("hosts-of-the-proxy", format!("127.0.0.1 localhost {NAME}\n"));
        let line = format!(
            "mount --bind '{hosts}' /etc/hosts && exec microsocks -i 127.0.0.1 -p {} -b {PROXYS_OWN} {}",
            address.port(),
            options.join(" ")
        );
        let process = Command::new("unshare")
            .args(["--mount", "sh", "-c", &line])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("microsocks");
        wait_for("the proxy", || std::net::TcpStream::connect(address).ok());
        Self { process, address }
    }

    pub fn url(&self) -> String {
        format!("socks5://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whose names are looked up where a test can see it: at nobody's, by UDP on loopback.
fn names_of_this_world(machine: &Machine) {
    world::instead("/etc/hosts", &machine.file("hosts", "127.0.0.1 localhost\n"));
    world::instead(
        "/etc/resolv.conf",
        &machine.file("resolv.conf", "nameserver 127.0.0.1\noptions attempts:1\n"),
    );
}

/// What is seen that the proxy did not do, and that was not said to it.
fn beside_the_proxy(seen: &[Seen], proxy: &Proxy) -> Vec<Seen> {
    let by_the_proxy = |seen: &Seen| !seen.udp && seen.from.ip().to_string() == PROXYS_OWN;
    let to_the_proxy = |seen: &Seen| !seen.udp && seen.to == proxy.address;
    seen.iter().filter(|seen| !by_the_proxy(seen) && !to_the_proxy(seen)).copied().collect()
}

/// Two devices, the daemon of the first, a proxy, and the name and port by which the proxy alone finds that daemon.
fn behind_a_proxy() -> (Machine, Machine, Daemon, Proxy, String) {
    let (a, b) = team_of_two();
    names_of_this_world(&b);
    let daemon = a.daemon();
    let at = format!("{NAME}:{}", port_of(&daemon));
    let proxy = Proxy::start(&a, &[]);
    (a, b, daemon, proxy, at)
}

fn port_of(daemon: &Daemon) -> String {
    daemon.address().rsplit_once(':').expect("a port").1.to_owned()
}

#[test]
fn only_via_makes_no_other_connection_and_looks_up_no_name() {
    if !world::inside("carriers::proxy::only_via_makes_no_other_connection_and_looks_up_no_name") {
        return;
    }
    let (a, b, daemon, proxy, at) = behind_a_proxy();
    let id = finished(&b);

    let capture = Capture::start();
    let said = b.run(&["--json", "sync", "--with", &at, "--only-via", &proxy.url()]).exits(0);
    let seen = capture.stop();
    let done = synced(&said);
    assert_eq!((done["path"].as_str(), tried(&done)), (Some("socks"), vec![]), "{done}");
    assert_eq!(ids(&a), [id]);
    assert_eq!(beside_the_proxy(&seen, &proxy), [], "something went past the proxy");
    assert!(seen.iter().any(|seen| seen.to == proxy.address), "the test can see the way to the proxy");
    assert!(seen.iter().any(|seen| seen.from.ip().to_string() == PROXYS_OWN), "and what it does");

    // A second time without a name, to the address that is remembered; a number is not dialled either.
    for args in [
        &["sync", "--only-via", &proxy.url()][..],
        &["sync", "--with", daemon.address(), "--only-via", &proxy.url()],
    ] {
        let capture = Capture::start();
        let said = b.ok(args);
        assert_eq!(beside_the_proxy(&capture.stop(), &proxy), [], "{args:?}");
        assert!(said.out().contains("(TCP, through the proxy)"), "{said:?}");
    }

    // What the test would see if it happened: a name looked up, a datagram, a connection.
    for (with, udp) in [(at.as_str(), true), (daemon.address(), true)] {
        let capture = Capture::start();
        b.run(&["sync", "--with", with]);
        let seen = beside_the_proxy(&capture.stop(), &proxy);
        assert!(seen.iter().any(|seen| seen.udp == udp), "{with}: {seen:?}");
    }

    // The proxy goes: nothing else is tried, and it is said.
    let url = proxy.url();
    drop(proxy);
    let capture = Capture::start();
    let error = b.fails(14, &["sync", "--with", daemon.address(), "--only-via", &url]);
    let seen = capture.stop();
    assert!(error["message"].as_str().expect("words").contains("the proxy cannot be reached"), "{error}");
    assert!(seen.iter().all(|seen| !seen.udp && url.ends_with(&seen.to.to_string())), "{seen:?}");
}

/// Where a machine's daemon stands with whom it dials.
fn call(machine: &Machine) -> Value {
    machine.json(&["daemon", "status"])[0]["calls"][0].clone()
}

#[test]
fn a_daemon_with_only_via_dials_nothing_else_when_the_proxy_is_gone_and_when_it_is_back() {
    if !world::inside(
        "carriers::proxy::a_daemon_with_only_via_dials_nothing_else_when_the_proxy_is_gone_and_when_it_is_back",
    ) {
        return;
    }
    let (a, b, desk, proxy, at) = behind_a_proxy();
    let (port, url) = (port_of(&desk), proxy.url());

    let capture = Capture::start();
    let mut laptop = b.start(&["daemon", "--with", &at, "--only-via", &url]);
    laptop.object_with("with");
    let first = finished(&b);
    wait_for("the report at the desk", || ids(&a).contains(&first).then_some(()));
    wait_for("the way", || (call(&b)["path"] == "socks").then_some(()));

    // The proxy goes, and the daemon has noticed, and has tried again in vain.
    let address = proxy.address;
    drop(proxy);
    wait_for("a call that fails", || {
        call(&b)["last_error"]
            .as_str()
            .is_some_and(|why| why.contains("the proxy cannot be reached"))
            .then_some(())
    });
    // It comes back, and the daemon dials anew.
    let proxy = Proxy::start_at(&a, address, &[]);
    let second = finished(&b);
    wait_for("the second report at the desk", || ids(&a).contains(&second).then_some(()));
    laptop.kill();
    let seen = capture.stop();
    assert_eq!(beside_the_proxy(&seen, &proxy), [], "something went past the proxy");
    let to_the_desk =
        |seen: &&Seen| seen.from.ip().to_string() == PROXYS_OWN && seen.to.port().to_string() == port;
    assert!(seen.iter().filter(to_the_desk).count() >= 2, "it was dialled again: {seen:?}");

    // What the test would see if it happened: the name looked up.
    let capture = Capture::start();
    let mut laptop = b.start(&["daemon", "--with", &at]);
    laptop.object_with("with");
    wait_for("a call that fails", || call(&b)["last_error"].is_string().then_some(()));
    laptop.kill();
    let seen = capture.stop();
    assert!(beside_the_proxy(&seen, &proxy).iter().any(|seen| seen.udp && seen.to.port() == 53), "{seen:?}");
}

#[test]
fn a_doctor_with_only_via_looks_nowhere_else() {
    if !world::inside("carriers::proxy::a_doctor_with_only_via_looks_nowhere_else") {
        return;
    }
    let (_a, b, desk, proxy, at) = behind_a_proxy();
    let ways = |run: Run| -> Vec<(String, String)> {
        let tried = run.lines().into_iter().filter(|line| line["event"] == "tried");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        tried.map(|line| (word(&line["path"]), word(&line["outcome"]))).collect()
    };
    for with in [at.as_str(), desk.address()] {
        let capture = Capture::start();
        let run = b.run(&["--json", "doctor", "--with", with, "--only-via", &proxy.url()]).exits(0);
        let seen = capture.stop();
        assert_eq!(ways(run), [("socks".to_owned(), "met".to_owned())], "{with}");
        assert_eq!(beside_the_proxy(&seen, &proxy), [], "{with}: something went past the proxy");
        assert!(seen.iter().any(|seen| seen.to == proxy.address), "the test can see the way to the proxy");
    }
    // Where it was before is known after a sync; then it is looked at without a word.
    b.ok(&["sync", "--with", &at, "--only-via", &proxy.url()]);
    let capture = Capture::start();
    let run = b.run(&["--json", "doctor", "--only-via", &proxy.url()]).exits(0);
    assert_eq!(ways(run), [("socks".to_owned(), "met".to_owned())]);
    assert_eq!(beside_the_proxy(&capture.stop(), &proxy), []);

    // The proxy goes: nothing else is tried.
    let url = proxy.url();
    drop(proxy);
    let capture = Capture::start();
    let run = b.run(&["--json", "doctor", "--with", &at, "--only-via", &url]).exits(14);
    let seen = capture.stop();
    assert_eq!(ways(run), [("socks".to_owned(), "no-connection".to_owned())]);
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| !seen.udp && url.ends_with(&seen.to.to_string())),
        "{seen:?}"
    );

    // What the test would see if it happened: a name looked up, a datagram. (At the end: a connection of QUIC says its last
    // words later than its command.)
    for with in [at.as_str(), desk.address()] {
        let capture = Capture::start();
        b.run(&["doctor", "--with", with]);
        assert!(capture.stop().iter().any(|seen| seen.udp), "{with}");
    }
}

#[test]
fn via_is_the_last_resort_and_says_what_was_tried() {
    if !world::inside("carriers::proxy::via_is_the_last_resort_and_says_what_was_tried") {
        return;
    }
    let (a, b) = team_of_two();
    names_of_this_world(&b);
    let daemon = a.daemon();
    let port = daemon.address().rsplit_once(':').expect("a port").1.to_owned();
    let proxy = Proxy::start(&a, &[]);
    let id = finished(&b);
    // Straight, since that works.
    let done =
        synced(&b.run(&["--json", "sync", "--with", daemon.address(), "--via", &proxy.url()]).exits(0));
    assert_ne!(done["path"], "socks");
    // A name that this network does not know.
    let at = format!("{NAME}:{port}");
    let done = synced(&b.run(&["--json", "sync", "--with", &at, "--via", &proxy.url()]).exits(0));
    assert_eq!(done["path"], "socks", "{done}");
    let why = done["tried"][0]["why"].as_str().expect("why");
    assert!(why.contains("can be found"), "{done}");
    assert_eq!(ids(&a), [id]);
    assert!(b.ok(&["status"]).out().contains(&format!("at {at} (TCP, through the proxy), last")));
    // Nobody is there, by no way: each is named.
    drop(daemon);
    let error = b.fails(14, &["sync", "--with", &format!("127.0.0.1:{port}"), "--via", &proxy.url()]);
    let message = error["message"].as_str().expect("words");
    for part in ["by UDP: ", "by TCP: ", "through the proxy: "] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_proxy_that_wants_a_password_is_called_so() {
    if !world::inside("carriers::proxy::a_proxy_that_wants_a_password_is_called_so") {
        return;
    }
    let (a, b) = team_of_two();
    let proxy = Proxy::start(&a, &["-u", "somebody", "-P", "secret"]);
    let error = b.fails(14, &["sync", "--with", "127.0.0.1:9", "--only-via", &proxy.url()]);
    assert!(error["message"].as_str().expect("words").contains("wants a name and a password"), "{error}");
}
