//! The veil between real endpoints on loopback: what a stranger, an eavesdropper who replays and a clock that is wrong
//! get from a listener, and what devices of the team get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldbook_net::quic::{self, Connection, Endpoint, Guise, QuicError};
use fieldbook_net::tls::TransportKey;
use fieldbook_net::veil::boxes::{BoxKey, Header, HeaderKey, SIZES, Salt, size_of_box};
use fieldbook_net::veil::{Clock, Veil, WINDOW_S, system_clock};
use fieldbook_proto::session::TransportSecret;
use quinn::crypto::rustls::HandshakeData;

const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing comes back before it is called silence.
const SILENCE: Duration = Duration::from_millis(400);

fn key(seed: u8) -> TransportKey {
    let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
    TransportKey::new(&[seed; 32], &public).unwrap()
}

fn secret(epoch: u8) -> TransportSecret {
    TransportSecret::new(u32::from(epoch), [epoch; 32])
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A listener that serves an echo to all who come.
struct Desk {
    veil: Arc<Veil>,
    endpoint: Endpoint,
}

impl Desk {
    fn open(veil: Veil, both: bool) -> Self {
        let veil = Arc::new(veil);
        let guise = if both { Guise::Both(veil.clone()) } else { Guise::Veiled(veil.clone()) };
        let endpoint = quic::listener(&key(1), loopback(), guise).unwrap();
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    let connection = incoming.await.ok()?;
                    quic::open_window(&connection);
                    while let Ok((mut writer, mut reader)) = connection.accept_bi().await {
                        let heard = reader.read_to_end(64 << 20).await.ok()?;
                        writer.write_all(&heard).await.ok()?;
                        writer.finish().ok()?;
                    }
                    Some(())
                });
            }
        });
        Self { veil, endpoint }
    }

    fn of(secrets: &[TransportSecret]) -> Self {
        Self::open(Veil::new(secrets, None, system_clock()).unwrap(), false)
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }
}

async fn dial(
    address: SocketAddr,
    veil: Option<&TransportSecret>,
    patience: Duration,
) -> Result<(Endpoint, Connection), QuicError> {
    let endpoint = quic::dialler(&key(2), address, veil)?;
    let (connection, _) = quic::dial(&endpoint, address, patience).await?;
    quic::open_window(&connection);
    Ok((endpoint, connection))
}

async fn echo(connection: &Connection, said: &[u8]) -> Vec<u8> {
    let (mut writer, mut reader) = connection.open_bi().await.unwrap();
    let said = said.to_vec();
    let writing = tokio::spawn(async move {
        writer.write_all(&said).await.unwrap();
        writer.finish().unwrap();
    });
    let heard = reader.read_to_end(64 << 20).await.unwrap();
    writing.await.unwrap();
    heard
}

async fn serves(desk: &Desk, secret: &TransportSecret) {
    let (_endpoint, connection) = dial(desk.address(), Some(secret), PATIENCE).await.expect("it serves");
    assert_eq!(echo(&connection, b"word").await, b"word");
}

type Log = Arc<Mutex<Vec<Vec<u8>>>>;

/// Somebody on the way between a device and the desk, who writes down what passes.
struct Tap {
    address: SocketAddr,
    to_desk: Log,
    to_device: Log,
}

impl Tap {
    async fn before(desk: SocketAddr) -> Self {
        let near = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let far = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        far.connect(desk).await.unwrap();
        let address = near.local_addr().unwrap();
        let (to_desk, to_device): (Log, Log) = Default::default();
        let (desk_log, device_log) = (to_desk.clone(), to_device.clone());
        tokio::spawn(async move {
            let mut device = None;
            let (mut one, mut other) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    Ok((len, from)) = near.recv_from(&mut one) => {
                        device = Some(from);
                        desk_log.lock().unwrap().push(one[..len].to_vec());
                        let _ = far.send(&one[..len]).await;
                    }
                    Ok(len) = far.recv(&mut other) => {
                        device_log.lock().unwrap().push(other[..len].to_vec());
                        if let Some(device) = device {
                            let _ = near.send_to(&other[..len], device).await;
                        }
                    }
                }
            }
        });
        Self { address, to_desk, to_device }
    }

    fn to_desk(&self) -> Vec<Vec<u8>> {
        self.to_desk.lock().unwrap().clone()
    }
}

