//! Measures Fieldbook against the floor of the same machine, in one run, and prints ratios.
//!
//! `cargo run --release -p fieldbook-bench -- all` reproduces the tables of `docs/performance.md`.

mod depot;
mod sample;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    let outcome = match what.as_str() {
        "depot" => depot::run(),
        "all" => all(),
        _ => {
            eprintln!("usage: fieldbook-bench [all | depot]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Box<dyn Error>> {
    depot::run()
}
