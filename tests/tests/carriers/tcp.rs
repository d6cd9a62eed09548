//! TCP, where UDP leads nowhere.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use fieldbook_net::{secured, tcp};
use fieldbook_tests::{Daemon, Machine, free_port, team_of_two};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{synced, tried};
use crate::making::finished_plain as finished;
use crate::network::{on_a_runtime, stranger};
use crate::reading::ids;

/// This machine's daemon, by TCP only.
pub fn daemon_by_tcp(machine: &Machine) -> (fieldbook_tests::Running, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = machine.start(&["daemon", "--listen", &address, "--no-udp"]);
    let said = process.object_with("listening");
    assert_eq!(said["carriers"], serde_json::json!(["tcp"]));
    (process, address)
}

#[test]
fn where_udp_is_blocked_a_sync_goes_by_tcp_and_says_so() {
    let (a, b) = team_of_two();
    let (mut daemon, address) = daemon_by_tcp(&a);
    // A network that swallows datagrams.
    let _blocked = UdpSocket::bind(&address).expect("a socket");
    let id = finished(&b);
    let said = b.run(&["--json", "sync", "--with", &address]).exits(0);
    let synced = synced(&said);
    assert_eq!((synced["path"].as_str(), tried(&synced)), (Some("tcp"), vec!["quic"]), "{synced}");
    assert_eq!(ids(&a), [id]);
    // In words, at the sync and afterwards.
    let said = b.ok(&["sync"]);
    assert!(said.err().contains(&format!("Connected to {address} (TCP).")), "{said:?}");
    assert!(said.out().starts_with(&format!("Synced with Coordination at {address} (TCP): ")), "{said:?}");
    assert_eq!(b.json(&["status"])[0]["peers"][0]["path"], "tcp");
    assert!(b.ok(&["status"]).out().contains(&format!("at {address} (TCP), last")));
    assert!(a.ok(&["daemon", "status"]).out().contains("(TCP only)"));
    assert!(daemon.runs(), "{}", daemon.err());
}

#[test]
fn where_nothing_is_blocked_a_sync_goes_by_quic_and_says_so() {
    let (a, b) = team_of_two();
    let daemon = a.daemon();
    // On a busy machine TCP may be through before anybody has answered by QUIC.
    let by_quic = (0..10).any(|_| {
        let synced = synced(&b.run(&["--json", "sync", "--with", daemon.address()]).exits(0));
        if synced["path"] == "tcp" {
            let why = synced["tried"][0]["why"].as_str().expect("why not by QUIC");
            assert!(why.contains("nobody had answered when TCP was through"), "{synced}");
            return false;
        }
        assert_eq!((synced["path"].as_str(), tried(&synced)), (Some("quic"), vec![]), "{synced}");
        true
    });
    assert!(by_quic, "never");
    assert_eq!(b.json(&["status"])[0]["peers"][0]["path"], "quic");
    assert_eq!(a.json(&["daemon", "status"])[0]["carriers"], serde_json::json!(["quic", "tcp"]));
    a.fails(2, &["daemon", "--listen", "127.0.0.1:0", "--no-udp", "--no-tcp"]);
}

/// Shakes hands by TCP with a fresh key, says `opening`, and reads until the other side ends.
fn what_a_stranger_hears(daemon: &Daemon, opening: &[u8]) -> Vec<u8> {
    let address: SocketAddr = daemon.address().parse().expect("an address");
    let patience = Duration::from_secs(20);
    on_a_runtime(async {
        let stream = tcp::dial(address, patience).await.expect("a connection");
        let (mut stream, _) = secured::connect(&stranger(), stream, patience).await.expect("a handshake");
        // It may hang up while we speak.
        let _ = stream.write_all(opening).await;
        let _ = stream.flush().await;
        let _ = stream.shutdown().await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        heard
    })
}

#[test]
fn a_stranger_by_tcp_does_not_hear_one_byte() {
    let (a, b) = team_of_two();
    let id = finished(&b);
    // In plain TLS, too: behind the veil none of what follows would come as far as TLS (`veil.rs`).
    let daemon = a.daemon_with(&["--unveiled"]);
    b.ok(&["sync", "--with", daemon.address()]);
    for opening in [&[][..], b"GET / HTTP/1.1\r\n\r\n", &[0; 10], &[0xff; 100_000], &[1, 80, 0]] {
        let heard = what_a_stranger_hears(&daemon, opening);
        assert!(heard.is_empty(), "{} bytes", heard.len());
    }
    assert_eq!(ids(&a), [id]);
}

#[test]
fn noise_by_tcp_hurts_nobody_and_who_dawdles_keeps_nobody_out() {
    let (a, b) = team_of_two();
    let (mut daemon, address) = daemon_by_tcp(&a);
    let mut dawdling = Vec::new();
    for round in 0..60_usize {
        let mut noise = vec![0; round * 97 % 3_000];
        getrandom::fill(&mut noise).expect("random bytes");
        if round % 2 == 0 {
            noise.splice(0..0, [0x16, 3, 1]);
        }
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let _ = stream.write_all(&noise);
        if round % 3 == 0 {
            dawdling.push(stream);
        }
    }
    let id = finished(&b);
    b.ok(&["sync", "--with", &address]);
    assert_eq!(ids(&a), [id]);
    assert!(daemon.runs(), "{}", daemon.err());
    drop(daemon);
    for mut stream in dawdling {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert_eq!(heard.len(), 0, "bytes for noise");
    }
}

#[test]
fn an_onion_is_never_looked_up() {
    let (_a, b) = team_of_two();
    let onion = format!("{}.onion:4040", "a".repeat(56));
    let error = b.fails(14, &["sync", "--with", &onion]);
    assert!(error["message"].as_str().expect("words").contains("only Tor knows .onion names"), "{error}");
    for bad in ["127.0.0.1:9050", "socks5://tor.example:9050", "http://127.0.0.1:1"] {
        assert_eq!(b.fails(2, &["sync", "--with", &onion, "--only-via", bad])["code"], "bad-proxy", "{bad}");
    }
}
