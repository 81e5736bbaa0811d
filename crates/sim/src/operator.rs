//! The operator's part: it mints replica ids, replaces what is lost, and changes members one voter at a time.

use std::collections::BTreeSet;

use meridian_model::{LogIndex, ReplicaId};
use meridian_proto::topology::{Identity, Member, MembersAt, ReplicaStatus, Role, TopologyCall};
use meridian_replica::Event;

use crate::InjectedBug;
use crate::clock::MILLI;
use crate::ledger::Group;
use crate::world::{What, World, address};

impl World {
    /// One turn of the operator, and a look at what must hold of all groups.
    pub fn look(&mut self) {
        self.connect_all();
        self.keep_regions();
        for pod in 0..self.pods.len() {
            self.replace(pod);
        }
        for group in self.groups() {
            self.reconcile(group);
        }
    }

    /// A pod whose replica is lost or removed gets a new one.
    fn replace(&mut self, pod: usize) {
        let held = &self.pods[pod];
        let removed = held.process.as_ref().is_some_and(|process| process.replica.status().fault.is_some());
        if !held.wanted {
            if removed {
                self.stop(pod, false, None);
            }
            return;
        }
        if removed {
            self.stop(pod, false, None);
            self.give_up(pod);
        }
        let founder = self.pods[pod].identity.as_ref().is_some_and(|identity| !identity.founders.is_empty());
        if self.pods[pod].is_lost() && !self.pods[pod].starting && self.rng.per_mille(300) {
            if let (Some(InjectedBug::VoteAfterLogLoss), true, false, Some(identity)) =
                (self.plan.injected_bug, founder, removed, self.pods[pod].identity.clone())
            {
                // The bug: a damaged volume counts as a blank one.
                self.forget_volume(pod);
                return self.make(pod, TopologyCall::Bootstrap(identity));
            }
            self.join(pod);
        }
    }

    /// Gives up the replica that the operator last made of a pod.
    fn give_up(&mut self, pod: usize) {
        if let Some(identity) = &self.pods[pod].identity {
            let replica = identity.replica;
            self.retire(pod, replica);
        }
    }

    /// Makes a pod an empty replica that waits to be added.
    pub fn join(&mut self, pod: usize) {
        if !self.pods[pod].is_lost() {
            self.give_up(pod);
        }
        let (region, shard) = self.pods[pod].group();
        let replica = ReplicaId(self.next_replica);
        self.next_replica += 1;
        self.log(|| format!("pod {pod} becomes replica {replica}"));
        let identity = Identity { genesis: self.genesis(region, shard), replica, founders: Vec::new(), group: None };
        // An empty pod joins without proof that its group can do without it.
        let group = MembersAt { applied: LogIndex(0), members: Vec::new() };
        self.make(pod, TopologyCall::Join { identity, group });
    }

    /// The pod that leads a group, and what it knows.
    pub fn leader(&self, group: Group) -> Option<(usize, ReplicaStatus)> {
        let of = |pod: usize| Some((pod, self.pods[pod].process.as_ref()?.replica.status()));
        let statuses = self.pods_of(group).into_iter().filter_map(of);
        statuses.filter(|(_, status)| status.role == Role::Leader).max_by_key(|(_, status)| status.term)
    }

