//! When a region adopts the behavior version of a new release for good, and which images are refused from then on.
//!
//! A release knows behavior versions up to its own; a shard applies its log by one of them. *Finalizing* raises that one, and
//! afterwards a release that does not know it cannot run. *Publishing* admits writes that other regions need it for. The
//! decision reads versions in this order, the first row that applies:
//!
//! | observed | condition `Finalized` | act |
//! |---|---|---|
//! | no pod has reported the version of a shard | Unknown, `AwaitingReport` | |
//! | every shard uses the newest version that a pod and this operator know | True, `Finalized` | `Publish` once all other regions have finalized it |
//! | a pod does not answer or does not know the newest version | False, `RollingOut` | |
//! | nobody asked, and `finalizeAfter` is `Never` | False, `Held` | |
//! | nobody asked, and all pods know it for less than `finalizeAfter` | False, `Soaking` | |
//! | a pod is rolled, or a replica replaced, added or removed | False, `Finalizing` | |
//! | this is the primary region, and another region has not finalized it | False, `WaitingForRegions` | |
//! | a leader refused it | False, `FinalizeRefused` | `Finalize` after a wait |
//! | otherwise | False, `Finalizing` | `Finalize` of the first shard below it |
//!
//! `status.upgrade` keeps what pods cannot report: since when all of them know the version, what was proposed, and which
//! images knew how much.

mod images;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use meridian_crd::conditions::{Predicate, Reason, operation as op, predicate, reason};
use meridian_crd::{Operation, UpgradeStatus};
use meridian_model::{BehaviorVersion, RegionName, ShardNumber};

pub use images::RefusedImage;
pub(crate) use images::images;
use versions::{Versions, number, version};

use crate::step::{in_progress, waiting};
use crate::{Act, ObservedShard, Placement, ValidCluster};

/// `spec.upgrade.finalizeAfter` by default.
pub const FINALIZE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Regions that a message names.
const NAMED_REGIONS: usize = 4;

/// The upgrade as a turn finds it, beside the pods.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedUpgrade {
    /// `status.upgrade` of the turn before.
    pub before: UpgradeStatus,
    /// The version that a user asked to finalize at once.
    pub requested: Request,
    /// The newest version that this operator knows.
    pub newest: BehaviorVersion,
    /// The time of the turn.
    pub now: Time,
}

impl Default for ObservedUpgrade {
    fn default() -> Self {
        Self {
            before: UpgradeStatus::default(),
            requested: Request::None,
            newest: BehaviorVersion::newest(),
            now: Time(Timestamp::UNIX_EPOCH),
        }
    }
}

/// The annotation [`FINALIZE_ANNOTATION`](crate::names::FINALIZE_ANNOTATION).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Request {
    /// Absent.
    #[default]
    None,
    /// This version shall be finalized without a soak.
    Finalize(BehaviorVersion),
    /// The text is no version.
    Invalid(String),
}

impl Request {
    /// Parses the annotation.
    #[must_use]
    pub fn parse(annotation: Option<&str>) -> Self {
        match annotation {
            None => Self::None,
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Self::Finalize(BehaviorVersion(number)),
                _ => Self::Invalid(text.chars().take(40).collect()),
            },
        }
    }
}

/// The rules of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long all pods must have known a version; none: until a user asks.
    pub finalize_after: Option<Duration>,
    /// The other regions of the replication group.
    pub other_regions: Vec<RegionName>,
    /// The region takes the writes of its group: it finalizes last.
    pub is_primary: bool,
}

impl Rules {
    /// The rules of a cluster.
    #[must_use]
    pub fn of(cluster: &ValidCluster) -> Self {
        let regions = cluster.group.iter().flat_map(|group| &group.regions);
        Self {
            finalize_after: cluster.finalize_after,
            other_regions: regions.map(|region| region.name.clone()).filter(|name| *name != cluster.region).collect(),
            is_primary: *cluster.primary() == cluster.region,
        }
    }
}

/// The condition `Finalized`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its status; none: Unknown.
    pub holds: Option<bool>,
    /// Its reason.
    pub reason: Reason,
    /// Its message.
    pub message: String,
}

