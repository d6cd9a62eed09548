//! What the vault could not do, as a failure with an exit code and a hint.

use fieldbook_daemon::DaemonError;
use fieldbook_depot::DepotError;
use fieldbook_report::ReportError;
use fieldbook_vault::VaultError;

use super::writing::BEING_WRITTEN;
use crate::error::{self, Failure, Kind};

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let message = match &error {
            VaultError::Io { doing, source } => format!("{doing}: {}", error::plain(source)),
            error => error.to_string(),
        };
        let (kind, code, hint) = classify(&error);
        let failure = Self::new(kind, code, message);
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

const COPY_FIRST: &str = "keep a copy of the directory before anything else; nothing was changed";

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
        E::SamePassphrase => (Kind::Usage, "same-passphrase", "choose another one; nothing was changed"),
        E::TooManyExports => {
            (Kind::Failed, "too-many-exports", "nothing was written; remove some: `fieldbook exports shred`")
        }
        E::InDecoy => (Kind::Failed, "in-decoy", "`fieldbook lock` first; nothing was changed"),
        E::NoDecoy => (Kind::Failed, "no-decoy", "set one with `fieldbook duress set`"),
        E::TooFewDays => (Kind::Usage, "too-few-days", "nothing was changed"),
        E::KeysDestroyed => (
            Kind::Damaged,
            "keys-destroyed",
            "what other devices have is still there. `fieldbook wipe` removes what is left here, without a passphrase; then \
             make a new vault, and join the team again",
        ),
        E::WorkFactor => (Kind::Usage, "work-factor", ""),
        E::BadName => (Kind::Usage, "bad-name", ""),
        E::Damaged(_) => (Kind::Damaged, "damaged", COPY_FIRST),
        E::NewerVersion => (Kind::Version, "newer-vault", "use the newer version of fieldbook"),
        E::Moved => (
            Kind::Copy,
            "moved",
            "if it was copied or restored: `fieldbook join CODE`, with a coordinator's new invitation, makes it a device \
             of its own. If you moved it, and nothing was written in the old place since: `fieldbook moved`",
        ),
        E::Superseded => (
            Kind::Copy,
            "superseded",
            "go on with the other copy; or `fieldbook join CODE`, with a coordinator's new invitation, makes this one a \
             device of its own",
        ),
        E::NotEmpty(_) => (Kind::Failed, "not-empty", "name a directory that is new or empty"),
        E::NoTeam => (
            Kind::Failed,
            "no-team",
            "found one with `fieldbook team create NAME`, or join one with `fieldbook join CODE`",
        ),
        E::AlreadyInTeam => (
            Kind::Failed,
            "already-in-team",
            "make another vault for another team; if this one is a copy, --new-device makes it a device of its own",
        ),
        E::NotCoordinator => (Kind::Failed, "not-coordinator", "ask a coordinator to do it"),
        E::RelayWritesNothing => {
            (Kind::Failed, "relay-writes-nothing", "write on the device of a monitor or a coordinator")
        }
        E::NoSuchDevice(_) => (Kind::Failed, "no-such-device", "`fieldbook team people` lists the devices"),
        E::NotAReader(_) => {
            (Kind::Failed, "not-a-coordinator", "`fieldbook team people` lists the coordinators")
        }
        E::StillNamed { .. } => (
            Kind::Failed,
            "still-named",
            "nothing was forgotten; edit those texts and try again, or forget the whole report",
        ),
        E::OtherDesk => (Kind::Failed, "other-desk", "ask a coordinator of that desk"),
        E::Removed => (
            Kind::Failed,
            "removed",
            "its reports are still here; ask a coordinator, and join again with a new vault if it was a mistake",
        ),
        E::DeskClosed => (
            Kind::Failed,
            "desk-closed",
            "ask a coordinator of another desk to invite this person with a new vault; `fieldbook export` takes \
             the reports out of this one",
        ),
        E::SealedToItself => (Kind::Failed, "sealed-to-itself", "please report it"),
        E::RemovedByJunior(_) => (
            Kind::Failed,
            "removed-by-junior",
            "if that was not agreed, answer with `fieldbook team remove` and that name: of two who remove each \
             other the one admitted earlier stands, on every device that hears of both",
        ),
        E::RoleChange => (Kind::Failed, "role", "invite the device anew, with a new vault on it"),
        E::Untrusted(_) => (Kind::Damaged, "untrusted", "ask for a new invitation, over a channel you trust"),
        E::NoSuchReport(_) => {
            (Kind::Failed, "no-such-report", "`fieldbook list` shows the reports and their ids")
        }
        E::Sealed { .. } => (
            Kind::Failed,
            "sealed",
            "what is new about it goes into an addendum: `fieldbook addendum ID`; coordinators see both together",
        ),
        E::Unfinished { .. } => (
            Kind::Failed,
            "unfinished-text",
            "`fieldbook show ID --unsaved` shows it; `edit ID --write` goes on with it (a question or an answer: `ask ID --write`, `answer ID \
             --write` with the same `--to`), `edit ID --throw-away` throws it away unseen; `finish ID --incomplete` and `seal ID --yes` \
             do without it",
        ),
        E::BeingWritten { .. } => (
            Kind::Failed,
            BEING_WRITTEN,
            "save and leave there first, or `fieldbook lock` ends it; nothing that is being written is sealed",
        ),
        E::CannotGoOn { .. } => (
            Kind::Failed,
            "unfinished-text",
            "`fieldbook show ID --unsaved` shows it, and what is new goes into an addendum: `fieldbook addendum ID`; \
             `fieldbook edit ID --throw-away` throws it away",
        ),
        E::TextClashes { .. } => {
            (Kind::Clashes, "clashes", "`fieldbook conflicts` shows both, `fieldbook resolve` decides")
        }
        E::MergedTooLarge { .. } => (
            Kind::Failed,
            "merged-too-large",
            "take something out and save again, or leave it kept; `fieldbook show ID` in another window shows what is saved",
        ),
        E::NoSuchText { .. } => (Kind::Usage, "no-such-text", ""),
        E::CannotSeal(_) => (Kind::Failed, "cannot-seal", ""),
        E::NotConfirmed { .. } => (
            Kind::Failed,
            "not-confirmed",
            "sync and try again; `fieldbook seal ID --yes` seals it all the same, and then nobody here can send it again",
        ),
        E::NoSuchEntry(_) => {
            (Kind::Failed, "no-such-entry", "`fieldbook entry list ID` shows a report's entries")
        }
        E::NoSuchAttachment(_) => (Kind::Failed, "no-such-attachment", "`fieldbook show ID` lists them"),
        E::NoSuchNote(_) => (Kind::Failed, "no-such-note", "`fieldbook show ID` lists them"),
        E::NoQuestion => (Kind::Failed, "no-question", "`fieldbook ask ID` asks or notes something"),
        E::WhichQuestion { .. } => {
            (Kind::Usage, "which-question", "name it with --to; `fieldbook show ID` lists them")
        }
        E::NotYourReport => (Kind::Failed, "not-your-report", "`fieldbook addendum ID` adds to it"),
        E::SameName { .. } => (
            Kind::Usage,
            "ambiguous-name",
            "give the id, or its first digits: `fieldbook --json team people` says it",
        ),
        E::Ambiguous { .. } => (Kind::Usage, "ambiguous-id", "give more digits of the id"),
        E::Incomplete { .. } => (
            Kind::Failed,
            "incomplete",
            "fill them in with `fieldbook edit ID --set`, or finish with --incomplete",
        ),
        E::Input(_) => (Kind::Usage, "input", "`fieldbook templates NAME` lists the fields of a template"),
        E::Report(error) => classify_report(error),
        E::TooLarge { .. } => (Kind::Failed, "too-large", ""),
        E::NotArrived { .. } => (Kind::Failed, "not-arrived", "the rest comes with a later sync"),
        E::Split(_) => (Kind::Usage, "sheets-number", "for example --threshold 2 --shares 3"),
        E::Combine(_) => (Kind::Usage, "sheets-together", "sheets of one set have the same set number"),
        E::HasRecovery => (
            Kind::Failed,
            "has-recovery",
            "`fieldbook recovery check` tries them; --replace makes new ones, and these lose their authority",
        ),
        E::NoCharter => (
            Kind::Failed,
            "no-charter",
            "take the entries from a device that synced after the sheets were made: `fieldbook entry export --all`",
        ),
        E::OtherSheets => (Kind::Failed, "other-sheets", "look for the sheets with this desk's set number"),
        E::Seal(_) => (Kind::Failed, "seal", ""),
        E::Depot(error) => classify_depot(error),
        E::Database(_) => (Kind::Failed, "store", ""),
        E::Io { source, .. } => (Kind::Failed, "io", error::advice(source)),
        E::Randomness => (Kind::Failed, "randomness", ""),
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let message = error.to_string();
        let (kind, code, hint) = match &error {
            DaemonError::NoTeam => return fieldbook_vault::VaultError::NoTeam.into(),
            DaemonError::InUse => (
                Kind::InUse,
                "daemon-runs",
                "`fieldbook daemon status` shows it, `fieldbook daemon stop` ends it",
            ),
            DaemonError::Damaged(_) => (Kind::Damaged, "damaged", COPY_FIRST),
            DaemonError::Depot(error) => classify_depot(error),
            DaemonError::Network(_) => {
                (Kind::Failed, "network", "is the address one of this machine, and free?")
            }
            DaemonError::Io { .. } => (Kind::Failed, "io", ""),
        };
        let failure = Self::new(kind, code, message);
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

