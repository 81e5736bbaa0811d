/// Configuration of one replica. Pre-vote and check-quorum are always on. Reads are confirmed by a quorum (ReadIndex),
/// never by a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Id of this replica; never 0, never reused.
    pub id: u64,
    /// Unique per start of this replica (random or counted on disk), so that a read index requested before a restart is
    /// never used for a read after it.
    pub incarnation: u64,
    /// Ticks without a leader before an election; the actual timeout is random in `election_ticks..2 * election_ticks`.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats; less than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Limit of append messages in flight per follower.
    pub max_inflight: usize,
    /// Limit of entry bytes per append message; a single larger entry is sent alone.
    pub max_message_bytes: u64,
    /// Limit of uncommitted entry bytes on the leader; beyond it, proposals are refused.
    pub max_uncommitted_bytes: u64,
    /// Limit of committed entry bytes per [`crate::Output`].
    pub max_committed_bytes: u64,
    /// Ticks after which the leader repeats the snapshot offer to a follower that has not installed one.
    pub snapshot_retry_ticks: u32,
}

impl Config {
    /// Default configuration of replica `id`, for ticks of 100 ms: election timeout 1 to 2 s. `incarnation` differs at
    /// every start.
    pub fn new(id: u64, incarnation: u64) -> Self {
        Self {
            id,
            incarnation,
            election_ticks: 10,
            heartbeat_ticks: 1,
            max_inflight: 256,
            max_message_bytes: 1 << 20,
            max_uncommitted_bytes: 64 << 20,
            max_committed_bytes: 8 << 20,
            snapshot_retry_ticks: 50,
        }
    }

    pub(crate) fn to_raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.id,
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied,
            max_size_per_msg: self.max_message_bytes,
            max_inflight_msgs: self.max_inflight,
            check_quorum: true,
            pre_vote: true,
            read_only_option: raft::ReadOnlyOption::Safe,
            // Batching would ignore max_size_per_msg when it joins appends.
            batch_append: false,
            max_uncommitted_size: self.max_uncommitted_bytes,
            max_committed_size_per_ready: self.max_committed_bytes,
            ..raft::Config::default()
        }
    }
}
