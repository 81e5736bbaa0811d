//! A model of a region that checks every act and performs it at once.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{BehaviorVersion, ClusterId, Link, LogIndex, ReplicaId, ShardNumber, Term};
use meridian_proto::topology::{FollowerStatus, Identity, Member, PodStatus, RegionBehavior, ReplicaStatus, Role};

use super::super::{Act, next_step};
use crate::upgrade::ObservedUpgrade;
use crate::{Observed, ObservedPod, ObservedShard, ObservedStatefulSet, ReplicaIdAllocator, ValidCluster};

/// Faults and requested changes.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    LoseVolume(ShardNumber, u16),
    Damage(ShardNumber, u16),
    LoseIdentity(ShardNumber, u16),
    Silence(ShardNumber, u16, usize),
    Revise,
    Scale(u16),
    /// The spec names the image of this number.
    Image(u16),
    CrashBeforeAct,
    CrashHalfWay,
    ForgetStatus,
}

#[derive(Debug, Clone, Default)]
struct Volume {
    identity: Option<Identity>,
    damaged: bool,
    /// The identity on the damaged volume is unreadable.
    anonymous: bool,
    caught_up: bool,
    /// The pod has another cluster's volume in place of its own.
    exchanged: bool,
}

#[derive(Debug, Clone)]
struct Pod {
    uid: u64,
    revision: u64,
    image: String,
    knows: u16,
    silent: usize,
}

#[derive(Debug, Default)]
struct Shard {
    set: Option<(u16, u64)>,
    pods: BTreeMap<u16, Pod>,
    volumes: BTreeMap<u16, Volume>,
    voters: BTreeMap<ReplicaId, Member>,
    learners: BTreeMap<ReplicaId, Member>,
    version: u64,
    term: u64,
    leader: Option<ReplicaId>,
    allocator: ReplicaIdAllocator,
    links: Vec<Link>,
    links_version: u64,
    image: String,
    /// One less than the behavior version.
    raised: u16,
    /// One less than the published version.
    published: u16,
}

/// The model.
#[derive(Debug, Default)]
pub struct Region {
    shards: BTreeMap<ShardNumber, Shard>,
    revision: u64,
    uids: u64,
    bootstrapped: Vec<ShardNumber>,
    ids: Vec<(ShardNumber, ReplicaId)>,
    /// Exchanged volumes are of a newer release, not of another cluster.
    pub newer: bool,
    /// The behavior version that each image knows; 1 for others.
    pub releases: BTreeMap<String, u16>,
    /// The other regions as the first leader reports them.
    pub others: Vec<RegionBehavior>,
    /// The status of the upgrade, and the time.
    pub upgrade: ObservedUpgrade,
}

impl Shard {
    fn place(&self, replica: ReplicaId) -> Option<u16> {
        let holds = |volume: &Volume| {
            volume.identity.as_ref().is_some_and(|i| i.replica == replica) && !volume.damaged && !volume.exchanged
        };
        self.volumes.iter().find(|(_, volume)| holds(volume)).map(|(ordinal, _)| *ordinal)
    }

    fn is_up(&self, replica: ReplicaId) -> bool {
        let pod = self.place(replica).and_then(|ordinal| self.pods.get(&ordinal));
        pod.is_some_and(|pod| pod.silent == 0 && pod.knows > self.raised)
    }

    fn has_quorum_without(&self, away: Option<ReplicaId>) -> bool {
        let up = self.voters.keys().filter(|voter| Some(**voter) != away && self.is_up(**voter)).count();
        up > self.voters.len() / 2
    }

    fn elect(&mut self) {
        if self.leader.is_some_and(|leader| self.voters.contains_key(&leader) && self.is_up(leader))
            && self.has_quorum_without(None)
        {
            return;
        }
        self.leader = None;
        if !self.voters.is_empty() && self.has_quorum_without(None) {
            self.leader = self.voters.keys().copied().find(|voter| self.is_up(*voter));
            self.term += 1;
        }
    }