fn classify_report(error: &ReportError) -> (Kind, &'static str, &'static str) {
    match error {
        ReportError::Damaged { .. } | ReportError::NotAReport => {
            (Kind::Damaged, "damaged-report", COPY_FIRST)
        }
        ReportError::NewerVersion { .. } => {
            (Kind::Version, "newer-report", "use the newer version of fieldbook")
        }
        ReportError::Input(_) => {
            (Kind::Usage, "input", "`fieldbook templates NAME` lists the fields of a template")
        }
        ReportError::NoSuchClash { .. } => {
            (Kind::Failed, "no-such-clash", "`fieldbook conflicts` lists them")
        }
        ReportError::NoSuchValue { .. } => {
            (Kind::Failed, "no-such-value", "`fieldbook conflicts` lists the values")
        }
        ReportError::CannotKeepBoth { .. } => (Kind::Failed, "cannot-keep-both", "keep one of the values"),
        _ => (Kind::Failed, "report", ""),
    }
}

fn classify_depot(error: &DepotError) -> (Kind, &'static str, &'static str) {
    match error {
        DepotError::Missing | DepotError::WrongKey | DepotError::Damaged(_) => {
            (Kind::Damaged, "damaged", COPY_FIRST)
        }
        DepotError::NewerVersion { .. } => {
            (Kind::Version, "newer-vault", "use the newer version of fieldbook")
        }
        DepotError::Busy => (Kind::InUse, "depot-busy", "try again"),
        DepotError::Full => {
            (Kind::Failed, "disk-full", "what was reported as saved is saved; make room and try again")
        }
        DepotError::Away(_) => (Kind::Failed, "store-away", "try again when the bucket can be reached"),
        _ => (Kind::Failed, "depot", ""),
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
            (VaultError::RelayWritesNothing, 1),
            (VaultError::Moved, 18),
            (VaultError::Superseded, 18),
            (VaultError::Ambiguous { prefix: "a".into(), matches: 2 }, 2),
        ] {
            assert_eq!(Failure::from(error).kind.exit(), exit);
        }
    }
}
