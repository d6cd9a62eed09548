//! What somebody on the line sees of a sync by TCP and of a pairing, and what somebody gets who probes the port: with the
//! stock tools of whoever watches networks, and with the real program.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fieldbook_tests::{Machine, free_port, team_of_two};

use crate::carriers::proxy::Proxy;
use crate::carriers::{self, world};
use crate::making::{finished_plain as finished, with_film};
use crate::reading::ids;
use crate::tap::{Dump, HYBRID, Tap, port, unevenness};
use crate::veil::synced;

/// The first box.
const FIRST: usize = 128;

/// Frames in which tshark, with all that guesses, finds a protocol of those that it might.
fn taken_for_something(dump: &Dump, port: u16) -> usize {
    let guesses = ["--enable-heuristic", "tls_tcp", "--enable-heuristic", "http_tcp"];
    let filter = format!("tcp.port == {port} && (tls || http || http2 || quic || ssh)");
    dump.fields(&guesses, &filter, &["frame.number"]).len()
}

fn count(bytes: &[u8], sought: &[u8]) -> usize {
    bytes.windows(sought.len()).filter(|window| *window == sought).count()
}

/// Fails unless what passed looks random. What is plain would fail: TLS has its three bytes before each record.
fn must_look_random(streams: &[[Vec<u8>; 2]], least: usize) {
    let all: Vec<u8> = streams.concat().concat();
    assert!(all.len() > least, "{} bytes", all.len());
    let even = unevenness(&all);
    // Beyond these once in 10^9.
    assert!((130.0..425.0).contains(&even), "the bytes are not random: {even}");
    let ones: u32 = all.iter().map(|byte| byte.count_ones()).sum();
    let (bits, ones) = (all.len() as f64 * 8.0, f64::from(ones));
    // Six times and a half the deviation.
    assert!((ones - bits / 2.0).abs() < 3.25 * bits.sqrt(), "the bits are not random: {ones} of {bits}");
    // Of a million random bytes 0.06 begin these three; more than nine once in 10^18.
    for record in [[0x17, 3, 3], [0x16, 3, 3], [0x16, 3, 1]] {
        assert!(count(&all, &record) < 10, "records of TLS");
    }
    let begins: Vec<&[u8]> = streams.iter().flatten().filter_map(|bytes| bytes.get(..12)).collect();
    assert_eq!(begins.iter().collect::<BTreeSet<_>>().len(), begins.len(), "two streams begin alike");
}

/// A guesser takes random bytes for TLS once in some ten thousand segments: so of three captures one must be taken for
/// nothing.
fn nothing_is_recognised(mut capture: impl FnMut(usize) -> (Dump, u16)) -> (Dump, u16) {
    let mut found = Vec::new();
    for number in 0..3 {
        let (dump, port) = capture(number);
        match taken_for_something(&dump, port) {
            0 => return (dump, port),
            frames => found.push(frames),
        }
    }
    panic!("recognised each time: {found:?} frames")
}

