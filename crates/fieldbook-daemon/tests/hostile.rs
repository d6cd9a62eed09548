//! Hostile peers against a real daemon over real QUIC and TCP: for each what it does, how its session ends and
//! with which words in the log. Meanwhile an honest device of the team syncs with the same daemon, and the memory of
//! the process stays where it is. Who does not get past the hello is in `two_depots.rs` and `membership.rs`. It is one file because all of
//! them are the same peer, driven by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fieldbook_daemon::control::{Ask, ask};
use fieldbook_daemon::{Calls, Carriers, Dialling};
use fieldbook_depot::Depot;
use fieldbook_net::channel::Channel;
use fieldbook_net::tls::TransportKey;
use fieldbook_net::{quic, secured, tcp};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::limits::{FEATURE_LIVE, FEATURE_PADDING, FEATURES};
use fieldbook_proto::session::{Fingerprint, Frame, Hello, Side, TransportSecret, WireEntry};
use fieldbook_proto::{DepotId, EntryId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

mod team;
use team::{Running, certificate, device, keys, start_with};

const PATIENCE: Duration = Duration::from_secs(20);
/// What a session in which nothing moves has in these tests, in the place of five minutes.
const STANDSTILL: Duration = Duration::from_secs(3);
/// What the process may take on top, in KiB: daemon, honest device and hostile peer are all in it.
const MEMORY: u64 = 160 * 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    Quic,
    Tcp,
}

/// One end of a connection whose handshake is done, in the hands of device 2, a monitor of the team.
struct Peer {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    binding: [u8; 32],
    heard: BytesMut,
    /// The connection lives as long as this.
    _alive: Option<(quic::Endpoint, quic::Connection)>,
}

impl Peer {
    /// Where strangers are many, chance may put one out before it has shaken hands.
    async fn shake(key: &TransportKey, address: SocketAddr) -> (secured::Secured, Channel) {
        for _ in 0..20 {
            let stream = tcp::dial(address, PATIENCE).await.unwrap();
            if let Ok(shaken) = secured::connect(key, stream, PATIENCE).await {
                return shaken;
            }
        }
        panic!("put out twenty times")
    }

    async fn connect(address: SocketAddr, over: Over) -> Self {
        let key = TransportKey::new(&[2 ^ 0x80; 32], &keys(2).1.transport).unwrap();
        let heard = BytesMut::new();
        match over {
            Over::Quic => {
                let endpoint = quic::dialler(&key, address, None).unwrap();
                let (connection, channel) = quic::dial(&endpoint, address, PATIENCE).await.unwrap();
                let (writer, reader) = connection.open_bi().await.unwrap();
                let (reader, writer) = (Box::pin(reader) as Pin<Box<_>>, Box::pin(writer) as Pin<Box<_>>);
                Self { reader, writer, binding: channel.binding, heard, _alive: Some((endpoint, connection)) }
            }
            Over::Tcp => {
                let (stream, channel) = Self::shake(&key, address).await;
                let (reader, writer) = tokio::io::split(stream);
                let (reader, writer) = (Box::pin(reader) as Pin<Box<_>>, Box::pin(writer) as Pin<Box<_>>);
                Self { reader, writer, binding: channel.binding, heard, _alive: None }
            }
        }
    }

    fn hello(&self, known: u64) -> Vec<u8> {
        self.hello_with(FEATURES | FEATURE_LIVE, known)
    }

    fn hello_with(&self, features: u32, known: u64) -> Vec<u8> {
        let hello = Hello {
            version: 1,
            features,
            depot: DepotId::from_bytes([9; 16]),
            known,
            head: known,
            certificate: certificate(1, 2, Role::Monitor),
        };
        hello.seal(&TransportSecret::new(1, [5; 32]), Side::Client, &self.binding)
    }

    /// Says hello, and hears the daemon's.
    async fn greet(&mut self, known: u64) {
        let hello = self.hello(known);
        self.greet_by(hello).await;
    }

