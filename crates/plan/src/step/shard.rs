//! Members of one shard: bootstrapped once, then added, removed and replaced one at a time.

use meridian_crd::conditions::{Predicate, operation as op, predicate};
use meridian_model::{BehaviorVersion, ReplicaId, ShardNumber};
use meridian_proto::topology::{Identity, Member, PodStatus};

use super::group::running;
use super::{Act, Group, ShardMove, in_progress, waiting};
use crate::{ObservedPod, ObservedShard, Placement, ReplicaIdAllocator};

/// The next move of one shard, regardless of the others.
#[must_use]
pub fn next_shard_move(cluster: &dyn Placement, shard: ShardNumber, seen: &ObservedShard) -> ShardMove {
    let group = Group::of(cluster, shard, seen);
    let turn = Turn { cluster, shard, seen, allocator: with_observed_ids(seen, group.as_ref()) };
    let replicas = turn.pods_needed(group.as_ref());
    let idle = |turn: Turn<'_>, operation| ShardMove { allocator: turn.allocator, replicas, act: None, operation };
    let name = cluster.shard_name(shard);
    match seen.stateful_set {
        Some(set) if set.deleting => {
            let operation = waiting(
                op::CREATE,
                name,
                predicate::STATEFUL_SET_DELETED,
                "a former StatefulSet of that name is being deleted",
            );
            return idle(turn, Some(operation));
        }
        None => return idle(turn, Some(in_progress(op::CREATE, name))),
        Some(_) => {}
    }
    if !turn.allocator.bootstrapped {
        return turn.bootstrap(replicas);
    }
    match group {
        Some(group) => turn.reconcile(&group, replicas),
        None => {
            let operation = turn.leaderless();
            idle(turn, Some(operation))
        }
    }
}

/// The stored allocator with the ids observed on volumes, which outlive the resource and its status.
fn with_observed_ids(seen: &ObservedShard, group: Option<&Group<'_>>) -> ReplicaIdAllocator {
    let mut allocator = seen.allocator.clone();
    // Without a stored allocator, the allocated ids are known only after every volume has reported, including those of
    // removed replicas: an id found on one of them must not be reused.
    let has_records = allocator.bootstrapped || !allocator.bootstrap_ids.is_empty();
    let answers = |ordinal: &u16| seen.pods.get(ordinal).is_some_and(|pod| pod.answers() && !pod.deleting);
    let all_asked = seen.volumes.iter().chain(seen.pods.keys()).all(answers);
    let mut founders_up = 0;
    for pod in seen.pods.values() {
        let replica = match &pod.answer {
            Some(PodStatus::Running(status)) => {
                let known = status.voters.iter().chain(&status.learners);
                known.for_each(|member| allocator.reserve(member.replica));
                Some(status.identity.replica)
            }
            Some(PodStatus::Damaged { replica, .. }) => *replica,
            Some(PodStatus::Blank | PodStatus::Foreign { .. } | PodStatus::Newer { .. }) | None => continue,
        };
        replica.into_iter().for_each(|replica| allocator.reserve(replica));
        if replica.is_some_and(|replica| allocator.bootstrap_ids.contains(&replica)) {
            founders_up += 1;
        } else if (replica.is_none() || replica != allocator.joining) && (has_records || all_asked) {
            allocator.bootstrapped = true; // a volume from before: this group exists
        }
    }
    // A first member that had a log and is blank now has lost its volume. A second bootstrap would let it vote twice.
    let lost_founder = group.is_some_and(|group| {
        let founder = |replica: &ReplicaId| allocator.bootstrap_ids.contains(replica);
        group.status.followers.iter().any(|f| founder(&f.replica) && f.matched.0 > 0 && group.is_lost(f.replica))
    });
    if allocator.bootstrapped
        || lost_founder
        || (!allocator.bootstrap_ids.is_empty() && founders_up == allocator.bootstrap_ids.len())
    {
        allocator.bootstrapped = true;
        allocator.bootstrap_ids.clear();
    }
    let joined = |group: &Group<'_>| {
        allocator.joining.is_some_and(|j| group.voters.contains_key(&j) || group.learners.contains_key(&j))
    };
    if group.is_some_and(joined) {
        allocator.joining = None;
    }
    allocator
}

struct Turn<'a> {
    cluster: &'a dyn Placement,
    shard: ShardNumber,
    seen: &'a ObservedShard,
    allocator: ReplicaIdAllocator,
}

