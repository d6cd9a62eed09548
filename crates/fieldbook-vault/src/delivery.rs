//! Who holds a report: from the receipts that came back and from what peers acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fieldbook_depot::{Acknowledged, Beyond, Depot, PeerRecord};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::session::Decline;
use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_seal::Kind;
use rusqlite::params;

use crate::error::VaultError;
use crate::names::Names;
use crate::reports::ReportRow;
use crate::store;
use crate::vault::{Vault, now_ms};
use crate::views::{Delivery, Holder};

/// Why a report stays where it is.
const STUCK: &str = "this vault was copied or moved: what is new in it is not sent before `fieldbook moved` or `fieldbook join`";

/// Whoever has a report for so long, and no coordinator has confirmed it, is not simply believed to have it
/// still: a relay that is full drops what is old. How old, its operator says; a month is the least that is usual.
const LONG_MS: i64 = 30 * 24 * 3600 * 1000;
/// What a person is told then.
const LONG: &str = "no coordinator has confirmed it for 30 days, and a relay that is full drops what is old: ask a \
                    coordinator to sync; sync with one, or with another relay, or take it there by stick";

/// What a person is told of a report that was dropped before anybody has confirmed it.
const DROPPED: &str = "it was on the way, and whoever carried it has dropped it again; no coordinator has confirmed it: \
                       sync with a coordinator, or take it to one by stick";

/// What one query each knows about all reports of this device, or about one.
#[derive(Default)]
pub(crate) struct DeliveryIndex {
    /// The devices that this one was before it was restored: what they wrote is this notebook's own.
    former: Vec<DeviceId>,
    /// Entries made for a report, and the position of the last one in the depot's arrival order.
    sent: HashMap<ReportId, (i64, u64)>,
    /// Receipts per report and device: how many entries, and the latest time.
    receipts: HashMap<ReportId, Vec<(DeviceId, i64, i64)>>,
    /// The devices that stand, each with up to where it holds everything, or has held it.
    told: Vec<(Option<DeviceId>, Role, u64)>,
    /// What of a report a device knows and has dropped again, by when it said so.
    dropped: HashMap<ReportId, BTreeMap<DeviceId, i64>>,
    /// When relays that stand said up to where they hold everything, by position.
    acknowledged: Vec<Acknowledged>,
    /// Reports that a device holds although it does not hold everything before them, and since when.
    beyond: HashMap<ReportId, Vec<(DeviceId, Role, i64)>>,
    /// The devices that were removed from the team: up to where each held everything, what beyond, and when it was
    /// met last.
    removed: Vec<(PeerRecord, Option<Beyond>)>,
    /// Why some device did not take all of a report when it was offered last, in words.
    declined: HashMap<ReportId, BTreeSet<String>>,
    /// This vault is a copy: what waits in it does not leave.
    stuck: bool,
}

impl DeliveryIndex {
    /// The state of one report, in words.
    pub fn of(&self, row: &ReportRow, me: &DeviceId, names: &Names) -> Delivery {
        let word = |word: &str| Delivery {
            word: word.to_owned(),
            holders: Vec::new(),
            relays: Vec::new(),
            long: false,
            removed: Vec::new(),
            attention: Vec::new(),
        };
        if !self.is_own(&row.author, me) {
            return word("theirs");
        }
        if !row.finished {
            return word("draft");
        }
        let (_, last) = self.sent.get(&row.id).copied().unwrap_or_default();
        let holders = self.holders(&row.id, names);
        let relays = self.relays(&row.id, names);
        if !holders.is_empty() {
            return Delivery { holders, relays, ..word("received") };
        }
        let beyond = self.beyond.get(&row.id).into_iter().flatten().filter(|_| last > 0);
        let all =
            || self.told.iter().filter(|(device, _, holds)| last <= *holds && self.has(&row.id, *device));
        // Of devices that are not named nobody can tell whether they still belong to the team.
        let keeps =
            |(device, role, _): &&(Option<DeviceId>, Role, u64)| *role != Role::Relay && device.is_some();
        let kept = all().any(|told| keeps(&told)) || beyond.clone().any(|(_, role, _)| *role != Role::Relay);
        if last > 0 && (all().next().is_some() || beyond.count() > 0) {
            let since = relays.iter().map(|relay| relay.time_ms).max();
            let long = !kept && since.is_some_and(|since| now_ms().saturating_sub(since) > LONG_MS);
            let attention = if long { vec![LONG.to_owned()] } else { Vec::new() };
            return Delivery { relays, long, attention, ..word("carried") };
        }
        let mut here = word("only here");
        if self.stuck && last == 0 {
            here.attention.push(STUCK.to_owned());
        } else {
            if self.dropped.contains_key(&row.id) {
                here.attention.push(DROPPED.to_owned());
            }
            here.attention.extend(self.declined.get(&row.id).into_iter().flatten().cloned());
        }
        here.removed = self.held_by_removed(last, names);
        here.attention.extend(here.removed.iter().map(|holder| removed(&holder.name)));
        here
    }

