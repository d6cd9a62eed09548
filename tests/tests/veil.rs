//! What somebody on the line sees of a sync, and what somebody gets who probes a port: with the stock tools of
//! whoever watches networks, and with the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fieldbook_tests::{Daemon, Machine, free_port, team_of_two};
use serde_json::Value;

use crate::carriers::{self, world};
use crate::making::{finished_plain as finished, with_film};
use crate::reading::ids;
use crate::tap::{Dump, HYBRID, Tap, port, unevenness};

/// The lengths that a datagram of ours has (`protocol/veil.md`; the fourth is only taken).
const SIZES: [usize; 3] = [128, 512, 1232];
pub fn synced(machine: &Machine, address: &str) -> Value {
    carriers::synced(&machine.run(&["--json", "sync", "--with", address]).exits(0))
}

/// Fails unless the datagrams look random: bytes, bits, the bytes at each of the first places, no beginning twice.
fn must_look_random(datagrams: &[Vec<u8>]) {
    let all = datagrams.concat();
    assert!(all.len() > 400_000 && datagrams.len() > 400, "{} bytes", all.len());
    let even = unevenness(&all);
    assert!((130.0..420.0).contains(&even), "the bytes are not random: {even}");
    let ones: u32 = all.iter().map(|byte| byte.count_ones()).sum();
    let (bits, ones) = (all.len() as f64 * 8.0, f64::from(ones));
    assert!((ones - bits / 2.0).abs() < 3.0 * bits.sqrt(), "the bits are not random: {ones} of {bits}");
    for place in 0..40 {
        let here: Vec<u8> = datagrams.iter().map(|datagram| datagram[place]).collect();
        let even = unevenness(&here);
        // Of four hundred values the tail is longer: beyond 480 once in 10^9 for each place.
        assert!((130.0..480.0).contains(&even), "the bytes at {place} are not random: {even}");
    }
    let begins: BTreeSet<&[u8]> = datagrams.iter().map(|datagram| &datagram[..8]).collect();
    assert_eq!(begins.len(), datagrams.len(), "two datagrams begin alike");
}

/// All that tshark finds of TLS and of QUIC's first packets, if it is told that all is QUIC.
fn taken_for_quic(dump: &Dump, port: u16) -> [usize; 4] {
    let told = format!("udp.port=={port},quic");
    let heuristics = ["--enable-heuristic", "quic", "--enable-heuristic", "gquic"];
    let options = [&["-d", &told][..], &heuristics].concat();
    let here = format!("udp.port == {port}");
    [
        dump.fields(&heuristics, &format!("{here} && (quic || gquic || dtls)"), &["frame.number"]).len(),
        dump.fields(&options, &format!("{here} && quic.version == 1"), &["frame.number"]).len(),
        dump.fields(&options, &format!("{here} && (tls || quic.crypto.offset)"), &["frame.number"]).len(),
        dump.fields(&options, &format!("{here} && tls.handshake.extensions_alpn_str"), &["frame.number"])
            .len(),
    ]
}

#[test]
fn on_the_line_a_sync_is_random_bytes_of_three_sizes_and_nothing_says_quic() {
    if !world::inside("veil::on_the_line_a_sync_is_random_bytes_of_three_sizes_and_nothing_says_quic") {
        return;
    }
    let (a, b) = team_of_two();
    with_film(&b, 1, 700_000);
    let daemon = a.daemon_with(&["--no-tcp"]);
    let tap = Tap::start(&b, "veiled.pcapng");
    assert_eq!(synced(&b, daemon.address())["path"], "quic");
    finished(&b);
    assert_eq!(synced(&b, daemon.address())["path"], "quic");
    let dump = tap.stop();
    let port = port(daemon.address());
    let seen: Vec<Vec<u8>> = dump.datagrams(port).into_iter().map(|(_, bytes)| bytes).collect();
    let sizes: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| SIZES.contains(size)), "{sizes:?}");
    must_look_random(&seen);
    assert_eq!(taken_for_quic(&dump, port), [0; 4]);
    let marked = dump.fields(&[], &format!("udp.port == {port} && ip.dsfield.ecn != 0"), &["frame.number"]);
    assert!(marked.is_empty(), "{} datagrams are marked for congestion control", marked.len());
}

