//! The process that answers an operator's questions to a relay's depot: the job from standard input, one line
//! on standard output.

use std::ffi::OsString;
use std::fs::File;
#[cfg(feature = "bucket")]
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use fieldbook_daemon::relay::{Collected, RelaySettings, RelayStatus, Share, collect_all};
use fieldbook_depot::{Depot, SqlDepot};
use serde::{Deserialize, Serialize};

use super::courier::{end_with_the_parent, say};
use super::job::{self, Job, Task};
use crate::agent::process::keep_files_private;
use crate::confine::{self, Role};
use crate::error::Failure;
use crate::wipe::InUse;

/// The setting of the vault's depot that names the file that names the bucket.
const BUCKET: &str = "relay-bucket";
/// What a relay in a bucket takes for the room there, of which nobody tells it.
const ROOM_IN_A_BUCKET: u64 = 200 << 30;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How it stands.
    Status,
    /// Change its policy; what has none yet gets one.
    Set(Change),
    /// The same, and from now on its depot is in a bucket.
    #[cfg(feature = "bucket")]
    SetInBucket {
        /// The policy.
        change: Change,
        /// The file that names the bucket.
        file: PathBuf,
        /// A depot is begun there.
        new: bool,
    },
    /// Drop what is due.
    Collect {
        /// Only say what that is.
        dry_run: bool,
    },
}

/// What changes of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it listens.
    pub listen: Option<String>,
    /// Bytes in all.
    pub total_bytes: Option<u64>,
    /// Bytes of one device.
    pub device_bytes: Option<u64>,
    /// The longest term, in seconds.
    pub keep_s: Option<u64>,
    /// The term of what has arrived, in seconds.
    pub keep_received_s: Option<u64>,
    /// What is younger is never dropped, in seconds.
    pub floor_s: Option<u64>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// How it stands.
    Status(Box<RelayStatus>),
    /// Its policy now.
    Policy(RelaySettings),
    /// What was dropped, or would be.
    Collected(Collected),
    /// It did not work.
    Failed(Failure),
}

impl Change {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a new relay could have it, with so much free where it is made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, in_bucket: bool, vault: &Path) -> Result<(), Failure> {
        let there = vault.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
        let disk = rustix::fs::statvfs(there).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        // A disk that does not say how much it has free is asked again when it counts.
        let free = if in_bucket { ROOM_IN_A_BUCKET } else { disk.unwrap_or(ROOM_IN_A_BUCKET) };
        self.clone().apply(None, free).map(drop)
    }

    /// The policy after it. `free`: what the disk has, for a relay that has no quotas yet.
    fn apply(self, before: Option<RelaySettings>, free: u64) -> Result<RelaySettings, Failure> {
        let (total, device) = RelaySettings::quotas(free);
        let mut policy = before.unwrap_or_else(|| RelaySettings {
            listen: RelaySettings::LISTEN.to_owned(),
            total_bytes: total,
            device_bytes: device,
            share: Share::OfTotal,
            keep_s: RelaySettings::KEEP_S,
            keep_received_s: RelaySettings::KEEP_RECEIVED_S,
            floor_s: RelaySettings::FLOOR_S,
        });
        let Self { listen, total_bytes, device_bytes, keep_s, keep_received_s, floor_s } = self;
        policy.listen = listen.unwrap_or(policy.listen);
        // One device's share follows, unless it was said.
        total_bytes.into_iter().for_each(|total| policy.set_total(total));
        device_bytes.into_iter().for_each(|bytes| policy.choose_share(bytes));
        policy.keep_s = keep_s.unwrap_or(policy.keep_s);
        policy.keep_received_s = keep_received_s.unwrap_or(policy.keep_received_s.min(policy.keep_s));
        // Never lowered by the way: it is what protects from a mistake with the others.
        policy.floor_s = floor_s.unwrap_or(policy.floor_s);
        match policy.fault() {
            None => Ok(policy),
            Some(why) => Err(Failure::usage("bad-policy", format!("this cannot be a relay's policy: {why}"))
                .hint("nothing was changed; `fieldbook relay set --help` explains each number")),
        }
    }
}

