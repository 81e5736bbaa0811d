//! What a gateway is lent while it handles an event.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Freshness, Outcome};
use meridian_model::{BucketTable, PrimaryTerm, RegionName, ShardNumber, VersionVector};
use meridian_proto::frame::{CallNumbers, NodeId, ShardCall};

use crate::{Directory, Effect};

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// For waits.
    pub mono: Duration,
    /// For ages: never behind the truth, whichever of the machine's clocks was wrong.
    pub age: Duration,
}

/// The time, a view of the cluster, and where effects go. A gateway keeps none of it.
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
    /// Replicas with a vote in its shard.
    pub replicas: u16,
    /// The primary region, and since which term.
    pub primary: (PrimaryTerm, &'a RegionName),
    /// Whether this region is the primary region, and so takes writes.
    pub is_primary: bool,
    /// Which shard owns which bucket.
    pub table: &'a BucketTable,
    /// The replicas of the region.
    pub directory: &'a mut Directory,
    /// Numbers of calls.
    pub numbers: &'a mut CallNumbers,
    /// How demands for freshness ended, counted.
    pub outcomes: &'a mut BTreeMap<Outcome, u64>,
    /// What is to be done, in order.
    pub effects: &'a mut Vec<Effect>,
}

impl Ctx<'_> {
    /// A call to any replica of every shard.
    pub(crate) fn to_all(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.shards).map(|shard| (shard, false, call.clone())).collect()
    }

    /// A call to the leaders of all shards but the first.
    pub(crate) fn to_the_rest(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.shards)
            .filter(|shard| *shard != ShardNumber::FIRST)
            .map(|shard| (shard, true, call.clone()))
            .collect()
    }

    /// The freshness of an answer that reflects nothing but this pod's own word.
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