/// The part of a step that concerns versions.
#[derive(Debug, Clone, PartialEq)]
pub struct UpgradeStep {
    /// The call to make; none while another act goes first.
    pub act: Option<Act>,
    /// The finalization and the publication under way. They keep no cluster from being ready.
    pub operations: Vec<Operation>,
    /// The condition `Finalized`.
    pub finalized: Verdict,
    /// `status.upgrade`; written before the act.
    pub status: UpgradeStatus,
    /// Why the image of the spec is not rendered.
    pub refused_image: Option<RefusedImage>,
}

impl UpgradeStep {
    /// The step before any pod exists.
    pub(crate) fn none() -> Self {
        let message = "no pod has reported the behavior version of its shard yet".to_owned();
        let finalized = Verdict { holds: None, reason: reason::AWAITING_REPORT, message };
        let status = UpgradeStatus::default();
        Self { act: None, operations: Vec::new(), finalized, status, refused_image: None }
    }
}

/// Other work of the turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherWork {
    /// The turn performs another act, so the upgrade performs none.
    pub acts: bool,
    /// Description of the operation that delays finalization.
    pub under_way: Option<String>,
}

/// Decides for all shards of a region; see the table above.
#[must_use]
pub fn next_upgrade_step(
    placement: &dyn Placement,
    shards: &BTreeMap<ShardNumber, &ObservedShard>,
    rules: &Rules,
    seen: &ObservedUpgrade,
    other: &OtherWork,
) -> UpgradeStep {
    let versions = Versions::of(placement, shards);
    let status = versions.status(seen);
    let mut turn =
        Turn { placement, versions, rules, seen, other, step: UpgradeStep { status, ..UpgradeStep::none() } };
    turn.finalize();
    turn.publish();
    turn.step
}

struct Turn<'a> {
    placement: &'a dyn Placement,
    versions: Versions,
    rules: &'a Rules,
    seen: &'a ObservedUpgrade,
    other: &'a OtherWork,
    step: UpgradeStep,
}

