//! The veil over streams, with TLS inside: what a stranger, somebody who tampers and somebody who plays a recording
//! again get from a listener, and what devices of the team get. In memory: nothing waits for a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use fieldbook_net::secured::{self, Acceptor, SecureError, Secured};
use fieldbook_net::tls::TransportKey;
use fieldbook_net::veil::stream::{FIRST, PADDING_MAX};
use fieldbook_net::veil::{Clock, Veil, carried, system_clock, take_in};
use fieldbook_proto::session::TransportSecret;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};

const PATIENCE: Duration = Duration::from_secs(60);
const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn key(seed: u8) -> (TransportKey, [u8; 32]) {
    let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
    (TransportKey::new(&[seed; 32], &public).unwrap(), public)
}

fn secret(epoch: u8) -> TransportSecret {
    TransportSecret::new(u32::from(epoch), [epoch; 32])
}

fn veil(epochs: &[u8]) -> Arc<Veil> {
    let secrets: Vec<TransportSecret> = epochs.iter().map(|epoch| secret(*epoch)).collect();
    Arc::new(Veil::new(&secrets, None, system_clock()).unwrap())
}

/// Writes down each write of one end of a stream.
struct Recorded<S> {
    inner: S,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl<S> Recorded<S> {
    fn of(inner: S) -> (Self, Arc<Mutex<Vec<Vec<u8>>>>) {
        let writes: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        (Self { inner, writes: writes.clone() }, writes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(len)) = &written {
            this.writes.lock().unwrap().push(buf[..*len].to_vec());
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// A device that dials this listener under a secret: both ends, and what each wrote.
async fn pair(
    listener: &Arc<Veil>,
    epoch: u8,
) -> Result<([Secured; 2], [Arc<Mutex<Vec<Vec<u8>>>>; 2]), SecureError> {
    let (near, far) = duplex(1 << 20);
    let ((near, there), (far, back)) = (Recorded::of(near), Recorded::of(far));
    let (listener, acceptor) = (listener.clone(), Acceptor::new(&key(2).0)?);
    let serving = tokio::spawn(async move {
        let taken = take_in(far, &listener, FROM, false).await.ok()?;
        let shaken = acceptor.accept(taken.stream, PATIENCE).await.ok()?;
        taken.known.note();
        Some(shaken)
    });
    let stream = carried::dial(near, &secret(epoch), &system_clock()).map_err(SecureError::Handshake)?;
    let (ours, channel) = secured::connect(&key(1).0, stream, PATIENCE).await?;
    let (theirs, their_channel) = serving.await.unwrap().expect("both shake hands");
    assert_eq!((channel.peer_key, their_channel.peer_key), (key(2).1, key(1).1));
    assert_eq!(channel.binding, their_channel.binding);
    Ok(([ours, theirs], [there, back]))
}

/// What a device sends first to somebody who never answers.
async fn first_flight(epoch: u8) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 16);
    let (near, writes) = Recorded::of(near);
    let stream = carried::dial(near, &secret(epoch), &system_clock()).unwrap();
    let (key, _) = key(1);
    tokio::select! {
        dialled = secured::connect(&key, stream, PATIENCE) => panic!("nobody answers: {}", dialled.is_ok()),
        first = far.read_u8() => drop(first.unwrap()),
    }
    let writes = writes.lock().unwrap();
    assert_eq!(writes.len(), 1, "the first box goes out with TLS's first words");
    writes[0].clone()
}

/// What somebody hears who sends this and no more.
async fn heard(listener: &Veil, unveiled: bool, sent: &[u8]) -> Vec<u8> {
    let (mut near, far) = duplex(1 << 20);
    near.write_all(sent).await.unwrap();
    near.shutdown().await.unwrap();
    let acceptor = Acceptor::new(&key(2).0).unwrap();
    if let Ok(taken) = take_in(far, listener, FROM, unveiled).await {
        assert!(acceptor.accept(taken.stream, PATIENCE).await.is_err(), "half a handshake is none");
    }
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).await.unwrap();
    heard
}

fn noise(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn a_session_goes_both_ways_and_each_half_ends_by_itself() {
    let ([mut client, mut server], [there, back]) = pair(&veil(&[2, 1]), 1).await.unwrap();
    let long = noise(1, 3 << 20);
    let said = long.clone();
    let writing = tokio::spawn(async move {
        client.write_all(&said).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert!(heard == long);
    let mut client = writing.await.unwrap();
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"answer");
    // TLS's answer goes out in one piece, too.
    assert!(back.lock().unwrap()[0].len() > FIRST + 1_000);
    let all = [there.lock().unwrap().concat(), back.lock().unwrap().concat()];
    assert!(all.iter().all(|bytes| !bytes.windows(5).any(|five| five == [0x17, 3, 3, 0x40, 0x11])));
}

#[tokio::test]
async fn a_stream_that_is_cut_is_not_taken_for_one_that_ended() {
    let ([mut client, mut server], _) = pair(&veil(&[1]), 1).await.unwrap();
    client.write_all(b"half of").await.unwrap();
    client.flush().await.unwrap();
    drop(client);
    let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn who_does_not_read_is_not_written_to_for_ever() {
    let (near, _far) = duplex(4_096);
    let mut stream = carried::dial(near, &secret(1), &system_clock()).unwrap();
    let (mut written, block) = (0, vec![1; 16 * 1024]);
    while let Ok(Ok(len)) = tokio::time::timeout(Duration::from_millis(200), stream.write(&block)).await {
        written += len;
        assert!(written < 1 << 20, "bytes pile up in memory");
    }
    assert!(written > 0);
}

#[tokio::test]
async fn the_first_words_have_no_length_of_their_own_and_nothing_else_changes_it() {
    let mut lens = BTreeSet::new();
    for _ in 0..64 {
        lens.insert(first_flight(1).await.len());
    }
    // 64 of 1,025 lengths: fewer than 40 different ones would be a miracle.
    assert!(lens.len() >= 40, "{lens:?}");
    assert!(lens.last().unwrap() - lens.first().unwrap() <= PADDING_MAX);
}

#[tokio::test]
async fn ten_thousand_beginnings_of_noise_and_nearly_right_ones_hear_nothing() {
    let listener = veil(&[3, 2, 1]);
    for number in 0..3_000 {
        assert_eq!(heard(&listener, false, &noise(number, number)).await, b"", "{number} bytes");
    }
    for number in 0..1_000 {
        // As TLS, HTTP and ssh begin.
        for begin in
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n"]
        {
            let probe = [begin, &noise(number, 600)].concat();
            assert_eq!(heard(&listener, false, &probe).await, b"");
        }
    }
    let first = first_flight(2).await;
    for bit in 0..first.len() * 8 {
        let mut bad = first.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Its salt is spent with the first that gets so far: each gets a listener that has not met it.
        if bit / 8 < FIRST {
            assert_eq!(heard(&listener, false, &bad).await, b"", "bit {bit}");
        } else if bit % 8 == bit / 8 % 8 {
            assert_eq!(heard(&veil(&[2]), false, &bad).await, b"", "bit {bit}");
        }
    }
    for len in 0..first.len() {
        let listener = if len < FIRST { listener.clone() } else { veil(&[2]) };
        assert_eq!(heard(&listener, false, &first[..len]).await, b"", "{len} bytes");
    }
    // Another team's, and an epoch that is kept no more.
    for epoch in [9, 4] {
        assert_eq!(heard(&listener, false, &first_flight(epoch).await).await, b"");
    }
    // As it was it is answered.
    assert!(heard(&listener, false, &first).await.len() > FIRST);
    pair(&listener, 3).await.unwrap();
}

#[tokio::test]
async fn what_was_recorded_gets_no_answer_at_once_nor_later_nor_from_the_next_process() {
    let listener = veil(&[1]);
    let (ends, [there, back]) = pair(&listener, 1).await.unwrap();
    let (recorded, answer) = (there.lock().unwrap().concat(), back.lock().unwrap().concat());
    assert_eq!(heard(&listener, false, &recorded).await, b"", "at once");
    assert_eq!(heard(&listener, false, &recorded[..FIRST]).await, b"", "its beginning");
    assert_eq!(heard(&listener, false, &answer).await, b"", "what it said itself");
    drop(ends);
    assert_eq!(heard(&listener, false, &recorded).await, b"", "later");
    let remembered = listener.remembered().unwrap().to_vec();
    let next = Veil::new(&[secret(1)], Some(remembered), system_clock()).unwrap();
    assert_eq!(heard(&next, false, &recorded).await, b"", "from the next process");
    // That this measures something: a listener of the team that has no memory answers.
    assert!(heard(&veil(&[1]), false, &recorded).await.len() > FIRST);
}

#[tokio::test]
async fn an_answer_is_for_one_dialler() {
    let (_ends, [_, back]) = pair(&veil(&[1]), 1).await.unwrap();
    let answer = back.lock().unwrap().concat();
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&answer).await.unwrap();
    let stream = carried::dial(near, &secret(1), &system_clock()).unwrap();
    let refused = secured::connect(&key(1).0, stream, PATIENCE).await;
    assert!(
        matches!(refused, Err(SecureError::Handshake(error)) if error.kind() == io::ErrorKind::InvalidData)
    );
}

#[tokio::test]
async fn whoever_tampers_with_a_standing_session_ends_it_and_learns_no_more() {
    for at in [0, 5, 17, 18, 30] {
        let (mut near, middle) = (duplex(1 << 20), duplex(1 << 20));
        let (listener, acceptor) = (veil(&[1]), Acceptor::new(&key(2).0).unwrap());
        let serving = tokio::spawn(async move {
            let taken = take_in(middle.1, &listener, FROM, false).await.unwrap();
            let (mut stream, _) = acceptor.accept(taken.stream, PATIENCE).await.unwrap();
            taken.known.note();
            let mut heard = Vec::new();
            (stream.read_to_end(&mut heard).await.unwrap_err().kind(), heard)
        });
        let stream = carried::dial(near.0, &secret(1), &system_clock()).unwrap();
        let dialling =
            tokio::spawn(async move { secured::connect(&key(1).0, stream, PATIENCE).await.unwrap().0 });
        let (mut from_client, mut to_client) = tokio::io::split(&mut near.1);
        let (mut from_server, mut to_server) = tokio::io::split(middle.0);
        let forth = async {
            let mut bytes = vec![0; 1 << 16];
            // Two flights of the handshake.
            for _ in 0..2 {
                let len = from_client.read(&mut bytes).await.unwrap();
                to_server.write_all(&bytes[..len]).await.unwrap();
            }
            let mut client = dialling.await.unwrap();
            client.write_all(b"said after the handshake").await.unwrap();
            client.flush().await.unwrap();
            let len = from_client.read(&mut bytes).await.unwrap();
            bytes[at] ^= 1;
            to_server.write_all(&bytes[..len]).await.unwrap();
            client
        };
        let back = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
        let (ended, heard) = tokio::select! {
            (_client, ended) = async { let client = forth.await; (client, serving.await.unwrap()) } => ended,
            () = async { back.await; std::future::pending().await } => unreachable!(),
        };
        assert_eq!((ended, heard), (io::ErrorKind::InvalidData, Vec::new()), "byte {at}");
    }
}

#[tokio::test]
async fn clocks_do_not_matter() {
    for wrong in [0, 1, 1_500_000_000, u32::MAX] {
        let clock: Clock = Arc::new(move || wrong);
        let (near, far) = duplex(1 << 20);
        let (listener, acceptor) = (veil(&[1]), Acceptor::new(&key(2).0).unwrap());
        let serving = tokio::spawn(async move {
            let taken = take_in(far, &listener, FROM, false).await.unwrap();
            acceptor.accept(taken.stream, PATIENCE).await.is_ok()
        });
        let stream = carried::dial(near, &secret(1), &clock).unwrap();
        secured::connect(&key(1).0, stream, PATIENCE).await.unwrap();
        assert!(serving.await.unwrap(), "{wrong}");
    }
}

#[tokio::test]
async fn where_only_some_addresses_are_admitted_nobody_else_is_let_in() {
    let listener = veil(&[1]);
    listener.admit_only(BTreeSet::new());
    let first = first_flight(1).await;
    assert_eq!(heard(&listener, false, &first).await, b"");
    listener.admit_only(BTreeSet::from([FROM]));
    assert!(heard(&listener, false, &first).await.len() > FIRST, "what was refused before left nothing");
}

#[tokio::test]
async fn plain_tls_is_taken_only_where_it_is_asked_for() {
    async fn plainly(unveiled: bool) -> bool {
        let (near, far): (DuplexStream, DuplexStream) = duplex(1 << 20);
        let (listener, acceptor) = (veil(&[1]), Acceptor::new(&key(2).0).unwrap());
        let serving = tokio::spawn(async move {
            let taken = take_in(far, &listener, FROM, unveiled).await.ok()?;
            acceptor.accept(taken.stream, PATIENCE).await.ok()
        });
        let shaken = secured::connect(&key(1).0, near, Duration::from_millis(500)).await;
        if shaken.is_err() {
            serving.abort();
        }
        shaken.is_ok()
    }
    assert!(!plainly(false).await && plainly(true).await);
    // Beside it the veil is taken, and everything else hears nothing but TLS's own word that it is no TLS.
    let listener = veil(&[1]);
    assert!(heard(&listener, true, &first_flight(1).await).await.len() > FIRST);
    for number in 0..500 {
        let mut probe = noise(number, 300);
        probe[0] = 0x55;
        assert_eq!(heard(&listener, true, &probe).await, b"");
    }
    assert!(heard(&listener, true, &[0x16, 3, 1, 0xff, 0xff, 0xff]).await.len() < 16);
}

#[tokio::test]
async fn a_relay_is_dialled_for_its_key_alone() {
    let (near, far) = duplex(1 << 20);
    let (listener, acceptor) = (veil(&[1]), Acceptor::new(&key(2).0).unwrap());
    let serving = tokio::spawn(async move {
        let taken = take_in(far, &listener, FROM, false).await.unwrap();
        acceptor.accept(taken.stream, PATIENCE).await.is_ok()
    });
    let stream = carried::dial(near, &secret(1), &system_clock()).unwrap();
    let wary = secured::connect_to(&[key(3).1], &key(1).0, stream, PATIENCE).await;
    assert!(wary.is_err() && !serving.await.unwrap());
}
