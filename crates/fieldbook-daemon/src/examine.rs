//! What stands between this device and others: each way to an address is tried by itself, as far as the
//! other side's first message, and nothing is exchanged or noted.

use std::path::Path;
use std::time::Duration;

use fieldbook_depot::{DepotKey, SqlDepot};
use fieldbook_net::channel::Way;
use fieldbook_proto::certificate::{CertificateError, Role};
use fieldbook_proto::session::{Engine, Event, Output, Peer, SessionError, Side};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::connection::{self, Link};
use crate::dial::{self, Caller, Reached, Road, Ways};
use crate::error::DaemonError;
use crate::identity::Identity;
use crate::relays;

/// How long the other side may take to answer the first message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the other side may take to hear that this was all.
const FAREWELL: Duration = Duration::from_secs(1);

/// How one way to an address ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The `HOST:PORT`.
    pub address: String,
    /// Which way; none when there was nothing to try it on.
    pub way: Option<Way>,
    /// How far it led.
    pub outcome: Outcome,
}

/// How far a way led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// To a device of the team.
    Met {
        /// Its role.
        role: Role,
        /// Its membership has run out by this device's clock.
        expired: bool,
    },
    /// The name was not found, or may not be looked up.
    NoName(String),
    /// To no handshake.
    NoConnection(String),
    /// The handshake worked, and then the other side said nothing and closed: it does not know this device as
    /// one of its team.
    TurnedAway,
    /// The handshake worked, and then nothing came for ten seconds.
    Silent,
    /// It is not of this team, or not of a time whose secrets this device still knows.
    OtherTeam,
    /// It speaks another version of the session.
    OtherVersion,
    /// It was removed from the team.
    Removed,
    /// Its certificate does not stand, or is not its own.
    NotCertified(String),
    /// Something else, in words.
    Broken(String),
}

