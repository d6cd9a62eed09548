//! Saving a report durably against one append and fdatasync on the same disk.

use std::error::Error;
use std::time::{Duration, Instant};

use fieldbook_report::{Edit, FieldValue, ReportInput};
use fieldbook_vault::{CreateOptions, Passphrase, Vault};

use crate::{floor, sample};

const ROUNDS: usize = 200;

pub fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let passphrase = || Passphrase::new("only for this measurement".to_owned());
    let place = dir.path().join("vault");
    Vault::create(&place, &passphrase(), &CreateOptions { name: "Bench".to_owned(), work_factor: Some(15) })?;
    let mut vault = Vault::open(&place, &passphrase())?;
    vault.create_team("Bench")?;

    let mut disk = floor::Append::new(dir.path())?;
    let mut appended = Vec::new();
    let mut created = Vec::new();
    let mut fields = Vec::new();
    let mut texts = Vec::new();
    let mut finished = Vec::new();
    for number in 0..ROUNDS {
        let input = ReportInput::from_json(&sample::report(number))?;
        // Between the acts, so that a busy disk is as busy for both.
        appended.push(timed(|| disk.append_and_sync())?.0);
        let (time, id) = timed(|| vault.create_report(&input).map(|report| report.id))?;
        created.push(time);
        let id = id.parse()?;
        let field = |value: &str| Edit::Field {
            name: "authority".to_owned(),
            value: Some(FieldValue::Text(value.to_owned())),
        };
        let longer = format!("{} They were released without charge.", input.narrative);
        fields.push(timed(|| vault.edit(id, &[field("riot police")]))?.0);
        texts.push(timed(|| vault.edit(id, &[Edit::Narrative(longer)]))?.0);
        vault.finish(id, true)?;
        finished.push(timed(|| vault.edit(id, &[field("police in plain clothes")]))?.0);
    }
    let floor = sample::median(&mut appended);

    println!("Saving a report durably (medians of {ROUNDS}, {ROUNDS} reports in the vault)");
    println!("| act | time | against one append + fdatasync |");
    println!("|---|---|---|");
    println!("| append 4 KiB + fdatasync | {} | 1.0 |", micros(floor));
    for (act, times) in [
        ("save a new draft", &mut created),
        ("change a field of a draft", &mut fields),
        ("add a sentence to the narrative of a draft", &mut texts),
        ("change a field of a finished report: document, sealed entry, depot", &mut finished),
    ] {
        let time = sample::median(times);
        println!("| {act} | {} | {:.1} |", micros(time), time.as_secs_f64() / floor.as_secs_f64());
    }
    Ok(())
}

fn timed<T, E>(act: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let value = act()?;
    Ok((start.elapsed(), value))
}

fn micros(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
