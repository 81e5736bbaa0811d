//! What a part wants done.

use meridian_model::{CollectionDef, CollectionUid, LogIndex};
use meridian_proto::frame::{NodeId, ShardAnswer};
use meridian_raft::{Entry as RaftEntry, Members, Output, Snapshot};
use meridian_shard::State;

use crate::{Command, SnapshotMeta};

/// Who gets the answer of this replica's shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requester {
    /// This replica's own gateway, under this number.
    Own(u64),
    /// Another replica.
    Node(NodeId, u64),
}

/// Something that a part wants done. The machine performs effects in order and depth-first: one, and all that follows from it
/// at once, before the next.
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub(crate) enum Effect {
    /// By the shell.
    Command(Command),
    /// The answer to a call to this replica's shard.
    Answer(Requester, ShardAnswer),
    /// All reads under way are given back: what they read cannot be trusted.
    GiveBackReads,
    /// Statements count that did not: reads may be fresh enough.
    RecheckReads,
    /// The delta logs that this replica serves may have something to say.
    ServeTails,
    /// The delta logs that this replica serves are closed; their readers find another.
    CloseTails,
    /// What only a leader does ends.
    StopLeading,
    /// What only a leader does begins, if this replica leads and may serve.
    BeginToLead,
    /// An output of the consensus library is handled further.
    Continue(Box<Output>),
    /// These entries are committed.
    Apply(Vec<RaftEntry>),
    /// What stood at this index when the quorum was asked is to be applied.
    ReadIndexConfirmed { context: u64, index: LogIndex },
    /// The first entry of this leader's term is applied.
    TermBegun,
    /// The region is to know who leads, if this replica does.
    Announce,
    /// What was committed when this replica started is applied.
    CaughtUp,
    /// A snapshot of what is applied is to be written.
    TakeSnapshot {
        /// The newest entry applied.
        index: u64,
        /// Its term.
        term: u64,
        /// The group then.
        members: Members,
    },
    /// The last snapshot before the stop, if it can be taken.
    TakeLastSnapshot,
    /// This replica must not serve any more.
    LeaveService(String),
    /// The state counts an entry that changes nothing.
    SkipEntry(LogIndex),
    /// The group changed by this entry, and the region is to know.
    MembersChanged(LogIndex),
    /// A replica was removed.
    ForgetNode(NodeId),
    /// The links that the state holds are to be followed.
    FollowLinks,
    /// A collection that shard 1 has dropped is to be dropped here too. Nobody waits for it.
    DropCollection { uid: CollectionUid },
    /// One that shard 1 has created is to be created here too. Nobody waits for it.
    LearnCollection { uid: CollectionUid, def: CollectionDef },
    /// The log is let go of before this index.
    CompactLog { keep_from: u64 },
    /// It is.
    ForgetLogBefore(LogIndex),
    /// A leader says that this replica is too far behind its log.
    SnapshotOffered { from: NodeId, snapshot: Snapshot },
    /// Another replica's snapshot is to be installed.
    InstallSnapshot { from: NodeId, snapshot: Snapshot },
    /// An installed snapshot is the state now, and the log begins behind it.
    ReplaceState { meta: SnapshotMeta, state: Box<State> },
    /// An installed snapshot is what most of the group holds at an entry that is applied here.
    InstallPeerState { snapshot: Snapshot, meta: SnapshotMeta, state: Box<State> },
    /// It is the state now, with the entries of the own log behind it applied again.
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
