use meridian_store::SnapshotId;

use super::*;
use crate::testing::{alone, identity};

fn meta(needs: BehaviorVersion) -> SnapshotMeta {
    SnapshotMeta {
        needs,
        index: 9,
        term: 1,
        voters: vec![1, 2],
        learners: Vec::new(),
        addresses: BTreeMap::new(),
        membership_version: LogIndex(0),
    }
}

/// A follower without a log is offered a snapshot with these meta bytes; what it says and does then.
fn offered(meta: Vec<u8>) -> (Option<String>, bool) {
    let mut replica = alone(identity(3, 0));
    let manifest = Manifest { id: SnapshotId(9), meta, files: Vec::new() }.encode().unwrap();
    let from = NodeId { shard: meridian_model::ShardNumber::FIRST, replica: ReplicaId(1) };
    let members = super::tests::meta(BehaviorVersion::FIRST).members();
    replica.snapshot_incoming(from, Snapshot { index: 9, term: 1, members, manifest: manifest.into() });
    let installs = replica.out.iter().any(|command| matches!(command, Command::Install { .. }));
    (replica.out_of_service.clone(), installs)
}

#[test]
fn a_snapshot_that_needs_more_is_refused_before_it_is_fetched() {
    assert_eq!(offered(meta(BehaviorVersion::FIRST).encode()), (None, true));
    let newer = "VersionUnknown: snapshot 9: written by a newer release: ";
    let behavior = format!("{newer}behavior version 2, this build knows up to 1; run the newer release");
    assert_eq!(offered(meta(BehaviorVersion(2)).encode()), (Some(behavior), false));
    let format = format!("{newer}format version 3, this build reads up to 2; run the newer release");
    assert_eq!(offered(vec![3]), (Some(format), false));
}
