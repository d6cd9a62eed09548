//! What a courier tells when it only looks where the ways lead.

use fieldbook_daemon::{Examined, Outcome, Ways, examine};
use serde::{Deserialize, Serialize};

use super::courier::say;
use super::job;
use crate::agent::protocol::Network;
use crate::error::Failure;

/// How one way to an address ended, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The `HOST:PORT`.
    pub address: String,
    /// `quic`, `tcp` or `socks`; none when there was nothing to try it on.
    pub path: Option<String>,
    /// How far it led.
    pub outcome: Word,
    /// More of it, in words, where the word does not say all.
    pub why: Option<String>,
    /// The role of the device that answered, if it is of the team.
    pub role: Option<String>,
    /// Its membership has run out by this device's clock.
    pub expired: bool,
}

/// How far a way led, in a word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// A device of the team answered.
    Met,
    /// The name is not known.
    NoName,
    /// Nobody listens, or nothing came back.
    NoConnection,
    /// It closed without a word.
    TurnedAway,
    /// It said nothing.
    Silent,
    /// It is of another team.
    OtherTeam,
    /// It speaks another version.
    OtherVersion,
    /// It was removed from the team.
    Removed,
    /// Its certificate does not stand.
    NotCertified,
    /// Something else.
    Broken,
}

/// Looks, and tells.
///
/// # Errors
/// The depot cannot be used.
pub fn run(network: &Network, addresses: &[String], ways: Ways) -> Result<(), Failure> {
    let key = job::depot_key(network)?;
    Ok(examine(&network.depot, &key, addresses, ways, |examined| {
        // A parent that is gone ends this process by itself.
        let _ = say(&said(examined));
    })?)
}

fn said(Examined { address, way, outcome }: Examined) -> Said {
    let (mut role, mut expired) = (None, false);
    let (outcome, why) = match outcome {
        Outcome::Met { role: met, expired: ran_out } => {
            (role, expired) = (Some(met.word().to_owned()), ran_out);
            (Word::Met, None)
        }
        Outcome::NoName(why) => (Word::NoName, Some(why)),
        Outcome::NoConnection(why) => (Word::NoConnection, Some(why)),
        Outcome::TurnedAway => (Word::TurnedAway, None),
        Outcome::Silent => (Word::Silent, None),
        Outcome::OtherTeam => (Word::OtherTeam, None),
        Outcome::OtherVersion => (Word::OtherVersion, None),
        Outcome::Removed => (Word::Removed, None),
        Outcome::NotCertified(why) => (Word::NotCertified, Some(why)),
        Outcome::Broken(why) => (Word::Broken, Some(why)),
    };
    Said { address, path: way.map(|way| way.word().to_owned()), outcome, why, role, expired }
}
