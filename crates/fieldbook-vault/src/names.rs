//! Who a device or an author is, in words for this vault's user.

use std::collections::HashMap;

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::Role;
use fieldbook_report::ActorId;

use crate::error::VaultError;
use crate::store;
use crate::vault::{NAME_MAX, Vault};

/// The automerge actor of a device: the first 16 bytes of its id.
pub(crate) fn actor_of(device: &DeviceId) -> ActorId {
    let mut actor = [0; 16];
    actor.copy_from_slice(&device.as_bytes()[..16]);
    actor
}

/// A name that a person typed: trimmed, not empty, not too long, without control characters.
pub(crate) fn check_name(name: &str) -> Result<String, VaultError> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(VaultError::BadName);
    }
    Ok(name.to_owned())
}

/// Labels of the devices this vault knows.
pub(crate) struct Names {
    by_device: HashMap<DeviceId, String>,
    by_actor: HashMap<String, String>,
}

impl Names {
    /// A device's label, or the beginning of its id.
    pub fn device(&self, id: &DeviceId) -> String {
        self.by_device.get(id).cloned().unwrap_or_else(|| format!("device {}", id.short()))
    }

    /// A device that this one met. Of relays a monitor knows no labels, and the digits of one help nobody.
    pub fn peer(&self, id: &DeviceId, role: Role) -> String {
        match self.by_device.get(id) {
            None if role == Role::Relay => "the relay".to_owned(),
            _ => self.device(id),
        }
    }

    /// The label of an automerge actor (hexadecimal), or the beginning of the actor.
    pub fn actor(&self, actor: &str) -> String {
        let short: String = actor.chars().take(8).collect();
        self.by_actor.get(actor).cloned().unwrap_or_else(|| format!("device {short}"))
    }
}

impl Vault {
    pub(crate) fn names(&self) -> Result<Names, VaultError> {
        let mut by_device = HashMap::from([(self.me, self.name.clone())]);
        let mut statement = self.db.prepare_cached("SELECT id, label FROM device")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = DeviceId::from_bytes(store::array(
                row.get_ref(0)?.as_blob().unwrap_or_default(),
                "a device id",
            )?);
            by_device.entry(id).or_insert(row.get(1)?);
        }
        let by_actor = by_device
            .iter()
            .map(|(id, label)| (fieldbook_proto::encode_hex(&actor_of(id)), label.clone()))
            .collect();
        Ok(Names { by_device, by_actor })
    }
}
