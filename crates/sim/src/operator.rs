//! The operator: `plan::next_step` decides, this file stands in for its shell, the API server and the StatefulSet
//! controller. Each region is reconciled once per check.

use std::collections::{BTreeMap, BTreeSet};

use meridian_config::RegionEndpoint;
use meridian_model::{ClusterId, RegionName, ReplicaId, ShardNumber};
use meridian_plan::{
    Act, Observed, ObservedPod, ObservedShard, ObservedStatefulSet, ReplicaIdAllocator, ValidCluster, ValidGroup,
    ValidLink, next_step,
};
use meridian_proto::topology::{PodStatus, ReplicaStatus, Role, TopologyAnswer, TopologyCall};
use meridian_replica::Event;
use meridian_volume::lifecycle::Event as PodEvent;
use meridian_volume::{Decision, PodState};

use crate::InjectedBug;
use crate::clock::MILLI;
use crate::committed_log::Group;
use crate::faults::FaultEnd;
use crate::upgrade::{OLD, run_as};
use crate::world::{SimEvent, World};

/// Initial replicas per shard, and after every second change.
const REPLICAS: u16 = 3;
/// Replicas per shard in between.
const SCALED_REPLICAS: u16 = 5;
/// Reconciliations in which the operator crashes between storing its intent and acting, per mille.
const CRASHES_PER_MILLE: u64 = 30;
/// Ticket of a call that retires a running replica; all other calls of the operator have ticket 0.
const JOIN_TICKET: u64 = 1;

/// The cluster resource and StatefulSets of a region.
pub struct Cluster {
    /// The validated spec.
    pub spec: ValidCluster,
    /// `spec.replicas` of the StatefulSets.
    pub sets: BTreeMap<ShardNumber, u16>,
    allocators: BTreeMap<ShardNumber, ReplicaIdAllocator>,
}

impl Cluster {
    /// Creates the cluster of a region with blank volumes.
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
            finalize_after: Some(std::time::Duration::ZERO),
            links: Vec::new(),
        };
        let sets = ShardNumber::all(shards).map(|shard| (shard, REPLICAS)).collect();
        Self { spec, sets, allocators: BTreeMap::new() }
    }
}

impl World {
    /// Reconciles each region, and checks the invariants of all groups.
    pub fn reconcile_and_check(&mut self) {
        self.connect_all();
        self.maintain_region_connections();
        for group in self.groups() {
            for pod in self.pods_of(group) {
                let status = self.pods[pod].process.as_ref().map(|process| process.replica.status());
                if let Some(status) = status.filter(|status| status.role == Role::Leader) {
                    self.leads(pod, status.term.0);
                }
            }
        }
        if self.plan.injected_bug == Some(InjectedBug::VoteAfterLogLoss) {
            self.rebootstrap_founders();
        }
        for region in 0..self.regions.len() {
            self.reconcile(region);
        }
    }

    /// Injected bug: a first member that lost its volume is bootstrapped again under its old id.
    fn rebootstrap_founders(&mut self) {
        for pod in 0..self.pods.len() {
            let founder = self.pods[pod].identity.clone().filter(|identity| !identity.founders.is_empty());
            if let Some(identity) = founder.filter(|_| self.pod_status(pod).is_some() && self.pods[pod].is_lost()) {
                self.forget_volume(pod);
                self.deliver(pod, TopologyCall::Bootstrap(identity));
            }
        }
    }

