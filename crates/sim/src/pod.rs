//! A pod: a disk, a clock, and a process that may or may not run on them.

use std::collections::{BTreeMap, VecDeque};

use meridian_model::{OriginShard, ReplicaId, ShardNumber};
use meridian_proto::frame::NodeId;
use meridian_proto::topology::Identity;
use meridian_raft::Entry as RaftEntry;
use meridian_replica::{LogRecord, Replica};
use meridian_store::SimDisk;
use meridian_volume::{Lifecycle, LogVolume, PodState, SnapshotVolume};

use crate::clock::{Clock, Micros};
use crate::ledger::Group;

/// Shards of a region here, at most.
const MOST_SHARDS: u16 = 2;

/// Where a pod stands.
pub struct Pod {
    /// Its region, by number.
    pub region: usize,
    /// Its shard.
    pub shard: ShardNumber,
    /// Its ordinal in the StatefulSet of its shard.
    pub ordinal: u16,
    /// Where its peer port is.
    pub address: String,
    /// Its disk.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: Clock,
    /// What the operator last made it.
    pub identity: Option<Identity>,
    /// Grows with every start and stop, so that what was meant for an earlier process finds nobody.
    pub life: u64,
    /// What runs.
    pub process: Option<Process>,
    /// Whether its StatefulSet counts it.
    pub wanted: bool,
    /// Its supervisor: that of the process that runs, or of the last one that decided something.
    pub lifecycle: Lifecycle,
    /// The newest replica whose folder was moved aside.
    pub retired: Option<ReplicaId>,
    /// A fault took or changed what it had synced since it was initialized.
    pub tampered: bool,
    /// It will start again by itself.
    pub starting: bool,
    /// Stopped, as by SIGSTOP, until then.
    pub paused_until: Micros,
    /// What a sync takes at least, in microseconds.
    pub sync_us: Micros,
    /// Records written lately, for a byte of them to be flipped.
    pub recent: VecDeque<Vec<u8>>,
}

/// A running process.
pub struct Process {
    /// The machine.
    pub replica: Replica,
    /// Its log.
    pub log: LogVolume<SimDisk>,
    /// Its snapshots.
    pub snapshots: SnapshotVolume<SimDisk>,
    /// Waiting for the disk.
    pub queue: Vec<(u64, Vec<Vec<u8>>)>,
    /// The disk is at work.
    pub syncing: bool,
    /// It was told that its disk is full.
    pub full: bool,
    /// Its log, as it told the disk.
    pub entries: BTreeMap<u64, RaftEntry>,
    /// The newest entry that the ledger heard of from it.
    pub applied: u64,
    /// Deltas that it counted as merged, remote positions summed up, and snapshots installed, at the last look.
    pub merged: (u64, u64, u64),
    /// Connection to another region that it opened.
    pub region_connection: Option<u64>,
}

impl Pod {
    /// The group it belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        (self.region, self.shard)
    }

    /// The replica that it is, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.identity.as_ref().map(|identity| NodeId { shard: self.shard, replica: identity.replica })
    }

    /// Whether its replica is lost: the pod waits to be made another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let without = matches!(self.lifecycle.state(), PodState::Blank | PodState::Damaged(_) | PodState::Foreign(_));
        without && self.lifecycle.starting().is_none()
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }
}

impl Process {
    /// Takes note of what the machine hands to the disk; the entries among it.
    pub fn note(&mut self, records: &[Vec<u8>]) -> Vec<RaftEntry> {
        let mut noted = Vec::new();
        for record in records {
            match LogRecord::decode(record) {
                Ok(LogRecord::Entry(entry)) => {
                    self.entries.split_off(&entry.index);
                    self.entries.insert(entry.index, entry.clone());
                    noted.push(entry);
                }
                Ok(LogRecord::Base { index, .. }) => self.entries = self.entries.split_off(&(index + 1)),
                Ok(LogRecord::HardState(_)) | Err(_) => {}
            }
        }
        noted
    }

    /// Deltas merged, remote positions summed up, snapshots installed.
    #[must_use]
    pub fn merged_now(&self) -> (u64, u64, u64) {
        let state = self.replica.state();
        // Also what is taken in behind a seed and not told of yet.
        let (own, primary) = (&state.origin().region, state.primary().1);
        let positions = (ShardNumber::all(MOST_SHARDS))
            .map(|shard| OriginShard { region: primary.clone(), shard })
            .filter(|origin| origin.region != *own)
            .map(|origin| state.tail_position(&origin).seq.0)
            .sum();
        let counters = self.replica.counters();
        (counters.ops_merged, positions, counters.snapshots_installed)
    }

    /// The entries applied since the last call, as far as they stand in its log.
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
