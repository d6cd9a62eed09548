//! Entries that a session has moved so far, counted as they move: a session that stays may run for weeks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What moved, in one session or in several together.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    received: AtomicU64,
    sent: AtomicU64,
}

/// One session's, which count for those of the whole daemon, too.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    own: Arc<Moved>,
    all: Arc<Moved>,
}

impl Moved {
    /// Entries that came, and are stored.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Entries that the other side has stored, or had.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

impl Counts {
    /// A new session's, among all.
    pub fn among(all: &Arc<Moved>) -> Self {
        Self { own: Arc::default(), all: all.clone() }
    }

    /// This session's.
    pub fn received(&self) -> u64 {
        self.own.received()
    }

    /// This session's.
    pub fn sent(&self) -> u64 {
        self.own.sent()
    }

    /// So many more came.
    pub fn add_received(&self, entries: usize) {
        for moved in [&self.own, &self.all] {
            moved.received.fetch_add(entries as u64, Relaxed);
        }
    }

    /// So many more went.
    pub fn add_sent(&self, entries: usize) {
        for moved in [&self.own, &self.all] {
            moved.sent.fetch_add(entries as u64, Relaxed);
        }
    }
}
