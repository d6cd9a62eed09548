//! The depot of a vault and the one in a bucket keep each other up to date: what the vault says of the team goes
//! into the bucket, what it writes, too, and what comes to the bucket goes to the vault, where its agent absorbs
//! what is for it.
//!
//! Several processes may serve one bucket, each beside a copy of the same vault. What a vault says goes there
//! once for each change, and only if the bucket does not know better already: a vault that slept must not
//! let in again whom the others have removed.
//!
//! Once a day a relay also removes from the bucket what processes left behind that were cut short, and gives up what
//! the bucket has not given for a week. Any of the processes on a bucket may do so at any time, and several at once
//! (`protocol/bucket.md`, Fences).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fieldbook_bucket::BucketDepot;
use fieldbook_daemon::DaemonError;
use fieldbook_daemon::relay::{self, RelaySettings};
use fieldbook_depot::{Depot, DepotError, Incoming, Lookup, State};
use fieldbook_proto::certificate::{Authority, Certificate};
use fieldbook_proto::codec::Reader;
use fieldbook_proto::session::limits::SMALL_ENTRY_MAX;
use fieldbook_proto::{DepotId, EntryId};

use crate::error::Failure;

/// What a daemon in a vault shows and believes. In the bucket it is what all processes on it show.
const IDENTITY: [&str; 4] = ["transport-seed", "certificate", "authority", "transport-secrets"];
/// How far the vault's own order was taken into the bucket: the bucket's id and a position. It lies in the vault's
/// depot, because copies of a vault have one depot id, and orders that differ.
const TAKEN: &str = "taken-to-bucket";
/// How often the two depots look at each other.
const PAUSE: Duration = Duration::from_secs(2);
/// In every so many rounds, what the bucket has dropped is dropped from a relay's vault.
const DROP_ROUNDS: u64 = 1_800;
/// Entries that could not be read and are tried again: as many are remembered, and tried in one round.
const MISSING_MAX: usize = 65_536;
const TRIED_AGAIN: usize = 64;
/// The longest pause between two tries, in rounds.
const TRY_ROUNDS_MAX: u32 = 1_800;
/// How often it is said that the two are not in step.
const WORDS: Duration = Duration::from_secs(600);
/// How often a relay sweeps the bucket, at most; and in which part of its shortest term.
const SWEEP: Duration = Duration::from_secs(24 * 60 * 60);
const SWEEP_PART: u32 = 7;
/// What the bucket has not given for so long, of the time that the relay ran, at any look, it has lost.
const LOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Entries that go from one to the other at once.
const ENTRIES: usize = 256;
const BYTES: u64 = 8 << 20;

type Identity = [Option<Vec<u8>>; 4];

/// Takes the vault's identity into the bucket, unless another device's is there.
///
/// # Errors
/// Another device's is there, or one of the two depots fails.
pub fn adopt(local: &dyn Depot, bucket: &dyn Depot) -> Result<(), Failure> {
    let device = |depot: &dyn Depot| -> Result<_, Failure> {
        let certificate = depot.setting("certificate").map_err(DaemonError::Depot)?;
        Ok(certificate.and_then(|bytes| Certificate::decode(&bytes).ok()).map(|it| it.device_id()))
    };
    if let (Some(ours), Some(theirs)) = (device(local)?, device(bucket)?)
        && ours != theirs
    {
        let what = "the depot in this bucket is another device's relay: each bucket (or prefix) has one";
        return Err(Failure::failed("bucket", what).hint("give another bucket or another prefix"));
    }
    push(&identity(local).map_err(DaemonError::Depot)?, bucket).map_err(DaemonError::Depot)?;
    Ok(())
}

fn identity(depot: &dyn Depot) -> Result<Identity, DepotError> {
    let mut values = Identity::default();
    for (value, name) in values.iter_mut().zip(IDENTITY) {
        *value = depot.setting(name)?;
    }
    Ok(values)
}

/// Writes it into the bucket if it is another there, and not a later one. Whether anything was written.
fn push(ours: &Identity, bucket: &dyn Depot) -> Result<bool, DepotError> {
    let theirs = identity(bucket)?;
    if *ours == theirs || behind(ours, &theirs) {
        return Ok(false);
    }
    for ((name, value), before) in IDENTITY.into_iter().zip(ours).zip(&theirs) {
        if value != before {
            bucket.set_setting(name, value.as_deref())?;
        }
    }
    Ok(true)
}

