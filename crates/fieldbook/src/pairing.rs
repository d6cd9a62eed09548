//! Pairing, seen from the client: it stands between the agent, which has the keys, and a network
//! process, which has the connection, and asks its person to compare the words.

use std::io::BufReader;
use std::process::{Child, ChildStdin, ChildStdout};

use fieldbook_proto::pairing::Code;
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{Newcomer, Paired, PairingStep, Request};
use crate::agent::wire::{self, Hex};
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::interrupt;
use crate::network::pair::{Job, Order, Report};
use crate::network::working::Started;
use crate::sanitise::line;

/// A network process for one pairing.
pub struct Line {
    child: Child,
    from: BufReader<ChildStdout>,
    to: Option<ChildStdin>,
    _guard: interrupt::Child,
}

impl Line {
    /// Starts a process that waits for a device at all of `addresses`, and tells where it can be reached. If it is `veiled`,
    /// it takes nobody in before [`Line::veil`].
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn listen(
        addresses: &[String],
        patience_s: u64,
        veiled: bool,
    ) -> Result<(Self, Vec<String>), Failure> {
        let mut line = Self::start(&Job::Listen { addresses: addresses.to_vec(), patience_s, veiled })?;
        match line.next()? {
            Some(Report::Listening(reachable)) => Ok((line, reachable)),
            Some(Report::Unreachable(why)) => {
                Err(Failure::failed("cannot-listen", format!("nothing can listen on {}", self::line(&why)))
                    .hint("give another address with --listen HOST:PORT"))
            }
            _ => Err(lost()),
        }
    }

    /// Gives the process the key of the veil that the code has.
    ///
    /// # Errors
    /// It is gone.
    pub fn veil(&mut self, code: &Code) -> Result<(), Failure> {
        code.veil_key().map_or(Ok(()), |key| self.order(&Order::Veil(Hex::new(key.to_vec()))))
    }

    /// Starts a process that connects to an address, behind the veil that the code has.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn dial(address: &str, code: &Code) -> Result<Self, Failure> {
        let veil = code.veil_key().map(|key| Hex::new(key.to_vec()));
        let mut line = Self::start(&Job::Dial { address: address.to_owned(), veil })?;
        match line.next()? {
            Some(Report::Connected) => Ok(line),
            Some(Report::Unreachable(why)) => Err(Failure::new(
                Kind::Unreachable,
                "unreachable",
                format!("the inviting device cannot be reached ({})", self::line(&why)),
            )
            .hint("is `team invite` still waiting there? Another address can be given with --at HOST:PORT")),
            _ => Err(lost()),
        }
    }

    fn start(job: &Job) -> Result<Self, Failure> {
        let doing = "the process for the network cannot be started";
        let Started { child, guard, to, from } = Started::new("pair", job, doing)?;
        Ok(Self { child, from, to: Some(to), _guard: guard })
    }

    /// Ends the process when the agent ends first: without it nobody can be admitted, and a person who waits must hear
    /// of it.
    fn end_with(&self, agent: &Agent) -> Result<(), Failure> {
        let child = self.child.id();
        agent.when_gone(move || interrupt::end_child(child))
    }

    fn next(&mut self) -> Result<Option<Report>, Failure> {
        wire::read(&mut self.from).map_err(Failure::io("the process for the network is gone"))
    }

    fn order(&mut self, order: &Order) -> Result<(), Failure> {
        let to = self.to.as_mut().ok_or_else(lost)?;
        match wire::write(to, order) {
            // It has ended with its connection; what it said before is still to be read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(Failure::io("the process for the network is gone")),
        }
    }

    fn send(&mut self, step: &mut PairingStep) -> Result<(), Failure> {
        step.send.drain(..).try_for_each(|message| self.order(&Order::Send(message)))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It ends when its standard input does, after what was ordered has been sent.
        self.to = None;
        let _ = self.child.wait();
    }
}

/// Waits for the device that answers the invitation on this agent connection.
///
/// # Errors
/// The invitation ended without one, or the person said no.
pub fn wait_for_device(
    agent: &mut Agent,
    line_to: &mut Line,
    yes: bool,
    addresses: &[String],
    global: &Global,
) -> Result<Paired, Failure> {
    line_to.end_with(agent)?;
    let mut come = Come::Nobody;
    loop {
        match line_to.next()? {
            Some(Report::Connected) => agent.call::<()>(&Request::PairingConnected)?,
            Some(Report::Message(message)) => {
                let mut step: PairingStep = agent.call(&Request::PairingReceived { message })?;
                line_to.send(&mut step)?;
                if let Some(words) = &step.words {
                    come = Come::Known;
                    show_words(words, "Another device knows the code.", global)?;
                }
                if let Some(newcomer) = &step.asks {
                    if !admit(newcomer, yes, global)? {
                        let mut farewell: PairingStep = agent.call(&Request::PairingRejected)?;
                        line_to.send(&mut farewell)?;
                        line_to.order(&Order::Close)?;
                        return Err(Failure::failed("declined", "the device was not admitted")
                            .hint("if the words differed, somebody stood between the two devices: invite over another channel"));
                    }
                    let request = Request::PairingApproved { addresses: addresses.to_vec() };
                    let mut answer: PairingStep = agent.call(&request)?;
                    come = Come::Admitted(line(&newcomer.name));
                    line_to.send(&mut answer)?;
                }
                if let Some(paired) = step.done {
                    return Ok(paired);
                }
                if let Some(over) = step.over {
                    line_to.order(&Order::Close)?;
                    if !over.still_open {
                        return Err(over.why);
                    }
                    global.ui.warn(&over.why.code, line(&over.why.message));
                }
            }
            Some(Report::Closed) => match &come {
                Come::Nobody => {
                    global.ui.note("The connection ended before the device was admitted; still waiting.");
                }
                come => return Err(come.lost()),
            },
            Some(Report::Expired) => {
                return Err(Failure::failed(
                    "invitation-expired",
                    "nobody came before the invitation expired",
                )
                .hint("invite again, with a longer --expires if need be"));
            }
            Some(Report::Listening(_) | Report::Unreachable(_)) => {}
            None if agent.is_gone() => {
                return Err(Failure::failed(
                    "locked",
                    "the vault was locked, and the invitation ended with it",
                )
                .hint("unlock it and invite again; nobody was admitted meanwhile"));
            }
            None => return Err(lost()),
        }
    }
}

