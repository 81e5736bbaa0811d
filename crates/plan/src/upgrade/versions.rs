//! The versions of a region as its pods report them.

use std::collections::BTreeMap;

use meridian_crd::UpgradeStatus;
use meridian_model::{BehaviorVersion, RegionName, ShardNumber};

use super::ObservedUpgrade;
use crate::step::{Group, running};
use crate::{ObservedShard, Placement};

/// The versions of one shard with a leader.
pub(super) struct ShardVersions {
    pub number: ShardNumber,
    /// The leader's pod.
    pub leader: u16,
    pub behavior: BehaviorVersion,
    pub published: BehaviorVersion,
}

/// A pod that should run, or that runs.
struct PodVersion {
    name: String,
    /// None while it does not answer.
    known: Option<BehaviorVersion>,
}

/// The versions of a region.
pub(super) struct Versions {
    /// Shards with a leader.
    pub shards: Vec<ShardVersions>,
    has_all_shards: bool,
    pods: Vec<PodVersion>,
    /// The newest version that a pod knows.
    pub highest_known: Option<BehaviorVersion>,
    /// The other regions that the leader of the first shard has heard of.
    pub regions: BTreeMap<RegionName, BehaviorVersion>,
}

impl Versions {
    pub fn of(placement: &dyn Placement, seen: &BTreeMap<ShardNumber, &ObservedShard>) -> Self {
        let (mut shards, mut pods, mut regions) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, seen) in seen {
            let count = seen.pods.keys().last().map_or(0, |ordinal| ordinal + 1).max(placement.replicas());
            for ordinal in 0..count {
                let pod = seen.pods.get(&ordinal);
                if pod.is_none() && ordinal >= placement.replicas() {
                    continue;
                }
                let known = pod.filter(|pod| !pod.deleting).and_then(|pod| pod.known);
                pods.push(PodVersion { name: placement.pod_name(*number, ordinal), known });
            }
            let Some(group) = Group::of(placement, *number, seen) else { continue };
            let (behavior, published) = (group.status.behavior, group.status.published);
            shards.push(ShardVersions { number: *number, leader: group.leader, behavior, published });
            if *number == ShardNumber::FIRST {
                regions = group.status.regions.iter().map(|it| (it.region.clone(), it.behavior)).collect();
            }
        }
        let highest_known = pods.iter().filter_map(|pod| pod.known).max();
        Self { has_all_shards: shards.len() == seen.len(), shards, pods, highest_known, regions }
    }

    /// The version that every shard uses; none while one has no leader.
    pub fn finalized(&self) -> Option<BehaviorVersion> {
        self.shards.iter().map(|shard| shard.behavior).min().filter(|_| self.has_all_shards)
    }

    /// The version that every shard has published; none while one has no leader.
    pub fn published(&self) -> Option<BehaviorVersion> {
        self.shards.iter().map(|shard| shard.published).min().filter(|_| self.has_all_shards)
    }

    /// The first shard, by number, that uses an older version than `target`.
    pub fn first_to_finalize(&self, target: BehaviorVersion) -> Option<&ShardVersions> {
        self.shards.iter().find(|shard| shard.behavior < target)
    }

    /// How many shards use `target` or a newer version.
    pub fn count_at(&self, target: BehaviorVersion) -> usize {
        self.shards.iter().filter(|shard| shard.behavior >= target).count()
    }

    /// The first pod that does not know `target`, or does not answer, in words.
    pub fn first_below(&self, target: BehaviorVersion) -> Option<String> {
        let known = self.pods.iter().find(|pod| pod.known.is_some_and(|known| known < target));
        let pod = known.or_else(|| self.pods.iter().find(|pod| pod.known.is_none()))?;
        Some(match pod.known {
            Some(known) => format!("pod {} knows {known}", pod.name),
            None => format!("pod {} does not answer", pod.name),
        })
    }

    /// `status.upgrade` without images. A silent pod changes nothing that was known of it.
    pub fn status(&self, seen: &ObservedUpgrade) -> UpgradeStatus {
        let before = &seen.before;
        let lowest = self.pods.iter().filter_map(|pod| pod.known).min().map(|known| number(known.min(seen.newest)));
        let all_answer = !self.pods.is_empty() && self.pods.iter().all(|pod| pod.known.is_some());
        let known =
            if all_answer { lowest } else { before.known_version.map(|known| known.min(lowest.unwrap_or(known))) };
        let finalized = self.finalized().map(number).or(before.behavior_version);
        let is_newer = known.is_some_and(|known| finalized.is_some_and(|finalized| known > finalized));
        // A known version that changes begins a new soak: the pods have not known the newer one before, or one of them had
        // another release meanwhile.
        let since = before.known_since.as_ref().filter(|_| before.known_version == known);
        UpgradeStatus {
            behavior_version: finalized,
            published_version: self.published().map(number).or(before.published_version),
            known_version: known,
            known_since: is_newer.then(|| since.unwrap_or(&seen.now).clone()),
            ..before.clone()
        }
    }
}

/// The newest version by whose rules a replica of these shards has applied its log.
pub(super) fn newest_in_use<'a>(shards: impl Iterator<Item = &'a ObservedShard>) -> Option<BehaviorVersion> {
    shards.flat_map(|seen| seen.pods.values()).filter_map(running).map(|status| status.behavior).max()
}

/// A version as `status` holds it.
pub(super) fn number(version: BehaviorVersion) -> i32 {
    version.0.into()
}

/// A version from `status`; a number that is none counts as the first.
pub(super) fn version(number: i32) -> BehaviorVersion {
    BehaviorVersion(u16::try_from(number).unwrap_or_default()).max(BehaviorVersion::FIRST)
}
