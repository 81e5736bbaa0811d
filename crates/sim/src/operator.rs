//! The operator and what it stands on: `plan::next_step` decides, this file plays its shell, the API server and the
//! StatefulSets. One turn per region and look.

use std::collections::{BTreeMap, BTreeSet};

use meridian_config::RegionEndpoint;
use meridian_model::{ClusterId, RegionName, ReplicaId, ShardNumber};
use meridian_plan::{
    Act, Ledger, Observed, PodSeen, ShardSeen, StatefulSetSeen, ValidCluster, ValidGroup, ValidLink, next_step,
};
use meridian_proto::topology::{PodStatus, ReplicaStatus, Role, TopologyAnswer, TopologyCall};
use meridian_replica::Event;
use meridian_volume::lifecycle::Event as PodEvent;
use meridian_volume::{Decision, PodState};

use crate::InjectedBug;
use crate::clock::MILLI;
use crate::faults::Healing;
use crate::ledger::Group;
use crate::world::{What, World};

/// Replicas of a shard at first, and after every second change.
const REPLICAS: u16 = 3;
/// Replicas of a shard in between.
const MORE_REPLICAS: u16 = 5;
/// Turns, of a thousand, in which the operator crashes between what it remembers and its act.
const CRASHES_PER_MILLE: u64 = 30;
/// Ticket of a call that asks a running replica to be given up; all other calls of the operator have ticket 0.
const JOIN: u64 = 1;

/// A region as the API server holds it.
pub struct Cluster {
    /// The accepted spec.
    pub spec: ValidCluster,
    /// `spec.replicas` of the StatefulSets.
    pub sets: BTreeMap<ShardNumber, u16>,
    ledgers: BTreeMap<ShardNumber, Ledger>,
}

impl Cluster {
    /// The cluster of a region whose pods have blank volumes.
    pub fn new(regions: &[RegionName], region: usize, shards: u16, primary: usize) -> Self {
        let endpoint = |name: &RegionName| RegionEndpoint { name: name.clone(), endpoint: format!("{name}:8082") };
        let group = ValidGroup {
            name: "sim".into(),
            primary: regions[primary].clone(),
            secret: "sim-group-key".into(),
            secret_is_ours: false,
            regions: regions.iter().map(endpoint).collect(),
        };
        let spec = ValidCluster {
            name: "sim".into(),
            namespace: regions[region].to_string(),
            owner: None,
            generation: 1,
            id: ClusterId(region as u128 + 1),
            region: regions[region].clone(),
            shards,
            replicas: REPLICAS,
            image: "node".into(),
            kafka_image: "kafka".into(),
            volume_size: "1Gi".into(),
            storage_class: None,
            resources: Default::default(),
            group: Some(group),
            kafka: None,
            freshness: Default::default(),
            hnsw: Default::default(),
            api_key: None,
            cors: Default::default(),
            istio: None,
            links: Vec::new(),
        };
        let sets = ShardNumber::all(shards).map(|shard| (shard, REPLICAS)).collect();
        Self { spec, sets, ledgers: BTreeMap::new() }
    }
}

impl World {
    /// One turn of the operator in each region, and a look at what must hold of all groups.
    pub fn look(&mut self) {
        self.connect_all();
        self.keep_regions();
        for group in self.groups() {
            for pod in self.pods_of(group) {
                let status = self.pods[pod].process.as_ref().map(|process| process.replica.status());
                if let Some(status) = status.filter(|status| status.role == Role::Leader) {
                    self.leads(pod, status.term.0);
                }
            }
        }
        if self.plan.injected_bug == Some(InjectedBug::VoteAfterLogLoss) {
            self.found_again();
        }
        for region in 0..self.regions.len() {
            self.turn(region);
        }
    }

