//! What a replica is told at its start and keeps to.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use meridian_model::RegionName;
use meridian_model::client::OnStale;
use meridian_shard::State;
use meridian_store::SEGMENT_BYTES;

/// What a replica is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a leader of the primary region states how complete its log is.
    pub statement_interval: Duration,
    /// Required freshness of a read that says nothing; without it such a read is answered by the region alone.
    pub default_freshness: Option<Duration>,
    /// Fallbacks of a read that names none.
    pub on_stale: Vec<OnStale>,
    /// How long a read that does not say may wait.
    pub max_wait: Duration,
    /// How far the clocks of any two pods of any regions may differ.
    pub clock_bound: Duration,
    /// How far the wall clock may step within a second before its new reading must be confirmed by the group.
    pub max_drift: Duration,
    /// Collections that the region may have.
    pub collections: usize,
    /// Length of a tick.
    pub tick: Duration,
    /// Raft ticks without a leader before a follower seeks election.
    pub election_ticks: usize,
    /// Raft ticks between two heartbeats.
    pub heartbeat_ticks: usize,
    /// Entries applied between two snapshots.
    pub snapshot_every: u64,
    /// Bytes of log after which a snapshot is taken, the least and the most: a start reads and applies them again.
    pub snapshot_log_bytes: RangeInclusive<u64>,
    /// Entries kept behind a snapshot for slow followers and links.
    pub log_kept: u64,
    /// Bytes of these entries, at most: they are on the disk and in memory.
    pub log_kept_bytes: u64,
    /// What upserts leave free.
    pub disk_reserve: DiskReserve,
    /// Entries between two comparisons of the replicas' states. The same at all replicas of a shard.
    pub checksum_every: NonZeroU64,
    /// After so long without an entry the leader has the replicas' states compared.
    pub checksum_idle: Duration,
    /// About how many bytes of points go to another region in one piece, when it is loaded anew.
    pub seed_page_bytes: usize,
    /// How often a shard asks shard 1 which collections there are, to end what a dead gateway began.
    pub reconcile_every: Duration,
    /// The other regions of the replication group, as configured.
    pub other_regions: Vec<RegionName>,
    /// Points that a delete by filter reads of a shard, and then deletes, in one piece; at most
    /// [`meridian_shard::MAX_CONDITIONAL_CHANGES`].
    pub match_page: usize,
    /// A bug put in on purpose, by the simulation.
    #[cfg(feature = "fault-injection")]
    pub injected_bug: Option<crate::InjectedBug>,
}

/// Bytes of the disk that upserts do not use. What a snapshot would take is left free beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskReserve {
    /// For deletes, which must be possible when all disks are full: four segments.
    pub log_bytes: u64,
    /// Of these the last, for votes, term starts and what the log already holds: two segments.
    pub last_bytes: u64,
}

impl Settings {
    /// A state as a replica is to hold it.
    pub(crate) fn prepared(&self, mut state: State) -> State {
        state.checksum_every(self.checksum_every);
        self.inject_into_state(&mut state);
        state
    }

    /// What of it concerns the gateway.
    pub(crate) fn gateway(&self) -> meridian_gateway::Settings {
        meridian_gateway::Settings {
            default_freshness: self.default_freshness,
            on_stale: self.on_stale.clone(),
            max_wait: self.max_wait,
            clock_bound: self.clock_bound,
            match_page: self.match_page,
            #[cfg(feature = "fault-injection")]
            injected_bug: self.injected_bug.and_then(crate::InjectedBug::of_gateway),
        }
    }
}

impl Default for DiskReserve {
    fn default() -> Self {
        Self { log_bytes: 4 * SEGMENT_BYTES, last_bytes: 2 * SEGMENT_BYTES }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            statement_interval: Duration::from_millis(50),
            default_freshness: None,
            on_stale: vec![OnStale::Wait, OnStale::Redirect, OnStale::Serve],
            max_wait: Duration::from_millis(50),
            clock_bound: Duration::from_millis(10),
            max_drift: Duration::from_millis(500),
            collections: 1_000,
            tick: Duration::from_millis(20),
            election_ticks: 15,
            heartbeat_ticks: 3,
            snapshot_every: 20_000,
            snapshot_log_bytes: 16 << 20..=512 << 20,
            log_kept: 20_000,
            log_kept_bytes: 256 << 20,
            disk_reserve: DiskReserve::default(),
            seed_page_bytes: 1 << 20,
            reconcile_every: Duration::from_secs(5),
            other_regions: Vec::new(),
            match_page: meridian_shard::MAX_CONDITIONAL_CHANGES,
            checksum_every: NonZeroU64::new(4_096).expect("is not zero"),
            checksum_idle: Duration::from_secs(600),
            #[cfg(feature = "fault-injection")]
            injected_bug: None,
        }
    }
}