/// Runs it.
///
/// # Errors
/// Nobody can be told. What went wrong otherwise is told on standard output.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    let doing = "the job cannot be read";
    let orders = rustix::stdio::stdin();
    let mut orders = File::from(orders.try_clone_to_owned().map_err(Failure::io(doing))?);
    let Job { network, task } = job::read(&mut orders)?;
    let Task::Relay(ask) = task else {
        return Err(Failure::failed("internal", "this job is not a relay's"));
    };
    let key = job::depot_key(&network)?;
    let _in_use = InUse::of_depot(&network.depot);
    let opened = SqlDepot::open(&network.depot, &key).map_err(Failure::from);
    let opened = opened.and_then(|local| Ok((There::of(&local, &ask)?, local)));
    let there = opened.as_ref().ok().and_then(|(there, _)| there.as_ref());
    confine::enforce(&carrier(&network.depot, there)?);
    end_with_the_parent(orders);
    let answer = opened.and_then(|(there, local)| answer_where_it_is(&local, &network.depot, there, ask));
    say(&answer.unwrap_or_else(Said::Failed))
}

/// What a process with a depot may do that may be in a bucket.
///
/// # Errors
/// The directory that it works in cannot be made.
pub(super) fn carrier<'a>(depot: &'a Path, there: Option<&There>) -> Result<Role<'a>, Failure> {
    #[cfg_attr(not(feature = "bucket"), expect(unused_mut, reason = "a bucket adds to it"))]
    let mut role = Role::carrier(depot, there.is_some());
    #[cfg(feature = "bucket")]
    if let (Role::Carrier { writes, .. }, Some(_), Some(vault)) = (&mut role, there, depot.parent()) {
        writes.push(super::bucket::work(vault)?);
    }
    Ok(role)
}

/// The bucket in which a relay's depot is. Its files are read before this process is confined.
#[derive(Debug)]
pub(super) struct There {
    #[cfg(feature = "bucket")]
    bucket: super::bucket::Bucket,
}

impl There {
    /// The one that is named now, or that was remembered.
    fn of(local: &dyn Depot, ask: &Ask) -> Result<Option<Self>, Failure> {
        #[cfg(feature = "bucket")]
        if let Ask::SetInBucket { file, new, .. } = ask {
            return Ok(Some(Self { bucket: super::bucket::read(file, *new)? }));
        }
        let _ = ask;
        Self::remembered(local)
    }

    /// The one that was remembered.
    ///
    /// # Errors
    /// Its files cannot be read; or this program knows no buckets.
    pub(super) fn remembered(local: &dyn Depot) -> Result<Option<Self>, Failure> {
        let Some(file) = in_bucket(local)? else { return Ok(None) };
        #[cfg(feature = "bucket")]
        return Ok(Some(Self { bucket: super::bucket::read(&file, false)? }));
        #[cfg(not(feature = "bucket"))]
        {
            drop(file);
            Ok(None)
        }
    }

    /// Opens the depot.
    #[cfg(feature = "bucket")]
    pub(super) fn open(&self, depot: &Path) -> Result<fieldbook_bucket::BucketDepot, Failure> {
        self.bucket.open(depot.parent().unwrap_or(Path::new(".")))
    }
}

/// The file that names the bucket in which this relay's depot is, if it is in one.
///
/// # Errors
/// The depot's; or this program knows no buckets.
pub(super) fn in_bucket(local: &dyn Depot) -> Result<Option<PathBuf>, Failure> {
    let named = local.setting(BUCKET).map_err(fieldbook_daemon::DaemonError::Depot)?;
    if named.is_some() && !cfg!(feature = "bucket") {
        let what = "this relay's depot is in a bucket, and this program was built without buckets";
        return Err(Failure::failed("bucket", what).hint("use the program as it is published"));
    }
    Ok(named.map(|path| PathBuf::from(OsString::from_vec(path))))
}

#[cfg(not(feature = "bucket"))]
fn answer_where_it_is(local: &SqlDepot, _: &Path, _: Option<There>, ask: Ask) -> Result<Said, Failure> {
    answer(local, ask)
}

#[cfg(feature = "bucket")]
fn answer_where_it_is(
    local: &SqlDepot,
    path: &Path,
    there: Option<There>,
    ask: Ask,
) -> Result<Said, Failure> {
    let Some(there) = there else { return answer(local, ask) };
    let depot = there.open(path)?;
    if let Ask::SetInBucket { change, file, .. } = ask {
        super::in_step::adopt(local, &depot)?;
        let said = answer(&depot, Ask::Set(change))?;
        // Last: what is remembered can be used.
        local.set_setting(BUCKET, Some(file.as_os_str().as_bytes()))?;
        return Ok(said);
    }
    let collected = matches!(ask, Ask::Collect { dry_run: false });
    let said = answer(&depot, ask)?;
    if collected {
        // And what was left behind by processes that were cut short.
        depot.sweep()?;
    }
    Ok(said)
}

