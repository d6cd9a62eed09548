//! TLS over TCP with and without the veil: bulk, handshakes, bytes of a handshake, and what a stranger costs, in one run.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldbook_net::secured::{self, Acceptor, Secured};
use fieldbook_net::tcp;
use fieldbook_net::tls::TransportKey;
use fieldbook_net::veil::stream::FIRST;
use fieldbook_net::veil::{Veil, carried, system_clock, take_in};
use fieldbook_proto::session::TransportSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::sample;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BULK: usize = 256 << 20;
const ROUNDS: usize = 7;
const SHAKES: usize = 200;
const STRANGERS: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(key: &TransportKey, secret: &TransportSecret) -> Outcome<()> {
    let veil = Arc::new(Veil::new(std::slice::from_ref(secret), None, system_clock())?);
    let desks = [Desk::open(key, None).await?, Desk::open(key, Some((secret, veil))).await?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (desk, times) in desks.iter().zip(&mut times) {
            let mut stream = desk.dial(key).await?;
            let start = Instant::now();
            fetch(&mut stream, BULK).await?;
            times.push(start.elapsed());
        }
    }
    let [plain, veiled] =
        times.map(|mut times| (BULK >> 20) as f64 / sample::median(&mut times).as_secs_f64());
    println!();
    println!("| TLS over TCP on loopback | plain | veiled | veiled against plain |");
    println!("|---|---|---|---|");
    println!(
        "| {} MiB, one stream (median of {ROUNDS}) | {plain:.0} MiB/s | {veiled:.0} MiB/s | {:.2} |",
        BULK >> 20,
        veiled / plain
    );
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SHAKES {
        for (desk, times) in desks.iter().zip(&mut times) {
            let start = Instant::now();
            let mut stream = desk.dial(key).await?;
            fetch(&mut stream, 1).await?;
            times.push(start.elapsed());
        }
    }
    let [plain, veiled] = times.map(|mut times| sample::median(&mut times).as_secs_f64() * 1e3);
    println!(
        "| handshake, the connection and one byte with it (median of {SHAKES}) | {plain:.2} ms | {veiled:.2} ms | {:.2} |",
        veiled / plain
    );
    Ok(())
}

/// What the first bytes of a stranger cost a listener.
pub fn strangers(secret: impl Fn(u8) -> TransportSecret) -> Outcome<()> {
    println!();
    println!("| a stranger's first 128 bytes by TCP | the veil's time |");
    println!("|---|---|");
    for epochs in [1, 4, 16, 64] {
        let secrets: Vec<TransportSecret> = (1..=epochs).map(&secret).collect();
        let veil = Veil::new(&secrets, None, system_clock())?;
        let mut first = [0; FIRST];
        first.copy_from_slice(&sample::noise(1, FIRST));
        let start = Instant::now();
        for number in 0..STRANGERS {
            first[..4].copy_from_slice(&number.to_be_bytes());
            if veil.meet([192, 0, 2, 7].into(), &first).is_some() {
                return Err("noise was taken".into());
            }
        }
        println!("| {epochs} secrets known | {:.2} µs |", (start.elapsed() / STRANGERS).as_secs_f64() * 1e6);
    }
    Ok(())
}

/// A listener that gives as many bytes as it is asked for.
struct Desk {
    address: SocketAddr,
    secret: Option<TransportSecret>,
}

impl Desk {
    async fn open(key: &TransportKey, veil: Option<(&TransportSecret, Arc<Veil>)>) -> Outcome<Self> {
        let listener = tcp::listener(([127, 0, 0, 1], 0).into())?;
        let (address, acceptor) = (listener.local_addr()?, Acceptor::new(key)?);
        let secret = veil.as_ref().map(|(secret, _)| (*secret).clone());
        let veil = veil.map(|(_, veil)| veil);
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let (acceptor, veil) = (acceptor.clone(), veil.clone());
                tokio::spawn(async move {
                    let stream = tcp::prepared(stream).ok()?;
                    let (mut stream, _) = match veil {
                        None => acceptor.accept(stream, PATIENCE).await.ok()?,
                        Some(veil) => {
                            let taken = take_in(stream, &veil, from.ip(), false).await.ok()?;
                            acceptor.accept(taken.stream, PATIENCE).await.ok()?
                        }
                    };
                    serve(&mut stream).await
                });
            }
        });
        Ok(Self { address, secret })
    }

    async fn dial(&self, key: &TransportKey) -> Outcome<Secured> {
        let stream = tcp::prepared(TcpStream::connect(self.address).await?)?;
        let (stream, _) = match &self.secret {
            None => secured::connect(key, stream, PATIENCE).await?,
            Some(secret) => {
                secured::connect(key, carried::dial(stream, secret, &system_clock())?, PATIENCE).await?
            }
        };
        Ok(stream)
    }
}

async fn serve(stream: &mut Secured) -> Option<()> {
    let mut left = usize::try_from(stream.read_u64().await.ok()?).ok()?;
    let block = vec![7; 64 << 10];
    while left > 0 {
        let len = left.min(block.len());
        stream.write_all(&block[..len]).await.ok()?;
        left -= len;
    }
    stream.shutdown().await.ok()
}

async fn fetch(stream: &mut Secured, bytes: usize) -> Outcome<()> {
    stream.write_u64(bytes as u64).await?;
    stream.flush().await?;
    let (mut got, mut block) = (0, vec![0; 256 << 10]);
    loop {
        match stream.read(&mut block).await? {
            0 => break,
            len => got += len,
        }
    }
    if got == bytes { Ok(()) } else { Err(format!("{got} of {bytes} bytes came").into()) }
}
