//! What follows from a set of certificates and removals: who ever was a coordinator, how senior, who was
//! removed, who stands, who speaks for which desk. A function of the set and of nothing else.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Certificate, Removal, RemovalHash};
use crate::{DeskId, DeviceId};

/// Seniority among coordinators: when a coordinator was admitted, but never before the one who
/// admitted it; then how many stand between it and the founder; then the device id.
pub type Rank = (u64, u32, DeviceId);

/// The certificates of coordinators, by device and by who signed.
pub(super) type Certificates = BTreeMap<(DeviceId, DeviceId), Certificate>;
/// The removals, by their names.
pub(super) type Removals = BTreeMap<RemovalHash, Removal>;

/// How a device's standing ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// The most senior word on it.
    first: Removal,
    /// The most senior word by which it is out of the team.
    out: Option<Removal>,
}

impl Ended {
    /// The strictest: what became of the device.
    pub fn removal(&self) -> &Removal {
        self.out.as_ref().unwrap_or(&self.first)
    }

    /// The word by which it was demoted, if it was.
    pub fn demotion(&self) -> Option<&Removal> {
        Some(&self.first).filter(|first| !first.ends_membership())
    }

    /// Who took it first.
    pub fn by(&self) -> &DeviceId {
        &self.first.issuer
    }

    /// What is said of the device's own acts counts in the most senior removal; a later word of the same
    /// coordinator replaces it.
    fn on_its_acts(&self) -> &Removal {
        self.out.as_ref().filter(|out| out.issuer == self.first.issuer).unwrap_or(&self.first)
    }

    fn hear(&mut self, removal: &Removal) {
        if self.out.is_none() && removal.ends_membership() {
            self.out = Some(removal.clone());
        }
    }
}

/// The desk of a coordinator, and whether it may speak for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub desk: DeskId,
    pub speaks: bool,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub ranks: BTreeMap<DeviceId, Rank>,
    /// The certificate by which each coordinator, removed or not, has its rank.
    pub primary: BTreeMap<DeviceId, Certificate>,
    /// In which order the coordinators' words were taken; of those who never had a say, nothing.
    pub turns: BTreeMap<DeviceId, usize>,
    pub ended: BTreeMap<DeviceId, Ended>,
    pub standing: BTreeMap<DeviceId, Certificate>,
    pub places: BTreeMap<DeviceId, Place>,
}

impl Verdict {
    /// Judges a set.
    pub fn of(founder: DeviceId, certificates: &Certificates, removals: &Removals) -> Self {
        let (ranks, primary) = rank(founder, certificates);
        let mut verdict = Self { ranks, primary, ..Self::default() };
        hear(founder, certificates, removals, &mut verdict);
        verdict.standing = stand(founder, certificates, &verdict);
        verdict.places = places(founder, certificates, &verdict);
        verdict
    }
}

/// The seniority of every coordinator ever, and the certificate it follows from: that of the most senior
/// coordinator who certified it. Whoever outranks the others is settled first, as in Dijkstra's shortest
/// paths; everybody ranks below whoever certified them, so the first who is met is the most senior.
fn rank(
    founder: DeviceId,
    certificates: &Certificates,
) -> (BTreeMap<DeviceId, Rank>, BTreeMap<DeviceId, Certificate>) {
    let (mut ranks, mut primary) = (BTreeMap::new(), BTreeMap::new());
    let Some(own) = certificates.get(&(founder, founder)) else { return (ranks, primary) };
    let mut by_issuer: BTreeMap<DeviceId, Vec<(DeviceId, &Certificate)>> = BTreeMap::new();
    for ((device, issuer), certificate) in certificates {
        by_issuer.entry(*issuer).or_default().push((*device, certificate));
    }
    let mut next: BTreeSet<Rank> = BTreeSet::from([(own.body().admitted, 0, founder)]);
    primary.insert(founder, own.clone());
    while let Some(rank) = next.pop_first() {
        let (above, depth, issuer) = rank;
        ranks.insert(issuer, rank);
        for (device, certificate) in by_issuer.remove(&issuer).into_iter().flatten() {
            if let Entry::Vacant(first) = primary.entry(device) {
                first.insert(certificate.clone());
                next.insert((certificate.body().admitted.max(above), depth.saturating_add(1), device));
            }
        }
    }
    (ranks, primary)
}

