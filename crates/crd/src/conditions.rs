//! Names of conditions and their reasons: defined here, written by the operator, waited for by users.

/// The resource does what its spec says, at this generation.
pub const READY: &str = "Ready";
/// The spec can be carried out. While it cannot, the last good state keeps running.
pub const ACCEPTED: &str = "Accepted";
/// Every shard has a leader that a majority follows.
pub const AVAILABLE: &str = "Available";
/// A change is under way.
pub const PROGRESSING: &str = "Progressing";
/// Something is lost or broken that the operator is mending or cannot mend.
pub const DEGRADED: &str = "Degraded";
/// What the spec needs of others is there: Secrets, Istio, Strimzi.
pub const DEPENDENCIES_READY: &str = "DependenciesReady";
/// The certificates of the peer port are valid, and no authority is being replaced.
pub const CERTIFICATES_VALID: &str = "CertificatesValid";
/// Pods that run refuse every certificate of the operator: only new pods read the new ones.
pub const CERTIFICATES_LOST: &str = "CertificatesLost";
/// Pods accept other keys than the Secrets hold, or than each other.
pub const KEYS_DIFFER: &str = "KeysDiffer";
/// Replicas take no upserts, or are close to it, because a snapshot does not fit into their memory or their disk's reserve is in
/// use: only more of it, or fewer points, heal that.
pub const CAPACITY_RISK: &str = "CapacityRisk";
/// The routes of the mesh are what the spec says.
pub const TRAFFIC_CONFIGURED: &str = "TrafficConfigured";
/// A link hears its source.
pub const CONNECTED: &str = "Connected";
/// A link's staleness is below its bound.
pub const WITHIN_BOUND: &str = "WithinBound";

/// Reasons, one list for both resources.
pub mod reason {
    /// Nothing is left to do.
    pub const AS_DECLARED: &str = "AsDeclared";
    /// The spec holds a value that cannot be carried out.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Objects of the cluster cannot be written: somebody else's bear their names, or an older cluster does.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The API server refused objects of the cluster; the message holds its words.
    pub const REJECTED: &str = "Rejected";
    /// The image of a pod cannot be pulled.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// Being made for the first time.
    pub const CREATING: &str = "Creating";
    /// Disks have no space beyond their reserve.
    pub const DISK_FULL: &str = "DiskFull";
    /// Replicas are added.
    pub const SCALING_OUT: &str = "ScalingOut";
    /// Replicas are removed.
    pub const SCALING_IN: &str = "ScalingIn";
    /// Pods are restarted one at a time.
    pub const ROLLING: &str = "Rolling";
    /// A replica whose volume is lost or damaged is replaced.
    pub const REPLACING: &str = "Replacing";
    /// Links are told to the shards.
    pub const LINKING: &str = "Linking";
    /// A shard has no leader that a majority follows.
    pub const QUORUM_LOST: &str = "QuorumLost";
    /// Every shard has one.
    pub const QUORUM_HEALTHY: &str = "QuorumHealthy";
    /// A pod is not up yet.
    pub const WAITING_FOR_PODS: &str = "WaitingForPods";
    /// A Secret that the spec names is not there.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// Istio is not installed.
    pub const ISTIO_MISSING: &str = "IstioMissing";
    /// A snapshot does not fit into the memory of a replica.
    pub const MEMORY_SHORT: &str = "MemoryShort";
    /// The reserve of a replica's disk is in use.
    pub const DISK_SHORT: &str = "DiskShort";
    /// All replicas have disk and memory left.
    pub const CAPACITY_LEFT: &str = "CapacityLeft";
    /// Pods that the kubelet holds ready do not answer the operator.
    pub const PODS_UNREACHABLE: &str = "PodsUnreachable";
    /// A pod answers the operator.
    pub const PODS_REACHABLE: &str = "PodsReachable";
    /// Pods accept different keys: a kubelet brings a changed Secret within minutes.
    pub const KEYS_DIFFER: &str = "KeysDiffer";
    /// A Secret holds what is no key, so that pods keep the keys that they have.
    pub const KEYS_UNUSABLE: &str = "KeysUnusable";
    /// A pod has the volume of another cluster, region, shard or replication group, which is not touched.
    pub const FOREIGN_VOLUME: &str = "ForeignVolume";
    /// A pod's volume, log or snapshot was written by a newer release than the pod runs.
    pub const VERSION_UNKNOWN: &str = "VersionUnknown";
    /// A certificate or an authority is being replaced.
    pub const RENEWING: &str = "Renewing";
    /// A host of `traffic.istio.hosts` is not among the operator's allowed hosts.
    pub const HOST_NOT_ALLOWED: &str = "HostNotAllowed";
    /// Strimzi is not installed.
    pub const STRIMZI_MISSING: &str = "StrimziMissing";
    /// The cluster that a link names is not there.
    pub const CLUSTER_MISSING: &str = "ClusterMissing";
    /// Everything needed is there.
    pub const ALL_PRESENT: &str = "AllPresent";
    /// A link was told to pause.
    pub const PAUSED: &str = "Paused";
    /// A link follows its source.
    pub const FOLLOWING: &str = "Following";
    /// A record of the followed log could not be taken in the last ten minutes; what it hid is fetched another way.
    pub const POISON_RECORD: &str = "PoisonRecord";
    /// Every record of the followed log could be taken.
    pub const ALL_TAKEN: &str = "AllTaken";
    /// A link does not hear its source.
    pub const NOT_CONNECTED: &str = "NotConnected";
    /// Nobody has looked yet.
    pub const UNKNOWN: &str = "Unknown";
}
