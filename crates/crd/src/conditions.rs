//! Names that users wait for and alert on: types and reasons of conditions, types and predicates of operations, and
//! reasons of events.
//!
//! Each list is complete: names can be created only here, so the operator writes no other. `docs/conditions.md`
//! explains every name; a test of `plan` compares the two.

/// One list of names: a type that only this module can construct, one constant for each name, and all of them.
macro_rules! names {
    ($(#[doc = $about:literal])* $type:ident, $module:ident: $($(#[doc = $doc:literal])+ $constant:ident = $text:literal,)+) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $type(&'static str);

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$($module::$constant),+];

            /// The text in resources.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        $(#[doc = $about])*
        pub mod $module {
            use super::$type;

            $($(#[doc = $doc])+ pub const $constant: $type = $type($text);)+
        }
    };
}

names! {
    /// Types of conditions.
    Type, type_:
    /// The resource does what its spec says, at this generation.
    READY = "Ready",
    /// The spec is valid. While it is not, the last accepted one stays in effect.
    ACCEPTED = "Accepted",
    /// Every shard has a leader that a majority follows.
    AVAILABLE = "Available",
    /// The operator is making a change. False with an error as its reason: it is blocked.
    PROGRESSING = "Progressing",
    /// A part is lost or broken, whether or not the operator can repair it.
    DEGRADED = "Degraded",
    /// The Secrets and APIs (Istio, Strimzi) that the spec needs exist.
    DEPENDENCIES_READY = "DependenciesReady",
    /// The certificates of the peer port are valid, and no authority is being replaced.
    CERTIFICATES_VALID = "CertificatesValid",
    /// Running pods refuse every certificate of the operator; only restarted pods read the new ones.
    CERTIFICATES_LOST = "CertificatesLost",
    /// Pods accept keys that differ from those in the Secrets, or from each other's.
    KEYS_DIFFER = "KeysDiffer",
    /// Replicas refuse upserts or will soon, because of their memory or their disks.
    CAPACITY_RISK = "CapacityRisk",
    /// The routes of the mesh are what the spec says.
    TRAFFIC_CONFIGURED = "TrafficConfigured",
    /// Every shard uses the newest behavior version that all pods know.
    FINALIZED = "Finalized",
    /// A link receives statements of its source.
    CONNECTED = "Connected",
    /// The staleness of a link is below its bound.
    WITHIN_BOUND = "WithinBound",
}

names! {
    /// Reasons of conditions and of their events.
    Reason, reason:
    /// The condition is as it should be.
    AS_EXPECTED = "AsExpected",
    /// The spec has an invalid value.
    INVALID_SPEC = "InvalidSpec",
    /// Objects of the cluster cannot be written: objects of other owners, or those of an older cluster, have their
    /// names.
    NAME_CONFLICT = "NameConflict",
    /// The API server refused objects of the cluster, with the given message.
    OBJECT_REJECTED = "ObjectRejected",
    /// The image of a pod cannot be pulled.
    IMAGE_UNAVAILABLE = "ImageUnavailable",
    /// Objects or groups are created.
    CREATING = "Creating",
    /// Replicas are added.
    SCALING_OUT = "ScalingOut",
    /// Replicas are removed.
    SCALING_IN = "ScalingIn",
    /// Pods are restarted one at a time for a new template.
    ROLLING_UPDATE = "RollingUpdate",
    /// A replica whose volume is lost or damaged is replaced.
    REPLACING_REPLICA = "ReplacingReplica",
    /// Links are sent to the shards.
    UPDATING_LINKS = "UpdatingLinks",
    /// Every shard has a leader that a majority follows.
    QUORUM_HEALTHY = "QuorumHealthy",
    /// A shard has no leader that a majority follows.
    QUORUM_LOST = "QuorumLost",
    /// A pod does not serve yet.
    WAITING_FOR_PODS = "WaitingForPods",
    /// A Secret that the spec names does not exist or lacks its key.
    SECRET_MISSING = "SecretMissing",
    /// Istio is not installed.
    ISTIO_MISSING = "IstioMissing",
    /// Strimzi is not installed.
    STRIMZI_MISSING = "StrimziMissing",
    /// The cluster that a link names does not exist, or its spec is refused.
    CLUSTER_MISSING = "ClusterMissing",
    /// A host of `traffic.istio.hosts` is not among the operator's allowed hosts.
    HOST_NOT_ALLOWED = "HostNotAllowed",
    /// All replicas have disk and memory left.
    SUFFICIENT_CAPACITY = "SufficientCapacity",
    /// A snapshot does not fit into the memory of a replica.
    INSUFFICIENT_MEMORY = "InsufficientMemory",
    /// The disk of a replica has no space beyond its reserve.
    DISK_FULL = "DiskFull",
    /// A pod answers the operator.
    PODS_REACHABLE = "PodsReachable",
    /// Pods that the kubelet reports ready do not answer the operator.
    PODS_UNREACHABLE = "PodsUnreachable",
    /// Pods accept different keys: a kubelet updates mounted Secrets within minutes.
    KEYS_DIFFER = "KeysDiffer",
    /// A Secret has a value that is not a key, so pods keep their former keys.
    INVALID_KEYS = "InvalidKeys",
    /// A pod has the volume of another cluster, region, shard or replication group. The volume is not written to.
    FOREIGN_VOLUME = "ForeignVolume",
    /// A pod's volume, log or snapshot was written by a newer release than the pod runs.
    VERSION_UNKNOWN = "VersionUnknown",
    /// A certificate or an authority is being replaced.
    RENEWING = "Renewing",
    /// `spec.state` of the link is `Paused`.
    PAUSED = "Paused",
    /// A link follows its source.
    FOLLOWING = "Following",
    /// A link follows its source with more staleness than its bound.
    BOUND_EXCEEDED = "BoundExceeded",
    /// A link receives nothing from its source.
    SOURCE_SILENT = "SourceSilent",
    /// A record of the followed log could not be applied in the last ten minutes; the missing deltas are fetched from
    /// the origin.
    POISON_RECORD = "PoisonRecord",
    /// No pod has reported yet.
    AWAITING_REPORT = "AwaitingReport",
    /// Every shard uses the newest behavior version that all pods know.
    FINALIZED = "Finalized",
    /// A pod does not know the behavior version that others know, or has not reported.
    ROLLING_OUT = "RollingOut",
    /// All pods know a newer behavior version, for less than `spec.upgrade.finalizeAfter`.
    SOAKING = "Soaking",
    /// All pods know a newer behavior version, and `spec.upgrade.finalizeAfter` is `Never`.
    HELD = "Held",
    /// The primary region finalizes a behavior version after all other regions.
    WAITING_FOR_REGIONS = "WaitingForRegions",
    /// The shards finalize a behavior version, one after the other.
    FINALIZING = "Finalizing",
    /// The leader of a shard refused to finalize a behavior version; the message holds its answer.
    FINALIZE_REFUSED = "FinalizeRefused",
    /// The image knows an older behavior version than the shards use, so that the last accepted image stays in use.
    IMAGE_TOO_OLD = "ImageTooOld",
}

names! {
    /// Types of the operations in `status.operations`.
    OperationType, operation:
    /// A StatefulSet is created, or the group of a shard is bootstrapped.
    CREATE = "Create",
    /// A replica is added.
    SCALE_OUT = "ScaleOut",
    /// A replica is removed.
    SCALE_IN = "ScaleIn",
    /// A replica whose volume is lost or damaged is replaced.
    REPLACE_REPLICA = "ReplaceReplica",
    /// Pods are restarted one at a time for a new template.
    ROLLING_UPDATE = "RollingUpdate",
    /// A pod starts.
    START_POD = "StartPod",
    /// A shard elects a leader.
    ELECT_LEADER = "ElectLeader",
    /// Links are sent to the leader of a shard.
    UPDATE_LINKS = "UpdateLinks",
    /// A shard raises its behavior version.
    FINALIZE = "Finalize",
    /// A shard admits changes that need a behavior version which all regions have finalized.
    PUBLISH = "Publish",
}

names! {
    /// Predicates in `status.operations[].blockedBy.predicate`: an operation waits until its predicate is true.
    Predicate, predicate:
    /// All pods of the shard answer the operator.
    PODS_REACHABLE = "PodsReachable",
    /// The former StatefulSet of that name is deleted.
    STATEFUL_SET_DELETED = "StatefulSetDeleted",
    /// A volume of the shard with its data exists again.
    VOLUME_RESTORED = "VolumeRestored",
    /// No pod has the volume of another cluster, region, shard or replication group.
    VOLUMES_OWNED = "VolumesOwned",
    /// No pod has a volume that a newer release wrote.
    VERSION_KNOWN = "VersionKnown",
    /// The shard has a leader that a majority follows.
    QUORUM_AVAILABLE = "QuorumAvailable",
    /// The quorum holds without the replica that would be stopped or removed.
    QUORUM_SURVIVES = "QuorumSurvives",
    /// The new replica has caught up with the leader.
    LEARNER_CAUGHT_UP = "LearnerCaughtUp",
    /// The pod that joins answers the operator.
    JOINER_REACHABLE = "JoinerReachable",
    /// The leader has the newest membership.
    LEADER_UP_TO_DATE = "LeaderUpToDate",
    /// A voter that can become leader has caught up with the leader.
    SUCCESSOR_CAUGHT_UP = "SuccessorCaughtUp",
    /// All replicas of the cluster serve and have caught up.
    ALL_REPLICAS_CAUGHT_UP = "AllReplicasCaughtUp",
    /// No other pod of the cluster is being restarted.
    NO_OTHER_RESTART = "NoOtherRestart",
    /// The operator has a free slot for the rollout of its default image.
    ROLLOUT_SLOT_FREE = "RolloutSlotFree",
    /// A pod accepts the bootstrap, which was refused.
    BOOTSTRAP_ACCEPTED = "BootstrapAccepted",
    /// The pod accepts the join, which was refused.
    JOIN_ACCEPTED = "JoinAccepted",
    /// The leader accepts the new replica, which was refused.
    ADD_LEARNER_ACCEPTED = "AddLearnerAccepted",
    /// The leader accepts the promotion, which was refused.
    PROMOTE_ACCEPTED = "PromoteAccepted",
    /// The leader accepts the removal, which was refused.
    REMOVE_ACCEPTED = "RemoveAccepted",
    /// The leader accepts the transfer, which was refused.
    TRANSFER_LEADER_ACCEPTED = "TransferLeaderAccepted",
    /// The leader accepts the links, which were refused.
    SET_LINKS_ACCEPTED = "SetLinksAccepted",
    /// The API server accepts the eviction, which was refused, for example because of a PodDisruptionBudget.
    EVICT_ACCEPTED = "EvictAccepted",
    /// All pods have known the behavior version for `spec.upgrade.finalizeAfter`.
    SOAK_ELAPSED = "SoakElapsed",
    /// The other regions of the replication group have finalized the behavior version.
    REGIONS_FINALIZED = "RegionsFinalized",
    /// No pod is rolled, no replica replaced, added or removed.
    NO_OTHER_OPERATION = "NoOtherOperation",
    /// The leader accepts the behavior version, which was refused.
    FINALIZE_ACCEPTED = "FinalizeAccepted",
    /// The leader accepts the publication of the behavior version, which was refused.
    PUBLISH_ACCEPTED = "PublishAccepted",
}

names! {
    /// Reasons of events about the operator's acts. Events about conditions have the reason of the condition.
    EventReason, event:
    /// Pods were called to bootstrap the group of a shard.
    GROUP_BOOTSTRAPPED = "GroupBootstrapped",
    /// A pod was called to become an empty replica.
    REPLICA_JOINED = "ReplicaJoined",
    /// A new replica follows the leader, without a vote.
    LEARNER_ADDED = "LearnerAdded",
    /// A learner became a voter.
    LEARNER_PROMOTED = "LearnerPromoted",
    /// A replica was removed from its group.
    REPLICA_REMOVED = "ReplicaRemoved",
    /// A leader was called to transfer leadership.
    LEADER_TRANSFERRED = "LeaderTransferred",
    /// The leader of a shard got the links of its region.
    LINKS_UPDATED = "LinksUpdated",
    /// A pod was evicted for a restart.
    POD_EVICTED = "PodEvicted",
    /// The leader of a shard was called to raise the behavior version.
    VERSION_FINALIZED = "VersionFinalized",
    /// The leader of a shard was called to admit changes that need the behavior version.
    VERSION_PUBLISHED = "VersionPublished",
    /// A pod refused to bootstrap a group.
    BOOTSTRAP_REFUSED = "BootstrapRefused",
    /// A pod refused to join.
    JOIN_REFUSED = "JoinRefused",
    /// A leader refused a new replica.
    ADD_LEARNER_REFUSED = "AddLearnerRefused",
    /// A leader refused to promote a learner.
    PROMOTE_REFUSED = "PromoteRefused",
    /// A leader refused to remove a replica.
    REMOVE_REFUSED = "RemoveRefused",
    /// A leader refused to transfer leadership.
    TRANSFER_LEADER_REFUSED = "TransferLeaderRefused",
    /// A leader refused the links.
    SET_LINKS_REFUSED = "SetLinksRefused",
    /// The API server refused an eviction.
    EVICT_REFUSED = "EvictRefused",
    /// A leader refused to raise the behavior version.
    FINALIZE_REFUSED = "FinalizeRefused",
    /// A leader refused to publish the behavior version.
    PUBLISH_REFUSED = "PublishRefused",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{EventReason, OperationType, Predicate, Reason, Type};

    /// The convention of Kubernetes: CamelCase, letters only.
    fn check(names: &[&str]) {
        for name in names {
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{name}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name is listed twice: {names:?}");
    }

    #[test]
    fn names_are_camel_case_and_unique() {
        check(&Type::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        check(&Reason::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        check(&OperationType::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        check(&Predicate::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        check(&EventReason::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    }
}