    /// Who held everything up to this position, and is of the team no more.
    fn held_by_removed(&self, last: u64, names: &Names) -> Vec<Holder> {
        let held = self.removed.iter().filter(|(peer, beyond)| {
            last > 0
                && (peer.holds_position >= last
                    || beyond.as_ref().is_some_and(|said| said.holds(last).is_some()))
        });
        held.filter_map(|(peer, _)| {
            let device = peer.device?;
            let name = names.peer(&device, peer.role);
            Some(Holder { name, device: device.to_string(), time_ms: peer.last_sync_ms })
        })
        .collect()
    }

    /// The relays that hold everything that was sent of a report, each since when it said so first.
    pub fn relays(&self, report: &ReportId, names: &Names) -> Vec<Holder> {
        let (_, last) = self.sent.get(report).copied().unwrap_or_default();
        let mut relays: Vec<Holder> = Vec::new();
        // A position of 0 is that of what has not left the vault.
        let all = self.acknowledged.iter().filter(|said| said.position >= last);
        let all = all.filter(|said| self.has(report, Some(said.device)));
        let all = all.map(|said| (&said.device, said.time_ms));
        let beyond = self.beyond.get(report).into_iter().flatten();
        let beyond = beyond.filter(|(_, role, _)| *role == Role::Relay);
        for (id, time_ms) in all.chain(beyond.map(|(id, _, since)| (id, *since))).filter(|_| last > 0) {
            let device = id.to_string();
            if relays.iter().all(|relay| relay.device != device) {
                relays.push(Holder { name: names.peer(id, Role::Relay), device, time_ms });
            }
        }
        relays
    }

    /// Whether a device has not said that it holds something of a report no longer.
    fn has(&self, report: &ReportId, device: Option<DeviceId>) -> bool {
        let dropped = self.dropped.get(report).zip(device);
        !dropped.is_some_and(|(dropped, device)| dropped.contains_key(&device))
    }

    /// Whether this notebook wrote a report, as this device or as one that it was before.
    pub fn is_own(&self, author: &DeviceId, me: &DeviceId) -> bool {
        author == me || self.former.contains(author)
    }

    /// The devices whose receipts cover everything that was sent of a report.
    pub fn holders(&self, report: &ReportId, names: &Names) -> Vec<Holder> {
        let (entries, _) = self.sent.get(report).copied().unwrap_or_default();
        let receipts = self.receipts.get(report).into_iter().flatten();
        receipts
            .filter(|(_, received, _)| *received >= entries && entries > 0)
            .map(|(device, _, time_ms)| Holder {
                name: names.device(device),
                device: device.to_string(),
                time_ms: *time_ms,
            })
            .collect()
    }
}

impl Vault {
    /// The state of every report of this device.
    pub(crate) fn deliveries(&self) -> Result<DeliveryIndex, VaultError> {
        self.delivery_index(None)
    }

    /// The state of one.
    pub(crate) fn delivery(&self, report: &ReportId) -> Result<DeliveryIndex, VaultError> {
        self.delivery_index(Some(report))
    }

