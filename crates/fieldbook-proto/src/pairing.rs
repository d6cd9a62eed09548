//! Pairing: how a one-time code, said aloud or copied, admits one device to a team. See
//! `protocol/pairing.md` for the exchange and the argument for its security.
//!
//! Two machines, [`Inviter`] on the coordinator's device and [`Joiner`] on the new one, take
//! messages and answer with events; they do no IO and own no clock and no randomness. Messages are
//! at most [`MESSAGE_MAX`] bytes; over a stream each goes behind its length in four bytes,
//! big-endian. Nothing but the first two messages is parsed before both sides have proven that they
//! know the code.
//!
//! A caller's loop, the same on both sides:
//!
//! 1. The inviter makes an [`Invitation`] with a fresh [`Code`], shows the code, and listens. For
//!    each connection it makes an [`Inviter`], all of them sharing the one invitation. The joiner
//!    parses the code, connects, and sends the first message that [`Joiner::start`] gives.
//! 2. Each message that arrives goes into `on_message`. Its events are carried out in order.
//! 3. [`Event::CheckWords`] are shown to the person, who compares them with the other screen. Only
//!    a yes leads to [`Joiner::approve`], and at the inviter, with the [`Event::Request`] shown as
//!    well, to [`Inviter::approve`]. A no leads to `reject`, whose message is sent before closing.
//! 4. [`Event::Admission`] is stored durably by the joiner, which then calls [`Joiner::adopted`].
//!    [`Event::Done`] ends the loop on both sides.
//! 5. An error ends the connection. [`PairingError::farewell`] says what to tell the other side. The
//!    joiner starts anew only when its person has read the code again: each try hands an impostor
//!    one guess.
//!
//! The caller closes a connection that stays silent (a minute before the check words, ten minutes
//! while people compare them), and serves few connections at a time.
//!
//! ```
//! use fieldbook_proto::certificate::Role;
//! use fieldbook_proto::pairing::{Code, Event, Invitation, Inviter, Joiner};
//!
//! let (now, random) = (1_000, [7; 8]); // seconds since 1970; all random bytes from the system
//! let code = Code::new(random, vec!["192.168.1.5:40123".to_owned()])?;
//! let mut invitation = Invitation::new(code, Role::Monitor, now + 600);
//!
//! let (mut joiner, mut message) = Joiner::start(&invitation.code().to_string().parse()?, &[1; 32]);
//! let mut inviter = Inviter::start(&invitation, &[2; 32], now)?;
//! let mut shown = Vec::new();
//! while shown.len() < 2 {
//!     let mut events = inviter.on_message(&message, &mut invitation, now)?;
//!     if let Some(Event::Send(answer)) = events.iter().find(|event| matches!(event, Event::Send(_))) {
//!         events.extend(joiner.on_message(answer)?);
//!     }
//!     for event in events {
//!         match event {
//!             Event::Send(bytes) => message = bytes,
//!             Event::CheckWords(words) => shown.push(words),
//!             _ => {}
//!         }
//!     }
//! }
//! assert_eq!(shown[0], shown[1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod channel;
mod code;
mod handshake;
mod invitation;
mod inviter;
mod joiner;
mod message;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

pub use admission::{Admission, DeskInfo, FormerDevice, JoinRequest};
pub use code::{Code, CodeError, LONG_SECRET_LEN};
pub use invitation::{Invitation, InvitationEnd, WRONG_GUESSES_MAX};
pub use inviter::Inviter;
pub use joiner::Joiner;
pub use message::Refusal;

use crate::codec::DecodeError;

/// Largest message, in bytes, without the four bytes of its length.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Longest name of a device, a team or a coordinator, in bytes of UTF-8.
pub const NAME_MAX: usize = 128;

/// Most addresses in a code or an admission.
pub const ADDRESSES_MAX: usize = 8;

/// Longest address (`host:port`), in bytes: a DNS name, a colon and a port.
pub const ADDRESS_MAX: usize = 253 + 1 + 5;

/// Most epochs of a secret in an admission.
pub const EPOCHS_MAX: usize = 64;

/// What a machine asks its caller to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Send this message.
    Send(Vec<u8>),
    /// Both sides have proven that they know the code. Show these words; the other screen must show
    /// the same.
    CheckWords([&'static str; 4]),
    /// Inviter: the joiner's person said that the words match, and this is who asks.
    Request(JoinRequest),
    /// Joiner: admitted. Check and store it, then call [`Joiner::adopted`].
    Admission(Box<Admission>),
    /// The pairing is complete on this side.
    Done,
}

/// Why a pairing ended early. The machine that returned it takes no further message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingError {
    /// The other side does not know the code: a slip, or somebody else answered.
    WrongCode,
    /// The invitation is no longer open.
    Closed(InvitationEnd),
    /// The other side speaks another version of pairing.
    Version {
        /// Theirs.
        theirs: u8,
    },
    /// The other side ended it.
    Refused(Refusal),
    /// A message does not decode.
    Malformed(DecodeError),
    /// A message that has no place here, or a call out of order.
    OutOfOrder,
    /// A message was altered on the way.
    Altered,
    /// What the caller wants to send breaks a limit of the format.
    Unsendable(DecodeError),
}

impl PairingError {
    /// What to send to the other side before closing, so that its person learns why.
    pub fn farewell(&self) -> Option<Vec<u8>> {
        let refusal = match self {
            Self::WrongCode => Refusal::WrongCode,
            Self::Closed(_) => Refusal::NotWaiting,
            Self::Version { .. } => Refusal::Version,
            Self::Malformed(_) | Self::OutOfOrder | Self::Altered | Self::Unsendable(_) => Refusal::Fault,
            Self::Refused(_) => return None,
        };
        Some(message::Message::Refusal(refusal).encode())
    }
}

impl fmt::Display for PairingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongCode => f.write_str("the other side has another code"),
            Self::Closed(end) => end.fmt(f),
            Self::Version { theirs } => {
                write!(
                    f,
                    "the other side speaks version {theirs} of pairing, which this version does not know"
                )
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Malformed(why) => write!(f, "the other side sent a message that cannot be read: {why}"),
            Self::OutOfOrder => f.write_str("a pairing step came out of order"),
            Self::Altered => f.write_str("a message was altered on the way"),
            Self::Unsendable(why) => write!(f, "the pairing cannot be completed: {why}"),
        }
    }
}

impl std::error::Error for PairingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(why) | Self::Unsendable(why) => Some(why),
            _ => None,
        }
    }
}

impl From<DecodeError> for PairingError {
    fn from(why: DecodeError) -> Self {
        Self::Malformed(why)
    }
}
