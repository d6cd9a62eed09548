//! The same sessions over TCP and over pipes, and what a daemon does with those who come by TCP and are
//! not of the team. With hand-made certificates, on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use fieldbook_daemon::control::{Ask, ask};
use fieldbook_daemon::{Carriers, CourierEvent, Side, Tried, Way, Ways, run_pipe};
use fieldbook_depot::Depot;
use fieldbook_net::tls::TransportKey;
use fieldbook_net::{secured, tcp};
use fieldbook_proto::DepotId;
use fieldbook_proto::certificate::{Certificate, Role};
use fieldbook_proto::session::{Hello, TransportSecret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod team;
use team::{Device, Running, certificate, device, keys, start_by, wait_for_status};

const TCP: Carriers = Carriers { udp: false, tcp: true };
const UDP: Carriers = Carriers { udp: true, tcp: false };

fn ways_of(events: &[CourierEvent]) -> Vec<(Way, Vec<Option<Way>>)> {
    let met = |event: &CourierEvent| match event {
        CourierEvent::Met { way, tried, .. } => Some((*way, tried.iter().map(|tried| tried.way).collect())),
        _ => None,
    };
    events.iter().filter_map(met).collect()
}

#[test]
fn a_session_over_tcp_is_the_same_session() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    coordinator.add(0, 20, 1_300);
    monitor.add(1_000, 1_000, 2_048);
    monitor.add(5_000, 3, 900_000);
    let daemon = start_by(&coordinator, TCP);
    let (first, events) = monitor.sync(&daemon.address);
    let first = first.unwrap();
    assert!(first.in_step);
    assert_eq!((first.sent, first.received), (1_003, 20));
    assert_eq!(ways_of(&events), [(Way::Tcp, vec![Some(Way::Quic)])], "{events:?}");
    assert_eq!(coordinator.depot.fingerprint().unwrap(), monitor.depot.fingerprint().unwrap());
    monitor.add(9_000, 10, 2_048);
    let again = monitor.sync(&daemon.address).0.unwrap();
    assert_eq!((again.in_step, again.sent, again.received, again.round_trips), (true, 10, 0, 2));
    // The client ends a moment before the daemon has counted.
    let status = wait_for_status(&daemon, |status| status.sessions_done == 2);
    assert_eq!((status.sessions_failed, status.received), (0, 1_013));
    assert_eq!(status.carriers, ["tcp"]);
    // Both sides remember by which way.
    for depot in [&coordinator.depot, &monitor.depot] {
        let ways = String::from_utf8(depot.setting("ways").unwrap().unwrap()).unwrap();
        assert!(ways.ends_with(":\"tcp\"}"), "{ways}");
    }
    daemon.stop();
}

#[test]
fn a_network_that_drops_udp_costs_one_try() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    let written = monitor.add(0, 5, 1_300);
    let daemon = start_by(&coordinator, TCP);
    // Takes every datagram and never answers.
    let blackhole = UdpSocket::bind(&daemon.address).unwrap();
    let (summary, events) = monitor.sync(&daemon.address);
    assert!(summary.unwrap().in_step);
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));
    assert_eq!(ways_of(&events), [(Way::Tcp, vec![Some(Way::Quic)])], "{events:?}");
    assert!(matches!(&events[..2], [CourierEvent::Trying(_), CourierEvent::Met { .. }]), "{events:?}");
    blackhole.set_nonblocking(true).unwrap();
    assert!(blackhole.recv(&mut [0; 2_000]).is_ok(), "UDP was tried first");
    daemon.stop();
}

#[test]
fn udp_alone_is_enough_and_both_are_at_one_port() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    for (carriers, names) in [(UDP, &["quic"][..]), (Carriers::default(), &["quic", "tcp"])] {
        let daemon = start_by(&coordinator, carriers);
        // On a busy machine TCP may be through before anybody has answered by QUIC.
        let by_quic = (0..10).any(|_| {
            let (summary, events) = monitor.sync(&daemon.address);
            assert!(summary.unwrap().in_step);
            let ways = ways_of(&events);
            assert!(carriers.tcp || ways[0].0 == Way::Quic, "{events:?}");
            ways == [(Way::Quic, vec![])]
        });
        assert!(by_quic, "never");
        assert_eq!(ask(&daemon.control, Ask::Status).unwrap().unwrap().carriers, names);
        assert_eq!(TcpStream::connect(&daemon.address).is_ok(), carriers.tcp);
        daemon.stop();
    }
}

