//! Settings of a replica, fixed at its start.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use meridian_model::RegionName;
use meridian_model::client::OnStale;
use meridian_shard::State;
use meridian_store::SEGMENT_BYTES;

/// Settings of a replica.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Interval of completeness statements of a leader in the primary region.
    pub statement_interval: Duration,
    /// Freshness required by reads without an own requirement; `None` answers them from the local region.
    pub default_freshness: Option<Duration>,
    /// Fallbacks of reads that specify none.
    pub on_stale: Vec<OnStale>,
    /// Maximum wait of reads that specify none.
    pub max_wait: Duration,
    /// Maximum difference of the clocks of any two pods of all regions.
    pub clock_bound: Duration,
    /// Maximum step of the wall clock within a second. After a larger step the group must confirm the reading.
    pub max_drift: Duration,
    /// Maximum number of collections of the region.
    pub collections: usize,
    /// Length of a tick.
    pub tick: Duration,
    /// Election timeout in Raft ticks.
    pub election_ticks: usize,
    /// Heartbeat interval in Raft ticks.
    pub heartbeat_ticks: usize,
    /// Number of entries between two snapshots.
    pub snapshot_every: u64,
    /// Minimum and maximum bytes of log after which a snapshot is taken: a start reads and reapplies them.
    pub snapshot_log_bytes: RangeInclusive<u64>,
    /// Number of entries kept after a snapshot for slow followers and links.
    pub log_kept: u64,
    /// Maximum bytes of these entries, which are on disk and in memory.
    pub log_kept_bytes: u64,
    /// Disk space that upserts leave free.
    pub disk_reserve: DiskReserve,
    /// Number of entries between two checksum comparisons; equal at all replicas of a shard.
    pub checksum_every: NonZeroU64,
    /// Idle time after which the leader starts a checksum comparison.
    pub checksum_idle: Duration,
    /// Approximate size of a re-seed page, in bytes of points.
    pub seed_page_bytes: usize,
    /// Interval at which a shard fetches the collection list of shard 1, to complete creates and drops of a failed
    /// gateway.
    pub reconcile_every: Duration,
    /// The other regions of the replication group, as configured.
    pub other_regions: Vec<RegionName>,
    /// Number of points that a delete by filter reads and deletes per shard in one page; at most
    /// [`meridian_shard::MAX_CONDITIONAL_CHANGES`].
    pub match_page: usize,
    /// Bug injected by the simulation.
    #[cfg(feature = "fault-injection")]
    pub injected_bug: Option<crate::InjectedBug>,
}

/// Disk space that upserts do not use. The space of one snapshot is reserved in addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskReserve {
    /// Reserved for deletes, which must work when all disks are full: four segments.
    pub log_bytes: u64,
    /// Part of `log_bytes` reserved for votes, term starts and entries already in the log: two segments.
    pub last_bytes: u64,
}

impl Settings {
    /// Applies these settings to a state.
    pub(crate) fn prepared(&self, mut state: State) -> State {
        state.checksum_every(self.checksum_every);
        self.inject_into_state(&mut state);
        state
    }

    /// Settings of the gateway.
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
