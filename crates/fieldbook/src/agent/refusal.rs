//! What the vault could not do, as a failure with an exit code and a hint.

use fieldbook_vault::VaultError;

use crate::error::{Failure, Kind};

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let message = error.to_string();
        let (kind, code, hint) = classify(&error);
        let failure = Self::new(kind, code, message);
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

/// Kind, code and hint ("" for none).
fn classify(error: &VaultError) -> (Kind, &'static str, &'static str) {
    use VaultError as E;
    match error {
        E::NoVault => (Kind::NoVault, "no-vault", "make one with `fieldbook init --name NAME`"),
        E::AlreadyExists => (Kind::Failed, "vault-exists", "use it, or name another directory with --vault"),
        E::InUse => (
            Kind::InUse,
            "vault-in-use",
            "another command is still at work; after `fieldbook unlock` commands share the vault",
        ),
        E::WrongPassphrase => {
            (Kind::WrongPassphrase, "wrong-passphrase", "check the keyboard layout and the vault's directory")
        }
        E::WorkFactor => (Kind::Usage, "work-factor", ""),
        E::BadName => (Kind::Usage, "bad-name", ""),
        E::Damaged(_) => (
            Kind::Damaged,
            "damaged",
            "keep a copy of the directory before anything else; nothing was changed",
        ),
        E::NewerVersion => (Kind::Version, "newer-vault", "use the newer version of fieldbook"),
        E::NoTeam => (
            Kind::Failed,
            "no-team",
            "found one with `fieldbook team create NAME`, or join one with `fieldbook join CODE`",
        ),
        E::AlreadyInTeam => (Kind::Failed, "already-in-team", "make another vault for another team"),
        E::NotCoordinator => (Kind::Failed, "not-coordinator", "ask a coordinator to do it"),
        E::Untrusted(_) => (Kind::Damaged, "untrusted", "ask for a new invitation, over a channel you trust"),
        E::NoSuchReport(_) => {
            (Kind::Failed, "no-such-report", "`fieldbook list` shows the reports and their ids")
        }
        E::NoSuchEntry(_) => {
            (Kind::Failed, "no-such-entry", "`fieldbook entry list ID` shows a report's entries")
        }
        E::NoSuchAttachment(_) => (Kind::Failed, "no-such-attachment", "`fieldbook show ID` lists them"),
        E::Ambiguous { .. } => (Kind::Usage, "ambiguous-id", "give more digits of the id"),
        E::Incomplete { .. } => (
            Kind::Failed,
            "incomplete",
            "fill them in with `fieldbook edit ID --set`, or finish with --incomplete",
        ),
        E::Input(_) => (Kind::Usage, "input", "`fieldbook templates NAME` lists the fields of a template"),
        E::Report(_) => (Kind::Failed, "report", ""),
        E::TooLarge { .. } => (Kind::Failed, "too-large", ""),
        E::NotArrived { .. } => (Kind::Failed, "not-arrived", "the rest comes with a later sync"),
        E::Seal(_) => (Kind::Failed, "seal", ""),
        E::Depot(_) => (Kind::Failed, "depot", ""),
        E::Database(_) => (Kind::Failed, "store", ""),
        E::Io { .. } => (Kind::Failed, "io", ""),
        E::Randomness => (Kind::Failed, "randomness", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_the_exit_code_that_the_issue_names() {
        for (error, exit) in [
            (VaultError::NoVault, 10),
            (VaultError::InUse, 11),
            (VaultError::WrongPassphrase, 12),
            (VaultError::Damaged("x".into()), 16),
            (VaultError::NewerVersion, 17),
            (VaultError::NotCoordinator, 1),
            (VaultError::Ambiguous { prefix: "a".into(), matches: 2 }, 2),
        ] {
            assert_eq!(Failure::from(error).kind.exit(), exit);
        }
    }
}