    /// Who stands and has said what of this device's entries, and who had before it was removed.
    fn told(&self) -> Result<ToldBy, VaultError> {
        let authority = self.team.as_ref().map(|team| &team.authority);
        // What a device has that was removed, nobody fetches there any more.
        let (removed, peers): (Vec<PeerRecord>, Vec<PeerRecord>) =
            self.depot.peers()?.into_iter().partition(|peer| {
                peer.device.is_some_and(|id| authority.is_some_and(|team| team.is_removed(&id)))
            });
        let mut beyond = Beyond::all(&self.depot)?;
        let is_of =
            |said: &Beyond, peer: &PeerRecord| peer.device == Some(said.device) && peer.depot == said.depot;
        let removed = removed
            .into_iter()
            .map(|peer| {
                let said = beyond.iter().find(|said| is_of(said, &peer)).cloned();
                (peer, said)
            })
            .collect();
        beyond.retain(|said| peers.iter().any(|peer| is_of(said, peer)));
        Ok(ToldBy { peers, beyond, removed })
    }

    fn delivery_index(&self, only: Option<&ReportId>) -> Result<DeliveryIndex, VaultError> {
        let (ToldBy { peers, beyond, removed }, declined_by) = (self.told()?, self.declined_by()?);
        let told = peers.iter().map(|peer| (peer.device, peer.role, peer.holds_position)).collect();
        let former = crate::rejoin::former(&self.db)?.into_iter().map(|former| former.device).collect();
        let stuck = !self.may_sign()?;
        let mut acknowledged = self.depot.acknowledged()?;
        acknowledged.retain(|said| peers.iter().any(|peer| peer.device == Some(said.device)));
        let mut index =
            DeliveryIndex { told, former, acknowledged, removed, stuck, ..DeliveryIndex::default() };
        let only = only.map(|id| id.as_bytes().as_slice());
        // Two statements rather than one with an optional filter: each uses its own index.
        let filter = if only.is_some() { "e.report = ?3" } else { "e.report IS NOT NULL AND ?3 IS NULL" };
        // What was sent once more for another epoch is not waited for.
        let kinds = format!(
            "e.superseded = 0 AND e.copy = 0 AND e.kind IN ({}, {})",
            Kind::Report as u8,
            Kind::AttachmentPart as u8
        );
        let own = "(e.device = ?1 OR e.device IN (SELECT id FROM former_device))";
        let mut sent = self.db.prepare_cached(&format!(
            "SELECT e.report, count(*), max(e.position), min(e.position) FROM entry e
             WHERE {filter} AND {own} AND {kinds} AND ?2 = ?2 GROUP BY e.report"
        ))?;
        let me = self.me.as_bytes().as_slice();
        let mut rows = sent.query(params![me, 0, only])?;
        while let Some(row) = rows.next()? {
            let (last, first): (i64, i64) = (row.get(2)?, row.get(3)?);
            // Position 0: still in the outbox, so nobody else can hold it.
            let last = if first == 0 { 0 } else { u64::try_from(last).unwrap_or(0) };
            index.sent.insert(report_id(&row.get::<_, Vec<u8>>(0)?)?, (row.get(1)?, last));
        }
        let mut receipts = self.db.prepare_cached(&format!(
            "SELECT e.report, r.device, count(*), max(r.time_ms) FROM entry e JOIN receipt r ON r.entry = e.id
             WHERE {filter} AND {own} AND {kinds} AND ?2 = ?2 GROUP BY e.report, r.device"
        ))?;
        let mut rows = receipts.query(params![me, 0, only])?;
        while let Some(row) = rows.next()? {
            let device = DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a device id")?);
            let report = report_id(&row.get::<_, Vec<u8>>(0)?)?;
            index.receipts.entry(report).or_default().push((device, row.get(2)?, row.get(3)?));
        }
        if !beyond.is_empty() {
            let names = self.names()?;
            let mut told: Vec<Told<'_>> = beyond
                .iter()
                .filter_map(|said| {
                    let peer = peers.iter().find(|peer| peer.device == Some(said.device))?;
                    let declines = declined_by.contains_key(&said.device.to_string());
                    Some(Told { said, peer, declines, reports: HashMap::new(), dropped: HashMap::new() })
                })
                .collect();
            let least = told.iter().map(Told::least).min().unwrap_or(0);
            let mut positions = self.db.prepare_cached(&format!(
                "SELECT e.report, e.position FROM entry e
                 WHERE {filter} AND {own} AND {kinds} AND e.position > ?2"
            ))?;
            let least = i64::try_from(least).unwrap_or(i64::MAX);
            let mut rows = positions.query(params![me, least, only])?;
            while let Some(row) = rows.next()? {
                let report = report_id(&row.get::<_, Vec<u8>>(0)?)?;
                let position = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                told.iter_mut().for_each(|told| told.entry(report, position));
            }
            told.into_iter().for_each(|told| told.tell(&mut index, &names));
        }
        Ok(index)
    }
}

