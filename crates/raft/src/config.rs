/// How one replica takes part in its group. Pre-vote and check-quorum are always on, reads are always confirmed by a
/// quorum and never by a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This replica; never 0, never reused.
    pub id: u64,
    /// Different at every start of this replica (random, or counted on disk): an answer to a read asked before a
    /// restart is then never taken for the answer to one asked after it.
    pub incarnation: u64,
    /// Ticks without a leader before an election; the real wait is drawn from `election_ticks..2 * election_ticks`.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats; less than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Append messages in flight to one follower.
    pub max_inflight: usize,
    /// Bytes of entries in one append message; one larger entry still travels, alone.
    pub max_message_bytes: u64,
    /// Bytes of entries a leader holds uncommitted before it refuses proposals.
    pub max_uncommitted_bytes: u64,
    /// Bytes of committed entries in one [`crate::Output`].
    pub max_committed_bytes: u64,
    /// Ticks after which a leader offers its snapshot again to a follower that has not installed one.
    pub snapshot_retry_ticks: u32,
}

impl Config {
    /// The defaults for a replica, with 100 ms ticks in mind: elections after 1 to 2 s.
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
            // Batching would join appends of any total size into one message.
            batch_append: false,
            max_uncommitted_size: self.max_uncommitted_bytes,
            max_committed_size_per_ready: self.max_committed_bytes,
            ..raft::Config::default()
        }
    }
}