    async fn greet_by(&mut self, hello: Vec<u8>) {
        self.write(&hello).await;
        let mut greeting = [0; 338];
        self.reader.read_exact(&mut greeting).await.unwrap();
    }

    /// Nobody minds when the daemon has hung up meanwhile.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok()
    }

    async fn say(&mut self, frame: Frame) -> bool {
        self.write(&frame.encode()).await
    }

    /// The next frame; none at the end.
    async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.heard).unwrap() {
                return Some(frame);
            }
            let read =
                timeout(PATIENCE, self.reader.read_buf(&mut self.heard)).await.expect("it says nothing");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn hear_until<T>(&mut self, wanted: impl Fn(&Frame) -> Option<T>) -> Option<T> {
        loop {
            let frame = self.hear().await?;
            if let Some(found) = wanted(&frame) {
                return Some(found);
            }
        }
    }

    /// Waits for the daemon to hang up.
    async fn is_sent_away(&mut self) {
        let end = async { while self.reader.read_buf(&mut BytesMut::new()).await.unwrap_or(0) > 0 {} };
        timeout(PATIENCE, end).await.expect("it is let go on");
    }
}

type Acts<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

struct Case {
    what: &'static str,
    over: Over,
    /// Greets first, if the act does not begin with the hello.
    act: for<'a> fn(&'a mut Peer) -> Acts<'a>,
    /// The words of the one line in the log that tells of the session.
    words: &'static str,
}

fn made_up(from: u32, count: u32) -> Vec<(EntryId, u32)> {
    (from..from + count).map(|n| (EntryId::of(&n.to_be_bytes()), 1_100)).collect()
}

fn entry(bytes: &[u8], id: EntryId) -> Frame {
    let prefix = *id.as_bytes().first_chunk().unwrap();
    Frame::Entries(vec![WireEntry { prefix, bytes: Bytes::copy_from_slice(bytes) }])
}

/// What is said at the beginning by somebody who has read all that there is.
async fn begin(peer: &mut Peer) {
    peer.greet(0).await;
    peer.say(Frame::Since { position: 300 }).await;
}

/// Comes to rest with the daemon, by repeating what it says.
async fn rest(peer: &mut Peer) {
    begin(peer).await;
    peer.say(Frame::Mark { position: 0, end: true }).await;
    let fingerprint = loop {
        match peer.hear().await.unwrap() {
            // The daemon has no note that it holds them.
            Frame::SizedOffer(offered) => drop(peer.say(Frame::Want(vec![false; offered.len()])).await),
            Frame::Done { fingerprint, .. } => break fingerprint,
            _ => {}
        }
    };
    peer.say(Frame::Done { received: 0, fingerprint, busy: false }).await;
}

/// Asks after the daemon for so long, or until it hangs up.
async fn ping_for(peer: &mut Peer, duration: Duration) -> u32 {
    let (until, mut answers) = (Instant::now() + duration, 0);
    while Instant::now() < until && peer.say(Frame::Ping { answer: false }).await {
        let answered =
            peer.hear_until(|frame| matches!(frame, Frame::Ping { answer: true }).then_some(())).await;
        if answered.is_none() {
            break;
        }
        answers += 1;
        sleep(Duration::from_millis(200)).await;
    }
    answers
}