    /// The bug: a founder whose volume was lost starts under its old id, as if its volume had always been blank.
    fn found_again(&mut self) {
        for pod in 0..self.pods.len() {
            let founder = self.pods[pod].identity.clone().filter(|identity| !identity.founders.is_empty());
            if let Some(identity) = founder.filter(|_| self.answer(pod).is_some() && self.pods[pod].is_lost()) {
                self.forget_volume(pod);
                self.deliver(pod, TopologyCall::Bootstrap(identity));
            }
        }
    }

    fn turn(&mut self, region: usize) {
        let observed = self.observe(region);
        let links = if region == self.primary { Vec::new() } else { self.links.clone() };
        let cluster = &mut self.clusters[region];
        cluster.spec.links = links;
        let step = next_step(&cluster.spec, &observed);
        for (shard, ledger) in step.ledgers {
            let before = cluster.ledgers.insert(shard, ledger.clone()).unwrap_or_default();
            if ledger.next < before.next {
                let (from, to) = (before.next, ledger.next);
                return self.violation(format!("shard {shard} of region {region} gives ids out again: {from}, {to}"));
            }
        }
        for (shard, replicas) in step.replicas {
            self.resize((region, shard), replicas);
        }
        if let Some(act) = step.act.filter(|_| !self.rng.per_mille(CRASHES_PER_MILLE)) {
            self.act(region, &act);
        }
    }

    fn observe(&self, region: usize) -> Observed {
        let cluster = &self.clusters[region];
        let shards = cluster.sets.iter().map(|(shard, replicas)| {
            let pods = self.pods_of((region, *shard));
            let seen = |pod: usize| {
                let held = &self.pods[pod];
                let seen = PodSeen {
                    uid: pod.to_string(),
                    deleting: false,
                    ready: held.process.as_ref().is_some_and(|process| process.replica.is_ready()),
                    outdated: false,
                    answer: self.answer(pod),
                    keys: None,
                    trouble: None,
                };
                (held.ordinal, seen)
            };
            let seen = ShardSeen {
                stateful_set: Some(StatefulSetSeen { replicas: *replicas, settled: true, deleting: false }),
                pods: pods.iter().copied().filter(|pod| self.pods[*pod].wanted).map(seen).collect(),
                volumes: pods.iter().map(|pod| self.pods[*pod].ordinal).collect(),
                ledger: cluster.ledgers.get(shard).cloned().unwrap_or_default(),
            };
            (*shard, seen)
        });
        Observed { shards: shards.collect(), ..Observed::default() }
    }

    /// What a pod says of itself; nothing while its process is paused, or restarts.
    fn answer(&self, pod: usize) -> Option<PodStatus> {
        let held = &self.pods[pod];
        if !held.wanted || held.paused_until > self.now {
            return None;
        }
        match &held.process {
            Some(process) => Some(PodStatus::Running(Box::new(process.replica.status()))),
            None if held.starting || !held.is_lost() => None,
            None => match held.lifecycle.clone().handle(PodEvent::Called(TopologyCall::Status)) {
                Decision::Answer(TopologyAnswer::Status { pod, .. }) => Some(pod),
                _ => None,
            },
        }
    }

    /// Pods come and go as their StatefulSet says; volumes stay.
    fn resize(&mut self, group: Group, replicas: u16) {
        let before = self.clusters[group.0].sets.insert(group.1, replicas).unwrap_or_default();
        if before != replicas {
            self.log(|| format!("{group:?} has {replicas} pods"));
        }
        for pod in self.pods_of(group) {
            let wanted = self.pods[pod].ordinal < replicas;
            if self.pods[pod].wanted && !wanted {
                self.pods[pod].wanted = false;
                self.stop(pod, false, None);
            } else if !self.pods[pod].wanted && wanted {
                self.pods[pod].wanted = true;
                self.start_at(pod, self.now);
            }
        }
        for ordinal in self.pods_of(group).len()..usize::from(replicas) {
            let pod = self.add_pod(group.0, group.1, u16::try_from(ordinal).expect("a small number"), 4_000);
            self.start_at(pod, self.now);
        }
    }

