//! Who stays when a coordinator is removed, of those it admitted.
//!
//! Whom a coordinator in wrong hands has certified may be nobody's: a *sleeper*, another device of whoever
//! has it. So a removal of a lost device keeps none of its coordinators unless they are named, and no
//! removal keeps recovery sheets that the removed one made: whoever has it may have a copy.

use std::collections::BTreeSet;

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Act, Role};
use fieldbook_proto::limits::COORDINATORS_MAX;
use rusqlite::Connection;

use super::Team;
use super::members::{all, find};
use crate::error::VaultError;
use crate::store;
use crate::views::Admitted;

/// Which of the coordinators stay that a removed device certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keep {
    /// All.
    All,
    /// These.
    Only(Vec<DeviceId>),
}

impl Keep {
    /// What a person means who names nobody.
    pub fn by_default(act: Act) -> Self {
        if act == Act::Lost { Self::Only(Vec::new()) } else { Self::All }
    }

    fn names(&self, device: &DeviceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(named) => named.contains(device),
        }
    }
}

impl Team {
    /// The coordinators who stay of those that `device` certified; ascending, as a removal lists them.
    ///
    /// `remover` stays in any case, and so does whoever is between the two: else its removal would take
    /// its own ground away.
    pub(super) fn kept_without(&self, device: &DeviceId, remover: &DeviceId, keep: &Keep) -> Vec<DeviceId> {
        let paper = self.paper_device();
        let needed = self.ground_of(remover);
        let mut kept: Vec<DeviceId> = self
            .authority
            .coordinators()
            .iter()
            .filter(|(id, certificate)| *id != device && certificate.body().issuer == *device)
            .filter(|(id, _)| needed.contains(id) || (keep.names(id) && Some(**id) != paper))
            .map(|(id, _)| *id)
            .collect();
        kept.sort();
        kept.truncate(COORDINATORS_MAX);
        kept
    }

    /// A coordinator, who certified it, who certified that one, up to the founder.
    fn ground_of(&self, coordinator: &DeviceId) -> BTreeSet<DeviceId> {
        let (mut ground, mut at) = (BTreeSet::new(), *coordinator);
        while ground.insert(at) {
            let Some(certificate) = self.authority.ever_coordinator(&at) else { break };
            at = certificate.body().issuer;
        }
        ground
    }

    /// Whom a device admitted or certified last, as far as this one knows, and who of them stays.
    pub(super) fn admitted_by(
        &self,
        db: &Connection,
        device: &DeviceId,
        kept: &[DeviceId],
    ) -> Result<Vec<Admitted>, VaultError> {
        let mut ids = BTreeSet::new();
        let mut statement = db.prepare_cached(
            "SELECT subject FROM act WHERE kind = 'admitted' AND device = ?1 AND subject IS NOT NULL",
        )?;
        let mut rows = statement.query([device.as_bytes()])?;
        while let Some(row) = rows.next()? {
            ids.insert(DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(0)?, "a device id")?));
        }
        let certified = |id: &DeviceId| {
            self.authority.ever_coordinator(id).is_some_and(|primary| primary.body().issuer == *device)
        };
        for known in all(db)?.iter().filter(|known| known.member) {
            if known.certificate.body().issuer == *device || certified(&known.id()) {
                ids.insert(known.id());
            }
        }
        let mut admitted = Vec::new();
        for id in ids {
            if id == *device || self.authority.is_removed(&id) {
                continue;
            }
            let Some(known) = find(db, &id)? else { continue };
            let coordinator = self.authority.is_coordinator(&id);
            let role = if coordinator { Role::Coordinator } else { known.certificate.body().role };
            admitted.push(Admitted {
                device: id.to_string(),
                label: known.label,
                role: role.word().to_owned(),
                stays: !coordinator || kept.contains(&id) || !certified(&id),
            });
        }
        Ok(admitted)
    }
}
