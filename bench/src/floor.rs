//! What the machine can do at best: the disk, QUIC, and rsync.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_net::tls::{Beneath, TransportKey};
use fieldbook_proto::{DepotId, EntryId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use crate::sample;

/// A file that grows by 4 KiB at a time.
pub struct Append {
    file: File,
    block: Vec<u8>,
}

impl Append {
    /// Begins an empty file in `dir`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(dir.join("appended"))?, block: sample::noise(0, 4_096) })
    }

    /// One append of 4 KiB and fdatasync: the least that saving anything can cost.
    pub fn append_and_sync(&mut self) -> io::Result<()> {
        self.file.write_all(&self.block)?;
        self.file.sync_data()
    }
}

/// Moves the entries over one QUIC stream on loopback with quinn's own settings, checks each with
/// BLAKE3, and puts them into an empty depot in one batch. From dialling to durable.
pub fn quinn_and_insert(dir: &Path, entries: &[Vec<u8>]) -> Result<Duration, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let path = dir.join(format!("floor-{}", entries.len()));
    let depot = SqlDepot::create(&path, &DepotKey::new([1; 32]), DepotId::from_bytes([1; 16]))?;
    let elapsed = runtime.block_on(move_and_insert(&depot, entries))?;
    depot.close()?;
    fs::remove_file(path)?;
    Ok(elapsed)
}

async fn move_and_insert(depot: &SqlDepot, entries: &[Vec<u8>]) -> Result<Duration, Box<dyn Error>> {
    let server = QuicServerConfig::try_from(transport_key(1)?.server(Beneath::Quic)?)?;
    let listening = quinn::Endpoint::server(
        quinn::ServerConfig::with_crypto(Arc::new(server)),
        ([127, 0, 0, 1], 0).into(),
    )?;
    let address = listening.local_addr()?;
    let mut dialling = quinn::Endpoint::client(([127, 0, 0, 1], 0).into())?;
    let client = QuicClientConfig::try_from(transport_key(2)?.client(Beneath::Quic)?)?;
    dialling.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));

    let receiver = tokio::spawn(async move {
        let connection = listening.accept().await.ok_or("no connection")?.await.map_err(|e| e.to_string())?;
        let mut stream = connection.accept_uni().await.map_err(|e| e.to_string())?;
        let mut received: Vec<(EntryId, Vec<u8>)> = Vec::new();
        loop {
            let mut head = [0; 36];
            if stream.read_exact(&mut head).await.is_err() {
                break;
            }
            let (id, len) = head.split_at(32);
            let id = EntryId::from_bytes(id.try_into().map_err(|_| "id")?);
            let len = u32::from_be_bytes(len.try_into().map_err(|_| "length")?);
            let mut bytes = vec![0; len as usize];
            stream.read_exact(&mut bytes).await.map_err(|e| e.to_string())?;
            if EntryId::of(&bytes) != id {
                return Err("a wrong entry".to_owned());
            }
            received.push((id, bytes));
        }
        Ok((received, connection))
    });

    let start = Instant::now();
    let connection = dialling.connect(address, "peer.invalid")?.await?;
    let mut stream = connection.open_uni().await?;
    for bytes in entries {
        stream.write_all(EntryId::of(bytes).as_bytes()).await?;
        stream.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
        stream.write_all(bytes).await?;
    }
    stream.finish()?;
    let (received, _connection) = receiver.await??;
    let batch: Vec<_> =
        received.iter().map(|(id, bytes)| Incoming { id: *id, bytes, from: Source::Own }).collect();
    let added = depot.put(&batch)?.added;
    let elapsed = start.elapsed();
    if added != entries.len() {
        return Err(format!("only {added} of {} entries arrived", entries.len()).into());
    }
    Ok(elapsed)
}

fn transport_key(seed: u8) -> Result<TransportKey, Box<dyn Error>> {
    let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
    Ok(TransportKey::new(&[seed; 32], &public)?)
}

/// What one run of rsync took.
pub struct Rsync {
    /// From start to end.
    pub time: Duration,
    /// Bytes that it says it sent and received.
    pub bytes: u64,
}

/// `rsync -a` of a folder on this disk to another, with further options.
pub fn rsync(from: &Path, to: &Path, options: &[&str]) -> Result<Rsync, Box<dyn Error>> {
    let start = Instant::now();
    let output = Command::new("rsync")
        .env("LC_ALL", "C")
        .args(["-a", "--stats", "--no-human-readable"])
        .args(options)
        .arg(format!("{}/", from.display()))
        .arg(to)
        .output()?;
    let time = start.elapsed();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let bytes = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let count = line
                .strip_prefix("Total bytes sent: ")
                .or_else(|| line.strip_prefix("Total bytes received: "))?;
            count.replace(',', "").parse::<u64>().ok()
        })
        .sum();
    Ok(Rsync { time, bytes })
}

/// Writes each entry into a file of its own, numbered from `first`, and waits for the disk.
pub fn write_files(dir: &Path, first: usize, entries: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    for (number, bytes) in entries.iter().enumerate() {
        fs::write(dir.join(format!("{:06}", first + number)), bytes)?;
    }
    Command::new("sync").status()?;
    Ok(())
}
