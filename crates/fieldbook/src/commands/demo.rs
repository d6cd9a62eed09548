//! `fieldbook demo`

use std::path::PathBuf;

use clap::Args;

use crate::demo;
use crate::error::Failure;
use crate::global::Global;

/// Play the whole story in a temporary place, between two real devices.
///
/// Two vaults, a team, 23 real reports, work without a network, a sync over QUIC on this machine,
/// two people changing one report at the same time, and a publication in HTML that stays for you to
/// open. Every command that runs is shown, so that you can type it yourself.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to put the publication [default: a new directory among your temporary files]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the two vaults too, and say where they are
    #[arg(long)]
    keep: bool,
}

pub fn run(args: DemoArgs, global: &Global) -> Result<(), Failure> {
    demo::play(args.out, args.keep, &global.ui)
}
