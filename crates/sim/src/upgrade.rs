//! Upgrade runs: pods change their release under load, while clients send writes that need the next behavior version.
//!
//! ```text
//!   region A   forward ─► half of it back ─► forward ─┐
//!   region B   forward, with premature `Finalize`     ├─► Finalize in one region ─► in the other ─► Publish
//! ```
//! Region A receives no `Finalize` before its last change of release, so that it can be rolled back. Region B is never
//! rolled back, so its leaders may receive `Finalize` at any time, and must refuse it while a member does not support
//! the version.

use meridian_model::{BehaviorVersion, ShardNumber};
use meridian_proto::topology::{ReplicaStatus, TopologyCall};
use meridian_replica::Event;

use crate::clock::{MILLI, Micros, SECOND};
use crate::committed_log::Group;
use crate::world::{SimEvent, World};
use crate::{InjectedBug, Plan};

/// The version that the old release supports.
pub const OLD: BehaviorVersion = BehaviorVersion::FIRST;
/// The version that the new release supports and that all regions finalize.
pub const NEW: BehaviorVersion = BehaviorVersion(2);
/// Key of payloads that need [`NEW`].
pub const NEXT_KEY: &str = "meridian.next";
/// Time at which the first pod changes its release.
const BEGIN: Micros = 2 * SECOND;
/// Deadline of the upgrade; faults last at most a few seconds.
const DEADLINE: Micros = 120 * SECOND;
/// Probability of premature calls, in per mille of steps.
const PREMATURE_PER_MILLE: u64 = 150;

/// Emulates a release that supports behavior versions up to `newest`, until the value is dropped.
#[cfg(debug_assertions)]
pub fn run_as(newest: BehaviorVersion) -> meridian_model::PlayedRelease {
    meridian_model::PlayedRelease::knowing(newest)
}

/// Builds without debug assertions support no next version and run no upgrades.
#[cfg(not(debug_assertions))]
pub fn run_as(_: BehaviorVersion) {}

/// Progress of an upgrade.
#[derive(Debug)]
pub struct Upgrade {
    step: UpgradeStep,
    /// The region that is rolled back; the other one receives premature calls.
    goes_back: usize,
    /// The region that finalizes first.
    first: usize,
    next_at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpgradeStep {
    Forward,
    Back,
    ForwardAgain,
    Finalize,
    FinalizeOther,
    Publish,
    Done,
}

impl Upgrade {
    pub fn new(seed: u64, plan: Plan) -> Option<Self> {
        let injected =
            matches!(plan.injected_bug, Some(InjectedBug::FinalizeUnchecked | InjectedBug::PublishUnchecked));
        let is_drawn = seed % 8 == 5 && plan.full_disks == 0;
        let bit = |of: u64| usize::try_from(seed / of % 2).unwrap_or_default();
        (cfg!(debug_assertions) && (is_drawn || injected)).then(|| Self {
            step: UpgradeStep::Forward,
            goes_back: bit(8),
            first: bit(16),
            next_at: BEGIN,
        })
    }

    /// Release of new pods: never the old one after the operator has sent `Finalize` to a region.
    pub fn image_of_new_pods(&self) -> BehaviorVersion {
        match self.step {
            UpgradeStep::Forward | UpgradeStep::Back | UpgradeStep::ForwardAgain => OLD,
            UpgradeStep::Finalize | UpgradeStep::FinalizeOther | UpgradeStep::Publish | UpgradeStep::Done => NEW,
        }
    }

    pub fn is_done(&self) -> bool {
        self.step == UpgradeStep::Done
    }
}

impl World {
    /// Performs the next step of the upgrade.
    pub fn continue_upgrade(&mut self) {
        let Some(Upgrade { step, goes_back, first, next_at }) = self.upgrade else { return };
        if step == UpgradeStep::Done || self.now < next_at {
            return;
        }
        if self.now > DEADLINE {
            return self.violation(format!("the upgrade is not done: {step:?}{}", self.describe()));
        }
        let pause = self.rng.between(150, 400) * MILLI;
        self.set_upgrade(step, pause);
        self.check_reported_versions();
        if matches!(step, UpgradeStep::Forward | UpgradeStep::Back | UpgradeStep::ForwardAgain)
            && self.rng.per_mille(PREMATURE_PER_MILLE)
        {
            for group in self.groups().into_iter().filter(|(region, _)| *region != goes_back) {
                self.call_leader(group, TopologyCall::Finalize { version: NEW });
            }
        }
        let (region, other) = (first, 1 - first);
        let is_over = match step {
            UpgradeStep::Forward => self.roll_next(|_| NEW),
            UpgradeStep::Back => {
                self.roll_next(|(of, ordinal)| if of == goes_back && ordinal % 2 == 1 { OLD } else { NEW })
            }
            UpgradeStep::ForwardAgain => self.roll_next(|_| NEW),
            UpgradeStep::Finalize => self.finalize_region(region),
            UpgradeStep::FinalizeOther => self.finalize_region(other),
            UpgradeStep::Publish => self.publish_version(),
            UpgradeStep::Done => return,
        };
        let (next, pause) = match step {
            _ if !is_over => return,
            UpgradeStep::Forward => (UpgradeStep::Back, 0),
            UpgradeStep::Back => (UpgradeStep::ForwardAgain, self.rng.between(0, 1_000) * MILLI),
            UpgradeStep::ForwardAgain => (UpgradeStep::Finalize, 0),
            UpgradeStep::Finalize => (UpgradeStep::FinalizeOther, self.rng.between(500, 2_500) * MILLI),
            UpgradeStep::FinalizeOther => (UpgradeStep::Publish, 0),
            UpgradeStep::Publish | UpgradeStep::Done => (UpgradeStep::Done, 0),
        };
        self.log(|| format!("upgrade: {step:?} is over"));
        self.set_upgrade(next, pause);
        self.counts.upgrades += u64::from(next == UpgradeStep::Done);
    }