    fn status(&self, identity: &Identity, others: &[RegionBehavior]) -> ReplicaStatus {
        let replica = identity.replica;
        let is_stopped = self.place(replica).is_some_and(|ordinal| self.pods[&ordinal].knows <= self.raised);
        let fault = is_stopped.then(|| "VersionUnknown: behavior version".to_owned());
        let leads = self.leader == Some(replica);
        let member = self.voters.contains_key(&replica) || self.learners.contains_key(&replica);
        let followers =
            self.voters.keys().chain(self.learners.keys()).filter(|other| **other != replica).map(|other| {
                let caught_up = self.place(*other).is_some_and(|o| self.volumes[&o].caught_up);
                FollowerStatus {
                    replica: *other,
                    matched: LogIndex(if caught_up { 10_000 } else { 1 }),
                    active: self.is_up(*other),
                }
            });
        ReplicaStatus {
            role: match () {
                () if leads => Role::Leader,
                () if self.learners.contains_key(&replica) || !member => Role::Learner,
                () => Role::Follower,
            },
            term: Term(if member { self.term } else { 0 }),
            leader: self.leader.filter(|_| member),
            voters: if member { self.voters.values().cloned().collect() } else { Vec::new() },
            learners: if member { self.learners.values().cloned().collect() } else { Vec::new() },
            membership_version: LogIndex(if member { self.version } else { 0 }),
            commit: LogIndex(if member { 10_000 } else { 0 }),
            applied: LogIndex(if member { 10_000 } else { 0 }),
            ready: member && self.leader.is_some() && !is_stopped,
            fault,
            behavior: BehaviorVersion(1 + self.raised),
            published: BehaviorVersion(1 + self.published),
            regions: if leads { others.to_vec() } else { Vec::new() },
            followers: if leads { followers.collect() } else { Vec::new() },
            links: self.links.clone(),
            links_version: LogIndex(self.links_version),
            ..ReplicaStatus::new(identity.clone())
        }
    }
}

fn volume_runs(volume: &Volume) -> bool {
    volume.identity.is_some() && !volume.damaged && !volume.exchanged
}

/// The identity on the volume of an earlier cluster.
pub fn foreign(cluster: &ValidCluster) -> Identity {
    let mut genesis = cluster.genesis(ShardNumber::FIRST);
    genesis.cluster = ClusterId(0xadab);
    let behavior = meridian_model::BehaviorVersion::FIRST;
    Identity { genesis, replica: ReplicaId(70), founders: Vec::new(), group: None, behavior }
}

impl Region {
    pub fn observe(&self, cluster: &ValidCluster) -> Observed {
        let see = |shard: &Shard| ObservedShard {
            stateful_set: shard.set.map(|(replicas, _)| ObservedStatefulSet {
                replicas,
                settled: true,
                deleting: false,
            }),
            pods: shard
                .pods
                .iter()
                .map(|(ordinal, pod)| {
                    let volume = &shard.volumes[ordinal];
                    let answer = match &volume.identity {
                        _ if volume.exchanged && self.newer => PodStatus::Newer { reason: "format 9".into() },
                        _ if volume.exchanged => PodStatus::Foreign { identity: foreign(cluster) },
                        None => PodStatus::Blank,
                        Some(identity) if volume.damaged => {
                            let replica = (!volume.anonymous).then_some(identity.replica);
                            PodStatus::Damaged { replica, reason: "checksum".into() }
                        }
                        Some(identity) => PodStatus::Running(Box::new(shard.status(identity, &self.others))),
                    };
                    let seen = ObservedPod {
                        uid: pod.uid.to_string(),
                        deleting: false,
                        ready: pod.silent == 0 && matches!(answer, PodStatus::Running(_)),
                        outdated: shard.set.is_some_and(|(_, revision)| pod.revision != revision)
                            || pod.image != shard.image,
                        answer: (pod.silent == 0).then_some(answer),
                        keys: None,
                        failure_reason: None,
                        known: (pod.silent == 0).then_some(BehaviorVersion(pod.knows)),
                        image: Some(pod.image.clone()),
                    };
                    (*ordinal, seen)
                })
                .collect(),
            volumes: shard.volumes.keys().copied().collect(),
            allocator: shard.allocator.clone(),
        };
        let shards = ShardNumber::all(cluster.shards)
            .map(|shard| (shard, self.shards.get(&shard).map(see).unwrap_or_default()))
            .collect();
        Observed { shards, upgrade: self.upgrade.clone(), ..Observed::default() }
    }