fn answer(depot: &dyn Depot, ask: Ask) -> Result<Said, Failure> {
    let policy = RelaySettings::load(depot)?;
    match ask {
        Ask::Status => Ok(Said::Status(Box::new(RelayStatus::of(depot)?.ok_or_else(no_policy)?))),
        Ask::Set(change) => {
            let policy = change.apply(policy, depot.room_on_disk()?.unwrap_or(ROOM_IN_A_BUCKET))?;
            policy.store(depot)?;
            Ok(Said::Policy(policy))
        }
        #[cfg(feature = "bucket")]
        Ask::SetInBucket { change, .. } => answer(depot, Ask::Set(change)),
        Ask::Collect { dry_run } => {
            Ok(Said::Collected(collect_all(depot, &policy.ok_or_else(no_policy)?, dry_run)?))
        }
    }
}

/// A relay that was not made by `relay init`.
pub(super) fn no_policy() -> Failure {
    Failure::failed("no-relay", "this relay has no policy yet").hint("`fieldbook relay set` gives it one")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_share_follows_the_total_unless_it_was_said_and_what_was_said_comes_back() {
        let total = |bytes| Change { total_bytes: Some(bytes), ..Change::default() };
        let share = |bytes| Change { device_bytes: Some(bytes), ..Change::default() };
        let of = |policy: &RelaySettings| (policy.total_bytes / GIB, policy.device_bytes / GIB);
        let first = total(40 * GIB).apply(None, 0).unwrap();
        let lower = total(4 * GIB).apply(Some(first.clone()), 0).unwrap();
        let again = total(40 * GIB).apply(Some(lower.clone()), 0).unwrap();
        assert_eq!([of(&first), of(&lower), of(&again)], [(40, 10), (4, 1), (40, 10)]);
        let chosen = share(20 * GIB).apply(Some(first.clone()), 0).unwrap();
        let lower = total(4 * GIB).apply(Some(chosen.clone()), 0).unwrap();
        let again = total(40 * GIB).apply(Some(lower.clone()), 0).unwrap();
        assert_eq!([of(&chosen), of(&lower), of(&again)], [(40, 20), (4, 4), (40, 20)]);
        // What a version wrote that did not note it: a quarter follows, another number was chosen.
        let older = |policy: &RelaySettings| RelaySettings { share: Share::NotNoted, ..policy.clone() };
        let json = serde_json::to_string(&first).unwrap().replace(r#","share":"of-total""#, "");
        assert_eq!(serde_json::from_str::<RelaySettings>(&json).unwrap(), older(&first));
        assert_eq!(of(&total(8 * GIB).apply(Some(older(&first)), 0).unwrap()), (8, 2));
        let lower = total(8 * GIB).apply(Some(older(&chosen)), 0).unwrap();
        assert_eq!(
            (of(&lower), of(&total(40 * GIB).apply(Some(lower.clone()), 0).unwrap())),
            ((8, 8), (40, 20))
        );
    }

    #[test]
    fn a_policy_has_sensible_numbers_and_changes_one_by_one() {
        let first = Change::default().apply(None, 100 * GIB).unwrap();
        assert_eq!((first.total_bytes, first.device_bytes, first.fault()), (50 * GIB, 50 * GIB / 4, None));
        assert_eq!(Change::default().apply(None, 0).unwrap().fault(), None, "also on a full disk");
        let smaller = Change { total_bytes: Some(GIB), ..Change::default() };
        let next = smaller.clone().apply(Some(first.clone()), 0).unwrap();
        assert_eq!((next.total_bytes, next.device_bytes, next.keep_s), (GIB, GIB / 4, first.keep_s));
        assert_eq!(smaller.apply(None, 0).unwrap().device_bytes, GIB / 4);
        let sooner = Change { keep_s: Some(10 * 86_400), ..Change::default() };
        let next = sooner.apply(Some(first.clone()), 0).unwrap();
        assert_eq!((next.keep_received_s, next.floor_s), (10 * 86_400, RelaySettings::FLOOR_S));
        for bad in [
            Change { keep_s: Some(86_400), ..Change::default() },
            Change { device_bytes: Some(60 * GIB), ..Change::default() },
            Change { total_bytes: Some(1), ..Change::default() },
            Change { floor_s: Some(u64::MAX), ..Change::default() },
            Change { floor_s: Some(RelaySettings::FLOOR_LEAST_S - 1), ..Change::default() },
            Change { keep_received_s: Some(RelaySettings::KEEP_S + 1), ..Change::default() },
        ] {
            assert_eq!(bad.clone().apply(Some(first.clone()), 0).unwrap_err().code, "bad-policy", "{bad:?}");
        }
    }
}
