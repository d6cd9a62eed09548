//! How far a session is, for whoever looks from beside it.

use std::sync::{Mutex, PoisonError};

use fieldbook_proto::session::Progress;

/// Set by the session after every step, read by anybody at any time.
#[derive(Debug, Default)]
pub struct Gauge(Mutex<Progress>);

impl Gauge {
    /// How far the session is.
    pub fn read(&self) -> Progress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}