    /// One turn of the operator, then one tick of the region. Returns the act that was performed.
    pub fn turn(&mut self, cluster: &ValidCluster, crash: Option<Fault>) -> Option<Act> {
        self.elect();
        let step = next_step(cluster, &self.observe(cluster));
        for (number, allocator) in step.allocators {
            let shard = self.shards.entry(number).or_default();
            assert!(allocator.next >= shard.allocator.next, "the high-water mark went back");
            shard.allocator = allocator;
        }
        self.upgrade.before = step.upgrade.status;
        let accepted = step.upgrade.refused_image.and_then(|refused| refused.accepted);
        let image = accepted.unwrap_or_else(|| cluster.image.clone());
        let mut changed = false;
        for (number, replicas) in step.replicas {
            let shard = self.shards.entry(number).or_default();
            changed |= shard.set.is_some() && shard.image != image;
            shard.image.clone_from(&image);
            for ordinal in replicas..shard.set.map_or(0, |(replicas, _)| replicas) {
                let place = cluster.peer_address(number, ordinal);
                assert!(shard.voters.values().all(|member| member.address != place), "a voter's pod was scaled away");
            }
            shard.set = Some((replicas, self.revision));
        }
        // An act waits for the next turn when objects were written.
        let act = step.act.filter(|_| !changed && !matches!(crash, Some(Fault::CrashBeforeAct)));
        if let Some(act) = &act {
            self.perform(act, matches!(crash, Some(Fault::CrashHalfWay)));
        }
        self.tick(cluster);
        act
    }

    /// Advances the region: pods start and stop as StatefulSets say, learners catch up, leaders are elected.
    pub fn tick(&mut self, _cluster: &ValidCluster) {
        for shard in self.shards.values_mut() {
            let Some((replicas, revision)) = shard.set else { continue };
            shard.pods.retain(|ordinal, _| *ordinal < replicas);
            for ordinal in 0..replicas {
                shard.volumes.entry(ordinal).or_default();
                shard.pods.entry(ordinal).or_insert_with(|| {
                    self.uids += 1;
                    let (image, knows) = (shard.image.clone(), self.releases.get(&shard.image).copied().unwrap_or(1));
                    Pod { uid: self.uids, revision, image, knows, silent: 1 }
                });
            }
            for (ordinal, pod) in &mut shard.pods {
                pod.silent = if pod.silent == usize::MAX { pod.silent } else { pod.silent.saturating_sub(1) };
                let identity = shard.volumes[ordinal].identity.as_ref();
                let follows = pod.knows > shard.raised
                    && identity.is_some_and(|i| {
                        shard.voters.contains_key(&i.replica) || shard.learners.contains_key(&i.replica)
                    });
                if follows && pod.silent == 0 {
                    shard.volumes.get_mut(ordinal).unwrap().caught_up = true;
                }
            }
        }
        self.elect();
    }

    fn elect(&mut self) {
        self.shards.values_mut().for_each(Shard::elect);
    }

