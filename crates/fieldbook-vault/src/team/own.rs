//! This device's own certificates: what each coordinator of its desk signed for it last, and which of
//! them it shows.
//!
//! No single coordinator may take a device's place from it, by a certificate with a high number or one
//! that has run out: of what the others signed the device shows what serves it best. What somebody signed
//! who was removed later counts least, in whatever order the device hears of it.

use fieldbook_proto::certificate::{Authority, Certificate, Role};
use rusqlite::{Connection, params};

use super::Team;
use crate::error::VaultError;

/// Keeps a certificate of this device: of those by one coordinator the later one. `certificate` must be
/// genuine and for this device.
pub(super) fn keep(db: &Connection, certificate: &Certificate) -> Result<(), VaultError> {
    let issuer = certificate.body().issuer;
    let later = kept(db)?
        .iter()
        .filter(|present| present.body().issuer == issuer)
        .all(|present| numbers(present) < numbers(certificate));
    if later {
        db.prepare_cached("INSERT OR REPLACE INTO own_certificate (issuer, certificate) VALUES (?1, ?2)")?
            .execute(params![issuer.as_bytes(), certificate.encode()])?;
    }
    Ok(())
}

/// Shows the best of what is kept. Whether that is another one than before.
pub(super) fn show_best(db: &Connection, authority: &Authority) -> Result<bool, VaultError> {
    let shown = Team::stored_certificate(db)?;
    let mut best = shown.clone();
    for certificate in kept(db)? {
        if worth(authority, &shown, &best) < worth(authority, &shown, &certificate) {
            best = certificate;
        }
    }
    if best == shown {
        return Ok(false);
    }
    // Whoever signed the better one may be removed one day.
    keep(db, &shown)?;
    Team::set_certificate(db, &best)?;
    Ok(true)
}

fn kept(db: &Connection) -> Result<Vec<Certificate>, VaultError> {
    let mut statement = db.prepare_cached("SELECT certificate FROM own_certificate")?;
    let mut rows = statement.query([])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        kept.push(Certificate::decode(&row.get::<_, Vec<u8>>(0)?)?);
    }
    Ok(kept)
}

/// Which of two certificates by one coordinator is the later.
fn numbers(certificate: &Certificate) -> (u32, u64) {
    (certificate.body().serial, certificate.body().not_after)
}

/// Which of this device's certificates serves it best: for its desk, in the role that it has, by somebody
/// who stands; of those the one that lives longest.
fn worth(
    authority: &Authority,
    shown: &Certificate,
    certificate: &Certificate,
) -> (bool, bool, bool, u64, u32) {
    let (device, body) = (certificate.device_id(), certificate.body());
    let role = if authority.is_coordinator(&device) {
        Role::Coordinator
    } else if authority.ever_coordinator(&device).is_some() {
        Role::Monitor
    } else {
        shown.body().role
    };
    let stands = authority.is_coordinator(&body.issuer);
    (body.desk == shown.body().desk, body.role == role, stands, body.not_after, body.serial)
}
