//! How the calls of a daemon stand, by address, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::control::CallStatus;

/// How often it is looked whether somebody is connected.
const LOOK: Duration = Duration::from_millis(20);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, CallStatus>>);

impl Board {
    pub fn all(&self) -> Vec<CallStatus> {
        self.lock().values().cloned().collect()
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        self.lock().values().filter(|call| call.connected_ms.is_some()).count()
    }

    /// Waits until nobody is.
    pub async fn quiet(&self) {
        while self.connected() > 0 {
            sleep(LOOK).await;
        }
    }

    /// False if the address stands there already.
    pub fn enter(&self, address: &str) -> bool {
        let mut calls = self.lock();
        if calls.contains_key(address) {
            return false;
        }
        let status = CallStatus { address: address.to_owned(), ..CallStatus::default() };
        calls.insert(address.to_owned(), status);
        true
    }

    /// It is dialled no more.
    pub fn remove(&self, address: &str) {
        self.lock().remove(address);
    }

    pub fn change(&self, address: &str, change: impl FnOnce(&mut CallStatus)) {
        if let Some(status) = self.lock().get_mut(address) {
            change(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CallStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
