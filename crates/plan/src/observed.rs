//! What a turn sees: of the API server, and of the pods themselves.

use std::collections::{BTreeMap, BTreeSet};

use meridian_crd::ShardStatus;
use meridian_model::{ReplicaId, ShardNumber};
use meridian_proto::topology::{Identity, KeysDigest, PodStatus};

use crate::RefusedAct;
use crate::certificates::ObservedCertificates;

/// Everything a turn decides on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Every shard of the spec, also when nothing of it is there.
    pub shards: BTreeMap<ShardNumber, ObservedShard>,
    /// Which Secrets are there.
    pub secrets: Secrets,
    /// Which optional APIs are there.
    pub apis: Apis,
    /// Acts that were refused when they were tried last.
    pub refused: Vec<RefusedAct>,
    /// The certificates of the peer port.
    pub certificates: ObservedCertificates,
    /// The keys that all pods should accept.
    pub keys: ExpectedKeys,
}

/// What the Secrets say of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExpectedKeys {
    /// A Secret or a key in it is not there.
    #[default]
    Missing,
    /// Something in them is no key, in words.
    Unusable(String),
    /// The digest that every pod should report.
    Digest(KeysDigest),
}

/// Which keys are there, in their Secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Secrets {
    /// `api-key`.
    pub api_key: bool,
    /// `group-key`.
    pub group_key: bool,
}

/// Which optional APIs are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apis {
    /// `networking.istio.io/v1`.
    pub istio: bool,
    /// `kafka.strimzi.io/v1`.
    pub strimzi: bool,
}

/// What is seen of one shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedShard {
    /// Its StatefulSet.
    pub stateful_set: Option<ObservedStatefulSet>,
    /// Its pods, by ordinal.
    pub pods: BTreeMap<u16, ObservedPod>,
    /// Ordinals that have a volume, with or without a pod.
    pub volumes: BTreeSet<u16>,
    /// What the operator remembers.
    pub allocator: ReplicaIdAllocator,
}

impl ObservedShard {
    /// The first pod, by ordinal, whose volume is not to be touched: it is another's, or a newer release wrote it.
    #[must_use]
    pub fn unusable_volume(&self) -> Option<u16> {
        let unusable_volume =
            |pod: &ObservedPod| matches!(pod.answer, Some(PodStatus::Foreign { .. } | PodStatus::Newer { .. }));
        self.pods.iter().find(|(_, pod)| !pod.deleting && unusable_volume(pod)).map(|(ordinal, _)| *ordinal)
    }
}

/// A StatefulSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedStatefulSet {
    /// `spec.replicas`.
    pub replicas: u16,
    /// Its controller has seen its newest generation, so what it says of revisions holds.
    pub settled: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedPod {
    /// Its uid: what is done to it is done to no other of the same name.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// The kubelet holds it ready.
    pub ready: bool,
    /// It runs an older revision than the StatefulSet wants.
    pub outdated: bool,
    /// What it says of itself; none when it cannot be reached.
    pub answer: Option<PodStatus>,
    /// Of the keys that it accepts; none when it cannot be reached.
    pub keys: Option<KeysDigest>,
    /// Why it does not run, as the kubelet or the scheduler says: an image that is not there, the last words of a process.
    pub failure_reason: Option<String>,
}

impl ObservedPod {
    /// What its volume bears, if that is another's.
    #[must_use]
    pub fn foreign(&self) -> Option<&Identity> {
        match &self.answer {
            Some(PodStatus::Foreign { identity }) => Some(identity),
            _ => None,
        }
    }

    /// Why it cannot read what a newer release wrote: its volume, or an entry or snapshot of its group.
    #[must_use]
    pub fn newer(&self) -> Option<&str> {
        match &self.answer {
            Some(PodStatus::Newer { reason }) => Some(reason),
            Some(PodStatus::Running(status)) => {
                status.fault.as_deref().filter(|fault| fault.starts_with("VersionUnknown"))
            }
            _ => None,
        }
    }

    /// Whether it says what its own volume is. One whose volume is another's or of a newer release says nothing of that.
    #[must_use]
    pub fn answers(&self) -> bool {
        !matches!(self.answer, None | Some(PodStatus::Foreign { .. } | PodStatus::Newer { .. }))
    }
}

/// What the operator remembers of one shard, kept in `status.shards`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaIdAllocator {
    /// The group was founded.
    pub bootstrapped: bool,
    /// Ids of the founders by ordinal, while the group is being founded.
    pub bootstrap_ids: Vec<ReplicaId>,
    /// The smallest id never given out.
    pub next: ReplicaId,
    /// An id that a pod was told and that is not in the group yet.
    pub joining: Option<ReplicaId>,
}

impl Default for ReplicaIdAllocator {
    fn default() -> Self {
        Self { bootstrapped: false, bootstrap_ids: Vec::new(), next: ReplicaId(1), joining: None }
    }
}

impl ReplicaIdAllocator {
    /// Gives out an id that never was.
    pub fn allocate(&mut self) -> ReplicaId {
        let minted = self.next;
        self.next = minted.next();
        minted
    }

    /// An id that is in use is never given out again.
    pub fn reserve(&mut self, replica: ReplicaId) {
        self.next = self.next.max(replica.next());
    }

    /// As it stands in `status`.
    #[must_use]
    pub fn to_status(&self, shard: ShardNumber) -> ShardStatus {
        let number = |id: &ReplicaId| i64::try_from(id.0).unwrap_or(i64::MAX);
        ShardStatus {
            shard: shard.number().into(),
            bootstrapped: self.bootstrapped,
            bootstrap_replica_ids: self.bootstrap_ids.iter().map(number).collect(),
            next_replica_id: number(&self.next),
            joining_replica_id: self.joining.as_ref().map(number),
        }
    }

    /// From `status`. Numbers that cannot be ids count as none.
    #[must_use]
    pub fn from_status(status: &ShardStatus) -> Self {
        let id = |number: i64| ReplicaId(u64::try_from(number).unwrap_or(0));
        Self {
            bootstrapped: status.bootstrapped,
            bootstrap_ids: status.bootstrap_replica_ids.iter().copied().map(id).collect(),
            next: id(status.next_replica_id).max(ReplicaId(1)),
            joining: status.joining_replica_id.map(id),
        }
    }
}