fn cases() -> Vec<Case> {
    use Over::{Quic, Tcp};
    vec![
        Case {
            what: "a length of four thousand millions",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.write(&[2, 0xff, 0xff, 0xff, 0xff]).await;
                })
            },
            words: "it announced a frame beyond the limit",
        },
        Case {
            what: "half a frame, then silence",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    let bytes = [7; 200_000];
                    let frame = entry(&bytes, EntryId::of(&bytes)).encode();
                    peer.write(&frame[..100_000]).await;
                })
            },
            words: "nothing moved for 3 seconds, though the other side is there",
        },
        Case {
            what: "frames in another order",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.say(Frame::Done { received: 0, fingerprint: Fingerprint::default(), busy: false })
                        .await;
                    peer.say(Frame::Mark { position: 0, end: true }).await;
                })
            },
            words: "it sent a frame at the wrong time",
        },
        Case {
            what: "positions that fall",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.say(Frame::Mark { position: 9, end: false }).await;
                    peer.say(Frame::Mark { position: 8, end: false }).await;
                })
            },
            words: "it named an impossible position",
        },
        Case {
            what: "random bytes after a good hello",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    peer.greet(0).await;
                    let noise: Vec<u8> = (0..100_000_u32)
                        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x40)
                        .collect();
                    peer.write(&noise).await;
                })
            },
            words: "it sent a frame of an unknown type",
        },
        Case {
            what: "entries that are not those of their ids, without end",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    let bytes = [3; 60_000];
                    while peer.say(entry(&bytes, EntryId::of(b"another"))).await {
                        // What is said of them is read, or the daemon would have to wait.
                        while let Ok(Ok(1..)) =
                            timeout(Duration::from_millis(1), peer.reader.read_buf(&mut peer.heard)).await
                        {
                        }
                        peer.heard.clear();
                    }
                })
            },
            words: "nothing moved for 3 seconds, though the other side is there",
        },
        Case {
            what: "twenty thousand ids offered at once",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    for frame in 0..5 {
                        peer.say(Frame::SizedOffer(made_up(frame * 4_096, 4_096))).await;
                    }
                })
            },
            words: "it offered too many entries at once",
        },
        Case {
            what: "millions of ids offered, none of them there",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    for frame in 0..1_000 {
                        let offered = made_up(frame * 4_096, 4_096);
                        let ids = offered.iter().map(|(id, _)| *id).collect();
                        peer.say(Frame::SizedOffer(offered)).await;
                        let wanted = |frame: &Frame| matches!(frame, Frame::Want(_)).then_some(());
                        if peer.hear_until(wanted).await.is_none() {
                            return;
                        }
                        peer.say(Frame::Gone(ids)).await;
                    }
                    panic!("four million ids were looked up");
                })
            },
            words: "it named more entries than it says it knows",
        },
        Case {
            what: "an acknowledgement of what was never sent",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.say(Frame::Ack { count: 1_000, refused: vec![] }).await;
                })
            },
            words: "it acknowledged what was not sent",
        },
        Case {
            what: "a want for what was not offered",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.say(Frame::Want(vec![true; 4_096])).await;
                })
            },
            words: "it answered a question that was not asked",
        },
        Case {
            what: "a byte now and then",
            over: Quic,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    let bytes = [7; 1_000_000];
                    for byte in entry(&bytes, EntryId::of(&bytes)).encode() {
                        if !peer.write(&[byte]).await {
                            break;
                        }
                        sleep(Duration::from_millis(100)).await;
                    }
                })
            },
            words: "nothing moved for 3 seconds, though the other side is there",
        },
        Case {
            what: "a ping before there is a reason for one",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    begin(peer).await;
                    peer.say(Frame::Ping { answer: false }).await;
                })
            },
            words: "it sent a frame at the wrong time",
        },
        Case {
            what: "an offer that is never made good, and pings",
            over: Tcp,
            act: |peer| {
                Box::pin(async {
                    rest(peer).await;
                    // Two that rest may do so for ever.
                    let answers = ping_for(peer, STANDSTILL * 3 / 2).await;
                    assert!(answers > 5, "who rests and is there stays: {answers}");
                    peer.say(Frame::SizedOffer(made_up(0, 1))).await;
                    ping_for(peer, PATIENCE).await;
                })
            },
            words: "nothing moved for 3 seconds, though the other side is there",
        },
    ]
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn start(depot: &team::Device) -> Running {
    let dialling = Dialling { patience: STANDSTILL, ..Dialling::default() };
    start_with(depot, Carriers::default(), Calls { dialling, ..Calls::default() })
}

