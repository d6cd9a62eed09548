//! Daemons that dial and stay: what arrives anywhere arrives everywhere, without anybody asking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_daemon::control::{Ask, CallStatus, DaemonStatus, ask};
use fieldbook_daemon::{Calls, Carriers, Carry, DaemonOptions, Dialling, run_courier, run_daemon};
use fieldbook_depot::Depot;

mod team;
use team::{Device, Running, device, start, start_by, start_with};

/// Far beyond what it takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A daemon without an ear: a laptop behind somebody else's router.
struct Caller {
    control: std::path::PathBuf,
    thread: thread::JoinHandle<()>,
}

fn call(device: &Device, with: &str) -> Caller {
    let control = device.dir.path().join("caller");
    let options = DaemonOptions {
        depot_path: device.path(),
        depot_key: device.key.clone(),
        listen: Vec::new(),
        carriers: Carriers::default(),
        calls: Calls { with: vec![with.to_owned()], ..Calls::default() },
        relay: false,
        veil: fieldbook_daemon::Veiling::default(),
        control_socket: control.clone(),
        lock_path: device.dir.path().join("caller.lock"),
    };
    let thread = thread::spawn(move || run_daemon(options, |_| {}, |_| {}).unwrap());
    Caller { control, thread }
}

impl Caller {
    fn ask(&self, what: Ask) -> Option<DaemonStatus> {
        ask(&self.control, what).unwrap()
    }

    /// How it stands with the one that it dials; nothing before it has begun.
    fn first(&self) -> Option<CallStatus> {
        self.ask(Ask::Status)?.calls.into_iter().next()
    }

    fn is_connected(&self) -> bool {
        self.first().is_some_and(|call| call.connected_ms.is_some())
    }

    fn stop(self) {
        assert!(self.ask(Ask::Stop).is_some());
        self.thread.join().unwrap();
    }
}

fn nudge(daemon: &Running) {
    assert!(ask(&daemon.control, Ask::Nudge).unwrap().is_some());
}

#[test]
fn what_one_writes_arrives_at_all_who_stay_and_nobody_syncs() {
    let (relay, one, two) = (device(1, 1, 9), device(2, 1, 9), device(3, 1, 9));
    let daemon = team::start_by(&relay, Carriers { udp: true, tcp: false });
    let callers = [call(&one, &daemon.address), call(&two, &daemon.address)];
    wait("both connected", || callers.iter().all(Caller::is_connected));
    for round in 0..3 {
        let ids = one.add(100 * round, 5, 1_100);
        callers[0].ask(Ask::Nudge);
        wait("arrived at the one who listens", || ids.iter().all(|id| relay.knows_entry(id)));
        wait("and from there at the other", || ids.iter().all(|id| two.knows_entry(id)));
        let back = relay.add(1_000 + 100 * round, 5, 1_100);
        nudge(&daemon);
        wait("and the other way", || back.iter().all(|id| one.knows_entry(id) && two.knows_entry(id)));
    }
    let status = callers[0].ask(Ask::Status).unwrap();
    assert_eq!((status.sessions_done, status.sessions_failed), (0, 0), "one session all the time");
    assert_eq!(status.calls[0].path.as_deref(), Some("quic"));
    assert_eq!(status.calls[0].last_error, None);
    let holds = || relay_record(&one).is_some_and(|holds| holds >= 30);
    wait("known to be held there", holds);
    // One that does not stay ends as ever.
    assert!(two.sync(&daemon.address).0.unwrap().in_step);
    callers.into_iter().for_each(Caller::stop);
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains("broke off")), "who leaves says so: {log:?}");
}

fn relay_record(device: &Device) -> Option<u64> {
    device.depot.peers().unwrap().first().map(|peer| peer.holds_position)
}

#[test]
fn whoever_was_away_is_dialled_again_and_status_says_how_it_stands() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    // A port that nobody listens at, below those that the system gives to whoever asks for any.
    let from = 10_000 + u16::try_from(std::process::id() % 1_000).unwrap();
    let free = |port| TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok();
    let address = (from..12_000).find_map(free).unwrap();
    let ids = one.add(0, 3, 1_100);
    let caller = call(&one, &address.to_string());
    wait("tried and told why", || {
        caller.first().is_some_and(|call| call.last_error.is_some() && call.connected_ms.is_none())
    });
    let daemon = team::start_at(&relay, address, Carriers { udp: false, tcp: true });
    wait("arrived", || {
        caller.ask(Ask::Nudge);
        ids.iter().all(|id| relay.knows_entry(id))
    });
    let call = caller.first().unwrap();
    assert_eq!((call.path.as_deref(), call.next_try_ms), (Some("tcp"), None));
    assert!(call.last_error.is_some() && call.last_error_ms.is_some(), "what went wrong last can be seen");
    // It goes away and comes back.
    daemon.stop();
    wait("noticed", || !caller.is_connected());
    let more = one.add(100, 3, 1_100);
    let daemon = team::start_at(&relay, address, Carriers { udp: false, tcp: true });
    caller.ask(Ask::Nudge);
    wait("arrived after it came back", || {
        caller.ask(Ask::Nudge);
        more.iter().all(|id| relay.knows_entry(id))
    });
    caller.stop();
    daemon.stop();
}