/// Whoever said something of this device's entries.
struct ToldBy {
    /// Those who stand.
    peers: Vec<PeerRecord>,
    /// What they said beyond the positions up to which they hold everything.
    beyond: Vec<Beyond>,
    /// Those who were removed, with the same.
    removed: Vec<(PeerRecord, Option<Beyond>)>,
}

/// What one device said of entries beyond the position up to which it holds everything, by report.
struct Told<'a> {
    said: &'a Beyond,
    peer: &'a PeerRecord,
    /// It did not take everything at the last sync.
    declines: bool,
    /// Since when it has all of it, if it has; and why not.
    reports: HashMap<ReportId, (Option<i64>, BTreeSet<Decline>)>,
    /// What of a report it has dropped, wherever it lies, and when it said so last.
    dropped: HashMap<ReportId, i64>,
}

impl Told<'_> {
    /// Up to here nothing is said of single entries.
    fn least(&self) -> u64 {
        let dropped = self.said.dropped.first().map_or(u64::MAX, |stretch| stretch.first.saturating_sub(1));
        dropped.min(self.peer.holds_position)
    }

    fn entry(&mut self, report: ReportId, position: u64) {
        if let Some(time_ms) = self.said.dropped(position) {
            let last = self.dropped.entry(report).or_insert(time_ms);
            *last = time_ms.max(*last);
        }
        if position <= self.peer.holds_position {
            return;
        }
        let (since, why_not) = self.reports.entry(report).or_insert((Some(i64::MIN), BTreeSet::new()));
        *since = since.zip(self.said.holds(position)).map(|(one, other)| one.max(other));
        why_not.extend(self.said.why_not(position).filter(|_| self.declines));
    }

    fn tell(self, index: &mut DeliveryIndex, names: &Names) {
        let (device, role) = (self.said.device, self.peer.role);
        let who = || names.peer(&device, role);
        for (report, time_ms) in &self.dropped {
            index.dropped.entry(*report).or_default().insert(device, *time_ms);
        }
        for (report, (since, why_not)) in self.reports {
            if let Some(since) = since.filter(|_| !self.dropped.contains_key(&report)) {
                index.beyond.entry(report).or_default().push((device, role, since));
            }
            // The one that names what is to be done before the others.
            if let Some(why) = why_not.first() {
                index.declined.entry(report).or_default().insert(sentence(&who(), *why));
            }
        }
    }
}

/// Why a report that was on its way is only here.
fn removed(who: &str) -> String {
    format!(
        "{who} held it and was removed from the team: sync with another relay or with a coordinator, or take it there \
         by stick (`fieldbook bundle write`)"
    )
}

/// Why a device did not take all of a report.
fn sentence(who: &str, why: Decline) -> String {
    match why {
        Decline::Full => {
            format!(
                "{who} is full: it stays here until there is room; sync again later, or with a coordinator"
            )
        }
        Decline::Share => {
            format!("{who} takes no more from this device for now: sync again later, or with a coordinator")
        }
        Decline::Size => format!("{who} does not carry entries of this size: sync with a coordinator"),
        Decline::Dropped | Decline::Other(_) => {
            format!("{who} did not take everything: sync again later, or with a coordinator")
        }
    }
}