    fn act(&mut self, region: usize, act: &Act) {
        self.log(|| format!("operator of region {region}: {act:?}"));
        for (shard, ordinal, call) in act.calls() {
            let pod = self.pods_of((region, shard)).into_iter().find(|pod| self.pods[*pod].ordinal == ordinal);
            match pod {
                Some(pod) => self.deliver(pod, call),
                None => self.violation(format!("{call:?} is for pod {ordinal}, which is not there")),
            }
        }
    }

    /// A call reaches a pod.
    fn deliver(&mut self, pod: usize, call: TopologyCall) {
        let (ticket, call) = match self.pods[pod].lifecycle.handle(PodEvent::Called(call)) {
            Decision::Initialize { identity, .. } => return self.initialize(pod, identity),
            Decision::Forward(call) => (0, call),
            Decision::ForwardJoin(call) => (JOIN, call),
            decision => return self.log(|| format!("pod {pod} to the operator: {decision:?}")),
        };
        let life = self.pods[pod].life;
        self.queue.push(self.now + MILLI, What::Hand { pod, life, event: Event::Topology { ticket, call } });
    }

    /// A running replica answers the operator.
    pub fn answered(&mut self, pod: usize, ticket: u64, answer: &TopologyAnswer) {
        self.log(|| format!("pod {pod} to the operator: {answer:?}"));
        if (ticket, answer) != (JOIN, &TopologyAnswer::Started) {
            return;
        }
        if let Decision::Retire(replica) = self.pods[pod].lifecycle.handle(PodEvent::Released) {
            // Not from within the step that commanded it.
            let life = self.pods[pod].life;
            self.queue.push(self.now + 1, What::Heal(Healing::Retire { pod, life, replica }));
        }
    }

    /// The pod that leads a group, and what it knows.
    pub fn leader(&self, group: Group) -> Option<(usize, ReplicaStatus)> {
        let of = |pod: usize| Some((pod, self.pods[pod].process.as_ref()?.replica.status()));
        let statuses = self.pods_of(group).into_iter().filter_map(of);
        statuses.filter(|(_, status)| status.role == Role::Leader).max_by_key(|(_, status)| status.term)
    }

    /// Whether a group has as many replicas as it shall have, all of them sound voters.
    pub fn is_whole(&self, group: Group) -> bool {
        let cluster = &self.clusters[group.0];
        let Some((_, status)) = self.leader(group) else { return false };
        let voters: BTreeSet<ReplicaId> = status.voters.iter().map(|member| member.replica).collect();
        let replica = |pod: usize| match self.pods[pod].lifecycle.state() {
            PodState::Running(replica) if !self.pods[pod].tampered => Some(*replica),
            _ => None,
        };
        let wanted: Vec<usize> = self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].wanted).collect();
        let sound: BTreeSet<ReplicaId> = wanted.iter().filter_map(|pod| replica(*pod)).collect();
        let settled = wanted.len() == usize::from(cluster.spec.replicas) && sound.len() == wanted.len();
        settled && voters == sound && status.learners.is_empty()
    }

    /// All shards of a region get more replicas, or as many as at first.
    pub fn scale(&mut self, region: usize) {
        let spec = &mut self.clusters[region].spec;
        spec.replicas = if spec.replicas == REPLICAS { MORE_REPLICAS } else { REPLICAS };
        let replicas = spec.replicas;
        self.log(|| format!("region {region} shall have {replicas} replicas of each shard"));
    }

    /// How the primary region is followed.
    pub fn link(&self, paused: bool) -> ValidLink {
        let kafka = || meridian_plan::Kafka {
            bootstrap_servers: meridian_model::Addresses::new("broker:9092").expect("an address"),
            topic: meridian_model::TopicName::new("vector-deltas").expect("a topic"),
        };
        let source = self.regions[self.primary].clone();
        let kafka = self.broker.used.then(kafka);
        ValidLink { name: "link".into(), owner: None, source, running: !paused, kafka, mirror: None }
    }
}
