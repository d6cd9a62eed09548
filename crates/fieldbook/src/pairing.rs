//! Pairing, seen from the client: it stands between the agent, which has the keys, and a network
//! process, which has the connection, and asks its person to compare the words.

use std::io::BufReader;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::{Newcomer, Paired, PairingStep, Request};
use crate::agent::wire;
use crate::error::{Failure, Kind};
use crate::global::Global;
use crate::interrupt;
use crate::network::pair::{Order, Report};
use crate::sanitise::line;

/// A network process for one pairing.
pub struct Line {
    child: Child,
    from: BufReader<ChildStdout>,
    to: Option<ChildStdin>,
    _guard: interrupt::Child,
}

impl Line {
    /// Starts a process that waits for a device, and tells where.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn listen(address: &str, patience_s: u64) -> Result<(Self, Vec<String>), Failure> {
        let mut line = Self::start(&["pair-listen", "--listen", address, "--for", &patience_s.to_string()])?;
        match line.next()? {
            Some(Report::Listening(addresses)) => Ok((line, addresses)),
            Some(Report::Unreachable(why)) => {
                Err(Failure::failed("cannot-listen", format!("nothing can listen on {why}"))
                    .hint("give another address with --listen HOST:PORT"))
            }
            _ => Err(lost()),
        }
    }

    /// Starts a process that connects to the first address that answers.
    ///
    /// # Errors
    /// None does.
    pub fn dial(addresses: &[String]) -> Result<Self, Failure> {
        let mut arguments = vec!["pair-dial"];
        arguments.extend(addresses.iter().map(String::as_str));
        let mut line = Self::start(&arguments)?;
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

    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let doing = "the process for the network cannot be started";
        let program = std::env::current_exe().map_err(Failure::io(doing))?;
        let mut child = Command::new(program)
            .arg("internal")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Failure::io(doing))?;
        let guard = interrupt::Child::watch(&child);
        match (child.stdout.take(), child.stdin.take()) {
            (Some(from), Some(to)) => {
                Ok(Self { child, from: BufReader::new(from), to: Some(to), _guard: guard })
            }
            _ => Err(Failure::failed("internal", doing)),
        }
    }

    fn next(&mut self) -> Result<Option<Report>, Failure> {
        wire::read(&mut self.from).map_err(Failure::io("the process for the network is gone"))
    }

    fn order(&mut self, order: &Order) -> Result<(), Failure> {
        let to = self.to.as_mut().ok_or_else(lost)?;
        wire::write(to, order).map_err(Failure::io("the process for the network is gone"))
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
    let mut used = false;
    loop {
        match line_to.next()? {
            Some(Report::Connected) => agent.call::<()>(&Request::PairingConnected)?,
            Some(Report::Message(message)) => {
                let mut step: PairingStep = agent.call(&Request::PairingReceived { message })?;
                line_to.send(&mut step)?;
                if let Some(words) = &step.words {
                    used = true;
                    show_words(words, "Another device knows the code.", global)?;
                }
                if let Some(newcomer) = &step.asks {
                    let request = if admit(newcomer, yes, global)? {
                        Request::PairingApproved { addresses: addresses.to_vec() }
                    } else {
                        Request::PairingRejected
                    };
                    let mut answer: PairingStep = agent.call(&request)?;
                    line_to.send(&mut answer)?;
                    if matches!(request, Request::PairingRejected) {
                        line_to.order(&Order::Close)?;
                        return Err(Failure::failed("declined", "the device was not admitted")
                            .hint("if the words differed, somebody stood between the two devices: invite over another channel"));
                    }
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
            Some(Report::Closed) if used => {
                return Err(Failure::new(
                    Kind::Unreachable,
                    "connection-lost",
                    "the connection was lost after the code had been used, and a code works once",
                )
                .hint("invite again"));
            }
            Some(Report::Closed) => {
                global.ui.note("The connection ended before the device was admitted; still waiting.");
            }
            Some(Report::Expired) => {
                return Err(Failure::failed(
                    "invitation-expired",
                    "nobody came before the invitation expired",
                )
                .hint("invite again, with a longer --expires if need be"));
            }
            Some(Report::Listening(_) | Report::Unreachable(_)) => {}
            None => return Err(lost()),
        }
    }
}

/// Joins over an open connection.
///
/// # Errors
/// The code is wrong, somebody said no, or the connection was lost.
pub fn join(
    agent: &mut Agent,
    line_to: &mut Line,
    code: String,
    yes: bool,
    global: &Global,
) -> Result<Paired, Failure> {
    let mut step: PairingStep = agent.call(&Request::Join { code })?;
    loop {
        line_to.send(&mut step)?;
        if let Some(paired) = step.done {
            return Ok(paired);
        }
        if let Some(over) = step.over {
            return Err(over.why);
        }
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
    global.ui.confirm(
        &format!("Does the screen of \"{name}\" show the same words, and is it to be admitted?"),
        "--yes",
    )
}

fn lost() -> Failure {
    Failure::failed("network-process", "the process for the network ended unexpectedly")
}
