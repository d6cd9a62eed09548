//! An invitation: one code, one role, a time to live, and the wrong guesses so far.

use std::fmt;

use super::code::Code;
use crate::certificate::Role;

/// Wrong guesses that end an invitation.
pub const WRONG_GUESSES_MAX: u8 = 3;

/// Why an invitation takes nobody any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationEnd {
    /// Its time is over.
    Expired,
    /// The code was guessed wrong [`WRONG_GUESSES_MAX`] times.
    TooManyGuesses,
    /// Somebody who knew the code used it, whether or not the pairing was completed.
    Used,
}

impl fmt::Display for InvitationEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the invitation has expired",
            Self::TooManyGuesses => "the invitation was ended after three wrong guesses",
            Self::Used => "the code was already used, and works once",
        })
    }
}

impl std::error::Error for InvitationEnd {}

/// An open invitation, shared by all connections that answer to it. Lives in memory only.
#[derive(Debug, Clone)]
pub struct Invitation {
    code: Code,
    role: Role,
    expires_at: u64,
    wrong_guesses: u8,
    used: bool,
}

impl Invitation {
    /// A fresh invitation until `expires_at` (seconds since 1970, that second included).
    pub const fn new(code: Code, role: Role, expires_at: u64) -> Self {
        Self { code, role, expires_at, wrong_guesses: 0, used: false }
    }

    /// The code to show.
    pub const fn code(&self) -> &Code {
        &self.code
    }

    /// The role that the admitted device gets.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its last second, since 1970.
    pub const fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Wrong guesses so far.
    pub const fn wrong_guesses(&self) -> u8 {
        self.wrong_guesses
    }

    /// Whether it still takes somebody at `now` (seconds since 1970).
    ///
    /// # Errors
    /// Why it does not.
    pub const fn check(&self, now: u64) -> Result<(), InvitationEnd> {
        if self.used {
            Err(InvitationEnd::Used)
        } else if self.wrong_guesses >= WRONG_GUESSES_MAX {
            Err(InvitationEnd::TooManyGuesses)
        } else if now > self.expires_at {
            Err(InvitationEnd::Expired)
        } else {
            Ok(())
        }
    }

    pub(super) const fn guessed_wrong(&mut self) {
        self.wrong_guesses = self.wrong_guesses.saturating_add(1);
    }

    pub(super) const fn guessed_right(&mut self) {
        self.used = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_ends_by_time_by_guesses_and_by_use() {
        let fresh = Invitation::new(Code::new([0; 8], vec![]).unwrap(), Role::Monitor, 100);
        assert_eq!(fresh.check(100), Ok(()));
        assert_eq!(fresh.check(101), Err(InvitationEnd::Expired));
        let mut guessed = fresh.clone();
        guessed.guessed_wrong();
        guessed.guessed_wrong();
        assert_eq!(guessed.check(1), Ok(()));
        guessed.guessed_wrong();
        assert_eq!(guessed.check(1), Err(InvitationEnd::TooManyGuesses));
        let mut used = fresh;
        used.guessed_right();
        assert_eq!(used.check(1), Err(InvitationEnd::Used));
    }
}
