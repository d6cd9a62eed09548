//! The depot by itself: durable batches, reading back, looking up.

use std::error::Error;
use std::time::Instant;

use fieldbook_depot::{Depot, DepotKey, Incoming, Source, SqlDepot};
use fieldbook_proto::{DepotId, EntryId};

use crate::sample;

const COUNT: usize = 10_000;
const LEN: usize = 2_048;

pub fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let entries = sample::entries(COUNT, LEN);
    println!("depot: {COUNT} entries of {LEN} bytes");
    for batch_len in [1, 100, 1_000, COUNT] {
        let path = dir.path().join(format!("depot-{batch_len}"));
        let depot = SqlDepot::create(&path, &DepotKey::new([1; 32]), DepotId::from_bytes([1; 16]))?;
        let taken = if batch_len == 1 { &entries[..1_000] } else { &entries[..] };
        let batch: Vec<_> =
            taken.iter().map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Own }).collect();
        let start = Instant::now();
        for part in batch.chunks(batch_len) {
            depot.put(part)?;
        }
        let put = start.elapsed();
        let ids: Vec<_> = batch.iter().map(|incoming| incoming.id).collect();
        let start = Instant::now();
        let unknown = depot.unknown(&ids)?.len();
        let looked_up = start.elapsed();
        let start = Instant::now();
        let read = depot.arrivals_with_bytes(0, usize::MAX, u64::MAX)?.len();
        let scanned = start.elapsed();
        let start = Instant::now();
        let walked = depot.arrivals(0, usize::MAX, u64::MAX)?.len();
        let ids_only = start.elapsed();
        assert!(unknown == 0 && read == taken.len() && walked == read, "the depot lost something");
        depot.close()?;
        let size = std::fs::metadata(&path)?.len();
        println!(
            "  batches of {batch_len:>5}: put {:>8.1} µs an entry ({:.0} entries/s); unknown {:.2} µs an id; \
             scan {:.1} ms, ids only {:.1} ms; file {:.2} times the entries",
            put.as_secs_f64() * 1e6 / taken.len() as f64,
            taken.len() as f64 / put.as_secs_f64(),
            looked_up.as_secs_f64() * 1e6 / taken.len() as f64,
            scanned.as_secs_f64() * 1e3,
            ids_only.as_secs_f64() * 1e3,
            size as f64 / (taken.len() * LEN) as f64,
        );
    }
    Ok(())
}
