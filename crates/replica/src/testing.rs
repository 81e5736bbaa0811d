//! Replicas for tests.

use std::time::Duration;

use meridian_model::{ClusterId, PrimaryTerm, RegionName, ReplicaId, ShardNumber};
use meridian_proto::topology::{Genesis, Identity, Member};

use crate::restore::Found;
use crate::{Now, Replica, Settings};

pub(crate) fn identity(replica: u64, founders: u64) -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let genesis = Genesis {
        cluster: ClusterId(1),
        region: region.clone(),
        shard: ShardNumber::FIRST,
        shards: 1,
        primary: region,
        primary_term: PrimaryTerm(1),
    };
    let member = |id| Member { replica: ReplicaId(id), address: format!("pod-{id}:8082") };
    Identity {
        genesis,
        replica: ReplicaId(replica),
        founders: (1..=founders).map(member).collect(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    }
}

/// A replica that nobody speaks to.
pub(crate) fn alone(identity: Identity) -> Replica {
    let records = Replica::bootstrap_records(!identity.founders.is_empty());
    let found = Found { records: (0..).zip(records).collect(), ..Found::default() };
    let now = Now { mono: Duration::ZERO, wall: Duration::from_millis(1) };
    Replica::restore(Settings::default(), identity, now, 1, found).unwrap()
}