/// How far the one device has come that knew the code.
enum Come {
    Nobody,
    Known,
    Admitted(String),
}

impl Come {
    /// The connection broke: what holds now.
    fn lost(&self) -> Failure {
        let (message, hint) = match self {
            Self::Admitted(name) => (
                format!("the connection was lost while \"{name}\" was being admitted; its screen says whether it joined"),
                "if it did not, invite again in the same role: it is the same member then, not a second one",
            ),
            Self::Nobody | Self::Known => (
                "the connection was lost after the code had been used, and a code works once; nobody was admitted".to_owned(),
                "invite again",
            ),
        };
        Failure::new(Kind::Unreachable, "connection-lost", message).hint(hint)
    }
}

/// Joins over an open connection. `None`: what answered there, if anything did, ended before this side had sent anything
/// that depends on the code; another address may be tried.
///
/// # Errors
/// The code is wrong, somebody said no, or the connection was lost.
pub fn join(
    agent: &mut Agent,
    line_to: &mut Line,
    code: &str,
    (new_device, yes): (bool, bool),
    global: &Global,
) -> Result<Option<Paired>, Failure> {
    let mut step: PairingStep = agent.call(&Request::Join { code: code.to_owned(), new_device })?;
    let mut proven = false;
    line_to.send(&mut step)?;
    loop {
        step = match step.words {
            Some(words) => {
                show_words(&words, "The other device knows the code.", global)?;
                let same = yes
                    || global.ui.confirm("Does the coordinator's screen show the same words?", "--yes")?;
                if !same {
                    let mut farewell: PairingStep = agent.call(&Request::PairingRejected)?;
                    line_to.send(&mut farewell)?;
                    return Err(Failure::failed("declined", "you said that the words differ; nothing was joined")
                        .hint("somebody may stand between the two devices: ask for a new invitation over another channel"));
                }
                global.ui.note("Waiting for the coordinator to say yes.");
                agent.call(&Request::PairingApproved { addresses: Vec::new() })?
            }
            None => match line_to.next()? {
                Some(Report::Message(message)) => agent.call(&Request::PairingReceived { message })?,
                _ if !proven => return Ok(None),
                _ => {
                    return Err(Failure::new(
                        Kind::Unreachable,
                        "connection-lost",
                        "the connection was lost before the device was admitted",
                    )
                    .hint("ask whether the code is still open, else for a new one"));
                }
            },
        };
        let sends = !step.send.is_empty();
        line_to.send(&mut step)?;
        if let Some(paired) = step.done {
            return Ok(Some(paired));
        }
        if let Some(over) = step.over {
            // Nonsense from something else that listens there; a refusal in our protocol is an answer.
            return if !proven && over.why.code == "pairing" { Ok(None) } else { Err(over.why) };
        }
        proven |= sends;
    }
}

fn show_words(words: &str, why: &str, global: &Global) -> Result<(), Failure> {
    global.ui.emit(json!({"event": "check-words", "words": words}))?;
    global.ui.say(format_args!("{why} Both screens must show the same words:\n\n    {words}\n"))
}

fn admit(newcomer: &Newcomer, yes: bool, global: &Global) -> Result<bool, Failure> {
    let name = line(&newcomer.name);
    let short: String = newcomer.device.chars().take(8).collect();
    global.ui.note(format_args!("\"{name}\" asks to join as {} ({short}).", newcomer.role));
    warn_of_second_identity(newcomer, global);
    if yes {
        return Ok(true);
    }
    if !global.ui.may_ask() {
        global.ui.warn(
            "words-not-compared",
            "nobody is here to compare the check words; the device is admitted because it knew the code",
        );
        return Ok(true);
    }
    let instead = match &newcomer.replaces {
        Some(old) => format!(" The device {} is then removed as lost.", shortened(old)),
        None => String::new(),
    };
    global.ui.confirm(
        &format!("Does the screen of \"{name}\" show the same words, and is it to be admitted?{instead}"),
        "--yes",
    )
}

/// Somebody who is in the team already must not be in it twice without anybody noticing.
fn warn_of_second_identity(newcomer: &Newcomer, global: &Global) {
    let replaces = newcomer.replaces.as_deref();
    let name = line(&newcomer.name);
    match (newcomer.was.as_deref(), newcomer.same_name.as_deref()) {
        (Some(was), _) if Some(was) != replaces => global.ui.warn(
            "second-identity",
            format_args!(
                "\"{name}\" was restored or copied, and says that it was the device {0} of this team. To end that one, say \
                 no and invite again with --replaces {0}",
                shortened(was)
            ),
        ),
        (None, Some(other)) if Some(other) != replaces => global.ui.warn(
            "second-identity",
            format_args!(
                "a member is called \"{name}\" already ({0}). If this is the same person's new or restored device, say no \
                 and invite again with --replaces {0}",
                shortened(other)
            ),
        ),
        _ => {}
    }
}

fn shortened(device: &str) -> String {
    device.chars().take(8).collect()
}

fn lost() -> Failure {
    Failure::failed("network-process", "the process for the network ended unexpectedly")
}
