//! Measures Fieldbook against the floor of the same machine, in one run, and prints ratios.
//!
//! `scripts/bench` builds the program and this bench and reproduces the tables of `docs/performance.md`.

mod attachment;
mod bundle;
mod carriers;
mod crowd;
mod depot;
mod devices;
mod floor;
mod lan;
mod links;
mod padding;
mod process;
mod raid;
mod sample;
mod save;
mod sets;
mod share;
mod sync;
mod syncthing;
mod veil;
mod veil_stream;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: fieldbook-bench [all | attachment | bundle | carriers | crowd [NUMBER] | depot | lan | links | padding [NUMBER] | raid [NUMBER] | save | sets [NUMBER] | share [NUMBER] | sync [NUMBER] | veil]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] | ["all"] => all(),
        ["attachment"] => attachment::run(),
        ["bundle"] => bundle::run(),
        ["crowd"] => crowd::run(crowd::ENTRIES),
        // What `crowd` starts as its relay.
        ["crowd-in", dir] => crowd::run_in(Path::new(dir)),
        ["crowd", number] => match number.parse() {
            Ok(number) => crowd::run(number),
            Err(_) => return usage(),
        },
        ["carriers"] => carriers::run(),
        ["depot"] => depot::run(),
        ["lan"] => lan::run(),
        ["links"] => links::run(),
        ["padding"] => padding::run(padding::SESSIONS),
        ["padding", number] => match number.parse() {
            Ok(number @ raid::FEWEST..) => padding::run(number),
            _ => return usage(),
        },
        ["raid"] => raid::run(),
        ["raid", number] => match number.parse() {
            Ok(number @ raid::FEWEST..) => raid::open(number),
            _ => return usage(),
        },
        ["save"] => save::run(),
        ["sets"] => sets::run(&sets::SIZES),
        // What `sets` starts once it has made its depots.
        ["sets-in", dir] => sets::run_in(Path::new(dir)),
        ["sets", number] => match number.parse() {
            Ok(number) => sets::run(&[number]),
            Err(_) => return usage(),
        },
        ["share"] => share::run(share::REPORTS),
        ["share", number] => match number.parse() {
            Ok(number) => share::run(number),
            Err(_) => return usage(),
        },
        ["sync"] => sync::run(sync::REPORTS),
        ["sync", number] => match number.parse() {
            Ok(number) => sync::run(number),
            Err(_) => return usage(),
        },
        ["veil"] => veil::run(),
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn all() -> Result<(), Box<dyn Error>> {
    save::run()?;
    println!();
    sync::run(sync::REPORTS)?;
    println!();
    share::run(share::REPORTS)?;
    println!();
    attachment::run()?;
    println!();
    bundle::run()?;
    println!();
    carriers::run()?;
    println!();
    links::run()?;
    println!();
    depot::run()?;
    println!();
    sets::run(&sets::SIZES)?;
    println!();
    crowd::run(crowd::ENTRIES)?;
    println!();
    veil::run()?;
    println!();
    padding::run(padding::SESSIONS)?;
    println!();
    raid::run()
}