#[test]
fn nobody_there_is_told_way_by_way() {
    // Where nobody listens: a port that was free a moment ago may be another test's by now.
    let (summary, events) = device(2, 1, 5).sync("127.0.0.1:9");
    assert!(summary.is_none());
    let [CourierEvent::Trying(_), CourierEvent::Failed { why, answered: false, tried, .. }] = &events[..]
    else {
        panic!("{events:?}")
    };
    let tried: Vec<_> = tried.iter().map(|Tried { way, .. }| *way).collect();
    assert_eq!(tried, [Some(Way::Tcp), Some(Way::Quic)]);
    assert!(why.contains("by TCP: no connection: nobody listens there"), "{why}");
    assert!(why.contains("by UDP: no connection: nobody answered in time"), "{why}");
}

/// What a client that says `hello` by TCP gets back, byte for byte, until the other side ends.
fn answer(address: &str, seed: u8, hello: impl FnOnce([u8; 32]) -> Vec<u8>) -> Vec<u8> {
    let target: SocketAddr = address.parse().unwrap();
    let key = TransportKey::new(&[seed ^ 0x80; 32], &keys(seed).1.transport).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let patience = Duration::from_secs(10);
        let stream = tcp::dial(target, patience).await.unwrap();
        let (mut stream, channel) = secured::connect(&key, stream, patience).await.unwrap();
        stream.write_all(&hello(channel.binding)).await.unwrap();
        stream.flush().await.unwrap();
        let mut got = vec![0; 1_000];
        let len = stream.read(&mut got).await.unwrap_or_default();
        got.truncate(len);
        got
    })
}

fn hello(certificate: Certificate, secret: u8, binding: &[u8; 32]) -> Vec<u8> {
    let depot = DepotId::from_bytes([9; 16]);
    let hello = Hello { version: 1, features: 0, depot, known: 0, head: 0, certificate };
    hello.seal(&TransportSecret::new(1, [secret; 32]), Side::Client, binding)
}

#[test]
fn a_stranger_by_tcp_receives_not_one_byte_and_a_member_does() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 20, 1_300);
    coordinator.hears_of_the_removal_of(4);
    let daemon = start_by(&coordinator, TCP);
    let say = |seed, certificate: Certificate, secret| {
        answer(&daemon.address, seed, |binding| hello(certificate, secret, &binding))
    };
    let member = || certificate(1, 2, Role::Monitor);
    assert!(!say(2, member(), 5).is_empty(), "the test can tell");
    assert_eq!(say(2, member(), 6), b"", "without the team's secret");
    assert_eq!(say(3, certificate(3, 3, Role::Monitor), 5), b"", "with a certificate of its own making");
    assert_eq!(say(3, member(), 5), b"", "with another device's certificate");
    assert_eq!(say(4, certificate(1, 4, Role::Monitor), 5), b"", "removed");
    assert_eq!(answer(&daemon.address, 2, |_| vec![0x16; 600]), b"", "with noise");
    // A hello that was heard on one connection is worth nothing on another.
    let mut heard = Vec::new();
    answer(&daemon.address, 2, |binding| {
        heard = hello(member(), 5, &binding);
        heard.clone()
    });
    assert_eq!(answer(&daemon.address, 2, |_| heard), b"", "replayed");
    daemon.stop();
}

#[test]
fn noise_and_slowness_by_tcp_hurt_nobody() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    let daemon = start_by(&coordinator, TCP);
    // No TLS at all, half a TLS record, an endless one: to a daemon that takes plain TLS, too.
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0x16; 100_000], &[0; 1]] {
        let mut stream = TcpStream::connect(&daemon.address).unwrap();
        // It may hang up while we speak.
        let _ = stream.write_all(noise);
    }
    // Many more connections than places, from the very address that the monitor comes from, all slow: some say
    // nothing, some begin a handshake.
    let slow: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut stream = TcpStream::connect(&daemon.address).unwrap();
            let _ = stream.write_all(&[0x16, 3, 1, 2, 0][..number % 6]);
            stream
        })
        .collect();
    let written = monitor.add(0, 5, 1_300);
    assert!(monitor.sync(&daemon.address).0.unwrap().in_step);
    assert!(written.iter().all(|id| coordinator.knows_entry(id)));
    // They were let go, and heard nothing that is ours: at most a TLS alert.
    wait_for_status(&daemon, |status| status.sessions_now <= 8);
    for mut stream in slow.into_iter().take(20) {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert!(heard.len() < 64, "{} bytes for a stranger", heard.len());
    }
    daemon.stop();
}

