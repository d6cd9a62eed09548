//! What applies while a vault is locked, and so has to be readable without its passphrase: whether `wipe` asks
//! for it, and until when the keys live unless somebody unlocks.
//!
//! The file is there in every vault, has one size, and is no secret. Whoever has the disk can change it, or keep the
//! program from running; it protects nothing by itself.

use std::fs;

use fieldbook_proto::codec::Reader;
use rusqlite::Connection;

use crate::durable;
use crate::error::VaultError;
use crate::layout::Layout;
use crate::vault::now_s;
use crate::{store, wipe};

/// Bytes of the file.
const LEN: usize = 64;
const VERSION: u8 = 1;
const UNASKED: u8 = 1;
const DESTROYED: u8 = 2;
const DAY_S: u64 = 24 * 3600;
/// Where an open vault keeps them.
const KEPT: &str = "rules";

/// Fewest days after which keys are destroyed: a weekend in a cell, or a clock that is wrong by a day, is not a reason.
pub const DEAD_MAN_MIN_DAYS: u16 = 3;

/// What applies while the vault is locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// `wipe` asks for no passphrase, and a signal wipes too.
    pub wipe_unasked: bool,
    /// After so many days without an unlocking the keys are destroyed; never if 0.
    pub dead_man_days: u16,
    /// When that will be, in seconds since 1970 by this device's clock; 0 if never.
    pub deadline_s: u64,
    /// The keys were destroyed because the day had come.
    pub destroyed: bool,
    /// When the vault was unlocked last, by a clock that nobody sets.
    pub(crate) awake: Awake,
}

/// A moment in the life of a machine since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Awake {
    /// Which start that was: random, chosen by the system; zeros where it does not tell.
    boot: [u8; 16],
    /// Seconds since then, sleep included.
    seconds: u64,
}

impl Awake {
    fn now() -> Self {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        let mut boot = [0; 16];
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok());
        match (fieldbook_proto::decode_hex(&digits, &mut boot), seconds) {
            (Ok(()), Some(seconds)) => Self { boot, seconds },
            _ => Self::default(),
        }
    }

    /// Whether it was less than so many days ago, without any doubt.
    fn is_within(self, days: u16) -> bool {
        let now = Self::now();
        self.boot != [0; 16]
            && self.boot == now.boot
            && now.seconds.saturating_sub(self.seconds) < u64::from(days) * DAY_S
    }
}

impl Rules {
    /// The rules of a vault. Those of one that has none, or whose file is damaged, destroy nothing.
    pub fn of(layout: &Layout) -> Self {
        Self::read(layout).unwrap_or_default()
    }

    /// The rules of a vault; none if its file is gone or damaged.
    fn read(layout: &Layout) -> Option<Self> {
        fs::read(layout.rules()).ok().and_then(|bytes| Self::parse(&bytes))
    }

    /// The rules for a process that looks again and again: it goes by those that it has read last if they are gone now, and
    /// puts them back. A daemon may remove files in the vault's directory, and make none: what is gone was not
    /// taken away by the owner, who changes rules and never removes them.
    pub fn still(last: &mut Option<Self>, layout: &Layout) -> Self {
        match (Self::read(layout), *last) {
            (Some(rules), _) => *last = Some(rules),
            // Nor does a vault come back that was just removed.
            (None, Some(rules)) if layout.slots().exists() => drop(rules.write(layout)),
            (None, _) => {}
        }
        last.unwrap_or_default()
    }

    /// What an open vault keeps of its rules inside.
    pub(crate) fn kept(self) -> [u8; 3] {
        let [high, low] = self.dead_man_days.to_be_bytes();
        [u8::from(self.wipe_unasked), high, low]
    }

    /// The vault is open, and keeps its rules inside as well, should their file be gone when it is opened next.
    pub(crate) fn keep(db: &Connection, layout: &Layout) {
        // What is gone is no word of the owner's.
        let Some(rules) = Self::read(layout) else { return };
        let kept = rules.kept();
        if store::meta(db, KEPT).is_ok_and(|before| before.as_deref().unwrap_or(&[0; 3]) != kept) {
            // A full disk must not keep the vault shut.
            let _ = store::set_meta(db, KEPT, &kept);
        }
    }

