//! What a network process is given on its standard input, and what it says on its standard output.

use std::io::Read;
use std::num::NonZeroU64;
use std::path::PathBuf;

use fieldbook_depot::DepotKey;
use serde::{Deserialize, Serialize};

use crate::agent::protocol::Network;
use crate::agent::wire;
use crate::error::Failure;

/// The one frame on the standard input (see `agent/wire.rs`). The arguments say nothing of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The depot and its key.
    pub network: Network,
    /// What to do.
    pub task: Task,
}

/// What a network process does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Listen until stopped.
    Listen {
        /// Where, host:port, if anywhere; port 0 is any free one.
        address: Option<String>,
        /// Whom to dial and stay with, host:port each.
        #[serde(default)]
        with: Vec<String>,
        /// Also whom this device reached before.
        #[serde(default)]
        known: bool,
        /// A proxy to dial through, as `socks5://ADDRESS:PORT`.
        #[serde(default)]
        proxy: Option<String>,
        /// Nothing but the proxy may be used.
        #[serde(default)]
        only_proxy: bool,
        /// At most so many bytes a second.
        #[serde(default)]
        limit: Option<NonZeroU64>,
        /// By UDP.
        udp: bool,
        /// By TCP.
        tcp: bool,
        /// By plain QUIC and TLS, too.
        #[serde(default)]
        unveiled: bool,
        /// Find devices of the team in the networks around this one.
        #[serde(default)]
        lan: bool,
        /// Nobody else is to find this one.
        #[serde(default)]
        only_found: bool,
        /// The control socket.
        control: PathBuf,
        /// The bucket that is served instead of the vault's depot.
        #[cfg(feature = "bucket")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bucket: Option<super::bucket::Bucket>,
    },
    /// Be a relay until stopped, by the policy in the depot.
    RelayListen {
        /// Where, host:port, if not where the policy says.
        listen: Option<String>,
        /// By plain QUIC and TLS, too.
        #[serde(default)]
        unveiled: bool,
        /// Not by TCP.
        #[serde(default)]
        no_tcp: bool,
        /// The control socket.
        control: PathBuf,
        /// The bucket that is served this time, if it is not the one that was remembered.
        #[cfg(feature = "bucket")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bucket: Option<super::bucket::Bucket>,
    },
    /// Answer a relay's operator.
    Relay(super::relay::Ask),
    /// Sync once with the first address that answers.
    Sync {
        /// In the order in which they are tried.
        addresses: Vec<String>,
        /// A proxy, as `socks5://ADDRESS:PORT`.
        proxy: Option<String>,
        /// Nothing but the proxy may be used.
        only_proxy: bool,
        /// At most so many bytes a second.
        #[serde(default)]
        limit: Option<NonZeroU64>,
    },
    /// Only look where the ways to these addresses lead.
    Examine {
        /// Which.
        addresses: Vec<String>,
        /// As in [`Task::Sync`].
        proxy: Option<String>,
        /// As in [`Task::Sync`].
        only_proxy: bool,
    },
    /// Sync once over two descriptors, which follow the job (see `handover.rs`).
    Pipe {
        /// This is the side that answers.
        serve: bool,
        /// At most so many bytes a second.
        #[serde(default)]
        limit: Option<NonZeroU64>,
    },
    /// Write what the depot holds into files.
    WriteBundle(super::bundle::Write),
    /// Read files, and the files in directories, into the depot.
    ReadBundles {
        /// Which.
        paths: Vec<PathBuf>,
    },
}

/// A way that was tried and led nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// `quic`, `tcp`, `socks` or `stdio`; none when the name was not found.
    pub path: Option<String>,
    /// Why, in words.
    pub why: String,
}

