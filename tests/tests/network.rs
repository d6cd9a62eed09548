//! Who is not of the team gets nothing, and what is not of the protocol hurts nobody.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fieldbook_net::quic;
use fieldbook_net::tls::TransportKey;
use fieldbook_seal::DeviceSecret;
use fieldbook_tests::{DEADLINE, Machine, free_port, team_of_two};

use crate::reading::{ids, sync, word_of_delivery};

/// A key that no coordinator ever saw.
pub fn stranger() -> TransportKey {
    let mut seeds = [0; 64];
    getrandom::fill(&mut seeds).expect("random bytes");
    let secret =
        DeviceSecret::generate(seeds[..32].try_into().expect("32"), seeds[32..].try_into().expect("32"));
    TransportKey::new(&secret.transport_seed(), &secret.keys().transport).expect("a key")
}

pub fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("an end before the deadline") })
}

/// Shakes hands with a fresh key, says `opening`, and reads until the other side ends: all it said.
fn what_a_stranger_hears(address: &str, opening: &[u8]) -> Vec<u8> {
    let address: SocketAddr = address.parse().expect("an address");
    on_a_runtime(async {
        let endpoint = quic::dialler(&stranger(), address, None).expect("a socket");
        let Ok((connection, _)) = quic::dial(&endpoint, address, Duration::from_secs(20)).await else {
            return Vec::new();
        };
        let mut heard = Vec::new();
        if let Ok((mut send, mut receive)) = connection.open_bi().await {
            // It may hang up while we speak: that is an answer too.
            let _ = send.write_all(opening).await;
            let _ = send.finish();
            let mut block = [0; 4096];
            while let Ok(Some(read)) = receive.read(&mut block).await {
                heard.extend_from_slice(&block[..read]);
            }
        }
        if let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await {
            heard.extend_from_slice(&close.reason);
        }
        heard
    })
}

/// A team whose coordinator's daemon has something to give away.
fn with_something_to_steal() -> (Machine, Machine, fieldbook_tests::Daemon) {
    let (a, b) = team_of_two();
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["finish", &id, "--incomplete"]);
    sync(&b, &a);
    // In plain QUIC, too: behind the veil none of what follows would come as far as QUIC.
    let daemon = a.daemon_with(&["--unveiled"]);
    (a, b, daemon)
}

#[test]
fn a_stranger_with_a_fresh_key_does_not_hear_one_byte() {
    let (a, b, daemon) = with_something_to_steal();
    let frame = |kind: u8, body: &[u8]| {
        [&u32::try_from(body.len() + 1).expect("short").to_be_bytes()[..], &[kind], body].concat()
    };
    let openings: [Vec<u8>; 7] = [
        Vec::new(),
        b"GET / HTTP/3\r\n\r\n".to_vec(),
        vec![0; 10],
        vec![0xff; 100_000],
        frame(1, b""),
        frame(1, &[7; 300]),
        [frame(1, &[0; 64]), frame(2, &[0; 64])].concat(),
    ];
    for opening in openings {
        let heard = what_a_stranger_hears(daemon.address(), &opening);
        assert!(heard.is_empty(), "{} bytes for {:?}…", heard.len(), &opening[..opening.len().min(20)]);
    }
    // And it goes on working for those who belong here.
    b.ok(&["sync", "--with", daemon.address()]);
    assert_eq!(ids(&a).len(), 1);
}

#[test]
fn a_device_of_another_team_gets_nothing_and_gives_nothing() {
    let (a, b, daemon) = with_something_to_steal();
    let (c, d) = (Machine::with_vault("Other coordination"), Machine::with_vault("Other monitor"));
    c.ok(&["team", "create", "Another team"]);
    fieldbook_tests::pair(&c, &d, "monitor");
    let theirs = d.write(&["--template", "detention", "--set", "date=2017-03-26"]);
    d.ok(&["finish", &theirs, "--incomplete"]);
    for machine in [&c, &d] {
        let carried = machine.json(&["status"])[0]["depot_entries"].clone();
        let said = machine.run(&["--json", "sync", "--with", daemon.address()]);
        assert_ne!(said.code, 0, "{said:?}");
        said.error();
        assert_eq!(machine.json(&["status"])[0]["depot_entries"], carried, "{}", machine.name());
    }
    assert_eq!(ids(&c), Vec::<String>::new());
    assert_eq!(word_of_delivery(&d, &theirs), "only here");
    assert_eq!(ids(&a).len(), 1);
    // A device without any team has nobody to sync with.
    let e = Machine::with_vault("Nobody");
    e.fails(1, &["sync", "--with", daemon.address()]);
    b.ok(&["sync", "--with", daemon.address()]);
}