impl Turn<'_> {
    /// Number of pods of the StatefulSet: enough for every member, and at most one less than now.
    fn pods_needed(&self, group: Option<&Group<'_>>) -> u16 {
        let mut needed = self.cluster.replicas();
        // A replica that any status names as a member may hold the only copy of a write, so its pod must be able to
        // run.
        for status in self.seen.pods.values().filter_map(running) {
            let named = match group {
                Some(group) => &group.status.voters,
                None => &status.voters,
            };
            let learners = group.map_or(&status.learners, |group| &group.status.learners);
            let ordinals = named.iter().chain(learners).filter_map(|m| self.cluster.ordinal_of(self.shard, &m.address));
            needed = ordinals.fold(needed, |needed, ordinal| needed.max(ordinal + 1));
        }
        if !self.allocator.bootstrapped {
            // Before the bootstrap, every existing volume must report whether a group was bootstrapped on it.
            let volumes = self.seen.volumes.last().map_or(0, |ordinal| ordinal + 1);
            let founders = u16::try_from(self.allocator.bootstrap_ids.len()).unwrap_or(u16::MAX);
            needed = needed.max(volumes).max(founders);
        }
        match self.seen.stateful_set {
            Some(set) if set.deleting => set.replicas,
            // Pods are removed one at a time, and only while the observation of the group is current.
            Some(set) if needed < set.replicas => {
                let is_current = self.allocator.bootstrapped
                    && group.is_some()
                    && set.settled
                    && self.seen.pods.len() <= usize::from(set.replicas);
                if is_current { set.replicas - 1 } else { set.replicas }
            }
            _ => needed,
        }
    }

    fn bootstrap(mut self, replicas: u16) -> ShardMove {
        let name = self.cluster.shard_name(self.shard);
        let still = |turn: Self, awaited: Predicate, message: String| ShardMove {
            operation: Some(waiting(op::CREATE, name.clone(), awaited, message)),
            allocator: turn.allocator,
            replicas,
            act: None,
        };
        if let Some(ordinal) = self.seen.unusable_volume() {
            let (awaited, message) = self.unavailable(ordinal);
            return still(self, awaited, message);
        }
        let asked = replicas.max(self.seen.pods.keys().last().map_or(0, |ordinal| ordinal + 1));
        let silent = (0..asked).find(|o| self.seen.pods.get(o).is_none_or(|pod| pod.answer.is_none() || pod.deleting));
        if let Some(ordinal) = silent {
            let pod = self.cluster.pod_name(self.shard, ordinal);
            let message = format!("{pod} does not answer yet{}", self.failure_reason(ordinal));
            return still(self, predicate::PODS_REACHABLE, message);
        }
        if self.allocator.bootstrap_ids.is_empty() {
            self.allocator.bootstrap_ids = (0..self.cluster.replicas()).map(|_| self.allocator.allocate()).collect();
        }
        let members: Vec<(u16, Member)> = (0..)
            .zip(&self.allocator.bootstrap_ids)
            .map(|(ordinal, replica)| {
                (ordinal, Member { replica: *replica, address: self.cluster.peer_address(self.shard, ordinal) })
            })
            .collect();
        let founders: Vec<Member> = members.iter().map(|(_, member)| member.clone()).collect();
        // First members that already run have the behavior version of the bootstrap that began.
        let begun = self.seen.pods.values().filter_map(running).map(|status| &status.identity);
        let mut bootstrapped = begun.filter(|identity| self.allocator.bootstrap_ids.contains(&identity.replica));
        // A new group uses the newest version that all of its pods know: their image may be older than the operator.
        let known = || self.seen.pods.values().filter_map(|pod| pod.known).min();
        let newest = || known().unwrap_or(BehaviorVersion::newest()).min(BehaviorVersion::newest());
        let behavior = bootstrapped.next().map_or_else(newest, |identity| identity.behavior);
        let is_blank = |ordinal: u16| self.seen.pods.get(&ordinal).is_some_and(|p| p.answer == Some(PodStatus::Blank));
        let pods: Vec<(u16, Identity)> = members
            .iter()
            .filter(|(ordinal, _)| is_blank(*ordinal))
            .map(|(ordinal, member)| (*ordinal, self.identity(member.replica, founders.clone(), behavior)))
            .collect();
        let operation = Some(in_progress(op::CREATE, name));
        let act = (!pods.is_empty()).then_some(Act::Bootstrap { shard: self.shard, pods });
        ShardMove { allocator: self.allocator, replicas, act, operation }
    }

    /// `behavior`: version at the first entry of the group's log, by which a joining replica replays it.
    fn identity(&self, replica: ReplicaId, founders: Vec<Member>, behavior: BehaviorVersion) -> Identity {
        let (genesis, group) = (self.cluster.genesis(self.shard), self.cluster.group());
        Identity { genesis, replica, founders, group, behavior }
    }

    /// The operation of a group without a leader that a majority follows.
    fn leaderless(&self) -> meridian_crd::Operation {
        let name = self.cluster.shard_name(self.shard);
        let answers: Vec<&PodStatus> = self.seen.pods.values().filter_map(|pod| pod.answer.as_ref()).collect();
        if let Some(ordinal) = self.seen.unusable_volume() {
            let (awaited, message) = self.unavailable(ordinal);
            return waiting(op::ELECT_LEADER, name, awaited, message);
        }
        let is_not_running = |answer: &&PodStatus| !matches!(answer, PodStatus::Running(_));
        if answers.len() >= usize::from(self.cluster.replicas()) && answers.iter().all(is_not_running) {
            let message = "the group was bootstrapped and every volume is blank or damaged: bring a volume back, or delete the cluster \
                           and its volumes to begin anew";
            return waiting(op::REPLACE_REPLICA, name, predicate::VOLUME_RESTORED, message);
        }
        let message = format!("{} of {} pods answer and none leads a majority", answers.len(), self.cluster.replicas());
        waiting(op::ELECT_LEADER, name, predicate::QUORUM_AVAILABLE, message)
    }

    /// Reconciles the members with the spec: lost ones are replaced, missing ones added, excess ones removed.
    fn reconcile(mut self, group: &Group<'_>, replicas: u16) -> ShardMove {
        let (act, operation) = match self.reconcile_membership(group) {
            Some((act, operation)) => (act, Some(operation)),
            None => (None, self.pending_pods(replicas)),
        };
        ShardMove { allocator: self.allocator, replicas, act, operation }
    }

    fn reconcile_membership(&mut self, group: &Group<'_>) -> Option<(Option<Act>, meridian_crd::Operation)> {
        let (cluster, shard, leader) = (self.cluster, self.shard, group.leader);
        // 0. Links: they restart no pod and do not wait for membership changes.
        let links = cluster.links();
        if group.status.links != links {
            let expected = group.status.links_version;
            let act = Act::SetLinks { shard, leader, links, expected };
            return Some((Some(act), in_progress(op::UPDATE_LINKS, cluster.shard_name(shard))));
        }
        let expected = group.status.membership_version;
        let members = || group.learners.iter().chain(&group.voters);
        // 1. A member with a lost or damaged volume is removed; its pod joins under a new id below.
        if let Some((replica, ordinal)) = members().find(|(replica, _)| group.is_lost(**replica)) {
            let target = cluster.pod_name(shard, ordinal.unwrap_or_default());
            if !group.survives_removal(*replica) {
                let message = format!("replica {replica} lost its volume, and its removal would cost the quorum");
                return Some((None, waiting(op::REPLACE_REPLICA, target, predicate::QUORUM_SURVIVES, message)));
            }
            return Some((
                Some(Act::Remove { shard, leader, replica: *replica, expected }),
                in_progress(op::REPLACE_REPLICA, target),
            ));
        }
        // 2. A learner becomes a voter before the next one is added.
        if let Some((replica, place)) =
            group.learners.iter().find(|(_, place)| place.is_some_and(|o| o < cluster.replicas()))
        {
            let target = cluster.pod_name(shard, place.unwrap_or_default());
            if !group.can_vote(*replica) {
                let message = format!("learner {replica} is catching up with the leader");
                return Some((None, waiting(op::SCALE_OUT, target, predicate::LEARNER_CAUGHT_UP, message)));
            }
            return Some((
                Some(Act::Promote { shard, leader, replica: *replica, expected }),
                in_progress(op::SCALE_OUT, target),
            ));
        }
        // 3. A pod that is not a member joins under a new id.
        let outside = || (0..cluster.replicas()).filter(|ordinal| group.member_at(*ordinal).is_none());
        let joining =
            |pod: &ObservedPod| running(pod).is_some_and(|s| Some(s.identity.replica) == self.allocator.joining);
        let joining = outside().find(|ordinal| self.seen.pods.get(ordinal).is_some_and(joining));
        if joining.is_none() && self.allocator.joining.is_some() {
            // The pod that received that id may be unreachable. A second id would leave the first one unresolved.
            let silent = |ordinal: &u16| self.seen.pods.get(ordinal).is_some_and(|pod| !pod.answers());
            if let Some(ordinal) = outside().find(silent) {
                let target = cluster.pod_name(shard, ordinal);
                let (_, message) = self.unavailable(ordinal);
                return Some((None, waiting(op::SCALE_OUT, target, predicate::JOINER_REACHABLE, message)));
            }
        }
        for ordinal in joining.into_iter().chain(outside().filter(|ordinal| Some(*ordinal) != joining)) {
            let target = cluster.pod_name(shard, ordinal);
            // A pod with another cluster's volume does not join: its data is not ours to move.
            let Some(pod) = self.seen.pods.get(&ordinal).filter(|pod| !pod.deleting && pod.answers()) else { continue };
            let Some(answer) = &pod.answer else { continue };
            if let Some(known) = pod.known.filter(|known| *known < group.status.behavior) {
                let message =
                    format!("it knows behavior version {known}, and the shard uses {}", group.status.behavior);
                return Some((None, waiting(op::SCALE_OUT, target, predicate::VERSION_KNOWN, message)));
            }
            if let PodStatus::Running(status) = answer {
                let own = status.identity.replica;
                if self.allocator.joining == Some(own) {
                    let member = Member { replica: own, address: cluster.peer_address(shard, ordinal) };
                    return Some((
                        Some(Act::AddLearner { shard, leader, member, expected }),
                        in_progress(op::SCALE_OUT, target),
                    ));
                }
                // The pod may know a newer membership than this leader, one in which it votes.
                if status.term > group.status.term || status.membership_version > expected {
                    return Some((
                        None,
                        waiting(
                            op::SCALE_OUT,
                            target,
                            predicate::LEADER_UP_TO_DATE,
                            "the pod reports a newer membership than the leader",
                        ),
                    ));
                }
            }
            let replica = self.allocator.allocate();
            self.allocator.joining = Some(replica);
            let identity = self.identity(replica, Vec::new(), group.status.identity.behavior);
            return Some((
                Some(Act::Join { shard, ordinal, identity, group: group.status.members_at() }),
                in_progress(op::SCALE_OUT, target),
            ));
        }
        // 4. An excess member is removed, the highest ordinal first, never while it leads.
        let too_many = members().filter(|(_, place)| place.is_none_or(|ordinal| ordinal >= cluster.replicas()));
        let (replica, place) = too_many.max_by_key(|(_, place)| place.unwrap_or(u16::MAX))?;
        let target = place.map_or_else(|| format!("replica {replica}"), |ordinal| cluster.pod_name(shard, ordinal));
        if !group.survives_removal(*replica) {
            let message = format!("the quorum would not hold without replica {replica}");
            return Some((None, waiting(op::SCALE_IN, target, predicate::QUORUM_SURVIVES, message)));
        }
        if *replica != group.status.identity.replica {
            return Some((
                Some(Act::Remove { shard, leader, replica: *replica, expected }),
                in_progress(op::SCALE_IN, target),
            ));
        }
        match group.successor(|ordinal| ordinal < cluster.replicas()) {
            Some(to) => Some((Some(Act::TransferLeader { shard, leader, to }), in_progress(op::SCALE_IN, target))),
            None => Some((
                None,
                waiting(
                    op::SCALE_IN,
                    target,
                    predicate::SUCCESSOR_CAUGHT_UP,
                    "no other voter has caught up with the leader",
                ),
            )),
        }
    }

    /// The membership is final; pods may still be starting or stopping.
    fn pending_pods(&self, replicas: u16) -> Option<meridian_crd::Operation> {
        let set = self.seen.stateful_set?;
        let name = self.cluster.shard_name(self.shard);
        if replicas < set.replicas || set.replicas > self.cluster.replicas() {
            return Some(in_progress(op::SCALE_IN, name));
        }
        let missing = (0..self.cluster.replicas()).find(|o| self.seen.pods.get(o).is_none_or(|pod| !pod.answers()))?;
        let (awaited, message) = self.unavailable(missing);
        Some(waiting(op::START_POD, self.cluster.pod_name(self.shard, missing), awaited, message))
    }

    /// The predicate and message for a pod that does not report a volume of its own.
    fn unavailable(&self, ordinal: u16) -> (Predicate, String) {
        let name = self.cluster.pod_name(self.shard, ordinal);
        match self.seen.pods.get(&ordinal).and_then(|pod| pod.answer.as_ref()) {
            Some(PodStatus::Foreign { identity }) => {
                (predicate::VOLUMES_OWNED, format!("{name} has a volume of {identity}"))
            }
            Some(PodStatus::Newer { reason }) => (predicate::VERSION_KNOWN, format!("{name}: {reason}")),
            _ => (predicate::PODS_REACHABLE, format!("{name} does not answer{}", self.failure_reason(ordinal))),
        }
    }

    /// Suffix of a message: the reason for which the pod does not run, if known.
    fn failure_reason(&self, ordinal: u16) -> String {
        let failure_reason = self.seen.pods.get(&ordinal).and_then(|pod| pod.failure_reason.as_ref());
        failure_reason.map_or_else(String::new, |failure_reason| format!(": {failure_reason}"))
    }
}
