//! Values that the caller lends a gateway for one event.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Freshness, Outcome};
use meridian_model::{BucketTable, PrimaryTerm, RegionName, ShardNumber, VersionVector};
use meridian_proto::frame::{CallNumbers, NodeId, ShardCall};

use crate::{Directory, Effect, GroupVersions};

/// The current time by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Clock for waits.
    pub mono: Duration,
    /// Clock for ages: never behind true time, whichever clock of the machine is wrong.
    pub age: Duration,
}

/// The time, a view of the cluster, and the list of effects. A gateway stores none of it.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// The time.
    pub now: Time,
    /// The replica beside which the gateway runs.
    pub me: NodeId,
    /// Its region.
    pub region: &'a RegionName,
    /// Shards of that region.
    pub shards: u16,
    /// Number of voters in its shard.
    pub replicas: u16,
    /// The primary region and its term.
    pub primary: (PrimaryTerm, &'a RegionName),
    /// Whether this region is the primary region, which accepts writes.
    pub is_primary: bool,
    /// Behavior versions, against which requests are checked.
    pub versions: GroupVersions<'a>,
    /// Assignment of buckets to shards.
    pub table: &'a BucketTable,
    /// The replicas of the region.
    pub directory: &'a mut Directory,
    /// Allocates numbers for calls.
    pub numbers: &'a mut CallNumbers,
    /// Counts the outcomes of freshness demands.
    pub outcomes: &'a mut BTreeMap<Outcome, u64>,
    /// Effects to perform, in order.
    pub effects: &'a mut Vec<Effect>,
}

impl Ctx<'_> {
    /// A call to any replica of every shard.
    pub(crate) fn to_all(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.shards).map(|shard| (shard, false, call.clone())).collect()
    }

    /// A call to the leaders of all shards but shard 1.
    pub(crate) fn to_the_rest(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.shards)
            .filter(|shard| *shard != ShardNumber::FIRST)
            .map(|shard| (shard, true, call.clone()))
            .collect()
    }

    /// The freshness of an answer that depends on this pod alone.
    pub(crate) fn no_freshness(&self) -> Freshness {
        Freshness {
            staleness: Duration::MAX,
            served_region: self.region.clone(),
            token: VersionVector::default(),
            stale: false,
            outcome: Outcome::Fresh,
        }
    }
}
