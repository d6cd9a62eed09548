//! Pairings in the agent: the state machines of `fieldbook_proto::pairing` beside the vault. The
//! messages travel through the client and a process of their own, because an agent has no network.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_proto::pairing::{
    self, Code, CodeError, Event, InvitationEnd, Inviter, JoinRequest, Joiner, PairingError, Refusal,
    WRONG_GUESSES_MAX,
};
use fieldbook_vault::{RemovalSummary, Vault, VaultError};

use super::copies::is_copy;
use super::protocol::{INVITATION_MAX_S, Invitation, Newcomer, Over, Paired, PairingStep};
use super::server::Connection;
use super::wire::Hex;
use crate::error::{Failure, Kind};

/// The pairings that go on, one a connection at most.
#[derive(Default)]
pub struct Pairings(HashMap<Connection, Side>);

enum Side {
    Inviting {
        invitation: Box<pairing::Invitation>,
        new_desk: bool,
        inviter: Option<Inviter>,
        asks: Option<Box<JoinRequest>>,
        replaces: Option<DeviceId>,
        replaced: Option<Box<RemovalSummary>>,
    },
    Joining {
        joiner: Joiner,
        /// The vault becomes a new device before it tells its keys.
        new_device: bool,
    },
}

/// An invitation to be.
pub struct Wanted {
    pub role: String,
    pub addresses: Vec<String>,
    pub expires_s: u64,
    /// A long code, in place of words.
    pub long: bool,
    /// A coordinator of a new desk.
    pub new_desk: bool,
    /// The member whose place the newcomer takes.
    pub replaces: Option<String>,
}

impl Pairings {
    /// Opens an invitation.
    pub fn invite(
        &mut self,
        connection: Connection,
        vault: &Vault,
        wanted: Wanted,
    ) -> Result<Invitation, Failure> {
        let Wanted { role, addresses, expires_s, long, new_desk, replaces } = wanted;
        let role = match role.as_str() {
            "monitor" => Role::Monitor,
            "coordinator" => Role::Coordinator,
            "relay" => Role::Relay,
            _ => return Err(Failure::usage("role", "a role is monitor, coordinator or relay")),
        };
        if new_desk && role != Role::Coordinator {
            return Err(Failure::usage("new-desk", "a new desk begins with its coordinator"));
        }
        let device = vault.device();
        if device.team.is_none() {
            return Err(VaultError::NoTeam.into());
        }
        if device.role.as_deref() != Some(Role::Coordinator.word()) {
            return Err(VaultError::NotCoordinator.into());
        }
        if expires_s > INVITATION_MAX_S {
            return Err(Failure::usage("expires-late", "a code is good for 14 days at most"));
        }
        let replaces = replaces.map(|typed| vault.find_device(&typed)).transpose()?;
        if replaces.is_some_and(|old| old.to_string() == device.id) {
            return Err(Failure::usage(
                "replaces-itself",
                "a device cannot be replaced by its own invitation",
            ));
        }
        let expires = now_s() + expires_s;
        let code = if long { Code::long(random()?, addresses) } else { Code::new(random()?, addresses) };
        let code = code.map_err(bad_code)?;
        let text = code.to_string();
        let invitation = Box::new(pairing::Invitation::new(code, role, expires));
        self.0.insert(
            connection,
            Side::Inviting { invitation, new_desk, inviter: None, asks: None, replaces, replaced: None },
        );
        Ok(Invitation { code: text, expires_ms: i64::try_from(expires * 1000).unwrap_or(i64::MAX) })
    }

    /// A device connected.
    pub fn connected(&mut self, connection: Connection) -> Result<(), Failure> {
        match self.0.get_mut(&connection) {
            Some(Side::Inviting { invitation, inviter, asks, .. }) => {
                *asks = None;
                *inviter = Some(Inviter::start(invitation, &random()?, now_s()).map_err(failed)?);
                Ok(())
            }
            _ => Err(out_of_order()),
        }
    }

