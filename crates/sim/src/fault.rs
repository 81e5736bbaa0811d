//! The faults of a run, and how often a seed draws each.

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A pod loses its power, and with it the writes that were not synced.
    PowerLoss,
    /// The process of a pod is killed.
    Kill,
    /// A pod crashes at a write, fsync or rename to come.
    CrashAtDiskOperation,
    /// All pods of a shard lose their power at once.
    ShardPowerLoss,
    /// A pod and the others of its region do not hear each other.
    Partition,
    /// A pod does not hear the others of its region, or they do not hear it.
    OneWayPartition,
    /// The regions do not hear each other, in one or both directions.
    CutRegions,
    /// A connection between regions ends.
    BreakConnection,
    /// Syncs of a disk take long.
    SlowDisk,
    /// A process stands still, as by SIGSTOP; the boot clock may stand still with it.
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
    /// The state of a replica becomes another than its group's.
    Diverge,
    /// The broker, or what it stores, fails.
    Broker(BrokerFault),
}

/// Something that goes wrong at the broker.
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

/// Each fault as often as it is drawn. The place of a fault decides which seeds draw it and is part of the trace of a run:
/// another order makes every seed another run.
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

/// Places in front of the faults of the broker.
const WITHOUT_BROKER: u64 = 28;

impl Fault {
    /// Places to draw from.
    pub fn places(broker: bool) -> u64 {
        if broker { TABLE.len() as u64 } else { WITHOUT_BROKER }
    }

    /// The fault at a place below [`Fault::places`].
    pub fn at(place: u64) -> Self {
        TABLE[usize::try_from(place).expect("a place in the table")]
    }

    /// Its first place.
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