/// Whether the other knows a removal, a coordinator, a renewal or an epoch that ours does not.
fn behind(ours: &Identity, theirs: &Identity) -> bool {
    let [_, our_certificate, our_authority, our_secrets] = ours;
    let [_, certificate, authority, secrets] = theirs;
    let read = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(|bytes| Authority::decode(bytes).ok());
    if let Some(theirs) = read(authority) {
        let Some(ours) = read(our_authority) else { return true };
        let removals: Vec<_> = ours.removals().collect();
        let unknown = theirs.coordinators().keys().any(|device| ours.ever_coordinator(device).is_none());
        if unknown || theirs.removals().any(|removal| !removals.contains(&removal)) {
            return true;
        }
    }
    let until = |bytes: &Option<Vec<u8>>| {
        let certificate = bytes.as_deref().and_then(|bytes| Certificate::decode(bytes).ok());
        certificate.map(|certificate| certificate.body().not_after)
    };
    until(certificate) > until(our_certificate) || epoch(secrets) > epoch(our_secrets)
}

/// The newest epoch of a list of transport secrets, which stands first.
fn epoch(secrets: &Option<Vec<u8>>) -> Option<u32> {
    let mut reader = Reader::new(secrets.as_deref()?);
    reader.count("transport secrets", usize::MAX).ok().filter(|count| *count > 0)?;
    reader.u32("epoch").ok()
}

/// Keeps the two in step as long as the bucket's depot is used. With `relay`, the vault is a relay's: it gets
/// small entries only, as those that say who is of the team are, and they go when the bucket drops them.
/// `changed` hears when something came to the vault, or went from it to the bucket; `log` hears why nothing does.
pub fn keep(
    local: Arc<dyn Depot>,
    bucket: Weak<BucketDepot>,
    relay: bool,
    changed: impl Fn() + Send + 'static,
    log: impl Fn(&str) + Send + 'static,
) {
    thread::spawn(move || {
        let mut steps = Steps::new(relay);
        let mut round: u64 = 0;
        let mut said: Option<Instant> = None;
        let mut sweeper = Sweeper { began: Instant::now(), sweeping: None };
        while let Some(bucket) = bucket.upgrade() {
            // A failure is the next round's.
            let trouble = match steps.step(local.as_ref(), bucket.as_ref()) {
                Ok(new) => {
                    if new {
                        changed();
                    }
                    steps.missing()
                }
                Err(error) => {
                    Some(format!("the bucket and this vault are not in step: {error}; it is tried again"))
                }
            };
            if let Some(trouble) = trouble.filter(|_| said.is_none_or(|said| said.elapsed() >= WORDS)) {
                log(&trouble);
                said = Some(Instant::now());
            }
            if relay && round.is_multiple_of(DROP_ROUNDS) {
                let _ = drop_what_is_gone(local.as_ref(), bucket.as_ref());
            }
            if relay && let Some(words) = sweeper.turn(&bucket) {
                log(&words);
            }
            round += 1;
            drop(bucket);
            thread::sleep(PAUSE);
        }
    });
}

/// Sweeps a bucket now and then. Looking through a large one takes minutes, so nobody waits for it.
struct Sweeper {
    began: Instant,
    sweeping: Option<JoinHandle<Option<String>>>,
}

impl Sweeper {
    /// Begins when it is time; what there is to say of the last time.
    fn turn(&mut self, bucket: &Arc<BucketDepot>) -> Option<String> {
        if self.sweeping.as_ref().is_some_and(|sweeping| !sweeping.is_finished()) {
            return None;
        }
        if let Some(swept) = self.sweeping.take() {
            return swept.join().ok().flatten();
        }
        let settings = RelaySettings::load(bucket.as_ref()).ok().flatten();
        if settings.is_none_or(|settings| self.began.elapsed() < settings.pace(SWEEP_PART, SWEEP)) {
            return None;
        }
        let bucket = Arc::clone(bucket);
        self.began = Instant::now();
        self.sweeping = Some(thread::spawn(move || {
            // What fails is left for the next time.
            let _ = bucket.sweep();
            give_up_lost(&bucket, LOST).ok().flatten()
        }));
        None
    }
}