    /// Begins to join.
    pub fn join(
        &mut self,
        connection: Connection,
        vault: &Vault,
        code: &str,
        new_device: bool,
    ) -> Result<PairingStep, Failure> {
        let new_device = new_device || is_copy(vault)?;
        if vault.device().team.is_some() && !new_device {
            return Err(VaultError::AlreadyInTeam.into());
        }
        let code: Code = code.parse().map_err(bad_code)?;
        let (joiner, hello) = Joiner::start(&code, &random()?);
        self.0.insert(connection, Side::Joining { joiner, new_device });
        Ok(PairingStep { send: vec![Hex::new(hello)], ..PairingStep::default() })
    }

    /// A message arrived.
    pub fn received(
        &mut self,
        connection: Connection,
        vault: &mut Vault,
        message: &[u8],
    ) -> Result<PairingStep, Failure> {
        let side = self.0.get_mut(&connection).ok_or_else(out_of_order)?;
        let events = match side {
            Side::Inviting { invitation, inviter: Some(inviter), .. } => {
                inviter.on_message(message, invitation, now_s())
            }
            Side::Inviting { inviter: None, .. } => return Err(out_of_order()),
            Side::Joining { joiner, .. } => joiner.on_message(message),
        };
        side.carry_out(vault, events)
    }

    /// The person said yes.
    pub fn approved(
        &mut self,
        connection: Connection,
        vault: &mut Vault,
        addresses: Vec<String>,
    ) -> Result<PairingStep, Failure> {
        let side = self.0.get_mut(&connection).ok_or_else(out_of_order)?;
        let events = match side {
            Side::Inviting {
                invitation,
                new_desk,
                inviter: Some(inviter),
                asks: Some(request),
                replaces,
                replaced,
            } => {
                let mut admission = match replaces {
                    None if *new_desk => vault.admit_to_new_desk(request)?,
                    None => vault.admit(request, invitation.role())?,
                    Some(old) => {
                        let (admission, removed) =
                            vault.admit_in_place_of(request, invitation.role(), *old)?;
                        *replaced = removed.map(Box::new);
                        admission
                    }
                };
                admission.addresses = addresses;
                inviter.approve(&admission)
            }
            Side::Inviting { .. } => return Err(out_of_order()),
            Side::Joining { joiner, new_device } => {
                if std::mem::take(new_device) {
                    vault.become_new_device()?;
                }
                joiner.approve(&vault.join_request())
            }
        };
        side.carry_out(vault, events)
    }

    /// The person said no.
    pub fn rejected(&mut self, connection: Connection) -> Result<PairingStep, Failure> {
        let farewell = match self.0.remove(&connection).ok_or_else(out_of_order)? {
            Side::Inviting { inviter, .. } => inviter.map(|mut inviter| inviter.reject()),
            Side::Joining { mut joiner, .. } => Some(joiner.reject()),
        };
        Ok(PairingStep { send: farewell.into_iter().map(Hex::new).collect(), ..PairingStep::default() })
    }

    /// The client went away, and with it its pairing.
    pub fn gone(&mut self, connection: Connection) {
        self.0.remove(&connection);
    }
}

impl Side {
    fn carry_out(
        &mut self,
        vault: &mut Vault,
        events: Result<Vec<Event>, PairingError>,
    ) -> Result<PairingStep, Failure> {
        let mut step = PairingStep::default();
        let events = match events {
            Ok(events) => events,
            Err(error) => {
                step.send.extend(error.farewell().map(Hex::new));
                step.over = Some(Over { still_open: self.still_open(), why: self.why(error) });
                return Ok(step);
            }
        };
        let mut waiting: std::collections::VecDeque<Event> = events.into();
        while let Some(event) = waiting.pop_front() {
            match (event, &mut *self) {
                (Event::Send(message), _) => step.send.push(Hex::new(message)),
                (Event::CheckWords(words), _) => step.words = Some(words.join(" ")),
                (Event::Request(request), Self::Inviting { invitation, asks, replaces, .. }) => {
                    let mut asking = newcomer(&request, invitation.role());
                    let alike = vault.resemblance(&request)?;
                    asking.same_name = alike.same_name.map(|id| id.to_string());
                    asking.was = alike.was.map(|id| id.to_string());
                    asking.replaces = replaces.map(|old| old.to_string());
                    step.asks = Some(asking);
                    *asks = Some(Box::new(request));
                }
                (Event::Admission(admission), Self::Joining { joiner, .. }) => {
                    // Stored durably before the other side is told so.
                    vault.adopt(&admission)?;
                    waiting.extend(joiner.adopted().map_err(failed)?);
                }
                (Event::Done, _) => step.done = Some(self.paired(vault)),
                (Event::Request(_) | Event::Admission(_), _) => return Err(out_of_order()),
            }
        }
        Ok(step)
    }

