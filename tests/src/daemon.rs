//! A daemon that runs as long as the test needs it.

use serde_json::Value;

use crate::{Machine, Running, free_port};

/// `fieldbook daemon --listen`, already listening.
pub struct Daemon {
    /// Its process.
    pub process: Running,
    address: String,
}

impl Daemon {
    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Machine {
    /// Starts this machine's daemon on loopback and waits until it listens.
    pub fn daemon(&self) -> Daemon {
        self.daemon_at(&format!("127.0.0.1:{}", free_port()))
    }

    /// Starts it at a given address.
    pub fn daemon_at(&self, address: &str) -> Daemon {
        self.daemon_at_with(address, &[])
    }

    /// Starts it on loopback with further options.
    pub fn daemon_with(&self, options: &[&str]) -> Daemon {
        self.daemon_at_with(&format!("127.0.0.1:{}", free_port()), options)
    }

    /// Starts it at a given address with further options.
    pub fn daemon_at_with(&self, address: &str, options: &[&str]) -> Daemon {
        let mut process = self.start(&[&["daemon", "--listen", address], options].concat());
        let line: Value = process.object_with("listening");
        let address = line["listening"].as_str().unwrap_or(address).to_owned();
        Daemon { process, address }
    }
}