/// What a courier says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Said {
    /// An address is tried now.
    Trying {
        /// Which.
        address: String,
    },
    /// A device of the team answered.
    Connected {
        /// Where.
        address: String,
        /// Its id; empty if this device keeps none of it.
        device: String,
        /// Its role; empty then, too.
        role: String,
        /// The way that led there.
        path: String,
        /// The ways that had not.
        tried: Vec<Attempt>,
    },
    /// One address did not answer, or is not of the team.
    Failed {
        /// Where.
        address: String,
        /// Why, in words.
        why: String,
        /// Whether somebody answered.
        answered: bool,
        /// The ways that were tried.
        tried: Vec<Attempt>,
    },
    /// To the other device, this device's membership has run out.
    RanOut {
        /// Last second of it, in seconds since 1970.
        not_after: u64,
    },
    /// The other device's membership has run out.
    PeerRanOut {
        /// Last second of it, in seconds since 1970.
        not_after: u64,
    },
    /// How far it is.
    Progress {
        /// To the other side.
        sent: Moved,
        /// From there.
        received: Moved,
    },
    /// The check found a difference: it is found out what is missing where.
    Repairing,
    /// This device itself failed, not the other or the network.
    Broke(Failure),
    /// The sync is complete.
    Synced(Traffic),
}

/// What was moved in one direction: see [`fieldbook_daemon::Moved`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Entries that are durable where they were to go.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those, and all that are known to go.
    pub of_entries: u64,
    /// Their bytes.
    pub of_bytes: u64,
    /// Nothing else is known that may follow.
    pub exact: bool,
}

impl From<fieldbook_daemon::Moved> for Moved {
    fn from(moved: fieldbook_daemon::Moved) -> Self {
        let fieldbook_daemon::Moved { entries, bytes, of_entries, of_bytes, exact } = moved;
        Self { entries, bytes, of_entries, of_bytes, exact }
    }
}

/// How many entries, or bytes of them, were declined, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// No room.
    pub full: u64,
    /// No room for more of one device.
    pub share: u64,
    /// Too large to be carried.
    pub size: u64,
    /// Something else.
    pub other: u64,
}

impl From<fieldbook_daemon::Declined> for Declined {
    fn from(declined: fieldbook_daemon::Declined) -> Self {
        let fieldbook_daemon::Declined { full, share, size, other } = declined;
        Self { full, share, size, other }
    }
}

/// What went over the line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Entries sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Entries received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Entries that were damaged and not taken.
    pub refused: u64,
    /// Entries that the other side did not take.
    pub refused_by_peer: u64,
    /// Entries that the other side had offered, and could not give.
    #[serde(default)]
    pub gone_at_peer: u64,
    /// Good entries that the other side does not take now, by the reason.
    #[serde(default)]
    pub declined_by_peer: Declined,
    /// Their bytes.
    #[serde(default)]
    pub declined_by_peer_bytes: Declined,
    /// Good entries that this device does not take now.
    #[serde(default)]
    pub declined: Declined,
    /// How often this side waited for an answer.
    pub round_trips: u64,
    /// Bytes that this side sent for nothing but to hide how much it sent.
    #[serde(default)]
    pub padding: u64,
    /// Whether both sides knew the same at the end, and nothing that one had offered was missing.
    pub in_step: bool,
    /// At the end the two still differed, or nobody could tell, and not only in what one does not take now.
    #[serde(default)]
    pub differs: bool,
    /// What this device did not take for want of room, its disk has no room for.
    #[serde(default)]
    pub disk_full: bool,
}

/// Reads the job.
///
/// # Errors
/// It is not there, or not understood.
pub fn read(from: &mut impl Read) -> Result<Job, Failure> {
    wire::read(from)
        .map_err(Failure::io("the job is not understood"))?
        .ok_or_else(|| Failure::failed("internal", "the job is not there"))
}

/// The depot's key.
///
/// # Errors
/// It has another length.
pub fn depot_key(network: &Network) -> Result<DepotKey, Failure> {
    let bytes = network.key.0.as_slice().try_into();
    bytes.map(DepotKey::new).map_err(|_| Failure::failed("internal", "the depot's key has another length"))
}
