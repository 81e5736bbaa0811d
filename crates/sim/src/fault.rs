//! The faults, and how often a seed draws each.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A pod loses power, and its unsynced writes.
    PowerLoss,
    /// The process of a pod is killed.
    Kill,
    /// A pod crashes at a later disk operation.
    CrashAtDiskOperation,
    /// All pods of a shard lose power at once.
    ShardPowerLoss,
    /// A pod is partitioned from the others of its region.
    Partition,
    /// A pod is partitioned from the others of its region in one direction.
    OneWayPartition,
    /// The regions are partitioned, in one or both directions.
    CutRegions,
    /// A connection between regions ends.
    BreakConnection,
    /// Syncs of a disk take long.
    SlowDisk,
    /// A process is paused (SIGSTOP); the boot clock may stand still with it.
    Pause,
    /// The wall clocks of one or more pods are set.
    SetClocks,
    /// A pod loses its identity or its whole volume.
    LoseVolume,
    /// A bit of a synced log record flips.
    FlipLogBit,
    /// One to three disks of a shard are full.
    FillDisks,
    /// The shards of a region get more replicas, or fewer.
    Scale,
    /// The operator transfers leadership.
    TransferLeader,
    /// A pod drains and stops.
    Drain,
    /// The link is paused.
    PauseLink,
    /// The link is deleted.
    DeleteLink,
    /// The next operation of a disk fails.
    FailDiskOperation,
    /// Frames are lost, duplicated and delayed.
    BadNetwork,
    /// The state of a replica diverges from its group.
    Diverge,
    /// A fault of the broker or its records.
    Broker(BrokerFault),
}

/// A fault of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerFault {
    /// The broker is down.
    Outage,
    /// Retention deletes the oldest records of a partition, or all.
    Retention,
    /// A partition contains a record that cannot be decoded.
    MalformedRecord,
    /// A partition contains a record that its origin did not publish.
    ForgedRecord,
}

use BrokerFault::*;
use Fault::*;

/// The faults by weight. The index of a fault determines which seeds draw it and is part of the trace: reordering the
/// table makes every seed another run.
const TABLE: [Fault; 34] = [
    PowerLoss,
    Kill,
    CrashAtDiskOperation,
    ShardPowerLoss,
    Partition,
    Partition,
    OneWayPartition,
    CutRegions,
    BreakConnection,
    SlowDisk,
    Pause,
    SetClocks,
    LoseVolume,
    FlipLogBit,
    FillDisks,
    Scale,
    Scale,
    TransferLeader,
    Drain,
    PauseLink,
    PauseLink,
    DeleteLink,
    FailDiskOperation,
    BadNetwork,
    CrashAtDiskOperation,
    CrashAtDiskOperation,
    Diverge,
    BadNetwork,
    // From here on only in runs with a broker.
    Broker(Outage),
    Broker(Retention),
    Broker(MalformedRecord),
    Broker(ForgedRecord),
    Broker(Outage),
    Broker(Retention),
];

/// Number of entries before the broker faults.
const WITHOUT_BROKER: u64 = 28;

impl Fault {
    /// Number of entries to draw from.
    pub fn places(broker: bool) -> u64 {
        if broker { TABLE.len() as u64 } else { WITHOUT_BROKER }
    }

    /// The fault at an index below [`Fault::places`].
    pub fn at(place: u64) -> Self {
        TABLE[usize::try_from(place).expect("a place in the table")]
    }

    /// Its first index.
    pub fn place(self) -> u64 {
        TABLE.iter().position(|fault| *fault == self).expect("every fault is in the table") as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faults_of_the_broker_are_drawn_only_with_a_broker() {
        for place in 0..Fault::places(true) {
            assert_eq!(matches!(Fault::at(place), Broker(_)), place >= Fault::places(false), "{place}");
        }
    }
}
