//! The new device's side of a pairing.

use super::admission::{ADMISSION_MAX, Admission, JoinRequest};
use super::channel::Channel;
use super::code::Code;
use super::handshake::{Exchange, Keys, Side, commitment, same, transcript};
use super::inviter::{CONTENT_ADMISSION, CONTENT_ADOPTED, CONTENT_REQUEST};
use super::message::{Message, Refusal, VERSION};
use super::{Event, PairingError};

/// One try at one inviter.
pub struct Joiner {
    state: State,
}

/// What is awaited next. `Over` stands while a step runs, so that an error leaves it.
enum State {
    Answer { exchange: Box<Exchange>, hello: Vec<u8> },
    Proof(Box<Keys>),
    Approval(Box<Channel>),
    Admission(Box<Channel>),
    Adopted(Box<Channel>),
    Over,
}

impl Joiner {
    /// Begins: the machine and the first message. `seed` is 32 random bytes, never used again.
    pub fn start(code: &Code, seed: &[u8; 32]) -> (Self, Vec<u8>) {
        let exchange = Box::new(Exchange::start(Side::Joiner, &code.secret(), seed));
        let hello = Message::Hello {
            version: VERSION,
            commitment: commitment(&exchange.nonce),
            exchange: exchange.public,
        }
        .encode();
        (Self { state: State::Answer { exchange, hello: hello.clone() } }, hello)
    }

    /// Takes a message from the inviter.
    ///
    /// # Errors
    /// [`PairingError`]; this try is then over.
    pub fn on_message(&mut self, message: &[u8]) -> Result<Vec<Event>, PairingError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, Message::decode(message)?) {
            (_, Message::Refusal(refusal)) => Err(PairingError::Refused(refusal)),
            (State::Answer { exchange, hello }, Message::Answer { exchange: theirs, .. }) => {
                let nonce = exchange.nonce;
                let shared = exchange.finish(&theirs)?;
                let keys = Box::new(Keys::derive(&shared, &transcript(&hello, message, &nonce)));
                let proof = Message::JoinerProof { nonce, proof: keys.joiner_proof }.encode();
                self.state = State::Proof(keys);
                Ok(vec![Event::Send(proof)])
            }
            (State::Proof(keys), Message::InviterProof { proof }) => {
                if !same(&proof, &keys.inviter_proof) {
                    return Err(PairingError::WrongCode);
                }
                self.state = State::Approval(Box::new(Channel::new(Side::Joiner, &keys)));
                Ok(vec![Event::CheckWords(keys.check_words())])
            }
            (State::Admission(mut channel), Message::Sealed(ciphertext)) => {
                let Some((kind, content)) = channel.open(ciphertext, ADMISSION_MAX)? else {
                    self.state = State::Admission(channel);
                    return Ok(Vec::new());
                };
                if kind != CONTENT_ADMISSION {
                    return Err(PairingError::OutOfOrder);
                }
                let admission = Admission::decode(&content)?;
                self.state = State::Adopted(channel);
                Ok(vec![Event::Admission(Box::new(admission))])
            }
            _ => Err(PairingError::OutOfOrder),
        }
    }

    /// Asks to be admitted: the person compared the check words and said that they match.
    ///
    /// # Errors
    /// [`PairingError::OutOfOrder`] unless the check words were just shown (the machine is then as it
    /// was), [`PairingError::Unsendable`] when the request breaks a limit.
    pub fn approve(&mut self, request: &JoinRequest) -> Result<Vec<Event>, PairingError> {
        let mut channel = match std::mem::replace(&mut self.state, State::Over) {
            State::Approval(channel) => channel,
            other => {
                self.state = other;
                return Err(PairingError::OutOfOrder);
            }
        };
        let content = request.encode();
        JoinRequest::decode(&content).map_err(PairingError::Unsendable)?;
        let messages = channel.seal(CONTENT_REQUEST, &content)?;
        self.state = State::Admission(channel);
        Ok(messages.into_iter().map(Event::Send).collect())
    }

    /// Tells the inviter that the admission is stored, and ends.
    ///
    /// # Errors
    /// [`PairingError::OutOfOrder`] unless an admission was just received (the machine is then as it
    /// was).
    pub fn adopted(&mut self) -> Result<Vec<Event>, PairingError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Adopted(mut channel) => {
                let messages = channel.seal(CONTENT_ADOPTED, &[])?;
                Ok(messages.into_iter().map(Event::Send).chain([Event::Done]).collect())
            }
            other => {
                self.state = other;
                Err(PairingError::OutOfOrder)
            }
        }
    }

    /// Ends the pairing because the person said no: the message to send before closing.
    pub fn reject(&mut self) -> Vec<u8> {
        self.state = State::Over;
        Message::Refusal(Refusal::Declined).encode()
    }
}
