//! The coordinator's side of a pairing.

use super::admission::{ADMISSION_MAX, Admission, JoinRequest, REQUEST_MAX};
use super::channel::Channel;
use super::handshake::{Exchange, Keys, Side, commitment, same, transcript};
use super::invitation::Invitation;
use super::message::{Message, Refusal, VERSION};
use super::{Event, PairingError};
use crate::codec::DecodeError;

/// Kinds of contents in the channel.
pub(super) const CONTENT_REQUEST: u8 = 1;
pub(super) const CONTENT_ADMISSION: u8 = 2;
pub(super) const CONTENT_ADOPTED: u8 = 3;

/// One connection that answers to an invitation.
pub struct Inviter {
    state: State,
}

/// What is awaited next. `Over` stands while a step runs, so that an error leaves it.
enum State {
    Hello(Box<Exchange>),
    Proof { commitment: [u8; 32], shared: zeroize::Zeroizing<Vec<u8>>, hello: Vec<u8>, answer: Vec<u8> },
    Request(Box<Channel>),
    Approval(Box<Channel>),
    Adopted(Box<Channel>),
    Over,
}

impl Inviter {
    /// Answers to one connection. `seed` is 32 random bytes, never used again; `now` is in seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`PairingError::Closed`] when the invitation takes nobody any more.
    pub fn start(invitation: &Invitation, seed: &[u8; 32], now: u64) -> Result<Self, PairingError> {
        invitation.check(now).map_err(PairingError::Closed)?;
        let exchange = Exchange::start(Side::Inviter, &invitation.code().secret(), seed);
        Ok(Self { state: State::Hello(Box::new(exchange)) })
    }

    /// Takes a message from the joiner. Counts a wrong guess, or the one right one, in `invitation`,
    /// which must be the one that this machine was started with.
    ///
    /// # Errors
    /// [`PairingError`]; the pairing over this connection is then over.
    pub fn on_message(
        &mut self,
        message: &[u8],
        invitation: &mut Invitation,
        now: u64,
    ) -> Result<Vec<Event>, PairingError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, Message::decode(message)?) {
            (_, Message::Refusal(refusal)) => Err(PairingError::Refused(refusal)),
            (_, Message::Hello { version, .. }) if version != VERSION => {
                Err(PairingError::Version { theirs: version })
            }
            (State::Hello(exchange), Message::Hello { commitment, exchange: theirs, .. }) => {
                let answer = Message::Answer { nonce: exchange.nonce, exchange: exchange.public }.encode();
                let shared = exchange.finish(&theirs)?;
                self.state =
                    State::Proof { commitment, shared, hello: message.to_vec(), answer: answer.clone() };
                Ok(vec![Event::Send(answer)])
            }
            (
                State::Proof { commitment: committed, shared, hello, answer },
                Message::JoinerProof { nonce, proof },
            ) => {
                // Independent of the code, so it tells a guesser nothing and costs no guess.
                if !same(&commitment(&nonce), &committed) {
                    return Err(PairingError::Altered);
                }
                // Other connections may have used the invitation up since this one began: an answer
                // now would give away one guess more.
                invitation.check(now).map_err(PairingError::Closed)?;
                let keys = Keys::derive(&shared, &transcript(&hello, &answer, &nonce));
                if !same(&proof, &keys.joiner_proof) {
                    invitation.guessed_wrong();
                    return Err(PairingError::WrongCode);
                }
                invitation.guessed_right();
                self.state = State::Request(Box::new(Channel::new(Side::Inviter, &keys)));
                let reply = Message::InviterProof { proof: keys.inviter_proof }.encode();
                Ok(vec![Event::Send(reply), Event::CheckWords(keys.check_words())])
            }
            (State::Request(mut channel), Message::Sealed(ciphertext)) => {
                let Some((kind, content)) = channel.open(ciphertext, REQUEST_MAX)? else {
                    self.state = State::Request(channel);
                    return Ok(Vec::new());
                };
                if kind != CONTENT_REQUEST {
                    return Err(PairingError::OutOfOrder);
                }
                let request = JoinRequest::decode(&content)?;
                self.state = State::Approval(channel);
                Ok(vec![Event::Request(request)])
            }
            (State::Adopted(mut channel), Message::Sealed(ciphertext)) => {
                match channel.open(ciphertext, 0)? {
                    Some((CONTENT_ADOPTED, _)) => Ok(vec![Event::Done]),
                    _ => Err(PairingError::OutOfOrder),
                }
            }
            _ => Err(PairingError::OutOfOrder),
        }
    }

    /// Admits the device of [`Event::Request`]: the coordinator compared the check words and said yes
    /// to that name.
    ///
    /// # Errors
    /// [`PairingError::OutOfOrder`] unless a request waits (the machine is then as it was),
    /// [`PairingError::Unsendable`] when the admission breaks a limit.
    pub fn approve(&mut self, admission: &Admission) -> Result<Vec<Event>, PairingError> {
        let mut channel = match std::mem::replace(&mut self.state, State::Over) {
            State::Approval(channel) => channel,
            other => {
                self.state = other;
                return Err(PairingError::OutOfOrder);
            }
        };
        let content = admission.encode();
        // What the joiner would refuse is refused here, where somebody can do something about it.
        Admission::decode(&content).map_err(PairingError::Unsendable)?;
        if content.len() > ADMISSION_MAX {
            let too_long = DecodeError::TooLong { field: "admission", limit: ADMISSION_MAX };
            return Err(PairingError::Unsendable(too_long));
        }
        let messages = channel.seal(CONTENT_ADMISSION, &content)?;
        self.state = State::Adopted(channel);
        Ok(messages.into_iter().map(Event::Send).collect())
    }

    /// Ends the pairing because the coordinator said no: the message to send before closing.
    pub fn reject(&mut self) -> Vec<u8> {
        self.state = State::Over;
        Message::Refusal(Refusal::Declined).encode()
    }
}