/// Sends datagrams, in bursts that a socket holds, and counts the bytes that come back.
async fn answers(address: SocketAddr, datagrams: impl IntoIterator<Item = Vec<u8>>) -> usize {
    heard(address, datagrams, SILENCE).await
}

/// Whether one is answered: that may take its time.
async fn is_answered(address: SocketAddr, datagrams: impl IntoIterator<Item = Vec<u8>>) -> bool {
    heard(address, datagrams, PATIENCE).await > 0
}

async fn heard(
    address: SocketAddr,
    datagrams: impl IntoIterator<Item = Vec<u8>>,
    silence: Duration,
) -> usize {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (number, datagram) in datagrams.into_iter().enumerate() {
        socket.send_to(&datagram, address).await.unwrap();
        if number % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let (mut bytes, mut heard) = ([0; 2_048], 0);
    while let Ok(Ok(len)) = tokio::time::timeout(silence, socket.recv(&mut bytes)).await {
        heard += len.max(1);
        if silence == PATIENCE {
            break;
        }
    }
    heard
}

fn noise(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_of_the_team_hears_nothing_and_the_team_is_served() {
    let desk = Desk::of(&[secret(1)]);
    let plain = dial(desk.address(), None, Duration::from_millis(1_500)).await;
    assert!(matches!(plain, Err(QuicError::Handshake(_))), "plain QUIC is answered");
    let other = dial(desk.address(), Some(&secret(9)), Duration::from_millis(1_500)).await;
    assert!(matches!(other, Err(QuicError::Handshake(_))), "another team is answered");
    let lens = SIZES.into_iter().chain([0, 1, 15, 31, 32, 127, 129, 1_200, 1_231, 1_500, 9_000, 60_000]);
    let noise = lens.enumerate().map(|(number, len)| noise(number, len));
    assert_eq!(answers(desk.address(), noise).await, 0);
    serves(&desk, &secret(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_passes_has_one_of_four_sizes_and_no_two_datagrams_begin_alike() {
    let desk = Desk::of(&[secret(1)]);
    let tap = Tap::before(desk.address()).await;
    let (_endpoint, connection) = dial(tap.address, Some(&secret(1)), PATIENCE).await.unwrap();
    for len in [1, 40, 300, 700, 1_000, 1_300, 5_000, 200_000] {
        let said = noise(len, len);
        assert!(echo(&connection, &said).await == said);
    }
    let seen = [tap.to_desk(), tap.to_device.lock().unwrap().clone()].concat();
    let sizes: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| SIZES.contains(size)), "{sizes:?}");
    let begins: BTreeSet<&[u8]> = seen.iter().map(|datagram| &datagram[..8]).collect();
    assert_eq!(begins.len(), seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_gets_no_answer_at_once_nor_later_nor_from_the_next_process() {
    let desk = Desk::of(&[secret(1)]);
    let tap = Tap::before(desk.address()).await;
    let (endpoint, connection) = dial(tap.address, Some(&secret(1)), PATIENCE).await.unwrap();
    assert_eq!(echo(&connection, b"word").await, b"word");
    let recorded = tap.to_desk();
    assert_eq!(answers(desk.address(), recorded.clone()).await, 0, "at once");
    assert_eq!(echo(&connection, b"and on").await, b"and on", "the connection does not mind");
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    assert_eq!(answers(desk.address(), recorded.clone()).await, 0, "later");
    let remembered = desk.veil.remembered().unwrap().to_vec();
    let next = Desk::open(Veil::new(&[secret(1)], Some(remembered), system_clock()).unwrap(), false);
    assert_eq!(answers(next.address(), recorded.clone()).await, 0, "from the next process");
    serves(&next, &secret(1)).await;
    // That this measures something: a listener of the team that has no memory answers.
    let elsewhere = Desk::of(&[secret(1)]);
    assert!(is_answered(elsewhere.address(), recorded).await);
}

#[test]
fn only_a_first_packet_of_quic_opens_a_salt_and_each_box_once() {
    let veil = Veil::new(&[secret(2), secret(1)], None, system_clock()).unwrap();
    let from = ([192, 0, 2, 7], 7).into();
    let salt = Salt::new(system_clock()(), [7; 6]);
    let boxed = |content: &[u8], counter: u64| {
        let (header_key, key) = (HeaderKey::to_listener(&secret(1)), BoxKey::to_listener(&secret(1), salt));
        let mut out = Vec::new();
        let size = size_of_box(content.len()).unwrap();
        key.unwrap().seal(&header_key, Header { salt, counter }, content, size, &mut out).unwrap();
        out
    };
    let first = |begin: [u8; 5], len: usize| [&begin[..], &vec![7; len - 5]].concat();
    let bad = [
        first([0xc0, 0, 0, 0, 1], 1_199),
        first([0x40, 0, 0, 0, 1], 1_200),
        first([0xe0, 0, 0, 0, 1], 1_200),
        first([0x80, 0, 0, 0, 1], 1_200),
        first([0xc0, 0, 0, 0, 2], 1_200),
        Vec::new(),
    ];
    for (content, counter) in bad.iter().zip(0..) {
        assert_eq!(veil.open(from, &mut boxed(content, counter)), None, "{:?}", content.get(..5));
    }
    let good = first([0xc3, 0, 0, 0, 1], 1_200);
    let mut datagram = boxed(&good, 9);
    let content = veil.open(from, &mut datagram).expect("it is one");
    assert!(datagram[content] == good);
    assert_eq!(veil.open(from, &mut boxed(&good, 9)), None, "once");
    // Now anything may come under this salt, from anywhere, in any order.
    for (content, counter) in bad.iter().zip([12, 11, 10, 8, 7, 6]) {
        let mut datagram = boxed(content, counter);
        let found = veil.open(([192, 0, 2, 8], 8).into(), &mut datagram).expect("it is known");
        assert!(datagram[found] == content[..]);
    }
}

#[test]
fn where_only_some_addresses_are_admitted_nobody_else_is_let_in_and_who_is_in_stays() {
    let veil = Veil::new(&[secret(2)], None, system_clock()).unwrap();
    let boxed = |epoch: u8, number: u8, counter: u64| {
        let (secret, salt) = (secret(epoch), Salt::new(system_clock()(), [number; 6]));
        let (header, key) = (HeaderKey::to_listener(&secret), BoxKey::to_listener(&secret, salt).unwrap());
        let (mut out, content) = (Vec::new(), [&[0xc3, 0, 0, 0, 1][..], &[7; 1_195]].concat());
        let size = size_of_box(content.len()).unwrap();
        key.seal(&header, Header { salt, counter }, &content, size, &mut out).unwrap();
        out
    };
    let at = |host: u8| SocketAddr::from(([192, 0, 2, host], 7));
    let opens = |from, mut datagram: Vec<u8>| veil.open(from, &mut datagram).is_some();
    assert!(opens(at(7), boxed(2, 1, 0)), "from anywhere, at first");
    veil.admit_only(BTreeSet::new());
    assert!(!opens(at(7), boxed(2, 2, 0)), "nobody was heard");
    assert!(opens(at(8), boxed(2, 1, 1)), "who is in stays, from wherever it comes now");
    veil.admit_only(BTreeSet::from([at(7).ip()]));
    assert!(opens(at(7), boxed(2, 2, 0)), "what was refused before left nothing");
    assert!(opens("[::ffff:192.0.2.7]:7".parse().unwrap(), boxed(2, 3, 0)));
    assert!(!opens(at(8), boxed(2, 4, 0)));
    assert!(!opens(at(7), boxed(1, 5, 0)), "by an earlier secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_packet_with_any_bit_turned_gets_no_answer() {
    // What a device sends first, which no listener has seen yet.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = silent.local_addr().unwrap();
    let endpoint = quic::dialler(&key(2), target, Some(&secret(1))).unwrap();
    let mut first = vec![0; 2_048];
    let len = tokio::select! {
        dialled = quic::dial(&endpoint, target, PATIENCE) => panic!("nobody answers: {}", dialled.is_ok()),
        received = silent.recv(&mut first) => received.unwrap(),
    };
    first.truncate(len);
    assert_eq!(first.len(), SIZES[2]);
    let desk = Desk::of(&[secret(1)]);
    let turned = (0..first.len() * 8).map(|bit| {
        let mut bad = first.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    });
    assert_eq!(answers(desk.address(), turned).await, 0);
    let cut = (0..first.len()).map(|len| first[..len].to_vec());
    assert_eq!(answers(desk.address(), cut).await, 0);
    serves(&desk, &secret(1)).await;
    // As it was it would have been answered.
    assert!(is_answered(desk.address(), [first]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_epoch_gets_in_a_forgotten_one_does_not_and_rotation_takes_effect_at_once() {
    let desk = Desk::of(&[secret(2), secret(1)]);
    let (_old, standing) = dial(desk.address(), Some(&secret(1)), PATIENCE).await.unwrap();
    serves(&desk, &secret(2)).await;
    assert!(dial(desk.address(), Some(&secret(3)), Duration::from_millis(700)).await.is_err());
    desk.veil.set_secrets(&[secret(3), secret(2)]);
    serves(&desk, &secret(3)).await;
    serves(&desk, &secret(2)).await;
    assert!(dial(desk.address(), Some(&secret(1)), Duration::from_millis(700)).await.is_err());
    assert_eq!(echo(&standing, b"still").await, b"still", "what stands goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_far_off_gets_no_answer_and_whoever_listens_hears_of_it() {
    let now = Arc::new(AtomicU32::new(system_clock()()));
    let by = now.clone();
    let clock: Clock = Arc::new(move || by.load(Relaxed));
    let desk = Desk::open(Veil::new(&[secret(1)], None, clock).unwrap(), false);
    for off in [3 * 86_400, WINDOW_S - 60] {
        now.fetch_add(off, Relaxed);
        serves(&desk, &secret(1)).await;
        now.fetch_sub(off, Relaxed);
    }
    assert_eq!(desk.veil.wrong_clocks().tries, 0);
    now.fetch_add(30 * 86_400, Relaxed);
    assert!(dial(desk.address(), Some(&secret(1)), Duration::from_millis(2_500)).await.is_err());
    let wrong = desk.veil.wrong_clocks();
    assert!(wrong.tries > 0 && (-wrong.ahead_s - 30 * 86_400).abs() < 60, "{wrong:?}");
    // What one device sends, and whoever repeats it, counts once.
    assert_eq!(wrong.tries, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_serves_veiled_and_plain_where_it_is_asked_to() {
    let desk = Desk::open(Veil::new(&[secret(1)], None, system_clock()).unwrap(), true);
    serves(&desk, &secret(1)).await;
    let (_endpoint, plain) = dial(desk.address(), None, PATIENCE).await.unwrap();
    assert_eq!(echo(&plain, b"plain").await, b"plain");
    serves(&desk, &secret(1)).await;
    assert!(echo(&plain, &noise(1, 100_000)).await == noise(1, 100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_run_unveiled_too_answers_in_the_plain_only_who_began_so() {
    let desk = Desk::open(Veil::new(&[secret(1)], None, system_clock()).unwrap(), true);
    // A box under a secret that the desk does not know may look like QUIC of a version that nobody speaks, which QUIC answers.
    let unknown = |number: usize| {
        let mut bytes = noise(number, SIZES[2]);
        bytes[0] |= 0xc0;
        bytes
    };
    assert_eq!(answers(desk.address(), (0..64).map(unknown)).await, 0);
    let other = dial(desk.address(), Some(&secret(9)), Duration::from_millis(700)).await;
    assert!(matches!(other, Err(QuicError::Handshake(_))));
    // Nor does a packet of a connection that it does not know get a reset.
    let lost = (0..64).map(|number| {
        let mut bytes = noise(number, 1_200);
        bytes[0] = 0x40 | (bytes[0] & 0x3f);
        bytes
    });
    assert_eq!(answers(desk.address(), lost).await, 0);
    let (_endpoint, plain) = dial(desk.address(), None, PATIENCE).await.unwrap();
    assert_eq!(echo(&plain, b"plain").await, b"plain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_network_changes_stays_connected_behind_the_veil() {
    let desk = Desk::of(&[secret(1)]);
    let (first, second) = (Tap::before(desk.address()).await, Tap::before(desk.address()).await);
    // A router that gives the device another address: what it sends goes by the other tap.
    let router = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = router.local_addr().unwrap();
    let way = Arc::new(AtomicU32::new(0));
    let (by, ways) = (way.clone(), [first.address, second.address]);
    tokio::spawn(async move {
        let (mut device, mut bytes) = (None, vec![0; 65_536]);
        loop {
            let (len, from) = router.recv_from(&mut bytes).await.unwrap();
            let to = if ways.contains(&from) {
                device
            } else {
                device = Some(from);
                Some(ways[by.load(Relaxed) as usize])
            };
            let _ = router.send_to(&bytes[..len], to.unwrap()).await;
        }
    });
    let (_endpoint, connection) = dial(address, Some(&secret(1)), PATIENCE).await.unwrap();
    assert_eq!(echo(&connection, b"before").await, b"before");
    way.store(1, Relaxed);
    assert!(echo(&connection, &noise(2, 50_000)).await == noise(2, 50_000));
    assert!(!second.to_desk().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_veil_keys_are_raw_and_nothing_links_two_visits() {
    let desk = Desk::of(&[secret(1)]);
    let endpoint = quic::dialler(&key(2), desk.address(), Some(&secret(1))).unwrap();
    for visit in 0..3 {
        // A ticket of an earlier visit would open this one with early data.
        let connecting = endpoint.connect(desk.address(), "peer.invalid").unwrap();
        let connecting =
            connecting.into_0rtt().err().unwrap_or_else(|| panic!("early data at visit {visit}"));
        let connection = connecting.await.unwrap();
        assert_eq!(echo(&connection, b"word").await, b"word");
        let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
        assert_eq!((data.protocol.as_deref(), data.server_name.as_deref()), (Some(&b"h3"[..]), None));
        let desks = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        assert_eq!(quic::channel(&connection).unwrap().peer_key, desks);
        connection.close(0_u32.into(), b"");
    }
}

/// A flood costs little memory, and the desk serves meanwhile. What a datagram costs is measured in `bench/`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_noise_changes_nothing() {
    let epochs: Vec<TransportSecret> = (1..=64).map(secret).collect();
    let desk = Desk::of(&epochs);
    let address = desk.address();
    let served = Arc::new(AtomicBool::new(false));
    let over = served.clone();
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut number = 0;
        // As long as the serving lasts, and with a breath now and then: a buffer that is always full lets nobody in.
        while !over.load(Relaxed) || number < 5_000 {
            let _ = socket.send_to(&noise(number, SIZES[number % 4]), address);
            number += 1;
            if number % 50 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut [0; 2_048]).is_ok()
    });
    serves(&desk, &secret(64)).await;
    serves(&desk, &secret(1)).await;
    served.store(true, Relaxed);
    assert!(!flood.join().unwrap(), "an answer to noise");
    serves(&desk, &secret(1)).await;
    // Those that served are still there for a moment, and one whose last word the flood has swallowed until QUIC's idle end.
    let settled = async {
        while desk.endpoint.open_connections() > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.expect("noise makes no connections");
}