    fn set_upgrade(&mut self, step: UpgradeStep, pause: Micros) {
        if let Some(upgrade) = &mut self.upgrade {
            (upgrade.step, upgrade.next_at) = (step, self.now + pause);
        }
    }

    /// Restarts the next pod whose image differs from the wanted one of its region and ordinal. Returns `true` if there
    /// is none.
    fn roll_next(&mut self, wanted: impl Fn((usize, u16)) -> BehaviorVersion) -> bool {
        let image = |pod: &crate::pod::Pod| wanted((pod.region, pod.ordinal));
        let Some(pod) = self.pods.iter().position(|pod| pod.image != image(pod)) else { return true };
        self.pods[pod].image = image(&self.pods[pod]);
        self.log(|| format!("pod {pod} gets a release that supports {}", self.pods[pod].image));
        if self.pods[pod].is_up() {
            let after = self.rng.between(20, 500) * MILLI;
            self.faults.last_end = self.faults.last_end.max(self.now + after);
            self.stop(pod, false, Some(after));
            self.counts.rolls += 1;
        }
        false
    }

    fn finalize_region(&mut self, region: usize) -> bool {
        let version = NEW;
        self.call_leaders(region, TopologyCall::Finalize { version }, |status| status.behavior >= version)
    }

    /// Publishes as the operator does: once the primary region reports that every other region has finalized the
    /// version.
    fn publish_version(&mut self) -> bool {
        let decider = self.leader((self.primary, ShardNumber::FIRST)).map(|(_, status)| status);
        let is_published = |status: &ReplicaStatus| status.published >= NEW;
        let is_reported =
            |status: ReplicaStatus| is_published(&status) || status.regions.iter().any(|of| of.behavior >= NEW);
        if !decider.is_some_and(is_reported) {
            return false;
        }
        let mut all = true;
        for region in 0..self.regions.len() {
            all &= self.call_leaders(region, TopologyCall::Publish { version: NEW }, is_published);
        }
        all
    }

    /// Calls the leaders of the shards that are not done. Returns `true` if all are.
    fn call_leaders(&mut self, region: usize, call: TopologyCall, is_done: impl Fn(&ReplicaStatus) -> bool) -> bool {
        let groups = self.groups().into_iter().filter(|group| group.0 == region);
        let late: Vec<Group> =
            groups.filter(|group| !self.leader(*group).is_some_and(|(_, status)| is_done(&status))).collect();
        late.iter().for_each(|group| self.call_leader(*group, call.clone()));
        late.is_empty()
    }

    fn call_leader(&mut self, group: Group, call: TopologyCall) {
        let Some((pod, _)) = self.leader(group) else { return };
        let incarnation = self.pods[pod].incarnation;
        let event = Event::Topology { ticket: 0, call };
        self.queue.push(self.now + MILLI, SimEvent::Deliver { pod, incarnation, event });
    }

    /// Checks that no leader reports a version of another region that one of its shards has not finalized.
    fn check_reported_versions(&mut self) {
        for (region, shard) in self.groups() {
            let Some((pod, status)) = self.leader((region, shard)) else { continue };
            let other = 1 - region;
            let finalized =
                ShardNumber::all(self.shards[other]).map(|shard| self.committed.finalized((other, shard))).min();
            if status.regions.iter().any(|reported| finalized.is_none_or(|finalized| reported.behavior > finalized)) {
                self.violation(format!("pod {pod} reports {:?}; finalized is {finalized:?}", status.regions));
            }
        }
    }
}