/// An honest device comes while this is done, and everything goes both ways as if nobody else were there.
fn while_another_syncs(coordinator: &team::Device, daemon: &Running, act: impl FnOnce() + Send) -> bool {
    let honest = device(3, 1, 5);
    let written = honest.add(50_000, 50, 1_300);
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        let end = Instant::now() + PATIENCE;
        loop {
            let summary = honest.sync(&daemon.address).0;
            if summary.is_some_and(|summary| summary.in_step) {
                break;
            }
            assert!(Instant::now() < end, "the honest device was kept out");
        }
        assert!(written.iter().all(|id| coordinator.knows_entry(id)));
        assert!(honest.depot.head().unwrap() >= 350);
        acting.join().is_ok()
    })
}

#[test]
fn a_peer_that_breaks_the_rules_is_sent_away_with_a_word_in_the_log_and_others_are_served() {
    let runtime = runtime();
    for Case { what, over, act, words } in cases() {
        println!("{what}, over {over:?}");
        let coordinator = device(1, 1, 5);
        coordinator.add(0, 300, 1_100);
        let daemon = start(&coordinator);
        let address = daemon.address.parse().unwrap();
        let before = resident();
        let acted = while_another_syncs(&coordinator, &daemon, || {
            runtime.block_on(async {
                let mut peer = Peer::connect(address, over).await;
                timeout(2 * PATIENCE, act(&mut peer)).await.expect("it goes on and on");
                peer.is_sent_away().await;
            });
        });
        let grown = resident().saturating_sub(before);
        assert!(grown < MEMORY, "{what}: {grown} KiB more");
        let log = daemon.stop();
        assert!(acted, "{what}: {log:?}");
        // Of the hostile one: whether a store that stands still ends the honest one's, too, is not the matter.
        let hostile = keys(2).1.device_id().short();
        let told: Vec<_> =
            log.iter().filter(|line| line.contains("broke off") && line.contains(&hostile)).collect();
        assert!(matches!(&told[..], [line] if line.contains(words)), "{what}: {log:?}");
    }
}

#[test]
fn what_is_not_of_its_id_is_refused_and_what_cannot_be_read_is_carried_and_harms_nobody() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 300, 1_100);
    let daemon = start(&coordinator);
    let address = daemon.address.parse().unwrap();
    let (forged, junk) = ([1; 1_500], [2; 1_500]);
    let named = EntryId::of(b"somebody else's");
    assert!(while_another_syncs(&coordinator, &daemon, || {
        runtime().block_on(async {
            let mut peer = Peer::connect(address, Over::Quic).await;
            begin(&mut peer).await;
            peer.say(entry(&forged, named)).await;
            peer.say(entry(&junk, EntryId::of(&junk))).await;
            let mut refused = Vec::new();
            let mut count = 0;
            while count < 2 {
                let (upto, offsets) = peer
                    .hear_until(|frame| match frame {
                        Frame::Ack { count, refused } => Some((*count, refused.clone())),
                        _ => None,
                    })
                    .await
                    .unwrap();
                refused.extend(offsets.into_iter().map(|offset| count + u64::from(offset)));
                count = upto;
            }
            assert_eq!(refused, [0], "the first, which is not what it says");
        });
    }));
    assert!(!coordinator.knows_entry(&named) && !coordinator.knows_entry(&EntryId::of(&forged)));
    // What is in it, a depot cannot see: it is kept as it came, and whoever opens it will say so.
    assert!(coordinator.knows_entry(&EntryId::of(&junk)));
    daemon.stop();
}