    fn perform(&mut self, act: &Act, half: bool) {
        match act {
            Act::Bootstrap { shard: number, pods } => {
                let shard = self.shards.get_mut(number).unwrap();
                let reached = if half { pods.len().div_ceil(2) } else { pods.len() };
                if shard.voters.is_empty() {
                    self.bootstrapped.push(*number);
                    self.ids.extend(pods[0].1.founders.iter().map(|member| (*number, member.replica)));
                    shard.voters = pods[0].1.founders.iter().map(|m| (m.replica, m.clone())).collect();
                    shard.version = 1;
                    shard.raised = pods[0].1.behavior.0 - 1;
                }
                for (ordinal, identity) in &pods[..reached] {
                    let volume = shard.volumes.get_mut(ordinal).unwrap();
                    assert!(
                        volume.identity.is_none() && !volume.exchanged,
                        "a group is bootstrapped on a volume that is not blank"
                    );
                    *volume = Volume { identity: Some(identity.clone()), caught_up: true, ..Volume::default() };
                }
            }
            Act::Join { shard: number, ordinal, identity, group } => {
                let shard = self.shards.get_mut(number).unwrap();
                self.ids.push((*number, identity.replica));
                let volume = shard.volumes.get_mut(ordinal).unwrap();
                assert!(!volume.exchanged, "a pod with another cluster's volume joins");
                if let Some(old) = volume.identity.as_ref().filter(|_| !volume.damaged) {
                    assert!(!shard.voters.contains_key(&old.replica), "a voter joins again and loses its log");
                    assert!(
                        group.can_do_without(old.replica, LogIndex(0)),
                        "a pod joins without proof that its data is obsolete"
                    );
                }
                *volume = Volume { identity: Some(identity.clone()), ..Volume::default() };
            }
            Act::AddLearner { shard, member, expected, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert_eq!(expected.0, shard.version);
                shard.version += 1;
                shard.learners.insert(member.replica, member.clone());
            }
            Act::Promote { shard, replica, expected, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert_eq!(expected.0, shard.version);
                let place = shard.place(*replica).unwrap();
                assert!(shard.volumes[&place].caught_up, "a learner that is behind got a vote");
                shard.version += 1;
                let member = shard.learners.remove(replica).unwrap();
                shard.voters.insert(*replica, member);
            }
            Act::Remove { shard, replica, expected, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert_eq!(expected.0, shard.version);
                assert_ne!(shard.leader, Some(*replica), "the leader was removed");
                shard.version += 1;
                shard.learners.remove(replica);
                shard.voters.remove(replica);
                assert!(shard.has_quorum_without(None), "a removal took the quorum");
            }
            Act::TransferLeader { shard, to, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert!(shard.voters.contains_key(to) && shard.is_up(*to));
                shard.leader = Some(*to);
                shard.term += 1;
            }
            Act::SetLinks { shard, links, expected, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert_eq!(expected.0, shard.links_version);
                shard.links_version += 1;
                shard.links.clone_from(links);
            }
            Act::Finalize { shard: number, version, .. } => {
                let needed = version.0;
                assert!(self.is_known_to_all(needed), "version {needed} is not known to all pods");
                self.shards.get_mut(number).unwrap().raised = needed - 1;
            }
            Act::Publish { shard, version, .. } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert!(version.0 <= 1 + shard.raised, "published before it was finalized");
                assert!(self.others.iter().all(|other| other.behavior >= *version), "{:?}", self.others);
                shard.published = version.0 - 1;
            }
            Act::Evict { shard, ordinal, uid } => {
                let shard = self.shards.get_mut(shard).unwrap();
                assert_eq!(shard.pods[ordinal].uid.to_string(), *uid);
                let away = shard.volumes[ordinal].identity.as_ref().map(|identity| identity.replica);
                let runs = volume_runs(&shard.volumes[ordinal]);
                let was_up = shard.pods[ordinal].silent == 0 && runs && shard.pods[ordinal].knows > shard.raised;
                let holds = shard.has_quorum_without(away);
                assert!(holds || !was_up || shard.voters.len() == 1, "an eviction took the quorum");
                shard.pods.remove(ordinal);
            }
        }
    }

    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::LoseVolume(shard, ordinal) => {
                if let Some(volume) = self.shards.get_mut(&shard).and_then(|shard| shard.volumes.get_mut(&ordinal)) {
                    *volume = Volume::default();
                }
            }
            Fault::Damage(shard, ordinal) => {
                if let Some(volume) = self.shards.get_mut(&shard).and_then(|shard| shard.volumes.get_mut(&ordinal)) {
                    volume.damaged = volume.identity.is_some();
                }
            }
            Fault::LoseIdentity(shard, ordinal) => {
                self.fault(Fault::Damage(shard, ordinal));
                if let Some(volume) = self.shards.get_mut(&shard).and_then(|shard| shard.volumes.get_mut(&ordinal)) {
                    volume.anonymous = volume.damaged;
                }
            }
            Fault::Silence(shard, ordinal, turns) => self.silence(shard, ordinal, turns),
            Fault::Revise => self.revise(),
            Fault::ForgetStatus => self.shards.values_mut().for_each(|shard| {
                // Ids that are allocated and nowhere visible are lost with the status; a new resource starts above the
                // ids that it observes.
                if shard.allocator.bootstrapped && shard.allocator.joining.is_none() {
                    let seen = shard.voters.keys().chain(shard.learners.keys()).copied();
                    let volumes = shard.volumes.values().filter_map(|volume| Some(volume.identity.as_ref()?.replica));
                    if seen.chain(volumes).max().map(ReplicaId::next) == Some(shard.allocator.next) {
                        shard.allocator = ReplicaIdAllocator::default();
                    }
                }
            }),
            Fault::Scale(_) | Fault::Image(_) | Fault::CrashBeforeAct | Fault::CrashHalfWay => {}
        }
        self.elect();
    }

    /// Injects a fault that the guarantees cover: a majority of voters keeps its volumes and has caught up.
    pub fn fault_if_survivable(&mut self, fault: Fault) {
        if let Fault::LoseVolume(number, ordinal) | Fault::Damage(number, ordinal) = fault {
            let Some(shard) = self.shards.get(&number) else { return };
            let left = shard.voters.keys().filter_map(|voter| shard.place(*voter)).filter(|o| *o != ordinal).count();
            let is_new = !shard.allocator.bootstrapped;
            if is_new || left <= shard.voters.len() / 2 {
                return;
            }
        }
        self.fault(fault);
    }

    pub fn heal(&mut self) {
        for pod in self.shards.values_mut().flat_map(|shard| shard.pods.values_mut()) {
            pod.silent = 0;
        }
    }

    pub fn silence(&mut self, shard: ShardNumber, ordinal: u16, turns: usize) {
        if let Some(pod) = self.shards.get_mut(&shard).and_then(|shard| shard.pods.get_mut(&ordinal)) {
            pod.silent = turns;
        }
        self.elect();
    }

    /// Replaces the volume of a pod by another cluster's, or brings its own back.
    pub fn exchange(&mut self, shard: ShardNumber, ordinal: u16, exchanged: bool) {
        self.shards.get_mut(&shard).unwrap().volumes.get_mut(&ordinal).unwrap().exchanged = exchanged;
        self.elect();
    }

    /// Changes the template.
    pub fn revise(&mut self) {
        self.revision += 1;
        for shard in self.shards.values_mut() {
            shard.set = shard.set.map(|(replicas, _)| (replicas, self.revision));
        }
    }

    /// Restarts a pod with the newest template.
    pub fn renew(&mut self, shard: ShardNumber, ordinal: u16) {
        self.shards.get_mut(&shard).unwrap().pods.get_mut(&ordinal).unwrap().revision = self.revision;
    }

    pub fn lead(&mut self, shard: ShardNumber, replica: u64) {
        let shard = self.shards.get_mut(&shard).unwrap();
        shard.leader = Some(ReplicaId(replica));
        shard.term += 1;
    }

    /// Deletes the resource; only volumes stay.
    pub fn delete(&mut self) {
        for shard in self.shards.values_mut() {
            shard.set = None;
            shard.pods.clear();
            shard.allocator = ReplicaIdAllocator::default();
        }
        self.elect();
    }

    pub fn is_at_rest(&self, cluster: &ValidCluster) -> bool {
        let step = next_step(cluster, &self.observe(cluster));
        step.act.is_none() && step.operations.is_empty()
    }

    /// Whether every pod is of a release that knows a behavior version.
    fn is_known_to_all(&self, version: u16) -> bool {
        self.shards.values().flat_map(|shard| shard.pods.values()).all(|pod| pod.knows >= version)
    }

    /// The behavior version of each shard.
    pub fn behaviors(&self) -> Vec<u16> {
        self.shards.values().map(|shard| 1 + shard.raised).collect()
    }

    /// The published version of each shard.
    pub fn published(&self) -> Vec<u16> {
        self.shards.values().map(|shard| 1 + shard.published).collect()
    }

    /// The image of each pod.
    pub fn images(&self) -> Vec<&str> {
        self.shards.values().flat_map(|shard| shard.pods.values()).map(|pod| pod.image.as_str()).collect()
    }

    /// Pods that stopped because the log needs a newer version.
    pub fn stopped(&self) -> usize {
        let of = |shard: &Shard| shard.pods.values().filter(|pod| pod.knows <= shard.raised).count();
        self.shards.values().map(of).sum()
    }

    pub fn voters(&self, shard: ShardNumber) -> Vec<u64> {
        self.shards[&shard].voters.keys().map(|replica| replica.0).collect()
    }

    pub fn links(&self, shard: ShardNumber) -> &[Link] {
        &self.shards[&shard].links
    }

    pub fn replicas(&self, shard: ShardNumber) -> u16 {
        self.shards[&shard].set.map_or(0, |(replicas, _)| replicas)
    }

    pub fn founded_times(&self) -> usize {
        assert_eq!(
            self.bootstrapped.len(),
            self.bootstrapped.iter().collect::<BTreeSet<_>>().len(),
            "a group was bootstrapped twice"
        );
        self.bootstrapped.len()
    }

    pub fn ids_given(&self) -> Vec<(ShardNumber, ReplicaId)> {
        self.ids.clone()
    }
}