/// Gives up what the bucket has lost; what is to be said of it.
fn give_up_lost(bucket: &BucketDepot, term: Duration) -> Result<Option<String>, DaemonError> {
    let term_ms = u64::try_from(term.as_millis()).unwrap_or(u64::MAX);
    let given_up = bucket.give_up_lost(relay::lived(bucket)?, term_ms)?;
    let lost = given_up.missing + given_up.altered;
    if lost == 0 {
        return Ok(None);
    }
    relay::note_lost(bucket, lost as u64)?;
    let (entries, they) = if lost == 1 { ("entry", "it is") } else { ("entries", "they are") };
    Ok(Some(format!(
        "THE BUCKET HAS LOST {lost} {entries} ({} missing, {} altered): {they} given up here. Devices that still have them \
         give them to coordinators by other ways; ask the bucket's provider",
        given_up.missing, given_up.altered
    )))
}

struct Steps {
    relay: bool,
    /// What the vault said when it was looked at last.
    pushed: Option<Identity>,
    to_bucket: Copying,
    from_bucket: Copying,
}

impl Steps {
    fn new(relay: bool) -> Self {
        Self { relay, pushed: None, to_bucket: Copying::default(), from_bucket: Copying::default() }
    }

    /// What could not be read, in words.
    fn missing(&self) -> Option<String> {
        let missing = self.from_bucket.missing.len();
        (missing > 0).then(|| {
            let what = if missing == 1 { "1 entry that is" } else { "entries that are" };
            format!("{what} in the bucket could not be read ({missing} in all); tried again")
        })
    }

    fn step(&mut self, local: &dyn Depot, bucket: &dyn Depot) -> Result<bool, DepotError> {
        bucket.head()?;
        let mut changed = false;
        let ours = identity(local)?;
        if self.pushed.as_ref() != Some(&ours) {
            changed |= push(&ours, bucket)?;
            self.pushed = Some(ours);
        }
        let most = if self.relay { SMALL_ENTRY_MAX } else { u32::MAX };
        let read = |ids: &[EntryId]| local.get_all(ids);
        changed |=
            self.to_bucket.step((local, &read), bucket, u32::MAX, taken(local, bucket)?, |position| {
                let value = [&bucket.depot_id().as_bytes()[..], &position.to_be_bytes()].concat();
                local.set_setting(TAKEN, Some(&value))
            })?;
        // How far the vault has read in the bucket is kept in the vault, as with any peer.
        let cursor = local.peer_cursor(&bucket.depot_id())?;
        let read = |ids: &[EntryId]| bucket.get_all(ids);
        changed |= self.from_bucket.step((bucket, &read), local, most, cursor, |position| {
            local.set_peer_cursor(&bucket.depot_id(), position)
        })?;
        Ok(changed)
    }
}

fn taken(local: &dyn Depot, bucket: &dyn Depot) -> Result<u64, DepotError> {
    let stored = local.setting(TAKEN)?.unwrap_or_default();
    let position = stored.split_first_chunk::<{ DepotId::LEN }>().and_then(|(depot, position)| {
        let position = u64::from_be_bytes(position.try_into().ok()?);
        (depot == bucket.depot_id().as_bytes()).then_some(position)
    });
    Ok(position.unwrap_or(0))
}

type Read<'a> = &'a dyn Fn(&[EntryId]) -> Result<Vec<Lookup>, DepotError>;

/// Copies what is held in one depot into the other, in its order.
#[derive(Default)]
struct Copying {
    /// Looked at up to here since this process began.
    seen: u64,
    /// What is held and could not be read, by its position. A bucket may withhold today and give tomorrow, and it may be
    /// a removal: so it is tried again, and no position beyond the first is remembered.
    missing: BTreeMap<u64, EntryId>,
    /// After which position of these the next round tries.
    turn: u64,
    /// Rounds until something is tried again, and how many the next pause has: each costs requests.
    pause: u32,
    next_pause: u32,
}