/// Takes the coordinators' words, each coordinator's once: the founder's, then each time those of the most senior
/// one who was certified by somebody heard before, or is kept by whoever removed the one who certified it. Of
/// whoever is removed or demoted before its turn comes, the words are void that are not honoured, and those
/// it certified are not heard on its account. So nobody's word depends on what somebody says who is heard later.
fn hear(founder: DeviceId, certificates: &Certificates, removals: &Removals, verdict: &mut Verdict) {
    let mut by_issuer: BTreeMap<DeviceId, Vec<DeviceId>> = BTreeMap::new();
    for (device, issuer) in certificates.keys() {
        by_issuer.entry(*issuer).or_default().push(*device);
    }
    let mut words: BTreeMap<DeviceId, Vec<(&RemovalHash, &Removal)>> = BTreeMap::new();
    for (hash, removal) in removals {
        words.entry(removal.issuer).or_default().push((hash, removal));
    }
    let mut next: BTreeSet<Rank> = verdict.ranks.get(&founder).copied().into_iter().collect();
    while let Some(rank) = next.pop_first() {
        let issuer = rank.2;
        let turn = verdict.turns.len();
        verdict.turns.insert(issuer, turn);
        let certified = by_issuer.get(&issuer).map_or(&[][..], Vec::as_slice);
        let mut heard: Vec<DeviceId> = Vec::new();
        if !verdict.ended.contains_key(&issuer) {
            heard.extend(certified);
        }
        let mut its = words.remove(&issuer).unwrap_or_default();
        its.sort_by_key(|(hash, removal)| (removal.sequence, removal.device, **hash));
        for (hash, removal) in its {
            let void = verdict
                .ended
                .get(&issuer)
                .is_some_and(|ended| ended.on_its_acts().honours.binary_search(hash).is_err());
            if void {
                continue;
            }
            match verdict.ended.get_mut(&removal.device) {
                Some(present) => present.hear(removal),
                None => {
                    let out = Some(removal).filter(|removal| removal.ends_membership()).cloned();
                    verdict.ended.insert(removal.device, Ended { first: removal.clone(), out });
                }
            }
            let kept = verdict.ended.get(&removal.device).map(|ended| ended.on_its_acts().keeps.clone());
            let certified = |device: &DeviceId| certificates.contains_key(&(*device, removal.device));
            heard.extend(kept.into_iter().flatten().filter(certified));
        }
        let waiting = heard.into_iter().filter(|device| !verdict.turns.contains_key(device));
        next.extend(waiting.filter_map(|device| verdict.ranks.get(&device)));
    }
}

/// Whether what `issuer` certified about a coordinator counts: it stands, or whoever removed it keeps them.
fn counts(
    issuer: &DeviceId,
    device: &DeviceId,
    standing: &BTreeMap<DeviceId, Certificate>,
    ended: &BTreeMap<DeviceId, Ended>,
) -> bool {
    standing.contains_key(issuer)
        || ended.get(issuer).is_some_and(|issuer| issuer.on_its_acts().keeps.binary_search(device).is_ok())
}

/// The coordinators who are not removed and were certified by one who stands, or who was removed by
/// somebody who keeps them. Support comes from the founder downwards, never from a circle.
fn stand(
    founder: DeviceId,
    certificates: &Certificates,
    verdict: &Verdict,
) -> BTreeMap<DeviceId, Certificate> {
    let mut standing: BTreeMap<DeviceId, Certificate> = BTreeMap::new();
    loop {
        let before = standing.len();
        for (device, issuer) in certificates.keys() {
            if verdict.ended.contains_key(device) || standing.contains_key(device) {
                continue;
            }
            let counts = *device == founder || counts(issuer, device, &standing, &verdict.ended);
            if let (true, Some(certificate)) = (counts, verdict.primary.get(device)) {
                standing.insert(*device, certificate.clone());
            }
        }
        if standing.len() == before {
            return standing;
        }
    }
}

/// The desk of every coordinator ever. A certificate gives a place at a desk if whoever signed it has a place
/// there, or if the device itself founds that desk. Of those that do, one that counts goes before one that
/// does not, and then that of the more senior coordinator: nobody is moved by somebody who was removed, or
/// who does not belong to the desk. Places are given from the founder downwards, never in a circle.
fn places(founder: DeviceId, certificates: &Certificates, verdict: &Verdict) -> BTreeMap<DeviceId, Place> {
    let mut places: BTreeMap<DeviceId, Place> = verdict
        .primary
        .iter()
        .map(|(device, primary)| (*device, Place { desk: primary.body().desk, speaks: false }))
        .collect();
    let mut by_issuer: BTreeMap<DeviceId, Vec<(DeviceId, DeskId)>> = BTreeMap::new();
    // The best is at the front: how it counts, the rank of whoever signed, whom it places where.
    let mut next: BTreeSet<(bool, Rank, DeviceId, DeskId)> = BTreeSet::new();
    let offer = |issuer: &DeviceId, device: DeviceId, desk: DeskId| {
        let counts = counts(issuer, &device, &verdict.standing, &verdict.ended);
        verdict.ranks.get(issuer).map(|rank| (!counts, *rank, device, desk))
    };
    for ((device, issuer), certificate) in certificates {
        let desk = certificate.body().desk;
        by_issuer.entry(*issuer).or_default().push((*device, desk));
        if *device == founder || DeskId::founded_by(device) == desk {
            next.extend(offer(issuer, *device, desk));
        }
    }
    while let Some((_, _, device, desk)) = next.pop_first() {
        match places.get_mut(&device) {
            Some(place) if !place.speaks => *place = Place { desk, speaks: true },
            _ => continue,
        }
        let certified = by_issuer.get(&device).into_iter().flatten().filter(|(_, its)| *its == desk);
        next.extend(certified.filter_map(|(certified, _)| offer(&device, *certified, desk)));
    }
    places
}