#[test]
fn on_the_line_a_sync_by_tcp_is_random_bytes_and_nothing_says_tls() {
    if !world::inside("veiled_streams::on_the_line_a_sync_by_tcp_is_random_bytes_and_nothing_says_tls") {
        return;
    }
    let (a, b) = team_of_two();
    let daemon = a.daemon_with(&["--no-udp"]);
    let port = port(daemon.address());
    let (dump, _) = nothing_is_recognised(|number| {
        with_film(&b, 1 + number as u64, 700_000);
        let tap = Tap::start(&b, &format!("veiled-{number}.pcapng"));
        for _ in 0..2 {
            finished(&b);
            assert_eq!(synced(&b, daemon.address())["path"], "tcp");
        }
        (tap.stop(), port)
    });
    let streams = dump.streams(port);
    assert_eq!(streams.len(), 2);
    must_look_random(&streams, 400_000);
    // The first words go out at once: no segment of a box alone.
    let lens = dump.fields(
        &[],
        &format!("tcp.dstport == {port} && tcp.len > 0 && tcp.seq == 1 && !tcp.analysis.retransmission"),
        &["tcp.len"],
    );
    assert_eq!(lens.len(), 2);
    assert!(lens.iter().all(|len| len[0].parse::<usize>().is_ok_and(|len| len > FIRST + 1_000)), "{lens:?}");

    // Through a proxy whoever runs it, and whoever watches the way out of it, sees the same.
    // Also where the address asks for no veil, and the other device would do without.
    drop(daemon);
    let daemon = a.daemon_with(&["--no-udp", "--unveiled"]);
    let (port, address) = (self::port(daemon.address()), format!("quic://{}", daemon.address()));
    let proxy = Proxy::start(&a, &[]);
    let (dump, _) = nothing_is_recognised(|number| {
        with_film(&b, 4 + number as u64, 700_000);
        let tap = Tap::start(&b, &format!("proxied-{number}.pcapng"));
        for _ in 0..2 {
            finished(&b);
            let args = ["--json", "sync", "--with", &address, "--only-via", &proxy.url()];
            assert_eq!(carriers::synced(&b.run(&args).exits(0))["path"], "socks");
        }
        (tap.stop(), port)
    });
    let streams = dump.streams(port);
    assert_eq!(streams.len(), 2, "from the proxy to the other device");
    // Everything passes twice here, and a busy machine does not capture all of it.
    must_look_random(&streams, 100_000);
}