impl Copying {
    /// Goes on after what was remembered. Whether anything was new.
    fn step(
        &mut self,
        (from, read): (&dyn Depot, Read<'_>),
        to: &dyn Depot,
        most: u32,
        remembered: u64,
        remember: impl Fn(u64) -> Result<(), DepotError>,
    ) -> Result<bool, DepotError> {
        let mut new = self.again((from, read), to)?;
        let mut after = self.seen.max(remembered);
        loop {
            let arrivals = from.arrivals(after, ENTRIES, BYTES)?;
            let Some(last) = arrivals.last() else { break };
            after = last.position;
            let wanted: Vec<_> =
                arrivals.iter().filter(|it| it.state == State::Held && it.size <= most).collect();
            let unknown = to.unknown(&wanted.iter().map(|it| it.id).collect::<Vec<_>>())?;
            let found = read(&unknown)?;
            let mut batch = Vec::new();
            let mut full = false;
            for (id, found) in unknown.iter().zip(&found) {
                let Some(arrival) = wanted.iter().find(|it| it.id == *id) else { continue };
                if let Lookup::Held(bytes) = found {
                    batch.push(Incoming { id: *id, bytes, from: arrival.from });
                } else if self.missing.len() < MISSING_MAX {
                    self.missing.insert(arrival.position, *id);
                } else {
                    full = true;
                }
            }
            new |= to.put(&batch)?.added > 0;
            if full {
                // Nothing is passed that is not remembered: the next round looks at this page again.
                break;
            }
            self.seen = after;
        }
        let seen = self.seen.max(remembered);
        let safe = self.missing.first_key_value().map_or(seen, |(position, _)| position.saturating_sub(1));
        if safe > remembered {
            remember(safe)?;
        }
        Ok(new)
    }

    /// Tries some of what could not be read. Whether anything was new.
    fn again(&mut self, (from, read): (&dyn Depot, Read<'_>), to: &dyn Depot) -> Result<bool, DepotError> {
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(false);
        }
        let next: Vec<u64> =
            self.missing.range(self.turn.saturating_add(1)..).map(|(at, _)| *at).take(TRIED_AGAIN).collect();
        self.turn = if next.len() < TRIED_AGAIN { 0 } else { next.last().copied().unwrap_or(0) };
        let ids: Vec<EntryId> = next.iter().filter_map(|at| self.missing.get(at).copied()).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        let known = from.known(&ids)?;
        let found = read(&ids)?;
        let (mut batch, mut over) = (Vec::new(), Vec::new());
        for ((at, id), found) in next.iter().zip(&ids).zip(&found) {
            let arrival = known.iter().find(|it| it.id == *id && it.state == State::Held);
            match (arrival, found) {
                (Some(arrival), Lookup::Held(bytes)) => {
                    batch.push(Incoming { id: *id, bytes, from: arrival.from });
                    over.push(*at);
                }
                // It was dropped meanwhile.
                (None, _) => over.push(*at),
                (Some(_), _) => {}
            }
        }
        let new = to.put(&batch)?.added > 0;
        self.missing.retain(|at, _| !over.contains(at));
        self.next_pause = if over.is_empty() { (2 * self.next_pause).clamp(1, TRY_ROUNDS_MAX) } else { 0 };
        self.pause = self.next_pause;
        Ok(new)
    }
}

fn drop_what_is_gone(local: &dyn Depot, bucket: &dyn Depot) -> Result<(), DepotError> {
    let mut after = 0;
    loop {
        let arrivals = local.arrivals(after, ENTRIES, BYTES)?;
        let Some(last) = arrivals.last() else { return Ok(()) };
        after = last.position;
        let held: Vec<_> = arrivals.iter().filter(|it| it.state == State::Held).map(|it| it.id).collect();
        let known = bucket.known(&held)?;
        let gone: Vec<_> = known.iter().filter(|it| it.state == State::Gone).map(|it| it.id).collect();
        local.forget(&gone)?;
    }
}

#[cfg(test)]
mod tests {
    use fieldbook_depot::{DepotKey, Source, SqlDepot};

    use super::*;

    fn open(dir: &tempfile::TempDir, n: u8) -> SqlDepot {
        let path = dir.path().join(n.to_string());
        SqlDepot::create(&path, &DepotKey::new([n; 32]), DepotId::from_bytes([n; 16])).unwrap()
    }

    fn add(depot: &SqlDepot, n: u16, len: usize) -> EntryId {
        let bytes = vec![u8::try_from(n % 251).unwrap(); len + usize::from(n)];
        let id = EntryId::of(&bytes);
        depot.put(&[Incoming { id, bytes: &bytes, from: Source::Own }]).unwrap();
        id
    }