/// Tries each way that may be taken to each address. Addresses are what the user gave or what was remembered.
///
/// # Errors
/// The depot cannot be used, or the device has no team.
pub fn examine(
    depot_path: &Path,
    depot_key: &DepotKey,
    addresses: &[String],
    ways: Ways,
    mut tell: impl FnMut(Examined),
) -> Result<(), DaemonError> {
    let depot = SqlDepot::open(depot_path, depot_key)?;
    let identity = Identity::load(&depot)?;
    let runtime = connection::runtime()?;
    runtime.block_on(async {
        for address in addresses {
            let examiner = Examiner { depot: &depot, identity: &identity, address };
            examiner.straight(ways, &mut tell).await;
            if let Ways::StraightThen(proxy) | Ways::Only(proxy) = ways {
                let road = Road::Through(proxy, dial::look(address).1.to_owned());
                tell(examiner.found(Some(Way::Socks), examiner.go(&road).await));
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

struct Examiner<'a> {
    depot: &'a SqlDepot,
    identity: &'a Identity,
    address: &'a str,
}

impl Examiner<'_> {
    fn found(&self, way: Option<Way>, outcome: Outcome) -> Examined {
        Examined { address: self.address.to_owned(), way, outcome }
    }

    async fn straight(&self, ways: Ways, tell: &mut impl FnMut(Examined)) {
        let (look, address) = dial::look(self.address);
        let targets = match dial::targets(address, ways).await {
            Ok(targets) => targets,
            Err(why) => return tell(self.found(None, Outcome::NoName(why))),
        };
        // As many as a sync tries, both ways of each at once: ten seconds for each that leads nowhere are enough.
        for target in targets {
            if !look.has_tcp() {
                let quic = self.go(&Road::Straight(target, look)).await;
                tell(self.found(Some(Way::Quic), quic));
                continue;
            }
            let (quic, tcp) = (Road::Straight(target, look), Road::StraightTcp(target, look));
            let (quic, tcp) = tokio::join!(self.go(&quic), self.go(&tcp));
            tell(self.found(Some(Way::Quic), quic));
            tell(self.found(Some(Way::Tcp), tcp));
        }
    }

    /// Down one road, and to a relay in earlier epochs, as a sync does.
    async fn go(&self, road: &Road) -> Outcome {
        let mut back = 0;
        let caller = Caller::new(self.identity, self.depot);
        loop {
            let reached = match road {
                Road::Straight(target, look) => dial::by_quic(*target, *look, &caller).await,
                Road::StraightTcp(target, look) => dial::by_tcp(*target, *look, &caller).await,
                Road::Through(proxy, address) => dial::through(*proxy, address, &caller).await,
            };
            let reached = match reached {
                Ok(reached) => reached,
                Err(why) => return Outcome::NoConnection(why),
            };
            let theirs = reached.link.peer_key();
            let outcome = self.greet(reached, back).await;
            let again = outcome == Outcome::TurnedAway
                && relays::speaks_earlier(back, self.identity, self.depot, &theirs);
            if !again {
                return outcome;
            }
            back += 1;
        }
    }

    async fn greet(&self, Reached { link, endpoint }: Reached, back: usize) -> Outcome {
        let outcome = match timeout(PATIENCE, self.hello(link, back)).await {
            Ok(Ok(peer)) => Outcome::Met { role: peer.device.body().role, expired: peer.device.expired() },
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::Silent,
        };
        dial::let_go(endpoint).await;
        outcome
    }

    async fn hello(&self, link: Link, back: usize) -> Result<Peer, Outcome> {
        let identity = self.identity.in_epoch(back);
        let setup = connection::setup(self.depot, &identity, Side::Client, link.channel);
        let setup = setup.map_err(|error| Outcome::Broken(error.to_string()))?;
        let engine = Engine::new(setup).map_err(outcome)?;
        match link.carrier {
            connection::Carrier::Quic(connection) => {
                let streams = connection.open_bi().await;
                let (writer, reader) = streams.map_err(|error| Outcome::Broken(error.to_string()))?;
                let met = exchange(engine, reader, writer).await;
                connection.close(0_u32.into(), b"");
                met
            }
            connection::Carrier::Stream(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                exchange(engine, reader, writer).await
            }
        }
    }
}

/// Says hello, and hears the other side's.
async fn exchange(
    mut engine: Engine,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<Peer, Outcome> {
    let mut buffer = vec![0; 4096];
    loop {
        while let Some(output) = engine.poll(true).map_err(outcome)? {
            match output {
                Output::Send(piece) => {
                    let written = async {
                        writer.write_all(&piece).await?;
                        writer.flush().await
                    };
                    written.await.map_err(|_| Outcome::TurnedAway)?;
                }
                Output::Event(Event::Met(peer)) => {
                    farewell(&mut reader, &mut writer).await;
                    return Ok(*peer);
                }
                // What follows from the hello is not done here.
                _ => {}
            }
        }
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return Err(Outcome::TurnedAway),
            Ok(len) => engine.receive(&buffer[..len]),
        }
    }
}

/// Closes in order, so that the other side does not take it for a connection that broke.
async fn farewell(reader: &mut (impl AsyncRead + Unpin), writer: &mut (impl AsyncWrite + Unpin)) {
    let heard = async {
        let _ = writer.shutdown().await;
        let mut rest = [0; 4096];
        while reader.read(&mut rest).await.is_ok_and(|len| len > 0) {}
    };
    let _ = timeout(FAREWELL, heard).await;
}

fn outcome(error: SessionError) -> Outcome {
    match error {
        SessionError::NotOfTheTeam | SessionError::Certificate(CertificateError::WrongTeam) => {
            Outcome::OtherTeam
        }
        SessionError::Version { .. } => Outcome::OtherVersion,
        SessionError::Certificate(CertificateError::Revoked) => Outcome::Removed,
        SessionError::Certificate(_) | SessionError::WrongTransportKey => {
            Outcome::NotCertified(error.to_string())
        }
        SessionError::Cut => Outcome::TurnedAway,
        error => Outcome::Broken(error.to_string()),
    }
}
