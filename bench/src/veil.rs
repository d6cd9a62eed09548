//! QUIC with and without the veil: bulk, handshakes, bytes on the line, and what noise costs, in one run; and then TCP.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fieldbook_net::quic::{self, Connection, Endpoint, Guise};
use fieldbook_net::tls::TransportKey;
use fieldbook_net::veil::{Veil, system_clock};
use fieldbook_proto::session::TransportSecret;
use tokio::net::UdpSocket;

use crate::{sample, veil_stream};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of one bulk transfer, and how often each is measured, in turns.
const BULK: usize = 256 << 20;
const ROUNDS: usize = 7;
/// Handshakes, in turns.
const SHAKES: usize = 200;
/// Visits of each kind, in turns.
const VISITS: usize = 15;
/// Datagrams of noise.
const NOISE: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (plain, veiled) = (Desk::open(None)?, Desk::open(Some(secret(1)))?);
        bulk(&plain, &veiled).await?;
        handshakes(&plain, &veiled).await?;
        on_the_line(&plain, &veiled).await?;
        veil_stream::run(&key(1)?, &secret(1)).await
    })?;
    noise()?;
    veil_stream::strangers(secret)
}

fn secret(epoch: u8) -> TransportSecret {
    TransportSecret::new(u32::from(epoch), [epoch; 32])
}

fn key(seed: u8) -> Outcome<TransportKey> {
    let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
    Ok(TransportKey::new(&[seed; 32], &public)?)
}

/// A listener that gives as many bytes as it is asked for.
struct Desk {
    endpoint: Endpoint,
    secret: Option<TransportSecret>,
}

impl Desk {
    fn open(secret: Option<TransportSecret>) -> Outcome<Self> {
        let guise = match &secret {
            None => Guise::Unveiled,
            Some(secret) => {
                Guise::Veiled(Arc::new(Veil::new(std::slice::from_ref(secret), None, system_clock())?))
            }
        };
        let endpoint = quic::listener(&key(1)?, ([127, 0, 0, 1], 0).into(), guise)?;
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(serve(incoming));
            }
        });
        Ok(Self { endpoint, secret })
    }

    async fn dial_at(&self, address: SocketAddr) -> Outcome<(Endpoint, Connection)> {
        let endpoint = quic::dialler(&key(2)?, address, self.secret.as_ref())?;
        let (connection, _) = quic::dial(&endpoint, address, PATIENCE).await?;
        quic::open_window(&connection);
        Ok((endpoint, connection))
    }

    async fn dial(&self) -> Outcome<(Endpoint, Connection)> {
        self.dial_at(self.endpoint.local_addr()?).await
    }
}

async fn serve(incoming: quic::Incoming) -> Option<()> {
    let connection = incoming.await.ok()?;
    while let Ok((mut writer, mut reader)) = connection.accept_bi().await {
        let mut wanted = [0; 8];
        reader.read_exact(&mut wanted).await.ok()?;
        let mut left = usize::try_from(u64::from_be_bytes(wanted)).ok()?;
        let block = vec![7; 64 << 10];
        while left > 0 {
            let len = left.min(block.len());
            writer.write_all(&block[..len]).await.ok()?;
            left -= len;
        }
        writer.finish().ok()?;
    }
    Some(())
}

async fn fetch(connection: &Connection, bytes: usize) -> Outcome<()> {
    let (mut writer, mut reader) = connection.open_bi().await?;
    writer.write_all(&(bytes as u64).to_be_bytes()).await?;
    let mut got = 0;
    while let Some(chunk) = reader.read_chunk(1 << 20, true).await? {
        got += chunk.bytes.len();
    }
    if got == bytes { Ok(()) } else { Err(format!("{got} of {bytes} bytes came").into()) }
}

async fn bulk(plain: &Desk, veiled: &Desk) -> Outcome<()> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (desk, times) in [plain, veiled].into_iter().zip(&mut times) {
            let (_endpoint, connection) = desk.dial().await?;
            let start = Instant::now();
            fetch(&connection, BULK).await?;
            times.push(start.elapsed());
            connection.close(0_u32.into(), b"");
        }
    }
    let [plain, veiled] = times.map(|mut times| sample::median(&mut times).as_secs_f64());
    let rate = |time: f64| (BULK >> 20) as f64 / time;
    println!("| QUIC on loopback (median of {ROUNDS}) | plain | veiled | veiled against plain |");
    println!("|---|---|---|---|");
    println!(
        "| {} MiB, one stream | {:.0} MiB/s | {:.0} MiB/s | {:.2} |",
        BULK >> 20,
        rate(plain),
        rate(veiled),
        rate(veiled) / rate(plain)
    );
    Ok(())
}