#[test]
fn a_server_that_is_not_of_the_team_learns_nothing_of_the_reports() {
    let (_a, b) = team_of_two();
    let id =
        b.write(&["--template", "detention", "--set", "date=2017-03-25", "--title", "Not for impostors"]);
    b.ok(&["finish", &id, "--incomplete"]);
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let impostor = std::thread::spawn(move || {
        on_a_runtime(async {
            let endpoint = quic::listener(&stranger(), address, quic::Guise::Unveiled).expect("a socket");
            ready.send(()).expect("somebody waits");
            let mut heard = Vec::new();
            let Some(incoming) = endpoint.accept().await else { return heard };
            let Ok(connection) = incoming.await else { return heard };
            if let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let _ = send.write_all(&[0; 16]).await;
                let mut block = [0; 4096];
                while let Ok(Some(read)) = receive.read(&mut block).await {
                    heard.extend_from_slice(&block[..read]);
                }
            }
            heard
        })
    });
    is_ready.recv().expect("the impostor");
    let said = b.run(&["--json", "sync", "--with", &format!("quic://{address}")]);
    assert_ne!(said.code, 0, "{said:?}");
    let heard = impostor.join().expect("what it heard");
    assert!(heard.len() < 2048, "{} bytes were said to an impostor", heard.len());
    assert!(!heard.windows(8).any(|window| window == b"age-encr"), "a sealed entry was given to an impostor");
    assert_eq!(word_of_delivery(&b, &id), "only here");
}

#[test]
fn noise_on_the_port_hurts_nobody() {
    let (a, b, daemon) = with_something_to_steal();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut noise = vec![0_u8; 1400];
    for round in 0..400_usize {
        getrandom::fill(&mut noise).expect("random bytes");
        // The first byte of a QUIC packet, long and short, with our version or none.
        noise[0] = [0xc0, 0xff, 0x40, 0x00][round % 4];
        if round % 2 == 0 {
            noise[1..5].copy_from_slice(&1_u32.to_be_bytes());
        }
        let _ = socket.send_to(&noise[..round * 37 % 1400], daemon.address());
    }
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-27"]);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["sync", "--with", daemon.address()]);
    assert!(ids(&a).contains(&id));
    let mut daemon = daemon;
    assert!(daemon.process.runs(), "{}", daemon.process.err());
}

#[test]
fn many_devices_sync_at_once() {
    let (a, b) = team_of_two();
    let others: Vec<Machine> =
        (0..3).map(|number| Machine::with_vault(&format!("Monitor {number}"))).collect();
    for other in &others {
        fieldbook_tests::pair(&a, other, "monitor");
    }
    let monitors: Vec<&Machine> = std::iter::once(&b).chain(&others).collect();
    let mut expected: Vec<String> = monitors
        .iter()
        .map(|machine| {
            let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25"]);
            machine.ok(&["finish", &id, "--incomplete"]);
            id
        })
        .collect();
    let daemon = a.daemon();
    std::thread::scope(|scope| {
        for machine in &monitors {
            let address = daemon.address();
            scope.spawn(move || machine.ok(&["sync", "--with", address]));
        }
    });
    let mut found = ids(&a);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_remembered_address_needs_not_be_typed_again() {
    let (a, b) = team_of_two();
    let address = format!("127.0.0.1:{}", free_port());
    let daemon = a.daemon_at(&address);
    b.ok(&["sync", "--with", daemon.address()]);
    let id = b.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    b.ok(&["finish", &id, "--incomplete"]);
    b.ok(&["sync"]);
    assert_eq!(ids(&a), [id]);
    drop(daemon);
    b.fails(14, &["sync"]);
}
