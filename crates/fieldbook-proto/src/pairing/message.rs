//! The messages of a pairing: one byte that says which, then fields.

use std::fmt;

use crate::codec::{DecodeError, Reader, Writer};

use super::MESSAGE_MAX;

/// The version of the exchange that this module speaks.
pub(super) const VERSION: u8 = 1;

const MAGIC: &[u8; 6] = b"FBPAIR";
/// A SPAKE2 message: the side (one byte) and a compressed Edwards point.
pub(super) const EXCHANGE_LEN: usize = 33;

const HELLO: u8 = 1;
const ANSWER: u8 = 2;
const JOINER_PROOF: u8 = 3;
const INVITER_PROOF: u8 = 4;
/// Also the associated data of each sealed message.
pub(super) const SEALED: u8 = 5;
const REFUSAL: u8 = 9;

/// Why the other side ended the pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has another code.
    WrongCode,
    /// It holds no open invitation: expired, used or guessed at too often.
    NotWaiting,
    /// Its person said no.
    Declined,
    /// It does not speak our version.
    Version,
    /// It received something that it could not read, or met a fault of its own.
    Fault,
}

impl Refusal {
    const fn code(self) -> u8 {
        match self {
            Self::WrongCode => 1,
            Self::NotWaiting => 2,
            Self::Declined => 3,
            Self::Version => 4,
            Self::Fault => 5,
        }
    }

    /// Codes of later versions read as a fault: the connection ends either way.
    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::WrongCode,
            2 => Self::NotWaiting,
            3 => Self::Declined,
            4 => Self::Version,
            _ => Self::Fault,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongCode => "the other side says that the code is wrong",
            Self::NotWaiting => "the other side is not waiting for anybody: the invitation is over",
            Self::Declined => "the other side declined",
            Self::Version => "the other side does not speak this version of pairing",
            Self::Fault => "the other side gave up after an error",
        })
    }
}

/// One message, its parts of fixed length already apart.
pub(super) enum Message<'a> {
    /// Joiner: the version, a commitment to its nonce, its half of the exchange.
    Hello { version: u8, commitment: [u8; 32], exchange: [u8; EXCHANGE_LEN] },
    /// Inviter: its nonce and its half of the exchange.
    Answer { nonce: [u8; 32], exchange: [u8; EXCHANGE_LEN] },
    /// Joiner: the nonce it committed to, and the proof that it knows the code.
    JoinerProof { nonce: [u8; 32], proof: [u8; 32] },
    /// Inviter: the proof that it knows the code.
    InviterProof { proof: [u8; 32] },
    /// Either: ciphertext and tag.
    Sealed(&'a [u8]),
    /// Either: the end.
    Refusal(Refusal),
}

impl<'a> Message<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Hello { version, commitment, exchange } => {
                writer.u8(HELLO).raw(MAGIC).u8(*version).raw(commitment).raw(exchange)
            }
            Self::Answer { nonce, exchange } => writer.u8(ANSWER).raw(nonce).raw(exchange),
            Self::JoinerProof { nonce, proof } => writer.u8(JOINER_PROOF).raw(nonce).raw(proof),
            Self::InviterProof { proof } => writer.u8(INVITER_PROOF).raw(proof),
            Self::Sealed(ciphertext) => writer.u8(SEALED).raw(ciphertext),
            Self::Refusal(refusal) => writer.u8(REFUSAL).u8(refusal.code()),
        };
        writer.finish()
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_MAX {
            return Err(DecodeError::TooLong { field: "message", limit: MESSAGE_MAX });
        }
        let mut reader = Reader::new(bytes);
        let message = match reader.u8("message")? {
            HELLO => {
                if reader.raw("magic", MAGIC.len())? != MAGIC {
                    return Err(DecodeError::Invalid { field: "magic" });
                }
                let version = reader.u8("version")?;
                if version != VERSION {
                    // What follows is another version's: it is not read.
                    reader.rest();
                    return Ok(Self::Hello { version, commitment: [0; 32], exchange: [0; EXCHANGE_LEN] });
                }
                Self::Hello {
                    version,
                    commitment: reader.array("commitment")?,
                    exchange: reader.array("key exchange")?,
                }
            }
            ANSWER => Self::Answer { nonce: reader.array("nonce")?, exchange: reader.array("key exchange")? },
            JOINER_PROOF => {
                Self::JoinerProof { nonce: reader.array("nonce")?, proof: reader.array("proof")? }
            }
            INVITER_PROOF => Self::InviterProof { proof: reader.array("proof")? },
            SEALED => Self::Sealed(reader.rest()),
            REFUSAL => Self::Refusal(Refusal::from_code(reader.u8("refusal")?)),
            _ => return Err(DecodeError::Invalid { field: "message" }),
        };
        reader.end()?;
        Ok(message)
    }
}