async fn handshakes(plain: &Desk, veiled: &Desk) -> Outcome<()> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SHAKES {
        for (desk, times) in [plain, veiled].into_iter().zip(&mut times) {
            let start = Instant::now();
            let (_endpoint, connection) = desk.dial().await?;
            times.push(start.elapsed());
            connection.close(0_u32.into(), b"");
        }
    }
    let [plain, veiled] = times.map(|mut times| sample::median(&mut times).as_secs_f64() * 1e3);
    println!(
        "| handshake, the socket's opening with it | {plain:.2} ms | {veiled:.2} ms | {:.2} |",
        veiled / plain
    );
    Ok(())
}

/// Bytes that pass for a visit in which so many bytes are fetched.
async fn on_the_line(plain: &Desk, veiled: &Desk) -> Outcome<()> {
    for (what, bytes) in [("nothing", 8), ("2 KB", 2_000), ("64 KiB", 64 << 10), ("4 MiB", 4 << 20)] {
        let mut counts = [Vec::new(), Vec::new()];
        for (desk, which) in (0..VISITS).flat_map(|_| [(plain, 0), (veiled, 1)]) {
            let near = UdpSocket::bind("127.0.0.1:0").await?;
            let far = UdpSocket::bind("127.0.0.1:0").await?;
            far.connect(desk.endpoint.local_addr()?).await?;
            let (address, counted) = (near.local_addr()?, Arc::new(AtomicU64::new(0)));
            let line = tokio::spawn(pass_on(near, far, counted.clone()));
            let (endpoint, connection) = desk.dial_at(address).await?;
            fetch(&connection, bytes).await?;
            connection.close(0_u32.into(), b"");
            let _ = tokio::time::timeout(Duration::from_millis(100), endpoint.wait_idle()).await;
            line.abort();
            if let Some(passed) = counts.get_mut(which) {
                passed.push(counted.load(Relaxed));
            }
        }
        let [plain, veiled] = counts.map(|mut counts| {
            counts.sort_unstable();
            counts.get(VISITS / 2).copied().unwrap_or_default()
        });
        println!(
            "| bytes by UDP of a visit that fetches {what} (median of {VISITS}) | {plain} | {veiled} | {:.2} |",
            veiled as f64 / plain as f64
        );
    }
    Ok(())
}

async fn pass_on(near: UdpSocket, far: UdpSocket, counted: Arc<AtomicU64>) -> Option<()> {
    let (mut one, mut other, mut device) = (vec![0; 2_048], vec![0; 2_048], None);
    loop {
        tokio::select! {
            Ok((len, from)) = near.recv_from(&mut one) => {
                device = Some(from);
                counted.fetch_add(len as u64, Relaxed);
                far.send(&one[..len]).await.ok()?;
            }
            Ok(len) = far.recv(&mut other) => {
                counted.fetch_add(len as u64, Relaxed);
                near.send_to(&other[..len], device?).await.ok()?;
            }
        }
    }
}

/// What a datagram that is not of the team costs the listener beyond the system's own work.
fn noise() -> Outcome<()> {
    println!();
    println!("| a datagram of noise, 1,232 bytes | the veil's time |");
    println!("|---|---|");
    for epochs in [1, 4, 16, 64] {
        let secrets: Vec<TransportSecret> = (1..=epochs).map(secret).collect();
        let veil = Veil::new(&secrets, None, system_clock())?;
        let mut datagrams: Vec<Vec<u8>> = (0..64).map(|seed| sample::noise(seed, 1_232)).collect();
        let from = ([192, 0, 2, 7], 1).into();
        let start = Instant::now();
        for number in 0..NOISE {
            let number = usize::try_from(number)?;
            if veil.open(from, &mut datagrams[number % 64]).is_some() {
                return Err("noise was taken".into());
            }
        }
        println!("| {epochs} secrets known | {:.2} µs |", (start.elapsed() / NOISE).as_secs_f64() * 1e6);
    }
    Ok(())
}