#[test]
fn without_the_veil_the_same_tools_see_tls_which_is_post_quantum_and_says_nothing_of_us() {
    if !world::inside(
        "veiled_streams::without_the_veil_the_same_tools_see_tls_which_is_post_quantum_and_says_nothing_of_us",
    ) {
        return;
    }
    let (a, b) = team_of_two();
    let daemon = a.daemon_with(&["--unveiled", "--no-udp"]);
    assert!(a.ok(&["daemon", "status"]).out().contains("(TCP only, plain TLS too)"));
    let address = format!("quic://{}", daemon.address());
    let tap = Tap::start(&b, "plain.pcapng");
    for _ in 0..2 {
        finished(&b);
        assert_eq!(synced(&b, &address)["path"], "tcp");
    }
    let dump = tap.stop();
    let port = port(daemon.address());
    assert!(taken_for_something(&dump, port) > 0, "the tools do not see what is there");
    let all = dump.streams(port).concat().concat();
    assert!(count(&all, &[0x17, 3, 3]) >= 10, "the count of records can tell");
    let tls = |filter: &str, field: &str| -> BTreeSet<String> {
        let rows = dump.fields(&[], &format!("tcp.port == {port} && {filter}"), &[field]);
        let values = rows.iter().flatten().flat_map(|row| row.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let only = |word: &str| BTreeSet::from([word.to_owned()]);
    for hello in ["tls.handshake.type == 1", "tls.handshake.type == 2"] {
        assert_eq!(tls(hello, "tls.handshake.extensions_key_share_group"), only(HYBRID), "{hello}");
        // TLS 1.3.
        assert_eq!(tls(hello, "tls.handshake.extensions.supported_version"), only("0x0304"), "{hello}");
    }
    let client = "tls.handshake.type == 1";
    assert_eq!(tls(client, "tls.handshake.extensions_alpn_str"), only("h2"));
    assert_eq!(tls(client, "tls.handshake.extensions_server_name"), BTreeSet::new());
    // 35, 41, 42: a ticket, one of an earlier visit, and early data.
    let extensions = tls(client, "tls.handshake.extension.type");
    assert!(extensions.contains("51"), "{extensions:?}");
    assert!(["35", "41", "42"].iter().all(|extension| !extensions.contains(*extension)), "{extensions:?}");
    // 19, 20: raw public keys are what the client has, and what it takes.
    assert!(extensions.contains("19") && extensions.contains("20"), "{extensions:?}");
}

/// What passed in a pairing, kept by `keeper`; the options say by which code.
fn paired(keeper: &Machine, options: &[&str], name: &str) -> (Dump, u16) {
    let at = format!("127.0.0.1:{}", free_port());
    let (a, b) = (Machine::with_vault("Coordination"), Machine::with_vault("Monitor"));
    a.ok(&["team", "create", "Minsk 2017"]);
    let invite = ["team", "invite", "--role", "monitor", "--listen", &at, "--yes"];
    let tap = Tap::start(keeper, name);
    let mut inviting = a.start(&[&invite, options].concat());
    let code = inviting.object_with("code")["code"].as_str().expect("a code").to_owned();
    b.run_with(&["join", "-", "--yes"], code.as_bytes()).exits(0);
    assert!(inviting.ends().success());
    (tap.stop(), port(&at))
}

#[test]
fn on_the_line_a_pairing_under_a_long_code_is_random_bytes_and_under_words_it_is_what_it_is() {
    if !world::inside(
        "veiled_streams::on_the_line_a_pairing_under_a_long_code_is_random_bytes_and_under_words_it_is_what_it_is",
    ) {
        return;
    }
    let keeper = Machine::new("Keeper");
    let (dump, port) =
        nothing_is_recognised(|number| paired(&keeper, &["--qr"], &format!("long-{number}.pcapng")));
    let streams = dump.streams(port);
    assert_eq!(streams.len(), 1);
    must_look_random(&streams, 12_000);
    assert_eq!(count(&streams.concat().concat(), b"FBPAIR"), 0);
    let (dump, port) = paired(&keeper, &[], "words.pcapng");
    assert_eq!(count(&dump.streams(port).concat().concat(), b"FBPAIR"), 1, "the test can tell");
}

/// Somebody on the way to a daemon who keeps what devices say.
fn eavesdropper(daemon: &str) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let recorded: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (kept, daemon) = (recorded.clone(), daemon.to_owned());
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&daemon) else { continue };
            let number = {
                let mut kept = kept.lock().expect("a record");
                kept.push(Vec::new());
                kept.len() - 1
            };
            let (mut from, mut to) =
                (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            let kept = kept.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(len @ 1..) = from.read(&mut bytes) {
                    kept.lock().expect("a record")[number].extend_from_slice(&bytes[..len]);
                    if to.write_all(&bytes[..len]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
            let (mut from, mut to) = (far, near);
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    (address, recorded)
}

/// What a device says first to somebody who never answers: no daemon has seen it.
fn fresh_beginning(machine: &Machine) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let hearing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a device");
        let mut bytes = vec![0; 16_384];
        let len = stream.read(&mut bytes).expect("its first words");
        bytes.truncate(len);
        bytes
    });
    machine.fails(14, &["sync", "--with", &address]);
    hearing.join().expect("its first words")
}

