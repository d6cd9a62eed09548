//! Who holds a report: from the receipts that came back and from what peers acknowledged.

use std::collections::{BTreeMap, HashMap};

use fieldbook_depot::{Acknowledged, Depot, PeerRecord};
use fieldbook_proto::certificate::Role;
use fieldbook_proto::{DeviceId, ReportId};
use fieldbook_seal::Kind;
use rusqlite::params;

use crate::error::VaultError;
use crate::names::Names;
use crate::reports::ReportRow;
use crate::store;
use crate::vault::Vault;
use crate::views::{Delivery, Holder};

/// Why a report stays where it is.
const STUCK: &str = "this vault was copied or moved: what is new in it is not sent before `fieldbook moved` or `fieldbook join`";

/// What one query each knows about all reports of this device, or about one.
#[derive(Default)]
pub(crate) struct DeliveryIndex {
    /// The devices that this one was before it was restored: what they wrote is this notebook's own.
    former: Vec<DeviceId>,
    /// Entries made for a report, and the position of the last one in the depot's arrival order.
    sent: HashMap<ReportId, (i64, u64)>,
    /// Receipts per report and device: how many entries, and the latest time.
    receipts: HashMap<ReportId, Vec<(DeviceId, i64, i64)>>,
    /// Up to here some other device holds everything.
    carried_to: u64,
    /// When relays said up to where they hold everything, by position.
    acknowledged: Vec<Acknowledged>,
    /// Why some device did not take everything at the last sync with it, in words.
    declined: Vec<String>,
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
        if last > 0 && last <= self.carried_to {
            return Delivery { relays, ..word("carried") };
        }
        let mut here = word("only here");
        if self.stuck && last == 0 {
            here.attention.push(STUCK.to_owned());
        } else {
            here.attention.clone_from(&self.declined);
        }
        here
    }

    /// The relays that hold everything that was sent of a report, each since when it said so first.
    pub fn relays(&self, report: &ReportId, names: &Names) -> Vec<Holder> {
        let (_, last) = self.sent.get(report).copied().unwrap_or_default();
        let mut relays: Vec<Holder> = Vec::new();
        // A position of 0 is that of what has not left the vault.
        for said in self.acknowledged.iter().filter(|said| last > 0 && said.position >= last) {
            let device = said.device.to_string();
            if relays.iter().all(|relay| relay.device != device) {
                relays.push(Holder { name: names.device(&said.device), device, time_ms: said.time_ms });
            }
        }
        relays
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

    /// What the network processes noted of devices that did not take everything, a sentence for each.
    fn declined(&self) -> Result<Vec<String>, VaultError> {
        let Some(stored) = self.depot.setting("declined-by")? else { return Ok(Vec::new()) };
        let by: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_slice(&stored).unwrap_or_default();
        let names = self.names()?;
        let peers = self.depot.peers()?;
        let mut sentences = Vec::new();
        for (id, reasons) in by {
            let peer = peers.iter().find(|peer| peer.device.is_some_and(|device| device.to_string() == id));
            let who = match peer {
                Some(PeerRecord { role: Role::Relay, .. }) => "the relay".to_owned(),
                Some(PeerRecord { device: Some(device), .. }) => names.device(device),
                _ => continue,
            };
            let why = ["full", "share", "size"].into_iter().find(|why| reasons.contains_key(*why));
            sentences.push(match why {
                Some("full") => format!("{who} is full: it stays here until there is room; sync again later, or with a coordinator"),
                Some("share") => format!("{who} takes no more from this device for now: sync again later, or with a coordinator"),
                Some("size") => format!("{who} does not carry entries of this size: sync with a coordinator"),
                _ => format!("{who} did not take everything: sync again later, or with a coordinator"),
            });
        }
        Ok(sentences)
    }

    fn delivery_index(&self, only: Option<&ReportId>) -> Result<DeliveryIndex, VaultError> {
        let carried_to = self.depot.peers()?.iter().map(|peer| peer.holds_position).max().unwrap_or(0);
        let former = crate::rejoin::former(&self.db)?.into_iter().map(|former| former.device).collect();
        let (acknowledged, stuck) = (self.depot.acknowledged()?, !self.may_sign()?);
        let declined = self.declined()?;
        let mut index =
            DeliveryIndex { carried_to, former, acknowledged, declined, stuck, ..DeliveryIndex::default() };
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
        Ok(index)
    }
}

fn report_id(bytes: &[u8]) -> Result<ReportId, VaultError> {
    Ok(ReportId::from_bytes(store::array(bytes, "a report id")?))
}