    #[test]
    fn the_two_depots_exchange_what_is_new_once() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(&dir, 1), open(&dir, 2));
        for n in 0..300 {
            add(&one, n, 1_100);
        }
        for n in 400..410 {
            add(&two, n, 1_100);
        }
        one.set_setting("certificate", Some(b"c")).unwrap();
        let mut steps = Steps::new(false);
        assert!(steps.step(&one, &two).unwrap());
        assert_eq!((one.head().unwrap(), two.head().unwrap()), (310, 310));
        assert_eq!(one.fingerprint().unwrap(), two.fingerprint().unwrap());
        assert_eq!(two.setting("certificate").unwrap().as_deref(), Some(&b"c"[..]));
        assert!(!steps.step(&one, &two).unwrap());
        assert_eq!((one.head().unwrap(), two.head().unwrap()), (310, 310));
        // What another process has said since stays, until the vault says something else.
        two.set_setting("certificate", Some(b"d")).unwrap();
        steps.step(&one, &two).unwrap();
        assert_eq!(two.setting("certificate").unwrap().as_deref(), Some(&b"d"[..]));
    }

    #[test]
    fn a_vault_that_slept_takes_no_later_epoch_back() {
        let dir = tempfile::tempdir().unwrap();
        let (slept, bucket) = (open(&dir, 1), open(&dir, 2));
        let secrets = |epoch: u32| [&1_u32.to_be_bytes()[..], &epoch.to_be_bytes(), &[7; 32]].concat();
        slept.set_setting("transport-secrets", Some(&secrets(1))).unwrap();
        bucket.set_setting("transport-secrets", Some(&secrets(2))).unwrap();
        Steps::new(true).step(&slept, &bucket).unwrap();
        assert_eq!(bucket.setting("transport-secrets").unwrap(), Some(secrets(2)));
        slept.set_setting("transport-secrets", Some(&secrets(3))).unwrap();
        Steps::new(true).step(&slept, &bucket).unwrap();
        assert_eq!(bucket.setting("transport-secrets").unwrap(), Some(secrets(3)));
    }

    #[test]
    fn what_the_bucket_withholds_is_tried_again_and_not_passed() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, bucket) = (open(&dir, 1), open(&dir, 2));
        let ids: Vec<EntryId> = (1..=200).map(|n| add(&bucket, n, 1_100)).collect();
        let (withheld, dropped) = (ids[9], ids[19]);
        let read = |ids: &[EntryId]| {
            let hidden = |(id, found)| if [withheld, dropped].contains(id) { Lookup::Gone } else { found };
            Ok(ids.iter().zip(bucket.get_all(ids)?).map(hidden).collect())
        };
        let cursor = || vault.peer_cursor(&bucket.depot_id()).unwrap();
        let remember = |position| vault.set_peer_cursor(&bucket.depot_id(), position);
        let mut copying = Copying::default();
        assert!(copying.step((&bucket, &read), &vault, u32::MAX, 0, remember).unwrap());
        assert_eq!((vault.head().unwrap(), cursor()), (198, 9), "all that can be read, and no more passed");
        add(&bucket, 300, 1_100);
        assert!(copying.step((&bucket, &read), &vault, u32::MAX, cursor(), remember).unwrap());
        assert_eq!((vault.head().unwrap(), cursor(), copying.missing.len()), (199, 9, 2));
        // One is dropped, the other given after a restart.
        bucket.forget(&[dropped]).unwrap();
        let read = |ids: &[EntryId]| bucket.get_all(ids);
        let mut begun_anew = Copying::default();
        for copying in [&mut copying, &mut begun_anew] {
            // After vain tries some rounds pass.
            for _ in 0..3 {
                copying.step((&bucket, &read), &vault, u32::MAX, cursor(), remember).unwrap();
            }
            assert_eq!((copying.missing.len(), cursor()), (0, 201));
            assert!(matches!(vault.get(&withheld).unwrap(), Lookup::Held(_)));
            assert_eq!(vault.get(&dropped).unwrap(), Lookup::Unknown);
            vault.set_peer_cursor(&bucket.depot_id(), 9).unwrap();
        }
    }

    #[test]
    fn a_relays_vault_gets_small_entries_and_loses_what_the_bucket_drops() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, bucket) = (open(&dir, 1), open(&dir, 2));
        let (small, large) = (add(&bucket, 1, 1_100), add(&bucket, 2, 100_000));
        Steps::new(true).step(&vault, &bucket).unwrap();
        assert!(matches!(vault.get(&small).unwrap(), Lookup::Held(_)));
        assert_eq!(vault.get(&large).unwrap(), Lookup::Unknown);
        drop_what_is_gone(&vault, &bucket).unwrap();
        assert!(matches!(vault.get(&small).unwrap(), Lookup::Held(_)));
        bucket.forget(&[small]).unwrap();
        drop_what_is_gone(&vault, &bucket).unwrap();
        assert_eq!(vault.get(&small).unwrap(), Lookup::Gone);
    }
}