/// Where both pad, the daemon holds its last word back for a while.
#[test]
fn what_comes_while_the_last_word_is_held_back_is_in_it() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 300, 1_100);
    let daemon = start(&coordinator);
    let address = daemon.address.parse().unwrap();
    let new = [3; 1_500];
    let fingerprint = runtime().block_on(async {
        let mut peer = Peer::connect(address, Over::Quic).await;
        let hello = peer.hello_with(FEATURES | FEATURE_PADDING, 0);
        peer.greet_by(hello).await;
        peer.say(Frame::Since { position: 300 }).await;
        peer.say(Frame::Mark { position: 0, end: true }).await;
        // Until it has said all but that word; then it may look at its depot. However long it takes, the end is the same.
        loop {
            match peer.hear().await.expect("a mark") {
                // It has no note that the peer holds them.
                Frame::SizedOffer(offered) => drop(peer.say(Frame::Want(vec![false; offered.len()])).await),
                Frame::Mark { end: true, .. } => break,
                _ => {}
            }
        }
        sleep(Duration::from_millis(20)).await;
        peer.say(entry(&new, EntryId::of(&new))).await;
        peer.say(Frame::Mark { position: 1, end: true }).await;
        let done = |frame: &Frame| match frame {
            Frame::Done { received: 1, fingerprint, .. } => Some(*fingerprint),
            _ => None,
        };
        peer.hear_until(done).await.expect("a last word")
    });
    assert!(coordinator.knows_entry(&EntryId::of(&new)));
    assert_eq!(fingerprint, coordinator.depot.fingerprint().unwrap());
    daemon.stop();
}

#[test]
fn a_recorded_session_that_is_played_again_gets_not_one_byte() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 300, 1_100);
    let daemon = start(&coordinator);
    let address = daemon.address.parse().unwrap();
    assert!(while_another_syncs(&coordinator, &daemon, || {
        runtime().block_on(async {
            for over in [Over::Quic, Over::Tcp] {
                let mut first = Peer::connect(address, over).await;
                let recorded = [first.hello(0), Frame::Since { position: 0 }.encode()].concat();
                first.write(&recorded).await;
                let mut greeting = [0; 338];
                first.reader.read_exact(&mut greeting).await.unwrap();
                let mut again = Peer::connect(address, over).await;
                again.write(&recorded).await;
                let mut answer = Vec::new();
                let _ =
                    timeout(PATIENCE, again.reader.read_to_end(&mut answer)).await.expect("it is let go on");
                assert_eq!(answer, b"", "{over:?}");
            }
        });
    }));
    let status = ask(&daemon.control, Ask::Status).unwrap().unwrap();
    assert!(status.sessions_failed >= 2);
    daemon.stop();
}

#[test]
fn hundreds_of_connections_that_say_nothing_keep_nobody_out() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 300, 1_100);
    let daemon = start(&coordinator);
    let address: SocketAddr = daemon.address.parse().unwrap();
    let before = resident();
    assert!(while_another_syncs(&coordinator, &daemon, || {
        let silent: Vec<_> =
            (0..400).filter_map(|_| TcpStream::connect_timeout(&address, PATIENCE).ok()).collect();
        assert!(silent.len() > 300, "the test can tell");
        // And some who shake hands and then say nothing, or drip their hello.
        runtime().block_on(async {
            let mut shaken = Vec::new();
            for over in [Over::Tcp; 12] {
                shaken.push(Peer::connect(address, over).await);
            }
            for _ in 0..20 {
                for peer in &mut shaken {
                    peer.write(&[1]).await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
    }));
    assert!(resident().saturating_sub(before) < MEMORY);
    // Who was never met is counted, and fills no log.
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains("broke off")), "{log:?}");
}

#[test]
fn a_device_of_another_team_gets_not_one_byte_over_tcp_either() {
    let coordinator = device(1, 1, 5);
    coordinator.add(0, 300, 1_100);
    let daemon = start(&coordinator);
    let address = daemon.address.parse().unwrap();
    // The certificate is of a team whose coordinator is device 4; the secret is its own, or was stolen.
    for secret in [6, 5] {
        runtime().block_on(async {
            let mut peer = Peer::connect(address, Over::Tcp).await;
            let hello = Hello {
                version: 1,
                features: FEATURES,
                depot: DepotId::from_bytes([9; 16]),
                known: 0,
                head: 0,
                certificate: certificate(4, 2, Role::Coordinator),
            };
            let sealed = hello.seal(&TransportSecret::new(1, [secret; 32]), Side::Client, &peer.binding);
            peer.write(&sealed).await;
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, peer.reader.read_to_end(&mut answer)).await.expect("it is let go on");
            assert_eq!(answer, b"");
        });
    }
    daemon.stop();
}
