//! The memory of a process that runs, as whoever seizes the machine switched on would image it.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};

use crate::traces::{Canary, Trace};

/// Parts of an address space that are read at once, in bytes.
const PART: u64 = 16 << 20;
/// A canary that lies over the border of two parts is found too.
const OVERLAP: usize = 4096;

/// Looks for the canaries in all of a process's memory. Processes that let nobody look into them are read by root alone.
///
/// # Panics
/// The system does not let its memory be read, or there is none.
pub fn search(pid: u32, canaries: &[Canary]) -> Vec<Trace> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the map of a process: be root");
    let mut memory = File::open(format!("/proc/{pid}/mem")).expect("the memory of a process: be root");
    let mut found = Vec::new();
    let mut looked_at = 0;
    for line in maps.lines().filter(|line| !line.ends_with("[vvar]") && !line.ends_with("[vsyscall]")) {
        let mut parts = line.split_whitespace();
        let range = parts.next().and_then(|range| range.split_once('-')).expect("a range");
        let rights = parts.next().unwrap_or_default();
        // What is mapped from a file and cannot be written is the program itself.
        if !rights.starts_with('r') || !rights.contains('w') && line.contains('/') {
            continue;
        }
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (number(range.0), number(range.1));
        let mut bytes = Vec::new();
        while at < end {
            let kept = bytes.len().min(OVERLAP);
            bytes.drain(..bytes.len() - kept);
            let len = PART.min(end - at);
            let before = bytes.len();
            let read = memory
                .seek(SeekFrom::Start(at))
                .and_then(|_| memory.by_ref().take(len).read_to_end(&mut bytes));
            if read.is_err() {
                break;
            }
            looked_at += bytes.len() - before;
            for canary in canaries {
                if let Some((offset, form)) = canary.find(&bytes) {
                    let file = format!("process {pid}, {line}").into();
                    found.push(Trace { file, offset, word: canary.name().to_owned(), form });
                }
            }
            at += len;
        }
    }
    assert!(looked_at > 1 << 20, "process {pid} has memory: {looked_at} bytes");
    found
}
