//! The state of a cluster as a turn observes it: from the API server and from the pods themselves.

use std::collections::{BTreeMap, BTreeSet};

use meridian_crd::ShardStatus;
use meridian_model::{BehaviorVersion, ReplicaId, ShardNumber};
use meridian_proto::topology::{Identity, KeysDigest, PodStatus};

use crate::RefusedAct;
use crate::certificates::ObservedCertificates;
use crate::upgrade::ObservedUpgrade;

/// The input of a turn's decisions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Every shard of the spec, including shards of which nothing exists yet.
    pub shards: BTreeMap<ShardNumber, ObservedShard>,
    /// Keys that exist.
    pub secrets: Secrets,
    /// Optional APIs that are served.
    pub apis: Apis,
    /// Acts that were refused at their last attempt.
    pub refused: Vec<RefusedAct>,
    /// The certificates of the peer port.
    pub certificates: ObservedCertificates,
    /// The keys that all pods should accept.
    pub keys: ExpectedKeys,
    /// The upgrade in progress.
    pub upgrade: ObservedUpgrade,
}

/// Keys in the Secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExpectedKeys {
    /// A Secret or a key in it does not exist.
    #[default]
    Missing,
    /// A value is not a valid key; the message names it.
    Unusable(String),
    /// The digest that every pod should report.
    Digest(KeysDigest),
}

/// Keys that exist in their Secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Secrets {
    /// `api-key`.
    pub api_key: bool,
    /// `group-key`.
    pub group_key: bool,
}

/// Optional APIs that are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apis {
    /// `networking.istio.io/v1`.
    pub istio: bool,
    /// `kafka.strimzi.io/v1`.
    pub strimzi: bool,
}

/// One shard as observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedShard {
    /// Its StatefulSet.
    pub stateful_set: Option<ObservedStatefulSet>,
    /// Its pods, by ordinal.
    pub pods: BTreeMap<u16, ObservedPod>,
    /// Ordinals that have a volume, with or without a pod.
    pub volumes: BTreeSet<u16>,
    /// Replica ids as recorded in the status.
    pub allocator: ReplicaIdAllocator,
}

impl ObservedShard {
    /// The ordinal of the first pod whose volume must not be written: it belongs to another cluster, or a newer release
    /// wrote it.
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
    /// The controller has processed the newest generation, so the revisions in its status are current.
    pub settled: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedPod {
    /// Its UID. An act on this pod never reaches a later pod of the same name.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// The kubelet reports it ready.
    pub ready: bool,
    /// It runs an older revision than the StatefulSet's newest.
    pub outdated: bool,
    /// Its answer to a status call; `None` if it cannot be reached.
    pub answer: Option<PodStatus>,
    /// Digest of the keys that it accepts; `None` if it cannot be reached.
    pub keys: Option<KeysDigest>,
    /// Reason for which it does not run, from the kubelet or the scheduler: a missing image, or the last output of the
    /// process.
    pub failure_reason: Option<String>,
    /// The newest behavior version that it knows; `None` if it cannot be reached.
    pub known: Option<BehaviorVersion>,
    /// The image that its template names; `None` for a process without an image.
    pub image: Option<String>,
}

impl ObservedPod {
    /// The identity on its volume, if that is another cluster's.
    #[must_use]
    pub fn foreign(&self) -> Option<&Identity> {
        match &self.answer {
            Some(PodStatus::Foreign { identity }) => Some(identity),
            _ => None,
        }
    }

    /// Reason for which it cannot read its volume, or an entry or snapshot of its group, if a newer release wrote that.
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

    /// Returns true if it reports the state of its own volume, which is not so for a volume of another cluster or of a
    /// newer release.
    #[must_use]
    pub fn answers(&self) -> bool {
        !matches!(self.answer, None | Some(PodStatus::Foreign { .. } | PodStatus::Newer { .. }))
    }
}

/// Replica ids of one shard, stored in `status.shards`. An id is recorded before a pod receives it, and never reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaIdAllocator {
    /// The group was bootstrapped.
    pub bootstrapped: bool,
    /// Ids of the first members by ordinal, while the group is being bootstrapped.
    pub bootstrap_ids: Vec<ReplicaId>,
    /// The smallest id that was never allocated.
    pub next: ReplicaId,
    /// An id that a pod has received and that is not in the group yet.
    pub joining: Option<ReplicaId>,
}

impl Default for ReplicaIdAllocator {
    fn default() -> Self {
        Self { bootstrapped: false, bootstrap_ids: Vec::new(), next: ReplicaId(1), joining: None }
    }
}

impl ReplicaIdAllocator {
    /// Allocates an id that was never used.
    pub fn allocate(&mut self) -> ReplicaId {
        let minted = self.next;
        self.next = minted.next();
        minted
    }

    /// Excludes an observed id from further allocation.
    pub fn reserve(&mut self, replica: ReplicaId) {
        self.next = self.next.max(replica.next());
    }

    /// Its form in `status`.
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

    /// Reads it from `status`. Numbers that are not ids count as absent.
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