#[test]
fn without_the_veil_the_same_tools_see_quic_which_is_post_quantum_and_says_nothing_of_us() {
    if !world::inside(
        "veil::without_the_veil_the_same_tools_see_quic_which_is_post_quantum_and_says_nothing_of_us",
    ) {
        return;
    }
    let (a, b) = team_of_two();
    let daemon = a.daemon_with(&["--unveiled", "--no-tcp"]);
    let address = format!("quic://{}", daemon.address());
    let tap = Tap::start(&b, "plain.pcapng");
    for _ in 0..2 {
        finished(&b);
        assert_eq!(synced(&b, &address)["path"], "quic");
    }
    let dump = tap.stop();
    let port = port(daemon.address());
    let found = taken_for_quic(&dump, port);
    assert!(found.iter().all(|frames| *frames > 0), "the tools do not see what is there: {found:?}");
    let tls = |filter: &str, field: &str| -> BTreeSet<String> {
        let rows = dump.fields(&[], &format!("udp.port == {port} && {filter}"), &[field]);
        let values = rows.iter().flatten().flat_map(|row| row.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let only = |word: &str| BTreeSet::from([word.to_owned()]);
    // What both sides settled on, in the clear of the two hellos.
    for hello in ["tls.handshake.type == 1", "tls.handshake.type == 2"] {
        assert_eq!(tls(hello, "tls.handshake.extensions_key_share_group"), only(HYBRID), "{hello}");
    }
    let client = "tls.handshake.type == 1";
    assert_eq!(tls(client, "tls.handshake.extensions_alpn_str"), only("h3"));
    assert_eq!(tls(client, "tls.handshake.extensions_server_name"), BTreeSet::new());
    // 41, 42: a ticket of an earlier visit, and early data.
    let extensions = tls(client, "tls.handshake.extension.type");
    assert!(
        extensions.contains("51") && !extensions.contains("41") && !extensions.contains("42"),
        "{extensions:?}"
    );
    // 19, 20: raw public keys are what the client has, and what it takes.
    assert!(extensions.contains("19") && extensions.contains("20"), "{extensions:?}");
}

/// Somebody on the way to a daemon who keeps each datagram, and at once sends it once more from elsewhere.
struct Eavesdropper {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Eavesdropper {
    fn before(daemon: &str) -> Self {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            socket
        };
        let (near, far, elsewhere) = (Arc::new(bind()), Arc::new(bind()), bind());
        far.connect(daemon).expect("an address");
        elsewhere.connect(daemon).expect("an address");
        let address = near.local_addr().expect("an address");
        let device: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let recorded: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (answers, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let forth = {
            let (near, far, device) = (near.clone(), far.clone(), device.clone());
            let (recorded, answers, stop) = (recorded.clone(), answers.clone(), stop.clone());
            thread::spawn(move || {
                let mut bytes = [0; 65_536];
                elsewhere.set_nonblocking(true).expect("a socket");
                while !stop.load(SeqCst) {
                    if let Ok((len, from)) = near.recv_from(&mut bytes) {
                        *device.lock().expect("where") = Some(from);
                        let _ = far.send(&bytes[..len]);
                        let _ = elsewhere.send(&bytes[..len]);
                        recorded.lock().expect("a record").push(bytes[..len].to_vec());
                    }
                    if let Ok(len) = elsewhere.recv(&mut bytes) {
                        answers.fetch_add(len, SeqCst);
                    }
                }
            })
        };
        let back = {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut bytes = [0; 65_536];
                while !stop.load(SeqCst) {
                    if let (Ok(len), Some(to)) = (far.recv(&mut bytes), *device.lock().expect("where")) {
                        let _ = near.send_to(&bytes[..len], to);
                    }
                }
            })
        };
        Self { address, recorded, answers, stop, threads: vec![forth, back] }
    }

    /// What was recorded, and how many bytes came back to what was sent again.
    fn end(self) -> (Vec<Vec<u8>>, usize) {
        thread::sleep(Duration::from_millis(300));
        self.stop.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("its end"));
        let recorded = self.recorded.lock().expect("a record").clone();
        (recorded, self.answers.load(SeqCst))
    }
}