/// Sends each on a connection of its own; fails if anything comes back within a second, or if one is closed before a stranger's
/// time is over.
fn nobody_hears(daemon: &str, probes: &[Vec<u8>]) {
    // Fewer than half of the places that strangers have.
    for some in probes.chunks(100) {
        let began = Instant::now();
        let streams: Vec<TcpStream> = some
            .iter()
            .map(|probe| {
                let mut stream = TcpStream::connect(daemon).expect("a connection");
                stream.write_all(probe).expect("it reads what comes");
                stream.set_nonblocking(true).expect("a socket");
                stream
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        for (number, mut stream) in streams.into_iter().enumerate() {
            match stream.read(&mut [0; 4_096]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A busy machine may have slept over it.
                end => assert!(
                    matches!(end, Ok(0)) && began.elapsed() > Duration::from_secs(5),
                    "probe {number}: {end:?}"
                ),
            }
        }
    }
}

/// How much comes back.
fn answer(daemon: &str, probe: &[u8]) -> usize {
    let mut stream = TcpStream::connect(daemon).expect("a connection");
    stream.write_all(probe).expect("it reads what comes");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.read(&mut [0; 4_096]).unwrap_or(0)
}

#[test]
fn probes_by_tcp_hear_nothing_and_the_daemon_serves() {
    let (a, b) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let mut daemon = a.daemon_at_with(&address, &["--no-udp"]);
    let (tapped, recorded) = eavesdropper(&address);
    for _ in 0..2 {
        finished(&b);
        assert_eq!(synced(&b, &tapped)["path"], "tcp");
        let recorded = recorded.lock().expect("a record").clone();
        nobody_hears(&address, &recorded);
    }
    let recorded = recorded.lock().expect("a record").clone();
    assert_eq!(recorded.len(), 2);
    // Its first words alone, too, and what begins as them and goes on otherwise.
    let begins: Vec<Vec<u8>> = recorded.iter().map(|bytes| bytes[..FIRST].to_vec()).collect();
    nobody_hears(&address, &begins);
    let fresh = fresh_beginning(&b);
    assert!(fresh.len() > FIRST + 1_000);
    let nearly = (0..FIRST * 8).step_by(5).map(|bit| {
        let mut bad = fresh.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    });
    nobody_hears(&address, &nearly.collect::<Vec<_>>());
    // A true box, and something after it that is not: each spends a salt, so each has one of its own.
    for at in [FIRST, FIRST + 1_060] {
        let mut tampered = fresh_beginning(&b);
        tampered[at] ^= 1;
        nobody_hears(&address, &[tampered]);
    }
    let noise = (0..200_usize).map(|number| {
        let mut noise = vec![0; number * 31];
        getrandom::fill(&mut noise).expect("random bytes");
        let begins =
            [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", b""];
        [begins[number % 4], &noise].concat()
    });
    nobody_hears(&address, &noise.collect::<Vec<_>>());
    // It serves, and after a restart knows what came before.
    let id = finished(&b);
    assert_eq!(synced(&b, &address)["path"], "tcp");
    assert!(ids(&a).contains(&id) && daemon.process.runs(), "{}", daemon.process.err());
    a.ok(&["daemon", "stop"]);
    let next = a.daemon_at_with(&address, &["--no-udp"]);
    nobody_hears(next.address(), &[&recorded[..], &begins].concat());
    // That all this can fail: those first words, as they were, are answered, once.
    assert!(answer(next.address(), &fresh) > FIRST);
    nobody_hears(next.address(), &[fresh]);
}

#[test]
fn a_pairing_under_a_long_code_answers_nobody_else_and_counts_no_guess() {
    let (a, b) = (Machine::with_vault("Coordination"), Machine::with_vault("Monitor"));
    a.ok(&["team", "create", "Minsk 2017"]);
    let address = format!("127.0.0.1:{}", free_port());
    let mut inviting =
        a.start(&["team", "invite", "--role", "monitor", "--listen", &address, "--yes", "--qr"]);
    let code = inviting.object_with("code")["code"].as_str().expect("a code").to_owned();
    // Who speaks the protocol in the plain, and who is silent or makes noise: more than there are places for.
    let mut strangers = Vec::new();
    for number in 0..200_usize {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let hello = [&[0, 0, 0, 73, 1][..], b"FBPAIR\x01", &[7; 65]].concat();
        let mut noise = vec![0; number * 13];
        getrandom::fill(&mut noise).expect("random bytes");
        // Whoever came first makes room.
        let _ = stream.write_all([&hello[..], &noise, &[]][number % 3]);
        stream.set_nonblocking(true).expect("a socket");
        strangers.push(stream);
    }
    thread::sleep(Duration::from_secs(1));
    let heard = |stream: &mut TcpStream| stream.read(&mut [0; 4_096]).unwrap_or(0);
    assert_eq!(strangers.iter_mut().map(heard).sum::<usize>(), 0);
    b.run_with(&["join", "-", "--yes"], code.as_bytes()).exits(0);
    assert!(inviting.ends().success());
    assert_eq!(strangers.iter_mut().map(heard).sum::<usize>(), 0);
    let said = inviting.err();
    assert!(!said.contains("of 3") && !said.contains("still waiting"), "{said}");
}
