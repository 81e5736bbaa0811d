//! Output of a part.

use meridian_model::{CollectionDef, CollectionUid, LogIndex};
use meridian_proto::frame::{NodeId, ShardAnswer};
use meridian_raft::{Entry as RaftEntry, Members, Output, Snapshot};
use meridian_shard::State;

use crate::{Command, SnapshotMeta};

/// Recipient of an answer of this replica's shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requester {
    /// This replica's own gateway, and the call number.
    Own(u64),
    /// Another replica, and the call number.
    Node(NodeId, u64),
}

/// An action for the machine. Effects are performed in order and depth-first: all consequences of one effect come
/// before the next.
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub(crate) enum Effect {
    /// A command for the shell.
    Command(Command),
    /// Answers a call to this replica's shard.
    Answer(Requester, ShardAnswer),
    /// Returns all pending reads to their requesters: the state cannot be trusted.
    GiveBackReads,
    /// New statements count: rechecks reads that wait for freshness.
    RecheckReads,
    /// Sends new records to the readers of this replica's delta log.
    ServeTails,
    /// Closes the streams of this replica's delta log; readers retry at another replica.
    CloseTails,
    /// Stops all leader-only work.
    StopLeading,
    /// Starts all leader-only work, if this replica leads and may serve.
    BeginToLead,
    /// Continues with the rest of an output of the consensus library.
    Continue(Box<Output>),
    /// Applies committed entries.
    Apply(Vec<RaftEntry>),
    /// A quorum confirmed a ReadIndex round: reads of it wait until this index is applied.
    ReadIndexConfirmed { context: u64, index: LogIndex },
    /// The first entry of this leader's term is applied.
    TermBegun,
    /// Announces the leadership to the region, if this replica leads.
    Announce,
    /// Entries committed before the start are applied.
    CaughtUp,
    /// Writes a snapshot of the applied state.
    TakeSnapshot {
        /// Index of the newest applied entry.
        index: u64,
        /// Its term.
        term: u64,
        /// Membership at that index.
        members: Members,
    },
    /// Writes the last snapshot before the stop, if possible.
    TakeLastSnapshot,
    /// Takes this replica out of service, with the reason.
    LeaveService(String),
    /// Advances the applied index past an entry that does not change the state.
    SkipEntry(LogIndex),
    /// The entry at this index changed the membership; publishes it to the region.
    MembersChanged(LogIndex),
    /// Removes a replica from the directory.
    ForgetNode(NodeId),
    /// Follows the links in the state.
    FollowLinks,
    /// Drops a collection that shard 1 has dropped. No requester waits.
    DropCollection { uid: CollectionUid },
    /// Creates a collection that shard 1 has created. No requester waits.
    LearnCollection { uid: CollectionUid, def: CollectionDef },
    /// Releases the log before this index.
    CompactLog { keep_from: u64 },
    /// The log is released before this index.
    ForgetLogBefore(LogIndex),
    /// A leader offers a snapshot: this replica is too far behind its log.
    SnapshotOffered { from: NodeId, snapshot: Snapshot },
    /// Installs a snapshot of another replica.
    InstallSnapshot { from: NodeId, snapshot: Snapshot },
    /// Replaces the state by an installed snapshot; the log restarts after it.
    ReplaceState { meta: SnapshotMeta, state: Box<State> },
    /// Passes an installed snapshot of the majority's state, taken at an entry applied here, to the divergence check.
    InstallPeerState { snapshot: Snapshot, meta: SnapshotMeta, state: Box<State> },
    /// Replaces the state by the majority's snapshot and reapplies the own log after it.
    AdoptPeerState { index: u64, manifest: Vec<u8>, state: Box<State> },
}

#[cfg(test)]
impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(command) => write!(f, "{command:?}"),
            Self::Answer(to, answer) => write!(f, "answer to {to:?}: {answer:?}"),
            _ => f.write_str("an effect of another kind"),
        }
    }
}
