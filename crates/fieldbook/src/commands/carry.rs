//! `fieldbook carry`

use clap::{Args, Subcommand};
use fieldbook_daemon::Carry;
use fieldbook_depot::{Depot as _, SqlDepot};
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{Network, Request};
use crate::error::Failure;
use crate::global::Global;
use crate::network::job;
use crate::ui::size;

/// Say, or change, what this device carries for others.
///
/// A device passes on what others wrote and cannot read it: so it is judged by size alone. --reports-only leaves
/// out every entry of more than 64 KiB; attachments are, and so is a report with a very long text. What this device
/// wrote itself is never left out. What is left out stays where it is and is offered again at the next sync, or
/// when the stick is read again. Whatever is said here, the last 64 MiB of the disk are not filled by others.
/// With --total the last tenth is kept for small entries; what is for this device itself cannot be told apart from
/// what it carries, so do not choose it too small.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CarryArgs {
    /// Carry everything again
    #[arg(long, conflicts_with_all = ["reports_only", "max_entry", "total", "per_device"])]
    everything: bool,
    /// No attachments
    #[arg(long)]
    reports_only: bool,
    /// The largest entry: a number of bytes, or of K, M or G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_entry: Option<u64>,
    /// How much in all: a number of bytes, or of K, M or G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    total: Option<u64>,
    /// How much of what one other device brings, and of what all sticks together bring: as --total
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    per_device: Option<u64>,
    #[command(subcommand)]
    command: Option<CarryCommand>,
}

#[derive(Debug, Subcommand)]
enum CarryCommand {
    /// Say what it carries now
    Show,
}

pub fn run(args: CarryArgs, global: &Global) -> Result<(), Failure> {
    let network: Network = Agent::open(global)?.call(&Request::Network)?;
    let depot = SqlDepot::open(&network.depot, &job::depot_key(&network)?)
        .map_err(fieldbook_daemon::DaemonError::from)?;
    let before = Carry::of(&depot)?;
    let changes = args.everything
        || args.reports_only
        || args.max_entry.is_some()
        || args.total.is_some()
        || args.per_device.is_some();
    let carry = if args.everything {
        Carry::default()
    } else {
        Carry {
            total: args.total.or(before.total),
            largest: args
                .max_entry
                .map_or(before.largest, |size| Some(u32::try_from(size).unwrap_or(u32::MAX))),
            reports_only: args.reports_only || before.reports_only,
            per_device: args.per_device.or(before.per_device),
        }
    };
    if changes {
        carry.set(&depot)?;
    }
    let held = depot.stats().map_err(fieldbook_daemon::DaemonError::from)?.held_bytes;
    global.ui.emit(json!({
        "event": "carry",
        "everything": carry.is_everything(),
        "reports_only": carry.reports_only,
        "max_entry": carry.largest,
        "total": carry.total,
        "per_device": carry.per_device,
        "held_bytes": held,
    }))?;
    global.ui.say(words(&carry, held))
}

fn words(carry: &Carry, held: u64) -> String {
    let mut limits = Vec::new();
    if carry.reports_only {
        limits.push("reports and no attachments (nothing of more than 64 KiB)".to_owned());
    }
    if let Some(largest) = carry.largest {
        limits.push(format!("no entry of more than {}", size(u64::from(largest))));
    }
    if let Some(total) = carry.total {
        limits.push(format!("{} in all", size(total)));
    }
    if let Some(share) = carry.per_device {
        limits.push(format!("{} of one other device, and of all sticks together", size(share)));
    }
    let what = if limits.is_empty() { "everything".to_owned() } else { limits.join("; ") };
    format!("This device carries {what}. It holds {}, with its own.", size(held))
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("give a number of bytes, or of K, M or G, for example 500M".to_owned()),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|number| *number > 0).ok_or_else(|| "give a number, for example 500M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_perhaps_a_unit() {
        assert_eq!((bytes("4096"), bytes("64k"), bytes("2G")), (Ok(4_096), Ok(65_536), Ok(2 << 30)));
        for bad in ["", "M", "0", "-1", "1.5M", "5T", "1é", "99999999999999999999G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_policy_is_said_in_words() {
        assert_eq!(
            words(&Carry::default(), 0),
            "This device carries everything. It holds 0 B, with its own."
        );
        let carry = Carry { total: Some(1 << 30), reports_only: true, ..Carry::default() };
        let said = words(&carry, 2_048);
        assert!(said.contains("no attachments") && said.contains("1.0 GiB in all"), "{said}");
    }
}
