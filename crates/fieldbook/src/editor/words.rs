//! What the editor says. All of it is here.

/// The keys, in the order in which they matter; as many as fit are shown.
pub const HELP: [&str; 8] = [
    "^L/F12 LOCK",
    "^S/F2 save",
    "Esc leave",
    "^X/F10 save and leave",
    "^Z undo",
    "^K cut",
    "^V put in",
    "^Space select",
];

pub const LOCKED: &str = "Locked. What you had written is in the vault.";
pub const LOCKED_NOT_KEPT: &str =
    "Locked. What you wrote in the last seconds could NOT be kept; what was kept before is in the vault.";
pub const LOCKED_ELSEWHERE: &str = "The vault was locked. What you had written is in it.";
pub const ENDED: &str = "Ended. What you had written is in the vault.";
pub const ENDED_NOT_KEPT: &str =
    "Ended. What you wrote in the last seconds could NOT be kept; what was kept before is in the vault.";
pub const NOTHING: &str = "Nothing was saved.";
pub const THROWN: &str = "Thrown away.";
pub const NO_MORE: &str = "Ended. Nothing more is here.";
/// Whatever vault was opened, and whatever became of what was not kept.
pub const OPENED: &str =
    "It opens. What was not saved is offered when its text is opened with --write again.";
pub const OPENED_NOT_KEPT: &str =
    "It opens. What you wrote in the last seconds could NOT be kept; what was kept before is in the vault.";

pub const SAVED: &str = "saved";
pub const NOT_SAVED: &str = "not saved yet";
/// What is written is safe, and not in the report yet.
pub const KEPT: &str = "kept in the vault, not saved yet";
pub const MERGED: &str =
    "saved. Somebody else had changed this text meanwhile: both changes are in it, read it once more";
pub const FULL: &str = "the text is as long as it can be";
pub const SELECTING: &str = "selecting: move, then ^K cuts, ^O copies; ^Space ends it";
pub const CANNOT: &str = "NOT saved: ";
pub const CANNOT_KEEP: &str = "NOT kept: ";
pub const CANNOT_THROW: &str = "NOT thrown away: ";
pub const WAITING: &str = "waiting for the vault; ^L and F12 lock at once";

/// Asked when somebody leaves.
pub const LEAVING: &str =
    "Not saved yet.  1 save and leave   2 leave it for later   3 throw it away   Esc go on writing";
/// Said when it was left for later.
pub const LATER: &str = "Not saved, and kept in the vault: it is offered when its text is opened with --write again. \
                         `fieldbook list` marks its report.";
/// Asked at the beginning, after the time.
pub const OFFER: &str = "was not saved.  1 go on with it   2 throw it away   Esc leave it for later";
/// Asked before a text that was written is gone.
pub const SURE: &str = "What was not saved will be gone for good.  Enter throw it away   Esc back";

/// Shown in place of a text whose vault was locked before all of it was kept.
pub const COVERED: [&str; 2] = ["The vault was locked.", "Enter: open it. Esc: end."];
/// Below the last word, where nobody has pressed a key that ends.
pub const END: &str = "Enter or Esc: end.";