    /// What the person is told: of a wrong guess, also how many are left.
    fn why(&self, error: PairingError) -> Failure {
        let Self::Inviting { invitation, .. } = self else { return failed(error) };
        if error != PairingError::WrongCode {
            return failed(error);
        }
        match invitation.check(now_s()) {
            Err(InvitationEnd::TooManyGuesses) => failed(PairingError::Closed(InvitationEnd::TooManyGuesses)),
            _ => Failure::failed(
                "wrong-code",
                format!(
                    "somebody tried a wrong code ({} of {WRONG_GUESSES_MAX} times; then the code is dead)",
                    invitation.wrong_guesses()
                ),
            ),
        }
    }

    /// Whether another connection may still use the code.
    fn still_open(&self) -> bool {
        matches!(self, Self::Inviting { invitation, .. } if invitation.check(now_s()).is_ok())
    }

    fn paired(&self, vault: &Vault) -> Paired {
        let me = vault.device();
        let team = me.team.map(|team| team.name).unwrap_or_default();
        match self {
            Self::Inviting { invitation, asks: Some(request), replaced, .. } => {
                let Newcomer { device, name, role, .. } = newcomer(request, invitation.role());
                Paired { device, name, role, team, replaced: replaced.as_deref().cloned() }
            }
            _ => {
                let role = me.role.unwrap_or_default();
                Paired { device: me.id, name: me.name, role, team, replaced: None }
            }
        }
    }
}

fn newcomer(request: &JoinRequest, role: Role) -> Newcomer {
    Newcomer {
        device: request.keys.device_id().to_string(),
        name: request.name.clone(),
        role: role.word().to_owned(),
        replaces: None,
        same_name: None,
        was: None,
    }
}

fn failed(error: PairingError) -> Failure {
    let message = error.to_string();
    match error {
        PairingError::WrongCode | PairingError::Refused(Refusal::WrongCode) => {
            Failure::failed("wrong-code", message)
                .hint("read the code again, letter by letter; three wrong ones end it")
        }
        PairingError::Closed(InvitationEnd::Expired) => {
            Failure::failed("invitation-expired", message).hint("invite again, with a longer --expires if need be")
        }
        PairingError::Closed(InvitationEnd::TooManyGuesses) => Failure::failed("invitation-dead", message)
            .hint("it was a slip, or somebody guesses: invite again, and give the new code over a channel you trust"),
        PairingError::Closed(_) | PairingError::Refused(Refusal::NotWaiting) => {
            Failure::failed("invitation-over", message).hint("ask for a new invitation")
        }
        PairingError::Refused(Refusal::Declined) => Failure::failed("declined", message).hint(
            "ask the other person why, over a channel on which you know each other: if your check words differed somebody \
             stands between you, and a new code has to go another way",
        ),
        PairingError::Version { .. } | PairingError::Refused(Refusal::Version) => {
            Failure::new(Kind::Version, "pairing-version", message)
                .hint("bring both devices to the same version")
        }
        PairingError::Altered => Failure::new(Kind::Damaged, "pairing-altered", message),
        _ => Failure::failed("pairing", message),
    }
}

fn bad_code(error: CodeError) -> Failure {
    Failure::usage("bad-code", error.to_string())
}

fn out_of_order() -> Failure {
    Failure::failed("pairing", "a pairing step came out of order")
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| VaultError::Randomness)?;
    Ok(bytes)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
