//! What these tests make: reports, films, sticks.

use std::path::Path;

use fieldbook_tests::Machine;

/// A finished report with a title.
pub fn finished(machine: &Machine, title: &str) -> String {
    finished_with(machine, &["--title", title])
}

/// A finished report of which nothing is looked at.
pub fn finished_plain(machine: &Machine) -> String {
    finished_with(machine, &[])
}

fn finished_with(machine: &Machine, more: &[&str]) -> String {
    let id = machine.write(&[&["--template", "detention", "--set", "date=2017-03-25"][..], more].concat());
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// A finished report with a film of so many bytes.
pub fn with_film(machine: &Machine, seed: u64, len: usize) -> String {
    let id = machine.write(&["--template", "detention", "--set", "date=2017-03-25"]);
    machine.ok(&["attach", &id, &machine.file("film.mp4", film(seed, len))]);
    machine.ok(&["finish", &id, "--incomplete"]);
    id
}

/// Bytes that no layer can make smaller.
pub fn film(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A stick: a directory that is on no machine.
pub fn stick() -> tempfile::TempDir {
    tempfile::Builder::new().prefix(fieldbook_tests::MACHINE).tempdir().expect("a directory")
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
