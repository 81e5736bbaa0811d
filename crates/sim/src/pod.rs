//! A pod: a disk, a clock, and a process that may run on them.

use std::collections::{BTreeMap, VecDeque};

use meridian_model::{BehaviorVersion, OriginShard, ReplicaId, ShardNumber};
use meridian_proto::frame::NodeId;
use meridian_proto::topology::Identity;
use meridian_raft::Entry as RaftEntry;
use meridian_replica::{LogRecord, Replica};
use meridian_store::SimDisk;
use meridian_volume::{Lifecycle, LogVolume, PodState, SnapshotVolume};

use crate::clock::{Clock, Micros};
use crate::committed_log::Group;

/// Limit of shards per region in the simulation.
const MAX_SHARDS: u16 = 2;

/// A pod and its volume.
pub struct Pod {
    /// Index of its region.
    pub region: usize,
    /// Its shard.
    pub shard: ShardNumber,
    /// Its ordinal in the StatefulSet of its shard.
    pub ordinal: u16,
    /// Address of its peer port.
    pub address: String,
    /// Its disk.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: Clock,
    /// Identity with which the operator last initialized it.
    pub identity: Option<Identity>,
    /// Grows with every start and stop, so that events for an earlier process are dropped.
    pub incarnation: u64,
    /// The newest behavior version that the release of its image knows; processes that start run this release.
    pub image: BehaviorVersion,
    /// The running process, if any.
    pub process: Option<Process>,
    /// Whether its StatefulSet includes it.
    pub wanted: bool,
    /// State of its supervisor: of the running process, or of the last one that decided something.
    pub lifecycle: Lifecycle,
    /// The newest retired replica, whose folder was moved aside.
    pub retired: Option<ReplicaId>,
    /// Whether a fault lost or changed synced data since the volume was initialized.
    pub tampered: bool,
    /// Whether a start is scheduled.
    pub starting: bool,
    /// End of its pause (SIGSTOP).
    pub paused_until: Micros,
    /// Minimum duration of a sync, in microseconds.
    pub sync_us: Micros,
    /// Recently written records, candidates for a bit flip.
    pub recent: VecDeque<Vec<u8>>,
}

/// A running process.
pub struct Process {
    /// The newest behavior version that its release knows.
    pub knows: BehaviorVersion,
    /// The machine.
    pub replica: Replica,
    /// Its log.
    pub log: LogVolume<SimDisk>,
    /// Its snapshots.
    pub snapshots: SnapshotVolume<SimDisk>,
    /// Batches waiting for the disk.
    pub queue: Vec<(u64, Vec<Vec<u8>>)>,
    /// Whether a sync is scheduled.
    pub syncing: bool,
    /// Whether the last commit found the disk full.
    pub full: bool,
    /// Entries of its log, as handed to the disk.
    pub entries: BTreeMap<u64, RaftEntry>,
    /// Newest entry recorded in the committed log by this process.
    pub applied: u64,
    /// Result of [`Process::merge_counts`] at the last check.
    pub merged: (u64, u64, u64),
    /// Connection to the other region that it opened.
    pub region_connection: Option<u64>,
}

impl Pod {
    /// Its group.
    #[must_use]
    pub fn group(&self) -> Group {
        (self.region, self.shard)
    }

    /// Its replica, if it is initialized.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.identity.as_ref().map(|identity| NodeId { shard: self.shard, replica: identity.replica })
    }

    /// Whether the pod has no usable replica and waits for the operator.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let without = matches!(self.lifecycle.state(), PodState::Blank | PodState::Damaged(_) | PodState::Foreign(_));
        without && self.lifecycle.starting().is_none()
    }

    /// The newest behavior version that the release of its process knows, or that of the next one.
    #[must_use]
    pub fn knows(&self) -> BehaviorVersion {
        self.process.as_ref().map_or(self.image, |process| process.knows)
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }
}

impl Process {
    /// Records the log records that the machine hands to the disk; returns the entries among them.
    pub fn record_written(&mut self, records: &[Vec<u8>]) -> Vec<RaftEntry> {
        let mut entries = Vec::new();
        for record in records {
            match LogRecord::decode(record) {
                Ok(LogRecord::Entry(entry)) => {
                    self.entries.split_off(&entry.index);
                    self.entries.insert(entry.index, entry.clone());
                    entries.push(entry);
                }
                Ok(LogRecord::Base { index, .. }) => self.entries = self.entries.split_off(&(index + 1)),
                Ok(LogRecord::HardState(_)) | Err(_) => {}
            }
        }
        entries
    }

    /// Number of deltas merged, sum of the remote positions, number of snapshots installed.
    #[must_use]
    pub fn merge_counts(&self) -> (u64, u64, u64) {
        let state = self.replica.state();
        // The tail position also includes deltas that are received behind a seed and not yet published.
        let (own, primary) = (&state.origin().region, state.primary().1);
        let positions = (ShardNumber::all(MAX_SHARDS))
            .map(|shard| OriginShard { region: primary.clone(), shard })
            .filter(|origin| origin.region != *own)
            .map(|origin| state.tail_position(&origin).seq.0)
            .sum();
        let counters = self.replica.counters();
        (counters.links.ops_merged, positions, counters.snapshots_installed)
    }

    /// The entries applied since the last call, as far as its log still contains them.
    pub fn newly_applied(&mut self) -> Vec<RaftEntry> {
        let applied = self.replica.state().applied().0;
        if applied <= self.applied {
            return Vec::new();
        }
        let new = self.entries.range(self.applied + 1..=applied).map(|(_, entry)| entry.clone()).collect();
        self.applied = applied;
        new
    }
}