fn report_id(bytes: &[u8]) -> Result<ReportId, VaultError> {
    Ok(ReportId::from_bytes(store::array(bytes, "a report id")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use fieldbook_proto::DepotId;

    use super::*;
    use crate::hostile::{admit, device, write};

    #[test]
    fn a_relay_is_believed_for_a_month_and_then_somebody_is_told() {
        let mut founder = device("Coordination");
        founder.vault.create_team("Minsk 2017").unwrap();
        let mut monitor = admit(&mut founder, "Monitor", Role::Monitor);
        let report = write(&mut monitor);
        let head = monitor.vault.depot.head().unwrap();
        let said = |seed: u8, role, days: i64| PeerRecord {
            device: Some(DeviceId::from_bytes([seed; 32])),
            role,
            depot: DepotId::from_bytes([seed; 16]),
            address: None,
            last_sync_ms: now_ms() - days * 24 * 3600 * 1000,
            holds_position: head,
        };
        let state = |vault: &Vault| vault.show(report).unwrap().summary.delivery;
        monitor.vault.depot.record_peer(said(7, Role::Relay, 31)).unwrap();
        let long = state(&monitor.vault);
        assert_eq!((long.word.as_str(), long.long, long.attention.len()), ("carried", true, 1), "{long:?}");
        assert!(long.attention[0].contains("full") && !long.relays.is_empty());
        // Another relay has it since yesterday.
        monitor.vault.depot.record_peer(said(8, Role::Relay, 1)).unwrap();
        let again = state(&monitor.vault);
        assert_eq!((again.word.as_str(), again.long, again.attention.len()), ("carried", false, 0));
    }

    #[test]
    fn what_a_relay_has_dropped_is_not_said_to_be_there() {
        let mut founder = device("Coordination");
        founder.vault.create_team("Minsk 2017").unwrap();
        let mut monitor = admit(&mut founder, "Monitor", Role::Monitor);
        let (report, other) = (write(&mut monitor), write(&mut monitor));
        let head = monitor.vault.depot.head().unwrap();
        let (relay, its) = (DeviceId::from_bytes([7; 32]), DepotId::from_bytes([7; 16]));
        let record = PeerRecord {
            device: Some(relay),
            role: Role::Relay,
            depot: its,
            address: None,
            last_sync_ms: now_ms(),
            holds_position: head,
        };
        monitor.vault.depot.record_peer(record).unwrap();
        let state = |vault: &Vault, report| vault.show(report).unwrap().summary.delivery;
        assert_eq!(state(&monitor.vault, report).word, "carried");
        let index = monitor.vault.deliveries().unwrap();
        let last = index.sent[&report].1;
        let mut said = Beyond::nothing(relay, its);
        said.drop(&[last], now_ms());
        said.store(&monitor.vault.depot, head).unwrap();
        let dropped = state(&monitor.vault, report);
        assert_eq!((dropped.word.as_str(), dropped.relays.len()), ("only here", 0), "{dropped:?}");
        assert!(dropped.attention.iter().any(|why| why.contains("dropped it again")), "{dropped:?}");
        let kept = state(&monitor.vault, other);
        assert_eq!((kept.word.as_str(), kept.relays.len()), ("carried", 1), "the other is there");
        // Another relay has all of it.
        let more = PeerRecord {
            device: Some(DeviceId::from_bytes([8; 32])),
            role: Role::Relay,
            depot: DepotId::from_bytes([8; 16]),
            address: None,
            last_sync_ms: now_ms(),
            holds_position: head,
        };
        monitor.vault.depot.record_peer(more).unwrap();
        let again = state(&monitor.vault, report);
        assert_eq!((again.word.as_str(), again.relays.len(), again.attention.len()), ("carried", 1, 0));
    }

    #[test]
    fn a_device_that_is_no_relay_does_not_become_doubtful() {
        let mut founder = device("Coordination");
        founder.vault.create_team("Minsk 2017").unwrap();
        let mut monitor = admit(&mut founder, "Monitor", Role::Monitor);
        let report = write(&mut monitor);
        let record = PeerRecord {
            device: Some(founder.vault.me),
            role: Role::Coordinator,
            depot: DepotId::from_bytes([9; 16]),
            address: None,
            last_sync_ms: 1,
            holds_position: monitor.vault.depot.head().unwrap(),
        };
        monitor.vault.depot.record_peer(record).unwrap();
        let state = monitor.vault.show(report).unwrap().summary.delivery;
        assert_eq!((state.word.as_str(), state.long), ("carried", false));
    }
}
