//! What a process has used, as the system tells.

use std::error::Error;
use std::fs;

/// A figure in KiB of a process's `status`, such as `VmRSS` or `VmHWM`.
pub fn memory_kib(pid: u32, name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such figure")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
