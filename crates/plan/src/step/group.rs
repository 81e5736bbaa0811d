//! The group of one shard: the leader's status, checked against those of the other replicas.

use std::collections::BTreeMap;

use meridian_model::{ReplicaId, ShardNumber};
use meridian_proto::topology::{PROMOTE_LAG, PodStatus, ReplicaStatus, Role};

use crate::{ObservedPod, ObservedShard, Placement};

/// Log entries by which a healthy voter may lag: about one second of a busy leader.
const HEALTHY_LAG: u64 = 4096;

/// A group with a leader that a majority of its voters follows.
pub(crate) struct Group<'a> {
    /// The leader's pod.
    pub leader: u16,
    /// The leader's status.
    pub status: &'a ReplicaStatus,
    /// Ordinal of every voter; `None` for an address that is not a pod's.
    pub voters: BTreeMap<ReplicaId, Option<u16>>,
    /// Ordinal of every learner.
    pub learners: BTreeMap<ReplicaId, Option<u16>>,
    pods: &'a BTreeMap<u16, ObservedPod>,
}

/// The status of the replica that runs on a pod.
pub(crate) fn running(pod: &ObservedPod) -> Option<&ReplicaStatus> {
    match &pod.answer {
        Some(PodStatus::Running(status)) => Some(status),
        _ => None,
    }
}

impl<'a> Group<'a> {
    /// The group of a shard; `None` unless a majority of voters follows a leader of the newest term.
    pub fn of(cluster: &dyn Placement, shard: ShardNumber, seen: &'a ObservedShard) -> Option<Self> {
        let replicas = || seen.pods.iter().filter_map(|(ordinal, pod)| Some((*ordinal, running(pod)?)));
        let newest = replicas().map(|(_, status)| status.term).max()?;
        let (leader, status) = replicas().find(|(_, status)| status.role == Role::Leader && status.term == newest)?;
        let places = |members: &[meridian_proto::topology::Member]| {
            members.iter().map(|m| (m.replica, cluster.ordinal_of(shard, &m.address))).collect()
        };
        let group = Self {
            leader,
            status,
            voters: places(&status.voters),
            learners: places(&status.learners),
            pods: &seen.pods,
        };
        let follows = |replica: &ReplicaId| {
            let status = group.pod_of(*replica).and_then(running);
            status.is_some_and(|s| s.term == newest && s.leader == Some(group.status.identity.replica))
        };
        (group.voters.keys().filter(|voter| follows(voter)).count() >= group.majority()).then_some(group)
    }

    /// Number of votes that form a quorum.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The pod of a member: the one at its address that also reports its id.
    pub fn pod_of(&self, replica: ReplicaId) -> Option<&'a ObservedPod> {
        let ordinal = self.voters.get(&replica).or_else(|| self.learners.get(&replica)).copied().flatten()?;
        let pod = self.pods.get(&ordinal)?;
        running(pod).is_some_and(|status| status.identity.replica == replica).then_some(pod)
    }

    /// The member whose address is that of the pod with this ordinal.
    pub fn member_at(&self, ordinal: u16) -> Option<ReplicaId> {
        let at = |members: &BTreeMap<ReplicaId, Option<u16>>| {
            members.iter().find(|(_, place)| **place == Some(ordinal)).map(|(replica, _)| *replica)
        };
        at(&self.voters).or_else(|| at(&self.learners))
    }

    /// Returns true if the volume of a member is lost or damaged: its pod answers and is not that member. A pod with
    /// another cluster's volume is not lost, since its own volume may return.
    pub fn is_lost(&self, replica: ReplicaId) -> bool {
        let place = self.voters.get(&replica).or_else(|| self.learners.get(&replica)).copied().flatten();
        let answered = |ordinal| self.pods.get(&ordinal).is_some_and(|pod| pod.answers() && !pod.deleting);
        place.is_some_and(answered) && self.pod_of(replica).is_none()
    }

    /// Returns true for a voter that could lead at once: ready, active at the leader, with nearly all of the log on
    /// disk.
    pub fn is_healthy_voter(&self, replica: ReplicaId) -> bool {
        self.voters.contains_key(&replica) && self.is_up(replica) && self.is_within(replica, HEALTHY_LAG)
    }

    /// Returns true for a learner that may become a voter.
    pub fn can_vote(&self, learner: ReplicaId) -> bool {
        self.learners.contains_key(&learner)
            && self.pod_of(learner).is_some_and(|pod| !pod.deleting)
            && self.is_within(learner, PROMOTE_LAG)
    }

    fn is_up(&self, replica: ReplicaId) -> bool {
        self.pod_of(replica).is_some_and(|pod| {
            let serves = running(pod).is_some_and(|status| status.ready && !status.draining && status.fault.is_none());
            serves && !pod.deleting
        })
    }

    fn is_within(&self, replica: ReplicaId, lag: u64) -> bool {
        if replica == self.status.identity.replica {
            return true;
        }
        let follower = self.status.followers.iter().find(|follower| follower.replica == replica);
        follower.is_some_and(|f| f.active && self.status.commit.0.saturating_sub(f.matched.0) <= lag)
    }

    /// Returns true if the quorum holds while `away` is down.
    pub fn survives_absence(&self, away: ReplicaId) -> bool {
        let left = self.voters.keys().filter(|voter| **voter != away && self.is_healthy_voter(**voter)).count();
        left >= self.majority()
    }

    /// Returns true if the quorum holds before and after `gone` is removed from the group.
    pub fn survives_removal(&self, gone: ReplicaId) -> bool {
        if !self.voters.contains_key(&gone) {
            return true;
        }
        let sound = self.voters.keys().filter(|voter| self.is_healthy_voter(**voter)).count();
        let left = self.voters.keys().filter(|voter| **voter != gone && self.is_healthy_voter(**voter)).count();
        let after = self.voters.len() - 1;
        after > 0 && sound >= self.majority() && left > after / 2
    }

    /// The best other leader: a healthy voter that `prefers` accepts, with the longest log, then the lowest id.
    pub fn successor(&self, prefers: impl Fn(u16) -> bool) -> Option<ReplicaId> {
        let matched = |replica: ReplicaId| {
            self.status.followers.iter().find(|f| f.replica == replica).map_or(0, |follower| follower.matched.0)
        };
        self.voters
            .iter()
            .filter(|(voter, _)| **voter != self.status.identity.replica && self.is_healthy_voter(**voter))
            .filter(|(_, ordinal)| ordinal.is_some_and(&prefers))
            .map(|(voter, _)| *voter)
            .max_by_key(|voter| (matched(*voter), std::cmp::Reverse(*voter)))
    }
}