impl Turn<'_> {
    fn decide(&mut self, holds: bool, reason: Reason, message: String) {
        let message = match &self.seen.requested {
            Request::Invalid(text) => {
                let name = crate::names::FINALIZE_ANNOTATION;
                format!("{message}; the annotation {name} must be a behavior version (got {text:?})")
            }
            _ => message,
        };
        self.step.finalized = Verdict { holds: Some(holds), reason, message };
    }

    /// A finalization that waits.
    fn wait(&mut self, shard: ShardNumber, reason: Reason, awaited: Predicate, message: String) {
        self.step.operations.push(waiting(op::FINALIZE, self.placement.shard_name(shard), awaited, message.clone()));
        self.decide(false, reason, message);
    }

    fn finalize(&mut self) {
        // While a shard has no leader, the last report counts only for images.
        let Some(finalized) = self.versions.finalized() else { return };
        let proposed = self.step.status.proposed_version.map_or(finalized, version);
        let known = self.versions.highest_known.unwrap_or(finalized).min(self.seen.newest);
        let target = known.max(proposed);
        if target <= finalized {
            let message = format!("every shard uses behavior version {finalized}");
            let newer = self.versions.highest_known.filter(|known| *known > self.seen.newest);
            let message = match newer {
                Some(known) => format!("{message}; pods know {known}, which needs a newer release of the operator"),
                None => message,
            };
            return self.decide(true, reason::FINALIZED, message);
        }
        if let Some(pod) = self.versions.first_below(target) {
            let message = format!("waiting for behavior version {target} in all pods: {pod}");
            return self.decide(false, reason::ROLLING_OUT, message);
        }
        let shard = self.versions.first_to_finalize(target).map_or(ShardNumber::FIRST, |shard| shard.number);
        let (Some(target), has_begun) = self.due(finalized, target, proposed) else {
            return self.soak(shard, finalized, target);
        };
        let to = format!("behavior version {target}");
        if let Some(under_way) = &self.other.under_way {
            let message = format!("waiting to finalize {to} until nothing else is under way: {under_way}");
            return self.wait(shard, reason::FINALIZING, predicate::NO_OTHER_OPERATION, message);
        }
        // The others have finalized it by the time of the first proposal, and do not go back.
        let behind = self.regions_below(target);
        if self.rules.is_primary && !has_begun && !behind.is_empty() {
            let message = format!("the primary region finalizes {to} last: waiting for {}", behind.join(", "));
            return self.wait(shard, reason::WAITING_FOR_REGIONS, predicate::REGIONS_FINALIZED, message);
        }
        let Some(next) = self.versions.first_to_finalize(target) else { return };
        let count = self.versions.shards.len();
        let message = format!("{to} is finalized in {} of {count} shards", self.versions.count_at(target));
        let (shard, leader) = (next.number, next.leader);
        self.decide(false, reason::FINALIZING, message);
        self.step.operations.push(in_progress(op::FINALIZE, self.placement.shard_name(shard)));
        if !self.other.acts {
            let status = &mut self.step.status;
            status.proposed_version = status.proposed_version.max(Some(number(target)));
            self.step.act = Some(Act::Finalize { shard, leader, version: target });
        }
    }

    /// The version to finalize now, and whether its first shard was called before. `target` is known to all pods.
    fn due(
        &self,
        finalized: BehaviorVersion,
        target: BehaviorVersion,
        proposed: BehaviorVersion,
    ) -> (Option<BehaviorVersion>, bool) {
        // A region whose shards differ is completed first.
        if proposed > finalized {
            return (Some(proposed), true);
        }
        let has_soaked = self.soaked_at().is_some_and(|at| at <= self.seen.now.0);
        let requested = match self.seen.requested {
            Request::Finalize(requested) => Some(requested).filter(|requested| *requested <= target),
            Request::None | Request::Invalid(_) => None,
        };
        (requested.max(has_soaked.then_some(target)).filter(|due| *due > finalized), false)
    }

    /// The end of the soak; none with `Never`.
    fn soaked_at(&self) -> Option<Timestamp> {
        let since = self.step.status.known_since.as_ref()?.0;
        let soak = SignedDuration::try_from(self.rules.finalize_after?).ok()?;
        Some(since.checked_add(soak).unwrap_or(Timestamp::MAX))
    }

    fn soak(&mut self, shard: ShardNumber, finalized: BehaviorVersion, target: BehaviorVersion) {
        let advice = "the release can be rolled back until then; `meridian upgrade finalize` finalizes it at once";
        match self.soaked_at() {
            Some(at) => {
                let message = format!("behavior version {target} is finalized after {at}: {advice}");
                self.wait(shard, reason::SOAKING, predicate::SOAK_ELAPSED, message);
            }
            None => {
                let message = format!(
                    "all pods know behavior version {target}, and the shards use {finalized}: \
                     spec.upgrade.finalizeAfter is Never, so it waits for `meridian upgrade finalize`"
                );
                self.decide(false, reason::HELD, message);
            }
        }
    }

    fn publish(&mut self) {
        let (Some(finalized), Some(published)) = (self.versions.finalized(), self.versions.published()) else { return };
        let regions = self.rules.other_regions.iter().map(|region| self.versions.regions.get(region).copied());
        // A region that was not heard of may be at the first version.
        let common = regions.map(|version| version.unwrap_or(BehaviorVersion::FIRST)).min().unwrap_or(finalized);
        let target = common.min(finalized);
        if target > published {
            let shard = self.versions.shards.iter().find(|shard| shard.published < target);
            let Some((shard, leader)) = shard.map(|shard| (shard.number, shard.leader)) else { return };
            self.step.operations.push(in_progress(op::PUBLISH, self.placement.shard_name(shard)));
            if !self.other.acts && self.step.act.is_none() {
                self.step.act = Some(Act::Publish { shard, leader, version: target });
            }
        } else if finalized > published {
            let behind = self.regions_below(finalized).join(", ");
            let message = format!("waiting for behavior version {finalized} in {behind}");
            let target = self.placement.shard_name(ShardNumber::FIRST);
            self.step.operations.push(waiting(op::PUBLISH, target, predicate::REGIONS_FINALIZED, message.clone()));
            if self.step.finalized.holds == Some(true) {
                let message = format!("{}; not published to other regions yet: {message}", self.step.finalized.message);
                self.step.finalized.message = message;
            }
        }
    }

    /// The other regions that have not reported `target`, each with what it reported.
    fn regions_below(&self, target: BehaviorVersion) -> Vec<String> {
        let below = self.rules.other_regions.iter().filter_map(|region| match self.versions.regions.get(region) {
            Some(version) if *version >= target => None,
            Some(version) => Some(format!("{region} (has {version})")),
            None => Some(format!("{region} (not heard of)")),
        });
        let mut below: Vec<String> = below.collect();
        if below.len() > NAMED_REGIONS {
            let more = below.len() - NAMED_REGIONS;
            below.truncate(NAMED_REGIONS);
            below.push(format!("{more} more"));
        }
        below
    }
}