    fn reconcile(&mut self, group: Group) {
        for pod in self.pods_of(group) {
            let status = self.pods[pod].process.as_ref().map(|process| process.replica.status());
            if let Some(status) = status.filter(|status| status.role == Role::Leader) {
                self.leads(pod, status.term.0);
            }
        }
        let Some((pod, status)) = self.leader(group) else { return };
        let links = if group.0 == self.primary { Vec::new() } else { self.links.clone() };
        if status.links != links {
            let call = TopologyCall::SetLinks { links, expected: status.links_version };
            return self.call(pod, call);
        }
        let expected = status.membership_version;
        let ids = |members: &[Member]| members.iter().map(|member| member.replica).collect::<BTreeSet<_>>();
        let (voters, learners) = (ids(&status.voters), ids(&status.learners));
        let wanted: Vec<(usize, ReplicaId)> = (self.pods_of(group).into_iter())
            .filter(|pod| self.pods[*pod].wanted && !self.pods[*pod].is_lost())
            .filter_map(|pod| Some((pod, self.pods[pod].identity.as_ref()?.replica)))
            .collect();
        let is_wanted = |replica: &ReplicaId| wanted.iter().any(|(_, id)| id == replica);
        let up = voters.iter().filter(|id| wanted.iter().any(|(pod, w)| w == *id && self.pods[*pod].is_up())).count();
        for pod in self.pods_of(group) {
            let replica = self.pods[pod].node().map(|node| node.replica);
            let member = replica.is_some_and(|id| voters.contains(&id) || learners.contains(&id));
            if !self.pods[pod].wanted && !member && self.pods[pod].is_up() && self.rng.per_mille(300) {
                self.stop(pod, false, None);
            }
        }
        let surplus = voters.iter().chain(&learners).find(|id| !is_wanted(id)).copied();
        let call = if let Some(replica) = surplus {
            let left = voters.len() - usize::from(voters.contains(&replica));
            // Never below quorum.
            if up <= left / 2 {
                return;
            }
            // A leader hands over before it goes.
            match voters.iter().find(|id| is_wanted(id)) {
                Some(to) if self.pods[pod].node().is_some_and(|node| node.replica == replica) => {
                    TopologyCall::TransferLeader { to: *to }
                }
                _ => TopologyCall::Remove { replica, expected },
            }
        } else if let Some(replica) = learners.iter().next() {
            TopologyCall::Promote { replica: *replica, expected }
        } else if let Some((new, replica)) = wanted.iter().find(|(_, id)| !voters.contains(id)) {
            if !self.pods[*new].is_up() {
                return;
            }
            let member = Member { replica: *replica, address: self.pods[*new].address.clone() };
            TopologyCall::AddLearner { member, expected }
        } else {
            return;
        };
        self.call(pod, call);
    }

    fn call(&mut self, pod: usize, call: TopologyCall) {
        self.log(|| format!("operator to pod {pod}: {call:?}"));
        let life = self.pods[pod].life;
        self.queue.push(self.now + MILLI, What::Hand { pod, life, event: Event::Topology { ticket: 0, call } });
    }

    /// Whether a group's voters are the wanted replicas, all sound.
    pub fn is_whole(&self, group: Group) -> bool {
        let Some((_, status)) = self.leader(group) else { return false };
        let voters: BTreeSet<ReplicaId> = status.voters.iter().map(|member| member.replica).collect();
        let sound = |pod: &usize| self.pods[*pod].wanted && !self.pods[*pod].is_lost() && !self.pods[*pod].tampered;
        let all = self.pods_of(group);
        let wanted: BTreeSet<ReplicaId> = (all.iter().filter(|pod| sound(pod)))
            .filter_map(|pod| self.pods[*pod].identity.as_ref().map(|identity| identity.replica))
            .collect();
        let count = all.iter().filter(|pod| self.pods[**pod].wanted).count();
        voters == wanted && wanted.len() == count && status.learners.is_empty()
    }

    /// One replica more, or one fewer.
    pub fn scale(&mut self, group: Group) {
        let pods = self.pods_of(group);
        let wanted: Vec<usize> = pods.iter().copied().filter(|pod| self.pods[*pod].wanted).collect();
        if wanted.len() > 3 {
            if let Some(pod) = self.rng.pick(&wanted).copied() {
                self.log(|| format!("scale down: pod {pod}"));
                self.pods[pod].wanted = false;
            }
            return;
        }
        let free = pods.iter().copied().find(|pod| !self.pods[*pod].wanted && !self.pods[*pod].is_up());
        let pod = match free {
            Some(pod) => pod,
            None => {
                let ordinal = pods.len() as u64;
                if ordinal >= 5 {
                    return;
                }
                self.add_pod(group.0, group.1, address(group.0, group.1, ordinal), 4_000)
            }
        };
        self.log(|| format!("scale up: pod {pod}"));
        self.pods[pod].wanted = true;
        self.join(pod);
    }
}
