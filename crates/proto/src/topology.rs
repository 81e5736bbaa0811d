//! Calls on the peer port by which the operator, or `meridian local`, decides which replica is a member of which group.
//!
//! The operator is the only authority on topology: it allocates replica ids, founds each group once, and changes members one
//! voter at a time. Every change carries the version of members or links that it expects to replace.

use meridian_model::{BehaviorVersion, Link, LogIndex, ReplicaId};

mod identity;
mod status;

use crate::frame::Build;
pub use identity::{Genesis, Identity, KeysDigest, Member, MembersAt};

pub use status::{DiskLevel, FollowerStatus, MemorySeen, PodStatus, PoisonSeen, RegionBehavior, ReplicaStatus, Role};

/// Entries that a learner may lag behind when it gets a vote: few, so that the next commit does not wait for it.
pub const PROMOTE_LAG: u64 = 64;

/// A call of the operator to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyCall {
    /// Report the state of the pod.
    Status,
    /// Found a group: the same call goes to every founder. Repeating it is harmless; a volume with another identity refuses.
    Bootstrap(Identity),
    /// Become an empty replica that waits to be added as a learner. The data of a damaged or removed replica is moved aside;
    /// a running one is given up only when `group` proves that the group needs nothing of it.
    Join {
        /// The new identity.
        identity: Identity,
        /// The members of the group to join.
        group: MembersAt,
    },
    /// Leader only: let a joined replica follow the log without a vote.
    AddLearner {
        /// Its id and address.
        member: Member,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: give a vote to a learner that has caught up.
    Promote {
        /// The learner.
        replica: ReplicaId,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: remove a replica from the group for ever.
    Remove {
        /// The replica.
        replica: ReplicaId,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: transfer the leadership to a voter that has caught up.
    TransferLeader {
        /// The new leader.
        to: ReplicaId,
    },
    /// Leader only: follow exactly these regions from now on. Nothing restarts; received deltas stay.
    SetLinks {
        /// One for each source; see [`meridian_model::check_links`].
        links: Vec<Link>,
        /// The version of the links to replace.
        expected: LogIndex,
    },
    /// Leader only: raise the behavior version of the group. Refused unless every member knows `version`, because a member
    /// that does not stops. A group that has this version or a later one is left as it is.
    Finalize {
        /// The version from then on.
        version: BehaviorVersion,
    },
    /// Leader only: admit changes whose deltas need `version`, which every region of the replication group has finalized.
    /// Refused if this group has not; a group that has published this version or a later one is left as it is.
    Publish {
        /// The newest version that deltas may need from then on.
        version: BehaviorVersion,
    },
}

/// The answer of a pod to a [`TopologyCall`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyAnswer {
    /// To `Status`.
    Status {
        /// State of the pod.
        pod: PodStatus,
        /// Digest of the keys in force; absent where the answer comes from a replica that was not given any.
        keys: Option<KeysDigest>,
        /// Versions that the pod knows; absent in answers of builds before 0.2.0.
        build: Option<Build>,
    },
    /// Done now or before; the version of members or links that holds now.
    Done {
        /// Index of the newest change of its kind in the log.
        version: LogIndex,
    },
    /// Accepted and in progress; `Status` reports the outcome.
    Started,
    /// The receiver does not lead.
    NotLeader {
        /// Believed leader.
        leader: Option<ReplicaId>,
    },
    /// Members or links are not those that the call expects.
    Conflict {
        /// Their version that holds now.
        version: LogIndex,
    },
    /// Refused, for this reason.
    Refused(String),
    /// Received only: an answer of a kind that this build does not know. The call has failed; what it did is unknown.
    Unknown,
}

impl TopologyAnswer {
    /// Adds the digest of the pod's keys to an answer to `Status`. Other answers are unchanged.
    #[must_use]
    pub fn with_keys(mut self, digest: KeysDigest) -> Self {
        if let Self::Status { keys, .. } = &mut self {
            *keys = Some(digest);
        }
        self
    }

    /// The answer to `Status` of this build, without keys.
    #[must_use]
    pub fn status(pod: PodStatus) -> Self {
        Self::Status { pod, keys: None, build: Some(Build::current()) }
    }
}