    /// The vault is open. If its rules are gone they are what it kept of them, and the days begin anew; a vault of before
    /// the rules gets its file.
    pub(crate) fn bring_back(db: &Connection, layout: &Layout) {
        if Self::read(layout).is_some() {
            return;
        }
        let Ok(kept) = store::meta(db, KEPT) else { return };
        let kept = kept.and_then(|kept| <[u8; 3]>::try_from(kept).ok()).unwrap_or_default();
        let [unasked, high, low] = kept;
        let rules = Self {
            wipe_unasked: unasked == 1,
            dead_man_days: u16::from_be_bytes([high, low]),
            ..Self::default()
        };
        if rules.write(layout).is_ok() {
            Self::unlocked(layout);
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LEN || bytes[0] != VERSION {
            return None;
        }
        let mut reader = Reader::new(&bytes[1..]);
        let flags = reader.u8("flags").ok()?;
        let days = reader.u16("days").ok()?;
        let deadline_s = reader.u64("deadline").ok()?;
        Some(Self {
            wipe_unasked: flags & UNASKED != 0,
            dead_man_days: days,
            deadline_s: if days == 0 { 0 } else { deadline_s },
            destroyed: flags & DESTROYED != 0,
            awake: Awake { boot: reader.array("boot").ok()?, seconds: reader.u64("awake").ok()? },
        })
    }

    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1] = u8::from(self.wipe_unasked) * UNASKED + u8::from(self.destroyed) * DESTROYED;
        bytes[2..4].copy_from_slice(&self.dead_man_days.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.deadline_s.to_be_bytes());
        bytes[12..28].copy_from_slice(&self.awake.boot);
        bytes[28..36].copy_from_slice(&self.awake.seconds.to_be_bytes());
        bytes
    }

    /// As if the machine had been started anew since.
    #[cfg(test)]
    pub(crate) fn long_ago(self) -> Self {
        Self { awake: Awake::default(), ..self }
    }

    pub(crate) fn write(self, layout: &Layout) -> Result<(), VaultError> {
        durable::replace(layout, &layout.rules(), &self.to_bytes())
    }

    /// The vault was unlocked: the days begin anew. A medium that cannot be written keeps no count of them.
    pub(crate) fn unlocked(layout: &Layout) {
        let mut rules = Self::of(layout);
        if rules.dead_man_days > 0 {
            // A clock that went back must not bring the day nearer.
            rules.deadline_s = rules.deadline_s.max(deadline(rules.dead_man_days));
            rules.awake = Awake::now();
            // In place: a full disk must not cost the keys of somebody who unlocks every day.
            let _ = durable::overwrite_at(&layout.rules(), 0, &rules.to_bytes());
        }
    }

    /// Destroys the keys if the day has come, and what is left of them if somebody began to. Whether they are destroyed.
    ///
    /// # Errors
    /// The disk's.
    pub fn enforce(layout: &Layout) -> Result<bool, VaultError> {
        Self::of(layout).come_true(layout)
    }

    /// The same, by these rules.
    ///
    /// # Errors
    /// The disk's.
    pub fn come_true(self, layout: &Layout) -> Result<bool, VaultError> {
        if wipe::was_begun(layout) {
            // It may have been cut off. What is on a medium that cannot be written opens no more than elsewhere.
            let _ = wipe::destroy_keys(layout);
            return Ok(true);
        }
        let mut rules = self;
        if rules.destroyed {
            return Ok(true);
        }
        if rules.dead_man_days == 0
            || now_s() <= rules.deadline_s
            || rules.awake.is_within(rules.dead_man_days)
        {
            return Ok(false);
        }
        wipe::destroy_keys(layout)?;
        rules.destroyed = true;
        // The slots say it too. A full disk must not let anybody live on who has the keys.
        let _ = rules.write(layout);
        Ok(true)
    }
}

/// So many days from now.
pub(crate) fn deadline(days: u16) -> u64 {
    now_s().saturating_add(u64::from(days) * DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_and_anything_else_destroys_nothing() {
        let rules =
            Rules { wipe_unasked: true, dead_man_days: 30, deadline_s: 1_500_000_000, ..Rules::default() };
        let rules = Rules { awake: Awake { boot: [7; 16], seconds: 9 }, ..rules };
        let bytes = rules.to_bytes();
        assert_eq!(Rules::parse(&bytes), Some(rules));
        assert_eq!(Rules::parse(&Rules::default().to_bytes()), Some(Rules::default()));
        assert_eq!(Rules::parse(&bytes[..LEN - 1]), None);
        assert_eq!(Rules::parse(&[0xff; LEN]), None);
        let now = Awake::now();
        assert!(now.is_within(1) && !Awake { boot: [7; 16], ..now }.is_within(1) && !now.is_within(0));
        assert!(!Awake::default().is_within(1));
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(Rules::of(&layout), Rules::default());
        std::fs::write(layout.rules(), [0xff; LEN]).unwrap();
        assert!(!Rules::enforce(&layout).unwrap());
    }
}