#[test]
fn a_running_session_by_tcp_ends_when_the_daemon_is_nudged_after_a_removal() {
    let coordinator = device(1, 1, 5);
    let daemon = start_by(&coordinator, TCP);
    let control = daemon.control.clone();
    let target: SocketAddr = daemon.address.parse().unwrap();
    let key = TransportKey::new(&[2 ^ 0x80; 32], &keys(2).1.transport).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let patience = Duration::from_secs(10);
        let stream = tcp::dial(target, patience).await.unwrap();
        let (mut stream, channel) = secured::connect(&key, stream, patience).await.unwrap();
        stream.write_all(&hello(certificate(1, 2, Role::Monitor), 5, &channel.binding)).await.unwrap();
        stream.flush().await.unwrap();
        let mut greeting = [0; 338];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(ask(&control, Ask::Nudge).unwrap().unwrap().sessions_now, 1, "a nudge alone ends nothing");
        coordinator.hears_of_the_removal_of(2);
        ask(&control, Ask::Nudge).unwrap();
        // Its Since may have been on the way; after that there is nothing but the end.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() <= 13, "{} bytes for a removed device", rest.len());
    });
    let log = daemon.stop();
    assert!(matches!(&log[..], [line] if line.contains("removed")), "{log:?}");
}

/// Both sides of a pipe, each in a thread.
fn over_a_pipe(client: &Device, server: &Device) -> [(Option<bool>, Vec<CourierEvent>); 2] {
    let (from_server, to_client) = std::io::pipe().unwrap();
    let (from_client, to_server) = std::io::pipe().unwrap();
    let side = |device: &Device, side, ends: (OwnedFd, OwnedFd)| {
        let (path, key) = (device.path(), device.key.clone());
        thread::spawn(move || {
            let mut events = Vec::new();
            let summary = run_pipe(&path, &key, side, ends, None, |event| events.push(event)).unwrap();
            (summary.map(|summary| summary.in_step), events)
        })
    };
    let asking = side(client, Side::Client, (from_server.into(), to_server.into()));
    let answering = side(server, Side::Server, (from_client.into(), to_client.into()));
    [asking.join().unwrap(), answering.join().unwrap()]
}

#[test]
fn a_pipe_carries_a_session_and_proves_the_keys_at_both_ends() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    coordinator.add(0, 20, 1_300);
    monitor.add(1_000, 2_000, 2_048);
    let [(client, events), (server, _)] = over_a_pipe(&monitor, &coordinator);
    assert_eq!((client, server), (Some(true), Some(true)));
    assert_eq!(ways_of(&events), [(Way::Stdio, vec![])]);
    assert_eq!(coordinator.depot.fingerprint().unwrap(), monitor.depot.fingerprint().unwrap());
    // Who is not of the team gets nothing this way either.
    let stranger = device(3, 3, 5);
    for (client, server) in [(&stranger, &coordinator), (&monitor, &stranger)] {
        let [(client, events), (server, _)] = over_a_pipe(client, server);
        assert_eq!((client, server), (None, None));
        assert!(ways_of(&events).is_empty(), "{events:?}");
    }
    assert_eq!(stranger.depot.head().unwrap(), 0);
}

#[test]
fn a_proxy_that_is_not_there_is_the_last_resort_or_the_only_one() {
    let (coordinator, monitor) = (device(1, 1, 5), device(2, 1, 5));
    let daemon = start_by(&coordinator, Carriers::default());
    let proxy = "socks5://127.0.0.1:9".parse().unwrap();
    let reached = |ways, daemon: &Running| monitor.sync_by(ways, &daemon.address);
    assert!(reached(Ways::StraightThen(proxy), &daemon).0.is_some());
    let (summary, events) = reached(Ways::Only(proxy), &daemon);
    assert!(summary.is_none());
    let Some(CourierEvent::Failed { tried, why, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(tried.iter().map(|tried| tried.way).collect::<Vec<_>>(), [Some(Way::Socks)]);
    assert!(why.contains("the proxy cannot be reached"), "{why}");
    daemon.stop();
}
