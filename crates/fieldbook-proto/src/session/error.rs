//! How a session fails, and whose fault it is.

use std::fmt;

use crate::certificate::CertificateError;

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The other side broke the protocol or is not entitled to speak it.
    Peer,
    /// The caller of this engine.
    Us,
    /// Nobody: the connection ended.
    Network,
}

/// What a peer did that the protocol forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A frame of a type that does not exist.
    UnknownFrame,
    /// A frame that announces more bytes than its type may have.
    FrameTooLong,
    /// A frame whose content does not decode.
    Malformed,
    /// A frame that may not come now.
    OutOfPhase,
    /// An entry that was neither asked for nor may be sent unasked.
    Unsolicited,
    /// More ids offered than may be open at once.
    TooManyOffers,
    /// More entries named than it says that it knows, or than may be named in a session.
    MoreThanKnown,
    /// A comparison that does not come to its end.
    Endless,
    /// An answer to something that was never asked.
    Unasked,
    /// An acknowledgement of what was never sent, or one that goes backwards.
    FalseAcknowledgement,
    /// More padding than its frames call for.
    TooMuchPadding,
    /// A position that goes backwards or is impossible.
    ImpossiblePosition,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownFrame => "it sent a frame of an unknown type",
            Self::FrameTooLong => "it announced a frame beyond the limit",
            Self::Malformed => "it sent a frame that cannot be read",
            Self::OutOfPhase => "it sent a frame at the wrong time",
            Self::Unsolicited => "it sent an entry that nobody asked for",
            Self::TooManyOffers => "it offered too many entries at once",
            Self::MoreThanKnown => "it named more entries than it says it knows",
            Self::Endless => "it keeps comparing without coming to an end",
            Self::Unasked => "it answered a question that was not asked",
            Self::FalseAcknowledgement => "it acknowledged what was not sent",
            Self::TooMuchPadding => "it sent more padding than there was to hide",
            Self::ImpossiblePosition => "it named an impossible position",
        })
    }
}

/// Why a session ended before its end. Everything that was acknowledged before stays durable on the
/// other side, and the next session continues from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// The other side's hello opens under none of our transport secrets: it is not of this team, knows
    /// only epochs that we have forgotten, or is somebody else altogether.
    NotOfTheTeam,
    /// The other side speaks no version of the session that we speak.
    Version {
        /// The highest version it speaks.
        theirs: u8,
    },
    /// The other side's certificate does not stand.
    Certificate(CertificateError),
    /// The other side's certificate names another key than the one that the connection proved.
    WrongTransportKey,
    /// The other side broke the protocol.
    Fault(Fault),
    /// The connection ended before both sides were done.
    Cut,
    /// The caller gave an answer that was not asked for, or a wrong number of things.
    Misused(&'static str),
}

impl SessionError {
    /// Who is to blame.
    pub const fn party(&self) -> Party {
        match self {
            Self::Cut => Party::Network,
            Self::Misused(_) => Party::Us,
            _ => Party::Peer,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOfTheTeam => f.write_str("the other side does not know this team's transport secret"),
            Self::Version { theirs } => {
                write!(f, "the other side speaks version {theirs} of the session, this program another")
            }
            Self::Certificate(error) => error.fmt(f),
            Self::WrongTransportKey => {
                f.write_str("the other side's certificate belongs to another key than it connected with")
            }
            Self::Fault(fault) => write!(f, "the other side broke the protocol: {fault}"),
            Self::Cut => f.write_str("the connection ended before both sides were done"),
            Self::Misused(what) => write!(f, "the session was driven wrongly: {what}"),
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Fault> for SessionError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