    fn reconcile(&mut self, region: usize) {
        let observed = self.observe(region);
        let links = if region == self.primary { Vec::new() } else { self.links.clone() };
        let cluster = &mut self.clusters[region];
        cluster.spec.links = links;
        // The operator's release is the old one: groups begin with its version.
        let step = {
            let _release = run_as(OLD);
            next_step(&cluster.spec, &observed)
        };
        for (shard, allocator) in step.allocators {
            let before = cluster.allocators.insert(shard, allocator.clone()).unwrap_or_default();
            if allocator.next < before.next {
                let (from, to) = (before.next, allocator.next);
                return self.violation(format!("shard {shard} of region {region} allocates ids again: {from}, {to}"));
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
                let seen = ObservedPod {
                    uid: pod.to_string(),
                    deleting: false,
                    ready: held.process.as_ref().is_some_and(|process| process.replica.is_ready()),
                    outdated: false,
                    answer: self.pod_status(pod),
                    keys: None,
                    failure_reason: None,
                    ..ObservedPod::default()
                };
                (held.ordinal, seen)
            };
            let seen = ObservedShard {
                stateful_set: Some(ObservedStatefulSet { replicas: *replicas, settled: true, deleting: false }),
                pods: pods.iter().copied().filter(|pod| self.pods[*pod].wanted).map(seen).collect(),
                volumes: pods.iter().map(|pod| self.pods[*pod].ordinal).collect(),
                allocator: cluster.allocators.get(shard).cloned().unwrap_or_default(),
            };
            (*shard, seen)
        });
        Observed { shards: shards.collect(), ..Observed::default() }
    }

    /// Status that a pod reports; `None` while its process is paused or restarting.
    fn pod_status(&self, pod: usize) -> Option<PodStatus> {
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

    /// Resizes a StatefulSet: adds and stops pods; volumes stay.
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
                None => self.violation(format!("{call:?} is for pod {ordinal}, which does not exist")),
            }
        }
    }

    /// Delivers a topology call to a pod.
    fn deliver(&mut self, pod: usize, call: TopologyCall) {
        let decision = {
            let _release = run_as(self.pods[pod].knows());
            self.pods[pod].lifecycle.handle(PodEvent::Called(call))
        };
        let (ticket, call) = match decision {
            Decision::Initialize { identity, .. } => return self.initialize(pod, identity),
            Decision::Forward(call) => (0, call),
            Decision::ForwardJoin(call) => (JOIN_TICKET, call),
            decision => return self.log(|| format!("pod {pod} to the operator: {decision:?}")),
        };
        let incarnation = self.pods[pod].incarnation;
        self.queue
            .push(self.now + MILLI, SimEvent::Deliver { pod, incarnation, event: Event::Topology { ticket, call } });
    }

    /// Handles a running replica's answer to the operator.
    pub fn operator_receives(&mut self, pod: usize, ticket: u64, answer: &TopologyAnswer) {
        self.log(|| format!("pod {pod} to the operator: {answer:?}"));
        if (ticket, answer) != (JOIN_TICKET, &TopologyAnswer::Started) {
            return;
        }
        if let Decision::Retire(replica) = self.pods[pod].lifecycle.handle(PodEvent::Released) {
            // Deferred: the machine is inside a step.
            let incarnation = self.pods[pod].incarnation;
            self.queue.push(self.now + 1, SimEvent::EndFault(FaultEnd::Retire { pod, incarnation, replica }));
        }
    }

    /// The leader pod of a group and its status; of the newest term, if several report to be leader.
    pub fn leader(&self, group: Group) -> Option<(usize, ReplicaStatus)> {
        let of = |pod: usize| Some((pod, self.pods[pod].process.as_ref()?.replica.status()));
        let statuses = self.pods_of(group).into_iter().filter_map(of);
        statuses.filter(|(_, status)| status.role == Role::Leader).max_by_key(|(_, status)| status.term)
    }

    /// Whether a group has its specified number of replicas, all of them undamaged voters.
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

    /// Toggles the number of replicas of all shards of a region.
    pub fn scale(&mut self, region: usize) {
        let spec = &mut self.clusters[region].spec;
        spec.replicas = if spec.replicas == REPLICAS { SCALED_REPLICAS } else { REPLICAS };
        let replicas = spec.replicas;
        self.log(|| format!("region {region} shall have {replicas} replicas of each shard"));
    }

    /// The link to the primary region.
    pub fn link(&self, paused: bool) -> ValidLink {
        let kafka = || meridian_plan::Kafka {
            bootstrap_servers: meridian_model::Addresses::new("broker:9092").expect("an address"),
            topic: meridian_model::TopicName::new("vector-deltas").expect("a topic"),
        };
        let source = self.regions[self.primary].clone();
        let kafka = self.broker.enabled.then(kafka);
        ValidLink { name: "link".into(), owner: None, source, running: !paused, kafka, mirror: None }
    }
}