/// What a device sends first to somebody who never answers: no daemon has seen it.
fn fresh_first_packets(machine: &Machine) -> Vec<Vec<u8>> {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    silent.set_nonblocking(true).expect("a socket");
    machine.fails(14, &["sync", "--with", &silent.local_addr().expect("an address").to_string()]);
    let (mut bytes, mut found) = ([0; 65_536], Vec::new());
    while let Ok(len) = silent.recv(&mut bytes) {
        found.push(bytes[..len].to_vec());
    }
    assert!(!found.is_empty());
    found
}

/// Sends them all and counts the bytes that come back.
fn answered(daemon: &Daemon, datagrams: &[Vec<u8>]) -> usize {
    heard(daemon, datagrams, Duration::from_secs(1))
}

fn heard(daemon: &Daemon, datagrams: &[Vec<u8>], silence: Duration) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(daemon.address()).expect("an address");
    socket.set_read_timeout(Some(silence)).expect("a timeout");
    for (number, datagram) in datagrams.iter().enumerate() {
        socket.send(datagram).expect("a datagram");
        if number % 20 == 19 {
            // Everything is to arrive.
            thread::sleep(Duration::from_millis(2));
        }
    }
    let (mut bytes, mut heard) = ([0; 65_536], 0);
    while let Ok(len) = socket.recv(&mut bytes) {
        heard += len;
    }
    heard
}

#[test]
fn ten_thousand_probes_hear_nothing_and_the_daemon_serves() {
    let (a, b) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let mut daemon = a.daemon_at_with(&address, &["--no-tcp"]);
    let mut probes: BTreeMap<&str, usize> = BTreeMap::new();
    // Recorded on the way, and sent again at once.
    let mut recorded = Vec::new();
    for _ in 0..3 {
        finished(&b);
        let eavesdropper = Eavesdropper::before(daemon.address());
        assert_eq!(synced(&b, &eavesdropper.address.to_string())["path"], "quic");
        let (heard, back) = eavesdropper.end();
        assert_eq!(back, 0, "to what was sent again at once");
        *probes.entry("at once").or_default() += heard.len();
        recorded.extend(heard);
    }
    // Later, when the sessions are over.
    let first: Vec<Vec<u8>> = recorded.iter().filter(|datagram| datagram.len() == 1_232).cloned().collect();
    assert!(first.len() >= 6 && first.len() < recorded.len());
    let later: Vec<Vec<u8>> = recorded.iter().chain(&first).cycle().take(2_000).cloned().collect();
    assert_eq!(answered(&daemon, &later), 0, "later");
    probes.insert("later", later.len());
    // Nearly right: packets that would have been answered, one bit turned.
    let fresh = fresh_first_packets(&b);
    let bits = fresh[0].len() * 8;
    let nearly: Vec<Vec<u8>> = (0..4_000)
        .map(|number| {
            let mut bad = fresh[number % fresh.len()].clone();
            let bit = number * 7 % bits;
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        })
        .collect();
    assert_eq!(answered(&daemon, &nearly), 0, "nearly right");
    probes.insert("nearly right", nearly.len());
    // Random, and what opens other protocols; all of the lengths that are ours, too.
    let noise: Vec<Vec<u8>> = (0..4_000_usize)
        .map(|number| {
            let len = SIZES.get(number % 8).copied().unwrap_or(number % 1_500);
            let mut noise = vec![0; len];
            getrandom::fill(&mut noise).expect("random bytes");
            if let (0..=2, Some(begin)) = (number % 5, noise.first_chunk_mut()) {
                *begin = [[0xc0, 0, 0, 0, 1], [0xff, 0xff, 0, 0, 29], [0x16, 0xfe, 0xfd, 0, 0]][number % 5];
            }
            noise
        })
        .collect();
    assert_eq!(answered(&daemon, &noise), 0, "noise");
    probes.insert("noise", noise.len());
    assert!(probes.values().sum::<usize>() >= 10_000, "{probes:?}");
    // It serves, and after a restart knows what came before.
    let id = finished(&b);
    synced(&b, daemon.address());
    assert!(ids(&a).contains(&id) && daemon.process.runs(), "{}", daemon.process.err());
    a.ok(&["daemon", "stop"]);
    let next = a.daemon_at_with(&address, &["--no-tcp"]);
    assert_eq!(answered(&next, &recorded), 0, "after a restart");
    // That all this can fail: one of those first packets, as it was, is answered.
    // An answer may take its time.
    assert!(heard(&next, &fresh[..1], Duration::from_secs(10)) > 0);
    assert_eq!(answered(&next, &fresh[..1]), 0, "once");
}