#[test]
fn what_a_device_does_not_carry_is_not_sent_and_comes_when_it_does() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    relay.add(900, 1, 1_100);
    let daemon = start(&relay);
    Carry { reports_only: true, ..Carry::default() }.set(&relay.depot).unwrap();
    let reports = one.add(0, 5, 1_100);
    let parts = one.add(100, 4, 200_000);
    let summary = one.sync(&daemon.address).0.unwrap();
    assert_eq!((summary.sent, summary.declined_by_peer.size), (5, 4));
    assert!(summary.in_step_but_for_declined && !summary.in_step);
    assert!(reports.iter().all(|id| relay.knows_entry(id)) && !parts.iter().any(|id| relay.knows_entry(id)));
    assert_eq!(relay_record(&one), Some(5), "what lies beyond is not held there");
    let summary = one.sync(&daemon.address).0.unwrap();
    assert_eq!((summary.sent, summary.declined_by_peer.size), (0, 4), "offered again, and that is all");
    assert_eq!(relay_record(&one), Some(5));
    // A total: what fits is taken.
    Carry { total: Some(relay.depot.stats().unwrap().held_bytes + 500_000), ..Carry::default() }
        .set(&relay.depot)
        .unwrap();
    let summary = one.sync(&daemon.address).0.unwrap();
    assert_eq!((summary.sent, summary.declined_by_peer.full), (2, 2));
    Carry::default().set(&relay.depot).unwrap();
    let summary = one.sync(&daemon.address).0.unwrap();
    assert_eq!((summary.sent, summary.declined_by_peer.total(), summary.in_step), (2, 0, true));
    assert_eq!(relay_record(&one), Some(one.depot.head().unwrap()));
    daemon.stop();
}

#[test]
fn a_removed_device_does_not_stay() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    let daemon = start_by(&relay, Carriers::default());
    let caller = call(&one, &daemon.address);
    wait("connected", || caller.is_connected());
    relay.hears_of_the_removal_of(2);
    nudge(&daemon);
    wait("sent away", || !caller.is_connected());
    let ids = relay.add(0, 3, 1_100);
    nudge(&daemon);
    caller.ask(Ask::Nudge);
    thread::sleep(Duration::from_millis(300));
    assert!(!ids.iter().any(|id| one.knows_entry(id)));
    caller.stop();
    daemon.stop();
}

#[test]
fn a_sync_is_no_faster_than_it_may_be_and_everything_arrives() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    relay.add(900, 1, 1_100);
    let daemon = start(&relay);
    let ids = one.add(0, 3, 200_000);
    let limit = std::num::NonZeroU64::new(300_000);
    let begun = Instant::now();
    let dialling = Dialling { limit, ..Dialling::default() };
    let done = run_courier(&one.path(), &one.key, std::slice::from_ref(&daemon.address), dialling, |_| {});
    assert!(done.unwrap().unwrap().in_step);
    assert!(ids.iter().all(|id| relay.knows_entry(id)));
    // The cap is a promise, whatever the machine; how much slower it is belongs to benchmarks.
    assert!(begun.elapsed() >= Duration::from_millis(1_900), "{:?}", begun.elapsed());
    daemon.stop();
}

#[test]
fn two_daemons_that_dial_each_other_agree() {
    let (one, two) = (device(1, 1, 9), device(2, 1, 9));
    let first = start(&one);
    let calls = Calls { with: vec![first.address.clone()], ..Calls::default() };
    let second = start_with(&two, Carriers::default(), calls);
    let ids = [one.add(0, 20, 1_100), two.add(100, 20, 1_100)].concat();
    nudge(&first);
    nudge(&second);
    wait("both have all", || ids.iter().all(|id| one.knows_entry(id) && two.knows_entry(id)));
    let log = second.stop();
    assert!(log.iter().any(|line| line.contains("session with coordinator")), "who dials says so: {log:?}");
    first.stop();
}

#[test]
fn what_moves_and_what_is_declined_is_known_while_both_stay() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    Carry { reports_only: true, ..Carry::default() }.set(&relay.depot).unwrap();
    let daemon = start(&relay);
    one.add(0, 3, 1_100);
    one.add(100, 2, 200_000);
    let caller = call(&one, &daemon.address);
    let status = |of: &std::path::Path| ask(of, Ask::Status).unwrap().unwrap();
    wait("counted at both ends", || {
        caller.is_connected() && status(&caller.control).sent == 3 && status(&daemon.control).received == 3
    });
    wait("written down", || {
        let said = |setting| {
            let kept = one.depot.setting(setting).unwrap().unwrap_or_default();
            String::from_utf8(kept).unwrap()
        };
        said("declined-by").contains("\"size\":2") && said("ways").contains("quic")
    });
    let both = [status(&caller.control), status(&daemon.control)].map(|status| status.sessions_now);
    assert_eq!(both, [1, 1], "and both are still there");
    caller.stop();
    daemon.stop();
}

#[test]
fn silent_strangers_keep_no_device_out() {
    let (relay, one) = (device(1, 1, 9), device(2, 1, 9));
    let daemon = start_by(&relay, Carriers { udp: false, tcp: true });
    let ids = one.add(0, 3, 1_100);
    // More than there are places for.
    let silent: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(&daemon.address).unwrap()).collect();
    assert!(one.sync(&daemon.address).0.unwrap().in_step);
    assert!(ids.iter().all(|id| relay.knows_entry(id)));
    drop(silent);
    daemon.stop();
}
