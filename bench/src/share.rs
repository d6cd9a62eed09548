//! Giving reports to another coordinator against sealing and storing the same bytes and nothing else.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use fieldbook_depot::{Depot, SqlDepot};
use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_report::ReportInput;
use fieldbook_seal::{Audience, DeviceSecret, Header, Kind, ReadingIdentity};
use fieldbook_vault::{CreateOptions, ListFilter, Passphrase, ShareSelection, Vault};

use crate::sample;

/// Reports that are shared unless a number is given.
pub const REPORTS: usize = 10_000;
/// Entries in one durable append of the floor: as many reports as one transaction shares.
const BATCH: usize = 256;

pub fn run(reports: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut giver = vault(&dir.path().join("giver"), "Giver")?;
    giver.create_team("Bench")?;
    for number in 0..reports {
        let report = giver.create_report(&ReportInput::from_json(&sample::report(number))?)?;
        giver.finish(report.id.parse()?, true)?;
    }
    let mut reader = vault(&dir.path().join("reader"), "Reader")?;
    let admission = giver.admit(&reader.join_request(), Role::Coordinator)?;
    reader.adopt(&admission)?;
    let with: DeviceId = reader.device().id.parse()?;

    let depot = SqlDepot::open(&giver.depot_path(), &giver.depot_key())?;
    let before = depot.head()?;
    let selection = ShareSelection { reports: Vec::new(), filter: Some(ListFilter::default()) };
    let start = Instant::now();
    let summary = giver.share(&selection, with)?;
    let shared = start.elapsed();

    // The floor: bodies as long as those entries were, sealed to as many, and appended in as many batches.
    let entries = depot.arrivals_with_bytes(before, reports * 2, u64::MAX)?;
    let lengths: Vec<usize> = entries.iter().filter_map(|(_, bytes)| Some(bytes.as_ref()?.len())).collect();
    let author = DeviceSecret::generate([1; 32], [2; 32]);
    let recipients = [ReadingIdentity::generate().recipient(), ReadingIdentity::generate().recipient()];
    let header = Header {
        kind: Kind::Share,
        device: author.id(),
        sequence: 1,
        previous: None,
        time_ms: 0,
        report: None,
        audience: Audience::default(),
    };
    let mut disk = File::create(dir.path().join("appended"))?;
    let start = Instant::now();
    for batch in lengths.chunks(BATCH) {
        for len in batch {
            // The age header of two recipients and the layout around the body take about this much.
            let body = sample::noise(*len as u64, len.saturating_sub(700));
            disk.write_all(fieldbook_seal::seal(&header, &body, &author, &recipients)?.as_bytes())?;
        }
        disk.sync_data()?;
    }
    let floor = start.elapsed();

    println!("Sharing {} reports with another coordinator", summary.shared);
    println!("| act | time | reports a second | against the floor |");
    println!("|---|---|---|---|");
    for (act, time) in
        [("seal the same bytes to the same number, append + fdatasync", floor), ("share", shared)]
    {
        let rate = summary.shared as f64 / time.as_secs_f64();
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        println!("| {act} | {:.2} s | {rate:.0} | {ratio:.1} |", time.as_secs_f64());
    }
    Ok(())
}

fn vault(place: &Path, name: &str) -> Result<Vault, Box<dyn Error>> {
    let passphrase = || Passphrase::new("only for this measurement".to_owned());
    Vault::create(place, &passphrase(), &CreateOptions { name: name.to_owned(), work_factor: Some(15) })?;
    Ok(Vault::open(place, &passphrase())?)
}