#[test]
fn plain_quic_is_spoken_where_it_is_asked_for_and_nowhere_else() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    let plain = format!("quic://{}", daemon.address());
    b.fails(14, &["sync", "--with", &plain]);
    drop(daemon);
    let daemon = a.daemon_with(&["--unveiled", "--no-tcp"]);
    let plain = format!("quic://{}", daemon.address());
    for address in [&plain, daemon.address(), &plain] {
        assert_eq!(synced(&b, address)["path"], "quic", "{address}");
    }
    assert!(a.ok(&["daemon", "status"]).out().contains("(UDP only, plain QUIC too)"));
    assert_eq!(a.json(&["daemon", "status"])[0]["veil"]["unveiled"], true);
    // What was dialled is what is remembered.
    assert_eq!(b.json(&["status"])[0]["peers"][0]["address"], plain.as_str());
    assert!(b.ok(&["doctor"]).out().contains("by UDP: a coordinator of your team answered"));
    drop(daemon);
    b.fails(2, &["daemon", "--listen", &plain]);
    b.fails(2, &["sync", "--with", "quic://nowhere"]);
}

#[test]
fn whoever_may_not_show_tls_dials_by_nothing_but_the_veil() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    let veiled = format!("veil://{}", daemon.address());
    assert_eq!(synced(&b, &veiled)["path"], "quic");
    assert_eq!(b.json(&["status"])[0]["peers"][0]["address"], veiled.as_str());
    assert!(!b.ok(&["doctor"]).out().contains("by TCP"));
    drop(daemon);
    // Where UDP leads nowhere it does not fall back to TCP, which would have got through.
    let daemon = a.daemon_with(&["--no-udp"]);
    let tcp_only = format!("veil://{}", daemon.address());
    let failed = b.run(&["--json", "sync", "--with", &tcp_only]);
    assert_eq!(failed.code, 14, "{failed:?}");
    assert_eq!(synced(&b, daemon.address())["path"], "tcp");
    b.fails(2, &["sync", "--with", "veil://nowhere"]);
}

#[test]
fn a_secret_that_was_made_while_the_daemon_runs_opens_its_veil_at_once() {
    let (a, b) = team_of_two();
    let c = Machine::with_vault("Third");
    fieldbook_tests::pair(&a, &c, "monitor");
    let mut daemon = a.daemon_with(&["--no-tcp"]);
    synced(&b, daemon.address());
    synced(&c, daemon.address());
    a.ok(&["team", "remove", "Third", "--yes"]);
    // Under the secret that it has, and then under the one that it got.
    for _ in 0..2 {
        let id = finished(&b);
        synced(&b, daemon.address());
        assert!(ids(&a).contains(&id));
    }
    // Whoever was removed passes the veil, and no further.
    c.fails(14, &["sync", "--with", daemon.address()]);
    assert!(daemon.process.runs(), "{}", daemon.process.err());
}
